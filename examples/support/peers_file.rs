//! The peers file of a node at its first start.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

/// Creates an empty peers file if there is none and there are bootstrap peers.
///
/// # Errors
///
/// There is neither a peers file nor a bootstrap peer, or the file cannot be created.
pub fn prepare(path: &Path, bootstrap: &[IpAddr]) -> Result<(), Box<dyn Error>> {
    if path.try_exists()? {
        return Ok(());
    }
    if bootstrap.is_empty() {
        return Err(missing_peers_file(path).into());
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(b"[]\n"))
        .map_err(|error| cannot_create(path, &error).into())
}

fn missing_peers_file(path: &Path) -> String {
    let path = path.display();
    format!(
        "there is no peers file {path}\n\
         To create it, name a peer to start from: --bootstrap IP\n\
         The first node of a network starts with an empty one: echo '[]' > {path}"
    )
}

fn cannot_create(path: &Path, error: &io::Error) -> String {
    format!("cannot create the peers file {}: {error}", path.display())
}
