#![no_main]
//! See `corelog::fuzzing::request`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::fuzzing::request(input));
