//! Statements that store the measurements of all instances in the schema `profile`. The module doesn't depend on HTTP.
//!
//! No client waits for these statements, because they run after the response.

use super::{health, names, text};
use crate::db::{Access, Answer, Db, DbError, Effect, Parameter, Statement};
use crate::profile::{Batch, Flushed, SlowQuerySeen};

pub(super) static FLEET_FLUSH: Statement = Statement {
    name: "fleet_flush",
    // The statement only inserts rows, so it never waits for another flush. The CTE `flush` reads the number of written samples, so that the duration
    // it stores includes their insertion. A flush requests compaction with a probability of 1/500 for each row that it inserts, so it needn't count
    // the rows that await compaction. More than 5,000 rows accumulate before only one in 20,000 compactions. A fixed probability for each flush would
    // not limit these rows, because the number of rows in a flush varies.
    sql: constcat::concat!["WITH sample AS (
            INSERT INTO profile.samples
            SELECT to_timestamp(minute * 60), kind, name, count, errors, sum_us, max_us, within_target, query_count, bins,
                   bin_counts, $5::bigint
            FROM jsonb_to_recordset($1::text::jsonb) AS sample(minute bigint, kind text, name text, count bigint,
                    errors bigint, sum_us bigint, max_us bigint, within_target bigint, query_count bigint,
                    bins int[], bin_counts bigint[])
            RETURNING 1
        ), flush AS (
            INSERT INTO profile.flushes (began_at, count, gathered, flushed, lost, sum_us, one_in)
            SELECT date_trunc('minute', now()), 1, $2::bigint, $2::bigint - $3::bigint, $3::bigint,
                   (extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000)::bigint, $4::int
            FROM (SELECT count(*) AS written FROM sample) AS done WHERE written >= 0
            RETURNING 1
        )
        SELECT NULL::text, CASE WHEN random() < (SELECT count(*) FROM sample) / 500.0
            OR (SELECT min(began_at) FROM profile.samples) < now() - interval '2 minutes' THEN 'compact' END
        FROM flush"],
    effect: Effect::Writes(&["profile.flushes", "profile.samples"]),
    access: Access::Inserts(&["samples_began_at_idx"]),
    max_rows: 1,
};

pub(super) static FLEET_COMPACT: Statement = Statement {
    name: "fleet_compact",
    // If several sessions find that compaction is due, one session compacts, and the others don't wait. The statement processes at most the 10,000
    // oldest samples, because processing a large backlog at once might exceed the statement timeout.
    sql: constcat::concat!["WITH due AS MATERIALIZED (
            SELECT FROM (SELECT pg_try_advisory_xact_lock(hashtext('profile.minutes')) AS is_ours) AS lock WHERE is_ours
        ), sample AS MATERIALIZED (
            DELETE FROM profile.samples USING due
            WHERE samples.ctid = ANY (ARRAY(SELECT ctid FROM profile.samples ORDER BY began_at LIMIT 10000))
            RETURNING samples.*
        ), bins AS (
            SELECT began_at, kind, name, array_agg(bin ORDER BY bin) AS bins, array_agg(n ORDER BY bin) AS bin_counts
            FROM (SELECT began_at, kind, name, bin, sum(n)::bigint AS n
                  FROM sample, unnest(bins, bin_counts) AS one (bin, n)
                  GROUP BY began_at, kind, name, bin) AS bin
            GROUP BY began_at, kind, name
        ), minute AS (
            INSERT INTO profile.minutes AS minutes
            SELECT began_at, kind, name, count, errors, sum_us, max_us, within_target, query_count, bins, bin_counts, target_us
            FROM (SELECT began_at, kind, name, sum(count)::bigint AS count, sum(errors)::bigint AS errors,
                         sum(sum_us)::bigint AS sum_us, max(max_us) AS max_us,
                         sum(within_target)::bigint AS within_target, sum(query_count)::bigint AS query_count,
                         CASE WHEN min(target_us) = max(target_us) THEN min(target_us) ELSE 0 END AS target_us
                  FROM sample GROUP BY began_at, kind, name) AS sums
            JOIN bins USING (began_at, kind, name)
            ON CONFLICT (began_at, kind, name) DO UPDATE SET
                count = minutes.count + EXCLUDED.count,
                errors = minutes.errors + EXCLUDED.errors,
                sum_us = minutes.sum_us + EXCLUDED.sum_us,
                max_us = greatest(minutes.max_us, EXCLUDED.max_us),
                within_target = minutes.within_target + EXCLUDED.within_target,
                query_count = minutes.query_count + EXCLUDED.query_count,
                target_us = CASE WHEN minutes.target_us = EXCLUDED.target_us THEN minutes.target_us ELSE 0 END,
                (bins, bin_counts) = (
                    SELECT array_agg(bin ORDER BY bin), array_agg(n ORDER BY bin)
                    FROM (SELECT bin, sum(n)::bigint AS n
                          FROM (SELECT * FROM unnest(minutes.bins, minutes.bin_counts)
                                UNION ALL SELECT * FROM unnest(EXCLUDED.bins, EXCLUDED.bin_counts)) AS every (bin, n)
                          GROUP BY bin) AS added)
        ), flush AS MATERIALIZED (
            DELETE FROM profile.flushes USING due
            WHERE began_at >= now() - interval '10 minutes' RETURNING flushes.*
        ), flushed AS (
            INSERT INTO profile.flushes (began_at, count, gathered, flushed, lost, sum_us, one_in)
            SELECT began_at, sum(count), sum(gathered), sum(flushed), sum(lost), sum(sum_us), max(one_in)
            FROM flush GROUP BY began_at
        )
        SELECT NULL::text, CASE WHEN EXISTS (
            SELECT FROM profile.minutes
            WHERE began_at >= coalesce((SELECT max(ended_at) FROM profile.totals), '-infinity')
              AND began_at < to_timestamp(floor(extract(epoch FROM now() - interval '5 minutes') / 600) * 600)) THEN 'roll up' END
        FROM due"],
    effect: Effect::Writes(&["profile.flushes", "profile.minutes", "profile.samples"]),
    access: Access::Scans("the samples of some seconds"),
    max_rows: 1,
};

pub(super) static FLEET_ROLLUP: Statement = Statement {
    name: "fleet_rollup",
    // If several sessions find that a rollup is due, one session runs the rollup, and the others don't wait. A rollup adds up the minutes of one hour
    // at most, and the next rollup continues from there. Of the totals older than two days, only the last totals of each hour are kept.
    sql: constcat::concat!["WITH due AS MATERIALIZED (
            SELECT first, least(past, to_timestamp(floor(extract(epoch FROM oldest) / 600) * 600) + interval '1 hour') AS past
            FROM (SELECT coalesce((SELECT max(ended_at) FROM profile.totals), '-infinity') AS first,
                         to_timestamp(floor(extract(epoch FROM now() - interval '5 minutes') / 600) * 600) AS past) AS span,
                 LATERAL (SELECT min(began_at) AS oldest FROM profile.minutes
                          WHERE began_at >= first AND began_at < past) AS pending
            WHERE oldest IS NOT NULL AND NOT EXISTS (SELECT FROM profile.samples WHERE began_at < past)
              AND pg_try_advisory_xact_lock(hashtext('profile.totals'))
        ), part AS MATERIALIZED (
            SELECT to_timestamp((floor(extract(epoch FROM began_at) / 600) + 1) * 600) AS ended_at, kind, name, count,
                   errors, sum_us, within_target, query_count, bins, bin_counts, target_us
            FROM due, profile.minutes WHERE began_at >= first AND began_at < past
            UNION ALL
            SELECT ended_at, kind, name, count, errors, sum_us, within_target, query_count, bins, bin_counts, target_us
            FROM due, profile.totals WHERE ended_at = first
        ), step AS MATERIALIZED (
            SELECT DISTINCT part.ended_at FROM due, part WHERE part.ended_at > first
        ), bins AS (
            SELECT ended_at, kind, name, target_us, array_agg(bin ORDER BY bin) AS bins, array_agg(n ORDER BY bin) AS bin_counts
            FROM (SELECT step.ended_at, kind, name, target_us, bin, sum(n)::bigint AS n
                  FROM step JOIN part ON part.ended_at <= step.ended_at, unnest(bins, bin_counts) AS one (bin, n)
                  GROUP BY step.ended_at, kind, name, target_us, bin) AS bin
            GROUP BY ended_at, kind, name, target_us
        ), sums AS (
            SELECT step.ended_at, kind, name, target_us, sum(count)::bigint AS count, sum(errors)::bigint AS errors,
                   sum(sum_us)::bigint AS sum_us, sum(within_target)::bigint AS within_target,
                   sum(query_count)::bigint AS query_count
            FROM step JOIN part ON part.ended_at <= step.ended_at
            GROUP BY step.ended_at, kind, name, target_us
        ), total AS (
            INSERT INTO profile.totals
            SELECT ended_at, kind, name, count, errors, sum_us, within_target, query_count, bins, bin_counts, target_us
            FROM sums JOIN bins USING (ended_at, kind, name, target_us)
        ), old_minute AS (
            DELETE FROM profile.minutes USING due WHERE began_at < now() - interval '2 days'
        ), old_total AS (
            DELETE FROM profile.totals USING due
            WHERE ended_at < now() - interval '30 days'
               OR ended_at BETWEEN now() - interval '3 days' AND now() - interval '2 days'
                  AND EXISTS (
                    SELECT FROM profile.totals AS later
                    WHERE later.ended_at > totals.ended_at
                      AND later.ended_at <= date_trunc('hour', totals.ended_at - interval '1 second') + interval '1 hour')
        ), old_scans AS (
            DELETE FROM profile.index_scans USING due WHERE seen_at < now() - interval '30 days'
        ), old_flush AS (
            DELETE FROM profile.flushes USING due WHERE began_at < now() - interval '30 days'
        ), old_slow_query AS (
            DELETE FROM profile.slow_queries USING due WHERE ran_at < now() - interval '30 days'
        )
        SELECT NULL::text, 'count scans' FROM due"],
    effect: Effect::Writes(&["profile.flushes", "profile.index_scans", "profile.minutes", "profile.slow_queries", "profile.totals"]),
    access: Access::Scans("every ten minutes, the minutes of that time and the totals before it"),
    max_rows: 1,
};

pub(super) static FLEET_INDEX_SCANS: Statement = Statement {
    name: "fleet_index_scans",
    // This statement is separate from the rollup, because the rollup must also succeed on a server that hides the view `pg_stat_user_indexes`.
    sql: constcat::concat!["WITH scans AS (
            INSERT INTO profile.index_scans
            SELECT now(), index.relname, sum(idx_scan)
            FROM pg_stat_user_indexes AS used
            JOIN pg_class AS index ON index.oid = coalesce(pg_partition_root(indexrelid), indexrelid)
            JOIN pg_namespace ON pg_namespace.oid = index.relnamespace
            WHERE nspname = 'public' AND index.relname = ANY ($1::text[]) GROUP BY index.relname
        )
        SELECT NULL::text, NULL::text"],
    effect: Effect::Writes(&["profile.index_scans"]),
    access: Access::Scans("statistics views and the catalogue only"),
    max_rows: 1,
};

pub(super) static SLOW_QUERY_KEEP: Statement = Statement {
    name: "slow_query_keep",
    // Keeps the newest four runs of each statement, and the slowest run in each time span. Older time spans are longer. So each window of a report
    // still has slow runs, and a statement has at most 121 rows.
    sql: constcat::concat!["WITH kept AS (
            INSERT INTO profile.slow_queries (statement, elapsed_us, route, request_id, ran_at, plan)
            SELECT $1::text, $2::bigint, $3::text, $4::text,
                   'epoch'::timestamptz + $5::bigint * interval '1 microsecond', $6::text::jsonb
        ), ranked AS (
            SELECT id, row_number() OVER (ORDER BY ran_at DESC, id DESC) AS newness,
                   row_number() OVER (PARTITION BY span, date_bin(span, ran_at, 'epoch') ORDER BY elapsed_us DESC, id) AS slowness
            FROM (SELECT id, ran_at, elapsed_us,
                         CASE WHEN ran_at > now() - interval '20 minutes' THEN interval '1 minute'
                              WHEN ran_at > now() - interval '3 hours' THEN interval '10 minutes'
                              WHEN ran_at > now() - interval '2 days' THEN interval '1 hour'
                              ELSE interval '1 day' END AS span
                  FROM profile.slow_queries WHERE statement = $1::text) AS of
        ), dropped AS (
            DELETE FROM profile.slow_queries USING ranked
            WHERE slow_queries.id = ranked.id AND slowness > 1 AND newness > 3
        )
        SELECT NULL::text, NULL::text"],
    effect: Effect::Writes(&["profile.slow_queries"]),
    access: Access::Scans("there are 121 rows for each statement at most"),
    max_rows: 1,
};

/// Stores an instance's measurements and the plans of its slow queries. Compacts the stored samples if compaction is due.
pub async fn flush(db: Db, mut batch: Batch) -> Flushed {
    let slow_queries = std::mem::take(&mut batch.slow_queries);
    let count = |count: u64| Parameter::Int64(i64::try_from(count).unwrap_or(i64::MAX));
    let parameters = vec![
        text(samples(&batch)),
        count(batch.gathered),
        count(batch.lost),
        Parameter::Int32(i32::try_from(batch.one_in).unwrap_or(i32::MAX)),
        count(batch.target.limit_us),
    ];
    match db.answer(&FLEET_FLUSH, parameters).await {
        Ok(Answer { note, .. }) => {
            // If one of these statements fails, a later flush repeats its work.
            if note.is_some()
                && let Ok(Answer { note: Some(_), .. }) =
                    db.answer(&FLEET_COMPACT, Vec::new()).await
                && let Ok(Answer { note: Some(_), .. }) = db.answer(&FLEET_ROLLUP, Vec::new()).await
            {
                let indexes = vec![names(health::INDEXES)];
                let _ = db.answer(&FLEET_INDEX_SCANS, indexes).await;
            }
            for seen in slow_queries {
                let _ = keep(&db, seen).await;
            }
            Flushed::Stored
        }
        Err(error @ DbError::Unavailable { sent: false, .. }) => {
            batch.slow_queries = slow_queries;
            Flushed::Unsent(batch, error.to_string())
        }
        Err(error) => Flushed::Failed(error.to_string()),
    }
}

async fn keep(db: &Db, seen: SlowQuerySeen) -> Result<Answer, DbError> {
    let plan = seen.slow_query.plan.await;
    let elapsed_us = i64::try_from(seen.slow_query.elapsed_us).unwrap_or(i64::MAX);
    let parameters = vec![
        text(seen.slow_query.name),
        Parameter::Int64(elapsed_us),
        text(seen.route),
        text(seen.request_id),
        Parameter::Int64(seen.ran_at_us),
        plan.map_or(Parameter::DbNull, Parameter::Str),
    ];
    db.answer(&SLOW_QUERY_KEEP, parameters).await
}

/// Returns the rows of a batch as one JSON text, because SQL arrays would need a parameter for each of the eleven columns.
fn samples(batch: &Batch) -> String {
    let rows = batch.sketches.iter().map(|(key, gathered)| {
        let totals = gathered.sketch.totals();
        let (bins, bin_counts): (Vec<_>, Vec<_>) = gathered.sketch.bins().unzip();
        serde_json::json!({
            "minute": key.minute,
            "kind": key.kind.name(),
            "name": key.name,
            "count": gathered.sketch.count(),
            "errors": totals.errors,
            "sum_us": totals.sum_us,
            "max_us": totals.max_us,
            "within_target": totals.within_target_count,
            "query_count": gathered.query_count,
            "bins": bins,
            "bin_counts": bin_counts,
        })
    });
    serde_json::Value::Array(rows.collect()).to_string()
}
