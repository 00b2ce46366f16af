#![no_main]
//! See `corelog::simulator::damaged::recovery`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| corelog::simulator::damaged::recovery(input));
