//! A node that dials through a SOCKS5 proxy, such as Tor or `ssh -D`: a [`Transport`] of its own, with dials by the crate
//! `tokio-socks`. It speaks the protocol of `node`.
//!
//! ```sh
//! ssh -N -D 127.0.0.1:1080 SOME_HOST
//! cargo run --example socks5 -- --proxy 127.0.0.1:1080 --bootstrap IP
//! ```
//!
//! `IP` is any node that the proxy can reach. Nothing can come in through the proxy, so the node admits nobody and listens on
//! the loopback address alone. Others know it by the address of the proxy, so all nodes behind one proxy are one peer to
//! them. Ctrl-C or SIGTERM ends it.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use network::{
    Dialed, NetworkConfig, NetworkController, NetworkControllerEvent, TcpIncoming, TcpListening, TcpTransport,
    Transport,
};
use network_examples::process;
use network_examples::session::{Pace, Session};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error as SocksError, TargetAddr};

/// A peer-to-peer node behind a SOCKS5 proxy.
#[derive(Debug, Parser)]
struct Options {
    /// The proxy [default: that of Tor]
    #[arg(
        long,
        default_value = "127.0.0.1:9050",
        hide_default_value = true,
        value_name = "ADDRESS"
    )]
    proxy: SocketAddr,

    /// A peer to start from; may be given more than once
    #[arg(long, required = true, value_name = "IP")]
    bootstrap: Vec<IpAddr>,

    /// Port to dial peers on
    #[arg(long, default_value_t = 31244)]
    port: u16,
}

const PACE: Pace = Pace {
    handshake: Duration::from_secs(10),
    round: Duration::from_secs(30),
    patience: Duration::from_secs(10),
};

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let stop = pin!(process::asked_to_end()?);
    let transport = Socks5Transport {
        proxy: options.proxy,
        tcp: TcpTransport::new(),
    };
    let network = NetworkController::with_transport(config(&options), transport).await?;
    println!("dialing through {}", options.proxy);

    let session = Arc::new(Session::new(PACE, network.feedback_sink()));
    let handle = network.handle();
    let connections = network.leased().for_each_concurrent(None, |(event, lease)| {
        let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
        let session = Arc::clone(&session);
        async move { session.serve(socket, lease).await }
    });
    // The stream of connections ends once the controller is closed.
    let stopping = async {
        stop.await;
        handle.close().await
    };
    tokio::join!(connections, stopping).1?;
    Ok(())
}

fn config(options: &Options) -> NetworkConfig {
    // A port of its own, so that a node of this host can be a peer.
    let mut config = NetworkConfig::in_memory(0);
    config.listen_ip = Ipv4Addr::LOCALHOST.into();
    config.peer_port = Some(options.port);
    config.max_incoming_connections = 0;
    config.initial_peers.clone_from(&options.bootstrap);
    config.handshake_timeout = Some(2 * PACE.handshake);
    // Through several hosts, as with Tor, a dial takes longer.
    config.connect_timeout = Duration::from_secs(20);
    config
}

/// Dials through a SOCKS5 proxy, and listens as TCP does.
#[derive(Debug)]
struct Socks5Transport {
    proxy: SocketAddr,
    tcp: TcpTransport,
}

impl Transport for Socks5Transport {
    type Socket = TcpStream;
    type Incoming = TcpIncoming;
    type Listener = TcpListening;
    type Dial = Pin<Box<dyn Future<Output = io::Result<Dialed<TcpStream>>> + Send>>;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(TcpListening, SocketAddr)> {
        self.tcp.listen(at).await
    }

    /// Where a dial leaves from is up to the proxy.
    fn dial(&mut self, _from: Option<IpAddr>, to: SocketAddr) -> Self::Dial {
        Box::pin(dial_through(self.proxy, to))
    }
}

async fn dial_through(proxy: SocketAddr, to: SocketAddr) -> io::Result<Dialed<TcpStream>> {
    let stream = TcpStream::connect(proxy).await.map_err(proxy_is_down)?;
    let stream = Socks5Stream::connect_with_socket(stream, to)
        .await
        .map_err(dial_error)?;
    // The proxy's end of the connection with the peer; Tor does not tell.
    let local_addr = match stream.target_addr() {
        TargetAddr::Ip(address) => address,
        TargetAddr::Domain(..) => (Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    Ok(Dialed {
        socket: stream.into_inner(),
        local_addr,
    })
}

/// No failure is recorded for an error of this kind: the peer is not to blame for it.
fn proxy_is_down(error: io::Error) -> io::Error {
    io::Error::new(ErrorKind::NetworkDown, error)
}

/// What the proxy says of the peer, as a dial without a proxy would fail.
fn dial_error(error: SocksError) -> io::Error {
    let kind = match error {
        SocksError::ConnectionRefused => ErrorKind::ConnectionRefused,
        SocksError::HostUnreachable => ErrorKind::HostUnreachable,
        SocksError::NetworkUnreachable => ErrorKind::NetworkUnreachable,
        SocksError::ConnectionNotAllowedByRuleset => ErrorKind::PermissionDenied,
        SocksError::TtlExpired => ErrorKind::TimedOut,
        // The proxy broke off, wants a password, or does not speak SOCKS5.
        _ => ErrorKind::NetworkDown,
    };
    io::Error::new(kind, error)
}
