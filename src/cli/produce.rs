//! `corelog produce`: lines become records.

use super::connect::Connect;
use super::input::Lines;
use super::json;
use super::output::{self, Failure};
use crate::client::{Acks, Client, Message, Producer, ProducerOptions};
use crate::wire::Str;
use crate::wire::compression::Codec;
use crate::wire::records::Header;
use bytes::Bytes;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// Produce records from lines of stdin or a file.
///
/// Each line is a record's value, or its key and value, or JSON as `consume --format json` writes it. It ends
/// when all records are acknowledged, or fails with the first that is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  seq 1 1000 | corelog produce numbers
  corelog produce flights --file flights.csv --key-separator ';' --compression zstd
  echo '{\"key\":\"LH\",\"value\":\"late\",\"timestamp\":1372636800000}' | corelog produce flights --format json
  corelog consume a --format json | corelog produce b --format json")]
pub struct Produce {
    topic: String,

    #[command(flatten)]
    connect: Connect,

    /// Read this file rather than stdin.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// What a line is.
    #[arg(short, long, value_enum, default_value_t = LineFormat::Text)]
    format: LineFormat,

    /// The key stands before the first of these, the value after it. \t, \n, \0 and \\ are understood.
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = parse_separator)]
    key_separator: Option<Separator>,

    /// A line begins with headers, `name:value,name:value`, and they end here.
    #[arg(long, value_name = "TEXT", value_parser = parse_separator)]
    headers_separator: Option<Separator>,

    /// A header for every record; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<Header>,

    /// A key or value that reads like this is null: a value then deletes its key in a compacted topic.
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,

    /// Write to this partition, rather than where the key's hash says.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// Write each record to the partition that its JSON says.
    #[arg(long, conflicts_with = "partition")]
    keep_partitions: bool,

    /// none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, default_value_t = Codec::None)]
    compression: Codec,

    /// How many replicas must have a record: all that are in sync, the leader alone (1), or nobody (0).
    #[arg(short, long, default_value = "all", value_parser = parse_acks)]
    acks: Acks,

    /// Let a retry write a record twice; needed for brokers without producer ids. Always so with fewer acks.
    #[arg(long)]
    no_idempotence: bool,

    /// Bytes of a batch before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024, value_parser = parse_batch_bytes)]
    batch_bytes: usize,

    /// How long a batch waits for more records, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    linger: u64,

    /// Make the topic if it is missing, where the brokers allow it (auto.create.topics.enable).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    create: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LineFormat {
    /// Value, or key and value.
    Text,
    /// One JSON object.
    Json,
}

/// How often the run looks whether a record has failed.
const RECORDS_PER_LOOK: u64 = 1024;

impl Produce {
    pub fn run(self) -> Result<(), Failure> {
        let is_json = self.format == LineFormat::Json;
        if is_json && (self.key_separator.is_some() || self.headers_separator.is_some()) {
            return Err(Failure::usage("separators are for --format text"));
        }
        let (lines, length) = self.open()?;
        let create = self.create;
        let connect = self.connect.clone();
        connect.run(
            |options| options.create_topics = create,
            async |client| self.produce(client, lines, length).await,
        )
    }

    fn open(&self) -> Result<(Lines, Option<u64>), Failure> {
        let Some(path) = &self.file else { return Ok((Lines::read(std::io::stdin()), None)) };
        let failed = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok((Lines::read(file), Some(length)))
    }

    async fn produce(
        self,
        client: Client,
        mut lines: Lines,
        length: Option<u64>,
    ) -> Result<(), Failure> {
        let options = ProducerOptions {
            acks: self.acks,
            codec: self.compression,
            batch_bytes: self.batch_bytes,
            linger: Duration::from_millis(self.linger),
            idempotent: self.acks == Acks::All && !self.no_idempotence,
            delivery_limit: client.options().operation_limit,
            ..ProducerOptions::default()
        };
        let topic = Str::from(self.topic.as_str());
        // Also an empty input says that a topic does not exist.
        client.topic(&topic).await?;
        let producer = Producer::new(client, options)?;
        let unit = if length.is_some() { "bytes" } else { "records" };
        let bar = output::progress(length, unit, false);
        let sent = self.send_lines(&topic, &producer, &mut lines, |line_bytes| {
            bar.inc(if length.is_some() { line_bytes } else { 1 });
        });
        let sent = sent.await;
        // Also when a line was wrong: the lines before it are records.
        producer.flush().await?;
        sent?;
        bar.finish_and_clear();
        output::note(&format!("{} records produced to {topic}", lines.count()));
        Ok(())
    }

    async fn send_lines(
        &self,
        topic: &Str,
        producer: &Producer,
        lines: &mut Lines,
        progress: impl Fn(u64),
    ) -> Result<(), Failure> {
        while let Some(line) = lines.next().await? {
            let line_bytes = line.len() as u64 + 1;
            let message = self
                .message(line)
                .map_err(|reason| Failure::failed(format!("line {}: {reason}", lines.count())))?;
            producer.send(topic, &message).await?;
            progress(line_bytes);
            if lines.count().is_multiple_of(RECORDS_PER_LOOK)
                && let Some(error) = producer.first_error()
            {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn message(&self, line: Bytes) -> Result<Message, String> {
        let mut message = match self.format {
            LineFormat::Text => self.text_message(line)?,
            LineFormat::Json => {
                let record = json::parse_record(&line)?;
                Message {
                    partition: record.partition.filter(|_| self.keep_partitions),
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                }
            }
        };
        message.partition = self.partition.or(message.partition);
        message.headers.extend(self.headers.iter().cloned());
        Ok(message)
    }

    fn text_message(&self, mut line: Bytes) -> Result<Message, String> {
        let mut message = Message::default();
        if let Some(separator) = &self.headers_separator {
            let headers = separator.split(&mut line).ok_or("no end of the headers was found")?;
            message.headers = parse_headers(&headers)?;
        }
        if let Some(separator) = &self.key_separator {
            let key = separator.split(&mut line).ok_or("no key separator was found")?;
            message.key = self.unless_null(key);
        }
        message.value = self.unless_null(line);
        Ok(message)
    }

    fn unless_null(&self, bytes: Bytes) -> Option<Bytes> {
        let is_null = self.null.as_ref().is_some_and(|null| null.as_bytes() == bytes);
        (!is_null).then_some(bytes)
    }
}

/// Bytes that part a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator(pub Vec<u8>);

impl Separator {
    /// Takes what is before the first separator off the line, and the separator with it.
    fn split(&self, line: &mut Bytes) -> Option<Bytes> {
        let at = line.windows(self.0.len()).position(|window| window == self.0)?;
        let before = line.split_to(at);
        let _ = line.split_to(self.0.len());
        Some(before)
    }
}

/// Understands \t, \n, \0 and \\.
pub fn parse_separator(text: &str) -> Result<Separator, String> {
    let mut bytes = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let meant = match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('0') => '\0',
                Some('\\') => '\\',
                _ => return Err("after \\ only t, n, 0 and \\ are known".to_string()),
            },
            (letter, false) => letter,
        };
        bytes.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
    }
    if bytes.is_empty() {
        Err("a separator is not empty".to_string())
    } else {
        Ok(Separator(bytes))
    }
}

fn parse_header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Ok(Header { name: bytes(name), value: Some(bytes(value)) })
}

/// `name:value,name:value`, as Kafka's console producer has it; nothing is no header.
fn parse_headers(text: &Bytes) -> Result<Vec<Header>, String> {
    let headers = text.split(|byte| *byte == b',').filter(|header| !header.is_empty());
    headers
        .map(|header| {
            let colon = header.iter().position(|byte| *byte == b':');
            let colon = colon.ok_or("a header is not name:value")?;
            let (name, value) =
                (text.slice_ref(&header[..colon]), text.slice_ref(&header[colon + 1..]));
            Ok(Header { name, value: Some(value) })
        })
        .collect()
}

fn parse_acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err("expected all, 1 or 0".to_string()),
    }
}

fn parse_batch_bytes(text: &str) -> Result<usize, String> {
    let max = crate::limits::MESSAGE_BYTES_MAX_DEFAULT;
    let bytes = text.parse().ok().filter(|bytes| (1..=max).contains(bytes));
    bytes.ok_or(format!("expected 1 to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        produce: Produce,
    }

    fn check(
        arguments: &[&str],
        line: &str,
        expect: Result<(Option<&str>, Option<&str>, usize), &str>,
    ) {
        let all = ["produce", "topic"].iter().chain(arguments);
        let produce = Only::try_parse_from(all).unwrap().produce;
        let found = produce.message(Bytes::copy_from_slice(line.as_bytes()));
        let bytes = |text: Option<&str>| text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        match (found, expect) {
            (Ok(message), Ok((key, value, headers))) => {
                assert_eq!((message.key, message.value), (bytes(key), bytes(value)), "{line}");
                assert_eq!(message.headers.len(), headers, "{line}");
            }
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{line}: {found}"),
            (found, expect) => panic!("{line}: {found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn lines_become_records() {
        check(&[], "a b", Ok((None, Some("a b"), 0)));
        check(&[], "", Ok((None, Some(""), 0)));
        check(&["-K", ":"], "k:v:w", Ok((Some("k"), Some("v:w"), 0)));
        check(&["-K", "\\t"], "k\tv", Ok((Some("k"), Some("v"), 0)));
        check(&["-K", "=>"], "k=>v", Ok((Some("k"), Some("v"), 0)));
        check(&["-K", ":"], "no key", Err("no key separator"));
        check(&["-K", ":", "--null", "NULL"], "NULL:NULL", Ok((None, None, 0)));
        check(&["-H", "a=1", "-H", "b="], "v", Ok((None, Some("v"), 2)));
        check(
            &["--headers-separator", "\\t", "-K", ":"],
            "a:1,b:2\tk:v",
            Ok((Some("k"), Some("v"), 2)),
        );
        check(&["--headers-separator", "\\t"], "a\tv", Err("not name:value"));
        check(&["-f", "json"], "{\"key\":\"k\"}", Ok((Some("k"), None, 0)));
        check(&["-f", "json"], "k", Err("expected"));
    }

    #[test]
    fn a_record_keeps_its_partition_only_when_told_to() {
        for (arguments, expect) in
            [(&[][..], None), (&["-p", "3"], Some(3)), (&["--keep-partitions"], Some(1))]
        {
            let all = ["produce", "t", "-f", "json"].iter().chain(arguments);
            let produce = Only::try_parse_from(all).unwrap().produce;
            let message = produce.message(Bytes::from_static(b"{\"partition\":1}")).unwrap();
            assert_eq!(message.partition, expect, "{arguments:?}");
        }
    }

    #[test]
    fn separators_are_unescaped() {
        assert_eq!(parse_separator("a\\t\\\\\\0").unwrap().0, b"a\t\\\0");
        assert!(parse_separator("").is_err());
        assert!(parse_separator("\\x").is_err());
        assert!(parse_separator("\\").is_err());
    }
}
