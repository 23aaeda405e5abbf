//! What is judged of a move: the guest's memory, by digests of both sides, and what it said to be durable.

pub mod compare;
pub mod digest;
pub mod durability;
