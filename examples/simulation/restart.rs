//! `restart`: all nodes restart at once.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Kill, Network};

use crate::experiment::{Population, Start};
use crate::form::target_plot;
use crate::options::{Common, minutes, seconds};
use crate::outcome::{Outcome, Value};
use crate::progress::Progress;

/// All nodes end at once, and come back with what they knew.
///
/// Shows how soon the network stands again, and whether its nodes overrun each other with dials: after a power cut, or
/// when everybody installs the same release.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to form the network
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    before: Duration,

    /// Seconds within which all nodes are back
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    within: Duration,

    /// Virtual minutes to watch after the restart
    #[arg(long, value_name = "MINUTES", default_value = "5", value_parser = minutes)]
    after: Duration,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    sim::run(options.common.seed, async |net: Network| {
        let end = options.before + options.after;
        let mut population = Population::new(&net, &options.common, progress, end);
        let ips = population.addresses.spread(options.common.nodes);
        population.plan(&ips, Duration::from_secs(60).min(options.before));
        population.run_until(options.before).await;
        let before = population.share_at_target();
        restart_all(&mut population, options.within);
        population
            .run_until(end.min(options.before + Duration::from_secs(10)))
            .await;
        let after_10_s = population.share_at_target();
        population.run_until(end).await;

        let mut outcome = Outcome::new("All nodes restart at once", options.common.describe());
        outcome.add(
            "share_at_target_before",
            "nodes at their target: before",
            Value::Share(before),
        );
        outcome.add(
            "share_at_target_10_s",
            "  10 s after all ended",
            Value::Share(after_10_s),
        );
        outcome.add(
            "share_at_target",
            "  at the end",
            Value::Share(population.share_at_target()),
        );
        let all = all_at_target(&population).map(|at| at.saturating_sub(options.before));
        outcome.add(
            "time_to_all_at_target",
            "until all had been at their target",
            Value::time(all),
        );
        let dials = population.dials_since(options.before);
        outcome.add(
            "dials_per_node",
            "dials of a node since then",
            Value::Number(dials.per_node),
        );
        let peak = Value::Number(dials.peak_per_node_second);
        outcome.add("dials_peak", "  in the second with most", peak);
        outcome.add(
            "components",
            "components at the end",
            Value::Count(population.graph().components().len()),
        );
        outcome.plots = vec![target_plot(&population, vec![(options.before, "restart".to_owned())])];
        outcome.trace_hash = net.trace_hash();
        outcome
    })
}

fn restart_all(population: &mut Population, within: Duration) {
    let ips: Vec<_> = population.members().keys().copied().collect();
    // Nobody may see others end before it was asked what it knows.
    let ended: Vec<_> = ips.iter().filter_map(|&ip| population.kill(ip, Kill::Reset)).collect();
    for (ip, member) in ips.into_iter().zip(ended) {
        let at = population.net.now() + within.mul_f64(population.random.share());
        let knows = population.bootstraps().to_vec();
        let records = member.node.records();
        population.plan_start(at, Start { ip, knows, records });
    }
}

/// When the last node was at its target for the first time since it started.
fn all_at_target(population: &Population) -> Option<Duration> {
    let times = population.members().values();
    times
        .map(|member| Some(member.started + member.time_to_target?))
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}
