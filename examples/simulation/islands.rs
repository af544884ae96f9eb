//! `islands`: nodes that know few others form several networks.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::experiment::{Population, Start, mean};
use crate::options::{Common, minutes, seconds};
use crate::outcome::{Outcome, Table, Value};
use crate::progress::Progress;

/// Each node knows one random other node, and bootstraps that have room for few.
///
/// Shows in how many of a number of runs nodes are left apart: those that have met their targets among themselves do not
/// look for others. The fewer connections each wants, the more often it happens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
#[command(mut_arg("nodes", |arg| arg.default_value("100")))]
#[command(mut_arg("seeds", |arg| arg.default_value("keep")))]
#[command(mut_arg("bootstrap_places", |arg| arg.default_value("8")))]
#[command(mut_arg("target", |arg| arg.hide(true)))]
pub struct Options {
    /// Outgoing connections that each node wants, one row each
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_values_t = [2, 3, 4, 8])]
    targets: Vec<usize>,

    /// Runs for each target, with seeds that count up from `--seed`
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    runs: u64,

    /// Virtual minutes of each run
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = minutes)]
    minutes: Duration,

    /// Seconds within which all nodes start
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    spread: Duration,

    #[command(flatten)]
    common: Common,
}

impl Options {
    fn describe(&self) -> String {
        let common = &self.common;
        format!(
            "{} nodes, {} bootstraps, seeds from {} on",
            common.nodes, common.bootstraps, common.seed
        )
    }
}

/// What became of one run.
struct Run {
    components: usize,
    /// Nodes outside the largest component.
    apart: usize,
    trace_hash: u64,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let mut outcome = Outcome::new(
        "Nodes know one other node each, and bootstraps with few places",
        options.describe(),
    );
    let mut with_islands_in_all = 0;
    let mut rows = Vec::new();
    let total = options.targets.len() * usize::try_from(options.runs).unwrap_or(usize::MAX);
    let mut begun = 0;
    for &target in &options.targets {
        let runs: Vec<Run> = (0..options.runs)
            .map(|run| {
                begun += 1;
                progress.begin_run(begun, total);
                run_once(options, target, options.common.seed + run, progress)
            })
            .collect();
        let with_islands = runs.iter().filter(|run| run.components > 1).count();
        with_islands_in_all += with_islands;
        rows.push(vec![
            Value::Count(target),
            Value::Count(runs.len()),
            Value::Count(with_islands),
            Value::Number(mean(runs.iter().map(|run| run.components as f64))),
            Value::Count(runs.iter().map(|run| run.apart).max().unwrap_or(0)),
        ]);
        for run in &runs {
            outcome.add_hash(run.trace_hash);
        }
    }
    outcome.table = Some(Table {
        columns: vec![
            ("target", "target"),
            ("runs", "runs"),
            ("runs_with_islands", "with islands"),
            ("components_mean", "components, mean"),
            ("apart_most", "nodes apart, most"),
        ],
        rows,
    });
    outcome.add(
        "runs_with_islands",
        "runs with islands, of all",
        Value::Count(with_islands_in_all),
    );
    outcome
}

fn run_once(options: &Options, target: usize, seed: u64, progress: &Progress) -> Run {
    let common = Common {
        seed,
        target,
        ..options.common.clone()
    };
    sim::run(seed, async |net: Network| {
        let mut population = Population::new(&net, &common, progress, options.minutes);
        let ips = population.addresses.spread(common.nodes);
        let bootstraps = common.bootstraps.min(ips.len());
        population.plan(&ips[..bootstraps], options.spread);
        for &ip in &ips[bootstraps..] {
            let mut knows = ips[..bootstraps].to_vec();
            knows.push(ips[population.random.index(0..ips.len())]);
            let at = options.spread.mul_f64(population.random.share());
            population.plan_start(
                at,
                Start {
                    ip,
                    knows,
                    records: Vec::new(),
                },
            );
        }
        population.run_until(options.minutes).await;
        let components = population.graph().components();
        Run {
            components: components.len(),
            apart: components.iter().skip(1).map(Vec::len).sum(),
            trace_hash: net.trace_hash(),
        }
    })
}
