//! A node whose connections are encrypted and whose peers are known by their keys: TLS by `tokio-rustls` over the sockets
//! that the controller hands over, with certificates that the nodes sign themselves, each trusted by its fingerprint.
//!
//! ```sh
//! tls() { cargo run --quiet --package network-examples-tls -- "$@"; }; A=$(tls a.pem); B=$(tls b.pem)
//! tls a.pem --listen-ip 127.0.0.2 --trust $B
//! tls b.pem --listen-ip 127.0.0.3 --trust $A --bootstrap 127.0.0.2
//! ```
//!
//! The first line makes the two identities; run each other one in a terminal of its own (with the first one in both).
//! Ctrl-C or SIGTERM ends a node.
//!
//! To the controller a peer is its address all the same: bans and backoff are by address, and a peer whose key is not
//! trusted is a peer whose handshake has failed.

mod identity;
mod pinned;

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use identity::{Fingerprint, Identity};
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, PeerLease};
use network_examples::process;
use pinned::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{self, timeout};
use tokio_rustls::TlsStream;

/// A peer-to-peer node with encrypted connections. Without --trust, it prints the fingerprint of its key and ends.
#[derive(Debug, Parser)]
struct Options {
    /// The key and the certificate of this node; made if there is no such file
    #[arg(value_name = "FILE")]
    identity: PathBuf,

    /// The fingerprint of a peer that is trusted; may be given more than once
    #[arg(long, value_name = "FINGERPRINT")]
    trust: Vec<Fingerprint>,

    /// Address to listen on and to dial from
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    listen_ip: IpAddr,

    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31246)]
    port: u16,

    /// A peer to start from; may be given more than once
    #[arg(long, value_name = "IP")]
    bootstrap: Vec<IpAddr>,
}

/// Of a handshake; below the controller's `handshake_timeout` of 10 s, so that this end reports first.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two signs of life; a peer without any for three of them is given up.
const ROUND: Duration = Duration::from_secs(10);
const HELLO: &[u8] = b"hello";

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    let identity = Identity::load(&options.identity)?;
    if options.trust.is_empty() {
        println!("{}", Fingerprint::of(&identity.certificate));
        return Ok(());
    }
    let tls = Tls::new(identity, options.trust)?;
    let mut config = NetworkConfig::in_memory(options.port);
    config.listen_ip = options.listen_ip;
    config.initial_peers = options.bootstrap;
    let network = NetworkController::with_config(config).await?;
    println!("listening on {}", network.local_addr());

    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                tasks.spawn(serve(tls.clone(), socket, lease));
            }
            Some(ended) = tasks.join_next() => ended?,
            () = &mut stop => break,
        }
    }
    // Revokes the leases, upon which the connections are closed.
    connections.get_mut().close().await?;
    let closed = async { while tasks.join_next().await.is_some() {} };
    if timeout(HANDSHAKE_TIMEOUT, closed).await.is_err() {
        println!("some connections did not end in time");
    }
    Ok(())
}

/// Runs one connection from its event to its end.
async fn serve(tls: Tls, socket: TcpStream, lease: PeerLease) {
    let ip = lease.ip();
    let ended = match shake_hands_in_time(&tls, socket, &lease).await {
        Ok(stream) => talk(stream, &lease).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => {
            println!("{ip} is gone: the connection was closed");
            lease.closed();
        }
        Err(error) => {
            println!("{ip} is gone: {error}");
            lease.failed();
        }
    }
}

async fn shake_hands_in_time(tls: &Tls, socket: TcpStream, lease: &PeerLease) -> io::Result<TlsStream<TcpStream>> {
    tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, shake_hands(tls, socket, lease.is_outgoing())) => shaken?,
        why = lease.revoked() => Err(io::Error::other(why.to_string())),
    }
}

/// In TLS 1.3 a client that is not trusted learns of it only when it reads, so each end says something.
async fn shake_hands(tls: &Tls, socket: TcpStream, is_outgoing: bool) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = tls.secure(socket, is_outgoing).await?;
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    let mut hello = [0; HELLO.len()];
    stream.read_exact(&mut hello).await?;
    if hello == HELLO {
        Ok(stream)
    } else {
        Err(io::Error::new(ErrorKind::InvalidData, "it speaks another protocol"))
    }
}

/// Exchanges signs of life until one end leaves.
async fn talk(mut stream: TlsStream<TcpStream>, lease: &PeerLease) -> io::Result<()> {
    let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = peer.map(Fingerprint::of).ok_or(ErrorKind::NotConnected)?;
    println!("{} is alive: {peer}", lease.ip());
    lease.alive();
    let mut rounds = time::interval(ROUND);
    let (mut silent, mut heard) = (0, [0; 64]);
    loop {
        tokio::select! {
            read = stream.read(&mut heard) => {
                if read? == 0 {
                    return Ok(());
                }
                silent = 0;
                lease.alive();
            }
            _ = rounds.tick() => {
                silent += 1;
                if silent > 3 {
                    return Err(ErrorKind::TimedOut.into());
                }
                let ping = async {
                    stream.write_all(b"ping").await?;
                    stream.flush().await
                };
                timeout(HANDSHAKE_TIMEOUT, ping).await??;
            }
            _ = lease.revoked() => {
                // The other end sees an end that was meant, and none that somebody on the way has made.
                return timeout(HANDSHAKE_TIMEOUT, stream.shutdown()).await?;
            }
        }
    }
}
