//! What there is of a file, as JSON:
//!
//! ```json
//! { "version": 1, "key": "logs/app.1795238037700", "id": "5f3a…", "length": 12582912,
//!   "upload": "0004B9…", "marked": true,
//!   "parts": [[8388608, "\"8B1A…\""], …],
//!   "pieces": [[8388608, 1048576], …] }
//! ```
//!
//! `length` bytes of the object `key` are durable. The parts of the upload follow each other, each with the byte behind its
//! last and its tag. A piece has its first byte and its length. Bytes between the end of a part and a flush behind it are in
//! pieces, for those flushes that a file may yet be cut at. The object will carry `id`, if `marked`.

use serde::{Deserialize, Serialize};

use super::super::{Kind, StoreError, Upload};

const VERSION: u32 = 1;
/// Flushes at which a file can be cut, in front of its last part. What a sink has not released is far fewer.
const PIECES_KEPT: usize = 256;

/// The manifest of one file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Manifest {
    version: u32,
    pub key: String,
    pub id: String,
    pub length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    #[serde(default)]
    pub marked: bool,
    pub parts: Vec<(u64, String)>,
    pub pieces: Vec<(u64, u64)>,
}

/// A file up to some byte: whole parts, then pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UpTo {
    /// How many parts.
    pub parts: usize,
    /// The byte behind them.
    pub parts_end: u64,
    /// First byte and length of each.
    pub pieces: Vec<(u64, u64)>,
    /// The byte behind all of it: not before the one that was asked for.
    pub end: u64,
}

impl Manifest {
    /// Of a file that has nothing yet.
    pub fn new(key: &str, id: &str) -> Self {
        Self {
            version: VERSION,
            key: key.to_string(),
            id: id.to_string(),
            length: 0,
            upload: None,
            marked: true,
            parts: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// From the object `name`.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let bad = |why: String| StoreError::new(Kind::Refused, format!("{name} is no manifest: {why}"));
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(bad(format!("version {} is not known", manifest.version)));
        }
        if manifest.key.is_empty() || manifest.key.starts_with('/') {
            return Err(bad(format!("key {:?}", manifest.key)));
        }
        let mut end = 0;
        for (part, _) in &manifest.parts {
            if *part <= end || *part > manifest.length {
                return Err(bad(format!("a part ends at {part}, the one before at {end}")));
            }
            end = *part;
        }
        let mut end = 0;
        for (from, length) in &manifest.pieces {
            let to = from.checked_add(*length).filter(|to| *to <= manifest.length);
            if *from < end || *length == 0 || to.is_none() {
                return Err(bad(format!("a piece of {length} bytes at {from}")));
            }
            end = to.unwrap_or_default();
        }
        if !manifest.parts.is_empty() && manifest.upload.is_none() {
            return Err(bad("parts of no upload".into()));
        }
        Ok(manifest)
    }

    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Notes the upload.
    pub fn begun(&mut self, upload: Upload) {
        (self.upload, self.marked) = (Some(upload.id), upload.is_marked);
    }

    /// The byte behind the parts.
    fn parts_end(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    /// Forgets pieces that are far in front of the last part; their names.
    pub fn prune(&mut self) -> Vec<u64> {
        let behind = self.parts_end();
        let old = self.pieces.iter().take_while(|(from, length)| from + length <= behind).count();
        self.pieces.drain(..old.saturating_sub(PIECES_KEPT)).map(|(from, _)| from).collect()
    }

    /// The file up to the byte `end`, or to the first flush behind it. An error, if parts and pieces do not reach so far.
    pub fn up_to(&self, end: u64) -> Result<UpTo, StoreError> {
        let end = end.min(self.length);
        let ends = self.pieces.iter().map(|(from, length)| from + length);
        let mut ends: Vec<u64> = ends.chain(self.parts.iter().map(|(end, _)| *end)).chain([0]).collect();
        ends.sort_unstable();
        let ends = ends.into_iter().filter(|there| *there >= end);
        ends.filter_map(|end| self.exactly(end)).next().ok_or_else(|| {
            // `length` is where a flush was, so this was not written by a sink.
            let why =
                format!("{}: its parts and pieces do not reach byte {end}: it is left as it is", self.key);
            StoreError::new(Kind::Refused, why)
        })
    }

    fn exactly(&self, end: u64) -> Option<UpTo> {
        let parts = self.parts.iter().take_while(|(part, _)| *part <= end).count();
        let parts_end = parts.checked_sub(1).and_then(|at| self.parts.get(at)).map_or(0, |(end, _)| *end);
        let pieces = self.pieces_between(parts_end, end)?;
        Some(UpTo { parts, parts_end, pieces, end })
    }

    /// The pieces that are these bytes and no others, if there are such.
    fn pieces_between(&self, from: u64, to: u64) -> Option<Vec<(u64, u64)>> {
        let (mut at, mut found) = (from, Vec::new());
        for (first, length) in self.pieces.iter().filter(|(first, _)| *first >= from && *first < to) {
            if *first != at {
                return None;
            }
            at += length;
            found.push((*first, *length));
        }
        (at == to).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(length: u64, parts: &[u64], pieces: &[(u64, u64)]) -> Manifest {
        let parts: Vec<_> = parts.iter().map(|end| (*end, format!("t{end}"))).collect();
        let upload = (!parts.is_empty()).then(|| "u".to_string());
        Manifest { length, parts, upload, pieces: pieces.to_vec(), ..Manifest::new("a/b", "id") }
    }

    #[test]
    fn a_file_is_cut_at_any_flush_that_it_had() {
        // Flushes at 10, 20, 50 (with a part of 40 bytes), 100 (a part), 103.
        let manifest = manifest(103, &[40, 100], &[(0, 10), (10, 10), (40, 10), (100, 3)]);
        let cut = |end| {
            let UpTo { parts, parts_end, pieces, end } = manifest.up_to(end).expect("all there");
            (parts, parts_end, pieces, end)
        };
        assert_eq!(cut(103), (2, 100, vec![(100, 3)], 103));
        assert_eq!(cut(100), (2, 100, vec![], 100));
        assert_eq!(cut(50), (1, 40, vec![(40, 10)], 50));
        assert_eq!(cut(20), (0, 0, vec![(0, 10), (10, 10)], 20));
        assert_eq!(cut(10), (0, 0, vec![(0, 10)], 10));
        assert_eq!(cut(0), (0, 0, vec![], 0));
        assert_eq!(cut(11).3, 20, "between two flushes it is the later one: nothing is lost");
    }

    #[test]
    fn pieces_far_in_front_of_the_last_part_are_forgotten() {
        let pieces: Vec<_> = (0..400).map(|n| (n, 1)).collect();
        let mut manifest = manifest(400, &[300], &pieces);
        assert_eq!(manifest.prune(), (0..44).collect::<Vec<_>>());
        assert_eq!(manifest.pieces.len(), 356);
        let there = manifest.up_to(44 + 1).expect("all there");
        assert_eq!(there.end, 300, "cut later rather than earlier");
    }

    #[test]
    fn a_file_with_a_hole_is_an_error_and_no_shorter_file() {
        for (parts, pieces) in [(vec![40], vec![(50, 53)]), (vec![40], vec![]), (vec![], vec![(1, 102)])] {
            let error = manifest(103, &parts, &pieces).up_to(u64::MAX).expect_err("a hole");
            assert!(error.kind == Kind::Refused && error.why.contains("byte 103"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_manifest_are_refused_by_name() {
        let good = manifest(103, &[40, 100], &[(0, 10), (100, 3)]);
        assert_eq!(Manifest::read("m", &good.bytes()), Ok(good));
        for (bad, part) in [
            (manifest(10, &[40], &[]), "a part ends at 40"),
            (manifest(100, &[40, 40], &[]), "a part ends at 40"),
            (manifest(10, &[], &[(8, 3)]), "a piece of 3 bytes at 8"),
            (manifest(10, &[], &[(8, u64::MAX)]), "a piece"),
            (Manifest { upload: None, ..manifest(40, &[40], &[]) }, "no upload"),
            (Manifest { version: 2, ..manifest(0, &[], &[]) }, "version 2"),
            (Manifest { key: String::new(), ..manifest(0, &[], &[]) }, "key"),
        ] {
            let why = Manifest::read("tmp/a/manifest", &bad.bytes()).expect_err(part).why;
            assert!(why.contains("tmp/a/manifest is no manifest") && why.contains(part), "{why}");
        }
        for cut in 0..good_bytes().len() {
            assert!(Manifest::read("m", &good_bytes()[..cut]).is_err());
        }
    }

    fn good_bytes() -> Vec<u8> {
        manifest(3, &[], &[(0, 3)]).bytes()
    }
}
