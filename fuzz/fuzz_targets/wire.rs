//! Bytes of any kind as what a peer sends: understood or refused, within bounds. The bounded run of
//! it is crates/wire/tests/any_bytes.rs.

#![no_main]

#[path = "../../crates/wire/tests/common/understood.rs"]
mod understood;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    understood::is_bounded(bytes);
});
