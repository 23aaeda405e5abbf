//! The thread that starts every bound child.
//!
//! The signal comes when the *thread* ends that started the child (PR_SET_PDEATHSIG(2const)), and threads
//! come and go. So one starts them all that does nothing else, and ends with the process.

use crate::between::Between;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// A command to be started, and whom to give it back to with what came of it.
type Order = (Command, SyncSender<(Command, io::Result<Child>)>);

static ORDERS: OnceLock<Mutex<Option<Sender<Order>>>> = OnceLock::new();

/// Starts a command's child from that thread.
pub(crate) fn spawn(command: &mut Command, between: Between) -> io::Result<Child> {
    let orders = orders()?;
    between.of(command);
    let (give, take) = sync_channel(1);
    let theirs = std::mem::replace(command, Command::new(""));
    let gone = || io::Error::other("no thread to start it");
    if let Err(refused) = orders.send((theirs, give)) {
        (*command, _) = refused.0;
        return Err(gone());
    }
    let (ours, started) = take.recv().map_err(|_| gone())?;
    *command = ours;
    started
}

/// The way to the thread, which is started first if there is none.
fn orders() -> io::Result<Sender<Order>> {
    let orders = ORDERS.get_or_init(Mutex::default);
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = &*orders {
        return Ok(orders.clone());
    }
    let (sender, receiver) = channel::<Order>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for (mut command, give) in receiver {
            #[allow(clippy::disallowed_methods, reason = "this is the one place")]
            let started = command.spawn();
            // Whoever ordered it waits.
            let _ = give.send((command, started));
        }
    })?;
    *orders = Some(sender.clone());
    Ok(sender)
}
