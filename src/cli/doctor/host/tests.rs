//! The checks on made-up texts, and the reader on a made-up `/proc` and `/sys`.

use super::facts::{
    Cpu, Disk, Host, IdleState, Interrupt, Network, find_mount, parse_choice, parse_limit,
    parse_list, parse_version,
};
use super::finding::{Finding, Verdict};
use super::{check, is_sound, read, write_json, write_text};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
    Max open files            1024                 524288               files\n\
    Max locked memory         8388608              unlimited            bytes\n";

const INTERRUPTS: &str = "           CPU0       CPU1\n \
    36:          0    4157155 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0\n \
    38:      20000      10000 PCI-MSIX-0000:00:03.0   1-edge      eth0-0\n\
    NMI:          0          0   Non-maskable interrupts\n";

/// A host with which nothing is wrong.
fn good() -> Host {
    Host {
        release: some("6.12.0-amd64\n"),
        io_uring_disabled: some("0\n"),
        swappiness: some("1\n"),
        somaxconn: some("4096\n"),
        syn_backlog: some("4096\n"),
        cpuinfo: some("processor\t: 0\nflags\t\t: fpu vme\n"),
        stat: some("cpu  100 0 100 9000 0 0 0 0 0 0\ncpu0 1 2 3\n"),
        swaps: some("Filename\tType\tSize\tUsed\tPriority\n"),
        interrupts: some(INTERRUPTS),
        mountinfo: some("27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n"),
        limits: some(LIMITS),
        clock_source: some("tsc\n"),
        huge_pages: some("always [madvise] never\n"),
        cpus_online: some("0-1\n"),
        cpus_isolated: some("1\n"),
        nodes_online: some("0\n"),
        cpus: vec![cpu("performance", "intel_pstate", 2), cpu("performance", "intel_pstate", 2)],
        wake_latency: Some(2_000_000_000_i32.to_ne_bytes().to_vec()),
        data_directory: PathBuf::from("/var/lib/corelog"),
        has_disk_model: Some(true),
        disks: vec![disk()],
        networks: vec![network()],
    }
}

fn cpu(governor: &str, driver: &str, latency_us: u64) -> Cpu {
    let state = IdleState {
        name: some("C1\n"),
        latency_us: Some(format!("{latency_us}\n")),
        disabled: some("0\n"),
    };
    Cpu { governor: some(governor), driver: some(driver), idle_states: vec![state] }
}

fn disk() -> Disk {
    Disk {
        name: "nvme0n1".to_string(),
        scheduler: some("[none] mq-deadline\n"),
        rotational: some("0\n"),
        write_cache: some("write through\n"),
        requests: some("1023\n"),
        interrupts: Vec::new(),
    }
}

fn network() -> Network {
    let interrupt = Interrupt { number: "38".to_string(), cpus: some("0-1\n") };
    let steering = vec![some("0\n"), some("0\n")];
    Network { name: "eth0".to_string(), steering, interrupts: vec![interrupt] }
}

fn mounted(options: &str) -> Option<String> {
    Some(format!("27 1 259:2 / / rw,relatime - ext4 /dev/nvme0n1p2 {options}\n"))
}

fn of<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.name() == name);
    found.unwrap_or_else(|| panic!("no check is named {name}"))
}

/// What one check says of a good host that is changed in one thing.
#[track_caller]
fn verdict(name: &str, expect: Verdict, change: impl FnOnce(&mut Host)) {
    let mut host = good();
    change(&mut host);
    let findings = check(&host);
    let found = of(&findings, name);
    assert_eq!(found.verdict, expect, "{name}: {}", found.found());
    assert_eq!(is_sound(&findings), expect != Verdict::Problem, "{name}");
    let is_needed = matches!(expect, Verdict::Advice | Verdict::Problem);
    assert_eq!(found.remedy().is_some(), is_needed, "{name}");
}

#[test]
fn a_good_host_has_no_findings() {
    let findings = check(&good());
    for finding in &findings {
        let is_told = finding.name() != "irq-affinity" || finding.found().starts_with("eth0");
        let expect = if is_told { Verdict::Ok } else { Verdict::Unknown };
        assert_eq!(finding.verdict, expect, "{}: {}", finding.name(), finding.found());
    }
}

#[test]
fn a_host_that_shows_nothing_is_unknown_and_sound() {
    let findings = check(&Host::default());
    assert!(findings.len() > 20, "{}", findings.len());
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Unknown, "{}", finding.name());
        assert!(finding.found().ends_with("not visible here"));
    }
    assert!(is_sound(&findings));
}

#[test]
fn malformed_texts_are_unknown_or_advice_and_nothing_panics() {
    let huge = "99999999999999999999999";
    for text in ["", "\n", "x", "-1", "[", "]", ":", "a - b", "cpu  1 x", "1-0", "0-9-9", huge] {
        let host = Host {
            release: some(&format!("v{text}")),
            io_uring_disabled: some(text),
            swappiness: some(text),
            somaxconn: some(text),
            syn_backlog: some(text),
            cpuinfo: some(text),
            stat: some(text),
            swaps: some(&format!("head\n{text}\n/swap file {huge} {huge} -2\n")),
            interrupts: some(text),
            mountinfo: some(text),
            limits: some(&format!("Max open files {text}\nMax locked memory {text}\n")),
            clock_source: some(text),
            huge_pages: some(text),
            cpus_online: some(text),
            cpus_isolated: some(text),
            nodes_online: some(text),
            cpus: vec![Cpu { governor: some(text), driver: some(text), idle_states: Vec::new() }],
            wake_latency: Some(text.as_bytes().to_vec()),
            data_directory: PathBuf::from("/data"),
            has_disk_model: Some(false),
            disks: vec![Disk { name: "sda".to_string(), scheduler: some(text), ..disk() }],
            networks: vec![Network { steering: vec![some(text)], ..network() }],
        };
        assert!(is_sound(&check(&host)), "{text:?}");
    }
}

#[test]
fn what_the_kernel_allows_is_judged() {
    verdict("kernel", Verdict::Problem, |host| host.release = some("5.4.0-generic\n"));
    verdict("kernel", Verdict::Ok, |host| host.release = some("5.10.0\n"));
    verdict("io-uring", Verdict::Problem, |host| host.io_uring_disabled = some("2\n"));
    verdict("io-uring", Verdict::Unknown, |host| host.io_uring_disabled = None);
    let locked = |soft: &str| Some(LIMITS.replace("8388608", soft));
    verdict("memlock", Verdict::Problem, |host| host.limits = locked("65536"));
    verdict("memlock", Verdict::Advice, |host| host.limits = locked("1048576"));
    verdict("memlock", Verdict::Ok, |host| host.limits = locked("unlimited"));
    let files = |hard: &str| Some(LIMITS.replace("524288", hard));
    verdict("nofile", Verdict::Problem, |host| host.limits = files("512"));
    verdict("nofile", Verdict::Advice, |host| host.limits = files("4096"));
    verdict("somaxconn", Verdict::Advice, |host| host.somaxconn = some("128\n"));
    verdict("tcp-max-syn-backlog", Verdict::Advice, |host| host.syn_backlog = some("128\n"));
    let always = "[always] madvise never\n";
    verdict("transparent-huge-pages", Verdict::Advice, |host| host.huge_pages = some(always));
}

#[test]
fn swap_is_judged_by_use_and_swappiness() {
    let head = "Filename\tType\tSize\tUsed\tPriority\n";
    let area = |used: u64| Some(format!("{head}/dev/sda2 partition 8388604 {used} -2\n"));
    verdict("swap", Verdict::Ok, |host| host.swaps = area(0));
    verdict("swap", Verdict::Advice, |host| host.swaps = area(4));
    verdict("swap", Verdict::Advice, |host| {
        host.swaps = area(0);
        host.swappiness = some("60\n");
    });
}

#[test]
fn cpus_are_judged() {
    let governed = |governor: &str, driver: &str| vec![cpu(governor, driver, 2)];
    verdict("cpu-governor", Verdict::Advice, |host| {
        host.cpus = governed("schedutil", "acpi-cpufreq");
    });
    verdict("cpu-governor", Verdict::Problem, |host| {
        host.cpus = governed("powersave", "acpi-cpufreq");
    });
    verdict("cpu-governor", Verdict::Advice, |host| {
        host.cpus = governed("powersave", "intel_pstate");
    });
    verdict("cpu-idle-states", Verdict::Advice, |host| {
        host.cpus = vec![cpu("performance", "intel_pstate", 133)];
    });
    verdict("cpu-idle-states", Verdict::Unknown, |host| {
        // Some process allows CPUs no more than 10 us.
        host.cpus = vec![cpu("performance", "intel_pstate", 133)];
        host.wake_latency = Some(10_i32.to_ne_bytes().to_vec());
    });
    verdict("clock-source", Verdict::Problem, |host| host.clock_source = some("hpet\n"));
    verdict("clock-source", Verdict::Advice, |host| host.clock_source = some("xen\n"));
    verdict("isolated-cpus", Verdict::Advice, |host| host.cpus_isolated = some("\n"));
    verdict("numa-nodes", Verdict::Advice, |host| host.nodes_online = some("0-1\n"));
    verdict("virtual-machine", Verdict::Advice, |host| {
        host.cpuinfo = some("flags\t\t: fpu hypervisor\n");
    });
    let stolen = |ticks: u64| Some(format!("cpu  0 0 0 {} 0 0 0 {ticks} 0 0\n", 1000 - ticks));
    verdict("steal-time", Verdict::Ok, |host| host.stat = stolen(4));
    verdict("steal-time", Verdict::Advice, |host| host.stat = stolen(5));
    verdict("steal-time", Verdict::Problem, |host| host.stat = stolen(50));
}

#[test]
fn file_systems_and_their_options_are_judged() {
    let on = |kind: &str| Some(format!("1 0 0:9 / / rw,relatime - {kind} none rw\n"));
    verdict("file-system", Verdict::Problem, |host| host.mountinfo = on("tmpfs"));
    verdict("file-system", Verdict::Advice, |host| host.mountinfo = on("btrfs"));
    verdict("mount-writable", Verdict::Problem, |host| host.mountinfo = mounted("ro"));
    verdict("mount-discard", Verdict::Advice, |host| host.mountinfo = mounted("rw,discard"));
    verdict("mount-barrier", Verdict::Problem, |host| host.mountinfo = mounted("rw,nobarrier"));
    verdict("mount-barrier", Verdict::Problem, |host| host.mountinfo = mounted("rw,barrier=0"));
    verdict("mount-sync", Verdict::Advice, |host| host.mountinfo = mounted("rw,sync"));
    verdict("mount-data-journal", Verdict::Problem, |host| {
        host.mountinfo = mounted("rw,data=journal");
    });
    verdict("mount-access-times", Verdict::Advice, |host| {
        host.mountinfo = some("27 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
    });
}

#[test]
fn disks_are_judged() {
    let scheduled = |name: &str, rotational: &str| Disk {
        name: name.to_string(),
        scheduler: some("none [mq-deadline]\n"),
        rotational: some(rotational),
        ..disk()
    };
    verdict("disk-scheduler", Verdict::Advice, |host| host.disks = vec![scheduled("sda", "0")]);
    verdict("disk-scheduler", Verdict::Advice, |host| host.disks = vec![scheduled("vda", "1")]);
    verdict("disk-scheduler", Verdict::Ok, |host| host.disks = vec![scheduled("sda", "1")]);
    verdict("disk-model", Verdict::Advice, |host| host.has_disk_model = Some(false));
    verdict("disk-rotational", Verdict::Advice, |host| host.disks[0].rotational = some("1"));
    verdict("disk-requests", Verdict::Advice, |host| host.disks[0].requests = some("31"));
    verdict("disk-write-cache", Verdict::Advice, |host| {
        host.disks[0].write_cache = some("write back\n");
    });
    let mut host = good();
    host.disks = vec![scheduled("sda", "0")];
    let findings = check(&host);
    let (_, change) = of(&findings, "disk-scheduler").remedy().unwrap();
    assert!(change.contains("/sys/block/sda/queue/scheduler"), "{change}");
}

#[test]
fn interrupts_on_one_cpu_are_found() {
    verdict("irq-affinity", Verdict::Advice, |host| {
        let interrupt = Interrupt { number: "36".to_string(), cpus: some("0-1\n") };
        host.disks[0].interrupts = vec![interrupt];
    });
    verdict("receive-steering", Verdict::Advice, |host| {
        host.networks[0].steering = vec![some("0\n")];
    });
    verdict("receive-steering", Verdict::Ok, |host| {
        host.networks[0].steering = vec![some("00000000,00000003\n")];
    });
}

#[test]
fn texts_are_taken_apart() {
    assert_eq!(parse_list("0-2,5\n"), Some(BTreeSet::from([0, 1, 2, 5])));
    assert_eq!(parse_list("\n"), Some(BTreeSet::new()));
    for list in ["x", "0-", "0-99999999", "-1", "1,a"] {
        assert_eq!(parse_list(list), None, "{list}");
    }
    assert_eq!(parse_choice("none [mq-deadline] bfq\n"), Some("mq-deadline"));
    assert_eq!(parse_choice("none\n"), Some("none"));
    assert_eq!((parse_choice("a b"), parse_choice("[a"), parse_choice("")), (None, None, None));
    assert_eq!(parse_limit(LIMITS, "Max locked memory"), Some((8_388_608, u64::MAX)));
    assert_eq!(parse_limit(LIMITS, "Max processes"), None);
    assert_eq!(parse_version("6.18.44-fc"), Some((6, 18)));
    assert_eq!(parse_version("six"), None);
}

#[test]
fn the_mount_nearest_above_is_found_and_a_later_one_hides_an_earlier() {
    let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 8:2 / /data rw,noatime shared:1 master:2 - xfs /dev/sdb rw,attr2\n\
        3 1 8:3 / /with\\040space rw - ext4 /dev/sdc rw\n\
        4 1 8:4 / /data rw - ext4 /dev/sdd rw\n\
        broken line\n";
    let device = |path: &str| find_mount(table, Path::new(path)).map(|mount| mount.device);
    assert_eq!(device("/data/corelog"), some("8:4"));
    assert_eq!(device("/database"), some("8:1"));
    assert_eq!(device("/with space/x"), some("8:3"));
    assert_eq!(device("relative"), None);
}

#[test]
fn findings_are_shown_as_text_and_as_lines_of_json() {
    let mut host = good();
    host.huge_pages = some("[always] madvise never\n");
    let findings = check(&host);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    write_text(&mut text, &findings).unwrap();
    write_json(&mut json, &findings).unwrap();
    let (text, json) = (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap());
    assert!(text.starts_with("check "), "{text}");
    assert!(text.contains("\ntransparent-huge-pages, advice: always\n  cost: "), "{text}");
    assert!(text.contains("\n  change: tuning/apply"), "{text}");
    let lines = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), findings.len());
    let line = lines.iter().find(|line| line["subject"] == "transparent-huge-pages").unwrap();
    assert_eq!(line["verdict"].as_str(), Some("advice"));
    assert_eq!(line["sound"].as_bool(), Some(true));
    assert!(line["cost"].is_string() && line["change"].is_string());
}

/// A folder that is made to look like a root.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Root {
        Root { folder: tempfile::tempdir().unwrap() }
    }

    /// As the kernel resolves it, so that what the reader finds has the same beginning.
    fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(self.path().join(target), path).unwrap();
    }

    fn read(&self) -> Host {
        read::read_host(&self.path(), Path::new("/data/corelog"))
    }
}

#[test]
fn an_empty_root_is_read_as_nothing() {
    let host = Root::new().read();
    assert!(host.cpus.is_empty() && host.disks.is_empty() && host.networks.is_empty());
    assert!(check(&host).iter().all(|finding| finding.verdict == Verdict::Unknown));
}

#[test]
fn a_model_of_the_disk_is_seen_in_the_data_directory() {
    let root = Root::new();
    root.write("data/corelog/metadata.log", "");
    assert_eq!(root.read().has_disk_model, Some(false));
    let findings = check(&root.read());
    let found = of(&findings, "disk-model").found();
    assert_eq!(found, "no disk-model.toml in the data directory", "it may be elsewhere");
    root.write("data/corelog/disk-model.toml", "");
    assert_eq!(root.read().has_disk_model, Some(true));
}

#[test]
fn a_partition_is_read_as_its_disk_with_its_interrupts() {
    let root = Root::new();
    let disk = "sys/devices/pci0/virtio1/block/vda";
    root.write("proc/self/mountinfo", "1 0 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n");
    root.write(&format!("{disk}/queue/scheduler"), "[none]\n");
    root.write(&format!("{disk}/queue/nr_requests"), "256\n");
    root.write(&format!("{disk}/vda1/partition"), "1\n");
    root.write("sys/devices/pci0/msi_irqs/36", "msix\n");
    root.write("proc/irq/36/smp_affinity_list", "0-1\n");
    root.link(&format!("{disk}/vda1"), "sys/dev/block/254:1");
    let host = root.read();
    assert_eq!(host.disks.len(), 1);
    let disk = &host.disks[0];
    assert_eq!((disk.name.as_str(), disk.requests.as_deref()), ("vda", Some("256\n")));
    assert_eq!(disk.rotational, None);
    assert_eq!((disk.interrupts.len(), disk.interrupts[0].number.as_str()), (1, "36"));
    assert_eq!(disk.interrupts[0].cpus, some("0-1\n"));
}

#[test]
fn a_volume_is_read_as_the_disks_below_it() {
    let root = Root::new();
    root.write("proc/self/mountinfo", "1 0 0:40 / / rw,relatime - btrfs /dev/md0 rw\n");
    root.write("dev/md0", "");
    root.write("sys/devices/virtual/block/md0/queue/scheduler", "none\n");
    for name in ["sda", "sdb"] {
        let disk = format!("sys/devices/pci0/block/{name}");
        root.write(&format!("{disk}/{name}1/partition"), "1\n");
        root.write(&format!("{disk}/queue/rotational"), "0\n");
        let part = format!("{disk}/{name}1");
        root.link(&part, &format!("sys/devices/virtual/block/md0/slaves/{name}1"));
    }
    root.link("sys/devices/virtual/block/md0", "sys/class/block/md0");
    let host = root.read();
    let names: Vec<&str> = host.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda", "sdb"]);
}

#[test]
fn cpus_and_network_cards_are_read() {
    let root = Root::new();
    root.write("sys/devices/system/cpu/online", "0-1\n");
    root.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n");
    root.write("sys/devices/system/cpu/cpu1/cpuidle/state1/latency", "133\n");
    root.write("sys/devices/pci0/net/eth0/queues/rx-0/rps_cpus", "3\n");
    root.write("sys/devices/pci0/net/eth0/queues/tx-0/xps_cpus", "3\n");
    root.write("sys/devices/virtual/net/lo/queues/rx-0/rps_cpus", "0\n");
    root.link("sys/devices/pci0", "sys/devices/pci0/net/eth0/device");
    root.link("sys/devices/pci0/net/eth0", "sys/class/net/eth0");
    root.link("sys/devices/virtual/net/lo", "sys/class/net/lo");
    let host = root.read();
    assert_eq!(host.cpus.len(), 2);
    assert_eq!(host.cpus[1].governor, some("performance\n"));
    assert_eq!(host.cpus[1].idle_states[0].latency_us, some("133\n"));
    assert_eq!(host.networks.len(), 1);
    assert_eq!(host.networks[0].name, "eth0");
    assert_eq!(host.networks[0].steering, [some("3\n")]);
}
