//! A light, well-behaved node of the Bitcoin and Litecoin networks on `network`. See `README.md` in the folder above
//! for how to run it.

pub(crate) mod addresses;
pub(crate) mod chain;
pub(crate) mod node;
#[path = "../support/peers_file.rs"]
pub(crate) mod peers_file;
pub(crate) mod session;
pub(crate) mod wire;

use std::process::ExitCode;

use clap::Parser;
use node::Options;

#[tokio::main]
async fn main() -> ExitCode {
    match node::run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
