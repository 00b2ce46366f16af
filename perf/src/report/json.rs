//! The report as JSON: the form that is kept, and that other commands read again.

use super::model::{FORMAT, Report};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{} is not a report of corelog-perf, or is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{} has format {format}; this corelog-perf reads formats up to {FORMAT}: use a newer one",
        path.display()
    )]
    Newer { path: PathBuf, format: u64 },
}

/// All that is read of a report before its format is known.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

/// # Errors
/// With the file's name, and whether it is away, damaged or newer than this program.
pub fn read(path: &Path) -> Result<Report, JsonError> {
    let bytes = std::fs::read(path)
        .map_err(|reason| JsonError::Unreadable { path: path.to_owned(), reason })?;
    parse(&bytes, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Report, JsonError> {
    let damaged = |reason: String| JsonError::Damaged { path: path.to_owned(), reason };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if head.format > u64::from(FORMAT) {
        return Err(JsonError::Newer { path: path.to_owned(), format: head.format });
    }
    serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))
}

pub fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("plain data, and keys are text");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn error_of(text: &str) -> String {
        let read = parse(text.as_bytes(), Path::new("a.json"));
        read.expect_err("not a report").to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let report = sample("corelog", 1);
        let read = parse(render(&report).as_bytes(), Path::new("a.json")).expect("just written");
        assert_eq!(read, report);
    }

    #[test]
    fn a_newer_format_is_named_whatever_else_changed() {
        let text = error_of("{\"format\": 2, \"label\": [1], \"new_field\": {}}");
        assert_eq!(
            text,
            "a.json has format 2; this corelog-perf reads formats up to 1: use a newer one"
        );
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let whole = render(&sample("corelog", 1));
        let cut = error_of(&whole[..whole.len() / 2]);
        assert!(
            cut.starts_with("a.json is not a report of corelog-perf, or is damaged: "),
            "{cut}"
        );
        assert!(error_of("").contains("EOF"));
        assert!(error_of("{\"format\": 1}").contains("missing field"));
        let encoded = sample("corelog", 1).acknowledge.encode();
        let broken = error_of(&whole.replace(&encoded, "AAAA"));
        assert!(broken.contains("not a histogram"), "{broken}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/a.json")).expect_err("there is none").to_string();
        assert!(error.starts_with("cannot read /nowhere/a.json: No such file"), "{error}");
    }
}
