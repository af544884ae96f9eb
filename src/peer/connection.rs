//! The names of dials, connections and parked sockets. None is ever used twice, so that a report about a connection that
//! is over can be told from one about its successor.

use std::num::NonZeroU64;

/// Names a peer's slot in the table, which is another peer's once the peer is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) u32);

/// Names a dial or an admitted socket, from its start to the end of the connection that may come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Rises with each new one.
    pub(crate) number: NonZeroU64,
    pub(crate) peer: PeerId,
}

/// Names an inbound socket that is held until it is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParkedId(pub(crate) NonZeroU64);

#[cfg(test)]
impl ConnectionId {
    /// A connection that no table knows.
    pub(crate) fn numbered(number: u64) -> Self {
        let number = NonZeroU64::new(number).expect("numbers begin with 1");
        Self {
            number,
            peer: PeerId(u32::MAX),
        }
    }
}
