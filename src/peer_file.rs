//! The peer file: a JSON array with one object a peer, read whole and replaced whole.
//!
//! Only `ip` is required. `status` is the name of a [`PeerStatus`](crate::PeerStatus); `last_alive`, `last_failure`,
//! `last_alive_outgoing` and `banned_at` are RFC 3339 times or null; `failures_in_row` is a count. Any other field is
//! kept and written back.
//!
//! What a record means when it is read:
//!
//! - its address is taken in canonical form, its status is [`Banned`](crate::PeerStatus::Banned) or else
//!   [`Idle`](crate::PeerStatus::Idle): no connection outlives the process that held it;
//! - without `failures_in_row` it has one failure if `last_failure` is later than `last_alive`, or there is no
//!   `last_alive`; else none;
//! - a ban without `banned_at` was set at `last_failure`; a peer that is not banned has no `banned_at`;
//! - several records of one address are one peer, in the place of the first: the newer of each time, a ban if one of
//!   them has it, the failures of the record with the newer `last_failure` (of equally old ones the larger count), all
//!   other fields, of one that stands in several the first.
//!
//! Reading never panics and never alters the file; whatever is malformed is an error that says where. Writing replaces
//! the file in one step: killed at any moment, it is the whole old or the whole new one.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::peer::PeerRecord;

mod encode;
mod read;
mod staged;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{Fault, set_fault, take_steps};

pub(crate) use encode::{encode_head, encode_record, encode_tail};
pub(crate) use read::parse;
pub(crate) use staged::StagedFile;

/// Reads the peers that the file at `path` holds, each address once.
pub(crate) async fn load(path: &Path) -> Result<Vec<PeerRecord>, PeerFileError> {
    let bytes = tokio::fs::read(path).await.map_err(PeerFileError::Read)?;
    parse(&bytes)
}

/// Why the peer file could not be read or replaced.
///
/// The message is complete in itself: what the operating system or the JSON reader said is part of it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PeerFileError {
    /// The file could not be read. It is untouched.
    #[error("cannot read it: {0}")]
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
    /// a crash of the operating system may bring the old one back.
    #[error("cannot {step} {}: {error}", .path.display())]
    Write {
        /// What failed, one of `find`, `inspect`, `open`, `lock`, `remove`, `create`, `set permissions of`, `write`,
        /// `sync`, `rename` and `sync folder`.
        step: &'static str,
        /// The file or folder that it failed on: the peer file, the temporary file beside it, or the folder of both.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

fn in_record(record: &Option<usize>) -> String {
    record.map_or_else(String::new, |number| format!("record {number}, "))
}

/// The failures in a row of a record that does not state them.
fn implied_failures(last_alive: Option<DateTime<Utc>>, last_failure: Option<DateTime<Utc>>) -> u32 {
    u32::from(last_failure > last_alive)
}
