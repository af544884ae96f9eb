//! `gossip`: tellers of made-up addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use network::sim::{self, Network};

use crate::attackers::{Attackers, Strength};
use crate::experiment::{Population, mean};
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Table, Value};
use crate::plot::{Lines, Plot};
use crate::progress::Progress;
use crate::random::Random;

/// Some nodes tell all others of addresses that they made up.
///
/// Shows how many of the honest addresses the honest nodes still know after an hour of it, and how soon half of them
/// know of a fresh one: one row for each number of tellers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
#[command(mut_arg("nodes", |arg| arg.default_value("300")))]
#[command(mut_arg("max_idle_peers", |arg| arg.default_value("1000")))]
pub struct Options {
    /// Nodes that tell of made-up addresses, one row each
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_values_t = [0, 1, 5, 50])]
    tellers: Vec<usize>,

    /// Addresses that are made up in all
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    made_up: usize,

    /// Virtual minutes to form the network
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    before: Duration,

    /// Virtual minutes of made-up addresses; the fresh node joins after half of them
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = minutes)]
    minutes: Duration,

    #[command(flatten)]
    strength: Strength,

    #[command(flatten)]
    common: Common,
}

/// How often it is counted who knows whom.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let mut outcome = Outcome::new("Some nodes tell of made-up addresses", options.common.describe());
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (run, &tellers) in options.tellers.iter().enumerate() {
        progress.begin_run(run + 1, options.tellers.len());
        let run = run_once(options, tellers, progress);
        rows.push(run.row);
        let plural = if tellers == 1 { "" } else { "s" };
        lines.push((format!("{tellers} teller{plural}"), run.known));
        outcome.add_hash(run.trace_hash);
    }
    outcome.table = Some(Table {
        columns: vec![
            ("tellers", "tellers"),
            ("honest_known", "honest known"),
            ("made_up", "made up, of all known"),
            ("fresh_known_by_half", "fresh known by half"),
            ("share_at_target", "at target"),
        ],
        rows,
    });
    outcome.plots = vec![Plot::Lines(Lines {
        caption: "Honest addresses that an honest node knows".to_owned(),
        measure: "of all honest addresses".to_owned(),
        lines,
        marks: vec![(options.before, "made-up addresses".to_owned())],
    })];
    outcome
}

struct Run {
    row: Vec<Value>,
    known: Vec<(Duration, f64)>,
    trace_hash: u64,
}

fn run_once(options: &Options, tellers: usize, progress: &Progress) -> Run {
    let common = &options.common;
    sim::run(common.seed, async |net: Network| {
        let end = options.before + options.minutes;
        let mut population = Population::new(&net, common, progress, end);
        let ips = population.addresses.spread(common.nodes);
        let honest: BTreeSet<IpAddr> = ips.iter().copied().collect();
        population.plan(&ips, Duration::from_secs(60).min(options.before));
        let mut known = Vec::new();
        count_until(&mut population, options.before, &honest, &mut known).await;

        let lies = make_up(options.made_up, common.seed);
        let teller_ips = population.addresses.spread(tellers);
        let bootstraps = population.bootstraps().to_vec();
        let tellers = Attackers::start(&net, &teller_ips, &bootstraps, &lies, &options.strength).await;
        count_until(
            &mut population,
            options.before + options.minutes / 2,
            &honest,
            &mut known,
        )
        .await;

        let fresh = population.addresses.draw();
        population.plan_newcomer(fresh, net.now());
        let known_by_half = watch_fresh(&mut population, fresh, end, &honest, &mut known).await;
        let is_made_up = |ip| ip != fresh && !honest.contains(&ip) && !tellers.contains(ip);
        Run {
            row: vec![
                Value::Count(teller_ips.len()),
                Value::Share(share_known(&population, &honest)),
                Value::Share(share_of_known(&population, is_made_up)),
                Value::time(known_by_half),
                Value::Share(population.share_at_target()),
            ],
            known,
            trace_hash: net.trace_hash(),
        }
    })
}

/// Counts, too. Answers how long it took until half of the nodes knew the fresh one.
async fn watch_fresh(
    population: &mut Population,
    fresh: IpAddr,
    end: Duration,
    honest: &BTreeSet<IpAddr>,
    known: &mut Vec<(Duration, f64)>,
) -> Option<Duration> {
    let joined = population.net.now();
    let mut known_by_half = None;
    while population.net.now() < end {
        let next = end.min(population.net.now() + COUNT_INTERVAL);
        if known_by_half.is_none() {
            let is_known = |population: &Population| is_known_by_half(population, fresh);
            let waited = population.run_until_reached(next, is_known).await;
            known_by_half = waited.map(|_| population.net.now() - joined);
        }
        count_until(population, next, honest, known).await;
    }
    known_by_half
}

async fn count_until(
    population: &mut Population,
    end: Duration,
    honest: &BTreeSet<IpAddr>,
    known: &mut Vec<(Duration, f64)>,
) {
    loop {
        let next = end.min(population.net.now() + COUNT_INTERVAL);
        population.run_until(next).await;
        known.push((population.net.now(), share_known(population, honest)));
        if next == end {
            return;
        }
    }
}

/// Of all others, on average over the nodes.
fn share_known(population: &Population, honest: &BTreeSet<IpAddr>) -> f64 {
    let others = honest.len().saturating_sub(1).max(1) as f64;
    let known = |member: &crate::experiment::Member| {
        member
            .node
            .with(|net| net.peers().filter(|peer| honest.contains(&peer.ip)).count())
    };
    mean(
        population
            .members()
            .values()
            .map(|member| (known(member) as f64 / others).min(1.0)),
    )
}

/// Of all that is known, on average over the nodes.
fn share_of_known(population: &Population, is_counted: impl Fn(IpAddr) -> bool) -> f64 {
    mean(population.members().values().map(|member| {
        member.node.with(|net| {
            let counted = net.peers().filter(|peer| is_counted(peer.ip)).count();
            counted as f64 / net.peers().count().max(1) as f64
        })
    }))
}

fn is_known_by_half(population: &Population, ip: IpAddr) -> bool {
    let members = population.members().values();
    let known = members
        .filter(|member| member.node.with(|net| net.peer(ip).is_some()))
        .count();
    2 * known >= population.members().len()
}

/// Addresses all over the Internet.
fn make_up(count: usize, seed: u64) -> Arc<[IpAddr]> {
    let mut random = Random::new(seed, "made up");
    let range = u32::from(Ipv4Addr::new(11, 0, 0, 0))..u32::from(Ipv4Addr::new(100, 0, 0, 0));
    (0..count.max(1))
        .map(|_| {
            let number = random.below(u64::from(range.end - range.start));
            let offset = u32::try_from(number).unwrap_or(0);
            Ipv4Addr::from_bits(range.start + offset).into()
        })
        .collect()
}
