//! A library to be preloaded (ld.so(8), LD_PRELOAD) that stands between a program and the kernel's
//! dirty log and keeps a page back. Memtwin's own controls drop bits inside Memtwin; this one drops
//! them outside, where a kernel that loses a write would: the proof that `memtwin check` notices.
//!
//! `MEMTWIN_SHIM=once:N` withholds the first page of the N-th collection that names any, once for
//! each memslot or process; `MEMTWIN_SHIM=page:P` withholds page P of every collection. Without
//! it the shim only passes on. `MEMTWIN_SHIM_LOG` names a file that gets a line for each page kept
//! back. Only for tests: nothing depends on it.

pub mod interpose;
mod kvm;
mod ledger;
mod pagemap;
mod plan;
mod real;
