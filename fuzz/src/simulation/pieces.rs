//! Files of a log over several directories, put together from their pieces without asking the log: unit by unit, in turn.
//!
//! ```text
//!   data/segment-0000000000000007.log.of-2     units 0 2 4 ..        here: data/segment-0000000000000007.log
//!   data-1/segment-0000000000000007.log.of-2   units 1 3 5 ..
//! ```

use std::io;

use flumen_wal::storage::faulty::FaultyDisk;

/// The data directories, of which a log has the first ones.
pub const LANES: [&str; 3] = ["data", "data-1", "data-2"];
/// The first of them, after which files are called.
pub const DATA: &str = LANES[0];
/// The directory of checkpoints.
pub const CHECKPOINT: &str = "checkpoint";
/// Where damaged bytes are set aside.
pub const QUARANTINE: &str = "data/quarantine";
/// Half of the largest frame: small ones have one piece, and large ones one or two in each of two directories.
pub const UNIT: u64 = 8 << 10;

/// A file's pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pieces {
    paths: Vec<String>,
}

impl Pieces {
    /// Those of a file whose first piece has this name.
    fn of(name: &str) -> (&str, Self) {
        let marked = name.rsplit_once(".of-").and_then(|(file, width)| Some((file, width.parse().ok()?)));
        let (file, width) = marked.unwrap_or((name, 1));
        (file, Self { paths: LANES[..width].iter().map(|lane| format!("{lane}/{name}")).collect() })
    }

    /// Which piece the byte at `offset` is in, and where in it.
    fn place(&self, offset: u64) -> (&str, u64) {
        let (unit, width) = (offset / UNIT, self.paths.len() as u64);
        (&self.paths[(unit % width) as usize], unit / width * UNIT + offset % UNIT)
    }

    fn read(&self, disk: &FaultyDisk) -> io::Result<Vec<u8>> {
        let pieces: Vec<_> = self.paths.iter().map(|path| disk.contents(path)).collect::<io::Result<_>>()?;
        let mut rests: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        // Up to the first byte that a piece lacks.
        for turn in 0.. {
            let rest = &mut rests[turn % pieces.len()];
            let (unit, behind) = rest.split_at(rest.len().min(UNIT as usize));
            bytes.extend_from_slice(unit);
            *rest = behind;
            if unit.len() < UNIT as usize {
                break;
            }
        }
        Ok(bytes)
    }
}

fn find(disk: &FaultyDisk, path: &str) -> io::Result<Pieces> {
    if let Some(wanted) = path.strip_prefix(DATA).and_then(|path| path.strip_prefix('/')) {
        for entry in disk.directory(DATA).list()? {
            let (file, pieces) = Pieces::of(&entry.name);
            if file == wanted {
                return Ok(pieces);
            }
        }
    }
    Ok(Pieces { paths: vec![path.to_owned()] })
}

/// Files of the log, as they are called in messages.
pub fn list(disk: &FaultyDisk) -> io::Result<Vec<String>> {
    let entries = disk.directory(DATA).list()?;
    Ok(entries.iter().map(|entry| format!("{DATA}/{}", Pieces::of(&entry.name).0)).collect())
}

/// What a reader sees in a file of the log, or in any other.
pub fn contents(disk: &FaultyDisk, path: &str) -> io::Result<Vec<u8>> {
    find(disk, path)?.read(disk)
}

/// Writes `bytes` as if they had always been there.
pub fn overwrite(disk: &FaultyDisk, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let pieces = find(disk, path)?;
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let within = usize::try_from(UNIT - at % UNIT).unwrap_or(rest.len());
        let (here, behind) = rest.split_at(rest.len().min(within));
        let (piece, offset) = pieces.place(at);
        disk.overwrite(piece, offset, here)?;
        at += here.len() as u64;
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_pieces_is_put_together_and_changed_across_them() {
        let disk = FaultyDisk::new(1);
        for (lane, fill) in LANES[..2].iter().zip([1, 2]) {
            let file = disk.directory(*lane).create("a.of-2").unwrap();
            file.allocate(3 * UNIT).unwrap();
            for unit in 0..3u64 {
                disk.overwrite(
                    format!("{lane}/a.of-2"),
                    unit * UNIT,
                    &[fill + 2 * unit as u8; UNIT as usize],
                )
                .unwrap();
            }
        }
        assert_eq!(list(&disk).unwrap(), ["data/a"]);
        let bytes = contents(&disk, "data/a").unwrap();
        let units: Vec<_> = bytes.chunks(UNIT as usize).map(|unit| unit[0]).collect();
        assert_eq!((bytes.len() as u64, &units[..]), (6 * UNIT, &[1, 2, 3, 4, 5, 6][..]));
        overwrite(&disk, "data/a", 2 * UNIT - 1, &[8, 9]).unwrap();
        let changed = contents(&disk, "data/a").unwrap();
        assert_eq!(changed[2 * UNIT as usize - 2..][..4], [2, 8, 9, 3]);
        let second = disk.contents("data-1/a.of-2").unwrap();
        assert_eq!(second[UNIT as usize - 1], 8);
    }
}
