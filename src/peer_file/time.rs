//! Times as the file has them, RFC 3339, without the way through a formatter: they are most of what a file holds, and
//! most of what it takes to write and to read one.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};

/// RFC 3339 has no years beyond 0 to 9999, and a file that holds one could not be read again.
const FIRST_TIME: DateTime<Utc> = day(0, 1, 1).and_time(NaiveTime::MIN).and_utc();
const LAST_TIME: DateTime<Utc> = day(9999, 12, 31).and_time(LAST_SECOND).and_utc();
const LAST_SECOND: NaiveTime = NaiveTime::from_hms_opt(23, 59, 59).expect("a second of every day");

const NANOS_PER_SECOND: u32 = 1_000_000_000;

const fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).expect("a day of the calendar")
}

/// `2026-01-02T03:04:05.000000000Z`, the longest there is.
const LONGEST: usize = 30;

/// A time in UTC with as many digits of a second as it needs, in groups of three. A time that no file can hold becomes
/// the nearest that it can.
pub(super) struct Written {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Written {
    pub(super) fn new(time: DateTime<Utc>) -> Self {
        let time = time.clamp(FIRST_TIME, LAST_TIME).naive_utc();
        let (seconds, nanos) = (time.num_seconds_from_midnight(), time.nanosecond());
        // A leap second is the second before it, and too many nanoseconds.
        let (leap, nanos) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
        let mut bytes = *b"0000-00-00T00:00:00.000000000Z";
        let year = time.year().unsigned_abs();
        put_digits(&mut bytes[0..4], year);
        put_digits(&mut bytes[5..7], time.month());
        put_digits(&mut bytes[8..10], time.day());
        put_digits(&mut bytes[11..13], seconds / 3600);
        put_digits(&mut bytes[14..16], seconds / 60 % 60);
        put_digits(&mut bytes[17..19], seconds % 60 + leap);
        let len = put_fraction(&mut bytes, nanos);
        Self { bytes, len }
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("digits and signs of ASCII")
    }
}

/// Writes what comes behind the seconds; answers how long all of it is.
fn put_fraction(bytes: &mut [u8; LONGEST], nanos: u32) -> usize {
    let (digits, fraction) = match nanos {
        0 => {
            bytes[19] = b'Z';
            return 20;
        }
        millis if millis % 1_000_000 == 0 => (3, millis / 1_000_000),
        micros if micros % 1_000 == 0 => (6, micros / 1_000),
        nanos => (9, nanos),
    };
    put_digits(&mut bytes[20..20 + digits], fraction);
    bytes[20 + digits] = b'Z';
    21 + digits
}

fn put_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

/// Reads a time; `None` if it is none. Any offset is one.
pub(super) fn read(text: &str) -> Option<DateTime<Utc>> {
    read_as_written(text.as_bytes()).or_else(|| Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc()))
}

/// The form that times are written in; `None` for all others, and for what only looks like it.
fn read_as_written(text: &[u8]) -> Option<DateTime<Utc>> {
    let (seconds, rest) = text.split_first_chunk::<19>()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
    ] = *seconds
    else {
        return None;
    };
    let year = i32::try_from(number(&[y0, y1, y2, y3])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&[m0, m1])?, number(&[d0, d1])?)?;
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[n0, n1])?, number(&[s0, s1])?);
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, read_fraction(rest)?)?;
    Some(NaiveDateTime::new(date, time).and_utc())
}

/// The nanoseconds, of three, six or nine digits or none.
fn read_fraction(rest: &[u8]) -> Option<u32> {
    match rest {
        b"Z" => Some(0),
        [b'.', digits @ .., b'Z'] => match digits.len() {
            3 => Some(number(digits)? * 1_000_000),
            6 => Some(number(digits)? * 1_000),
            9 => number(digits),
            _ => None,
        },
        _ => None,
    }
}

/// Of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u32::from(digit))
    })
}
