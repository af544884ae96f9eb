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
        assert_eq!(stats.peers.total(), if is_global { 2 } else { 7 });
        assert_eq!(stats.counters.addresses_refused, if is_global { 8 } else { 3 });
        // An inbound connection shows that its address can be reached.
        assert_eq!(node.inbound(ip("10.0.0.7")), Verdict::Admit);
    }
}
