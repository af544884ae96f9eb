//! [`Common`]: the options that every experiment has.

use std::time::Duration;

use clap::{Args, ValueEnum};
use network::NetworkConfig;
use network::sim::NodeOptions;

/// The network of an experiment.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The network")]
pub struct Common {
    /// Replays a run: the same seed and options give the same network
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Nodes, bootstraps included
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub nodes: usize,

    /// Outgoing connections that each node wants
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub target: usize,

    /// Incoming connections that each node has room for
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub places: usize,

    /// Nodes that all others know from the start
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub bootstraps: usize,

    /// Incoming connections that a bootstrap has room for [default: as all nodes]
    #[arg(long, value_name = "COUNT")]
    pub bootstrap_places: Option<usize>,

    /// What bootstraps do with incoming connections
    #[arg(long, value_enum, default_value_t = Seeds::Close)]
    pub seeds: Seeds,

    /// Rules of the nodes that differ from the default ones
    #[command(flatten)]
    pub policies: Policies,
}

/// What bootstraps do with incoming connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Seeds {
    /// Keep them, and be full soon
    Keep,
    /// Close them after 5 seconds, when they have told of others
    Close,
    /// Keep them, and let newcomers take the places of others (`evict_incoming`)
    Evict,
}

/// Rules of the nodes that differ from the default ones. Every experiment has these options, so a new one is added here
/// and in `apply` only.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Rules of the nodes")]
pub struct Policies {
    /// Peers that each node remembers beside those it is connected with [default: that of the crate]
    #[arg(long, value_name = "COUNT")]
    pub max_idle_peers: Option<usize>,

    /// Incoming connections that one /24 may have at a node [default: no limit]
    #[arg(long, value_name = "COUNT")]
    pub max_incoming_per_subnet: Option<usize>,

    /// Minutes between two rotations of an outgoing connection, 0 for none [default: that of the crate]
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    pub rotation_interval: Option<Duration>,

    /// Let newcomers take the places of other incoming connections, at all nodes (`evict_incoming`)
    #[arg(long)]
    pub evict: bool,

    /// Seconds before one more dial is raced beside those under way [default: that of the crate]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub dial_stagger: Option<Duration>,
}

impl Policies {
    fn apply(&self, config: &mut NetworkConfig) {
        if let Some(count) = self.max_idle_peers {
            config.max_idle_peers = count;
        }
        if self.max_incoming_per_subnet.is_some() {
            config.max_incoming_per_subnet = self.max_incoming_per_subnet;
        }
        if let Some(time) = self.rotation_interval {
            config.rotation_interval = Some(time).filter(|time| !time.is_zero());
        }
        config.evict_incoming = self.evict;
        if let Some(time) = self.dial_stagger {
            config.dial_stagger = time;
        }
    }
}

impl Common {
    /// Makes the settings of any node from those of its host.
    pub fn configure(&self, config: &mut NetworkConfig, is_bootstrap: bool) {
        config.target_outgoing_connections = self.target;
        config.max_simultaneous_outgoing_connection_attempts = (2 * self.target).max(1);
        config.max_incoming_connections = match self.bootstrap_places {
            Some(places) if is_bootstrap => places,
            _ => self.places,
        };
        self.policies.apply(config);
        config.evict_incoming |= is_bootstrap && self.seeds == Seeds::Evict;
    }

    /// How a node behaves towards others.
    #[must_use]
    pub fn behavior(&self, is_bootstrap: bool) -> NodeOptions {
        let mut options = NodeOptions::default();
        if is_bootstrap && self.seeds == Seeds::Close {
            options.close_incoming_after = Some(Duration::from_secs(5));
        }
        options
    }

    /// The network in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        let seeds = match self.seeds {
            Seeds::Keep => "keep connections",
            Seeds::Close => "close after 5 s",
            Seeds::Evict => "evict",
        };
        format!(
            "{} nodes, target {}, {} places; {} bootstraps {seeds}; seed {}",
            self.nodes, self.target, self.places, self.bootstraps, self.seed
        )
    }
}

/// For options that are a time: a number of seconds, with or without decimals.
///
/// # Errors
///
/// What is no number, is negative, or too large.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// For options that are a time: a number of minutes, with or without decimals.
///
/// # Errors
///
/// What is no number, is negative, or too large.
pub fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_decimals_and_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(minutes("1.5"), Ok(Duration::from_secs(90)));
        assert!(seconds("-1").is_err() && minutes("-1").is_err());
        assert!(seconds("soon").is_err() && minutes("1e300").is_err());
    }
}
