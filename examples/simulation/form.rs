//! `form`: a network forms from nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use network::sim::{self, Degrees, Graph, Network};

use crate::addresses::subnet_of;
use crate::experiment::{Population, mean, percentile};
use crate::options::{Common, minutes, seconds};
use crate::outcome::{Outcome, Table, Value};
use crate::plot::{Histogram, Lines, Plot};
use crate::progress::Progress;

/// A network forms: nodes that know nothing but the bootstraps start within a minute.
///
/// Shows how soon they have their connections, whether one network comes of it, and how evenly it mixes. With
/// `--seeds keep` the bootstraps are full soon: newcomers are refused, and learn of nobody else.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to watch
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    minutes: Duration,

    /// Seconds within which all nodes start
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    spread: Duration,

    #[command(flatten)]
    common: Common,
}

/// How often it is looked whether the network has one component.
const COMPONENT_INTERVAL: Duration = Duration::from_secs(10);

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let outcome = Outcome::new("A network forms", options.common.describe());
    sim::run(options.common.seed, async |net: Network| {
        let mut population = Population::new(&net, &options.common, progress, options.minutes);
        let ips = population.addresses.spread(options.common.nodes);
        population.plan(&ips, options.spread);
        watch(&mut population, outcome, options.minutes).await
    })
}

/// Lets a network form whose nodes are planned.
pub async fn watch(population: &mut Population, mut outcome: Outcome, end: Duration) -> Outcome {
    let one_component_from = watch_components(population, end).await;
    let graph = population.graph();
    add_target_figures(&mut outcome, population);
    outcome.add(
        "one_component_from",
        "one component from",
        Value::time(one_component_from),
    );
    add_graph_figures(&mut outcome, &graph);
    let known = population
        .members()
        .values()
        .map(|member| member.node.stats().peers.total() as f64);
    outcome.add("known_peers", "known peers of a node", Value::Number(mean(known)));
    let dials = population.dials_since(Duration::ZERO);
    outcome.add(
        "dials_per_node_minute",
        "dials a node and minute",
        Value::Number(dials.per_node_minute),
    );
    outcome.table = Some(in_degrees_by_subnet(&graph.in_degrees()));
    outcome.plots = vec![target_plot(population, Vec::new()), in_degree_plot(&graph.in_degrees())];
    outcome.trace_hash = population.net.trace_hash();
    outcome
}

/// Answers since when there has been one component.
async fn watch_components(population: &mut Population, end: Duration) -> Option<Duration> {
    let mut since = None;
    while population.net.now() < end {
        let next = population.net.now() + COMPONENT_INTERVAL;
        population.run_until(next.min(end)).await;
        let is_one = population.graph().components().len() == 1;
        since = since.filter(|_| is_one).or(is_one.then(|| population.net.now()));
    }
    since
}

/// Who is at its target, and how long it took.
pub fn add_target_figures(outcome: &mut Outcome, population: &Population) {
    let members = population.members();
    outcome.add(
        "share_at_target",
        "nodes at their target",
        Value::Share(population.share_at_target()),
    );
    let times: Vec<Duration> = members.values().filter_map(|member| member.time_to_target).collect();
    let never = members.len() - times.len();
    for (key, label, share) in [
        ("time_to_target_p50", "from a node's start to its target: median", 0.5),
        ("time_to_target_p90", "  90 % within", 0.9),
        ("time_to_target_p99", "  99 % within", 0.99),
    ] {
        outcome.add(key, label, Value::time(percentile(&times, share)));
    }
    outcome.add(
        "never_at_target",
        "  nodes that never were (not in the line above)",
        Value::Count(never),
    );
}

/// The measures of a graph.
pub fn add_graph_figures(outcome: &mut Outcome, graph: &Graph) {
    let components = graph.components();
    let alone = components.iter().filter(|members| members.len() == 1).count();
    outcome.add("components", "components", Value::Count(components.len()));
    outcome.add("alone", "  of them nodes without any connection", Value::Count(alone));
    let paths = graph.path_lengths();
    outcome.add(
        "path_mean",
        "connections between two nodes: mean",
        Value::Number(paths.mean),
    );
    outcome.add("path_longest", "  longest", Value::Count(paths.longest));
    outcome.add(
        "clustering",
        "clustering coefficient",
        Value::Number(graph.clustering()),
    );
    let degrees = graph.in_degrees();
    let zeros = Value::share(degrees.zeros(), graph.nodes().len());
    outcome.add(
        "in_degree_mean",
        "incoming connections of a node: mean",
        Value::Number(degrees.mean()),
    );
    outcome.add(
        "in_degree_sd",
        "  standard deviation",
        Value::Number(degrees.standard_deviation()),
    );
    outcome.add("in_degree_max", "  most", Value::Count(degrees.max()));
    outcome.add("in_degree_zeros", "  nodes without any", zeros);
}

/// Nodes that are alone in their subnet are found more easily than those among many.
fn in_degrees_by_subnet(degrees: &Degrees) -> Table {
    let mut sizes: HashMap<Vec<u8>, usize> = HashMap::new();
    for (ip, _) in degrees.iter() {
        *sizes.entry(subnet_of(ip)).or_default() += 1;
    }
    let size = |ip: IpAddr| sizes[&subnet_of(ip)];
    let row = |&(least, most): &(usize, usize)| {
        let of_class = degrees.iter().filter(|&(ip, _)| (least..=most).contains(&size(ip)));
        let degrees: Vec<f64> = of_class.map(|(_, degree)| degree as f64).collect();
        let count = degrees.len();
        let mean = Value::Number(mean(degrees));
        vec![Value::Count(least), Value::Count(most), Value::Count(count), mean]
    };
    Table {
        columns: vec![
            ("subnet_size_least", "nodes in a /16, from"),
            ("subnet_size_most", "to"),
            ("nodes", "nodes of such"),
            ("in_degree_mean", "incoming, mean"),
        ],
        rows: [(1, 1), (2, 8), (9, 64), (65, 128), (129, 65_536)]
            .iter()
            .map(row)
            .filter(|row| row[2] != Value::Count(0))
            .collect(),
    }
}

/// The share of nodes at their target over time.
#[must_use]
pub fn target_plot(population: &Population, marks: Vec<(Duration, String)>) -> Plot {
    Plot::Lines(Lines {
        caption: "Nodes at their target".to_owned(),
        measure: "nodes at their target".to_owned(),
        lines: vec![(String::new(), population.samples().to_vec())],
        marks,
    })
}

/// How many nodes have how many incoming connections.
#[must_use]
pub fn in_degree_plot(degrees: &Degrees) -> Plot {
    Plot::Histogram(Histogram {
        caption: "Incoming connections at the end".to_owned(),
        measure: "incoming connections of a node".to_owned(),
        nodes: degrees.histogram(),
    })
}
