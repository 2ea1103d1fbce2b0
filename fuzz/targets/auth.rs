//! The fuzzer's way to [`oxcached_fuzz::auth`].
#![no_main]

libfuzzer_sys::fuzz_target!(init: oxcached_fuzz::keep_complaints(), |input: &[u8]| oxcached_fuzz::auth::run(input));
