//! Makes a log that opens and delivers of one that is damaged, giving up nothing but what cannot be read.
//!
//! Everything is read, and what is wrong told apart: events that nobody can read any more, headers that can be told again,
//! files that hold nothing, and evidence of what is not there. Then, each step durable before the next:
//!
//! ```text
//!   1. copy to the quarantine what is damaged, and what is about to be overwritten or removed
//!   2. write headers again; remove checkpoint files that the disk cannot read
//!                                          crash up to here: the log is as it was, less what stood in its way
//!   3. begin a life, as a start does: its first frame releases the events that are given up
//!                                          from here on the log is repaired
//!   4. remove files that hold nothing
//! ```
//!
//! No frame is written where one stood, and no frame is changed: lost events are *released*, so that every reader passes
//! over them, and the damaged bytes go when their segment goes. A repair that is killed is repeated.
//!
//! What no repair may decide is refused as at a start: a newer version's bytes, and directories of different logs. So is a
//! data directory without any segment beside a checkpoint, which is the sight of a missing mount.

mod headers;
mod plan;
mod view;

pub use plan::Remedy;

use self::plan::{Plan, Views};
use crate::directories::Directories;
use crate::environment::Environment;
use crate::error::OpenError;
use crate::format::keys::Keys;
use crate::numbers::SegmentNumber;
use crate::options::Options;
use crate::quarantine::Quarantine;
use crate::recovery::life;
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::storage::{AlignedBuf, Directory};

/// What was wrong with a log, and what was done or would be done.
#[derive(Debug, Default)]
pub struct Repair {
    /// The log's id.
    pub log_id: Option<u128>,
    /// What is wrong. Empty is a log that needs no repair; nothing was done to it.
    pub remedies: Vec<Remedy>,
    /// Events that are given up: ranges, rising.
    pub lost: Vec<(u64, u64)>,
    /// Files in the quarantine; none for an examination.
    pub quarantined: Vec<String>,
    /// Events that are left to deliver.
    pub backlog: u64,
}

impl Repair {
    /// How many events are given up.
    pub fn lost_events(&self) -> u64 {
        self.lost.iter().map(|(first, end)| end - first).sum()
    }

    fn of(plan: &Plan) -> Self {
        let recovered = &plan.recovered;
        let mut state = recovered.state.clone();
        let mut next_event = recovered.next_event;
        for unvouched in &recovered.unvouched {
            crate::recovery::apply(&mut state, &unvouched.controls);
            next_event = next_event.max(unvouched.header.end_event());
        }
        Self {
            log_id: recovered.log_id,
            remedies: plan.remedies.clone(),
            lost: plan.lost.clone(),
            quarantined: Vec::new(),
            backlog: next_event.saturating_sub(state.cursor.low + state.cursor.released_above()),
        }
    }
}

/// Says what a repair would do, under the log's lock and without changing anything.
pub fn examine(
    dirs: &Directories,
    options: &Options,
    environment: &dyn Environment,
) -> Result<Repair, OpenError> {
    let dirs = &dirs.clone().with_keys(&options.keys);
    let _locks = dirs.lock(options, environment)?;
    Ok(Repair::of(&plan::plan(dirs)?.0))
}

/// Repairs a log, under its lock. After an error the log is as it was or repaired, and the call may be repeated.
pub fn repair(
    dirs: &Directories,
    quarantine: &Quarantine,
    options: &Options,
    environment: &dyn Environment,
) -> Result<Repair, OpenError> {
    let alignment = dirs.data.alignment().max(dirs.checkpoint.alignment());
    let mut options = options.clone().bounded(alignment);
    options.keys = keys_of_log(dirs, options.keys)?;
    let dirs = &dirs.clone().with_keys(&options.keys);
    let _locks = dirs.lock(&options, environment)?;
    let (plan, view) = plan::plan(dirs)?;
    let mut report = Repair::of(&plan);
    if plan.remedies.is_empty() {
        return Ok(report);
    }
    report.quarantined = set_aside(&plan, &view, quarantine)?;
    let data = &*dirs.data;
    for header in &plan.headers {
        let name = header.segment.file_name();
        let io = |action| io_error(data, action, &name);
        let file = data.open(&name).map_err(io("open"))?;
        file.write_durable_at(&AlignedBuf::padded(&header.encode(), data.alignment()), 0)
            .map_err(io("write"))?;
        file.sync().map_err(io("sync"))?;
    }
    for slot in &plan.useless_slots {
        dirs.checkpoint.remove(slot).map_err(io_error(&*dirs.checkpoint, "remove", slot))?;
        dirs.checkpoint.sync().map_err(io_error(&*dirs.checkpoint, "sync", ""))?;
    }
    let mut recovered = plan.recovered;
    recovered.last_segment = recovered.last_segment.map(|file| really(data, &file)).transpose()?;
    for unvouched in &mut recovered.unvouched {
        unvouched.file = really(data, &unvouched.file)?;
    }
    life::begin(dirs, &options, environment, recovered)?;
    for number in &plan.useless {
        let name = number.file_name();
        data.remove(&name).map_err(io_error(data, "remove", &name))?;
    }
    data.sync().map_err(io_error(data, "sync", ""))?;
    Ok(report)
}

/// The keys, writing by the one by which the log was written last, if there is one: paths in what a repair writes are as secret as
/// in what it found.
fn keys_of_log(dirs: &Directories, keys: Keys) -> Result<Keys, OpenError> {
    let data = &*dirs.data;
    if keys.active().is_some() {
        return Ok(keys);
    }
    let entries = data.list().map_err(io_error(data, "list", ""))?;
    let mut numbers: Vec<_> = entries.iter().filter_map(|entry| SegmentNumber::parse(&entry.name)).collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        // What cannot be read, or is none, the plan will come to.
        let Ok(Opened::Segment(file)) = file::open(data, number) else { continue };
        let own = file.header.keys.iter().find(|key| key.end_event == u64::MAX);
        return Ok(own.map_or(keys.clone(), |own| keys.writing_by(own.id)));
    }
    Ok(keys)
}

fn set_aside(plan: &Plan, view: &Views, quarantine: &Quarantine) -> Result<Vec<String>, OpenError> {
    if plan.copies.is_empty() {
        return Ok(Vec::new());
    }
    let folder = || view.data.path().join(crate::quarantine::FOLDER);
    let failed = |action| move |source| OpenError::Io { action, path: folder(), source };
    let mut open = quarantine.open().map_err(failed("open"))?;
    let mut names = Vec::new();
    for copied in &plan.copies {
        let from = if copied.checkpoint { &view.checkpoint } else { &view.data };
        let name = &copied.note.file;
        let file = from.open_as_it_is(name).map_err(io_error(&**from, "open", name))?;
        names.push(open.set_aside(&*file, from.alignment(), &copied.note).map_err(failed("write"))?);
    }
    open.sync().map_err(failed("sync"))?;
    Ok(names)
}

/// The file itself, of which the plan knew a view.
fn really(data: &dyn Directory, viewed: &SegmentFile) -> Result<SegmentFile, OpenError> {
    let name = viewed.number().file_name();
    match file::open(data, viewed.number()).map_err(io_error(data, "open", &name))? {
        Opened::Segment(file) if file.header == viewed.header => Ok(file),
        _ => Err(OpenError::Foreign {
            path: path_of(data, &name),
            reason: "its header is not what it was a moment ago".to_string(),
            repairable: false,
        }),
    }
}

fn io_error(
    dir: &dyn Directory,
    action: &'static str,
    name: &str,
) -> impl Fn(std::io::Error) -> OpenError + use<> {
    let path = path_of(dir, name);
    move |source| OpenError::Io { action, path: path.clone(), source }
}
