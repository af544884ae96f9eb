//! A node in the terminal: its peers, its caps, what happens to them and why, and keys to step in. See `README.md` in the
//! folder above for how to run it.

mod app;
mod node;
#[cfg(test)]
#[path = "../../tests/support/skip.rs"]
mod skip;
mod terminal;
mod ui;
mod words;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use app::{App, Command, Entry};
use chrono::Utc;
use clap::{Parser, value_parser};
use crossterm::event::{Event, EventStream};
use futures::{FutureExt, StreamExt};
use network::{Change, Changes, NetworkConfig, NetworkError};
use network_examples::session::Pace;
use network_examples::{peers_file, process};
use node::{Neighbourhood, Node};
use terminal::Screen;
use tokio::time::{self, MissedTickBehavior};

/// A peer-to-peer node with a dashboard. Without --peers, it runs among a few neighbours in the same process.
#[derive(Debug, Parser)]
struct Options {
    /// JSON file of the known peers of a real node
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,

    /// Port to listen on, and to dial peers on
    #[arg(long, default_value_t = 31244, requires = "peers")]
    port: u16,

    /// Address to listen on and to dial from [default: every address of this host]
    #[arg(long, value_name = "IP", requires = "peers")]
    listen_ip: Option<IpAddr>,

    /// A peer to start from; may be given more than once. Creates the peers file if there is none
    #[arg(long, value_name = "IP", requires = "peers")]
    bootstrap: Vec<IpAddr>,

    /// A peer to keep a connection with; may be given more than once
    #[arg(long, value_name = "IP", requires = "peers")]
    reserve: Vec<IpAddr>,

    /// Outgoing connections to keep
    #[arg(long, default_value_t = 8, value_name = "COUNT", requires = "peers")]
    target: usize,

    /// Incoming connections to allow
    #[arg(long, default_value_t = 117, value_name = "COUNT", requires = "peers")]
    max_incoming: usize,

    /// Neighbours in the same process
    #[arg(long, default_value_t = 12, value_name = "COUNT", conflicts_with = "peers",
          value_parser = value_parser!(u8).range(1..=30))]
    neighbours: u8,
}

const PACE: Pace = Pace {
    handshake: Duration::from_secs(10),
    round: Duration::from_secs(30),
    patience: Duration::from_secs(10),
};

/// Between two pictures; keys are answered at once.
const FRAME: Duration = Duration::from_millis(100);
/// Between two questions for the numbers.
const SECOND: Duration = Duration::from_secs(1);
/// How many changes are taken before anything else is looked at.
const CHANGES_AT_ONCE: usize = 1_024;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    if !io::stdout().is_terminal() {
        return Err("this is for a terminal; to print what happens, run the example `node` with --verbose".into());
    }
    let stop = pin!(process::asked_to_end()?);
    let (node, changes, neighbourhood) = start(&options).await?;
    let app = App::new(node.address.to_string(), &options.reserve, Utc::now());
    let mut dashboard = Dashboard {
        app,
        node,
        changes,
        neighbourhood,
    };
    let mut screen = Screen::take()?;
    let ended = tokio::select! {
        ended = dashboard.show(&mut screen) => ended,
        () = stop => Ok(()),
    };
    drop(screen);
    let stopped = dashboard
        .node
        .stop()
        .await
        .map_err(|failure| -> Box<dyn Error> { failure });
    ended.and(stopped)
}

/// Starts the node, and its neighbours unless it is a real one.
async fn start(options: &Options) -> Result<(Node, Changes, Option<Neighbourhood>), Box<dyn Error>> {
    let Some(file) = &options.peers else {
        let mut neighbourhood = Neighbourhood::find(options.neighbours)
            .map_err(|error| format!("no loopback addresses are free for the neighbours: {error}"))?;
        let (node, changes) = Node::start(neighbourhood.watched_config(), node::NEIGHBOURS_PACE).await?;
        neighbourhood.start();
        return Ok((node, changes, Some(neighbourhood)));
    };
    let initial: Vec<_> = options.bootstrap.iter().chain(&options.reserve).copied().collect();
    peers_file::prepare(file, &initial)?;
    let (node, changes) = Node::start(config(options, file), PACE).await?;
    Ok((node, changes, None))
}

fn config(options: &Options, file: &Path) -> NetworkConfig {
    let mut config = NetworkConfig::new(file, options.port);
    config.initial_peers.clone_from(&options.bootstrap);
    config.reserved_peers.clone_from(&options.reserve);
    config.listen_ip = options.listen_ip.unwrap_or(config.listen_ip);
    // The session's own timeout has to come first.
    config.handshake_timeout = Some(2 * PACE.handshake);
    config.target_outgoing_connections = options.target;
    config.max_simultaneous_outgoing_connection_attempts = options.target.saturating_mul(2);
    config.max_incoming_connections = options.max_incoming;
    config
}

/// What is shown, and what is behind it.
#[derive(Debug)]
struct Dashboard {
    app: App,
    node: Node,
    changes: Changes,
    neighbourhood: Option<Neighbourhood>,
}

impl Dashboard {
    /// Shows the node until a key quits.
    async fn show(&mut self, screen: &mut Screen) -> Result<(), Box<dyn Error>> {
        let mut events = EventStream::new();
        let [mut frames, mut seconds] = [FRAME, SECOND].map(|period| {
            let mut ticks = time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        loop {
            tokio::select! {
                biased;
                error = self.node.ended() => return Err(error),
                error = Neighbourhood::any_ended(&mut self.neighbourhood) => return Err(error),
                event = events.next() => match event {
                    Some(event) => {
                        if self.on_event(&event?).await? == Some(Command::Quit) {
                            return Ok(());
                        }
                        self.ask_details().await?;
                        self.draw(screen)?;
                    }
                    None => return Err("the terminal is gone".into()),
                },
                _ = seconds.tick() => self.ask().await?,
                _ = frames.tick() => self.draw(screen)?,
                Some(change) = self.changes.next() => self.on_changes(change),
            }
        }
    }

    async fn on_event(&mut self, event: &Event) -> Result<Option<Command>, NetworkError> {
        let command = event.as_key_event().and_then(|key| self.app.on_key(key));
        if let Some(command) = command {
            self.node.command(command).await?;
        }
        Ok(command)
    }

    /// Takes the changes that are there.
    fn on_changes(&mut self, first: Change) {
        let waiting = std::iter::from_fn(|| self.changes.next().now_or_never().flatten());
        for change in std::iter::once(first).chain(waiting).take(CHANGES_AT_ONCE) {
            self.app.on_change(Entry::from(change));
        }
    }

    /// Asks for what no change tells.
    async fn ask(&mut self) -> Result<(), NetworkError> {
        if self.app.needs_peers() {
            self.app.on_peers(&self.node.handle.peers().await?);
        }
        self.app.on_stats(self.node.handle.stats().await?);
        self.ask_details().await
    }

    async fn ask_details(&mut self) -> Result<(), NetworkError> {
        if let Some(ip) = self.app.needs_details() {
            self.app.on_details(self.node.details(ip).await?);
        }
        Ok(())
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        self.app.on_time(Utc::now());
        screen.draw(|frame| ui::draw(&self.app, frame))
    }
}
