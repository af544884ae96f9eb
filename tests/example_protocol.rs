//! The wire protocol of the example nodes: what it reads is what it wrote, and no line that a stranger could send makes
//! it panic or grow.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use network_examples::protocol::{Lines, MAX_LINE, MAX_PEERS, Message, ProtocolError};
use proptest::prelude::*;
use tokio::io::BufReader;

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(|nonce| Message::Hello { nonce }),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        Just(Message::GetPeers),
        proptest::collection::vec(any::<IpAddr>(), 0..=MAX_PEERS).prop_map(Message::Peers),
        Just(Message::Bye),
    ]
}

proptest! {
    #[test]
    fn a_message_reads_as_it_was_written(message in any_message()) {
        let line = message.to_string();
        prop_assert!(line.len() <= MAX_LINE);
        prop_assert_eq!(Message::parse(line.as_bytes()).unwrap(), message);
    }

    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&line);
    }
}

#[test]
fn the_longest_peer_list_fits_in_a_line() {
    let longest = IpAddr::V6(Ipv6Addr::from([0xff; 16]));
    assert!(Message::Peers(vec![longest; MAX_PEERS]).to_string().len() <= MAX_LINE);
    let too_many = Message::Peers(vec![longest; MAX_PEERS + 1]).to_string();
    assert!(matches!(
        Message::parse(too_many.as_bytes()),
        Err(ProtocolError::Malformed("PEERS"))
    ));
}

#[test]
fn what_is_no_message_is_refused() {
    for line in [
        "",
        "HELLO",
        "HELLO network-example/1 zz",
        "PING",
        "PING -1",
        "PONG x",
        "GETPEERS 5",
        "PEERS me",
        "BYE!",
    ] {
        assert!(Message::parse(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(matches!(
        Message::parse(b"HELLO network-example/2 00"),
        Err(ProtocolError::OtherVersion(_))
    ));
    assert!(matches!(Message::parse(b"\xff"), Err(ProtocolError::NotText)));
}

/// The lines of `bytes`, read through a buffer of `capacity`.
async fn lines(bytes: &[u8], capacity: usize) -> Vec<io::Result<Result<Vec<u8>, ProtocolError>>> {
    let mut lines = Lines::new(BufReader::with_capacity(capacity, bytes));
    let mut read = Vec::new();
    loop {
        let line = lines.next_line().await;
        let is_last = !matches!(line, Ok(Ok(_)));
        read.push(line);
        if is_last {
            return read;
        }
    }
}

#[tokio::test]
async fn lines_are_found_whatever_the_buffer() {
    for capacity in [1, 2, 3, 1024] {
        let read = lines(b"BYE\n\nPING 1\nrest", capacity).await;
        let whole: Vec<_> = read.iter().flatten().flatten().collect();
        assert_eq!(whole, [&b"BYE"[..], b"", b"PING 1"]);
        assert!(matches!(read.last(), Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
}

#[tokio::test]
async fn a_line_without_end_is_not_waited_for() {
    let mut bytes = vec![b'x'; MAX_LINE];
    bytes.push(b'\n');
    assert!(matches!(lines(&bytes, 16).await[..], [Ok(Ok(_)), Err(_)]));
    bytes.insert(0, b'x');
    assert!(matches!(lines(&bytes, 16).await[..], [Ok(Err(ProtocolError::TooLong))]));
}
