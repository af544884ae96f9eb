//! The node: its options, and the loop over its connections.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::p2p::{Magic, ServiceFlags};
use clap::Parser;
use futures::StreamExt;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, PeerLease};
use network_examples::{peers_file, process};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time;

use crate::address_book::AddressBook;
use crate::chain::{Chain, Network};
use crate::session::{HANDSHAKE_LIMIT, Session};

/// A light node of the Bitcoin and Litecoin networks: keeps connections and addresses, and neither requests nor serves
/// blocks.
#[derive(Debug, Parser)]
#[command(name = "bitcoin-node")]
pub(crate) struct Options {
    /// The network to join; sets magic, port and version. On all but the regtest ones, private and loopback addresses
    /// in peer lists are ignored
    #[arg(long, value_enum)]
    network: Network,

    /// JSON file of the known peers, read at the start and updated while the node runs
    #[arg(long, value_name = "FILE")]
    peers: PathBuf,

    /// A peer to start from; may be given more than once. Creates the peers file if there is none
    #[arg(long, value_name = "IP")]
    bootstrap: Vec<IpAddr>,

    /// Address to listen on and to dial from [default: every address of this host]
    #[arg(long, value_name = "IP")]
    listen_ip: Option<IpAddr>,

    /// Port to listen on, and to dial peers on; peers on other ports are ignored [default: the network's]
    #[arg(long)]
    port: Option<u16>,

    /// The first bytes of each message, as 8 hexadecimal digits [default: the network's]
    #[arg(long, value_name = "HEX")]
    magic: Option<Magic>,

    /// The version of the protocol to speak [default: the network's]
    #[arg(long, value_name = "NUMBER")]
    protocol_version: Option<u32>,

    /// Our services, in hexadecimal. Full nodes store, pass on and dial only addresses with the services that they need:
    /// 9 for Bitcoin, 1000009 for Litecoin. A light node offers none
    #[arg(long, value_name = "HEX", default_value = "0", value_parser = parse_services)]
    services: ServiceFlags,

    /// Announce this address to peers as our own
    #[arg(long, value_name = "IP")]
    announce: Option<IpAddr>,

    /// Outgoing connections to keep
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    target: usize,

    /// Incoming connections to allow
    #[arg(long, default_value_t = 117, value_name = "COUNT")]
    max_incoming: usize,

    /// Incoming connections to allow from one /24 (IPv4) or /48 (IPv6) network, so that none can take all of them
    /// [default: no limit]
    #[arg(long, value_name = "COUNT")]
    max_incoming_per_subnet: Option<usize>,

    /// Seconds for which a peer that breaks the protocol stays banned
    #[arg(long, default_value_t = 24 * 60 * 60, value_name = "SECONDS")]
    ban_duration: u64,

    /// Seconds between two dumps of the peers file
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    dump_interval: u64,

    /// Print the events of each connection, too
    #[arg(long, short)]
    verbose: bool,
}

/// How often the counts are printed if they have changed.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// How long the connections may take to end when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    peers_file::prepare(&options.peers, &options.bootstrap)?;
    let chain = options.chain();
    let network = NetworkController::with_config(options.config(chain)).await?;
    println!("listening on {}, magic {}", network.local_addr(), chain.magic);

    let session = Arc::new(options.session(chain, &network));
    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    let mut statuses = time::interval(STATUS_INTERVAL);
    let mut shown = String::new();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                tasks.spawn(serve(Arc::clone(&session), socket, lease));
            }
            Some(ended) = tasks.join_next() => ended?,
            _ = statuses.tick() => show_change(connections.get_ref(), &mut shown),
            () = &mut stop => break,
        }
    }

    // The controller first: leases that end after that record no failure, and their connections end.
    println!("stopping");
    connections.get_mut().close().await?;
    let ended = async { while tasks.join_next().await.is_some() {} };
    if time::timeout(STOP_TIMEOUT, ended).await.is_err() {
        println!("some connections did not end in time");
    }
    println!("peers are in {}", options.peers.display());
    Ok(())
}

/// Runs one connection from its event to its end.
async fn serve(session: Arc<Session>, mut socket: TcpStream, lease: PeerLease) {
    session.note(&lease, format_args!("is connected"));
    // A handshake is several small messages in a row. If the socket is dead already, its first read fails.
    drop(socket.set_nodelay(true));
    let ending = session.converse(&mut socket, &lease).await;
    session.note(&lease, format_args!("is gone: {ending}"));
    drop(socket);
    ending.settle(lease);
}

fn show_change(network: &NetworkController, shown: &mut String) {
    let peers = network.stats().peers;
    let status = format!(
        "alive {} out and {} in, {} known, {} banned",
        peers.out_alive,
        peers.in_alive,
        peers.total(),
        peers.banned,
    );
    if *shown != status {
        println!("{status}");
        *shown = status;
    }
}

impl Options {
    /// The parameters of the network, or those given instead.
    fn chain(&self) -> Chain {
        let mut chain = self.network.chain();
        chain.magic = self.magic.unwrap_or(chain.magic);
        chain.port = self.port.unwrap_or(chain.port);
        chain.version = self.protocol_version.unwrap_or(chain.version);
        chain
    }

    fn config(&self, chain: Chain) -> NetworkConfig {
        let mut config = NetworkConfig::new(&self.peers, chain.port);
        config.initial_peers.clone_from(&self.bootstrap);
        config.listen_ip = self.listen_ip.unwrap_or(config.listen_ip);
        config.target_outgoing_connections = self.target;
        config.max_simultaneous_outgoing_connection_attempts = self.target.max(1).saturating_mul(2);
        config.max_incoming_connections = self.max_incoming;
        config.max_incoming_per_subnet = self.max_incoming_per_subnet;
        // The session's own limit has to be the first to end a handshake.
        config.handshake_timeout = Some(2 * HANDSHAKE_LIMIT);
        config.peer_file_dump_interval = Duration::from_secs(self.dump_interval);
        config.ban_duration = Some(Duration::from_secs(self.ban_duration));
        config.global_peers_only = self.network.is_global();
        config
    }

    fn session(&self, chain: Chain, network: &NetworkController) -> Session {
        Session {
            chain,
            services: self.services,
            announce: self.announce,
            nonce: RandomState::new().hash_one(chain.port),
            feedback: network.feedback_sink(),
            book: Arc::new(Mutex::new(AddressBook::new(2 * network.config().max_idle_peers))),
            is_verbose: self.verbose,
        }
    }
}

fn parse_services(text: &str) -> Result<ServiceFlags, ParseIntError> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map(ServiceFlags::from)
}
