//! Real guests of both architectures: images are built, boot, take orders, and their programs write
//! the device memory, which sums up the same inside and outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end, and may talk"
)]

mod place;

use libtest_mimic::Arguments;
use memtwin_lab::image::{Image, ImageSpec, SUITE};
use memtwin_lab::{Arch, Cache, Flavour, Machine, Progress, cross};
use place::Place;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// For anything that an emulated guest does on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// The window: a mebibyte, as in the reference setup.
const BYTES: u64 = 1 << 20;

/// Shows what goes on.
struct Talk;

impl Progress for Talk {
    fn say(&mut self, line: &str) {
        println!("{line}");
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        place::trial("an_aarch64_guest_writes_its_own_last_ram", &[Arch::Aarch64], aarch64_ram),
        place::trial("an_x86_64_guest_writes_its_ivshmem_device", &[Arch::X86_64], x86_64_ivshmem),
        place::trial("an_image_is_made_again_byte_by_byte", &[Arch::Aarch64], reproducible),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn image(arch: Arch) -> Image {
    let began = Instant::now();
    let source = cross::source(None).unwrap();
    let programs = cross::build(&source, arch, &[cross::GUEST], &mut Talk).unwrap();
    println!("programs: {:.1} s", began.elapsed().as_secs_f64());
    let cache = Cache::open(&Cache::place().unwrap(), &mut Talk).unwrap();
    let began = Instant::now();
    let image = spec(arch, &programs).build(&cache, &mut Talk).unwrap();
    println!("image: {:.1} s", began.elapsed().as_secs_f64());
    image
}

fn spec(arch: Arch, programs: &[std::path::PathBuf]) -> ImageSpec<'_> {
    // The first is a module on x86-64 and built in on aarch64. Of the others only the order is used.
    let modules = &["virtio_console", "ext4", "virtio_blk", "virtio_net"];
    ImageSpec { arch, suite: SUITE, kernel: Flavour::Standard, modules, programs, files: &[] }
}

/// Boots it, with orders on its console.
fn boot(place: &Place, qemu: &mut Command, image: &Image, append: &str) -> Machine {
    qemu.args(["-no-reboot", "-nodefaults", "-display", "none"]);
    qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
    qemu.args(["-append", &format!("{append} rdinit=/init panic=-1 quiet")]);
    let began = Instant::now();
    let mut machine = Machine::start(qemu, &place.console()).unwrap();
    println!("{}", machine.ready(LONG, &mut Talk).unwrap());
    println!("boot: {:.1} s", began.elapsed().as_secs_f64());
    machine
}

/// One RAM block: under TCG, QEMU's dirty log of several is not sound. The kernel is told to leave the
/// last 8 MiB alone, which /dev/mem then maps as a device's.
fn aarch64_ram() {
    let place = Place::new("aarch64");
    let ram = place.file("ram", 512 << 20);
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-M", "virt", "-cpu", "cortex-a72", "-m", "512"]);
    qemu.arg("-object").arg(backing("ram", &ram, "512M"));
    qemu.args(["-machine", "memory-backend=ram"]);
    qemu.args(["-serial", "stdio"]);
    let append = "console=ttyAMA0 mem=504M memtwin.run=\"writeout --interval 300\" memtwin.cmd=\"echo told $((6*7)); exit 3\"";
    let mut machine = boot(&place, &mut qemu, &image(Arch::Aarch64), append);
    for expected in ["told 42", "MEMTWIN DONE cmd rc=3", "heartbeat 4 "] {
        let mut fits = |line: &str| line.starts_with(expected);
        machine.line(expected, LONG, &mut Talk, &mut fits).unwrap();
    }
    machine.succeed("stop run", LONG, &mut Talk).unwrap();

    let window = || {
        let mut bytes = vec![0; BYTES as usize];
        // Where the window is in RAM, which begins at 0x40000000.
        let file = fs::File::open(&ram).unwrap();
        file.read_exact_at(&mut bytes, 0x5f80_0000 - 0x4000_0000).unwrap();
        bytes
    };
    exercise(&place, &mut machine, "0x5f800000 --size 1M", &window);
    // The kernel's own memory is not for us.
    let refused = machine.order("run tstaeshm sum 0x50000000", LONG, &mut Talk).unwrap();
    assert_eq!(refused.rc, 1, "{refused:?}");
    assert!(refused.output.concat().contains("STRICT_DEVMEM"), "{refused:?}");
    let none = machine.order("run tstaeshm sum auto", LONG, &mut Talk).unwrap();
    assert!(none.output.concat().contains("no ivshmem device"), "{none:?}");
    end(place, machine);
}

fn x86_64_ivshmem() {
    let place = Place::new("x86_64");
    let shared = place.file("aeshmem", BYTES);
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35", "-cpu", "max", "-m", "512"]);
    qemu.arg("-object").arg(backing("aeshmem", &shared, "1M"));
    qemu.args(["-device", "ivshmem-plain,memdev=aeshmem,master=on"]);
    // Orders by a channel of their own, apart from the kernel's messages.
    let console = place.file("kernel-console", 0);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.args(["-chardev", "stdio,id=orders", "-device", "virtio-serial-pci"]);
    qemu.args(["-device", "virtconsole,chardev=orders"]);
    let append = "console=ttyS0 memtwin.orders=hvc0";
    let mut machine = boot(&place, &mut qemu, &image(Arch::X86_64), append);

    let window = || fs::read(&shared).unwrap();
    let said = exercise(&place, &mut machine, "auto", &window);
    // Its address means the same: the device is used, which /dev/mem would not map.
    let (_, at) = said[0].split_once(" bytes at ").unwrap();
    let (address, how) = at.split_once(' ').unwrap();
    assert!(how.starts_with("(ivshmem 0000:00:"), "{said:?}");
    let again = machine.succeed(&format!("run tstaeshm fill {address}"), LONG, &mut Talk).unwrap();
    assert!(again[0].ends_with(at), "{again:?}");
    let inside = machine.succeed("run tstaeshm sum auto", LONG, &mut Talk).unwrap();
    assert_eq!(inside, [sum(&place, &window())]);
    end(place, machine);
}

fn backing(id: &str, file: &Path, size: &str) -> String {
    format!("memory-backend-file,id={id},mem-path={},size={size},share=on", file.display())
}

/// The reference setup's test without the replication: the program updates the window while it runs, and not
/// after; both sides then have the same sum.
/// What the program has said is returned.
fn exercise(
    place: &Place,
    machine: &mut Machine,
    window: &str,
    outside: &dyn Fn() -> Vec<u8>,
) -> Vec<String> {
    machine.succeed(&format!("run tstaeshm fill {window}"), LONG, &mut Talk).unwrap();
    let filled = outside();
    assert!(filled.chunks(4096).all(|page| page.iter().any(|&byte| byte != 0)), "a page is empty");

    machine.succeed(&format!("start tstaeshm tstaeshm dirty {window}"), LONG, &mut Talk).unwrap();
    let began = Instant::now();
    while outside() == filled {
        assert!(began.elapsed() < LONG, "nothing changes outside");
    }
    let again = machine.order("start tstaeshm tstaeshm dirty auto", LONG, &mut Talk).unwrap();
    assert_eq!((again.rc, again.output), (1, vec!["tstaeshm runs already".to_owned()]));
    let said = machine.succeed("stop tstaeshm", LONG, &mut Talk).unwrap();
    println!("{said:?}");
    let updates = said.last().unwrap().strip_prefix("tstaeshm made ").unwrap();
    assert_ne!(updates.split(' ').next().unwrap(), "0");

    let still = outside();
    assert_ne!(still, filled);
    let inside = machine.succeed(&format!("run tstaeshm sum {window}"), LONG, &mut Talk).unwrap();
    assert_eq!(outside(), still, "it goes on after its end");
    assert_eq!(inside, [sum(place, &still)]);
    // The control: another byte is another sum.
    let mut other = still;
    other[0x1234] ^= 1;
    assert_ne!(inside, [sum(place, &other)]);

    let modules = machine.succeed("run cat /proc/modules", LONG, &mut Talk).unwrap().concat();
    assert!(modules.contains("ext4 ") && modules.contains("virtio_net "), "{modules}");
    let load = "run dirtyram 256 16 20 & sleep 3; kill $!; wait $!";
    let load = machine.succeed(load, LONG, &mut Talk).unwrap();
    assert!(load.last().unwrap().starts_with("dirtyram total "), "{load:?}");
    machine.succeed("show beat writeout --interval 100", LONG, &mut Talk).unwrap();
    let beat = |line: &str| line.starts_with("heartbeat 5 ");
    machine.line("fifth heartbeat", LONG, &mut Talk, &mut |line| beat(line)).unwrap();
    machine.succeed("stop beat", LONG, &mut Talk).unwrap();
    assert_eq!(machine.order("stop nobody", LONG, &mut Talk).unwrap().rc, 127);
    assert_eq!(machine.order("dance", LONG, &mut Talk).unwrap().rc, 127);
    assert_eq!(machine.order("run exit 7", LONG, &mut Talk).unwrap().rc, 7);
    said
}

/// What `sum -r` says of bytes, without the file's name.
fn sum(place: &Place, bytes: &[u8]) -> String {
    let file = place.file("summed", 0);
    fs::write(&file, bytes).unwrap();
    let output = Command::new("sum").arg("-r").stdin(fs::File::open(file).unwrap()).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim_end().to_owned()
}

fn end(place: Place, mut machine: Machine) {
    let _ = machine.order("poweroff", LONG, &mut Talk).unwrap();
    assert!(machine.ended(LONG, &mut Talk).unwrap().success());
    place.done();
}

/// The same packages and programs give the same bytes, and others others. What is missing is named.
fn reproducible() {
    let source = cross::source(None).unwrap();
    let programs = cross::build(&source, Arch::Aarch64, &[cross::GUEST], &mut Talk).unwrap();
    // Not the image that a guest may boot beside us: it goes away for a while.
    let spec = ImageSpec { modules: &["virtio_blk"], ..spec(Arch::Aarch64, &programs) };
    let cache = Cache::open(&Cache::place().unwrap(), &mut Talk).unwrap();
    let image = spec.build(&cache, &mut Talk).unwrap();
    let first = fs::read(&image.initrd).unwrap();
    fs::remove_dir_all(image.initrd.parent().unwrap()).unwrap();
    assert_eq!(spec.build(&cache, &mut Talk).unwrap(), image);
    assert_eq!(fs::read(&image.initrd).unwrap(), first);

    let plan = spec.plan(&cache, &mut Talk).unwrap();
    assert!(plan.packages.iter().all(|(_, cached)| *cached), "{plan:?}");
    let other = ImageSpec { modules: &[], ..spec.clone() }.build(&cache, &mut Talk).unwrap();
    assert_ne!(fs::read(other.initrd).unwrap(), first);
    let unknown = ImageSpec { modules: &["no_such"], ..spec.clone() };
    let error = unknown.build(&cache, &mut Talk).unwrap_err().to_string();
    assert!(error.starts_with("no kernel module no_such in "), "{error}");
    let suite = ImageSpec { suite: "no-such-suite", ..spec };
    assert!(suite.build(&cache, &mut Talk).is_err());
}
