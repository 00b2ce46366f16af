//! What a process on this host has used so far, as /proc tells (proc(5)). Main thread only.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The kernel counts CPU time in ticks of so many seconds (sysconf _SC_CLK_TCK is 100 on Linux).
const TICK_SECONDS: f64 = 0.01;
const SECTOR_BYTES: u64 = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    pub cpu_seconds: f64,
    pub memory_bytes: u64,
    pub peak_memory_bytes: u64,
    /// What it made the kernel write to devices; other users' processes do not tell.
    pub device_written_bytes: Option<u64>,
}

/// `None` when there is no such process, or it may not be looked at.
pub fn used(pid: u32) -> Option<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok();
    let written = io.as_deref().and_then(|io| {
        io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
    });
    Some(Used {
        cpu_seconds: (ticks(11)? + ticks(12)?) * TICK_SECONDS,
        memory_bytes: kibibytes("VmRSS:").unwrap_or(0) * 1024,
        peak_memory_bytes: kibibytes("VmHWM:").unwrap_or(0) * 1024,
        device_written_bytes: written,
    })
}

/// Begins the peak of memory anew, where that is allowed.
pub fn reset_peak(pid: u32) {
    // Without it the peak is that of the process's life, which is no less true.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// CPUs that a process may use, as the kernel lists them.
pub fn allowed_cpus(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(|l| l.trim().to_string())
}

/// The process that listens on this port of this host.
pub fn listener(address: &SocketAddr) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    let inodes: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| listening_inode(line, address.port()))
        .collect();
    if !address.ip().is_loopback() && !is_local(address) {
        return None;
    }
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    })
}

fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_ours = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == LISTEN;
    is_ours.then(|| fields.get(9).map(ToString::to_string)).flatten()
}

/// Whether an address is one of this host's: then a socket can be bound to it.
fn is_local(address: &SocketAddr) -> bool {
    std::net::UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// What a block device has done since the host started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    pub name: String,
    pub written_bytes: u64,
    pub writes: u64,
    pub flushes: u64,
}

/// Filesystem and device of the mount that a path lies on.
pub fn mount_of(path: &Path) -> Option<(String, String)> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = mounts.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split_whitespace().nth(4)?;
        let source: Vec<&str> = source.split_whitespace().collect();
        let kind = source.first()?.to_string();
        let device = source.get(1)?.to_string();
        path.starts_with(point).then_some((point.len(), (kind, device)))
    });
    found.max_by_key(|(length, _)| *length).map(|(_, found)| found)
}

/// Counters of a device such as /dev/vda (Linux's Documentation/admin-guide/iostats.rst).
pub fn device(path: &str) -> Option<Device> {
    let path = Path::new(path).canonicalize().ok()?;
    let name = path.file_name()?.to_str()?.to_string();
    let stats = fs::read_to_string("/proc/diskstats").ok()?;
    let line = stats.lines().find(|line| line.split_whitespace().nth(2) == Some(&name))?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(3).filter_map(|field| field.parse().ok()).collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or(0);
    Some(Device {
        name,
        writes: field(4),
        written_bytes: field(6) * SECTOR_BYTES,
        flushes: field(15),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port_and_has_used_something() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = listener(&socket.local_addr().unwrap());
        assert_eq!(pid, Some(std::process::id()));
        let used = used(std::process::id()).unwrap();
        assert!(used.memory_bytes > 0 && used.peak_memory_bytes >= used.memory_bytes);
        assert_eq!(super::used(u32::MAX), None);
        assert!(allowed_cpus(std::process::id()).is_some());
    }

    #[test]
    fn a_folder_lies_on_a_mount() {
        let (kind, _) = mount_of(Path::new("/proc/self")).unwrap();
        assert_eq!(kind, "proc");
        assert_eq!(mount_of(Path::new("/does/not/exist")), None);
    }
}
