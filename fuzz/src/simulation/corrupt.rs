//! Mode `corrupt`: synced bytes that change at rest, by rot or by a write that went astray.
//!
//! Everything is synced and vouched for when it happens. Then the log is started, or runs on. What must hold:
//!
//! - takes give everything in order up to the first event that they cannot read, and then name a damaged frame's file and
//!   offset, and an event of that frame; all events of other frames below it have arrived;
//! - what a start reports as damaged, and what `verify` finds, are damaged frames;
//! - puts go on;
//! - when the bytes are put right, or the events that they held are given up, all else arrives.
//!
//! Which bytes change is chosen so that this is decidable: the frame that says last what was synced is not damaged together
//! with others, and one copy of a segment's header stays.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use flumen_wal::ReadError;
use flumen_wal::tools;

use super::book::Since;
use super::frames::{BLOCK, Frame, Survey, header_copies};
use super::power::maybe_crash;
use super::world::{CHECKPOINT, DATA, Numbered, World};
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
}

/// Works, damages what is synced, and compares what can still be read.
pub fn cycle(world: &mut World) -> Result<(), Broken> {
    for _ in 0..4 + world.random.below(24) {
        world.act()?;
    }
    world.rest()?;
    world.look(Since::Nothing)?;
    let mut damage = Damage { there: world.seen.clone(), ..Damage::default() };
    let dead = world.random.one_in(2);
    if dead {
        if world.random.one_in(3) { world.close()? } else { world.crash() }
    }
    damage.inflict(world);
    world.book.releases_may_be_lost();
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
    let unreadable: Vec<_> = damage.there.iter().copied().filter(|there| damage.holds(there)).collect();
    if stopped {
        world.report.unreadable += unreadable.iter().map(|numbered| u64::from(numbered.events)).sum::<u64>();
    }
    if world.random.one_in(2) {
        damage.repair(world);
        if world.random.one_in(2) {
            // What is behind the place where takes stopped is seen for the first time in this life.
            world.look(since)?;
            return world.drain();
        }
    } else {
        for numbered in unreadable {
            world.book.release(numbered.id, numbered.skip..numbered.skip + numbered.events);
        }
        // Also of events that were released, for damage may have taken their release back.
        damage.frames.iter().for_each(|frame| world.give_up(frame.events.clone()));
        world.rest()?;
        // Which releases were lost of events behind the place where takes stopped, no look has seen yet.
        world.book.releases_may_be_lost();
    }
    world.crash();
    start(world, &damage)?;
    world.look(Since::End)?;
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

fn look(world: &mut World, damage: &Damage, since: Since) -> Result<bool, Broken> {
    let commits = world.book.len();
    let damaged = std::mem::take(&mut world.damaged);
    let looked = world.look_until(since, |error| damage.judge(error, &damaged, commits));
    world.damaged = damaged;
    looked
}

/// `verify` names nothing that is sound, and beneath a log that has run all the time every frame with events that cannot be
/// read. The table that a start writes may end before a frame whose header is damaged: behind its end `verify` does not look.
fn verify(world: &World, damage: &Damage, since: Since) -> Result<(), Broken> {
    let report = tools::verify(&world.directories())
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
        if !known && !world.damaged.iter().any(placed) {
            let what = format!("verify finds {finding:?}; damaged are {:?}", damage.frames);
            return Err(Broken::new(Kind::Failed, what));
        }
    }
    if since == Since::End {
        return Ok(());
    }
    for frame in &damage.frames {
        let number = frame.header.frame.0;
        let named = report.damage.iter().any(|finding| {
            let of_number = finding.frames.is_some_and(|(first, last)| (first..=last).contains(&number));
            within(frame, &finding.path.to_string_lossy(), finding.offset)
                || of_number
                || finding.events.is_some_and(|events| overlap(frame, events))
        });
        if !named && damage.there.iter().any(|there| frame.holds(there)) {
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
        let end = numbered.first_event + u64::from(numbered.events);
        self.events.start < end && numbered.first_event < self.events.end
    }
}

impl Damage {
    fn holds(&self, numbered: &Numbered) -> bool {
        self.frames.iter().any(|frame| frame.holds(numbered))
    }

    /// Whether one of these frames is as it was. A number that no frame has may be told as damage: it was cut by a start
    /// whose own first frame, which alone says so, is damaged.
    fn are_sound(&self, mut frames: RangeInclusive<u64>) -> bool {
        frames.any(|number| self.sound.contains(&number))
    }

    /// Changes bytes of what is synced. Nothing, where no way was found that leaves everything decidable.
    fn inflict(&mut self, world: &mut World) {
        let before = Survey::of(world).expect("a disk that works");
        for _ in 0..ATTEMPTS {
            let mut after = before.clone();
            let mut patches = Vec::new();
            for _ in 0..1 + world.random.below(3) {
                patches.extend(pick(&mut world.random, &mut after));
            }
            let Some(frames) = damaged(&before, &after) else { continue };
            for patch in &patches {
                let written = world.disk.overwrite(&patch.path, patch.offset as u64, &patch.new);
                written.expect("a file that was surveyed");
            }
            let is_sound = |number: &u64| !frames.iter().any(|frame| frame.header.frame.0 == *number);
            self.sound = before.frames.iter().map(|frame| frame.header.frame.0).filter(is_sound).collect();
            (self.patches, self.frames) = (patches, frames);
            return;
        }
        self.sound = before.frames.iter().map(|frame| frame.header.frame.0).collect();
    }

    /// Puts the bytes right, where they are still those that went wrong.
    fn repair(&self, world: &World) {
        for patch in self.patches.iter().rev() {
            let Ok(bytes) = world.disk.contents(&patch.path) else { continue };
            if bytes.get(patch.offset..patch.offset + patch.new.len()) == Some(&patch.new[..]) {
                let written = world.disk.overwrite(&patch.path, patch.offset as u64, &patch.old);
                written.expect("a file that was just read");
            }
        }
    }

    /// Where takes may stop: in a damaged frame, and at an event of it. Returns the first commit, and event of it, that
    /// need not have arrived.
    fn judge(&self, error: &ReadError, damaged: &[Frame], commits: usize) -> Result<(usize, u32), Broken> {
        let ReadError::Damaged { path, offset, event, .. } = error else {
            return Err(Broken::new(Kind::Lost, format!("events cannot be read: {error}")));
        };
        // A gap may begin with a frame that was damaged earlier and whose events were given up.
        let here: Vec<_> = damaged.iter().filter(|frame| path.as_os_str() == &*frame.path).collect();
        let placed = here.iter().any(|frame| (frame.offset..frame.end).contains(offset));
        if !placed || !here.iter().any(|frame| frame.events.contains(event)) {
            let what = format!("`{error}`, but damaged are {:?}", self.frames);
            return Err(Broken::new(Kind::Lost, what));
        }
        let next = self.there.iter().find(|there| there.first_event + u64::from(there.events) > *event);
        Ok(next.map_or((commits, 0), |there| {
            (there.id, there.skip + event.saturating_sub(there.first_event) as u32)
        }))
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
    for path in before.segments() {
        let (was, is) = (header_copies(&before.files[path]), header_copies(&after.files[path]));
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
    let highest = before.frames.iter().map(|frame| frame.header.frame).max()?;
    let decidable = |frame: &&Frame| frame.header.frame <= evidence || frame.header.frame == highest;
    damaged.iter().all(decidable).then(|| damaged.into_iter().cloned().collect())
}
