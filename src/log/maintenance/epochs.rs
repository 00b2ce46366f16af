//! The history of leader epochs on disk, in Kafka's own file `leader-epoch-checkpoint`:
//!
//! ```text
//! 0                 version
//! 2                 entries
//! 0 0               epoch, and the offset at which it began
//! 3 1042
//! ```
//!
//! Written with the partition's folder and at checkpoints; what came after is in the batches of the tail.

use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::small_file;
use crate::log::verify::Epochs;
use crate::types::Offset;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

const FILE_NAME: &str = "leader-epoch-checkpoint";
/// An epoch a line.
const FILE_BYTES_MAX: usize = 16 << 20;

fn encode(epochs: &[(i32, Offset)]) -> String {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        writeln!(text, "{epoch} {start}").expect("a string takes everything");
    }
    text
}

/// `None` when it is damaged: then nothing is known.
fn decode(text: &str) -> Option<Vec<(i32, Offset)>> {
    let mut lines = text.lines();
    let (version, count) = (lines.next()?, lines.next()?);
    if version.trim() != "0" {
        return None;
    }
    let mut epochs: Vec<(i32, Offset)> = Vec::new();
    for line in lines {
        let (epoch, start) = line.trim().split_once(' ')?;
        let (epoch, start) = (epoch.parse().ok()?, Offset(start.trim().parse().ok()?));
        let ascends = epochs.last().is_none_or(|(last, at)| *last < epoch && *at <= start);
        if !ascends || epoch < 0 || start < Offset::ZERO {
            return None;
        }
        epochs.push((epoch, start));
    }
    (count.trim().parse() == Ok(epochs.len())).then_some(epochs)
}

impl Partition {
    pub(super) fn epochs_path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// Reads the history when the partition is opened first.
    pub(super) async fn read_epochs(&self, foreign: bool) -> Result<(), LogFault> {
        if self.state.borrow().opened {
            return Ok(());
        }
        let path = self.epochs_path();
        // A device that fails for now only must not cost the history: what is scanned does not tell all of it, and
        // would be written in its place.
        let bytes = match small_file::read(&path, FILE_BYTES_MAX).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            other => other.map_err(|error| LogFault::from_io("read", &path, 0, &error))?,
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let epochs = text.as_deref().and_then(decode);
        let mut state = self.state.borrow_mut();
        state.foreign = foreign;
        state.epochs_known = epochs.is_some();
        state.epochs = Rc::new(epochs.unwrap_or_default());
        state.epochs_written = state.epochs.clone();
        Ok(())
    }

    /// Takes up what recovery has read so far. A partition that is opened anew knows more: its readers go on.
    pub(super) fn learn_epochs(&self, epochs: Epochs) {
        let mut state = self.state.borrow_mut();
        if !state.opened {
            state.epochs = epochs;
        }
    }

    /// Drops what is said to have begun behind the log's end: that place belongs to what comes next.
    pub(super) async fn forget_later_epochs(&self) -> Result<(), LogFault> {
        let is_shorter = {
            let mut state = self.state.borrow_mut();
            let end = state.next_offset;
            let kept = state.epochs.partition_point(|(_, start)| *start <= end);
            let is_shorter = kept < state.epochs.len();
            if is_shorter {
                Rc::make_mut(&mut state.epochs).truncate(kept);
            }
            is_shorter
        };
        if is_shorter { self.write_epochs(false).await } else { Ok(()) }
    }

    /// Writes the history, if it is not what the file says.
    pub(in crate::log) async fn write_epochs(&self, is_new: bool) -> Result<(), LogFault> {
        let epochs: Epochs = {
            let state = self.state.borrow();
            if state.epochs == state.epochs_written && !is_new {
                return Ok(());
            }
            state.epochs.clone()
        };
        let path = self.epochs_path();
        let written = small_file::write(&path, encode(&epochs).as_bytes()).await;
        written.map_err(|error| LogFault::from_io("write", &path, 0, &error))?;
        let mut state = self.state.borrow_mut();
        state.epochs_known |= is_new;
        state.epochs_written = epochs;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_read_back_and_kafkas_are_understood() {
        for epochs in [vec![], vec![(0, Offset(0))], vec![(0, Offset(0)), (3, Offset(1042))]] {
            assert_eq!(decode(&encode(&epochs)), Some(epochs));
        }
        assert_eq!(decode("0\n1\n7 12\n"), Some(vec![(7, Offset(12))]));
    }

    #[test]
    fn damaged_histories_are_unknown() {
        for text in
            ["", "0", "1\n0\n", "0\n2\n0 0\n", "0\n1\nx 0\n", "0\n2\n3 0\n2 5\n", "0\n1\n-1 0\n"]
        {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
