//! The fuzzer's way to [`oxcached_fuzz::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| oxcached_fuzz::session::run(input));
