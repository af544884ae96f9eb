//! From bytes to records. Pure: no file, no clock.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::PeerFileError;
use super::fields::Fields;
use crate::peer::{PeerRecord, PeerStatus};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Longer reasons quote a value that is too long to be read.
const MAX_REASON_CHARS: usize = 240;

/// Reads a peer file. A byte order mark before the array is skipped.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<PeerRecord>, PeerFileError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut reader = Reader::default();
    // Quicker where the whole text is known to be UTF-8; else the error says where it is not.
    let records = match str::from_utf8(bytes) {
        Ok(text) => read_all(serde_json::Deserializer::from_str(text), &mut reader),
        Err(_) => read_all(serde_json::Deserializer::from_slice(bytes), &mut reader),
    };
    records.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        PeerFileError::Malformed {
            record: reader.is_in_record.then_some(reader.number),
            line,
            column,
            reason: reason(bytes, &error),
        }
    })
}

fn read_all<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
    reader: &mut Reader,
) -> serde_json::Result<Vec<PeerRecord>> {
    let mut records = json.deserialize_seq(reader)?;
    json.end()?;
    merge_duplicates(&mut records);
    Ok(records)
}

/// What is wrong, without the place.
fn reason(bytes: &[u8], error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = message.strip_suffix(&place).unwrap_or(&message);
    // Serde names the type.
    let reason = reason.replace("expected u32", "expected a whole number from 0 to 4294967295");
    if bytes.trim_ascii().is_empty() {
        "the file is empty, expected an array of peers".to_owned()
    } else if error.is_eof() {
        format!("the file ends too early: {reason}")
    } else if str::from_utf8(bytes).is_err() {
        format!("{} (the file has invalid bytes, expected UTF-8)", shortened(&reason))
    } else {
        shortened(&reason)
    }
}

/// Cuts out the middle, so that what was found and what was expected are both still there.
fn shortened(reason: &str) -> String {
    let chars: Vec<char> = reason.chars().collect();
    if chars.len() <= MAX_REASON_CHARS {
        return reason.to_owned();
    }
    let (head, tail) = (
        &chars[..MAX_REASON_CHARS / 2],
        &chars[chars.len() - MAX_REASON_CHARS / 2..],
    );
    head.iter().chain(&[' ', '.', '.', '.', ' ']).chain(tail).collect()
}

/// Reads the array and knows which record it is in.
#[derive(Default)]
struct Reader {
    /// Counted from 1.
    number: usize,
    is_in_record: bool,
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = Vec<PeerRecord>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of peers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = seq.next_element_seed(&mut *self)? {
            self.is_in_record = false;
            records.push(record);
        }
        Ok(records)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = PeerRecord;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PeerRecord, D::Error> {
        self.number += 1;
        self.is_in_record = true;
        Fields::deserialize(deserializer).map(PeerRecord::from)
    }
}

/// Merges the records of one address into the first of them.
pub(crate) fn merge_duplicates(records: &mut Vec<PeerRecord>) {
    // Of a million addresses, sorting takes a quarter of the time that a hash map does.
    let mut order: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(index, record)| (record.peer.ip, index))
        .collect();
    order.sort_unstable();
    let mut duplicates = HashSet::new();
    for same in order.chunk_by(|one, other| one.0 == other.0) {
        for &(_, index) in &same[1..] {
            let second = records[index].clone();
            merge(&mut records[same[0].1], second);
            duplicates.insert(index);
        }
    }
    let mut index = 0..;
    records.retain(|_| index.next().is_none_or(|index| !duplicates.contains(&index)));
}

fn merge(first: &mut PeerRecord, second: PeerRecord) {
    let (peer, other) = (&mut first.peer, second.peer);
    peer.failures_in_row = match other.last_failure.cmp(&peer.last_failure) {
        Ordering::Less => peer.failures_in_row,
        Ordering::Equal => peer.failures_in_row.max(other.failures_in_row),
        Ordering::Greater => other.failures_in_row,
    };
    if other.status == PeerStatus::Banned {
        peer.status = PeerStatus::Banned;
    }
    peer.last_alive = peer.last_alive.max(other.last_alive);
    peer.last_failure = peer.last_failure.max(other.last_failure);
    peer.last_alive_outgoing = peer.last_alive_outgoing.max(other.last_alive_outgoing);
    first.knocked &= second.knocked && peer.last_alive.is_none();
    first.banned_until = match second.banned_at.cmp(&first.banned_at) {
        Ordering::Less => first.banned_until,
        Ordering::Equal => first.banned_until.max(second.banned_until),
        Ordering::Greater => second.banned_until,
    };
    first.banned_at = first.banned_at.max(second.banned_at);
    // Of a field that both have, the first one's value is kept.
    let mut fields = second.other.unwrap_or_default();
    fields.extend(first.other.take().into_iter().flat_map(|fields| *fields));
    first.other = (!fields.is_empty()).then_some(fields);
}
