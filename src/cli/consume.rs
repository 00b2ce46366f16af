//! `corelog consume`: records become lines.

mod member;

use super::connect::Connect;
use super::output::{self, Failure, Stdout, buffered_stdout};
use super::place::{Place, parse_place};
use super::produce::{Separator, parse_separator};
use super::{json, moment};
use crate::client::{
    Client, Fetched, Fetcher, FetcherOptions, OffsetQuery, OutOfRange, TopicPartition,
};
use crate::types::{Offset, Timestamp};
use crate::wire::Str;
use crate::wire::records::{Record, records};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

/// Consume records and print them.
///
/// Start the beginning to the end as it is now, unless told otherwise; records of one partition come in their
/// order. Offsets are committed only with --group.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog consume numbers | tail -1
  corelog consume flights --from 2013-07-01 --count 1
  corelog consume flights --last 10 --follow
  corelog consume flights --print partition,offset,timestamp,key,value
  corelog consume flights --format json --partition 0,3
  corelog consume flights --group billing --follow")]
pub struct Consume {
    topic: String,

    #[command(flatten)]
    connect: Connect,

    /// Where to begin: beginning, end, an offset (@5), or a time (2013-07-01, 2013-07-01T12:30:00Z,
    /// milliseconds since 1970, -15m for fifteen minutes ago): the first record of that time or later.
    #[arg(long, value_name = "PLACE", default_value = "beginning", value_parser = parse_place, allow_hyphen_values = true)]
    from: Place,

    /// Print only the last so many records there are, the oldest first.
    #[arg(long, value_name = "COUNT", conflicts_with = "from", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX))]
    last: Option<u64>,

    /// Go on with records as they come.
    #[arg(short = 'F', long)]
    follow: bool,

    /// Stop after so many records.
    #[arg(short = 'n', long)]
    count: Option<u64>,

    /// Read as a member of this consumer group: partitions are shared with its other members, what was printed
    /// is committed, and --from holds only where the group has committed nothing. Without --follow, up to the
    /// end as it is when a partition is assigned.
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["last", "partition"])]
    group: Option<String>,

    /// Only these partitions.
    #[arg(short, long, value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,

    /// What a line is.
    #[arg(short, long, value_enum, default_value_t = LineFormat::Text)]
    format: LineFormat,

    /// What a line of text shows of a record.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "FIELD,...",
        default_value = "value"
    )]
    print: Vec<Field>,

    /// What stands between the fields of a line.
    #[arg(long, value_name = "TEXT", default_value = "\\t", value_parser = parse_separator)]
    separator: Separator,

    /// Print key and value with this between: `--print key,value --separator TEXT`.
    #[arg(short = 'K', long, value_name = "TEXT", conflicts_with_all = ["print", "separator"], value_parser = parse_separator)]
    key_separator: Option<Separator>,

    /// How a line of text shows null.
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
}

/// Records that `--last` may keep in memory.
const LAST_MAX: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LineFormat {
    /// The fields of --print, and a newline.
    Text,
    /// One JSON object.
    Json,
    /// Values alone, with nothing between them.
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Field {
    Topic,
    Partition,
    Offset,
    /// As a time in UTC.
    Timestamp,
    /// name:value,name:value
    Headers,
    Key,
    Value,
}

/// Where each partition is read from and, unless followed, to.
type Ranges = BTreeMap<TopicPartition, (Offset, Offset)>;

impl Consume {
    pub fn run(mut self) -> Result<(), Failure> {
        if let Some(separator) = self.key_separator.take() {
            (self.print, self.separator) = (vec![Field::Key, Field::Value], separator);
        }
        let connect = self.connect.clone();
        connect.run(|_| {}, async |client| self.consume(&client).await)
    }

    async fn consume(&self, client: &Client) -> Result<(), Failure> {
        if let Some(group) = &self.group {
            return self.consume_as_member(client, group).await;
        }
        let ranges = self.ranges(client).await?;
        let mut run = Run::new(self, client, ranges);
        if let Some(last) = self.last {
            run.print_last(last as usize).await?;
            if !self.follow {
                return Ok(());
            }
        }
        run.print_all(self.follow).await
    }

    async fn ranges(&self, client: &Client) -> Result<Ranges, Failure> {
        let name = Str::from(self.topic.as_str());
        let topic = client.topic(&name).await?;
        let known: BTreeSet<i32> = topic.partitions.iter().map(|found| found.index).collect();
        let chosen: BTreeSet<i32> = match self.partition.is_empty() {
            true => known.clone(),
            false => self.partition.iter().copied().collect(),
        };
        if let Some(missing) = chosen.difference(&known).next() {
            let count = known.len();
            return Err(Failure::failed(format!(
                "{name} has {count} partitions, none is {missing}"
            )));
        }
        let at = |partition| TopicPartition { topic: name.clone(), partition };
        let chosen: Vec<TopicPartition> = chosen.into_iter().map(at).collect();
        let ends = client.list_offsets(&chosen, OffsetQuery::Latest).await?;
        let starts = match self.from {
            Place::Time(time) => client.list_offsets(&chosen, OffsetQuery::At(time)).await?,
            _ => client.list_offsets(&chosen, OffsetQuery::Earliest).await?,
        };
        let find = |offsets: &HashMap<TopicPartition, Option<Offset>>, at: &TopicPartition| {
            offsets.get(at).copied().flatten()
        };
        let ranges = chosen.into_iter().map(|partition| {
            let end = find(&ends, &partition).unwrap_or_default();
            // No record is that late: what follows the end is.
            let first = find(&starts, &partition).unwrap_or(end);
            let start = match (self.last, self.from) {
                (Some(last), _) => first.max(Offset(end.0.saturating_sub_unsigned(last))),
                (None, Place::End) => end,
                (None, Place::Offset(offset)) => offset.max(first),
                (None, Place::Beginning | Place::Time(_)) => first,
            };
            (partition, (start, end))
        });
        Ok(ranges.collect())
    }

    fn write_record(
        &self,
        out: &mut Stdout,
        at: &TopicPartition,
        record: &Record,
    ) -> io::Result<()> {
        match self.format {
            LineFormat::Raw => out.write_all(record.value.as_deref().unwrap_or_default()),
            LineFormat::Json => {
                let mut object = json::record_to_json(record);
                object.insert("topic".to_string(), at.topic.as_str().into());
                object.insert("partition".to_string(), at.partition.into());
                serde_json::to_writer(&mut *out, &object)?;
                out.write_all(b"\n")
            }
            LineFormat::Text => {
                for (place, field) in self.print.iter().enumerate() {
                    if place > 0 {
                        out.write_all(&self.separator.0)?;
                    }
                    self.write_field(out, *field, at, record)?;
                }
                out.write_all(b"\n")
            }
        }
    }

    fn write_field(
        &self,
        out: &mut Stdout,
        field: Field,
        at: &TopicPartition,
        record: &Record,
    ) -> io::Result<()> {
        let null = self.null.as_bytes();
        match field {
            Field::Topic => write!(out, "{}", at.topic),
            Field::Partition => write!(out, "{}", at.partition),
            Field::Offset => write!(out, "{}", record.offset),
            Field::Timestamp => write!(out, "{}", moment::show(record.timestamp)),
            Field::Key => out.write_all(record.key.as_deref().unwrap_or(null)),
            Field::Value => out.write_all(record.value.as_deref().unwrap_or(null)),
            Field::Headers => {
                for (place, header) in record.headers.iter().enumerate() {
                    out.write_all(if place > 0 { b"," } else { b"" })?;
                    out.write_all(&header.name)?;
                    out.write_all(b":")?;
                    out.write_all(header.value.as_deref().unwrap_or(null))?;
                }
                Ok(())
            }
        }
    }
}

/// One run of the command.
struct Run<'a> {
    consume: &'a Consume,
    fetcher: Fetcher,
    ranges: Ranges,
    /// Records that may still be printed.
    left: u64,
    out: Stdout,
}

impl<'a> Run<'a> {
    fn new(consume: &'a Consume, client: &Client, ranges: Ranges) -> Run<'a> {
        // Whoever reads all wants what is there, even if its beginning is deleted meanwhile.
        let options =
            FetcherOptions { out_of_range: OutOfRange::Earliest, ..FetcherOptions::default() };
        let fetcher = Fetcher::new(client.clone(), options);
        let left = consume.count.unwrap_or(u64::MAX);
        Run { consume, fetcher, ranges, left, out: buffered_stdout() }
    }

    /// Prints what is in the ranges, and what comes after when told to follow.
    async fn print_all(&mut self, follow: bool) -> Result<(), Failure> {
        for (partition, (start, end)) in &self.ranges {
            if follow || start < end {
                self.fetcher.assign(partition.clone(), *start);
            }
        }
        let total: i64 = self.ranges.values().map(|(start, end)| (*end - *start).max(0)).sum();
        let bar = output::progress((!follow).then_some(total.unsigned_abs()), "records", true);
        while self.left > 0 && !self.fetcher.is_idle() {
            let fetched = self.fetcher.next().await?;
            let end = if follow { None } else { Some(self.ranges[&fetched.partition].1) };
            for record in self.records(&fetched, end)? {
                if self.left == 0 {
                    break;
                }
                self.consume.write_record(&mut self.out, &fetched.partition, &record)?;
                self.left -= 1;
                bar.inc(1);
            }
            self.out.flush()?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Prints the last so many of all partitions together, by time. The ranges hold that many of each.
    async fn print_last(&mut self, last: usize) -> Result<(), Failure> {
        for (partition, (start, end)) in self.ranges.iter().filter(|(_, (start, end))| start < end)
        {
            self.fetcher.assign(partition.clone(), *start);
            debug_assert!(start < end);
        }
        let mut kept: BTreeMap<(Timestamp, i32, Offset), (TopicPartition, Record)> =
            BTreeMap::new();
        while !self.fetcher.is_idle() {
            let fetched = self.fetcher.next().await?;
            let end = self.ranges[&fetched.partition].1;
            for record in self.records(&fetched, Some(end))? {
                let partition = &fetched.partition;
                let place = (record.timestamp, partition.partition, record.offset);
                kept.insert(place, (partition.clone(), record));
                if kept.len() > last {
                    kept.pop_first();
                }
            }
        }
        for (partition, record) in kept.into_values() {
            self.consume.write_record(&mut self.out, &partition, &record)?;
        }
        self.out.flush()?;
        // To follow is to go on where each partition ended.
        for (start, end) in self.ranges.values_mut() {
            *start = *end;
        }
        Ok(())
    }

    /// The records of what was fetched that lie in the range; a partition whose end is reached is left.
    fn records(&mut self, fetched: &Fetched, end: Option<Offset>) -> Result<Vec<Record>, Failure> {
        let mut found = records_of(fetched)?;
        found.retain(|record| end.is_none_or(|end| record.offset < end));
        let reached = fetched.batches.last().map(|(header, _)| header.next_offset());
        if reached.zip(end).is_some_and(|(reached, end)| reached >= end) {
            self.fetcher.unassign(&fetched.partition);
        }
        Ok(found)
    }
}

/// The records of what was fetched, from the position that was asked for.
fn records_of(fetched: &Fetched) -> Result<Vec<Record>, Failure> {
    let mut found = Vec::new();
    for (header, batch) in fetched.batches.iter().filter(|(header, _)| !header.is_control()) {
        let fault = |error| {
            let (partition, offset) = (&fetched.partition, header.base_offset);
            Failure::failed(format!("{partition}, batch at offset {offset}: {error}"))
        };
        for record in records(header, batch).map_err(fault)? {
            let record = record.map_err(fault)?;
            if record.offset >= fetched.from {
                found.push(record);
            }
        }
    }
    Ok(found)
}
