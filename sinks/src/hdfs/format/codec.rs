//! Hadoop's codecs by the names that Flume accepts.
//!
//! ```text
//!   org.apache.hadoop.io.compress.GzipCodec     the class, exactly
//!   GzipCodec                                   its simple name, in any case
//!   gzip                                        that without `Codec`, in any case
//! ```
//!
//! A SequenceFile names the class in its header, and its readers load it: so `default` and `deflate`, which write the same
//! bytes, stay two.

use crate::codecs::Codec;

/// A codec of Hadoop's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HadoopCodec {
    /// Simple name of its class.
    simple_name: &'static str,
    /// What it appends to a file's name, with the dot.
    pub extension: &'static str,
    /// What it does.
    pub codec: Codec,
}

const PACKAGE: &str = "org.apache.hadoop.io.compress.";

/// Those that Hadoop lists for its class loaders.
const ALL: &[HadoopCodec] = &[
    HadoopCodec { simple_name: "BZip2Codec", extension: ".bz2", codec: Codec::Bzip2 },
    HadoopCodec { simple_name: "DefaultCodec", extension: ".deflate", codec: Codec::Zlib },
    HadoopCodec { simple_name: "DeflateCodec", extension: ".deflate", codec: Codec::Zlib },
    HadoopCodec { simple_name: "GzipCodec", extension: ".gz", codec: Codec::Gzip },
    HadoopCodec { simple_name: "Lz4Codec", extension: ".lz4", codec: Codec::Lz4Blocks },
    HadoopCodec { simple_name: "SnappyCodec", extension: ".snappy", codec: Codec::SnappyBlocks },
    HadoopCodec { simple_name: "ZStandardCodec", extension: ".zst", codec: Codec::Zstd },
];

impl HadoopCodec {
    /// Its class.
    pub fn class_name(self) -> String {
        format!("{PACKAGE}{}", self.simple_name)
    }

    fn short_name(self) -> &'static str {
        self.simple_name.strip_suffix("Codec").unwrap_or(self.simple_name)
    }

    fn is_named(self, name: &str) -> bool {
        name.strip_prefix(PACKAGE) == Some(self.simple_name)
            || name.eq_ignore_ascii_case(self.simple_name)
            || name.eq_ignore_ascii_case(self.short_name())
    }
}

/// The codec that `name` names; `None` is that nothing is compressed. Else why there is no such codec.
pub(super) fn find(name: &str) -> Result<Option<HadoopCodec>, String> {
    if name.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    // What everybody but Hadoop calls it.
    let named = if name.eq_ignore_ascii_case("zstd") { "zstandard" } else { name };
    if let Some(codec) = ALL.iter().find(|codec| codec.is_named(named)) {
        return Ok(Some(*codec));
    }
    let known: Vec<_> = ALL.iter().map(|codec| codec.short_name().to_ascii_lowercase()).collect();
    let known = known.join(", ");
    Err(if name.to_ascii_lowercase().contains("lzo") {
        format!(
            "`{name}`: LZO is not built in, for its code is under the GPL; lz4 and snappy are as quick. Known are: {known}"
        )
    } else {
        format!("there is no codec `{name}`; known are: none, {known}, or their classes in {PACKAGE}*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> String {
        find(name).expect(name).expect(name).class_name()
    }

    #[test]
    fn a_codec_is_found_by_class_simple_name_and_short_name_as_flume_does() {
        for (names, class_name) in [
            (["gzip", "GZIP", "gzipcodec", "org.apache.hadoop.io.compress.GzipCodec"], "GzipCodec"),
            (["bzip2", "BZip2", "BZIP2CODEC", "org.apache.hadoop.io.compress.BZip2Codec"], "BZip2Codec"),
            (
                ["default", "Default", "DefaultCodec", "org.apache.hadoop.io.compress.DefaultCodec"],
                "DefaultCodec",
            ),
            (["deflate", "DEFLATE", "deflatecodec", "DeflateCodec"], "DeflateCodec"),
            (["lz4", "LZ4", "Lz4Codec", "org.apache.hadoop.io.compress.Lz4Codec"], "Lz4Codec"),
            (["snappy", "Snappy", "snappyCodec", "org.apache.hadoop.io.compress.SnappyCodec"], "SnappyCodec"),
            (["zstandard", "zstd", "ZStandardCodec", "ZSTD"], "ZStandardCodec"),
        ] {
            for name in names {
                assert_eq!(class(name), format!("org.apache.hadoop.io.compress.{class_name}"), "{name}");
            }
        }
    }

    #[test]
    fn a_class_in_another_case_or_package_is_no_codec() {
        for name in
            ["org.apache.hadoop.io.compress.gzipcodec", "org.apache.hadoop.io.compress.gzip", "gz", ""]
        {
            let said = find(name).expect_err(name);
            assert!(said.contains("none, bzip2, default, deflate, gzip, lz4, snappy, zstandard"), "{said}");
        }
        assert_eq!(find("None"), Ok(None));
        assert_eq!(find("none"), Ok(None));
    }

    #[test]
    fn lzo_is_refused_by_name() {
        for name in ["lzo", "LZOP", "LzopCodec", "com.hadoop.compression.lzo.LzoCodec"] {
            let said = find(name).expect_err(name);
            assert!(
                said.contains(name) && said.contains("LZO is not built in") && said.contains("lz4"),
                "{said}"
            );
        }
    }
}
