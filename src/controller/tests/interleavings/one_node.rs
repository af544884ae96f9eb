//! One controller, whatever its peers and its application do.

use super::trial::{self, Answer, Setup, Stimulus, Trial};
use super::*;

/// What may come of connections with a peer, whoever speaks of them.
fn usual() -> Vec<Stimulus> {
    let mut usual = vec![
        Stimulus::ComesIn,
        Stimulus::Dies,
        Stimulus::DropsLease,
        Stimulus::StaleLeaseBans,
    ];
    usual.extend([Answer::Ok, Answer::Refused, Answer::Unroutable, Answer::HostFault].map(Stimulus::Dialed));
    usual.extend(by_address());
    usual
}

fn by_address() -> impl Iterator<Item = Stimulus> {
    let reports = [
        Report::Alive,
        Report::Failed,
        Report::Closed,
        Report::Banned,
        Report::Unbanned,
    ];
    reports.into_iter().map(Stimulus::Reports)
}

/// All that leases may say as well: a connection of ours may end in any way while the peer's is parked.
fn all() -> Vec<Stimulus> {
    let mut all = usual();
    let reports = [Report::Alive, Report::Failed, Report::Closed, Report::Banned];
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
        retry_backoff: trial::RETRY_BACKOFF,
        ..wanting(target)
    }
}

fn one(peer: &'static [&'static str], stimuli: Vec<Stimulus>, most_undecided: usize) -> Setup {
    Setup {
        config: searched(1),
        us: US,
        peers: peer,
        known: 1,
        stimuli,
        most_unpolled: 2,
        most_undecided,
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_lower_address() {
    explore::<Trial>(&one(&[LOW], all(), 1)).await.shows(2_500);
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_of_a_higher_address() {
    explore::<Trial>(&one(&[HIGH], usual(), 2)).await.shows(2_500);
}

/// A router sends our dials of it back to us, or the application finds it out.
#[tokio::test(start_paused = true)]
async fn with_one_peer_that_is_ourselves() {
    for own in [&[LOW], &[HIGH]] {
        let stimuli = [
            Stimulus::Dialed(Answer::Ok),
            Stimulus::Dialed(Answer::Refused),
            Stimulus::ComesIn,
            Stimulus::ComesBack,
            Stimulus::Dies,
            Stimulus::Reports(Report::Alive),
            Stimulus::Reports(Report::Closed),
            Stimulus::Reports(Report::Ourselves),
        ];
        explore::<Trial>(&one(own, stimuli.into(), 2)).await.shows(1_000);
    }
}

/// Reserved, released, and dialed by hand, whether the target wants it or not.
#[tokio::test(start_paused = true)]
async fn with_one_peer_that_the_operator_asks_for() {
    for target in [0, 1] {
        let mut stimuli = some();
        stimuli.extend([Report::Reserve, Report::Release, Report::Dial].map(Stimulus::Reports));
        let setup = Setup {
            config: searched(target),
            ..one(&[LOW], stimuli, 1)
        };
        explore::<Trial>(&setup).await.shows(3_000);
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_peers_and_one_slot_in_each_direction() {
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
