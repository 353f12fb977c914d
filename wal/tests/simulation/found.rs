//! Cases that failed once, each shrunk to what it takes.

use crate::model::Action::{self, *};
use crate::run;

fn small(events: u32, bytes: usize) -> Action {
    Append { events, bytes }
}

#[test]
fn a_full_disk_that_is_started_again() {
    run(0, &[FillDisk(0), Reopen]);
    run(0, &[small(1, 0), small(1, 0), FillDisk(0), Reopen]);
    run(0, &[small(1, 20_282), Turn(3), FillDisk(0), small(1, 0), Kill]);
    run(0, &[Fail { after: 7, kind: 0 }, Turn(2), FillDisk(0), PowerCut(3_896_541_626_337_771_755)]);
}

#[test]
fn a_failure_after_several_starts() {
    let append = [small(1, 16_250), Turn(4), Kill, Kill, Kill, Fail { after: 7, kind: 0 }];
    let actions = [&append[..], &[small(1, 0), small(1, 23_365), small(1, 0), small(1, 0), Turn(3)]].concat();
    run(6_155_239_858_024_378_366, &actions);
    let append =
        [small(1, 0), Kill, Kill, Kill, small(1, 0), Turn(3), small(1, 0), Fail { after: 0, kind: 0 }];
    let rest =
        [small(1, 0), Fail { after: 0, kind: 0 }, PowerCut(119_412_509_649_979_797), FillDisk(0), Kill];
    run(184_644_617_051_600_862, &[&append[..], &rest].concat());
}

#[test]
fn a_failure_with_takes_and_releases_on_their_way() {
    let actions = [
        &[small(1, 16_250), small(1, 0), Quiesce, small(1, 0), Fail { after: 4, kind: 0 }, Take(1), Take(1)]
            [..],
        &[
            small(1, 0),
            small(1, 16_108),
            Turn(2),
            Fail { after: 0, kind: 0 },
            Turn(1),
            small(1, 0),
            Release(0),
        ],
        &[Quiesce, Kill],
    ];
    run(7_709_309_936_442_054_942, &actions.concat());
}

#[test]
fn a_crash_and_a_failure_among_large_commits() {
    let actions = [
        &[
            Quiesce,
            Kill,
            Fail { after: 1, kind: 0 },
            small(1, 0),
            Quiesce,
            CrashAfter { after: 3, cut: None },
        ][..],
        &[
            small(1, 16_250),
            small(1, 0),
            Turn(3),
            small(1, 28_474),
            small(1, 20_282),
            Fail { after: 9, kind: 0 },
        ],
        &[Turn(1), small(1, 32_570)],
    ];
    run(6_231_976_727_367_356_848, &actions.concat());
    let actions = [
        &[small(1, 0), Reopen, small(1, 20_282), Turn(2), small(1, 20_282), Turn(1), Turn(2)][..],
        &[small(1, 12_154), small(1, 32_570), small(1, 12_154), Fail { after: 11, kind: 0 }, Reopen],
    ];
    run(15_192_580_977_193_162_309, &actions.concat());
}

/// A segment whose preparation failed half-way was counted as a spare: a power cut took its blocks, and with them the reserve
/// for the next start.
#[test]
fn a_half_prepared_segment_is_no_reserve() {
    let actions =
        [small(1, 0), small(1, 15_603), Fail { after: 8, kind: 0 }, small(1, 505), Turn(1), Turn(3)];
    let full = [FillDisk(-524_288), PowerCut(41_815_251_842_401_029), Reopen];
    run(7_174_225_416_810_709_831, &[&actions[..], &full].concat());
}

/// A wrong bit within a commit over several frames: what followed it was looked for in the wrong place, and the start refused.
#[test]
fn a_damaged_commit_over_several_frames_does_not_refuse_a_start() {
    run(0, &[small(1, 16_250), Trim, FlipBit { place: 6_418_290_484_315_758_144, restart: true }]);
}

#[test]
fn damage_on_a_full_disk() {
    run(0, &[small(1, 405), Trim, FillDisk(0), FlipBit { place: 16_947_230_948_548_827_312, restart: true }]);
}

/// A segment is prepared again only some time after a failure: until then the log does not rest.
#[test]
fn releases_while_a_segment_cannot_be_prepared() {
    let actions = [
        &[
            small(1, 0),
            Reopen,
            small(1, 7975),
            Fail { after: 3, kind: 0 },
            small(1, 16_250),
            small(1, 16_250),
        ][..],
        &[Trim, small(1, 3962), small(1, 36_602), Trim, small(1, 0), Trim, SinkProgress, Trim, Kill],
    ];
    run(6_051_600_749_187_126_384, &actions.concat());
}

#[test]
fn releases_while_no_spare_can_be_prepared() {
    let actions = [
        &[Turn(2), Reopen, small(1, 8058), Fail { after: 5, kind: 0 }, small(1, 16_250), small(1, 16_250)][..],
        &[Trim, small(1, 3962), small(1, 36_602), Trim, small(1, 0), Trim, SinkProgress, Trim, Kill],
    ];
    run(6_051_600_749_187_126_384, &actions.concat());
}

/// The checkpoint that lets a last segment be used again on a full disk named segments without events, which were spares by then:
/// the next start missed them, and refused.
#[test]
fn a_crash_while_the_last_segment_is_used_again() {
    run(
        0,
        &[
            FillDisk(0),
            Reopen,
            Fail { after: 0, kind: 0 },
            CrashAfter { after: 18, cut: None },
            SinkProgress,
            Wait(100),
        ],
    );
}

#[test]
fn a_sync_that_fails_behind_the_ack_and_the_power_cut_after_it() {
    run(7_196_220_587_703_838_584, &[small(1, 0), Trim, FailSync, small(1, 0), Trim, PowerCut(0)]);
}

/// A log that was closed while it was failed said that nothing was left to sync, and named no failure.
#[test]
fn a_log_that_closes_while_it_is_failed_and_the_power_cut_after_it() {
    let before = [small(1, 0), small(1, 0), small(1, 0), Reopen, small(1, 0), Reopen, Turn(2)];
    let end = [
        CrashAfter { after: 13, cut: Some(245_903_678_223_786_338) },
        small(1, 0),
        Turn(1),
        small(1, 0),
        small(1, 32_570),
        Fail { after: 0, kind: 0 },
        Reopen,
    ];
    run(4_208_639_790_102_235_620, &[&before[..], &end].concat());
}

/// Syncs of segments that are being prepared failed so often that the next try was seconds away: releases had no room till then, and
/// were taken for durable here.
#[test]
fn releases_that_wait_for_a_segment_to_be_prepared() {
    run(
        139_000_255_566_981_200,
        &[
            Reopen,
            FailSync,
            Fail { after: 8, kind: 0 },
            FailSync,
            small(1, 32_570),
            small(1, 0),
            small(1, 32_570),
            FailSync,
            small(1, 0),
            Trim,
            small(1, 28_474),
            Trim,
            Kill,
        ],
    );
}
