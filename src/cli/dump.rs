//! `corelog dump`: what is in a segment or an index, without a broker.

use super::output::{Failure, Format, Stdout, buffered_stdout};
use super::{json, moment};
use crate::limits::BATCH_HEADER_BYTES;
use crate::types::{Offset, Timestamp};
use crate::wire::batch::{self, BatchHeader};
use crate::wire::compression::Codec;
use crate::wire::records::{Record, records};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Show the batches of a .log segment, or the entries of an .index or .timeindex.
///
/// Also of Apache Kafka's log directories. Checksums are checked; damage ends the dump with exit code 1 and a
/// sentence that names the file and the position.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog dump data/flights-0/00000000000000000000.log
  corelog dump data/flights-0/00000000000000000000.log --records --format json
  corelog dump data/flights-0/*.index")]
pub struct Dump {
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Also the records in the batches.
    #[arg(short, long)]
    records: bool,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Dump {
    pub fn run(self) -> Result<(), Failure> {
        let mut out = buffered_stdout();
        for path in &self.files {
            if self.files.len() > 1 && self.format == Format::Text {
                writeln!(out, "{}", path.display())?;
            }
            let dumped = self.dump(path, &mut out);
            out.flush()?;
            dumped?;
        }
        Ok(())
    }

    fn dump(&self, path: &Path, out: &mut Stdout) -> Result<(), Failure> {
        let failed = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let mut source = Source { path, reader: BufReader::with_capacity(1 << 20, file), at: 0 };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => self.dump_log(&mut source, out),
            Some("index") => self.dump_entries::<8>(&mut source, out, |entry| {
                let (relative, position) = (number(&entry[..4]), number(&entry[4..]));
                IndexEntry { relative, place: Place::Position(position) }
            }),
            Some("timeindex") => self.dump_entries::<12>(&mut source, out, |entry| {
                let (timestamp, relative) = (number(&entry[..8]), number(&entry[8..]));
                IndexEntry { relative, place: Place::Timestamp(Timestamp(timestamp)) }
            }),
            _ => {
                let shown = path.display();
                Err(Failure::usage(format!("{shown} is no .log, .index or .timeindex")))
            }
        }
    }

    fn dump_log(&self, source: &mut Source<'_>, out: &mut Stdout) -> Result<(), Failure> {
        loop {
            let position = source.at;
            let mut head = [0; BATCH_HEADER_BYTES];
            let read = source.read_up_to(&mut head)?;
            if read == 0 {
                return Ok(());
            }
            if head[..read].iter().all(|byte| *byte == 0) {
                return self.dump_rest(position, source, out);
            }
            let header =
                BatchHeader::parse(&head[..read]).map_err(|e| source.damage(position, &e))?;
            // Grows as the file yields it: the length in the header is not believed.
            let mut bytes = head.to_vec();
            let body_bytes = (header.batch_bytes - BATCH_HEADER_BYTES) as u64;
            source.read_more(body_bytes, &mut bytes)?;
            let batch = Bytes::from(bytes);
            let header = batch::parse_whole(&batch).map_err(|e| source.damage(position, &e))?;
            self.write_batch(out, position, &header)?;
            if self.records {
                for record in records(&header, &batch).map_err(|e| source.damage(position, &e))? {
                    let record = record.map_err(|e| source.damage(position, &e))?;
                    self.write_record(out, &record)?;
                }
            }
        }
    }

    /// A segment that is being written ends in preallocated space, which reads as zeros.
    fn dump_rest(
        &self,
        position: u64,
        source: &mut Source<'_>,
        out: &mut Stdout,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let at = source.at;
            let read = source.read_up_to(&mut buffer)?;
            if read == 0 {
                break;
            }
            if let Some(found) = buffer[..read].iter().position(|byte| *byte != 0) {
                let what = format!("data after zeros that begin at position {position}");
                return Err(source.damage(at + found as u64, &what));
            }
        }
        if self.format == Format::Text {
            writeln!(
                out,
                "position {position}: {} bytes of preallocated space",
                source.at - position
            )?;
        }
        Ok(())
    }

    fn write_batch(&self, out: &mut Stdout, position: u64, header: &BatchHeader) -> io::Result<()> {
        let codec = Codec::from_attributes(header.attributes).map_or("unknown", Codec::name);
        if self.format == Format::Json {
            let line = json!({
                "position": position,
                "bytes": header.batch_bytes,
                "base_offset": header.base_offset.0,
                "last_offset": header.last_offset().0,
                "records": header.record_count,
                "codec": codec,
                "base_timestamp": header.base_timestamp.0,
                "max_timestamp": header.max_timestamp.0,
                "log_append_time": header.is_log_append_time(),
                "leader_epoch": header.leader_epoch,
                "producer_id": header.producer_id,
                "producer_epoch": header.producer_epoch,
                "base_sequence": header.base_sequence,
                "last_sequence": header.last_sequence(),
                "transactional": header.is_transactional(),
                "control": header.is_control(),
                "crc": header.crc,
            });
            return writeln!(out, "{line}");
        }
        let (first, last) = (header.base_offset, header.last_offset());
        write!(
            out,
            "position {position}: offsets {first} to {last}, {} records, ",
            header.record_count
        )?;
        write!(out, "{} bytes, {codec}, ", header.batch_bytes)?;
        let (base, max) = (header.base_timestamp, header.max_timestamp);
        write!(
            out,
            "{} to {}, epoch {}",
            moment::show(base),
            moment::show(max),
            header.leader_epoch
        )?;
        if header.has_producer() {
            write!(out, ", producer {}/{}", header.producer_id, header.producer_epoch)?;
            write!(out, " sequence {} to {}", header.base_sequence, header.last_sequence())?;
        }
        for (is_so, word) in [
            (header.is_log_append_time(), "append time"),
            (header.is_transactional(), "transactional"),
            (header.is_control(), "control"),
        ] {
            if is_so {
                write!(out, ", {word}")?;
            }
        }
        writeln!(out, ", crc {:#010x}", header.crc)
    }

    fn write_record(&self, out: &mut Stdout, record: &Record) -> io::Result<()> {
        if self.format == Format::Json {
            return writeln!(out, "{}", Value::Object(json::record_to_json(record)));
        }
        let show = |bytes: &Option<Bytes>| match bytes {
            Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
            None => "null".to_string(),
        };
        write!(out, "  {} {}", record.offset, moment::show(record.timestamp))?;
        write!(out, " key {} value {}", show(&record.key), show(&record.value))?;
        for header in record.headers.iter() {
            write!(out, " header {}={}", header.name.escape_ascii(), show(&header.value))?;
        }
        writeln!(out)
    }

    fn dump_entries<const N: usize>(
        &self,
        source: &mut Source<'_>,
        out: &mut Stdout,
        parse: impl Fn(&[u8; N]) -> IndexEntry,
    ) -> Result<(), Failure> {
        let base = base_offset(source.path)?;
        loop {
            let position = source.at;
            let mut entry = [0; N];
            let read = source.read_up_to(&mut entry)?;
            // Kafka preallocates the indexes of the segment it writes: what is zero is not yet written.
            if entry[..read].iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            if read < N {
                return Err(source.damage(position, &format!("an entry of {read} bytes")));
            }
            let entry = parse(&entry);
            self.write_entry(out, Offset(base.0.saturating_add(entry.relative)), &entry)?;
        }
    }

    fn write_entry(&self, out: &mut Stdout, offset: Offset, entry: &IndexEntry) -> io::Result<()> {
        match (self.format, entry.place) {
            (Format::Text, Place::Position(position)) => {
                writeln!(out, "offset {offset}: position {position}")
            }
            (Format::Text, Place::Timestamp(timestamp)) => {
                writeln!(out, "offset {offset}: timestamp {}", moment::show(timestamp))
            }
            (Format::Json, place) => {
                let mut line = Map::new();
                line.insert("offset".to_string(), offset.0.into());
                match place {
                    Place::Position(position) => {
                        line.insert("position".to_string(), position.into())
                    }
                    Place::Timestamp(at) => line.insert("timestamp".to_string(), at.0.into()),
                };
                writeln!(out, "{}", Value::Object(line))
            }
        }
    }
}

struct IndexEntry {
    /// To the segment's base offset.
    relative: i64,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Position(i64),
    Timestamp(Timestamp),
}

/// A big-endian number of at most eight bytes; four bytes are unsigned.
fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// The twenty digits that a segment's files are named by.
fn base_offset(path: &Path) -> Result<Offset, Failure> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    let offset = plain.then(|| name.parse().ok()).flatten();
    offset.map(Offset).ok_or_else(|| {
        let shown = path.display();
        Failure::usage(format!("{shown} is not named by a base offset of twenty digits"))
    })
}

struct Source<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    /// Bytes read so far.
    at: u64,
}

impl Source<'_> {
    /// Fills `buffer`, or as much of it as the file has.
    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    fn read_more(&mut self, bytes: u64, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let read = (&mut self.reader).take(bytes).read_to_end(buffer);
        self.at += read.map_err(|error| self.failed(&error))? as u64;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::failed(format!("cannot read {}: {error}", self.path.display()))
    }

    fn damage(&self, position: u64, what: &impl std::fmt::Display) -> Failure {
        Failure::failed(format!("{} at position {position}: {what}", self.path.display()))
    }
}
