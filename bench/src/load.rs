//! Concurrent clients that each send one request after the other, and the measurements of the responses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use futures_util::future::try_join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::time::{sleep_until, timeout};

/// The timeout of a request. A request that takes longer counts as a request without a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// The requests to send.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Path and query of a request; several paths are requested in turn. `POST PATH BODY` sends BODY; `HELD PATH` sends `If-None-Match: *`
    #[arg(long = "path", required = true)]
    pub paths: Vec<String>,
    /// Number of requests
    #[arg(long, default_value_t = 1000)]
    pub requests: usize,
    /// Stop after this many seconds, even if requests are left
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Maximum number of concurrent requests
    #[arg(long, default_value_t = 10)]
    pub concurrency: usize,
    /// Maximum number of requests per second, sent evenly
    #[arg(long)]
    pub rate: Option<f64>,
    /// Send many requests over each connection instead of one
    #[arg(long)]
    pub keep_alive: bool,
}

/// The measurements of a load. Times are in microseconds and include opening the connection and receiving the body. A request is successful if
/// its status is 2xx or 304.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The number of requests sent, with or without a response.
    pub requests: usize,
    /// The number of responses with each status; 0 stands for no response.
    pub statuses: BTreeMap<u16, usize>,
    /// Successful responses per second.
    pub requests_per_s: f64,
    /// The 50th percentile of the successful requests' times.
    pub p50_us: u64,
    /// The 95th percentile of the successful requests' times.
    pub p95_us: u64,
    /// The 99th percentile of the successful requests' times.
    pub p99_us: u64,
    /// The time of the slowest request, successful or not.
    pub max_us: u64,
    /// The median of the X-Process-Time headers. Requests without the header count as 0.
    pub process_p50_us: u64,
    /// The sum of the X-Query-Count headers.
    pub query_count: u64,
    /// The median of the X-Query-Time headers, for responses with at least one query.
    pub query_p50_us: u64,
    /// The 95th percentile of the same X-Query-Time headers.
    pub query_p95_us: u64,
}

struct Sample {
    status: u16,
    elapsed_us: u64,
    process_us: u64,
    query_count: u64,
    query_us: u64,
}

type Http = Client<HttpConnector, Full<Bytes>>;

impl Load {
    /// Sends the requests to a server, such as `http://127.0.0.1:3000`.
    pub async fn run(&self, server: &str) -> Result<Figures> {
        let idle_connections = if self.keep_alive { usize::MAX } else { 0 };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(idle_connections)
            .build_http();
        let sent = AtomicUsize::new(0);
        let clock = Instant::now();
        let clients = (0..self.concurrency).map(|_| self.one_client(&client, server, &sent, clock));
        let samples: Vec<_> = try_join_all(clients).await?.into_iter().flatten().collect();
        let seconds = clock.elapsed().as_secs_f64();
        Ok(figures(&samples, seconds))
    }

    async fn one_client(
        &self,
        http: &Http,
        server: &str,
        sent: &AtomicUsize,
        began: Instant,
    ) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        loop {
            let n = sent.fetch_add(1, Ordering::Relaxed);
            let is_over = self
                .seconds
                .is_some_and(|limit| began.elapsed().as_secs_f64() > limit);
            if n >= self.requests || is_over {
                return Ok(samples);
            }
            if let Some(rate) = self.rate {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                let due = Duration::from_secs_f64(n as f64 / rate);
                sleep_until((began + due).into()).await;
            }
            let request = request(server, &self.paths[n % self.paths.len()])?;
            let clock = Instant::now();
            let answered = timeout(PATIENCE, answer(http, request)).await;
            let mut sample = answered.ok().and_then(Result::ok).unwrap_or(Sample {
                status: 0,
                elapsed_us: 0,
                process_us: 0,
                query_count: 0,
                query_us: 0,
            });
            sample.elapsed_us = u64::try_from(clock.elapsed().as_micros())?;
            samples.push(sample);
        }
    }
}

fn request(server: &str, path: &str) -> Result<Request<Full<Bytes>>> {
    let (method, rest) = path.split_once(' ').unwrap_or(("GET", path));
    let request = match (method, rest.split_once(' ')) {
        ("POST", Some((path, body))) => Request::post(format!("{server}{path}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned())),
        ("HELD", None) => Request::get(format!("{server}{rest}"))
            .header("if-none-match", "*")
            .body(Full::default()),
        ("GET", None) => Request::get(format!("{server}{rest}")).body(Full::default()),
        // The text has an unknown method or an unexpected part, and therefore a space. A URI must not contain a space, so this returns an error.
        _ => Request::get(format!("{server}{path}")).body(Full::default()),
    };
    request.with_context(|| format!("{server}{path} isn't a valid address"))
}

async fn answer(http: &Http, request: Request<Full<Bytes>>) -> Result<Sample> {
    let (parts, body) = http.request(request).await?.into_parts();
    body.collect().await?;
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    // A missing header counts as 0, because servers without a profiler don't send these headers.
    let query_count = header("x-query-count").map_or(Ok(0), str::parse)?;
    let microseconds = |name| header(name).map_or(Ok(0), microseconds);
    Ok(Sample {
        status: parts.status.as_u16(),
        elapsed_us: 0,
        process_us: microseconds("x-process-time")?,
        query_count,
        query_us: microseconds("x-query-time")?,
    })
}

/// Parses a header such as `12.34ms`, and returns microseconds.
fn microseconds(text: &str) -> Result<u64> {
    let milliseconds: f64 = text.trim_end_matches("ms").parse()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration from a header; `as` saturates at the type's bounds"
    )]
    Ok((milliseconds * 1000.0).round() as u64)
}

fn figures(samples: &[Sample], seconds: f64) -> Figures {
    let mut by_status = BTreeMap::new();
    for sample in samples {
        *by_status.entry(sample.status).or_default() += 1;
    }
    // Excludes requests that failed or were refused, because refused requests end early and would lower the percentiles.
    let succeeded = samples
        .iter()
        .filter(|sample| (200..300).contains(&sample.status) || sample.status == 304);
    let mut elapsed: Vec<_> = succeeded.map(|sample| sample.elapsed_us).collect();
    let with_query = samples.iter().filter(|sample| sample.query_count > 0);
    let mut query_us: Vec<_> = with_query.map(|sample| sample.query_us).collect();
    let mut process_us: Vec<_> = samples.iter().map(|sample| sample.process_us).collect();
    elapsed.sort_unstable();
    process_us.sort_unstable();
    query_us.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let requests_per_s = elapsed.len() as f64 / seconds;
    Figures {
        requests: samples.len(),
        statuses: by_status,
        requests_per_s,
        p50_us: percentile(&elapsed, 50),
        p95_us: percentile(&elapsed, 95),
        p99_us: percentile(&elapsed, 99),
        max_us: samples
            .iter()
            .map(|sample| sample.elapsed_us)
            .max()
            .unwrap_or_default(),
        process_p50_us: percentile(&process_us, 50),
        query_count: samples.iter().map(|sample| sample.query_count).sum(),
        query_p50_us: percentile(&query_us, 50),
        query_p95_us: percentile(&query_us, 95),
    }
}

/// Returns a percentile of sorted values by nearest rank, or 0 if there are no values.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 95), 190);
        assert_eq!(percentile(&values[..1], 99), 1);
        assert_eq!(percentile(&[], 99), 0);
    }

    #[test]
    fn a_path_with_a_method_and_body_becomes_a_write() {
        let read = request("http://h", "/a?b=c d");
        assert!(read.is_err());
        let write = request("http://h", "POST /a {\"b\": 1}").unwrap();
        assert_eq!(
            (write.method().as_str(), write.uri().path()),
            ("POST", "/a")
        );
    }
}
