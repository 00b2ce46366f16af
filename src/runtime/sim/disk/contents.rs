//! What is on the simulated disk, in two views: what the running system sees, and what would be left
//! after power loss. The difference between them is the list of changes that were not synced.
//!
//! Pure data: no time, no tasks, no errors by chance. Cloning it is a snapshot.

use super::image::{Extent, Image, SECTOR_BYTES};
use crate::limits::BLOCK_BYTES;
use crate::runtime::DirectoryEntry;
use crate::runtime::sim::random::Random;
use crate::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Component, Path};
use std::rc::Rc;

pub(super) type InodeId = u64;

const ROOT: InodeId = 0;

/// Changes of one file that wait for a sync. At it, the oldest reach the platter by themselves.
const CHANGES_UNSYNCED_MAX: usize = 1024;

/// A change of a file that was made but not synced.
#[derive(Clone)]
enum Change {
    Length { from: u64, to: u64 },
    Write(Extent),
}

/// A write that was submitted and has not completed.
#[derive(Clone)]
pub(super) struct Flight {
    pub operation: u64,
    pub extent: Extent,
    pub sync_on_write: bool,
}

/// How a write ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteEnd {
    Written,
    /// Any part of it is written.
    Failed,
    /// There is no space for it: nothing is written.
    Refused,
}

#[derive(Clone)]
pub(super) struct FileNode {
    /// What reads see.
    current: Image,
    /// What power loss leaves for certain.
    durable: Image,
    /// What leads from `durable` to `current`, each with its number, oldest first.
    unsynced: VecDeque<(u64, Change)>,
    in_flight: Vec<Flight>,
    modified: Timestamp,
}

impl FileNode {
    fn new(modified: Timestamp) -> FileNode {
        let (current, durable) = (Image::default(), Image::default());
        FileNode { current, durable, unsynced: VecDeque::new(), in_flight: Vec::new(), modified }
    }

    pub fn current(&self) -> &Image {
        &self.current
    }

    pub fn in_flight(&self) -> &[Flight] {
        &self.in_flight
    }

    /// Starts a write; what it writes may be seen from here on, in part.
    pub fn start_write(&mut self, flight: Flight, random: &Random) {
        if random.one_in(4) {
            self.current.apply_sectors(&flight.extent, || random.one_in(2));
        }
        self.in_flight.push(flight);
    }

    pub fn finish_write(&mut self, operation: u64, end: WriteEnd, number: u64, random: &Random) {
        let Some(index) = self.in_flight.iter().position(|flight| flight.operation == operation)
        else {
            return;
        };
        let flight = self.in_flight.remove(index);
        let extent = match end {
            WriteEnd::Written => flight.extent,
            WriteEnd::Failed => self.current.mixed(&flight.extent, || random.one_in(2)),
            WriteEnd::Refused => return,
        };
        let grows = extent.end() > self.current.length();
        if grows && (end == WriteEnd::Written || random.one_in(2)) {
            self.change_length(extent.end(), number);
        }
        self.current.apply(&extent);
        if !flight.sync_on_write {
            self.unsynced.push_back((number, Change::Write(extent)));
            self.write_back_excess();
        } else if end == WriteEnd::Written {
            self.commit_write(&extent);
        } else {
            self.durable.apply_sectors(&extent, || random.one_in(2));
        }
    }

    pub fn change_length(&mut self, to: u64, number: u64) {
        let from = self.current.length();
        self.current.resize(to);
        self.unsynced.push_back((number, Change::Length { from, to }));
        self.write_back_excess();
    }

    fn write_back_excess(&mut self) {
        while self.unsynced.len() > CHANGES_UNSYNCED_MAX {
            self.commit_oldest();
        }
    }

    fn commit_oldest(&mut self) {
        match self.unsynced.pop_front() {
            Some((_, Change::Length { to, .. })) => self.durable.resize(to),
            Some((_, Change::Write(extent))) => self.durable.apply(&extent),
            None => {}
        }
    }

    /// Makes durable what `sync` found done when it was called.
    pub fn commit_through(&mut self, number: u64) {
        while self.unsynced.front().is_some_and(|(change, _)| *change <= number) {
            self.commit_oldest();
        }
    }

    /// A sync that failed: any part of what it covered may be on the platter, and what is not counts
    /// as clean, so no later sync writes it ("fsyncgate", https://lwn.net/Articles/752063/).
    pub fn fail_sync(&mut self, number: u64, random: &Random) {
        let mut lengths_kept = random.index(self.unsynced.len() + 1);
        while self.unsynced.front().is_some_and(|(change, _)| *change <= number) {
            match self.unsynced.pop_front() {
                Some((_, Change::Length { to, .. })) if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    self.durable.resize(to);
                }
                Some((_, Change::Write(extent))) => {
                    self.durable.apply_sectors(&extent, || random.one_in(2));
                }
                _ => {}
            }
        }
    }

    /// A write with O_DSYNC is durable, with the length that it needs, when it completes. Older
    /// unsynced writes stay so, but can no longer reach what it wrote.
    fn commit_write(&mut self, extent: &Extent) {
        let shrinks = |(_, change): &(u64, Change)| matches!(change, Change::Length { from, to } if to < from);
        if let Some(last) = self.unsynced.iter().rposition(shrinks) {
            (0..=last).for_each(|_| self.commit_oldest());
        }
        for (number, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length { to, .. } => self.durable.resize(to),
                Change::Write(older) if older.overlaps(extent) => {
                    let rest = older.without(extent).map(|part| (number, Change::Write(part)));
                    self.unsynced.extend(rest);
                }
                Change::Write(_) => self.unsynced.push_back((number, change)),
            }
        }
        self.durable.apply(extent);
    }

    /// Leaves what a power loss leaves, each sector that was not synced by its own luck.
    fn lose_power(&mut self, random: &Random) {
        let luck = Luck::draw(random);
        let lengths = |(_, change): &&(u64, Change)| matches!(change, Change::Length { .. });
        let unsynced_lengths = self.unsynced.iter().filter(lengths).count();
        let mut lengths_kept = match luck {
            Luck::Nothing => 0,
            Luck::Everything => unsynced_lengths,
            _ => random.index(unsynced_lengths + 1),
        };
        for (_, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length { to, .. } if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    self.durable.resize(to);
                }
                Change::Length { .. } => {}
                Change::Write(extent) => luck.write(&mut self.durable, &extent, random),
            }
        }
        for Flight { extent, .. } in std::mem::take(&mut self.in_flight) {
            let grows = extent.end() > self.durable.length();
            if grows && luck.grows(random) {
                self.durable.resize(extent.end());
            }
            luck.write(&mut self.durable, &extent, random);
        }
        self.current = self.durable.clone();
    }
}

/// How one file fares in a power loss.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    WholeWrites,
    /// Each write up to some sector.
    Prefixes,
    /// Of eight sectors, so many are kept.
    Sectors(u64),
}

impl Luck {
    fn draw(random: &Random) -> Luck {
        match random.below(7) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2 => Luck::WholeWrites,
            3 => Luck::Prefixes,
            4 => Luck::Sectors(1),
            5 => Luck::Sectors(4),
            _ => Luck::Sectors(7),
        }
    }

    fn grows(self, random: &Random) -> bool {
        match self {
            Luck::Nothing => false,
            Luck::Everything => true,
            _ => random.one_in(2),
        }
    }

    fn write(self, image: &mut Image, extent: &Extent, random: &Random) {
        match self {
            Luck::Nothing => {}
            Luck::Everything => image.apply(extent),
            Luck::WholeWrites if random.one_in(2) => image.apply(extent),
            Luck::WholeWrites => {}
            Luck::Prefixes => {
                let mut kept = random.index(extent.length / SECTOR_BYTES + 1);
                image.apply_sectors(extent, || {
                    kept = kept.wrapping_sub(1);
                    kept < extent.length
                });
            }
            Luck::Sectors(kept) => image.apply_sectors(extent, || random.below(8) < kept),
        }
    }
}

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
                length: file.current.length(),
                modified: file.modified,
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
            while let Some(flight) = file.in_flight.first() {
                self.changes_made += 1;
                let operation = flight.operation;
                file.finish_write(operation, WriteEnd::Written, self.changes_made, random);
            }
        }
    }

    pub fn touch(&mut self, inode: InodeId, modified: Timestamp) {
        if let Ok(file) = self.file(inode) {
            file.modified = modified;
        }
    }

    /// Bytes taken by files, in whole blocks.
    pub fn used_bytes(&self) -> u64 {
        let lengths = self.nodes.values().map(|node| match node {
            Node::File(file) => file.current.length().next_multiple_of(BLOCK_BYTES as u64),
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
        assert!(file.in_flight.is_empty(), "{} is being written", path.display());
        file.unsynced.clear();
        file.current = Image::from_bytes(bytes);
        file.durable = file.current.clone();
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
        let file = self.file(inode)?;
        file.current.flip_bit(position, bit);
        if position < file.durable.length() {
            file.durable.flip_bit(position, bit);
        }
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
