//! What consumers tell each other through the classic protocol: a member's subscription, which its JoinGroup
//! carries as metadata, and its assignment. Each begins with its version, which is not part of the message.

use super::Fault;
use super::message::prelude::*;

/// The protocol type of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";

messages! {
    /// v1 partitions owned; v2 the generation they are of; v3 rack.
    ConsumerProtocolSubscription (0..=3, flexible 32767..) {
        topics: Vec<Str> => 0..;
        user_data: Option<Bytes> => 0..;
        owned_partitions: Vec<ConsumerProtocolTopicPartitions> => 1..;
        generation_id: i32 => 2.., default -1;
        rack_id: Option<Str> => 3..;
    }

    ConsumerProtocolAssignment (0..=3, flexible 32767..) {
        assigned_partitions: Vec<ConsumerProtocolTopicPartitions> => 0..;
        user_data: Option<Bytes> => 0..;
    }

    ConsumerProtocolTopicPartitions {
        topic: Str => 0..;
        partitions: Vec<i32> => 0..;
    }
}

impl ConsumerProtocolSubscription {
    /// Reads a member's metadata, and in which version it is. A newer version than is known begins with what is
    /// known; what follows is ignored, as Kafka does.
    ///
    /// # Errors
    /// Bytes that are not a subscription: any client may send any bytes as metadata.
    pub fn from_metadata(metadata: Bytes) -> Result<(i16, Self), WireError> {
        read(metadata)
    }

    /// Only the topics: every version begins as version 0 does.
    ///
    /// # Errors
    /// As above.
    pub fn topics_of(metadata: Bytes) -> Result<Vec<Str>, WireError> {
        let mut d = Decoder::new(metadata);
        d.read_i16()?;
        Ok(Self::decode(&mut d, 0)?.topics)
    }
}

impl ConsumerProtocolAssignment {
    /// # Errors
    /// Bytes that are not an assignment: a group's leader may send any.
    pub fn from_assignment(assignment: Bytes) -> Result<(i16, Self), WireError> {
        read(assignment)
    }

    /// As members read it, in the version of their subscription.
    pub fn to_assignment(&self, version: i16) -> Bytes {
        let mut e = Encoder::new();
        e.write_i16(version);
        self.encode(&mut e, known(version));
        e.out.freeze()
    }
}

fn known(version: i16) -> i16 {
    version.clamp(0, 3)
}

fn read<M: Message>(bytes: Bytes) -> Result<(i16, M), WireError> {
    let mut d = Decoder::new(bytes);
    let version = d.read_i16()?;
    if version < 0 {
        return Err(d.error(Fault::UnknownVersion(version)).in_field(M::NAME));
    }
    Ok((version, <M as Message>::decode(&mut d, known(version))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages as theirs;
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn subscriptions_of_every_version_read_as_the_oracle_writes_them() {
        let topics = vec!["a".into(), "größe".into()];
        let owned = theirs::consumer_protocol_subscription::TopicPartition::default()
            .with_topic(theirs::TopicName("a".into()))
            .with_partitions(vec![0, 2]);
        let theirs = theirs::ConsumerProtocolSubscription::default()
            .with_topics(topics)
            .with_user_data(Some(Bytes::from_static(b"data")))
            .with_owned_partitions(vec![owned])
            .with_generation_id(7)
            .with_rack_id(Some("r".into()));
        for version in 0..=3_i16 {
            let mut bytes = bytes::BytesMut::from(&version.to_be_bytes()[..]);
            theirs.encode(&mut bytes, version).unwrap();
            let bytes = bytes.freeze();
            let (read_version, ours) =
                ConsumerProtocolSubscription::from_metadata(bytes.clone()).unwrap();
            assert_eq!(read_version, version);
            assert_eq!(ours.topics, [Str::from("a"), Str::from("größe")]);
            assert_eq!(ours.user_data.as_deref(), Some(&b"data"[..]));
            assert_eq!(ours.owned_partitions.len(), usize::from(version >= 1));
            assert_eq!(ours.generation_id, if version >= 2 { 7 } else { -1 });
            assert_eq!(ours.rack_id, (version >= 3).then(|| Str::from("r")));
            assert_eq!(ConsumerProtocolSubscription::topics_of(bytes).unwrap(), ours.topics);
        }
    }

    #[test]
    fn a_subscription_of_the_future_is_read_as_the_newest_known_and_no_bytes_panic() {
        let mut e = Encoder::new();
        e.write_i16(9);
        let sent = ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
        sent.encode(&mut e, 3);
        e.write_i64(-1);
        let whole = e.out.freeze();
        let (version, read) = ConsumerProtocolSubscription::from_metadata(whole.clone()).unwrap();
        assert_eq!((version, &read), (9, &sent));
        for end in 0..whole.len() - 8 {
            assert!(ConsumerProtocolSubscription::from_metadata(whole.slice(..end)).is_err());
        }
        let negative = Bytes::from_static(b"\xff\xff\0\0\0\0\0\0\0\0");
        assert!(ConsumerProtocolSubscription::from_metadata(negative).is_err());
        let huge = Bytes::from_static(b"\0\0\x7f\xff\xff\xff");
        assert!(ConsumerProtocolSubscription::topics_of(huge).is_err());
    }

    #[test]
    fn assignments_come_back() {
        let partitions = ConsumerProtocolTopicPartitions { topic: "t".into(), partitions: vec![1] };
        let sent =
            ConsumerProtocolAssignment { assigned_partitions: vec![partitions], user_data: None };
        for version in [0, 3, 12] {
            let bytes = sent.to_assignment(version);
            let read = ConsumerProtocolAssignment::from_assignment(bytes).unwrap();
            assert_eq!(read, (version, sent.clone()));
        }
    }
}
