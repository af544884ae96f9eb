//! Whose fault an error of the kernel is: what a failed dial or a failed accept says about this host, the way, the peer.
//!
//! Pure. An [`io::ErrorKind`] decides where there is one, so that errors made by hand and other transports count as the
//! kernel's own do; only for the rest the raw number is looked at.

use std::io::{self, ErrorKind};

/// Whose fault a failed dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFault {
    /// This host has run out of something: files, memory, ports, or the address to dial from.
    Host,
    /// No way from here to there, which may be the fault of either end.
    Unroutable {
        /// The dial failed in its first poll: nothing left this host.
        at_once: bool,
    },
    /// The dial took longer than `connect_timeout`, or than the system lets it.
    TimedOut,
    /// The peer refused or reset.
    Peer,
}

impl DialFault {
    /// Whose fault it is that a dial failed with `error`.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            // A dial binds to port 0 at most: "in use" says that no local port is left.
            ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::OutOfMemory => Self::Host,
            ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::HostUnreachable
            | ErrorKind::InvalidInput
            | ErrorKind::PermissionDenied => Self::Unroutable { at_once: false },
            _ if is_one_of(error, code::OUT_OF_FILES) || is_one_of(error, code::OUT_OF_BUFFERS) => Self::Host,
            _ if is_one_of(error, code::NO_SUCH_FAMILY) => Self::Unroutable { at_once: false },
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
    pub(super) const PENDING_ON_ACCEPT: &[i32] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial_fault(kind: ErrorKind) -> DialFault {
        DialFault::of(&io::Error::from(kind))
    }

    #[test]
    fn kinds_made_by_hand_are_told_apart() {
        assert_eq!(dial_fault(ErrorKind::AddrNotAvailable), DialFault::Host);
        assert_eq!(dial_fault(ErrorKind::OutOfMemory), DialFault::Host);
        assert_eq!(
            dial_fault(ErrorKind::NetworkUnreachable),
            DialFault::Unroutable { at_once: false }
        );
        assert_eq!(
            dial_fault(ErrorKind::HostUnreachable),
            DialFault::Unroutable { at_once: false }
        );
        assert_eq!(
            dial_fault(ErrorKind::InvalidInput),
            DialFault::Unroutable { at_once: false }
        );
        assert_eq!(
            dial_fault(ErrorKind::PermissionDenied),
            DialFault::Unroutable { at_once: false }
        );
        assert_eq!(dial_fault(ErrorKind::ConnectionRefused), DialFault::Peer);
        assert_eq!(dial_fault(ErrorKind::ConnectionReset), DialFault::Peer);
        assert_eq!(dial_fault(ErrorKind::TimedOut), DialFault::Peer);
        assert_eq!(dial_fault(ErrorKind::Other), DialFault::Peer);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn dial_errors_of_the_kernel_are_told_apart() {
        let faults = |codes: &[i32]| -> Vec<DialFault> {
            codes
                .iter()
                .map(|code| DialFault::of(&io::Error::from_raw_os_error(*code)))
                .collect()
        };
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EADDRINUSE.
        assert_eq!(faults(&[24, 23, 105, 12, 99, 98]), [DialFault::Host; 6]);
        // ENETUNREACH, EHOSTUNREACH, EINVAL, EAFNOSUPPORT, EACCES, EPERM, ENETDOWN.
        assert_eq!(
            faults(&[101, 113, 22, 97, 13, 1, 100]),
            [DialFault::Unroutable { at_once: false }; 7]
        );
        // ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTDOWN, EPROTO.
        assert_eq!(faults(&[111, 104, 110, 112, 71]), [DialFault::Peer; 5]);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn accept_errors_of_the_kernel_are_told_apart() {
        let faults = |codes: &[i32]| -> Vec<AcceptFault> {
            codes
                .iter()
                .map(|code| AcceptFault::of(&io::Error::from_raw_os_error(*code)))
                .collect()
        };
        // ECONNABORTED, ECONNRESET, EINTR, EPIPE, ENOTCONN, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN.
        assert_eq!(
            faults(&[103, 104, 4, 32, 107, 110, 113, 101, 100]),
            [AcceptFault::Aborted; 9]
        );
        // EPROTO, ENOPROTOOPT, EHOSTDOWN, EOPNOTSUPP, ENONET.
        assert_eq!(faults(&[71, 92, 112, 95, 64]), [AcceptFault::Aborted; 5]);
        assert_eq!(faults(&[24, 23]), [AcceptFault::OutOfFiles; 2]);
        // ENOMEM, ENOBUFS.
        assert_eq!(faults(&[12, 105]), [AcceptFault::OutOfMemory; 2]);
        // EPERM, EINVAL, EBADF.
        assert_eq!(faults(&[1, 22, 9]), [AcceptFault::Other; 3]);
    }

    #[test]
    fn a_missing_address_is_not_a_taken_one() {
        assert!(is_address_missing(&ErrorKind::AddrNotAvailable.into()));
        assert!(!is_address_missing(&ErrorKind::AddrInUse.into()));
        assert!(!is_address_missing(&ErrorKind::PermissionDenied.into()));
    }
}
