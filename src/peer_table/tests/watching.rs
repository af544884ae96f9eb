//! What is recorded while peers are watched. That it is complete, the model test shows.

use std::io::ErrorKind;

use super::*;
use crate::change::Cause;
use crate::fault::DialError;

const PEER: &str = "60.2.0.1";

fn drain(table: &mut PeerTable) -> Vec<(IpAddr, ChangeKind)> {
    std::iter::from_fn(|| table.next_change()).collect()
}

fn kinds(node: &mut Node) -> Vec<ChangeKind> {
    drain(&mut node.table).into_iter().map(|(_, kind)| kind).collect()
}

fn status(from: impl Into<Option<PeerStatus>>, to: PeerStatus, cause: Cause) -> ChangeKind {
    let from = from.into();
    ChangeKind::Status { from, to, cause }
}

fn watched() -> Node {
    let mut node = Node::new(config());
    node.table.watch(100);
    node
}

#[test]
fn nothing_is_recorded_while_peers_are_not_watched() {
    let mut node = Node::new(config());
    node.list([ip(PEER)]);
    assert!(!node.table.has_changes());
    node.table.watch(1);
    node.list([ip("60.3.0.1")]);
    assert!(node.table.has_changes());
    node.table.watch(0);
    node.list([ip("60.4.0.1")]);
    assert_eq!(drain(&mut node.table), [(ip("60.3.0.1"), ChangeKind::Added)]);
}

#[test]
fn the_newest_are_kept_and_the_others_counted() {
    let mut node = Node::new(config());
    node.table.watch(2);
    let peers = [1, 2, 3, 4, 5].map(|third| IpAddr::from([60, third, 0, 1]));
    node.list(peers);
    assert_eq!(node.table.dropped_changes(), 3);
    let kept = [peers[3], peers[4]].map(|peer| (peer, ChangeKind::Added));
    assert_eq!(drain(&mut node.table), kept);
    assert_eq!(node.table.dropped_changes(), 0);
}

#[test]
fn a_dial_and_its_connection_are_told_with_their_causes() {
    let mut node = watched();
    let peer = ip(PEER);
    node.list([peer]);
    node.poll();
    node.dial_ok(peer);
    node.report(peer, Report::Alive);
    node.report(peer, Report::Alive);
    node.report(peer, Report::Failed);
    assert_eq!(
        kinds(&mut node),
        [
            ChangeKind::Added,
            status(PeerStatus::Idle, PeerStatus::OutConnecting, Cause::Dialed),
            status(
                PeerStatus::OutConnecting,
                PeerStatus::OutHandshaking,
                Cause::DialSucceeded
            ),
            status(PeerStatus::OutHandshaking, PeerStatus::OutAlive, Cause::Alive),
            status(
                PeerStatus::OutAlive,
                PeerStatus::Idle,
                Cause::Failed(Reporter::Feedback)
            ),
        ]
    );
}

#[test]
fn a_failed_dial_says_which_error_it_was() {
    let errors = [
        (DialFault::Peer, Cause::DialFailed as fn(_) -> _),
        (DialFault::TimedOut, Cause::DialFailed),
        (DialFault::Unroutable { at_once: true }, Cause::DialUnroutable),
        (DialFault::Host, Cause::DialHostFault),
    ];
    for (fault, cause) in errors {
        let mut node = watched();
        node.list([ip(PEER)]);
        node.poll();
        let (&id, _) = node.dials.first_key_value().unwrap();
        let kind = ErrorKind::ConnectionReset;
        drain(&mut node.table);
        let error = DialError {
            fault,
            kind: Some(kind),
        };
        node.table.on_dial_failed(node.now, id, error);
        let expected = status(PeerStatus::OutConnecting, PeerStatus::Idle, cause(kind));
        assert_eq!(kinds(&mut node), [expected], "{fault:?}");
    }
}

#[test]
fn a_stranger_that_comes_in_or_is_banned_is_told_of_once() {
    let mut node = watched();
    let remote = at(ip(PEER), 5_000);
    assert_eq!(node.table.on_inbound(node.now, remote, node.us), Verdict::Admit);
    node.table.on_admitted(node.now, ip(PEER));
    assert_eq!(
        kinds(&mut node),
        [status(None, PeerStatus::InHandshaking, Cause::Admitted)]
    );
    let other = ip("60.3.0.1");
    let now = node.now;
    let mut report = |report| node.table.on_report_by(Reporter::Lease, now, other, None, report);
    report(Report::Banned);
    report(Report::Banned);
    report(Report::Unbanned);
    assert_eq!(
        kinds(&mut node),
        [
            status(None, PeerStatus::Banned, Cause::Banned(Reporter::Lease)),
            status(PeerStatus::Banned, PeerStatus::Idle, Cause::Unbanned),
        ]
    );
}

#[test]
fn the_reporter_is_that_of_one_report() {
    let mut node = watched();
    let now = node.now;
    let (first, second) = (ip("60.3.0.1"), ip("60.4.0.1"));
    node.table
        .on_report_by(Reporter::DroppedLease, now, first, None, Report::Banned);
    node.table.on_report(now, second, None, Report::Banned);
    let told = kinds(&mut node);
    let banned = |reporter| status(None, PeerStatus::Banned, Cause::Banned(reporter));
    assert_eq!(told, [banned(Reporter::DroppedLease), banned(Reporter::Feedback)]);
}

#[test]
fn a_refusal_says_why() {
    let mut node = watched();
    let peer = ip(PEER);
    node.table.on_report(node.now, peer, None, Report::Banned);
    drain(&mut node.table);
    node.table.on_inbound(node.now, at(peer, 5_000), node.us);
    node.table.on_inbound(node.now, at(ip("224.0.0.1"), 5_000), node.us);
    assert_eq!(
        drain(&mut node.table),
        [
            (peer, ChangeKind::Refused(Refusal::Banned)),
            (ip("224.0.0.1"), ChangeKind::Refused(Refusal::NotAPeer)),
        ]
    );
}

/// It changes nothing, so nothing is said of it.
#[test]
fn a_listed_peer_that_is_forgotten_at_once_is_not_told_of() {
    let mut config = config();
    config.max_idle_peers = 1;
    let mut node = Node::new(config);
    node.list([ip("60.2.0.1")]);
    node.table.watch(1_000);
    let known = |node: &Node| node.table.peers().map(|peer| peer.ip).next();
    let mut replaced = 0;
    for last in 2..=60 {
        let before = known(&node);
        node.list([IpAddr::from([60, 2, 0, last])]);
        replaced += usize::from(known(&node) != before);
        let expected = if known(&node) == before { 0 } else { 2 };
        assert_eq!(kinds(&mut node).len(), expected);
    }
    assert!((1..59).contains(&replaced), "{replaced}");
}
