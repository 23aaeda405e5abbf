//! A TCP stream that comes back: whether it is whole, and how long it was silent.

#![forbid(unsafe_code)]

use memtwin_guest::clock::monotonic;
use memtwin_guest::quantity;
use memtwin_guest::stop::StopFlag;
use memtwin_guest::stream::{Echo, RECORD, record};
use memtwin_guest::usage::{Arguments, UsageFault, run};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: netload serve PORT
       netload send ADDRESS:PORT [--interval MS]

`serve` sends back what comes. `send` sends a record every MS milliseconds (20) and compares what comes
back, byte by byte; each second, and at its end (SIGTERM, SIGINT), says how much that was and the longest
time in which nothing came:

  netload 50 sent 50 back silence 21.3 ms

It ends with 1 when the stream breaks, or anything else comes back than was sent.";

/// How often it is said.
const LINE: Duration = Duration::from_secs(1);
/// How long nothing may come back at the end, before all has.
const LAST: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    run("netload", USAGE, netload)
}

fn netload() -> Result<(), UsageFault> {
    let arguments = Arguments::parse(std::env::args().skip(1), &[], &["interval"])?;
    let interval = Duration::from_millis(arguments.number("interval")?.unwrap_or(20).max(1));
    match arguments.words(["serve|send", "WHERE"])? {
        ["serve", port] => serve(quantity::parse(port)?),
        ["send", to] => send(to, interval),
        [what, _] => Err(UsageFault::Usage(format!("'{what}': expected serve or send"))),
    }
}

fn serve(port: u64) -> Result<(), UsageFault> {
    let port = u16::try_from(port).map_err(|_| UsageFault::Usage(format!("{port} is no port")))?;
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(UsageFault::failed)?;
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            // Whoever breaks off wants no more.
            let _ = stream.set_nodelay(true);
            let _ = io::copy(&mut &stream, &mut &stream);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn send(to: &str, interval: Duration) -> Result<(), UsageFault> {
    let stop = StopFlag::listen().map_err(UsageFault::failed)?;
    let broken = |error: io::Error| UsageFault::Failed(format!("{to}: {error}"));
    let stream = TcpStream::connect(to).map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let (came, arrivals) = sync_channel(1024);
    let mut back = stream.try_clone().map_err(broken)?;
    thread::spawn(move || {
        let mut chunk = [0; 16 * RECORD];
        loop {
            let read = back.read(&mut chunk);
            let over = !matches!(read, Ok(1..));
            let bytes = read.map(|read| chunk[..read].to_vec());
            if came.send((monotonic(), bytes)).is_err() || over {
                return;
            }
        }
    });
    let (mut echo, mut sent, mut due) = (Echo::new(monotonic()), 0u64, Instant::now());
    let (mut said, mut ending, mut heard) = (Instant::now(), None, Instant::now());
    loop {
        let late = ending.is_some_and(|since: Instant| since.max(heard).elapsed() >= LAST);
        if ending.is_some() && (echo.records() == sent || late) {
            break;
        }
        if ending.is_none() && Instant::now() >= due {
            (&stream).write_all(&record(sent)).map_err(broken)?;
            sent += 1;
            due = (due + interval).max(Instant::now());
        }
        match arrivals.recv_timeout(interval.min(due.saturating_duration_since(Instant::now()))) {
            Ok((at, Ok(bytes))) if !bytes.is_empty() => {
                echo.take(at, &bytes).map_err(UsageFault::failed)?;
                heard = Instant::now();
            }
            Ok((_, Err(error))) => return Err(broken(error)),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                return Err(UsageFault::Failed(format!("{to}: closed by the other side")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if said.elapsed() >= LINE {
            say(&echo, sent)?;
            said = Instant::now();
        }
        if ending.is_none() && stop.is_set() {
            ending = Some(Instant::now());
        }
    }
    say(&echo, sent)?;
    let back = echo.records();
    if back == sent {
        Ok(())
    } else {
        Err(UsageFault::Failed(format!("{sent} sent, {back} came back")))
    }
}

fn say(echo: &Echo, sent: u64) -> Result<(), UsageFault> {
    let silence = echo.silence(monotonic()).as_secs_f64() * 1e3;
    let back = echo.records();
    writeln!(io::stdout(), "netload {sent} sent {back} back silence {silence:.1} ms")
        .map_err(|error| UsageFault::Failed(format!("standard output: {error}")))
}
