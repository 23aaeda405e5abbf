//! A real sshd: its keys, its configuration and its port are its own, and lie in a folder of its own.

use crate::StartError;
use crate::keeper::KeptChild;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";

/// An sshd on the loopback interface, for this user. Killed when dropped.
#[derive(Debug)]
pub struct Sshd {
    kept: KeptChild,
    dir: TempDir,
    port: u16,
}

impl Sshd {
    /// Why there can be none on this machine.
    pub fn lacks() -> Option<String> {
        let starts = |program: &str| Command::new(program).arg("-V").output().is_ok();
        match ["ssh", "ssh-keygen"].into_iter().find(|program| !starts(program)) {
            Some(program) => Some(format!("{program} is not there (openssh-client)")),
            None if !Path::new(SSHD).exists() => {
                Some(format!("{SSHD} is not there (openssh-server)"))
            }
            None => None,
        }
    }

    /// Starts one. Its programs find others in these folders first.
    pub fn start(path: &[&Path]) -> Result<Self, StartError> {
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name);
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file(key));
            if !make.status()?.success() {
                return Err(io::Error::other("ssh-keygen makes no key").into());
            }
        }
        fs::copy(file("user.pub"), file("authorized"))?;
        fs::set_permissions(file("authorized"), fs::Permissions::from_mode(0o600))?;
        // Privilege separation wants this folder, which a start script makes; not root's has none.
        let _ = fs::create_dir("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let path = path.iter().map(|folder| format!("{}:", folder.display())).collect::<String>();
        let mut command = Command::new(SSHD);
        command
            .args(["-D", "-e", "-f", "/dev/null", "-h"])
            .arg(file("host"))
            .args(["-o", "ListenAddress=127.0.0.1", "-p", &port.to_string()])
            .args(["-o", &format!("AuthorizedKeysFile={}", file("authorized").display())])
            .args(["-o", "StrictModes=no", "-o", "PidFile=none", "-o", "UsePAM=no"])
            .args(["-o", "PermitRootLogin=prohibit-password"])
            .args(["-o", &format!("SetEnv=PATH={path}/usr/bin:/bin")])
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut kept = KeptChild::spawn(command)?;
        let errors =
            kept.child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let mut lines = BufReader::new(errors).lines();
        if !lines.by_ref().map_while(Result::ok).any(|line| line.contains("Server listening")) {
            return Err(io::Error::other("sshd does not listen").into());
        }
        // It must not block on what nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        let key = fs::read_to_string(file("host.pub"))?;
        fs::write(file("known"), format!("[127.0.0.1]:{port} {key}"))?;
        let config = format!(
            "IdentityFile {}\nUserKnownHostsFile {}\n",
            file("user").display(),
            file("known").display()
        );
        fs::write(file("config"), config)?;
        Ok(Self { kept, dir, port })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id: its children are its connections.
    pub fn pid(&self) -> u32 {
        self.kept.child.id()
    }

    /// A file for ssh's option -F, with which it is reached.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }
}
