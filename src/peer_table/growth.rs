//! How the large arrays grow: by a quarter instead of doubling, as half of a million places may stay empty for long.

/// The least that an array grows by.
const LEAST: usize = 16;

/// Makes room for one more, if there is none.
pub(crate) fn grow_by_a_quarter<T>(places: &mut Vec<T>) {
    if places.len() == places.capacity() {
        places.reserve_exact(places.len() / 4 + LEAST);
    }
}
