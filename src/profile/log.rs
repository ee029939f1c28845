//! Logs slow queries and slow requests as lines on stderr, which the host shows and stores. `grep SLOW` finds them all.
//!
//! No line contains a parameter, a password or a line break, even if the request contains line breaks.

use std::io::{Write as _, stderr};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::headers::ms;
use super::{RequestProfile, Totals};

/// The thresholds for log lines. A duration or count that reaches its threshold is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A query that took at least this long is logged as a warning.
    pub query_warn_us: u64,
    /// A query that took at least this long is logged as an error.
    pub query_error_us: u64,
    /// A request that took at least this long is logged as a warning.
    pub request_warn_us: u64,
    /// A request that took at least this long is logged as an error.
    pub request_error_us: u64,
    /// A request that runs a statement with this many different sets of parameters is logged, because it may have an N+1 query.
    pub repeated_query_count: usize,
    /// A request that runs a statement this often with the same parameters is logged.
    pub duplicate_query_count: usize,
}

impl Default for Thresholds {
    /// Returns 100 and 500 ms for queries, 200 ms and 1 s for requests, five repetitions, and two duplicates.
    fn default() -> Self {
        Self {
            query_warn_us: 100_000,
            query_error_us: 500_000,
            request_warn_us: 200_000,
            request_error_us: 1_000_000,
            repeated_query_count: 5,
            duplicate_query_count: 2,
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `WARNING - SLOW QUERY (…ms): … request=…`
    #[default]
    Text,
    /// The same text in a JSON object, with the numbers as members.
    Json,
}

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Needs attention.
    Warning,
    /// Needs attention now.
    Error,
}

impl Level {
    fn of(elapsed_us: u64, warn_us: u64, error_us: u64) -> Option<Self> {
        if elapsed_us >= error_us {
            Some(Self::Error)
        } else if elapsed_us >= warn_us {
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

/// The format of all lines that an instance writes.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Sets the format of lines. Only the first call has an effect. Before that call, the format is text.
pub fn set_log_format(format: LogFormat) {
    let _ = FORMAT.set(format);
}

/// Writes one line with the request's id. `details` are only in the JSON format, because the message contains the same facts.
pub fn line(level: Level, message: &str, profile: &RequestProfile, details: &[(&str, Value)]) {
    let format = FORMAT.get().copied().unwrap_or_default();
    // `eprintln!` would panic if writing to stderr failed.
    let _ = writeln!(
        stderr(),
        "{}",
        render(format, level, message, profile, details)
    );
}

/// Logs a statement if it reached a threshold.
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
        let (sql, route) = (one_line(sql, 200), profile.route());
        let message = format!(
            "SLOW QUERY ({}ms): {name}: {sql} route={route}",
            ms(elapsed_us)
        );
        let details = [
            ("event", "slow_query".into()),
            ("statement", name.into()),
            ("elapsed_us", elapsed_us.into()),
            ("route", route.into()),
        ];
        line(level, &message, profile, &details);
    }
}

/// Logs a finished request if it took too long, repeated a statement too often, or sent more statements than its route may.
pub fn request(totals: &Totals, thresholds: &Thresholds, profile: &RequestProfile) {
    if let Some(level) = Level::of(
        totals.elapsed_us,
        thresholds.request_warn_us,
        thresholds.request_error_us,
    ) {
        let route = profile.route();
        let message = format!(
            "SLOW REQUEST: {route} - Total: {}ms, Queries: {}, Query Time: {}ms",
            ms(totals.elapsed_us),
            totals.query_count,
            ms(totals.query_us)
        );
        let details = [
            ("event", "slow_request".into()),
            ("route", route.into()),
            ("elapsed_us", totals.elapsed_us.into()),
            ("query_count", totals.query_count.into()),
            ("query_us", totals.query_us.into()),
        ];
        line(level, &message, profile, &details);
    }
    if totals.query_count > 1 {
        repetitions(thresholds, profile);
        over_budget(totals, profile);
    }
}

fn repetitions(thresholds: &Thresholds, profile: &RequestProfile) {
    for repetition in profile.repetitions() {
        let (name, route) = (repetition.name, profile.route());
        let (event, count, message) = if repetition.different_count
            >= thresholds.repeated_query_count
        {
            let count = repetition.different_count;
            let message = format!(
                "REPEATED QUERY: {name} ran {count} times in one request (N+1?) route={route}"
            );
            ("repeated_query", count, message)
        } else if repetition.same_count >= thresholds.duplicate_query_count {
            let count = repetition.same_count;
            let message = format!(
                "DUPLICATE QUERY: {name} ran {count} times with the same parameters in one request route={route}"
            );
            ("duplicate_query", count, message)
        } else {
            continue;
        };
        let details = [
            ("event", event.into()),
            ("statement", name.into()),
            ("count", count.into()),
            ("route", route.into()),
        ];
        line(Level::Warning, &message, profile, &details);
    }
}

fn over_budget(totals: &Totals, profile: &RequestProfile) {
    let (count, route) = (totals.query_count, profile.route());
    if let Some(budget) = profile.query_budget().filter(|budget| count > *budget) {
        let message = format!(
            "OVER BUDGET: {count} queries in one request, and its route may take {budget} route={route}"
        );
        let details = [
            ("event", "over_budget".into()),
            ("query_count", count.into()),
            ("query_budget", budget.into()),
            ("route", route.into()),
        ];
        line(Level::Warning, &message, profile, &details);
    }
}

fn render(
    format: LogFormat,
    level: Level,
    message: &str,
    profile: &RequestProfile,
    details: &[(&str, Value)],
) -> String {
    let (level, message) = (level.name(), one_line(message, 1000));
    let request_id = profile.request_id();
    match format {
        LogFormat::Text => format!("{level} - {message} request={request_id}"),
        LogFormat::Json => {
            let mut members = Map::new();
            for (name, value) in [
                ("level", level),
                ("message", &message),
                ("request", request_id),
            ] {
                members.insert(name.to_owned(), value.into());
            }
            for (name, value) in details {
                let value = match value {
                    Value::String(text) => one_line(text, 1000).into(),
                    other => other.clone(),
                };
                members.insert((*name).to_owned(), value);
            }
            Value::Object(members).to_string()
        }
    }
}

/// Folds white space to single spaces, escapes characters that a terminal or a reader could misinterpret, and keeps at most
/// `max_chars` characters.
fn one_line(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars));
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            if is_shown(character) {
                line.push(character);
            } else {
                line.extend(character.escape_unicode());
            }
        }
    }
    match line.char_indices().nth(max_chars) {
        Some((end, _)) => {
            line.truncate(end);
            line + "…"
        }
        None => line,
    }
}

/// Whether a character is shown unescaped. Control characters, such as the CSI of terminals (U+009B), and format characters, such as those that
/// reverse the direction of text (U+202E), are escaped.
fn is_shown(character: char) -> bool {
    !matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_applies_from_its_threshold_on() {
        assert_eq!(Level::of(99, 100, 500), None);
        assert_eq!(Level::of(100, 100, 500), Some(Level::Warning));
        assert_eq!(Level::of(499, 100, 500), Some(Level::Warning));
        assert_eq!(Level::of(500, 100, 500), Some(Level::Error));
    }

    #[test]
    fn a_query_is_either_within_the_target_or_slow() {
        let (target, thresholds) = (crate::profile::Target::default(), Thresholds::default());
        for elapsed_us in [0, 99_999, 100_000, 100_001, 500_000] {
            let level = Level::of(
                elapsed_us,
                thresholds.query_warn_us,
                thresholds.query_error_us,
            );
            assert_eq!(
                target.is_met_by(elapsed_us),
                level.is_none(),
                "{elapsed_us}"
            );
        }
    }

    #[test]
    fn line_breaks_in_a_message_do_not_split_the_log_line() {
        let profile = RequestProfile::start("r1".to_owned());
        let message = "broken\r\nERROR - forged\u{1b}[31m\u{0}x";
        let text = render(LogFormat::Text, Level::Error, message, &profile, &[]);
        assert_eq!(
            text,
            r"ERROR - broken ERROR - forged\u{1b}[31m\u{0}x request=r1"
        );
    }

    #[test]
    fn control_and_format_characters_are_escaped_in_both_formats() {
        let profile = RequestProfile::start("r1".to_owned());
        let forged = "a\u{9b}31m\u{85}b\u{202e}c\u{2028}d\u{200b}e\u{2066}f\u{feff}g\u{7f}h\u{ad}i\u{e0041}j\u{600}k ä 日本 😀";
        for format in [LogFormat::Text, LogFormat::Json] {
            let details = [("table", forged.into())];
            let line = render(format, Level::Warning, forged, &profile, &details);
            let hidden = line
                .chars()
                .find(|c| !is_shown(*c) || c.is_whitespace() && *c != ' ');
            assert_eq!(hidden, None, "{line}");
            assert!(
                line.contains(r"u{9b}31m b") && line.contains(r"u{202e}c d"),
                "{line}"
            );
            assert!(line.contains("k ä 日本 😀"), "{line}");
        }
    }

    #[test]
    fn json_log_lines_are_valid_json() {
        let profile = RequestProfile::start("r1".to_owned());
        let details = [("event", "slow_query".into()), ("elapsed_us", 7.into())];
        let text = render(
            LogFormat::Json,
            Level::Warning,
            "a\n\"b\"",
            &profile,
            &details,
        );
        let line: Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({"level": "WARNING", "message": "a \"b\"", "request": "r1",
            "event": "slow_query", "elapsed_us": 7});
        assert_eq!(line, expected);
        assert!(!text.contains('\n'));
    }

    #[test]
    fn long_text_is_truncated_at_a_character_boundary() {
        assert_eq!(one_line("äöü", 2), "äö…");
        assert_eq!(one_line("äöü", 3), "äöü");
        assert_eq!(one_line("  SELECT\n   1 ", 200), "SELECT 1");
    }
}
