//! An address as it is written down, for a note that outlives this process: text that is read back as the same,
//! or bytes where it is none. A path is as plain as it was before there were other forms.

use super::{AbstractName, MonitorAddress};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// As it is written down: text, or bytes where it is none.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenAddress {
    Text(String),
    Bytes(Vec<u8>),
}

impl MonitorAddress {
    /// What [`MonitorAddress::parse`] reads back as this.
    fn bytes(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Path(path) => path.as_os_str().as_bytes().to_vec(),
            Self::Abstract(AbstractName { name, padded: false }) => [b"@", &name[..]].concat(),
            Self::Abstract(AbstractName { name, padded: true }) => {
                [b"unix:", &name[..], b",abstract=on,tight=off"].concat()
            }
            other => other.to_string().into_bytes(),
        };
        match Self::parse(OsStr::from_bytes(&bytes)) {
            Ok(read) if read == *self => bytes,
            // A relative path that looks like another form.
            _ => [b"./", &bytes[..]].concat(),
        }
    }
}

impl Serialize for MonitorAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match String::from_utf8(self.bytes()) {
            Ok(text) => WrittenAddress::Text(text),
            Err(error) => WrittenAddress::Bytes(error.into_bytes()),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for MonitorAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = match WrittenAddress::deserialize(from)? {
            WrittenAddress::Text(text) => text.into_bytes(),
            WrittenAddress::Bytes(bytes) => bytes,
        };
        Self::parse(&OsString::from_vec(bytes)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_written_and_read_back_and_a_plain_path_stays_one() {
        let not_text = MonitorAddress::Path(OsString::from_vec(b"/n\xff".to_vec()).into());
        let odd = MonitorAddress::Path("tcp:x".into());
        let known = ["/run/q", "@q", "tcp:[::1]:1", "fd:7", "libvirt:a@b@qemu:///session"];
        let padded = "unix:q,abstract=on,tight=off".parse().unwrap();
        for address in known.map(|text| text.parse().unwrap()).into_iter().chain([not_text, padded])
        {
            let text = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<MonitorAddress>(&text).unwrap(), address, "{text}");
        }
        // One that looks like another form stays a path.
        let text = serde_json::to_string(&odd).unwrap();
        assert_eq!(text, "\"./tcp:x\"");
        // As it was written before there were other forms.
        let old: MonitorAddress = serde_json::from_str("\"/run/user/0/qmp\"").unwrap();
        assert_eq!(old, MonitorAddress::Path("/run/user/0/qmp".into()));
        assert_eq!(serde_json::to_string(&old).unwrap(), "\"/run/user/0/qmp\"");
    }
}
