//! What a process and its children have used: CPU time and memory, as Linux tells in /proc (man 5 proc). Nothing else.

use std::fs;

use anyhow::{Context as _, Result};

/// Clock ticks a second: Linux shows all of /proc in these, whatever the kernel's own.
const TICKS_PER_S: f64 = 100.0;

/// What a process and its children have used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, in milliseconds; that of children that have ended included.
    pub cpu_ms: f64,
    /// Resident memory, in MiB. What processes share counts for each.
    pub memory_mib: f64,
}

/// What process `pid` has used, and its children theirs.
pub fn usage(pid: u32) -> Result<Usage> {
    let mut usage = of_one(pid)?;
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&children).with_context(|| children)?;
    for child in children.split_whitespace() {
        // One that ends in this moment is missed: of no weight over seconds.
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
    // The second field is the name in parentheses, and may hold anything; from the third on they're numbers.
    let (_, fields) = stat.rsplit_once(") ").context("/proc's stat has changed")?;
    let fields: Vec<f64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    // utime, stime, and those of children waited for.
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
    fn a_process_has_used_something() {
        let before = usage(std::process::id()).unwrap();
        let mut n = 0_u64;
        while usage(std::process::id()).unwrap().cpu_ms <= before.cpu_ms {
            n = n.wrapping_add(1);
        }
        assert!(n > 0 && before.memory_mib > 0.5, "{before:?}");
    }
}
