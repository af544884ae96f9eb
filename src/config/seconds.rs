//! Durations as seconds: an integer where they are whole, else a float. Both are read.
//!
//! A float is as exact as an `f64` of seconds: to the nanosecond for ten days, to the microsecond for decades. What is
//! longer than an `i64` of seconds, and so never ends, is written as that many: not every format has greater integers.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = time.as_secs();
    // A float of so many seconds has no fraction, and of yet more is not read.
    if time.subsec_nanos() == 0 || seconds >= 1 << f64::MANTISSA_DIGITS {
        serializer.serialize_u64(seconds.min(i64::MAX.unsigned_abs()))
    } else {
        serializer.serialize_f64(time.as_secs_f64())
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(SecondsVisitor)
}

/// The same for a time that may be absent, as `null`.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Duration, Seconds, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Seconds).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<Seconds>::deserialize(deserializer)?;
        Ok(seconds.map(|seconds| seconds.0))
    }
}

#[derive(Serialize, Deserialize)]
struct Seconds(#[serde(with = "self")] Duration);

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds that is not negative")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        u64::try_from(seconds)
            .map(Duration::from_secs)
            .map_err(|_| E::invalid_value(Unexpected::Signed(seconds), &self))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(seconds).map_err(|_| E::invalid_value(Unexpected::Float(seconds), &self))
    }
}
