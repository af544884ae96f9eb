//! A node whose numbers a Prometheus server can scrape: a `/metrics` endpoint in a task of its own, with Tokio alone, that
//! asks the controller through a handle. See `README.md` in this folder for how to run it.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, NetworkHandle};
use network_examples::process;
use network_examples::session::{Pace, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A peer-to-peer node without a peers file that serves its numbers over HTTP.
#[derive(Debug, Parser)]
struct Options {
    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31244)]
    port: u16,

    /// Address to listen on and to dial from
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    listen_ip: IpAddr,

    /// A peer to start from; may be given more than once
    #[arg(long, value_name = "IP")]
    bootstrap: Vec<IpAddr>,

    /// Where to serve `/metrics`; anything that can connect to it can read it
    #[arg(long, default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    metrics: SocketAddr,
}

const PACE: Pace = Pace {
    handshake: Duration::from_secs(10),
    round: Duration::from_secs(30),
    patience: Duration::from_secs(10),
};
/// How long one scrape may take; the next one waits for it.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REQUEST: usize = 8 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let stop = pin!(process::asked_to_end()?);
    let mut config = NetworkConfig::in_memory(options.port);
    config.listen_ip = options.listen_ip;
    config.initial_peers = options.bootstrap;
    let network = NetworkController::with_config(config).await?;
    let listener = TcpListener::bind(options.metrics).await?;
    println!(
        "listening on {}, http://{}/metrics",
        network.local_addr(),
        listener.local_addr()?
    );

    let session = Arc::new(Session::new(PACE, network.feedback_sink()));
    let handle = network.handle();
    let metrics = serve_metrics(listener, network.handle());
    let connections = network.leased().for_each_concurrent(None, |(event, lease)| {
        let session = Arc::clone(&session);
        async move {
            let NetworkControllerEvent::CandidateConnection { mut socket, .. } = event;
            let ending = session.converse(&mut socket, &lease, || {}).await;
            drop(socket);
            ending.settle(lease);
        }
    });
    // The controller goes on until it is closed, and that is done once its stream has ended.
    let stopping = async {
        stop.await;
        handle.close().await
    };
    tokio::select! {
        result = async { tokio::join!(connections, stopping).1 } => result?,
        () = metrics => {}
    }
    Ok(())
}

/// Answers one request at a time.
async fn serve_metrics(listener: TcpListener, handle: NetworkHandle) {
    loop {
        match listener.accept().await {
            // What goes wrong with a scrape is the scraper's to tell.
            Ok((socket, _)) => drop(timeout(SCRAPE_TIMEOUT, answer(socket, &handle)).await),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut socket: TcpStream, handle: &NetworkHandle) -> io::Result<()> {
    let request = read_head(&mut socket).await?;
    let (status, body) = match handle.stats().await {
        _ if !request.starts_with(b"GET /metrics ") => ("404 Not Found", String::new()),
        Ok(stats) => ("200 OK", stats.open_metrics()),
        Err(_) => ("503 Service Unavailable", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}

/// Reads up to the empty line that ends the head of a request.
async fn read_head(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < MAX_REQUEST {
        if socket.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(request)
}
