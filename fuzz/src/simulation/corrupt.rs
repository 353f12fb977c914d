//! Mode `corrupt`: synced bytes that change at rest, by rot or by a write that went astray.
//!
//! Everything is synced and vouched for when it happens. Then the log is started, or runs on. What must hold:
//!
//! - takes give everything in order up to the first event that they cannot read, and then name a damaged frame's file and
//!   offset, and an event of that frame; all events of other frames below it have arrived;
//! - what a start reports as damaged, and what `verify` finds, are damaged frames;
//! - puts go on;
//! - when the bytes are put right, or the events that they held are given up, all else arrives;
//! - a log that sets damage aside never stops: what it passes over it counts, each damaged frame with such events is in its
//!   quarantine, and none of them comes again in the same process.
//!
//! What nobody can decide (`docs/durability.md` says why) is left out, or both answers are accepted:
//!
//! - **Which frame was the last one.** The frame that says last what was synced is not damaged together with others: without
//!   it what it vouched for looks like a torn tail.
//! - **Whether an event was delivered**, where the frame that said so is damaged. A start then has the event again. Where its
//!   segment was used again on the strength of that frame no frame holds it, and takes stop there until an operator gives it up.
//!   A life that has begun without the release goes on without it, also when the bytes are put right.
//! - **In which of two segments an event stood**, where the frames on both sides of the boundary are damaged: either is named.
//! - **Whether this is the log at all.** One copy of a segment's header stays, and something to start from: a snapshot, or a
//!   checkpoint. A checkpoint that is newer than all frames that are left, and names a segment that is not there, is the sight
//!   of an older data directory, which is refused.
//!
//! A frame that a start wrote again, or cut, is none of the log: it may change unseen. What it cuts at a segment's end may be a
//! damaged frame as well, one without events; what is damaged before that can still be put right.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use flumen_wal::ReadError;
use flumen_wal::format::checkpoint::Checkpoint;
use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::tools;

use super::book::Since;
use super::frames::{BLOCK, Frame, Survey, header_copies};
use super::pieces::{self, CHECKPOINT, DATA, QUARANTINE};
use super::power::maybe_crash;
use super::setting::Setting;
use super::world::{Numbered, World};
use crate::random::Random;
use crate::violation::{Broken, Kind};

const SECTOR: usize = 512;
/// Attempts to find damage after which everything is still decidable.
const ATTEMPTS: usize = 10;

/// Bytes that changed.
#[derive(Debug)]
struct Patch {
    path: String,
    offset: usize,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What changed, and which frames with it.
#[derive(Debug, Default)]
struct Damage {
    patches: Vec<Patch>,
    frames: Vec<Frame>,
    /// Numbers of the frames that are as they were.
    sound: BTreeSet<u64>,
    /// What was there and not released, by event number.
    there: Vec<Numbered>,
    /// Number of the event that came next.
    next_event: u64,
    /// How many commits there had been.
    commits: usize,
    /// What the damaged frames look like.
    bytes: Vec<Vec<u8>>,
    /// Whoever runs the log has released what they held.
    given_up: bool,
}

/// Where takes stopped.
#[derive(Debug)]
struct Stop {
    event: u64,
    error: String,
}

/// Works, damages what is synced, and compares what can still be read.
pub fn cycle(world: &mut World) -> Result<(), Broken> {
    for _ in 0..4 + world.random.below(24) {
        world.act()?;
    }
    world.rest()?;
    world.look(Since::Nothing)?;
    let mut damage = Damage {
        there: world.seen.clone(),
        next_event: world.stats().appended_event,
        commits: world.book.len(),
        ..Damage::default()
    };
    world.given_up_before = world.stats().given_up_events;
    let dead = world.random.one_in(2);
    if dead {
        if world.random.one_in(3) { world.close()? } else { world.crash() }
    }
    damage.inflict(world);
    world.progress_from = if damage.hides_progress() { damage.commits } else { 0 };
    world.releases_may_be_lost();
    world.report.faults += damage.frames.len() as u64;
    world.damaged.extend(damage.frames.iter().cloned());
    if dead {
        start(world, &damage)?;
    }
    let mut since = if dead { Since::End } else { Since::Nothing };
    let mut stopped = look(world, &damage, since)?;
    world.fresh_event()?;
    if world.random.one_in(4) {
        verify(world, &damage, since)?;
    }
    if world.random.one_in(2) {
        world.crash();
        start(world, &damage)?;
        since = Since::End;
        stopped = look(world, &damage, since)?;
    }
    let unreadable = damage.unreadable();
    if stopped.is_some() || world.setting().quarantines {
        world.report.unreadable += unreadable.iter().map(|numbered| u64::from(numbered.events)).sum::<u64>();
    }
    let mut forgotten = false;
    if world.random.one_in(2) {
        damage.repair(&world.disk);
        if world.random.one_in(2) {
            // What is behind the place where takes stopped is seen for the first time in this life.
            look_through(world, &damage, since)?;
            world.book.excuse_nothing();
            return world.drain();
        }
    } else if world.setting().quarantines && !unreadable.iter().any(|numbered| world.has_seen(numbered)) {
        // It has given them up by itself; but what it still had in memory.
        world.rest()?;
        world.releases_may_be_lost();
    } else {
        for numbered in unreadable {
            world.book.release(numbered.id, numbered.skip..numbered.skip + numbered.events, 0);
        }
        damage.given_up = true;
        // Also of events that were released, for damage may have taken their release back.
        damage.frames.iter().for_each(|frame| world.give_up(frame.events.clone()));
        forgotten = stopped.is_some_and(|stop| damage.was_released(stop.event));
        if forgotten {
            damage.release_again(world);
        }
        world.rest()?;
        // Which releases were lost of events behind the place where takes stopped, no look has seen yet.
        world.releases_may_be_lost();
    }
    world.crash();
    start(world, &damage)?;
    if forgotten {
        world.look(Since::End)?
    } else {
        look_through(world, &damage, Since::End)?
    }
    world.book.excuse_nothing();
    world.fresh_event()?;
    world.drain()
}

/// A start names only damage that is there.
fn start(world: &mut World, damage: &Damage) -> Result<(), Broken> {
    world.restart(maybe_crash)?;
    for found in &world.log().recovery().damage {
        if damage.are_sound(found.first_frame..=found.last_frame) {
            let what = format!("a start reports {found:?}; damaged are {:?}", damage.frames);
            return Err(Broken::new(Kind::Failed, what));
        }
    }
    Ok(())
}

/// Compares what takes give, up to where they may stop.
fn look(world: &mut World, damage: &Damage, since: Since) -> Result<Option<Stop>, Broken> {
    if world.setting().quarantines {
        look_past(world, damage, since)?;
        return Ok(None);
    }
    let mut stop = None;
    let disk = world.disk.clone();
    let damaged = std::mem::take(&mut world.damaged);
    let looked = world.look_until(since, |error| {
        let event = damage.judge(error, &damaged, &disk, since)?;
        stop = Some(Stop { event, error: error.to_string() });
        Ok(damage.first_behind(event))
    });
    world.damaged = damaged;
    looked.map(|_| stop)
}

/// Compares what takes give that stop nowhere: all but events of damaged frames, which are kept and counted.
fn look_past(world: &mut World, damage: &Damage, since: Since) -> Result<(), Broken> {
    let unreadable = damage.unreadable();
    for numbered in &unreadable {
        world.book.excuse(numbered.id, numbered.skip..numbered.skip + numbered.events);
    }
    world.look_until(since, |error| {
        Err(Broken::new(Kind::Lost, format!("a log that sets damage aside cannot read: {error}")))
    })?;
    let passed: Vec<_> = unreadable.into_iter().filter(|numbered| !world.has_seen(numbered)).collect();
    let events: u64 = passed.iter().map(|numbered| u64::from(numbered.events)).sum();
    // What was released is counted again between events that are given up, and where its release was lost. What an earlier
    // process gave up for good this one has never met.
    let given_up = world.stats().given_up_events - world.given_up_before;
    let released: u64 = damage.released().map(|events| events.end - events.start).sum();
    let most = damage.unreadable_events() + released;
    let all = since == Since::Nothing && !damage.given_up;
    if all && given_up < events || given_up > most {
        let what = format!(
            "{given_up} events were counted as given up; {events} to {most} were passed over; damaged are {:?}",
            damage.frames
        );
        return Err(Broken::new(Kind::Failed, what));
    }
    // What whoever runs the log gave up was not set aside.
    let frames = if damage.given_up { &[][..] } else { &damage.frames };
    for (frame, bytes) in frames.iter().zip(&damage.bytes) {
        if passed.iter().any(|numbered| frame.holds(numbered)) && !is_kept(&world.disk, frame, bytes) {
            let what = format!("{frame:?} was passed over, and is not in the quarantine");
            return Err(Broken::new(Kind::Lost, what));
        }
    }
    Ok(())
}

/// Whether the quarantine has all bytes of a damaged frame in one piece, with a note.
fn is_kept(disk: &FaultyDisk, frame: &Frame, bytes: &[u8]) -> bool {
    let Ok(entries) = disk.directory(QUARANTINE).list() else { return false };
    let noted =
        |name: &str| entries.iter().any(|entry| entry.name == format!("{name}.json") && entry.len > 0);
    let file = frame.path.trim_start_matches(DATA).trim_start_matches('/');
    entries.iter().filter(|entry| noted(&entry.name)).any(|entry| {
        let Some(place) = entry.name.strip_prefix(file).and_then(|rest| rest.strip_prefix('.')) else {
            return false;
        };
        // A name that was taken has a number behind it.
        let place = place.split('-').next().unwrap_or(place);
        let Ok(begins) = place.parse::<u64>() else { return false };
        let copy = disk.contents(format!("{QUARANTINE}/{}", entry.name)).unwrap_or_default();
        let at = frame.offset.checked_sub(begins).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| copy.get(at..at + bytes.len())).is_some_and(|copy| copy == bytes)
    })
}

/// All arrives: the bytes are as they were, or what they held is given up. Only what was released may still be missing, and is
/// given up here.
fn look_through(world: &mut World, damage: &Damage, since: Since) -> Result<(), Broken> {
    match look(world, damage, since)? {
        None => world.look_at_progress(),
        Some(stop) if damage.was_released(stop.event) => {
            damage.release_again(world);
            world.rest()?;
            // What takes have stopped at they pass in the next life.
            world.crash();
            start(world, damage)?;
            world.look(Since::End)
        }
        Some(stop) => Err(Broken::new(Kind::Lost, format!("events cannot be read: {}", stop.error))),
    }
}

/// `verify` names nothing that is sound, and every damaged frame with events that cannot be read.
fn verify(world: &World, damage: &Damage, since: Since) -> Result<(), Broken> {
    let report = tools::verify(&world.directories()?)
        .map_err(|error| Broken::new(Kind::Failed, format!("verify: {error}")))?;
    let within =
        |frame: &Frame, path: &str, offset| frame.path == path && (frame.offset..frame.end).contains(&offset);
    for finding in &report.damage {
        let path = finding.path.to_string_lossy();
        // A segment is gone whose release stood in a damaged frame.
        if path == DATA && !world.damaged.is_empty() {
            continue;
        }
        let known = finding.frames.is_some_and(|(first, last)| !damage.are_sound(first..=last));
        let placed = |frame: &Frame| {
            within(frame, &path, finding.offset)
                || finding.events.is_some_and(|events| overlap(frame, events))
        };
        let forgotten =
            since == Since::End && finding.events.is_some_and(|(first, _)| damage.was_released(first));
        if !known && !forgotten && !world.damaged.iter().any(placed) {
            let what = format!("verify finds {finding:?}; damaged are {:?}", damage.frames);
            return Err(Broken::new(Kind::Failed, what));
        }
    }
    // What was passed over is released: nobody will miss it.
    let missed = if world.setting().quarantines { &[][..] } else { &damage.there };
    for frame in &damage.frames {
        let number = frame.header.frame.0;
        let named = report.damage.iter().any(|finding| {
            let of_number = finding.frames.is_some_and(|(first, last)| (first..=last).contains(&number));
            within(frame, &finding.path.to_string_lossy(), finding.offset)
                || of_number
                || finding.events.is_some_and(|events| overlap(frame, events))
        });
        if !named && missed.iter().any(|there| frame.holds(there)) {
            let what = format!("verify does not find {frame:?}, but {:?}", report.damage);
            return Err(Broken::new(Kind::Failed, what));
        }
    }
    Ok(())
}

/// Of a commit over several frames, damage is named in one of them, with the events of all.
fn overlap(frame: &Frame, (first, end): (u64, Option<u64>)) -> bool {
    first < frame.events.end && end.is_none_or(|end| frame.events.start < end)
}

impl Frame {
    fn holds(&self, numbered: &Numbered) -> bool {
        self.events.start < numbered.end() && numbered.first_event < self.events.end
    }
}

impl Damage {
    fn holds(&self, numbered: &Numbered) -> bool {
        self.frames.iter().any(|frame| frame.holds(numbered))
    }

    /// What was there and stands in damaged frames.
    fn unreadable(&self) -> Vec<Numbered> {
        self.there.iter().copied().filter(|there| self.holds(there)).collect()
    }

    /// Whether a start does not know how far the sources were: the frame with the last commit says so. It goes on from what those
    /// before say, also when the bytes are put right.
    fn hides_progress(&self) -> bool {
        self.frames.iter().any(|frame| !frame.events.is_empty() && frame.events.end == self.next_event)
    }

    /// How many events damaged frames hold, delivered or not.
    fn unreadable_events(&self) -> u64 {
        let numbers: BTreeSet<u64> = self.frames.iter().flat_map(|frame| frame.events.clone()).collect();
        numbers.len() as u64
    }

    /// Whether one of these frames is as it was. A number that no frame has may be told as damage: it was cut by a start
    /// whose own first frame, which alone says so, is damaged.
    fn are_sound(&self, mut frames: RangeInclusive<u64>) -> bool {
        frames.any(|number| self.sound.contains(&number))
    }

    /// Changes bytes of what is synced. Nothing, where no way was found that leaves everything decidable.
    fn inflict(&mut self, world: &mut World) {
        let before = Survey::of(&world.disk).expect("a disk that works");
        for _ in 0..ATTEMPTS {
            let mut after = before.clone();
            let mut patches = Vec::new();
            for _ in 0..1 + world.random.below(3) {
                patches.extend(pick(&mut world.random, &mut after));
            }
            let Some(frames) = damaged(&before, &after) else { continue };
            for patch in &patches {
                let written = pieces::overwrite(&world.disk, &patch.path, patch.offset as u64, &patch.new);
                written.expect("a file that was surveyed");
            }
            let is_sound = |number: &u64| !frames.iter().any(|frame| frame.header.frame.0 == *number);
            self.sound = before.frames.iter().map(|frame| frame.header.frame.0).filter(is_sound).collect();
            let bytes =
                |frame: &Frame| after.files[&frame.path][frame.offset as usize..][..frame.len].to_vec();
            self.bytes = frames.iter().map(bytes).collect();
            (self.patches, self.frames) = (patches, frames);
            return;
        }
        self.sound = before.frames.iter().map(|frame| frame.header.frame.0).collect();
    }

    /// Puts the bytes right, where they are still those that went wrong.
    fn repair(&self, disk: &FaultyDisk) {
        for patch in self.patches.iter().rev() {
            let Ok(bytes) = pieces::contents(disk, &patch.path) else { continue };
            let here = bytes.get(patch.offset..).unwrap_or_default();
            // A start may have cut the file within them.
            let left = patch.new.len().min(here.len());
            if left > 0 && here[..left] == patch.new[..left] {
                let written = pieces::overwrite(disk, &patch.path, patch.offset as u64, &patch.old[..left]);
                written.expect("a file that was just read");
            }
        }
    }

    /// Where takes may stop: in a damaged frame, and at an event of it; after a start also at an event that was released and
    /// that no frame holds. Returns the event.
    fn judge(
        &self,
        error: &ReadError,
        damaged: &[Frame],
        disk: &FaultyDisk,
        since: Since,
    ) -> Result<u64, Broken> {
        let &ReadError::Damaged { ref path, offset, event, .. } = error else {
            return Err(Broken::new(Kind::Lost, format!("events cannot be read: {error}")));
        };
        // A gap may begin with a frame that was damaged earlier and whose events were given up, or end with a segment's first
        // frame, so that nobody can say which of two segments held the event.
        let intact = Survey::of(disk).expect("a disk that works").frames;
        let same = |one: &Frame, other: &Frame| one.path == other.path && one.offset == other.offset;
        let damaged: Vec<_> =
            damaged.iter().filter(|frame| !intact.iter().any(|intact| same(frame, intact))).collect();
        let mut here = damaged.iter().filter(|frame| path.as_os_str() == &*frame.path);
        let placed = here.any(|frame| (frame.offset..frame.end).contains(&offset));
        let known = placed && damaged.iter().any(|frame| frame.events.contains(&event));
        // What is left of a commit over several frames holds nothing.
        let holds = |frame: &Frame| {
            let (start, end) = (frame.events.start, frame.events.end);
            (start..end).contains(&event)
                && !damaged.iter().any(|damaged| overlap(damaged, (start, Some(end))))
        };
        let forgotten = since == Since::End && self.was_released(event) && !intact.iter().any(holds);
        if !known && !forgotten {
            let what = format!("`{error}`, but damaged are {:?}", self.frames);
            return Err(Broken::new(Kind::Lost, what));
        }
        Ok(event)
    }

    /// The first commit, and event of it, that need not have arrived when takes stopped at `event`.
    fn first_behind(&self, event: u64) -> (usize, u32) {
        let next = self.there.iter().find(|there| there.end() > event);
        next.map_or((self.commits, 0), |there| {
            (there.id, there.skip + event.saturating_sub(there.first_event) as u32)
        })
    }

    /// What was released when the damage happened, by event numbers.
    fn released(&self) -> impl Iterator<Item = Range<u64>> {
        let ends = std::iter::once(0).chain(self.there.iter().map(Numbered::end));
        let firsts = self.there.iter().map(|there| there.first_event).chain([self.next_event]);
        ends.zip(firsts).map(|(end, first)| end..first).filter(|gap| !gap.is_empty())
    }

    fn was_released(&self, event: u64) -> bool {
        self.released().any(|events| events.contains(&event))
    }

    /// Gives up what was released, whether the log remembers it or not.
    fn release_again(&self, world: &mut World) {
        for events in self.released() {
            for seen in &world.seen {
                let from = events.start.max(seen.first_event);
                let to = events.end.min(seen.end());
                if from < to {
                    let skip = |event| seen.skip + (event - seen.first_event) as u32;
                    world.book.release(seen.id, skip(from)..skip(to), 0);
                }
            }
            world.give_up(events);
        }
    }
}

/// One thing that happens to a disk at rest, done to `after`.
fn pick(random: &mut Random, after: &mut Survey) -> Vec<Patch> {
    let mut pick_frame = || {
        let at = random.below(after.frames.len() as u64) as usize;
        let frame = &after.frames[at];
        (frame.path.clone(), frame.offset as usize, frame.len)
    };
    let (path, start, len) = pick_frame();
    let (other, other_start, other_len) = pick_frame();
    let sector = |random: &mut Random, start: usize, len: usize| {
        start + random.below(len.div_ceil(SECTOR) as u64) as usize * SECTOR
    };
    let mut patches = Vec::new();
    match random.below(16) {
        // Bits of a frame.
        kind @ 0..8 => {
            for _ in 0..if kind < 6 { 1 } else { 2 + random.below(7) } {
                let offset = start + random.below(len as u64) as usize;
                let byte = after.files[&path][offset] ^ 1 << random.below(8);
                patches.push(patch(after, &path, offset, vec![byte]));
            }
        }
        // A sector of it.
        8..10 => {
            let offset = sector(random, start, len);
            let fill = if random.one_in(2) { 0 } else { random.next() as u8 };
            patches.push(patch(after, &path, offset, vec![fill; SECTOR]));
        }
        // A write that went astray: it stands where it should not, and does not stand where it should.
        10..13 => {
            let (from, to) = (sector(random, start, len), sector(random, other_start, other_len));
            let sectors = 1 + random.below(8) as usize;
            let most = after.files[&path].len().saturating_sub(from).min(after.files[&other].len() - to);
            let bytes = after.files[&path][from..from + most.min(sectors * SECTOR)].to_vec();
            let zeroes = vec![0; bytes.len()];
            patches.push(patch(after, &path, from, zeroes));
            patches.push(patch(after, &other, to, bytes));
        }
        // A copy of a segment's header: a bit, or that of another segment.
        13 => {
            let copy = random.below(2) as usize * BLOCK;
            if random.one_in(2) {
                let offset = copy + random.below(128) as usize;
                let byte = after.files[&path][offset] ^ 1 << random.below(8);
                patches.push(patch(after, &path, offset, vec![byte]));
            } else if let Some(header) = after.files[&other].get(..SECTOR).map(<[u8]>::to_vec) {
                patches.push(patch(after, &path, copy, header));
            }
        }
        // A checkpoint, which nobody needs.
        _ => {
            let checkpoints = after.files.keys().filter(|path| path.starts_with(CHECKPOINT));
            let checkpoints: Vec<_> = checkpoints.cloned().collect();
            let some = checkpoints.into_iter().filter(|_| random.one_in(2)).collect::<Vec<_>>();
            for path in some {
                let offset = random.below((after.files[&path].len() as u64).clamp(1, 1024)) as usize;
                let Some(byte) = after.files[&path].get(offset) else { continue };
                let byte = byte ^ 1 << random.below(8);
                patches.push(patch(after, &path, offset, vec![byte]));
            }
        }
    }
    patches
}

fn patch(after: &mut Survey, path: &str, offset: usize, new: Vec<u8>) -> Patch {
    let bytes = after.files.get_mut(path).expect("a file of the survey");
    let place = &mut bytes[offset..offset + new.len()];
    let old = place.to_vec();
    place.copy_from_slice(&new);
    Patch { path: path.to_owned(), offset, old, new }
}

/// The frames that are not as they were; `None` if nobody could then tell what was synced and what was not.
fn damaged(before: &Survey, after: &Survey) -> Option<Vec<Frame>> {
    for (path, number) in before.segments() {
        let [was, is] = [before, after].map(|survey| header_copies(&survey.files[path], number));
        let kept = was.iter().zip(&is).any(|(was, is)| was.is_some() && was == is);
        if !kept && was.iter().any(Option::is_some) {
            return None;
        }
    }
    let place = |frame: &Frame| frame.offset as usize..frame.offset as usize + frame.len;
    let (sound, damaged): (Vec<_>, Vec<_>) = before
        .frames
        .iter()
        .partition(|frame| before.files[&frame.path][place(frame)] == after.files[&frame.path][place(frame)]);
    let vouches = |frame: &&Frame| {
        frame.header.synced_frame.max(if frame.first { frame.header.frame } else { Default::default() })
    };
    let evidence = sound.iter().map(vouches).max()?;
    if !has_a_start(&sound, after) {
        return None;
    }
    let highest = before.frames.iter().map(|frame| frame.header.frame).max()?;
    let decidable = |frame: &&Frame| frame.header.frame <= evidence || frame.header.frame == highest;
    damaged.iter().all(decidable).then(|| damaged.into_iter().cloned().collect())
}

/// Whether a start finds a snapshot, or a checkpoint that is no newer than all the frames that are left, or whose segment is
/// there.
fn has_a_start(sound: &[&Frame], survey: &Survey) -> bool {
    let snapshot = sound.iter().filter(|frame| frame.first).map(|frame| frame.header.frame).max();
    let highest = sound.iter().map(|frame| frame.header.frame).max();
    let checkpoints = survey.files.iter().filter(|(path, _)| path.starts_with(CHECKPOINT));
    let newest = checkpoints
        .filter_map(|(_, bytes)| Checkpoint::decode(bytes, &Setting::PLAIN.keys()).ok())
        .max_by_key(|(_, sequence)| *sequence);
    match newest {
        None => snapshot.is_some(),
        Some((checkpoint, _)) => {
            snapshot >= Some(checkpoint.frame)
                || highest > Some(checkpoint.frame)
                || survey.segments().any(|(_, number)| number == checkpoint.place.segment)
        }
    }
}
