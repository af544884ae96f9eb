//! The node among full nodes of the Litecoin network, each on a host of its own; its connections are compared with what
//! the full nodes report.
//!
//! Needs what a lab needs, and the Debian package litecoind. Without them each test says so and counts as ignored.

mod light_node;
mod litecoind;
mod rogue;
mod town;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use network::PeerStatus;
use network_lab::topology::{self, Lab, Link, Weather};
use network_lab::{tests, trials, wire};
use rogue::Trick;
use serde_json::json;
use town::{OURS, Town, require};

fn main() -> ExitCode {
    trials::run(
        &[rogue::run_if_asked, wire::run_if_asked],
        litecoind::check,
        Some(AT_ONCE),
        tests![
            four_nodes_are_found_from_one,
            a_node_that_heard_of_us_dials_us,
            crossing_dials_leave_one_connection,
            nodes_that_die_are_replaced_and_taken_back,
            a_node_that_banned_us_is_tried_ever_less,
            a_node_that_we_banned_is_refused,
            all_nodes_are_found_despite_late_and_lost_packets,
            after_a_restart_a_proven_peer_is_dialed_first,
            peers_that_break_the_protocol_are_dropped,
        ],
    )
}

/// How many tests run at once; they mostly wait.
const AT_ONCE: usize = 4;

/// The services that a node of this network needs in peers that it dials.
const FULL_NODE: &str = "1000009";

fn four_nodes_are_found_from_one() {
    let mut town = Town::new(4);
    town.acquaint();
    town.join(&[2], &["--target", "4"]);
    find_all_four(&mut town, Duration::from_secs(30));
}

fn find_all_four(town: &mut Town, limit: Duration) {
    town.until(limit, "all four are connected", |town| {
        town.speed_up();
        let alive = town.with_status(PeerStatus::OutAlive);
        require(alive.len() == 4, || format!("only {alive:?} are alive"))
    });
    town.agree();
}

fn a_node_that_heard_of_us_dials_us() {
    const DIALED: u8 = 2;
    const DIALING: u8 = 3;
    let mut town = Town::new(2);
    // What is told while nobody listens is not told again.
    town.dial(DIALING, topology::ip(DIALED), "add");
    town.until(Duration::from_secs(20), "they know each other", |town| {
        let peers = town.connections_with(DIALING, DIALED);
        require(peers.iter().any(|peer| !peer.subver.is_empty()), || {
            format!("{peers:?}")
        })
    });
    let us = town.us().to_string();
    town.join(
        &[DIALED],
        &["--target", "1", "--announce", &us, "--services", FULL_NODE],
    );
    town.settle(&[DIALED]);
    town.until(Duration::from_secs(60), "the other one has come", |town| {
        town.speed_up();
        let alive = town.with_status(PeerStatus::InAlive);
        require(alive.contains(&DIALING), || format!("{alive:?} came"))
    });
    town.agree();
    assert!(!town.connections(DIALING)[0].inbound);
    town.undisturbed(&[DIALED, DIALING], |_| thread::sleep(WINDOW));
    assert_eq!(
        town.said(DIALED, "is connected") + town.said(DIALING, "is connected"),
        2
    );
}

/// For how long nothing may change that is to stay.
const WINDOW: Duration = Duration::from_secs(60);

fn crossing_dials_leave_one_connection() {
    const THEIRS: u8 = 2;
    // Full nodes know nothing of our rule, by which the dial of the lower address wins.
    for ours in [THEIRS - 1, THEIRS + 1] {
        let mut lab = Lab::new(3);
        let weather = Weather {
            delay: Duration::from_millis(400),
            loss_percent: 0,
        };
        (1..=3).for_each(|number| lab.set_weather(number, weather));
        let mut town = Town::in_lab(lab, ours, THEIRS..=THEIRS);
        town.join(&[THEIRS], &["--target", "1"]);
        town.dial(THEIRS, town.us(), "onetry");
        town.until(SOON, "both dials have arrived", |town| {
            let (dialed, accepted) = (town.logged(THEIRS, "trying"), town.logged(THEIRS, "accepted"));
            require(!dialed.is_empty() && !accepted.is_empty(), || {
                format!("{dialed:?}, {accepted:?}")
            })
        });
        let (dialed, accepted) = (town.logged(THEIRS, "trying"), town.logged(THEIRS, "accepted"));
        assert!(dialed[0] < accepted[0], "they did not cross");

        town.until(SOON, "one connection is left", |town| {
            let alive = town.with_status(PeerStatus::OutAlive).len() + town.with_status(PeerStatus::InAlive).len();
            let theirs = town.connections(THEIRS);
            require(alive == 1 && theirs.len() == 1, || format!("{alive} and {theirs:?}"))
        });
        town.agree();
        // Longer than anything is held back that may be needed still.
        town.undisturbed(&[THEIRS], |_| thread::sleep(Duration::from_secs(10)));
        assert_eq!(town.said(THEIRS, "is alive"), 1);
        assert_eq!(town.record(THEIRS).failures_in_row, 0);
    }
}

fn nodes_that_die_are_replaced_and_taken_back() {
    let mut town = Town::new(4);
    town.join(&[2, 3, 4, 5], &["--target", "3"]);
    town.until(SOON, "the target is met", |town| {
        let alive = town.with_status(PeerStatus::OutAlive);
        require(alive.len() == 3, || format!("only {alive:?} are alive"))
    });
    let before: Vec<u8> = town.with_status(PeerStatus::OutAlive).into_iter().collect();
    let [first, second, faithful] = before[..] else {
        unreachable!("there are three")
    };
    let spare = (2..=5).find(|number| !before.contains(number)).expect("a fourth one");

    let dead = [first, second];
    lose(&mut town, dead);
    town.settle(&[faithful, spare]);
    town.until(SOON, "the dead were dialed", |town| {
        let patient = dead.into_iter().find(|&number| town.record(number).failures_in_row < 2);
        require(patient.is_none(), || format!("host {patient:?} was not"))
    });

    dead.into_iter().for_each(|number| town.start(number));
    // Two outgoing connections are left, so one of them is wanted, and the other one once one more is gone.
    let dues = dead.map(|number| due(&town, number));
    take_back(&mut town, dead, 1, dues[0].min(dues[1]));
    town.kill(faithful);
    let dues = dead.map(|number| due(&town, number));
    take_back(&mut town, dead, 2, dues[0].max(dues[1]));
    town.agree();
}

/// Kills two full nodes, and sees that their losses are noted as such.
fn lose(town: &mut Town, dead: [u8; 2]) {
    let killed_at = Utc::now();
    dead.into_iter().for_each(|number| town.kill(number));
    for number in dead {
        town.until(SOON, "the loss is noted", |town| {
            let record = town.record(number);
            require(record.last_failure > Some(killed_at), || format!("{record:?}"))
        });
        // Not only when it was dialed again, which is five seconds later at the earliest.
        let noted = town.record(number).last_failure.expect("it is noted");
        assert!(noted - killed_at < TimeDelta::seconds(4), "only at {noted}");
    }
}

/// Waits until so many of them are connected again, which has to be soon after this time.
fn take_back(town: &mut Town, dead: [u8; 2], count: usize, due: DateTime<Utc>) {
    const HANDSHAKE_AND_DUMP: Duration = Duration::from_secs(10);
    let left = (due - Utc::now()).to_std().unwrap_or_default();
    town.until(left + HANDSHAKE_AND_DUMP, "the dead are back", |town| {
        let returned = &town.with_status(PeerStatus::OutAlive) & &BTreeSet::from(dead);
        require(returned.len() == count, || format!("only {returned:?} are"))
    });
}

/// When a peer is to be dialed again at the latest, by what the crate promises of pauses and the example leaves as it is.
fn due(town: &Town, number: u8) -> DateTime<Utc> {
    const FIRST_PAUSE: f64 = 5.0;
    const JITTER: f64 = 1.25;
    let record = town.record(number);
    let doublings = record.failures_in_row.saturating_sub(1);
    let pause = FIRST_PAUSE * 2_f64.powi(doublings.try_into().unwrap()) * JITTER;
    record.last_failure.expect("it failed") + TimeDelta::from_std(Duration::from_secs_f64(pause)).unwrap()
}

fn a_node_that_banned_us_is_tried_ever_less() {
    const BANNING: u8 = 2;
    let mut town = Town::new(3);
    town.join(&[2, 3, 4], &["--target", "3"]);
    town.settle(&[2, 3, 4]);
    town.undisturbed(&[3, 4], |town| {
        town.call(BANNING, "setban", &[&town.us().to_string(), "add"]);
        thread::sleep(WINDOW);
    });
    let refused = town.logged(BANNING, "dropped (banned)");
    assert!((2..=6).contains(&refused.len()), "{refused:?}");
    let pauses: Vec<TimeDelta> = refused.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.is_sorted_by(|shorter, longer| shorter < longer), "{pauses:?}");
    // The connection that the ban ended is the first failure; it does not count in the outage of the start.
    let record = town.record(BANNING);
    let failures = usize::try_from(record.failures_in_row).unwrap();
    assert!(
        (refused.len()..=refused.len() + 1).contains(&failures),
        "{failures} of {refused:?}"
    );
    assert_eq!(record.status, Some(PeerStatus::Idle));
}

fn a_node_that_we_banned_is_refused() {
    const FRIEND: u8 = 2;
    const BANNED: u8 = 3;
    let mut town = Town::new(2);
    let ban = json!({ "ip": topology::ip(BANNED), "status": "Banned", "banned_at": Utc::now() });
    town.write_peers(&json!([{ "ip": topology::ip(FRIEND) }, ban]));
    town.join_again(&["--target", "2"]);
    town.settle(&[FRIEND]);
    town.undisturbed(&[FRIEND], |town| {
        for attempt in 0..4 {
            let before = town.record(BANNED).last_failure;
            town.dial(BANNED, town.us(), "onetry");
            town.until(SOON, "the attempt is noted", |town| {
                let record = town.record(BANNED);
                require(record.last_failure > before, || format!("{attempt}: {record:?}"))
            });
            assert!(town.connections(BANNED).is_empty());
        }
    });
    assert_eq!(town.said(BANNED, ""), 0, "an event of a banned peer");
    assert_eq!(town.record(BANNED).status, Some(PeerStatus::Banned));
    assert!(town.logged(BANNED, "accepted").is_empty(), "we dialed it");
}

fn all_nodes_are_found_despite_late_and_lost_packets() {
    const HOLE: u8 = 6;
    let mut lab = Lab::new(HOLE);
    let weather = Weather {
        delay: Duration::from_millis(200),
        loss_percent: 10,
    };
    (1..HOLE).for_each(|number| lab.set_weather(number, weather));
    lab.set_link(HOLE, Link::BlackHole);
    let mut town = Town::in_lab(lab, OURS, 2..=5);
    town.acquaint();
    // More than there are, so that the hole is tried, too.
    town.join(&[2, HOLE], &["--target", "5"]);
    find_all_four(&mut town, Duration::from_secs(60));
    town.until(SOON, "somebody looked into the hole", |town| {
        let hole = town.record(HOLE);
        require(hole.last_failure.is_some() && hole.last_alive.is_none(), || {
            format!("{hole:?}")
        })
    });
    town.agree();
}

fn after_a_restart_a_proven_peer_is_dialed_first() {
    const SERVED: u8 = 2;
    const BANNED: u8 = 5;
    let mut town = Town::new(3);
    town.acquaint();
    let ban = json!({ "ip": topology::ip(BANNED), "status": "Banned", "banned_at": Utc::now() });
    town.write_peers(&json!([{ "ip": topology::ip(SERVED) }, ban]));
    town.join_again(&["--target", "1"]);
    town.until(Duration::from_secs(30), "the others are known", |town| {
        town.speed_up();
        let others = town.with_status(PeerStatus::Idle);
        require(others.is_superset(&[3, 4].into()), || format!("only {others:?} are"))
    });
    town.settle(&[SERVED]);
    town.leave();
    let before = town.records();
    let served = before[&topology::ip(SERVED)].clone();
    assert!(served.last_alive_outgoing.is_some());
    assert!(before[&topology::ip(BANNED)].banned_at.is_some());
    let blamed: Vec<_> = before.values().filter(|record| record.last_failure.is_some()).collect();
    assert!(blamed.is_empty(), "{blamed:?}");

    town.join_again(&["--target", "1"]);
    town.until(SOON, "it is alive again", |town| {
        let again = town.record(SERVED);
        require(again.last_alive > served.last_alive, || format!("{again:?}"))
    });
    town.settle(&[SERVED]);
    let after = town.records();
    for number in [3, 4, BANNED] {
        assert_eq!(after[&topology::ip(number)], before[&topology::ip(number)]);
    }
    assert_eq!(after[&topology::ip(SERVED)].last_failure, None);
    for number in [3, 4] {
        assert_eq!(town.logged(number, "").len(), 0, "host {number} was dialed");
    }
    assert_eq!(town.logged(SERVED, "accepted").len(), 2);
}

fn peers_that_break_the_protocol_are_dropped() {
    const FRIEND: u8 = 2;
    const LATECOMER: u8 = 3;
    let rogues = || (LATECOMER + 1..).zip(Trick::ALL);
    let lab = Lab::new(LATECOMER + u8::try_from(Trick::ALL.len()).unwrap());
    let mut town = Town::in_lab(lab, OURS, FRIEND..=LATECOMER);
    // There is one place, so each of them has to leave it to the next.
    town.join(&[FRIEND], &["--target", "1", "--max-incoming", "1"]);
    town.settle(&[FRIEND]);
    town.undisturbed(&[FRIEND], |town| {
        let us = (town.us(), litecoind::PORT.parse().unwrap()).into();
        for (number, trick) in rogues() {
            let start = Instant::now();
            let rogue = trick.play(town.lab.host(number), us);
            assert_eq!(rogue.line(), rogue::HUNG_UP);
            let patience = if trick.is_slow() { 10 } else { 0 };
            let taken = start.elapsed().as_secs();
            assert!((patience..patience + 5).contains(&taken), "{trick:?} took {taken} s");
            town.until(SOON, "it is noted", |town| {
                let said = town.said(number, "is gone");
                require(said == 1, || format!("{trick:?}: {said} times"))
            });
        }
        town.dial(LATECOMER, town.us(), "onetry");
        town.until(SOON, "there is room for somebody else", |town| {
            let alive = town.with_status(PeerStatus::InAlive);
            require(alive == [LATECOMER].into(), || format!("{alive:?} came"))
        });
    });
    for (number, trick) in rogues() {
        let record = town.record(number);
        let expected = if trick.is_slow() {
            PeerStatus::Idle
        } else {
            PeerStatus::Banned
        };
        assert_eq!(record.status, Some(expected), "{trick:?}: {record:?}");
        assert!(record.last_failure.is_some(), "{trick:?}: {record:?}");
    }
}

/// Far more than it takes to shake hands, or to note something in the file.
const SOON: Duration = Duration::from_secs(20);
