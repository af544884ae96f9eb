//! [`NetworkError`]: what a controller can fail at.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::ConfigError;
use crate::fault::is_address_missing;
use crate::peer_file::{FileError, PeerFileError};

/// What a controller can fail at. Nothing that a peer, a file being dumped or feedback does is among it once the
/// controller runs: that is counted in [`Stats`](crate::Stats).
///
/// A message has all of its cause in it, so [`source`](std::error::Error::source) is `None`: a chain of errors would say
/// it twice.
///
/// ```
/// use network::{NetworkConfig, NetworkController, NetworkError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let config = NetworkConfig::new("no/such/peers.json", 0);
/// match NetworkController::with_config(config).await {
///     Err(error @ NetworkError::PeerFile { .. }) => {
///         // ... "; to begin, make it with some peers, or with none: `[]`"
///         assert!(error.to_string().contains("no/such/peers.json"));
///     }
///     Err(error) => panic!("{error}"),
///     Ok(_) => panic!("there is no such file"),
/// }
/// # }
/// ```
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The controller is closed, or dropped.
    #[error("the network controller is closed")]
    Closed,
    /// The configuration cannot work; nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port could not be listened on; nothing was started.
    #[error("cannot listen on {addr}: {source}{help}", help = help_to_listen(.source))]
    Listen {
        /// Where to listen.
        addr: SocketAddr,
        /// Why not. A raw name, so that it is not taken for a source.
        r#source: io::Error,
    },
    /// The peer file could not be loaded, so nothing was started; or the last dump of a controller being closed failed.
    /// `error` says whether the file was replaced.
    #[error("peer file {}: {error}", path.display())]
    PeerFile {
        /// The file, as the configuration names it.
        path: PathBuf,
        /// What is wrong with it.
        error: PeerFileError,
    },
}

impl From<FileError> for NetworkError {
    fn from(FileError { path, source: error }: FileError) -> Self {
        Self::PeerFile { path, error }
    }
}

fn help_to_listen(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "; end what listens there, or set another `listen_port` or `listen_ip`",
        ErrorKind::PermissionDenied if cfg!(windows) => {
            "; set another `listen_port`: a program has this one for itself, or the system has reserved it, see \
             `netsh interface ipv4 show excludedportrange protocol=tcp`"
        }
        ErrorKind::PermissionDenied => "; set a `listen_port` of 1024 or more, or let this process use lower ones",
        _ if is_address_missing(error) => "; set `listen_ip` to an address of this host",
        _ => "",
    }
}

pub(super) fn peer_file_error(path: &Path, error: PeerFileError) -> NetworkError {
    NetworkError::PeerFile {
        path: path.to_owned(),
        error,
    }
}
