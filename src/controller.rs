//! The controller: [`NetworkController`] and its events. Its parts, and how they are composed into one
//! polled future, are in `engine`.

mod changes;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod checks;
mod clock;
mod closing;
pub(crate) mod dumping;
mod engine;
mod error;
mod feedback;
mod handle;
mod housekeeping;
mod lease;
mod mailbox;
mod open_connections;
mod questions;
mod reconfiguring;
#[cfg(feature = "metrics")]
mod recorder;
mod reports;
#[cfg(test)]
mod tests;
#[cfg(feature = "tracing")]
mod traces;
mod wakers;

use std::fmt;
use std::future::{Ready, poll_fn, ready};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Sink;
use futures::stream::{FusedStream, Stream};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;

pub use self::changes::Changes;
pub use self::error::NetworkError;
pub use self::feedback::{Feedback, FeedbackSink};
pub use self::handle::NetworkHandle;
pub use self::lease::{Leased, PeerLease};

use self::engine::Engine;
use self::error::peer_file_error;
use self::feedback::Input;
use self::wakers::Wakers;
use crate::config::NetworkConfig;
use crate::peer::{Peer, PeerRecord};
use crate::peer_file::{self, OpenFile};
use crate::peer_table::{DialState, Report};
use crate::stats::Stats;
use crate::transport::{TcpTransport, Transport};

/// Keeps a list of peers, keeps a target number of outgoing connections alive, admits incoming ones under caps, and
/// hands each new connection to the application as an event of its stream.
///
/// It is one future, polled through [`Stream`]: nothing is spawned, and dropping it cancels everything. While it is not
/// polled, nothing happens: no dial, no accept, no deadline, no dump. So shake hands in another task or beside the
/// stream (`select!`). A handshake in the body of the loop needs a timeout of its own: no deadline of the controller ends
/// it, and where both ends of a connection do so, each may wait for the other for ever.
///
/// The application reports what becomes of each connection: by address (the `feedback_…` methods or this type's
/// [`Sink`]), through a [`FeedbackSink`] from elsewhere, or through the connection's [`PeerLease`].
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use futures::StreamExt;
/// use network::{NetworkConfig, NetworkController, NetworkControllerEvent};
/// use tokio::time::timeout;
///
/// # async fn shake_hands(_: &mut tokio::net::TcpStream) -> bool { true }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), network::NetworkError> {
/// let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
/// # let address = std::net::SocketAddr::from(([127, 0, 0, 1], net.local_addr().port()));
/// # let _client = tokio::net::TcpStream::connect(address).await.unwrap();
/// while let Some(event) = net.next().await {
///     let NetworkControllerEvent::CandidateConnection {
///         ip, mut socket, is_outgoing
///     } = event;
///     println!("{ip} ({})", if is_outgoing { "we dialed it" } else { "it came in" });
///     match timeout(Duration::from_secs(5), shake_hands(&mut socket)).await {
///         Ok(true) => net.feedback_peer_alive(ip).await,
///         Ok(false) | Err(_) => net.feedback_peer_failed(ip).await,
///     }
///     // … hand `socket` to whatever talks over it.
/// #   break;
/// }
/// net.close().await
/// # }
/// ```
#[must_use = "a controller does nothing unless it is polled"]
pub struct NetworkController<T: Transport = TcpTransport> {
    engine: Pin<Box<Engine<T>>>,
    wakers: Arc<Wakers>,
    /// Wakes the tasks that poll either half; the engine is polled with it.
    waker: Waker,
}

/// What a controller tells the application.
///
/// A peer that refuses us cannot be told from one that accepts until its socket is read: the kernel completes a
/// connection before the other end has looked at it. Such a candidate ends at once; report it failed.
///
/// [The loop](crate::guide::the_loop), in the guide, has examples.
#[derive(Debug)]
pub enum NetworkControllerEvent<S = TcpStream> {
    /// A TCP connection with a peer is established. Shake hands over `socket`, then report the peer alive or failed.
    ///
    /// A candidate for a peer whose socket the application still holds means that the older connection's slot has ended,
    /// by a deadline for instance, or because the other end chose the new one. Drop the old socket, and report nothing
    /// for it by address: that would speak of the new one. A [`PeerLease`] cannot get this wrong.
    CandidateConnection {
        /// The peer, in canonical form.
        ip: IpAddr,
        /// The connection. It is the application's: closing it is not seen here, so report it.
        socket: S,
        /// Whether we connected to the peer, rather than it to us.
        is_outgoing: bool,
    },
}

impl NetworkController {
    /// Starts a controller: loads `peers_file`, listens on `listen_port` of every address of this host, and dials once
    /// it is polled. Everything that is not named here has the default of [`NetworkConfig::new`].
    ///
    /// Must be called within a Tokio runtime with I/O and time enabled. [Feedback by
    /// address](crate::guide::feedback_by_address), in the guide, has an example.
    ///
    /// # Errors
    ///
    /// The numbers cannot work ([`NetworkError::Config`]), the file is missing, unreadable, malformed or used by another
    /// controller for 2 s more ([`NetworkError::PeerFile`]), or the port is taken ([`NetworkError::Listen`]). That the file
    /// cannot be replaced is no error, but stands in [`Stats::last_dump_error`] from the start.
    #[expect(clippy::too_many_arguments, reason = "the contract's own signature")]
    pub async fn new(
        peers_file: impl AsRef<Path>,
        listen_port: u16,
        target_outgoing_connections: usize,
        max_incoming_connections: usize,
        max_simultaneous_outgoing_connection_attempts: usize,
        max_simultaneous_incoming_connection_attempts: usize,
        max_idle_peers: usize,
        max_banned_peers: usize,
        peer_file_dump_interval_seconds: u64,
    ) -> Result<Self, NetworkError> {
        let mut config = NetworkConfig::new(peers_file, listen_port);
        config.target_outgoing_connections = target_outgoing_connections;
        config.max_incoming_connections = max_incoming_connections;
        config.max_simultaneous_outgoing_connection_attempts = max_simultaneous_outgoing_connection_attempts;
        config.max_simultaneous_incoming_connection_attempts = max_simultaneous_incoming_connection_attempts;
        config.max_idle_peers = max_idle_peers;
        config.max_banned_peers = max_banned_peers;
        config.peer_file_dump_interval = Duration::from_secs(peer_file_dump_interval_seconds);
        Self::with_config(config).await
    }

    /// Starts a controller over TCP.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub async fn with_config(config: NetworkConfig) -> Result<Self, NetworkError> {
        Self::with_transport(config, TcpTransport::new()).await
    }
}

impl<T: Transport> NetworkController<T> {
    /// Starts a controller over another transport; [`Transport`] has an example.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub async fn with_transport(config: NetworkConfig, mut transport: T) -> Result<Self, NetworkError> {
        config.validate()?;
        let file = match &config.peers_file {
            Some(path) => peer_file::open(path).await?,
            None => OpenFile::default(),
        };
        let addr = SocketAddr::new(config.listen_ip.to_canonical(), config.listen_port);
        let listening = transport
            .listen(addr)
            .await
            .map_err(|source| NetworkError::Listen { addr, source })?;
        let seed = config.seed.unwrap_or_else(|| RandomState::new().hash_one(addr));
        let wakers = Arc::<Wakers>::default();
        let waker = Waker::from(Arc::clone(&wakers));
        let engine = Engine::new(config, transport, listening, seed, file, Arc::clone(&wakers));
        Ok(Self {
            engine: Box::pin(engine),
            wakers,
            waker,
        })
    }

    /// Waits for the next event.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the event comes with a later call.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] after [`Self::close`].
    pub async fn wait_event(&mut self) -> Result<NetworkControllerEvent<T::Socket>, NetworkError> {
        self.next().await.ok_or(NetworkError::Closed)
    }

    /// The peer gave a sign of life: the handshake is done, or a message came. Updates `last_alive`.
    ///
    /// Like every `feedback_…` method it takes effect immediately, after what sinks have reported of that address before;
    /// awaiting is optional. After [`Self::close`] it does nothing.
    pub fn feedback_peer_alive(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Alive)
    }

    /// The handshake failed, or the connection ended unexpectedly. Updates `last_failure`; the peer becomes Idle.
    pub fn feedback_peer_failed(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Failed)
    }

    /// The peer misbehaved: it is neither dialed nor admitted any more. Updates `last_failure`.
    pub fn feedback_peer_banned(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Banned)
    }

    /// We have closed the connection cleanly: the peer becomes Idle; no failure is recorded.
    pub fn feedback_peer_closed(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Closed)
    }

    /// The peer is banned no more: it becomes Idle.
    pub fn feedback_peer_unbanned(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Unbanned)
    }

    /// The address is our own: the handshake met this very node, as a nonce of ours that came back shows. It is neither
    /// dialed nor told of for an hour.
    pub fn feedback_ourselves(&mut self, ip: IpAddr) -> Ready<()> {
        self.report(ip, Report::Ourselves)
    }

    /// Merges peers that a peer told us of: unknown ones are added, known ones left as they are, but that others are told
    /// from now on of those that had only connected to us. Takes no more than
    /// `max_idle_peers` addresses from the list, however long it is, and none that [no peer can
    /// have](crate#which-addresses-can-be-peers).
    pub fn feedback_peer_list(&mut self, ips: impl IntoIterator<Item = IpAddr>) -> Ready<()> {
        self.engine.as_mut().merge_list(None, ips);
        ready(())
    }

    /// The peers that others may be told of, from best to worst: neither those that are banned, nor those that have only
    /// connected to us: a peer that was admitted and never alive, and that no list named; nor those that the configuration
    /// excludes. To tell of some, see [`Self::sample_peer_ips`].
    #[must_use]
    pub fn get_good_peer_ips(&self) -> Vec<IpAddr> {
        self.engine.table().all_good_peer_ips()
    }

    /// The same as [`Self::get_good_peer_ips`] one by one: `.take(100)` costs 100.
    pub fn good_peer_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.engine.table().good_peer_ips()
    }

    /// A random sample of the same peers, in random order and without repetition: `limit` of them, or all if there are no
    /// more. Costs about `limit`, however many peers are known.
    ///
    /// Tell others by this. If every node told of its best peers, these would become hubs and the others would stay
    /// unknown.
    #[must_use]
    pub fn sample_peer_ips(&mut self, limit: usize) -> Vec<IpAddr> {
        self.engine.as_mut().sample_peer_ips(limit)
    }

    /// A way to report from elsewhere, [with an example](crate::guide::feedback_by_address#from-elsewhere).
    #[must_use]
    pub fn feedback_sink(&self) -> FeedbackSink {
        FeedbackSink::new(self.handle())
    }

    /// A way to report, to ask and to close from elsewhere; [`NetworkHandle`] has an example.
    #[must_use]
    pub fn handle(&self) -> NetworkHandle {
        self.engine.handle()
    }

    /// What happens to peers from now on. There may be several such streams; each has room for `capacity` changes (at
    /// least one) and drops the oldest when more wait, so a slow reader holds up nothing and takes bounded memory: about
    /// 50 bytes a change. A node sees a few changes for each dial and each connection that comes in, so 1,024 suit a
    /// reader that is awake. While there is none, it costs nothing.
    ///
    /// # Example
    ///
    /// ```
    /// use futures::StreamExt;
    /// use network::{ChangeKind, NetworkConfig, NetworkController};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// let mut changes = net.changes(1_024);
    /// net.feedback_peer_banned([203, 0, 113, 7].into()).await;
    /// let change = changes.next().await.expect("it has not ended");
    /// assert!(matches!(change.kind, ChangeKind::Status { .. }));
    /// println!("{change}"); // 203.0.113.7 new -> Banned: banned, reported by address
    /// # assert_eq!(change.to_string(), "203.0.113.7 new -> Banned: banned, reported by address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&mut self, capacity: usize) -> Changes {
        self.engine.as_mut().changes(capacity)
    }

    /// The lease of the peer's present connection: `None` if it has none whose event was returned, or if its lease was
    /// taken before.
    #[must_use = "a lease that is dropped reports that its connection failed"]
    pub fn lease(&mut self, ip: IpAddr) -> Option<PeerLease> {
        self.engine.as_mut().lease(ip.to_canonical())
    }

    /// A stream that yields each event together with the lease of its connection, [with examples](crate::guide::the_loop).
    pub fn leased(self) -> Leased<T> {
        Leased::new(self)
    }

    /// Every known peer, in no particular order.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.engine.table().peers()
    }

    /// What is known of one peer; `None` if nothing is.
    #[must_use]
    pub fn peer(&self, ip: IpAddr) -> Option<&Peer> {
        self.engine.table().peer(ip.to_canonical())
    }

    /// What the peer file would hold of every known peer: a controller that takes it as its
    /// [`initial_records`](NetworkConfig::initial_records) knows what this one does. Statuses that do not outlive a
    /// controller become `Idle`. [The guide](crate::guide::peer_file#containers-and-read-only-folders) has an example.
    pub fn records(&self) -> impl Iterator<Item = PeerRecord> {
        self.engine.table().records()
    }

    /// Why the peer is dialed, or not: what an operator who asks for it is told. Takes as long however many peers are known.
    ///
    /// ```
    /// use network::{DialState, Feedback, NetworkConfig, NetworkController};
    ///
    /// # use futures::SinkExt;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// let peer = [203, 0, 113, 7].into();
    /// assert_eq!(net.dial_state(peer), DialState::Unknown);
    /// net.feedback_peer_list([peer]).await;
    /// assert_eq!(net.dial_state(peer), DialState::Due);
    /// net.feedback_peer_banned(peer).await;
    /// let why = net.dial_state(peer).to_string();
    /// assert_eq!(why, "it is not dialed: it is banned until the ban is lifted");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dial_state(&self, ip: IpAddr) -> DialState {
        self.engine.dial_state(ip)
    }

    /// How many peers are in which status, how full each cap is, what happened how often, and the last dump.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// What the controller goes by: what it was started with, or [reconfigured](Self::reconfigure) to.
    /// [`Feedback::Reserve`] and [`Feedback::Release`] change its `reserved_peers`.
    #[must_use]
    pub fn config(&self) -> &NetworkConfig {
        self.engine.table().config()
    }

    /// Where the controller listens: with the real port, also where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    /// Ends the controller: applies what sinks and leases have reported (a lease that was dropped unspent counts as
    /// closed, not as failed), revokes the others, stops listening and dialing, dumps the peers if something has
    /// changed, lets another controller have the peer file, and ends the stream. Sockets that were handed over are the
    /// application's.
    ///
    /// Close first and end the tasks of the connections after: leases that are dropped then record no failure. [Shutting
    /// down](crate::guide::shutting_down), in the guide, has an example.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; another call, or polling the stream, goes on with it.
    ///
    /// # Errors
    ///
    /// [`NetworkError::PeerFile`] if the last dump failed. Everything else is ended then, and another call tries the
    /// dump again. After `Ok`, again is `Ok`.
    pub async fn close(&mut self) -> Result<(), NetworkError> {
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.wakers.register_sink(cx.waker());
        self.engine.as_mut().poll_close(&mut Context::from_waker(&self.waker))
    }

    fn report(&mut self, ip: IpAddr, report: Report) -> Ready<()> {
        self.engine.as_mut().report(ip, report);
        ready(())
    }
}

/// Ends only after [`NetworkController::close`], and then for ever.
impl<T: Transport> Stream for NetworkController<T> {
    type Item = NetworkControllerEvent<T::Socket>;

    /// - `Ready(Some(event))`: a new connection; there may be more at once;
    /// - `Pending`: nothing to tell now; the task is woken when something may have changed, which it need not have for
    ///   the application;
    /// - `Ready(None)`: closed.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.wakers.register_stream(cx.waker());
        let event = this.engine.as_mut().poll_event(&mut Context::from_waker(&this.waker));
        #[cfg(any(test, feature = "sim"))]
        checks::Checks::after_poll(this.engine.table());
        event
    }
}

impl<T: Transport> FusedStream for NetworkController<T> {
    fn is_terminated(&self) -> bool {
        self.engine.is_ended()
    }
}

/// Feedback is applied when it is sent. Closing the sink is [`NetworkController::close`].
impl<T: Transport> Sink<Feedback> for NetworkController<T> {
    type Error = NetworkError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(self.engine.check_open())
    }

    fn start_send(mut self: Pin<&mut Self>, feedback: Feedback) -> Result<(), NetworkError> {
        self.engine.check_open()?;
        match Input::from(feedback) {
            Input::Report(ip, report) => self.engine.as_mut().report(ip, report),
            Input::List(teller, ips) => self.engine.as_mut().merge_list(teller, ips),
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.poll_closed(cx)
    }
}

/// One line: where it listens, and how many peers and connections there are. [`NetworkController::stats`] has the rest.
impl<T: Transport> fmt::Debug for NetworkController<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("NetworkController")
            .field("local_addr", &self.local_addr())
            .field("is_closed", &self.engine.is_ended())
            .field("peers", &stats.peers.total())
            .field("outgoing_connections", &stats.outgoing_connections.used)
            .field("incoming_connections", &stats.incoming_connections.used)
            .field("banned_peers", &stats.banned_peers.used)
            .finish_non_exhaustive()
    }
}
