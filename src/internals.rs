//! The peer table and the peer file for the benches and the fuzz targets of this repository. No part of the public
//! interface: it changes without notice.

use std::path::Path;
use std::task::{Poll, ready};
use std::time::Duration;

use futures::Stream as _;

pub use crate::change::{Cause, ChangeKind, Refusal, Reporter};
pub use crate::fault::{DialError, DialFault};
pub use crate::peer::{ConnectionId, ParkedId, PeerId};
pub use crate::peer_table::{Action, Now, PeerTable, Reached, Report, StoredPeer, Verdict};

use crate::controller::dumping::Cursor;
use crate::dump_interval::{DumpEvent, DumpInterval};
use crate::peer::PeerRecord;
use crate::peer_file::{self, FileLock, PeerFileError};

/// What a controller's file of this table would hold after it was loaded.
#[must_use]
pub fn stored_records(table: &PeerTable) -> Vec<PeerRecord> {
    table.records().collect()
}

/// The file that a controller would write, a chunk at a time; the buffer's content is the caller's to take away.
pub fn encode_table(table: &PeerTable, mut written: impl FnMut(&mut Vec<u8>)) {
    let (mut cursor, mut out) = (Cursor::default(), Vec::new());
    while !cursor.encode(table, &mut out) {
        if out.len() >= peer_file::CHUNK {
            written(&mut out);
        }
    }
    written(&mut out);
}

/// Dumps as a controller does.
///
/// # Errors
///
/// The file could not be written.
pub async fn dump(table: &PeerTable, path: &Path) -> Result<(), PeerFileError> {
    let mut interval = Box::pin(DumpInterval::new(path.to_owned(), FileLock::default(), Duration::MAX));
    interval.as_mut().dump_now();
    let mut cursor = Cursor::default();
    std::future::poll_fn(move |cx| {
        loop {
            match ready!(interval.as_mut().poll_next(cx)) {
                Some(DumpEvent::Room) => {
                    if cursor.encode(table, interval.as_mut().room()) {
                        interval.as_mut().end_of_records();
                    }
                }
                Some(DumpEvent::Done(result)) => return Poll::Ready(result),
                Some(DumpEvent::Due) | None => {}
            }
        }
    })
    .await
}

/// What a file holds.
///
/// # Errors
///
/// It is malformed.
pub fn parse(file: &[u8]) -> Result<Vec<PeerRecord>, PeerFileError> {
    peer_file::parse(file)
}

/// The file that holds these.
#[must_use]
pub fn encode(records: &[PeerRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    peer_file::encode_head(&mut out);
    for (index, record) in records.iter().enumerate() {
        peer_file::encode_record(&mut out, index == 0, record.as_stored());
    }
    peer_file::encode_tail(&mut out, !records.is_empty());
    out
}
