//! A node that reports by address: the loop over `wait_event` with nothing but `feedback_peer_alive`, `_failed`, `_closed`
//! and `_banned`, and what such a loop needs to be safe. (With a lease for each connection, as in `node.rs`, less of it is
//! yours to get right.) It speaks the protocol of `node`, so both can be in one network.
//!
//! ```sh
//! echo '[{ "ip": "127.0.0.3" }]' > first.json; cargo run --example contract -- first.json 127.0.0.2
//! echo '[{ "ip": "127.0.0.2" }]' > second.json; cargo run --example contract -- second.json 127.0.0.3
//! ```
//!
//! Run each line in a terminal of its own. Without an address a node listens on all addresses. Ctrl-C or SIGTERM ends it.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures::SinkExt;
use network::{Feedback, NetworkConfig, NetworkController, NetworkControllerEvent, NetworkError};
use network_examples::process;
use network_examples::protocol::{Lines, MAX_PEERS, Message, ProtocolError};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PORT: u16 = 31244;
/// Below the controller's own `handshake_timeout` of 10 s, so that this end reports first.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that says nothing for so long is pinged, and given up after another.
const QUIET: Duration = Duration::from_secs(30);
/// In how many messages a goodbye is looked for.
const MAX_UNREAD: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let peers_file = arguments
        .next()
        .ok_or("usage: contract PEERS_FILE [LISTEN_IP [PORT]]")?;
    let listen_ip = arguments.next().map(|ip| ip.parse()).transpose()?;
    let port = arguments.next().map_or(Ok(PORT), |port| port.parse())?;
    // Made once, as one made anew in each turn of the loop would miss signals.
    let mut stop = pin!(process::asked_to_end()?);
    let net = start(&peers_file, listen_ip, port).await?;
    println!("listening on {}", net.local_addr());
    let mut node = Node {
        net,
        nonce: RandomState::new().hash_one(PORT),
        tasks: JoinSet::new(),
        open: HashMap::new(),
        leaving: CancellationToken::new(),
    };
    loop {
        tokio::select! {
            event = node.net.wait_event() => {
                let NetworkControllerEvent::CandidateConnection { ip, socket, is_outgoing } = event?;
                println!("{ip} ({}) is connected", if is_outgoing { "out" } else { "in" });
                node.open(ip, shake_hands(socket, node.nonce, node.leaving.clone()));
            }
            Some(ended) = node.tasks.join_next_with_id() => match ended {
                Ok((task, (ip, step))) if node.open.get(&ip).map(AbortHandle::id) == Some(task) => {
                    node.on_step(ip, step).await?;
                }
                // The task of an older connection, about which there is nothing to report any more.
                Ok(_) => {}
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(error.into()),
            },
            () = &mut stop => break,
        }
    }
    // Dumps the peers a last time.
    node.net.close().await?;
    println!("peers are in {peers_file}");
    node.leave().await;
    Ok(())
}

/// By the nine values of `new`; the others, as the address to listen on, are fields of a configuration.
async fn start(peers_file: &str, listen_ip: Option<IpAddr>, port: u16) -> Result<NetworkController, NetworkError> {
    match listen_ip {
        None => NetworkController::new(peers_file, port, 8, 117, 16, 16, 10_000, 1_000, 60).await,
        Some(ip) => {
            let mut config = NetworkConfig::new(peers_file, port);
            config.listen_ip = ip;
            NetworkController::with_config(config).await
        }
    }
}

/// How far a connection has got. Each step is a task, so that no peer holds up the loop, and with it all others.
enum Step {
    ShakenHands(Connection),
    Heard(Connection, Message),
    Quiet(Connection),
    Ourselves,
    Failed(String),
    Misbehaved(ProtocolError),
    Left,
}

struct Connection {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    leaving: CancellationToken,
    has_asked: bool,
    is_pinged: bool,
}

struct Node {
    net: NetworkController,
    nonce: u64,
    tasks: JoinSet<(IpAddr, Step)>,
    /// The task that holds the socket of each peer.
    open: HashMap<IpAddr, AbortHandle>,
    leaving: CancellationToken,
}

impl Node {
    /// Starts a step. A candidate for an address whose socket is still held means that its connection was ended by the
    /// controller, say by a deadline: the old socket is dropped, and nothing is reported for it, as a report by address
    /// would be about the new one.
    fn open(&mut self, ip: IpAddr, step: impl Future<Output = Step> + Send + 'static) {
        let task = self.tasks.spawn(async move { (ip, step.await) });
        if let Some(old) = self.open.insert(ip, task) {
            old.abort();
        }
    }

    async fn on_step(&mut self, ip: IpAddr, step: Step) -> Result<(), NetworkError> {
        self.open.remove(&ip);
        match step {
            Step::ShakenHands(connection) => {
                println!("{ip} is alive");
                self.net.feedback_peer_alive(ip).await;
                self.open(ip, connection.ask());
            }
            Step::Heard(connection, message) => self.on_message(ip, connection, message).await?,
            Step::Quiet(connection) if connection.is_pinged => {
                println!("{ip} is gone: it was silent for too long");
                self.net.feedback_peer_failed(ip).await;
            }
            Step::Quiet(connection) => self.open(ip, connection.ask()),
            Step::Ourselves => self.net.feedback_ourselves(ip).await,
            Step::Failed(why) => {
                println!("{ip} is gone: {why}");
                self.net.feedback_peer_failed(ip).await;
            }
            Step::Misbehaved(why) => {
                println!("{ip} is banned: it sent {why}");
                self.net.feedback_peer_banned(ip).await;
            }
            Step::Left => {}
        }
        Ok(())
    }

    /// Lets each connection say goodbye.
    async fn leave(mut self) {
        self.leaving.cancel();
        let goodbyes = async {
            while let Some(ended) = self.tasks.join_next().await {
                // A step that was over before it could see that we leave.
                if let Ok((ip, Step::ShakenHands(peer) | Step::Heard(peer, _) | Step::Quiet(peer))) = ended {
                    self.open(ip, peer.say(Vec::new()));
                }
            }
        };
        if timeout(HANDSHAKE_TIMEOUT, goodbyes).await.is_err() {
            println!("some connections did not end in time");
        }
    }

    async fn on_message(&mut self, ip: IpAddr, mut peer: Connection, message: Message) -> Result<(), NetworkError> {
        peer.is_pinged = false;
        self.net.feedback_peer_alive(ip).await;
        match message {
            Message::Ping(number) => self.open(ip, peer.say(vec![Message::Pong(number)])),
            Message::GetPeers => {
                // Not `get_good_peer_ips`: a network whose nodes all tell of their best peers has a few hubs.
                let sample = self.net.sample_peer_ips(MAX_PEERS);
                self.open(ip, peer.say(vec![Message::Peers(sample)]));
            }
            Message::Peers(ips) if peer.has_asked => {
                peer.has_asked = false;
                // As `feedback_peer_list(ips)`, but names the peer, so that it cannot fill our list.
                self.net.send(Feedback::PeerListFrom(ip, ips)).await?;
                self.open(ip, peer.say(Vec::new()));
            }
            Message::Pong(_) => self.open(ip, peer.say(Vec::new())),
            Message::Bye => {
                println!("{ip} is gone: it said goodbye");
                self.net.feedback_peer_closed(ip).await;
            }
            Message::Hello { .. } | Message::Peers(_) => self.net.feedback_peer_banned(ip).await,
        }
        Ok(())
    }
}

/// A handshake needs a timeout: a peer that says nothing must not hold its slot.
async fn shake_hands(socket: TcpStream, nonce: u64, leaving: CancellationToken) -> Step {
    let (reader, writer) = socket.into_split();
    let mut connection = Connection {
        lines: Lines::new(BufReader::new(reader)),
        writer,
        leaving,
        has_asked: false,
        is_pinged: false,
    };
    let hello = async {
        connection.send(&Message::Hello { nonce }).await?;
        connection.receive().await
    };
    match timeout(HANDSHAKE_TIMEOUT, hello).await {
        Ok(Ok(Message::Hello { nonce: theirs })) if theirs == nonce => Step::Ourselves,
        Ok(Ok(Message::Hello { .. })) => Step::ShakenHands(connection),
        Ok(Ok(_)) => Step::Misbehaved(ProtocolError::Unexpected("a message before HELLO")),
        Ok(Err(step)) => step,
        Err(_) => Step::Failed("it did not shake hands in time".to_owned()),
    }
}

impl Connection {
    /// Asks for a sign of life, and for other peers.
    fn ask(mut self) -> impl Future<Output = Step> {
        self.is_pinged = true;
        self.has_asked = true;
        self.say(vec![Message::Ping(0), Message::GetPeers])
    }

    /// Sends these messages, and waits for the next one of the peer.
    async fn say(mut self, messages: Vec<Message>) -> Step {
        for message in &messages {
            if let Err(step) = self.send(message).await {
                return self.goodbye_or(step).await;
            }
        }
        let leaving = self.leaving.clone();
        tokio::select! {
            biased;
            () = leaving.cancelled() => {
                // Keeps the peer from taking the end for a failure of ours; it may be gone itself.
                let _ = self.send(&Message::Bye).await;
                Step::Left
            }
            heard = timeout(QUIET, self.receive()) => match heard {
                Ok(Ok(message)) => Step::Heard(self, message),
                Ok(Err(step)) => step,
                Err(_) => Step::Quiet(self),
            },
        }
    }

    /// A write may fail before the peer's goodbye was read.
    async fn goodbye_or(mut self, step: Step) -> Step {
        for _ in 0..MAX_UNREAD {
            match timeout(HANDSHAKE_TIMEOUT, self.receive()).await {
                Ok(Ok(Message::Bye)) => return Step::Heard(self, Message::Bye),
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        step
    }

    /// Not cancelled halfway but by its timeout, which ends the connection: half a line cannot be taken back.
    async fn send(&mut self, message: &Message) -> Result<(), Step> {
        let line = format!("{message}\n");
        match timeout(HANDSHAKE_TIMEOUT, self.writer.write_all(line.as_bytes())).await {
            Ok(written) => written.map_err(|error| Step::Failed(error.to_string())),
            Err(_) => Err(Step::Failed("it does not read".to_owned())),
        }
    }

    async fn receive(&mut self) -> Result<Message, Step> {
        let line = self.lines.next_line().await;
        let line = line.map_err(|error| Step::Failed(error.to_string()))?;
        match line.and_then(|line| Message::parse(&line)) {
            Ok(message) => Ok(message),
            // It may learn ours.
            Err(error @ ProtocolError::OtherVersion(_)) => Err(Step::Failed(error.to_string())),
            Err(error) => Err(Step::Misbehaved(error)),
        }
    }
}
