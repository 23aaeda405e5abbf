//! Steps, and the shells that do and undo them.

use super::WORD;
use memtwin_lab::host::quoted;

/// One thing that is set up.
#[derive(Clone, Debug)]
pub(crate) struct SetupStep {
    /// What it is, for a person.
    pub(crate) what: String,
    /// A line that fails if somebody has it already: then it is left alone.
    pub(crate) free: String,
    pub(crate) line: String,
    /// Undoes it, as far as there is something to undo.
    pub(crate) undo: String,
}

impl SetupStep {
    /// What vanishes with something else, and can be nobody's.
    pub(crate) fn plain(what: &str, line: String) -> Self {
        Self { what: what.to_owned(), free: "true".to_owned(), line, undo: "true".to_owned() }
    }

    /// A folder of ours, with what will be in it.
    pub(crate) fn folder(path: &str) -> Self {
        let word = quoted(path);
        Self {
            what: path.to_owned(),
            free: format!("[ ! -e {word} ]"),
            line: format!("mkdir -m 700 {word}"),
            // Who writes there ends at the same time as we do, and not before.
            undo: format!("rm -rf {word} || {{ sleep 1; rm -rf {word}; }}"),
        }
    }
}

/// The shells' part: what the first tells on descriptor 4, the second hears until nobody has the other end any
/// more, so no step's program is still at work when it is undone. SIGTERM is for the first alone: the second may
/// not be in its session yet, and the leader waits for both.
pub(crate) fn script(steps: &[SetupStep]) -> String {
    let mut script = format!(
        "trap '' PIPE INT HUP TERM; exec 3>&1; {{ trap - TERM; exec 4>&1 >&3 2>&1 3>&-\n\
         no() {{ echo \"{WORD}$1\"; exit 1; }}\n"
    );
    for (n, SetupStep { free, line, undo, .. }) in steps.iter().enumerate() {
        let undo = quoted(&format!("{{ {undo}; }} || echo '{WORD}LEFT {n}'"));
        script.push_str(&format!(
            "{{ {free}; }} || no 'TAKEN {n}'\nprintf '%s\\n' {undo} >&4\n\
             {{ {line}; }} || no 'FAILED {n}'\n"
        ));
    }
    let undo = format!(
        "undo=; while read -r line; do undo=\"$line\n$undo\"; done; eval \"$undo\"; echo '{WORD}GONE'"
    );
    script.push_str(&format!(
        "echo '{WORD}READY'; while :; do sleep 3600; done; }} | setsid sh -c {} >&3 2>&3 3>&-",
        quoted(&undo)
    ));
    script
}
