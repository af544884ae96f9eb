//! What a node says over one connection, from the first byte to the last, and what it tells the controller of it.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use network::{Feedback, FeedbackSink, PeerLease};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{self, Instant, MissedTickBehavior, timeout};

use super::protocol::{Lines, MAX_PEERS, Message, ProtocolError};

/// What one node is to all of its connections.
#[derive(Clone, Debug)]
pub struct Session {
    nonce: u64,
    pace: Pace,
    feedback: FeedbackSink,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For the handshake; has to stay below the controller's `handshake_timeout`, or its verdict comes first.
    pub handshake: Duration,
    /// Between two rounds of a ping and a request for peers.
    pub round: Duration,
    /// For an answer, and for the other end to take what we write.
    pub patience: Duration,
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Ending {
    #[error("we are leaving")]
    Revoked,
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
    /// Tells the controller, whom it frees to use the place for somebody else.
    pub fn settle(&self, lease: PeerLease) {
        match self {
            Self::Revoked | Self::Bye => lease.closed(),
            // From outside it may be a gateway's address, which others behind it share: there is nobody to ban.
            Self::Ourselves if lease.is_outgoing() => lease.banned(),
            Self::Ourselves => lease.closed(),
            Self::Silent | Self::Lost(_) | Self::Protocol(ProtocolError::OtherVersion(_)) => lease.failed(),
            Self::Protocol(_) => lease.banned(),
        }
    }
}

impl Session {
    /// A node with a nonce of its own.
    pub fn new(pace: Pace, feedback: FeedbackSink) -> Self {
        let nonce = RandomState::new().hash_one(pace.handshake);
        Self { nonce, pace, feedback }
    }

    /// Shakes hands, calls `on_alive`, and talks until one of both ends leaves or does something wrong.
    pub async fn converse(&self, socket: &mut TcpStream, lease: &PeerLease, on_alive: impl FnOnce()) -> Ending {
        let mut wire = Wire::new(socket, self.pace);
        let shaken = tokio::select! {
            shaken = timeout(self.pace.handshake, self.shake_hands(&mut wire)) => shaken,
            () = lease.revoked() => return Ending::Revoked,
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
            // We may have found it closed before we came to read why.
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
            // What has arrived comes first: an answer that is here already must not be taken for a late one. Nothing is
            // ever cut off in the middle of a write, as all writing is done outside of the select.
            tokio::select! {
                biased;
                message = wire.receive() => self.on_message(message?, wire, &mut open, lease).await?,
                () = lease.revoked() => {
                    wire.send(&Message::Bye).await?;
                    return Err(Ending::Revoked);
                }
                _ = rounds.tick() => self.on_round(wire, &mut open).await?,
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
            Message::GetPeers => match self.feedback.good_peer_ips(MAX_PEERS).await {
                Ok(ips) => wire.send(&Message::Peers(ips)).await,
                Err(_) => Err(Ending::Revoked),
            },
            Message::Peers(ips) => {
                open.on_peers()?;
                let reported = self.feedback.report(Feedback::PeerList(ips));
                reported.map_err(|_| Ending::Revoked)
            }
            Message::Bye => Err(Ending::Bye),
        }
    }

    async fn on_round(&self, wire: &mut Wire<'_>, open: &mut Questions) -> Result<(), Ending> {
        open.messages = 0;
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

/// The most messages that a peer may send between two of our rounds.
const MAX_MESSAGES_PER_ROUND: u32 = 64;

/// What we asked and have no answer to yet.
#[derive(Debug, Default)]
struct Questions {
    asked_at: Option<Instant>,
    number: u64,
    pong_due: bool,
    peers_due: bool,
    messages: u32,
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

    fn count_message(&mut self) -> Result<(), ProtocolError> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES_PER_ROUND {
            return Err(ProtocolError::Flood);
        }
        Ok(())
    }
}

/// A socket that speaks in messages.
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

    /// Whether there is a goodbye among what the other end sent before the connection was lost.
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

    /// A peer that does not read is given up on, not waited for.
    async fn send(&mut self, message: &Message) -> Result<(), Ending> {
        let line = format!("{message}\n");
        let written = timeout(self.patience, self.writer.write_all(line.as_bytes())).await;
        Ok(written.map_err(|_| Ending::Silent)??)
    }
}
