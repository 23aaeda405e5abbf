//! Which guests are chosen and refused, and how QEMU is called for them.

use super::command::Files;
use super::setup::{Accel, Choice, MIB, Setup, SetupError, Window, WindowBacking};
use crate::Arch;
use std::fs::File;
use std::path::Path;

fn choice(arch: Arch) -> Choice {
    Choice { arch, accel: None, layout: None, cpu: None, bytes: MIB, ring: None }
}

fn on(host: &'static str, kvm: bool, choice: &Choice) -> Result<Setup, SetupError> {
    let device = if kvm { "/dev/null" } else { "/no/such/kvm" };
    Setup::choose_on(choice, host, || File::open(device))
}

#[test]
fn under_tcg_there_is_one_block() {
    let arm = on("x86_64", true, &choice(Arch::Aarch64)).unwrap();
    assert_eq!((arm.accel(), arm.layout()), (Accel::Tcg, WindowBacking::Ram));
    let window = Window { address: Some(0x5f80_0000), offset: 504 * MIB, bytes: MIB };
    assert_eq!(arm.window(), window);
    assert_eq!(window.words(), "0x5f800000 --size 1048576");
    let words = line(&arm);
    assert!(words.contains("-cpu cortex-a72 "), "{words}");
    assert!(words.contains("mem=504M") && words.contains("-m 512M"), "{words}");
    assert!(words.contains("mem-path=/m,,em"), "{words}");
    assert_eq!(words.matches("-object").count(), 1, "{words}");

    // The address of the reference setup.
    let pc = on("x86_64", true, &choice(Arch::X86_64)).unwrap();
    assert_eq!(pc.accel(), Accel::Tcg);
    assert_eq!(pc.window().address, Some(0x2000_0000));
    assert!(line(&pc).contains("mem=512M"));
}

#[test]
fn under_kvm_it_is_a_device() {
    let arm = on("aarch64", true, &choice(Arch::Aarch64)).unwrap();
    assert_eq!((arm.accel(), arm.layout()), (Accel::Kvm, WindowBacking::Ivshmem));
    assert_eq!((arm.memory_bytes(), arm.window().words().as_str()), (MIB, "auto --size 1048576"));
    let words = line(&arm);
    assert!(words.contains("ivshmem-plain,memdev=aeshmem,master=on"), "{words}");
    assert!(!words.contains(" mem="), "{words}");
    let ring = Choice { ring: Some(4096), ..choice(Arch::Aarch64) };
    let words = line(&on("aarch64", true, &ring).unwrap());
    assert!(words.contains("-accel kvm,dirty-ring-size=4096 "), "{words}");
    assert!(matches!(on("aarch64", false, &ring), Err(SetupError::Ring)));
    assert_eq!(on("aarch64", false, &choice(Arch::Aarch64)).unwrap().accel(), Accel::Tcg);
}

#[test]
fn what_is_unsound_is_refused() {
    let refused = |choice: &Choice| on("x86_64", true, choice).unwrap_err();
    let ivshmem = Choice { layout: Some(WindowBacking::Ivshmem), ..choice(Arch::Aarch64) };
    assert!(matches!(refused(&ivshmem), SetupError::SeveralBlocks));
    for cpu in ["max", "neoverse-n1", "cortex-a76"] {
        let other = Choice { cpu: Some(cpu.to_owned()), ..choice(Arch::Aarch64) };
        assert!(matches!(refused(&other), SetupError::Walker { .. }), "{cpu}");
    }
    let features = Choice { cpu: Some("cortex-a72,pmu=off".into()), ..choice(Arch::Aarch64) };
    assert!(on("x86_64", true, &features).is_ok());
    let kvm = Choice { accel: Some(Accel::Kvm), ..choice(Arch::Aarch64) };
    assert!(matches!(refused(&kvm), SetupError::OtherArch { .. }));
    assert!(matches!(on("aarch64", false, &kvm), Err(SetupError::NoKvm(_))));
    let cpu = Choice { cpu: Some("max".to_owned()), ..kvm };
    assert!(matches!(on("aarch64", true, &cpu), Err(SetupError::Cpu { .. })));
    for bytes in [0, 4096, 9 * MIB] {
        let window = Choice { bytes, ..choice(Arch::Aarch64) };
        assert!(matches!(refused(&window), SetupError::Bytes { .. }), "{bytes}");
    }
    let three = Choice { bytes: 3 * MIB, ..choice(Arch::Aarch64) };
    assert!(matches!(on("aarch64", true, &three), Err(SetupError::NotAPower { .. })));
}

fn line(setup: &Setup) -> String {
    let path = Path::new;
    let files =
        Files { memory: path("/m,em"), kernel: path("/k"), initrd: path("/i"), qmp: path("/q") };
    let command = setup.command(&files, None);
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}
