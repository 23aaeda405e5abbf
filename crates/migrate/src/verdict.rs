//! What is judged of a move: the guest's memory, by digests of both sides, and what it said to be durable.

pub(crate) mod clocks;
pub mod compare;
pub(crate) mod conclusion;
pub mod digest;
pub mod durability;
pub(crate) mod judge;
pub(crate) mod record;
