#![no_main]
//! See `corelog::fuzzing::fetched_records`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::fuzzing::fetched_records(input));
