use proptest::prelude::*;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, F64Deserializer, I64Deserializer, U64Deserializer};
use serde_json::{Value, json};

use super::*;

/// One setting, and the field that `validate` blames for it; `None` where it should be content.
fn assert_validates(blamed: Option<&str>, set: impl FnOnce(&mut NetworkConfig)) {
    let mut config = NetworkConfig::in_memory(0);
    set(&mut config);
    let error = config.validate().err();
    assert_eq!(error.as_ref().map(ConfigError::field), blamed);
}

fn from_json(value: Value) -> Result<NetworkConfig, serde_json::Error> {
    serde_json::from_value(value)
}

fn through_json(config: &NetworkConfig) -> NetworkConfig {
    let text = serde_json::to_string(config).expect("a config is valid JSON");
    serde_json::from_str(&text).expect("a config reads back")
}

#[test]
fn defaults_work() {
    assert_eq!(NetworkConfig::in_memory(0).validate(), Ok(()));
    assert_eq!(NetworkConfig::new("peers.json", 31244).validate(), Ok(()));
}

#[test]
fn new_differs_from_in_memory_by_the_file_alone() {
    let mut config = NetworkConfig::new("peers.json", 31244);
    assert_eq!(config.peers_file.take().as_deref(), Some(Path::new("peers.json")));
    assert_eq!(config, NetworkConfig::in_memory(31244));
}

#[test]
fn a_target_needs_an_attempt() {
    const FIELD: &str = "max_simultaneous_outgoing_connection_attempts";
    for (target, attempts, blamed) in [(1, 0, Some(FIELD)), (1, 1, None), (0, 0, None), (0, 1, None)] {
        assert_validates(blamed, |config| {
            config.target_outgoing_connections = target;
            config.max_simultaneous_outgoing_connection_attempts = attempts;
        });
    }
}

#[test]
fn times_are_not_zero() {
    const TICK: Duration = Duration::from_nanos(1);
    for (time, fails) in [(Duration::ZERO, true), (TICK, false), (Duration::MAX, false)] {
        let blamed = |field: &'static str| fails.then_some(field);
        assert_validates(blamed("peer_file_dump_interval"), |c| c.peer_file_dump_interval = time);
        assert_validates(blamed("connect_timeout"), |c| c.connect_timeout = time);
        assert_validates(blamed("handshake_timeout"), |c| c.handshake_timeout = Some(time));
        assert_validates(blamed("ban_duration"), |c| c.ban_duration = Some(time));
        assert_validates(blamed("rotation_interval"), |c| c.rotation_interval = Some(time));
        assert_validates(blamed("retry_backoff"), |c| {
            c.retry_backoff = time;
            c.max_retry_backoff = time;
        });
    }
}

#[test]
fn backoff_grows_to_its_maximum() {
    let backoff = Duration::from_secs(7);
    let tick = Duration::from_nanos(1);
    let cases = [
        (backoff - tick, Some("max_retry_backoff")),
        (backoff, None),
        (backoff + tick, None),
    ];
    for (max, blamed) in cases {
        assert_validates(blamed, |config| {
            config.retry_backoff = backoff;
            config.max_retry_backoff = max;
        });
    }
}

#[test]
fn options_are_absent_or_allow_something() {
    assert_validates(Some("peer_port"), |c| c.peer_port = Some(0));
    assert_validates(None, |c| c.peer_port = Some(1));
    assert_validates(Some("max_incoming_per_subnet"), |c| c.max_incoming_per_subnet = Some(0));
    assert_validates(None, |c| c.max_incoming_per_subnet = Some(1));
    assert_validates(None, |c| c.handshake_timeout = None);
    assert_validates(None, |c| c.rotation_interval = None);
}

#[test]
fn reserved_peers_are_peers_and_leave_half_of_the_room() {
    let peers = |count: u8| (1..=count).map(|host| IpAddr::from([60, 1, 0, host])).collect();
    for (count, idle, blamed) in [
        (0, 0, None),
        (1, 1, Some("reserved_peers")),
        (1, 2, None),
        (3, 6, None),
        (4, 7, Some("reserved_peers")),
    ] {
        assert_validates(blamed, |c| (c.reserved_peers, c.max_idle_peers) = (peers(count), idle));
    }
    for no_peer in ["0.0.0.0", "::ffff:0.0.0.0", "224.0.0.1"] {
        assert_validates(Some("reserved_peers"), |c| {
            c.reserved_peers = vec![no_peer.parse().unwrap()];
        });
    }
}

#[test]
fn zeros_that_mean_something_work() {
    assert_validates(None, |c| c.dial_stagger = Duration::ZERO);
    assert_validates(None, |c| c.max_incoming_connections = 0);
    assert_validates(None, |c| c.max_simultaneous_incoming_connection_attempts = 0);
    assert_validates(None, |c| c.max_idle_peers = 0);
    assert_validates(None, |c| c.max_banned_peers = 0);
}

#[test]
fn an_error_names_field_value_and_remedy() {
    let mut config = NetworkConfig::in_memory(0);
    config.max_retry_backoff = Duration::from_millis(1500);
    let error = config.validate().expect_err("1.5 s is below 5 s");
    assert_eq!(error.value(), "1.5s");
    assert_eq!(error.expected(), "at least `retry_backoff`, which is 5s");
    assert_eq!(
        error.to_string(),
        "`max_retry_backoff` is 1.5s, expected at least `retry_backoff`, which is 5s"
    );
}

#[test]
fn absent_fields_take_their_defaults() {
    assert_eq!(from_json(json!({})).unwrap(), NetworkConfig::in_memory(0));
    let config = from_json(json!({ "peers_file": "peers.json", "listen_port": 31244 })).unwrap();
    assert_eq!(config, NetworkConfig::new("peers.json", 31244));
}

#[test]
fn unknown_fields_are_refused() {
    for field in ["lisen_port", "peer_file_dump_interval", "clock", "seed"] {
        let error = from_json(json!({ field: 1 })).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn every_field_survives_json() {
    let mut config = NetworkConfig::new("some/peers.json", 1);
    config.target_outgoing_connections = 2;
    config.max_incoming_connections = 3;
    config.max_simultaneous_outgoing_connection_attempts = 4;
    config.max_simultaneous_incoming_connection_attempts = 5;
    config.max_idle_peers = 6;
    config.max_banned_peers = 7;
    config.peer_file_dump_interval = Duration::from_secs(8);
    config.initial_peers = vec!["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    config.listen_ip = "127.0.0.10".parse().unwrap();
    config.peer_port = Some(11);
    config.connect_timeout = Duration::from_millis(12);
    config.dial_stagger = Duration::ZERO;
    config.handshake_timeout = None;
    config.retry_backoff = Duration::from_secs(14);
    config.max_retry_backoff = Duration::from_secs_f64(15.5);
    config.ban_duration = Some(Duration::from_micros(16));
    config.max_incoming_per_subnet = Some(17);
    config.rotation_interval = Some(Duration::from_secs(18));
    config.evict_incoming = true;
    config.global_peers_only = true;
    config.reserved_peers = vec!["192.0.2.10".parse().unwrap()];
    config.denied = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
    config.allowed = vec!["192.0.2.1".parse().unwrap()];
    assert_eq!(through_json(&config), config);
}

#[test]
fn a_prefix_with_host_bits_is_an_error_that_names_the_right_one() {
    let error = from_json(json!({ "denied": ["10.0.0.0/8", "10.0.0.1/8"] }))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`10.0.0.0/8`"), "{error}");
}

#[test]
fn clock_and_seed_stay_out_of_files() {
    let mut config = NetworkConfig::in_memory(0);
    config.clock = Clock::Tokio {
        start: DateTime::UNIX_EPOCH,
    };
    config.seed = Some(1);
    assert_eq!(through_json(&config), NetworkConfig::in_memory(0));
}

#[test]
fn durations_are_written_as_seconds() {
    let mut config = NetworkConfig::in_memory(0);
    config.handshake_timeout = Some(Duration::from_millis(1500));
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["peer_file_dump_interval_seconds"], json!(600));
    assert_eq!(written["dial_stagger_seconds"], json!(0.25));
    assert_eq!(written["handshake_timeout_seconds"], json!(1.5));
    assert_eq!(written["ban_duration_seconds"], Value::Null);
}

#[test]
fn a_time_that_is_longer_than_files_can_say_is_written_as_the_longest() {
    let longest = Duration::from_secs(i64::MAX.unsigned_abs());
    let tick = Duration::from_nanos(1);
    for time in [Duration::MAX, Duration::from_secs(u64::MAX), longest + tick, longest] {
        let mut config = NetworkConfig::in_memory(0);
        config.peer_file_dump_interval = time;
        config.connect_timeout = time;
        config.dial_stagger = time;
        config.handshake_timeout = Some(time);
        (config.retry_backoff, config.max_retry_backoff) = (time, time);
        config.ban_duration = Some(time);
        let read = through_json(&config);
        assert_eq!(read.peer_file_dump_interval, longest, "{time:?}");
        assert_eq!(read.ban_duration, Some(longest), "{time:?}");
        assert_eq!(through_json(&read), read);
        assert_eq!(read.validate(), Ok(()));
    }
}

#[test]
fn a_fraction_that_a_float_cannot_hold_is_left_out() {
    const SECONDS: u64 = 1 << 53;
    for (seconds, written) in [(SECONDS - 1, json!(9_007_199_254_740_992.0)), (SECONDS, json!(SECONDS))] {
        let mut config = NetworkConfig::in_memory(0);
        config.retry_backoff = Duration::new(seconds, 999_999_999);
        assert_eq!(serde_json::to_value(&config).unwrap()["retry_backoff_seconds"], written);
    }
}

#[test]
fn seconds_are_read_from_integers_floats_and_null() {
    let config = from_json(json!({ "connect_timeout_seconds": 2, "handshake_timeout_seconds": 2.0 })).unwrap();
    assert_eq!(config.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.handshake_timeout, Some(Duration::from_secs(2)));
    let config = from_json(json!({ "handshake_timeout_seconds": null, "ban_duration_seconds": 3600 })).unwrap();
    assert_eq!(config.handshake_timeout, None);
    assert_eq!(config.ban_duration, Some(Duration::from_secs(3600)));
}

#[test]
fn bad_seconds_are_errors() {
    for bad in [json!(-1), json!(-0.5), json!(1e300), json!("5"), json!([5])] {
        assert!(from_json(json!({ "connect_timeout_seconds": bad })).is_err(), "{bad}");
        assert!(from_json(json!({ "ban_duration_seconds": bad })).is_err(), "{bad}");
    }
    assert!(from_json(json!({ "connect_timeout_seconds": null })).is_err());
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5, 1e300] {
        let number: F64Deserializer<ValueError> = bad.into_deserializer();
        assert!(seconds::deserialize(number).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn durations_of_days_survive_to_the_nanosecond(seconds in 0..1_000_000_u64, nanos in 0..1_000_000_000_u32) {
        let mut config = NetworkConfig::in_memory(0);
        config.connect_timeout = Duration::new(seconds, nanos);
        config.ban_duration = Some(config.connect_timeout);
        prop_assert_eq!(through_json(&config), config);
    }

    #[test]
    fn whole_seconds_survive_up_to_the_longest_that_every_format_has(seconds in 0..=i64::MAX.unsigned_abs()) {
        let mut config = NetworkConfig::in_memory(0);
        config.peer_file_dump_interval = Duration::from_secs(seconds);
        prop_assert_eq!(through_json(&config), config);
    }

    #[test]
    fn whatever_is_written_is_read_again(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
        let mut config = NetworkConfig::in_memory(0);
        config.retry_backoff = Duration::new(seconds, nanos);
        let read = through_json(&config).retry_backoff;
        // A float of that many seconds is as far from its neighbours.
        let error = read.abs_diff(config.retry_backoff).as_secs_f64();
        let longest = i64::MAX.unsigned_abs();
        prop_assert!(error <= config.retry_backoff.as_secs_f64() * f64::EPSILON + 1e-9 || seconds >= longest, "{read:?}");
    }

    #[test]
    fn reading_any_number_never_panics(unsigned in any::<u64>(), signed in any::<i64>(), float in any::<f64>()) {
        let number: U64Deserializer<ValueError> = unsigned.into_deserializer();
        prop_assert!(seconds::deserialize(number).is_ok());
        let number: I64Deserializer<ValueError> = signed.into_deserializer();
        prop_assert_eq!(seconds::deserialize(number).is_ok(), signed >= 0);
        let number: F64Deserializer<ValueError> = float.into_deserializer();
        let _ = seconds::deserialize(number);
    }
}
