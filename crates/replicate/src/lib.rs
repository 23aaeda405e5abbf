//! The engine: it keeps a twin of a guest's memory, fed by the dirty log alone.
//!
//! A [`Source`] is a running guest seen through its dirty log, a [`Sink`] is where its twin lies.
//! [`Replication`] runs rounds between them: round 0 copies every page (pre-copy), each later
//! round collects the log and copies the pages that it named. [`Replication::stand_still`] brings
//! both to a halt for a judge. Where the hypervisor itself sends the pages along with its log
//! ([`Deliver`]), a round is one delivery of them.
//!
//! What the types see to:
//! - A source can only *add* to what was collected ([`Collector`]), and the engine takes a page
//!   off its backlog only after the sink has committed it. An error, anywhere, loses no bit.
//! - A comparison needs a [`Still`], which exists only while the guest is paused, the log was
//!   collected clean and everything is committed; dropping it lets the guest run again.
//! - A guest that must not stand still for long is read in [`Replication::read_paused`]: nothing goes to the
//!   sink meanwhile, so no disk and no network is waited for.
//! - Dropping the [`Replication`] switches logging off and lets the guest run again.
//!
//! No operating system, no `unsafe`.

#![forbid(unsafe_code)]

mod backlog;
mod buffered;
mod delivery;
mod error;
mod events;
mod paused;
mod plan;
mod round;
mod session;
mod sink;
mod source;
mod still;
mod stop;

pub use buffered::BufferedSource;
pub use error::{Again, RoundError, SinkError, SourceError};
pub use events::{Event, Observer, Round, RoundKind, Share};
pub use plan::{Ended, Plan, RoundPolicy, Until};
pub use session::Replication;
pub use sink::{Sink, Written};
pub use source::{Collector, Deliver, Delivery, GuestState, Source};
pub use still::Still;
pub use stop::Stop;
