//! SOCKET <-> FRAME: listeners and connections of one core. Replies leave a connection in the order of
//! its requests.

mod budget;
mod connection;
mod frame;
#[cfg(test)]
pub mod harness;
mod server;

pub use frame::{FrameBuffer, FrameError};
pub use server::Server;

#[cfg(test)]
mod group_consumer_tests;
#[cfg(test)]
mod moving_tests;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod tests;
