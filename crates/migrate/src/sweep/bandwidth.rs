//! The link: how its bandwidth is limited, and what it carries.
//!
//! Between emulated boards, which are ours, by the kernels that send (tc-tbf(8)), so that everything on
//! the one Ethernet shares it, as in the reference setup. Elsewhere by QEMU's `max-bandwidth`: we change no queue of a
//! machine that is somebody's.

use crate::bit_rate::BitRate;
use crate::hosts::environment::{Environment, MigrationHost};
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host};
use memtwin_qemu::Parameters;
use memtwin_report::Failure;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a line may take on an emulated board.
const LINE: Duration = Duration::from_secs(120);
/// What the boards' kernel may send at once: the tokens of this time, and of a large packet at least.
const BURST: Duration = Duration::from_millis(10);
const LEAST: u64 = 256 << 10;

/// What limits the bandwidth.
#[derive(Debug)]
pub(super) enum BandwidthLimit {
    /// QEMU.
    Qemu,
    /// The kernels of both hosts, each on the device that leads to the other's address.
    Kernels([(Arc<dyn Host>, String); 2]),
}

impl BandwidthLimit {
    pub(super) fn of(environment: &Environment) -> Self {
        let address = |to: &MigrationHost| {
            let (address, _) = to.connect.strip_prefix("tcp:")?.rsplit_once(':')?;
            Some(address.to_owned())
        };
        // What may be broken is ours. A board of `memtwin lab up` may not.
        let ours = environment.breakable.is_some();
        let (a, b) = (&environment.source, &environment.destination);
        match (address(a), address(b)) {
            (Some(to_a), Some(to_b)) if ours => {
                Self::Kernels([(Arc::clone(&a.host), to_b), (Arc::clone(&b.host), to_a)])
            }
            _ => Self::Qemu,
        }
    }

    /// What the record calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Qemu => "max-bandwidth",
            Self::Kernels(_) => "tc tbf",
        }
    }

    /// Sets it, or takes the limit away; what QEMU is to be told is put among the parameters.
    ///
    /// Errors: a host has no tc, or its kernel no such queue.
    pub(super) fn limit(
        &self,
        rate: Option<BitRate>,
        parameters: &mut Parameters,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let mut own = 0;
        match self {
            Self::Qemu => own = rate.map_or(0, BitRate::bytes),
            Self::Kernels(hosts) => {
                for (host, peer) in hosts {
                    let line = line(peer, rate);
                    host::run(&**host, &line, LINE, progress).map_err(Failure::environment)?;
                }
            }
        }
        // 0 is no limit.
        parameters.insert("max-bandwidth".to_owned(), Value::from(own));
        Ok(())
    }
}

fn line(peer: &str, rate: Option<BitRate>) -> String {
    let device =
        format!("d=$(/usr/bin/ip -o route get {peer} | sed -n 's/.* dev \\([^ ]*\\) .*/\\1/p')");
    match rate {
        None => format!(
            "{device} && if tc qdisc show dev $d root | grep -q '^qdisc tbf'; then tc qdisc del dev $d root; fi"
        ),
        Some(rate) => {
            let burst = (rate.bytes() as f64 * BURST.as_secs_f64()) as u64;
            format!(
                "load sch_tbf && {device} && tc qdisc replace dev $d root tbf rate {}bit burst {} latency 400ms",
                rate.0,
                burst.max(LEAST)
            )
        }
    }
}

/// The most that was carried in any second, from looks at how much was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct BestSecond {
    looks: VecDeque<(Instant, u64)>,
    first: Option<(Instant, u64)>,
    best: f64,
}

impl BestSecond {
    pub(super) fn see(&mut self, now: Instant, sent: u64) {
        const SECOND: Duration = Duration::from_secs(1);
        self.first.get_or_insert((now, sent));
        self.looks.push_back((now, sent));
        let since = |look: &(Instant, u64)| now.saturating_duration_since(look.0);
        while self.looks.get(1).is_some_and(|look| since(look) >= SECOND) {
            self.looks.pop_front();
        }
        if let Some(look) = self.looks.front().filter(|look| since(look) >= SECOND) {
            let rate = sent.saturating_sub(look.1) as f64 / since(look).as_secs_f64();
            self.best = self.best.max(rate);
        }
    }

    /// Bytes per second; of all that was seen, if that was less than a second.
    pub(super) fn bytes_per_second(&self) -> u64 {
        if self.best > 0.0 {
            return self.best as u64;
        }
        let (Some(first), Some(last)) = (self.first, self.looks.back()) else { return 0 };
        let took = last.0.saturating_duration_since(first.0).as_secs_f64();
        if took > 0.0 { (last.1.saturating_sub(first.1) as f64 / took) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_second_counts_and_a_burst_does_not() {
        let (t, mut best) = (Instant::now(), BestSecond::default());
        let mut see = |ms: u64, sent: u64| {
            best.see(t + Duration::from_millis(ms), sent);
            best.bytes_per_second()
        };
        assert_eq!(see(0, 0), 0);
        assert_eq!(see(100, 50), 500);
        assert_eq!(see(500, 50), 100);
        assert_eq!(see(1000, 100), 100);
        // From 500 on, and from 1000 on.
        assert_eq!(see(1500, 350), 300);
        assert_eq!(see(2000, 400), 300);
        assert_eq!(see(9000, 400), 300);
    }

    #[test]
    fn the_kernels_line() {
        let limited = line("192.168.10.101", Some(BitRate(1_000_000_000)));
        assert!(
            limited.starts_with("load sch_tbf && d=$(/usr/bin/ip -o route get 192.168.10.101 |")
        );
        assert!(
            limited.ends_with("tbf rate 1000000000bit burst 1250000 latency 400ms"),
            "{limited}"
        );
        assert!(line("192.168.10.101", None).contains("tc qdisc del dev $d root"));
    }
}
