//! Controllers on the kernel's sockets, with each other and with remotes that a test plays.
//!
//! One executable for all of them, so that they are linked once; each test has addresses and a port of its own.

mod connections;
mod contract;
mod crossing;
#[path = "../support/loopback.rs"]
mod loopback;
mod overload;
#[path = "../support/peer_files.rs"]
mod peer_files;
