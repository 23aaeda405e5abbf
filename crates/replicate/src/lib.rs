//! The engine: it keeps a twin of a guest's memory, fed by the dirty log alone.
//!
//! A [`Source`] is a running guest seen through its dirty log, a [`Sink`] is where its twin lies.
//! [`Replication`] runs rounds between them: round 0 copies every page (pre-copy), each later
//! round collects the log and copies the pages that it named. [`Replication::pause_and_settle`] brings
//! both to a halt for a judge. Where the hypervisor itself sends the pages along with its log
//! ([`PushSource`]), a round is one delivery of them.
//!
//! What the types see to:
//! - A source can only *add* to what was collected ([`Collector`]), and the engine takes a page
//!   off its backlog only after the sink has committed it. An error, anywhere, loses no bit.
//! - A comparison needs a [`PausedGuest`], which exists only while the guest is paused, the log was
//!   collected clean and everything is committed; dropping it lets the guest run again.
//! - A guest that must not stand still for long is read in [`Replication::read_paused`]: nothing goes to the
//!   sink meanwhile, so no disk and no network is waited for.
//! - Dropping the [`Replication`] switches logging off and lets the guest run again.
//!
//! A new source needs this crate and `memtwin-pages` alone: beside its log it says where its memory comes from
//! ([`Provenance`]), and, where they exist, lets a judge read it ([`ReadMemory`]) and its writers be steered
//! ([`GuestControl`]).
//!
//! No operating system, no `unsafe`.

#![forbid(unsafe_code)]

mod backlog;
mod buffered;
mod cancel_token;
mod error;
mod events;
mod guest_control;
mod paused;
mod paused_guest;
mod plan;
mod provenance;
mod read_memory;
mod round;
mod round_receiver;
mod same_pages;
mod session;
mod sink;
mod source;

pub use buffered::BufferedSource;
pub use cancel_token::CancelToken;
pub use error::{Retry, RoundError, SinkError, SourceError};
pub use events::{Observer, RegionRound, ReplicationEvent, Round, RoundKind};
pub use guest_control::GuestControl;
pub use paused_guest::PausedGuest;
pub use plan::{NoWork, RoundPlan, RoundPolicy, RoundWork, StopReason, Until};
pub use provenance::{Provenance, SourceOrigin};
pub use read_memory::ReadMemory;
pub use same_pages::SamePages;
pub use session::Replication;
pub use sink::{Sink, WriteOutcome};
pub use source::{Collector, GuestState, PageReceiver, PushSource, Source};
