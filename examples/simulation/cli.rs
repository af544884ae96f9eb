//! [`Cli`]: the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::{churn, eclipse, form, gossip, heal, islands, restart, slots, speed, starved, subnet};

/// Simulates networks of thousands of real controllers, in virtual time on one thread, and measures them.
///
/// Every run can be replayed: the same experiment, options and seed give the same numbers.
#[derive(Debug, Parser)]
#[command(name = "simulation")]
pub struct Cli {
    /// What to find out
    #[command(subcommand)]
    pub experiment: Experiment,

    /// Print JSON, not a table
    #[arg(long, global = true)]
    pub json: bool,

    /// Draw the outcome into an SVG file
    #[arg(long, global = true, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// What to find out.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each has its options' documentation, as its help")]
pub enum Experiment {
    Form(form::Options),
    Heal(heal::Options),
    Islands(islands::Options),
    Restart(restart::Options),
    Churn(churn::Options),
    Eclipse(eclipse::Options),
    Slots(slots::Options),
    Starved(starved::Options),
    Speed(speed::Options),
    Gossip(gossip::Options),
    Subnet(subnet::Options),
}

impl Experiment {
    /// Runs it, with a progress bar.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let progress = Progress::new();
        match self {
            Self::Form(options) => form::run(options, &progress),
            Self::Heal(options) => heal::run(options, &progress),
            Self::Islands(options) => islands::run(options, &progress),
            Self::Restart(options) => restart::run(options, &progress),
            Self::Churn(options) => churn::run(options, &progress),
            Self::Eclipse(options) => eclipse::run(options, &progress),
            Self::Slots(options) => slots::run(options, &progress),
            Self::Starved(options) => starved::run(options, &progress),
            Self::Speed(options) => speed::run(options, &progress),
            Self::Gossip(options) => gossip::run(options, &progress),
            Self::Subnet(options) => subnet::run(options, &progress),
        }
    }

    /// Whether its outcome can be drawn.
    #[must_use]
    pub fn has_pictures(&self) -> bool {
        !matches!(self, Self::Islands(_) | Self::Starved(_) | Self::Speed(_))
    }
}
