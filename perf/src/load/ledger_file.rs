//! A ledger as a file: what a run was promised so far, for whoever reads the log later, or a copy of it. Pure,
//! save for the file.

use super::ledger::{Promised, Stream};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Grows when old readers would misunderstand.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerFile {
    format: u32,
    /// A number that the run alone has.
    pub run: u32,
    /// By number, as in streams.
    pub topics: Vec<String>,
    streams: Vec<(Stream, Promised)>,
}

impl LedgerFile {
    pub fn new(run: u32, topics: Vec<String>, promised: HashMap<Stream, Promised>) -> LedgerFile {
        let mut streams: Vec<_> = promised.into_iter().collect();
        streams.sort_unstable_by_key(|(stream, _)| *stream);
        LedgerFile { format: FORMAT, run, topics, streams }
    }

    pub fn promised(&self) -> HashMap<Stream, Promised> {
        self.streams.iter().cloned().collect()
    }

    /// Written beside its place and moved there, so that a reader sees the whole of one moment. Not synced: it
    /// is to outlive the broker, not this host.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let beside = PathBuf::from(format!("{}.part", path.display()));
        let text = serde_json::to_string(self).expect("a ledger can be written as JSON");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// # Errors
    /// Names the file, and what is wrong in it.
    pub fn read(path: &Path) -> Result<LedgerFile, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the ledger {shown}: {error}"))?;
        let ledger: LedgerFile =
            serde_json::from_str(&text).map_err(|error| format!("ledger {shown}: {error}"))?;
        match ledger.format {
            FORMAT => Ok(ledger),
            other => Err(format!("ledger {shown}: format {other}, this reads {FORMAT}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_back_as_written() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("ledger");
        let mut promised = HashMap::new();
        for producer in 0..3 {
            let stream = Stream { producer, topic: 1, partition: 2 };
            let owed: &mut Promised = promised.entry(stream).or_default();
            owed.number(5);
            owed.number(7);
            owed.acknowledge(0);
        }
        let ledger = LedgerFile::new(9, vec!["a".into(), "b".into()], promised.clone());
        ledger.write(&path).expect("there is room");
        let read = LedgerFile::read(&path).expect("it was just written");
        assert_eq!((&read, read.promised()), (&ledger, promised));
        std::fs::write(&path, "{\"format\": 1").expect("there is room");
        assert!(LedgerFile::read(&path).is_err_and(|error| error.contains("ledger")));
    }
}
