//! What the example nodes have in common.

pub mod peers_file;
pub mod process;
pub mod protocol;
pub mod session;
