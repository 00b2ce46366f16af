//! Reads what a host says of itself from below a root: `/`, or a test's folder. Judges nothing, changes nothing, and
//! leaves empty what it cannot read.

use super::facts::{
    Cpu, Disk, Host, IdleState, Interrupt, Mount, Network, Text, find_mount, parse_list,
};
use crate::config::DiskModel;
use std::fs;
use std::path::{Path, PathBuf};

/// How many devices are looked at below one data directory.
const DEVICES_MAX: usize = 64;

/// `data_directory` is absolute and without links, as the mounts of `root` name it.
pub fn read_host(root: &Path, data_directory: &Path) -> Host {
    let at = |path: &str| text(&root.join(path));
    let mountinfo = at("proc/self/mountinfo");
    let mount = mountinfo.as_deref().and_then(|text| find_mount(text, data_directory));
    let cpus_online = at("sys/devices/system/cpu/online");
    let numbers = cpus_online.as_deref().and_then(parse_list).unwrap_or_default();
    let cpus = root.join("sys/devices/system/cpu");
    let data = root.join(data_directory.strip_prefix("/").unwrap_or(data_directory));
    let has_disk_model = data.is_dir().then(|| data.join(DiskModel::FILE_NAME).is_file());
    Host {
        release: at("proc/sys/kernel/osrelease"),
        io_uring_disabled: at("proc/sys/kernel/io_uring_disabled"),
        swappiness: at("proc/sys/vm/swappiness"),
        somaxconn: at("proc/sys/net/core/somaxconn"),
        syn_backlog: at("proc/sys/net/ipv4/tcp_max_syn_backlog"),
        cpuinfo: at("proc/cpuinfo"),
        stat: at("proc/stat"),
        swaps: at("proc/swaps"),
        interrupts: at("proc/interrupts"),
        mountinfo,
        limits: at("proc/self/limits"),
        clock_source: at("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        huge_pages: at("sys/kernel/mm/transparent_hugepage/enabled"),
        cpus_online,
        cpus_isolated: at("sys/devices/system/cpu/isolated"),
        nodes_online: at("sys/devices/system/node/online"),
        cpus: numbers.iter().map(|cpu| read_cpu(&cpus.join(format!("cpu{cpu}")))).collect(),
        wake_latency: fs::read(root.join("dev/cpu_dma_latency")).ok(),
        data_directory: data_directory.to_path_buf(),
        has_disk_model,
        disks: mount.map(|mount| read_disks(root, &mount)).unwrap_or_default(),
        networks: read_networks(root),
    }
}

fn text(path: &Path) -> Text {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names in a folder, in order; none if it cannot be listed.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read_cpu(folder: &Path) -> Cpu {
    let states = folder.join("cpuidle");
    let read_state = |name: &String| IdleState {
        name: text(&states.join(name).join("name")),
        latency_us: text(&states.join(name).join("latency")),
        disabled: text(&states.join(name).join("disable")),
    };
    Cpu {
        governor: text(&folder.join("cpufreq/scaling_governor")),
        driver: text(&folder.join("cpufreq/scaling_driver")),
        idle_states: names(&states).iter().map(read_state).collect(),
    }
}

/// The disks below a mount: those that a volume or an array is made of, or the one that a partition is of.
fn read_disks(root: &Path, mount: &Mount) -> Vec<Disk> {
    let mut pending: Vec<PathBuf> = block_folder(root, mount).into_iter().collect();
    let mut folders = Vec::new();
    for _ in 0..DEVICES_MAX {
        let Some(folder) = pending.pop() else { break };
        let is_partition = folder.join("partition").exists();
        let whole = folder.parent().filter(|_| is_partition).map(Path::to_path_buf);
        let whole = whole.unwrap_or(folder);
        let below = whole.join("slaves");
        match names(&below) {
            names if names.is_empty() => folders.push(whole),
            names => pending.extend(names.iter().filter_map(|name| resolve(&below.join(name)))),
        }
    }
    folders.sort();
    folders.dedup();
    folders.iter().map(|folder| read_disk(root, folder)).collect()
}

/// Where the kernel shows a mount's device. File systems such as btrfs have a number of their own; their source names
/// the device.
fn block_folder(root: &Path, mount: &Mount) -> Option<PathBuf> {
    resolve(&root.join("sys/dev/block").join(&mount.device)).or_else(|| {
        let device = resolve(&root.join(mount.source.strip_prefix('/')?))?;
        resolve(&root.join("sys/class/block").join(device.file_name()?))
    })
}

fn resolve(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

fn read_disk(root: &Path, folder: &Path) -> Disk {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let queue = folder.join("queue");
    Disk {
        name,
        scheduler: text(&queue.join("scheduler")),
        rotational: text(&queue.join("rotational")),
        write_cache: text(&queue.join("write_cache")),
        requests: text(&queue.join("nr_requests")),
        interrupts: read_interrupts(root, folder),
    }
}

/// Those of the nearest device above that has some: the function on the PCI bus that a virtual disk or a
/// controller is of.
fn read_interrupts(root: &Path, folder: &Path) -> Vec<Interrupt> {
    let mut lists = folder.ancestors().map(|above| names(&above.join("msi_irqs")));
    let numbers = lists.find(|numbers| !numbers.is_empty()).unwrap_or_default();
    let read = |number: String| {
        let cpus = text(&root.join("proc/irq").join(&number).join("smp_affinity_list"));
        Interrupt { number, cpus }
    };
    numbers.into_iter().map(read).collect()
}

fn read_networks(root: &Path) -> Vec<Network> {
    let all = root.join("sys/class/net");
    let read = |name: String| {
        // What has no device, as loopback, bridges and tunnels, has no interrupts.
        let device = resolve(&all.join(&name).join("device"))?;
        let queues = all.join(&name).join("queues");
        let receive = names(&queues).into_iter().filter(|queue| queue.starts_with("rx-"));
        let steering = receive.map(|queue| text(&queues.join(queue).join("rps_cpus"))).collect();
        Some(Network { interrupts: read_interrupts(root, &device), steering, name })
    };
    names(&all).into_iter().filter_map(read).collect()
}
