//! What moves a commit on the data directory's file system and disks. Pure: texts to findings.

use super::facts::{Disk, Host, Mount, find_mount, number, parse_choice, word};
use super::finding::{Check, Finding};
use super::interrupts;
use crate::config::DiskModel;

const FILE_SYSTEM: Check = Check {
    name: "file-system",
    cost: "corelog is tested against power loss on ext4 and XFS only (tests/crash); in memory \
        nothing survives it, and others may move or copy what is written again",
    change: "a data directory on ext4 or XFS, on a disk of its own",
};

const WRITABLE: Check = Check {
    name: "mount-writable",
    cost: "the broker does not start on what it cannot write",
    change: "mount -o remount,rw, after dmesg said why it is read-only",
};

const DISCARD: Check = Check {
    name: "mount-discard",
    cost: "freeing a segment of 32 MiB held up every write for 1-17 ms before it was cut piece by \
        piece; the device is still told while commits wait (perf/README.md)",
    change: "mount -o remount,nodiscard, the same in /etc/fstab, and fstrim.timer for quiet hours",
};

const BARRIER: Check = Check {
    name: "mount-barrier",
    cost: "an acknowledged record may not survive a power loss: the file system does not flush the \
        device's cache (ext4(5))",
    change: "mount -o remount,barrier=1, and without nobarrier in /etc/fstab",
};

const JOURNAL: Check = Check {
    name: "mount-data-journal",
    cost: "every record is written twice, and direct I/O, by which corelog writes, is off \
        (ext4(5))",
    change: "without data=journal in /etc/fstab, then mount again",
};

const ACCESS_TIMES: Check = Check {
    name: "mount-access-times",
    cost: "each read of a segment makes the file system write when that was (mount(8))",
    change: "mount -o remount,noatime, and the same in /etc/fstab",
};

const SYNCHRONOUS: Check = Check {
    name: "mount-sync",
    cost: "every write waits for the device, also those that nobody waits for (mount(8))",
    change: "mount -o remount,async, and without sync in /etc/fstab",
};

const SCHEDULER: Check = Check {
    name: "disk-scheduler",
    cost: "each request is sorted before it goes to a device that needs no order; the kernel \
        itself takes none where a device has several queues (Linux, block/elevator.c)",
    change: "tuning/apply DEVICE, or: echo none > /sys/block/DEVICE/queue/scheduler",
};

const WRITE_CACHE: Check = Check {
    name: "disk-write-cache",
    cost: "each synced commit waits until the cache is written out: 62,000 or, written through \
        it, 84,000 times a second on the test machine (docs/decisions/0002-o-dsync-for-fsync.md)",
    change: "a device with power-loss protection; never write 'write through' into \
        /sys/block/DEVICE/queue/write_cache: without protection records are lost",
};

const ROTATIONAL: Check = Check {
    name: "disk-rotational",
    cost: "a disk of 7,200 turns a minute turns 120 times a second, and a commit waits for one; \
        virtual disks often say that they spin and do not",
    change: "a solid-state disk for the data directory",
};

const QUEUE_DEPTH: Check = Check {
    name: "disk-requests",
    cost: "a shard has up to 512 requests under way; those that the queue has no room for make \
        its kernel thread wait (Linux, ABI/stable/sysfs-block, nr_requests)",
    change: "echo 256 > /sys/block/DEVICE/queue/nr_requests, as far as the device allows",
};
const QUEUE_DEPTH_MIN: u64 = 64;

const MODEL: Check = Check {
    name: "disk-model",
    cost: "unless serve is given a model from elsewhere (--disk-model) or its settings: how long a commit may be, and \
        how many commits and reads are in flight, suits the test machine's disk (tuning/README.md)",
    change: "corelog doctor disk, while no broker runs; serve takes up what it writes",
};

pub fn check(host: &Host) -> Vec<Finding> {
    let mountinfo = host.mountinfo.as_deref().unwrap_or_default();
    let mut findings = match find_mount(mountinfo, &host.data_directory) {
        Some(mount) => check_mount(&mount),
        None => vec![FILE_SYSTEM.unknown()],
    };
    if host.disks.is_empty() {
        findings.extend([SCHEDULER, WRITE_CACHE, ROTATIONAL, QUEUE_DEPTH].map(|one| one.unknown()));
    }
    for disk in &host.disks {
        let all = [scheduler(disk), write_cache(disk), rotational(disk), queue_depth(disk)];
        findings.extend(all.map(|finding| finding.about(&disk.name)));
        findings.push(interrupts::check_affinity(host, &disk.name, &disk.interrupts));
    }
    findings.push(match host.has_disk_model {
        None => MODEL.unknown(),
        Some(true) => MODEL.ok("measured"),
        Some(false) => MODEL.advice(format!("no {} in the data directory", DiskModel::FILE_NAME)),
    });
    findings
}

fn check_mount(mount: &Mount) -> Vec<Finding> {
    let found = format!("{} at {}", mount.kind, mount.point.display());
    let kind = match mount.kind.as_str() {
        "ext4" | "xfs" => FILE_SYSTEM.ok(found),
        "tmpfs" | "ramfs" => FILE_SYSTEM.problem(found),
        _ => FILE_SYSTEM.advice(found),
    };
    // Neither of the two is shown where each access is written down.
    let has_few_times = mount.has("relatime") || mount.has("noatime");
    let access_times = match has_few_times {
        true => ACCESS_TIMES.ok("relatime or noatime"),
        false => ACCESS_TIMES.advice("strictatime"),
    };
    let discard = match mount.has("discard") {
        true => DISCARD.advice("discard"),
        false => DISCARD.ok("no discard"),
    };
    let synchronous = match mount.has("sync") {
        true => SYNCHRONOUS.advice("sync"),
        false => SYNCHRONOUS.ok("no sync"),
    };
    let writable = unless(&WRITABLE, mount, &["ro"]);
    let barrier = unless(&BARRIER, mount, &["nobarrier", "barrier=0"]);
    let journal = unless(&JOURNAL, mount, &["data=journal"]);
    vec![kind, writable, discard, barrier, journal, access_times, synchronous]
}

/// A problem when the mount has one of these options.
fn unless(check: &Check, mount: &Mount, options: &[&str]) -> Finding {
    match options.iter().find(|option| mount.has(option)) {
        Some(option) => check.problem(*option),
        None => check.ok(format!("no {}", options.join(", no "))),
    }
}

fn scheduler(disk: &Disk) -> Finding {
    // Many virtual disks say that they spin; what is below them sorts again.
    let is_virtual = ["vd", "xvd"].iter().any(|start| disk.name.starts_with(start));
    let needs_no_order = word(&disk.rotational) == Some("0") || is_virtual;
    match disk.scheduler.as_deref().and_then(parse_choice) {
        None => SCHEDULER.unknown(),
        Some(choice) if choice != "none" && needs_no_order => SCHEDULER.advice(choice),
        Some(choice) => SCHEDULER.ok(choice),
    }
}

fn write_cache(disk: &Disk) -> Finding {
    match word(&disk.write_cache) {
        None => WRITE_CACHE.unknown(),
        Some("write through") => WRITE_CACHE.ok("write through"),
        Some(mode) => WRITE_CACHE.advice(mode),
    }
}

fn rotational(disk: &Disk) -> Finding {
    match word(&disk.rotational) {
        Some("0") => ROTATIONAL.ok("no"),
        Some("1") => ROTATIONAL.advice("yes"),
        _ => ROTATIONAL.unknown(),
    }
}

fn queue_depth(disk: &Disk) -> Finding {
    match number(&disk.requests) {
        None => QUEUE_DEPTH.unknown(),
        Some(requests) if requests < QUEUE_DEPTH_MIN => QUEUE_DEPTH.advice(requests.to_string()),
        Some(requests) => QUEUE_DEPTH.ok(requests.to_string()),
    }
}
