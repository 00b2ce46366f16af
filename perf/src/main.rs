//! corelog-perf: honest load against any Kafka-API broker. Open loop, whole histograms, every record checked
//! when asked.

// In the simulation only the load runs, for the proofs that the instrument is right.
#![cfg_attr(feature = "sim", allow(dead_code))]

#[cfg(not(feature = "sim"))]
mod ceilings;
#[cfg(not(feature = "sim"))]
mod commit_forms;
mod compare;
#[cfg(not(feature = "sim"))]
mod direct_read;
mod facts;
mod groups;
mod histogram;
mod load;
mod process;
#[cfg(all(test, feature = "sim"))]
mod proof;
mod raw;
mod report;
#[cfg(not(feature = "sim"))]
mod run;
#[cfg(not(feature = "sim"))]
mod search;
mod settings;
mod sink;
mod source;
mod stub;
#[cfg(not(feature = "sim"))]
mod terminal;
mod verdict;
#[cfg(not(feature = "sim"))]
mod verify;

#[cfg(not(feature = "sim"))]
use clap::{Parser, Subcommand};
#[cfg(not(feature = "sim"))]
use std::process::ExitCode;

/// Measure a Kafka-API broker: latency from each record's planned time, whole histograms, every record checked
#[cfg(not(feature = "sim"))]
#[derive(Parser)]
#[command(name = "corelog-perf", version, max_term_width = 100, after_long_help = terminal::EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[cfg(not(feature = "sim"))]
#[derive(Subcommand)]
enum Command {
    Run(Box<terminal::Run>),
    Search(Box<terminal::Search>),
    Groups(Box<groups::command::Groups>),
    Verify(verify::Verify),
    Sink(sink::Sink),
    Source(source::Source),
    DirectRead(direct_read::DirectRead),
    CommitForms(commit_forms::CommitForms),
    Render(report::commands::Render),
    Compare(report::commands::Compare),
}

#[cfg(feature = "sim")]
fn main() {}

#[cfg(not(feature = "sim"))]
fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(run) => terminal::run(*run),
        Command::Search(search) => terminal::search(*search),
        Command::Groups(groups) => groups::command::run(&groups.flags),
        Command::Verify(verify) => verify::run(&verify),
        Command::Sink(sink) => sink::run(&sink).map(|()| ExitCode::SUCCESS),
        Command::Source(source) => source::run(&source).map(|()| ExitCode::SUCCESS),
        Command::DirectRead(read) => direct_read::run(&read).map(|()| ExitCode::SUCCESS),
        Command::CommitForms(forms) => commit_forms::run(&forms).map(|()| ExitCode::SUCCESS),
        Command::Render(render) => done(report::commands::render(&render)),
        Command::Compare(compare) => done(report::commands::compare(&compare)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("corelog-perf: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(not(feature = "sim"))]
fn done(outcome: std::io::Result<()>) -> Result<ExitCode, String> {
    outcome.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
}
