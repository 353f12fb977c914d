//! The framing that Hadoop puts around a codec which knows no streams of its own (its `BlockCompressorStream`).
//!
//! ```text
//!   block   plain bytes: u32 | compressed bytes: u32 | that many bytes, compressed       all numbers big-endian
//!   block   …
//! ```
//!
//! Hadoop's readers unpack a block into a buffer of 256 KiB, so no block may hold more plain bytes than its writers allow
//! themselves. A block of no plain bytes is how they write a file without content; a reader takes it for the end of the
//! file, so none may stand before other blocks.

/// The buffer of Hadoop's writers and readers (`io.compression.codec.snappy.buffersize`, `…lz4.buffersize`).
const BUFFER_BYTES: usize = 256 * 1024;

/// Most plain bytes of a block: what compresses worst still fits the buffer.
const SNAPPY_MAX: usize = BUFFER_BYTES - BUFFER_BYTES / 6 - 32;
const LZ4_MAX: usize = BUFFER_BYTES - BUFFER_BYTES / 255 - 16;

/// Appends `plain` as blocks of raw snappy.
pub(super) fn snappy(plain: &[u8], out: &mut Vec<u8>) {
    let mut encoder = snap::raw::Encoder::new();
    let pack = |block: &[u8], packed: &mut [u8]| {
        encoder.compress(block, packed).expect("a block is far below 4 GiB, and the buffer takes the worst")
    };
    blocks(plain, SNAPPY_MAX, snap::raw::max_compress_len, pack, out);
}

/// Appends `plain` as blocks of raw LZ4.
pub(super) fn lz4(plain: &[u8], out: &mut Vec<u8>) {
    let pack = |block: &[u8], packed: &mut [u8]| {
        lz4_flex::block::compress_into(block, packed).expect("the buffer takes the worst")
    };
    blocks(plain, LZ4_MAX, lz4_flex::block::get_maximum_output_size, pack, out);
}

fn blocks(
    plain: &[u8],
    most: usize,
    worst: impl Fn(usize) -> usize,
    mut pack: impl FnMut(&[u8], &mut [u8]) -> usize,
    out: &mut Vec<u8>,
) {
    if plain.is_empty() {
        out.extend_from_slice(&0u32.to_be_bytes());
    }
    for block in plain.chunks(most) {
        put_length(block.len(), out);
        let start = out.len();
        out.resize(start + 4 + worst(block.len()), 0);
        let packed = pack(block, &mut out[start + 4..]);
        out[start..start + 4].copy_from_slice(&length(packed));
        out.truncate(start + 4 + packed);
    }
}

fn put_length(bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&length(bytes));
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a block is at most 256 KiB").to_be_bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a reader makes of blocks, which are those of whole pieces.
    pub(in crate::codecs) fn unpack(
        mut packed: &[u8],
        mut one: impl FnMut(&[u8], usize) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut plain = Vec::new();
        let number = |packed: &mut &[u8]| {
            let (number, rest) = packed.split_first_chunk().expect("a length");
            *packed = rest;
            u32::from_be_bytes(*number) as usize
        };
        while !packed.is_empty() {
            let length = number(&mut packed);
            if length == 0 {
                assert!(packed.is_empty() && plain.is_empty(), "an empty block ends the file");
                break;
            }
            let compressed = number(&mut packed);
            assert!(length <= BUFFER_BYTES && compressed <= BUFFER_BYTES, "{length} {compressed}");
            plain.extend(one(&packed[..compressed], length));
            packed = &packed[compressed..];
        }
        plain
    }

    #[test]
    fn blocks_have_both_lengths_in_front_and_nothing_is_one_empty_block() {
        let mut out = b"before".to_vec();
        snappy(b"abc", &mut out);
        // Snappy: the length as a varint, then one literal of three bytes.
        assert_eq!(out, b"before\0\0\0\x03\0\0\0\x05\x03\x08abc");
        let mut out = Vec::new();
        lz4(b"abc", &mut out);
        // LZ4: a token that says three literals.
        assert_eq!(out, b"\0\0\0\x03\0\0\0\x04\x30abc");
        for pack in [snappy, lz4] {
            let mut out = Vec::new();
            pack(b"", &mut out);
            assert_eq!(out, [0; 4]);
        }
    }
}
