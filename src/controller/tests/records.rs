//! A restart with the records of the controller before, without a file.

use tokio::time::{Instant, sleep};

use super::*;
use crate::peer::PeerRecord;

async fn started(config: NetworkConfig) -> NetworkController<MemoryTransport> {
    NetworkController::with_transport(config, memory().0).await.unwrap()
}

fn with_records(initial_records: Vec<PeerRecord>) -> NetworkConfig {
    NetworkConfig {
        initial_records,
        ..config()
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_takes_the_records_of_another_knows_what_it_knew() {
    let mut first = started(passive()).await;
    first.feedback_peer_list([ip(LOW), ip(HIGH)]).await;
    first.feedback_peer_banned(ip(HIGH)).await;
    let records: Vec<_> = first.records().collect();
    assert_eq!(records.len(), 2);
    let second = started(with_records(records.clone())).await;
    assert_eq!(second.peer(ip(LOW)), first.peer(ip(LOW)));
    assert_eq!(second.peer(ip(HIGH)).unwrap().status, PeerStatus::Banned);
    assert_eq!(second.records().collect::<Vec<_>>(), records);
}

#[tokio::test(start_paused = true)]
async fn a_connection_does_not_outlive_the_controller() {
    let (transport, handle) = memory();
    let mut config = config();
    config.initial_peers = vec![ip(LOW)];
    let mut net = NetworkController::with_transport(config, transport).await.unwrap();
    assert!(net.next().now_or_never().is_none());
    handle.dial_ok(ip(LOW));
    let event = net.wait_event().await;
    assert!(event.is_ok());
    net.feedback_peer_alive(ip(LOW)).await;
    let records: Vec<_> = net.records().collect();
    assert_eq!(records[0].peer.status, PeerStatus::Idle);
    assert!(records[0].peer.last_alive_outgoing.is_some());
}

#[tokio::test(start_paused = true)]
async fn records_of_one_address_merge_and_the_best_are_taken() {
    let alive_at = |ip, minutes| {
        let mut peer = Peer::new(ip);
        peer.last_alive_outgoing = Some(start() - TimeDelta::minutes(minutes));
        peer.last_alive = peer.last_alive_outgoing;
        PeerRecord::from(peer)
    };
    let records = vec![
        PeerRecord::new(ip(HIGH)),
        alive_at(ip(LOW), 9),
        alive_at(ip(LOW), 5),
        alive_at(ip(WITNESS), 7),
    ];
    let mut config = with_records(records);
    config.max_idle_peers = 2;
    let net = started(config).await;
    let known: Vec<_> = net.good_peer_ips().collect();
    assert_eq!(known, [ip(LOW), ip(WITNESS)]);
    assert_eq!(
        net.peer(ip(LOW)).unwrap().last_alive,
        Some(start() - TimeDelta::minutes(5))
    );
    assert_eq!(net.stats().counters.records_dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_one_for_all_restarts() {
    let clock = Clock::Epoch {
        instant: Instant::now(),
        utc: start(),
    };
    sleep(seconds(100)).await;
    let mut first = started(NetworkConfig { clock, ..passive() }).await;
    first.feedback_peer_banned(ip(LOW)).await;
    sleep(seconds(100)).await;
    let mut second = started(NetworkConfig { clock, ..passive() }).await;
    second.feedback_peer_banned(ip(LOW)).await;
    let banned_at = |net: &NetworkController<_>| net.peer(ip(LOW)).unwrap().last_failure.unwrap() - start();
    assert_eq!(banned_at(&first), TimeDelta::seconds(100));
    assert_eq!(banned_at(&second), TimeDelta::seconds(200));
}
