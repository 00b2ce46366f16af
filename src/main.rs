//! Arguments -> command. The allocator is chosen here and nothing else happens here.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    corelog::cli::main()
}
