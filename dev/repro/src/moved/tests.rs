use super::*;
use memtwin_bare::Loss;

fn evidence(differ: &[(&str, &[u64])]) -> MoveEvidence {
    let block = |(name, differ): &(&str, &[u64])| MovedBlock {
        name: (*name).to_owned(),
        pages: 64,
        differ: differ.to_vec(),
    };
    let told = Report::from_bytes(&[0; Report::LEN]);
    let blocks = differ.iter().map(block).collect();
    MoveEvidence { blocks, unread: Vec::new(), flash: None, told: (told, told) }
}

#[test]
fn what_differs_has_to_be_what_the_bug_explains() {
    let loss = Expected::Lost(Loss {
        block: "system.flash1",
        within: vec![8192..12288, 12288..16384],
        all: true,
        bits: !0,
        by_chance: false,
        also: vec![("pc.ram", 0..4096)],
    });
    let lost = evidence(&[("pc.ram", &[0]), ("system.flash1", &[8192])]);
    assert!(lost.unexpected(&loss).is_empty(), "{:?}", lost.unexpected(&loss));
    let none = evidence(&[("pc.ram", &[]), ("system.flash1", &[])]).unexpected(&loss);
    assert!(none[0].starts_with("no page of system.flash1 differs"), "{none:?}");
    let outside = evidence(&[("pc.ram", &[4096]), ("system.flash1", &[8192])]);
    assert_eq!(outside.unexpected(&loss), ["pc.ram: 1 pages from 0x1000 on unexplained"]);
    let sound = Expected::Identical;
    assert!(evidence(&[("pc.ram", &[])]).unexpected(&sound).is_empty());
    assert_eq!(lost.unexpected(&sound).len(), 2);
}
