//! Peer files and configurations as a user may bring them, through `NetworkController::new` and `with_config`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use network::{NetworkConfig, NetworkController, NetworkError, PeerStatus};

use crate::ip;
use crate::peer_files::PeerFile;

const TIME: &str = "2026-01-02T03:04:05Z";

/// What is said of a file that cannot be used, behind its path.
fn complaint(file: &PeerFile, error: NetworkError) -> String {
    let text = error.to_string();
    let NetworkError::PeerFile { path, .. } = error else {
        panic!("{text}");
    };
    assert_eq!(path, file.path);
    let start = format!("peer file {}: ", file.path.display());
    text.strip_prefix(&start).expect(&text).to_owned()
}

/// What is said of a file with these contents. It stays as it is, and nothing comes beside it.
async fn refusal(contents: impl AsRef<[u8]>) -> String {
    let file = PeerFile::holding(&contents);
    let inode = inode(&file.path);
    let error = file.load().await.expect_err("a file that cannot be used");
    assert_eq!(file.bytes(), contents.as_ref());
    assert_eq!(self::inode(&file.path), inode);
    assert!(file.is_alone());
    complaint(&file, error)
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(fs::metadata(path).unwrap().ino())
}

#[cfg(not(unix))]
fn inode(_: &Path) -> Option<u64> {
    None
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

#[tokio::test]
async fn a_missing_file_is_an_error_and_is_not_created() {
    let file = PeerFile::missing();
    let error = file.load().await.unwrap_err();
    assert_says(&complaint(&file, error), &["cannot read it", "(os error 2)", "`[]`"]);
    assert_eq!(fs::read_dir(file.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_is_no_peer_file() {
    let file = PeerFile::missing();
    fs::create_dir(&file.path).unwrap();
    let error = file.load().await.unwrap_err();
    assert_says(&complaint(&file, error), &["cannot read it", "directory"]);
    assert_eq!(fs::read_dir(&file.path).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_no_peer_file_and_is_not_waited_for() {
    let file = PeerFile::missing();
    let made = std::process::Command::new("mkfifo").arg(&file.path).status().unwrap();
    assert!(made.success());
    let loaded = tokio::time::timeout(Duration::from_secs(5), file.load()).await;
    // Ends a load that waits for a writer.
    drop(fs::File::options().read(true).write(true).open(&file.path).unwrap());
    let error = loaded.expect("it does not wait").unwrap_err();
    assert_says(&complaint(&file, error), &["cannot read it", "not a regular file"]);
}

#[tokio::test]
async fn an_empty_file_is_an_error() {
    assert_says(&refusal("").await, &["line 1", "empty", "expected an array of peers"]);
    assert_says(&refusal(" \n ").await, &["line 2", "empty"]);
}

#[tokio::test]
async fn a_truncated_file_is_an_error_that_says_where_it_ends() {
    let whole = "[\n  { \"ip\": \"127.0.0.2\" },\n  { \"ip\": \"127.0.0.3\" }\n]";
    let cut = |end: &str| &whole[..whole.find(end).unwrap()];
    assert_says(
        &refusal(cut("0.3")).await,
        &["record 2, line 3, column ", "ends too early"],
    );
    assert_says(&refusal(cut(",\n")).await, &["line 2, column ", "ends too early"]);
    assert_says(&refusal("[").await, &["line 1, column 1", "ends too early"]);
}

#[tokio::test]
async fn wrong_types_are_errors_that_name_record_line_and_column() {
    assert_says(&refusal("{}").await, &["line 1", "map", "expected an array of peers"]);
    assert_says(&refusal("7").await, &["integer `7`", "expected an array of peers"]);
    assert_says(
        &refusal("[\n \"127.0.0.2\"\n]").await,
        &["record 1, line 2, column 12", "string", "expected a peer"],
    );
    assert_says(
        &refusal("[{ \"ip\": \"127.0.0.2\" },\n { \"ip\": 2 }]").await,
        &["record 2, line 2, column 10", "integer `2`", "expected an IP address"],
    );
    assert_says(
        &refusal(r#"[{ "ip": "127.0.0.2", "failures_in_row": -1 }]"#).await,
        &["record 1, line 1, column 43", "`-1`", "whole number"],
    );
    assert_says(
        &refusal(r#"[{ "ip": "127.0.0.2", "last_alive": 7 }]"#).await,
        &["record 1, line 1, column 37", "RFC 3339"],
    );
}

#[tokio::test]
async fn a_record_without_an_address_is_an_error() {
    assert_says(
        &refusal("[\n{ \"status\": \"Idle\" }]").await,
        &["record 1, line 2, column ", "missing field `ip`"],
    );
}

#[tokio::test]
async fn a_bad_address_is_an_error() {
    for address in ["", "localhost", "127.0.0.256", "127.0.0.2:80", "[::1]", "10.0.0.0/8"] {
        let text = refusal(format!("[\n\n{{ \"ip\": \"{address}\" }}]")).await;
        let column = format!("record 1, line 3, column {}", 10 + address.len());
        assert_says(&text, &[&column, &format!("{address:?}"), "expected an IP address"]);
    }
    for address in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "::ffff:0.0.0.0"] {
        let text = refusal(format!("[{{ \"ip\": \"{address}\" }}]")).await;
        assert_says(&text, &["record 1, line 1, column ", address, "a peer can have"]);
    }
}

#[tokio::test]
async fn a_bad_time_is_an_error() {
    for field in [
        "last_alive",
        "last_failure",
        "last_alive_outgoing",
        "banned_at",
        "banned_until",
    ] {
        for time in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05",
        ] {
            let text = refusal(format!(
                "[{{ \"ip\": \"127.0.0.2\" }},\n{{ \"ip\": \"127.0.0.3\",\n\"{field}\": \"{time}\" }}]"
            ))
            .await;
            assert_says(&text, &["record 2, line 3, column ", &format!("{time:?}"), "RFC 3339"]);
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_an_error_that_says_where() {
    let text = refusal(b"[\n{ \"ip\": \"127.0.0.2\", \"note\": \"\xFF\" }]").await;
    assert_says(&text, &["record 1, line 2, column 31", "expected UTF-8"]);
    assert_says(&refusal(b"\xFE\xFF").await, &["line 1, column 1", "expected UTF-8"]);
}

#[tokio::test]
async fn an_unknown_status_is_an_error_that_names_the_known_ones() {
    for status in ["", "Sleeping", "idle", "BANNED"] {
        let text = refusal(format!(r#"[{{ "ip": "127.0.0.2", "status": "{status}" }}]"#)).await;
        assert_says(
            &text,
            &[
                "record 1, line 1, column ",
                &format!("{status:?}"),
                "Idle",
                "InAlive",
                "Banned",
            ],
        );
    }
}

#[tokio::test]
async fn a_duplicate_key_is_an_error() {
    for field in ["\"ip\": \"127.0.0.3\"", "\"note\": 2"] {
        let text = refusal(format!("[{{ \"ip\": \"127.0.0.2\", \"note\": 1,\n{field} }}]")).await;
        assert_says(&text, &["record 1, line 2, column ", "duplicate field", &field[1..3]]);
    }
}

#[tokio::test]
async fn trailing_garbage_is_an_error() {
    let text = refusal("[{ \"ip\": \"127.0.0.2\" }]\n]").await;
    assert_says(&text, &["line 2, column 1", "trailing characters"]);
    assert!(!text.contains("record"), "{text}");
    assert_says(
        &refusal("[{ \"ip\": \"127.0.0.2\" },]").await,
        &["line 1, column 24", "trailing comma"],
    );
}

#[tokio::test]
async fn deep_nesting_is_an_error() {
    let deep = format!("[{{ \"ip\": \"127.0.0.2\", \"note\": {}", "[".repeat(100_000));
    assert_says(&refusal(deep).await, &["record 1, line 1, column ", "recursion limit"]);
}

#[tokio::test]
async fn the_example_of_the_repository_loads() {
    let file = PeerFile::holding(include_str!("../../peers.example.json"));
    let net = file.load().await.unwrap();
    assert_eq!(net.get_good_peer_ips(), [ip("198.51.100.23"), ip("203.0.113.7")]);
    let banned = net.peer(ip("2001:db8::7")).unwrap();
    assert_eq!(banned.status, PeerStatus::Banned);
    assert_eq!(banned.last_failure, Some(TIME.parse().unwrap()));
}

#[tokio::test]
async fn every_status_but_banned_is_loaded_as_idle() {
    for status in [
        "OutConnecting",
        "OutHandshaking",
        "OutAlive",
        "InHandshaking",
        "InAlive",
    ] {
        let file = PeerFile::holding(format!(r#"[{{ "ip": "127.0.0.2", "status": "{status}" }}]"#));
        let net = file.load().await.unwrap();
        assert_eq!(net.peer(ip("127.0.0.2")).unwrap().status, PeerStatus::Idle);
    }
}

#[tokio::test]
async fn records_of_one_address_are_one_peer() {
    let file = PeerFile::holding(format!(
        r#"[
            {{ "ip": "127.0.0.2", "last_alive": "{TIME}", "last_failure": "2026-01-01T00:00:00Z" }},
            {{ "ip": "::ffff:127.0.0.2", "status": "Banned", "last_alive": "2025-01-01T00:00:00Z" }},
            {{ "ip": "127.0.0.2", "last_failure": "{TIME}" }}
        ]"#
    ));
    let net = file.load().await.unwrap();
    assert_eq!(net.peers().count(), 1);
    let peer = net.peer(ip("127.0.0.2")).unwrap();
    assert_eq!(peer.status, PeerStatus::Banned);
    assert_eq!(peer.last_alive, Some(TIME.parse().unwrap()));
    assert_eq!(peer.last_failure, Some(TIME.parse().unwrap()));
}

#[tokio::test]
async fn unknown_fields_survive_a_load_and_a_dump() {
    let file = PeerFile::holding(r#"[{ "ip": "127.0.0.2", "note": { "of": ["a", "friend", 1.5, null] } }]"#);
    let mut net = file.load().await.unwrap();
    net.feedback_peer_banned(ip("127.0.0.3")).await;
    net.close().await.unwrap();
    let note = serde_json::json!({ "of": ["a", "friend", 1.5, null] });
    assert_eq!(file.record(ip("127.0.0.2"))["note"], note);
    assert_eq!(file.record(ip("127.0.0.3"))["status"], "Banned");
}

#[tokio::test]
async fn a_file_without_changes_is_not_written() {
    let file = PeerFile::holding(r#"[  { "ip": "127.0.0.2" }  ]"#);
    let before = (file.bytes(), inode(&file.path));
    let mut net = file.load().await.unwrap();
    net.close().await.unwrap();
    assert_eq!((file.bytes(), inode(&file.path)), before);
}

#[tokio::test]
async fn caps_hold_after_a_load() {
    let idle = (1..=5)
        .map(|host| format!(r#"{{ "ip": "127.0.0.{host}", "last_alive_outgoing": "2026-01-0{host}T00:00:00Z" }}"#));
    let banned = (1..=4).map(|host| {
        format!(r#"{{ "ip": "127.0.1.{host}", "status": "Banned", "last_failure": "2026-01-0{host}T00:00:00Z" }}"#)
    });
    let records = idle.chain(banned).collect::<Vec<_>>().join(",\n");
    let file = PeerFile::holding(format!("[{records}]"));

    let net = file.load_within(2, 3).await.unwrap();
    assert_eq!(net.get_good_peer_ips(), [ip("127.0.0.5"), ip("127.0.0.4")]);
    assert_eq!(net.stats().peers.banned, 3);
    assert_eq!(net.stats().counters.records_dropped, 4, "three Idle peers and a ban");
    assert!(
        net.peer(ip("127.0.1.1")).is_none(),
        "the ban of longest ago is forgotten first"
    );

    drop(net);
    let net = file.load_within(5, 4).await.unwrap();
    assert_eq!((net.stats().peers.idle, net.stats().peers.banned), (5, 4));
    assert_eq!(net.stats().counters.records_dropped, 0);
}

#[tokio::test]
async fn initial_peers_are_taken_beside_a_file_of_untried_records() {
    let records = (0..200).map(|subnet| format!(r#"{{ "ip": "60.{subnet}.0.1" }}"#));
    let file = PeerFile::holding(format!("[{}]", records.collect::<Vec<_>>().join(",")));
    let mut config = NetworkConfig::new(&file.path, 0);
    (config.max_idle_peers, config.target_outgoing_connections) = (150, 0);
    config.initial_peers = (0..100).map(|subnet| ip(&format!("61.{subnet}.0.1"))).collect();
    let mut net = NetworkController::with_config(config.clone()).await.unwrap();
    assert!(config.initial_peers.iter().all(|&ip| net.peer(ip).is_some()));
    assert_eq!(net.peers().count(), 150);
    assert_eq!(net.stats().counters.records_dropped, 150, "of the file");
    net.close().await.unwrap();
    assert_eq!(file.record(config.initial_peers[99])["status"], "Idle");
}

#[tokio::test]
async fn a_ban_without_a_beginning_does_not_begin_anew_with_each_start() {
    let file = PeerFile::holding(r#"[{ "ip": "127.0.0.2", "status": "Banned" }]"#);
    let mut config = NetworkConfig::new(&file.path, 0);
    config.target_outgoing_connections = 0;
    config.ban_duration = Some(Duration::from_secs(86_400));
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut net = NetworkController::with_config(config.clone()).await.unwrap();
        net.close().await.unwrap();
        begun.push(file.record(ip("127.0.0.2"))["banned_at"].clone());
    }
    assert!(begun[0].is_string(), "{begun:?}");
    assert_eq!(begun[0], begun[1]);
    config.ban_duration = Some(Duration::from_nanos(1));
    let mut net = NetworkController::with_config(config).await.unwrap();
    let wait = tokio::time::timeout(Duration::from_millis(1), net.wait_event());
    wait.await.expect_err("nobody connects");
    assert_eq!(net.stats().peers.banned, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_dump_keeps_permissions_and_follows_a_symbolic_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for bits in [0o600, 0o640, 0o664] {
        let mut file = PeerFile::holding("[]");
        fs::set_permissions(&file.path, fs::Permissions::from_mode(bits)).unwrap();
        let real = file.path.clone();
        file.path = file.folder.path().join("link.json");
        symlink("peers.json", &file.path).unwrap();

        let mut net = file.load().await.unwrap();
        net.feedback_peer_list([ip("127.0.0.2")]).await;
        net.close().await.unwrap();

        assert!(fs::symlink_metadata(&file.path).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&real).unwrap().is_file());
        assert_eq!(mode(&real), bits);
        assert_eq!(file.record(ip("127.0.0.2"))["status"], "Idle");
        assert_eq!(
            fs::read_dir(file.folder.path()).unwrap().count(),
            2,
            "no temporary file is left"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn closing_can_be_retried_after_a_failed_dump() {
    let file = PeerFile::holding("[]");
    let mut net = file.load().await.unwrap();
    net.feedback_peer_list([ip("127.0.0.2")]).await;
    let away = file.folder.path().with_extension("away");
    fs::rename(file.folder.path(), &away).unwrap();

    let error = net.close().await.unwrap_err();
    assert_says(&complaint(&file, error), &["cannot ", "No such file"]);
    assert_eq!(net.stats().counters.dumps_failed, 1);
    assert!(net.stats().last_dump_error.unwrap().contains("No such file"));

    fs::rename(&away, file.folder.path()).unwrap();
    net.close().await.unwrap();
    assert_eq!(file.record(ip("127.0.0.2"))["status"], "Idle");
    net.close().await.expect("after Ok, again is Ok");
}

#[tokio::test]
async fn what_keeps_the_file_from_being_replaced_is_found_at_the_start_and_ends_nothing() {
    let file = PeerFile::holding(r#"[{ "ip": "127.0.0.2" }]"#);
    let obstacle = file.path.with_extension("json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let mut net = file.load().await.unwrap();
    assert_says(
        &net.stats().last_dump_error.unwrap(),
        &["cannot remove", "peers.json.tmp", "(os error "],
    );
    assert_eq!((net.stats().last_dump, net.stats().counters.dumps_failed), (None, 0));
    assert!(net.peer(ip("127.0.0.2")).is_some());
    fs::remove_dir(&obstacle).unwrap();
    net.feedback_peer_banned(ip("127.0.0.3")).await;
    net.close().await.unwrap();
    assert_eq!(net.stats().last_dump_error, None);
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_mended_at_the_start() {
    let whole = r#"[{"ip":"127.0.0.2"}]"#;
    let file = PeerFile::holding(&whole[..9]);
    fs::write(file.path.with_extension("json.tmp"), whole).unwrap();
    let net = file.load().await.unwrap();
    assert!(net.peer(ip("127.0.0.2")).is_some());
    assert_eq!(net.stats().last_dump_error, None);
    assert_eq!(file.bytes(), whole.as_bytes());
    assert!(file.is_alone());
}

/// The field, its value and what would do, of a configuration that cannot work; all three are in the text.
async fn config_error(result: impl Future<Output = Result<NetworkController, NetworkError>>) -> [String; 3] {
    let error = result.await.unwrap_err();
    let text = error.to_string();
    let NetworkError::Config(error) = error else {
        panic!("{text}");
    };
    assert_says(&text, &[error.field(), error.value(), error.expected()]);
    [error.field(), error.value(), error.expected()].map(str::to_owned)
}

#[tokio::test]
async fn an_invalid_config_is_an_error_before_the_file_is_read() {
    let [field, value, expected] = config_error(NetworkController::new("missing.json", 0, 8, 8, 0, 8, 8, 8, 60)).await;
    assert_eq!(field, "max_simultaneous_outgoing_connection_attempts");
    assert_eq!(value, "0");
    assert_says(&expected, &["at least 1", "`target_outgoing_connections` is 8"]);

    let [field, value, expected] = config_error(NetworkController::new("missing.json", 0, 8, 8, 8, 8, 8, 8, 0)).await;
    assert_eq!([field, value], ["peer_file_dump_interval", "0ns"]);
    assert_says(&expected, &["longer than 0"]);
}

#[tokio::test]
async fn config_errors_name_the_field() {
    for (name, bad, json) in [
        ("peer_port", "0", r#"{ "peer_port": 0 }"#),
        ("max_incoming_per_subnet", "0", r#"{ "max_incoming_per_subnet": 0 }"#),
        ("connect_timeout", "0ns", r#"{ "connect_timeout_seconds": 0 }"#),
        ("handshake_timeout", "0ns", r#"{ "handshake_timeout_seconds": 0 }"#),
        ("retry_backoff", "0ns", r#"{ "retry_backoff_seconds": 0 }"#),
        ("max_retry_backoff", "4s", r#"{ "max_retry_backoff_seconds": 4 }"#),
        ("ban_duration", "0ns", r#"{ "ban_duration_seconds": 0 }"#),
    ] {
        let config: NetworkConfig = serde_json::from_str(json).unwrap();
        let [field, value, expected] = config_error(NetworkController::with_config(config)).await;
        assert_eq!([field.as_str(), value.as_str()], [name, bad]);
        assert!(!expected.is_empty());
    }
}
