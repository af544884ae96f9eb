//! Seats in arrays, in four bytes.

pub(crate) fn index(seat: u32) -> usize {
    usize::try_from(seat).expect("an address space has 32 bits or more")
}

pub(crate) fn seat(index: usize) -> u32 {
    u32::try_from(index).expect("there are fewer peers than 2^32")
}
