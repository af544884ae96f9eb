//! One controller, whatever its peers and its application do.

use super::trial::{Answer, Setup, Stimulus, Trial};
use super::*;

/// Everything that a peer or the application may do.
fn all() -> Vec<Stimulus> {
    let answers = [Answer::Ok, Answer::Refused, Answer::Unroutable, Answer::HostFault];
    let reports = [Report::Alive, Report::Failed, Report::Closed, Report::Banned];
    let mut all = vec![
        Stimulus::ComesIn,
        Stimulus::Dies,
        Stimulus::DropsLease,
        Stimulus::StaleLeaseBans,
        Stimulus::Reports(Report::Unbanned),
    ];
    all.extend(answers.map(Stimulus::Dialed));
    all.extend(reports.map(Stimulus::Reports));
    all.extend(reports.map(Stimulus::Lease));
    all
}

/// What makes and ends connections, by one way each.
fn some() -> Vec<Stimulus> {
    vec![
        Stimulus::Dialed(Answer::Ok),
        Stimulus::Dialed(Answer::Refused),
        Stimulus::ComesIn,
        Stimulus::Reports(Report::Alive),
        Stimulus::Reports(Report::Closed),
        Stimulus::Reports(Report::Banned),
        Stimulus::Reports(Report::Unbanned),
        Stimulus::DropsLease,
    ]
}

fn searched(target: usize) -> NetworkConfig {
    NetworkConfig {
        ban_duration: Some(seconds(60)),
        ..wanting(target)
    }
}

async fn search(setup: Setup, longest: usize, least_states: usize) {
    let explored = explore::<Trial>(&setup, longest).await;
    println!("{:?}: {explored:?}", setup.peers);
    assert!(explored.states >= least_states, "{explored:?}");
}

fn one(peer: &'static [&'static str]) -> Setup {
    Setup {
        config: searched(1),
        peers: peer,
        stimuli: all(),
        most_unpolled: 2,
        most_undecided: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_lower_address() {
    search(one(&[LOW]), 60, 500).await;
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_higher_address() {
    search(one(&[HIGH]), 60, 500).await;
}

#[tokio::test(start_paused = true)]
async fn with_two_peers_and_one_place_in_each_direction() {
    let mut config = searched(1);
    config.max_incoming_connections = 1;
    config.max_simultaneous_outgoing_connection_attempts = 2;
    let setup = Setup {
        config,
        peers: &[LOW, HIGH],
        stimuli: some(),
        most_unpolled: 2,
        most_undecided: 1,
    };
    search(setup, 5, 500).await;
}
