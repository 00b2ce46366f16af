//! What is on the simulated disk, in two views: what the running system sees, and what would be left
//! after power loss. The difference between them is the list of changes that were not synced.
//!
//! Pure data: no time, no tasks, no errors by chance. Cloning it is a snapshot.

use super::image::Image;
use super::inode::{FileNode, WriteEnd};
use crate::limits::BLOCK_BYTES;
use crate::runtime::DirectoryEntry;
use crate::runtime::sim::random::Random;
use crate::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::rc::Rc;

pub(super) type InodeId = u64;

const ROOT: InodeId = 0;

type Entries = BTreeMap<Rc<str>, InodeId>;

#[derive(Clone, Default)]
struct DirectoryNode {
    current: Entries,
    durable: Entries,
}

#[derive(Clone)]
enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

/// A change of directory entries that was made but not synced.
#[derive(Clone)]
enum EntryChange {
    Link { directory: InodeId, name: Rc<str>, inode: InodeId },
    Unlink { directory: InodeId, name: Rc<str> },
    Rename { from: InodeId, old: Rc<str>, to: InodeId, new: Rc<str>, inode: InodeId },
}

impl EntryChange {
    fn directories(&self) -> [InodeId; 2] {
        match self {
            EntryChange::Link { directory, .. } | EntryChange::Unlink { directory, .. } => {
                [*directory, *directory]
            }
            EntryChange::Rename { from, to, .. } => [*from, *to],
        }
    }
}

/// Every file and directory, by number, and the entry changes that wait for `sync_directory`.
#[derive(Clone)]
pub(super) struct Contents {
    nodes: BTreeMap<InodeId, Node>,
    inodes_made: u64,
    /// Oldest first, over all directories.
    entry_changes: Vec<EntryChange>,
    changes_made: u64,
    unlinked: bool,
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Contents {
    pub fn new() -> Contents {
        Contents {
            nodes: BTreeMap::from([(ROOT, Node::Directory(DirectoryNode::default()))]),
            inodes_made: 1,
            entry_changes: Vec::new(),
            changes_made: 0,
            unlinked: false,
        }
    }

    /// The number of the latest change; a sync that starts now covers changes up to it.
    pub fn changes_made(&self) -> u64 {
        self.changes_made
    }

    pub fn next_change(&mut self) -> u64 {
        self.changes_made += 1;
        self.changes_made
    }

    pub fn file(&mut self, inode: InodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(error(libc::EISDIR)),
            None => Err(error(libc::ENOENT)),
        }
    }

    pub fn find_file(&mut self, path: &Path) -> io::Result<InodeId> {
        let inode = self.find(path)?;
        self.file(inode).map(|_| inode)
    }

    fn directory(&mut self, inode: InodeId) -> io::Result<&mut DirectoryNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(error(libc::ENOTDIR)),
            None => Err(error(libc::ENOENT)),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<InodeId> {
        let mut inode = ROOT;
        for name in names(path)? {
            let found = self.directory(inode)?.current.get(name).copied();
            inode = found.ok_or_else(|| error(libc::ENOENT))?;
        }
        Ok(inode)
    }

    fn find_parent<'a>(&mut self, path: &'a Path) -> io::Result<(InodeId, &'a str)> {
        let name = names(path)?.pop().ok_or_else(|| error(libc::EINVAL))?;
        let parent = self.find(path.parent().unwrap_or(Path::new("/")))?;
        self.directory(parent)?;
        Ok((parent, name))
    }

    pub fn create_file(&mut self, path: &Path, modified: Timestamp) -> io::Result<InodeId> {
        let (directory, name) = self.find_parent(path)?;
        if self.directory(directory)?.current.contains_key(name) {
            return Err(error(libc::EEXIST));
        }
        Ok(self.link(directory, name, Node::File(FileNode::new(modified))))
    }

    fn link(&mut self, directory: InodeId, name: &str, node: Node) -> InodeId {
        let (inode, name) = (self.inodes_made, Rc::<str>::from(name));
        self.inodes_made += 1;
        self.nodes.insert(inode, node);
        let parent = self.directory(directory).expect("found by the caller");
        parent.current.insert(Rc::clone(&name), inode);
        self.entry_changes.push(EntryChange::Link { directory, name, inode });
        inode
    }

    pub fn create_directory_all(&mut self, path: &Path) -> io::Result<()> {
        let mut inode = ROOT;
        for name in names(path)? {
            inode = match self.directory(inode)?.current.get(name).copied() {
                Some(found) => found,
                None => self.link(inode, name, Node::Directory(DirectoryNode::default())),
            };
        }
        self.directory(inode).map(|_| ()).map_err(|_| error(libc::EEXIST))
    }

    fn unlink(&mut self, directory: InodeId, name: &str) {
        let parent = self.directory(directory).expect("found by the caller");
        if let Some((name, _)) = parent.current.remove_entry(name) {
            self.entry_changes.push(EntryChange::Unlink { directory, name });
            self.unlinked = true;
        }
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        self.file(inode)?;
        let (directory, name) = self.find_parent(path)?;
        self.unlink(directory, name);
        Ok(())
    }

    /// Removes a directory and what is below it; stops short after `entries_max` entries, as a
    /// process that dies within it does.
    pub fn remove_directory(&mut self, path: &Path, entries_max: usize) -> io::Result<()> {
        let inode = self.find(path)?;
        self.directory(inode)?;
        let (parent, name) = self.find_parent(path)?;
        let mut left = entries_max;
        self.remove_below(inode, &mut left);
        if left > 0 {
            self.unlink(parent, name);
        }
        Ok(())
    }

    fn remove_below(&mut self, directory: InodeId, left: &mut usize) {
        let entries = self.directory(directory).expect("is a directory").current.clone();
        for (name, inode) in entries {
            if matches!(self.nodes.get(&inode), Some(Node::Directory(_))) {
                self.remove_below(inode, left);
            }
            if *left == 0 {
                return;
            }
            *left -= 1;
            self.unlink(directory, &name);
        }
    }

    pub fn rename(&mut self, old: &Path, new: &Path) -> io::Result<()> {
        let inode = self.find(old)?;
        let (from, old) = self.find_parent(old)?;
        let (to, new) = self.find_parent(new)?;
        if let Some(replaced) = self.directory(to)?.current.get(new).copied() {
            let moves_directory = self.directory(inode).is_ok();
            match self.directory(replaced) {
                Ok(_) if !moves_directory => return Err(error(libc::EISDIR)),
                Ok(target) if !target.current.is_empty() => return Err(error(libc::ENOTEMPTY)),
                Err(_) if moves_directory => return Err(error(libc::ENOTDIR)),
                _ => {}
            }
        }
        let (old, new) = (Rc::<str>::from(old), Rc::<str>::from(new));
        self.directory(from)?.current.remove(&old);
        self.directory(to)?.current.insert(Rc::clone(&new), inode);
        self.entry_changes.push(EntryChange::Rename { from, old, to, new, inode });
        self.unlinked = true;
        Ok(())
    }

    pub fn list_directory(&mut self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let inode = self.find(path)?;
        let entries = self.directory(inode)?.current.clone();
        let describe = |(name, inode): (Rc<str>, InodeId)| match self.nodes.get(&inode) {
            Some(Node::File(file)) => DirectoryEntry {
                name: name.to_string(),
                is_directory: false,
                length: file.current().length(),
                modified: file.modified(),
            },
            _ => DirectoryEntry {
                name: name.to_string(),
                is_directory: true,
                length: 0,
                modified: Timestamp::NONE,
            },
        };
        Ok(entries.into_iter().map(describe).collect())
    }

    /// Makes the entries of one directory durable, and what they depend on: a rename across
    /// directories takes the other directory's earlier changes with it, as a journal does.
    pub fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        self.directory(inode)?;
        let mut covered = BTreeSet::from([inode]);
        let mut commits = vec![false; self.entry_changes.len()];
        for (index, change) in self.entry_changes.iter().enumerate().rev() {
            let directories = change.directories();
            if directories.iter().any(|directory| covered.contains(directory)) {
                covered.extend(directories);
                commits[index] = true;
            }
        }
        for (change, commit) in std::mem::take(&mut self.entry_changes).into_iter().zip(commits) {
            match commit {
                true => self.commit_entry(change),
                false => self.entry_changes.push(change),
            }
        }
        Ok(())
    }

    fn commit_entry(&mut self, change: EntryChange) {
        let mut durable = |inode: InodeId, name: Rc<str>, target: Option<InodeId>| {
            if let Ok(directory) = self.directory(inode) {
                match target {
                    Some(target) => directory.durable.insert(name, target),
                    None => directory.durable.remove(&name),
                };
            }
        };
        match change {
            EntryChange::Link { directory, name, inode } => durable(directory, name, Some(inode)),
            EntryChange::Unlink { directory, name } => durable(directory, name, None),
            EntryChange::Rename { from, old, to, new, inode } => {
                durable(from, old, None);
                durable(to, new, Some(inode));
            }
        }
    }

    /// Power loss: of every directory a prefix of its unsynced changes is kept, of every file what
    /// its luck leaves; then only what the root still reaches exists.
    pub fn lose_power(&mut self, random: &Random) {
        let mut changes_of: BTreeMap<InodeId, usize> = BTreeMap::new();
        for directory in self.entry_changes.iter().flat_map(EntryChange::directories) {
            *changes_of.entry(directory).or_default() += 1;
        }
        let mut kept_of: BTreeMap<InodeId, usize> = changes_of
            .into_iter()
            .map(|(directory, changes)| (directory, random.index(changes + 1)))
            .collect();
        for change in std::mem::take(&mut self.entry_changes) {
            let directories = change.directories();
            let kept = directories.iter().all(|directory| kept_of[directory] > 0);
            for directory in directories {
                let left = kept_of.get_mut(&directory).expect("counted above");
                // A change that is lost takes every later one of its directories with it.
                *left = if kept { left.saturating_sub(1) } else { 0 };
            }
            if kept {
                self.commit_entry(change);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.lose_power(random),
                Node::Directory(directory) => directory.current = directory.durable.clone(),
            }
        }
        self.unlinked = true;
        self.forget_unreachable(BTreeSet::new());
    }

    /// Whether something was unlinked since the last `forget_unreachable`.
    pub fn has_unlinked(&self) -> bool {
        self.unlinked
    }

    /// Frees what no directory, no unsynced change and none of `open` refers to.
    pub fn forget_unreachable(&mut self, open: BTreeSet<InodeId>) {
        self.unlinked = false;
        let mut reached = BTreeSet::new();
        let mut next: Vec<InodeId> = open.into_iter().chain([ROOT]).collect();
        next.extend(self.entry_changes.iter().filter_map(|change| match change {
            EntryChange::Link { inode, .. } | EntryChange::Rename { inode, .. } => Some(*inode),
            EntryChange::Unlink { .. } => None,
        }));
        while let Some(inode) = next.pop() {
            if reached.insert(inode)
                && let Some(Node::Directory(directory)) = self.nodes.get(&inode)
            {
                next.extend(directory.current.values().chain(directory.durable.values()));
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    /// The process dies: what it handed over is written, and the kernel lives on.
    pub fn finish_flights(&mut self, random: &Random) {
        for node in self.nodes.values_mut() {
            let Node::File(file) = node else { continue };
            while let Some(operation) = file.in_flight().first().map(|flight| flight.operation) {
                self.changes_made += 1;
                file.finish_write(operation, WriteEnd::Written, self.changes_made, random);
            }
        }
    }

    pub fn touch(&mut self, inode: InodeId, modified: Timestamp) {
        if let Ok(file) = self.file(inode) {
            file.touch(modified);
        }
    }

    /// Bytes taken by files, in whole blocks.
    pub fn used_bytes(&self) -> u64 {
        let lengths = self.nodes.values().map(|node| match node {
            Node::File(file) => file.current().length().next_multiple_of(BLOCK_BYTES as u64),
            Node::Directory(_) => 0,
        });
        lengths.sum()
    }

    /// Puts a file where a test wants it, durable with its directories, whatever was there.
    pub fn put_file(&mut self, path: &Path, bytes: &[u8], modified: Timestamp) -> io::Result<()> {
        self.put_directory(path.parent().unwrap_or(Path::new("/")))?;
        let inode = match self.find_file(path) {
            Ok(inode) => inode,
            Err(_) => {
                let inode = self.create_file(path, modified)?;
                let change = self.entry_changes.pop().expect("just made");
                self.commit_entry(change);
                inode
            }
        };
        let file = self.file(inode)?;
        assert!(file.in_flight().is_empty(), "{} is being written", path.display());
        file.replace(Image::from_bytes(bytes));
        Ok(())
    }

    /// A durable directory, with those above it.
    pub fn put_directory(&mut self, path: &Path) -> io::Result<()> {
        let earlier = self.entry_changes.len();
        self.create_directory_all(path)?;
        for change in self.entry_changes.split_off(earlier) {
            self.commit_entry(change);
        }
        Ok(())
    }

    /// Turns a bit over in both views: the platter rots, not the cache.
    pub fn flip_bit(&mut self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let inode = self.find_file(path)?;
        self.file(inode)?.flip_bit(position, bit);
        Ok(())
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_files(ROOT, "", &mut paths);
        paths
    }

    fn collect_files(&self, inode: InodeId, path: &str, paths: &mut Vec<String>) {
        match self.nodes.get(&inode) {
            Some(Node::File(_)) => paths.push(path.to_string()),
            Some(Node::Directory(directory)) => {
                for (name, inode) in &directory.current {
                    self.collect_files(*inode, &format!("{path}/{name}"), paths);
                }
            }
            None => {}
        }
    }
}

/// The names along a path from the root.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or_else(|| error(libc::EINVAL))?);
            }
            Component::ParentDir | Component::Prefix(_) => return Err(error(libc::EINVAL)),
        }
    }
    Ok(names)
}
