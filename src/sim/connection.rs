//! A TCP connection in memory: its two ends, and what each of them knows.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

/// How much one end may send before the other has read it, in bytes. A message counts as [`MESSAGE_SIZE`].
pub(super) const WINDOW: usize = 64 * 1024;
pub(super) const MESSAGE_SIZE: usize = 1024;

/// An end of a connection, for ever: an index is used again, with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndId {
    pub(super) index: usize,
    pub(super) generation: u32,
    pub(super) side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Dialer,
    Listener,
}

/// What one end sends to the other.
#[derive(Debug)]
pub(super) enum Packet {
    /// Where it finds a full backlog it comes again after the pause.
    Syn {
        pause: Duration,
    },
    SynAck,
    Ack,
    Data(Chunk),
    Fin,
    Rst,
}

/// What was sent at once.
pub(super) enum Chunk {
    Bytes(Vec<u8>),
    Message(Box<dyn Any + Send>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The listening end of a dial that has not arrived.
    Unborn,
    /// The SYN is on its way.
    Dialing,
    /// The SYN-ACK is on its way.
    HalfOpen,
    /// Connected, but neither has the dial been polled since, nor has the inbound connection been admitted.
    Ready,
    /// The application has the socket.
    Held,
    /// Dropped, or its host was killed.
    Closed,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) addr: SocketAddr,
    pub(super) stage: Stage,
    /// The listener has handed it out.
    pub(super) is_accepted: bool,
    /// The connection was reset, or could not be made.
    pub(super) error: Option<ErrorKind>,
    pub(super) inbox: VecDeque<Chunk>,
    /// How much of the first chunk has been read.
    pub(super) read: usize,
    pub(super) fin_received: bool,
    pub(super) fin_sent: bool,
    /// What this end has sent and the other end has not read.
    pub(super) unread_by_other: usize,
    /// When the last packet that this end sent arrives: packets of one direction do not overtake each other.
    pub(super) last_arrival: Duration,
    /// Waits for the dial, or for something to read.
    pub(super) reader: Option<Waker>,
    /// Waits for room to write.
    pub(super) writer: Option<Waker>,
}

/// The connections that at least one end still needs.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    ends: Option<Box<[End; 2]>>,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Dialer => 0,
            Self::Listener => 1,
        }
    }
}

impl EndId {
    pub(super) fn other(self) -> Self {
        Self {
            side: self.side.other(),
            ..self
        }
    }
}

impl Chunk {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Message(_) => MESSAGE_SIZE,
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Message(_) => f.write_str("a message"),
        }
    }
}

impl End {
    pub(super) fn new(host: usize, addr: SocketAddr, stage: Stage) -> Self {
        Self {
            host,
            addr,
            stage,
            is_accepted: false,
            error: None,
            inbox: VecDeque::new(),
            read: 0,
            fin_received: false,
            fin_sent: false,
            unread_by_other: 0,
            last_arrival: Duration::ZERO,
            reader: None,
            writer: None,
        }
    }

    /// The application has it, and has not been told of its end.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Held && self.error.is_none() && !self.fin_received && !self.fin_sent
    }

    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.unread_by_other)
    }
}

impl Connections {
    pub(super) fn open(&mut self, dialer: End, listener: End) -> EndId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                ends: None,
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.ends = Some(Box::new([dialer, listener]));
        EndId {
            index,
            generation: slot.generation,
            side: Side::Dialer,
        }
    }

    /// `None` once neither end needs the connection any more.
    pub(super) fn get(&self, id: EndId) -> Option<&End> {
        let slot = self.slots.get(id.index)?;
        let ends = slot.ends.as_ref().filter(|_| slot.generation == id.generation)?;
        Some(&ends[id.side.index()])
    }

    pub(super) fn get_mut(&mut self, id: EndId) -> Option<&mut End> {
        let slot = self.slots.get_mut(id.index)?;
        let ends = slot.ends.as_mut().filter(|_| slot.generation == id.generation)?;
        Some(&mut ends[id.side.index()])
    }

    /// Frees the connection if neither end needs it any more.
    pub(super) fn release(&mut self, id: EndId) {
        let is_over = |id| {
            self.get(id)
                .is_some_and(|end| matches!(end.stage, Stage::Unborn | Stage::Closed))
        };
        if !is_over(id) || !is_over(id.other()) {
            return;
        }
        let slot = &mut self.slots[id.index];
        slot.ends = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
    }

    /// The dialing and the listening end of each connection, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EndId, &[End; 2])> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = EndId {
                index,
                generation: slot.generation,
                side: Side::Dialer,
            };
            Some((id, &**slot.ends.as_ref()?))
        })
    }
}
