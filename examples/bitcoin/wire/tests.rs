use bitcoin::consensus::encode::serialize;
use bitcoin::p2p::ServiceFlags;
use proptest::prelude::*;

use super::*;
use crate::addresses;

/// What a wire makes of these bytes, which come in pieces of this length.
fn read(bytes: &[u8], piece: usize) -> (Vec<NetworkMessage>, WireError) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let mut wire = Wire::new(reader, Magic::REGTEST);
        let write = async {
            // Whoever has seen enough stops reading.
            drop(writer.write_all(bytes).await);
            drop(writer);
        };
        let read = async {
            let mut read = Vec::new();
            loop {
                match wire.receive().await {
                    Ok(message) => read.push(message),
                    Err(error) => {
                        drop(wire);
                        return (read, error);
                    }
                }
            }
        };
        tokio::join!(write, read).1
    })
}

fn bytes(message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(Magic::REGTEST, message))
}

#[test]
fn messages_are_found_however_they_are_cut() {
    let version = addresses::version(([60, 1, 0, 1], 19_444).into(), ServiceFlags::NONE, 1);
    let messages = [
        NetworkMessage::Version(version),
        NetworkMessage::Verack,
        NetworkMessage::Ping(3),
    ];
    let all: Vec<u8> = messages.iter().cloned().flat_map(bytes).collect();
    for piece in [1, 2, 23, 24, 25, 1024] {
        let (read, error) = read(&all, piece);
        assert_eq!(read, messages);
        assert!(matches!(error, WireError::Lost(_)));
    }
}

#[test]
fn what_is_wrong_is_seen_at_the_first_byte_that_tells() {
    let mut message = bytes(NetworkMessage::Ping(3));
    let (magic, length, checksum) = (..4, ..20, ..32);
    message[20] ^= 1;
    let (_, error) = read(&message[checksum], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Checksum)));
    message[16..20].copy_from_slice(&4_000_001_u32.to_le_bytes());
    let (_, error) = read(&message[length], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Oversized(4_000_001))));
    message[16..20].copy_from_slice(&4_000_000_u32.to_le_bytes());
    let (_, error) = read(&message[length], 1024);
    assert!(
        matches!(error, WireError::Lost(_)),
        "the longest that is allowed: {error}"
    );
    message[0] ^= 1;
    let (_, error) = read(&message[magic], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Magic(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(command in "[a-z2]{1,12}", payload in proptest::collection::vec(any::<u8>(), 0..200), rest in any::<[u8; 30]>()) {
        let known = ["version", "addr", "addrv2", "inv", "headers", "cmpctblock", "tx", "reject"];
        for command in known.into_iter().chain([&*command]) {
            let command = CommandString::try_from(command.to_owned()).unwrap();
            let mut all = bytes(NetworkMessage::Unknown { command, payload: payload.clone() });
            all.extend(rest);
            let (read, _) = read(&all, 64);
            prop_assert!(read.len() <= 1);
        }
    }
}
