//! Reads and writes peer files, for tools.
//!
//! [The peer file](crate::guide::peer_file) in the guide describes the format, what a record means when it is loaded, and how
//! the file is replaced and locked.
//!
//! A controller loads and dumps its file by itself, and has it locked from its start until it is closed or dropped. [`load`]
//! reads any file, also one that a controller has. [`save`] replaces one, but not one that a controller has, as the next dump
//! would undo it. Malformed content is an error that says where, never a panic; reading alters nothing.
//!
//! # Example
//!
//! Lifts every ban, and leaves the rest as it is:
//!
//! ```
//! use network::PeerStatus;
//! use network::peer_file::{load, save};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), network::NetworkError> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("peers.json");
//! # std::fs::write(&path, r#"[{"ip":"192.0.2.1","status":"Banned","note":"kept"}]"#).unwrap();
//! let mut records = load(&path).await?;
//! for record in &mut records {
//!     if record.peer.status == PeerStatus::Banned {
//!         record.peer.status = PeerStatus::Idle;
//!     }
//! }
//! save(&path, &records).await?;
//! # let text = std::fs::read_to_string(&path).unwrap();
//! # assert!(text.contains(r#""status":"Idle""#) && text.contains(r#""note":"kept""#));
//! # Ok(())
//! # }
//! ```

use std::borrow::Borrow;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::peer::is_peer_address;

mod encode;
mod fields;
mod file_system;
mod lock;
mod read;
mod staged;

pub(crate) use encode::{encode_head, encode_record, encode_tail};
pub(crate) use file_system::{Disk, FileSystem};
pub(crate) use lock::FileLock;
pub(crate) use read::{merge_duplicates, parse};
pub(crate) use staged::StagedFile;

pub use crate::peer::PeerRecord;

/// How many bytes of a file are written at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Room for the record that fills a chunk, so that its buffer need not grow.
pub(crate) const OVERSHOOT: usize = 16 * 1024;

/// A peer file that a controller has opened.
#[derive(Debug, Default)]
pub(crate) struct OpenFile {
    pub(crate) records: Vec<PeerRecord>,
    pub(crate) lock: FileLock,
    /// What will keep it from being replaced.
    pub(crate) obstacle: Option<PeerFileError>,
}

/// Opens the file for a controller: locks it, loads it, and looks whether it can be replaced.
pub(crate) async fn open(path: &Path) -> Result<OpenFile, FileError> {
    let lock = match staged::resolve(path).await {
        Ok(target) => FileLock::take(&Disk, &target).await.map_err(named(path))?,
        // Loading it says what is wrong.
        Err(_) => FileLock::default(),
    };
    let records = load(path).await?;
    let obstacle = StagedFile::obstacle(Disk, path, lock.clone()).await.err();
    Ok(OpenFile {
        records,
        lock,
        obstacle,
    })
}

/// Reads the peers that the file at `path` holds, each address once.
/// The [module](self#example) has an example.
///
/// # Errors
///
/// The file is missing, unreadable or malformed, or no regular file. It stays as it is.
pub async fn load(path: impl AsRef<Path>) -> Result<Vec<PeerRecord>, FileError> {
    let path = path.as_ref();
    let records = match read(path).await {
        Ok(bytes) => match parse(&bytes) {
            Err(error) => staged::rescued(path).await.ok_or(error),
            records => records,
        },
        Err(error) => Err(PeerFileError::Read(error)),
    };
    records.map_err(named(path))
}

/// To open a pipe would wait until something writes to it, so what is no regular file is not opened.
async fn read(path: &Path) -> io::Result<Vec<u8>> {
    staged::regular(tokio::fs::metadata(path)).await?;
    tokio::fs::read(path).await
}

/// Replaces the file at `path` whole by one with these peers, or makes it. Permissions are kept, and the owner where
/// this process may give files away; a symbolic link is followed. The list need not be in memory: no more than 256 KiB
/// of the file are, at any time. The [module](self#example) has an example.
///
/// The file is locked meanwhile. If it is locked already it is waited for, up to 2 s.
///
/// # Cancel safety
///
/// Dropping the future leaves the old file or the new one, and no other beside it unless a file operation was under way;
/// the next `save` removes that.
///
/// # Errors
///
/// The file could not be replaced, a controller or another tool uses it, or no peer can have the address of a record. It is
/// as it was then, unless only `sync folder` failed, see [`PeerFileError::Write`].
pub async fn save<R: Borrow<PeerRecord>>(
    path: impl AsRef<Path>,
    records: impl IntoIterator<Item = R>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    replace(path, records).await.map_err(named(path))
}

async fn replace<R: Borrow<PeerRecord>>(
    path: &Path,
    records: impl IntoIterator<Item = R>,
) -> Result<(), PeerFileError> {
    let mut file = StagedFile::create(Disk, path, FileLock::default()).await?;
    let mut out = Vec::with_capacity(CHUNK + OVERSHOOT);
    let mut count = 0;
    encode_head(&mut out);
    for record in records {
        let stored = record.borrow().as_stored();
        count += 1;
        if !is_peer_address(stored.peer.ip.to_canonical()) {
            return Err(PeerFileError::NoPeer {
                record: count,
                ip: stored.peer.ip,
            });
        }
        encode_record(&mut out, count == 1, stored);
        if out.len() >= CHUNK {
            file.write(&mut out, false).await?;
        }
    }
    encode_tail(&mut out, count > 0);
    file.write(&mut out, true).await?;
    file.commit().await.1
}

/// What went wrong with which peer file.
///
/// The message has all of it, so [`source`](std::error::Error::source) is `None`: a chain of errors would say it twice.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use network::PeerFileError;
/// use network::peer_file::load;
///
/// let error = load("no/such/peers.json").await.unwrap_err();
/// assert!(matches!(error.source, PeerFileError::Read(_)));
/// assert!(error.to_string().starts_with("peer file no/such/peers.json: "));
/// # }
/// ```
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[error("peer file {}: {source}", path.display())]
pub struct FileError {
    /// The file, as it was named.
    pub path: PathBuf,
    /// What is wrong with it. A raw name, so that it is not taken for a source.
    pub r#source: PeerFileError,
}

fn named(path: &Path) -> impl Fn(PeerFileError) -> FileError {
    |source| FileError {
        path: path.to_owned(),
        source,
    }
}

/// Why the peer file could not be read or replaced.
///
/// The message is complete in itself: what the operating system or the JSON reader said is part of it.
///
/// [`FileError`] has an example.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PeerFileError {
    /// The file could not be read. It is untouched.
    #[error("cannot read it: {0}{hint}", hint = how_to_begin(.0))]
    Read(io::Error),
    /// The file is no list of peers. It is untouched.
    #[error("{}line {line}, column {column}: {reason}", in_record(.record))]
    Malformed {
        /// The record that is malformed, counted from 1; `None` if the fault is not inside of a record.
        record: Option<usize>,
        /// The line, counted from 1.
        line: usize,
        /// The last byte of that line that was read, counted from 1: a bad value ends there.
        column: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// The file could not be replaced. It is as it was, unless only `sync folder` failed: then it is the new one, and
    /// a crash of the operating system may bring the old one back. After a failed `overwrite` it may be cut off; the
    /// temporary file beside it is whole, and is loaded.
    #[error("cannot {step} {}: {error}", .path.display())]
    Write {
        /// What failed, one of `find`, `inspect`, `lock`, `remove`, `create`, `set permissions of`, `write`,
        /// `sync`, `rename`, `overwrite` and `sync folder`.
        step: &'static str,
        /// The file or folder that it failed on: the peer file, the temporary file beside it, or the folder of both.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A controller uses the file, in this process or another, or a tool is saving it. It is untouched.
    #[error("another controller or tool uses it; end that one, or use another file")]
    InUse,
    /// The file was not replaced, as it could not have been read again.
    #[error("record {record}: no peer can have the address {ip}")]
    NoPeer {
        /// The record, counted from 1.
        record: usize,
        /// Its address.
        ip: IpAddr,
    },
}

impl PeerFileError {
    /// The same error for one more reader.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Read(error) => Self::Read(copy(error)),
            Self::Malformed {
                record,
                line,
                column,
                reason,
            } => Self::Malformed {
                record: *record,
                line: *line,
                column: *column,
                reason: reason.clone(),
            },
            Self::Write { step, path, error } => Self::Write {
                step,
                path: path.clone(),
                error: copy(error),
            },
            Self::InUse => Self::InUse,
            &Self::NoPeer { record, ip } => Self::NoPeer { record, ip },
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn how_to_begin(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound {
        "; to begin, make it with some peers, or with none: `[]`"
    } else {
        ""
    }
}

fn in_record(record: &Option<usize>) -> String {
    record.map_or_else(String::new, |number| format!("record {number}, "))
}

#[cfg(test)]
pub(crate) mod tests;
