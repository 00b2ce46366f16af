use super::*;
use proptest::prelude::*;

fn header(name: &str, value: Option<&[u8]>) -> Header {
    Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: value.map(Bytes::copy_from_slice),
    }
}

/// Headers as a record has them, by way of a batch.
fn headers(all: &[Header]) -> Headers {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(0), None, None, all);
    let mut found = read(&builder.build(ProducerSequence::NONE)).unwrap();
    assert_eq!(found[0].headers.iter().collect::<Vec<_>>(), all);
    found.remove(0).headers
}

fn record(offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
    Record {
        offset: Offset(offset),
        timestamp: Timestamp(timestamp),
        key: key.map(Bytes::copy_from_slice),
        value: value.map(Bytes::copy_from_slice),
        headers: Headers::default(),
    }
}

fn build(codec: Codec, records: &[Record], producer: ProducerSequence) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let headers: Vec<Header> = record.headers.iter().collect();
        builder.push(record.timestamp, key, value, &headers);
    }
    if codec == Codec::None {
        let bytes = builder.bytes();
        let built = builder.build(producer);
        assert_eq!(built.len(), bytes);
        return built;
    }
    builder.build(producer)
}

fn read(batch: &Bytes) -> Result<Vec<Record>, RecordsError> {
    let header = batch::parse_whole(batch)?;
    records(&header, batch)?.collect()
}

fn some_records() -> Vec<Record> {
    let mut with_headers = record(2, 1_700_000_000_000, Some(b"k"), Some(b"v"));
    with_headers.headers =
        headers(&[header("a", Some(b"1")), header("", None), header("a", Some(b""))]);
    vec![
        record(0, 1_700_000_000_005, None, Some(b"value")),
        record(1, 1_700_000_000_005, Some(b""), None),
        with_headers,
    ]
}

#[test]
fn records_come_back_from_every_codec() {
    let producer = ProducerSequence { id: 7, epoch: 1, base_sequence: 40 };
    for codec in Codec::ALL {
        let batch = build(codec, &some_records(), producer);
        let header = batch::parse_produced(&batch).unwrap();
        assert_eq!(header.codec(), codec.to_attributes());
        assert_eq!((header.producer_id, header.producer_epoch), (7, 1));
        assert_eq!((header.base_sequence, header.last_sequence()), (40, 42));
        assert_eq!(header.base_timestamp, Timestamp(1_700_000_000_005));
        assert_eq!(header.max_timestamp, Timestamp(1_700_000_000_005));
        assert_eq!(read(&batch).unwrap(), some_records(), "{codec}");
    }
}

#[test]
fn offsets_follow_the_base_and_append_time_wins() {
    let mut batch = build(Codec::None, &some_records(), ProducerSequence::NONE).to_vec();
    batch::assign_offsets(&mut batch, Offset(1000), 3);
    batch::assign_append_time(&mut batch, Timestamp(5));
    let found = read(&Bytes::from(batch)).unwrap();
    assert_eq!(found.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [1000, 1001, 1002]);
    assert!(found.iter().all(|record| record.timestamp == Timestamp(5)));
}

#[test]
fn another_producer_is_all_that_changes() {
    let first = ProducerSequence { id: 7, epoch: 1, base_sequence: 40 };
    let second = ProducerSequence { id: 9, epoch: 0, base_sequence: 0 };
    let mut batch = build(Codec::Zstd, &some_records(), first).to_vec();
    assign_producer(&mut batch, second);
    assert_eq!(Bytes::from(batch), build(Codec::Zstd, &some_records(), second));
}

#[test]
fn batches_are_split_and_a_cut_one_at_the_end_is_left() {
    let one = build(Codec::None, &some_records(), ProducerSequence::NONE);
    let two = build(Codec::Lz4, &some_records(), ProducerSequence::NONE);
    let all = [&one[..], &two[..], &one[..one.len() - 1]].concat();
    let found: Vec<_> = batches(Bytes::from(all)).map(|batch| batch.unwrap().1).collect();
    assert_eq!(found, [one.clone(), two]);

    let mut damaged = [&one[..], &one[..]].concat();
    damaged[one.len() + 70] ^= 1;
    let found: Vec<_> = batches(Bytes::from(damaged)).collect();
    assert!(matches!(found[..], [Ok(_), Err(BatchError::Checksum { .. })]));
}

/// Changes the records of a batch under a right checksum.
fn check_damaged(change: impl FnOnce(&mut Vec<u8>), expect: &str) {
    let mut bytes = build(Codec::None, &some_records(), ProducerSequence::NONE).to_vec();
    change(&mut bytes);
    let length = (bytes.len() - batch::LENGTH_OVERHEAD) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = batch::checksum(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let batch = Bytes::from(bytes);
    let header = batch::parse_whole(&batch).unwrap();
    let mut iterator = records(&header, &batch).unwrap();
    let error = iterator.find_map(Result::err).expect("the damage is found").to_string();
    assert!(error.contains(expect), "{error}");
    assert!(iterator.next().is_none(), "nothing follows an error");
}

#[test]
fn damage_in_a_record_is_an_error_that_names_it() {
    // The first record: length, attributes, timestamp delta, offset delta, key -1, value length 5.
    check_damaged(|b| b[61] = 0x7e, "record 0");
    check_damaged(|b| b[61] = 1, "record 0: a length of -1 in record.length");
    check_damaged(|b| b[65] = 3, "record 0: a length of -2 in record.key");
    check_damaged(|b| b[66] = 0x7e, "in record.value");
    check_damaged(|b| b.push(0), "1 bytes remain");
    check_damaged(|b| b.truncate(b.len() - 1), "record 2");
    check_damaged(|b| b[57..61].copy_from_slice(&4i32.to_be_bytes()), "record 3");
}

#[test]
fn compressed_garbage_is_an_error() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut bytes = build(Codec::None, &some_records(), ProducerSequence::NONE).to_vec();
        bytes[22] = codec.to_attributes() as u8;
        let crc = batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(read(&Bytes::from(bytes)).is_err(), "{codec}");
    }
}

#[test]
fn the_oracle_reads_what_is_built_and_builds_what_is_read() {
    use kafka_protocol::records as oracle;
    let built = build(Codec::None, &some_records(), ProducerSequence::NONE);
    let mut bytes = built.clone();
    let decoded = oracle::RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert_eq!(decoded.records.len(), 3);
    for (theirs, ours) in decoded.records.iter().zip(some_records()) {
        assert_eq!((theirs.offset, theirs.timestamp), (ours.offset.0, ours.timestamp.0));
        assert_eq!((&theirs.key, &theirs.value), (&ours.key, &ours.value));
    }
    let mut rebuilt = BytesMut::new();
    let options =
        oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
    let theirs: Vec<_> = decoded.records[..2].to_vec();
    oracle::RecordBatchEncoder::encode(&mut rebuilt, &theirs, &options).unwrap();
    assert_eq!(read(&rebuilt.freeze()).unwrap(), some_records()[..2]);
}

#[test]
fn varlong_sizes_are_what_is_written() {
    for value in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::from(i32::MAX), i64::MAX, i64::MIN] {
        let mut e = Encoder::new();
        e.write_varlong(value);
        assert_eq!(varlong_bytes(value), e.out.len(), "{value}");
    }
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn any_header() -> impl Strategy<Value = Header> {
    ("[a-z]{0,5}", any_bytes()).prop_map(|(name, value)| Header { name: Bytes::from(name), value })
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let headers = prop::collection::vec(any_header(), 0..3).prop_map(|all| headers(&all));
    let one = (0..i64::MAX / 2, any_bytes(), any_bytes(), headers);
    prop::collection::vec(one, 1..20).prop_map(|all| {
        let with_offset = all.into_iter().enumerate();
        with_offset
            .map(|(at, (timestamp, key, value, headers))| Record {
                offset: Offset(at as i64),
                timestamp: Timestamp(timestamp),
                key,
                value,
                headers,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn any_records_come_back(records in any_records(), codec in 0usize..5) {
        let batch = build(Codec::ALL[codec], &records, ProducerSequence::NONE);
        prop_assert!(batch::parse_produced(&batch).is_ok());
        prop_assert_eq!(read(&batch).unwrap(), records);
    }

    #[test]
    fn hostile_records_never_panic(
        records in any_records(),
        codec in 0usize..5,
        flips in prop::collection::vec((0usize..2000, any::<u8>()), 1..5),
    ) {
        let mut bytes = build(Codec::ALL[codec], &records, ProducerSequence::NONE).to_vec();
        for (at, value) in flips {
            let body = BATCH_HEADER_BYTES - 4;
            let place = body + at % (bytes.len() - body);
            bytes[place] = value;
        }
        let crc = batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let _ = read(&Bytes::from(bytes));
    }
}
