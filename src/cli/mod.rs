//! The command line: one tool, one file per command. Outside of every core; nothing imports it.
//!
//! Stdout carries data and nothing else. What went wrong is one plain sentence on stderr, and the exit code
//! says whose fault it was: 0 done, 1 it failed, 2 the arguments were wrong. A reader that goes away
//! (`corelog consume ... | head`) ends a command quietly.

mod admin_page;
mod cluster;
mod connect;
mod consume;
mod data;
mod doctor;
mod dump;
mod group;
mod input;
mod json;
mod logging;
mod moment;
mod output;
mod place;
mod produce;
mod repair;
mod serve;
mod topic;

pub use output::Failure;

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// An Apache-Kafka-compatible message broker: one thread per core, on io_uring.
///
/// Any Kafka client can talk to it; the commands below, save serve, cluster cores, dump, doctor and repair, work on
/// Apache Kafka too.
#[derive(Debug, Parser)]
#[command(name = "corelog", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Topic(topic::Topic),
    Produce(Box<produce::Produce>),
    Consume(Box<consume::Consume>),
    Group(Box<group::Group>),
    Cluster(cluster::Cluster),
    Dump(dump::Dump),
    Doctor(doctor::Doctor),
    Repair(repair::Repair),
    Completions(Completions),
}

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  corelog completions bash > ~/.local/share/bash-completion/completions/corelog")]
struct Completions {
    shell: clap_complete::Shell,
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    exit_code(run(std::env::args_os()))
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Also --help and --version, which are no failure; clap knows where each is printed.
            let printed = error.print();
            return if error.use_stderr() { Err(Failure::Told(2)) } else { Ok(printed?) };
        }
    };
    match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Topic(topic) => topic.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Group(group) => group.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Dump(dump) => dump.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Repair(repair) => repair.run(),
        Command::Completions(Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "corelog", &mut script);
            output::stdout(|out| out.write_all(&script))
        }
    }
}

fn exit_code(result: Result<(), Failure>) -> ExitCode {
    let (code, sentence) = match result {
        Ok(()) | Err(Failure::ReaderGone) => (0, None),
        Err(Failure::Told(code)) => (code, None),
        Err(Failure::Usage(sentence)) => (2, Some(sentence)),
        Err(Failure::Failed(sentence)) => (1, Some(sentence)),
    };
    if let Some(sentence) = sentence {
        eprintln!("corelog: {sentence}");
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(exit_code(Err(gone.into())), ExitCode::from(0));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(exit_code(Err(full.into())), ExitCode::from(1));
    }
}
