//! A host with IPv6 switched off among addresses of both families: the kernel answers each dial of IPv6 at once that this
//! host has no address for it.

use std::net::Ipv6Addr;

use tempfile::TempDir;

use super::dumps::file;
use super::*;

const TARGET: usize = 8;

fn ipv4(count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|number| IpAddr::from([60, number, 0, 1]))
}

fn ipv6(count: u16) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|number| Ipv6Addr::new(0x2a00, number, 0, 0, 0, 0, 0, 1).into())
}

/// A node that wants [`TARGET`] connections: each dial of IPv4 succeeds, each of IPv6 finds no local address at once.
async fn without_ipv6(config: NetworkConfig) -> Node {
    let node = Node::new(config).await;
    node.world.auto_dial(|request| {
        let is_ipv4 = request.to.is_ipv4();
        Some(if is_ipv4 {
            Ok(())
        } else {
            Err(ErrorKind::AddrNotAvailable.into())
        })
    });
    node
}

/// How long it takes until the node has its connections, all of which come alive.
async fn time_to_target(node: &mut Node) -> Duration {
    const STEP: Duration = millis(50);
    for step in 0..1_200 {
        node.settle_within(400);
        while let Some(candidate) = node.events.pop_front() {
            drop(node.feedback_peer_alive(candidate.ip));
            node.settle_within(400);
        }
        if node.stats().peers.out_alive == TARGET {
            return STEP * step;
        }
        advance(STEP).await;
    }
    panic!("{} of {TARGET} after 60 s", node.stats().peers.out_alive);
}

#[tokio::test(start_paused = true)]
async fn addresses_without_a_way_cost_no_time() {
    for unroutable in [0, 100, 300] {
        let mut node = without_ipv6(wanting(TARGET)).await;
        drop(node.feedback_peer_list(ipv6(unroutable).chain(ipv4(8))));
        assert_eq!(time_to_target(&mut node).await, Duration::ZERO, "beside {unroutable}");
        assert_eq!(node.counters().dials_host_faults, 0);
        let tried = node
            .peers()
            .filter(|peer| peer.ip.is_ipv6() && peer.last_failure.is_some());
        let tried = u64::try_from(tried.count()).unwrap();
        assert_eq!(
            node.counters().dials_unroutable,
            tried,
            "each is tried once and set aside"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn proven_peers_without_a_way_cost_no_time() {
    let folder = TempDir::new().unwrap();
    let records = ipv6(8).map(|ip| format!(r#"{{ "ip": "{ip}", "last_alive_outgoing": "2025-12-31T00:00:00Z" }}"#));
    let records: Vec<_> = records.collect();
    let config = file(&folder, &format!("[{}]", records.join(",")), wanting(TARGET));
    let mut node = without_ipv6(config).await;
    drop(node.feedback_peer_list(ipv4(8)));
    assert_eq!(time_to_target(&mut node).await, Duration::ZERO);
    assert_eq!(
        (node.counters().dials_unroutable, node.counters().dials_host_faults),
        (8, 0)
    );
    assert!(node.peers().all(|peer| peer.failures_in_row == 0));
}
