//! A lab: a network of hosts on one machine, for the tests of more than one package. Each host is a Linux network
//! namespace; its programs are the test's own executable, started anew. See [`topology`].

pub mod namespace;
pub mod program;
#[path = "../support/skip.rs"]
mod skip;
pub mod topology;
pub mod trials;
pub mod wire;
