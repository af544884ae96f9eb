//! One connection of a node: handshake, pings and peer lists, and the reports to the controller.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use network::{FeedbackSink, PeerLease, Revocation};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{self, Instant, MissedTickBehavior, timeout};

use super::protocol::{Lines, MAX_PEERS, Message, ProtocolError};

/// What all connections of a node share.
#[derive(Clone, Debug)]
pub struct Session {
    nonce: u64,
    pace: Pace,
    feedback: FeedbackSink,
    is_seed: bool,
}

/// Intervals and timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The timeout of a handshake. Below the controller's `handshake_timeout`, so that this end reports first.
    pub handshake: Duration,
    /// Between two pings, each with a request for peers.
    pub round: Duration,
    /// The timeout of an answer, and of a write.
    pub patience: Duration,
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Ending {
    #[error("we are leaving: {0}")]
    Revoked(Revocation),
    #[error("it was told of other peers, as this is a seed")]
    Told,
    #[error("it said goodbye")]
    Bye,
    #[error("it was this node itself")]
    Ourselves,
    #[error("it was silent for too long")]
    Silent,
    #[error("{0}")]
    Lost(#[from] io::Error),
    #[error("it sent {0}")]
    Protocol(#[from] ProtocolError),
}

impl Ending {
    /// Reports the end to the controller, which frees the slot.
    pub fn settle(&self, lease: PeerLease) {
        match self {
            Self::Revoked(_) | Self::Told | Self::Bye => lease.closed(),
            // An inbound connection may come from the address of a gateway, which other nodes share: not to be banned.
            Self::Ourselves if lease.is_outgoing() => lease.banned(),
            Self::Ourselves => lease.closed(),
            Self::Silent | Self::Lost(_) | Self::Protocol(ProtocolError::OtherVersion(_)) => lease.failed(),
            Self::Protocol(_) => lease.banned(),
        }
    }
}

impl Session {
    /// The session of a node with a random nonce.
    pub fn new(pace: Pace, feedback: FeedbackSink) -> Self {
        let nonce = RandomState::new().hash_one(pace.handshake);
        Self {
            nonce,
            pace,
            feedback,
            is_seed: false,
        }
    }

    /// The same for a seed node, which many start from: it closes an incoming connection once peer lists were exchanged,
    /// or after a round without a request, so that its slots stay free.
    #[must_use]
    pub fn of_seed(self) -> Self {
        Self { is_seed: true, ..self }
    }

    /// One connection from its event to its end, told on the standard output.
    pub async fn serve(&self, mut socket: TcpStream, lease: PeerLease) {
        let ip = lease.ip();
        let on_alive = || println!("{ip} is alive");
        let ending = self.converse(&mut socket, &lease, on_alive).await;
        println!("{ip} is gone: {ending}");
        drop(socket);
        ending.settle(lease);
    }

    /// Shakes hands, calls `on_alive`, and exchanges messages until one end leaves or breaks the protocol.
    pub async fn converse(&self, socket: &mut TcpStream, lease: &PeerLease, on_alive: impl FnOnce()) -> Ending {
        let mut wire = Wire::new(socket, self.pace);
        let shaken = tokio::select! {
            shaken = timeout(self.pace.handshake, self.shake_hands(&mut wire)) => shaken,
            why = lease.revoked() => return Ending::Revoked(why),
        };
        match shaken {
            Ok(Ok(())) => {}
            Ok(Err(ending)) => return ending,
            Err(_) => return Ending::Silent,
        }
        lease.alive();
        on_alive();
        match self.talk(&mut wire, lease).await {
            Ok(never) => match never {},
            // A write may have failed before the peer's goodbye was read.
            Err(Ending::Lost(_)) if wire.has_goodbye().await => Ending::Bye,
            Err(ending) => ending,
        }
    }

    async fn shake_hands(&self, wire: &mut Wire<'_>) -> Result<(), Ending> {
        wire.send(&Message::Hello { nonce: self.nonce }).await?;
        match wire.receive().await? {
            Message::Hello { nonce } if nonce == self.nonce => Err(Ending::Ourselves),
            Message::Hello { .. } => Ok(()),
            _ => Err(ProtocolError::Unexpected("a message before HELLO").into()),
        }
    }

    async fn talk(&self, wire: &mut Wire<'_>, lease: &PeerLease) -> Result<Infallible, Ending> {
        let mut rounds = time::interval(self.pace.round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = Questions::default();
        loop {
            // Received messages first, so that an answer that has arrived is not counted as late. All writes are outside
            // of the select, so none is cancelled halfway.
            tokio::select! {
                biased;
                message = wire.receive() => self.on_message(message?, wire, &mut open, lease).await?,
                why = lease.revoked() => {
                    if deserves_goodbye(why) {
                        wire.send(&Message::Bye).await?;
                    }
                    return Err(Ending::Revoked(why));
                }
                _ = rounds.tick() => self.on_round(wire, &mut open).await?,
            }
            if self.is_seed && !lease.is_outgoing() && open.are_exchanged() {
                wire.send(&Message::Bye).await?;
                return Err(Ending::Told);
            }
        }
    }

    async fn on_message(
        &self,
        message: Message,
        wire: &mut Wire<'_>,
        open: &mut Questions,
        lease: &PeerLease,
    ) -> Result<(), Ending> {
        open.count_message()?;
        match message {
            Message::Hello { .. } => Err(ProtocolError::Unexpected("a second HELLO").into()),
            Message::Ping(number) => wire.send(&Message::Pong(number)).await,
            Message::Pong(number) => {
                open.on_pong(number)?;
                lease.alive();
                Ok(())
            }
            // If every node told of its best peers, these would become hubs and the others would stay unknown.
            Message::GetPeers => match self.feedback.sample_peer_ips(MAX_PEERS).await {
                Ok(ips) => {
                    open.has_told = true;
                    wire.send(&Message::Peers(ips)).await
                }
                // The controller is closed, which the lease would say next.
                Err(_) => {
                    wire.send(&Message::Bye).await?;
                    Err(Ending::Revoked(Revocation::Closed))
                }
            },
            Message::Peers(ips) => {
                open.on_peers()?;
                // Names the peer as the one that told of them, so that it cannot fill our list with made-up ones.
                lease.peer_list(ips);
                Ok(())
            }
            Message::Bye => Err(Ending::Bye),
        }
    }

    async fn on_round(&self, wire: &mut Wire<'_>, open: &mut Questions) -> Result<(), Ending> {
        open.messages = 0;
        open.rounds += 1;
        match open.asked_at {
            Some(asked_at) if asked_at.elapsed() > self.pace.patience => Err(Ending::Silent),
            Some(_) => Ok(()),
            None => {
                let number = open.ask();
                wire.send(&Message::Ping(number)).await?;
                wire.send(&Message::GetPeers).await
            }
        }
    }
}

/// Whether to take leave of a peer before its socket is closed. Where nothing is wrong with it, a goodbye keeps it from
/// taking the end for a failure of ours.
fn deserves_goodbye(why: Revocation) -> bool {
    match why {
        Revocation::Banned | Revocation::HandshakeTimeout | Revocation::Ourselves => false,
        // Rotated, evicted, denied, closed.
        _ => true,
    }
}

/// The most messages that a peer may send in one round.
const MAX_MESSAGES_PER_ROUND: u32 = 64;

/// Our questions that have no answer yet.
#[derive(Debug, Default)]
struct Questions {
    asked_at: Option<Instant>,
    number: u64,
    pong_due: bool,
    peers_due: bool,
    messages: u32,
    rounds: u32,
    /// The peer has asked for peers and was told of some.
    has_told: bool,
}

impl Questions {
    fn ask(&mut self) -> u64 {
        self.asked_at = Some(Instant::now());
        self.number += 1;
        self.pong_due = true;
        self.peers_due = true;
        self.number
    }

    fn on_pong(&mut self, number: u64) -> Result<(), ProtocolError> {
        if !self.pong_due || number != self.number {
            return Err(ProtocolError::Unexpected("a PONG"));
        }
        self.pong_due = false;
        self.settle();
        Ok(())
    }

    fn on_peers(&mut self) -> Result<(), ProtocolError> {
        if !self.peers_due {
            return Err(ProtocolError::Unexpected("a PEERS"));
        }
        self.peers_due = false;
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        if !self.pong_due && !self.peers_due {
            self.asked_at = None;
        }
    }

    /// Both ends have told the other of peers; or the peer had a whole round for it.
    fn are_exchanged(&self) -> bool {
        self.rounds > 1 || (self.has_told && self.number > 0 && !self.peers_due)
    }

    fn count_message(&mut self) -> Result<(), ProtocolError> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES_PER_ROUND {
            return Err(ProtocolError::Flood);
        }
        Ok(())
    }
}

/// Sends and receives messages over a socket.
struct Wire<'a> {
    lines: Lines<BufReader<ReadHalf<'a>>>,
    writer: WriteHalf<'a>,
    patience: Duration,
}

impl<'a> Wire<'a> {
    fn new(socket: &'a mut TcpStream, pace: Pace) -> Self {
        let (reader, writer) = socket.split();
        Self {
            lines: Lines::new(BufReader::with_capacity(1024, reader)),
            writer,
            patience: pace.patience,
        }
    }

    /// Cancel safe.
    async fn receive(&mut self) -> Result<Message, Ending> {
        let line = self.lines.next_line().await??;
        Ok(Message::parse(&line)?)
    }

    /// Whether the peer said goodbye before the connection was lost.
    async fn has_goodbye(&mut self) -> bool {
        let patience = self.patience;
        let find = async {
            for _ in 0..MAX_MESSAGES_PER_ROUND {
                match self.receive().await {
                    Ok(Message::Bye) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
            false
        };
        timeout(patience, find).await.unwrap_or(false)
    }

    /// Sends a message, unless the peer does not read for too long.
    async fn send(&mut self, message: &Message) -> Result<(), Ending> {
        let line = format!("{message}\n");
        let written = timeout(self.patience, self.writer.write_all(line.as_bytes())).await;
        Ok(written.map_err(|_| Ending::Silent)??)
    }
}
