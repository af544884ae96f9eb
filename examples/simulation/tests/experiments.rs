//! Each experiment once, small, with bounds on what it finds.

use clap::Parser;
use network_simulation::cli::Cli;
use network_simulation::outcome::Outcome;
use network_simulation::plot;

fn run(arguments: &str) -> Outcome {
    let cli = Cli::parse_from(["simulation"].into_iter().chain(arguments.split_whitespace()));
    let outcome = cli.experiment.run();
    let text = outcome.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(outcome.plots.is_empty(), !cli.experiment.has_pictures());
    let svg = plot::draw(&outcome.title, &outcome.network, &outcome.plots).expect("can be drawn");
    roxmltree::Document::parse(&svg).expect("well-formed XML");
    outcome
}

/// A figure that is a number.
fn figure(outcome: &Outcome, key: &str) -> f64 {
    let value = outcome.figure(key).unwrap_or_else(|| panic!("no figure '{key}'"));
    value
        .number()
        .unwrap_or_else(|| panic!("'{key}' never happened:\n{outcome}"))
}

/// A column of the table, with infinity for what never happened.
fn column(outcome: &Outcome, key: &str) -> Vec<f64> {
    let table = outcome.table.as_ref().expect("a table");
    let values = table.column(key);
    assert!(!values.is_empty(), "no column '{key}'");
    values
        .into_iter()
        .map(|value| value.number().unwrap_or(f64::INFINITY))
        .collect()
}

#[track_caller]
fn assert_at_most(outcome: &Outcome, key: &str, bound: f64) {
    let number = figure(outcome, key);
    assert!(number <= bound, "{key} is {number}, more than {bound}:\n{outcome}");
}

#[track_caller]
fn assert_at_least(outcome: &Outcome, key: &str, bound: f64) {
    let number = figure(outcome, key);
    assert!(number >= bound, "{key} is {number}, less than {bound}:\n{outcome}");
}

#[test]
fn a_network_forms() {
    let outcome = run("form --nodes 40 --minutes 3");
    assert_at_least(&outcome, "share_at_target", 0.99);
    assert_at_most(&outcome, "components", 1.0);
    assert_at_most(&outcome, "one_component_from", 100.0);
    assert_at_most(&outcome, "time_to_target_p90", 60.0);
    assert_at_most(&outcome, "path_mean", 2.5);
    let nodes: f64 = column(&outcome, "nodes").iter().sum();
    assert!((nodes - 40.0).abs() < 1e-9, "{outcome}");
}

#[test]
fn a_run_can_be_replayed() {
    let hash = |arguments| run(arguments).trace_hash;
    let first = hash("form --nodes 30 --minutes 2");
    assert_eq!(first, hash("form --nodes 30 --minutes 2"));
    assert_ne!(first, hash("form --nodes 30 --minutes 2 --seed 2"));
}

#[test]
fn a_partition_parts_all_connections() {
    let outcome = run("heal --nodes 40 --before 3 --parted 5 --after 5");
    assert_at_least(&outcome, "cross_before", 0.3);
    assert_at_most(&outcome, "cross_parted", 0.0);
    assert_at_least(&outcome, "components_parted", 2.0);
    assert_at_least(&outcome, "share_at_target", 0.9);
}

#[test]
fn nodes_that_want_many_connections_are_no_islands() {
    let outcome = run("islands --nodes 30 --targets 2,6 --runs 2 --minutes 4");
    let [_, many] = column(&outcome, "runs_with_islands")[..] else {
        panic!("not two rows:\n{outcome}");
    };
    assert!(many <= 0.0, "{outcome}");
}

#[test]
fn all_nodes_are_back_after_a_restart() {
    let outcome = run("restart --nodes 40 --before 3 --after 1");
    assert_at_least(&outcome, "share_at_target_before", 0.99);
    assert_at_most(&outcome, "time_to_all_at_target", 50.0);
    assert_at_most(&outcome, "dials_peak", 20.0);
}

#[test]
fn a_network_survives_churn() {
    let outcome = run("churn --nodes 40 --before 2 --minutes 3 --rate 20");
    assert_at_least(&outcome, "replaced", 23.0);
    assert_at_least(&outcome, "time_at_target", 0.8);
    // Half of them are rotations: no node is older than five minutes.
    assert_at_most(&outcome, "dials_per_node_minute", 15.0);
}

#[test]
fn attackers_do_not_eclipse_a_node() {
    let outcome = run(
        "eclipse --nodes 30 --victims 4 --victims-after 2 --attackers 6 --attacker-target 20 --subnets 3 --minutes 4",
    );
    assert_at_least(&outcome, "victims", 4.0);
    assert_at_most(&outcome, "eclipsed", 0.0);
    assert_at_least(&outcome, "incoming_from_attackers", 0.1);
    assert_at_most(&outcome, "outgoing_to_attackers", 0.6);
}

#[test]
fn scarce_places_are_filled() {
    let outcome = run("slots --nodes 30 --target 4 --ratios 0.75,2 --minutes 4");
    let at_target = column(&outcome, "share_at_target");
    assert!(at_target[0] < 0.95 && at_target[1] > 0.95, "{outcome}");
    let used = column(&outcome, "places_used");
    assert!(used.iter().all(|&used| used <= 1.0) && used[0] > 0.9, "{outcome}");
}

#[test]
fn a_starved_node_dials_little_and_recovers() {
    let outcome = run("starved --silence 30 --after 3");
    assert_at_least(&outcome, "dials", 8.0);
    assert_at_most(&outcome, "dials", 400.0);
    assert_at_most(&outcome, "time_to_connections", 70.0);
}

#[test]
fn speed_is_measured() {
    let outcome = run("speed --nodes 20 --minutes 1");
    assert_at_least(&outcome, "virtual_seconds_per_second", 1.0);
    if cfg!(target_os = "linux") {
        assert_at_least(&outcome, "peak_memory_mib", 1.0);
    }
}

#[test]
fn made_up_addresses_are_counted() {
    let outcome = run("gossip --nodes 20 --tellers 0,1 --before 2 --minutes 4 --made-up 500 --max-idle-peers 100");
    let [without, with] = column(&outcome, "made_up")[..] else {
        panic!("not two rows:\n{outcome}");
    };
    assert!(without <= 0.0 && with > 0.1, "{outcome}");
    assert!(column(&outcome, "honest_known")[0] > 0.9, "{outcome}");
    assert!(column(&outcome, "fresh_known_by_half")[0] < 180.0, "{outcome}");
}

#[test]
fn a_network_in_one_subnet_forms() {
    let outcome = run("subnet --nodes 40 --minutes 5");
    assert_at_least(&outcome, "share_at_target", 0.9);
    assert_at_most(&outcome, "time_to_target_p99", 270.0);
    assert_eq!(column(&outcome, "nodes"), [40.0]);
}
