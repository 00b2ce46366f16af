//! Open segment files of one shard: a bounded cache, so that ten thousand partitions do not hold ten
//! thousand descriptors. Whoever uses a file holds a reference; eviction closes it after the last.

use super::fault::LogFault;
use crate::runtime::{File, FileOptions};
use crate::types::Offset;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// What a file was opened for. Each use has a descriptor of its own, so that a write that has to be
/// durable never goes through one that was opened for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    WriteAndSync,
}

/// A partition's number within its shard's life, a segment's base offset, and the use of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    pub partition: u64,
    pub segment: Offset,
    pub access: Access,
}

struct Entry {
    file: Rc<File>,
    used: u64,
}

/// Open files by segment, the least recently used of them closed when there are too many.
pub struct FileCache {
    entries: RefCell<HashMap<FileKey, Entry>>,
    clock: Cell<u64>,
    capacity: usize,
}

impl FileCache {
    /// `capacity`: files held open at most, beside those in use.
    pub fn new(capacity: usize) -> FileCache {
        assert!(capacity > 0);
        FileCache { entries: RefCell::default(), clock: Cell::new(0), capacity }
    }

    /// The open file, if it is held.
    pub fn get(&self, key: FileKey) -> Option<Rc<File>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&key)?;
        self.clock.set(self.clock.get() + 1);
        entry.used = self.clock.get();
        Some(entry.file.clone())
    }

    /// The file at `path`, opened if it is not held.
    ///
    /// # Errors
    /// A fault that names the file.
    pub async fn open(
        &self,
        key: FileKey,
        path: &Path,
        options: FileOptions,
    ) -> Result<Rc<File>, LogFault> {
        if let Some(file) = self.get(key) {
            return Ok(file);
        }
        let opened = File::open(path, options).await;
        let file = opened.map_err(|error| LogFault::from_io("open", path, 0, &error))?;
        let file = Rc::new(file);
        self.insert(key, file.clone());
        Ok(file)
    }

    /// Takes the place of an entry, say when a segment's file is reopened with other options.
    pub fn insert(&self, key: FileKey, file: Rc<File>) {
        let mut entries = self.entries.borrow_mut();
        self.clock.set(self.clock.get() + 1);
        entries.insert(key, Entry { file, used: self.clock.get() });
        if entries.len() > self.capacity {
            // An eighth at once, so that a full cache is not sorted at every open.
            let mut ages: Vec<u64> = entries.values().map(|entry| entry.used).collect();
            let cut = ages.len() - self.capacity + self.capacity / 8;
            let (_, oldest_kept, _) = ages.select_nth_unstable(cut.min(entries.len() - 1));
            let oldest_kept = *oldest_kept;
            entries.retain(|_, entry| entry.used >= oldest_kept);
        }
    }

    pub fn remove(&self, key: FileKey) {
        let removed = self.entries.borrow_mut().remove(&key);
        drop(removed);
    }

    /// Forgets the files of a segment that were opened for writing: it is sealed.
    pub fn remove_writers(&self, partition: u64, segment: Offset) {
        for access in [Access::Write, Access::WriteAndSync] {
            self.remove(FileKey { partition, segment, access });
        }
    }

    /// Forgets all files of a segment: it is deleted.
    pub fn remove_segment(&self, partition: u64, segment: Offset) {
        self.remove_writers(partition, segment);
        self.remove(FileKey { partition, segment, access: Access::Read });
    }

    /// Forgets all files of a partition.
    pub fn remove_partition(&self, partition: u64) {
        self.entries.borrow_mut().retain(|key, _| key.partition != partition);
    }

    /// Files held open.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }
}
