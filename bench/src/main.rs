//! Loads servers with requests and says what came of it, for `scripts/bench`. The command line only.

use anyhow::Result;
use clap::Parser;
use reznet_bench::{Contest, Load, Native, compare};

/// Loads one server, or two in turn to compare them.
#[derive(Debug, Parser)]
#[command(name = "reznet-bench", version)]
enum Command {
    /// One server; its figures as JSON
    Load {
        /// As <http://127.0.0.1:3000>
        server: String,
        #[command(flatten)]
        load: Load,
    },
    /// Two servers in turn, round by round; each round's ratios, and their medians, as JSON
    Pair {
        /// The one that's measured
        server: String,
        /// The one it's measured against
        against: String,
        /// How often each is loaded; which one goes first alternates
        #[arg(long, default_value_t = 11)]
        rounds: usize,
        /// Path and query for the other one, where they aren't the same; several are sent in turn
        #[arg(long = "against-path")]
        against_paths: Vec<String>,
        #[command(flatten)]
        load: Load,
    },
    /// Several servers in turn; tables as Markdown
    Contest(Contest),
    /// Serves the benchmark's routes natively: the machine's limit
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
