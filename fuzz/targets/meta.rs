//! The fuzzer's way to [`oxcached_fuzz::meta`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| oxcached_fuzz::meta::run(input));
