#![no_main]
//! See `corelog::fuzzing::frame`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::fuzzing::frame(input));
