//! `corelog group`: consumer groups listed, shown with their lag, set to other offsets, and deleted.

use super::connect::Connect;
use super::output::{self, Failure, Format};
use super::place::{Place, parse_place};
use crate::client::{
    Client, ClientError, Committed, Group as Described, Membership, OffsetQuery, TopicPartition,
};
use crate::types::Offset;
use crate::wire::{ErrorCode, Str};
use clap::Subcommand;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

/// List, describe, reset and delete consumer groups.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog group list
  corelog group describe billing
  corelog group reset-offsets billing --topic flights --to beginning
  corelog group reset-offsets billing --topic flights:0,3 --to 2013-07-01 --execute
  corelog group reset-offsets billing --all-topics --by -100 --execute
  corelog group delete billing")]
pub struct Group {
    #[command(flatten)]
    connect: Connect,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Describe(Describe),
    ResetOffsets(ResetOffsets),
    Delete(Delete),
}

/// List the groups, by name.
#[derive(Debug, clap::Args)]
struct List {
    /// Only groups in these states, such as stable or empty.
    #[arg(long, value_delimiter = ',', value_name = "STATE,...")]
    state: Vec<String>,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Show members, what they read, what is committed, and how far behind it is.
#[derive(Debug, clap::Args)]
struct Describe {
    /// All groups when none is named.
    names: Vec<String>,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Have a group go on elsewhere. Shows what would be changed; changes it with --execute.
///
/// A group that has members cannot be reset: stop them first. An offset beyond what a partition holds becomes
/// its beginning or end.
#[derive(Debug, clap::Args)]
struct ResetOffsets {
    name: String,

    /// A topic, or some of its partitions (flights:0,3); may be repeated.
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITION,...]", required_unless_present = "all_topics", value_parser = parse_topic)]
    topics: Vec<ChosenTopic>,

    /// All partitions that the group has committed an offset for.
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,

    /// Where to go on: beginning, end, an offset (@5), or a time (2013-07-01, 2013-07-01T12:30:00Z, -15m):
    /// the first record of that time or later.
    #[arg(long, value_name = "PLACE", required_unless_present = "by", value_parser = parse_place, allow_hyphen_values = true)]
    to: Option<Place>,

    /// Go on so many records later than committed, or earlier (-100).
    #[arg(long, value_name = "RECORDS", conflicts_with = "to", allow_hyphen_values = true)]
    by: Option<i64>,

    /// Do it.
    #[arg(long)]
    execute: bool,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Delete groups that have no members, or what they committed for some topics.
#[derive(Debug, clap::Args)]
struct Delete {
    #[arg(required = true)]
    names: Vec<String>,

    /// Only forget the offsets of this topic; may be repeated.
    #[arg(short, long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
}

#[derive(Clone, Debug)]
struct ChosenTopic {
    name: String,
    /// All when empty.
    partitions: Vec<i32>,
}

fn parse_topic(text: &str) -> Result<ChosenTopic, String> {
    let (name, partitions) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("expected TOPIC or TOPIC:PARTITION,...".to_string());
    }
    let numbers = partitions.split(',').filter(|number| !number.is_empty());
    let parsed = numbers.map(|number| {
        let partition = number.parse().ok().filter(|partition: &i32| *partition >= 0);
        partition.ok_or_else(|| format!("'{number}' is no partition"))
    });
    Ok(ChosenTopic { name: name.to_string(), partitions: parsed.collect::<Result<_, _>>()? })
}

impl Group {
    pub fn run(self) -> Result<(), Failure> {
        self.connect.run(
            |_| {},
            async |client| match self.action {
                Action::List(list) => list.run(&client).await,
                Action::Describe(describe) => describe.run(&client).await,
                Action::ResetOffsets(reset) => reset.run(&client).await,
                Action::Delete(delete) => delete.run(&client).await,
            },
        )
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut groups = client.list_groups().await?;
        let is_wanted = |state: &str| {
            self.state.is_empty()
                || self.state.iter().any(|wanted| wanted.eq_ignore_ascii_case(state))
        };
        groups.retain(|group| is_wanted(&group.state));
        output::stdout(|out| {
            if self.format == Format::Json {
                for group in &groups {
                    let line = json!({
                        "group": group.id, "type": group.kind, "state": group.state,
                        "protocol_type": group.protocol_type,
                    });
                    writeln!(out, "{line}")?;
                }
                return Ok(());
            }
            let mut rows = vec![["group", "type", "state"].map(String::from).to_vec()];
            rows.extend(groups.into_iter().map(|group| vec![group.id, group.kind, group.state]));
            if rows.len() > 1 { output::write_table(out, &rows) } else { Ok(()) }
        })
    }
}

impl Describe {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut names = self.names;
        if names.is_empty() {
            names = client.list_groups().await?.into_iter().map(|group| group.id).collect();
        }
        for (place, name) in names.iter().enumerate() {
            let group = client.describe_group(name).await?;
            let group =
                group.ok_or_else(|| Failure::failed(format!("there is no group {name}")))?;
            let lines = lines_of(client, &group).await?;
            output::stdout(|out| match self.format {
                Format::Text => {
                    if place > 0 {
                        writeln!(out)?;
                    }
                    write_group(out, &group, &lines)
                }
                Format::Json => writeln!(out, "{}", group_to_json(&group, &lines)),
            })?;
        }
        Ok(())
    }
}

/// One partition that a group reads or has read.
struct Line {
    at: TopicPartition,
    committed: Option<Committed>,
    /// None when the partition is no more.
    end: Option<Offset>,
    /// The place of its member in the group.
    member: Option<usize>,
}

impl Line {
    fn lag(&self) -> Option<i64> {
        let committed = self.committed.as_ref()?.offset;
        Some((self.end? - committed).max(0))
    }
}

async fn lines_of(client: &Client, group: &Described) -> Result<Vec<Line>, Failure> {
    let mut committed = client.committed(&group.id, None, &Membership::default()).await?;
    let owners: HashMap<TopicPartition, usize> = group
        .members
        .iter()
        .enumerate()
        .flat_map(|(place, member)| member.assignment.iter().map(move |at| (at.clone(), place)))
        .collect();
    let mut all: BTreeSet<TopicPartition> = committed.keys().cloned().collect();
    all.extend(owners.keys().cloned());
    let there = existing(client, all.iter()).await?;
    let ends = client.list_offsets(&there, OffsetQuery::Latest).await?;
    let line = |at: TopicPartition| Line {
        committed: committed.remove(&at),
        end: ends.get(&at).copied().flatten(),
        member: owners.get(&at).copied(),
        at,
    };
    Ok(all.into_iter().map(line).collect())
}

/// Those of the partitions that there are.
async fn existing(
    client: &Client,
    partitions: impl Iterator<Item = &TopicPartition> + Clone,
) -> Result<Vec<TopicPartition>, ClientError> {
    let topics: BTreeSet<Str> = partitions.clone().map(|at| at.topic.clone()).collect();
    let topics: Vec<Str> = topics.into_iter().collect();
    if !topics.is_empty() {
        client.refresh(&topics).await?;
    }
    let is_there = |at: &&TopicPartition| {
        client.metadata(|known| {
            let topic = known.topics.get(&at.topic);
            topic.is_some_and(|topic| topic.partitions.iter().any(|one| one.index == at.partition))
        })
    };
    Ok(partitions.filter(is_there).cloned().collect())
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_string(), |value| value.to_string())
}

fn write_group(out: &mut impl Write, group: &Described, lines: &[Line]) -> std::io::Result<()> {
    writeln!(out, "group        {}", group.id)?;
    writeln!(out, "type         {}", group.kind)?;
    writeln!(out, "state        {}", group.state)?;
    writeln!(out, "assignor     {}", group.assignor)?;
    writeln!(out, "coordinator  {}", group.coordinator)?;
    writeln!(out, "members      {}", group.members.len())?;
    let lags: Vec<i64> = lines.iter().filter_map(Line::lag).collect();
    writeln!(out, "lag          {}", lags.iter().sum::<i64>())?;
    let head = ["topic", "partition", "committed", "end", "lag", "member", "client", "host"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for line in lines {
        let member = line.member.map(|place| &group.members[place]);
        rows.push(vec![
            line.at.topic.to_string(),
            line.at.partition.to_string(),
            shown(line.committed.as_ref().map(|committed| committed.offset)),
            shown(line.end),
            shown(line.lag()),
            shown(member.map(|member| &member.id)),
            shown(member.map(|member| &member.client_id)),
            shown(member.map(|member| &member.host)),
        ]);
    }
    for member in group.members.iter().filter(|member| member.assignment.is_empty()) {
        let mut row = vec!["-".to_string(); 5];
        row.extend([member.id.clone(), member.client_id.clone(), member.host.clone()]);
        rows.push(row);
    }
    if rows.len() > 1 { output::write_table(out, &rows) } else { Ok(()) }
}

fn group_to_json(group: &Described, lines: &[Line]) -> serde_json::Value {
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.id, "instance": member.instance_id, "client": member.client_id,
            "host": member.host, "epoch": member.epoch,
        })
    });
    let partitions = lines.iter().map(|line| {
        json!({
            "topic": line.at.topic.as_str(),
            "partition": line.at.partition,
            "committed": line.committed.as_ref().map(|committed| committed.offset.0),
            "metadata": line.committed.as_ref().map(|committed| &committed.metadata),
            "end": line.end.map(|end| end.0),
            "lag": line.lag(),
            "member": line.member.map(|place| &group.members[place].id),
        })
    });
    json!({
        "group": group.id, "type": group.kind, "state": group.state, "assignor": group.assignor,
        "coordinator": group.coordinator, "epoch": group.epoch,
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

/// From where to where a partition's offset goes.
struct Change {
    at: TopicPartition,
    before: Option<Offset>,
    after: Offset,
}

impl ResetOffsets {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = &self.name;
        let group = client.describe_group(name).await?;
        if group.is_some_and(|group| !group.members.is_empty()) {
            let sentence = format!("group {name} has members; stop them, then reset it");
            return Err(Failure::failed(sentence));
        }
        let changes = self.changes(client).await?;
        output::stdout(|out| match self.format {
            Format::Text => write_changes(out, &changes),
            Format::Json => {
                for change in &changes {
                    let line = json!({
                        "topic": change.at.topic.as_str(), "partition": change.at.partition,
                        "before": change.before.map(|offset| offset.0), "after": change.after.0,
                    });
                    writeln!(out, "{line}")?;
                }
                Ok(())
            }
        })?;
        if !self.execute {
            output::note("nothing was changed: add --execute to do it");
            return Ok(());
        }
        let offsets = changes.into_iter().map(|change| (change.at, change.after)).collect();
        match client.commit(name, &offsets, &Membership::default()).await {
            Err(error) if error.code() == Some(ErrorCode::UnknownMemberId) => {
                let sentence = format!("group {name} has members by now; nothing was changed");
                Err(Failure::failed(sentence))
            }
            other => Ok(other?),
        }
    }

    async fn changes(&self, client: &Client) -> Result<Vec<Change>, Failure> {
        let committed = client.committed(&self.name, None, &Membership::default()).await?;
        let chosen = self.chosen(client, &committed).await?;
        let (earliest, latest) = (OffsetQuery::Earliest, OffsetQuery::Latest);
        let starts = client.list_offsets(&chosen, earliest).await?;
        let ends = client.list_offsets(&chosen, latest).await?;
        let by_time = match self.to {
            Some(Place::Time(time)) => client.list_offsets(&chosen, OffsetQuery::At(time)).await?,
            _ => HashMap::new(),
        };
        let mut changes = Vec::new();
        for at in chosen {
            let find = |offsets: &HashMap<TopicPartition, Option<Offset>>| {
                offsets.get(&at).copied().flatten()
            };
            let (start, end) = (find(&starts).unwrap_or_default(), find(&ends).unwrap_or_default());
            let before = committed.get(&at).map(|committed| committed.offset);
            let after = match (self.to, self.by) {
                (Some(Place::Beginning), _) => start,
                (Some(Place::End), _) => end,
                (Some(Place::Offset(offset)), _) => offset,
                // No record is that late: what follows the end is.
                (Some(Place::Time(_)), _) => find(&by_time).unwrap_or(end),
                (None, by) => match before {
                    Some(before) => Offset(before.0.saturating_add(by.unwrap_or(0))),
                    None => {
                        let sentence =
                            format!("group {} has committed nothing for {at}", self.name);
                        return Err(Failure::failed(sentence));
                    }
                },
            };
            changes.push(Change { before, after: after.max(start).min(end), at });
        }
        Ok(changes)
    }

    async fn chosen(
        &self,
        client: &Client,
        committed: &BTreeMap<TopicPartition, Committed>,
    ) -> Result<Vec<TopicPartition>, Failure> {
        if self.all_topics {
            let there = existing(client, committed.keys()).await?;
            if there.is_empty() {
                let sentence = format!("group {} has committed nothing", self.name);
                return Err(Failure::failed(sentence));
            }
            return Ok(there);
        }
        let mut chosen = BTreeSet::new();
        for wanted in &self.topics {
            let topic = client.topic(&wanted.name.as_str().into()).await?;
            let all = topic.partitions.iter().map(|partition| partition.index);
            let partitions: Vec<i32> = match wanted.partitions.is_empty() {
                true => all.collect(),
                false => wanted.partitions.clone(),
            };
            for partition in partitions {
                if !topic.partitions.iter().any(|found| found.index == partition) {
                    let (name, count) = (&topic.name, topic.partitions.len());
                    let sentence = format!("{name} has {count} partitions, none is {partition}");
                    return Err(Failure::failed(sentence));
                }
                chosen.insert(TopicPartition { topic: topic.name.clone(), partition });
            }
        }
        Ok(chosen.into_iter().collect())
    }
}

fn write_changes(out: &mut impl Write, changes: &[Change]) -> std::io::Result<()> {
    let head = ["topic", "partition", "committed", "new", "change"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for Change { at, before, after } in changes {
        rows.push(vec![
            at.topic.to_string(),
            at.partition.to_string(),
            shown(*before),
            after.to_string(),
            before.map_or("-".to_string(), |before| format!("{:+}", *after - before)),
        ]);
    }
    output::write_table(out, &rows)
}

impl Delete {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        for name in &self.names {
            if self.topics.is_empty() {
                client.delete_group(name).await?;
                continue;
            }
            let committed = client.committed(name, None, &Membership::default()).await?;
            for topic in &self.topics {
                let of_topic: Vec<TopicPartition> =
                    committed.keys().filter(|at| at.topic == topic.as_str()).cloned().collect();
                if of_topic.is_empty() {
                    let sentence = format!("group {name} has committed nothing for {topic}");
                    return Err(Failure::failed(sentence));
                }
                client.delete_committed(name, &of_topic).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_chosen_whole_or_by_partition() {
        let all = parse_topic("flights").unwrap();
        assert_eq!((all.name.as_str(), all.partitions.len()), ("flights", 0));
        assert_eq!(parse_topic("flights:0,3").unwrap().partitions, [0, 3]);
        assert!(parse_topic(":1").is_err());
        assert!(parse_topic("flights:x").is_err());
        assert!(parse_topic("flights:-1").is_err());
    }

    #[test]
    fn what_a_reset_changes_is_shown_with_its_sign() {
        let at = |partition| TopicPartition { topic: "t".into(), partition };
        let changes = [
            Change { at: at(0), before: Some(Offset(7)), after: Offset(2) },
            Change { at: at(1), before: None, after: Offset(9) },
        ];
        let mut out = Vec::new();
        write_changes(&mut out, &changes).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "topic  partition  committed  new  change\nt      0          7          2    -5\n\
             t      1          -          9    -\n"
        );
    }
}
