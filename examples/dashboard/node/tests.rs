//! A node among its neighbours, on real sockets.

use std::io;

use chrono::Utc;
use futures::{FutureExt, StreamExt};
use network::{Cause, ChangeKind, PeerStatus, Refusal, StatusCounts};
use tokio::net::TcpSocket;

use super::*;
use crate::app::{App, Entry, View};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A node, its neighbours, and what follows its changes.
struct Watched {
    node: Node,
    changes: Changes,
    neighbourhood: Option<Neighbourhood>,
    app: App,
}

impl Watched {
    async fn start() -> Self {
        let mut neighbourhood = Neighbourhood::find(3).unwrap();
        let (node, changes) = Node::start(neighbourhood.watched_config(), NEIGHBOURS_PACE)
            .await
            .unwrap();
        neighbourhood.start();
        let mut app = App::new(node.address.to_string(), &[], Utc::now());
        app.on_peers(&node.handle.peers().await.unwrap());
        Self {
            node,
            changes,
            neighbourhood: Some(neighbourhood),
            app,
        }
    }

    /// Follows the changes until this is true of one of them.
    async fn change(&mut self, is_it: impl Fn(&Entry) -> bool) -> Entry {
        let follow = async {
            loop {
                let entry = Entry::from(self.changes.next().await.expect("the node runs"));
                self.app.on_change(entry);
                if is_it(&entry) {
                    return entry;
                }
            }
        };
        timeout(LIMIT, follow).await.expect("it happens in time")
    }

    /// Follows the changes until this peer is of this status.
    async fn status(&mut self, ip: IpAddr, status: PeerStatus) {
        let leads_to = |entry: &Entry| matches!(entry.kind, ChangeKind::Status { to, .. } if to == status);
        self.change(|entry| entry.ip == ip && leads_to(entry)).await;
    }

    /// The first peer that is alive.
    async fn alive(&mut self) -> IpAddr {
        let is_alive = |entry: &Entry| {
            matches!(
                entry.kind,
                ChangeKind::Status {
                    cause: Cause::Alive,
                    ..
                }
            )
        };
        self.change(is_alive).await.ip
    }

    /// How many peers of each view there are by the controller's own count.
    async fn counts(&self) -> [usize; 3] {
        let peers: StatusCounts = self.node.handle.stats().await.unwrap().peers;
        [peers.total() - peers.idle - peers.banned, peers.idle, peers.banned]
    }
}

/// A connection with the node, which may refuse it.
async fn connect_from(ip: IpAddr, node: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ip, 0).into())?;
    socket.connect(node).await
}

#[tokio::test]
async fn the_changes_lead_to_what_the_controller_counts() {
    let mut watched = Watched::start().await;
    watched.alive().await;
    watched.alive().await;
    let mut pairs = Vec::new();
    for _ in 0..50 {
        let counted = watched.counts().await;
        while let Some(Some(change)) = watched.changes.next().now_or_never() {
            watched.app.on_change(change.into());
        }
        let followed = [View::Connected, View::Idle, View::Banned].map(|view| watched.app.peers.count(view));
        if followed == counted {
            return watched.node.stop().await.unwrap();
        }
        // Something may have happened between the two.
        pairs.push((followed, counted));
        watched.change(|_| true).await;
    }
    panic!("they never agree: {pairs:?}");
}

#[tokio::test]
async fn a_ban_ends_the_connection_and_can_be_lifted() {
    let mut watched = Watched::start().await;
    let peer = watched.alive().await;
    watched.node.command(Command::Ban(peer)).await.unwrap();
    watched.status(peer, PeerStatus::Banned).await;
    let details = watched.node.details(peer).await.unwrap();
    assert_eq!(details.peer.unwrap().status, PeerStatus::Banned);
    assert!(details.dial_state.contains("banned"), "{}", details.dial_state);

    watched.node.command(Command::Unban(peer)).await.unwrap();
    watched.status(peer, PeerStatus::Idle).await;
    watched.node.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_is_dialed_and_reserved_by_command() {
    let mut watched = Watched::start().await;
    let absent: IpAddr = [127, 255, 254, 253].into();
    watched.node.command(Command::Dial(absent)).await.unwrap();
    watched.status(absent, PeerStatus::OutConnecting).await;
    watched.status(absent, PeerStatus::Idle).await;

    let before = watched.node.details(absent).await.unwrap().dial_state;
    watched.node.command(Command::Reserve(absent)).await.unwrap();
    let reserved = watched.node.details(absent).await.unwrap().dial_state;
    assert!(
        !before.contains("reserved") && reserved.contains("reserved"),
        "{before} {reserved}"
    );
    watched.node.command(Command::Release(absent)).await.unwrap();
    let released = watched.node.details(absent).await.unwrap().dial_state;
    assert!(!released.contains("reserved"), "{released}");
    watched.node.stop().await.unwrap();
}

#[tokio::test]
async fn a_pause_closes_nothing_and_admits_none_until_it_ends() {
    let mut watched = Watched::start().await;
    let peer = watched.alive().await;
    let limits = async |node: &Node| {
        let stats = node.handle.stats().await.unwrap();
        [stats.outgoing_connections.limit, stats.incoming_connections.limit]
    };
    let configured = limits(&watched.node).await;
    let reserved = IpAddr::from([127, 255, 254, 253]);
    watched.node.command(Command::Reserve(reserved)).await.unwrap();
    watched.node.command(Command::Pause).await.unwrap();
    assert_eq!(limits(&watched.node).await, [0, 0]);
    let status = watched.node.handle.peer(peer).await.unwrap().unwrap().status;
    assert!(status.is_connected(), "{status}");
    let newcomer = IpAddr::from([127, 255, 254, 252]);
    let _refused = connect_from(newcomer, watched.node.address).await;
    let refused = ChangeKind::Refused(Refusal::IncomingFull);
    watched
        .change(|entry| entry.ip == newcomer && entry.kind == refused)
        .await;

    watched.node.command(Command::Resume).await.unwrap();
    assert_eq!(limits(&watched.node).await, configured);
    let config = watched.node.handle.config().await.unwrap();
    assert_eq!(config.reserved_peers, [reserved], "what was reserved before stays so");
    let _admitted = connect_from(newcomer, watched.node.address).await;
    watched.status(newcomer, PeerStatus::InHandshaking).await;
    watched.node.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_stopped_has_ended() {
    let mut watched = Watched::start().await;
    assert!(watched.node.ended().now_or_never().is_none());
    assert!(
        Neighbourhood::any_ended(&mut watched.neighbourhood)
            .now_or_never()
            .is_none()
    );
    watched.node.handle.close().await.unwrap();
    let ended = timeout(LIMIT, watched.node.ended()).await.unwrap();
    assert_eq!(ended.to_string(), "the node has ended");
    watched.node.stop().await.expect("there is nothing left to stop");
}
