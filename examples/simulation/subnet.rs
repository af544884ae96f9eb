//! `subnet`: all nodes live in one subnet.

use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::experiment::Population;
use crate::form;
use crate::options::{Common, minutes};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// All nodes live in one public /16, as those of one hosting company do.
///
/// Shows what the rule against connections to a subnet that one is connected with already costs such a network: the
/// time until nodes are at their target.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to watch
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = minutes)]
    minutes: Duration,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let outcome = Outcome::new("All nodes in one /16", options.common.describe());
    sim::run(options.common.seed, async |net: Network| {
        let mut population = Population::new(&net, &options.common, progress, options.minutes);
        let ips = population.addresses.subnet(options.common.nodes);
        population.plan(&ips, Duration::from_secs(60));
        form::watch(&mut population, outcome, options.minutes).await
    })
}
