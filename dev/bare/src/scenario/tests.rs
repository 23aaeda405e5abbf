use super::*;

#[test]
fn names_are_unique_and_found() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.name().parse(), Ok(scenario));
    }
    let error = "wolker".parse::<Scenario>().unwrap_err();
    assert!(error.contains("no scenario 'wolker'"), "{error}");
}

#[test]
fn every_guest_can_do_its_job() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in Scenario::ALL {
        command(scenario, &folder.path().join("qmp"), folder.path()).unwrap();
    }
}

#[test]
fn what_loses_pages_says_where_in_the_source() {
    for scenario in Scenario::ALL {
        let sound = scenario.expected(NEW, "") == Some(Expected::Identical);
        assert_eq!(scenario.reference().is_none(), sound, "{scenario}");
    }
}

#[test]
fn a_version_that_nobody_ran_is_not_guessed() {
    let old = ReleaseVersion { major: 7, minor: 2 };
    let unknown = ReleaseVersion { major: 99, minor: 0 };
    assert_eq!(Scenario::Offset.expected(unknown, "virt-99.0"), None);
    assert_eq!(Scenario::WalkerRiscv.expected(old, "virt"), None);
    assert_eq!(Scenario::PflashX86.expected(old, "pc-q35-7.2"), None);
    let first = Scenario::Writer.expected(old, "virt-7.2");
    assert!(matches!(first, Some(Expected::Lost(_))), "{first:?}");
    let small = Scenario::Writer.expected(old, "virt-2.6");
    assert_eq!(small, None, "it differs from run to run");
    let tcg = Scenario::DiskTcg.expected(old, "pc-i440fx-7.2");
    assert!(matches!(tcg, Some(Expected::Lost(_))), "{tcg:?}");
}
