//! The end of a controller: its port, its sockets, its last dump.

use futures::StreamExt;
use network::{NetworkController, NetworkError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::loopback::{Block, Candidate, is_reset, soon};
use crate::peer_files::PeerFile;
use crate::{NODE, REMOTE};

#[tokio::test]
async fn closing_frees_the_port_and_leaves_handed_over_sockets_open() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let mut remote = block.connect(REMOTE, NODE).await;
    let mut kept = node.candidate().await;
    let mut unseen = block.connect(REMOTE + 1, NODE).await;

    node.net.close().await.unwrap();
    assert!(soon(is_reset(&mut unseen)).await);
    kept.socket.write_all(b"!").await.unwrap();
    assert_eq!(remote.read_u8().await.unwrap(), b'!');
    assert!(node.net.next().await.is_none());
    assert!(matches!(node.net.wait_event().await, Err(NetworkError::Closed)));

    let mut successor = block.node(NODE, &[]).await;
    let _again = block.connect(REMOTE, NODE).await;
    assert_eq!(successor.candidate().await.ip, block.ip(REMOTE));
}

#[tokio::test]
async fn dropping_frees_the_port() {
    let block = Block::new();
    drop(block.node(NODE, &[REMOTE]).await);
    block.node(NODE, &[]).await;
}

/// A connection's task: alive, then silent until its connection ends or its slot does.
async fn serve(mut socket: TcpStream, lease: network::PeerLease) {
    lease.alive();
    tokio::select! {
        _ = lease.revoked() => lease.closed(),
        _ = socket.read_u8() => lease.failed(),
    }
}

#[tokio::test]
async fn closing_before_the_connection_tasks_end_records_no_failure() {
    let block = Block::new();
    let file = PeerFile::holding(format!(r#"[{{ "ip": "{}" }}]"#, block.ip(REMOTE)));
    let remote = block.listen(REMOTE);
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    let mut net = NetworkController::with_config(config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let peers = async {
        let (dialed, _) = remote.accept().await.unwrap();
        (dialed, block.connect(REMOTE + 1, NODE).await)
    };
    let mut peers = std::pin::pin!(peers);
    let (stop, mut stopped) = tokio::sync::mpsc::channel::<()>(1);
    let mut held = None;
    loop {
        tokio::select! {
            event = net.wait_event() => {
                let Candidate { ip, socket, .. } = Candidate::of(event.unwrap());
                let lease = net.lease(ip).unwrap();
                tasks.spawn(serve(socket, lease));
                if tasks.len() == 2 {
                    stop.send(()).await.unwrap();
                }
            }
            both = &mut peers, if held.is_none() => held = Some(both),
            _ = stopped.recv() => break,
        }
    }
    net.close().await.unwrap();
    while let Some(ended) = soon(tasks.join_next()).await {
        ended.expect("a revoked lease ends its task");
    }

    for ip in [block.ip(REMOTE), block.ip(REMOTE + 1)] {
        let record = file.record(ip);
        assert!(
            record["last_failure"].is_null() && record.get("failures_in_row").is_none(),
            "{record}"
        );
    }
}

#[tokio::test]
async fn leases_dropped_just_before_closing_record_no_failure() {
    let block = Block::new();
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    let mut net = NetworkController::with_config(config).await.unwrap();
    let _remote = block.connect(REMOTE, NODE).await;
    let Candidate { ip, socket, .. } = Candidate::of(soon(net.wait_event()).await.unwrap());
    let lease = net.lease(ip).unwrap();
    lease.alive();
    drop((lease, socket));
    net.close().await.unwrap();
    let record = file.record(ip);
    assert!(
        record["last_failure"].is_null() && record["last_alive"].is_string(),
        "{record}"
    );
}
