//! The two halves of a TLS connection, which share its state.

use rustls::Connection;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn lock(state: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct TlsReader {
    state: Arc<Mutex<Connection>>,
    socket: TcpStream,
    raw: Vec<u8>,
    /// What of `raw` the state has not taken yet.
    held: std::ops::Range<usize>,
}

impl TlsReader {
    pub(super) fn new(state: Arc<Mutex<Connection>>, socket: TcpStream) -> Self {
        Self { state, socket, raw: vec![0; 64 << 10], held: 0..0 }
    }
}

impl Read for TlsReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = {
                let mut state = lock(&self.state);
                let mut read = 0;
                // As much as fits, for as long as there is something to open.
                loop {
                    match state.reader().read(&mut into[read..]) {
                        Ok(0) => return Ok(read),
                        Ok(more) => {
                            read += more;
                            if read == into.len() {
                                return Ok(read);
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        // The end without a goodbye is told by the caller's own frames.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Ok(read);
                        }
                        Err(error) => return Err(error),
                    }
                    if self.held.is_empty() {
                        break read;
                    }
                    let mut held = &self.raw[self.held.clone()];
                    let taken = state.read_tls(&mut held)?;
                    self.held.start += taken;
                    state.process_new_packets().map_err(io::Error::other)?;
                }
            };
            if read > 0 {
                return Ok(read);
            }
            let bytes = self.socket.read(&mut self.raw)?;
            if bytes == 0 {
                return Ok(0);
            }
            self.held = 0..bytes;
        }
    }
}

pub(super) struct TlsWriter {
    state: Arc<Mutex<Connection>>,
    socket: TcpStream,
    sealed: Vec<u8>,
    /// How much of `sealed` the socket has taken.
    gone: usize,
}

impl TlsWriter {
    pub(super) fn new(state: Arc<Mutex<Connection>>, socket: TcpStream) -> Self {
        Self { state, socket, sealed: Vec::new(), gone: 0 }
    }
}

impl Write for TlsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Sealed bytes can't be taken back: those of the call before go first, tick by tick.
        self.flush()?;
        let mut state = lock(&self.state);
        // The state takes as much as its own buffer holds.
        let written = state.writer().write(bytes)?;
        while state.wants_write() {
            state.write_tls(&mut self.sealed)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.gone < self.sealed.len() {
            match self.socket.write(&self.sealed[self.gone..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => self.gone += taken,
            }
        }
        self.sealed.clear();
        self.gone = 0;
        Ok(())
    }
}
