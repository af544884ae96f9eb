//! A handle and a stream of changes, in tasks of their own, of a controller that is inside of a chain of streams.

use std::io::ErrorKind;

use futures::{Stream, StreamExt};
use network::{
    Cause, Change, ChangeKind, Changes, Feedback, NetworkController, NetworkError, NetworkHandle, PeerStatus,
};
use tokio::net::{TcpSocket, TcpStream};

use crate::loopback::{Block, Candidate, is_reset, soon};
use crate::{NODE, REMOTE};

/// Follows a connection and bans its peer, from a task that has no part in the controller.
async fn watches(handle: NetworkHandle, mut changes: Changes, block: Block) -> TcpStream {
    let mut next = async || soon(changes.next()).await.expect("it has not ended");
    let remote = block.connect(REMOTE, NODE).await;
    let Change { ip, kind, .. } = next().await;
    let admitted = ChangeKind::Status {
        from: None,
        to: PeerStatus::InHandshaking,
        cause: Cause::Admitted,
    };
    assert_eq!((ip, kind), (block.ip(REMOTE), admitted));
    handle.report(Feedback::Banned(ip)).unwrap();
    assert!(matches!(
        next().await.kind,
        ChangeKind::Status {
            to: PeerStatus::Banned,
            cause: Cause::Banned(_),
            ..
        }
    ));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(block.any_port(REMOTE)).unwrap();
    let refused = socket.connect(block.addr(NODE)).await;
    assert!(matches!(next().await.kind, ChangeKind::Refused(_)));
    match refused {
        Ok(mut socket) => assert!(is_reset(&mut socket).await),
        // The controller runs in another thread, which may be faster.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }

    let stats = soon(handle.stats()).await.unwrap();
    assert_eq!((stats.peers.banned, stats.counters.refused_banned), (1, 1));
    let peer = soon(handle.peer(ip)).await.unwrap().expect("it is known");
    assert_eq!(peer.status, PeerStatus::Banned);
    assert_eq!(soon(handle.peers()).await.unwrap(), [peer]);
    assert!(soon(handle.good_peer_ips(9)).await.unwrap().is_empty());

    soon(handle.close()).await.unwrap();
    assert!(matches!(handle.stats().await, Err(NetworkError::Closed)));
    assert!(soon(changes.next()).await.is_none());
    remote
}

/// Runs the chain to its end beside that.
async fn serves<S: Stream>(chain: impl FnOnce(NetworkController) -> S) {
    let block = Block::new();
    let mut net = block.node(NODE, &[]).await.net;
    let (handle, changes) = (net.handle(), net.changes(100));
    let watching = tokio::spawn(watches(handle, changes, block));
    let held = soon(chain(net).collect::<Vec<_>>()).await;
    assert_eq!(held.len(), 1);
    watching.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_reach_a_controller_after_split() {
    serves(|net| net.split().1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_reach_a_controller_after_leased() {
    serves(NetworkController::leased).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_reach_a_controller_inside_of_a_chain() {
    serves(|net| {
        let sockets = net.map(|event| async { Candidate::of(event).socket });
        sockets.buffer_unordered(4)
    })
    .await;
}
