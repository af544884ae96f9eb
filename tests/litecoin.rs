//! The example node of the Bitcoin protocol among full nodes of the Litecoin network, each on a host of its own. What
//! they say of it is what counts.
//!
//! Needs what a lab needs, and the Debian package litecoind. Where they are missing each test says so and counts as
//! ignored.

mod lab {
    #[expect(dead_code, reason = "its `main`")]
    #[path = "../../examples/bitcoin/main.rs"]
    pub(crate) mod example;
    pub(crate) mod light_node;
    pub(crate) mod litecoin_town;
    pub(crate) mod litecoind;
    pub(crate) mod namespace;
    pub(crate) mod program;
    pub(crate) mod topology;
    pub(crate) mod trials;
    pub(crate) mod wire;
}

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use lab::litecoin_town::{OURS, Town, require};
use lab::trials::{self, tests};
use lab::{light_node, litecoind, topology, wire};
use network::PeerStatus;

fn main() -> ExitCode {
    trials::run(
        &[light_node::run_if_asked, wire::run_if_asked],
        litecoind::check,
        tests![four_nodes_are_found_from_one, a_node_that_heard_of_us_dials_us,],
    )
}

/// What a node of this network wants of those whom it dials.
const FULL_NODE: &str = "1000009";

fn four_nodes_are_found_from_one() {
    let mut town = Town::new(4);
    town.acquaint();
    town.join(&[2], &["--target", "4"]);
    town.until(Duration::from_secs(30), "all four are connected", |town| {
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
    town.dial(DIALING, DIALED, "add");
    town.until(Duration::from_secs(20), "they know each other", |town| {
        let peers = town.connections_with(DIALING, DIALED);
        require(peers.iter().any(|peer| !peer.subver.is_empty()), || {
            format!("{peers:?}")
        })
    });
    let us = topology::ip(OURS).to_string();
    town.join(
        &[DIALED],
        &["--target", "1", "--announce", &us, "--services", FULL_NODE],
    );
    town.until(Duration::from_secs(10), "the one that we know is connected", |town| {
        let alive = town.with_status(PeerStatus::OutAlive);
        require(alive.contains(&DIALED), || format!("{alive:?} are alive"))
    });
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
