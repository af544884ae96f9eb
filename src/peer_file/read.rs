//! From bytes to records. Pure: no file, no clock.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::net::IpAddr;
use std::str::Utf8Error;

use chrono::{DateTime, Datelike, Utc};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use super::{PeerFileError, implied_failures, time};
use crate::peer::{NumberHasher, OtherFields, Peer, PeerRecord, PeerStatus, is_peer_address};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Room is made for as many records as a file has if each is so long; one that is shorter makes room grow once more.
const TYPICAL_RECORD: usize = 128;

/// Longer reasons quote a value that is too long to be read.
const MAX_REASON_CHARS: usize = 240;

/// Reads a peer file. A byte order mark before the array is skipped.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<PeerRecord>, PeerFileError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error))?;
    let mut record = None;
    parse_text(text, &mut record).map_err(|error| malformed(text, &error, record))
}

/// Leaves in `current` the number of the record that an error is in.
fn parse_text(text: &str, current: &mut Option<usize>) -> serde_json::Result<Vec<PeerRecord>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let merged = Merged::with_room(text.len() / TYPICAL_RECORD);
    let records = json.deserialize_seq(PeerList { current, merged })?;
    json.end()?;
    Ok(records)
}

fn malformed(text: &str, error: &serde_json::Error, record: Option<usize>) -> PeerFileError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let what = message
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&message);
    let reason = if text.trim_ascii().is_empty() {
        "the file is empty, expected an array of peers".to_owned()
    } else if error.is_eof() {
        format!("the file ends too early: {what}")
    } else {
        shortened(what)
    };
    PeerFileError::Malformed {
        record,
        line,
        column,
        reason,
    }
}

/// Whatever is malformed before the first byte that is not UTF-8 comes first.
fn not_utf8(bytes: &[u8], error: Utf8Error) -> PeerFileError {
    let before = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
    let mut record = None;
    match parse_text(before, &mut record) {
        Err(error) if !error.is_eof() => malformed(before, &error, record),
        Ok(_) | Err(_) => PeerFileError::Malformed {
            record,
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, str::len) + 1,
            reason: "invalid bytes, expected UTF-8".to_owned(),
        },
    }
}

/// Cuts out the middle, so that what was found and what was expected are both still there.
fn shortened(reason: &str) -> String {
    let chars = reason.chars().count();
    if chars <= MAX_REASON_CHARS {
        return reason.to_owned();
    }
    let kept = MAX_REASON_CHARS / 2;
    let head = reason.chars().take(kept);
    let tail = reason.chars().skip(chars - kept);
    head.chain(" ... ".chars()).chain(tail).collect()
}

/// The array, merged as it is read.
struct PeerList<'a> {
    current: &'a mut Option<usize>,
    merged: Merged,
}

impl<'de> Visitor<'de> for PeerList<'_> {
    type Value = Vec<PeerRecord>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of peers")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut number = 1;
        while let Some(record) = seq.next_element_seed(RecordAt {
            number,
            current: self.current,
        })? {
            *self.current = None;
            self.merged.add(record);
            number += 1;
        }
        Ok(self.merged.records)
    }
}

/// One element of the array; says that it is the current one once it begins.
struct RecordAt<'a> {
    number: usize,
    current: &'a mut Option<usize>,
}

impl<'de> DeserializeSeed<'de> for RecordAt<'_> {
    type Value = PeerRecord;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PeerRecord, D::Error> {
        *self.current = Some(self.number);
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordAt<'_> {
    type Value = PeerRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a peer, an object with at least an `ip`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PeerRecord, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key()? {
            fields.read_value(name, &mut map)?;
        }
        fields.into_record()
    }
}

/// The names of a record's fields.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum FieldName {
    Ip,
    Status,
    LastAlive,
    LastFailure,
    LastAliveOutgoing,
    FailuresInRow,
    BannedAt,
    Other(String),
}

/// The fields of a record as far as they were read.
#[derive(Default)]
struct Fields {
    ip: Option<Address>,
    status: Option<Status>,
    last_alive: Option<Option<Time>>,
    last_failure: Option<Option<Time>>,
    last_alive_outgoing: Option<Option<Time>>,
    failures_in_row: Option<Count>,
    banned_at: Option<Option<Time>>,
    other: OtherFields,
}

impl Fields {
    fn read_value<'de, A: MapAccess<'de>>(&mut self, name: FieldName, map: &mut A) -> Result<(), A::Error> {
        match name {
            FieldName::Ip => read_once(&mut self.ip, "ip", map),
            FieldName::Status => read_once(&mut self.status, "status", map),
            FieldName::LastAlive => read_once(&mut self.last_alive, "last_alive", map),
            FieldName::LastFailure => read_once(&mut self.last_failure, "last_failure", map),
            FieldName::LastAliveOutgoing => read_once(&mut self.last_alive_outgoing, "last_alive_outgoing", map),
            FieldName::FailuresInRow => read_once(&mut self.failures_in_row, "failures_in_row", map),
            FieldName::BannedAt => read_once(&mut self.banned_at, "banned_at", map),
            FieldName::Other(name) => self.read_other(name, map),
        }
    }

    fn read_other<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        if self.other.contains_key(&name) {
            return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
        }
        let value: Value = map.next_value()?;
        self.other.insert(name, value);
        Ok(())
    }

    fn into_record<E: de::Error>(self) -> Result<PeerRecord, E> {
        let Address(ip) = self.ip.ok_or_else(|| E::missing_field("ip"))?;
        let is_banned = self.status.is_some_and(|Status(status)| status == PeerStatus::Banned);
        let last_alive = utc(self.last_alive);
        let last_failure = utc(self.last_failure);
        let peer = Peer {
            status: if is_banned {
                PeerStatus::Banned
            } else {
                PeerStatus::Idle
            },
            last_alive,
            last_failure,
            last_alive_outgoing: utc(self.last_alive_outgoing),
            failures_in_row: match self.failures_in_row {
                Some(Count(count)) => count,
                None => implied_failures(last_alive, last_failure),
            },
            ..Peer::new(ip)
        };
        let banned_at = utc(self.banned_at).or(last_failure).filter(|_| is_banned);
        let other = (!self.other.is_empty()).then(|| Box::new(self.other));
        Ok(PeerRecord { peer, banned_at, other })
    }
}

fn read_once<'de, T, A>(field: &mut Option<T>, name: &'static str, map: &mut A) -> Result<(), A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    if field.is_some() {
        return Err(de::Error::duplicate_field(name));
    }
    *field = Some(map.next_value()?);
    Ok(())
}

fn utc(field: Option<Option<Time>>) -> Option<DateTime<Utc>> {
    field.flatten().map(|Time(time)| time)
}

/// Reads a value that stands in the file as a string.
struct Text<T> {
    expected: &'static str,
    /// Answers with what was expected instead.
    parse: fn(&str) -> Result<T, &'static str>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|expected| E::invalid_value(Unexpected::Str(text), &expected))
    }
}

struct Address(IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "an IP address";
        let parse = |text: &str| {
            let ip: IpAddr = text.parse().map_err(|_| EXPECTED)?;
            Some(ip.to_canonical())
                .filter(|ip| is_peer_address(*ip))
                .ok_or("an address that a peer can have, so no unspecified, multicast or broadcast one")
        };
        deserializer
            .deserialize_str(Text {
                expected: EXPECTED,
                parse,
            })
            .map(Self)
    }
}

struct Status(PeerStatus);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str =
            "one of Idle, OutConnecting, OutHandshaking, OutAlive, InHandshaking, InAlive and Banned";
        let parse = |text: &str| {
            PeerStatus::ALL
                .into_iter()
                .find(|status| status.as_str() == text)
                .ok_or(EXPECTED)
        };
        deserializer
            .deserialize_str(Text {
                expected: EXPECTED,
                parse,
            })
            .map(Self)
    }
}

struct Time(DateTime<Utc>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "an RFC 3339 time like 2026-01-02T03:04:05Z";
        let parse = |text: &str| {
            let time = time::read(text).ok_or(EXPECTED)?;
            let is_writable = (0..=9999).contains(&time.year());
            is_writable.then_some(time).ok_or("a time from year 0 to 9999 in UTC")
        };
        deserializer
            .deserialize_str(Text {
                expected: EXPECTED,
                parse,
            })
            .map(Self)
    }
}

struct Count(u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u32(CountVisitor).map(Self)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", u32::MAX)
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<u32, E> {
        u32::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
    }
}

/// The records read so far, each address once.
struct Merged {
    records: Vec<PeerRecord>,
    /// Where an address with this tag is first. With tags instead of addresses this is a quarter as large, and waiting
    /// for the memory of it is the most of what a long list costs beyond its text.
    places: HashMap<u32, u32, BuildHasherDefault<NumberHasher>>,
    /// Where the addresses are whose tag an earlier one has.
    others: HashMap<IpAddr, usize>,
    /// Nobody can name addresses that have one tag.
    key: RandomState,
}

/// How long a tag is: for tests so short that many addresses share one.
const TAG_BITS: u32 = if cfg!(test) { 3 } else { 32 };

impl Merged {
    fn with_room(records: usize) -> Self {
        Self {
            records: Vec::with_capacity(records),
            places: HashMap::with_capacity_and_hasher(records, BuildHasherDefault::default()),
            others: HashMap::new(),
            key: RandomState::new(),
        }
    }

    fn add(&mut self, record: PeerRecord) {
        match self.place(record.peer.ip) {
            Some(place) => merge(&mut self.records[place], record),
            None => self.records.push(record),
        }
    }

    /// Where the record of this address is; `None` if it is new, and comes next.
    fn place(&mut self, ip: IpAddr) -> Option<usize> {
        let next = self.records.len();
        if let Ok(next) = u32::try_from(next) {
            let first = *self.places.entry(self.tag(ip)).or_insert(next);
            if first == next {
                return None;
            }
            let first = usize::try_from(first).expect("there are as many records");
            if self.records[first].peer.ip == ip {
                return Some(first);
            }
        }
        match self.others.entry(ip) {
            Entry::Vacant(place) => {
                place.insert(next);
                None
            }
            Entry::Occupied(place) => Some(*place.get()),
        }
    }

    fn tag(&self, ip: IpAddr) -> u32 {
        // As one number, which is quicker to hash. No canonical IPv6 address is an IPv4 one's IPv6 form.
        let number = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let tag = self.key.hash_one(number) >> (u64::BITS - TAG_BITS);
        u32::try_from(tag).expect("so many bits are left")
    }
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
    first.banned_at = first.banned_at.max(second.banned_at);
    first.other = united(first.other.take(), second.other);
}

fn united(first: Option<Box<OtherFields>>, second: Option<Box<OtherFields>>) -> Option<Box<OtherFields>> {
    match (first, second) {
        (Some(first), Some(mut second)) => {
            second.extend(*first);
            Some(second)
        }
        (first, second) => first.or(second),
    }
}
