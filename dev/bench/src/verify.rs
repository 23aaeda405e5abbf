//! `memtwin verify` of two equal images in page cache, beside `cmp`.

use crate::beside::{Aim, Measured};
use anyhow::{Result, ensure};
use memtwin_mapping::{Mapping, host_page_size};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const LEN: usize = 4 << 30;

pub(crate) fn verify(dir: &Path, memtwin: &Path, turns: usize) -> Result<Measured> {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let file = File::options().read(true).write(true).create_new(true).open(&a)?;
    file.set_len(LEN as u64)?;
    let mapping = Mapping::shared(file.as_fd(), LEN, host_page_size())?;
    memtwin_stressor::fill(&mapping, LEN, host_page_size(), 3);
    drop(mapping);
    fs::copy(&a, &b)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let mut verify = Command::new(memtwin);
        verify.arg("verify").arg(&a).arg(&b).arg("--quiet");
        let mut cmp = Command::new("cmp");
        cmp.arg(&a).arg(&b);
        for (command, times) in [(&mut verify, &mut ours), (&mut cmp, &mut theirs)] {
            let began = Instant::now();
            let status = command.stdout(Stdio::null()).status()?;
            ensure!(status.success(), "{command:?}: {status}");
            times.push(began.elapsed());
        }
    }
    [a, b].iter().try_for_each(fs::remove_file)?;
    let what = "verify of two equal 4 GiB images, both digests of both";
    Ok(Measured::of(what, &ours, "cmp", &theirs, Aim::Faster(1.0)))
}
