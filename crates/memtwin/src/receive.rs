//! `memtwin receive LISTEN FILE`: the other end of `memtwin replicate SOURCE tcp://HOST:PORT`.

use crate::cli::{OutputArgs, Receive};
use crate::invocation::Invocation;
use crate::remote_args::{Half, save};
use crate::service;
use memtwin_remote::{
    Listener, PeerStream, ReceiveEnd, ReceiverConfig, RemoteError, TwinReceiver, new_pair,
};
use memtwin_replicate::CancelToken;
use memtwin_report::json::JsonTarget;
use memtwin_report::metrics;
use memtwin_report::{Case, Failure};
use memtwin_report::{ExitCode, exit};
use memtwin_session::received_case;
use memtwin_twin::DeviceOptions;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};

/// How many sessions a record has of a receiver that goes on: its last ones.
const MOST_SESSIONS: usize = 1000;

/// Receives a twin, and ends with its verdict.
pub(crate) fn run(
    args: &Receive,
    invocation: &Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    let (listen, file) = match (&args.listen, &args.file) {
        (Some(listen), Some(file)) => (listen, file),
        _ => return new_identity(args),
    };
    let piped = listen == "-";
    if piped && (args.forever || args.output.json == Some(JsonTarget::Stdout)) {
        let why = "LISTEN - takes standard output and one session: no --json -, no --forever";
        return Err(Failure::usage(why));
    }
    crate::output::probe(&args.output)?;
    let device = DeviceOptions { force: args.force_device, ..DeviceOptions::default() };
    let config = ReceiverConfig { wait: args.wait.0, device, ..ReceiverConfig::default() };
    let mut door =
        if piped { Listener::once(PeerStream::stdio()) } else { listen_at(args, listen)? };
    let mut cases = Vec::new();
    let mut has_metrics = false;
    loop {
        let mut receiver = TwinReceiver::new(file, config.clone()).map_err(refused)?;
        if cases.is_empty() {
            service::say_ready();
        }
        if let Some(round) = receiver.recovered() {
            say(args, &format!("{}: holds round {round}; its sender may go on", file.display()));
        }
        let ended = match receiver.run(&mut door, stop) {
            Ok(ended) => ended,
            Err(RemoteError::Stopped) => {
                let held = receiver.recovered();
                ReceiveEnd::Abandoned { held, why: "interrupted".to_owned() }
            }
            Err(error) => return Err(Failure::environment(error)),
        };
        let case = received_case(&ended, &receiver);
        service::say_status(&format!("the last session: {}", case.verdict()));
        if args.forever && !stop.is_set() {
            has_metrics |= save_metrics(args, invocation, &case);
        }
        cases.push(case);
        if cases.len() > MOST_SESSIONS {
            cases.remove(0);
        }
        if !args.forever || stop.is_set() {
            break;
        }
    }
    service::say_stopping();
    let code = exit::of_cases(&cases, false, stop.is_set());
    // Those of the last session stay.
    let metrics = args.output.metrics.clone().filter(|_| !has_metrics);
    let output = &OutputArgs { metrics, ..args.output.clone() };
    let record = invocation.record(cases);
    match (&args.output.json, piped) {
        (_, false) => crate::output::write(output, invocation, record, Vec::new(), code)?,
        // Standard output is the sender's.
        (json, true) => {
            let record = crate::output::complete(invocation, record, Vec::new());
            if let Some(JsonTarget::File(path)) = json {
                memtwin_report::json::save(&record, path).map_err(Failure::environment)?;
            }
            if let Some(target) = crate::output::metrics_target(&args.output, code) {
                metrics::save(&record, &target).map_err(Failure::environment)?;
            }
            crate::output::report(&args.output, &record)?;
        }
    }
    Ok(code)
}

/// Writes the metrics of a session, of a receiver that goes on. Whether they are there; that they can't be written
/// is said, and ends nothing.
fn save_metrics(args: &Receive, invocation: &Invocation, case: &Case) -> bool {
    let code = exit::of_cases(std::slice::from_ref(case), false, false);
    let Some(target) = crate::output::metrics_target(&args.output, code) else { return false };
    let record = invocation.record(vec![case.clone()]);
    let record = crate::output::complete(invocation, record, Vec::new());
    let saved = metrics::save(&record, &target);
    if let Err(error) = &saved {
        crate::output::say(&format!("memtwin: {error}"));
    }
    saved.is_ok()
}

/// Why nothing can be received here.
fn refused(error: RemoteError) -> Failure {
    match error {
        RemoteError::Twin(error) if error.is_usage() => Failure::usage(error),
        error => Failure::environment(error),
    }
}

fn say(args: &Receive, line: &str) {
    if !args.output.quiet {
        crate::output::say(&format!("memtwin: {line}"));
    }
}

fn listen_at(args: &Receive, listen: &str) -> Result<Listener, Failure> {
    if listen == "systemd" {
        return listen_for_systemd(args);
    }
    let name = listen.strip_prefix("tcp://").unwrap_or(listen);
    let addresses: Vec<SocketAddr> = name
        .to_socket_addrs()
        .map_err(|error| Failure::usage(format!("{listen}: {error}; expected HOST:PORT or -")))?
        .collect();
    let Some(&address) = addresses.first() else {
        return Err(Failure::environment(format!("{listen}: no address has that name")));
    };
    let tls = args.keys.door(address)?;
    let how = if tls.is_some() { "TLS" } else { "plain text" };
    let door = Listener::listen(address, tls)
        .map_err(|error| Failure::environment(format!("listening at {address}: {error}")))?;
    if let Some(address) = door.address() {
        say(args, &format!("listening at {address} ({how})"));
    }
    Ok(door)
}

fn listen_for_systemd(args: &Receive) -> Result<Listener, Failure> {
    let socket = service::listening_socket()?;
    let wrong = |error| Failure::environment(format!("the socket of systemd: {error}"));
    let address = socket.local_addr().map_err(wrong)?;
    let tls = args.keys.door(address)?;
    let how = if tls.is_some() { "TLS" } else { "plain text" };
    say(args, &format!("listening at {address}, a socket of systemd's ({how})"));
    Listener::from_socket(socket, tls).map_err(wrong)
}

fn new_identity(args: &Receive) -> Result<ExitCode, Failure> {
    let path = match &args.keys.identity {
        Some(path) => path.clone(),
        None => Half::Receiver.default_path().ok_or_else(|| {
            Failure::environment("no HOME to keep the identity in: give --identity FILE")
        })?,
    };
    let pair = new_pair().map_err(Failure::environment)?;
    save(&pair.receiver, &path)?;
    let sender = Half::Sender.default_path();
    let where_to = sender.map_or("a file".to_owned(), |path| path.display().to_string());
    say(
        args,
        &format!(
            "this side's half is {}; put the line below into {where_to} on the sender (or into \
             MEMTWIN_IDENTITY). It is a secret",
            path.display()
        ),
    );
    writeln!(std::io::stdout(), "{}", pair.sender.line()).map_err(Failure::environment)?;
    Ok(ExitCode::Verified)
}
