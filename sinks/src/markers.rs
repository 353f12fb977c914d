//! Marks between the blocks of a file, by which its readers find a block when they begin in the middle.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Sixteen bytes that no other file has. They keep nobody out, so what hash maps draw their keys from will do.
pub fn new_marker() -> [u8; 16] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut marker = [0; 16];
    for half in marker.chunks_mut(8) {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u128(now);
        half.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    marker
}
