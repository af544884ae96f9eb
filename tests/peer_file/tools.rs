//! The peer file from outside: `network::peer_file` as tools use it, its schema, and what an operator sees of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::DateTime;
use network::peer_file::{self, FileError, PeerFileError, PeerRecord};
use network::{NetworkError, Peer, PeerStatus};
use serde_json::{Value, json};

use crate::ip;
use crate::peer_files::PeerFile;

const SCHEMA: &str = include_str!("../../docs/peer_file.schema.json");
const EXAMPLE: &str = include_str!("../../peers.example.json");

/// Peers with all fields in all combinations.
fn records() -> Vec<PeerRecord> {
    (0..128_u32).map(record).collect()
}

fn record(number: u32) -> PeerRecord {
    let has = |bit: u32| number >> bit & 1 == 1;
    let time = |seconds| DateTime::from_timestamp(1_767_323_045 + i64::from(seconds), seconds * 1_000_001);
    let address = if has(0) {
        IpAddr::V4(Ipv4Addr::from_bits(0x3C00_0000 + number))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + u128::from(number)))
    };
    let mut peer = Peer::new(address);
    peer.status = if has(1) { PeerStatus::Banned } else { PeerStatus::Idle };
    peer.last_alive = time(number).filter(|_| has(2));
    // A ban without a beginning would begin when it is loaded.
    peer.last_failure = time(2 * number).filter(|_| has(3) || has(1));
    peer.last_alive_outgoing = time(number / 2).filter(|_| has(4));
    peer.failures_in_row = if has(5) { number } else { 0 };
    let mut record = PeerRecord::from(peer);
    // A ban without a beginning would begin at the load.
    record.banned_at = record.banned_at.or(time(number).filter(|_| has(1)));
    record.banned_until = time(3 * number).filter(|_| has(1) && has(6));
    record.knocked = !has(2) && has(4);
    record
}

#[tokio::test]
async fn saved_records_are_loaded_again() {
    let file = PeerFile::missing();
    peer_file::save(&file.path, records()).await.unwrap();
    assert_eq!(peer_file::load(&file.path).await.unwrap(), records());

    let bytes = file.bytes();
    peer_file::save(&file.path, &records()).await.unwrap();
    assert_eq!(file.bytes(), bytes, "borrowed or not");
    assert!(file.is_alone());

    peer_file::save(&file.path, [] as [PeerRecord; 0]).await.unwrap();
    assert_eq!(file.bytes(), b"[]\n");
    assert_eq!(peer_file::load(&file.path).await.unwrap(), []);
}

#[tokio::test]
async fn a_long_iterator_is_saved_in_chunks() {
    let file = PeerFile::missing();
    let made = (0..20_000).map(|number| PeerRecord::new(Ipv4Addr::from_bits(0x3C00_0000 + number).into()));
    peer_file::save(&file.path, made.clone()).await.unwrap();
    assert!(file.bytes().len() > 1_000_000, "it takes many chunks");
    assert_eq!(peer_file::load(&file.path).await.unwrap(), made.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tool_that_changes_one_peer_changes_one_line() {
    let file = PeerFile::holding(concat!(
        "[\n",
        r#"  {"ip":"192.0.2.9","status":"Idle","last_alive":null,"last_failure":null,"note":{"by":["me",1.5]}},"#,
        "\n",
        r#"  {"ip":"192.0.2.1","status":"Banned","last_alive":null,"last_failure":"2026-01-02T03:04:05Z","failures_in_row":1,"banned_at":"2026-01-02T03:04:05Z"}"#,
        "\n]\n"
    ));
    let before = String::from_utf8(file.bytes()).unwrap();
    let mut records = peer_file::load(&file.path).await.unwrap();
    peer_file::save(&file.path, &records).await.unwrap();
    assert_eq!(String::from_utf8(file.bytes()).unwrap(), before);

    records[0].peer.failures_in_row = 3;
    peer_file::save(&file.path, &records).await.unwrap();
    let after = String::from_utf8(file.bytes()).unwrap();
    let changed = before.lines().zip(after.lines()).filter(|(old, new)| old != new);
    let changed: Vec<_> = changed.map(|(_, new)| new).collect();
    assert_eq!(
        changed,
        [
            r#"  {"ip":"192.0.2.9","status":"Idle","last_alive":null,"last_failure":null,"failures_in_row":3,"note":{"by":["me",1.5]}},"#
        ]
    );
}

#[tokio::test]
async fn a_peer_of_a_controller_can_be_saved() {
    let from = PeerFile::holding(EXAMPLE);
    let net = from.load().await.unwrap();
    let to = PeerFile::missing();
    peer_file::save(&to.path, net.peers().cloned().map(PeerRecord::from))
        .await
        .unwrap();
    let again = to.load().await.unwrap();
    assert_eq!(again.peers().collect::<Vec<_>>(), net.peers().collect::<Vec<_>>());
}

#[tokio::test]
async fn impossible_addresses_are_not_saved_and_the_file_is_kept() {
    for address in ["0.0.0.0", "::", "::ffff:255.255.255.255", "224.0.0.1", "ff02::1"] {
        let file = PeerFile::holding(EXAMPLE);
        let records = [PeerRecord::new(ip("192.0.2.1")), PeerRecord::new(ip(address))];
        let FileError { path, source, .. } = peer_file::save(&file.path, records).await.unwrap_err();
        assert_eq!(path, file.path);
        let canonical = ip(address).to_canonical();
        assert!(
            matches!(source, PeerFileError::NoPeer { record: 2, ip, .. } if ip == canonical),
            "{source}"
        );
        assert_eq!(
            source.to_string(),
            format!("record 2: no peer can have the address {canonical}")
        );
        assert_eq!(file.bytes(), EXAMPLE.as_bytes());
        assert!(file.is_alone());
    }
}

#[tokio::test]
async fn errors_name_the_file_and_what_is_wrong_with_it() {
    let file = PeerFile::holding("[{\"ip\":\"192.0.2.1\"},\n{\"ip\":\"nowhere\"}]");
    let error = peer_file::load(&file.path).await.unwrap_err();
    let text = error.to_string();
    let expected = format!(
        "peer file {}: record 2, line 2, column 15: invalid value: string \"nowhere\", expected an IP address that a peer can have, \
         so no unspecified, multicast or broadcast one",
        file.path.display()
    );
    assert_eq!(text, expected);
    assert!(error.source().is_none(), "a chain of errors would say it twice");
    let error = NetworkError::from(error);
    assert_eq!(error.to_string(), text, "as a controller says it");
    assert!(error.source().is_none(), "a chain of errors would say it twice");
    assert!(matches!(error, NetworkError::PeerFile { path, .. } if path == file.path));

    let missing = file.folder.path().join("gone/peers.json");
    let error = peer_file::save(&missing, records()).await.unwrap_err();
    assert_eq!(error.path, missing);
    assert!(
        matches!(&error.source, PeerFileError::Write { step: "create", .. }),
        "{error}"
    );
    assert!(matches!(
        peer_file::load(&missing).await.unwrap_err().source,
        PeerFileError::Read(_)
    ));
}

/// A controller loads the file, adds a peer and dumps.
async fn dump_with_one_more(file: &PeerFile, peer: IpAddr) {
    let mut net = file.load().await.unwrap();
    net.feedback_peer_list([peer]).await;
    net.close().await.unwrap();
}

#[tokio::test]
async fn a_loaded_file_is_dumped_byte_for_byte() {
    let file = PeerFile::missing();
    peer_file::save(&file.path, records()).await.unwrap();
    let noted = String::from_utf8(file.bytes())
        .unwrap()
        .replace(
            "\"status\":\"Banned\"}",
            "\"status\":\"Banned\",\"a\":{\"b\":[1,-2.5e-7,true]},\"c\":\"\\u0001é\"}",
        )
        .replace("null}", "null,\"a\":{\"b\":[1,-2.5e-7,true]},\"c\":\"\\u0001é\"}");
    assert!(noted.contains("\\u0001"));
    fs::write(&file.path, &noted).unwrap();

    dump_with_one_more(&file, ip("198.51.100.1")).await;
    let dumped = String::from_utf8(file.bytes()).unwrap();
    let added = ",\n  {\"ip\":\"198.51.100.1\",\"status\":\"Idle\",\"last_alive\":null,\"last_failure\":null}\n]\n";
    assert_eq!(dumped, noted.strip_suffix("\n]\n").unwrap().to_owned() + added);
}

#[tokio::test]
async fn a_peer_keeps_its_line_and_others_do_not_change() {
    let file = PeerFile::missing();
    peer_file::save(&file.path, records()).await.unwrap();
    let before = String::from_utf8(file.bytes()).unwrap();
    let mut net = file.load().await.unwrap();
    let changed = record(37).peer.ip;
    net.feedback_peer_banned(changed).await;
    net.close().await.unwrap();

    let after = String::from_utf8(file.bytes()).unwrap();
    assert_eq!(before.lines().count(), after.lines().count());
    for (old, new) in before.lines().zip(after.lines()) {
        assert_eq!(old != new, old.contains(&format!("\"{changed}\"")), "{old}\n{new}");
    }
}

/// What is wrong with a value by a schema. Knows the keywords that ours has, and no others.
fn faults(schema: &Value, root: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let is_right = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let place = rule.as_str().unwrap().strip_prefix('#').unwrap();
                faults.extend(self::faults(root.pointer(place).unwrap(), root, value));
                true
            }
            "type" => is_of_type(value, rule),
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| self::faults(rule, root, value).is_empty()),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "minimum" => value.as_i64().is_none_or(|value| value >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|value| value <= rule.as_i64().unwrap()),
            "format" => value
                .as_str()
                .is_none_or(|text| has_format(text, rule.as_str().unwrap())),
            "items" => {
                let values = value.as_array().into_iter().flatten();
                faults.extend(values.flat_map(|value| self::faults(rule, root, value)));
                true
            }
            "properties" => {
                let rules = rule.as_object().unwrap().iter();
                let found = rules.filter_map(|(name, rule)| Some((rule, value.get(name)?)));
                faults.extend(found.flat_map(|(rule, value)| self::faults(rule, root, value)));
                true
            }
            other => panic!("a keyword that is not checked: {other}"),
        };
        if !is_right {
            faults.push(format!("{keyword} {rule}: {value}"));
        }
    }
    faults
}

fn is_of_type(value: &Value, types: &Value) -> bool {
    if let Value::Array(types) = types {
        return types.iter().any(|name| is_of_type(value, name));
    }
    match types.as_str().unwrap() {
        "array" => value.is_array(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a type that is not checked: {other}"),
    }
}

fn has_format(text: &str, name: &str) -> bool {
    match name {
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "date-time" => DateTime::parse_from_rfc3339(text).is_ok(),
        other => panic!("a format that is not checked: {other}"),
    }
}

fn faults_of_file(text: &str) -> Vec<String> {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    faults(&schema, &schema, &serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn files_follow_the_schema() {
    assert_eq!(faults_of_file(EXAMPLE), [] as [String; 0]);
    let file = PeerFile::missing();
    peer_file::save(&file.path, records()).await.unwrap();
    dump_with_one_more(&file, ip("198.51.100.1")).await;
    assert_eq!(
        faults_of_file(&String::from_utf8(file.bytes()).unwrap()),
        [] as [String; 0]
    );
}

#[tokio::test]
async fn the_schema_describes_every_field_that_is_written_and_no_other() {
    let file = PeerFile::missing();
    peer_file::save(&file.path, records()).await.unwrap();
    let written: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(&file.bytes()).unwrap();
    let written: BTreeSet<String> = written.into_iter().flatten().map(|(name, _)| name).collect();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let described = schema["items"]["properties"].as_object().unwrap();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), written);

    let statuses = described["status"]["enum"].as_array().unwrap();
    let all = [
        PeerStatus::Idle,
        PeerStatus::OutConnecting,
        PeerStatus::OutHandshaking,
        PeerStatus::OutAlive,
        PeerStatus::InHandshaking,
        PeerStatus::InAlive,
        PeerStatus::Banned,
    ];
    assert_eq!(*statuses, all.map(|status| json!(status)));
}

#[tokio::test]
async fn a_file_that_the_schema_refuses_is_not_loaded() {
    for fields in [
        json!({}),
        json!({ "ip": 7 }),
        json!({ "ip": "example.org" }),
        json!({ "ip": "192.0.2.1", "status": "idle" }),
        json!({ "ip": "192.0.2.1", "status": null }),
        json!({ "ip": "192.0.2.1", "last_alive": "yesterday" }),
        json!({ "ip": "192.0.2.1", "last_failure": 0 }),
        json!({ "ip": "192.0.2.1", "last_alive_outgoing": false }),
        json!({ "ip": "192.0.2.1", "banned_at": "" }),
        json!({ "ip": "192.0.2.1", "failures_in_row": -1 }),
        json!({ "ip": "192.0.2.1", "failures_in_row": 4_294_967_296_u64 }),
        json!({ "ip": "192.0.2.1", "failures_in_row": 1.5 }),
        json!({ "ip": "192.0.2.1", "knocked": 1 }),
        json!("192.0.2.1"),
    ] {
        let text = json!([fields]).to_string();
        assert_ne!(faults_of_file(&text), [] as [String; 0], "{text}");
        let file = PeerFile::holding(&text);
        let error = peer_file::load(&file.path).await.unwrap_err();
        assert!(
            matches!(error.source, PeerFileError::Malformed { record: Some(1), .. }),
            "{error}"
        );
    }
}
