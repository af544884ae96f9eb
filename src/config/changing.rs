//! Which fields of a [`NetworkConfig`] a running controller cannot change: they were for its start.

use std::fmt::Debug;

use super::{ConfigError, NetworkConfig};

impl NetworkConfig {
    /// Says whether a controller that runs with these settings can go on with `new` ones.
    pub(crate) fn check_change(&self, new: &Self) -> Result<(), ConfigError> {
        unchanged("peers_file", &self.peers_file, &new.peers_file)?;
        unchanged("listen_ip", &self.listen_ip, &new.listen_ip)?;
        unchanged("listen_port", &self.listen_port, &new.listen_port)?;
        unchanged("peer_port", &self.peer_port, &new.peer_port)?;
        unchanged("clock", &self.clock, &new.clock)?;
        unchanged("seed", &self.seed, &new.seed)?;
        unchanged_list("initial_peers", &self.initial_peers, &new.initial_peers)?;
        unchanged_list("initial_records", &self.initial_records, &new.initial_records)
    }
}

fn unchanged<V: Debug + PartialEq>(field: &'static str, at_start: &V, new: &V) -> Result<(), ConfigError> {
    if new == at_start {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: format!("{new:?}"),
        expected: format!("{at_start:?} as at the start, since a running controller cannot change it"),
    })
}

/// The lists may be too long for a message.
fn unchanged_list<V: PartialEq>(field: &'static str, at_start: &[V], new: &[V]) -> Result<(), ConfigError> {
    if new == at_start {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: format!("a list of {} that differs", new.len()),
        expected: format!("the list of {} that the controller was started with", at_start.len()),
    })
}
