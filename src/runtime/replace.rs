//! Small files of the main thread and of tools, replaced whole and for good. It blocks: not for a shard.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What a new file's name ends in until it is complete.
const NEW_END: &str = ".new";

/// Replaces the file at `path` by `contents`: there is the old one or the new one, and the new one on stable storage
/// when this returns.
///
/// # Errors
/// As the system calls; the old file may be there still.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_os_string();
    name.push(NEW_END);
    let new = path.with_file_name(name);
    let replaced = write_synced(&new, contents).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&new);
    }
    replaced.and_then(|()| sync_names_beside(path))
}

/// Removes the file at `path`, if there is one, so that it does not come back.
///
/// # Errors
/// As the system calls.
pub fn unlink_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_names_beside(path)),
    }
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_names_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_or_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for contents in ["one", "another", ""] {
            replace_file(&path, contents.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        let names = || fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names(), 1);
        // A folder is in the way.
        let taken = folder.path().join("b");
        fs::create_dir_all(taken.join("c")).unwrap();
        assert!(replace_file(&taken, b"x").is_err());
        assert!(taken.join("c").is_dir());
        assert_eq!(names(), 2);
        unlink_file(&path).unwrap();
        assert_eq!(names(), 1);
        unlink_file(&path).unwrap();
    }
}
