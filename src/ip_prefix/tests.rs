use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tests::ip;

fn prefix(text: &str) -> IpPrefix {
    text.parse().unwrap()
}

#[test]
fn a_prefix_has_its_addresses_and_no_others() {
    let cases = [
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        (
            "192.0.2.128/25",
            "192.0.2.128",
            "192.0.2.255",
            "192.0.2.127",
            "192.0.3.0",
        ),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.0", "192.0.2.2"),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", "::", "2001:db8::1"),
        (
            "2001:db8::/32",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
        ),
        (
            "::/0",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "0.0.0.0",
            "255.255.255.255",
        ),
        ("::1", "::1", "::1", "::", "::2"),
    ];
    for (text, first, last, below, above) in cases {
        let prefix = prefix(text);
        assert_eq!((prefix.first(), prefix.last()), (ip(first), ip(last)), "{text}");
        assert!([first, last].iter().all(|inside| prefix.contains(ip(inside))), "{text}");
        assert!(
            [below, above].iter().all(|outside| !prefix.contains(ip(outside))),
            "{text}"
        );
    }
}

#[test]
fn a_prefix_is_canonical() {
    for (text, shown) in [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("2001:DB8:0:0::/48", "2001:db8::/48"),
        ("::/80", "::/80"),
    ] {
        assert_eq!(prefix(text).to_string(), shown);
        assert_eq!(prefix(text), prefix(shown));
    }
    assert!(prefix("10.0.0.0/8").contains(ip("::ffff:10.1.2.3")));
    assert!(
        !prefix("::/80").contains(ip("::ffff:10.1.2.3")),
        "that is an IPv4 address"
    );
    assert_eq!(IpPrefix::from(ip("::ffff:192.0.2.1")), prefix("192.0.2.1"));
    assert_eq!(format!("{:>12}", prefix("10.0.0.0/8")), "  10.0.0.0/8");
}

#[test]
fn bits_beyond_the_length_are_an_error_that_names_the_right_prefix() {
    for (text, right) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("192.0.2.1/31", "192.0.2.0/31"),
        ("1.2.3.4/0", "0.0.0.0/0"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/64", "::/64"),
        ("::ffff:0.0.0.0/95", "::fffe:0:0/95"),
    ] {
        let error = text.parse::<IpPrefix>().unwrap_err();
        let expected = prefix(right);
        let wanted = IpPrefixError::HostBits {
            text: text.to_owned(),
            expected,
        };
        assert_eq!(error, wanted);
        let (_, len) = text.split_once('/').unwrap();
        assert_eq!(
            error.to_string(),
            format!("`{text}` has bits set beyond its first {len}, expected `{right}`")
        );
    }
}

#[test]
fn what_is_no_prefix_is_an_error_that_says_so() {
    for text in [
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/ 8",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "peer",
        "10.0.0.0:80",
        "fe80::1%eth0/64",
        " 10.0.0.0/8",
    ] {
        let error = text.parse::<IpPrefix>().unwrap_err();
        assert_eq!(error, IpPrefixError::Malformed { text: text.to_owned() });
        assert!(error.to_string().contains("10.0.0.0/8"));
    }
    for (text, longest) in [
        ("10.0.0.0/33", 32),
        ("::/129", 128),
        ("::/256", 128),
        ("10.0.0.0/4294967296", 32),
    ] {
        let error = text.parse::<IpPrefix>().unwrap_err();
        assert_eq!(
            error,
            IpPrefixError::TooLong {
                text: text.to_owned(),
                longest
            }
        );
    }
}

#[test]
fn in_a_file_it_is_a_string() {
    let list = vec![prefix("10.0.0.0/8"), prefix("2001:db8::1")];
    assert_eq!(
        serde_json::to_value(&list).unwrap(),
        json!(["10.0.0.0/8", "2001:db8::1"])
    );
    assert_eq!(
        serde_json::from_value::<Vec<IpPrefix>>(json!(["10.0.0.0/8", "2001:db8::1"])).unwrap(),
        list
    );
    let error = serde_json::from_str::<IpPrefix>("\"10.0.0.1/8\"").unwrap_err();
    assert!(error.to_string().contains("expected `10.0.0.0/8`"), "{error}");
    assert!(serde_json::from_value::<IpPrefix>(json!(10)).is_err());
}

proptest! {
    #[test]
    fn what_is_shown_is_read(bits: u128, len in 0..=128_u8, is_v4: bool) {
        let ip = if is_v4 {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        };
        let prefix = IpPrefix::around(ip, len.min(longest(ip)));
        prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        prop_assert!(prefix.contains(ip));
    }

    #[test]
    fn no_text_panics(text in "[0-9a-f:./%]{0,24}") {
        let _ = text.parse::<IpPrefix>();
    }
}
