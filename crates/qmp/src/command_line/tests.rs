use super::*;

fn at(address: &str) -> ListedMonitor {
    ListedMonitor::At(address.parse().unwrap())
}

#[test]
fn a_command_line_says_what_a_socket_is() {
    let qemu = QemuCommandLine::split(
        "qemu -chardev socket,path=/run/a,server=on,wait=off,id=qga0 -device virtio-serial -device \
         virtserialport,chardev=qga0,name=org.qemu.guest_agent.0 -serial unix:/run/s,server=on \
         -chardev socket,id=c1,path=/run/t,server=on -serial chardev:c1 -qmp unix:/run/q,server=on \
         -chardev socket,id=mon,path=/run/m,server=on -mon chardev=mon,mode=control -monitor \
         unix:/run/h,server=on",
    );
    assert_eq!(qemu.other_use("/run/a"), Some(OtherSocket::Agent));
    assert_eq!(
        [qemu.other_use("/run/s"), qemu.other_use("/run/t")],
        [Some(OtherSocket::Serial); 2]
    );
    assert_eq!(qemu.other_use("/run/h"), Some(OtherSocket::HumanMonitor));
    for monitor in ["/run/q", "/run/m", "", "/run"] {
        assert_eq!(qemu.other_use(monitor), None, "{monitor}");
    }
    assert_eq!(qemu.monitor(), "/run/q".parse().ok());
    assert_eq!(qemu.monitors(), [at("/run/q"), at("/run/m")]);
    let named = OtherSocket::of_name(Path::new("/x/org.qemu.guest_agent.0"));
    assert_eq!(named, Some(OtherSocket::Agent));
    assert_eq!(OtherSocket::of_name(Path::new("/qga/monitor")), None);
}

#[test]
fn every_form_of_a_monitor_is_listed() {
    let unreachable = |part: &str, monitor: &ListedMonitor| match monitor {
        ListedMonitor::Unreachable(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    let of = |line: &str| QemuCommandLine::split(line).monitors();
    let cases = [
        ("q -qmp tcp:127.0.0.1:4444,server=on,wait=off", at("tcp:127.0.0.1:4444")),
        ("q --qmp tcp::4444,server,nowait", at("tcp:127.0.0.1:4444")),
        ("q -qmp-pretty unix:p,server=on", at("p")),
        ("q -qmp unix:n,abstract=on,server=on", at("@n")),
        ("q -chardev socket,id=m,path=/a,,b,server=on -qmp chardev:m", at("/a,b")),
        ("q -chardev socket,id=m,host=::1,port=7,server=on -mon m,mode=control", at("tcp:[::1]:7")),
        (
            "q -chardev socket,id=m,path=n,abstract=on,tight=off,server=on -mon chardev=m,mode=control",
            at("unix:n,abstract=on,tight=off"),
        ),
        (
            "q -chardev socket,id=charmonitor,fd=24,server=on,wait=off -mon \
             chardev=charmonitor,id=monitor,mode=control",
            ListedMonitor::Libvirts,
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(of(line), [expected], "{line}");
    }
    for (line, part) in [
        ("q -qmp stdio", "by itself"),
        ("q -qmp unix:/run/q", "connects to its monitor's client"),
        ("q -qmp unix:/run/q,server=off", "connects to its monitor's client"),
        ("q -chardev socket,id=m,fd=3,server=on -mon chardev=m,mode=control", "as a descriptor"),
        ("q -chardev stdio,id=m -mon chardev=m,mode=control", "no socket"),
        ("q -mon chardev=m,mode=control", "not known"),
    ] {
        unreachable(part, &of(line)[0]);
    }
    // The human monitor is none.
    assert_eq!(of("q -monitor unix:h,server=on -chardev socket,id=m,path=x -mon m"), []);
}

#[test]
fn a_guest_is_named() {
    let of = |line: &str| {
        let qemu = QemuCommandLine::split(line);
        (qemu.guest_name(), qemu.uuid().map(str::to_owned))
    };
    let both = of("q -name guest=a,debug-threads=on -uuid 1-2");
    assert_eq!(both, (Some("a".to_owned()), Some("1-2".to_owned())));
    assert_eq!(of("q -name b,process=x").0, Some("b".to_owned()));
    assert_eq!(of("q -M pc"), (None, None));
}

#[test]
fn libvirt_s_own_monitor_is_known_by_its_path() {
    let of = |path: &str| libvirt_domain(Path::new(path));
    let known = of("/var/lib/libvirt/qemu/domain-1-a-guest/monitor.sock");
    assert_eq!(known.as_deref(), Some("a-guest"));
    assert_eq!(of("/run/domain-1-a/qmp"), None);
    assert_eq!(of("/run/monitor.sock"), None);
}
