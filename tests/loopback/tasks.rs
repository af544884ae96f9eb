//! A controller and the tasks of its application: none is its own, and its halves may be in two.

use futures::{SinkExt, StreamExt, stream};
use network::{Feedback, NetworkController, PeerStatus};
use tokio::runtime::Handle;

use crate::loopback::{Block, Candidate, Node, soon};
use crate::peer_files::PeerFile;
use crate::{NODE, REMOTE, SHORT};

#[tokio::test]
async fn a_controller_spawns_no_task() {
    live_without_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_spawns_no_task_on_a_multi_thread_runtime() {
    live_without_tasks().await;
}

/// A node that dials, shakes hands, holds connections, dumps and closes.
async fn live_without_tasks() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let _unreachable = block.black_hole(REMOTE + 1);
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[REMOTE, REMOTE + 1]);
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    let mut node = Node::trusting(config).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();

    let (_dialed, _) = node.beside(remote.accept()).await.unwrap();
    let _came = block.connect(REMOTE + 2, NODE).await;
    node.until(|node| {
        assert_eq!(tasks(), 0);
        let peers = node.net.stats().peers;
        let is_busy = (peers.out_connecting, peers.out_alive, peers.in_alive) == (1, 1, 1);
        is_busy && node.net.stats().counters.dumps_written > 0
    })
    .await;
    node.net.feedback_peer_banned(block.ip(REMOTE)).await;
    node.net.close().await.unwrap();
    assert_eq!(tasks(), 0);
    drop(node);
    assert_eq!(tasks(), 0);
}

#[tokio::test]
async fn a_stream_forwarded_into_its_own_sink_does_not_stall() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let (hosts, mut held, sink) = (11..=20, Vec::new(), node.net.feedback_sink());
    let remotes = futures::future::join_all(hosts.clone().map(|host| block.connect(host, NODE)));
    let asked = sink.clone();
    // Several for an event: a sink that waited for the first to be applied would keep the stream from being polled.
    let feedback = (&mut node.net).flat_map(|event| {
        let Candidate { ip, socket, .. } = Candidate::of(event);
        held.push(socket);
        stream::iter([Feedback::Alive(ip), Feedback::PeerList(vec![ip]), Feedback::Alive(ip)].map(Ok))
    });
    let all_known = async {
        let _remotes = remotes.await;
        while asked.good_peer_ips(100).await.unwrap().len() < hosts.len() {}
    };
    tokio::select! {
        ended = feedback.forward(sink) => panic!("{ended:?}"),
        () = soon(all_known) => {}
    }
    node.until(|node| node.count(PeerStatus::InAlive) == 10).await;
    assert_eq!(held.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_split_into_two_tasks_loses_no_wake_up() {
    let block = Block::new();
    let hosts = 11..=20;
    let listeners: Vec<_> = hosts.clone().map(|host| block.listen(host)).collect();
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = listeners.len();
    let (mut sink, mut stream) = NetworkController::with_config(config).await.unwrap().split();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let events = tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            tell.send(Candidate::of(event)).unwrap();
        }
        stream
    });
    // Each of these finds the stream's task asleep, and only a wake-up makes it dial.
    let mut held = Vec::new();
    for (host, listener) in hosts.zip(&listeners) {
        sink.send(Feedback::PeerList(vec![block.ip(host)])).await.unwrap();
        held.push(soon(listener.accept()).await.unwrap().0);
        let candidate = soon(told.recv()).await.unwrap();
        sink.send(Feedback::Alive(candidate.ip)).await.unwrap();
        held.push(candidate.socket);
    }
    soon(sink.close()).await.unwrap();
    let stream = soon(events).await.unwrap();
    let net = stream.reunite(sink).unwrap();
    assert_eq!(net.stats().peers.out_alive, listeners.len());
    assert_eq!(net.stats().counters.dials_started, 10);
}
