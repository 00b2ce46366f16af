//! All files of a run. A file is there whole or not at all; one that fails does not stop the others.

use super::{Report, hgrm, hlog, html, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// NAME.json, NAME.hgrm, NAME-end-to-end.hgrm (when there is such latency), NAME.hlog and NAME.html.
/// Returns what was written.
///
/// # Errors
/// Names each file that could not be written, and why; the others are there.
pub fn write_all(report: &Report, directory: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory).map_err(|error| {
        io::Error::other(format!("cannot make {}: {error}", directory.display()))
    })?;
    let mut files = vec![
        (format!("{name}.json"), json::render(report)),
        (format!("{name}.hgrm"), hgrm::render(&report.acknowledge)),
        (format!("{name}.hlog"), hlog::render(report)),
        (format!("{name}.html"), html::render(report)),
    ];
    if !report.end_to_end.is_empty() {
        files.push((format!("{name}-end-to-end.hgrm"), hgrm::render(&report.end_to_end)));
    }
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let path = directory.join(file);
        match write_whole(&path, &text) {
            Ok(()) => written.push(path),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(written) } else { Err(io::Error::other(failed.join("\n"))) }
}

/// Written beside its place and moved there when all of it is on the disk.
///
/// # Errors
/// Names the file; an older file of the same name is still as it was.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let done = write_and_sync(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    done.map_err(|error| {
        // What is left of it is of no use; if it cannot be removed there is nothing better to say.
        let _ = std::fs::remove_file(&beside);
        let words = format!("cannot write {}: {error}", path.display());
        io::Error::new(error.kind(), words)
    })
}

fn write_and_sync(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_file_is_written_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("new");
        write_all(&sample("corelog", 1), &place, "run").expect("there is room");
        let all = ["run-end-to-end.hgrm", "run.hgrm", "run.hlog", "run.html", "run.json"];
        assert_eq!(names(&place), all);
    }

    #[test]
    fn a_file_that_fails_is_named_and_the_others_are_written() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("run.hlog")).expect("in the way of the log");
        let error = write_all(&sample("corelog", 1), directory.path(), "run")
            .expect_err("the log has no place")
            .to_string();
        assert!(error.starts_with("cannot write ") && error.contains("run.hlog: "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        let all = ["run-end-to-end.hgrm", "run.hgrm", "run.hlog", "run.html", "run.json"];
        assert_eq!(names(directory.path()), all, "the log's name is the directory in the way");
    }

    #[test]
    fn a_failed_write_leaves_the_older_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.json");
        write_whole(&path, "older").expect("there is room");
        std::fs::create_dir(directory.path().join("a.json.part")).expect("in the way");
        write_whole(&path, "newer").expect_err("it cannot be written beside");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "older");
    }
}
