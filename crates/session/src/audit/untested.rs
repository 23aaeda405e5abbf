//! A log that named nothing: why that is no pass, and what would put it to the test.

/// Why a log that named nothing was not put to the test, and what would do that.
pub(super) fn untested(lost: usize, why_idle: Option<&str>) -> String {
    let nothing = "the log named no page after pre-copy";
    match (lost, why_idle) {
        (0, Some(why)) => format!("{nothing}, so it was not put to the test: {why}"),
        (0, None) => format!(
            "{nothing}, so it was not put to the test; audit for longer, or give the guest something to do"
        ),
        (lost, _) => format!(
            "{nothing}, and yet {lost} pages changed: it does not work here, or its dirty ring has lost \
             entries; start QEMU without dirty-ring-size"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::untested;

    #[test]
    fn each_reason_has_the_way_out_that_helps() {
        let idle = untested(0, None);
        assert!(idle.ends_with("audit for longer, or give the guest something to do"), "{idle}");
        // Neither helps a guest that does not run, or a log that does not work.
        let asleep = untested(0, Some("the guest is paused; cont lets it run"));
        let broken = untested(31, None);
        for (said, part) in [(&asleep, "cont lets it run"), (&broken, "31 pages changed")] {
            assert!(said.starts_with("the log named no page after pre-copy"), "{said}");
            assert!(said.contains(part) && !said.contains("for longer"), "{said}");
        }
        assert!(broken.contains("without dirty-ring-size"), "{broken}");
    }
}
