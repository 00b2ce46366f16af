//! Instructions that the hot steps take, counted by callgrind and held against `budgets`: a step that takes
//! more fails the run, on any machine.
//!
//! - `frame`: cutting frames out of what a socket gave
//! - `batch`: what a producer's batch must show before it is stored: header, CRC-32C, lengths of its records
//! - `append`: a batch into a partition's log: dispatched, and committed
//! - `encode`: a fetch's answer around slices of records
//! - `hop`: to another core and back
//! - `requests`: all of it together, from a request's bytes to its answer's
//!
//! `cargo bench --features sim --bench instructions` runs it; `.ci/run bench` installs what it needs first. What
//! waits for a disk or another core runs on the simulated runtime, and then the simulation's own instructions
//! are among those counted: their number repeats, so that it hides no change, but it is not the product's.
//!
//! Callgrind counts what runs, so what is chosen at run time has to be chosen alike everywhere. valgrind shows
//! a CPU with AVX2 and without AVX-512 or VPCLMULQDQ, whatever the host has beyond (below AVX2 the numbers do
//! not hold): the checksum takes the same way on every host, though not the one that it takes outside of
//! valgrind. The C library's copies are kept from `rep movsb`, which counts as an instruction for each byte.
//! The allocator is the product's, and asks no clock. Each function's first call, which chooses, is not counted.
//!
//! A benchmark only calls a function: callgrind switches at every name within gungraun's wrapper, so that a
//! closure in a benchmark would switch the count off.

mod append;
mod batch;
mod budgets;
mod encode;
mod frame;
mod hop;
#[path = "../../tests/support/host.rs"]
mod host;
mod requests;

use append::appends;
use batch::batches;
use encode::encodings;
use frame::frames;
use gungraun::prelude::*;
use hop::hops;
use requests::whole;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All that a benchmark has of its environment.
fn environment() -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS").env("MIMALLOC_PURGE_DELAY", "-1");
    config
}

main!(
    config = environment(),
    library_benchmark_groups = [frames, batches, appends, encodings, hops, whole]
);
