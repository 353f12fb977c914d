//! Compression of pieces: each call makes something that a reader can unpack by itself.
//!
//! ```text
//!   gzip       a member (RFC 1952)                 a file of members is a file: `zcat` reads on
//!   zstd       a frame with checksum (RFC 8878)    the same
//!   bzip2      a stream                            the same
//!   deflate    raw (RFC 1951)                      inside Avro's blocks
//!   snappy     raw, then CRC-32 of the plain bytes, big-endian     inside Avro's blocks
//!   zstandard  a frame                             inside Avro's blocks
//!   zlib       a stream (RFC 1950)                 what Hadoop's DefaultCodec reads, one after another
//!   snappy, lz4 in blocks                          what its SnappyCodec and Lz4Codec read (see `blocks`)
//! ```
//!
//! So a file that is cut off behind any flush, by a kill or by a power cut, is whole as far as it goes.

mod blocks;

use std::fmt;
use std::io::Write;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
    /// `bzip2`.
    Bzip2,
    /// Raw deflate.
    Deflate,
    /// Raw snappy with Avro's checksum.
    Snappy,
    /// `zlib`.
    Zlib,
    /// Snappy in Hadoop's blocks.
    SnappyBlocks,
    /// LZ4 in Hadoop's blocks.
    Lz4Blocks,
}

impl Codec {
    /// The codec for whole files that `name` names, in any case.
    pub fn for_files(name: &str) -> Option<Self> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match () {
            () if is("gzip") => Some(Self::Gzip),
            () if is("zstd") => Some(Self::Zstd),
            () if is("bzip2") => Some(Self::Bzip2),
            () => None,
        }
    }

    /// What a file's name ends with, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Bzip2 => "bz2",
            Self::Deflate | Self::Zlib => "deflate",
            Self::Snappy | Self::SnappyBlocks => "snappy",
            Self::Lz4Blocks => "lz4",
        }
    }

    /// Levels: smallest, usual, largest.
    pub fn levels(self) -> (i32, i32, i32) {
        match self {
            Self::Gzip | Self::Deflate | Self::Zlib => (0, 6, 9),
            Self::Zstd => (1, 3, 22),
            Self::Bzip2 => (1, 9, 9),
            Self::Snappy | Self::SnappyBlocks | Self::Lz4Blocks => (0, 0, 0),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::SnappyBlocks => "snappy in blocks",
            Self::Lz4Blocks => "lz4 in blocks",
        })
    }
}

/// Compresses piece after piece.
pub struct Compressor {
    codec: Codec,
    level: i32,
    /// Kept from piece to piece, for it is large.
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

/// What compresses into memory cannot fail but for want of it.
const IN_MEMORY: &str = "compressing into memory meets no error";

impl Compressor {
    /// At this level, or at the nearest that the codec has.
    pub fn new(codec: Codec, level: i32) -> Self {
        let (min, _, max) = codec.levels();
        Self { codec, level: level.clamp(min, max), zstd: None }
    }

    /// At the codec's usual level.
    pub fn usual(codec: Codec) -> Self {
        Self::new(codec, codec.levels().1)
    }

    /// Gives back what is kept from piece to piece, about a megabyte: for when the next one may be long in coming.
    pub fn rest(&mut self) {
        self.zstd = None;
    }

    /// Appends `plain`, compressed. It is at most 3 GiB long.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let level = self.level.unsigned_abs();
        match self.codec {
            Codec::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
                gzip.write_all(plain).and_then(|()| gzip.try_finish()).expect(IN_MEMORY);
            }
            Codec::Deflate => {
                let mut deflate = flate2::write::DeflateEncoder::new(out, flate2::Compression::new(level));
                deflate.write_all(plain).and_then(|()| deflate.try_finish()).expect(IN_MEMORY);
            }
            Codec::Zlib => {
                let mut zlib = flate2::write::ZlibEncoder::new(out, flate2::Compression::new(level));
                zlib.write_all(plain).and_then(|()| zlib.try_finish()).expect(IN_MEMORY);
            }
            Codec::Bzip2 => {
                let mut bzip2 = bzip2::write::BzEncoder::new(out, bzip2::Compression::new(level));
                bzip2.write_all(plain).and_then(|()| bzip2.try_finish()).expect(IN_MEMORY);
            }
            Codec::Zstd => {
                let zstd = self.zstd.get_or_insert_with(|| {
                    let mut zstd = zstd::bulk::Compressor::new(self.level).expect(IN_MEMORY);
                    zstd.include_checksum(true).expect(IN_MEMORY);
                    zstd
                });
                out.extend_from_slice(&zstd.compress(plain).expect(IN_MEMORY));
            }
            Codec::Snappy => {
                out.extend_from_slice(&snap::raw::Encoder::new().compress_vec(plain).expect(IN_MEMORY));
                out.extend_from_slice(&crc32fast::hash(plain).to_be_bytes());
            }
            Codec::SnappyBlocks => blocks::snappy(plain, out),
            Codec::Lz4Blocks => blocks::lz4(plain, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(codec: Codec, packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match codec {
            Codec::Gzip => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain),
            Codec::Zstd => zstd::stream::read::Decoder::new(packed).expect("zstd").read_to_end(&mut plain),
            Codec::Bzip2 => bzip2::read::MultiBzDecoder::new(packed).read_to_end(&mut plain),
            Codec::Deflate => flate2::read::DeflateDecoder::new(packed).read_to_end(&mut plain),
            Codec::Zlib => {
                let mut rest = packed;
                while !rest.is_empty() {
                    // From a buffer it reads no byte behind the stream's end.
                    let mut stream = flate2::bufread::ZlibDecoder::new(&mut rest);
                    stream.read_to_end(&mut plain).expect("zlib");
                }
                Ok(0)
            }
            Codec::SnappyBlocks => {
                let one = |block: &[u8], _| snap::raw::Decoder::new().decompress_vec(block).expect("snappy");
                plain = blocks::tests::unpack(packed, one);
                Ok(0)
            }
            Codec::Lz4Blocks => {
                let one = |block: &[u8], plain| lz4_flex::block::decompress(block, plain).expect("lz4");
                plain = blocks::tests::unpack(packed, one);
                Ok(0)
            }
            Codec::Snappy => {
                let (data, crc) = packed.split_at(packed.len() - 4);
                plain = snap::raw::Decoder::new().decompress_vec(data).expect("snappy");
                assert_eq!(crc, crc32fast::hash(&plain).to_be_bytes());
                Ok(0)
            }
        }
        .expect("unpacked");
        plain
    }

    #[test]
    fn pieces_one_after_another_are_read_as_one_file() {
        let long: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2] {
            let (min, usual, max) = codec.levels();
            for level in [min, usual, max, 99, -99] {
                let mut compressor = Compressor::new(codec, level);
                let mut packed = Vec::new();
                for piece in [b"one\n".as_slice(), b"", &long[..50_000], b"two\n"] {
                    compressor.rest();
                    compressor.compress(piece, &mut packed);
                }
                assert!(
                    unpack(codec, &packed) == [b"one\n", &long[..50_000], b"two\n"].concat(),
                    "{codec} {level}"
                );
            }
        }
    }

    #[test]
    fn pieces_for_hadoops_codecs_are_read_as_one_file() {
        let noise = (0..300_000u32).flat_map(|i| i.wrapping_mul(0x9E37_79B9).rotate_left(i).to_le_bytes());
        let long: Vec<u8> = noise.chain(std::iter::repeat_n(7, 1_000_000)).collect();
        for codec in [Codec::Zlib, Codec::SnappyBlocks, Codec::Lz4Blocks] {
            let mut compressor = Compressor::usual(codec);
            let mut packed = Vec::new();
            for piece in [b"one\n".as_slice(), &long, b"two\n"] {
                compressor.compress(piece, &mut packed);
            }
            assert!(unpack(codec, &packed) == [b"one\n", &long[..], b"two\n"].concat(), "{codec}");
            let mut empty = Vec::new();
            compressor.compress(b"", &mut empty);
            assert!(unpack(codec, &empty).is_empty(), "{codec}");
        }
    }

    #[test]
    fn pieces_inside_avros_blocks_come_out_again() {
        for codec in [Codec::Deflate, Codec::Snappy, Codec::Zstd, Codec::Bzip2] {
            for plain in [b"".as_slice(), b"one", &[7; 100_000]] {
                let mut packed = Vec::new();
                Compressor::usual(codec).compress(plain, &mut packed);
                assert!(unpack(codec, &packed) == plain, "{codec}");
            }
        }
    }

    #[test]
    fn names_of_codecs_for_files_are_known_in_any_case() {
        assert_eq!(Codec::for_files("GZIP"), Some(Codec::Gzip));
        for codec in [Codec::Gzip, Codec::Zstd, Codec::Bzip2] {
            assert_eq!(Codec::for_files(&codec.to_string()), Some(codec));
        }
        assert_eq!(Codec::for_files("deflate"), None, "raw deflate is no file");
    }
}
