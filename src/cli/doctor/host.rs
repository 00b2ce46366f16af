//! `corelog doctor host`: what of this Linux host moves throughput and tail latency. Reads `/proc` and `/sys`, changes
//! nothing, and needs neither a broker nor its data.

mod cpu;
mod disk;
mod facts;
mod finding;
mod interrupts;
mod read;
mod system;

use crate::cli::data::DataDirectory;
use crate::cli::output::{self, Failure, Format};
use facts::Host;
use finding::{Finding, Verdict};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Check what of this host moves throughput and tail latency: CPUs, disks, memory, limits, network.
///
/// Each finding says what it costs, with the source, and what changes it. The verdict is ok, advice (it may cost
/// something), problem, or unknown (not visible here, as in containers). The exit code is 1 when there is a problem, and
/// 0 otherwise: advice alone is no failure. Limits are those of the shell that it runs in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog doctor host --data-dir /var/lib/corelog
  corelog doctor host --json | jq 'select(.verdict == \"problem\")'")]
pub struct HostCheck {
    #[command(flatten)]
    directory: DataDirectory,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Short for --format json.
    #[arg(long)]
    json: bool,
}

impl HostCheck {
    pub fn run(self) -> Result<(), Failure> {
        let directory = existing(&self.directory.data_dir);
        let findings = check(&read::read_host(Path::new("/"), &directory));
        let is_json = self.json || self.format == Format::Json;
        output::stdout(|out| match is_json {
            true => write_json(out, &findings),
            false => write_text(out, &findings),
        })?;
        if is_sound(&findings) { Ok(()) } else { Err(Failure::Told(1)) }
    }
}

/// The directory itself or, before a first start has made it, the nearest one above.
fn existing(directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    let found = absolute.ancestors().find_map(|place| place.canonicalize().ok());
    found.unwrap_or(absolute)
}

fn check(host: &Host) -> Vec<Finding> {
    let parts = [
        system::check(host),
        cpu::check(host),
        disk::check(host),
        interrupts::check_networks(host),
    ];
    parts.into_iter().flatten().collect()
}

fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Problem)
}

fn write_text(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let head = ["check", "verdict", "found"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for finding in findings {
        let verdict = finding.verdict.name().to_string();
        rows.push(vec![finding.name().to_string(), verdict, finding.found()]);
    }
    output::write_table(out, &rows)?;
    for finding in findings {
        if let Some((cost, change)) = finding.remedy() {
            let verdict = finding.verdict.name();
            writeln!(out, "\n{}, {verdict}: {}", finding.name(), finding.found())?;
            writeln!(out, "  cost: {cost}")?;
            writeln!(out, "  change: {change}")?;
        }
    }
    Ok(())
}

fn write_json(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    findings.iter().try_for_each(|finding| writeln!(out, "{}", finding.to_json()))
}

#[cfg(test)]
mod tests;
