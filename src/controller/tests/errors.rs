//! What errors say: each thing once, and what would help.

use std::error::Error;
use std::io;

use super::*;
use crate::peer_file::{FileError, PeerFileError};

const CAUSE: &str = "what the system said";

fn cause() -> io::Error {
    io::Error::other(CAUSE)
}

/// One error of each variant; a new variant has to be added here.
fn all_peer_file_errors() -> Vec<PeerFileError> {
    let step = |error: &PeerFileError| match error {
        PeerFileError::Read(_) => Some(PeerFileError::Malformed {
            record: Some(1),
            line: 2,
            column: 3,
            reason: CAUSE.to_owned(),
        }),
        PeerFileError::Malformed { .. } => Some(PeerFileError::Write {
            step: "rename",
            path: "/peers.json".into(),
            error: cause(),
        }),
        PeerFileError::Write { .. } => Some(PeerFileError::NoPeer {
            record: 1,
            ip: ip("::"),
        }),
        PeerFileError::NoPeer { .. } => Some(PeerFileError::InUse),
        PeerFileError::InUse => None,
    };
    std::iter::successors(Some(PeerFileError::Read(cause())), step).collect()
}

fn all_network_errors() -> Vec<NetworkError> {
    let step = |error: &NetworkError| match error {
        NetworkError::Closed => Some(NetworkError::Listen {
            addr: SocketAddr::from(([127, 0, 0, 1], PORT)),
            source: cause(),
        }),
        NetworkError::Listen { .. } => NetworkConfig {
            retry_backoff: Duration::ZERO,
            ..config()
        }
        .validate()
        .err()
        .map(NetworkError::Config),
        NetworkError::Config(_) | NetworkError::PeerFile { .. } => None,
    };
    let files = all_peer_file_errors().into_iter().map(|source| {
        FileError {
            path: "file".into(),
            source,
        }
        .into()
    });
    std::iter::successors(Some(NetworkError::Closed), step)
        .chain(files)
        .collect()
}

/// An error and its sources, as `anyhow` prints them with `{:#}`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn a_chain_of_errors_says_nothing_twice() {
    let files = || all_peer_file_errors().into_iter();
    let mut errors: Vec<Box<dyn Error>> = files().map(Into::into).collect();
    errors.extend(files().map(|source| {
        FileError {
            path: "file".into(),
            source,
        }
        .into()
    }));
    errors.extend(all_network_errors().into_iter().map(Into::<Box<dyn Error>>::into));
    for error in errors {
        let chain = chain(&*error);
        assert_eq!(chain, error.to_string(), "the first has it all, so there is no source");
        assert!(chain.matches(CAUSE).count() <= 1, "{chain}");
    }
    let told = all_network_errors()
        .iter()
        .filter(|error| error.to_string().contains(CAUSE))
        .count();
    assert_eq!(told, 4, "none leaves out what the system said");
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_listen_the_error_says_what_would_help() {
    let denied = if cfg!(windows) { "netsh" } else { "1024" };
    for (kind, words) in [
        (ErrorKind::AddrInUse, &["`listen_port`", "`listen_ip`", "in use"][..]),
        (ErrorKind::AddrNotAvailable, &["`listen_ip`", "not available"]),
        (ErrorKind::PermissionDenied, &["`listen_port`", denied]),
        (ErrorKind::Other, &["[::]:4000"]),
    ] {
        let (transport, world) = memory();
        world.fail_listen(kind.into());
        let result = NetworkController::with_transport(config(), transport).await;
        let text = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
