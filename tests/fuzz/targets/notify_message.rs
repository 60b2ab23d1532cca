//! Feeds libFuzzer's bytes to the property of this name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast_fuzz::notify_message(bytes));
