//! What processes used, from /proc: a proxy's own time, the whole bench's, and what is left for others.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

/// Clock ticks per second in /proc; Linux shows 100 to programs, whatever the kernel itself counts in.
const TICKS: f64 = 100.0;

/// The fields of /proc/PID/stat behind the name, which may hold spaces and brackets.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(
        rest.split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect(),
    )
}

/// CPU seconds that `pid` used so far, all its threads together.
pub fn process(pid: u32) -> f64 {
    // Behind the name: state is 0, the parent 1; utime and stime are 11 and 12.
    stat(pid).map_or(0.0, |fields| (fields[11] + fields[12]) as f64 / TICKS)
}

/// CPU seconds of this process and everything it started, the dead ones included.
fn ours() -> f64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut used: HashMap<u32, u64> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(fields) = stat(pid) {
            children.entry(fields[1] as u32).or_default().push(pid);
            used.insert(pid, fields[11..15].iter().sum());
        }
    }
    let mut sum = 0;
    let mut open = vec![std::process::id()];
    while let Some(pid) = open.pop() {
        sum += used.get(&pid).copied().unwrap_or(0);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    sum as f64 / TICKS
}

/// CPU seconds the machine spent on processes or lost to its host.
fn machine() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // user, nice, system, steal. Interrupts are charged to nobody.
    [0, 1, 2, 7]
        .iter()
        .map(|&index| fields.get(index).copied().unwrap_or(0))
        .sum::<u64>() as f64
        / TICKS
}

/// Watches what others use while something is measured.
pub struct Watch {
    since: Instant,
    machine: f64,
    ours: f64,
}

impl Watch {
    /// Begins to watch.
    pub fn begin() -> Self {
        Self {
            since: Instant::now(),
            machine: machine(),
            ours: ours(),
        }
    }

    /// How much of one core others used since, 1.0 being a whole core.
    pub fn others(&self) -> f64 {
        let elapsed = self.since.elapsed().as_secs_f64();
        ((machine() - self.machine) - (ours() - self.ours)).max(0.0) / elapsed.max(0.01)
    }
}

/// Resident memory of `pid` in KiB.
pub fn resident(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

/// The processor's name.
pub fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": "))
        .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}
