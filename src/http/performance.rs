//! The routes below /api/performance, and the page that shows them: where the time goes, for all instances together.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;

use super::contract::{Audience, Kind, Operation, Parameter, answered, documented};
use super::input::Input;
use super::packed;
use super::problem::ApiError;
use super::reply::Reply;
use super::schemas;
use crate::db::{Db, DbError};
use crate::queries::fleet_report::{self, Use, Window};
use crate::queries::{metrics, performance};

pub static PERFORMANCE_DATABASE: Operation = Operation {
    id: "performance_database",
    path: "/api/performance/database",
    summary: documented(
        "What all instances measured in a window of time, and what the database's own statistics tell.",
    ),
    parameters: &[Parameter {
        name: "window",
        kind: Kind::OneOf(Window::NAMES),
        about: documented("How far back to look."),
        default: Some("15m"),
    }],
    answer: answered(Kind::Record(&schemas::PERFORMANCE_DATABASE)),
    audience: Audience::Administrators,
    query_count: 2,
    ..Operation::GET
};

pub async fn performance_database(db: Db, input: Input) -> Result<Reply, ApiError> {
    let window = Window::named(input.text("window"));
    let (fleet, used) = match fleet_report::performance_fleet(&db, window).await {
        Ok(found) => found,
        // What's gathered can't be read: the database's own statistics are worth having all the same.
        Err(DbError::Refused { .. }) => (fleet_report::none(window), Use::default()),
        Err(error) => return Err(error.into()),
    };
    let database = performance::performance_database(&db, &used).await?;
    // Two JSON objects, made one by what's between them.
    let report = match (database.strip_suffix('}'), fleet.strip_prefix('{')) {
        (Some(database), Some(fleet)) => [database, ",", fleet].concat(),
        _ => return Err(ApiError::Bug("a half of the report is no JSON object")),
    };
    Ok(Reply::ok(report))
}

pub static PERFORMANCE_METRICS: Operation = Operation {
    id: "performance_metrics",
    path: "/api/performance/metrics",
    summary: documented(
        "The same for Prometheus: OpenMetrics, with OpenTelemetry's names. Any instance tells of all.",
    ),
    answer: answered(Kind::Text {
        min: 1,
        max: 10_000_000,
    }),
    media_type: metrics::MEDIA_TYPE,
    audience: Audience::Administrators,
    ..Operation::GET
};

pub async fn performance_metrics(db: Db, _: Input) -> Result<Reply, ApiError> {
    let text = metrics::performance_metrics(&db).await?;
    let text = text.ok_or(ApiError::Bug("metrics are JSON of another shape"))?;
    Ok(Reply::text(metrics::MEDIA_TYPE, text))
}

pub static PERFORMANCE_PAGE: Operation = Operation {
    id: "performance_page",
    path: "/performance",
    summary: documented("The report for eyes. It asks for the administrator's token itself."),
    answer: answered(Kind::Text {
        min: 1,
        max: 60_000,
    }),
    media_type: "text/html; charset=utf-8",
    audience: Audience::Everyone,
    query_count: 0,
    ..Operation::GET
};

/// What the page may do: run the style and the script that are in it, and ask this server. Their hashes are kept right by
/// a test.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static(include_str!("performance.csp").trim_ascii());

pub async fn performance_page(_: Db, _: Input) -> Result<Reply, ApiError> {
    let page = packed::unpack(packed::PAGE)?;
    Ok(Reply::text(PERFORMANCE_PAGE.media_type, page).with(CONTENT_SECURITY_POLICY, PAGE_POLICY))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    const PAGE: &str = include_str!("performance.html");

    /// The hash of all that's between an element's tags, as policies have it.
    fn hash_of(element: &str) -> String {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        assert_eq!(PAGE.matches(&open).count(), 1, "{open}");
        let (_, rest) = PAGE.split_once(&open).unwrap();
        let (content, _) = rest.split_once(&close).unwrap();
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
    }

    #[test]
    fn the_pages_policy_allows_its_own_style_and_script_and_no_other() {
        let expected = format!(
            "default-src 'none'; connect-src 'self'; img-src data:; style-src {}; script-src {}; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash_of("style"),
            hash_of("script"),
        );
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write("src/http/performance.csp", format!("{expected}\n"))
                .expect("performance.csp can be written");
        }
        let found = std::fs::read_to_string("src/http/performance.csp").unwrap_or_default();
        assert_eq!(
            found.trim_ascii(),
            expected,
            "src/http/performance.csp is out of date: run UPDATE=1 cargo test -p reznet-edge policy"
        );
    }

    #[test]
    fn the_page_is_small_and_refers_to_nothing_outside() {
        assert!(PAGE.len() < 60_000, "{} bytes", PAGE.len());
        for forbidden in [
            "https:",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "insertAdjacentHTML",
            "localStorage",
            " style=",
            " onclick=",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }
}
