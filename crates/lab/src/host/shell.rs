//! Shell lines as they are handed to another machine's shell, whichever that is.

/// Where root's programs are; a shell that is no login shell may not look there.
const PATH: &str = "PATH=$PATH:/usr/sbin:/sbin; export PATH; ";

/// Runs the line `$1` in a session of its own. When standard input ends, so does all that the line
/// has started, by SIGTERM and five seconds later by SIGKILL; when the line ends, what it has left
/// in its session as well. The watcher is in another session than all of them: it is still there when
/// the shell that began it has been killed. It takes a group that is not one yet for a process.
const WATCHED: &str = r#"exec 3<&0
setsid sh -c "$1" </dev/null 3<&- & job=$!
setsid sh -c 'while read -r _; do :; done
kill -s TERM -- "-$1" || kill -s TERM "$1"
n=0
while kill -s 0 -- "-$1" && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
kill -s KILL -- "-$1"' watch "$job" <&3 >/dev/null 2>&1 3<&- & watch=$!
exec 3<&-
wait "$job"; rc=$?
kill -s TERM -- "-$job" 2>/dev/null || kill -s KILL "$watch" 2>/dev/null
exit $rc"#;

/// A word as a shell takes it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a `sh` that runs a line which ends with its standard input.
pub(super) fn watched(line: &str) -> [String; 5] {
    ["sh", "-c", &format!("{PATH}{WATCHED}"), "memtwin", line].map(str::to_owned)
}

/// The words of a `sh` that runs a line whose programs read standard input, and end with it.
pub(super) fn plain(line: &str) -> [String; 3] {
    ["sh", "-c", &format!("{PATH}{line}")].map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_word_stays_itself() {
        for word in ["", "plain-1.0", "it's", "a b", "$(x) `y` \"z\" \\", "line\nline", "~", "*"] {
            let line = format!("printf %s {}", quoted(word));
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
