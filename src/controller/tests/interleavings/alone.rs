//! One controller, whatever its peers and its application do.

use super::trial::{self, Answer, Setup, Stimulus, Trial};
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
        connect_timeout: trial::CONNECT_TIMEOUT,
        handshake_timeout: Some(trial::HANDSHAKE_TIMEOUT),
        ban_duration: Some(trial::BAN_DURATION),
        ..wanting(target)
    }
}

fn one(peer: &'static [&'static str]) -> Setup {
    Setup {
        config: searched(1),
        us: US,
        peers: peer,
        known: 1,
        stimuli: all(),
        most_unpolled: 2,
        most_undecided: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_lower_address() {
    explore::<Trial>(&one(&[LOW])).await.shows(2_000);
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_higher_address() {
    explore::<Trial>(&one(&[HIGH])).await.shows(2_000);
}

#[tokio::test(start_paused = true)]
async fn with_two_peers_and_one_place_in_each_direction() {
    let mut config = searched(1);
    config.max_incoming_connections = 1;
    config.max_simultaneous_outgoing_connection_attempts = 2;
    let setup = Setup {
        config,
        us: US,
        peers: &[LOW, HIGH],
        known: 2,
        stimuli: some(),
        most_unpolled: 2,
        most_undecided: 1,
    };
    explore_up_to::<Trial>(6, &setup).await.shows(500);
}
