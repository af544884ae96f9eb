//! `slots`: about as many connections are wanted as there are places for them.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::experiment::Population;
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Table, Value};
use crate::plot::{Lines, Plot};
use crate::progress::Progress;

/// About as many connections are wanted as there are places for them.
///
/// Shows how many nodes are at their target, and how many dials it costs, as places get scarce: one row for each number
/// of places for one wanted connection.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
#[command(mut_arg("places", |arg| arg.hide(true)))]
pub struct Options {
    /// Places for one wanted connection
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [0.75, 1.0, 1.25, 1.5, 2.0])]
    ratios: Vec<f64>,

    /// Virtual minutes of each run
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = minutes)]
    minutes: Duration,

    #[command(flatten)]
    common: Common,
}

/// Dials are counted in the last part of a run, when the network has settled.
const SETTLED: Duration = Duration::from_secs(300);

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let common = &options.common;
    let mut outcome = Outcome::new(
        "Places are scarce",
        format!("{} nodes, target {}, seed {}", common.nodes, common.target, common.seed),
    );
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for (run, &ratio) in options.ratios.iter().enumerate() {
        progress.begin_run(run + 1, options.ratios.len());
        let places = places(common.target, ratio);
        let run = run_once(options, places, progress);
        rows.push(run.row);
        lines.push((format!("{places} places"), run.samples));
        outcome.add_hash(run.trace_hash);
    }
    outcome.table = Some(Table {
        columns: vec![
            ("places", "places"),
            ("share_at_target", "at target"),
            ("filled", "made of wanted"),
            ("places_used", "places used"),
            ("dials_per_node_minute", "dials/node/min"),
            ("components", "components"),
        ],
        rows,
    });
    outcome.plots = vec![Plot::Lines(Lines {
        caption: format!("Nodes at their target of {}", common.target),
        measure: "nodes at their target".to_owned(),
        lines,
        marks: Vec::new(),
    })];
    outcome
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is fine here"
)]
fn places(target: usize, ratio: f64) -> usize {
    (target as f64 * ratio).round() as usize
}

struct Run {
    row: Vec<Value>,
    samples: Vec<(Duration, f64)>,
    trace_hash: u64,
}

fn run_once(options: &Options, places: usize, progress: &Progress) -> Run {
    let common = Common {
        places,
        ..options.common.clone()
    };
    sim::run(common.seed, async |net: Network| {
        let mut population = Population::new(&net, &common, progress, options.minutes);
        let ips = population.addresses.spread(common.nodes);
        population.plan(&ips, Duration::from_secs(60).min(options.minutes));
        let settled = options.minutes.saturating_sub(SETTLED);
        population.run_until(options.minutes).await;
        let graph = population.graph();
        let edges = graph.edges().len();
        Run {
            row: vec![
                Value::Count(places),
                Value::Share(population.share_at_target()),
                Value::share(edges, common.target * common.nodes),
                Value::share(edges, places * common.nodes),
                Value::Number(population.dials_since(settled).per_node_minute),
                Value::Count(graph.components().len()),
            ],
            samples: population.samples().to_vec(),
            trace_hash: net.trace_hash(),
        }
    })
}
