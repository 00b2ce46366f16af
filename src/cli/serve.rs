//! `corelog serve`: arguments, environment and file become one configuration; then the broker starts.
//!
//! The flags are made from `config::keys`, so that a key is declared once, there.

use super::logging;
use super::output::{self, Failure};
use crate::config::{self, Config, Effective, Key, Loader};
use clap::{Arg, ArgMatches};
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Run a broker.
///
/// Each setting is a key of a TOML file (--config), an environment variable (CORELOG_ and the key in
/// capitals) and a flag; flags go over the environment, the environment over the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog serve                                     on 127.0.0.1:9092, data in ./data
  corelog serve --data-dir /var/lib/corelog --listen 0.0.0.0:9092 --advertise broker.example
  corelog serve --config corelog.toml --check       the effective configuration, as TOML

--help lists every setting.")]
pub struct Serve {
    /// TOML file of settings.
    #[arg(long, value_name = "PATH", env = "CORELOG_CONFIG")]
    config: Option<PathBuf>,

    /// Check the configuration, print it with the source of each value, and exit.
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    flags: KeyFlags,
}

impl Serve {
    pub fn run(self) -> Result<(), Failure> {
        let effective = self.load()?;
        if self.check {
            return output::stdout(|out| out.write_all(effective.to_toml().as_bytes()));
        }
        let _written_at_exit = logging::start(&effective.config.logging)?;
        start(effective.config)
    }

    fn load(&self) -> Result<Effective, Failure> {
        let mut loader = Loader::new();
        if let Some(path) = &self.config {
            let name = path.display().to_string();
            let contents = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
            loader.file(&name, &contents);
        }
        // A variable that is not text cannot be one of ours.
        let variables = std::env::vars_os();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        loader.environment(variables.filter_map(text));
        for (flag, value) in &self.flags.given {
            loader.flag(flag, value);
        }
        loader.finish().map_err(|error| Failure::usage(error.to_string()))
    }
}

/// Runs the broker until it is told to stop.
#[cfg(not(any(test, feature = "sim")))]
fn start(config: Config) -> Result<(), Failure> {
    crate::broker::run(config).map_err(|error| Failure::failed(error.to_string()))
}

#[cfg(any(test, feature = "sim"))]
fn start(_config: Config) -> Result<(), Failure> {
    Err(Failure::failed("this build runs on the simulation and serves nobody"))
}

/// The settings that were given as flags, in the order of declaration.
#[derive(Debug)]
struct KeyFlags {
    given: Vec<(&'static str, String)>,
}

/// Those that `serve -h` shows; `--help` shows all.
const COMMON: &[&str] = &[
    "data_dir",
    "listen",
    "advertise",
    "admin_listen",
    "cpus",
    "endpoints",
    "durability",
    "num_partitions",
];

/// clap borrows names and texts for the life of the process.
static FLAGS: LazyLock<Vec<(String, &'static Key)>> =
    LazyLock::new(|| config::keys().map(|key| (key.flag(), key)).collect());

impl clap::FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<KeyFlags, clap::Error> {
        let mut flags = KeyFlags { given: Vec::new() };
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (flag, _) in FLAGS.iter() {
            if let Some(value) = matches.get_one::<String>(flag) {
                self.given.push((flag, value.clone()));
            }
        }
        Ok(())
    }
}

impl clap::Args for KeyFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let defaults = Config::default();
        FLAGS.iter().fold(command, |command, (flag, key)| {
            let help = key.help();
            let long = format!(
                "{help}\n[default: {}] [{}]",
                key.show(&defaults).trim_matches('"'),
                key.allowed()
            );
            let arg = Arg::new(flag.as_str())
                .long(flag.as_str())
                .value_name(value_name(key))
                .help(help)
                .long_help(long)
                .allow_hyphen_values(true)
                .help_heading(heading(key.table))
                .hide_short_help(!COMMON.contains(&key.path().as_str()));
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn heading(table: &str) -> &'static str {
    match table {
        "log" => "Defaults of topics",
        "groups" => "Consumer groups",
        "logging" => "Logging of the process",
        _ => "Settings of the broker",
    }
}

/// What stands for the value in the help, from the unit that the key's name ends in.
fn value_name(key: &Key) -> &'static str {
    let has = |word: &str| key.name.split('_').any(|part| part == word);
    match key.name {
        "data_dir" | "disk_model" => "PATH",
        "listen" | "admin_listen" => "HOST:PORT",
        "advertise" => "HOST[:PORT]",
        "cpus" => "LIST",
        _ if has("bytes") => "SIZE",
        _ if has("ms") => "TIME",
        _ => "VALUE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn every_key_is_a_flag() {
        for key in config::keys() {
            let shown = key.show(&Config::default());
            let value = shown.trim_matches('"');
            let only = Only::try_parse_from(["serve", &format!("--{}", key.flag()), value]);
            let serve = only.map(|only| only.serve).map_err(|error| error.to_string());
            let serve = serve.unwrap_or_else(|error| panic!("{}: {error}", key.path()));
            assert_eq!(serve.flags.given.len(), 1);
            assert_eq!(serve.flags.given[0].1, value);
        }
    }

    #[test]
    fn minus_one_is_a_value_and_not_a_flag() {
        let only = Only::try_parse_from(["serve", "--log-retention-ms", "-1", "--check"]).unwrap();
        assert!(only.serve.check);
        assert_eq!(only.serve.flags.given, [("log-retention-ms", "-1".to_string())]);
    }
}
