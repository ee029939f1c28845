//! The soak test. Clients write and read while faults occur in the network and the database server. The suite proves that no
//! acknowledged write is lost, no write is executed twice, and no resource leaks. `scripts/soak` builds and runs the suite.
//!
//! The faults and the clients' actions are chosen at random. The suite prints the seed, with which a run has the same faults and actions.
//! But their timing depends on the machine, so a run isn't exactly repeatable.

mod clients;
mod faults;
mod proof;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use support::{Cluster, Edge, Proxy, database_variables, migrate};
use tokio::time::sleep;

use clients::{Clients, Phase};
use faults::Faults;
use proof::Leaks;

/// The time that the API has to recover after the last fault.
const RECOVERY: Duration = Duration::from_secs(10);

/// The time before measurements begin. In this time, the component opens connections and prepares statements.
const WARM_UP: Duration = Duration::from_secs(10);

/// The highest permitted ratio of the p95 response time after the faults to the p95 response time before the faults.
const SLOWER: f64 = 1.2;

/// Writes during faults, then proves that no acknowledged write is lost, duplicated or incomplete.
#[derive(Debug, Parser)]
struct Options {
    /// Minutes of faults
    #[arg(default_value_t = 20.0)]
    minutes: f64,
    /// Seed of the faults and the clients; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Number of concurrent clients
    #[arg(long, default_value_t = 24)]
    clients: usize,
    /// Don't fail if responses are slower after the faults; for machines that run other programs at the same time
    #[arg(long)]
    no_speed: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(rand::random);
    println!(
        "soak: {} minutes of faults, {} clients, --seed {seed}",
        options.minutes, options.clients
    );
    let violations = soak(&options, seed).await;
    for violation in violations.iter().take(50) {
        println!("VIOLATION  {violation}");
    }
    // Prints a result line like that of cargo test, because scripts/test adds up the numbers in such lines.
    let verdict = if violations.is_empty() {
        "ok. 1 passed; 0"
    } else {
        "FAILED. 0 passed; 1"
    };
    println!(
        "test result: {verdict} failed; {} violations, --seed {seed}",
        violations.len()
    );
    if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the soak test and returns the violations.
async fn soak(options: &Options, seed: u64) -> Vec<String> {
    let cluster = Arc::new(Cluster::start_durable());
    migrate(&cluster.url()).expect("the new cluster can be migrated");
    let proxy = Arc::new(Proxy::start(&cluster.host()).await);
    let url = proxy.url(&cluster.app_url());
    let mut variables = database_variables(&url).to_vec();
    variables.push(("db_statement_timeout_ms", "2000"));
    let config = std::env::temp_dir().join(format!("reznet-soak-{}.toml", std::process::id()));
    // Permits only 8 database connections, so that requests fail if a few connections leak.
    std::fs::write(&config, "[outbound_pg]\nmax_connections = 8\n")
        .expect("the file can be written");
    let flags = ["--runtime-config-file", config.to_str().expect("a path")];
    let edge = Edge::start_at(&variables, &flags)
        .await
        .letting_statements_repeat();
    std::fs::remove_file(&config).expect("the host has read it");
    let edge = Arc::new(edge);

    let faults_for = Duration::from_secs_f64(options.minutes * 60.0);
    let measured_for = (faults_for / 4).clamp(Duration::from_secs(10), Duration::from_mins(1));
    let clients = Clients::start(edge.clone(), options.clients, seed).await;
    sleep(WARM_UP).await;
    clients.enter(Phase::Before);
    wait(&clients, measured_for, "before any fault").await;
    let leaks = Leaks::measure(&cluster, &edge).await;

    clients.enter(Phase::Faults);
    let faults = Faults::start(proxy, cluster.clone(), seed, Instant::now() + faults_for);
    wait(&clients, faults_for, "faults").await;
    let counts = faults.end().await;
    clients.enter(Phase::Recovery);
    wait(&clients, RECOVERY, "recovering").await;
    clients.enter(Phase::After);
    wait(&clients, measured_for, "after the last fault").await;

    let ledger = clients.end().await;
    println!("faults: {counts}");
    println!("{}", ledger.summary());
    let mut violations = proof::violations(&ledger, &cluster.client().await).await;
    violations.extend(leaks.grown(&cluster, &edge).await);
    let (before_ms, after_ms) = (ledger.p95_ms(Phase::Before), ledger.p95_ms(Phase::After));
    let ratio = after_ms / before_ms;
    println!(
        "p95 of a second, its median: {before_ms:.2} ms before, {after_ms:.2} ms from 10 s after the last fault on: {ratio:.2} times"
    );
    // The ratio is NaN if a phase has no successful response. The comparison is negated, so that NaN is a violation too.
    if !(ratio <= SLOWER || options.no_speed) {
        violations.push(format!(
            "p95 is {ratio:.2} times that of before: {SLOWER} is the most"
        ));
    }
    violations
}

/// Waits, and prints the number of answers by status every 10 s.
async fn wait(clients: &Clients, time: Duration, what: &str) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        sleep(left.min(Duration::from_secs(10))).await;
        println!(
            "{what}, {:>4} s left: {}",
            left.as_secs().saturating_sub(10),
            clients.statuses()
        );
    }
}
