//! Sends the same requests to several servers in turn, and compares the servers' throughput, latency and resource usage. `scripts/bench`
//! chooses and starts the servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use crate::load::{Figures, Load};
use crate::pair::quantile;
use crate::process::{self, Usage};

/// The servers to compare, and the load.
#[derive(Args, Clone, Debug)]
pub struct Contest {
    /// A server, as NAME=URL=PID. Its CPU time and memory include its child processes. The results have the first server's requests/s as a
    /// multiple of every other server's
    #[arg(long = "server", required = true)]
    servers: Vec<Server>,
    /// PID of PostgreSQL's main process. The measured CPU time includes its child processes
    #[arg(long)]
    postgres: u32,
    /// Requests, as NAME=PATH, or NAME=POST PATH BODY
    #[arg(long = "workload", required = true)]
    workloads: Vec<Workload>,
    /// Number of concurrent requests; several numbers are separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,500")]
    concurrency: Vec<usize>,
    /// Number of measured rounds for each workload at each concurrency
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Duration of each run in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Clone, Debug)]
struct Server {
    name: String,
    url: String,
    pid: u32,
}

impl FromStr for Server {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, '=').map(str::to_owned);
        let mut part = || parts.next().context("give NAME=URL=PID");
        Ok(Self {
            name: part()?,
            url: part()?,
            pid: part()?.parse().context("the PID is not a number")?,
        })
    }
}

#[derive(Clone, Debug)]
struct Workload {
    name: String,
    path: String,
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("give NAME=PATH")?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// The measurements of one run.
#[derive(Clone, Debug, Serialize)]
struct Run {
    figures: Figures,
    /// CPU time of the server per request, in milliseconds.
    server_ms: f64,
    /// CPU time of PostgreSQL per request, in milliseconds.
    postgres_ms: f64,
    /// Memory of the server after the run, in MiB.
    memory_mib: f64,
}

/// A workload at one concurrency, with or without persistent connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    workload: usize,
    keep_alive: bool,
    concurrency: usize,
}

impl Contest {
    /// Runs all cases and returns Markdown, with a table for each workload, and a sentence that says whether the first server's response times
    /// meet the requirement.
    pub async fn run(&self) -> Result<String> {
        let mut runs: BTreeMap<Case, Vec<Vec<Run>>> = BTreeMap::new();
        let cases = self.cases();
        for (n, case) in cases.iter().enumerate() {
            let workload = &self.workloads[case.workload].name;
            eprintln!(
                "{} of {}: {workload}, {} at once",
                n + 1,
                cases.len(),
                case.concurrency
            );
            let rounds = runs.entry(case.clone()).or_default();
            for round in 0..=self.rounds {
                let mut all = vec![None; self.servers.len()];
                for turn in 0..self.servers.len() {
                    // Each round begins with another server, because a server benefits from the caches that the servers before it have warmed.
                    let server = (turn + round) % self.servers.len();
                    all[server] = Some(self.one(case, &self.servers[server]).await?);
                }
                // Discards the first round, which only warms up the servers.
                if round > 0 {
                    rounds.push(all.into_iter().flatten().collect());
                }
            }
        }
        self.markdown(&runs)
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for workload in 0..self.workloads.len() {
            for keep_alive in [false, true] {
                for &concurrency in &self.concurrency {
                    cases.push(Case {
                        workload,
                        keep_alive,
                        concurrency,
                    });
                }
            }
        }
        cases
    }

    async fn one(&self, case: &Case, server: &Server) -> Result<Run> {
        let load = Load {
            paths: vec![self.workloads[case.workload].path.clone()],
            requests: usize::MAX,
            seconds: Some(self.seconds),
            concurrency: case.concurrency,
            rate: None,
            keep_alive: case.keep_alive,
        };
        let before = (process::usage(server.pid)?, process::usage(self.postgres)?);
        let figures = load.run(&server.url).await?;
        // Waits, because CPU time that a server uses just after the last response must count too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = (process::usage(server.pid)?, process::usage(self.postgres)?);
        let each = |before: &Usage, after: &Usage| {
            (after.cpu_ms - before.cpu_ms) / as_f64(figures.requests.max(1))
        };
        Ok(Run {
            server_ms: each(&before.0, &after.0),
            postgres_ms: each(&before.1, &after.1),
            memory_mib: after.0.memory_mib,
            figures,
        })
    }

    fn markdown(&self, runs: &BTreeMap<Case, Vec<Vec<Run>>>) -> Result<String> {
        let mut text = String::new();
        for (index, workload) in self.workloads.iter().enumerate() {
            writeln!(text, "### {}\n\n`{}`\n", workload.name, workload.path)?;
            writeln!(
                text,
                "| at once | server | requests/s | p50 ms | p95 ms | p99 ms | errors | CPU s of 1,000: server, PostgreSQL | MiB | kept alive: requests/s | p50 ms | p99 ms |"
            )?;
            writeln!(
                text,
                "| --: | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
            )?;
            for &concurrency in &self.concurrency {
                let of = |keep_alive| {
                    runs.get(&Case {
                        workload: index,
                        keep_alive,
                        concurrency,
                    })
                    .context("a case wasn't run")
                };
                let (new, kept) = (of(false)?, of(true)?);
                for (n, server) in self.servers.iter().enumerate() {
                    let median = |rounds: &[Vec<Run>], of: fn(&Run) -> f64| {
                        let mut values: Vec<_> = rounds.iter().map(|round| of(&round[n])).collect();
                        values.sort_unstable_by(f64::total_cmp);
                        quantile(&values, 0.5)
                    };
                    let ratio = if n == 0 {
                        String::new()
                    } else {
                        let mut ratios: Vec<_> = new
                            .iter()
                            .map(|round| rate(&round[0]) / rate(&round[n]))
                            .collect();
                        ratios.sort_unstable_by(f64::total_cmp);
                        format!(" ({:.2} ×)", quantile(&ratios, 0.5))
                    };
                    let kept_ratio = if n == 0 {
                        String::new()
                    } else {
                        let mut ratios: Vec<_> = kept
                            .iter()
                            .map(|round| rate(&round[0]) / rate(&round[n]))
                            .collect();
                        ratios.sort_unstable_by(f64::total_cmp);
                        format!(" ({:.2} ×)", quantile(&ratios, 0.5))
                    };
                    let errors: usize = new
                        .iter()
                        .chain(kept)
                        .map(|round| errors(&round[n].figures))
                        .sum();
                    writeln!(
                        text,
                        "| {concurrency} | {} | {:.0}{ratio} | {:.2} | {:.2} | {:.2} | {errors} | {:.3}, {:.3} | {:.0} | {:.0}{kept_ratio} | {:.2} | {:.2} |",
                        server.name,
                        median(new, rate),
                        median(new, |run| ms(run.figures.p50_us)),
                        median(new, |run| ms(run.figures.p95_us)),
                        median(new, |run| ms(run.figures.p99_us)),
                        median(new, |run| run.server_ms),
                        median(new, |run| run.postgres_ms),
                        median(new, |run| run.memory_mib),
                        median(kept, rate),
                        median(kept, |run| ms(run.figures.p50_us)),
                        median(kept, |run| ms(run.figures.p99_us)),
                    )?;
                }
            }
            text.push('\n');
        }
        self.requirement(runs, &mut text)?;
        Ok(text)
    }

    /// Appends a sentence to `text` that says whether the first server meets the requirement: 95 % of queries take under 100 ms, the median
    /// response takes under 200 ms, and no request fails. The durations come from the headers of the server's responses, at the highest
    /// measured concurrency that doesn't exceed 100.
    fn requirement(&self, runs: &BTreeMap<Case, Vec<Vec<Run>>>, text: &mut String) -> Result<()> {
        let at = self.concurrency.iter().copied().filter(|&n| n <= 100).max();
        let Some(at) = at else { return Ok(()) };
        let first = runs
            .iter()
            .filter(|(case, _)| case.concurrency == at)
            .flat_map(|(_, rounds)| rounds.iter().map(|round| &round[0].figures));
        let (mut query_p95_us, mut process_p50_us, mut queries, mut failed) = (0, 0, 0, 0);
        for figures in first {
            query_p95_us = query_p95_us.max(figures.query_p95_us);
            process_p50_us = process_p50_us.max(figures.process_p50_us);
            queries += figures.query_count;
            failed += errors(figures);
        }
        let holds =
            queries > 0 && query_p95_us < 100_000 && process_p50_us < 200_000 && failed == 0;
        writeln!(
            text,
            "The requirement (95 % of queries under 100 ms, the median response under 200 ms, with 100 clients) {}: by the \
             headers of {}'s responses with {at} at once, the worst workload's X-Query-Time had a p95 of {:.2} ms, and its \
             X-Process-Time a median of {:.2} ms; {failed} requests failed.",
            if holds { "holds" } else { "does not hold" },
            self.servers[0].name,
            ms(query_p95_us),
            ms(process_p50_us),
        )?;
        Ok(())
    }
}

fn rate(run: &Run) -> f64 {
    run.figures.requests_per_s
}

fn errors(figures: &Figures) -> usize {
    let bad = figures
        .statuses
        .iter()
        .filter(|(status, _)| !(200..300).contains(*status));
    bad.map(|(_, count)| count).sum()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds: far below 2^53")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of requests: far below 2^53"
)]
fn as_f64(count: usize) -> f64 {
    count as f64
}
