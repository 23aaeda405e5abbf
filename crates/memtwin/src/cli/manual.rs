//! What the manual pages have beside clap's definitions: variables, files, examples. Each example is a command
//! line that the tests parse.

use memtwin_manual::{Entry, PageNotes};

/// Variables that every command reads, or several.
pub(crate) const MAN_ENVIRONMENT: &[Entry] = &[
    (
        "MEMTWIN_LOG",
        "Which events are logged to standard error: a level, or TARGET=LEVEL,… [default: error]",
    ),
    (
        "MEMTWIN_CACHE",
        "Where images, kernels and packages of the lab are kept [default: memtwin in $XDG_CACHE_HOME]",
    ),
    ("MEMTWIN_IDENTITY", "This side's half of a pair of keys, in place of its file"),
    ("XDG_RUNTIME_DIR", "Its folder memtwin holds what there is to undo, and boards that are up"),
    ("NO_COLOR", "Set to anything: tables have no colour"),
];

/// Codes of commands that judge nothing.
const PLAIN_CODES: Option<&[Entry]> =
    Some(&[("0", "done"), ("2", "usage"), ("3", "environment: something is missing, or refuses")]);

/// Codes of `report`: with --compare what became of the cases.
const REPORT_CODES: Option<&[Entry]> = Some(&[
    ("0", "the page was written, whatever verdict is in it; with --compare: nothing is worse"),
    ("1", "--compare: something is worse, beyond the spread"),
    ("2", "usage"),
    ("3", "environment: a record can't be read or is none, or the page can't be written"),
    ("4", "--compare: no case was judged on both sides"),
    ("11", "--compare: a case had a verdict and has none now"),
]);

const KVM: Entry = ("/dev/kvm", "The kernel's KVM; it has to be readable and writable");
const UNDO: Entry = (
    "/run/memtwin, $XDG_RUNTIME_DIR/memtwin",
    "What there is to undo of a QEMU, noted before it is changed; the next run reads it if this one is killed",
);
const IDENTITY: Entry = (
    "~/.config/memtwin/sender.identity, ~/.config/memtwin/receiver.identity",
    "The two halves of a pair of keys (--new-identity)",
);
const JOURNAL: Entry =
    ("/var/lib/memtwin, ~/.local/state/memtwin", "The journal of a twin on a block device");
const CACHE: Entry =
    ("~/.cache/memtwin", "Images, kernels and packages; may be removed at any time");
const LAB: Entry = ("/run/memtwin/lab, $XDG_RUNTIME_DIR/memtwin/lab", "The lab that is up");

const fn page(
    command: &'static str,
    exit_codes: Option<&'static [Entry]>,
    files: &'static [Entry],
    examples: &'static [Entry],
) -> PageNotes {
    PageNotes { command, exit_codes, files, examples }
}

/// The notes of every command that has a page.
pub(crate) const MAN_NOTES: &[PageNotes] = &[
    page(
        "",
        None,
        &[KVM, UNDO, IDENTITY, CACHE],
        &[
            ("memtwin check", "Is this host's dirty log right?"),
            ("memtwin audit /run/qemu/guest.qmp", "Is that of a running QEMU?"),
        ],
    ),
    page(
        "check",
        None,
        &[KVM],
        &[
            (
                "memtwin check",
                "Ask KVM's bitmap, with and without manual clearing, in every way that a page gets dirty.",
            ),
            (
                "memtwin check --mode ring --vcpus 1,2",
                "Ask the dirty ring, with one and with two writing vCPUs.",
            ),
            (
                "memtwin check --format junit --json check.json",
                "For a CI: results as JUnit, and the whole record in a file.",
            ),
        ],
    ),
    page(
        "replicate",
        None,
        &[
            KVM,
            ("/dev/shm/aeshmem", "The memory of the embedded guest's window"),
            UNDO,
            IDENTITY,
            JOURNAL,
        ],
        &[
            (
                "memtwin replicate kvm file:/srv/twin --guest-seconds 5 --until clean",
                "Keep a twin of the embedded guest until it has stopped writing.",
            ),
            (
                "memtwin replicate qemu:/run/qemu/guest.qmp file:/srv/twins --seconds 60",
                "Keep an image of each RAMBlock of a running QEMU, and judge them after a minute.",
            ),
            (
                "memtwin replicate qemu:/run/qemu/guest.qmp tcp://there:7777 --until clean",
                "Keep the twin on another host, where memtwin receive waits.",
            ),
        ],
    ),
    page(
        "audit",
        None,
        &[UNDO],
        &[
            (
                "memtwin audit /run/qemu/guest.qmp --dry-run",
                "Say what would be changed, and change nothing.",
            ),
            (
                "memtwin audit /run/qemu/guest.qmp --seconds 30 --max-pause 100ms",
                "Audit for half a minute; the guest may stand still for 100 ms at most.",
            ),
            (
                "memtwin audit /run/qemu/guest.qmp --judge running --never-pause",
                "Audit one that must not be paused.",
            ),
            ("memtwin audit libvirt:guest", "Audit a domain of libvirt."),
            ("memtwin audit --all --json audit.json", "Audit every QEMU of this host."),
        ],
    ),
    page(
        "receive",
        None,
        &[IDENTITY, JOURNAL],
        &[
            ("memtwin receive --new-identity", "Make a pair of keys, and print the sender's half."),
            (
                "memtwin receive 0.0.0.0:7777 /srv/twin --forever",
                "Receive one twin after the other.",
            ),
        ],
    ),
    page(
        "verify",
        None,
        &[],
        &[(
            "memtwin verify memory.img twin.img",
            "Compare two images, and name each page that differs.",
        )],
    ),
    page(
        "report",
        REPORT_CODES,
        &[],
        &[
            ("memtwin report run.json -o run.html", "Show a run in a browser."),
            ("memtwin report --compare old.json new.json", "Say what is worse in the new run."),
        ],
    ),
    page("migrate", None, &[CACHE, KVM], MIGRATE),
    page(
        "lab",
        None,
        &[CACHE, LAB],
        &[("memtwin lab run check", "Check the dirty log of KVM on an emulated ARMv8 board.")],
    ),
    page(
        "lab plan",
        PLAIN_CODES,
        &[],
        &[("memtwin lab plan seed", "Print the plan of the reference setup, to change it.")],
    ),
    page(
        "lab image",
        PLAIN_CODES,
        &[CACHE],
        &[("memtwin lab image guest.img --fstype ext4 --size 128M", "Make a guest's disk.")],
    ),
    page(
        "lab up",
        PLAIN_CODES,
        &[CACHE, LAB],
        &[
            ("memtwin lab up 2", "Boot two boards; they end with the command."),
            ("memtwin lab up 1 --detach", "Boot one in the background; memtwin lab down ends it."),
        ],
    ),
    page(
        "lab ssh",
        Some(&[
            ("N", "that of ssh(1), which takes this process over"),
            ("2", "usage: no such board is up"),
        ]),
        &[LAB],
        &[
            ("memtwin lab ssh a", "Open a shell on a board."),
            ("memtwin lab ssh a uname -r", "Run a command there."),
        ],
    ),
    page(
        "lab console",
        PLAIN_CODES,
        &[LAB],
        &[("memtwin lab console a --follow", "Look on at what a board says.")],
    ),
    page(
        "lab probe",
        PLAIN_CODES,
        &[LAB],
        &[("memtwin lab probe local --json", "Say what this machine offers, as JSON.")],
    ),
    page("lab down", PLAIN_CODES, &[LAB], &[("memtwin lab down", "End the boards that are up.")]),
    page(
        "lab run",
        None,
        &[CACHE],
        &[("memtwin lab run replicate", "Replicate the device memory of a Linux guest.")],
    ),
    page(
        "lab run replicate",
        None,
        &[CACHE, ("/dev/shm/aeshmem", "The memory file of the guest's device")],
        &[
            (
                "memtwin lab run replicate --dry-run",
                "Say what would be fetched, built and started.",
            ),
            (
                "memtwin lab run replicate --hosts emulated",
                "Run it under KVM on an emulated board.",
            ),
        ],
    ),
    page(
        "lab run audit",
        None,
        &[CACHE],
        &[(
            "memtwin lab run audit --seconds 30s",
            "Audit a Linux guest whose devices write its RAM.",
        )],
    ),
    page(
        "lab run check",
        None,
        &[CACHE],
        &[
            ("memtwin lab run check", "Check an emulated board with the guest's three page sizes."),
            ("memtwin lab run check --hosts ssh://root@board", "Check a real board."),
        ],
    ),
    page("lab run migrate", None, &[CACHE, KVM], MIGRATE_IN_LAB),
    page(
        "lab build",
        PLAIN_CODES,
        &[CACHE],
        &[("memtwin lab build --dry-run", "Say what would be built.")],
    ),
    page(
        "completions",
        PLAIN_CODES,
        &[],
        &[(
            "memtwin completions bash",
            "Print completions for bash; put them where it looks for them.",
        )],
    ),
    page(
        "man",
        PLAIN_CODES,
        &[],
        &[
            ("memtwin man lab run check", "Print a page; pipe it into man -l -."),
            (
                "memtwin man --all /usr/local/share/man/man1",
                "Write every page to where man(1) finds them.",
            ),
        ],
    ),
];

const MIGRATE: &[Entry] = &[
    ("memtwin migrate --hosts local", "Move a guest between two QEMUs of this machine."),
    ("memtwin migrate --fault cut-link:5s", "Cut the link while it moves."),
    (
        "memtwin migrate --hosts ssh://storage,ssh://a,ssh://b",
        "Move it between two hosts of yours, its disk on a third.",
    ),
];
const MIGRATE_IN_LAB: &[Entry] =
    &[("memtwin lab run migrate --hosts local", "Move a guest between two QEMUs of this machine.")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, EXIT_CODES};
    use clap::{CommandFactory, Parser};
    use memtwin_manual::Manual;

    #[test]
    fn every_command_has_notes_and_every_note_a_command() {
        let manual = Manual::new(Cli::command(), EXIT_CODES, MAN_ENVIRONMENT, MAN_NOTES);
        let name =
            |notes: &PageNotes| format!("memtwin {}", notes.command).trim().replace(' ', "-");
        let mut noted: Vec<_> = MAN_NOTES.iter().map(name).collect();
        let mut pages: Vec<_> = manual.pages().iter().map(|page| page.name().to_owned()).collect();
        noted.sort();
        pages.sort();
        assert_eq!(noted, pages);
        for page in manual.pages() {
            for section in [".SH \"EXIT STATUS\"", ".SH EXAMPLES"] {
                assert!(page.text().contains(section), "{}: no {section}", page.name());
            }
        }
    }

    #[test]
    fn every_example_is_a_command_line_of_that_command() {
        for notes in MAN_NOTES {
            assert!(!notes.examples.is_empty(), "{}", notes.command);
            for (line, _) in notes.examples {
                let begins = format!("memtwin {}", notes.command);
                assert!(line.starts_with(begins.trim_end()), "{line}");
                Cli::try_parse_from(line.split_whitespace())
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
        // The control.
        assert!(Cli::try_parse_from(["memtwin", "check", "--no-such-option"]).is_err());
    }
}
