//! The names of dials and connections.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::hasher::NumberHasher;

/// Names one dial or one inbound socket, from its start to the end of the connection that may come of it.
/// Ids are never used twice, so that whatever speaks of a connection that is over can be told from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Something for each of many dials or connections.
pub(crate) type ByConnection<V> = HashMap<ConnectionId, V, BuildHasherDefault<NumberHasher>>;
