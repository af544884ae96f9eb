//! A chat without a server: nodes form a mesh, and each passes on what it hears for the first time, so that a line reaches
//! all of them (flooding). Lines over a socket are those of `LinesCodec` of the crate `tokio-util`, at most 1 KiB long.
//!
//! ```sh
//! cargo run --example chat -- --listen-ip 127.0.0.2
//! cargo run --example chat -- --listen-ip 127.0.0.3 --bootstrap 127.0.0.2
//! ```
//!
//! Run each line in a terminal of its own, and type. Ctrl-C or SIGTERM ends it.
//!
//! Each end starts with `chat/1`. Then it sends `say <id> <text>`, every ten seconds `peers <ip> <ip> ...`, which is a sign
//! of life too, and `bye`. Lines are not signed: a chat among strangers would need that, and limits of rate.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::future::ready;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use futures::{SinkExt, StreamExt};
use network::{FeedbackSink, NetworkConfig, NetworkController, NetworkControllerEvent, NetworkError, PeerLease};
use network_examples::process;
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{self, timeout};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

/// A chat without a server.
#[derive(Debug, Parser)]
struct Options {
    /// Address to listen on and to dial from
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    listen_ip: IpAddr,

    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31245)]
    port: u16,

    /// A peer to start from; may be given more than once
    #[arg(long, value_name = "IP")]
    bootstrap: Vec<IpAddr>,

    /// What to be called [default: the address]
    #[arg(long)]
    name: Option<String>,
}

const PROTOCOL: &str = "chat/1";
const MAX_LINE: usize = 1024;
/// Of a handshake, and of a line that is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two signs of life; a peer without any for three of them is given up.
const ROUND: Duration = Duration::from_secs(10);
const MAX_PEERS: usize = 20;
/// How many ids of lines are remembered. A line that is still on its way after so many others is shown again.
const MAX_SEEN: usize = 4096;
/// How many lines may wait for a slow peer; the oldest of more are not sent to it.
const MAX_WAITING: usize = 256;

type Wire = Framed<TcpStream, LinesCodec>;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    let mut config = NetworkConfig::in_memory(options.port);
    config.listen_ip = options.listen_ip;
    config.initial_peers = options.bootstrap;
    let network = NetworkController::with_config(config).await?;
    println!("listening on {}", network.local_addr());

    let room = Arc::new(Room::new(network.feedback_sink()));
    let name = options.name.unwrap_or_else(|| options.listen_ip.to_string());
    let mut typed = process::lines_of_stdin();
    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                tasks.spawn(serve(Arc::clone(&room), socket, lease));
            }
            Some(ended) = tasks.join_next() => ended?,
            Some(line) = typed.recv() => room.say(&name, &line),
            () = &mut stop => break,
        }
    }
    // Revokes the leases, upon which the connections say goodbye.
    connections.get_mut().close().await?;
    let goodbyes = async { while tasks.join_next().await.is_some() {} };
    if timeout(PATIENCE, goodbyes).await.is_err() {
        println!("* some connections did not end in time");
    }
    Ok(())
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Failed,
    Misbehaved,
}

async fn serve(room: Arc<Room>, socket: TcpStream, lease: PeerLease) {
    let mut wire = Framed::new(socket, LinesCodec::new_with_max_length(MAX_LINE));
    let end = match room.converse(&mut wire, &lease).await {
        Ok(never) => match never {},
        // A write may have failed before the peer's goodbye was read.
        Err(End::Failed) if has_goodbye(&mut wire).await => End::Closed,
        Err(end) => end,
    };
    println!("* {} is gone: {end:?}", lease.ip());
    drop(wire);
    match end {
        End::Closed => lease.closed(),
        End::Failed => lease.failed(),
        End::Misbehaved => lease.banned(),
    }
}

/// What all connections of a node share.
struct Room {
    feedback: FeedbackSink,
    seen: Mutex<Seen>,
    lines: broadcast::Sender<Line>,
    ids: RandomState,
}

/// A line to be sent to all peers but the one that it came from.
#[derive(Clone)]
struct Line {
    from: Option<IpAddr>,
    text: String,
}

impl Room {
    fn new(feedback: FeedbackSink) -> Self {
        Self {
            feedback,
            seen: Mutex::default(),
            lines: broadcast::Sender::new(MAX_WAITING),
            ids: RandomState::new(),
        }
    }

    /// Sends a line of our own.
    fn say(&self, name: &str, text: &str) {
        let id = self.ids.hash_one(time::Instant::now());
        let said = format!("say {id:016x} {name}: {text}");
        if said.len() > MAX_LINE {
            return println!("* that was too long");
        }
        self.is_new(id);
        self.pass_on(None, said);
    }

    fn is_new(&self, id: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(id)
    }

    fn pass_on(&self, from: Option<IpAddr>, text: String) {
        // It fails if there is no connection.
        let _ = self.lines.send(Line { from, text });
    }

    async fn converse(&self, wire: &mut Wire, lease: &PeerLease) -> Result<std::convert::Infallible, End> {
        let mut lines = self.lines.subscribe();
        tokio::select! {
            shaken = timeout(PATIENCE, shake_hands(wire)) => shaken.map_err(|_| End::Failed)??,
            _ = lease.revoked() => return Err(End::Closed),
        }
        lease.alive();
        println!("* {} is here", lease.ip());
        let mut rounds = time::interval(ROUND);
        let mut silent = 0;
        loop {
            tokio::select! {
                line = wire.next() => {
                    silent = 0;
                    self.on_line(&received(line)?, lease)?;
                }
                line = lines.recv() => match line {
                    Ok(line) if line.from != Some(lease.ip()) => send(wire, line.text).await?,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(End::Closed),
                },
                _ = rounds.tick() => {
                    silent += 1;
                    if silent > 3 {
                        return Err(End::Failed);
                    }
                    match self.peers().await {
                        Ok(peers) => send(wire, peers).await?,
                        Err(_) => return Err(leave(wire).await),
                    }
                }
                _ = lease.revoked() => return Err(leave(wire).await),
            }
        }
    }

    fn on_line(&self, line: &str, lease: &PeerLease) -> Result<(), End> {
        lease.alive();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("say", rest) => {
                let (id, text) = rest.split_once(' ').ok_or(End::Misbehaved)?;
                let id = u64::from_str_radix(id, 16).map_err(|_| End::Misbehaved)?;
                if self.is_new(id) {
                    // Control characters could rewrite what is on the terminal.
                    println!("{}", text.replace(char::is_control, "?"));
                    self.pass_on(Some(lease.ip()), line.to_owned());
                }
                Ok(())
            }
            ("peers", rest) => {
                let ips: Result<Vec<IpAddr>, _> = rest.split_ascii_whitespace().map(str::parse).collect();
                lease.peer_list(ips.map_err(|_| End::Misbehaved)?);
                Ok(())
            }
            ("bye", "") => Err(End::Closed),
            _ => Err(End::Misbehaved),
        }
    }

    /// A message with a random sample of our peers; an error once the controller is closed.
    async fn peers(&self) -> Result<String, NetworkError> {
        let ips = self.feedback.sample_peer_ips(MAX_PEERS).await?;
        Ok(ips.iter().fold("peers".to_owned(), |text, ip| format!("{text} {ip}")))
    }
}

async fn shake_hands(wire: &mut Wire) -> Result<(), End> {
    send(wire, PROTOCOL.to_owned()).await?;
    let hello = received(wire.next().await)?;
    if hello == PROTOCOL {
        Ok(())
    } else {
        Err(End::Misbehaved)
    }
}

fn received(line: Option<Result<String, LinesCodecError>>) -> Result<String, End> {
    match line {
        Some(Ok(line)) => Ok(line),
        Some(Err(LinesCodecError::MaxLineLengthExceeded)) => Err(End::Misbehaved),
        Some(Err(LinesCodecError::Io(_))) | None => Err(End::Failed),
    }
}

/// Says goodbye, so that the peer does not take the end for a failure.
async fn leave(wire: &mut Wire) -> End {
    // The peer may be gone itself.
    let _ = send(wire, "bye".to_owned()).await;
    End::Closed
}

async fn has_goodbye(wire: &mut Wire) -> bool {
    let lines = wire.take(MAX_WAITING).filter_map(|line| ready(line.ok()));
    timeout(PATIENCE, lines.any(|line| ready(line == "bye")))
        .await
        .unwrap_or(false)
}

/// Sends a line, unless the peer does not read for too long.
async fn send(wire: &mut Wire, line: String) -> Result<(), End> {
    match timeout(PATIENCE, wire.send(line)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Failed),
    }
}

/// The ids of the lines that were seen last.
#[derive(Default)]
struct Seen {
    ids: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Whether it was not there.
    fn insert(&mut self, id: u64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
