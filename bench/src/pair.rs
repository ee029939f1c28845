//! Sends requests to two servers in turn, and compares the response times. Other load on the machine affects both servers, so the ratio of
//! their response times is more reliable than the times themselves.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::load::{Figures, Load};

/// The pause after a run, in which the server finishes its work, such as the profiler's last flush.
const PAUSE: Duration = Duration::from_millis(1500);

/// Both servers' figures, and the ratios between them.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The figures of both servers in each round, the first server's first.
    pub rounds: Vec<(Figures, Figures)>,
    /// The medians of the rounds' ratios.
    pub median: Ratios,
    /// The median of the rounds' differences between the first server's p50 and the other's, in microseconds.
    pub p50_more_us: f64,
    /// The first and third quartiles of the rounds' p95 ratios.
    pub p95_quartiles: (f64, f64),
}

/// The first server's figures divided by the other's.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// Above 1 if the first server serves more.
    pub requests_per_s: f64,
    /// Above 1 if the first server takes longer.
    pub p50: f64,
    /// Above 1 if the first server takes longer.
    pub p95: f64,
    /// Above 1 if the first server takes longer.
    pub p99: f64,
    /// The ratio of X-Query-Time's p95. It is above 1 if the first server's queries take longer.
    pub query_p95: f64,
}

/// A server, such as `http://127.0.0.1:3000`, and its load.
type Loaded<'a> = (&'a str, &'a Load);

/// Loads `server` and `against` in turn, `rounds` times each, after a warm-up round that doesn't count.
pub async fn compare(server: Loaded<'_>, against: Loaded<'_>, rounds: usize) -> Result<Comparison> {
    server.1.run(server.0).await?;
    against.1.run(against.0).await?;
    let mut all = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let pair = if round % 2 == 0 {
            let first = one(server).await?;
            (first, one(against).await?)
        } else {
            let second = one(against).await?;
            (one(server).await?, second)
        };
        eprintln!(
            "round {} of {rounds}: p95 {} and {} µs, {:.0} and {:.0} requests/s",
            round + 1,
            pair.0.p95_us,
            pair.1.p95_us,
            pair.0.requests_per_s,
            pair.1.requests_per_s
        );
        all.push(pair);
    }
    let ratios = |figure: fn(&Figures) -> f64| {
        let of = all
            .iter()
            .map(|(first, second)| figure(first) / figure(second));
        let mut ratios: Vec<_> = of.collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios
    };
    let p95 = ratios(|figures| as_f64(figures.p95_us));
    let comparison = Comparison {
        median: Ratios {
            requests_per_s: quantile(&ratios(|figures| figures.requests_per_s), 0.5),
            p50: quantile(&ratios(|figures| as_f64(figures.p50_us)), 0.5),
            p95: quantile(&p95, 0.5),
            p99: quantile(&ratios(|figures| as_f64(figures.p99_us)), 0.5),
            query_p95: quantile(&ratios(|figures| as_f64(figures.query_p95_us)), 0.5),
        },
        p50_more_us: {
            let more = all
                .iter()
                .map(|(first, second)| as_f64(first.p50_us) - as_f64(second.p50_us));
            let mut more: Vec<_> = more.collect();
            more.sort_unstable_by(f64::total_cmp);
            quantile(&more, 0.5)
        },
        p95_quartiles: (quantile(&p95, 0.25), quantile(&p95, 0.75)),
        rounds: all,
    };
    let Ratios {
        requests_per_s,
        p50,
        p95,
        p99,
        query_p95,
    } = comparison.median;
    let (low, high) = comparison.p95_quartiles;
    eprintln!(
        "medians of the ratios: p50 {p50:.3}, p95 {p95:.3} (quartiles {low:.3} and {high:.3}), p99 {p99:.3}, \
         X-Query-Time's p95 {query_p95:.3}, requests/s {requests_per_s:.3}; p50 is {:.0} µs more",
        comparison.p50_more_us
    );
    Ok(comparison)
}

async fn one((server, load): Loaded<'_>) -> Result<Figures> {
    let figures = load.run(server).await?;
    tokio::time::sleep(PAUSE).await;
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds: far below 2^53")]
fn as_f64(us: u64) -> f64 {
    us as f64
}

/// Returns a quantile of sorted values, interpolated between the two nearest values. Returns NaN if there are no values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index in a list of rounds"
    )]
    let (below, share) = {
        let place = last as f64 * q;
        (place.floor() as usize, place.fract())
    };
    let above = sorted[(below + 1).min(last)];
    sorted[below] + (above - sorted[below]) * share
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_interpolated_linearly() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0));
        assert!(close(quantile(&[1.0, 2.0, 4.0, 8.0], 0.5), 3.0));
        assert!(close(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
