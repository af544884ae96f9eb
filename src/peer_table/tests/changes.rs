//! What is stored of a peer, and which of its changes are worth a dump.

use super::*;

#[test]
fn what_only_passes_through_is_no_change() {
    let peer = ip("60.2.0.1");
    let mut node = Node::new(config());
    node.list([peer]);
    let changes = node.table.changes();
    node.poll();
    node.dial_ok(peer);
    node.report(peer, Report::Closed);
    assert_eq!(node.table.changes(), changes);
    node.wait(Duration::from_secs(9));
    node.poll();
    node.dial_ok(peer);
    node.report(peer, Report::Alive);
    assert!(node.table.changes() > changes);
    let changes = node.table.changes();
    node.report(peer, Report::Closed);
    assert!(node.table.changes() > changes, "from alive to idle is one");
}
