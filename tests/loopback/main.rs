//! Controllers on the kernel's sockets, with each other and with remotes that a test plays.
//!
//! One executable for all of them, so that they are linked once; each test has addresses and a port of its own.

mod bans;
#[path = "../support/child.rs"]
mod child;
mod closing;
mod connections;
mod contract;
mod crossing;
mod dialing;
mod dumps;
mod handles;
#[path = "../support/loopback.rs"]
mod loopback;
mod overload;
#[path = "../support/peer_files.rs"]
mod peer_files;
mod tasks;

use std::time::Duration;

/// The node and the remote of most tests; the lower address is the node's.
const NODE: u8 = 2;
const REMOTE: u8 = 3;
const SHORT: Duration = Duration::from_millis(100);
