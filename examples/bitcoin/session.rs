//! One connection of the node: handshake, messages, and the reports to the controller.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use network::{FeedbackSink, PeerLease};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{self, Instant, MissedTickBehavior, timeout};

use crate::address_book::AddressBook;
use crate::addresses;
use crate::chain::{Chain, FEATURE_MESSAGES};
use crate::wire::{Violation, Wire, WireError};

/// The timeout of a handshake. The controller's `handshake_timeout` is longer, so that this end reports first.
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Between two pings.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// After how long without a message a peer is given up.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// The most addresses that the protocol allows in one message.
pub(crate) const MAX_ADDRESSES: usize = 1_000;

/// The oldest version that is accepted: the first that answers pings (BIP 31).
const OLDEST_VERSION: u32 = 60_001;

/// What all connections of a node share.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) chain: Chain,
    /// Our own services.
    pub(crate) services: ServiceFlags,
    /// Our own address, to be announced to peers.
    pub(crate) announce: Option<IpAddr>,
    /// Random, one a process, so that a node recognises a connection to itself.
    pub(crate) nonce: u64,
    pub(crate) feedback: FeedbackSink,
    pub(crate) book: Arc<Mutex<AddressBook>>,
    /// Whether to print the events of each connection.
    pub(crate) is_verbose: bool,
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    #[error("we closed it")]
    Revoked,
    #[error("it was this node itself")]
    Ourselves,
    #[error("it did not shake hands in time")]
    Late,
    #[error("it was silent for too long")]
    Silent,
    #[error("it speaks version {0}, which is too old")]
    Outdated(u32),
    #[error("{0}")]
    Lost(io::Error),
    #[error("it sent {0}")]
    Violation(Violation),
    #[error("it sent {0}")]
    Unreadable(WireError),
}

impl Ending {
    /// Reports the end to the controller, which frees the slot.
    pub(crate) fn settle(&self, lease: PeerLease) {
        match self {
            Self::Revoked => lease.closed(),
            // An inbound connection may come from the address of a gateway, which other nodes share: not to be banned.
            Self::Ourselves if lease.is_outgoing() => lease.banned(),
            Self::Ourselves => lease.closed(),
            // The protocol has no goodbye, so every end that is not ours counts as a failure.
            Self::Late | Self::Silent | Self::Outdated(_) | Self::Lost(_) | Self::Unreadable(_) => lease.failed(),
            Self::Violation(_) => lease.banned(),
        }
    }
}

impl From<WireError> for Ending {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Lost(error) => Self::Lost(error),
            WireError::Stuck => Self::Silent,
            WireError::Violation(violation) => Self::Violation(violation),
            WireError::Unreadable { .. } => Self::Unreadable(error),
        }
    }
}

/// What a handshake revealed of the other end.
#[derive(Debug)]
struct Handshake {
    version: VersionMessage,
    /// Whether it asked for `addrv2` instead of `addr`.
    wants_addrv2: bool,
}

impl Session {
    /// Shakes hands and exchanges messages until one end leaves or breaks the protocol.
    pub(crate) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S, lease: &PeerLease) -> Ending {
        let mut wire = Wire::new(socket, self.chain.magic);
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE_LIMIT, self.shake_hands(&mut wire, lease)) => shaken,
            () = lease.revoked() => return Ending::Revoked,
        };
        let handshake = match shaken {
            Ok(Ok(handshake)) => handshake,
            Ok(Err(ending)) => return ending,
            Err(_) => return Ending::Late,
        };
        lease.alive();
        let version = &handshake.version;
        self.book()
            .on_version(lease.ip(), version.services, lease.is_outgoing());
        self.note(
            lease,
            format_args!("is alive: {:?}, version {}", version.user_agent, version.version),
        );
        match self.talk(&mut wire, &handshake, lease).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    /// Prints an event of a connection, if that was asked for.
    pub(crate) fn note(&self, lease: &PeerLease, what: fmt::Arguments<'_>) {
        if self.is_verbose {
            let direction = if lease.is_outgoing() { "out" } else { "in" };
            println!("{} ({direction}) {what}", lease.ip());
        }
    }

    /// The end that dialed sends its version first.
    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        lease: &PeerLease,
    ) -> Result<Handshake, Ending> {
        if lease.is_outgoing() {
            wire.send(self.version(lease.ip())).await?;
        }
        let mut version = None;
        let mut wants_addrv2 = false;
        loop {
            let Some(message) = self.readable(wire.receive().await, lease)? else {
                continue;
            };
            match message {
                NetworkMessage::Version(_) if version.is_some() => {
                    return Err(Ending::Violation(Violation::SecondVersion));
                }
                NetworkMessage::Version(theirs) => {
                    self.answer_version(&theirs, wire, lease).await?;
                    version = Some(theirs);
                }
                NetworkMessage::SendAddrV2 => wants_addrv2 = true,
                NetworkMessage::Verack => {
                    let version = version.ok_or(Ending::Violation(Violation::EarlyVerack))?;
                    return Ok(Handshake { version, wants_addrv2 });
                }
                _ => {}
            }
        }
    }

    async fn answer_version<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        theirs: &VersionMessage,
        wire: &mut Wire<S>,
        lease: &PeerLease,
    ) -> Result<(), Ending> {
        if theirs.nonce == self.nonce {
            return Err(Ending::Ourselves);
        }
        if theirs.version < OLDEST_VERSION {
            return Err(Ending::Outdated(theirs.version));
        }
        if !lease.is_outgoing() {
            wire.send(self.version(lease.ip())).await?;
        }
        // Some older nodes close the connection on unknown messages before the verack.
        if theirs.version >= FEATURE_MESSAGES {
            wire.send(NetworkMessage::SendAddrV2).await?;
        }
        Ok(wire.send(NetworkMessage::Verack).await?)
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        handshake: &Handshake,
        lease: &PeerLease,
    ) -> Result<Infallible, Ending> {
        wire.send(NetworkMessage::GetAddr).await?;
        if let Some(ip) = self.announce {
            let own = addresses::announcement(
                SocketAddr::new(ip, self.chain.port),
                self.services,
                handshake.wants_addrv2,
            );
            wire.send(own).await?;
        }
        let mut pings = time::interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Box::pin(time::sleep(SILENCE_LIMIT));
        let mut was_asked = false;
        loop {
            // Received messages come before the timeout, so that one that has arrived is not missed. All writes are
            // outside of the select, so none is cancelled halfway.
            tokio::select! {
                biased;
                () = lease.revoked() => return Err(Ending::Revoked),
                received = wire.receive() => {
                    let message = self.readable(received, lease)?;
                    lease.alive();
                    silence.as_mut().reset(Instant::now() + SILENCE_LIMIT);
                    match message {
                        Some(NetworkMessage::GetAddr) if was_asked => {}
                        Some(NetworkMessage::GetAddr) => {
                            was_asked = true;
                            self.tell_addresses(wire, handshake, lease).await?;
                        }
                        Some(message) => self.on_message(message, wire, lease).await?,
                        None => {}
                    }
                }
                () = &mut silence => return Err(Ending::Silent),
                _ = pings.tick() => wire.send(NetworkMessage::Ping(self.nonce)).await?,
            }
        }
    }

    /// `None` for a message that the codec cannot read: networks have messages that it does not know.
    fn readable(
        &self,
        received: Result<NetworkMessage, WireError>,
        lease: &PeerLease,
    ) -> Result<Option<NetworkMessage>, Ending> {
        match received {
            Ok(message) => Ok(Some(message)),
            Err(WireError::Unreadable { command, source }) if command.as_ref() != "version" => {
                self.note(lease, format_args!("sent a {command} that we cannot read: {source}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn on_message<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        message: NetworkMessage,
        wire: &mut Wire<S>,
        lease: &PeerLease,
    ) -> Result<(), Ending> {
        match message {
            NetworkMessage::Version(_) => Err(Ending::Violation(Violation::SecondVersion)),
            NetworkMessage::Ping(number) => Ok(wire.send(NetworkMessage::Pong(number)).await?),
            NetworkMessage::Addr(list) => self.on_addresses(list.len(), addresses::of_addr(&list), lease).await,
            NetworkMessage::AddrV2(list) => self.on_addresses(list.len(), addresses::of_addrv2(&list), lease).await,
            // Messages for full nodes: blocks, transactions, features.
            _ => Ok(()),
        }
    }

    async fn on_addresses(
        &self,
        length: usize,
        list: impl Iterator<Item = (SocketAddr, ServiceFlags)>,
        lease: &PeerLease,
    ) -> Result<(), Ending> {
        if length > MAX_ADDRESSES {
            return Err(Ending::Violation(Violation::TooManyAddresses(length)));
        }
        // All peers are dialed on one port.
        let peers: Vec<(IpAddr, ServiceFlags)> = list
            .filter(|(address, _)| address.port() == self.chain.port && Some(address.ip()) != self.announce)
            .map(|(address, services)| (address.ip(), services))
            .collect();
        self.note(
            lease,
            format_args!("told of {length} addresses, {} of use", peers.len()),
        );
        if self.book().is_full(peers.len()) {
            let known = self.known_peers().await?.into_iter().collect::<HashSet<_>>();
            self.book().retain(&known);
        }
        for &(ip, services) in &peers {
            self.book().on_announcement(ip, services);
        }
        // Names the peer as the one that told of them, so that it cannot fill our list with made-up ones.
        lease.peer_list(peers.into_iter().map(|(ip, _)| ip));
        Ok(())
    }

    /// All peers that others may be told of, in random order.
    async fn known_peers(&self) -> Result<Vec<IpAddr>, Ending> {
        let known = self.feedback.sample_peer_ips(usize::MAX).await;
        known.map_err(|_| Ending::Revoked)
    }

    /// Never held across an await.
    fn book(&self) -> MutexGuard<'_, AddressBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a random sample: the first in random order whose services are known. If it told of the best peers, these
    /// would become hubs and all others would stay unknown.
    async fn tell_addresses<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        handshake: &Handshake,
        lease: &PeerLease,
    ) -> Result<(), Ending> {
        let mut others = self.known_peers().await?;
        others.retain(|ip| *ip != lease.ip());
        let told = self.book().with_services(others, MAX_ADDRESSES);
        if told.is_empty() {
            return Ok(());
        }
        self.note(lease, format_args!("asked for addresses, gets {}", told.len()));
        let answer = addresses::answer(&told, self.chain.port, handshake.wants_addrv2);
        Ok(wire.send(answer).await?)
    }

    fn version(&self, receiver: IpAddr) -> NetworkMessage {
        let mut version = addresses::version(SocketAddr::new(receiver, self.chain.port), self.services, self.nonce);
        version.version = self.chain.version;
        NetworkMessage::Version(version)
    }
}

#[cfg(test)]
mod tests;
