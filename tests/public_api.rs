//! The public surface, as applications rely on it: names, paths, signatures and auto traits. Most of it is checked by
//! compiling, in a crate of its own, as a user's is.

#![deny(unfulfilled_lint_expectations)]

use std::cell::Cell;
use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::{Future, Ready, poll_fn, ready};
use std::hash::Hash;
use std::io;
use std::marker::PhantomPinned;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::FusedStream;
use futures::{Sink, Stream, StreamExt};
use network::peer_file::{self, FileError, PeerRecord};
use network::{
    Cause, Change, ChangeKind, Changes, Clock, ConfigError, Counters, DialState, Dialed, Feedback, FeedbackSink,
    Incoming, IpPrefix, IpPrefixError, Leased, NetworkConfig, NetworkController, NetworkControllerEvent, NetworkError,
    NetworkHandle, Peer, PeerFileError, PeerLease, PeerStatus, PeerStatusError, Refusal, Reporter, Revocation, Stats,
    StatusCounts, TcpTransport, Transport, Usage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_type_eq_all};
use tokio::net::TcpStream;

assert_impl_all!(NetworkController: Debug, Send, Sync, Unpin);
assert_impl_all!(Leased<TcpTransport>: Debug, Send, Sync, Unpin);
assert_impl_all!(FeedbackSink: Clone, Debug, Send, Sync, Unpin, Sink<Feedback, Error = NetworkError>);
assert_impl_all!(NetworkHandle: Clone, Debug, Send, Sync, Unpin, Sink<Feedback, Error = NetworkError>);
assert_impl_all!(Changes: Debug, Send, Sync, Unpin, FusedStream<Item = Change>);
assert_impl_all!(Change: Copy, Debug, Display, Eq, Send, Sync);
assert_impl_all!(ChangeKind: Copy, Debug, Display, Eq, Send, Sync);
assert_impl_all!(Cause: Copy, Debug, Display, Eq, Send, Sync);
assert_impl_all!(Refusal: Copy, Debug, Display, Eq, Send, Sync);
assert_impl_all!(Reporter: Copy, Debug, Display, Eq, Send, Sync);
assert_impl_all!(PeerLease: Debug, Send, Sync, Unpin);
assert_impl_all!(NetworkError: Error, Debug, Display, Send, Sync);
assert_impl_all!(ConfigError: Error, Debug, Display, Send, Sync);
assert_impl_all!(PeerFileError: Error, Debug, Display, Send, Sync);
assert_impl_all!(IpPrefix: Copy, Eq, Hash, Ord, Debug, Display, FromStr<Err = IpPrefixError>, From<IpAddr>, Send, Sync);
assert_impl_all!(IpPrefix: Serialize, DeserializeOwned);
assert_impl_all!(DialState: Clone, Debug, PartialEq, Display, Send, Sync);
assert_impl_all!(IpPrefixError: Error, Debug, Display, Send, Sync);
assert_impl_all!(FileError: Error, Debug, Display, Send, Sync, Into<NetworkError>);
assert_impl_all!(PeerRecord: Clone, Debug, PartialEq, From<Peer>, Send, Sync);
assert_impl_all!(NetworkControllerEvent: Debug, Send, Sync, Unpin);
assert_impl_all!(Feedback: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Peer: Clone, Debug, Serialize, Send, Sync);
assert_impl_all!(Stats: Clone, Debug, Serialize, Send, Sync);
assert_impl_all!(Counters: Clone, Debug, Serialize, Send, Sync);
assert_impl_all!(StatusCounts: Clone, Debug, Serialize, Send, Sync);
assert_impl_all!(Usage: Clone, Debug, Serialize, Send, Sync);
assert_impl_all!(PeerStatus: Copy, Eq, Hash, Debug, Display, Serialize, DeserializeOwned, Send, Sync);
assert_impl_all!(PeerStatus: FromStr<Err = PeerStatusError>);
assert_impl_all!(PeerStatusError: Clone, Eq, Error, Debug, Display, Send, Sync);
assert_impl_all!(Revocation: Copy, Eq, Hash, Debug, Display, Send, Sync);
assert_impl_all!(NetworkConfig: Clone, Debug, Serialize, DeserializeOwned, Send, Sync);
assert_impl_all!(Clock: Copy, Debug, Default, Send, Sync);
assert_impl_all!(TcpTransport: Transport<Socket = TcpStream>, Debug, Send, Sync);

// One connection, one slot: neither has a second owner.
assert_not_impl_any!(NetworkController: Clone);
assert_not_impl_any!(PeerLease: Clone);

assert_type_eq_all!(NetworkController, NetworkController<TcpTransport>);
assert_type_eq_all!(NetworkControllerEvent, NetworkControllerEvent<TcpStream>);

mod paths {
    use network::chrono as times;
    use static_assertions::assert_type_eq_all;

    assert_type_eq_all!(network::NetworkController, network::controller::NetworkController);
    assert_type_eq_all!(
        network::NetworkControllerEvent,
        network::controller::NetworkControllerEvent
    );
    assert_type_eq_all!(network::NetworkError, network::controller::NetworkError);
    assert_type_eq_all!(network::Feedback, network::controller::Feedback);
    assert_type_eq_all!(network::FeedbackSink, network::controller::FeedbackSink);
    assert_type_eq_all!(network::PeerLease, network::controller::PeerLease);
    assert_type_eq_all!(network::FileError, network::peer_file::FileError);
    assert_type_eq_all!(times::DateTime<times::Utc>, chrono::DateTime<chrono::Utc>);
    assert_type_eq_all!(network::PeerFileError, network::peer_file::PeerFileError);
    assert_type_eq_all!(network::PeerRecord, network::peer_file::PeerRecord);
    assert_type_eq_all!(
        network::Leased<network::TcpTransport>,
        network::controller::Leased<network::TcpTransport>
    );
}

fn is_both_halves<C, Item>()
where
    C: Debug + Send + Unpin + FusedStream<Item = Item> + Sink<Feedback, Error = NetworkError> + 'static,
{
}

fn is_static<T: Send + Sync + 'static>() {}

fn over_every_transport<T: Transport>() {
    is_both_halves::<NetworkController<T>, NetworkControllerEvent<T::Socket>>();
    is_both_halves::<Leased<T>, (NetworkControllerEvent<T::Socket>, PeerLease)>();
    feedback_is_applied_when_called::<T>();
    queries_do_not_wait::<T>();
    what_waits_can_be_spawned::<T>();
}

fn feedback_is_applied_when_called<T: Transport>() {
    type Method<T> = fn(&mut NetworkController<T>, IpAddr) -> Ready<()>;
    let _: [Method<T>; 6] = [
        NetworkController::feedback_peer_alive,
        NetworkController::feedback_peer_failed,
        NetworkController::feedback_peer_banned,
        NetworkController::feedback_peer_closed,
        NetworkController::feedback_peer_unbanned,
        NetworkController::feedback_ourselves,
    ];
    let _ = |net: &mut NetworkController<T>, ips: &[IpAddr]| -> [Ready<()>; 4] {
        [
            net.feedback_peer_list(ips.to_vec()),
            net.feedback_peer_list(ips.iter().copied()),
            net.feedback_peer_list(ips.iter().copied().collect::<HashSet<_>>()),
            net.feedback_peer_list(Some(ips[0])),
        ]
    };
}

fn queries_do_not_wait<T: Transport>() {
    let _: fn(&NetworkController<T>) -> Vec<IpAddr> = NetworkController::get_good_peer_ips;
    let _: fn(&mut NetworkController<T>, usize) -> Vec<IpAddr> = NetworkController::sample_peer_ips;
    let _: fn(&NetworkController<T>) -> FeedbackSink = NetworkController::feedback_sink;
    let _: fn(&NetworkController<T>) -> NetworkHandle = NetworkController::handle;
    let _: fn(&mut NetworkController<T>, usize) -> Changes = NetworkController::changes;
    let _: fn(&Stats) -> String = Stats::open_metrics;
    let _: fn(&NetworkController<T>, IpAddr) -> Option<&Peer> = NetworkController::peer;
    let _: fn(&NetworkController<T>, IpAddr) -> DialState = NetworkController::dial_state;
    let _: fn(&mut NetworkController<T>, NetworkConfig) -> Result<(), ConfigError> = NetworkController::reconfigure;
    let _: fn(&NetworkController<T>) -> Stats = NetworkController::stats;
    let _: fn(&NetworkController<T>) -> &NetworkConfig = NetworkController::config;
    let _: fn(&NetworkController<T>) -> SocketAddr = NetworkController::local_addr;
    let _: fn(&mut NetworkController<T>, IpAddr) -> Option<PeerLease> = NetworkController::lease;
    let _: fn(NetworkController<T>) -> Leased<T> = NetworkController::leased;
    let _: fn(&Leased<T>) -> &NetworkController<T> = Leased::get_ref;
    let _: fn(&mut Leased<T>) -> &mut NetworkController<T> = Leased::get_mut;
    let _: fn(Leased<T>) -> NetworkController<T> = Leased::into_inner;
    let _ = |net: &NetworkController<T>| -> (Option<IpAddr>, Option<Peer>) {
        (net.good_peer_ips().next(), net.peers().next().cloned())
    };
}

fn what_waits_can_be_spawned<T: Transport>() {
    fn is<O>(_: impl Future<Output = O> + Send) {}
    let _ = |config: NetworkConfig, transport: T| {
        is::<Result<NetworkController<T>, NetworkError>>(NetworkController::with_transport(config, transport));
    };
    let _ = |net: &mut NetworkController<T>| {
        is::<Result<NetworkControllerEvent<T::Socket>, NetworkError>>(net.wait_event());
        is::<Result<(), NetworkError>>(net.close());
    };
    let _ =
        |config: NetworkConfig| is::<Result<NetworkController, NetworkError>>(NetworkController::with_config(config));
    let _ = |sink: &FeedbackSink| is::<Result<Vec<IpAddr>, NetworkError>>(sink.good_peer_ips(100));
    let _ = |lease: &PeerLease| is::<Revocation>(lease.revoked());
    let _ = |sink: &FeedbackSink| is::<Result<Vec<IpAddr>, NetworkError>>(sink.sample_peer_ips(100));
    let _ = |handle: &NetworkHandle, ip: IpAddr| {
        is::<Result<Stats, NetworkError>>(handle.stats());
        is::<Result<Option<Peer>, NetworkError>>(handle.peer(ip));
        is::<Result<Vec<Peer>, NetworkError>>(handle.peers());
        is::<Result<Vec<IpAddr>, NetworkError>>(handle.good_peer_ips(100));
        is::<Result<Vec<IpAddr>, NetworkError>>(handle.sample_peer_ips(100));
        is::<Result<DialState, NetworkError>>(handle.dial_state(ip));
        is::<Result<NetworkConfig, NetworkError>>(handle.config());
        is::<Result<(), NetworkError>>(handle.reconfigure(NetworkConfig::in_memory(0)));
        is::<Result<(), NetworkError>>(handle.close());
    };
    let _ = |path: PathBuf, peers: Vec<PeerRecord>| {
        is::<Result<Vec<PeerRecord>, FileError>>(peer_file::load(&path));
        is::<Result<(), FileError>>(peer_file::save(
            path.clone(),
            peers.iter().filter(|peer| peer.banned_at.is_some()),
        ));
        is::<Result<(), FileError>>(peer_file::save(path, peers));
    };
}

#[test]
fn every_transport_has_the_whole_surface() {
    over_every_transport::<TcpTransport>();
    over_every_transport::<Unshared>();
    is_static::<FeedbackSink>();
    is_static::<NetworkHandle>();
    is_static::<Changes>();
    is_static::<PeerLease>();
    is_static::<NetworkError>();
}

#[test]
fn a_lease_is_spent_by_the_end_that_it_reports() {
    let _: [fn(PeerLease); 3] = [PeerLease::closed, PeerLease::failed, PeerLease::banned];
    let _: fn(PeerLease, Duration) = PeerLease::banned_for;
    let _: fn(&PeerLease) = PeerLease::alive;
    let _: fn(&PeerLease, Vec<IpAddr>) = PeerLease::peer_list;
    let _: fn(&PeerLease) -> IpAddr = PeerLease::ip;
    let _: fn(&PeerLease) -> bool = PeerLease::is_outgoing;
    let _: fn(&FeedbackSink, Feedback) -> Result<(), NetworkError> = FeedbackSink::report;
    let _: fn(&NetworkHandle, Feedback) -> Result<(), NetworkError> = NetworkHandle::report;
}

#[test]
fn an_event_has_one_variant_with_three_fields() {
    fn parts<S>(event: NetworkControllerEvent<S>) -> (IpAddr, S, bool) {
        match event {
            NetworkControllerEvent::CandidateConnection {
                ip,
                socket,
                is_outgoing,
            } => (ip, socket, is_outgoing),
        }
    }
    let _: fn(NetworkControllerEvent) -> (IpAddr, TcpStream, bool) = parts;
}

#[test]
fn a_record_of_the_peer_file_is_a_peer_the_times_of_its_ban_and_whether_it_knocked() {
    let _: fn(IpAddr) -> PeerRecord = PeerRecord::new;
    let _: fn(IpAddr) -> Peer = Peer::new;
    type Parts = (Peer, [Option<DateTime<Utc>>; 2], bool);
    fn parts(record: PeerRecord) -> Parts {
        let times = [record.banned_at, record.banned_until];
        (record.peer, times, record.knocked)
    }
    let _: fn(PeerRecord) -> Parts = parts;
    let _ = |FileError { path, source, .. }: FileError| drop::<(PathBuf, PeerFileError)>((path, source));
}

#[test]
fn feedback_and_errors_name_these_cases() {
    let _ = |error: NetworkError| match error {
        NetworkError::Closed => {}
        NetworkError::Config(error) => drop::<ConfigError>(error),
        NetworkError::Listen { addr, source } => drop::<(SocketAddr, io::Error)>((addr, source)),
        NetworkError::PeerFile { path, .. } => drop::<PathBuf>(path),
        error => panic!("{error}"),
    };
    let _ = |ip: IpAddr| {
        [
            Feedback::Alive(ip),
            Feedback::Failed(ip),
            Feedback::Banned(ip),
            Feedback::Closed(ip),
            Feedback::PeerList(vec![ip]),
            Feedback::PeerListFrom(ip, vec![ip]),
            Feedback::Unbanned(ip),
            Feedback::BannedFor(ip, Duration::from_secs(60)),
            Feedback::Dial(ip),
            Feedback::Reserve(ip),
            Feedback::Release(ip),
            Feedback::Ourselves(ip),
        ]
    };
}

#[test]
fn a_change_says_when_of_which_peer_what_and_why() {
    fn parts(Change { at, ip, kind, .. }: Change) -> (DateTime<Utc>, IpAddr, ChangeKind) {
        (at, ip, kind)
    }
    let _: fn(Change) -> (DateTime<Utc>, IpAddr, ChangeKind) = parts;
    let _ = |kind: ChangeKind| match kind {
        ChangeKind::Status { from, to, cause } => {
            let _: (Option<PeerStatus>, PeerStatus, Cause) = (from, to, cause);
        }
        ChangeKind::Refused(refusal) => {
            let _: Refusal = refusal;
        }
        ChangeKind::Lagged(missing) => {
            let _: u64 = missing;
        }
        ChangeKind::Added | ChangeKind::Forgotten => {}
        kind => panic!("{kind}"),
    };
    let _: [fn(io::ErrorKind) -> Cause; 3] = [Cause::DialFailed, Cause::DialUnroutable, Cause::DialHostFault];
    let _: [fn(Reporter) -> Cause; 3] = [Cause::Failed, Cause::Closed, Cause::Banned];
}

#[test]
fn a_status_is_one_of_seven() {
    const fn name(status: PeerStatus) -> &'static str {
        match status {
            PeerStatus::Idle => "Idle",
            PeerStatus::OutConnecting => "OutConnecting",
            PeerStatus::OutHandshaking => "OutHandshaking",
            PeerStatus::OutAlive => "OutAlive",
            PeerStatus::InHandshaking => "InHandshaking",
            PeerStatus::InAlive => "InAlive",
            PeerStatus::Banned => "Banned",
        }
    }
    let seven = StatusCounts::default()
        .iter()
        .map(|(status, _)| status)
        .collect::<Vec<_>>();
    assert_eq!(seven.iter().collect::<HashSet<_>>().len(), 7);
    for status in seven {
        assert_eq!(status.to_string(), name(status));
        assert_eq!(name(status).parse(), Ok(status));
        assert_eq!(serde_json::to_value(status).unwrap(), name(status));
        assert_eq!(
            serde_json::from_value::<PeerStatus>(name(status).into()).unwrap(),
            status
        );
    }
}

#[test]
fn a_peer_shows_its_address_status_and_times() {
    let _ = |peer: &Peer| -> (IpAddr, PeerStatus, [Option<DateTime<Utc>>; 3], u32) {
        (
            peer.ip,
            peer.status,
            [peer.last_alive, peer.last_failure, peer.last_alive_outgoing],
            peer.failures_in_row,
        )
    };
}

/// Each of these is a lint expectation of its own: the compiler must warn of every one.
#[test]
fn inert_values_are_must_use() {
    #[expect(unused_must_use)]
    fn controller(make: fn() -> NetworkController) {
        make();
    }
    #[expect(unused_must_use)]
    fn leased(make: fn() -> Leased<TcpTransport>) {
        make();
    }
    #[expect(unused_must_use)]
    fn lease(make: fn() -> PeerLease) {
        make();
    }
    #[expect(unused_must_use)]
    fn changes(net: &mut NetworkController) {
        net.changes(1);
    }
    #[expect(unused_must_use)]
    fn taken(net: &mut NetworkController) {
        net.lease(LOOPBACK);
    }
    let _: fn(fn() -> NetworkController) = controller;
    let _: fn(fn() -> Leased<TcpTransport>) = leased;
    let _: fn(fn() -> PeerLease) = lease;
    let _: fn(&mut NetworkController) = taken;
    let _: fn(&mut NetworkController) = changes;
}

#[tokio::test]
async fn new_takes_the_nine_arguments_of_the_contract_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    std::fs::write(&path, "[]").unwrap();
    let net = NetworkController::new(&path, 0, 11, 12, 13, 14, 15, 16, 17)
        .await
        .unwrap();
    let config = net.config();
    assert_eq!(config.peers_file.as_deref(), Some(path.as_path()));
    assert_eq!(config.listen_port, 0);
    assert_eq!(config.target_outgoing_connections, 11);
    assert_eq!(config.max_incoming_connections, 12);
    assert_eq!(config.max_simultaneous_outgoing_connection_attempts, 13);
    assert_eq!(config.max_simultaneous_incoming_connection_attempts, 14);
    assert_eq!(config.max_idle_peers, 15);
    assert_eq!(config.max_banned_peers, 16);
    assert_eq!(config.peer_file_dump_interval, Duration::from_secs(17));
    assert_ne!(net.local_addr().port(), 0, "the port that was bound");
}

#[tokio::test]
async fn a_controller_is_debugged_as_one_short_line() {
    let mut config = NetworkConfig::in_memory(0);
    config.listen_ip = LOOPBACK;
    config.initial_peers = vec![IpAddr::from([127, 0, 0, 8]), IpAddr::from([127, 0, 0, 9])];
    let mut net = NetworkController::with_config(config).await.unwrap();
    net.feedback_peer_banned(IpAddr::from([127, 0, 0, 9])).await;
    let port = net.local_addr().port();
    assert_eq!(
        format!("{net:?}"),
        format!(
            "NetworkController {{ local_addr: 127.0.0.1:{port}, is_closed: false, peers: 2, outgoing_connections: 0, \
             incoming_connections: 0, banned_peers: 1, .. }}"
        )
    );
    net.close().await.unwrap();
    assert!(format!("{net:?}").contains("is_closed: true"));
}

#[test]
fn new_takes_any_kind_of_path() {
    drop(NetworkController::new("peers.json", 0, 1, 1, 1, 1, 1, 1, 1));
    drop(NetworkController::new(
        String::from("peers.json"),
        0,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
    ));
    drop(NetworkController::new(Path::new("peers.json"), 0, 1, 1, 1, 1, 1, 1, 1));
    drop(NetworkController::new(
        PathBuf::from("peers.json"),
        0,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
    ));
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = NetworkConfig::new("peers.json", 31244);
    assert_eq!(config.peers_file.as_deref(), Some(Path::new("peers.json")));
    assert_eq!(config.listen_port, 31244);
    assert_eq!(NetworkConfig::in_memory(31244).peers_file, None);
    assert_eq!(config.listen_ip, IpAddr::from([0; 16]));
    assert!(config.initial_peers.is_empty());
    assert_eq!(config.peer_port, None);
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.dial_stagger, Duration::from_millis(250));
    assert_eq!(config.handshake_timeout, Some(Duration::from_secs(10)));
    assert_eq!(config.retry_backoff, Duration::from_secs(5));
    assert_eq!(config.max_retry_backoff, Duration::from_secs(600));
    assert_eq!(config.ban_duration, None);
    assert_eq!(config.max_incoming_per_subnet, None);
    assert!(!config.global_peers_only);
    assert!(config.reserved_peers.is_empty());
    assert!(config.denied.is_empty() && config.allowed.is_empty());
    assert_eq!(config.clock, Clock::System);
    assert_eq!(config.seed, None);
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A transport as a user may write it: nothing of it can be shared between threads, or moved once it is pinned.
struct Unshared {
    incoming: Option<UnsharedIncoming>,
    not_sync: Cell<()>,
}

/// What it carries.
#[derive(Debug)]
struct UnsharedSocket(
    #[expect(dead_code, reason = "makes it neither Sync nor Unpin")] Cell<u8>,
    PhantomPinned,
);

struct UnsharedIncoming(SocketAddr, Cell<u8>);

struct UnsharedListener {
    incoming: Cell<Option<UnsharedIncoming>>,
    _pinned: PhantomPinned,
}

struct UnsharedDial {
    not_sync: Cell<()>,
    _pinned: PhantomPinned,
}

impl Transport for Unshared {
    type Socket = UnsharedSocket;
    type Incoming = UnsharedIncoming;
    type Listener = UnsharedListener;
    type Dial = UnsharedDial;

    fn listen(&mut self, at: SocketAddr) -> impl Future<Output = io::Result<(UnsharedListener, SocketAddr)>> + Send {
        let listener = UnsharedListener {
            incoming: Cell::new(self.incoming.take()),
            _pinned: PhantomPinned,
        };
        ready(Ok((listener, at)))
    }

    fn dial(&mut self, _: Option<IpAddr>, _: SocketAddr) -> UnsharedDial {
        UnsharedDial {
            not_sync: self.not_sync.clone(),
            _pinned: PhantomPinned,
        }
    }
}

impl Incoming for UnsharedIncoming {
    type Socket = UnsharedSocket;

    fn remote_addr(&self) -> SocketAddr {
        self.0
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }

    fn admit(self) -> io::Result<UnsharedSocket> {
        Ok(UnsharedSocket(self.1, PhantomPinned))
    }
}

impl Stream for UnsharedListener {
    type Item = io::Result<UnsharedIncoming>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.incoming.take().map(Ok))
    }
}

impl Future for UnsharedDial {
    type Output = io::Result<Dialed<UnsharedSocket>>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.not_sync.set(());
        Poll::Pending
    }
}

assert_not_impl_any!(UnsharedSocket: Sync, Unpin);
assert_not_impl_any!(UnsharedListener: Sync, Unpin);
assert_not_impl_any!(UnsharedDial: Sync, Unpin);

#[tokio::test]
async fn a_transport_of_the_user_works() {
    let remote = SocketAddr::from(([127, 0, 0, 9], 9));
    let transport = Unshared {
        incoming: Some(UnsharedIncoming(remote, Cell::new(1))),
        not_sync: Cell::new(()),
    };
    let mut config = NetworkConfig::in_memory(4000);
    config.initial_peers = vec![IpAddr::from([127, 0, 0, 8])];
    let mut net = NetworkController::with_transport(config, transport).await.unwrap();

    let NetworkControllerEvent::CandidateConnection { ip, is_outgoing, .. } = net.wait_event().await.unwrap();
    assert_eq!((ip, is_outgoing), (remote.ip(), false));
    let next = poll_fn(|cx| Poll::Ready(net.poll_next_unpin(cx).is_pending())).await;
    assert!(next, "the end of the listener ends accepting and nothing else");
    assert_eq!(net.stats().peers.out_connecting, 1);

    net.close().await.unwrap();
    assert!(net.next().await.is_none() && net.is_terminated());
}
