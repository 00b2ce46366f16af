//! The load itself: what one thread of the generator does, on whatever executor the runtime is.

pub mod batch;
pub mod consumer;
pub mod draw;
pub mod ledger;
pub mod ledger_file;
pub mod meters;
pub mod pace;
pub mod producer;
pub mod stamp;
pub mod thread;
pub mod walk;
pub mod window;

pub use stamp::STAMP_BYTES;
