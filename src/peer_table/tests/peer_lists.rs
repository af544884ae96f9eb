//! Peer lists: which addresses are taken.

use super::*;

#[test]
fn private_addresses_are_refused_from_lists_where_peers_are_global() {
    let listed = [
        "60.1.0.1",
        "10.0.0.1",
        "::ffff:192.168.0.1",
        "127.0.0.1",
        "fe80::1",
        "fd00::1",
        "2001:db8::1",
    ];
    for is_global in [false, true] {
        let mut config = config();
        config.global_peers_only = is_global;
        let mut node = Node::new(config);
        node.list(listed.map(ip));
        node.list(["224.0.0.1", "0.0.0.0", "255.255.255.255"].map(ip));
        let stats = node.table.stats();
        assert_eq!(stats.peers.total(), if is_global { 1 } else { 7 });
        assert_eq!(stats.counters.addresses_refused, if is_global { 9 } else { 3 });
        // An inbound connection shows that its address can be reached.
        assert_eq!(node.inbound(ip("10.0.0.7")), Verdict::Admit);
    }
}

/// The operator's own are taken and dialed, and not told of.
#[test]
fn private_addresses_are_not_told_to_others_where_peers_are_global() {
    let (of_file, initial, caller) = (ip("10.0.0.1"), ip("192.168.0.1"), ip("100.64.0.1"));
    for is_global in [false, true] {
        let mut config = config();
        config.global_peers_only = is_global;
        let mut node = Node::new(config);
        node.table
            .load(node.now, vec![Peer::new(of_file).into()], &[initial, ip("60.1.0.1")]);
        assert_eq!(node.inbound(caller), Verdict::Admit);
        node.report(caller, Report::Alive);
        assert_eq!(node.table.peers().count(), 4);
        let told: BTreeSet<_> = node.table.good_peer_ips().collect();
        assert_eq!(told, node.table.all_good_peer_ips().into_iter().collect());
        assert_eq!(told, node.table.sample_peer_ips(10).into_iter().collect());
        let expected = [ip("60.1.0.1"), of_file, initial, caller];
        assert_eq!(
            told,
            expected[..if is_global { 1 } else { 4 }].iter().copied().collect()
        );
        node.poll();
        let dialed: BTreeSet<_> = node.dials.values().copied().collect();
        assert_eq!(dialed, [ip("60.1.0.1"), of_file, initial].into());
    }
}
