//! What a host says of itself: the texts of its files, and how they are taken apart. Reads no file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file's text; `None` where the file is missing or cannot be read.
pub type Text = Option<String>;

/// The texts of one host, named after their files.
#[derive(Debug, Default)]
pub struct Host {
    /// `kernel/osrelease` below `/proc/sys`, as the next four.
    pub release: Text,
    pub io_uring_disabled: Text,
    pub swappiness: Text,
    pub somaxconn: Text,
    pub syn_backlog: Text,
    /// `/proc/cpuinfo`, as the next four.
    pub cpuinfo: Text,
    pub stat: Text,
    pub swaps: Text,
    pub interrupts: Text,
    pub mountinfo: Text,
    /// `/proc/self/limits`: those of this process.
    pub limits: Text,
    pub clock_source: Text,
    pub huge_pages: Text,
    pub cpus_online: Text,
    pub cpus_isolated: Text,
    pub nodes_online: Text,
    pub cpus: Vec<Cpu>,
    /// `/dev/cpu_dma_latency`: four bytes, the host's own order.
    pub wake_latency: Option<Vec<u8>>,
    /// Absolute and without links.
    pub data_directory: PathBuf,
    /// Whether `corelog doctor disk` left its model there; `None` where the directory cannot be seen.
    pub has_disk_model: Option<bool>,
    /// Those that the data directory lies on.
    pub disks: Vec<Disk>,
    /// Network interfaces with a device behind them.
    pub networks: Vec<Network>,
}

#[derive(Debug, Default)]
pub struct Cpu {
    pub governor: Text,
    pub driver: Text,
    pub idle_states: Vec<IdleState>,
}

#[derive(Debug, Default)]
pub struct IdleState {
    pub name: Text,
    pub latency_us: Text,
    pub disabled: Text,
}

#[derive(Debug, Default)]
pub struct Disk {
    pub name: String,
    pub scheduler: Text,
    pub rotational: Text,
    pub write_cache: Text,
    pub requests: Text,
    pub interrupts: Vec<Interrupt>,
}

#[derive(Debug, Default)]
pub struct Network {
    pub name: String,
    /// `rps_cpus` of each receive queue.
    pub steering: Vec<Text>,
    pub interrupts: Vec<Interrupt>,
}

#[derive(Debug, Default)]
pub struct Interrupt {
    pub number: String,
    /// `smp_affinity_list`.
    pub cpus: Text,
}

/// The file system that a directory lies on (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// `MAJOR:MINOR`.
    pub device: String,
    pub point: PathBuf,
    pub kind: String,
    pub source: String,
    /// Of the mount and of its superblock.
    pub options: Vec<String>,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }
}

/// The mount that holds `directory`, which is absolute and without links.
pub fn find_mount(mountinfo: &str, directory: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(parse_mount);
    let around = mounts.filter(|mount| directory.starts_with(&mount.point));
    // Of two at one place the later one hides the other, and is what this finds.
    around.max_by_key(|mount| mount.point.components().count())
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (device, _root) = (before.next()?, before.next()?);
    let (point, options) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, source) = (after.next()?, after.next()?);
    let all = options.split(',').chain(after.next().unwrap_or_default().split(','));
    Some(Mount {
        device: device.to_string(),
        point: PathBuf::from(unescape(point)),
        kind: kind.to_string(),
        source: unescape(source),
        options: all.map(str::to_string).collect(),
    })
}

fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

/// A text of one word or line, without the space around it; `None` when that is all there is.
pub fn word(text: &Text) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|word| !word.is_empty())
}

pub fn number(text: &Text) -> Option<u64> {
    word(text)?.parse().ok()
}

/// The choice in brackets, `b` of `a [b] c`; a lone word is the choice.
pub fn parse_choice(text: &str) -> Option<&str> {
    match text.split_once('[') {
        Some((_, rest)) => rest.split_once(']').map(|(choice, _)| choice),
        None => Some(text.trim()).filter(|word| !word.is_empty() && !word.contains(' ')),
    }
}

/// The highest number that a list of CPUs or nodes may hold.
const LIST_NUMBER_MAX: usize = 65_535;

/// What a list such as `0-3,8` names; `None` when it is malformed.
pub fn parse_list(list: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if last > LIST_NUMBER_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Soft and hard value of a limit of `/proc/self/limits`; `u64::MAX` is unlimited.
pub fn parse_limit(limits: &str, name: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_whitespace().map(|value| match value {
        "unlimited" => Some(u64::MAX),
        value => value.parse().ok(),
    });
    Some((values.next()??, values.next()??))
}

/// `(6, 18)` of `6.18.44-fc`.
pub fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A sum that malformed numbers do not overflow.
pub fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
