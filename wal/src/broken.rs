//! Faults that are built in on purpose, to see that the tests can fail. **Never to be used for anything else**: a log
//! that is built with one of them loses events.
//!
//! Each is a cargo feature of this crate, off by default. `fuzz/broken-builds.sh` builds `flumen-crash` with each in turn
//! and demands that it is caught, by the tool or by a test. A build has one of them or none: where several are on, as with `--all-features`, none
//! counts, so that checking a whole workspace does not break a log behind anybody's back.
//!
//! | feature | what is wrong | what it breaks |
//! | --- | --- | --- |
//! | `broken-skip-sync` | a prepared segment is not synced | frames in it are not durable: a power cut takes acked ones |
//! | `broken-ack-early` | a frame's commits are acked when it is submitted | a crash takes acked ones |
//! | `broken-trim-early` | a segment goes as soon as its first event is released | the others in it are lost |
//! | `broken-ignore-crc` | a body's checksum is not looked at | a torn frame counts; rotten bytes are delivered |
//! | `broken-continue-segment` | a start goes on writing behind the last frame it finds | frames that were cut are followed again |
//! | `broken-snapshot-early` | a roll's snapshot does not wait for what it vouches for | a hole below it is skipped |
//! | `broken-first-frame-first` | a life's first frame is written before the frames that it claims | the next start misses them |
//! | `broken-sync-one-lane` | of a file over several directories only the first piece is synced | frames in the others are not durable |
//! | `broken-skip-late-sync` | the sync behind acks that come before it is not carried out | a power cut takes more than the interval |
//! | `broken-ignore-write-error` | a write that failed counts as done | its commits are acked and may not be there |
//! | `broken-ignore-no-space` | a segment that found no space counts as prepared | what is written there fails |
//! | `broken-forget-progress` | a start forgets how far the sources are | what they have sent comes again |
//! | `broken-skip-disk-syncs` | nothing is synced on a real disk | a power cut takes acked events; no simulated disk can know |

use crate::recovery::life::NewLife;
use crate::recovery::{self, Recovered};

/// How many of the features are on.
const COUNT: usize = NAMES.len();

/// The names of the features that are on.
const NAMES: &[&str] = &[
    #[cfg(feature = "broken-skip-sync")]
    "broken-skip-sync",
    #[cfg(feature = "broken-ack-early")]
    "broken-ack-early",
    #[cfg(feature = "broken-trim-early")]
    "broken-trim-early",
    #[cfg(feature = "broken-ignore-crc")]
    "broken-ignore-crc",
    #[cfg(feature = "broken-continue-segment")]
    "broken-continue-segment",
    #[cfg(feature = "broken-snapshot-early")]
    "broken-snapshot-early",
    #[cfg(feature = "broken-first-frame-first")]
    "broken-first-frame-first",
    #[cfg(feature = "broken-sync-one-lane")]
    "broken-sync-one-lane",
    #[cfg(feature = "broken-skip-late-sync")]
    "broken-skip-late-sync",
    #[cfg(feature = "broken-ignore-write-error")]
    "broken-ignore-write-error",
    #[cfg(feature = "broken-ignore-no-space")]
    "broken-ignore-no-space",
    #[cfg(feature = "broken-forget-progress")]
    "broken-forget-progress",
    #[cfg(feature = "broken-skip-disk-syncs")]
    "broken-skip-disk-syncs",
];

/// The fault that this build has on purpose, for its user to be told; `None` in every build that is of use.
pub const fn broken_on_purpose() -> Option<&'static str> {
    if COUNT == 1 { Some(NAMES[0]) } else { None }
}

pub(crate) const fn skips_the_sync() -> bool {
    COUNT == 1 && cfg!(feature = "broken-skip-sync")
}

pub(crate) const fn acks_early() -> bool {
    COUNT == 1 && cfg!(feature = "broken-ack-early")
}

pub(crate) const fn trims_early() -> bool {
    COUNT == 1 && cfg!(feature = "broken-trim-early")
}

pub(crate) const fn ignores_a_crc() -> bool {
    COUNT == 1 && cfg!(feature = "broken-ignore-crc")
}

/// How many frames may be in flight when a roll's snapshot is submitted: none, for it vouches for them.
pub(crate) const IN_FLIGHT_AT_A_ROLL: usize =
    if COUNT == 1 && cfg!(feature = "broken-snapshot-early") { 1 } else { 0 };

pub(crate) const fn writes_the_first_frame_first() -> bool {
    COUNT == 1 && cfg!(feature = "broken-first-frame-first")
}

pub(crate) const fn syncs_one_lane() -> bool {
    COUNT == 1 && cfg!(feature = "broken-sync-one-lane")
}

pub(crate) const fn skips_the_late_sync() -> bool {
    COUNT == 1 && cfg!(feature = "broken-skip-late-sync")
}

pub(crate) const fn ignores_a_write_error() -> bool {
    COUNT == 1 && cfg!(feature = "broken-ignore-write-error")
}

pub(crate) const fn ignores_no_space() -> bool {
    COUNT == 1 && cfg!(feature = "broken-ignore-no-space")
}

pub(crate) const fn forgets_progress() -> bool {
    COUNT == 1 && cfg!(feature = "broken-forget-progress")
}

pub(crate) const fn skips_every_disk_sync() -> bool {
    COUNT == 1 && cfg!(feature = "broken-skip-disk-syncs")
}

/// With `broken-continue-segment`: a life that goes on in the last segment, behind the last frame that was found intact,
/// and with the number after it, whatever stands there of frames that were cut.
pub(crate) fn continued_life(recovered: &Recovered) -> Option<NewLife> {
    if COUNT != 1 || !cfg!(feature = "broken-continue-segment") {
        return None;
    }
    let active = recovered.last_segment.clone()?;
    let mut summary = *recovered.segments.iter().find(|known| known.segment == active.number())?;
    let mut state = recovered.state.clone();
    for unvouched in &recovered.unvouched {
        if unvouched.file.number() != summary.segment {
            return None;
        }
        recovery::apply(&mut state, &unvouched.controls);
        summary.last_frame = unvouched.header.frame;
        summary.end_event = unvouched.header.end_event();
        summary.end_offset = unvouched.offset + unvouched.header.padded_len(active.header.alignment);
    }
    let others = recovered.segments.iter().filter(|known| known.segment != summary.segment);
    let live = recovered.live.iter().filter(|number| **number != summary.segment);
    Some(NewLife {
        log_id: recovered.log_id?,
        active,
        offset: summary.end_offset,
        last_frame: summary.last_frame,
        last_crc: 0,
        state,
        next_event: summary.end_event,
        segments: others.copied().collect(),
        live: live.copied().collect(),
        spares: recovered.spares.clone(),
        highest_number: recovered.highest_number,
        checkpoint: recovered.checkpoint,
        summary,
    })
}
