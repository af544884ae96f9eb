//! Handles: what other tasks ask and command, wherever the controller is.

use std::collections::BTreeSet;

use PeerStatus::{Banned, Idle, InHandshaking};
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;

use super::dumps::file;
use super::*;
use crate::controller::questions::MAX_WAITING;

type Net = NetworkController<MemoryTransport>;

fn is_closed<R>(result: Result<R, NetworkError>) -> bool {
    matches!(result, Err(NetworkError::Closed))
}

/// The answer to a question after one poll of the controller.
#[track_caller]
fn answered<R>(node: &mut Node, question: impl Future<Output = Result<R, NetworkError>>) -> R {
    let mut question = task::spawn(Box::pin(question));
    assert!(question.poll().is_pending(), "until the next poll");
    node.no_event();
    assert!(question.is_woken());
    match question.poll() {
        Poll::Ready(answer) => answer.expect("the controller is open"),
        Poll::Pending => panic!("no answer"),
    }
}

/// Polls however much of its turn the task has spent.
fn free<F: Future>(question: &mut task::Spawn<F>) -> Poll<F::Output> {
    let poll = async { question.poll() };
    unconstrained(poll).now_or_never().expect("there is no await in it")
}

#[tokio::test(start_paused = true)]
async fn every_question_is_answered_by_the_next_poll() {
    let mut node = Node::knowing(passive(), &[LOW, "61.1.0.1"]).await;
    let _socket = node.admits(HIGH);
    let handle = node.handle();
    let stats = answered(&mut node, handle.stats());
    assert_eq!(stats, node.stats());
    let peer = answered(&mut node, handle.peer(ip("::ffff:220.1.0.1"))).unwrap();
    assert_eq!((peer.ip, peer.status), (ip(HIGH), InHandshaking));
    assert_eq!(answered(&mut node, handle.peer(ip("61.2.0.1"))), None);
    let peers = answered(&mut node, handle.peers());
    let ips: BTreeSet<_> = peers.iter().map(|peer| peer.ip).collect();
    assert_eq!(ips, [LOW, "61.1.0.1", HIGH].map(ip).into());
    let best = answered(&mut node, handle.good_peer_ips(2));
    assert!(best.into_iter().eq(node.good_peer_ips().take(2)));
    let sample = answered(&mut node, handle.sample_peer_ips(9));
    let told: BTreeSet<_> = node.good_peer_ips().collect();
    assert_eq!(sample.iter().copied().collect::<BTreeSet<_>>(), told);
    assert_eq!(answered(&mut node, handle.sample_peer_ips(1)).len(), 1);
    let state = answered(&mut node, handle.dial_state(ip("::ffff:220.1.0.1")));
    assert_eq!(state, node.dial_state(ip("220.1.0.1")));
    drop(node.net.report(ip(LOW), Report::Reserve));
    let config = answered(&mut node, handle.config());
    assert_eq!(
        (config.reserved_peers.as_slice(), &config),
        ([ip(LOW)].as_slice(), node.config())
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_sees_what_was_reported_before_of_a_connected_peer() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let handle = node.handle();
    handle.report(Feedback::Banned(ip(LOW))).unwrap();
    let peer = answered(&mut node, handle.peer(ip(LOW))).unwrap();
    assert_eq!(peer.status, Banned);
}

#[tokio::test(start_paused = true)]
async fn a_question_beyond_those_that_may_wait_gets_its_turn() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let handle = node.handle();
    let ask = || task::spawn(Box::pin(handle.stats()));
    let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| ask()).collect();
    assert!(waiting.iter_mut().all(|question| question.poll().is_pending()));
    assert_eq!(node.engine.mailbox.held(), MAX_WAITING);
    let (mut next, mut withdrawn) = (ask(), ask());
    assert!(withdrawn.poll().is_pending() && next.poll().is_pending());
    assert_eq!(node.engine.mailbox.held(), MAX_WAITING, "there is no more room");
    drop(withdrawn);
    node.settle();
    assert!(next.is_woken(), "there is room");
    assert!(free(&mut next).is_pending());
    node.settle_woken();
    assert!(free(&mut next).is_ready());
    assert!(waiting.iter_mut().all(|question| free(question).is_ready()));
    assert_eq!(node.engine.mailbox.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_room_is_told_of_the_end() {
    let mut node = Node::knowing(passive(), &[]).await;
    let handle = node.handle();
    let mut waiting: Vec<_> = (0..=MAX_WAITING)
        .map(|_| task::spawn(Box::pin(handle.stats())))
        .collect();
    assert!(waiting.iter_mut().all(|question| question.poll().is_pending()));
    node.close().await.unwrap();
    for question in waiting {
        assert!(is_closed(question.into_inner().await));
    }
}

#[tokio::test(start_paused = true)]
async fn it_reports_as_a_sink_and_ends_nothing() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let mut handle = node.handle();
    handle.send(Feedback::Closed(ip(LOW))).now_or_never().unwrap().unwrap();
    SinkExt::close(&mut handle).now_or_never().unwrap().unwrap();
    drop(handle);
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
    assert!(!node.is_terminated());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_stream_and_dumps() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    let _socket = node.admits(HIGH);
    let lease = node.lease(ip(HIGH)).unwrap();
    let handle = node.handle();
    handle.report(Feedback::Banned(ip(LOW))).unwrap();
    let mut closing = [(); 2].map(|()| task::spawn(Box::pin(handle.close())));
    assert!(closing.iter_mut().all(|closing| closing.poll().is_pending()));
    assert!(node.net.is_woken());
    assert!(StreamExt::next(&mut node.net).await.is_none());
    for mut closing in closing {
        assert!(closing.is_woken());
        assert!(matches!(closing.poll(), Poll::Ready(Ok(()))));
    }
    lease.revoked().now_or_never().expect("it is revoked");
    let content = std::fs::read_to_string(folder.path().join("peers.json")).unwrap();
    assert!(content.contains(LOW), "what was reported before is applied");
    assert!(is_closed(handle.stats().await));
    handle.close().await.expect("after Ok, again is Ok");
    drop(node);
    handle.close().await.expect("also after the drop");
}

#[tokio::test(start_paused = true)]
async fn closing_goes_on_though_the_task_that_asked_has_ended() {
    let mut node = Node::knowing(passive(), &[]).await;
    let handle = node.handle();
    assert!(handle.close().now_or_never().is_none());
    assert!(node.net.is_woken());
    assert!(matches!(node.poll(), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_the_close_learns_of_that_by_the_controller_itself() {
    let mut node = Node::knowing(passive(), &[]).await;
    let handle = node.handle();
    let mut closing = task::spawn(Box::pin(handle.close()));
    assert!(closing.poll().is_pending());
    node.close().await.unwrap();
    assert!(closing.is_woken());
    assert!(matches!(closing.poll(), Poll::Ready(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_last_dump_that_fails_is_told_to_all_tasks_that_close() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    let handle = node.handle();
    let mut closing = [(); 2].map(|()| task::spawn(Box::pin(handle.close())));
    assert!(closing.iter_mut().all(|closing| closing.poll().is_pending()));
    let path = folder.path().to_owned();
    folder.close().unwrap();
    assert!(StreamExt::next(&mut node.net).await.is_none());
    for mut closing in closing {
        assert!(matches!(
            closing.poll(),
            Poll::Ready(Err(NetworkError::PeerFile { .. }))
        ));
    }
    assert!(is_closed(handle.close().await), "it has ended, and not well");
    assert!(matches!(node.close().await, Err(NetworkError::PeerFile { .. })));
    std::fs::create_dir(path).unwrap();
    node.close().await.unwrap();
    handle.close().await.expect("the controller's owner has tried again");
}

#[tokio::test(start_paused = true)]
async fn after_the_drop_everything_is_closed() {
    let node = Node::knowing(passive(), &[]).await;
    let handle = node.handle();
    let mut closing = task::spawn(Box::pin(handle.close()));
    let mut question = task::spawn(Box::pin(handle.peers()));
    assert!(closing.poll().is_pending() && question.poll().is_pending());
    drop(node);
    assert!(closing.is_woken() && question.is_woken());
    assert!(is_closed(closing.into_inner().await));
    assert!(is_closed(question.into_inner().await));
    assert!(is_closed(handle.peer(ip(LOW)).await));
    assert!(is_closed(handle.report(Feedback::Alive(ip(LOW)))));
    assert!(is_closed(handle.close().await));
}

async fn net() -> (Net, MemoryHandle) {
    let (transport, world) = memory();
    (Net::with_transport(passive(), transport).await.unwrap(), world)
}

fn comes_in(world: &MemoryHandle) -> IncomingProbe {
    world.incoming(SocketAddr::new(ip(LOW), 9), SocketAddr::new(ip(US), PORT))
}

/// Asks for the peer that came in, has it banned, and closes.
async fn serves(handle: NetworkHandle, world: MemoryHandle) {
    comes_in(&world);
    while handle.peer(ip(LOW)).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    handle.report(Feedback::Banned(ip(LOW))).unwrap();
    assert_eq!(handle.peer(ip(LOW)).await.unwrap().unwrap().status, Banned);
    assert_eq!(handle.stats().await.unwrap().peers.banned, 1);
    handle.close().await.unwrap();
    assert!(is_closed(handle.stats().await));
}

#[tokio::test(start_paused = true)]
async fn it_works_after_forward() {
    let (net, world) = net().await;
    let handle = net.handle();
    let alive = |event| Ok(Feedback::Alive(Candidate::from(event).ip));
    let (forwarded, ()) = tokio::join!(net.map(alive).forward(handle.clone()), serves(handle, world));
    forwarded.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_works_after_split() {
    let (net, world) = net().await;
    let handle = net.handle();
    let (mut sink, stream) = net.split();
    let events = stream.map(Candidate::from).collect::<Vec<_>>();
    let (events, ()) = tokio::join!(events, serves(handle, world));
    assert_eq!(events.len(), 1);
    assert!(is_closed(sink.send(Feedback::Alive(ip(LOW))).await));
}

#[tokio::test(start_paused = true)]
async fn it_works_after_leased() {
    let (net, world) = net().await;
    let handle = net.handle();
    let leased = net.leased().map(|(_, lease)| lease).collect::<Vec<_>>();
    let (leases, ()) = tokio::join!(leased, serves(handle, world));
    leases[0].revoked().now_or_never().expect("it was banned");
}
