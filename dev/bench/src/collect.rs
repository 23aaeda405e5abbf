//! Collecting KVM's log of 4 GiB, beside the bare request.

#![allow(unsafe_code, reason = "the bare request is an ioctl")]

use crate::beside::{Aim, Measured};
use anyhow::{Result, ensure};
use kvm_bindings::{KVMIO, kvm_dirty_log};
use memtwin_kvm::Mode;
use memtwin_replicate::{CancelToken, Replication, Source};
use memtwin_stressor::Stressor;
use memtwin_twin::Discard;
use memtwin_vmm::{Backing, Config, KvmGuest};
use std::thread;
use std::time::{Duration, Instant};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(KVM_GET_DIRTY_LOG, KVMIO, 0x42, kvm_dirty_log);

const LEN: u64 = 4 << 30;
/// How long the guest writes between two collections.
const WRITE: Duration = Duration::from_millis(40);

pub(crate) fn collect(turns: usize) -> Result<Measured> {
    let guest = KvmGuest::new(Config {
        mode: Mode::Get,
        backing: Backing::Anon,
        file: None,
        bytes: LEN,
        vcpus: 1,
        stressor: Stressor::Random,
        seed: 1,
        translation: None,
        ring_entries: 1024,
    })?;
    let pages = guest.layout().pages();
    let stop = CancelToken::default();
    let mut bitmap = vec![0u64; pages.div_ceil(64) as usize];
    let mut replication = Replication::start(guest, Discard, ())?;
    replication.round(&stop)?;
    replication.source_mut().start();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..=turns * 2 {
        // The guest holds still while it is collected, so that both see the same work.
        thread::sleep(WRITE);
        replication.source_mut().pause()?;
        let round = replication.round(&stop)?;
        replication.source_mut().resume()?;

        thread::sleep(WRITE);
        replication.source_mut().pause()?;
        let mut log = kvm_dirty_log { slot: KvmGuest::WINDOW_SLOT, ..kvm_dirty_log::default() };
        log.__bindgen_anon_1.dirty_bitmap = bitmap.as_mut_ptr().cast();
        let vm = replication.source().machine();
        let began = Instant::now();
        // SAFETY: the window has `pages` pages, for each of which `bitmap` has a bit.
        let answer = unsafe { ioctl_with_ref(&vm, KVM_GET_DIRTY_LOG(), &log) };
        let bare = began.elapsed();
        replication.source_mut().resume()?;
        ensure!(answer == 0 && round.dirty_pages > 0);
        if turn > 0 {
            ours.push(round.collect);
            theirs.push(bare);
        }
    }
    let what = "collecting the log of 4 GiB";
    Ok(Measured::of(what, &ours, "the bare KVM_GET_DIRTY_LOG", &theirs, Aim::Cost(1.2)))
}
