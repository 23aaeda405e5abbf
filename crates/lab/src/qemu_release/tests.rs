use super::*;

fn package(name: &str, version: &str) -> Package {
    let (name, version) = (name.to_owned(), version.to_owned());
    Package { name, version, bytes: 1, digest: "d".to_owned() }
}

#[test]
fn a_version_is_of_one_release_at_most() {
    for release in QemuRelease::ALL {
        assert_eq!(release.to_string().parse(), Ok(release));
        let version = format!("1:{release}.3+ds-1~bpo13+1");
        let of: Vec<_> = QemuRelease::ALL.into_iter().filter(|one| one.has(&version)).collect();
        assert_eq!(of, [release], "{version}");
    }
    assert!(!QemuRelease::V11_1.has("11.10.0") && !QemuRelease::V11_1.has("1:11.2.0+ds-1"));
    let error = "11".parse::<QemuRelease>().unwrap_err();
    assert_eq!(error, "'11': expected one of 5.2, 7.2, 10.0, 11.1");
}

#[test]
fn a_suite_that_has_moved_on_is_no_other_version_in_silence() {
    let closure = |version| {
        let data = package("libc6", "2.41-12");
        [data, package("qemu-system-arm", version), package("qemu-system-x86", version)]
    };
    is_of(QemuRelease::V11_1, &closure("1:11.1.3+ds-1~bpo13+1")).unwrap();
    let error = is_of(QemuRelease::V11_1, &closure("1:11.2.0+ds-1~bpo13+1")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU 11.1: Debian's trixie-backports has 1:11.2.0+ds-1~bpo13+1 instead, which is not tested; name a QEMU 11.1 of your own with --qemu"
    );
}
