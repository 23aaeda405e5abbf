//! Memory that a guest gives up while it is audited: hinted at, ballooned, unplugged, reported. It is
//! not lost; but what was given up, used again and then lost is found.

use crate::common::{Held, Place, expect, json, memtwin, text, until};
use crate::guest::Talk;
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::{Arch, Cache, Flavour, Machine};
use memtwin_qemu::{MigrationStatus, migration};
use memtwin_qmp::Qmp;
use serde_json::{Value, json as value};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::time::Duration;

/// For anything that an emulated guest does on a busy machine.
const LONG: Duration = Duration::from_secs(240);
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// A PC that has so much memory, all of it in its first RAM block (docs/findings.md), and writes some
/// of it again and again.
struct Guest {
    machine: Machine,
    place: Place,
    qmp: Qmp,
}

impl Guest {
    /// Boots it with this backend of its memory, and more arguments; `@` stands for its directory.
    fn boot(backend: &str, arguments: &str) -> Self {
        let place = Place::new();
        let image = {
            let cache = Cache::open(&Cache::place().unwrap(), &mut Talk).unwrap();
            let modules = &["virtio_pci", "virtio_balloon", "virtio_mem"];
            let (arch, suite, kernel) = (Arch::X86_64, SUITE, Flavour::Standard);
            let spec = ImageSpec { arch, suite, kernel, modules, programs: &[], files: &[] };
            spec.build(&cache, &mut Talk).unwrap()
        };
        let here = place.path("").display().to_string();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "320M,maxmem=4G,slots=1"]);
        let backend = format!("{backend},id=ram,size=320M").replace('@', &here);
        qemu.args(["-object", &backend, "-M", "pc,memory-backend=ram"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
        let line = "console=ttyS0 rdinit=/init panic=-1 quiet init_on_alloc=0 \
                    memhp_default_state=online_movable";
        qemu.args(["-append", line]);
        for socket in ["qmp", "qmp-too"] {
            qemu.args(["-qmp", &format!("unix:{here}{socket},server=on,wait=off")]);
        }
        qemu.args(arguments.replace('@', &here).split_whitespace());
        let mut machine = Machine::start(&mut qemu, &place.path("console")).unwrap();
        println!("ready: {}", machine.ready(LONG, &mut Talk).unwrap());
        let qmp = Qmp::connect(&place.path("qmp-too"), LONG).unwrap();
        let mut this = Self { machine, place, qmp };
        this.run("mount -t tmpfs -o size=95% tmpfs /mnt");
        let writes = "while :; do dd if=/dev/urandom of=/mnt/w bs=4k count=64 2>/dev/null; usleep 50000; done";
        this.order(&format!("start writes sh -c '{writes}'"));
        this
    }

    fn order(&mut self, order: &str) {
        self.machine.succeed(order, LONG, &mut Talk).unwrap();
    }

    fn run(&mut self, line: &str) {
        self.order(&format!("run {line}"));
    }

    /// Fills so much of its memory with what can't be guessed.
    fn fill(&mut self, mib: u64) {
        self.run(&format!("dd if=/dev/urandom of=/mnt/f bs=1M count={mib} 2>/dev/null"));
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        self.qmp.execute(command, arguments).unwrap()
    }

    /// An audit that has begun; it goes on for this long.
    fn audit(&mut self, seconds: u32) -> Held {
        let mut command = memtwin();
        command.arg("audit").arg(self.place.path("qmp"));
        command.args(["--max-pause", "1m", "--quiet", "--json"]);
        command.arg(self.place.path("record")).arg("--seconds").arg(seconds.to_string());
        let held = Held::spawn(&mut command);
        until("the audit begins", || self.goes_on());
        held
    }

    fn goes_on(&mut self) -> bool {
        migration(&mut self.qmp).unwrap().status == MigrationStatus::Active
    }

    /// Waits until QEMU has collected its log this many times more.
    fn rounds(&mut self, more: u64) {
        let count = |qmp: &mut Qmp| {
            let now = migration(qmp).unwrap();
            assert!(now.status.is_under_way(), "the audit was over too early to say");
            now.ram.map_or(0, |ram| ram.dirty_sync_count)
        };
        let before = count(&mut self.qmp);
        until("there are more rounds", || count(&mut self.qmp) >= before + more);
    }

    /// The audit's end, with this exit code: what it found in each block.
    fn end(&self, audit: Held, code: i32) -> Vec<Value> {
        let (ended, cases) = self.ended(audit);
        assert_eq!(ended, Some(code));
        cases
    }

    /// The audit's end: its exit code, and what it found in each block.
    fn ended(&self, mut audit: Held) -> (Option<i32>, Vec<Value>) {
        let status = audit.end();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        audit.0.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        audit.0.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        let said = format!("{}{}", text(&out), text(&err));
        println!("{}", said.lines().take(40).collect::<Vec<_>>().join("\n"));
        let record = json(&self.place.path("record"));
        let cases = record["cases"].as_array().unwrap().clone();
        let discarded: u64 = cases.iter().map(discarded).sum();
        assert_eq!(said.contains("discarded"), discarded > 0, "it is said in the last line");
        (status.code(), cases)
    }
}

fn discarded(case: &Value) -> u64 {
    case["discarded_pages"].as_u64().unwrap()
}

/// The case of the block of that name (a device's path may come before it).
fn of<'c>(cases: &'c [Value], block: &str) -> &'c Value {
    let is_it = |case: &&Value| case["name"].as_str().unwrap().ends_with(block);
    cases.iter().find(is_it).unwrap_or_else(|| panic!("no {block}: {cases:?}"))
}

/// Every block is identical, and the control was found.
fn all_identical(cases: &[Value]) {
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let expected = if name.ends_with("/control") { "differs" } else { "identical" };
        assert_eq!(
            (case["verdict"].as_str(), &case["passed"]),
            (Some(expected), &true.into()),
            "{name}"
        );
        let digest = case["digest"].as_object().unwrap();
        for (block, sides) in digest.iter().filter(|_| expected == "identical") {
            assert_eq!(sides["memory"], sides["twin"], "{name}: {block}");
        }
    }
    of(cases, "/control");
}

/// Private memory: hints at free pages, a balloon, and memory that is unplugged.
pub(crate) fn private() {
    let mut guest = Guest::boot(
        "memory-backend-ram",
        "-object iothread,id=thread \
         -device virtio-balloon-pci,free-page-hint=on,iothread=thread \
         -object memory-backend-file,id=more,size=1G,mem-path=@more,share=on \
         -device virtio-mem-pci,id=plugged,memdev=more,requested-size=64M",
    );
    // Unplugged: QEMU never sends it, and nobody gives it memory again by reading it.
    let plugged = |guest: &mut Guest, size: u64| {
        let asked = value!({ "path": "plugged", "property": "requested-size", "value": size });
        guest.ask("qom-set", asked);
        until("it is plugged, or not", || {
            let devices = guest.ask("query-memory-devices", value!({}));
            devices[0]["data"]["size"] == size
        });
    };
    plugged(&mut guest, 64 * MIB);
    guest.fill(200);
    guest.run("rm /mnt/f");
    plugged(&mut guest, 0);
    let blocks = |guest: &Guest| fs::metadata(guest.place.path("more")).unwrap().blocks();
    assert_eq!(blocks(&guest), 0, "what was unplugged was discarded");

    // Much is free now and is full of what was there. Hinted at, it would not be sent.
    let audit = guest.audit(5);
    let switched = |guest: &mut Guest| {
        let list = guest.ask("query-migrate-capabilities", value!({}));
        let is_it = |it: &&Value| it["capability"] == "postcopy-ram";
        list.as_array().unwrap().iter().find(is_it).unwrap()["state"].clone()
    };
    assert_eq!(switched(&mut guest), true);
    let cases = guest.end(audit, 0);
    all_identical(&cases);
    assert_eq!(switched(&mut guest), false, "it is put back");
    assert_eq!(discarded(of(&cases, "/ram")), 0, "every page was judged");
    assert_eq!(discarded(of(&cases, "more")), (1 << 30) / PAGE);
    assert_eq!(blocks(&guest), 0, "neither QEMU nor the audit has touched it");

    inflated(&mut guest);
}

/// A balloon takes memory while the guest is audited. On a machine that is busy the rounds are long, and
/// huge pages fill what was given up between two of them: the audit says so, judges nothing and is
/// repeated. It never calls such a page lost.
fn inflated(guest: &mut Guest) {
    let set = |guest: &mut Guest, mib: u64| {
        guest.ask("balloon", value!({ "value": mib * MIB }));
        until("the balloon has that size", || {
            let actual = guest.ask("query-balloon", value!({}))["actual"].as_u64().unwrap();
            actual.abs_diff(mib * MIB) <= 4 * MIB
        });
    };
    for _ in 0..3 {
        let audit = guest.audit(12);
        // The twin must have what is given up.
        guest.rounds(5);
        set(guest, 200);
        assert!(guest.goes_on(), "the audit was over too early to say");
        let (code, cases) = guest.ended(audit);
        let ram = of(&cases, "/ram");
        if code == Some(11) && ram["reason"].as_str().unwrap().contains("between two rounds") {
            assert_eq!(ram["lost_pages"], 0, "{ram}");
            set(guest, 320);
            guest.fill(120);
            guest.run("rm /mnt/f");
            continue;
        }
        assert_eq!(code, Some(0));
        all_identical(&cases);
        let gone = discarded(ram);
        assert!(gone > 10_000, "{gone}");
        return;
    }
    panic!("three audits came to no verdict: the machine is too busy");
}

/// Shared memory: free pages are reported, and some are used again.
pub(crate) fn shared() {
    let mut guest = Guest::boot(
        "memory-backend-file,mem-path=@ram,share=on",
        "-device virtio-balloon-pci,free-page-reporting=on",
    );
    let memory = File::options().read(true).write(true).open(guest.place.path("ram")).unwrap();
    let given_up = |guest: &mut Guest| {
        // In its first pass QEMU reads all of it, and so gives memory to what had none.
        guest.rounds(5);
        let before = memory.metadata().unwrap().blocks();
        guest.run("rm /mnt/f");
        until("it is reported and discarded", || {
            memory.metadata().unwrap().blocks() + 60 * MIB / 512 < before
        });
    };
    guest.fill(120);
    let audit = guest.audit(15);
    given_up(&mut guest);
    assert!(guest.goes_on(), "the audit was over too early to say");
    let cases = guest.end(audit, 0);
    all_identical(&cases);
    let gone = discarded(of(&cases, "/ram"));
    assert!(gone > 10_000, "{gone}");

    guest.fill(120);
    let (twin, record) = (guest.place.path("twin"), guest.place.path("replicated"));
    let mut command = memtwin();
    command.arg("replicate").arg(format!("qemu:{}", guest.place.path("qmp").display()));
    command.arg(format!("file:{}", twin.display())).args([
        "--max-pause",
        "1m",
        "--quiet",
        "--seconds",
        "15",
        "--json",
    ]);
    let mut held = Held::spawn(command.arg(&record));
    until("it begins", || guest.goes_on());
    given_up(&mut guest);
    assert!(guest.goes_on(), "it was over too early to say");
    assert_eq!(held.end().code(), Some(0));
    let cases = json(&record)["cases"].as_array().unwrap().clone();
    assert_eq!(cases[0]["verdict"], "identical");
    assert!(discarded(&cases[0]) > 10_000, "{}", cases[0]["discarded_pages"]);
    expect(0, memtwin().arg("verify").arg(twin.join("ram")).arg(twin.join("ram")));
    fs::remove_dir_all(&twin).unwrap();

    used_again(&mut guest, &memory, given_up);
}

/// What the guest fills memory with that it had given up: two words, so that each page is the same.
const AGAIN: &[u8; 16] = b"used once again\n";

/// A page that was discarded and used again, and whose next change no log names.
fn used_again(guest: &mut Guest, memory: &File, given_up: impl Fn(&mut Guest)) {
    guest.fill(120);
    let audit = guest.audit(40);
    given_up(guest);
    let bytes = memory.metadata().unwrap().len();
    let size = memtwin_pages::PageSize::new(PAGE).unwrap();
    let holes = |memory: &File| {
        let mut holes = memtwin_pages::PageSet::new(bytes / PAGE);
        let mut at = 0;
        while at < bytes {
            let seek = |to| rustix::fs::seek(memory, to).unwrap_or(bytes);
            let data = seek(rustix::fs::SeekFrom::Data(at)).min(bytes);
            (size.page_of(at)..size.page_of(data)).for_each(|page| {
                holes.insert(page);
            });
            at = if data < bytes { seek(rustix::fs::SeekFrom::Hole(data)) } else { bytes };
        }
        holes
    };
    let holes = holes(memory);
    // The audit has seen that they have no memory.
    guest.rounds(20);
    let mut page = [0; PAGE as usize];
    let mut is_used = |number: u64| {
        memory.read_exact_at(&mut page, number * PAGE).unwrap();
        page.chunks(AGAIN.len()).all(|words| words == AGAIN)
    };
    let find = |part: u64| {
        let fill = format!("dd of=/mnt/r{part} bs=1M count=40 iflag=fullblock");
        guest.run(&format!("yes {} | {fill} 2>/dev/null", text(AGAIN).trim_end()));
        holes.iter().filter(|number| number * PAGE > 16 * MIB).find(|number| is_used(*number))
    };
    let used = (0..5).find_map(find).unwrap_or_else(|| panic!("no page was used again"));
    // The audit has seen that it has memory again, and what is there.
    guest.rounds(20);
    memory.write_all_at(b"lost", used * PAGE + 80).unwrap();
    assert!(guest.goes_on(), "the audit was over too early to say");
    let cases = guest.end(audit, 1);
    let ram = of(&cases, "/ram");
    assert!(discarded(ram) > 1000, "{}", ram["discarded_pages"]);
    let lost = ram["lost"].as_array().unwrap();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0]["gpa"], format!("{:#x}", used * PAGE));
    assert_eq!((&lost[0]["first_byte"], &lost[0]["bytes"]), (&80.into(), &4.into()));
    assert_eq!(of(&cases, "/control")["passed"], true);
}
