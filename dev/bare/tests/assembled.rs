//! The machine code that comes with the crate is what its source says: where an assembler is, the
//! source is assembled and compared.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may end, and may talk")]

use memtwin_bare::BareImage;
use std::path::Path;
use std::process::Command;

/// How an image is made from its source, as its header says too.
struct Toolchain {
    source: &'static str,
    assembler: &'static [&'static str],
    linker: Option<&'static [&'static str]>,
    objcopy: &'static str,
    package: &'static str,
}

#[test]
fn x86() {
    let toolchain = |source| Toolchain {
        source,
        assembler: &["as", "--32"],
        linker: None,
        objcopy: "objcopy",
        package: "binutils (on an x86-64 host)",
    };
    compare(BareImage::X86.code(), &toolchain("x86.s"));
    compare(BareImage::RESET, &toolchain("firmware.s"));
}

#[test]
fn aarch64() {
    compare(
        BareImage::Aarch64.code(),
        &Toolchain {
            source: "aarch64.s",
            assembler: &["aarch64-linux-gnu-as"],
            linker: None,
            objcopy: "aarch64-linux-gnu-objcopy",
            package: "binutils-aarch64-linux-gnu",
        },
    );
}

#[test]
fn riscv64() {
    compare(
        BareImage::Riscv64.code(),
        &Toolchain {
            source: "riscv64.s",
            assembler: &["riscv64-linux-gnu-as", "-march=rv64imac_zicsr"],
            linker: Some(&["riscv64-linux-gnu-ld", "--no-relax", "-Ttext=0x80000000"]),
            objcopy: "riscv64-linux-gnu-objcopy",
            package: "binutils-riscv64-linux-gnu",
        },
    );
}

fn compare(code: &[u8], toolchain: &Toolchain) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("asm").join(toolchain.source);
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let (program, arguments) = toolchain.assembler.split_first().unwrap();
    let mut assembler = Command::new(program);
    assembler.args(arguments).arg(&source).arg("-o").arg(path("object"));
    // The host's own assembler may be one for another architecture: it is asked before.
    let missing = Command::new(program)
        .args(arguments)
        .args(["-o", "/dev/null", "/dev/null"])
        .output()
        .map_or_else(
            |error| Some(error.to_string()),
            |output| {
                (!output.status.success())
                    .then(|| String::from_utf8_lossy(&output.stderr).into_owned())
            },
        );
    if let Some(reason) = missing {
        eprintln!("skipped: {program}: {reason}; install {}", toolchain.package);
        // CI has the assemblers of the architectures that Memtwin runs on.
        let required = code != BareImage::Riscv64.code() && std::env::var_os("CI").is_some();
        assert!(!required, "{program} is missing in CI: {reason}");
        return;
    }
    run(&mut assembler);
    let mut object = path("object");
    if let Some((program, arguments)) = toolchain.linker.and_then(<[_]>::split_first) {
        let linked = path("linked");
        run(Command::new(program).args(arguments).arg(&object).arg("-o").arg(&linked));
        object = linked;
    }
    let copy = ["-O", "binary", "-j", ".text"];
    run(Command::new(toolchain.objcopy).args(copy).arg(&object).arg(path("binary")));
    let assembled = std::fs::read(path("binary")).unwrap();
    assert!(assembled == code, "{} does not assemble to its .bin", toolchain.source);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
