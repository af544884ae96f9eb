//! Networks of ready nodes. Where there are debug assertions, tables are checked while they run.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use network::sim::{self, Kill, Network, Node, NodeOptions, Socket};
use network::{Incoming, PeerStatus, Transport};
use tokio::time::sleep;

const PORT: u16 = 4000;
const TARGET: usize = 3;

fn ip(number: usize) -> IpAddr {
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    IpAddr::from([60 + high, low, 0, 1])
}

fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

async fn start(net: &Network, number: usize, knows: &[IpAddr]) -> Node {
    let host = net.host(ip(number));
    let mut config = host.config(PORT);
    config.target_outgoing_connections = TARGET;
    config.max_incoming_connections = 16;
    config.initial_peers = knows.to_vec();
    let mut options = NodeOptions::default();
    if number < 3 {
        options.close_incoming_after = Some(secs(5));
    }
    sim::node(&host, config, options).await.unwrap()
}

/// Nodes that know the first three of them, one started each 50 ms.
async fn form(net: &Network, count: usize) -> Vec<Node> {
    let bootstraps: Vec<_> = (0..3).map(ip).collect();
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(start(net, number, &bootstraps).await);
        sleep(Duration::from_millis(50)).await;
    }
    nodes
}

fn at_target(nodes: &[Node]) -> usize {
    let is_at_target = |node: &&Node| node.stats().peers.out_alive >= TARGET;
    nodes.iter().filter(is_at_target).count()
}

/// Ends a node each 2 s and starts it again 10 s later, with its memory or without.
async fn churn(net: &Network, nodes: &mut [Node], rounds: usize) {
    for round in 0..rounds {
        let number = 3 + net.random_below(nodes.len() - 3);
        let node = &nodes[number];
        let records = node.records();
        let host = node.host().clone();
        host.kill(if round % 2 == 0 { Kill::Reset } else { Kill::Silent });
        sleep(secs(10)).await;
        host.start();
        let mut config = host.config(PORT);
        config.target_outgoing_connections = TARGET;
        if round % 3 == 0 {
            config.initial_peers = vec![ip(0)];
        } else {
            config.initial_records = records;
        }
        nodes[number] = sim::node(&host, config, NodeOptions::default()).await.unwrap();
    }
}

#[test]
fn a_network_forms_and_withstands_churn_whatever_the_seed() {
    for seed in 1..=20 {
        sim::run(seed, async |net: Network| {
            let mut nodes = form(&net, 30).await;
            sleep(secs(60)).await;
            assert_eq!(net.components().len(), 1, "seed {seed}");
            assert!(
                at_target(&nodes) >= 28,
                "seed {seed}: {} at their target",
                at_target(&nodes)
            );
            churn(&net, &mut nodes, 10).await;
            sleep(secs(120)).await;
            assert_eq!(net.components().len(), 1, "seed {seed}");
            assert!(
                at_target(&nodes) >= 28,
                "seed {seed}: {} at their target",
                at_target(&nodes)
            );
        });
    }
}

/// A hash of a run with churn and restarts.
fn trace(seed: u64) -> u64 {
    sim::run(seed, async |net: Network| {
        net.dial_loss(0.1);
        let mut nodes = form(&net, 20).await;
        churn(&net, &mut nodes, 6).await;
        net.trace_hash()
    })
}

const SEED: u64 = 11;

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    assert_eq!(trace(SEED), trace(SEED));
    assert_ne!(trace(SEED), trace(SEED + 1));
}

#[test]
fn one_seed_gives_one_trace_in_another_process_too() {
    const NAME: &str = "networks::one_seed_gives_one_trace_in_another_process_too";
    const CHILD: &str = "PRINT_TRACE";
    let own = format!("trace {:016x}", trace(SEED));
    if std::env::var_os(CHILD).is_some() {
        println!("{own}");
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args([NAME, "--exact", "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains(&own),
        "expected {own}, but the other process says {printed}"
    );
}

/// Two nodes start at about the same time, each knowing the other: one connection remains, whichever way its dials
/// cross.
#[test]
fn crossing_dials_leave_the_one_of_the_lower_address() {
    for offset in (0..200).step_by(5) {
        sim::run(1, async |net: Network| {
            net.latency(|_, _| Duration::from_millis(40));
            let mut nodes = vec![start(&net, 5, &[ip(4)]).await];
            sleep(Duration::from_millis(offset)).await;
            nodes.push(start(&net, 4, &[ip(5)]).await);
            sleep(secs(20)).await;
            // From 40 ms on the dial of the first, at the higher address, has arrived when the other one starts.
            let edges = net.edges();
            assert_eq!(edges.len(), 1, "{offset} ms");
            if offset < 40 {
                assert_eq!(edges, [(ip(4), ip(5))], "{offset} ms");
            }
            let counts = nodes.iter().map(|node| node.stats().peers);
            let held: Vec<_> = counts.map(|peers| (peers.out_alive, peers.in_alive)).collect();
            assert!(
                held == [(0, 1), (1, 0)] || held == [(1, 0), (0, 1)],
                "{offset} ms: {held:?}"
            );
        });
    }
}

#[test]
fn a_restart_with_its_records_needs_no_bootstrap() {
    sim::run(3, async |net: Network| {
        let nodes = form(&net, 20).await;
        sleep(secs(60)).await;
        let (host, records) = (nodes[10].host(), nodes[10].records());
        let known = nodes[10].stats().peers.total();
        assert_eq!(records.len(), known);
        host.kill(Kill::Reset);
        sleep(secs(3600)).await;
        let mut config = host.config(PORT);
        config.target_outgoing_connections = TARGET;
        config.initial_records = records;
        let node = sim::node(host, config, NodeOptions::default()).await.unwrap();
        assert_eq!(node.stats().peers.total(), known);
        // Virtual time went on: the records are an hour old.
        let ages = node.with(|net| net.peers().filter_map(|peer| peer.last_alive).collect::<Vec<_>>());
        assert!(!ages.is_empty());
        sleep(secs(10)).await;
        assert_eq!(node.stats().peers.out_alive, TARGET);
        let newest = node.with(|net| net.peers().filter_map(|peer| peer.last_alive).max());
        assert!(newest.unwrap() - ages.into_iter().max().unwrap() >= chrono::TimeDelta::seconds(3500));
    });
}

/// A host that accepts, and takes what `serve` does with each socket.
async fn odd_host(net: &Network, number: usize, serve: impl AsyncFn(Socket) + 'static) {
    let host = net.host(ip(number));
    let at = SocketAddr::new(host.ip(), PORT);
    let mut accepting = host.transport().listen(at).await.unwrap().0;
    host.spawn(async move {
        while let Some(Ok(incoming)) = accepting.next().await {
            serve(incoming.admit().unwrap()).await;
        }
    });
}

#[test]
fn a_handshake_with_a_peer_that_says_nothing_ends_after_its_own_timeout() {
    sim::run(1, async |net: Network| {
        odd_host(&net, 1, async |socket| {
            let _held = socket;
            std::future::pending::<()>().await;
        })
        .await;
        let node = start(&net, 5, &[ip(1)]).await;
        sleep(secs(1)).await;
        assert_eq!(node.stats().peers.out_handshaking, 1);
        sleep(secs(5)).await;
        assert_eq!(node.stats().peers.out_handshaking, 0);
        assert_eq!(node.stats().counters.handshakes_timed_out, 0, "not by the controller's");
    });
}

#[test]
fn a_seed_closes_incoming_connections_and_keeps_its_own() {
    sim::run(1, async |net: Network| {
        let seed = start(&net, 0, &[ip(6)]).await;
        let _kept = start(&net, 6, &[]).await;
        let closed = start(&net, 5, &[ip(0)]).await;
        let statuses = || [5, 6].map(|number| seed.with(|net| net.peer(ip(number)).unwrap().status));
        sleep(secs(3)).await;
        assert_eq!(statuses(), [PeerStatus::InAlive, PeerStatus::OutAlive]);
        sleep(secs(3)).await;
        assert_ne!(statuses()[0], PeerStatus::InAlive);
        assert_eq!(statuses()[1], PeerStatus::OutAlive);
        let failures = closed.with(|net| net.peer(ip(0)).unwrap().failures_in_row);
        assert_eq!(failures, 0, "closed without a failure");
    });
}

#[test]
fn a_node_tells_of_its_own_peers_again_and_again_or_of_what_it_was_given() {
    sim::run(1, async |net: Network| {
        let honest = start(&net, 5, &[]).await;
        let liar = {
            let host = net.host(ip(6));
            let mut options = NodeOptions::default();
            options.tells = Some([ip(700)].into());
            sim::node(&host, host.config(PORT), options).await.unwrap()
        };
        let learner = start(&net, 7, &[ip(5), ip(6)]).await;
        sleep(secs(10)).await;
        let knows = |number: usize| learner.with(|net| net.peer(ip(number)).is_some());
        assert!(knows(700) && !knows(8));
        honest.with(|net| drop(net.feedback_peer_list([ip(8)])));
        liar.with(|net| drop(net.feedback_peer_list([ip(9)])));
        sleep(secs(40)).await;
        assert!(knows(8) && !knows(9));
    });
}

#[test]
fn a_revoked_connection_is_closed() {
    sim::run(1, async |net: Network| {
        let nodes = [start(&net, 5, &[]).await, start(&net, 6, &[ip(5)]).await];
        sleep(secs(5)).await;
        assert_eq!(net.edges().len(), 1);
        nodes[0].with(|net| drop(net.feedback_peer_banned(ip(6))));
        sleep(secs(1)).await;
        assert_eq!(net.edges(), []);
        assert!(!nodes[1].with(|net| net.peer(ip(5)).unwrap().status.is_connected()));
    });
}

#[test]
fn a_silent_peer_is_found_out_and_replaced() {
    sim::run(4, async |net: Network| {
        let nodes = form(&net, 12).await;
        sleep(secs(60)).await;
        nodes[7].host().kill(Kill::Silent);
        sleep(secs(150)).await;
        let others: Vec<_> = nodes.iter().filter(|node| node.host().ip() != ip(7)).collect();
        for node in others {
            let status = node.with(|net| net.peer(ip(7)).map(|peer| peer.status));
            assert!(status.is_none_or(|status| !status.is_connected()), "{status:?}");
            assert!(node.stats().peers.out_alive >= TARGET - 1);
        }
    });
}

#[test]
fn halves_that_cannot_reach_each_other_hold_no_connection_for_long() {
    sim::run(5, async |net: Network| {
        let nodes = form(&net, 16).await;
        sleep(secs(60)).await;
        let half = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[1] % 2 == 0);
        assert!(net.graph().cross_edges(half) > 0);
        net.partition(half);
        sleep(secs(120)).await;
        assert_eq!(net.graph().cross_edges(half), 0);
        assert_eq!(net.components().len(), 2);
        for node in &nodes {
            let connected = node.with(|net| {
                let connected = net.peers().filter(|peer| peer.status.is_connected());
                connected.map(|peer| peer.ip).collect::<Vec<_>>()
            });
            assert!(connected.iter().all(|&ip| half(ip) == half(node.host().ip())));
        }
    });
}
