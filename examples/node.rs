//! A whole peer-to-peer node on `network`: it keeps its peers in a file, stays connected to some of them, exchanges peer
//! lists, and bans peers that break the protocol. See `README.md` in this folder for how to run it.

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::{StreamExt, stream};
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, PeerLease};
use network_examples::session::{Pace, Session};
use network_examples::{peers_file, process};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time;

/// A peer-to-peer node: finds peers, stays connected to them, remembers them in a file.
#[derive(Debug, Parser)]
struct Options {
    /// JSON file of the known peers, read at the start and updated while the node runs
    #[arg(long, value_name = "FILE")]
    peers: PathBuf,

    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31244)]
    port: u16,

    /// Address to listen on and to dial from [default: every address of this host]
    #[arg(long, value_name = "IP")]
    listen_ip: Option<IpAddr>,

    /// A peer to start from; may be given more than once. Creates the peers file if there is none
    #[arg(long, value_name = "IP")]
    bootstrap: Vec<IpAddr>,

    /// Outgoing connections to keep
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    target: usize,

    /// Incoming connections to allow
    #[arg(long, default_value_t = 117, value_name = "COUNT")]
    max_incoming: usize,

    /// Be a seed, which many nodes start from: close each incoming connection once it was told of other peers, so that
    /// slots stay free, and let newcomers take slots when none is
    #[arg(long)]
    seed: bool,

    /// Seconds between two dumps of the peers file
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    dump_interval: u64,

    /// Ignore private and loopback addresses in peer lists; for nodes on the open Internet
    #[arg(long)]
    global_peers_only: bool,

    /// Print everything that happens to peers, and why
    #[arg(long)]
    verbose: bool,
}

const PACE: Pace = Pace {
    handshake: Duration::from_secs(10),
    round: Duration::from_secs(30),
    patience: Duration::from_secs(10),
};

/// How many changes may wait to be printed.
const CHANGES: usize = 1_024;
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    peers_file::prepare(&options.peers, &options.bootstrap)?;
    let mut network = NetworkController::with_config(config(&options)).await?;
    println!("listening on {}, {}", network.local_addr(), status(&network));

    let session = Session::new(PACE, network.feedback_sink());
    let session = Arc::new(if options.seed { session.of_seed() } else { session });
    let mut changes = if options.verbose {
        network.changes(CHANGES).left_stream()
    } else {
        stream::pending().right_stream()
    };
    let mut asked = process::lines_of_stdin();
    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    let mut statuses = time::interval_at(time::Instant::now() + STATUS_INTERVAL, STATUS_INTERVAL);
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                tasks.spawn(serve(Arc::clone(&session), socket, lease));
            }
            Some(ended) = tasks.join_next() => ended?,
            Some(change) = changes.next() => println!("{change}"),
            Some(line) = asked.recv() => println!("{}", answer(connections.get_ref(), &line)),
            _ = statuses.tick() => println!("{}", status(connections.get_ref())),
            () = &mut stop => break,
        }
    }

    // The controller first: leases that end after that record no failure, and their connections say goodbye.
    println!("stopping, {}", status(connections.get_ref()));
    connections.get_mut().close().await?;
    let farewell = async { while tasks.join_next().await.is_some() {} };
    if time::timeout(PACE.patience, farewell).await.is_err() {
        println!("some connections did not end in time");
    }
    println!("peers are in {}", options.peers.display());
    Ok(())
}

/// Runs one connection from its event to its end.
async fn serve(session: Arc<Session>, mut socket: TcpStream, lease: PeerLease) {
    let (ip, direction) = (lease.ip(), if lease.is_outgoing() { "out" } else { "in" });
    let on_alive = || println!("{ip} ({direction}) is alive");
    let ending = session.converse(&mut socket, &lease, on_alive).await;
    println!("{ip} ({direction}) is gone: {ending}");
    drop(socket);
    ending.settle(lease);
}

fn config(options: &Options) -> NetworkConfig {
    let mut config = NetworkConfig::new(&options.peers, options.port);
    config.initial_peers.clone_from(&options.bootstrap);
    config.listen_ip = options.listen_ip.unwrap_or(config.listen_ip);
    // The session's own timeout has to come first.
    config.handshake_timeout = Some(2 * PACE.handshake);
    config.target_outgoing_connections = options.target;
    config.max_simultaneous_outgoing_connection_attempts = options.target.saturating_mul(2);
    config.max_incoming_connections = options.max_incoming;
    config.evict_incoming = options.seed;
    config.peer_file_dump_interval = Duration::from_secs(options.dump_interval);
    config.global_peers_only = options.global_peers_only;
    config
}

/// What is answered to a line of the standard input.
fn answer(network: &NetworkController, line: &str) -> String {
    let asked = line.trim().strip_prefix("why ").map(|ip| ip.trim().parse::<IpAddr>());
    match asked {
        Some(Ok(ip)) => format!("{ip}: {}", network.dial_state(ip)),
        Some(Err(_)) | None => "ask `why IP`, to learn why a peer is dialed or not".to_owned(),
    }
}

fn status(network: &NetworkController) -> String {
    let stats = network.stats();
    format!(
        "alive {} out and {} in, {} known, {} banned",
        stats.peers.out_alive,
        stats.peers.in_alive,
        stats.peers.total(),
        stats.peers.banned,
    )
}
