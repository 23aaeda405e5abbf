//! HMP `gpa2hva` (`monitor/hmp-cmds-target.c`): where a byte of guest-physical memory lies in
//! QEMU's own. All that QEMU before 8.2 says of that.

use crate::BlocksError;
use crate::block::Block;
use crate::ramblock::hex;
use memtwin_pages::Gpa;
use memtwin_qmp::{Qmp, QmpError};

/// Asks for one address; None where no memory is.
pub(crate) fn gpa_to_hva(qmp: &mut Qmp, gpa: Gpa) -> Result<Option<u64>, BlocksError> {
    let said = match qmp.hmp(&format!("gpa2hva {gpa}")) {
        Err(QmpError::Refused { .. }) => return Ok(None),
        said => said?,
    };
    parse(&said).ok_or_else(|| BlocksError::NotUnderstood {
        command: "gpa2hva",
        line: said.trim().to_owned(),
        problem: "neither an address nor a reason".to_owned(),
    })
}

/// `Host virtual address for 0x0 (pc.ram) is 0x7f637be00000`, or why there is none.
fn parse(said: &str) -> Option<Option<u64>> {
    let said = said.trim();
    if let Some(rest) = said.strip_prefix("Host virtual address for ") {
        let (_, address) = rest.rsplit_once(" is ")?;
        return hex(address).map(Some);
    }
    let is_none = said.contains("is not RAM") || said.contains("No memory is mapped");
    is_none.then_some(None)
}

/// Where a block begins in QEMU's memory, from where the guest sees it: asked at both ends and in
/// the middle of each of its windows, and only believed if all agree. A RAMBlock is one piece of
/// host memory, so one window is enough to know where all of it lies.
pub(crate) fn hva_of<E>(
    block: &Block,
    to_hva: &mut impl FnMut(Gpa) -> Result<Option<u64>, E>,
) -> Result<Option<u64>, E> {
    let mut begin = None;
    for window in &block.windows {
        let last = window.bytes.saturating_sub(1);
        for at in [0, last / 2, last] {
            let Some(hva) = to_hva(Gpa(window.gpa.0 + at))? else { return Ok(None) };
            let this = hva.checked_sub(window.offset + at);
            if this.is_none() || begin.is_some_and(|begin| Some(begin) != this) {
                return Ok(None);
            }
            begin = this;
        }
    }
    Ok(begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::Window;
    use std::convert::Infallible;

    #[test]
    fn an_answer_of_the_monitor() {
        let said = "Host virtual address for 0xfffc0000 (pc.bios) is 0x7f4508200000\r\n";
        assert_eq!(parse(said), Some(Some(0x7f45_0820_0000)));
        assert_eq!(parse("Memory at address 0xfec00000 is not RAM\r\n"), Some(None));
        assert_eq!(parse("No memory is mapped at address 0xfffffffff\r\n"), Some(None));
        assert_eq!(parse("unknown command: 'gpa2hva'\r\n"), None);
    }

    #[test]
    fn all_windows_have_to_agree() {
        let window = |gpa, offset, bytes| Window { gpa: Gpa(gpa), offset, bytes };
        let block = Block {
            name: "pc.ram".to_owned(),
            is_named: true,
            used: 3 << 20,
            total: 3 << 20,
            hva: None,
            host_page: 4096,
            windows: vec![window(0, 0, 1 << 20), window(4 << 30, 1 << 20, 2 << 20)],
            read_only: None,
        };
        let asked = |to: fn(u64) -> Option<u64>| {
            hva_of(&block, &mut |gpa: Gpa| Ok::<_, Infallible>(to(gpa.0))).unwrap()
        };
        let straight = |gpa: u64| {
            Some(0x7000_0000 + if gpa < 1 << 20 { gpa } else { gpa - (4 << 30) + (1 << 20) })
        };
        assert_eq!(asked(straight), Some(0x7000_0000));
        // A hole in the middle of a window, one elsewhere, and one below 0.
        assert_eq!(asked(|gpa| (gpa != (1 << 19) - 1).then_some(gpa + (1 << 40))), None);
        assert_eq!(asked(|gpa| Some(if gpa == (1 << 20) - 1 { 7 } else { gpa + (1 << 40) })), None);
        assert_eq!(asked(|gpa| Some(gpa / 2)), None);
        let unseen = Block { windows: Vec::new(), ..block.clone() };
        assert_eq!(hva_of(&unseen, &mut |_| Ok::<_, Infallible>(Some(1))).unwrap(), None);
    }
}
