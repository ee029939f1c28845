//! Formats a request's profile as response headers. The module does no I/O.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{RequestProfile, Totals};

const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const X_QUERY_COUNT: HeaderName = HeaderName::from_static("x-query-count");
const X_QUERY_TIME: HeaderName = HeaderName::from_static("x-query-time");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The headers that a response may get, so that CORS can expose them.
pub const HEADERS: [HeaderName; 5] = [
    X_PROCESS_TIME,
    X_QUERY_COUNT,
    X_QUERY_TIME,
    X_REQUEST_ID,
    SERVER_TIMING,
];

/// The maximum number of statements in `Server-Timing`, because headers have size limits.
const MOST_STATEMENTS: usize = 50;

/// Sets the profiling headers and replaces those that the handler set. Unless `visible`, sets only the request's id.
pub fn insert(headers: &mut HeaderMap, profile: &RequestProfile, totals: &Totals, visible: bool) {
    let mut all = vec![(X_REQUEST_ID, profile.request_id().to_owned())];
    if visible {
        all.extend([
            (X_PROCESS_TIME, format!("{}ms", ms(totals.elapsed_us))),
            (X_QUERY_COUNT, totals.query_count.to_string()),
            (X_QUERY_TIME, format!("{}ms", ms(totals.query_us))),
            (SERVER_TIMING, server_timing(totals, profile)),
        ]);
    }
    for (name, value) in all {
        // The value is always valid, because it consists of our own text and of an id that was checked before.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Returns the `Server-Timing` value, in milliseconds: <https://www.w3.org/TR/server-timing/>. The value lists each statement by name if the
/// client may see the statements.
fn server_timing(totals: &Totals, profile: &RequestProfile) -> String {
    let queries = match totals.query_count {
        1 => "1 query".to_owned(),
        count => format!("{count} queries"),
    };
    let mut timing = format!(
        "total;dur={}, db;dur={};desc=\"{queries}\", conn;dur={}",
        ms(totals.elapsed_us),
        ms(totals.query_us),
        ms(totals.connection_wait_us)
    );
    if let Some(read_from) = profile.read_from() {
        timing.push_str(", read;desc=\"");
        timing.push_str(read_from);
        timing.push('"');
    }
    if !profile.is_detailed() {
        return timing;
    }
    let statements = profile.statements().into_iter().take(MOST_STATEMENTS);
    let entries = statements.map(|run| {
        let failed = if run.failed { ";desc=\"failed\"" } else { "" };
        format!("{};dur={}{failed}", run.name, ms(run.elapsed_us))
    });
    let all: Vec<_> = std::iter::once(timing).chain(entries).collect();
    all.join(", ")
}

/// Formats microseconds as milliseconds with two decimals, rounded half up: 45234 → "45.23". Computes with integers, because floats round.
pub fn ms(us: u64) -> String {
    let hundredths = us / 10 + u64::from(us % 10 >= 5);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::super::StatementRun;
    use super::*;

    #[test]
    fn milliseconds_have_two_decimals() {
        for (us, text) in [
            (0, "0.00"),
            (4, "0.00"),
            (5, "0.01"),
            (45_234, "45.23"),
            (45_235, "45.24"),
            (999_995, "1000.00"),
            (u64::MAX, "18446744073709551.62"),
        ] {
            assert_eq!(ms(us), text);
        }
    }

    #[test]
    fn all_five_headers_are_set() {
        let profile = RequestProfile::start("abc".to_owned());
        let totals = Totals {
            elapsed_us: 45_230,
            query_count: 2,
            query_us: 12_450,
            connection_wait_us: 410,
        };
        let mut headers = HeaderMap::new();
        headers.insert(X_QUERY_COUNT, HeaderValue::from_static("forged"));
        insert(&mut headers, &profile, &totals, true);
        assert_eq!(headers[X_PROCESS_TIME], "45.23ms");
        assert_eq!(headers[X_QUERY_COUNT], "2");
        assert_eq!(headers[X_QUERY_TIME], "12.45ms");
        assert_eq!(headers[X_REQUEST_ID], "abc");
        assert_eq!(
            headers[SERVER_TIMING],
            "total;dur=45.23, db;dur=12.45;desc=\"2 queries\", conn;dur=0.41"
        );
    }

    #[test]
    fn only_x_request_id_is_set_when_profile_headers_are_hidden() {
        let mut headers = HeaderMap::new();
        let profile = RequestProfile::start("abc".to_owned());
        insert(&mut headers, &profile, &profile.totals(), false);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[X_REQUEST_ID], "abc");
    }

    #[test]
    fn server_timing_names_the_server_that_answered() {
        let profile = RequestProfile::start("abc".to_owned());
        profile.record_read_from("replica");
        let timing = server_timing(&profile.totals(), &profile);
        assert!(timing.ends_with(", read;desc=\"replica\""), "{timing}");
    }

    #[test]
    fn server_timing_lists_statements_only_if_allowed() {
        let profile = RequestProfile::start("abc".to_owned());
        profile.record_statement(StatementRun {
            name: "agent_get",
            elapsed_us: 10,
            failed: true,
            parameters: 0,
        });
        let totals = profile.totals();
        let timing = server_timing(&totals, &profile);
        assert!(timing.contains("\"1 query\""), "{timing}");
        assert!(!timing.contains("agent_get"), "{timing}");
        profile.show_statements();
        let timing = server_timing(&totals, &profile);
        assert!(
            timing.ends_with(", agent_get;dur=0.01;desc=\"failed\""),
            "{timing}"
        );
    }
}
