//! Whose fault an error of the kernel is: what a failed dial or a failed accept says about this host, the way, the peer.
//!
//! Pure. An [`io::ErrorKind`] decides where there is one, so that errors made by hand and other transports count as the
//! kernel's own do; only for the rest the raw number is looked at.

use std::io::{self, ErrorKind};

/// Whose fault a failed dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFault {
    /// This host has run out of something: files, memory, or local ports and addresses to dial from.
    Host,
    /// No route from here to there, which may be the fault of either end.
    Unroutable {
        /// The dial failed in its very first poll, so nothing has left this host.
        at_once: bool,
    },
    /// The dial took longer than the pool or the kernel allows.
    TimedOut,
    /// The peer refused or reset.
    Peer,
}

/// A failed dial: whose fault it is, and what the error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialError {
    /// Whose fault it is.
    pub fault: DialFault,
    /// The error's kind, where there is one.
    pub kind: Option<ErrorKind>,
}

impl DialError {
    /// As [`DialFault::of`].
    pub(crate) fn of(error: &io::Error, at_once: bool) -> Self {
        Self {
            fault: DialFault::of(error, at_once),
            kind: Some(error.kind()),
        }
    }
}

impl From<DialFault> for DialError {
    fn from(fault: DialFault) -> Self {
        let kind = (fault == DialFault::TimedOut).then_some(ErrorKind::TimedOut);
        Self { fault, kind }
    }
}

impl DialFault {
    /// Whose fault it is that a dial failed with `error`; `at_once` as [`Self::Unroutable`] has it.
    pub(crate) fn of(error: &io::Error, at_once: bool) -> Self {
        match error.kind() {
            // As documented at `Transport::dial`, this says that no local address or port is left.
            ErrorKind::AddrInUse | ErrorKind::OutOfMemory => Self::Host,
            ErrorKind::AddrNotAvailable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::HostUnreachable
            | ErrorKind::InvalidInput
            | ErrorKind::PermissionDenied => Self::Unroutable { at_once },
            ErrorKind::TimedOut => Self::TimedOut,
            _ if is_one_of(error, code::OUT_OF_FILES) || is_one_of(error, code::OUT_OF_BUFFERS) => Self::Host,
            _ if is_one_of(error, code::NO_SUCH_FAMILY) || is_one_of(error, code::NO_NEIGHBOUR) => {
                Self::Unroutable { at_once }
            }
            _ => Self::Peer,
        }
    }
}

/// Why a connection could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFault {
    /// That one connection is dead; the next one may be accepted at once.
    Aborted,
    /// The process or the host has as many files open as it may have.
    OutOfFiles,
    /// The host has no memory for another socket.
    OutOfMemory,
    /// Anything else.
    Other,
}

impl AcceptFault {
    /// Why `error` kept a connection from being accepted.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => Self::Aborted,
            ErrorKind::OutOfMemory => Self::OutOfMemory,
            _ if is_one_of(error, code::PENDING_ON_ACCEPT) => Self::Aborted,
            _ if is_one_of(error, code::OUT_OF_FILES) => Self::OutOfFiles,
            _ if is_one_of(error, code::OUT_OF_BUFFERS) => Self::OutOfMemory,
            _ => Self::Other,
        }
    }
}

/// Whether `error` says that this host does not have the address, or the whole address family, that was to be bound.
pub(crate) fn is_address_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || is_one_of(error, code::NO_SUCH_FAMILY)
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Linux, as on every architecture but MIPS and SPARC, which number their errors their own way.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(any(
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "mips32r6",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64"
    ))
))]
mod code {
    /// EMFILE, ENFILE.
    pub(super) const OUT_OF_FILES: &[i32] = &[24, 23];
    /// ENOBUFS.
    pub(super) const OUT_OF_BUFFERS: &[i32] = &[105];
    /// EAFNOSUPPORT.
    pub(super) const NO_SUCH_FAMILY: &[i32] = &[97];
    /// What connect(2) says of a neighbour that is switched off: EHOSTUNREACH, which has a kind.
    pub(super) const NO_NEIGHBOUR: &[i32] = &[];
    /// EPROTO, ENOPROTOOPT, EHOSTDOWN, EOPNOTSUPP, ENONET: what accept(2) passes on from the new socket.
    pub(super) const PENDING_ON_ACCEPT: &[i32] = &[71, 92, 112, 95, 64];
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod code {
    /// EMFILE, ENFILE.
    pub(super) const OUT_OF_FILES: &[i32] = &[24, 23];
    /// ENOBUFS.
    pub(super) const OUT_OF_BUFFERS: &[i32] = &[55];
    /// EAFNOSUPPORT.
    pub(super) const NO_SUCH_FAMILY: &[i32] = &[47];
    /// EHOSTDOWN: what connect(2) says of a neighbour that is switched off.
    pub(super) const NO_NEIGHBOUR: &[i32] = &[64];
    /// EHOSTDOWN.
    pub(super) const PENDING_ON_ACCEPT: &[i32] = &[64];
}

#[cfg(windows)]
mod code {
    /// `WSAEMFILE`, `ERROR_TOO_MANY_OPEN_FILES`.
    pub(super) const OUT_OF_FILES: &[i32] = &[10024, 4];
    /// `WSAENOBUFS`.
    pub(super) const OUT_OF_BUFFERS: &[i32] = &[10055];
    /// `WSAEAFNOSUPPORT`.
    pub(super) const NO_SUCH_FAMILY: &[i32] = &[10047];
    /// `WSAEHOSTDOWN`.
    pub(super) const NO_NEIGHBOUR: &[i32] = &[10064];
    /// `WSAEHOSTDOWN`.
    pub(super) const PENDING_ON_ACCEPT: &[i32] = &[10064];
}

/// Numbers that are not known here: the kinds decide alone.
#[cfg(not(any(
    all(
        any(target_os = "linux", target_os = "android"),
        not(any(
            target_arch = "mips",
            target_arch = "mips64",
            target_arch = "mips32r6",
            target_arch = "mips64r6",
            target_arch = "sparc",
            target_arch = "sparc64"
        ))
    ),
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    windows
)))]
mod code {
    pub(super) const OUT_OF_FILES: &[i32] = &[];
    pub(super) const OUT_OF_BUFFERS: &[i32] = &[];
    pub(super) const NO_SUCH_FAMILY: &[i32] = &[];
    pub(super) const NO_NEIGHBOUR: &[i32] = &[];
    pub(super) const PENDING_ON_ACCEPT: &[i32] = &[];
}

#[cfg(test)]
mod tests;
