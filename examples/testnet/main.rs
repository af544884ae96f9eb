//! A whole network in one process: nodes on loopback addresses find each other, a quarter of them is killed and replaced,
//! one that misbehaves is banned, and the killed nodes come back. Exits with 0 only if all nodes are in the expected state
//! at the end. See `README.md` in the folder above.

mod addresses;
mod board;
mod node;
mod nodes;
mod screen;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use board::Board;
use clap::{Parser, value_parser};
use network_examples::process;
use nodes::Nodes;
use tokio::time;

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

/// Between two checks of all nodes.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How many checks in a row have to pass at the end.
const FINAL_CHECKS: usize = 20;

/// How often the table is updated between two phases, in a terminal.
const UPDATES_BETWEEN_PHASES: usize = 25;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(&Options::parse()).await)
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let asked_to_end = process::asked_to_end()?;
    let mut run = Run {
        nodes: Nodes::start(options.nodes, options.target.into()).await?,
        board: Board::new(),
        limit: Duration::from_secs(options.limit),
    };
    let ended = tokio::select! {
        ended = run.play() => ended,
        () = asked_to_end => Err("interrupted".into()),
    };
    run.board.leave();
    // Running nodes must not write into a folder that is about to be removed.
    run.nodes.kill().await;
    let summary = ended?;
    println!("{summary}; done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

struct Run {
    nodes: Nodes,
    board: Board,
    limit: Duration,
}

impl Run {
    /// All phases. Returns a summary.
    async fn play(&mut self) -> Result<String, Box<dyn Error>> {
        self.phase("find each other", 1).await?;
        let killed = self.nodes.kill_a_quarter().await;
        self.phase(&format!("replace {} killed", killed.len()), 1).await?;
        let rogue = self.nodes.start_misbehaving();
        self.phase(&format!("ban {rogue}, which misbehaves"), 1).await?;
        self.nodes.restart_killed().await?;
        self.phase("take them back", 1).await?;
        self.phase("stay so", FINAL_CHECKS).await?;
        let totals = self.nodes.totals();
        self.nodes.stop().await?;
        Ok(format!(
            "{} nodes with {} connections after {} dials; {} banned {rogue}\n\
             killed and back: {}\n\
             the peers file of each node says so",
            self.nodes.len(),
            totals.connections,
            totals.dials,
            totals.bans,
            killed.join(" "),
        ))
    }

    /// Waits until so many checks in a row have found nothing wrong.
    async fn phase(&mut self, name: &str, checks: usize) -> Result<(), Box<dyn Error>> {
        let unit = if checks > 1 {
            "checks passed"
        } else {
            "nodes as expected"
        };
        self.board.begin(name, unit);
        let started = Instant::now();
        let mut passed = 0;
        while passed < checks {
            time::sleep(CHECK_INTERVAL).await;
            let problems = self.nodes.problems()?;
            passed = if problems.is_empty() { passed + 1 } else { 0 };
            self.board.show_nodes(self.nodes.rows());
            if checks > 1 {
                self.board.show_progress(passed, checks);
            } else {
                let running = self.nodes.running();
                self.board.show_progress(running - problems.len(), running);
            }
            if started.elapsed() > self.limit {
                self.board.end("failed");
                return Err(failure(name, &problems).into());
            }
        }
        let took = started.elapsed().as_secs_f64();
        self.board.end(&format!("in {took:.1} s"));
        self.pause().await;
        Ok(())
    }

    /// Leaves time to read the table, in a terminal.
    async fn pause(&mut self) {
        let updates = if self.board.is_live() {
            UPDATES_BETWEEN_PHASES
        } else {
            0
        };
        for _ in 0..updates {
            time::sleep(CHECK_INTERVAL).await;
            self.board.show_nodes(self.nodes.rows());
        }
    }
}

fn failure(phase: &str, problems: &[(String, String)]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|(node, what)| format!("\n  {node} {what}"))
        .collect();
    format!("not in time: {phase}{}", lines.concat())
}
