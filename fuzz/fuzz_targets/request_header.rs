#![no_main]
//! See `corelog::fuzzing::request_header`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::fuzzing::request_header(input));
