use chrono::{DateTime, SecondsFormat, Utc};
use proptest::prelude::*;

use super::super::time::{Written, read};

/// As chrono writes it.
fn plain(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// As chrono reads it.
fn plainly_read(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

fn times() -> impl Strategy<Value = DateTime<Utc>> {
    let seconds = prop_oneof![1_700_000_000..1_800_000_000_i64, -62_167_219_200..253_402_300_800_i64];
    let nanos = prop_oneof![
        Just(0),
        (0..1_000_u32).prop_map(|millis| millis * 1_000_000),
        (0..1_000_000_u32).prop_map(|micros| micros * 1_000),
        0..1_000_000_000_u32,
    ];
    (seconds, nanos)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).expect("a time of the years 0 to 9999"))
}

#[test]
fn the_ends_of_what_a_file_can_hold() {
    for text in [
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2024-02-29T23:59:60.500Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.001Z",
    ] {
        let time = read(text).expect(text);
        assert_eq!(Some(time), plainly_read(text));
        let last = "9999-12-31T23:59:59.999999999Z";
        assert_eq!(
            Written::new(time).as_str(),
            if text == last { "9999-12-31T23:59:59Z" } else { text }
        );
    }
}

#[test]
fn other_forms_are_read_as_they_were_always_read() {
    for text in [
        "2026-01-02T03:04:05.1Z",
        "2026-01-02T03:04:05.12Z",
        "2026-01-02T03:04:05.1234Z",
        "2026-01-02T03:04:05.12345678901Z",
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05.5-23:59",
        "2026-01-02T03:04:60Z",
        "2026-01-02T23:59:60.250+01:00",
    ] {
        let time = plainly_read(text);
        assert!(time.is_some(), "{text}");
        assert_eq!(read(text), time, "{text}");
    }
}

#[test]
fn what_only_looks_like_a_time_is_none() {
    for text in [
        "2026-02-29T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T00:60:00Z",
        "2026-01-02T00:00:61Z",
        "2026-01-02T00:00:00.Z",
        "2026-01-02T00:00:00.12/Z",
        "2026-01-02T00:00:00.12:Z",
        "2026-01-02T00:00:00ZZ",
        "2026-01-02T00:00:00",
        "202\u{e9}-01-02T00:00:00Z",
        "Z",
        "",
    ] {
        assert_eq!(plainly_read(text), None, "{text}");
        assert_eq!(read(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn times_are_written_as_chrono_writes_them(time in times()) {
        prop_assume!(time.timestamp() < 253_402_300_799);
        let written = Written::new(time);
        prop_assert_eq!(written.as_str(), plain(time));
        prop_assert_eq!(read(written.as_str()), Some(time));
    }

    #[test]
    fn any_text_is_read_as_chrono_reads_it(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{0,10})?(Z|[+-][0-9]{2}:[0-9]{2})") {
        prop_assert_eq!(read(&text), plainly_read(&text));
    }

    #[test]
    fn a_time_with_one_byte_changed_is_read_as_chrono_reads_it(
        time in times(), at: prop::sample::Index, character in prop_oneof![any::<char>(), "[0-9:TZ.+-]".prop_map(|text| text.chars().next().expect("one"))]
    ) {
        let mut characters: Vec<char> = plain(time).chars().collect();
        let at = at.index(characters.len());
        characters[at] = character;
        let text: String = characters.into_iter().collect();
        prop_assert_eq!(read(&text), plainly_read(&text), "{}", text);
    }
}
