//! The peer file from outside.

mod loading;
#[path = "../support/peer_files.rs"]
mod peer_files;
mod tools;
