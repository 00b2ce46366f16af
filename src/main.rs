//! Arguments -> command. The allocator is chosen here and nothing else happens here.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
