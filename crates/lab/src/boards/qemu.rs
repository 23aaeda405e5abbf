//! How the QEMU of a board is called.

use super::{LabError, Node};
use crate::root::BoardImage;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a board is connected to.
#[derive(Debug)]
pub(super) struct Wiring<'w> {
    pub(super) image: &'w BoardImage,
    /// The file system of the lab's files.
    pub(super) files: &'w Path,
    /// Each card's MAC address, and the socket of its network.
    pub(super) sockets: Vec<(String, PathBuf)>,
    /// Which board of the lab it is.
    pub(super) index: usize,
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> Result<u16, LabError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(LabError::NoPort)?;
    Ok(listener.local_addr().map_err(LabError::NoPort)?.port())
}

impl Wiring<'_> {
    /// QEMU, told to be the board; `port` leads to its ssh.
    pub(super) fn command(&self, node: &Node, port: u16) -> Command {
        // The usual gigabyte of translated code would count for each board.
        let mut qemu = node.spec.command(&self.image.boot, ",tb-size=256", &append(node));
        qemu.args(["-name", &node.name, "-no-user-config"]);
        let own = [("root", &*self.image.root, "snapshot=on"), ("lab", self.files, "readonly=on")];
        let own = own.map(|(id, file, how)| (id.to_owned(), file, how));
        let more = node.disks.iter().enumerate();
        let more = more.map(|(n, disk)| (format!("disk{n}"), &**disk, "snapshot=on"));
        for (id, file, how) in own.into_iter().chain(more) {
            let mut drive = OsString::from(format!("if=none,id={id},format=raw,{how},file="));
            drive.push(comma_doubled(file));
            qemu.arg("-drive").arg(drive);
            qemu.args(["-device", &format!("virtio-blk-pci,drive={id}")]);
        }
        qemu.args(["-object", "rng-random,id=rng,filename=/dev/urandom"]);
        qemu.args(["-device", "virtio-rng-pci,rng=rng"]);
        // It reaches nothing, and is reached by us alone.
        let net = format!("user,id=eth0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22");
        qemu.args(["-netdev", &net]);
        let mac = format!("52:54:00:6d:00:{:02x}", self.index & 0xff);
        qemu.args(["-device", &format!("virtio-net-pci,netdev=eth0,romfile=,mac={mac}")]);
        for (card, (mac, socket)) in self.sockets.iter().enumerate() {
            let id = format!("eth{}", card + 1);
            let mut net = OsString::from(format!(
                "stream,id={id},server=off,reconnect-ms=500,addr.type=unix,addr.path="
            ));
            net.push(comma_doubled(socket));
            qemu.arg("-netdev").arg(net);
            qemu.args(["-device", &format!("virtio-net-pci,netdev={id},romfile=,mac={mac}")]);
        }
        qemu
    }
}

/// More for the kernel's command line: what `up.sh` reads.
fn append(node: &Node) -> String {
    let mut line = format!("memtwin.name={}", node.name);
    let nics = node.nics.iter().map(|nic| {
        let mtu = nic.mtu.map(|mtu| mtu.to_string()).unwrap_or_default();
        format!("{}@{mtu}", nic.address.as_deref().unwrap_or_default())
    });
    let nics: Vec<String> = nics.collect();
    if !nics.is_empty() {
        line.push_str(&format!(" memtwin.net={}", nics.join(",")));
    }
    if !node.load.is_empty() {
        line.push_str(&format!(" memtwin.load={}", node.load.join(",")));
    }
    line
}

/// A path inside one of QEMU's options, where a comma ends a value.
pub(crate) fn comma_doubled(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let parts: Vec<&[u8]> = path.as_os_str().as_bytes().split(|&byte| byte == b',').collect();
    OsString::from_vec(parts.join(&b",,"[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardSpec;
    use crate::boards::Nic;
    use crate::image::Image;

    #[test]
    fn a_board_is_wired() {
        let node = Node {
            name: "a".to_owned(),
            spec: BoardSpec::default(),
            nics: vec![
                Nic { address: Some("192.168.10.100/24".to_owned()), mtu: Some(9000) },
                Nic::default(),
            ],
            disks: vec!["/d".into()],
            load: vec!["nfsv4".to_owned(), "tun".to_owned()],
        };
        let boot = Image { kernel: "/k".into(), initrd: "/i".into() };
        let image = BoardImage { boot, root: "/r,oot".into() };
        let sockets = vec![("52:54:00:00:00:01".to_owned(), "/s".into())];
        let wiring = Wiring { image: &image, files: Path::new("/f"), sockets, index: 3 };
        let command = wiring.command(&node, 2222);
        let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
        let said = words.join(" ");
        for part in [
            "memtwin.name=a memtwin.net=192.168.10.100/24@9000,@ memtwin.load=nfsv4,tun",
            "snapshot=on,file=/r,,oot",
            "snapshot=on,file=/d",
            "restrict=on,hostfwd=tcp:127.0.0.1:2222-:22",
            "addr.path=/s -device virtio-net-pci,netdev=eth1,romfile=,mac=52:54:00:00:00:01",
            "-cpu max,pauth-impdef=on -accel tcg",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
