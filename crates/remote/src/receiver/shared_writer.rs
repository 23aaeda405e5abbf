//! The writer of a connection, shared by those who send on it.

use crate::frames::FrameWriter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The writer of the connection of the moment, for whoever has something to say.
pub(crate) type SharedWriter = Arc<Mutex<Option<FrameWriter>>>;

/// Locks, also after a panic of another thread: what is shared here is whole at all times.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
