//! The requirement for the durations of queries. No other module of the component compares a duration with the requirement.

use std::fmt;

/// The requirement: `percent` of the queries take less than `limit_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The limit in microseconds, which is a whole number of milliseconds.
    pub limit_us: u64,
    /// How many of 100 queries must be under the limit.
    pub percent: u32,
}

impl Target {
    /// Whether a query of this duration is within the target. A query that takes exactly the limit is not within the target.
    #[must_use]
    pub fn is_met_by(self, elapsed_us: u64) -> bool {
        elapsed_us < self.limit_us
    }
}

impl Default for Target {
    /// 95 % of the queries take less than 100 ms.
    fn default() -> Self {
        Self {
            limit_us: 100_000,
            percent: 95,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit_ms, percent) = (self.limit_us / 1000, self.percent);
        let suffix = match (percent / 10 % 10, percent % 10) {
            (1, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        write!(f, "< {limit_ms}ms per query ({percent}{suffix} percentile)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_takes_exactly_the_limit_misses_the_target() {
        let target = Target::default();
        assert!(target.is_met_by(99_999));
        assert!(!target.is_met_by(100_000));
        assert!(!target.is_met_by(u64::MAX));
    }

    #[test]
    fn the_target_is_shown_with_an_ordinal_number() {
        let shown = |percent| {
            let target = Target {
                limit_us: 2_500_000,
                percent,
            };
            target.to_string()
        };
        assert_eq!(
            Target::default().to_string(),
            "< 100ms per query (95th percentile)"
        );
        for (percent, ordinal) in [
            (1, "1st"),
            (3, "3rd"),
            (11, "11th"),
            (12, "12th"),
            (50, "50th"),
            (92, "92nd"),
            (100, "100th"),
        ] {
            let text = format!("< 2500ms per query ({ordinal} percentile)");
            assert_eq!(shown(percent), text);
        }
    }
}
