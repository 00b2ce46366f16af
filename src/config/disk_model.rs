//! What `corelog doctor disk` measured of a data directory's device, as a file, and what a start takes from it.
//!
//! Pure: text to numbers, every one within bounds, and back.

use super::Config;
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_BYTES_MIN, COMMITS_IN_FLIGHT_MAX, FILE_READS_IN_FLIGHT_MAX,
};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the model of a data directory's device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskModelAt {
    /// In the data directory, if it is there.
    Auto,
    None,
    At(PathBuf),
}

impl FromStr for DiskModelAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<DiskModelAt, &'static str> {
        match text {
            "auto" => Ok(DiskModelAt::Auto),
            "none" => Ok(DiskModelAt::None),
            text if text.is_empty() || text.contains('\0') => Err("expected a path"),
            text => Ok(DiskModelAt::At(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for DiskModelAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskModelAt::Auto => f.write_str("auto"),
            DiskModelAt::None => f.write_str("none"),
            DiskModelAt::At(path) => path.display().fmt(f),
        }
    }
}

/// The settings that suit a device, and the figures that they rest on. The names are those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskModel {
    pub version: u64,
    /// When, in milliseconds since 1970.
    pub measured_ms: u64,
    pub commits_in_flight_max: usize,
    pub commit_bytes_max: usize,
    pub file_reads_in_flight_max: usize,
    /// Of synced writes of `commit_bytes_max` to one file, one in flight: what one partition may reach.
    pub commit_bytes_per_second: u64,
    /// Synced writes of 4 KiB, each to another file.
    pub small_commits_per_second: u64,
    /// What a sync takes after a write of 4 KiB: the median.
    pub sync_us: u64,
    /// Of direct reads of 1 MiB.
    pub read_bytes_per_second: u64,
}

impl DiskModel {
    /// Of the file, in the data directory.
    pub const FILE_NAME: &'static str = "disk-model.toml";
    pub const VERSION: u64 = 1;
    /// How a model begins: nothing else is replaced by one.
    pub const FIRST_LINE: &'static str = "# The model of a disk, by corelog doctor disk.\n";
    /// A longer file is no model.
    pub const FILE_BYTES_MAX: u64 = 16 * 1024;

    /// # Errors
    /// What is wrong with the text, in one sentence.
    pub fn parse(text: &str) -> Result<DiskModel, String> {
        let model: DiskModel = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
            });
            format!("line {line}: {}", error.message())
        })?;
        // The end of the year 9999, and more than any device gives.
        const TIME_MAX: u64 = 253_402_300_799_999;
        const FIGURE_MAX: u64 = 1 << 50;
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let version = DiskModel::VERSION;
        for (name, value, least, most) in [
            ("version", model.version, version, version),
            ("measured_ms", model.measured_ms, 0, TIME_MAX),
            (
                "commits_in_flight_max",
                number(model.commits_in_flight_max),
                1,
                number(COMMITS_IN_FLIGHT_MAX),
            ),
            (
                "commit_bytes_max",
                number(model.commit_bytes_max),
                number(COMMIT_BYTES_MIN),
                number(COMMIT_BYTES_MAX),
            ),
            (
                "file_reads_in_flight_max",
                number(model.file_reads_in_flight_max),
                1,
                number(FILE_READS_IN_FLIGHT_MAX),
            ),
            ("commit_bytes_per_second", model.commit_bytes_per_second, 0, FIGURE_MAX),
            ("small_commits_per_second", model.small_commits_per_second, 0, FIGURE_MAX),
            ("sync_us", model.sync_us, 0, FIGURE_MAX),
            ("read_bytes_per_second", model.read_bytes_per_second, 0, FIGURE_MAX),
        ] {
            if value < least || value > most {
                return Err(format!("{name} = {value}: expected {least} to {most}"));
            }
        }
        Ok(model)
    }

    /// The file's text, which `parse` takes back.
    pub fn to_toml(&self) -> String {
        let DiskModel {
            version,
            measured_ms,
            commits_in_flight_max,
            commit_bytes_max,
            file_reads_in_flight_max,
            commit_bytes_per_second,
            small_commits_per_second,
            sync_us,
            read_bytes_per_second,
        } = self;
        let first = DiskModel::FIRST_LINE;
        format!(
            "{first}# corelog serve takes from it at its start what its configuration does not say.\n\
             version = {version}\n\
             measured_ms = {measured_ms}\n\
             \n\
             commits_in_flight_max = {commits_in_flight_max}\n\
             commit_bytes_max = {commit_bytes_max}\n\
             file_reads_in_flight_max = {file_reads_in_flight_max}\n\
             \n\
             # What these rest on; not used by a start.\n\
             commit_bytes_per_second = {commit_bytes_per_second}\n\
             small_commits_per_second = {small_commits_per_second}\n\
             sync_us = {sync_us}\n\
             read_bytes_per_second = {read_bytes_per_second}\n"
        )
    }
}

/// What a broker's use of its disk is set to; none where the log's own default holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSettings {
    pub commits_in_flight_max: Option<usize>,
    pub commit_bytes_max: Option<usize>,
    pub file_reads_in_flight_max: Option<usize>,
}

impl DiskSettings {
    /// Those that the configuration says.
    pub fn of(config: &Config) -> DiskSettings {
        DiskSettings {
            commits_in_flight_max: config.commits_in_flight_max,
            commit_bytes_max: config.commit_bytes_max,
            file_reads_in_flight_max: config.file_reads_in_flight_max,
        }
    }

    /// What a model says of those that are not said here.
    pub fn taken_from(&self, model: &DiskModel) -> DiskSettings {
        let unless = |said: Option<usize>, modelled| said.is_none().then_some(modelled);
        DiskSettings {
            commits_in_flight_max: unless(self.commits_in_flight_max, model.commits_in_flight_max),
            commit_bytes_max: unless(self.commit_bytes_max, model.commit_bytes_max),
            file_reads_in_flight_max: unless(
                self.file_reads_in_flight_max,
                model.file_reads_in_flight_max,
            ),
        }
    }

    /// Both together; what is said here goes first.
    pub fn or(self, others: DiskSettings) -> DiskSettings {
        DiskSettings {
            commits_in_flight_max: self.commits_in_flight_max.or(others.commits_in_flight_max),
            commit_bytes_max: self.commit_bytes_max.or(others.commit_bytes_max),
            file_reads_in_flight_max: self
                .file_reads_in_flight_max
                .or(others.file_reads_in_flight_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> DiskModel {
        DiskModel {
            version: DiskModel::VERSION,
            measured_ms: 1_750_000_000_000,
            commits_in_flight_max: 64,
            commit_bytes_max: 1 << 20,
            file_reads_in_flight_max: 2,
            commit_bytes_per_second: 2_900_000_000,
            small_commits_per_second: 41_000,
            sync_us: 40,
            read_bytes_per_second: 3_000_000_000,
        }
    }

    #[test]
    fn a_model_survives_its_text() {
        let text = model().to_toml();
        assert!(text.starts_with(DiskModel::FIRST_LINE));
        assert_eq!(DiskModel::parse(&text), Ok(model()));
        assert!((text.len() as u64) < DiskModel::FILE_BYTES_MAX);
    }

    /// What is said of a model's text when one line of it is another.
    #[track_caller]
    fn check(line: &str, instead: &str, expect: &str) {
        let text = model().to_toml();
        assert!(text.contains(line), "{line}");
        let wrong = DiskModel::parse(&text.replace(line, instead)).unwrap_err();
        assert!(wrong.contains(expect), "{instead}: {wrong}");
    }

    #[test]
    fn every_number_is_bounded() {
        check("version = 1", "version = 2", "version = 2: expected 1 to 1");
        check("commits_in_flight_max = 64", "commits_in_flight_max = 0", "expected 1 to 256");
        check("commits_in_flight_max = 64", "commits_in_flight_max = 257", "expected 1 to 256");
        check(
            "commit_bytes_max = 1048576",
            "commit_bytes_max = 65535",
            "expected 65536 to 4194304",
        );
        check("commit_bytes_max = 1048576", "commit_bytes_max = 4194305", "4194305: expected");
        check("reads_in_flight_max = 2", "reads_in_flight_max = 33", "expected 1 to 32");
        check("sync_us = 40", "sync_us = 9223372036854775807", "sync_us = 9223372036854775807");
        check("measured_ms = 1750000000000", "measured_ms = 253402300800000", "expected 0 to");
        for figure in ["commit_bytes_per_second", "small_commits", "read_bytes_per_second"] {
            let text = model().to_toml();
            let at = text.find(figure).unwrap();
            let line = text[at..].lines().next().unwrap();
            let (name, _) = line.split_once(" = ").unwrap();
            check(line, &format!("{name} = 1125899906842625"), "expected 0 to 1125899906842624");
        }
    }

    #[test]
    fn what_is_no_model_is_refused_with_its_line() {
        check("sync_us = 40", "sync_us = -1", "line ");
        check("sync_us = 40", "sync_us = 'x'", "line ");
        check("sync_us = 40\n", "", "sync_us");
        check("sync_us = 40", "sync_us = 40\nsync_ms = 40", "sync_ms");
        check("sync_us = 40", "sync_us = ", "line 1");
        assert!(DiskModel::parse("").is_err());
    }

    #[test]
    fn what_the_configuration_says_goes_over_the_model() {
        let config = Config { commit_bytes_max: Some(65_536), ..Config::default() };
        let said = DiskSettings::of(&config);
        let taken = said.taken_from(&model());
        assert_eq!(
            taken,
            DiskSettings {
                commits_in_flight_max: Some(64),
                commit_bytes_max: None,
                file_reads_in_flight_max: Some(2),
            }
        );
        let both = said.or(taken);
        assert_eq!(both, DiskSettings { commit_bytes_max: Some(65_536), ..taken });
    }

    #[test]
    fn where_a_model_is_survives_its_text() {
        for text in ["auto", "none", "/etc/corelog/disk-model.toml"] {
            assert_eq!(text.parse::<DiskModelAt>().unwrap().to_string(), text);
        }
        assert!("".parse::<DiskModelAt>().is_err());
    }
}
