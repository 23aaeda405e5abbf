//! The guest's network: a ping and a stream from storage to it, who reaches whom after the move, and the
//! route.

use super::stage::{Network, NetworkFound};
use crate::failure::Failure;
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host};
use memtwin_migrate::plan::{Plan, ip};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a line may take there.
const LINE: Duration = Duration::from_secs(60);
/// How long a program may take to end.
const END: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
/// How long the stream may take to catch up after the move, and how many records are always under way.
const CATCH_UP: Duration = Duration::from_secs(120);
const BEHIND: u64 = 50;
/// The port of the stream.
const PORT: u16 = 7;
/// Between two pings, in seconds; and between two records, in milliseconds.
const PING: f64 = 0.2;
const RECORD: u32 = 20;

/// The network of a plan.
#[derive(Debug)]
pub(super) struct Lan {
    storage: Arc<dyn Host>,
    guest: String,
    guest_net: String,
    gateway: String,
    server: String,
    a: String,
    b: String,
    ping: Option<Talker>,
    stream: Option<Talker>,
    wrong: Option<String>,
    unknown: Option<String>,
}

/// A program on a host that speaks into a file there: its last words would not come by a connection that
/// is being closed.
#[derive(Debug)]
struct Talker {
    child: Child,
    host: Arc<dyn Host>,
    place: String,
}

impl Lan {
    pub(super) fn new(plan: &Plan, storage: Arc<dyn Host>) -> Self {
        let text = |address: &str| ip(address).to_owned();
        Self {
            storage,
            guest: text(&plan.guest.address),
            guest_net: plan.guest.address.clone(),
            gateway: text(&plan.boards.tap_address),
            server: text(&plan.storage.address),
            a: text(&plan.a.address),
            b: text(&plan.b.address),
            ping: None,
            stream: None,
            wrong: None,
            unknown: None,
        }
    }
}

impl Talker {
    /// Starts the program of a line. It ends with us.
    fn start(host: &Arc<dyn Host>, name: &str, line: &str) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::environment(format!("{line}: {error}"));
        let place = format!("/run/memtwin.{name}");
        let line = format!("echo $$ >{place}.pid; exec {line} >{place}.log 2>&1");
        let mut command = host.command(&line);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        Ok(Self { child, host: Arc::clone(host), place })
    }

    /// The last that it has said.
    fn said(&self, progress: &mut dyn Progress) -> Result<String, Failure> {
        let line = format!("tail -n 3 {}.log 2>/dev/null || true", self.place);
        host::run(&*self.host, &line, LINE, progress).map_err(Failure::environment)
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Ends it, as far as it has not ended by itself; all that it has said.
    fn end(self, progress: &mut dyn Progress) -> Result<String, Failure> {
        let line = format!(
            "p=$(cat {0}.pid); kill -s INT $p 2>/dev/null; n=0; while kill -s 0 $p 2>/dev/null && \
             [ $n -lt 400 ]; do sleep 0.1; n=$((n+1)); done; cat {0}.log",
            self.place
        );
        host::run(&*self.host, &line, END, progress).map_err(Failure::environment)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        if !self.has_ended() {
            drop(self.child.stdin.take());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Network for Lan {
    fn orders(&self) -> Vec<String> {
        vec![
            format!(
                "run ip link set eth0 up && ip address add {} dev eth0 && ip route add default via {}",
                self.guest_net, self.gateway
            ),
            format!("start echo netload serve {PORT}"),
        ]
    }

    fn begin(&mut self, progress: &mut dyn Progress) -> Result<(), Failure> {
        let storage = &*self.storage;
        // The first packet finds the way, and may take its time.
        let reached =
            host::run(storage, &format!("/usr/bin/ping -c 1 -W 20 {}", self.guest), LINE, progress);
        reached.map_err(Failure::environment)?;
        let ping = format!("/usr/bin/ping -D -i {PING} {}", self.guest);
        self.ping = Some(Talker::start(&self.storage, "ping", &ping)?);
        let stream = format!("netload send {}:{PORT} --interval {RECORD}", self.guest);
        let mut stream = Talker::start(&self.storage, "stream", &stream)?;
        let began = Instant::now();
        loop {
            let said = stream.said(progress)?;
            if said.contains(" back ") {
                break;
            }
            if stream.has_ended() || began.elapsed() >= LINE || progress.is_cancelled() {
                return Err(Failure::environment(format!(
                    "no stream to the guest: {}",
                    said.trim()
                )));
            }
            std::thread::sleep(5 * TICK);
        }
        self.stream = Some(stream);
        progress.say("storage pings the guest, and sends it a stream");
        Ok(())
    }

    fn switch(
        &mut self,
        back: bool,
        ask: &mut dyn FnMut(&str) -> Option<Vec<String>>,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<String>, Duration), Failure> {
        let began = Instant::now();
        let (board, to) = if back { ("board a", &self.a) } else { ("board b", &self.b) };
        // All at once, as the stream waits for the route meanwhile.
        let all = [
            ("its network", &self.gateway, true),
            (board, to, true),
            ("storage", &self.server, false),
        ];
        // One answer says that it reaches it; that it does not, no single ping does on a busy machine.
        let pings = all.map(|(_, address, expected)| {
            let times = if expected { 5 } else { 1 };
            format!("reach {address} {times} &")
        });
        let said = ask(&format!(
            "reach() {{ n=0; while [ $n -lt $2 ]; do n=$((n+1)); ping -c 1 -W 2 $1 >/dev/null 2>&1 && \
             echo reaches $1 && return; done; }}; {} wait",
            pings.join(" ")
        ));
        let route = format!("/usr/bin/ip route replace {} via {}", self.guest, to);
        let held = began.elapsed();
        let switched = host::run(&*self.storage, &route, LINE, progress);
        switched.map_err(Failure::environment)?;
        progress.say(&format!("the route leads to {board}"));
        let again =
            ask(&format!("ping -c 3 -W 5 {0} >/dev/null 2>&1 && echo reaches {0}", self.server));

        let mut lines = Vec::new();
        let mut check =
            |when: &str, who: &str, address: &str, said: &Option<Vec<String>>, expected| {
                let Some(said) = said else {
                    let what = format!(
                        "{when} the route is switched, the guest does not say whom it reaches"
                    );
                    self.unknown.get_or_insert(what);
                    return;
                };
                let reaches = said.iter().any(|line| *line == format!("reaches {address}"));
                let how = if reaches { "reaches" } else { "does not reach" };
                let line =
                    format!("{when} the route is switched, the guest {how} {who} ({address})");
                progress.say(&line);
                lines.push(line.clone());
                if reaches != expected {
                    self.wrong.get_or_insert(line);
                }
            };
        for (who, address, expected) in all {
            check("before", who, address, &said, expected);
        }
        check("after", "storage", &self.server, &again, true);
        Ok((lines, held))
    }

    fn end(&mut self, progress: &mut dyn Progress) -> Result<NetworkFound, Failure> {
        let (wrong, unknown) = (self.wrong.take(), self.unknown.take());
        let mut found = NetworkFound { wrong, unknown, ..NetworkFound::default() };
        if let Some(mut stream) = self.stream.take() {
            // TCP tries again more and more rarely, and needs a while to be where it was.
            let began = Instant::now();
            let behind =
                |said: &str| stream_of(said).is_none_or(|(sent, back, _)| back + BEHIND < sent);
            while !stream.has_ended() && began.elapsed() < CATCH_UP && !progress.is_cancelled() {
                if !behind(&stream.said(progress)?) {
                    break;
                }
                std::thread::sleep(10 * TICK);
            }
            let broke = stream.has_ended();
            let said = stream.end(progress)?;
            let told = stream_of(&said);
            found.silence = told.map(|(.., silence)| silence);
            let complaint = said.lines().find(|line| line.starts_with("netload: "));
            let wrong = match (told, complaint) {
                (_, Some(line)) => Some(format!("the stream: {line}")),
                (None, None) => {
                    found.unknown.get_or_insert("the stream's last words are not there".to_owned());
                    None
                }
                (Some((sent, back, _)), None) if sent != back => {
                    Some(format!("the stream: {sent} records sent, {back} came back"))
                }
                _ if broke => Some("the stream ended by itself".to_owned()),
                (Some((sent, back, silence)), None) => {
                    found.lines.push(format!(
                        "stream: {back} of {sent} records came back, byte by byte; silent for {:.1} ms at most",
                        silence.as_secs_f64() * 1e3
                    ));
                    None
                }
            };
            found.wrong = found.wrong.or(wrong);
        }
        if let Some(ping) = self.ping.take() {
            match pings(&ping.end(progress)?) {
                Some(pings) => {
                    found.ping_gap = Some(pings.gap);
                    found.lines.push(format!(
                        "ping: {} of {} answered ({} lost), none for {:.0} ms at most",
                        pings.answered,
                        pings.sent,
                        pings.sent - pings.answered,
                        pings.gap.as_secs_f64() * 1e3
                    ));
                }
                None => found.wrong = found.wrong.or(Some("no ping was answered".to_owned())),
            }
        }
        Ok(found)
    }
}

/// The last line of `netload send`: records sent, records that came back, the longest silence.
fn stream_of(said: &str) -> Option<(u64, u64, Duration)> {
    let line = said.lines().rfind(|line| line.starts_with("netload ") && line.ends_with(" ms"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let ["netload", sent, "sent", back, "back", "silence", silence, "ms"] = words[..] else {
        return None;
    };
    let silence = Duration::try_from_secs_f64(silence.parse::<f64>().ok()? / 1e3).ok()?;
    Some((sent.parse().ok()?, back.parse().ok()?, silence))
}

/// What `ping -D` has said.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pings {
    sent: u64,
    answered: u64,
    /// The longest time between two answers, in excess of the interval.
    gap: Duration,
}

/// `[1412899200.123456] 64 bytes from 192.168.2.100: icmp_seq=7 ttl=63 time=1.2 ms`
fn pings(said: &str) -> Option<Pings> {
    let answer = |line: &str| {
        let (stamp, rest) = line.strip_prefix('[')?.split_once(']')?;
        let (_, seq) = rest.split_once("bytes from ").and(rest.split_once("icmp_seq="))?;
        let seq: u64 = seq.split(' ').next()?.parse().ok()?;
        Some((stamp.parse::<f64>().ok()?, seq))
    };
    let answers: Vec<(f64, u64)> = said.lines().filter_map(answer).collect();
    let gaps = answers.windows(2).map(|pair| pair[1].0 - pair[0].0 - PING);
    let mut seqs: Vec<u64> = answers.iter().map(|(_, seq)| *seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let gap = Duration::try_from_secs_f64(gaps.fold(0.0, f64::max)).unwrap_or_default();
    Some(Pings { sent: *seqs.last()?, answered: seqs.len() as u64, gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_pings_are_counted_and_the_gap_is_measured() {
        let said = "PING 192.168.2.100 56(84) bytes of data.\n\
            [100.000000] 64 bytes from 192.168.2.100: icmp_seq=1 ttl=63 time=1.2 ms\n\
            [100.200000] 64 bytes from 192.168.2.100: icmp_seq=2 ttl=63 time=1.2 ms\n\
            [101.400000] 64 bytes from 192.168.2.100: icmp_seq=8 ttl=63 time=1.2 ms\n";
        let pings = pings(said).unwrap();
        assert_eq!((pings.sent, pings.answered, pings.gap.as_millis()), (8, 3, 1000));
        assert_eq!(super::pings("PING"), None);
    }

    #[test]
    fn the_last_word_of_the_stream_counts() {
        let said =
            "netload 50 sent 49 back silence 21.3 ms\nnetload 90 sent 90 back silence 512.5 ms\n";
        assert_eq!(stream_of(said), Some((90, 90, Duration::from_micros(512_500))));
        assert_eq!(stream_of("sh: netload: not found"), None);
    }
}
