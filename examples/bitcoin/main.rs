//! A light, well-behaved node of the Bitcoin and Litecoin networks on `network`. See `README.md` in the folder above
//! for how to run it.

mod address_book;
mod addresses;
mod chain;
mod node;
mod session;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use network_examples::process;
use node::Options;

#[tokio::main]
async fn main() -> ExitCode {
    process::exit_code(node::run(Options::parse()).await)
}
