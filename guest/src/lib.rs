//! What the programs that run inside guests are made of: a load that dirties pages at a given pace
//! (`dirtyram`), the test of the device memory (`tstaeshm`), a heartbeat (`writeout`), a file that is
//! written and synced (`diskload`), a stream that comes back (`netload`).
//!
//! The names and the parameters are those of the reference setup. The parts that only
//! calculate are apart from those that touch a machine, so that they are tested on the host.

pub mod chain;
pub mod clock;
pub mod device;
pub mod heartbeat;
pub mod ivshmem;
pub mod load;
pub mod memory;
pub mod pace;
pub mod quantity;
pub mod stop;
pub mod stream;
pub mod sum;
pub mod usage;
pub mod window;
