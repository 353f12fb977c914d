//! What a crash left of names, and how it is put in order: decided from the lists of all lanes.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::names::{self, parse, piece_name};
use crate::storage::{Directory, Entry};

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tidying {
    /// Spares' pieces in lane 0, to be removed.
    pub(super) dropped: Vec<String>,
    /// Lane, and a piece in it that belongs to no file, with the name by which a spare gets it.
    pub(super) adopted: Vec<(usize, String, String)>,
    /// Lane, and a piece in it that belongs to no file, to be removed.
    pub(super) orphans: Vec<(usize, String)>,
}

/// Decides by the lists of all lanes, lane 0 first; a new file has `width` pieces.
pub(super) fn decide(lists: &[Vec<Entry>], width: usize) -> Tidying {
    let names = |lane: &Vec<Entry>| lane.iter().map(|entry| entry.name.clone()).collect::<BTreeSet<_>>();
    let lanes: Vec<_> = lists.iter().map(names).collect();
    let Some((zero, others)) = lanes.split_first() else { return Tidying::default() };
    let mut tidying = Tidying::default();
    // Pieces of no file, by lane.
    let mut free: Vec<BTreeSet<String>> = (1..)
        .zip(others)
        .map(|(lane, names)| {
            let orphan = |name: &&String| {
                let (_, pieces) = parse(name);
                pieces > 1 && !(zero.contains(*name) && lane < pieces)
            };
            names.iter().filter(orphan).cloned().collect()
        })
        .collect();
    for name in zero.iter().filter(|name| names::is_spare(parse(name).0)) {
        let (spare, pieces) = parse(name);
        let mut taken = Vec::new();
        let whole = pieces <= width
            && pieces <= lists.len()
            && (1..pieces).all(|lane| {
                if others[lane - 1].contains(name) {
                    return true;
                }
                let fits = |piece: &&String| parse(piece).1 == pieces;
                let Some(found) = best(free[lane - 1].iter().filter(fits), spare) else { return false };
                free[lane - 1].remove(&found);
                taken.push((lane, found, piece_name(spare, pieces)));
                true
            });
        if whole {
            tidying.adopted.append(&mut taken);
            continue;
        }
        for (lane, found, _) in taken {
            free[lane - 1].insert(found);
        }
        for lane in 1..pieces.min(lists.len()) {
            if others[lane - 1].contains(name) {
                free[lane - 1].insert(name.clone());
            }
        }
        tidying.dropped.push(name.clone());
    }
    tidying.orphans =
        (1..).zip(free).flat_map(|(lane, names)| names.into_iter().map(move |name| (lane, name))).collect();
    tidying
}

/// Of several the one that had the spare's number, for then it has its length too.
fn best<'a>(found: impl Iterator<Item = &'a String>, spare: &str) -> Option<String> {
    let number = |name: &str| name.split_once('-').map(|(_, rest)| rest.to_owned());
    let wanted = number(spare);
    let mut first = None;
    for piece in found {
        if number(parse(piece).0) == wanted {
            return Some(piece.clone());
        }
        first.get_or_insert(piece);
    }
    first.cloned()
}

impl Tidying {
    pub(super) fn carry_out(&self, lanes: &[Arc<dyn Directory>]) -> io::Result<()> {
        // What lane 0 says must stay said before other lanes follow it.
        lanes[0].sync()?;
        self.dropped.iter().try_for_each(|name| lanes[0].remove(name))?;
        if !self.dropped.is_empty() {
            lanes[0].sync()?;
        }
        self.adopted.iter().try_for_each(|(lane, from, to)| lanes[*lane].rename(from, to))?;
        self.orphans.iter().try_for_each(|(lane, name)| lanes[*lane].remove(name))
    }
}

/// How many pieces the widest segment has, by lane 0's list; 1 if there is none.
pub(super) fn widest(zero: &[Entry]) -> usize {
    let segments = zero.iter().map(|entry| parse(&entry.name)).filter(|(name, _)| !names::is_spare(name));
    segments.map(|(_, pieces)| pieces).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::SegmentNumber;

    fn segment(number: u64) -> String {
        piece_name(&SegmentNumber(number).file_name(), 2)
    }

    fn spare(number: u64) -> String {
        piece_name(&SegmentNumber(number).spare_name(), 2)
    }

    fn decided(zero: &[String], one: &[String]) -> Tidying {
        let list = |names: &[String]| names.iter().map(|name| Entry { name: name.clone(), len: 0 }).collect();
        decide(&[list(zero), list(one)], 2)
    }

    #[test]
    fn what_is_whole_stays() {
        let files = [segment(1), spare(2)];
        assert_eq!(decided(&files, &files), Tidying::default());
        assert_eq!(decided(&["lock".into(), "segment".into()], &["lock".into()]), Tidying::default());
    }

    #[test]
    fn a_spare_gets_its_piece_back_whatever_name_that_has() {
        let adopted = |zero: &[String], one: &[String]| decided(zero, one).adopted;
        assert_eq!(adopted(&[spare(2)], &[segment(2)]), [(1, segment(2), spare(2))]);
        assert_eq!(adopted(&[spare(3)], &[spare(2)]), [(1, spare(2), spare(3))]);
        // No two the same.
        let both = adopted(&[spare(2), spare(3)], &[segment(3), spare(1)]);
        assert_eq!(both, [(1, segment(3), spare(2)), (1, spare(1), spare(3))]);
    }

    #[test]
    fn what_belongs_to_nothing_goes() {
        let tidying = decided(&[spare(2)], &[]);
        assert_eq!((tidying.dropped, tidying.orphans), (vec![spare(2)], vec![]));
        let tidying = decided(&[], &[segment(2), spare(1)]);
        assert_eq!((tidying.dropped, tidying.orphans), (vec![], vec![(1, segment(2)), (1, spare(1))]));
    }

    #[test]
    fn a_spare_that_is_wider_than_new_files_goes_with_all_its_pieces() {
        let list = |names: &[String]| -> Vec<_> {
            names.iter().map(|name| Entry { name: name.clone(), len: 0 }).collect()
        };
        let files = list(&[spare(2), segment(1)]);
        let tidying = decide(&[files.clone(), files], 1);
        assert_eq!((tidying.dropped, tidying.orphans), (vec![spare(2)], vec![(1, spare(2))]));
    }
}
