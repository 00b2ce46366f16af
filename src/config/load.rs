//! Defaults, then a TOML file, then the environment, then flags: each source over the one before.
//!
//! Everything wrong is reported at once, and each finding names the key, the value, what is allowed and
//! the place it was written. Pure: the caller reads the file and the environment.

use super::{Config, Key, keys};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Variables with this prefix are the broker's; an unknown one is an error, because it is a typo.
const VARIABLE_PREFIX: &str = "CORELOG_";

/// Those that are not keys: of the other commands, and what tests and CI pass to each other.
const VARIABLES_OF_COMMANDS: &[&str] = &["CORELOG_CONFIG", "CORELOG_BOOTSTRAP"];
const VARIABLES_OF_TESTS: &[&str] =
    &["CORELOG_SEED", "CORELOG_SEED_FROM", "CORELOG_HISTORIES", "CORELOG_BROKER_HISTORIES"];
const VARIABLE_PREFIXES_OF_TESTS: &[&str] = &["CORELOG_TEST_", "CORELOG_LAB_", "CORELOG_CI_"];

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File { name: String, line: usize, column: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Everything that is wrong with a configuration, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that is whole, and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Effective {
    pub config: Config,
    /// By key path; a key that is not here has its default.
    sources: BTreeMap<String, Source>,
}

impl Effective {
    pub fn source(&self, key: &Key) -> &Source {
        self.sources.get(&key.path()).unwrap_or(&Source::Default)
    }

    /// The whole configuration as a TOML file that loads to the same, each key with its source.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut table = "";
        for key in keys() {
            if key.table != table {
                table = key.table;
                out.push_str(&format!("\n[{table}]\n"));
            }
            let assignment = format!("{} = {}", key.name, key.show(&self.config));
            out.push_str(&format!("{assignment:<48} # {}\n", self.source(key)));
        }
        out
    }
}

/// Takes the sources in rising order, then gives the result or all that is wrong.
#[derive(Debug, Default)]
pub struct Loader {
    config: Config,
    sources: BTreeMap<String, Source>,
    problems: Vec<String>,
}

impl Loader {
    pub fn new() -> Loader {
        Loader::default()
    }

    /// The contents of a TOML file; `name` is for messages.
    pub fn file(&mut self, name: &str, contents: &str) {
        let (document, errors) = DeTable::parse_recoverable(contents);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = line_and_column(contents, at);
            self.problems.push(format!("{name}:{line}:{column}: {}", error.message()));
        }
        if errors.is_empty() {
            let place = |at: usize| {
                let (line, column) = line_and_column(contents, at);
                Source::File { name: name.to_string(), line, column }
            };
            self.file_table("", document.get_ref(), &place);
        }
    }

    /// The process's environment; variables of other programs are passed over.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (variable, value) in variables {
            let ours = variable.starts_with(VARIABLE_PREFIX)
                && !VARIABLES_OF_COMMANDS.contains(&variable.as_str())
                && !VARIABLES_OF_TESTS.contains(&variable.as_str())
                && !VARIABLE_PREFIXES_OF_TESTS.iter().any(|prefix| variable.starts_with(prefix));
            if !ours {
                continue;
            }
            match keys().find(|key| key.variable() == variable) {
                Some(key) => self.set(key, &value, Source::Variable(variable)),
                None => {
                    let known = keys().map(Key::variable);
                    let hint = did_you_mean(&variable, known);
                    self.problems.push(format!("unknown environment variable {variable}{hint}"));
                }
            }
        }
    }

    /// One flag that was given; `flag` is one of `Key::flag`.
    pub fn flag(&mut self, flag: &str, value: &str) {
        let key = keys().find(|key| key.flag() == flag);
        let key = key.expect("the command line knows only the flags of keys");
        self.set(key, value, Source::Flag(flag.to_string()));
    }

    /// The configuration, if every key is well and no two disagree.
    pub fn finish(mut self) -> Result<Effective, ConfigError> {
        if self.problems.is_empty() {
            for (path, reason) in self.config.disagreements() {
                let key = keys().find(|key| key.path() == path).expect("a key names itself");
                let source = self.sources.get(path).unwrap_or(&Source::Default);
                let value = key.show(&self.config);
                self.problems.push(format!("{path} = {value} ({source}): {reason}"));
            }
        }
        if self.problems.is_empty() {
            Ok(Effective { config: self.config, sources: self.sources })
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }

    fn file_table(&mut self, table: &str, content: &DeTable<'_>, place: &impl Fn(usize) -> Source) {
        // In the order of the file, so that the messages are.
        let mut entries: Vec<_> = content.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let here = place(name.span().start);
            let name = name.get_ref().as_ref();
            let is_table = keys().any(|key| !key.table.is_empty() && key.table == name);
            if table.is_empty() && is_table {
                match value.get_ref() {
                    DeValue::Table(inner) => self.file_table(name, inner, place),
                    _ => self.problems.push(format!("{here}: {name} is a table: write [{name}]")),
                }
                continue;
            }
            match keys().find(|key| key.table == table && key.name == name) {
                Some(key) => self.file_value(key, value, place(value.span().start)),
                None => {
                    let separator = if table.is_empty() { "" } else { "." };
                    let path = format!("{table}{separator}{name}");
                    let hint = did_you_mean(&path, keys().map(Key::path));
                    self.problems.push(format!("{here}: unknown key {path}{hint}"));
                }
            }
        }
    }

    fn file_value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>, source: Source) {
        match plain_text(value.get_ref()) {
            Some(text) => self.set(key, &text, source),
            None => self.problems.push(format!(
                "{source}: {} is a {}: expected {}",
                key.path(),
                value.get_ref().type_str(),
                key.allowed()
            )),
        }
    }

    fn set(&mut self, key: &Key, value: &str, source: Source) {
        if (key.set)(&mut self.config, value) {
            self.sources.insert(key.path(), source);
        } else {
            let (path, allowed) = (key.path(), key.allowed());
            self.problems.push(format!("{source}: {path} = {value:?}: expected {allowed}"));
        }
    }
}

/// A TOML value as the operator would write it in a flag; an array of numbers is a list.
fn plain_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Array(_) => None,
                    item => plain_text(item),
                })
                .collect();
            items.map(|items| items.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Both counted from 1, the column in characters.
fn line_and_column(contents: &str, at: usize) -> (usize, usize) {
    let before = contents.get(..at).unwrap_or(contents);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// ", did you mean X?" for the nearest of the known names, or nothing when none is near.
fn did_you_mean(unknown: &str, known: impl Iterator<Item = String>) -> String {
    let near = known
        .map(|name| (edit_distance(unknown, &name), name))
        .min()
        .filter(|(distance, name)| *distance * 3 <= name.len());
    near.map_or(String::new(), |(_, name)| format!("; did you mean {name}?"))
}

/// Levenshtein's: insertions, deletions and substitutions between two words.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Endpoints, HostPort};
    use std::time::Duration;

    fn load(
        file: &str,
        variables: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Effective, String> {
        let mut loader = Loader::new();
        loader.file("corelog.toml", file);
        loader.environment(variables.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        for (flag, value) in flags {
            loader.flag(flag, value);
        }
        loader.finish().map_err(|error| error.to_string())
    }

    /// What is wrong with a file, as the operator reads it.
    #[track_caller]
    fn check(file: &str, expect: &str) {
        assert_eq!(load(file, &[], &[]).unwrap_err(), expect);
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        assert_eq!(load("", &[], &[]).unwrap().config, Config::default());
    }

    #[test]
    fn each_source_goes_over_the_one_before() {
        let file =
            "listen = 'a:1'\nendpoints = 'shared'\nnode_id = 7\n\n[log]\nretention_ms = '1d'";
        let effective = load(
            file,
            &[("CORELOG_LISTEN", "b:2"), ("CORELOG_NODE_ID", "8"), ("PATH", "/bin")],
            &[("node-id", "9")],
        )
        .unwrap();
        assert_eq!(effective.config.listen, HostPort::new("b", 2));
        assert_eq!(effective.config.endpoints, Endpoints::Shared);
        assert_eq!(effective.config.node_id, 9);
        assert_eq!(effective.config.log.retention_ms, Some(Duration::from_hours(24)));
        let text = effective.to_toml();
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start)).unwrap();
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("node_id"), "node_id = 9 # flag --node-id");
        assert_eq!(line("listen"), "listen = \"b:2\" # environment variable CORELOG_LISTEN");
        assert_eq!(line("endpoints"), "endpoints = \"shared\" # corelog.toml:2:13");
        assert_eq!(line("retention_ms"), "retention_ms = \"1d\" # corelog.toml:6:16");
        assert_eq!(line("durability"), "durability = \"fsync\" # default");
    }

    #[test]
    fn what_is_printed_loads_to_the_same() {
        let file = "data_dir = '/a \"b\"'\ncpus = [0, 1, 0x3]\nmemory_per_shard_bytes = 200_000_001\n\
            advertise = '[::1]:5'\nauto_create_topics = false\n[log]\nretention_bytes = 0\n\
            retention_ms = -1\n[logging]\nformat = 'json'";
        let first = load(file, &[], &[]).unwrap();
        assert_eq!(first.config.cpus, Some(vec![0, 1, 3]));
        let second = load(&first.to_toml(), &[], &[]).unwrap();
        assert_eq!(first.config, second.config);
        assert_ne!(first.config, Config::default());
    }

    #[test]
    fn unknown_keys_are_errors_with_their_place() {
        check("what = 1", "corelog.toml:1:1: unknown key what");
        check(
            "\n[log]\n  segment_byte = 1",
            "corelog.toml:3:3: unknown key log.segment_byte; did you mean log.segment_bytes?",
        );
        check("[lag]\nsegment_bytes = 1", "corelog.toml:1:2: unknown key lag");
        check("log = 5", "corelog.toml:1:1: log is a table: write [log]");
    }

    #[test]
    fn bad_values_are_errors_with_their_range_and_place() {
        check(
            "listen = 'localhost'",
            "corelog.toml:1:10: listen = \"localhost\": expected HOST:PORT, an IPv6 address in brackets",
        );
        check(
            "[log]\nsegment_bytes = '3GiB'",
            "corelog.toml:2:17: log.segment_bytes = \"3GiB\": expected a size in bytes from 16KiB to \
             2147483647, such as 64MiB",
        );
        check(
            "durability = 1979-05-27",
            "corelog.toml:1:14: durability is a datetime: expected one of fsync, write, memory",
        );
        check(
            "cpus = '3-1'",
            "corelog.toml:1:8: cpus = \"3-1\": expected auto, or at most 1024 different CPU numbers, \
             such as 0-3,5",
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        check(
            "node_id = -1\nnum_partitions = 0",
            "corelog.toml:1:11: node_id = \"-1\": expected a number from 0 to 2097150\n\
             corelog.toml:2:18: num_partitions = \"0\": expected a number from 1 to 100000",
        );
    }

    #[test]
    fn a_file_that_is_not_toml_is_an_error_with_its_place() {
        let error = load("listen = 'a:1'\nnode_id = = 3", &[], &[]).unwrap_err();
        assert!(error.starts_with("corelog.toml:2:"), "{error}");
        let error = load("node_id = 3\nnode_id = 4", &[], &[]).unwrap_err();
        assert!(error.starts_with("corelog.toml:2:1: duplicate key"), "{error}");
    }

    #[test]
    fn wrong_variables_and_flags_name_themselves() {
        let error = load("", &[("CORELOG_LISTN", "a:1"), ("CORELOG_TEST_X", "")], &[]);
        assert_eq!(
            error.unwrap_err(),
            "unknown environment variable CORELOG_LISTN; did you mean CORELOG_LISTEN?"
        );
        let error = load("", &[("CORELOG_LOG_RETENTION_MS", "-2")], &[]).unwrap_err();
        assert!(
            error.starts_with(
                "environment variable CORELOG_LOG_RETENTION_MS: log.retention_ms = \"-2\": expected -1, or"
            ),
            "{error}"
        );
        let error = load("", &[], &[("endpoints", "each")]).unwrap_err();
        assert_eq!(
            error,
            "flag --endpoints: endpoints = \"each\": expected one of per-core, shared"
        );
    }

    #[test]
    fn keys_that_disagree_are_refused_together() {
        let error = load("request_bytes_max = '1MiB'", &[], &[]).unwrap_err();
        assert_eq!(
            error,
            "request_bytes_max = \"1MiB\" (corelog.toml:1:21): log.max_message_bytes needs it to be \
             1049612 or more"
        );
        let error = load("", &[], &[("memory-per-shard-bytes", "64MiB")]).unwrap_err();
        assert_eq!(
            error,
            "memory_per_shard_bytes = \"64MiB\" (flag --memory-per-shard-bytes): request_bytes_max needs \
             it to be 104857600 or more"
        );
    }
}
