//! [`Fields`]: one record of the file, as serde reads and writes it.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use crate::peer::{OtherFields, Peer, PeerRecord, PeerStatus, StoredPeer, is_peer_address};

/// RFC 3339 has the years 0 to 9999 only: a file that holds another one could not be read again.
const FIRST_TIME: DateTime<Utc> = DateTime::from_timestamp(-62_167_219_200, 0).expect("0000-01-01T00:00:00Z");
const LAST_TIME: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 999_999_999).expect("the end of 9999");

/// The fields of a record, in the order in which they are written. `O` holds those that this crate does not
/// know: [`Unknown`] when reading.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(expecting = "a peer, an object with at least an `ip`")]
pub(super) struct Fields<O> {
    #[serde(deserialize_with = "address")]
    ip: IpAddr,
    #[serde(default = "idle", deserialize_with = "status")]
    status: PeerStatus,
    #[serde(default)]
    last_alive: Option<Time>,
    #[serde(default)]
    last_failure: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_alive_outgoing: Option<Time>,
    #[serde(default, deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    failures_in_row: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned_until: Option<Time>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    knocked: bool,
    #[serde(flatten)]
    other: O,
}

impl<'a> Fields<Option<&'a OtherFields>> {
    /// Leaves out what reading would fill in or drop.
    pub(super) fn of(stored: StoredPeer<'a>) -> Self {
        let StoredPeer { peer, other, .. } = stored;
        let of_ban = |time: Option<DateTime<Utc>>| time.filter(|_| peer.status == PeerStatus::Banned).map(Time);
        let implied_failures = implied_failures(peer.last_alive, peer.last_failure);
        let are_failures_written = peer.failures_in_row > 0 || implied_failures > 0;
        Self {
            ip: peer.ip,
            status: peer.status,
            last_alive: peer.last_alive.map(Time),
            last_failure: peer.last_failure.map(Time),
            last_alive_outgoing: peer.last_alive_outgoing.map(Time),
            failures_in_row: are_failures_written.then_some(peer.failures_in_row),
            banned_at: of_ban(stored.banned_at),
            banned_until: of_ban(stored.banned_until),
            knocked: stored.knocked && peer.last_alive.is_none(),
            other,
        }
    }
}

impl From<Fields<Unknown>> for PeerRecord {
    fn from(fields: Fields<Unknown>) -> Self {
        let utc = |time: Option<Time>| time.map(|Time(time)| time);
        let (last_alive, last_failure) = (utc(fields.last_alive), utc(fields.last_failure));
        let is_banned = fields.status == PeerStatus::Banned;
        let Unknown(other) = fields.other;
        let peer = Peer {
            status: if is_banned {
                PeerStatus::Banned
            } else {
                PeerStatus::Idle
            },
            last_alive,
            last_failure,
            last_alive_outgoing: utc(fields.last_alive_outgoing),
            failures_in_row: fields
                .failures_in_row
                .unwrap_or_else(|| implied_failures(last_alive, last_failure)),
            ..Peer::new(fields.ip)
        };
        Self {
            peer,
            knocked: fields.knocked && last_alive.is_none(),
            banned_at: utc(fields.banned_at).or(last_failure).filter(|_| is_banned),
            banned_until: utc(fields.banned_until).filter(|_| is_banned),
            other: (!other.is_empty()).then(|| Box::new(other)),
        }
    }
}

/// The failures in a row of a record that does not state them.
fn implied_failures(last_alive: Option<DateTime<Utc>>, last_failure: Option<DateTime<Utc>>) -> u32 {
    u32::from(last_failure > last_alive)
}

fn idle() -> PeerStatus {
    PeerStatus::Idle
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "an IP address that a peer can have, so no unspecified, multicast or broadcast one",
        parse: |text| {
            let ip = text.parse::<IpAddr>().ok()?.to_canonical();
            is_peer_address(ip).then_some(ip)
        },
    })
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerStatus, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "one of Idle, OutConnecting, OutHandshaking, OutAlive, InHandshaking, InAlive and Banned",
        parse: |text| text.parse().ok(),
    })
}

/// A count may be missing, but not null.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    u32::deserialize(deserializer).map(Some)
}

/// A time that RFC 3339 can express.
struct Time(DateTime<Utc>);

impl Serialize for Time {
    /// A time that no file can hold becomes the nearest that it can.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = self.0.clamp(FIRST_TIME, LAST_TIME);
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "an RFC 3339 time of the years 0 to 9999 like 2026-01-02T03:04:05Z",
            parse: |text| {
                let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
                (FIRST_TIME..=LAST_TIME).contains(&time).then_some(Self(time))
            },
        })
    }
}

/// Reads a string. An error that is made in a visitor, and not after it, says where the string ends.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The fields that this crate does not know. One that occurs twice is an error: `OtherFields` would
/// silently keep the last.
pub(super) struct Unknown(OtherFields);

impl<'de> Deserialize<'de> for Unknown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(OtherFields::new()))
    }
}

impl<'de> Visitor<'de> for Unknown {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if self.0.contains_key(&name) {
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            self.0.insert(name, value);
        }
        Ok(self)
    }
}
