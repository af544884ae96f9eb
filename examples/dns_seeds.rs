//! A node that finds its first peers by name: the addresses of DNS seeds become `initial_peers`. It speaks the protocol of
//! `node`.
//!
//! ```sh
//! cargo run --example node -- --peers first.json --bootstrap 127.0.0.9 --listen-ip 127.0.0.1
//! cargo run --example dns_seeds -- --listen-ip 127.0.0.2 localhost
//! ```
//!
//! Run each line in a terminal of its own. A name that cannot be resolved is no error as long as another one can. A node with
//! a peers file needs its seeds only while the file knows nobody. Ctrl-C or SIGTERM ends it.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use futures::future::join_all;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent};
use network_examples::process;
use network_examples::session::{Pace, Session};
use tokio::net::lookup_host;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A peer-to-peer node that finds its first peers by name.
#[derive(Debug, Parser)]
struct Options {
    /// Names that stand for the addresses of nodes
    #[arg(required = true, value_name = "NAME")]
    seeds: Vec<String>,

    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31244)]
    port: u16,

    /// Address to listen on and to dial from [default: every address of this host]
    #[arg(long, value_name = "IP")]
    listen_ip: Option<IpAddr>,
}

const PACE: Pace = Pace {
    handshake: Duration::from_secs(10),
    round: Duration::from_secs(30),
    patience: Duration::from_secs(10),
};
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// How many addresses are taken of one name, so that none is the only one that is heard.
const MAX_PER_SEED: usize = 32;

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return process::exit_code(Err(error.into())),
    };
    let ended = runtime.block_on(run(Options::parse()));
    // The system's lookup blocks a thread and cannot be called off. The end of the process does not wait for it.
    runtime.shutdown_background();
    process::exit_code(ended)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    let mut config = NetworkConfig::in_memory(options.port);
    config.listen_ip = options.listen_ip.unwrap_or(config.listen_ip);
    config.handshake_timeout = Some(2 * PACE.handshake);
    config.initial_peers = tokio::select! {
        ips = look_up(&options.seeds) => ips?,
        () = &mut stop => return Ok(()),
    };
    let network = NetworkController::with_config(config).await?;
    println!("listening on {}", network.local_addr());

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

/// The addresses of all seeds, which are asked at the same time.
async fn look_up(seeds: &[String]) -> Result<Vec<IpAddr>, String> {
    let mut ips = Vec::new();
    let answers = join_all(seeds.iter().map(|seed| look_up_one(seed))).await;
    for (seed, answer) in seeds.iter().zip(answers) {
        match answer {
            Ok(found) => {
                println!("{seed}: {found:?}");
                ips.extend(found);
            }
            Err(error) => println!("{seed}: {error}"),
        }
    }
    if ips.is_empty() {
        return Err("no seed has an address".to_owned());
    }
    Ok(ips)
}

async fn look_up_one(seed: &str) -> io::Result<Vec<IpAddr>> {
    // The port is not looked up; the controller dials all peers on one.
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((seed, 0))).await??;
    Ok(found.map(|address| address.ip()).take(MAX_PER_SEED).collect())
}
