//! What an experiment comes to: the verdicts of all its parts, and what there is to say of it.

use super::clocks;
use super::judge::{self, GuestReport};
use super::record;
use crate::driver::{FailureReason, GuestLocation};
use crate::experiment::{BEAT_INTERVAL, Hop, MigrationExperiment};
use crate::guest::console::ConsoleLine;
use crate::guest::heartbeat::{self, Heartbeat};
use crate::hosts::environment::{NO_NETWORK, NetworkResult};
use crate::report::MigrationReport;
use memtwin_lab::Progress;
use memtwin_pages::Layout;
use memtwin_report::Failure;
use memtwin_report::{Case, CaseBuilder};
use std::time::Duration;

impl MigrationExperiment<'_> {
    /// Judges it.
    pub(crate) fn judge(
        &self,
        hops: &[Hop],
        account: &GuestReport,
        lines: &[ConsoleLine],
        network: Option<NetworkResult>,
        progress: &mut dyn Progress,
    ) -> Result<MigrationReport, Failure> {
        let name = self.environment.name.clone();
        let trial =
            |part: &str| CaseBuilder::new(format!("migrate/{part}"), &name, &Layout::default());
        let beats = heartbeat::heartbeats(lines);
        let mut found = MigrationReport::default();
        let (mut pulses, alone) = (Vec::new(), hops.len() == 1);
        for (n, hop) in (1..).zip(hops) {
            // Up to the next one, so that each gap is seen once.
            let until = hops.get(n).map(|next| next.moved.began);
            let until = |beat: &&Heartbeat| until.is_none_or(|until| beat.at < until);
            let own: Vec<Heartbeat> = beats.iter().filter(until).copied().collect();
            let pulse = heartbeat::stats(&own, hop.moved.began, hop.moved.resumed, BEAT_INTERVAL);
            let seen = network.clone().filter(|_| alone).unwrap_or_default();
            let clocks_ = clocks::clocks(&hop.moved, pulse.as_ref(), &seen, hop.held);
            found.closing.extend((!alone).then(|| format!("hop {n}")));
            found.closing.extend(judge::closing(&hop.moved));
            found.closing.extend(clocks::lines(&clocks_, hop.moved.pause, hop.held));
            found.closing.extend(hop.reaches.iter().cloned());
            let ram = if n == 1 { "ram".to_owned() } else { format!("ram/hop={n}") };
            found.cases.extend(judge::ram(&format!("migrate/{ram}"), &name, &hop.moved));
            found.migration = Some(record::migration(&hop.moved, account, clocks_, hop.held));
            pulses.push((&hop.moved, pulse));
        }
        progress.say("checking the guest's disk");
        found.cases.push(judge::disk(self.environment, trial("disk"), lines, &mut found.closing));
        found.cases.push(judge::guest(trial("guest"), &pulses, account, &mut found.closing));
        found.cases.push(match &network {
            None => Case::skipped("migrate/network", &name, NO_NETWORK),
            Some(NetworkResult { wrong: Some(why), .. }) => trial("network").differs(why),
            Some(NetworkResult { unknown: Some(why), .. }) => {
                trial("network").inconclusive(why, Vec::new())
            }
            Some(_) if hops.iter().any(|hop| hop.moved.location != GuestLocation::Destination) => {
                Case::skipped("migrate/network", &name, "the guest did not move")
            }
            Some(_) => trial("network").judged(Vec::new(), Default::default()),
        });
        found.closing.extend(network.into_iter().flat_map(|network| network.lines));
        let last = hops.last().map(|hop| (&hop.moved, &hop.moved.location));
        match last {
            Some((moved, GuestLocation::Source(FailureReason::NotConverged))) => {
                found.not_converged = true;
                let limit = self.config.downtime_limit;
                let limit = limit.unwrap_or(Duration::from_millis(300));
                let advice = moved.progress.advice(limit).map(|advice| advice.lines());
                found.closing.extend(advice.unwrap_or_default());
            }
            Some((_, GuestLocation::Source(FailureReason::Interrupted))) => {
                found.closing.push("interrupted: the guest ran on at the source".to_owned());
            }
            _ => {}
        }
        if self.config.keep {
            found.closing.push(format!("kept: {}", self.environment.folder.display()));
        }
        Ok(found)
    }
}
