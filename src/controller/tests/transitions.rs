//! What happens to a peer, row by row: its status, its times, the counters, the event and the socket.

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutConnecting, OutHandshaking};

use super::*;

const OTHER: &str = "61.1.0.1";

/// A node beyond its first outage, with a connection of [`LOW`] of this status.
async fn connected_beyond_outage(status: PeerStatus) -> Node {
    let is_outgoing = matches!(status, OutHandshaking | OutAlive);
    let mut node = if is_outgoing {
        let mut node = Node::dialing_beyond_outage(config(), LOW).await;
        drop(node.dial_ok(LOW));
        node
    } else {
        let mut node = Node::beyond_outage(config()).await;
        drop(node.admits(LOW));
        node
    };
    if matches!(status, OutAlive | InAlive) {
        node.alive(LOW);
    }
    assert_eq!(node.status(LOW), Some(status));
    node
}

#[tokio::test(start_paused = true)]
async fn a_dial_starts() {
    let node = Node::knowing(config(), &[LOW]).await;
    assert_eq!(node.status(LOW), Some(OutConnecting));
    assert_eq!(node.world.dials()[0].to, SocketAddr::new(ip(LOW), PORT));
    assert_eq!(node.counters().dials_started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_succeeds() {
    let (node, socket) = Node::dialed(config(), LOW).await;
    assert_eq!(node.status(LOW), Some(OutHandshaking));
    assert_eq!(socket.remote, SocketAddr::new(ip(LOW), PORT));
    assert_eq!((node.of(LOW).last_alive, node.of(LOW).last_failure), (None, None));
    assert_eq!(node.counters().dials_succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_fails() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.of(LOW).last_failure, node.now());
    assert_eq!(node.of(LOW).failures_in_row, 1);
    assert_eq!(node.counters().dials_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_times_out() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    advance(config().connect_timeout - millis(2)).await;
    node.rests();
    advance(millis(3)).await;
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.of(LOW).last_failure, node.now());
    assert_eq!(node.of(LOW).failures_in_row, 1);
    assert_eq!(node.counters().dials_timed_out, 1);
    assert_eq!(node.world.fates(ip(LOW)), [DialFate::CalledOff]);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_in_an_outage_lengthens_no_streak() {
    let mut node = Node::knowing(config(), &[LOW]).await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    assert_eq!(node.of(LOW).last_failure, node.now());
    assert_eq!(node.of(LOW).failures_in_row, 0);
}

/// A node with a dial of [`LOW`] under way that began before an outage which has just ended, as [`HIGH`] stayed alive.
async fn dialing_across_an_outage() -> Node {
    let mut config = config();
    config.connect_timeout = seconds(30);
    let mut node = Node::dialing_beyond_outage(config, LOW).await;
    node.list(&[HIGH]);
    node.end(WITNESS);
    let _socket = node.dial_ok(HIGH);
    node.alive(HIGH);
    advance(seconds(5) + millis(1)).await;
    node.no_event();
    assert_eq!(node.status(LOW), Some(OutConnecting));
    node
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_was_under_way_at_the_end_of_an_outage_and_times_out_lengthens_no_streak() {
    let mut node = dialing_across_an_outage().await;
    advance(seconds(25)).await;
    node.no_event();
    assert_eq!((node.status(LOW), node.of(LOW).last_failure), (Some(Idle), node.now()));
    assert_eq!(node.counters().dials_timed_out, 1);
    assert_eq!(node.of(LOW).failures_in_row, 0);

    advance(seconds(7)).await;
    node.settle();
    assert_eq!(node.dialing().last(), Some(&ip(LOW)));
    advance(seconds(30) + millis(1)).await;
    node.settle();
    assert_eq!(node.of(LOW).failures_in_row, 1, "this one was not");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_was_under_way_at_the_end_of_an_outage_and_is_refused_has_its_answer() {
    let mut node = dialing_across_an_outage().await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    assert_eq!(node.of(LOW).failures_in_row, 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_outage_is_over_when_a_connection_has_stayed_alive() {
    let mut config = config();
    config.connect_timeout = seconds(30);
    let mut node = Node::knowing(config, &[LOW, HIGH, OTHER]).await;
    let _socket = node.dial_ok(OTHER);
    node.alive(OTHER);
    advance(seconds(5) - millis(1)).await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    assert_eq!((node.status(LOW), node.of(LOW).failures_in_row), (Some(Idle), 0));
    advance(millis(2)).await;
    node.no_event();
    node.dial_err(HIGH, ErrorKind::ConnectionRefused);
    assert_eq!((node.status(HIGH), node.of(HIGH).failures_in_row), (Some(Idle), 1));
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_called_off_when_the_target_is_met() {
    let mut node = Node::knowing(wanting(1), &[LOW, OTHER]).await;
    let first = node.dialing()[0];
    advance(config().dial_stagger + millis(1)).await;
    node.no_event();
    assert_eq!(node.dialing().len(), 2);
    let second = node.dialing()[1];
    let _socket = node.dial_ok(&first.to_string());
    let second_peer = node.of(&second.to_string());
    assert_eq!((second_peer.status, second_peer.last_failure), (Idle, None));
    assert_eq!(node.world.fates(second), [DialFate::CalledOff]);
    assert_eq!(node.counters().dials_called_off, 1);
    node.end(&first.to_string());
    assert_eq!(node.dialing(), [second], "no pause after a call-off");
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_of_an_absent_peer_is_admitted() {
    let mut node = Node::knowing(config(), &[]).await;
    let socket = node.admits(LOW);
    assert_eq!(socket.remote.ip(), ip(LOW));
    assert_eq!(node.status(LOW), Some(InHandshaking));
    assert_eq!((node.of(LOW).last_alive, node.of(LOW).last_failure), (None, None));
    assert_eq!((node.counters().inbound_admitted, node.counters().peers_added), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_of_an_idle_peer_is_admitted() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let _socket = node.admits(LOW);
    assert_eq!(node.status(LOW), Some(InHandshaking));
    assert_eq!(node.peers().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_of_a_mapped_address_is_of_the_canonical_peer() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let mapped = ip(LOW).to_string();
    let _probe = node.connects(&format!("::ffff:{mapped}"));
    assert_eq!(node.event().ip, ip(LOW));
    assert_eq!(node.peers().count(), 1);
    node.alive(&format!("::ffff:{mapped}"));
    assert_eq!(node.status(LOW), Some(InAlive));
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_of_a_connected_peer_is_refused() {
    for status in [OutHandshaking, OutAlive, InHandshaking, InAlive] {
        let (mut node, _socket) = Node::with(HIGH, Some(status), config()).await;
        node.refuses(HIGH);
        assert_eq!(node.status(HIGH), Some(status));
        assert_eq!(node.counters().refused_connected, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_of_a_banned_peer_is_refused_and_updates_last_failure() {
    let (mut node, _) = Node::with(LOW, Some(Banned), config()).await;
    advance(seconds(7)).await;
    node.refuses(LOW);
    assert_eq!(node.status(LOW), Some(Banned));
    assert_eq!(node.of(LOW).last_failure, after(seconds(7)));
    assert_eq!(node.counters().refused_banned, 1);
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_beyond_a_cap_leaves_its_peer_as_it_was() {
    let mut full = wanting(1);
    full.max_incoming_connections = 0;
    let mut node = Node::knowing(full, &[LOW]).await;
    node.refuses(LOW);
    assert_eq!(node.status(LOW), Some(OutConnecting));
    assert_eq!(node.world.fates(ip(LOW)), [DialFate::UnderWay]);
    node.refuses(OTHER);
    assert_eq!(node.status(OTHER), Some(Idle), "it was absent and is remembered");
    assert!(node.get_good_peer_ips().contains(&ip(OTHER)));
    assert_eq!(node.counters().refused_incoming_full, 2);
}

#[tokio::test(start_paused = true)]
async fn an_inbound_socket_that_is_dead_is_not_admitted() {
    for die in [IncomingProbe::kill, IncomingProbe::lose_addr] {
        let mut node = Node::knowing(config(), &[]).await;
        let probe = node.connects(LOW);
        die(&probe, ErrorKind::ConnectionReset);
        node.no_event();
        assert_eq!(probe.fate(), IncomingFate::Dropped);
        assert_eq!(node.status(LOW), None);
        assert_eq!(node.counters().inbound_dead, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_socket_is_not_checked_for_liveness() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.ban(LOW);
    advance(seconds(1)).await;
    let probe = node.connects(LOW);
    probe.kill(ErrorKind::ConnectionReset);
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!(node.of(LOW).last_failure, node.now(), "it has tried");
    assert_eq!((node.counters().refused_banned, node.counters().inbound_dead), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_has_lost_its_address_is_dropped_before_anything_else() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.ban(LOW);
    advance(seconds(1)).await;
    let probe = node.connects(LOW);
    probe.lose_addr(ErrorKind::NotConnected);
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Dropped);
    assert_ne!(node.of(LOW).last_failure, node.now());
    assert_eq!((node.counters().refused_banned, node.counters().inbound_dead), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn alive_after_an_outgoing_handshake() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    let failure = node.now();
    advance(seconds(8)).await;
    node.no_event();
    let _socket = node.dial_ok(LOW);
    node.alive(LOW);
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.failures_in_row), (OutAlive, 0));
    assert_eq!((peer.last_alive, peer.last_alive_outgoing), (node.now(), node.now()));
    assert_eq!(peer.last_failure, failure);
    assert_eq!(node.counters().handshakes_succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn alive_after_an_incoming_handshake() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), config()).await;
    node.alive(LOW);
    let peer = node.of(LOW);
    assert_eq!(peer.status, InAlive);
    assert_eq!((peer.last_alive, peer.last_alive_outgoing), (node.now(), None));
    assert_eq!(node.counters().handshakes_succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn alive_again_updates_the_times() {
    for status in [OutAlive, InAlive] {
        let (mut node, _socket) = Node::with(LOW, Some(status), config()).await;
        advance(seconds(3)).await;
        node.alive(LOW);
        let peer = node.of(LOW);
        assert_eq!((peer.status, peer.last_alive), (status, after(seconds(3))));
        let outgoing = (status == OutAlive).then(|| node.now()).flatten();
        assert_eq!(peer.last_alive_outgoing, outgoing);
        assert_eq!(node.counters().handshakes_succeeded, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_ends_a_connection_and_records_a_failure() {
    for (status, streak) in [(OutHandshaking, 1), (OutAlive, 1), (InHandshaking, 0), (InAlive, 0)] {
        let mut node = connected_beyond_outage(status).await;
        advance(seconds(2)).await;
        // An inbound connection pauses nothing, so the peer is dialed within the poll that follows.
        drop(node.feedback_peer_failed(ip(LOW)));
        let peer = node.of(LOW);
        assert_eq!((peer.status, peer.last_failure), (Idle, node.now()), "{status}");
        assert_eq!(peer.failures_in_row, streak, "{status}");
        assert_eq!(node.counters().feedback_stale, 0);
        node.no_event();
        let expected = if streak == 1 { Idle } else { OutConnecting };
        assert_eq!(node.status(LOW), Some(expected), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_of_an_idle_peer_updates_only_last_failure() {
    let (mut node, _) = Node::with(LOW, Some(Idle), passive()).await;
    node.fail(LOW);
    let peer = node.of(LOW);
    assert_eq!(
        (peer.status, peer.last_failure, peer.failures_in_row),
        (Idle, node.now(), 0)
    );
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn closed_ends_an_outgoing_connection_without_a_failure_and_pauses_the_dials() {
    for status in [OutHandshaking, OutAlive] {
        let (mut node, _socket) = Node::with(LOW, Some(status), config()).await;
        node.end(LOW);
        let peer = node.of(LOW);
        assert_eq!(
            (peer.status, peer.last_failure, peer.failures_in_row),
            (Idle, None, 0),
            "{status}"
        );
        node.is_dialed_after(LOW, config().retry_backoff).await;
    }
}

#[tokio::test(start_paused = true)]
async fn closed_ends_an_inbound_connection_without_a_failure_and_pauses_nothing() {
    for status in [InHandshaking, InAlive] {
        let (mut node, _socket) = Node::with(LOW, Some(status), config()).await;
        node.end(LOW);
        let peer = node.of(LOW);
        assert_eq!((peer.status, peer.last_failure), (OutConnecting, None), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_after_closed_doubles_for_connections_that_end_at_once() {
    let (mut node, _socket) = Node::with(LOW, Some(OutAlive), config()).await;
    node.end(LOW);
    for doubling in 0..4 {
        node.is_dialed_after(LOW, config().retry_backoff * (1 << doubling))
            .await;
        let _socket = node.dial_ok(LOW);
        node.end(LOW);
    }
    node.is_dialed_after(LOW, config().retry_backoff * 16).await;
    let _socket = node.dial_ok(LOW);
    advance(config().retry_backoff).await;
    node.settle();
    node.end(LOW);
    node.is_dialed_after(LOW, config().retry_backoff).await;
}

#[tokio::test(start_paused = true)]
async fn an_inbound_connection_that_ends_moves_no_pause() {
    let ends: [fn(&mut Node); 2] = [|node| node.end(LOW), |node| node.fail(LOW)];
    for end in ends {
        let (mut node, _socket) = Node::with(LOW, Some(OutAlive), config()).await;
        node.end(LOW);
        let due = node.engine.table().next_dial_time();
        advance(seconds(1)).await;
        for _ in 0..20 {
            let _socket = node.admits(LOW);
            end(&mut node);
            assert_eq!(
                (node.status(LOW), node.engine.table().next_dial_time()),
                (Some(Idle), due)
            );
            advance(millis(100)).await;
        }
        let _socket = node.admits(LOW);
        advance(seconds(10)).await;
        node.settle();
        end(&mut node);
        assert_eq!(node.status(LOW), Some(OutConnecting), "its pause ended meanwhile");
    }
}

#[tokio::test(start_paused = true)]
async fn banned_from_every_status() {
    for status in PeerStatus::ALL.map(Some).into_iter().chain([None]) {
        let (mut node, _socket) = Node::with(LOW, status, config()).await;
        advance(millis(9)).await;
        node.ban(LOW);
        let peer = node.of(LOW);
        assert_eq!(
            (peer.status, peer.last_failure),
            (Banned, after(millis(9))),
            "{status:?}"
        );
        assert_eq!(node.counters().feedback_stale, 0, "{status:?}");
        assert!(node.get_good_peer_ips().is_empty());
        node.refuses(LOW);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_calls_the_dial_off_at_once() {
    let mut node = Node::knowing(config(), &[LOW]).await;
    drop(node.feedback_peer_banned(ip(LOW)));
    assert_eq!(node.world.fates(ip(LOW)), [DialFate::CalledOff]);
    assert_eq!(node.counters().dials_called_off, 1);
    node.no_event();
}

#[tokio::test(start_paused = true)]
async fn a_banned_peer_is_never_dialed() {
    let mut node = Node::knowing(config(), &[]).await;
    node.ban(LOW);
    node.list(&[LOW]);
    advance(seconds(100_000)).await;
    node.rests();
    assert_eq!(node.world.dials_started(), 0);
}

#[tokio::test(start_paused = true)]
async fn unbanned_makes_a_peer_idle() {
    let (mut node, _) = Node::with(LOW, Some(Banned), passive()).await;
    let failure = node.of(LOW).last_failure;
    node.unban(LOW);
    assert_eq!((node.status(LOW), node.of(LOW).last_failure), (Some(Idle), failure));
    assert_eq!(node.get_good_peer_ips(), [ip(LOW)]);
    let _socket = node.admits(LOW);
}

#[tokio::test(start_paused = true)]
async fn a_ban_ends_after_its_duration() {
    let mut config = passive();
    config.ban_duration = Some(seconds(60));
    let (mut node, _) = Node::with(LOW, Some(Banned), config).await;
    advance(seconds(59)).await;
    node.refuses(LOW);
    advance(seconds(1) + millis(1)).await;
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.counters().bans_ended, 1);
}

#[tokio::test(start_paused = true)]
async fn a_ban_without_a_duration_never_ends() {
    let (mut node, _) = Node::with(LOW, Some(Banned), passive()).await;
    advance(seconds(10 * 365 * 86_400)).await;
    node.rests();
    node.refuses(LOW);
}

#[tokio::test(start_paused = true)]
async fn an_outgoing_handshake_without_feedback_fails_at_its_deadline() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    let socket = node.dial_ok(LOW);
    fails_at_the_deadline(node, socket, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_incoming_handshake_without_feedback_fails_at_its_deadline() {
    let mut node = Node::knowing(passive(), &[]).await;
    let socket = node.admits(LOW);
    fails_at_the_deadline(node, socket, 0).await;
}

async fn fails_at_the_deadline(mut node: Node, socket: MemorySocket, streak: u32) {
    advance(seconds(10) - millis(2)).await;
    node.rests();
    advance(millis(3)).await;
    node.no_event();
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.last_failure), (Idle, node.now()));
    assert_eq!(peer.failures_in_row, streak);
    assert_eq!(node.counters().handshakes_timed_out, 1);
    assert!(socket.probe().is_open(), "the socket is the application's");
}

#[tokio::test(start_paused = true)]
async fn without_a_handshake_timeout_a_candidate_waits_for_ever() {
    let mut config = config();
    config.handshake_timeout = None;
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), config).await;
    advance(seconds(10 * 365 * 86_400)).await;
    node.rests();
    assert_eq!(node.status(LOW), Some(InHandshaking));
}

#[tokio::test(start_paused = true)]
async fn a_live_connection_has_no_deadline() {
    for status in [OutAlive, InAlive] {
        let (mut node, _socket) = Node::with(LOW, Some(status), wanting(1)).await;
        if status == OutAlive {
            advance(config().retry_backoff + millis(1)).await;
            // The outage of the start is over.
            node.no_event();
        }
        advance(seconds(3600)).await;
        node.rests();
        assert_eq!(node.status(LOW), Some(status));
    }
}

#[tokio::test(start_paused = true)]
async fn feedback_before_the_poll_comes_before_the_deadline() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), config()).await;
    advance(seconds(31)).await;
    node.feedback_sink().report(Feedback::Alive(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
    assert_eq!(node.counters().handshakes_timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_report_before_the_poll_comes_before_the_deadline() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), config()).await;
    let lease = node.lease(ip(LOW)).unwrap();
    advance(seconds(31)).await;
    lease.alive();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
    assert_eq!(node.counters().handshakes_timed_out, 0);
}
