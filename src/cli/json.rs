//! Records as JSON lines: what `consume --format json` writes, `produce --format json` reads.
//!
//! `{"topic":..,"partition":..,"offset":..,"timestamp":..,"key":..,"value":..,"headers":[{"name":..,"value":..}]}`;
//! bytes that are no text stand under `key_base64` and `value_base64` instead.

use crate::types::Timestamp;
use crate::wire::records::{Header, Record};
use bytes::Bytes;
use serde_json::{Map, Value};

/// Adds bytes under `name`, or `name_base64` when they are no text.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_string(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_string(), text.into()),
        Some(Err(_)) => {
            let encoded = to_base64(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), encoded.into())
        }
    };
}

/// A record's own fields; the caller adds where it is.
pub fn record_to_json(record: &Record) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("offset".to_string(), record.offset.0.into());
    object.insert("timestamp".to_string(), record.timestamp.0.into());
    put_bytes(&mut object, "key", record.key.as_deref());
    put_bytes(&mut object, "value", record.value.as_deref());
    if !record.headers.is_empty() {
        let headers = record.headers.iter().map(|header| {
            let mut object = Map::new();
            put_bytes(&mut object, "name", Some(&header.name));
            put_bytes(&mut object, "value", header.value.as_deref());
            Value::Object(object)
        });
        object.insert("headers".to_string(), headers.collect());
    }
    object
}

/// What a line of JSON says of a record to be produced. Where it once was, topic and offset, does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordLine {
    pub partition: Option<i32>,
    pub timestamp: Option<Timestamp>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

/// # Errors
/// A sentence that says what is wrong with the line.
pub fn parse_record(line: &[u8]) -> Result<RecordLine, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Value::Object(mut object) = value else { return Err("it is no JSON object".to_string()) };
    object.remove("topic");
    object.remove("offset");
    let whole = |object: &mut Map<String, Value>, name: &str| match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_i64().map(Some).ok_or(format!("{name} is no whole number: {value}"))
        }
    };
    let partition = whole(&mut object, "partition")?.map(i32::try_from).transpose();
    let record = RecordLine {
        partition: partition.map_err(|_| "partition is out of range".to_string())?,
        timestamp: whole(&mut object, "timestamp")?.map(Timestamp),
        key: take_bytes(&mut object, "key")?,
        value: take_bytes(&mut object, "value")?,
        headers: take_headers(&mut object)?,
    };
    match object.keys().next() {
        None => Ok(record),
        Some(name) => Err(format!("unknown field {name}")),
    }
}

fn take_headers(object: &mut Map<String, Value>) -> Result<Vec<Header>, String> {
    let list = match object.remove("headers") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err("headers is no list".to_string()),
    };
    let header = |value: Value| match value {
        Value::Object(mut header) => {
            let name =
                take_bytes(&mut header, "name")?.ok_or("a header has no name".to_string())?;
            Ok(Header { name, value: take_bytes(&mut header, "value")? })
        }
        _ => Err("a header is no object".to_string()),
    };
    list.into_iter().map(header).collect()
}

/// Text as it is; anything else that is not null as its own JSON.
fn take_bytes(object: &mut Map<String, Value>, name: &str) -> Result<Option<Bytes>, String> {
    let plain = object.remove(name).filter(|value| !value.is_null());
    let encoded = object.remove(&format!("{name}_base64"));
    match (plain, encoded) {
        (Some(_), Some(_)) => Err(format!("both {name} and {name}_base64")),
        (Some(Value::String(text)), None) => Ok(Some(Bytes::from(text))),
        (Some(value), None) => Ok(Some(Bytes::from(value.to_string()))),
        (None, Some(encoded)) => {
            let decoded = encoded.as_str().and_then(from_base64);
            decoded
                .map(|bytes| Some(Bytes::from(bytes)))
                .ok_or(format!("{name}_base64 is no base64"))
        }
        (None, None) => Ok(None),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { letter as char } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let padding = text.len() - text.trim_end_matches('=').len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let letters = &text.as_bytes()[..text.len() - padding];
    for four in letters.chunks(4) {
        let mut word = 0;
        for letter in four {
            let value = ALPHABET.iter().position(|found| found == letter)?;
            word = word << 6 | value as u32;
        }
        word <<= 6 * (4 - four.len());
        bytes.extend(&word.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;
    use crate::wire::compression::Codec;
    use crate::wire::records::{BatchBuilder, ProducerSequence, records};

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes());
        }
        for text in ["Z", "Zg=", "====", "Z===", "Z*==", "Zg==Zg=="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let headers = [
            Header { name: Bytes::from("a"), value: Some(Bytes::from_static(b"\xff\x00")) },
            Header { name: Bytes::from("b"), value: None },
        ];
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(5), Some(b"\xfe"), Some("ä\n".as_bytes()), &headers);
        builder.push(Timestamp(6), None, None, &[]);
        let batch = builder.build(ProducerSequence::NONE);
        let header = crate::wire::batch::parse_whole(&batch).unwrap();
        for record in records(&header, &batch).unwrap().map(Result::unwrap) {
            let line = Value::Object(record_to_json(&record)).to_string();
            assert!(!line.contains('\n'));
            let back = parse_record(line.as_bytes()).unwrap();
            assert_eq!((&back.key, &back.value), (&record.key, &record.value));
            assert_eq!(back.timestamp, Some(record.timestamp));
            assert_eq!(back.headers, record.headers.iter().collect::<Vec<_>>());
            assert!(record.offset >= Offset(0));
        }
    }

    #[test]
    fn lines_of_other_programs_are_read() {
        let check = |line: &str, expect: Result<RecordLine, &str>| {
            let found = parse_record(line.as_bytes());
            match expect {
                Ok(expect) => assert_eq!(found, Ok(expect), "{line}"),
                Err(part) => assert!(found.unwrap_err().contains(part), "{line}"),
            }
        };
        let value = |value: &str| RecordLine {
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            ..Default::default()
        };
        check("{\"value\":\"x\"}", Ok(value("x")));
        check("{\"value\":{\"a\":[1,2]}}", Ok(value("{\"a\":[1,2]}")));
        check("{\"value\":5,\"topic\":\"t\",\"offset\":9}", Ok(value("5")));
        check("{}", Ok(RecordLine::default()));
        check("[]", Err("no JSON object"));
        check("{", Err("EOF"));
        check("{\"vlaue\":1}", Err("unknown field vlaue"));
        check("{\"partition\":4294967296}", Err("out of range"));
        check("{\"timestamp\":\"x\"}", Err("no whole number"));
        check("{\"key\":\"a\",\"key_base64\":\"Zg==\"}", Err("both key"));
        check("{\"key_base64\":\"*\"}", Err("no base64"));
        check("{\"headers\":[{\"value\":\"x\"}]}", Err("no name"));
    }
}
