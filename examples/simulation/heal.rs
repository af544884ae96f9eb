//! `heal`: a network is parted in two, and joined again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use network::sim::{self, Graph, Network};

use crate::experiment::Population;
use crate::form::target_plot;
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Value};
use crate::plot::{Connections, Plot};
use crate::progress::Progress;

/// A network is parted into two random halves, and joined again.
///
/// Shows whether the halves find each other again, how soon, and how far they mix. Nodes that are at their target need
/// nobody new, so without a rule for it two healthy halves stay apart for ever.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to form the network
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    before: Duration,

    /// Virtual minutes during which it is parted
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    parted: Duration,

    /// Virtual minutes to watch after it was joined
    #[arg(long, value_name = "MINUTES", default_value = "30", value_parser = minutes)]
    after: Duration,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    sim::run(options.common.seed, async |net: Network| {
        let parted_at = options.before;
        let joined_at = parted_at + options.parted;
        let end = joined_at + options.after;
        let mut population = Population::new(&net, &options.common, progress, end);
        let ips = population.addresses.spread(options.common.nodes);
        population.plan(&ips, Duration::from_secs(60).min(options.before));
        let halves = Halves::new(&mut population, ips);

        population.run_until(parted_at).await;
        let before = population.graph();
        halves.part(&net);
        population.run_until(joined_at).await;
        let parted = population.graph();
        let at_target_parted = population.share_at_target();
        net.heal();
        let time_to_one = population.run_until_reached(end, is_one_component).await;
        population.run_until(end).await;
        let after = population.graph();

        let mut outcome = Outcome::new("A network is parted and joined", options.common.describe());
        halves.report(&mut outcome, [&before, &parted, &after]);
        outcome.add(
            "share_at_target_parted",
            "nodes at their target: at the end of the partition",
            Value::Share(at_target_parted),
        );
        outcome.add(
            "share_at_target",
            "  at the end",
            Value::Share(population.share_at_target()),
        );
        outcome.add(
            "time_to_one_component",
            "one component again, after the halves were joined",
            Value::time(time_to_one),
        );
        let dials = population.dials_since(joined_at).per_node_minute;
        outcome.add(
            "dials_per_node_minute",
            "dials a node and minute since they were joined",
            Value::Number(dials),
        );
        let marks = vec![(parted_at, "parted".to_owned()), (joined_at, "joined".to_owned())];
        outcome.plots = vec![target_plot(&population, marks)];
        outcome.plots.extend(halves.pictures([&before, &parted, &after]));
        outcome.trace_hash = net.trace_hash();
        outcome
    })
}

fn is_one_component(population: &Population) -> bool {
    population.graph().components().len() == 1
}

/// Who belongs to the second half.
struct Halves(BTreeSet<IpAddr>);

impl Halves {
    fn new(population: &mut Population, mut ips: Vec<IpAddr>) -> Self {
        population.random.shuffle(&mut ips);
        Self(ips.drain(ips.len() / 2..).collect())
    }

    fn part(&self, net: &Network) {
        let second = self.0.clone();
        net.partition(move |ip| second.contains(&ip));
    }

    fn cross_share(&self, graph: &Graph) -> Value {
        Value::share(graph.cross_edges(|ip| self.0.contains(&ip)), graph.edges().len())
    }

    /// Of the graphs before and at the end of the partition, and at the end.
    fn report(&self, outcome: &mut Outcome, [before, parted, after]: [&Graph; 3]) {
        outcome.add(
            "cross_before",
            "connections between the halves: before",
            self.cross_share(before),
        );
        outcome.add(
            "cross_parted",
            "  at the end of the partition",
            self.cross_share(parted),
        );
        outcome.add("cross_after", "  at the end", self.cross_share(after));
        outcome.add(
            "components_parted",
            "components at the end of the partition",
            Value::Count(parted.components().len()),
        );
        outcome.add(
            "components_after",
            "components at the end",
            Value::Count(after.components().len()),
        );
    }

    fn pictures(&self, graphs: [&Graph; 3]) -> impl Iterator<Item = Plot> {
        let captions = ["Before", "At the end of the partition", "At the end, joined again"];
        captions
            .into_iter()
            .zip(graphs)
            .map(|(caption, graph)| self.picture(caption, graph))
    }

    fn picture(&self, caption: &str, graph: &Graph) -> Plot {
        Plot::Connections(Connections::new(caption, graph, |ip| self.0.contains(&ip)))
    }
}
