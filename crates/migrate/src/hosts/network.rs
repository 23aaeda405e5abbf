//! The guest's network: a ping and a stream from storage to it, who reaches whom after the move, and the
//! route.

mod background;
mod output;
mod stream_watch;

use background::BackgroundProgram;
use background::LINE;
use memtwin_wait::Deadline;
use output::PING;
use output::{last_ping, pings, stream_of};
use stream_watch::{StreamState, StreamVerdict, StreamWatch, verdict};

use super::environment::{GuestNetwork, NetworkResult};
use crate::plan::{MigrationPlan, ip};
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host};
use memtwin_report::Failure;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The port of the stream.
const PORT: u16 = 7;
const RECORD: u32 = 20;

/// What storage has for it.
#[derive(Clone, Debug)]
pub(crate) struct NetworkTools {
    /// Programs, by their paths: a shell that is busybox would take its own.
    pub(crate) ip: String,
    pub(crate) ping: String,
    /// Our own, which speaks to the guest.
    pub(crate) netload: String,
    /// A folder for what they say.
    pub(crate) folder: String,
}

impl NetworkTools {
    /// Those of an emulated board.
    pub(crate) fn board() -> Self {
        let [ip, ping, netload, folder] =
            ["/usr/bin/ip", "/usr/bin/ping", "netload", "/run"].map(str::to_owned);
        Self { ip, ping, netload, folder }
    }
}

/// The network of a plan.
#[derive(Debug)]
pub(crate) struct PlanNetwork {
    storage: Arc<dyn Host>,
    tools: NetworkTools,
    guest: String,
    guest_net: String,
    gateway: String,
    server: String,
    a: String,
    b: String,
    ping: Option<BackgroundProgram>,
    stream: Option<BackgroundProgram>,
    wrong: Option<String>,
    unknown: Option<String>,
}

impl PlanNetwork {
    pub(crate) fn new(plan: &MigrationPlan, storage: Arc<dyn Host>, tools: NetworkTools) -> Self {
        let text = |address: &str| ip(address).to_owned();
        Self {
            storage,
            tools,
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

impl GuestNetwork for PlanNetwork {
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
        let NetworkTools { ping, netload, folder, .. } = &self.tools;
        // The first packet finds the way, and may take its time.
        let reached =
            host::run(storage, &format!("{ping} -c 1 -W 20 {}", self.guest), LINE, progress);
        reached.map_err(Failure::environment)?;
        let line = format!("{ping} -D -i {PING} {}", self.guest);
        self.ping = Some(BackgroundProgram::start(&self.storage, folder, "ping", &line)?);
        let line = format!("{netload} send {}:{PORT} --interval {RECORD}", self.guest);
        let mut stream = BackgroundProgram::start(&self.storage, folder, "stream", &line)?;
        let deadline = Deadline::after(LINE);
        loop {
            let said = stream.said(progress)?;
            if said.contains(" back ") {
                break;
            }
            if stream.is_cut_off() || deadline.is_over() || progress.is_cancelled() {
                return Err(Failure::environment(format!(
                    "no stream to the guest: {}",
                    said.trim()
                )));
            }
            deadline.sleep(5 * POLL_INTERVAL);
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
        // Not `replace`: one that has been taken away meanwhile is not set again.
        let route = format!("{} route change {} via {}", self.tools.ip, self.guest, to);
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

    fn end(&mut self, progress: &mut dyn Progress) -> Result<NetworkResult, Failure> {
        let (wrong, unknown) = (self.wrong.take(), self.unknown.take());
        let mut found = NetworkResult { wrong, unknown, ..NetworkResult::default() };
        if let Some(stream) = self.stream.take() {
            self.end_stream(stream, &mut found, progress)?;
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

impl PlanNetwork {
    /// Lets the stream catch up, ends it, and judges what it says.
    fn end_stream(
        &self,
        mut stream: BackgroundProgram,
        found: &mut NetworkResult,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let (mut behind, began) = (StreamWatch::default(), Instant::now());
        let mut course = StreamState::Behind;
        while course == StreamState::Behind && !stream.is_cut_off() && !progress.is_cancelled() {
            let told = stream_of(&stream.said(progress)?).map(|(sent, back, _)| (sent, back));
            let pinged = match &self.ping {
                Some(ping) => last_ping(&ping.said(progress)?),
                None => None,
            };
            course = behind.see(began.elapsed(), told, pinged);
            std::thread::sleep(10 * POLL_INTERVAL);
        }
        let broke = stream.has_ended();
        let said = stream.end(progress)?;
        found.silence = stream_of(&said).map(|(.., silence)| silence);
        match verdict(&said, broke, course) {
            StreamVerdict::Whole(line) => found.lines.push(line),
            StreamVerdict::Wrong(why) => found.wrong = found.wrong.take().or(Some(why)),
            StreamVerdict::Unknown(why) => found.unknown = found.unknown.take().or(Some(why)),
        }
        Ok(())
    }
}
