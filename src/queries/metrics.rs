//! All measurements of the fleet for Prometheus, as `OpenMetrics` text.
//!
//! Names, labels and buckets are OpenTelemetry's (<https://opentelemetry.io/docs/specs/semconv/database/database-metrics/>). There are only
//! histograms and gauges, because their text is the same in `OpenMetrics` and in Prometheus' older format, so readers of either format can
//! parse it.

use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;

use super::report::{Section, Sections};
use super::{Db, text};
use crate::config::APPLICATION_NAME;
use crate::db::{Access, DbError, Effect, Statement};
use crate::profile::{Sketch, Target};

/// The media type of `OpenMetrics` (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds of a histogram's buckets, in µs and as the text of the value in seconds.
const BUCKETS: [(u64, &str); 9] = [
    (1_000, "0.001"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
];

// The rows of `profile.totals` are cumulative, so the counts are the latest totals plus the minutes since then. They decrease only if PostgreSQL
// crashes, which empties the UNLOGGED tables. Each bin counts in the first bucket that includes it. Samples with different targets are in separate
// rows.
const HISTOGRAMS: &str = "WITH asked AS MATERIALIZED (
            SELECT above FROM json_to_record($1::text::json) AS asked (above int[])
        ), last AS MATERIALIZED (
            SELECT max(ended_at) AS ended_at FROM profile.totals
        ), part AS MATERIALIZED (
            SELECT kind, name, target_us, count, sum_us, within_target, bins, bin_counts
            FROM profile.totals WHERE ended_at = (SELECT ended_at FROM last)
            UNION ALL
            SELECT kind, name, target_us, count, sum_us, within_target, bins, bin_counts
            FROM profile.gathered WHERE began_at = ANY (ARRAY(
                SELECT generate_series(coalesce((SELECT ended_at FROM last), min(began_at)), now(), interval '1 minute')
                FROM profile.gathered))
        ), bucket AS (
            SELECT kind, name, target_us, json_object_agg(bucket, n) AS buckets
            FROM (SELECT kind, name, target_us, width_bucket(bin, above) AS bucket, sum(n) AS n
                  FROM asked, part, unnest(bins, bin_counts) AS one (bin, n) GROUP BY kind, name, target_us, bucket) AS counted
            GROUP BY kind, name, target_us
        )
        SELECT json_build_object('members', json_build_object(
            'database', current_database(),
            'histograms', (
                SELECT coalesce(json_agg(json_build_object(
                    'kind', kind, 'name', name, 'target_us', target_us, 'count', count, 'sum_us', sum_us,
                    'within_target', within_target, 'buckets', buckets) ORDER BY kind, name), '[]')
                FROM (SELECT kind, name, target_us, sum(count) AS count, sum(sum_us) AS sum_us, sum(within_target) AS within_target
                      FROM part WHERE name <> '' GROUP BY kind, name, target_us) AS sums JOIN bucket USING (kind, name, target_us))))";

const CONNECTIONS: &str = "SELECT json_build_object('members', json_build_object('connections', json_build_object(
            'idle', count(*) FILTER (WHERE state = 'idle'),
            'used', count(*) FILTER (WHERE state NOT IN ('idle', 'disabled')),
            'unknown', count(*) FILTER (WHERE state IS NULL OR state = 'disabled'))))
        FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = ($1::text::json)->>'application_name'";

const SAMPLES: &str =
    "SELECT json_build_object('members', json_build_object('samples', json_build_object(
            'lost', coalesce(sum(lost), 0), 'flushed', coalesce(sum(flushed), 0))))
        FROM profile.flushes WHERE began_at > now() - interval '15 minutes'";

pub(super) static PERFORMANCE_METRICS: Statement = Statement {
    name: "performance_metrics",
    sql: constcat::concat![
        "SELECT json_build_array((",
        SAMPLES,
        "), (",
        CONNECTIONS,
        "), (",
        HISTOGRAMS,
        "))::text"
    ],
    effect: Effect::Reads,
    access: Access::Scans("the latest totals, and the minutes since"),
    max_rows: 1,
};
pub(super) static PERFORMANCE_METRICS_SAMPLES: Statement = Statement {
    name: "performance_metrics_samples",
    sql: constcat::concat!["SELECT (", SAMPLES, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a row for each minute"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_METRICS_CONNECTIONS: Statement = Statement {
    name: "performance_metrics_connections",
    sql: constcat::concat!["SELECT (", CONNECTIONS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("a view on the server's memory"),
    max_rows: 1,
};

pub(super) static PERFORMANCE_METRICS_HISTOGRAMS: Statement = Statement {
    name: "performance_metrics_histograms",
    sql: constcat::concat!["SELECT (", HISTOGRAMS, ")::text"],
    effect: Effect::Reads,
    access: Access::Scans("the latest totals, and the minutes since"),
    max_rows: 1,
};

static METRICS: Sections = Sections {
    all: &PERFORMANCE_METRICS,
    each: &[
        Section {
            statement: &PERFORMANCE_METRICS_SAMPLES,
            source: "profile.flushes",
            is_ours: true,
            members: &["samples"],
            needed_by: &[],
        },
        Section {
            statement: &PERFORMANCE_METRICS_CONNECTIONS,
            source: "pg_stat_activity",
            is_ours: false,
            members: &["connections"],
            needed_by: &[],
        },
        Section {
            statement: &PERFORMANCE_METRICS_HISTOGRAMS,
            source: "profile.totals, profile.minutes or profile.samples",
            is_ours: true,
            members: &["histograms"],
            needed_by: &[],
        },
    ],
};

/// The sections' values. A section that can't be read is `None`.
#[derive(Deserialize)]
struct Metrics {
    #[serde(default)]
    database: String,
    histograms: Option<Vec<Part>>,
    connections: Option<Connections>,
    samples: Option<Samples>,
}

#[derive(Deserialize)]
struct Connections {
    idle: i64,
    used: i64,
    /// The number of sessions whose state is hidden from the component's role.
    unknown: i64,
}

#[derive(Deserialize)]
struct Samples {
    lost: i64,
    flushed: i64,
}

/// The samples of a histogram that were compared with the same target. In the list, the parts of a histogram are adjacent.
#[derive(Deserialize)]
struct Part {
    kind: String,
    name: String,
    target_us: u64,
    count: u64,
    sum_us: u64,
    within_target: u64,
    /// The counts by the bucket's index in [`BUCKETS`]. The index after the last one is for durations above all bounds.
    buckets: std::collections::BTreeMap<usize, u64>,
}

impl Part {
    /// Returns the number of durations up to a bound of [`BUCKETS`]. The number is exact if the bound is the part's target, and otherwise
    /// approximate, because a bin may contain the bound.
    fn reached(&self, index: usize, bound_us: u64) -> u64 {
        if self.target_us == bound_us {
            return self.within_target;
        }
        sum(self.buckets.range(..=index).map(|(_, count)| *count))
    }
}

/// Adds up counts. The sum stops at the maximum of `u64` instead of overflowing.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Returns the metrics in Prometheus' text format; `None` if a statement returned unexpected JSON.
pub async fn performance_metrics(db: &Db) -> Result<Option<String>, DbError> {
    // A bucket includes the bin of its upper bound. The next bin is in the next bucket.
    let above = BUCKETS.map(|(bound_us, _)| Sketch::bin_index(bound_us) + 1);
    let asked = serde_json::json!({"application_name": APPLICATION_NAME, "above": above});
    let parts = METRICS.read(db, &[text(asked.to_string())]).await?;
    let metrics = Metrics::deserialize(serde_json::Value::Object(parts.members)).ok();
    Ok(metrics.map(|metrics| render(&metrics, db.config().target)))
}

fn render(metrics: &Metrics, target: Target) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write(&mut out, metrics, target);
    out
}

fn write(out: &mut String, metrics: &Metrics, target: Target) -> std::fmt::Result {
    if let Some(parts) = &metrics.histograms {
        write_histograms(out, parts, &metrics.database, target)?;
    }
    let gauges = [
        (
            "reznet_query_target_seconds",
            "The duration that a query must be under.",
            seconds(target),
        ),
        (
            "reznet_query_target_ratio",
            "The share of queries that must be under that duration.",
            (f64::from(target.percent) / 100.0).to_string(),
        ),
    ];
    for (name, help, value) in gauges {
        family(out, name, "gauge", help)?;
        writeln!(out, "{name} {value}")?;
    }
    // The name isn't OpenTelemetry's db_client_connection_count, because only histograms may have the suffix _count.
    let pool = "db_client_connections";
    if let Some(connections) = &metrics.connections {
        family(
            out,
            pool,
            "gauge",
            "Connections of all instances together, by state.",
        )?;
        let states = [
            ("idle", connections.idle),
            ("used", connections.used),
            ("unknown", connections.unknown),
        ];
        for (state, count) in states {
            writeln!(
                out,
                "{pool}{{db_client_connection_state=\"{state}\"}} {count}"
            )?;
        }
    }
    let profiler = "reznet_profiler_recent_samples";
    if let Some(samples) = &metrics.samples {
        family(
            out,
            profiler,
            "gauge",
            "What became of the samples of the last 15 minutes.",
        )?;
        writeln!(out, "{profiler}{{outcome=\"flushed\"}} {}", samples.flushed)?;
        writeln!(out, "{profiler}{{outcome=\"lost\"}} {}", samples.lost)?;
    }
    let available = "reznet_metrics_available";
    family(
        out,
        available,
        "gauge",
        "Whether a section of these metrics can be read: 0 if its source is missing or hidden.",
    )?;
    let sections = [
        ("histograms", metrics.histograms.is_some()),
        ("connections", metrics.connections.is_some()),
        ("samples", metrics.samples.is_some()),
    ];
    for (section, is_available) in sections {
        let value = u8::from(is_available);
        writeln!(out, "{available}{{section=\"{section}\"}} {value}")?;
    }
    writeln!(out, "# EOF")
}

fn write_histograms(
    out: &mut String,
    parts: &[Part],
    database: &str,
    target: Target,
) -> std::fmt::Result {
    let of = |kind: &'static str| {
        let names = parts.chunk_by(|one, next| one.kind == next.kind && one.name == next.name);
        names.filter_map(move |parts| Some((parts, parts.first().filter(|one| one.kind == kind)?)))
    };
    let statement_labels = |name: &str| {
        format!(
            "db_system_name=\"postgresql\",db_namespace=\"{}\",db_query_summary=\"{}\"",
            escaped(database),
            escaped(name)
        )
    };
    let statements = "db_client_operation_duration_seconds";
    family(
        out,
        statements,
        "histogram",
        "Duration of database statements, by name.",
    )?;
    for (parts, one) in of("statement") {
        histogram(out, statements, &statement_labels(&one.name), parts)?;
    }
    let judged = "reznet_judged_operation_duration_seconds";
    family(
        out,
        judged,
        "histogram",
        "Duration of the database statements that the target judged. The only bucket below +Inf has those within the target.",
    )?;
    let current = parts.iter().filter(|one| one.target_us == target.limit_us);
    for one in current.filter(|one| one.kind == "statement") {
        let (labels, bound_s) = (statement_labels(&one.name), seconds(target));
        let count = one.within_target;
        writeln!(out, "{judged}_bucket{{{labels},le=\"{bound_s}\"}} {count}")?;
        end_of_histogram(out, judged, &labels, std::slice::from_ref(one))?;
    }
    family(
        out,
        "http_server_request_duration_seconds",
        "histogram",
        "Duration of requests, by route.",
    )?;
    for (parts, one) in of("route") {
        // The name "(no route)" has no method.
        let split = one.name.split_once(' ');
        let (method, route) = split
            .filter(|(_, route)| route.starts_with('/'))
            .unwrap_or(("_OTHER", &one.name));
        let labels = format!(
            "http_request_method=\"{}\",http_route=\"{}\"",
            escaped(method),
            escaped(route)
        );
        histogram(out, "http_server_request_duration_seconds", &labels, parts)?;
    }
    Ok(())
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}")?;
    writeln!(out, "# TYPE {name} {kind}")
}

fn histogram(out: &mut String, name: &str, labels: &str, parts: &[Part]) -> std::fmt::Result {
    for (index, (bound_us, bound_s)) in BUCKETS.iter().enumerate() {
        let count = sum(parts.iter().map(|part| part.reached(index, *bound_us)));
        writeln!(out, "{name}_bucket{{{labels},le=\"{bound_s}\"}} {count}")?;
    }
    end_of_histogram(out, name, labels, parts)
}

/// Writes a histogram's last bucket, its sum and its count.
fn end_of_histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    parts: &[Part],
) -> std::fmt::Result {
    let count = sum(parts.iter().map(|part| part.count));
    let sum_us = sum(parts.iter().map(|part| part.sum_us));
    let (seconds, micros) = (sum_us / 1_000_000, sum_us % 1_000_000);
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(out, "{name}_sum{{{labels}}} {seconds}.{micros:06}")?;
    writeln!(out, "{name}_count{{{labels}}} {count}")
}

/// Returns the target's limit in seconds, such as 0.1 or 1.0.
fn seconds(target: Target) -> String {
    format!("{:?}", Duration::from_micros(target.limit_us).as_secs_f64())
}

/// Escapes backslash, quote and line feed in a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_md_shows_the_labels_of_requests_without_a_route() {
        let part = Part {
            kind: "route".into(),
            name: "(no route)".into(),
            target_us: 100_000,
            count: 1,
            sum_us: 1,
            within_target: 1,
            buckets: [(0, 1)].into(),
        };
        let mut text = String::new();
        write_histograms(&mut text, &[part], "d", Target::default()).unwrap();
        let line = text.lines().find(|line| line.contains("_count{")).unwrap();
        let labels = line.split(['{', '}']).nth(1).unwrap();
        let operations = std::fs::read_to_string("docs/operations.md").unwrap();
        for label in labels.split(',') {
            assert!(
                operations.contains(label),
                "docs/operations.md lacks {label}"
            );
        }
    }

    #[test]
    fn buckets_are_cumulative_and_labels_escaped() {
        let part = |target_us, count, within_target, buckets: &[(usize, u64)]| Part {
            kind: "statement".into(),
            name: "a\"b".into(),
            target_us,
            count,
            sum_us: 250_001 * count,
            within_target,
            buckets: buckets.iter().copied().collect(),
        };
        let metrics = Metrics {
            histograms: Some(vec![
                part(50_000, 3, 1, &[(3, 2), (4, 1)]),
                part(100_000, 10, 5, &[(0, 2), (3, 4), (5, 3), (9, 1)]),
            ]),
            connections: None,
            samples: None,
            database: "d".into(),
        };
        let labels = r#"db_system_name="postgresql",db_namespace="d",db_query_summary="a\"b""#;
        let render = |limit_us, percent| render(&metrics, Target { limit_us, percent });
        let text = render(100_000, 95);
        for (bound, count) in [
            ("0.001", 2),
            ("0.01", 2),
            // In the first part, one duration is under 50 ms, although the bins up to 50 ms contain two.
            ("0.05", 7),
            // In the second part, five durations are under 100 ms, although the bins up to 100 ms contain six.
            ("0.1", 8),
            ("0.5", 12),
            ("+Inf", 13),
        ] {
            let line = format!(
                "db_client_operation_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("} 3.250013\n"), "{text}");
        let judged = "reznet_judged_operation_duration_seconds";
        for line in [
            &*format!("{judged}_bucket{{{labels},le=\"0.1\"}} 5\n"),
            &*format!("{judged}_bucket{{{labels},le=\"+Inf\"}} 10\n"),
            &*format!("{judged}_sum{{{labels}}} 2.500010\n"),
            &*format!("{judged}_count{{{labels}}} 10\n"),
            "reznet_query_target_seconds 0.1\n",
            "reznet_query_target_ratio 0.95\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.contains("reznet_metrics_available{section=\"histograms\"} 1\n"));
        assert!(text.contains("reznet_metrics_available{section=\"samples\"} 0\n"));
        assert!(!text.contains("reznet_profiler_recent_samples"), "{text}");
        assert!(text.ends_with("# EOF\n"));

        let text = render(50_000, 100);
        for line in [
            &*format!("{judged}_bucket{{{labels},le=\"0.05\"}} 1\n"),
            &*format!("{judged}_count{{{labels}}} 3\n"),
            "reznet_query_target_seconds 0.05\n",
            "reznet_query_target_ratio 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!render(1_000_000, 95).contains(&format!("{judged}_count")));
    }
}
