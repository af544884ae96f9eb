use super::*;

const UNROUTABLE: DialFault = DialFault::Unroutable { at_once: true };

fn dial_fault(kind: ErrorKind) -> DialFault {
    DialFault::of(&io::Error::from(kind), true)
}

#[test]
fn kinds_made_by_hand_are_told_apart() {
    assert_eq!(dial_fault(ErrorKind::AddrInUse), DialFault::Host);
    assert_eq!(dial_fault(ErrorKind::OutOfMemory), DialFault::Host);
    assert_eq!(dial_fault(ErrorKind::AddrNotAvailable), UNROUTABLE);
    assert_eq!(dial_fault(ErrorKind::NetworkUnreachable), UNROUTABLE);
    assert_eq!(dial_fault(ErrorKind::HostUnreachable), UNROUTABLE);
    assert_eq!(dial_fault(ErrorKind::InvalidInput), UNROUTABLE);
    assert_eq!(dial_fault(ErrorKind::PermissionDenied), UNROUTABLE);
    assert_eq!(dial_fault(ErrorKind::TimedOut), DialFault::TimedOut);
    assert_eq!(dial_fault(ErrorKind::ConnectionRefused), DialFault::Peer);
    assert_eq!(dial_fault(ErrorKind::ConnectionReset), DialFault::Peer);
    assert_eq!(dial_fault(ErrorKind::Other), DialFault::Peer);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn dial_errors_of_the_kernel_are_told_apart() {
    let faults = |codes: &[i32]| -> Vec<DialFault> {
        let errors = codes.iter().map(|code| io::Error::from_raw_os_error(*code));
        errors.map(|error| DialFault::of(&error, true)).collect()
    };
    // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRINUSE.
    assert_eq!(faults(&[24, 23, 105, 12, 98]), [DialFault::Host; 5]);
    // ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EINVAL, EAFNOSUPPORT, EACCES, EPERM, ENETDOWN.
    assert_eq!(faults(&[101, 113, 99, 22, 97, 13, 1, 100]), [UNROUTABLE; 8]);
    assert_eq!(faults(&[110]), [DialFault::TimedOut]);
    // ECONNREFUSED, ECONNRESET, EHOSTDOWN, EPROTO.
    assert_eq!(faults(&[111, 104, 112, 71]), [DialFault::Peer; 4]);
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

#[cfg(windows)]
#[test]
fn errors_of_windows_are_told_apart() {
    let dial = |code| DialFault::of(&io::Error::from_raw_os_error(code), true);
    // WSAEMFILE, WSAENOBUFS, WSAEADDRINUSE, ERROR_NOT_ENOUGH_MEMORY.
    assert_eq!([10024, 10055, 10048, 8].map(dial), [DialFault::Host; 4]);
    // WSAENETUNREACH, WSAEHOSTUNREACH, WSAEADDRNOTAVAIL, WSAEINVAL, WSAEAFNOSUPPORT, WSAEACCES, WSAENETDOWN, WSAEHOSTDOWN.
    let no_way = [10051, 10065, 10049, 10022, 10047, 10013, 10050, 10064];
    assert_eq!(no_way.map(dial), [UNROUTABLE; 8]);
    assert_eq!(dial(10060), DialFault::TimedOut);
    // WSAECONNREFUSED, WSAECONNRESET.
    assert_eq!([10061, 10054].map(dial), [DialFault::Peer; 2]);

    let accept = |code| AcceptFault::of(&io::Error::from_raw_os_error(code));
    // WSAECONNRESET, WSAECONNABORTED, WSAENETDOWN, WSAEHOSTDOWN.
    assert_eq!([10054, 10053, 10050, 10064].map(accept), [AcceptFault::Aborted; 4]);
    assert_eq!(accept(10024), AcceptFault::OutOfFiles);
    assert_eq!(accept(10055), AcceptFault::OutOfMemory);
}

#[test]
fn a_missing_address_is_not_a_taken_one() {
    assert!(is_address_missing(&ErrorKind::AddrNotAvailable.into()));
    assert!(!is_address_missing(&ErrorKind::AddrInUse.into()));
    assert!(!is_address_missing(&ErrorKind::PermissionDenied.into()));
}
