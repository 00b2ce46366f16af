//! FRAME <-> REQUEST: the Kafka wire protocol as plain values. Pure: no async, no clock, no sockets.
//!
//! A frame is `Bytes`; what is decoded from it are slices of it. What is encoded is an `Encoder`:
//! bytes, and cuts that say where the sender puts records by reference.

pub mod batch;
pub mod compression;
pub mod records;

pub mod decoder;
pub mod encoder;
pub mod error_code;
pub mod header;
#[macro_use]
pub mod message;
pub mod api;
pub mod consumer_group;
pub mod consumer_protocol;
pub mod group_metadata;
pub mod primitive;
pub mod string;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use api::{ApiKey, SupportedApi, supported_apis};
pub use decoder::{Decoder, Fault, WireError};
pub use encoder::{Cut, Encoder};
pub use error_code::{ErrorCode, ErrorTally};
pub use header::{
    RequestHeader, ResponseHeader, decode_response, encode_request, encode_response,
    encode_response_in_room,
};
pub use message::{Message, Request, Throttled};
pub use primitive::Records;
pub use string::Str;
