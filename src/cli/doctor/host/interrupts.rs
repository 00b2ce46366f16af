//! Which CPUs the interrupts of disks and network cards come to. Pure: texts to findings.

use super::facts::{Host, Interrupt, Network, parse_list, sum, word};
use super::finding::{Check, Finding};
use std::collections::{BTreeMap, BTreeSet};

const AFFINITY: Check = Check {
    name: "irq-affinity",
    cost: "one CPU does the interrupt work of all shards, and its own shard falls behind the \
        others (Linux, core-api/irq/irq-affinity)",
    change: "stop irqbalance and write a CPU of its own to /proc/irq/N/smp_affinity_list for each \
        queue of DEVICE in /proc/interrupts; a card with one queue: ethtool -L DEVICE combined N",
};
/// Fewer interrupts than this say nothing.
const INTERRUPTS_MIN: u64 = 10_000;

const STEERING: Check = Check {
    name: "receive-steering",
    cost: "with fewer receive queues than CPUs some CPUs do the receive work of the others; RPS \
        shares it out for one interrupt between CPUs per packet burst (Linux, networking/scaling)",
    change: "ethtool -L DEVICE combined N where the card has more queues, else a mask of CPUs into \
        /sys/class/net/DEVICE/queues/rx-*/rps_cpus; measure both ways",
};

pub fn check_networks(host: &Host) -> Vec<Finding> {
    if host.networks.is_empty() {
        return vec![STEERING.unknown()];
    }
    let both = |network: &Network| {
        let affinity = check_affinity(host, &network.name, &network.interrupts);
        [affinity, steering(host, network)]
    };
    host.networks.iter().flat_map(both).collect()
}

pub fn check_affinity(host: &Host, device: &str, interrupts: &[Interrupt]) -> Finding {
    let numbers: BTreeSet<&str> = interrupts.iter().map(|one| one.number.as_str()).collect();
    let by_cpu = count_by_cpu(host.interrupts.as_deref().unwrap_or_default(), &numbers);
    let all = sum(by_cpu.values().copied());
    let most = by_cpu.iter().max_by_key(|(_, count)| **count);
    let Some((cpu, most)) = most else { return AFFINITY.unknown().about(device) };
    let found = format!("CPU {cpu} took {most} of {all}{}", show_allowed(interrupts));
    let is_one_sided = all >= INTERRUPTS_MIN && most.saturating_mul(5) >= all.saturating_mul(4);
    match is_one_sided && cpus_online(host) > 1 {
        true => AFFINITY.advice(found).about(device),
        false => AFFINITY.ok(found).about(device),
    }
}

fn show_allowed(interrupts: &[Interrupt]) -> String {
    let lists: BTreeSet<&str> = interrupts.iter().filter_map(|one| word(&one.cpus)).collect();
    match lists.is_empty() {
        true => String::new(),
        false => format!("; allowed on {}", lists.into_iter().collect::<Vec<_>>().join(" or ")),
    }
}

/// How often each CPU took one of these interrupts since the boot; those that took none are left out.
fn count_by_cpu(table: &str, numbers: &BTreeSet<&str>) -> BTreeMap<usize, u64> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default().split_whitespace();
    let cpus: Vec<usize> = head.filter_map(|cpu| cpu.strip_prefix("CPU")?.parse().ok()).collect();
    let mut by_cpu = BTreeMap::new();
    for (number, counts) in lines.filter_map(|line| line.split_once(':')) {
        if !numbers.contains(number.trim()) {
            continue;
        }
        for (cpu, count) in cpus.iter().zip(counts.split_whitespace()) {
            let all: &mut u64 = by_cpu.entry(*cpu).or_default();
            *all = all.saturating_add(count.parse().unwrap_or(0));
        }
    }
    by_cpu.retain(|_, count| *count > 0);
    by_cpu
}

fn steering(host: &Host, network: &Network) -> Finding {
    let is_on = |mask: &str| mask.chars().any(|digit| !['0', ','].contains(&digit));
    let queues = network.steering.len();
    let steered = network.steering.iter().filter_map(word).filter(|mask| is_on(mask)).count();
    let cpus = cpus_online(host);
    let found = format!("{queues} receive queues, {steered} of them steered; {cpus} CPUs");
    let finding = match (queues, steered) {
        (0, _) => STEERING.unknown(),
        (queues, 0) if queues < cpus => STEERING.advice(found),
        _ => STEERING.ok(found),
    };
    finding.about(&network.name)
}

fn cpus_online(host: &Host) -> usize {
    host.cpus_online.as_deref().and_then(parse_list).map_or(1, |cpus| cpus.len())
}
