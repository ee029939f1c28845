//! The account of a request as response headers. Pure: numbers in, text out.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{RequestProfile, Totals};

const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const X_QUERY_COUNT: HeaderName = HeaderName::from_static("x-query-count");
const X_QUERY_TIME: HeaderName = HeaderName::from_static("x-query-time");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Sets the profiling headers, replacing any the handler may have set.
pub fn insert(headers: &mut HeaderMap, profile: &RequestProfile, totals: &Totals) {
    for (name, value) in [
        (X_PROCESS_TIME, format!("{}ms", ms(totals.elapsed_us))),
        (X_QUERY_COUNT, totals.query_count.to_string()),
        (X_QUERY_TIME, format!("{}ms", ms(totals.query_us))),
        (SERVER_TIMING, server_timing(totals)),
        (X_REQUEST_ID, profile.request_id().to_owned()),
    ] {
        // Digits, dots and an id that was checked when it came in: always a valid value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// The `Server-Timing` value, in milliseconds: <https://www.w3.org/TR/server-timing/>.
fn server_timing(totals: &Totals) -> String {
    let queries = match totals.query_count {
        1 => "1 query".to_owned(),
        count => format!("{count} queries"),
    };
    format!(
        "total;dur={}, db;dur={};desc=\"{queries}\", conn;dur={}",
        ms(totals.elapsed_us),
        ms(totals.query_us),
        ms(totals.connection_wait_us)
    )
}

/// Microseconds as milliseconds with two decimals, rounded half up: 45234 → "45.23". Exact, where a float isn't.
pub fn ms(us: u64) -> String {
    let hundredths = us / 10 + u64::from(us % 10 >= 5);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
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
        insert(&mut headers, &profile, &totals);
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
    fn one_query_is_not_called_queries() {
        let totals = Totals {
            elapsed_us: 10,
            query_count: 1,
            query_us: 10,
            connection_wait_us: 0,
        };
        assert!(server_timing(&totals).contains("\"1 query\""));
    }
}
