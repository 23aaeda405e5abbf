//! Which process is at the other end of a connection: of a unix socket the kernel says it (SO_PEERCRED,
//! unix(7)); of a TCP connection within this host its other end is in the kernel's table with an inode
//! (proc_pid_net(5)), which is a descriptor of that process.

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::net::{SocketAddrAny, getpeername, getsockname};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

/// The process at the other end; `None` if it can't be seen from here.
///
/// Errors: the system does not say.
pub(crate) fn pid(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    if let Some(ends) = tcp_ends(socket) {
        return Ok(other_end(ends).filter(|inode| *inode != 0).and_then(holder));
    }
    // Not rustix's: its pid can't be 0, as it is for a process outside of our PID namespace.
    let peer = getsockopt(&socket, PeerCredentials)?;
    Ok(u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0))
}

/// Whether the other end of a TCP connection was accepted, as far as is seen from here.
pub(crate) fn is_accepted(socket: BorrowedFd<'_>) -> bool {
    tcp_ends(socket).and_then(other_end).is_some_and(|inode| inode != 0)
}

/// Ours, and the other one.
type TcpEnds = (SocketAddr, SocketAddr);

fn tcp_ends(socket: BorrowedFd<'_>) -> Option<TcpEnds> {
    let address = |any: SocketAddrAny| SocketAddr::try_from(any).ok().map(canonical);
    Some((address(getsockname(socket).ok()?)?, address(getpeername(socket).ok()??)?))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The inode of the other end, if it is on this host: 0 while it waits to be accepted.
fn other_end((ours, theirs): TcpEnds) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| inode_of(line, theirs, ours))
    })
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn inode_of(line: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_it = address(fields.get(1)?)? == local && address(fields.get(2)?)? == remote;
    if is_it { fields.get(9)?.parse().ok() } else { None }
}

/// `0100007F:115C`: words of four bytes in the host's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(host.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// The process that has this socket open.
fn holder(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let has = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        fds.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|link| link.as_os_str() == wanted.as_str())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   1: 0100007F:115C 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 \
                    4711 1 0000000000000000 20 0 0 10 -1";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(inode_of(line, at(4444), at(50000)), Some(4711));
            assert_eq!(inode_of(line, at(50000), at(4444)), None);
            let mapped = "0000000000000000FFFF00000100007F:115C";
            assert_eq!(address(mapped), Some(at(4444)));
            assert_eq!(
                address("00000000000000000000000001000000:0001"),
                Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 1))
            );
        }
        assert_eq!((address("x"), address("00:1")), (None, None));
    }

    #[test]
    fn who_has_the_other_end_of_a_tcp_connection_is_known_once_it_was_accepted() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let port = listener.local_addr().unwrap().port();
            let address = if host == "[::1]:0" {
                format!("[::1]:{port}")
            } else {
                format!("127.0.0.1:{port}")
            };
            let client = TcpStream::connect(address).unwrap();
            assert!(!is_accepted(client.as_fd()), "{host}");
            assert_eq!(pid(client.as_fd()).unwrap(), None, "{host}");
            let _server = listener.accept().unwrap();
            assert!(is_accepted(client.as_fd()), "{host}");
            assert_eq!(pid(client.as_fd()).unwrap(), Some(std::process::id()), "{host}");
        }
    }
}
