//! A flood of one kind costs each poll a bounded amount of work, wakes the task itself, and starves nothing else.

use std::sync::atomic::{AtomicBool, Ordering};

use PeerStatus::{Banned, Idle, InHandshaking};
use tempfile::TempDir;

use super::dumps::{file, other_work};
use super::*;

const FLOOD: u32 = 10_000;
/// As much of one kind as one poll may do, by the budgets of the engine.
const WORK_PER_POLL: usize = 1024;
/// Within which something else must come through.
const FEW_POLLS: usize = 3;
/// More polls than any flood here takes.
const MANY_POLLS: usize = 400;

fn stranger(number: u32) -> IpAddr {
    IpAddr::from((0x3D00_0000 + number).to_be_bytes())
}

/// Polls until the flood is over; each poll may bring `level` up or down by no more than its budget, and must wake the
/// task while there is more. Answers the number of polls.
fn drain(node: &mut Node, level: impl Fn(&Node) -> usize) -> usize {
    for polls in 1..=MANY_POLLS {
        let before = level(node);
        assert!(node.poll().is_pending());
        let work = level(node).abs_diff(before);
        assert!(work <= WORK_PER_POLL, "{work} in one poll");
        if !node.net.is_woken() {
            node.check_rest();
            return polls;
        }
    }
    panic!("the flood never ends");
}

fn flood_of_refusals(node: &mut Node) {
    for number in 0..FLOOD {
        node.connects_from(SocketAddr::new(stranger(number), 9), US);
    }
}

fn refusing() -> NetworkConfig {
    NetworkConfig {
        max_incoming_connections: 0,
        ..wanting(1)
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_bounded_per_poll() {
    let mut node = Node::knowing(refusing(), &[]).await;
    flood_of_refusals(&mut node);
    let polls = drain(&mut node, |node| node.world.accepts_waiting());
    assert!(polls > FEW_POLLS);
    assert_eq!(node.counters().refused_incoming_full, u64::from(FLOOD));
}

#[tokio::test(start_paused = true)]
async fn a_dial_comes_through_a_flood_of_refusals() {
    let mut node = Node::knowing(refusing(), &[LOW]).await;
    flood_of_refusals(&mut node);
    assert!(node.poll().is_pending());
    node.world.dial_ok(ip(LOW));
    let mut polls = (0..FEW_POLLS).map(|_| node.poll());
    assert!(polls.any(|poll| poll.is_ready()));
    assert!(node.world.accepts_waiting() > 0, "with the flood still on");
}

#[tokio::test(start_paused = true)]
async fn feedback_leases_and_questions_come_through_a_flood_of_refusals() {
    let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::OutHandshaking), refusing()).await;
    let (lease, sink) = (node.lease(ip(LOW)).unwrap(), node.feedback_sink());
    flood_of_refusals(&mut node);
    assert!(node.poll().is_pending());
    lease.alive();
    sink.report(Feedback::Banned(ip(HIGH))).unwrap();
    let mut question = task::spawn(sink.good_peer_ips(9));
    assert!(question.poll().is_pending());
    assert!(node.poll().is_pending());
    assert_eq!(
        (node.status(LOW), node.status(HIGH)),
        (Some(PeerStatus::OutAlive), Some(Banned))
    );
    assert!(question.poll().is_ready());
    assert!(node.world.accepts_waiting() > 0);
}

#[tokio::test(start_paused = true)]
async fn deadlines_come_through_a_flood_of_refusals() {
    let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::OutHandshaking), refusing()).await;
    flood_of_refusals(&mut node);
    advance(seconds(31)).await;
    assert!(node.poll().is_pending());
    assert_eq!(node.counters().handshakes_timed_out, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dump_comes_through_a_flood_of_refusals_that_never_ends() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", refusing()), &[]).await;
    node.ban(LOW);
    advance(seconds(61)).await;
    for _ in 0..100 {
        if node.world.accepts_waiting() < 1000 {
            flood_of_refusals(&mut node);
        }
        assert!(node.poll().is_pending());
        assert!(node.net.is_woken());
        if node.dumps() == (1, 0) {
            return;
        }
        other_work().await;
    }
    panic!("the dump was starved");
}

#[tokio::test(start_paused = true)]
async fn a_dump_comes_through_events_without_end() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    advance(seconds(61)).await;
    for number in 0..100 {
        node.connects_from(SocketAddr::new(stranger(number), 9), US);
        let Poll::Ready(Some(event)) = node.poll() else {
            panic!("each poll has an event");
        };
        let candidate = Candidate::from(event);
        drop(node.feedback_peer_closed(candidate.ip));
        if node.dumps() == (1, 0) {
            return;
        }
        other_work().await;
    }
    panic!("the dump was starved");
}

#[tokio::test(start_paused = true)]
async fn a_dial_comes_through_events_without_end() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    for number in 0..20 {
        node.connects_from(SocketAddr::new(stranger(number), 9), US);
    }
    assert!(node.poll().is_ready());
    node.world.dial_ok(ip(LOW));
    let Poll::Ready(Some(event)) = node.poll() else {
        panic!("no event");
    };
    assert!(Candidate::from(event).is_outgoing);
}

#[tokio::test(start_paused = true)]
async fn dials_that_succeed_at_once_and_accepts_take_turns() {
    let mut config = wanting(8);
    // No pace holds the dials back.
    config.dial_stagger = Duration::ZERO;
    let mut node = Node::knowing(config, &[]).await;
    node.world.auto_dial(|_| Some(Ok(())));
    drop(node.feedback_peer_list((0..2000).map(stranger)));
    for number in 0..20 {
        node.connects_from(SocketAddr::new(stranger(FLOOD + number), 9), US);
    }
    for is_outgoing in [true, false].repeat(10) {
        let Poll::Ready(Some(event)) = node.poll() else {
            panic!("each poll has an event");
        };
        let candidate = Candidate::from(event);
        assert_eq!(candidate.is_outgoing, is_outgoing);
        drop(node.feedback_peer_failed(candidate.ip));
    }
}

#[tokio::test(start_paused = true)]
async fn reports_from_sinks_are_bounded_by_what_the_table_may_know() {
    let mut config = passive();
    (config.max_idle_peers, config.max_banned_peers) = (300, 200);
    let bound = 500 + config.max_incoming_connections + config.max_simultaneous_outgoing_connection_attempts;
    let mut node = Node::knowing(config, &[]).await;
    let sink = node.feedback_sink();
    for number in 0..FLOOD {
        sink.report(Feedback::Banned(stranger(number))).unwrap();
    }
    assert!(node.poll().is_pending());
    assert_eq!(node.counters().bans_set, u64::try_from(bound).unwrap());
    assert_eq!(node.stats().banned_peers.used, 200);
}

/// Counted, not timed: while the flood goes on, a poll applies as much as its budget and leaves the rest.
#[tokio::test(start_paused = true)]
async fn a_poll_does_a_bounded_amount_for_two_threads_that_flood_a_sink() {
    const POLLS: usize = 50;
    let mut node = Node::knowing(passive(), &[]).await;
    let is_over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let (sink, is_over) = (node.feedback_sink(), &is_over);
            scope.spawn(move || {
                for number in (0..1 << 20).cycle() {
                    let absent = stranger((thread << 20) + number);
                    if is_over.load(Ordering::Relaxed) || sink.report(Feedback::Banned(absent)).is_err() {
                        break;
                    }
                }
            });
        }
        let counts: Vec<_> = (0..POLLS)
            .map(|_| {
                while node.engine.mailbox.held() < 2 * WORK_PER_POLL {
                    std::thread::yield_now();
                }
                let before = node.counters().bans_set;
                assert!(node.net.poll_next().is_pending());
                assert!(node.net.is_woken(), "there is more");
                node.counters().bans_set - before
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        counts
    });
    assert!(counts.iter().all(|&count| count == 1_000), "{counts:?}");
    node.settle_within(MANY_POLLS);
}

#[tokio::test(start_paused = true)]
async fn events_come_through_a_flood_of_reports_and_addresses() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let sink = node.feedback_sink();
    for number in 0..FLOOD {
        sink.report(Feedback::Banned(stranger(number))).unwrap();
    }
    sink.report(Feedback::PeerList(
        (0..FLOOD).map(|number| stranger(FLOOD + number)).collect(),
    ))
    .unwrap();
    let _probe = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
    node.world.dial_ok(ip(LOW));
    assert!(node.poll().is_ready());
    assert!(node.poll().is_ready());
    assert!(node.engine.mailbox.held() > 0, "with the flood still on");
}

#[tokio::test(start_paused = true)]
async fn reports_of_connections_come_before_a_flood_of_others() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let sink = node.feedback_sink();
    for number in 0..FLOOD {
        sink.report(Feedback::Banned(stranger(number))).unwrap();
    }
    sink.report(Feedback::Closed(ip(LOW))).unwrap();
    advance(seconds(31)).await;
    assert!(node.poll().is_pending());
    assert_eq!((node.status(LOW), node.of(LOW).last_failure), (Some(Idle), None));
}

#[tokio::test(start_paused = true)]
async fn listed_addresses_are_bounded_per_poll() {
    let mut node = Node::knowing(passive(), &[]).await;
    let addresses = (0..FLOOD).map(stranger).collect();
    node.feedback_sink().report(Feedback::PeerList(addresses)).unwrap();
    drain(&mut node, |node| node.stats().idle_peers.used);
    assert_eq!(node.stats().idle_peers.used, 10_000);
}

#[tokio::test(start_paused = true)]
async fn answers_are_bounded_per_poll_and_the_oldest_question_comes_first() {
    let mut node = Node::knowing(passive(), &[]).await;
    drop(node.feedback_peer_list((0..FLOOD).map(stranger)));
    node.settle();
    let sink = node.feedback_sink();
    let mut questions: Vec<_> = (0..40)
        .map(|_| Box::pin(task::spawn(sink.good_peer_ips(usize::MAX))))
        .collect();
    for question in &mut questions {
        assert!(question.poll().is_pending());
    }
    assert!(node.poll().is_pending());
    let answered = questions.iter().filter(|question| question.is_woken()).count();
    assert!((1..40).contains(&answered), "{answered}");
    assert!(questions[..answered].iter().all(|question| question.is_woken()));
    node.settle_within(MANY_POLLS);
    assert!(questions.iter_mut().all(|question| question.poll().is_ready()));
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_bounded_per_poll() {
    let mut config = passive();
    config.ban_duration = Some(seconds(60));
    let mut node = Node::knowing(config, &[]).await;
    for number in 0..FLOOD {
        drop(node.feedback_peer_banned(stranger(number)));
    }
    node.settle();
    advance(seconds(61)).await;
    let _probe = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
    assert!((0..FEW_POLLS).any(|_| node.poll().is_ready()));
    assert!(node.stats().banned_peers.used > 0, "with the flood still on");
    for _ in 0..MANY_POLLS {
        let before = node.stats().banned_peers.used;
        drop(node.poll());
        assert!(before - node.stats().banned_peers.used <= 16 * 256);
        if !node.net.is_woken() {
            break;
        }
    }
    assert_eq!(node.counters().bans_ended, u64::from(FLOOD));
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_at_once_are_bounded_per_poll() {
    let mut config = wanting(8);
    // No pace holds the dials back.
    config.dial_stagger = Duration::ZERO;
    let mut node = Node::knowing(config, &[]).await;
    node.world.auto_dial(|_| Some(Err(ErrorKind::ConnectionRefused.into())));
    drop(node.feedback_peer_list((0..2000).map(stranger)));
    let _probe = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
    assert!((0..FEW_POLLS).any(|_| node.poll().is_ready()));
    let started = |node: &Node| node.world.dials_started();
    assert!(started(&node) < WORK_PER_POLL);
    drain(&mut node, started);
    assert_eq!(node.counters().dials_failed, 2000);
}

#[tokio::test(start_paused = true)]
async fn accept_errors_without_end_do_not_keep_the_task_busy() {
    let mut node = Node::knowing(passive(), &[]).await;
    for _ in 0..FLOOD {
        node.world.accept_error(ErrorKind::ConnectionAborted.into());
    }
    assert!(node.poll().is_pending());
    assert!(!node.net.is_woken());
    assert!(node.world.accepts_waiting() > 9_000);
}
