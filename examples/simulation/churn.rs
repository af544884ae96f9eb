//! `churn`: nodes leave and others join, all the time.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Kill, Network};

use crate::experiment::{Population, mean, percentile};
use crate::form::{in_degree_plot, target_plot};
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Value};
use crate::progress::Progress;

/// Nodes leave all the time, and others join in their place.
///
/// Every other one leaves without a word, as by a power cut; the others reset their connections. Newcomers have new
/// addresses and know the bootstraps only. Shows how much of their time nodes are at their target, and at what price.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to form the network
    #[arg(long, value_name = "MINUTES", default_value = "5", value_parser = minutes)]
    before: Duration,

    /// Virtual minutes of churn
    #[arg(long, value_name = "MINUTES", default_value = "30", value_parser = minutes)]
    minutes: Duration,

    /// Percent of all nodes that leave in a minute
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    rate: f64,

    #[command(flatten)]
    common: Common,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if percent > 0.0 && percent <= 1_000.0 {
        return Ok(percent);
    }
    Err("expected more than 0 and at most 1000".to_owned())
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    sim::run(options.common.seed, async |net: Network| {
        let end = options.before + options.minutes;
        let mut population = Population::new(&net, &options.common, progress, end);
        let ips = population.addresses.spread(options.common.nodes);
        population.plan(&ips, Duration::from_secs(60).min(options.before));
        population.run_until(options.before).await;
        let replaced = replace_until(&mut population, options, end).await;

        let mut outcome = Outcome::new(
            format!("{} % of the nodes leave in a minute", options.rate),
            options.common.describe(),
        );
        outcome.add("replaced", "nodes that were replaced", Value::Count(replaced));
        let samples = population.samples().iter().filter(|&&(at, _)| at > options.before);
        let time_at_target = mean(samples.map(|&(_, share)| share));
        outcome.add(
            "time_at_target",
            "time at target, of all nodes' time",
            Value::Share(time_at_target),
        );
        let newcomers = population
            .members()
            .values()
            .filter(|member| member.started >= options.before);
        let times: Vec<Duration> = newcomers.filter_map(|member| member.time_to_target).collect();
        outcome.add(
            "time_to_target_p50",
            "from a newcomer's start to its target: median",
            Value::time(percentile(&times, 0.5)),
        );
        outcome.add(
            "time_to_target_p99",
            "  99 % within",
            Value::time(percentile(&times, 0.99)),
        );
        let dials = population.dials_since(options.before).per_node_minute;
        outcome.add("dials_per_node_minute", "dials a node and minute", Value::Number(dials));
        let components = population.graph().components().len();
        outcome.add("components", "components at the end", Value::Count(components));
        outcome.plots = vec![
            target_plot(&population, vec![(options.before, "churn".to_owned())]),
            in_degree_plot(&population.graph().in_degrees()),
        ];
        outcome.trace_hash = net.trace_hash();
        outcome
    })
}

/// Answers how many were replaced.
async fn replace_until(population: &mut Population, options: &Options, end: Duration) -> usize {
    let per_minute = options.common.nodes as f64 * options.rate / 100.0;
    let interval = Duration::from_secs_f64(60.0 / per_minute.max(1e-3));
    let mut replaced = 0;
    let mut next = options.before + interval;
    while next < end {
        population.run_until(next).await;
        let how = if replaced % 2 == 0 { Kill::Silent } else { Kill::Reset };
        if replace_one(population, how) {
            replaced += 1;
        }
        next += interval;
    }
    population.run_until(end).await;
    replaced
}

/// A random node that is no bootstrap leaves, and another joins. Answers whether there was one.
fn replace_one(population: &mut Population, how: Kill) -> bool {
    let nodes = population.members().len();
    let bootstraps = population.bootstraps().to_vec();
    // The addresses are in ascending order, so bootstraps are anywhere among them.
    let mut others = population
        .members()
        .keys()
        .filter(|ip| !bootstraps.contains(ip))
        .copied()
        .collect::<Vec<_>>();
    if nodes == 0 || others.is_empty() {
        return false;
    }
    let leaves = others.swap_remove(population.random.index(0..others.len()));
    population.kill(leaves, how);
    let joins = population.addresses.draw();
    population.plan_newcomer(joins, population.net.now());
    true
}
