//! A real sshd of a test's own: its keys, its configuration and its port in a folder of its own. It
//! ends with the test, by its handle.

use crate::contract;
use memtwin_lab::host::{Host, Ssh};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SSHD: &str = "/usr/sbin/sshd";

/// Why there can be none.
pub(crate) fn missing() -> Option<String> {
    let there = |program: &str| Command::new(program).arg("-V").output().is_ok();
    let program = ["ssh", "ssh-keygen"].into_iter().find(|name| !there(name));
    match program {
        Some(program) => Some(format!("{program} is not there")),
        None if !Path::new(SSHD).exists() => Some(format!("{SSHD} is not there (openssh-server)")),
        None => None,
    }
}

struct Sshd {
    child: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    fn start(folder: &Path) -> Self {
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status();
            assert!(made.unwrap().success());
        }
        let path = |name: &str| folder.join(name).display().to_string();
        fs::copy(path("user.pub"), path("authorized")).unwrap();
        fs::set_permissions(path("authorized"), fs::Permissions::from_mode(0o600)).unwrap();
        // Privilege separation wants this folder, which a start script makes.
        let _ = fs::create_dir("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(SSHD)
            .args(["-D", "-e", "-f", "/dev/null", "-h", &path("host")])
            .args(["-o", "ListenAddress=127.0.0.1", "-p", &port.to_string()])
            .args(["-o", &format!("AuthorizedKeysFile={}", path("authorized"))])
            .args(["-o", "StrictModes=no", "-o", "PidFile=none", "-o", "UsePAM=no"])
            .args(["-o", "PermitRootLogin=prohibit-password"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = lines.by_ref().map_while(Result::ok).any(|l| l.contains("Server listening"));
        assert!(listens, "sshd does not listen");
        // It must not block on what nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        let known = format!("[127.0.0.1]:{port} {}", fs::read_to_string(path("host.pub")).unwrap());
        fs::write(path("known"), known).unwrap();
        Self { child, port }
    }
}

pub(crate) fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(folder.path());
    let option = |key: &str, name: &str| {
        let path: PathBuf = folder.path().join(name);
        ["-o".into(), format!("{key}={}", path.display()).into()]
    };
    let options = [["-F".into(), "none".into()]]
        .into_iter()
        .chain([option("IdentityFile", "user"), option("UserKnownHostsFile", "known")])
        .flatten();
    let host = Ssh::parse(&format!("ssh://127.0.0.1:{}", sshd.port)).unwrap().with_options(options);
    contract::kept(&host);
    let error = host.connect("/no/such/socket").unwrap_err().to_string();
    assert!(error.contains("no connection to /no/such/socket: "), "{error}");
}
