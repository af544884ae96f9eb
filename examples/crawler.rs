//! Dials each address of a list once, says which of them listen, and ends. It wants no connections of its own
//! (`target_outgoing_connections` is 0) and admits none; every dial is one that it asks for, by `Feedback::Dial`, and the
//! controller's cap bounds how many are under way at a time.
//!
//! ```sh
//! cargo run --example node -- --peers first.json --bootstrap 127.0.0.9 --listen-ip 127.0.0.2
//! cargo run --example crawler -- 127.0.0.2 127.0.0.3 127.0.0.4
//! ```
//!
//! Run each line in a terminal of its own. Without addresses it reads them from its standard input, one a line, so
//! `jq -r '.[].ip' peers.json | cargo run --example crawler` tries the peers of a file. It takes no more of them than
//! `--at-most` says. Ctrl-C or SIGTERM ends it early.

use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::fmt::Display;
use std::net::{AddrParseError, IpAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::{SinkExt, StreamExt};
use network::{
    Cause, Change, ChangeKind, DialState, Feedback, NetworkConfig, NetworkController, NetworkControllerEvent,
    NetworkError, PeerStatus,
};
use network_examples::process;

/// Dials each address of a list once, and says which of them listen.
#[derive(Debug, Parser)]
struct Options {
    /// The addresses to dial [default: the lines of the standard input]
    #[arg(value_name = "IP")]
    ips: Vec<IpAddr>,

    /// Port to dial them on
    #[arg(long, default_value_t = 31244)]
    port: u16,

    /// How many dials may be under way at a time
    #[arg(long, default_value_t = 64, value_name = "COUNT")]
    at_once: usize,

    /// How many addresses are taken of the list
    #[arg(long, default_value_t = 100_000, value_name = "COUNT")]
    at_most: usize,

    /// Seconds that a dial may take
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    timeout: u64,
}

/// More changes of a peer than one dial brings.
const CHANGES_PER_PEER: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(mut options: Options) -> Result<(), Box<dyn Error>> {
    let mut stop = pin!(process::asked_to_end()?);
    if options.ips.is_empty() {
        options.ips = tokio::select! {
            ips = ips_of_stdin(options.at_most) => ips?,
            () = &mut stop => return Ok(()),
        };
    }
    let mut net = NetworkController::with_config(config(&options)).await?;
    let mut crawl = Crawl::new(&options);
    let mut changes = net.changes(crawl.at_once * CHANGES_PER_PEER);
    crawl.ask_for_dials(&mut net).await?;
    while !crawl.asked.is_empty() {
        tokio::select! {
            event = net.wait_event() => {
                let NetworkControllerEvent::CandidateConnection { ip, socket, .. } = event?;
                drop(socket);
                net.feedback_peer_closed(ip).await;
                crawl.listening += 1;
                crawl.settle(ip, "listens");
            }
            Some(change) = changes.next() => crawl.on_change(change),
            () = &mut stop => break,
        }
        crawl.ask_for_dials(&mut net).await?;
    }
    net.close().await?;
    println!("{} of {} listen", crawl.listening, crawl.settled);
    Ok(())
}

async fn ips_of_stdin(at_most: usize) -> Result<Vec<IpAddr>, AddrParseError> {
    println!("reading addresses from the standard input, one a line");
    let mut lines = process::lines_of_stdin();
    let mut ips = Vec::new();
    while ips.len() < at_most
        && let Some(line) = lines.recv().await
    {
        ips.push(line.trim().parse()?);
    }
    Ok(ips)
}

fn config(options: &Options) -> NetworkConfig {
    // Without a file, and on a free port, as nothing is to come in.
    let mut config = NetworkConfig::in_memory(0);
    config.peer_port = Some(options.port);
    config.target_outgoing_connections = 0;
    config.max_incoming_connections = 0;
    config.max_simultaneous_outgoing_connection_attempts = options.at_once.max(1);
    config.connect_timeout = Duration::from_secs(options.timeout);
    config
}

/// What is known of the list so far.
struct Crawl {
    waiting: BTreeSet<IpAddr>,
    /// Addresses whose dials have no outcome yet.
    asked: HashSet<IpAddr>,
    at_once: usize,
    settled: usize,
    listening: usize,
}

impl Crawl {
    fn new(options: &Options) -> Self {
        Self {
            waiting: options
                .ips
                .iter()
                .map(IpAddr::to_canonical)
                .take(options.at_most)
                .collect(),
            asked: HashSet::new(),
            // Twice as many as the controller dials at a time, so that it always has one to go on with.
            at_once: options.at_once.max(1) * 2,
            settled: 0,
            listening: 0,
        }
    }

    async fn ask_for_dials(&mut self, net: &mut NetworkController) -> Result<(), NetworkError> {
        while self.asked.len() < self.at_once
            && let Some(ip) = self.waiting.pop_first()
        {
            self.asked.insert(ip);
            net.send(Feedback::Dial(ip)).await?;
            // Feedback never fails; what makes no sense changes nothing.
            if let state @ (DialState::Unknown | DialState::Own) = net.dial_state(ip) {
                self.settle(ip, state);
            }
        }
        Ok(())
    }

    fn on_change(&mut self, change: Change) {
        if let ChangeKind::Status {
            from: Some(PeerStatus::OutConnecting),
            cause,
            ..
        } = change.kind
        {
            match cause {
                // The event says so, too.
                Cause::DialSucceeded => {}
                // It is this host that could not dial. The controller pauses all dials.
                Cause::DialHostFault(_) => {
                    self.asked.remove(&change.ip);
                    self.waiting.insert(change.ip);
                }
                cause => self.settle(change.ip, cause),
            }
        }
    }

    fn settle(&mut self, ip: IpAddr, outcome: impl Display) {
        if self.asked.remove(&ip) {
            self.settled += 1;
            println!("{ip}: {outcome}");
        }
    }
}
