//! For tests of a node of one's own: networks that exist only in memory. Compiled with the cargo feature `sim` only.

pub use crate::transport::memory;
