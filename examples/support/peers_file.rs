//! The peers file of a node that is started for the first time.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

/// Makes an empty peers file where there is none, if we know whom to begin with.
pub fn prepare(path: &Path, bootstrap: &[IpAddr]) -> Result<(), Box<dyn Error>> {
    if path.try_exists()? {
        return Ok(());
    }
    if bootstrap.is_empty() {
        return Err(missing_peers_file(path).into());
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(b"[]\n"))
        .map_err(|error| cannot_make(path, &error).into())
}

fn missing_peers_file(path: &Path) -> String {
    let path = path.display();
    format!(
        "there is no peers file {path}\n\
         To make one, name a peer to begin with: --bootstrap IP\n\
         The first node of a network begins with nobody: echo '[]' > {path}"
    )
}

fn cannot_make(path: &Path, error: &io::Error) -> String {
    format!("cannot make the peers file {}: {error}", path.display())
}
