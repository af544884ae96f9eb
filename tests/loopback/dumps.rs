//! Dumps of a node that runs, and the restart from one.

use network::{NetworkController, Peer, PeerStatus};

use crate::loopback::{Block, Node};
use crate::peer_files::PeerFile;
use crate::{NODE, REMOTE, SHORT};

#[tokio::test]
async fn a_restarted_node_has_the_same_peers() {
    let block = Block::new();
    let [came, dialed, banned, listed, failed] = [3, 4, 5, 6, 7];
    let remote = block.listen(dialed);
    let file = PeerFile::holding(format!(r#"[{{ "ip": "{}" }}]"#, block.ip(dialed)));
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    config.target_outgoing_connections = 1;
    let mut node = Node::new(config.clone()).await;

    let (_out, _) = node.beside(remote.accept()).await.unwrap();
    let _in = block.connect(came, NODE).await;
    let _other = block.connect(failed, NODE).await;
    node.until(|node| node.held.len() == 3).await;
    node.net.feedback_peer_alive(block.ip(dialed)).await;
    node.net.feedback_peer_alive(block.ip(came)).await;
    node.net.feedback_peer_failed(block.ip(failed)).await;
    node.net.feedback_peer_banned(block.ip(banned)).await;
    node.net.feedback_peer_list([block.ip(listed)]).await;

    let good = node.net.get_good_peer_ips();
    assert_eq!(
        good,
        [dialed, came, listed].map(|host| block.ip(host)),
        "it has only knocked"
    );
    let before = remembered(&node.net);
    node.net.close().await.unwrap();
    let after = Node::new(config).await;
    assert_eq!(remembered(&after.net), before);
    assert_eq!(after.net.get_good_peer_ips(), good);
}

/// What a file keeps of the peers, in the order of their addresses.
fn remembered(net: &NetworkController) -> Vec<Peer> {
    let mut peers: Vec<_> = net.peers().cloned().collect();
    for peer in &mut peers {
        if peer.status != PeerStatus::Banned {
            peer.status = PeerStatus::Idle;
        }
    }
    peers.sort_by_key(|peer| peer.ip);
    peers
}

#[tokio::test]
async fn a_running_node_dumps_at_its_interval() {
    let block = Block::new();
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    let mut node = Node::trusting(config).await;

    let _remote = block.connect(REMOTE, NODE).await;
    node.until(|node| node.net.stats().counters.dumps_written == 1).await;
    assert_eq!(file.record(block.ip(REMOTE))["status"], "InAlive");
    node.net.feedback_peer_banned(block.ip(REMOTE)).await;
    node.until(|node| node.net.stats().counters.dumps_written == 2).await;
    assert_eq!(file.record(block.ip(REMOTE))["status"], "Banned");
    assert_eq!(node.net.stats().last_dump_error, None);
}
