//! `corelog repair`: mends a damaged partition in the way that is asked for, and keeps what it changes.

use super::data::{DataDirectory, Held};
use super::moment;
use super::output::{self, Failure};
use crate::log::{self, Finding, Inspection, PartitionFacts, Remedy, RepairPlan};
use std::io::{self, Write};
use std::path::PathBuf;

/// Repair a partition of a data directory that no broker uses.
///
/// Says what it would do and changes nothing, unless --yes is given. What it changes is kept in
/// DATA-DIR/.repair/TIME/TOPIC-PARTITION first. A repair that did not end is ended by asking for it again; until
/// then the broker does not serve the partition. `corelog doctor data` says what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog repair flights-3 --skip-damaged           what would be done; exit code 1
  corelog repair flights-3 --skip-damaged --yes     do it
  corelog repair flights-3 --truncate --yes         cut the log where the first damage begins")]
#[command(group(clap::ArgGroup::new("how").required(true)))]
pub struct Repair {
    #[arg(value_name = "TOPIC-PARTITION")]
    partition: String,

    #[command(flatten)]
    directory: DataDirectory,

    /// End the log where the first damage begins: all records behind it are lost, their offsets given anew.
    #[arg(long, group = "how")]
    truncate: bool,

    /// Take out only what is damaged: what follows keeps its offsets, a batch without records stands in between.
    #[arg(long, group = "how")]
    skip_damaged: bool,

    /// Make anew what records tell by themselves: indexes, and the history of leader epochs.
    #[arg(long, group = "how")]
    indexes: bool,

    /// Do it.
    #[arg(short, long)]
    yes: bool,
}

impl Repair {
    pub fn run(self) -> Result<(), Failure> {
        let directory = self.directory.clone();
        directory.run(true, async |held| self.repair(&held).await)
    }

    fn how(&self) -> log::Repair {
        match (self.truncate, self.skip_damaged) {
            (true, _) => log::Repair::Truncate,
            (_, true) => log::Repair::SkipDamaged,
            _ => log::Repair::Indexes,
        }
    }

    async fn repair(&self, held: &Held) -> Result<(), Failure> {
        let name = &self.partition;
        let chosen = held.chosen(std::slice::from_ref(name))?;
        let facts = chosen.iter().find(|facts| facts.id.to_string() == *name);
        let facts = facts.ok_or_else(|| {
            Failure::usage(format!("{name} is a topic: say which partition, such as {name}-0"))
        })?;
        let found = self.inspect(held, facts).await?;
        let plan = RepairPlan::make(&found, self.how()).map_err(Failure::failed)?;
        let Some(plan) = plan else {
            return output::stdout(|out| {
                writeln!(out, "{name}: nothing to repair, {} records", found.totals.records)?;
                for finding in &found.findings {
                    write_by_hand(out, finding)?;
                }
                Ok(())
            });
        };
        output::stdout(|out| {
            let verb = if self.yes { "repairing" } else { "would be repaired" };
            writeln!(out, "{name}: {verb}")?;
            plan.sentences.iter().try_for_each(|sentence| writeln!(out, "  {sentence}"))
        })?;
        if !self.yes {
            return Err(Failure::failed("nothing was changed; say --yes to do it"));
        }
        let backup = self.backup();
        let done = plan.carry_out(&held.shard, facts, &backup).await;
        done.map_err(|fault| Failure::failed(format!("{name} is not repaired yet: {fault}")))?;
        // What the last life wrote down is not so any more.
        let loaded = held.shard.load_recovery_points().await;
        loaded.map_err(|error| Failure::failed(format!("cannot read recovery points: {error}")))?;
        let after = self.inspect(held, facts).await?;
        output::stdout(|out| {
            writeln!(out, "what was changed is kept in {}", backup.display())?;
            let (start, end) = (after.log_start, after.end);
            writeln!(out, "{name}: {} records, offsets {start}..{end}", after.totals.records)
        })?;
        if after.is_damaged() {
            return Err(Failure::failed(format!(
                "{name} is still damaged: see corelog doctor data"
            )));
        }
        Ok(())
    }

    async fn inspect(&self, held: &Held, facts: &PartitionFacts) -> Result<Inspection, Failure> {
        let progress = output::progress(None, "bytes", false);
        let found = Inspection::of(&held.shard, facts, &|bytes| progress.inc(bytes)).await;
        progress.finish_and_clear();
        found.map_err(|fault| Failure::failed(format!("{}: {fault}", facts.id)))
    }

    /// A folder that is not there yet.
    fn backup(&self) -> PathBuf {
        let time = moment::show(moment::now()).replace(['-', ':'], "");
        let all = self.directory.data_dir.join(".repair");
        let names = (1..).map(|number: u32| match number {
            1 => time.clone(),
            _ => format!("{time}-{number}"),
        });
        let places = names.map(|name| all.join(name).join(&self.partition));
        places.into_iter().find(|place| !place.exists()).expect("numbers do not end")
    }
}

/// What is wrong and no repair mends.
fn write_by_hand(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let Remedy::ByHand(what) = finding.remedy else { return Ok(()) };
    writeln!(out, "{}: {}", finding.path.display(), finding.reason)?;
    writeln!(out, "  no repair mends that: {what}")
}
