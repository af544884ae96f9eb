//! A whole network in one process: nodes on loopback addresses that find each other, lose a quarter of them, ban one
//! that misbehaves, and take the dead back. Exits with 0 only if every node ended where it should. See `README.md` in
//! this folder.

mod addresses;
mod board;
mod member;
mod town;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use board::Board;
use clap::{Parser, value_parser};
use network_examples::process;
use tokio::time;
use town::Town;

/// Runs a peer-to-peer network in one process and checks that it heals.
#[derive(Debug, Parser)]
struct Options {
    /// Nodes to run; all their addresses have to fit into one peer list
    #[arg(long, default_value_t = 24, value_name = "COUNT", value_parser = value_parser!(u8).range(24..=64))]
    nodes: u8,

    /// Outgoing connections that each node should keep
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = value_parser!(u8).range(1..=3))]
    target: u8,

    /// Seconds after which a phase has failed
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    limit: u64,
}

/// How often the nodes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often in a row everything has to be as it should be at the end.
const STEADY_LOOKS: usize = 20;

/// How often the nodes are shown between two phases, in a terminal.
const LOOKS_BETWEEN_PHASES: usize = 25;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(&Options::parse()).await)
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut run = Run {
        town: Town::start(options.nodes, options.target.into()).await?,
        board: Board::new(),
        limit: Duration::from_secs(options.limit),
    };
    let ended = tokio::select! {
        ended = run.play() => ended,
        asked = process::asked_to_end() => Err(asked.map_or_else(Into::into, |()| "interrupted".into())),
    };
    run.board.leave();
    // Nodes that are left must not write into a folder that is about to go.
    run.town.kill().await;
    let summary = ended?;
    println!("{summary}; done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

struct Run {
    town: Town,
    board: Board,
    limit: Duration,
}

impl Run {
    /// The whole story, and what is to be said of it.
    async fn play(&mut self) -> Result<String, Box<dyn Error>> {
        self.phase("find each other", 1).await?;
        let dead = self.town.kill_a_quarter().await;
        self.phase(&format!("replace {} dead", dead.len()), 1).await?;
        let rogue = self.town.turn_rogue();
        self.phase(&format!("ban {rogue}, which misbehaves"), 1).await?;
        self.town.revive().await?;
        self.phase("take the dead back", 1).await?;
        self.phase("stay so", STEADY_LOOKS).await?;
        let totals = self.town.totals();
        self.town.stop().await?;
        Ok(format!(
            "{} nodes with {} connections after {} dials, never two between a pair; {} banned {rogue}\n\
             back from the dead: {}\n\
             every node left a peers file that says so",
            self.town.len(),
            totals.connections,
            totals.dials,
            totals.bans,
            dead.join(" "),
        ))
    }

    /// Waits until nothing is wrong, `looks` times in a row.
    async fn phase(&mut self, name: &str, looks: usize) -> Result<(), Box<dyn Error>> {
        self.board.begin(name);
        let started = Instant::now();
        let mut steady = 0;
        while steady < looks {
            time::sleep(LOOK_INTERVAL).await;
            let complaints = self.town.complaints()?;
            steady = if complaints.is_empty() { steady + 1 } else { 0 };
            self.board.show_nodes(&self.town.rows());
            if looks > 1 {
                self.board.show_progress(steady, looks);
            } else {
                let running = self.town.running();
                self.board.show_progress(running - complaints.len(), running);
            }
            if started.elapsed() > self.limit {
                self.board.end("failed");
                return Err(failure(name, &complaints).into());
            }
        }
        let took = started.elapsed().as_secs_f64();
        self.board.end(&format!("done in {took:.1} s"));
        self.linger().await;
        Ok(())
    }

    /// Leaves time to look, where somebody does.
    async fn linger(&mut self) {
        let looks = if self.board.is_live() { LOOKS_BETWEEN_PHASES } else { 0 };
        for _ in 0..looks {
            time::sleep(LOOK_INTERVAL).await;
            self.board.show_nodes(&self.town.rows());
        }
    }
}

fn failure(phase: &str, complaints: &[(String, String)]) -> String {
    let lines: Vec<String> = complaints
        .iter()
        .map(|(node, what)| format!("\n  {node} {what}"))
        .collect();
    format!("not in time: {phase}{}", lines.concat())
}
