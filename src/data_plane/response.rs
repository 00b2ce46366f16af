//! A response as the socket sends it: encoded bytes, and records by reference between them.

use super::answer_budget::AnswerShare;
use crate::runtime::buffer::BufferSlice;
use crate::wire::{Encoder, ErrorTally, Str};
use bytes::Bytes;
use std::ops::Deref;
use std::time::Duration;

/// The most bytes that a response to a produce or a fetch takes around its topics, a topic around its name and
/// partitions, and a partition without its records, where none tells an error.
const FRAME_BYTES: usize = 32;
const TOPIC_BYTES: usize = 24;
const PARTITION_BYTES: usize = 44;

/// Room for a response with topics of these names and so many partitions.
pub fn room_for<'a>(topics: impl Iterator<Item = (&'a Str, usize)>) -> usize {
    let bytes = topics.map(|(name, partitions)| {
        TOPIC_BYTES + name.as_bytes().len() + partitions * PARTITION_BYTES
    });
    FRAME_BYTES + bytes.sum::<usize>()
}

/// A piece of a response.
#[derive(Clone, Debug)]
pub enum Part {
    Encoded(Bytes),
    /// Records in the tail cache or a read buffer of this core.
    Records(BufferSlice),
}

impl Part {
    /// Keeps the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        match self {
            Part::Encoded(bytes) => bytes.truncate(length),
            Part::Records(slice) if length < slice.len() => *slice = slice.slice(0..length),
            Part::Records(_) => {}
        }
    }
}

impl Deref for Part {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Part::Encoded(bytes) => bytes,
            Part::Records(slice) => slice,
        }
    }
}

/// A whole frame, ready to be sent.
#[derive(Debug, Default)]
pub struct Response {
    pub parts: Vec<Part>,
    /// The memory that was set aside for it, if any was.
    pub share: Option<AnswerShare>,
    /// The errors that it tells.
    pub errors: ErrorTally,
    /// For how long its connection is not to be read once it is on its way (KIP-219).
    pub pause: Duration,
}

impl Response {
    /// A frame without records by reference.
    pub fn encoded(encoder: Encoder) -> Response {
        assert!(encoder.cuts.is_empty(), "records have to come with the frame");
        let Encoder { out, errors, .. } = encoder;
        Response { parts: vec![Part::Encoded(out.freeze())], errors, ..Response::default() }
    }

    /// A frame and the records for its cuts, in order: for each cut, pieces that sum to its length.
    pub fn with_records(encoder: Encoder, records: Vec<Vec<Part>>) -> Response {
        assert_eq!(encoder.cuts.len(), records.len(), "a cut for each partition's records");
        let pieces: usize = records.iter().map(Vec::len).sum();
        let mut parts = Vec::with_capacity(1 + encoder.cuts.len() + pieces);
        let mut rest = encoder.out.freeze();
        let mut taken = 0;
        for (cut, pieces) in encoder.cuts.iter().zip(records) {
            debug_assert_eq!(cut.length, pieces.iter().map(|piece| piece.len()).sum::<usize>());
            parts.push(Part::Encoded(rest.split_to(cut.at - taken)));
            taken = cut.at;
            parts.extend(pieces);
        }
        if !rest.is_empty() {
            parts.push(Part::Encoded(rest));
        }
        Response { parts, errors: encoder.errors, ..Response::default() }
    }

    /// Bytes of the whole frame.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::wire::api::produce::{
        PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
    };
    use crate::wire::api::{FetchRequest, ProduceRequest};
    use crate::wire::{Message, Records, Request, encode_response};

    /// In every version the room is enough, and not much more than is needed.
    fn check<R: Request>(response: &R::Response, room: usize) {
        for version in <R::Response as Message>::VERSIONS {
            let bytes = encode_response::<R>(response, version, 7).out.len();
            assert!(bytes <= room && room <= 2 * bytes, "v{version}: {bytes} bytes in {room}");
        }
    }

    #[test]
    fn there_is_room_for_a_response_in_every_version() {
        let name = Str::from("n".repeat(20));
        for partitions in [1, 100, 1000] {
            let answered = TopicProduceResponse {
                name: name.clone(),
                partition_responses: vec![PartitionProduceResponse::default(); partitions],
                ..Default::default()
            };
            let response = ProduceResponse { responses: vec![answered], ..Default::default() };
            check::<ProduceRequest>(&response, room_for([(&name, partitions)].into_iter()));
            let data = PartitionData {
                aborted_transactions: Some(Vec::new()),
                records: Some(Records::External(2 << 20)),
                ..Default::default()
            };
            let read = FetchableTopicResponse {
                topic: name.clone(),
                partitions: vec![data; partitions],
                ..Default::default()
            };
            let response = FetchResponse { responses: vec![read], ..Default::default() };
            check::<FetchRequest>(&response, room_for([(&name, partitions)].into_iter()));
        }
    }
}
