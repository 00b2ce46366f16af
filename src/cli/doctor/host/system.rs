//! What the kernel allows a broker: its version and io_uring, limits, memory, queues of connections. Pure: texts to
//! findings.

use super::facts::{Host, Text, number, parse_choice, parse_limit, parse_version, sum, word};
use super::finding::{Check, Finding};

const KERNEL: Check = Check {
    name: "kernel",
    cost: "the broker does not start: io_uring has what it needs since Linux 5.10 (README.md)",
    change: "a newer kernel",
};
const KERNEL_MIN: (u32, u32) = (5, 10);

const IO_URING: Check = Check {
    name: "io-uring",
    cost: "the broker does not start: with 1 only the group of kernel.io_uring_group and who has \
        CAP_SYS_ADMIN may use io_uring, with 2 nobody (Linux, admin-guide/sysctl/kernel)",
    change: "sysctl kernel.io_uring_disabled=0, or with 1 the broker's group in \
        kernel.io_uring_group",
};

const LOCKED_MEMORY: Check = Check {
    name: "memlock",
    cost: "rings and their buffers are locked memory: below 512 KiB the broker does not start, \
        and each shard registers 192 KiB (src/runtime/glommio.rs)",
    change: "LimitMEMLOCK= as in tuning/systemd/corelog.service, or ulimit -l",
};
/// glommio makes no executor with less.
const LOCKED_BYTES_MIN: u64 = 512 * 1024;
/// What most distributions give, and what suffices for forty shards.
const LOCKED_BYTES_ADVISED: u64 = 8 * 1024 * 1024;

const OPEN_FILES: Check = Check {
    name: "nofile",
    cost: "half of the hard limit is for segment files, the rest for connections: with fewer, \
        files are closed and opened again and connections wait (src/broker.rs)",
    change: "LimitNOFILE= as in tuning/systemd/corelog.service, or ulimit -Hn",
};
const OPEN_FILES_MIN: u64 = 1024;
const OPEN_FILES_ADVISED: u64 = 65_536;

const HUGE_PAGES: Check = Check {
    name: "transparent-huge-pages",
    cost: "with always, a page fault may stop to compact memory, and memory that was freed in \
        part stays taken (Linux, admin-guide/mm/transhuge)",
    change: "tuning/apply, or: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
};

const SWAP: Check = Check {
    name: "swap",
    cost: "a shard that touches a page in swap stands still for a read of the disk, with all of \
        its connections (Linux, admin-guide/sysctl/vm, swappiness)",
    change: "swapoff -a on a host of its own; else tuning/apply, or: sysctl vm.swappiness=1",
};
const SWAPPINESS_MAX: u64 = 10;

const ACCEPT_QUEUE: Check = Check {
    name: "somaxconn",
    cost: "the broker asks for 4,096 connections that wait to be accepted and gets fewer: when \
        many clients come at once, the others try again after a second (Linux, listen(2))",
    change: "tuning/apply, or: sysctl net.core.somaxconn=4096 before the broker starts",
};
/// As the broker asks for, in `src/broker.rs`.
const ACCEPT_QUEUE_MIN: u64 = 4096;

const SYN_QUEUE: Check = Check {
    name: "tcp-max-syn-backlog",
    cost: "where SYN cookies are off, handshakes beyond it are dropped and tried again after a \
        second (Linux, tcp(7))",
    change: "tuning/apply, or: sysctl net.ipv4.tcp_max_syn_backlog=4096",
};
const SYN_QUEUE_MIN: u64 = 1024;

pub fn check(host: &Host) -> Vec<Finding> {
    vec![
        kernel(host),
        io_uring(host),
        locked_memory(host),
        open_files(host),
        huge_pages(host),
        swap(host),
        at_least(&ACCEPT_QUEUE, &host.somaxconn, ACCEPT_QUEUE_MIN),
        at_least(&SYN_QUEUE, &host.syn_backlog, SYN_QUEUE_MIN),
    ]
}

fn kernel(host: &Host) -> Finding {
    let Some(release) = word(&host.release) else { return KERNEL.unknown() };
    match parse_version(release) {
        None => KERNEL.unknown(),
        Some(version) if version < KERNEL_MIN => KERNEL.problem(release),
        Some(_) => KERNEL.ok(release),
    }
}

/// Kernels before 6.6 have no such switch, and allow it.
fn io_uring(host: &Host) -> Finding {
    match number(&host.io_uring_disabled) {
        None => IO_URING.unknown(),
        Some(0) => IO_URING.ok("allowed"),
        Some(value) => IO_URING.problem(format!("kernel.io_uring_disabled={value}")),
    }
}

fn locked_memory(host: &Host) -> Finding {
    let limit = host.limits.as_deref().and_then(|text| parse_limit(text, "Max locked memory"));
    let Some((soft, _)) = limit else { return LOCKED_MEMORY.unknown() };
    let found = match soft {
        u64::MAX => "unlimited for this shell".to_string(),
        bytes => format!("{} KiB for this shell", bytes / 1024),
    };
    if soft < LOCKED_BYTES_MIN {
        LOCKED_MEMORY.problem(found)
    } else if soft < LOCKED_BYTES_ADVISED {
        LOCKED_MEMORY.advice(found)
    } else {
        LOCKED_MEMORY.ok(found)
    }
}

/// The hard limit counts: the broker raises the soft one to it.
fn open_files(host: &Host) -> Finding {
    let limit = host.limits.as_deref().and_then(|text| parse_limit(text, "Max open files"));
    let Some((_, hard)) = limit else { return OPEN_FILES.unknown() };
    let found = match hard {
        u64::MAX => "unlimited for this shell".to_string(),
        files => format!("{files} for this shell"),
    };
    if hard < OPEN_FILES_MIN {
        OPEN_FILES.problem(found)
    } else if hard < OPEN_FILES_ADVISED {
        OPEN_FILES.advice(found)
    } else {
        OPEN_FILES.ok(found)
    }
}

fn huge_pages(host: &Host) -> Finding {
    match host.huge_pages.as_deref().and_then(parse_choice) {
        Some("always") => HUGE_PAGES.advice("always"),
        Some(choice) => HUGE_PAGES.ok(choice),
        None => HUGE_PAGES.unknown(),
    }
}

fn swap(host: &Host) -> Finding {
    let Some(swaps) = host.swaps.as_deref() else { return SWAP.unknown() };
    let areas: Vec<&str> = swaps.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    if areas.is_empty() {
        return SWAP.ok("none");
    }
    let used_kib = |area: &&str| area.split_whitespace().nth(3)?.parse::<u64>().ok();
    let used_kib = sum(areas.iter().filter_map(used_kib));
    let swappiness = number(&host.swappiness);
    let shown = swappiness.map_or("not visible".to_string(), |value| value.to_string());
    let found = format!("{used_kib} KiB used in {} areas, swappiness {shown}", areas.len());
    match used_kib == 0 && swappiness.is_some_and(|value| value <= SWAPPINESS_MAX) {
        true => SWAP.ok(found),
        false => SWAP.advice(found),
    }
}

fn at_least(check: &Check, text: &Text, min: u64) -> Finding {
    match number(text) {
        None => check.unknown(),
        Some(value) if value < min => check.advice(value.to_string()),
        Some(value) => check.ok(value.to_string()),
    }
}
