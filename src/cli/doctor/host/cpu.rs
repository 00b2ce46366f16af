//! What moves a shard on its CPU: clock, idle states, isolation, memory nodes, the hypervisor. Pure: texts to findings.

use super::facts::{Cpu, Host, number, parse_list, sum, word};
use super::finding::{Check, Finding};
use std::collections::BTreeSet;

const GOVERNOR: Check = Check {
    name: "cpu-governor",
    cost: "a shard that slept begins its work at a low clock, which is raised only under load \
        (Linux, admin-guide/pm/cpufreq)",
    change: "tuning/apply, or: cpupower frequency-set -g performance",
};

const IDLE_STATES: Check = Check {
    name: "cpu-idle-states",
    cost: "the first request after a pause waits until its CPU has woken, as long as the kernel's \
        own figure says (cpuidle/state*/latency)",
    change: "cpupower idle-set -D 20, or the kernel's parameter intel_idle.max_cstate=1 \
        (processor.max_cstate=1 on AMD); costs power and turbo clock",
};
/// The shallow states wake within this.
const WAKE_LATENCY_US_MAX: u64 = 20;

const CLOCK_SOURCE: Check = Check {
    name: "clock-source",
    cost: "each reading of the clock is a system call and reads a slow device, where tsc and the \
        clocks of KVM and Hyper-V are read in user space (Linux, arch/x86/entry/vdso)",
    change: "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource; if it is \
        not in available_clocksource there, dmesg says why",
};

const ISOLATION: Check = Check {
    name: "isolated-cpus",
    cost: "other processes run on the shards' CPUs too, and a shard waits for its turn while they \
        do (Linux, sched(7))",
    change: "CPUAffinity= in tuning/systemd/corelog.service and in the units of the others, or the \
        kernel's parameter isolcpus=",
};

const NODES: Check = Check {
    name: "numa-nodes",
    cost: "memory of another node is slower to reach, also for the network's and the disk's \
        interrupts (Linux, numa(7))",
    change: "one broker for each node, under numactl --cpunodebind=N --membind=N, on the node of \
        its network card and disk",
};

const HYPERVISOR: Check = Check {
    name: "virtual-machine",
    cost: "interrupts, timers and page faults cost their host as well, so figures of bare hosts do \
        not hold (perf/README.md, rolls and retention: page faults took a shard 10-20 ms)",
    change: "a bare host, or CPUs and memory that the machine has for itself",
};

const STEAL: Check = Check {
    name: "steal-time",
    cost: "the host ran something else while a CPU had work, and every shard on it stood still \
        (Linux, proc_stat(5))",
    change: "a machine with dedicated CPUs, or fewer machines on this host",
};
/// Thousandths of all CPU time since the boot.
const STEAL_ADVICE: u64 = 5;
const STEAL_PROBLEM: u64 = 50;

pub fn check(host: &Host) -> Vec<Finding> {
    vec![
        governor(host),
        idle_states(host),
        clock_source(host),
        isolation(host),
        nodes(host),
        hypervisor(host),
        steal(host),
    ]
}

fn governor(host: &Host) -> Finding {
    let all: BTreeSet<&str> = host.cpus.iter().filter_map(|cpu| word(&cpu.governor)).collect();
    let found = all.into_iter().collect::<Vec<_>>().join(", ");
    if found.is_empty() {
        GOVERNOR.unknown()
    } else if host.cpus.iter().any(is_held_low) {
        GOVERNOR.problem(format!("{found}: CPUs are held at their lowest clock"))
    } else if found == "performance" {
        GOVERNOR.ok(found)
    } else {
        GOVERNOR.advice(found)
    }
}

/// Two drivers choose the clock themselves under that name; with any other it is the lowest.
fn is_held_low(cpu: &Cpu) -> bool {
    let driver = word(&cpu.driver).unwrap_or_default();
    let chooses = ["intel_pstate", "amd-pstate-epp"].contains(&driver);
    word(&cpu.governor) == Some("powersave") && !driver.is_empty() && !chooses
}

fn idle_states(host: &Host) -> Finding {
    let limit_us = host.wake_latency.as_deref().and_then(parse_wake_latency);
    let states = host.cpus.iter().flat_map(|cpu| &cpu.idle_states);
    let known = states.filter_map(|state| Some((number(&state.latency_us)?, state)));
    let allowed = known.filter(|(latency_us, state)| {
        let is_enabled = number(&state.disabled).unwrap_or(0) == 0;
        is_enabled && limit_us.is_none_or(|limit_us| *latency_us <= limit_us)
    });
    let deepest = allowed.max_by_key(|(latency_us, _)| *latency_us);
    let Some((latency_us, state)) = deepest else { return IDLE_STATES.unknown() };
    let name = word(&state.name).unwrap_or("a state without a name");
    let found = format!("{name} is the deepest allowed: {latency_us} us to wake");
    match latency_us > WAKE_LATENCY_US_MAX {
        true => IDLE_STATES.advice(found),
        false => IDLE_STATES.ok(found),
    }
}

/// Microseconds that some process lets a CPU take to wake.
fn parse_wake_latency(bytes: &[u8]) -> Option<u64> {
    let bytes: [u8; 4] = bytes.try_into().ok()?;
    u64::try_from(i32::from_ne_bytes(bytes)).ok()
}

fn clock_source(host: &Host) -> Finding {
    let Some(name) = word(&host.clock_source) else { return CLOCK_SOURCE.unknown() };
    match name {
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter" => {
            CLOCK_SOURCE.ok(name)
        }
        "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" => CLOCK_SOURCE.problem(name),
        _ => CLOCK_SOURCE.advice(name),
    }
}

fn isolation(host: &Host) -> Finding {
    match host.cpus_isolated.as_deref().map(str::trim) {
        None => ISOLATION.unknown(),
        Some("") => ISOLATION.advice("none"),
        Some(list) => ISOLATION.ok(format!("{list}; no shard runs there unless --cpus names them")),
    }
}

fn nodes(host: &Host) -> Finding {
    let nodes = host.nodes_online.as_deref().and_then(parse_list);
    match nodes.map_or(0, |nodes| nodes.len()) {
        0 => NODES.unknown(),
        1 => NODES.ok("1"),
        several => NODES.advice(several.to_string()),
    }
}

fn hypervisor(host: &Host) -> Finding {
    let cpuinfo = host.cpuinfo.as_deref().unwrap_or_default();
    // Other architectures than x86 do not tell it there.
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    let Some(flags) = flags else { return HYPERVISOR.unknown() };
    match flags.split_whitespace().any(|flag| flag == "hypervisor") {
        true => HYPERVISOR.advice("yes"),
        false => HYPERVISOR.ok("no"),
    }
}

fn steal(host: &Host) -> Finding {
    let Some(share) = host.stat.as_deref().and_then(parse_steal) else { return STEAL.unknown() };
    let found = format!("{}.{} % of all CPU time since the boot", share / 10, share % 10);
    if share >= STEAL_PROBLEM {
        STEAL.problem(found)
    } else if share >= STEAL_ADVICE {
        STEAL.advice(found)
    } else {
        STEAL.ok(found)
    }
}

/// Thousandths of all time that the host ran something else. The two times of guests that follow are within
/// the first two.
fn parse_steal(stat: &str) -> Option<u64> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks = line.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks.collect::<Option<Vec<u64>>>()?;
    let stolen = *ticks.get(7)?;
    stolen.saturating_mul(1000).checked_div(sum(ticks.iter().copied()))
}
