//! The order in which reports count, whichever way they came, and how many of them one poll applies.

use std::thread;

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutConnecting};

use super::*;
use crate::controller::mailbox::MergedReports;

/// Absent addresses that one poll takes.
const BUDGET: u64 = 1_000;

/// A controller that may be told of many absent peers.
async fn roomy(config: NetworkConfig) -> Node {
    let mut config = config;
    (config.max_idle_peers, config.max_banned_peers) = (50_000, 50_000);
    Node::knowing(config, &[]).await
}

fn stranger(number: u32) -> IpAddr {
    IpAddr::from((0x3D00_0000 + number).to_be_bytes())
}

/// So many reports about as many strangers, each of which turns out to be stale.
fn flood(sink: &FeedbackSink, strangers: std::ops::Range<u32>) {
    for number in strangers {
        sink.report(Feedback::Failed(stranger(number))).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_counts_after_what_sinks_have_reported_before() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    node.ban(LOW);
    assert_eq!(node.status(LOW), Some(Banned));
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    drop(node.feedback_peer_unbanned(ip("::ffff:60.1.0.1")));
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
}

#[tokio::test(start_paused = true)]
async fn a_method_speaks_of_the_connection_that_sinks_have_left_open() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Closed(ip(LOW))).unwrap();
    drop(node.feedback_peer_alive(ip(LOW)));
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.last_alive), (Idle, None));
    assert_eq!(node.counters().feedback_stale, 1);

    sink.report(Feedback::Alive(ip(LOW))).unwrap();
    drop(node.feedback_peer_failed(ip(LOW)));
    assert_eq!(node.of(LOW).last_failure, node.now(), "a failure of an idle peer");
    node.no_event();
    assert_eq!(node.counters().feedback_stale, 2);
}

#[tokio::test(start_paused = true)]
async fn a_ban_reported_by_a_sink_counts_before_the_method_of_a_connected_peer() {
    let (mut node, _socket) = Node::with(LOW, Some(InAlive), passive()).await;
    node.feedback_sink().report(Feedback::Banned(ip(LOW))).unwrap();
    drop(node.feedback_peer_unbanned(ip(LOW)));
    assert_eq!((node.status(LOW), node.counters().bans_set), (Some(Idle), 1));
}

/// Reports of three times in the life of a peer, and the last of them counts.
#[tokio::test(start_paused = true)]
async fn what_was_reported_last_of_an_address_counts_last_though_connections_come_and_go() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    let _socket = node.admits(LOW);
    let mailbox = Arc::clone(&node.engine.mailbox);
    let connection = mailbox.connection(ip(LOW)).unwrap();
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    mailbox.end(connection, Revocation::Feedback);
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    mailbox.open(connection, ip(LOW), false);
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    assert_eq!(mailbox.held(), 1, "one address");
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!((node.counters().bans_set, node.counters().feedback_stale), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_after_what_was_reported_of_its_address_however_much_else_waits() {
    let mut node = roomy(passive()).await;
    let _socket = node.admits(LOW);
    let lease = node.lease(ip(LOW)).unwrap();
    let sink = node.feedback_sink();
    node.end(LOW);
    node.ban(LOW);
    flood(&sink, 0..5_000);
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    lease.banned();
    node.settle();
    assert_eq!((node.status(LOW), node.counters().bans_set), (Some(Banned), 2));
}

#[tokio::test(start_paused = true)]
async fn a_poll_applies_a_budget_of_reports_about_absent_peers_and_wakes_for_the_rest() {
    let mut node = roomy(passive()).await;
    flood(&node.feedback_sink(), 0..2_500);
    for (applied, left) in [(1_000, 1_500), (2_000, 500), (2_500, 0)] {
        assert!(node.net.is_woken());
        assert!(node.poll().is_pending());
        assert_eq!(node.counters().feedback_stale, applied);
        assert_eq!(node.engine.mailbox.held(), left);
    }
    node.rests();
}

#[tokio::test(start_paused = true)]
async fn reports_of_connections_wait_for_no_flood() {
    let mut node = roomy(passive()).await;
    let sink = node.feedback_sink();
    flood(&sink, 0..5_000);
    for peer in ["60.1.0.1:9", "220.1.0.1:9"] {
        node.connects_from(peer.parse().unwrap(), US);
    }
    assert!(node.poll().is_ready() && node.poll().is_ready());
    let lease = node.lease(ip(HIGH)).unwrap();
    sink.report(Feedback::Alive(ip(LOW))).unwrap();
    lease.alive();
    assert!(node.poll().is_pending());
    assert_eq!((node.status(LOW), node.status(HIGH)), (Some(InAlive), Some(InAlive)));
    assert!(node.engine.mailbox.held() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_of_an_address_is_applied_before_its_accept() {
    let mut node = roomy(passive()).await;
    let sink = node.feedback_sink();
    flood(&sink, 0..5_000);
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    let probe = node
        .world
        .incoming("60.1.0.1:9".parse().unwrap(), SocketAddr::new(ip(US), PORT));
    assert!(node.poll().is_pending());
    assert!(probe.is_refused());
    assert_eq!((node.status(LOW), node.counters().refused_banned), (Some(Banned), 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_of_an_address_is_applied_before_its_dial() {
    let mut node = roomy(wanting(1)).await;
    let sink = node.feedback_sink();
    flood(&sink, 0..5_000);
    sink.report(Feedback::Failed(ip(HIGH))).unwrap();
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    drop(node.feedback_peer_list([ip(LOW)]));
    assert!(node.poll().is_pending());
    assert_eq!((node.status(LOW), node.world.dials_started()), (Some(Banned), 0));
    drop(node.feedback_peer_list([ip(HIGH)]));
    assert!(node.poll().is_pending());
    assert_eq!(
        (node.status(HIGH), node.world.dials_started()),
        (Some(OutConnecting), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn lists_and_questions_share_a_budget_and_neither_starves_the_other() {
    let mut node = roomy(passive()).await;
    let sink = node.feedback_sink();
    let mut questions: Vec<_> = (0..3).map(|_| task::spawn(sink.good_peer_ips(400))).collect();
    sink.report(Feedback::PeerList((0..2_000).map(stranger).collect()))
        .unwrap();
    assert!(questions.iter_mut().all(|question| question.poll().is_pending()));
    assert!(node.poll().is_pending());
    assert_eq!(node.peers().count(), 500);
    let answered = questions.iter_mut().map(|question| question.is_woken());
    assert_eq!(answered.collect::<Vec<_>>(), [true, true, false]);
    assert!(node.net.is_woken());
    assert!(node.poll().is_pending());
    assert_eq!(node.peers().count(), 1_000);
    assert!(questions[2].is_woken());
    node.settle();
    assert_eq!((node.peers().count(), node.engine.mailbox.held()), (2_000, 0));
}

#[tokio::test(start_paused = true)]
async fn two_threads_that_flood_a_sink_make_no_poll_long() {
    const EACH: u32 = 20_000;
    let mut node = roomy(passive()).await;
    let sink = node.feedback_sink();
    let threads = [0, EACH].map(|first| {
        let sink = sink.clone();
        thread::spawn(move || flood(&sink, first..first + EACH))
    });
    let mut applied = 0;
    while applied < u64::from(2 * EACH) {
        assert!(node.poll().is_pending());
        let total = node.counters().feedback_stale;
        assert!(total - applied <= BUDGET, "{} in one poll", total - applied);
        applied = total;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    node.settle();
    assert_eq!(node.engine.mailbox.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn that_an_address_is_our_own_is_applied_after_ends_and_bans() {
    let orders = [
        [Feedback::Banned(ip(LOW)), Feedback::Ourselves(ip(LOW))],
        [Feedback::Ourselves(ip(LOW)), Feedback::Banned(ip(LOW))],
        [Feedback::Ourselves(ip(LOW)), Feedback::Unbanned(ip(LOW))],
        [Feedback::Failed(ip(LOW)), Feedback::Ourselves(ip(LOW))],
    ];
    for status in [None, Some(Idle), Some(InAlive), Some(Banned)] {
        for order in &orders {
            let (mut node, _socket) = Node::with(LOW, status, passive()).await;
            let sink = node.feedback_sink();
            order.iter().for_each(|feedback| sink.report(feedback.clone()).unwrap());
            node.no_event();
            assert_eq!(node.status(LOW), None, "{order:?} of {status:?}");
            node.list(&[LOW]);
            assert_eq!(node.peers().count(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_a_connection_after_it_was_found_to_be_ours() {
    let (mut node, _socket) = Node::with(LOW, Some(InAlive), passive()).await;
    let sink = node.feedback_sink();
    for feedback in [
        Feedback::Ourselves(ip(LOW)),
        Feedback::Alive(ip(LOW)),
        Feedback::Failed(ip(LOW)),
    ] {
        sink.report(feedback).unwrap();
    }
    node.no_event();
    assert_eq!((node.status(LOW), node.counters().feedback_stale), (None, 2));
}

fn merged(reports: &[Report], has_connection: bool) -> Vec<Report> {
    let mut merged = MergedReports::default();
    for &report in reports {
        merged.add(report);
    }
    merged.iter(has_connection, Report::Failed).collect()
}

#[test]
fn reports_are_applied_in_the_order_of_the_design_whatever_their_order() {
    let ban = Report::BannedFor(seconds(5));
    let reversed = [
        Report::Dial,
        Report::Ourselves,
        Report::Release,
        Report::Reserve,
        Report::Dial,
        Report::Unbanned,
        Report::Banned,
        ban,
    ];
    let applied = [ban, Report::Reserve, Report::Ourselves, Report::Dial];
    assert_eq!(merged(&reversed, true), applied);
    let ended = [
        Report::Release,
        Report::Dial,
        Report::Alive,
        Report::Closed,
        Report::Failed,
    ];
    let applied = [Report::Alive, Report::Closed, Report::Release, Report::Dial];
    assert_eq!(merged(&ended, true), applied);
}

#[test]
fn of_bans_with_and_without_a_term_the_last_one_counts() {
    let ban = Report::BannedFor(seconds(5));
    assert_eq!(merged(&[ban, Report::Banned], false), [Report::Banned]);
    assert_eq!(merged(&[Report::Banned, ban], false), [ban]);
    assert_eq!(merged(&[ban, Report::Unbanned], true), [ban, Report::Unbanned]);
    assert_eq!(merged(&[ban, Report::Unbanned], false), [Report::Unbanned]);
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_says_of_reserved_peers_and_dials_is_applied_by_the_next_poll() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Reserve(ip(LOW))).unwrap();
    sink.report(Feedback::Dial(ip("::ffff:220.1.0.1"))).unwrap();
    node.no_event();
    assert_eq!(node.config().reserved_peers, [ip(LOW)]);
    assert_eq!([LOW, HIGH].map(|peer| node.status(peer)), [Some(OutConnecting); 2]);
    sink.report(Feedback::Release(ip(LOW))).unwrap();
    node.no_event();
    assert!(node.config().reserved_peers.is_empty());
    assert_eq!(node.status(LOW), Some(OutConnecting), "a release ends nothing");
}

/// A flood of others pushes out none of them.
#[tokio::test(start_paused = true)]
async fn what_concerns_reserved_peers_is_taken_in_however_full_the_mailbox_is() {
    let mut config = passive();
    (config.max_idle_peers, config.max_banned_peers) = (10, 0);
    let mut node = Node::knowing(config, &[]).await;
    let sink = node.feedback_sink();
    flood(&sink, 0..2_000);
    sink.report(Feedback::Reserve(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!(node.config().reserved_peers, [ip(LOW)]);
}
