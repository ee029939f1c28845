//! Reads the CPU time and memory of a process and its descendants from Linux's /proc (man 5 proc).

use std::fs;

use anyhow::{Context as _, Result};

/// Clock ticks per second, the unit of CPU times in /proc. The kernel's timer may have another frequency.
const TICKS_PER_S: f64 = 100.0;

/// The resource usage of a process and its descendants until now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in milliseconds, including that of children that have ended.
    pub cpu_ms: f64,
    /// Resident memory in MiB. Memory that several processes share is counted once for each process.
    pub memory_mib: f64,
}

/// Returns the usage of process `pid` and its descendants.
pub fn usage(pid: u32) -> Result<Usage> {
    let mut usage = of_one(pid)?;
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&children).with_context(|| children)?;
    for child in children.split_whitespace() {
        // Ignores a child that has ended since the list was read. A measurement takes seconds, so the child's missing CPU time is negligible.
        if let Ok(of_child) = child.parse().map_err(Into::into).and_then(usage_of_child) {
            usage.cpu_ms += of_child.cpu_ms;
            usage.memory_mib += of_child.memory_mib;
        }
    }
    Ok(usage)
}

fn usage_of_child(pid: u32) -> Result<Usage> {
    usage(pid)
}

fn of_one(pid: u32) -> Result<Usage> {
    let stat = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&stat).with_context(|| stat)?;
    // The second field, the name in parentheses, may contain any characters. The fields after it contain no parentheses.
    let (_, fields) = stat.rsplit_once(") ").context("/proc's stat has changed")?;
    let fields: Vec<f64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    // Sums utime, stime, cutime and cstime. The last two are the times of terminated children.
    let ticks: f64 = (14..=17).map(field).sum();
    let pages = field(24);
    Ok(Usage {
        cpu_ms: ticks / TICKS_PER_S * 1000.0,
        memory_mib: pages * 4096.0 / 1_048_576.0,
    })
}

#[cfg(test)]
mod tests {
    use super::usage;

    #[test]
    fn process_usage_reports_cpu_time_and_memory() {
        let before = usage(std::process::id()).unwrap();
        let mut n = 0_u64;
        while usage(std::process::id()).unwrap().cpu_ms <= before.cpu_ms {
            n = n.wrapping_add(1);
        }
        assert!(n > 0 && before.memory_mib > 0.5, "{before:?}");
    }
}
