//! Steps, and the shells that do and undo them.

use super::WORD;
use memtwin_lab::host::quoted;

/// One thing that is set up.
#[derive(Clone, Debug)]
pub(crate) struct SetupStep {
    /// What it is, for a person.
    pub(crate) says: String,
    /// A line that fails if somebody has it already: then it is left alone.
    pub(crate) free: String,
    /// A line that sets it up.
    pub(crate) does: String,
    /// A line that undoes it, as far as there is something to undo.
    pub(crate) undoes: String,
}

/// The shells' part: what the first tells on descriptor 4, the second hears until nobody has the other end any
/// more, so no step's program is still at work when it is undone. SIGTERM is for the first alone: the second may
/// not be in its session yet, and the leader waits for both.
pub(crate) fn script(steps: &[SetupStep]) -> String {
    let mut script = format!(
        "trap '' PIPE INT HUP TERM; exec 3>&1; {{ trap - TERM; exec 4>&1 >&3 2>&1 3>&-\n\
         no() {{ echo \"{WORD}$1\"; exit 1; }}\n"
    );
    for (n, SetupStep { free, does, undoes, .. }) in steps.iter().enumerate() {
        let undo = quoted(&format!("{{ {undoes}; }} || echo '{WORD}LEFT {n}'"));
        script.push_str(&format!(
            "{{ {free}; }} || no 'TAKEN {n}'\nprintf '%s\\n' {undo} >&4\n\
             {{ {does}; }} || no 'FAILED {n}'\n"
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
