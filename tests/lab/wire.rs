//! A cable between two interfaces on which packets are late or lost, for kernels without netem. It is this same
//! executable started anew, as a program of the switch.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::topology::Weather;

/// The first argument that makes the executable a wire; see [`arguments`] for the others.
const ROLE: &str = "--lab-wire";

/// What it says once it is laid.
pub const READY: &str = "ready";

/// More than any frame of an interface without segmentation.
const MAX_FRAME: usize = 16 * 1024;

/// What to start the executable with for a wire between these interfaces. The weather is that of what comes from
/// `near`; what goes to it passes as it is.
pub fn arguments(near: &str, far: &str, weather: Weather) -> [String; 5] {
    let (delay, loss) = (weather.delay.as_millis().to_string(), weather.loss_percent.to_string());
    [ROLE.to_owned(), near.to_owned(), far.to_owned(), delay, loss]
}

/// Runs this process as a wire, if that is what it was started for.
pub fn run_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, near, far, delay, loss] = &arguments[..] else {
        return false;
    };
    if role != ROLE {
        return false;
    }
    let delay = Duration::from_millis(delay.parse().expect("a delay in milliseconds"));
    let loss = loss.parse().expect("a loss in percent");
    run(near, far, delay, loss).expect("the interfaces are there");
    true
}

/// Carries frames until the interfaces are gone.
fn run(near: &str, far: &str, delay: Duration, loss: u64) -> io::Result<()> {
    let mut dice = Dice::named(near);
    let (near, far) = (open(near)?, open(far)?);
    let (mut from_near, mut to_near) = (near.try_clone()?, near);
    let (mut from_far, mut to_far) = (far.try_clone()?, far);
    let (sender, late) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (due, frame) in late {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            send(&mut to_far, &frame);
        }
    });
    thread::spawn(move || {
        while let Ok(frame) = receive(&mut from_far) {
            send(&mut to_near, &frame);
        }
    });
    println!("{READY}");
    while let Ok(frame) = receive(&mut from_near) {
        if dice.percent() >= loss && sender.send((Instant::now() + delay, frame)).is_err() {
            break;
        }
    }
    Ok(())
}

/// All frames of one interface, in and out. Our own are not shown to us.
#[cfg(target_os = "linux")]
fn open(interface: &str) -> io::Result<File> {
    use nix::ifaddrs::getifaddrs;
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, socket};
    use std::os::fd::AsRawFd;

    let address = getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .ok_or(io::ErrorKind::NotFound)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    bind(socket.as_raw_fd(), &address)?;
    Ok(File::from(socket))
}

#[cfg(not(target_os = "linux"))]
fn open(_interface: &str) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn receive(interface: &mut File) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME];
    let length = loop {
        match interface.read(&mut frame) {
            // It may come up again.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
            read => break read?,
        }
    };
    frame.truncate(length);
    fill_in_checksum(&mut frame);
    Ok(frame)
}

/// An interface that is down loses what is sent to it.
fn send(interface: &mut File, frame: &[u8]) {
    drop(interface.write(frame));
}

/// A die that falls the same way in each run, but not for each wire.
struct Dice(u64);

impl Dice {
    /// By FNV-1a.
    fn named(name: &str) -> Self {
        let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// By xorshift (Marsaglia, 2003).
    fn percent(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 100
    }
}

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];

/// Between interfaces of one kernel the checksums of TCP and UDP are left to the network card, which we are.
fn fill_in_checksum(frame: &mut [u8]) {
    if frame.len() < ETHERNET + 20 || frame[12..14] != IPV4 {
        return;
    }
    let packet = &mut frame[ETHERNET..];
    let header = usize::from(packet[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let (protocol, at) = match packet[9] {
        6 => (6, 16),
        17 => (17, 6),
        _ => return,
    };
    if total > packet.len() || total < header + at + 2 {
        return;
    }
    let (head, segment) = packet[..total].split_at_mut(header);
    segment[at..at + 2].fill(0);
    let length = u32::try_from(segment.len()).unwrap_or_default();
    let sum = words(&head[12..20]) + words(segment) + protocol + length;
    let checksum = fold(sum);
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn words(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| [word[0], word.get(1).copied().unwrap_or(0)]);
    words.map(|word| u32::from(u16::from_be_bytes(word))).sum()
}

/// The ones' complement sum of RFC 1071.
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    !u16::try_from(twice).unwrap_or_default()
}
