//! [`Attackers`]: nodes that connect to all they can, and tell lies.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use clap::Args;
use network::sim::{self, Network, NodeOptions};

use crate::experiment::PORT;

/// How strong attackers are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The attackers")]
pub struct Strength {
    /// Connections that each attacker makes to others
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub attacker_target: usize,

    /// Addresses that an attacker tells of at a time
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub attacker_sample: usize,
}

/// Attackers that run.
#[derive(Debug)]
pub struct Attackers {
    ips: BTreeSet<IpAddr>,
}

impl Attackers {
    /// Starts attackers that know some nodes and tell of nothing but `lies`.
    pub async fn start(
        net: &Network,
        ips: &[IpAddr],
        knows: &[IpAddr],
        lies: &Arc<[IpAddr]>,
        strength: &Strength,
    ) -> Self {
        for &ip in ips {
            let host = net.host(ip);
            let mut config = host.config(PORT);
            config.target_outgoing_connections = strength.attacker_target;
            config.max_simultaneous_outgoing_connection_attempts = (2 * strength.attacker_target).max(1);
            config.max_incoming_connections = 100_000;
            config.max_simultaneous_incoming_connection_attempts = 10_000;
            config.initial_peers = knows.to_vec();
            let mut behavior = NodeOptions::default();
            behavior.sample = strength.attacker_sample;
            behavior.tells = Some(Arc::clone(lies));
            sim::node(&host, config, behavior)
                .await
                .expect("these settings work, and the port is free");
        }
        Self {
            ips: ips.iter().copied().collect(),
        }
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip)
    }
}
