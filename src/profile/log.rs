//! Slow queries and slow requests as lines on stderr, which the host shows and keeps. `grep SLOW` finds them all.
//!
//! A line never holds a parameter, a password or a line break, whatever came in.

use super::headers::ms;
use super::{RequestProfile, Totals};

/// From when on something is slow, in microseconds. Warning and error thresholds are exceeded, not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A query that took longer is a warning.
    pub query_warn_us: u64,
    /// A query that took longer is an error.
    pub query_error_us: u64,
    /// A request that took longer is a warning.
    pub request_warn_us: u64,
    /// A request that took longer is an error.
    pub request_error_us: u64,
}

impl Default for Thresholds {
    /// Query: 100 and 500 ms. Request: 200 ms and 1 s.
    fn default() -> Self {
        Self {
            query_warn_us: 100_000,
            query_error_us: 500_000,
            request_warn_us: 200_000,
            request_error_us: 1_000_000,
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Worth a look.
    Warning,
    /// Worth a look now.
    Error,
}

impl Level {
    fn of(elapsed_us: u64, warn_us: u64, error_us: u64) -> Option<Self> {
        if elapsed_us > error_us {
            Some(Self::Error)
        } else if elapsed_us > warn_us {
            Some(Self::Warning)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// Writes one line, with the request it belongs to.
pub fn line(level: Level, message: &str, profile: &RequestProfile) {
    eprintln!("{}", render(level, message, profile));
}

/// Reports a statement that took too long; says nothing of one that didn't.
pub fn slow_query(
    name: &str,
    sql: &str,
    elapsed_us: u64,
    thresholds: &Thresholds,
    profile: &RequestProfile,
) {
    if let Some(level) = Level::of(
        elapsed_us,
        thresholds.query_warn_us,
        thresholds.query_error_us,
    ) {
        let sql = one_line(sql, 200);
        let message = format!(
            "SLOW QUERY ({}ms): {name}: {sql} route={}",
            ms(elapsed_us),
            profile.route()
        );
        line(level, &message, profile);
    }
}

/// Reports a request that took too long; says nothing of one that didn't.
pub fn slow_request(totals: &Totals, thresholds: &Thresholds, profile: &RequestProfile) {
    if let Some(level) = Level::of(
        totals.elapsed_us,
        thresholds.request_warn_us,
        thresholds.request_error_us,
    ) {
        let message = format!(
            "SLOW REQUEST: {} - Total: {}ms, Queries: {}, Query Time: {}ms",
            profile.route(),
            ms(totals.elapsed_us),
            totals.query_count,
            ms(totals.query_us)
        );
        line(level, &message, profile);
    }
}

fn render(level: Level, message: &str, profile: &RequestProfile) -> String {
    format!(
        "{} - {} request={}",
        level.name(),
        one_line(message, 1000),
        profile.request_id()
    )
}

/// White space and control characters folded to single spaces, and at most `max_chars` characters of it.
fn one_line(text: &str, max_chars: usize) -> String {
    let mut folded = String::with_capacity(text.len().min(max_chars));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    match folded.char_indices().nth(max_chars) {
        Some((end, _)) => {
            folded.truncate(end);
            folded + "…"
        }
        None => folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_exceeded_not_reached() {
        assert_eq!(Level::of(100, 100, 500), None);
        assert_eq!(Level::of(101, 100, 500), Some(Level::Warning));
        assert_eq!(Level::of(500, 100, 500), Some(Level::Warning));
        assert_eq!(Level::of(501, 100, 500), Some(Level::Error));
    }

    #[test]
    fn a_line_is_one_line_whatever_it_is_made_of() {
        let profile = RequestProfile::start("r1".to_owned());
        let text = render(
            Level::Error,
            "broken\r\nERROR - forged\u{1b}[31m\u{0}x",
            &profile,
        );
        assert_eq!(text, "ERROR - broken ERROR - forged [31m x request=r1");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(one_line("äöü", 2), "äö…");
        assert_eq!(one_line("äöü", 3), "äöü");
        assert_eq!(one_line("  SELECT\n   1 ", 200), "SELECT 1");
    }
}
