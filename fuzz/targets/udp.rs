//! The fuzzer's way to [`oxcached_fuzz::udp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| oxcached_fuzz::udp::run(input));
