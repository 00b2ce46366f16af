//! HOT: produce and fetch, from decoded request to the bytes of the answer. Lives on the connection's
//! core; what a request touches elsewhere goes through `shard`.

mod answer_budget;
mod errors;
pub mod fetch;
mod fetch_read;
mod fetch_session;
mod leaders;
pub mod produce;
mod record_faults;
mod response;

pub use answer_budget::{AnswerBudget, AnswerShare};
pub use errors::code_of;
pub use fetch_session::SessionCache;
pub use response::{Part, Response};

#[cfg(test)]
mod tests;
