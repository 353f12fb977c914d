//! Numbers and texts as Hadoop's `Writable`s write them.
//!
//! ```text
//!   vint   -112 … 127   that byte
//!          else         -112 - n (at least 0) or -120 - n (below 0, the number inverted), then n bytes, the highest first
//!   text   vint: bytes | UTF-8
//! ```

/// Appends a length; on disk a vint.
pub(super) fn put_vint(length: usize, out: &mut Vec<u8>) {
    if length <= 127 {
        out.push(length as u8);
        return;
    }
    let bytes = (length as u64).to_be_bytes();
    let skip = (length as u64).leading_zeros() as usize / 8;
    let count = bytes.len() - skip;
    out.push((-112 - count as i8) as u8);
    out.extend_from_slice(&bytes[skip..]);
}

/// Appends a text: a class's name.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_vint(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_vints_of_hadoop() {
        for (length, bytes) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0x8f, 0x80]),
            (255, vec![0x8f, 0xff]),
            (256, vec![0x8e, 1, 0]),
            (65_536, vec![0x8d, 1, 0, 0]),
            (0x0102_0304, vec![0x8c, 1, 2, 3, 4]),
        ] {
            let mut out = Vec::new();
            put_vint(length, &mut out);
            assert_eq!(out, bytes, "{length}");
        }
    }
}
