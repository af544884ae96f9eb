//! Experiments with simulated networks of `network` controllers: what `cargo run --release --example simulation` runs.
//! `examples/README.md` says what each shows.
//!
//! Each experiment has a file of its own, with its options, its help and a `run` that answers with an
//! [`Outcome`](outcome::Outcome).

pub mod addresses;
pub mod attackers;
pub mod churn;
pub mod cli;
pub mod eclipse;
pub mod experiment;
pub mod form;
pub mod gossip;
pub mod heal;
pub mod islands;
pub mod options;
pub mod outcome;
pub mod plot;
pub mod progress;
pub mod random;
pub mod restart;
pub mod slots;
pub mod speed;
pub mod starved;
pub mod subnet;
