//! The peer file from outside: loading and dumping it by a controller, tools that change it, its schema.

mod loading;
// There are no locks on Windows.
#[cfg(unix)]
mod locking;
#[path = "../support/peer_files.rs"]
mod peer_files;
mod tools;

use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
