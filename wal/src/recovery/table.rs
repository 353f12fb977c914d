//! The decision of recovery, as a table: what to do with the place where a frame should be.
//!
//! Three facts decide. *Found*: what stands there. *Vouched*: whether anything proves that this frame number was synced (a
//! later frame's claim, a checkpoint, a close mark). *Behind a hole*: whether an unvouched frame before it is not intact, so
//! that this one was never acked (acks come in order). A fourth, *whole*, is for frames of a commit that spans several: the
//! commit's last frame is there.
//!
//! | found | vouched | behind a hole | whole | action |
//! | --- | --- | --- | --- | --- |
//! | intact | yes | any | yes | keep it where it is |
//! | intact | no | no | yes | rewrite it in the new life's segment: it may have been acked, or not |
//! | intact | no | yes | yes | cut: never acked |
//! | intact | any | any | no | cut: a commit without its end was never acked, whatever vouches for its start |
//! | body bad | yes | any | any | damage: step over it, its length is known |
//! | body bad | no | any | any | cut: torn tail, here the hole begins |
//! | nothing (blank, stale, header bad) | yes | any | any | damage: look for the next header block by block |
//! | nothing | no | any | any | cut: torn tail, here the hole begins |
//! | unreadable | any | any | any | refuse to start: a read error is never a torn tail |

/// What stands where a frame should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Header and body verify.
    Intact,
    /// The header verifies, the body does not.
    BodyBad,
    /// No header that verifies: zeroes, another life's bytes, damage.
    Nothing,
    /// The disk reports an error.
    Unreadable,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays and counts.
    Keep,
    /// It counts once it is written again in the new life's segment.
    Rewrite,
    /// It and all behind it never were.
    Cut,
    /// It was acked and is bad.
    Damage,
    /// Nobody may decide.
    Refuse,
}

/// One row; `None` matches both.
pub struct Row {
    found: Found,
    vouched: Option<bool>,
    behind_hole: Option<bool>,
    whole: Option<bool>,
    action: Action,
}

const fn row(
    found: Found,
    vouched: Option<bool>,
    behind_hole: Option<bool>,
    whole: Option<bool>,
    action: Action,
) -> Row {
    Row { found, vouched, behind_hole, whole, action }
}

/// The table of the module's doc.
pub const TABLE: [Row; 9] = [
    row(Found::Intact, Some(true), None, Some(true), Action::Keep),
    row(Found::Intact, Some(false), Some(false), Some(true), Action::Rewrite),
    row(Found::Intact, Some(false), Some(true), Some(true), Action::Cut),
    row(Found::Intact, None, None, Some(false), Action::Cut),
    row(Found::BodyBad, Some(true), None, None, Action::Damage),
    row(Found::BodyBad, Some(false), None, None, Action::Cut),
    row(Found::Nothing, Some(true), None, None, Action::Damage),
    row(Found::Nothing, Some(false), None, None, Action::Cut),
    row(Found::Unreadable, None, None, None, Action::Refuse),
];

/// Looks the action up.
pub fn decide(found: Found, vouched: bool, behind_hole: bool, whole: bool) -> Action {
    rows(found, vouched, behind_hole, whole).next().expect("the table covers every case").action
}

fn rows(found: Found, vouched: bool, behind_hole: bool, whole: bool) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| {
        row.found == found
            && row.vouched.is_none_or(|v| v == vouched)
            && row.behind_hole.is_none_or(|v| v == behind_hole)
            && row.whole.is_none_or(|v| v == whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_exactly_one_row() {
        for found in [Found::Intact, Found::BodyBad, Found::Nothing, Found::Unreadable] {
            for bits in 0..8 {
                let (vouched, hole, whole) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                assert_eq!(
                    rows(found, vouched, hole, whole).count(),
                    1,
                    "{found:?} {vouched} {hole} {whole}"
                );
            }
        }
    }

    #[test]
    fn nothing_that_is_vouched_for_is_cut_but_a_commit_without_its_end() {
        for row in TABLE.iter().filter(|row| row.action == Action::Cut) {
            assert!(row.vouched == Some(false) || row.whole == Some(false));
        }
    }
}
