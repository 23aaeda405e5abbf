//! Bytes of any kind as a migration stream: decoded or refused, the same under any cut. The bounded
//! run of it is crates/stream/tests/mutate.rs.

#![no_main]

#[path = "../../crates/stream/tests/common/watch.rs"]
mod watch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    watch::agrees_under_cuts(bytes);
});
