//! How long the commit may be in which a log of a data directory ends, and so how long one may be in this life.
//!
//! A start takes at most one commit at a log's end for torn, and makes at most one durable again: it has to know how
//! long the last life's were. A file says so while that is not `COMMIT_BYTES_MAX`. It is written before a life writes
//! its first commit, and says 0 after a stop that left every log complete. So a smaller size holds from a start after
//! such a stop on. Pure: the caller reads and writes the file.

use crate::limits::{COMMIT_BYTES_MAX, COMMIT_BYTES_MIN};

/// Of the file, in the data directory: `commit-bytes NUMBER CHECKSUM`, the CRC-32 of what is before it.
pub const FILE_NAME: &str = "commit-bytes";

/// What the file is to say.
pub fn show(bytes: usize) -> String {
    let said = format!("{FILE_NAME} {bytes}");
    format!("{said} {:08x}\n", crc32fast::hash(said.as_bytes()))
}

/// The longest commit in which a log may end. Without a file, or with one that says nothing, it is the longest that
/// there is.
pub fn longest(file: Option<&[u8]>) -> usize {
    file.and_then(parse).unwrap_or(COMMIT_BYTES_MAX)
}

fn parse(file: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(file).ok()?;
    let number = text.strip_prefix(FILE_NAME)?.trim_start().split(' ').next()?;
    let bytes: usize = number.parse().ok()?;
    let is_possible = bytes == 0 || (COMMIT_BYTES_MIN..=COMMIT_BYTES_MAX).contains(&bytes);
    (is_possible && text == show(bytes)).then_some(bytes)
}

/// What a life may write that wants commits of `wanted` bytes, and finds logs that may end in one of `longest`.
pub fn in_this_life(longest: usize, wanted: usize) -> usize {
    longest.max(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_believed() {
        for bytes in [0, COMMIT_BYTES_MIN, 1 << 20, COMMIT_BYTES_MAX] {
            let file = show(bytes);
            assert_eq!(longest(Some(file.as_bytes())), bytes, "{file}");
            for at in 0..file.len() {
                let mut wrong = file.clone().into_bytes();
                wrong[at] ^= 1;
                assert_eq!(longest(Some(&wrong)), COMMIT_BYTES_MAX, "byte {at} of {file}");
                assert_eq!(longest(Some(&file.as_bytes()[..at])), COMMIT_BYTES_MAX, "{at} bytes");
            }
        }
        for bytes in [1, COMMIT_BYTES_MIN - 1, COMMIT_BYTES_MAX + 1, usize::MAX] {
            assert_eq!(longest(Some(show(bytes).as_bytes())), COMMIT_BYTES_MAX);
        }
        assert_eq!(longest(None), COMMIT_BYTES_MAX);
    }

    /// Lives of one data directory: what each writes, and what the file says after it.
    #[test]
    fn no_life_takes_a_log_to_end_in_less_than_the_life_before_wrote() {
        let (small, large) = (COMMIT_BYTES_MIN, 1 << 20);
        let mut file: Option<Vec<u8>> = None;
        for (wanted, is_clean, expect) in [
            // Nobody knows yet what was before.
            (small, false, COMMIT_BYTES_MAX),
            (small, true, COMMIT_BYTES_MAX),
            (small, false, small),
            (large, false, large),
            (small, false, large),
            (small, true, large),
            (small, true, small),
        ] {
            let bytes = in_this_life(longest(file.as_deref()), wanted);
            assert_eq!(bytes, expect);
            file = Some(show(if is_clean { 0 } else { bytes }).into_bytes());
        }
    }
}
