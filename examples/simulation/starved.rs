//! `starved`: nobody answers for an hour.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::experiment::{Population, Start};
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Value};
use crate::progress::Progress;

/// One node knows some others, none of which answers for an hour; then all do.
///
/// Shows how many dials it makes meanwhile, as a laptop without a network would, and how soon it is connected after.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
#[command(mut_arg("nodes", |arg| arg.default_value("9").help("Nodes, the starved one included; it knows all others")))]
#[command(mut_arg("bootstraps", |arg| arg.hide(true)))]
#[command(mut_arg("bootstrap_places", |arg| arg.hide(true)))]
#[command(mut_arg("seeds", |arg| arg.hide(true)))]
pub struct Options {
    /// Virtual minutes during which nobody answers
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = minutes)]
    silence: Duration,

    /// Virtual minutes to watch after that
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = minutes)]
    after: Duration,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let others = options.common.nodes.saturating_sub(1);
    let target = options.common.target.min(others);
    let common = Common {
        bootstraps: 0,
        ..options.common.clone()
    };
    sim::run(common.seed, async |net: Network| {
        let end = options.silence + options.after;
        let mut population = Population::new(&net, &common, progress, end);
        let ips = population.addresses.spread(others);
        let starved = population.addresses.draw();
        let start = |ip, knows: &[_]| Start {
            ip,
            knows: knows.to_vec(),
            records: Vec::new(),
        };
        population.plan_start(Duration::ZERO, start(starved, &ips));
        // What has no host does not answer.
        for &ip in &ips {
            population.plan_start(options.silence, start(ip, &ips));
        }
        let last_minutes = options.silence.saturating_sub(Duration::from_secs(600));
        population
            .run_until(options.silence.saturating_sub(Duration::from_millis(1)))
            .await;
        let (dials, last_dials) = (
            population.dials_since(Duration::ZERO),
            population.dials_since(last_minutes),
        );
        // The others dial it, too, as soon as one has told them of it.
        let is_connected = |population: &Population| {
            let peers = population.members()[&starved].node.stats().peers;
            peers.out_alive + peers.in_alive >= target
        };
        let time = population.run_until_reached(end, is_connected).await;

        let mut outcome = Outcome::new(
            "Nobody answers, and then all do",
            format!("{others} known peers, target {target}, seed {}", common.seed),
        );
        outcome.add("dials", "dials while nobody answered", Value::Number(dials.per_node));
        outcome.add(
            "dials_per_minute_late",
            "  a minute, in the last ten minutes",
            Value::Number(last_dials.per_node_minute),
        );
        outcome.add(
            "time_to_connections",
            "from then until it has as many connections as it wants",
            Value::time(time),
        );
        outcome.trace_hash = net.trace_hash();
        outcome
    })
}
