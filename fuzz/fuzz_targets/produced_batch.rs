#![no_main]
//! See `corelog::fuzzing::produced_batch`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::fuzzing::produced_batch(input));
