//! Which keys a log needs: a start without one of them is refused before anything is changed. What only that key reads is neither
//! damaged nor torn, and a take that comes to it months later would stop where nobody remembers the key.

use super::{Recovered, io_error};
use crate::error::OpenError;
use crate::format::segment::{KeyTable, KeyUse, SegmentHeader};
use crate::storage::Directory;

/// Takes down what the headers say that were read. The newest segment that counts speaks for all lives before its own.
pub(super) fn collect(recovered: &mut Recovered, headers: &[SegmentHeader]) {
    let end = end_event(recovered);
    for header in headers.iter().rev().filter(|header| !recovered.empty.contains(&header.segment)) {
        for key in header.keys.iter() {
            if !recovered.keys.iter().any(|known| known.id == key.id) {
                recovered.keys.push(KeyUse { end_event: key.end_event.min(end), ..*key });
            }
        }
    }
    let low = recovered.state.cursor.low;
    recovered.keys.retain(|key| key.end_event > low);
}

/// Refuses a log with events that no key given can decrypt.
pub(super) fn check(data: &dyn Directory, recovered: &Recovered) -> Result<(), OpenError> {
    let keys = data.keys();
    match recovered.keys.iter().find(|key| keys.get(key.id).is_none()) {
        Some(key) => Err(io_error("read the backlog of", data, "", keys.missing(key.id).into())),
        None => Ok(()),
    }
}

/// What the segments of a life that begins now say: its own key, and those of what is left.
pub(super) fn table(data: &dyn Directory, recovered: &Recovered) -> KeyTable {
    let active = data.keys().active().map(|key| KeyUse { id: key.id(), end_event: u64::MAX });
    let before = recovered.keys.iter().filter(|key| active.is_none_or(|active| active.id != key.id));
    KeyTable::of(active.iter().chain(before).copied().collect())
}

/// The event after the last one that there is or was.
fn end_event(recovered: &Recovered) -> u64 {
    let unvouched = recovered.unvouched.iter().map(|unvouched| unvouched.header.end_event());
    unvouched.fold(recovered.next_event.max(recovered.acked_event), u64::max)
}
