use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::{PeerFileError, load, read::parse};
use crate::peer::{PeerRecord, PeerStatus};

fn error(text: impl AsRef<[u8]>) -> String {
    parse(text.as_ref()).expect_err("malformed").to_string()
}

/// The error of a list whose second record, on the third line, has more fields: it is where `bad` ends.
#[track_caller]
fn assert_field_error(bad: &str, rest: &str, expected: &str) {
    let line = format!("{{\"ip\":\"192.0.2.2\",{bad}");
    let expected = format!("record 2, line 3, column {}: {expected}", line.len());
    assert_eq!(
        error(format!("[\n{{\"ip\":\"192.0.2.1\"}},\n{line}{rest}}}]")),
        expected
    );
}

fn one(text: &str) -> PeerRecord {
    let mut records = parse(text.as_bytes()).expect("a peer file");
    assert_eq!(records.len(), 1, "{text}");
    records.remove(0)
}

const EXPECTED_ADDRESS: &str =
    "expected an IP address that a peer can have, so no unspecified, multicast or broadcast one";

fn at(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().expect("a time"))
}

#[test]
fn what_is_no_array_is_an_error() {
    for (text, expected) in [
        ("", "line 1, column 0: the file is empty, expected an array of peers"),
        (
            " \n ",
            "line 2, column 1: the file is empty, expected an array of peers",
        ),
        ("{}", "line 1, column 0: invalid type: map, expected an array of peers"),
        (
            "\n7",
            "line 2, column 1: invalid type: integer `7`, expected an array of peers",
        ),
        ("[] []", "line 1, column 4: trailing characters"),
        ("[{\"ip\":\"192.0.2.1\"},\n]", "line 2, column 1: trailing comma"),
        (
            "[{\"ip\":\"192.0.2.1\"} {\"ip\":\"192.0.2.2\"}]",
            "line 1, column 21: expected `,` or `]`",
        ),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
}

#[test]
fn what_is_cut_off_is_an_error() {
    for (text, expected) in [
        (
            "[",
            "line 1, column 1: the file ends too early: EOF while parsing a list",
        ),
        (
            "[\n{\"ip\":\"192.0.2.1\"}",
            "line 2, column 18: the file ends too early: EOF while parsing a list",
        ),
        (
            "[\n{\"ip\":\"192.0.2.1\"},\n",
            "line 3, column 0: the file ends too early: EOF while parsing a value",
        ),
        (
            "[\n{\"ip\":\"192",
            "record 1, line 2, column 10: the file ends too early: EOF while parsing a string",
        ),
        (
            "[\n{\"ip\":\"192.0.2.1\"",
            "record 1, line 2, column 17: the file ends too early: EOF while parsing an object",
        ),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
}

#[test]
fn every_prefix_of_a_file_is_an_error() {
    let text = include_str!("../../../peers.example.json").trim_end();
    assert_eq!(parse(text.as_bytes()).expect("the example").len(), 3);
    for end in 0..text.len() {
        assert!(error(&text[..end]).contains("the file "), "{end}");
    }
}

#[test]
fn what_is_no_peer_is_an_error() {
    let peer = "expected a peer, an object with at least an `ip`";
    assert_eq!(
        error("[7]"),
        format!("record 1, line 1, column 2: invalid type: integer `7`, {peer}")
    );
    assert_eq!(
        error("[[]]"),
        format!("record 1, line 1, column 1: invalid type: sequence, {peer}")
    );
    assert_eq!(
        error("[null]"),
        format!("record 1, line 1, column 5: invalid type: null, {peer}")
    );
    assert_eq!(error("[{}]"), "record 1, line 1, column 3: missing field `ip`");
    assert_eq!(
        error("[{\"ip\":\"192.0.2.1\"},\n{\"status\":\"Idle\"}]"),
        "record 2, line 2, column 17: missing field `ip`"
    );
}

#[test]
fn a_bad_address_is_an_error() {
    let ip = |value: &str| error(format!("[{{\"ip\":{value}}}]"));
    let place = "record 1, line 1, column";
    assert_eq!(
        ip("7"),
        format!("{place} 8: invalid type: integer `7`, {EXPECTED_ADDRESS}")
    );
    assert_eq!(
        ip("null"),
        format!("{place} 11: invalid type: null, {EXPECTED_ADDRESS}")
    );
    for text in [
        "192.0.2.300",
        "192.0.2.1:80",
        " 192.0.2.1",
        "fe80::1%eth0",
        "example.org",
        "",
    ] {
        let column = 9 + text.len();
        let expected = format!("{place} {column}: invalid value: string {text:?}, {EXPECTED_ADDRESS}");
        assert_eq!(ip(&format!("{text:?}")), expected);
    }
    for text in [
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "255.255.255.255",
        "::ffff:255.255.255.255",
        "224.0.0.1",
        "ff02::1",
    ] {
        let expected = format!("invalid value: string {text:?}, {EXPECTED_ADDRESS}");
        assert!(ip(&format!("{text:?}")).ends_with(&expected), "{text}");
    }
}

#[test]
fn a_bad_status_is_an_error() {
    let expected = "expected one of Idle, OutConnecting, OutHandshaking, OutAlive, InHandshaking, InAlive and Banned";
    for (value, found) in [
        ("\"idle\"", "invalid value: string \"idle\""),
        ("\"\"", "invalid value: string \"\""),
        ("null", "invalid type: null"),
        ("6", "invalid type: integer `6`"),
    ] {
        assert_field_error(&format!("\"status\":{value}"), "", &format!("{found}, {expected}"));
    }
}

#[test]
fn a_bad_time_is_an_error() {
    let expected = "expected an RFC 3339 time of the years 0 to 9999 like 2026-01-02T03:04:05Z";
    let no_times = [
        "yesterday",
        "2026-01-02",
        "2026-02-30T00:00:00Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05 UTC",
        "+12026-01-02T03:04:05Z",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+01:00",
        "",
    ];
    for field in [
        "last_alive",
        "last_failure",
        "last_alive_outgoing",
        "banned_at",
        "banned_until",
    ] {
        let number = format!("invalid type: integer `1767323045`, {expected}");
        assert_field_error(&format!("\"{field}\":1767323045"), "", &number);
        for text in no_times {
            let string = format!("invalid value: string {text:?}, {expected}");
            assert_field_error(&format!("\"{field}\":{text:?}"), "", &string);
        }
    }
}

#[test]
fn a_bad_number_is_an_error() {
    let expected = "expected a whole number from 0 to 4294967295";
    for (value, found) in [
        ("-1", "invalid value: integer `-1`"),
        ("4294967296", "invalid value: integer `4294967296`"),
        ("1.5", "invalid type: floating point `1.5`"),
        ("\"1\"", "invalid type: string \"1\""),
        ("null", "invalid type: null"),
    ] {
        assert_field_error(
            &format!("\"failures_in_row\":{value}"),
            "",
            &format!("{found}, {expected}"),
        );
    }
    assert_field_error("\"failures_in_row\":1e999", "", "number out of range");
    assert_field_error("\"colour\":1e999", "", "number out of range");
}

#[test]
fn a_field_that_stands_twice_is_an_error() {
    for (field, value) in [
        ("ip", "\"192.0.2.2\""),
        ("status", "\"Idle\""),
        ("last_alive", "null"),
        ("last_failure", "null"),
        ("last_alive_outgoing", "null"),
        ("failures_in_row", "0"),
        ("banned_at", "null"),
        ("banned_until", "null"),
        ("knocked", "true"),
    ] {
        let first = if field == "ip" {
            String::new()
        } else {
            format!("\"{field}\":{value},")
        };
        let expected = format!("duplicate field `{field}`");
        assert_field_error(&format!("{first}\"{field}\""), &format!(":{value}"), &expected);
    }
}

#[test]
fn an_unknown_field_that_stands_twice_is_an_error() {
    assert_eq!(
        error("[{\"ip\":\"192.0.2.1\",\"colour\":1,\n\"colour\":2}]"),
        "record 1, line 2, column 11: duplicate field `colour`"
    );
}

#[test]
fn bytes_that_are_no_utf8_are_an_error() {
    let hint = "(the file has invalid bytes, expected UTF-8)";
    let invalid = format!("invalid unicode code point {hint}");
    assert_eq!(error(b"\xff\xfe"), format!("line 1, column 1: expected value {hint}"));
    assert_eq!(
        error(b"[{\"ip\":\"192.0.2.1\"},\n {\"ip\":\"\xff\"}]"),
        format!("record 2, line 2, column 9: {invalid}")
    );
    assert_eq!(
        error(b"[{\"ip\":\"192.0.2.1\",\"\xc3\":1}]"),
        format!("record 1, line 1, column 21: {invalid}")
    );
    assert_eq!(
        error(b"[]\n\n\xc3"),
        format!("line 3, column 1: trailing characters {hint}")
    );
    assert_eq!(
        error(b"[{},\n \"\xff\"]"),
        format!("record 1, line 1, column 3: missing field `ip` {hint}")
    );
}

#[test]
fn an_error_stays_short_and_is_never_a_panic() {
    let long = error(format!("[{{\"ip\":\"{}\"}}]", "é".repeat(100_000)));
    assert!(
        long.contains("invalid value: string \"éé") && long.ends_with(EXPECTED_ADDRESS),
        "{long}"
    );
    assert!(long.chars().count() < 300, "{long}");

    let deep = error(format!("[{{\"ip\":\"192.0.2.1\",\"x\":{}", "[".repeat(100_000)));
    assert_eq!(deep, "record 1, line 1, column 149: recursion limit exceeded");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.json");
    let error = load(&path).await.expect_err("no file");
    assert_eq!(error.path, path);
    let place = format!("peer file {}: cannot read it: ", path.display());
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(matches!(&error.source, PeerFileError::Read(error) if error.kind() == std::io::ErrorKind::NotFound));
    let error = load(folder.path()).await.expect_err("a folder");
    assert!(matches!(error.source, PeerFileError::Read(_)));
}

#[tokio::test]
async fn a_malformed_file_is_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peers.json");
    std::fs::write(&path, "[{]").expect("written");
    let error = load(&path).await.expect_err("malformed");
    assert!(matches!(
        error.source,
        PeerFileError::Malformed {
            record: Some(1),
            line: 1,
            column: 3,
            ..
        }
    ));
    assert_eq!(std::fs::read(&path).expect("there"), b"[{]");
}

#[test]
fn only_the_address_is_required() {
    let record = one(r#"[{"ip":"192.0.2.1"}]"#);
    assert_eq!(
        record,
        PeerRecord {
            peer: crate::Peer::new("192.0.2.1".parse().unwrap()),
            banned_at: None,
            banned_until: None,
            knocked: false,
            other: None
        }
    );
    assert_eq!(parse(b"[]").expect("no peers"), []);
    assert_eq!(parse(b"\xEF\xBB\xBF[]\n").expect("no peers"), []);
}

#[test]
fn addresses_are_canonical() {
    let ip = |text: &str| one(&format!("[{{\"ip\":{text:?}}}]")).peer.ip;
    assert_eq!(ip("::ffff:192.0.2.1"), "192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(ip("2001:DB8:0::7"), "2001:db8::7".parse::<IpAddr>().unwrap());
}

#[test]
fn every_status_but_banned_becomes_idle() {
    for status in PeerStatus::ALL {
        let read = one(&format!("[{{\"ip\":\"192.0.2.1\",\"status\":\"{status}\"}}]"))
            .peer
            .status;
        let expected = if status == PeerStatus::Banned {
            status
        } else {
            PeerStatus::Idle
        };
        assert_eq!(read, expected, "{status}");
    }
}

#[test]
fn times_are_read_in_any_offset_and_in_the_future() {
    let record = one(
        r#"[{"ip":"192.0.2.1","last_alive":"2026-01-02T03:04:05.25+02:00","last_failure":"9998-12-31T23:59:60Z",
            "last_alive_outgoing":null}]"#,
    );
    assert_eq!(record.peer.last_alive, at("2026-01-02T01:04:05.250Z"));
    assert_eq!(record.peer.last_failure, at("9998-12-31T23:59:60Z"));
    assert_eq!(record.peer.last_alive_outgoing, None);
}

#[test]
fn failures_that_are_not_stated_follow_from_the_times() {
    let failures = |fields: &str| one(&format!("[{{\"ip\":\"192.0.2.1\"{fields}}}]")).peer.failures_in_row;
    let (early, late) = ("\"2026-01-01T00:00:00Z\"", "\"2026-01-01T00:00:01Z\"");
    assert_eq!(failures(""), 0);
    assert_eq!(failures(&format!(",\"last_alive\":{early}")), 0);
    assert_eq!(failures(&format!(",\"last_failure\":{early}")), 1);
    assert_eq!(failures(&format!(",\"last_failure\":{late},\"last_alive\":{early}")), 1);
    assert_eq!(failures(&format!(",\"last_failure\":{late},\"last_alive\":{late}")), 0);
    assert_eq!(failures(&format!(",\"last_failure\":{early},\"last_alive\":{late}")), 0);
    assert_eq!(failures(&format!(",\"last_failure\":{early},\"failures_in_row\":0")), 0);
    assert_eq!(failures(",\"failures_in_row\":4294967295"), u32::MAX);
}

#[test]
fn only_a_ban_has_a_beginning() {
    let banned_at = |fields: &str| one(&format!("[{{\"ip\":\"192.0.2.1\",{fields}}}]")).banned_at;
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    assert_eq!(
        banned_at(&format!(
            r#""status":"Banned","banned_at":"{first}","last_failure":"{second}""#
        )),
        at(first)
    );
    assert_eq!(
        banned_at(&format!(r#""status":"Banned","last_failure":"{second}""#)),
        at(second)
    );
    assert_eq!(
        banned_at(&format!(
            r#""status":"Banned","banned_at":null,"last_failure":"{second}""#
        )),
        at(second)
    );
    assert_eq!(banned_at(r#""status":"Banned""#), None);
    assert_eq!(banned_at(&format!(r#""status":"Idle","banned_at":"{first}""#)), None);
}

#[test]
fn only_a_ban_has_an_end() {
    let until = |fields: &str| one(&format!("[{{\"ip\":\"192.0.2.1\",{fields}}}]")).banned_until;
    let time = "2026-01-01T00:00:00Z";
    assert_eq!(
        until(&format!(r#""status":"Banned","banned_until":"{time}""#)),
        at(time)
    );
    assert_eq!(until(&format!(r#""status":"Banned","last_failure":"{time}""#)), None);
    assert_eq!(until(&format!(r#""status":"Idle","banned_until":"{time}""#)), None);
}

#[test]
fn of_several_bans_of_an_address_the_one_that_was_set_later_says_when_it_ends() {
    let ban = |set: &str, until: Option<&str>| {
        let until = until.map_or("null".to_owned(), |until| format!("\"2026-01-{until}T00:00:00Z\""));
        format!(
            r#"{{"ip":"192.0.2.1","status":"Banned","banned_at":"2026-01-{set}T00:00:00Z","banned_until":{until}}}"#
        )
    };
    let cases = [
        (ban("01", Some("20")), ban("02", Some("10")), Some("10")),
        (ban("01", Some("20")), ban("02", None), None),
        (ban("01", None), ban("01", Some("20")), Some("20")),
        (ban("01", Some("10")), ban("01", Some("20")), Some("20")),
    ];
    for (one_ban, other_ban, until) in cases {
        let until = until.and_then(|day| at(&format!("2026-01-{day}T00:00:00Z")));
        for text in [format!("[{one_ban},{other_ban}]"), format!("[{other_ban},{one_ban}]")] {
            assert_eq!(one(&text).banned_until, until, "{text}");
        }
    }
}

#[test]
fn unknown_fields_are_kept() {
    let record = one(r#"[{"note":"a friend","ip":"192.0.2.1","port":{"tcp":[1,2.5,null]}}]"#);
    let other = record.other.expect("other fields");
    assert_eq!(
        serde_json::Value::Object(*other),
        json!({"note": "a friend", "port": {"tcp": [1, 2.5, null]}})
    );
}

#[test]
fn records_of_one_address_become_one_peer() {
    let records = parse(
        br#"[
            {"ip":"192.0.2.1","last_alive":"2026-01-04T00:00:00Z","last_failure":"2026-01-01T00:00:00Z","failures_in_row":7,
             "note":"first","left":1},
            {"ip":"192.0.2.2"},
            {"ip":"::ffff:192.0.2.1","status":"Banned","last_alive":"2026-01-03T00:00:00Z",
             "last_failure":"2026-01-02T00:00:00Z","last_alive_outgoing":"2026-01-01T00:00:00Z","failures_in_row":2,
             "banned_at":"2026-01-01T12:00:00Z","note":"second","right":2},
            {"ip":"192.0.2.1","last_alive":"2026-01-05T00:00:00Z","last_failure":"2026-01-01T00:00:00Z","failures_in_row":9}
        ]"#,
    )
    .expect("a peer file");
    let [merged, second] = records.as_slice() else {
        panic!("two peers: {records:?}")
    };
    assert_eq!(second.peer.ip, "192.0.2.2".parse::<IpAddr>().unwrap());
    assert_eq!(merged.peer.status, PeerStatus::Banned);
    assert_eq!(merged.peer.last_alive, at("2026-01-05T00:00:00Z"));
    assert_eq!(merged.peer.last_failure, at("2026-01-02T00:00:00Z"));
    assert_eq!(merged.peer.last_alive_outgoing, at("2026-01-01T00:00:00Z"));
    assert_eq!(merged.peer.failures_in_row, 2, "that of the newest failure");
    assert_eq!(merged.banned_at, at("2026-01-01T12:00:00Z"));
    let other = merged.other.as_deref().cloned().expect("other fields");
    assert_eq!(
        serde_json::Value::Object(other),
        json!({"note": "first", "left": 1, "right": 2})
    );
}

#[test]
fn a_peer_has_knocked_only_if_all_its_records_say_so_and_none_that_it_was_alive() {
    let knocked = |fields: [&str; 2]| {
        let records = fields.map(|fields| format!(r#"{{"ip":"192.0.2.1"{fields}}}"#));
        one(&format!("[{}]", records.join(","))).knocked
    };
    let (yes, no, alive) = (
        r#","knocked":true"#,
        r#","knocked":false"#,
        r#","last_alive":"2026-01-05T00:00:00Z""#,
    );
    assert!(knocked([yes, yes]));
    for fields in [["", ""], [yes, ""], ["", yes], [yes, no], [yes, alive], [alive, yes]] {
        assert!(!knocked(fields), "{fields:?}");
    }
    assert!(!one(&format!(r#"[{{"ip":"192.0.2.1"{alive}{yes}}}]"#)).knocked);
    assert_field_error("\"knocked\":1", "", "invalid type: integer `1`, expected a boolean");
}

#[test]
fn of_equally_old_failures_the_larger_count_is_kept() {
    for (first, second) in [(3, 8), (8, 3)] {
        let text = format!(
            r#"[{{"ip":"192.0.2.1","failures_in_row":{first}}},{{"ip":"192.0.2.1","failures_in_row":{second}}}]"#
        );
        assert_eq!(one(&text).peer.failures_in_row, 8);
    }
}
