//! `corelog doctor`: what is wrong with a data directory or its host, and what can be done about it; and what its disk
//! gives. Changes nothing of what is there.

mod disk;
mod host;

use super::data::{DataDirectory, Held};
use super::output::{self, Failure, Format};
use crate::control_plane::metadata_log::{self, MetadataLogError};
use crate::log::segment::PRODUCERS_SUFFIX;
use crate::log::{
    Finding, FindingKind, Inspection, LogFault, PartitionFacts, Remedy, inspect_recovery_points,
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// Look for what is wrong, and name the remedy.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Data(Data),
    Host(host::HostCheck),
    Disk(disk::DiskCheck),
}

/// Check a data directory that no broker uses: every batch of every partition, indexes, snapshots, metadata.
///
/// Reads everything and changes nothing. The exit code is 0 when all is sound and 1 when something is not. What a crash
/// leaves at a log's end, and the next start cuts, is told and counts as sound.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog doctor data --data-dir /var/lib/corelog
  corelog doctor data flights flights-eu-3      all of the topic flights, one partition of flights-eu")]
struct Data {
    #[command(flatten)]
    directory: DataDirectory,

    /// Topics or partitions to check; all, if none is named.
    #[arg(value_name = "TOPIC[-PARTITION]")]
    partitions: Vec<String>,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Short for --format json.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Data(data) => {
                let directory = data.directory.clone();
                directory.run(false, async |held| data.look(&held).await)
            }
            Action::Host(host) => host.run(),
            Action::Disk(disk) => disk.run(),
        }
    }
}

/// What was found in a whole directory.
struct Report {
    metadata: Vec<Finding>,
    /// What the metadata log holds, in a few words.
    metadata_state: String,
    points: Vec<Finding>,
    /// Or what kept it from being looked at.
    partitions: Vec<(String, Result<Inspection, Finding>)>,
    leftovers: Vec<String>,
}

impl Report {
    fn is_sound(&self) -> bool {
        let beside = self.metadata.iter().chain(&self.points);
        let is_sound =
            |looked: &Result<Inspection, Finding>| looked.as_ref().is_ok_and(Inspection::is_sound);
        beside.into_iter().all(|found| !found.kind.is_damage())
            && self.partitions.iter().all(|(_, looked)| is_sound(looked))
    }
}

impl Data {
    async fn look(&self, held: &Held) -> Result<(), Failure> {
        let directory = &self.directory.data_dir;
        let chosen = held.chosen(&self.partitions)?;
        let points = inspect_recovery_points(directory).await;
        let points = points.map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}", directory.display()))
        })?;
        let progress = output::progress(Some(log_bytes(directory, &chosen)), "bytes", false);
        let mut partitions = Vec::with_capacity(chosen.len());
        for facts in &chosen {
            let looked = Inspection::of(&held.shard, facts, &|bytes| progress.inc(bytes)).await;
            partitions.push((facts.id.to_string(), looked.map_err(|fault| not_looked_at(&fault))));
        }
        progress.finish_and_clear();
        let (metadata, metadata_state) = self.look_at_metadata(held);
        let leftovers = held.examined.leftovers.clone();
        let report = Report { metadata, metadata_state, points, partitions, leftovers };
        let is_json = self.json || self.format == Format::Json;
        output::stdout(|out| match is_json {
            true => write_json(out, &report),
            false => write_text(out, &report, directory),
        })?;
        if report.is_sound() { Ok(()) } else { Err(Failure::Told(1)) }
    }

    fn look_at_metadata(&self, held: &Held) -> (Vec<Finding>, String) {
        let path = self.directory.data_dir.join(metadata_log::FILE_NAME);
        let finding = |kind, position, reason, remedy| Finding {
            kind,
            path: path.clone(),
            position,
            offsets: None,
            reason,
            after: None,
            remedy,
        };
        match &held.examined.metadata {
            Ok(None) => (Vec::new(), "none: a start begins one".to_string()),
            Ok(Some(glimpse)) => {
                let (topics, partitions) =
                    (glimpse.state.topics().count(), glimpse.state.partition_count());
                let mut state =
                    format!("{} frames, {topics} topics, {partitions} partitions", glimpse.frames);
                if !glimpse.is_sealed {
                    state.push_str(", not sealed: a start does it");
                }
                let torn = (glimpse.torn_bytes > 0).then(|| {
                    let reason = format!("{} bytes after the last whole frame", glimpse.torn_bytes);
                    let remedy = Remedy::NotNeeded("a start cuts this torn tail");
                    finding(FindingKind::TornTail, glimpse.end, reason, remedy)
                });
                (torn.into_iter().collect(), state)
            }
            Err(error) => {
                let (position, reason) = match error {
                    MetadataLogError::Damaged { position, reason, .. } => {
                        (*position, reason.clone())
                    }
                    other => (0, other.to_string()),
                };
                let remedy =
                    Remedy::ByHand("restore the file from a copy: no broker starts without it");
                let found = finding(FindingKind::Damage, position, reason, remedy);
                (vec![found], "damaged: topics are told by their folders".to_string())
            }
        }
    }
}

/// A file without which a partition cannot be looked at. What else it has is not known then.
fn not_looked_at(fault: &LogFault) -> Finding {
    let path = fault.path();
    let is_snapshot = path.extension().is_some_and(|suffix| suffix == PRODUCERS_SUFFIX);
    let LogFault { operation, reason, .. } = fault;
    Finding {
        kind: if is_snapshot { FindingKind::Producers } else { FindingKind::Damage },
        path,
        position: fault.position,
        offsets: None,
        reason: format!(
            "cannot {operation} it: {reason}; nothing else of this partition was looked at"
        ),
        after: None,
        remedy: Remedy::ByHand(fault.remedy()),
    }
}

/// Bytes of segments, for the bar.
fn log_bytes(directory: &Path, partitions: &[PartitionFacts]) -> u64 {
    let folders = partitions.iter().map(|facts| directory.join(facts.id.to_string()));
    let entries = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let is_log = |entry: &std::fs::DirEntry| {
        entry.path().extension().is_some_and(|extension| extension == "log")
    };
    let lengths = entries.filter(is_log).filter_map(|entry| entry.metadata().ok());
    lengths.map(|metadata| metadata.len()).sum()
}

/// What to do, as commands where there are some.
pub fn show_remedy(finding: &Finding, partition: Option<&str>, directory: &Path) -> String {
    let name = partition.unwrap_or("TOPIC-PARTITION");
    let command = format!("corelog repair {name} --data-dir {}", directory.display());
    match finding.remedy {
        Remedy::NotNeeded(why) => format!("none needed: {why}"),
        Remedy::RemakeIndexes => format!("{command} --indexes"),
        Remedy::SkipOrCut => {
            format!("{command} --skip-damaged (keeps what follows), or --truncate (loses it)")
        }
        Remedy::Cut => format!("{command} --truncate"),
        Remedy::RepairAgain => format!("{command}, with what was asked for before"),
        Remedy::ByHand(what) => what.to_string(),
    }
}

fn state_of(looked: &Inspection) -> String {
    let mut state = match (looked.is_damaged(), looked.is_sound()) {
        (true, _) => "damaged",
        (false, false) => "not sound",
        (false, true) => "sound",
    }
    .to_string();
    if looked.skipped > 0 {
        state.push_str(&format!(", {} offsets were taken out by repairs", looked.skipped));
    }
    state
}

fn write_text(out: &mut impl Write, report: &Report, directory: &Path) -> io::Result<()> {
    writeln!(out, "metadata log  {}", report.metadata_state)?;
    let head = ["partition", "segments", "batches", "records", "bytes", "offsets", "state"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (name, looked) in &report.partitions {
        rows.push(match looked {
            Ok(looked) => vec![
                name.clone(),
                looked.segments.to_string(),
                looked.totals.batches.to_string(),
                looked.totals.records.to_string(),
                looked.totals.bytes.to_string(),
                format!("{}..{}", looked.log_start, looked.end),
                state_of(looked),
            ],
            Err(_) => {
                let dashes = std::iter::repeat_n("-".to_string(), 5);
                std::iter::once(name.clone()).chain(dashes).chain(["unreadable".into()]).collect()
            }
        });
    }
    output::write_table(out, &rows)?;
    for name in &report.leftovers {
        writeln!(out, "{name} is of a deleted topic: a start frees it")?;
    }
    for finding in report.metadata.iter().chain(&report.points) {
        write_finding(out, finding, None, directory)?;
    }
    for (name, looked) in &report.partitions {
        match looked {
            Ok(looked) => {
                for finding in &looked.findings {
                    write_finding(out, finding, Some(name), directory)?;
                }
                if looked.findings_left_out > 0 {
                    writeln!(out, "\n{name}: {} findings more", looked.findings_left_out)?;
                }
            }
            Err(finding) => write_finding(out, finding, Some(name), directory)?,
        }
    }
    Ok(())
}

fn write_finding(
    out: &mut impl Write,
    finding: &Finding,
    partition: Option<&str>,
    directory: &Path,
) -> io::Result<()> {
    write!(out, "\n{}, byte {}", finding.path.display(), finding.position)?;
    if let Some((first, last)) = finding.offsets {
        write!(out, ", offsets {first} to {last}")?;
    }
    writeln!(out, ": {}", finding.kind.name())?;
    writeln!(out, "  {}", finding.reason)?;
    if let Some(after) = &finding.after {
        let from = match after.position {
            Some(position) => format!("whole batches go on at byte {position}"),
            None => "no whole batch follows in this file".to_string(),
        };
        writeln!(
            out,
            "  after it: {from}; {} records in {} batches ({} bytes) up to the log's end",
            after.totals.records, after.totals.batches, after.totals.bytes
        )?;
    }
    writeln!(out, "  remedy: {}", show_remedy(finding, partition, directory))
}

// ---------------------------------------------------------------- JSON

fn write_json(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let findings = |found: &[Finding]| found.iter().map(to_json).collect::<Vec<_>>();
    let metadata = json!({
        "subject": "metadata.log",
        "sound": !report.metadata.iter().any(|found| found.kind.is_damage()),
        "state": report.metadata_state,
        "findings": findings(&report.metadata),
    });
    writeln!(out, "{metadata}")?;
    let points = json!({
        "subject": "recovery-points",
        "sound": report.points.is_empty(),
        "findings": findings(&report.points),
    });
    writeln!(out, "{points}")?;
    for (name, looked) in &report.partitions {
        let line = match looked {
            Ok(looked) => json!({
                "subject": name,
                "sound": looked.is_sound(),
                "damaged": looked.is_damaged(),
                "topic_id": looked.id.topic_id.to_string(),
                "log_start": looked.log_start.0,
                "end": looked.end.0,
                "segments": looked.segments,
                "batches": looked.totals.batches,
                "records": looked.totals.records,
                "bytes": looked.totals.bytes,
                "offsets_taken_out": looked.skipped,
                "findings": findings(&looked.findings),
                "findings_left_out": looked.findings_left_out,
            }),
            Err(finding) => json!({
                "subject": name,
                "sound": false,
                "error": finding.reason,
                "findings": findings(std::slice::from_ref(finding)),
            }),
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn to_json(finding: &Finding) -> Value {
    let (remedy, detail) = match finding.remedy {
        Remedy::NotNeeded(why) => ("none", why),
        Remedy::RemakeIndexes => ("repair --indexes", ""),
        Remedy::SkipOrCut => ("repair --skip-damaged", "or repair --truncate"),
        Remedy::Cut => ("repair --truncate", ""),
        Remedy::RepairAgain => ("repair again", ""),
        Remedy::ByHand(what) => ("by hand", what),
    };
    let mut line = json!({
        "kind": finding.kind.name(),
        "file": finding.path.display().to_string(),
        "position": finding.position,
        "reason": finding.reason,
        "remedy": remedy,
        "remedy_detail": detail,
    });
    if let Some((first, last)) = finding.offsets {
        line["base_offset"] = first.0.into();
        line["last_offset"] = last.0.into();
    }
    if let Some(after) = &finding.after {
        line["after"] = json!({
            "position": after.position,
            "batches": after.totals.batches,
            "records": after.totals.records,
            "bytes": after.totals.bytes,
        });
    }
    line
}
