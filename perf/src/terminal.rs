//! `corelog-perf run` on the terminal: the scenario and flags, a line of progress, the table, the files.

use crate::load::meters::Meters;
use crate::report::{self, Report, render_text};
use crate::run::{self, Watcher};
use crate::search::{self, Goal};
use crate::settings::{Length, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// A run that ended but does not count.
const INVALID: u8 = 3;

pub const EXAMPLES: &str = "\
A first comparison, each broker on the same CPU and the load on another:

  corelog-perf run -b 127.0.0.1:9092  -l corelog --rate 50000 -p 16 -c 1 --cpus 1 -o out --name corelog
  corelog-perf run -b 127.0.0.1:19092 -l kafka   --rate 50000 -p 16 -c 1 --cpus 1 -o out --name kafka
  corelog-perf compare out/corelog.json out/kafka.json --out out/both.html

As fast as it goes (closed loop), and whether a record was lost on the way:

  corelog-perf run -s 100 -p 16 --in-flight 32
  corelog-perf run -s 100 -p 16 -c 1 --verify";

/// Load a broker and report what it did
///
/// With --rate each record has a planned time from which its latency runs, whatever the broker does: waiting
/// is not hidden. Without, records are sent as fast as they are acknowledged, and the report says so.
#[derive(clap::Args, Clone, Debug)]
pub struct Run {
    /// TOML file whose keys are the flags' names with underscores; flags go before it
    scenario: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// # Errors
/// Why there is no report. An invalid run has one, and another exit code.
pub fn run(arguments: Run) -> Result<ExitCode, String> {
    let scenario = arguments.scenario.as_deref().map(Settings::read).transpose()?;
    let settings = arguments.settings.over(scenario.unwrap_or_default());
    let work = settings.check()?;
    let mut progress = Progress::new(work.duration.0.as_secs(), work.warm_up.0.as_secs());
    let report = run::run(&settings, &mut progress);
    progress.bar.finish_and_clear();
    show(&report?, &settings)
}

/// Prints a report and writes its files.
fn show(report: &Report, settings: &Settings) -> Result<ExitCode, String> {
    let text = render_text(report);
    let shown = std::io::stdout().write_all(text.as_bytes());
    if let Some(directory) = &settings.out {
        let name = settings.name.clone().unwrap_or_else(|| report.label.clone());
        let written = report::write_all(report, directory, &name);
        for path in written.map_err(|error| error.to_string())? {
            eprintln!("written: {}", path.display());
        }
    }
    // Whoever reads may have gone; the files are there then.
    drop(shown);
    Ok(if report.invalid.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// Find the highest rate that a broker sustains within a latency
///
/// Each step is a run of its own, with its own warm-up; the rate doubles until a step is refused, then the gap
/// is halved to 5 %. A step is refused when its latency is above the goal, its backlog grows, or it is invalid.
#[derive(clap::Args, Clone, Debug)]
pub struct Search {
    /// TOML file whose keys are the flags' names with underscores; flags go before it
    scenario: Option<PathBuf>,
    /// The latency that must hold
    #[arg(long, value_name = "LENGTH", default_value = "10ms")]
    latency: Length,
    /// For this share of all records
    #[arg(long, default_value_t = 0.99)]
    share: f64,
    /// Rate of the first step, in records per second
    #[arg(long, value_name = "RATE", default_value_t = 10_000.0)]
    from: f64,
    #[command(flatten)]
    settings: Settings,
}

/// # Errors
/// Why a step did not start.
pub fn search(arguments: Search) -> Result<ExitCode, String> {
    let Search { scenario, latency, share, from, settings } = arguments;
    if !(0.0..1.0).contains(&share) || !(1.0..=1e9).contains(&from) {
        return Err("share is from 0 to 1, and from is from 1 to 1e9".to_string());
    }
    let scenario = scenario.as_deref().map(Settings::read).transpose()?;
    let settings = settings.over(scenario.unwrap_or_default());
    let work = settings.check()?;
    let mut progress = Progress::new(work.duration.0.as_secs(), work.warm_up.0.as_secs());
    let bar = progress.bar.clone();
    let goal = Goal { share, latency, from };
    let best = search::search(&settings, &goal, &mut progress, |step| {
        let latency = step.report.acknowledge.quantile(share) as f64 / 1e6;
        let outcome =
            step.refused.as_ref().map_or("sustained".to_string(), |why| format!("refused: {why}"));
        bar.suspend(|| eprintln!("{:>12.0} records/s  {latency:>9.3} ms  {outcome}", step.rate));
    });
    progress.bar.finish_and_clear();
    let Some(best) = best? else {
        eprintln!("corelog-perf: no rate was sustained");
        return Ok(ExitCode::from(INVALID));
    };
    show(&best.report, &settings)
}

/// One line, once a second, where a terminal is.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(seconds: u64, warm_up: u64) -> Progress {
        let bar = ProgressBar::new(seconds);
        let style = ProgressStyle::with_template("{bar:20} {pos}/{len} s  {msg}");
        bar.set_style(style.expect("the template is sound"));
        bar.set_message(format!("warming up for {warm_up} s"));
        bar.tick();
        Progress { bar }
    }
}

impl Watcher for Progress {
    fn second(&mut self, number: usize, meters: &Meters) {
        let milliseconds = |share| meters.acknowledge.quantile(share) as f64 / 1e6;
        let megabytes = meters.produced.payload_bytes as f64 / 1e6;
        self.bar.set_position(number as u64 + 1);
        self.bar.set_message(format!(
            "{} records/s, {megabytes:.1} MB/s, p50 {:.3} ms, p99 {:.3} ms, backlog {}, read {}/s",
            meters.produced.records,
            milliseconds(0.5),
            milliseconds(0.99),
            meters.backlog,
            meters.consumed.records,
        ));
    }
}
