//! A host that dials a node of the Bitcoin protocol and breaks the protocol, each time in another way. It is this same
//! executable started anew.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bitcoin::consensus::encode::serialize;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Address, Magic, ServiceFlags};
use network_lab::program::Program;
use network_lab::topology::Host;

/// The first argument that makes the executable a rogue; its target and its trick follow.
const ROLE: &str = "--lab-rogue";

/// What it says once the other end has hung up.
pub(crate) const HUNG_UP: &str = "hung up";

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    BadMagic,
    BadChecksum,
    Oversized,
    TooManyAddresses,
    SecondVersion,
    /// Connects, and no more.
    Silent,
    /// Sends a byte a second.
    Trickle,
}

impl Trick {
    pub(crate) const ALL: [Self; 7] = [
        Self::BadMagic,
        Self::BadChecksum,
        Self::Oversized,
        Self::TooManyAddresses,
        Self::SecondVersion,
        Self::Silent,
        Self::Trickle,
    ];

    /// Whether only time tells.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::Silent | Self::Trickle)
    }

    /// Has a host play it on a node.
    pub(crate) fn play(self, host: &Host, target: SocketAddr) -> Program {
        let executable = std::env::current_exe().unwrap();
        let arguments = [ROLE, &target.to_string(), &format!("{self:?}")];
        host.spawn(executable.to_str().unwrap(), &arguments)
    }

    fn bytes(self, target: SocketAddr) -> Vec<u8> {
        let hello = message(Magic::REGTEST, version(target));
        let handshake = [&hello[..], &message(Magic::REGTEST, NetworkMessage::Verack)].concat();
        let mut broken = hello.clone();
        match self {
            Self::BadMagic => broken = message(Magic::BITCOIN, version(target)),
            // Behind the magic and the command come the length and the checksum.
            Self::BadChecksum => broken[20] ^= 1,
            Self::Oversized => broken[16..20].fill(0xff),
            Self::TooManyAddresses => {
                let address = Address::new(&target, ServiceFlags::NONE);
                let list = NetworkMessage::Addr(vec![(0, address); 1_001]);
                broken = [handshake, message(Magic::REGTEST, list)].concat();
            }
            Self::SecondVersion => broken = [handshake, hello].concat(),
            Self::Silent => broken.clear(),
            Self::Trickle => {}
        }
        broken
    }
}

/// Runs this process as a rogue, if that is what it was started for.
pub(crate) fn run_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, target, trick] = &arguments[..] else {
        return false;
    };
    if role != ROLE {
        return false;
    }
    let known = Trick::ALL.into_iter().find(|known| format!("{known:?}") == *trick);
    let target = target.parse().expect("an address");
    run(known.expect("a trick"), target).expect("the target listens");
    true
}

/// Ends once the other end has hung up.
fn run(trick: Trick, target: SocketAddr) -> io::Result<()> {
    let mut socket = TcpStream::connect(target)?;
    let bytes = trick.bytes(target);
    if trick == Trick::Trickle {
        let mut writer = socket.try_clone()?;
        thread::spawn(move || {
            for byte in bytes {
                if writer.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
    } else {
        socket.write_all(&bytes)?;
    }
    // Whether it says goodbye or not is nothing to us.
    drop(io::copy(&mut Read::by_ref(&mut socket), &mut io::sink()));
    println!("{HUNG_UP}");
    Ok(())
}

fn version(target: SocketAddr) -> NetworkMessage {
    let address = Address::new(&target, ServiceFlags::NONE);
    let (services, nonce) = (ServiceFlags::NONE, 1);
    let version = VersionMessage::new(services, 0, address.clone(), address, nonce, "/rogue/".to_owned(), 0);
    NetworkMessage::Version(version)
}

fn message(magic: Magic, message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(magic, message))
}
