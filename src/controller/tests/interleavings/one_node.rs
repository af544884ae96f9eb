//! One controller, whatever its peers and its application do.

use super::trial::{self, Action, Answer, Setup, Stimulus, Trial};
use super::*;

/// What may come of connections with a peer, whichever way it is reported.
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
        beginning: Vec::new(),
        known: 1,
        stimuli,
        most_unpolled: 2,
        most_undecided,
        edits: Vec::new(),
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
        beginning: Vec::new(),
        known: 2,
        stimuli: some(),
        most_unpolled: 2,
        most_undecided: 1,
        edits: Vec::new(),
    };
    explore_up_to::<Trial>(6, &setup).await.shows(500);
}

/// Lowers both caps to what is the pause.
fn pauses(config: &mut NetworkConfig) {
    config.target_outgoing_connections = 0;
    config.max_incoming_connections = 0;
}

fn denies_the_lower(config: &mut NetworkConfig) {
    config.denied = vec!["60.0.0.0/8".parse().unwrap()];
}

#[tokio::test(start_paused = true)]
async fn with_one_peer_and_a_config_that_changes() {
    for peer in [&[LOW], &[HIGH]] {
        let stimuli = vec![
            Stimulus::Dialed(Answer::Ok),
            Stimulus::ComesIn,
            Stimulus::Lease(Report::Alive),
            Stimulus::Lease(Report::Closed),
        ];
        let setup = Setup {
            edits: vec![pauses, denies_the_lower],
            ..one(peer, stimuli, 1)
        };
        explore::<Trial>(&setup).await.shows(1_000);
    }
}

/// The caps are lowered below what is there, and raised again.
#[tokio::test(start_paused = true)]
async fn with_two_peers_and_caps_that_change() {
    let mut config = searched(2);
    config.max_incoming_connections = 2;
    let setup = Setup {
        config,
        us: US,
        peers: &[LOW, HIGH],
        beginning: Vec::new(),
        known: 2,
        stimuli: vec![
            Stimulus::Dialed(Answer::Ok),
            Stimulus::ComesIn,
            Stimulus::Lease(Report::Alive),
            Stimulus::Lease(Report::Closed),
        ],
        most_unpolled: 2,
        most_undecided: 1,
        edits: vec![
            |config| config.target_outgoing_connections = 1,
            |config| config.max_incoming_connections = 1,
            |config| config.max_simultaneous_incoming_connection_attempts = 1,
            denies_the_lower,
        ],
    };
    explore_up_to::<Trial>(5, &setup).await.shows(300);
}

/// A node at its target of one, connected with the first peer; a rotation dials the second one.
async fn rotating() -> Setup {
    let mut config = searched(1);
    config.rotation_interval = Some(seconds(60));
    let mut setup = Setup {
        config,
        us: US,
        peers: &[LOW, HIGH],
        beginning: Vec::new(),
        known: 1,
        stimuli: vec![
            Stimulus::Dialed(Answer::Ok),
            Stimulus::ComesIn,
            Stimulus::Lease(Report::Alive),
            Stimulus::Lease(Report::Closed),
            Stimulus::DropsLease,
            Stimulus::DropsHeldLease,
        ],
        most_unpolled: 2,
        most_undecided: 1,
        edits: Vec::new(),
    };
    let connects = [
        Action::Poll,
        Action::Of(0, Stimulus::Dialed(Answer::Ok)),
        Action::Poll,
        Action::Of(0, Stimulus::Lease(Report::Alive)),
        Action::Poll,
        Action::Of(1, Stimulus::ComesIn),
        Action::Poll,
        Action::Of(1, Stimulus::Lease(Report::Closed)),
        Action::Poll,
    ];
    setup.beginning.extend(connects);
    let mut trial = Trial::new(&setup).await;
    while trial.node.counters().rotations == 0 {
        for action in [Action::Pass, Action::Poll] {
            trial.act(action, false).await;
            setup.beginning.push(action);
        }
    }
    setup
}

#[tokio::test(start_paused = true)]
async fn with_a_rotation_under_way() {
    let setup = rotating().await;
    explore_up_to::<Trial>(7, &setup).await.shows(1_000);
}

#[tokio::test(start_paused = true)]
async fn with_one_incoming_slot_that_newcomers_take() {
    let mut config = searched(0);
    config.evict_incoming = true;
    explore_up_to::<Trial>(9, &with_one_slot(config)).await.shows(1_000);
}

/// No other newcomer takes it.
#[tokio::test(start_paused = true)]
async fn with_one_incoming_slot_that_a_reserved_peer_takes() {
    let mut config = searched(0);
    config.reserved_peers = vec![ip(HIGH)];
    let mut setup = with_one_slot(config);
    setup.stimuli.push(Stimulus::Dialed(Answer::Ok));
    explore_up_to::<Trial>(8, &setup).await.shows(1_000);
}

/// For one incoming connection.
fn with_one_slot(config: NetworkConfig) -> Setup {
    Setup {
        config: NetworkConfig {
            max_incoming_connections: 1,
            ..config
        },
        us: US,
        peers: &[LOW, HIGH],
        beginning: Vec::new(),
        known: 0,
        stimuli: vec![
            Stimulus::ComesIn,
            Stimulus::Dies,
            Stimulus::Lease(Report::Alive),
            Stimulus::Lease(Report::Closed),
            Stimulus::Reports(Report::Alive),
            Stimulus::Reports(Report::Closed),
            Stimulus::DropsLease,
            Stimulus::DropsHeldLease,
            Stimulus::StaleLeaseBans,
        ],
        most_unpolled: 2,
        most_undecided: 1,
        edits: Vec::new(),
    }
}
