//! `eclipse`: attackers try to be all that a node is connected with.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::attackers::{Attackers, Strength};
use crate::experiment::Population;
use crate::form::{in_degree_plot, target_plot};
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Value};
use crate::progress::Progress;

/// Attackers of a few subnets tell of nobody but each other, and connect to all they can.
///
/// Some victims join late. Shows how many of the honest nodes' connections lead to attackers, and how many nodes are
/// wholly eclipsed: without a single connection to an honest one, so that attackers decide what it learns of the world.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Attackers
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    attackers: usize,

    /// Subnets (/16) that they live in
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    subnets: usize,

    /// Virtual minutes after which the attackers start; 0 is before all others
    #[arg(long, value_name = "MINUTES", default_value = "0", value_parser = minutes)]
    attack_after: Duration,

    /// Honest nodes that join late, as a part of all nodes
    #[arg(long, value_name = "COUNT", default_value_t = 80)]
    victims: usize,

    /// Virtual minutes after which they join
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    victims_after: Duration,

    /// Virtual minutes to watch
    #[arg(long, value_name = "MINUTES", default_value = "30", value_parser = minutes)]
    minutes: Duration,

    #[command(flatten)]
    strength: Strength,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    sim::run(options.common.seed, async |net: Network| {
        let end = options.minutes.max(options.attack_after);
        let mut population = Population::new(&net, &options.common, progress, end);
        let ips = population.addresses.spread(options.common.nodes);
        let (residents, victims) = ips.split_at(ips.len() - options.victims.min(ips.len()));
        population.plan(residents, Duration::from_secs(60));
        for &ip in victims {
            let at = options.victims_after + Duration::from_secs(60).mul_f64(population.random.share());
            population.plan_newcomer(ip, at);
        }
        population.run_until(options.attack_after).await;
        let attackers = start_attackers(&mut population, options).await;
        population.run_until(end).await;

        let mut outcome = Outcome::new(
            format!("{} attackers of {} subnets", options.attackers, options.subnets),
            options.common.describe(),
        );
        Eclipse::new(&net.edges(), &attackers).report(&mut outcome, &population, victims);
        outcome.add(
            "share_at_target",
            "nodes at their target",
            Value::Share(population.share_at_target()),
        );
        outcome.plots = vec![
            target_plot(&population, vec![(options.victims_after, "victims join".to_owned())]),
            in_degree_plot(&population.graph().in_degrees()),
        ];
        outcome.trace_hash = net.trace_hash();
        outcome
    })
}

async fn start_attackers(population: &mut Population, options: &Options) -> Attackers {
    let subnets = options.subnets.max(1);
    let ips: Vec<IpAddr> = (0..subnets)
        .flat_map(|subnet| {
            let count = options.attackers * (subnet + 1) / subnets - options.attackers * subnet / subnets;
            population.addresses.subnet(count)
        })
        .collect();
    let lies: Arc<[IpAddr]> = ips.clone().into();
    let bootstraps = population.bootstraps().to_vec();
    Attackers::start(&population.net, &ips, &bootstraps, &lies, &options.strength).await
}

/// How many connections lead to attackers, and which nodes have others.
struct Eclipse {
    outgoing: usize,
    outgoing_to_attackers: usize,
    incoming: usize,
    incoming_from_attackers: usize,
    /// Honest nodes that are connected with an honest node.
    see_others: BTreeSet<IpAddr>,
}

impl Eclipse {
    fn new(edges: &[(IpAddr, IpAddr)], attackers: &Attackers) -> Self {
        let mut eclipse = Self {
            outgoing: 0,
            outgoing_to_attackers: 0,
            incoming: 0,
            incoming_from_attackers: 0,
            see_others: BTreeSet::new(),
        };
        for &(dialer, listener) in edges {
            let (by_attacker, to_attacker) = (attackers.contains(dialer), attackers.contains(listener));
            eclipse.outgoing += usize::from(!by_attacker);
            eclipse.outgoing_to_attackers += usize::from(!by_attacker && to_attacker);
            eclipse.incoming += usize::from(!to_attacker);
            eclipse.incoming_from_attackers += usize::from(by_attacker && !to_attacker);
            if !by_attacker && !to_attacker {
                eclipse.see_others.extend([dialer, listener]);
            }
        }
        eclipse
    }

    fn report(&self, outcome: &mut Outcome, population: &Population, victims: &[IpAddr]) {
        let outgoing = Value::share(self.outgoing_to_attackers, self.outgoing);
        outcome.add(
            "outgoing_to_attackers",
            "honest nodes' outgoing connections that lead to attackers",
            outgoing,
        );
        let incoming = Value::share(self.incoming_from_attackers, self.incoming);
        outcome.add(
            "incoming_from_attackers",
            "honest nodes' incoming connections that attackers made",
            incoming,
        );
        let eclipsed = victims.iter().filter(|ip| !self.see_others.contains(ip)).count();
        outcome.add("victims", "victims", Value::Count(victims.len()));
        outcome.add("victims_eclipsed", "  wholly eclipsed", Value::Count(eclipsed));
        let honest = population.members().keys();
        let eclipsed = honest.filter(|ip| !self.see_others.contains(ip)).count();
        outcome.add("eclipsed", "  of all honest nodes", Value::Count(eclipsed));
    }
}
