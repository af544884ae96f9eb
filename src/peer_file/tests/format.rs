use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{PeerFileError, encode_head, encode_record, encode_tail, read::parse};
use crate::peer::{OtherFields, Peer, PeerRecord, PeerStatus};

const KNOWN_FIELDS: [&str; 9] = [
    "ip",
    "status",
    "last_alive",
    "last_failure",
    "last_alive_outgoing",
    "failures_in_row",
    "banned_at",
    "banned_until",
    "knocked",
];

fn encoded(records: &[PeerRecord]) -> String {
    let mut out = Vec::new();
    encode_head(&mut out);
    for (index, record) in records.iter().enumerate() {
        encode_record(&mut out, index == 0, record.as_stored());
    }
    encode_tail(&mut out, !records.is_empty());
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn record(peer: Peer) -> PeerRecord {
    PeerRecord {
        peer,
        banned_at: None,
        banned_until: None,
        knocked: false,
        other: None,
    }
}

fn peer(ip: &str) -> Peer {
    Peer::new(ip.parse().expect("an address"))
}

fn at(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().expect("a time"))
}

#[test]
fn a_peer_is_a_line() {
    let banned = PeerRecord {
        peer: Peer {
            status: PeerStatus::Banned,
            last_alive: at("2026-01-02T03:04:05Z"),
            last_failure: at("2026-01-03T00:00:00.5Z"),
            last_alive_outgoing: at("2026-01-02T03:04:05.000001Z"),
            failures_in_row: 3,
            ..peer("2001:db8::7")
        },
        banned_at: at("2026-01-03T00:00:00.000000001Z"),
        banned_until: at("2026-01-04T00:00:00Z"),
        knocked: false,
        other: Some(Box::new(OtherFields::from_iter([("note".to_owned(), json!("a\nb"))]))),
    };
    let alive = record(Peer {
        status: PeerStatus::OutAlive,
        ..peer("192.0.2.1")
    });
    assert_eq!(encoded(&[]), "[]\n");
    assert_eq!(
        encoded(&[alive, banned]),
        r#"[
  {"ip":"192.0.2.1","status":"OutAlive","last_alive":null,"last_failure":null},
  {"ip":"2001:db8::7","status":"Banned","last_alive":"2026-01-02T03:04:05Z","last_failure":"2026-01-03T00:00:00.500Z","last_alive_outgoing":"2026-01-02T03:04:05.000001Z","failures_in_row":3,"banned_at":"2026-01-03T00:00:00.000000001Z","banned_until":"2026-01-04T00:00:00Z","note":"a\nb"}
]
"#
    );
}

#[test]
fn no_failure_in_a_row_is_written_where_the_times_would_imply_one() {
    let failed_inbound = record(Peer {
        last_failure: at("2026-01-02T03:04:05Z"),
        ..peer("192.0.2.1")
    });
    let text = encoded(std::slice::from_ref(&failed_inbound));
    assert!(text.contains(r#""failures_in_row":0"#), "{text}");
    assert_eq!(parse(text.as_bytes()).expect("readable"), [failed_inbound]);
}

#[test]
fn a_peer_that_is_not_banned_is_written_without_the_times_of_a_ban() {
    let unbanned = PeerRecord {
        banned_at: at("2026-01-02T03:04:05Z"),
        banned_until: at("2026-01-03T03:04:05Z"),
        ..record(peer("192.0.2.1"))
    };
    assert!(!encoded(&[unbanned]).contains("banned_"));
}

#[test]
fn knocked_is_written_for_a_peer_that_was_never_alive_only() {
    let knocked = |last_alive| PeerRecord {
        knocked: true,
        ..record(Peer {
            last_alive,
            ..peer("192.0.2.1")
        })
    };
    let never_alive = knocked(None);
    let text = encoded(std::slice::from_ref(&never_alive));
    assert!(text.contains(r#""knocked":true"#), "{text}");
    assert_eq!(parse(text.as_bytes()).expect("readable"), [never_alive]);
    assert!(!encoded(&[record(peer("192.0.2.1"))]).contains("knocked"));
    assert!(!encoded(&[knocked(at("2026-01-02T03:04:05Z"))]).contains("knocked"));
}

#[test]
fn a_time_that_no_file_can_hold_is_written_as_the_nearest_that_it_can() {
    let strange = Peer {
        last_alive: Some(DateTime::<Utc>::MAX_UTC),
        last_failure: Some(DateTime::<Utc>::MIN_UTC),
        ..peer("192.0.2.1")
    };
    let read = parse(encoded(&[record(strange)]).as_bytes())
        .expect("readable")
        .remove(0)
        .peer;
    assert_eq!(read.last_alive, at("9999-12-31T23:59:59.999999999Z"));
    assert_eq!(read.last_failure, at("0000-01-01T00:00:00Z"));
}

fn times() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    let seconds = prop_oneof![1_700_000_000..1_700_000_005_i64, -62_167_219_200..253_402_300_800_i64];
    let nanoseconds = prop_oneof![Just(0), Just(5_000_000), Just(70_000), 0..1_000_000_000_u32];
    option::of((seconds, nanoseconds).prop_map(|(seconds, nanoseconds)| {
        DateTime::from_timestamp(seconds, nanoseconds).expect("a time of the years 0 to 9999")
    }))
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
    prop_oneof![v4, v6].prop_filter_map("no peer's address", |ip| {
        let is_broadcast = ip == IpAddr::from(Ipv4Addr::BROADCAST);
        let is_fit = !(ip.is_unspecified() || ip.is_multicast() || is_broadcast);
        is_fit.then(|| ip.to_canonical())
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn other_fields() -> impl Strategy<Value = Option<Box<OtherFields>>> {
    let names = prop_oneof![any::<String>(), "[a-z_]{1,12}".prop_map(String::from)];
    let names = names.prop_filter("a known field", |name| !KNOWN_FIELDS.contains(&name.as_str()));
    let fields = btree_map(names, values(), 1..4).prop_map(|fields| Box::new(fields.into_iter().collect()));
    option::weighted(0.3, fields)
}

prop_compose! {
    /// A record as it comes out of the file: its peer Idle or Banned, and the times of a ban known if they can be.
    fn records()(
        ip in addresses(),
        is_banned: bool,
        last_alive in times(),
        last_failure in times(),
        last_alive_outgoing in times(),
        failures_in_row in prop_oneof![0..3_u32, any::<u32>()],
        banned_at in times(),
        banned_until in times(),
        knocked: bool,
        other in other_fields(),
    ) -> PeerRecord {
        let status = if is_banned { PeerStatus::Banned } else { PeerStatus::Idle };
        PeerRecord {
            peer: Peer { status, last_alive, last_failure, last_alive_outgoing, failures_in_row, ..Peer::new(ip) },
            banned_at: banned_at.or(last_failure).filter(|_| is_banned),
            banned_until: banned_until.filter(|_| is_banned),
            knocked: knocked && last_alive.is_none(),
            other,
        }
    }
}

fn lists() -> impl Strategy<Value = Vec<PeerRecord>> {
    vec(records(), 0..12).prop_map(|mut records| {
        let mut seen = std::collections::HashSet::new();
        records.retain(|record| seen.insert(record.peer.ip));
        records
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(list in lists()) {
        prop_assert_eq!(parse(encoded(&list).as_bytes()).expect("readable"), list);
    }

    #[test]
    fn what_is_read_is_written_byte_for_byte(list in lists()) {
        let text = encoded(&list);
        prop_assert_eq!(encoded(&parse(text.as_bytes()).expect("readable")), text);
    }

    #[test]
    fn what_is_read_twice_is_one_list(list in lists()) {
        let text = encoded(&list);
        let twice = text.trim_end().trim_end_matches(']').to_owned() + "," + text.trim_start_matches('[');
        prop_assume!(!list.is_empty());
        prop_assert_eq!(parse(twice.as_bytes()).expect("readable"), list);
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_to_a_file_is_a_panic(
        list in lists(), at: prop::sample::Index, byte: u8, cut: bool
    ) {
        let mut bytes = encoded(&list).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(if cut { at + 1 } else { bytes.len() });
        if let Ok(records) = parse(&bytes) {
            prop_assert!(parse(encoded(&records).as_bytes()).is_ok());
        }
    }

    #[test]
    fn no_list_of_odd_records_is_a_panic_and_what_is_read_of_it_is_written(text in odd_lists()) {
        match parse(text.as_bytes()) {
            Ok(records) => {
                let written = encoded(&records);
                prop_assert_eq!(&parse(written.as_bytes()).expect("readable"), &records);
                prop_assert_eq!(written.lines().count(), if records.is_empty() { 1 } else { records.len() + 2 });
            }
            Err(PeerFileError::Malformed { record, line, column, reason }) => {
                prop_assert!(record.is_none_or(|number| (1..=5).contains(&number)), "{:?}", record);
                let lines: Vec<_> = text.split('\n').collect();
                prop_assert!((1..=lines.len()).contains(&line) && column <= lines[line - 1].len(), "{}, {}", line, column);
                prop_assert!(!reason.is_empty());
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

/// Mostly JSON values, some of them malformed.
fn odd_value() -> impl Strategy<Value = String> {
    let any = values().prop_map(|value| value.to_string());
    let wrong = "[-+0-9eE.,:\"{}\\[\\]ntfu \\\\]{0,12}";
    prop_oneof![3 => any, 1 => wrong]
}

/// Mostly a value that this field may have.
fn value_for(name: &str) -> BoxedStrategy<String> {
    let time = times().prop_map(|time| json!(time).to_string()).boxed();
    let right = match name {
        "ip" => addresses().prop_map(|ip| json!(ip).to_string()).boxed(),
        "status" => prop::sample::select(&PeerStatus::ALL[..])
            .prop_map(|status| json!(status).to_string())
            .boxed(),
        "knocked" => any::<bool>().prop_map(|knocked| knocked.to_string()).boxed(),
        "failures_in_row" => any::<u32>().prop_map(|count| count.to_string()).boxed(),
        _ => time.clone(),
    };
    prop_oneof![20 => right, 1 => time, 1 => odd_value()].boxed()
}

/// A record with fields of ours, some of them twice or with values of another field, and perhaps others.
fn odd_record() -> impl Strategy<Value = String> {
    let right = records().prop_map(|record| encoded(&[record]).trim().trim_matches(['[', ']']).trim().to_owned());
    let name = prop_oneof![
        12 => prop::sample::select(KNOWN_FIELDS[1..].to_vec()).prop_map(str::to_owned),
        1 => "[a-z_]{0,3}",
        1 => Just("ip".to_owned()),
    ];
    let field = name.prop_flat_map(|name| {
        let value = value_for(&name);
        value.prop_map(move |value| format!("\"{name}\" : {value}"))
    });
    let address = addresses().prop_map(|ip| format!("\"ip\": \"{ip}\""));
    let fields = vec(field, 0..4);
    let odd = (option::weighted(0.97, address), fields).prop_map(|(address, fields)| {
        let fields: Vec<_> = address.into_iter().chain(fields).collect();
        format!("{{ {} }}", fields.join(",\n"))
    });
    prop_oneof![10 => right, 30 => odd, 1 => odd_value()]
}

fn odd_lists() -> impl Strategy<Value = String> {
    vec(odd_record(), 0..5).prop_map(|records| format!("[{}]", records.join(" ,\r\n")))
}
