//! The command line of the load generator, for `scripts/bench`.

use anyhow::Result;
use clap::Parser;
use reznet_bench::{Contest, Load, Native, compare};

/// Measures one server, or compares several in turn.
#[derive(Debug, Parser)]
#[command(name = "reznet-bench", version)]
enum Command {
    /// Loads one server and prints its figures as JSON
    Load {
        /// URL of the server, such as <http://127.0.0.1:3000>
        server: String,
        #[command(flatten)]
        load: Load,
    },
    /// Loads two servers in turn and prints each round's figures and the medians of their ratios as JSON
    Pair {
        /// URL of the measured server
        server: String,
        /// URL of the server to compare with
        against: String,
        /// Number of rounds; the server that goes first alternates
        #[arg(long, default_value_t = 11)]
        rounds: usize,
        /// Path and query of a request to the other server, if its requests differ; several paths are requested in turn
        #[arg(long = "against-path")]
        against_paths: Vec<String>,
        #[command(flatten)]
        load: Load,
    },
    /// Compares several servers in turn and prints tables as Markdown
    Contest(Contest),
    /// Serves the benchmark's routes natively, to show the machine's limit
    Native(Native),
}

#[tokio::main]
async fn main() -> Result<()> {
    let figures = match Command::parse() {
        Command::Load { server, load } => serde_json::to_value(load.run(&server).await?)?,
        Command::Pair {
            server,
            against,
            rounds,
            against_paths,
            load,
        } => {
            let mut against_load = load.clone();
            if !against_paths.is_empty() {
                against_load.paths = against_paths;
            }
            let comparison = compare((&server, &load), (&against, &against_load), rounds).await?;
            serde_json::to_value(comparison)?
        }
        Command::Contest(contest) => {
            println!("{}", contest.run().await?);
            return Ok(());
        }
        Command::Native(native) => return native.serve().await,
    };
    println!("{figures}");
    Ok(())
}
