//! `flumen wal`: looks at a file channel's log, and repairs it. But for `repair` nothing is changed and no lock is taken, so
//! the agent may be running.
//!
//! ```text
//! flumen wal inspect DIR    what is there, and what a start would do with it
//! flumen wal verify DIR     reads every frame; exits with 1 if something is damaged
//! flumen wal dump DIR       one line a frame and record, with --payload one an event too
//! flumen wal repair DIR     gives up what cannot be read, after it was set aside, so that all else is delivered;
//!                           with --dry-run only says so, and exits with 1 if there is something to repair
//! ```
//!
//! The code is 1 also where the log cannot be looked at or repaired, and 75 where a repair meets a running agent; what is
//! wrong then stands on stderr.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use flumen_api::chunk::Chunk;
use flumen_wal::format::codec::Encoding;
use flumen_wal::format::record::Record;
use flumen_wal::format::segment::{FEATURE_ENCRYPTED, FEATURE_LZ4, SegmentHeader};
use flumen_wal::storage::{self, Backend};
use flumen_wal::tools::{
    self, Content, Finding, Inspection, Line, Remedy, Repair, Slot, ToolError, Verification,
};
use flumen_wal::{
    Directories, Key, Keys, OpenError, Options, ProgressOp, Quarantine, Space, System, read_key_file,
};
use serde_json::{Value, json};

use crate::exit::Exit;

/// `flumen wal`
#[derive(Debug, Args)]
pub struct WalArguments {
    #[command(subcommand)]
    command: WalCommand,
}

#[derive(Debug, Subcommand)]
enum WalCommand {
    /// Show what a log consists of, and what a start would do with it.
    Inspect {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read every frame and name what is damaged; exit with 1 if anything is.
    Verify {
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print one line for each frame and record.
    Dump {
        #[command(flatten)]
        which: Which,
        /// Print the beginning of each event, too.
        #[arg(long)]
        payload: bool,
    },
    /// Make a log that starts and delivers again of a damaged one. The agent must not be running.
    ///
    /// Damaged bytes are copied into the folder `quarantine` beside the segments before anything is changed. Run it as the
    /// user that runs the agent.
    Repair {
        #[command(flatten)]
        which: Which,
        /// Say what would be done, and change nothing; exit with 1 if there is something to repair.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which log is meant.
#[derive(Debug, Args)]
struct Which {
    /// A directory of the channel: one of dataDirs, checkpointDir, the folder `flumen` in them, or the one that holds both.
    dir: PathBuf,
    /// The channel's checkpointDir, where it is not found beside DIR.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// A file with a key by which the channel is encrypted, as in encryption.keyProvider.keys.<alias>.file; once for each key.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

impl Which {
    fn keys(&self) -> Result<Keys, String> {
        let read = |path: &PathBuf| {
            let secret = read_key_file(path).map_err(|error| error.to_string())?;
            Key::new(&path.to_string_lossy(), &secret).map_err(|error| error.to_string())
        };
        let keys = self.key.iter().map(read).collect::<Result<_, _>>()?;
        Keys::new(keys, None).map_err(|error| error.to_string())
    }
}

/// How much of an event is shown.
const PREVIEW_BYTES: usize = 100;

/// Runs what the arguments name.
pub fn run(arguments: &WalArguments) -> Exit {
    match look(arguments) {
        Ok(exit) => exit,
        Err(Failed::Tool(error @ ToolError::Locked { .. })) => {
            eprintln!("flumen wal: {error} by --key FILE");
            Exit::Fatal
        }
        Err(Failed::Tool(error)) => {
            eprintln!("flumen wal: {error}");
            Exit::Fatal
        }
        Err(Failed::Key(error)) => {
            eprintln!("flumen wal: {error}");
            Exit::Fatal
        }
        Err(Failed::Repair(error @ OpenError::Locked { .. })) => {
            eprintln!("flumen wal repair: {error}; stop the agent first");
            Exit::Locked
        }
        Err(Failed::Repair(error)) => {
            eprintln!("flumen wal repair: {error}");
            Exit::Fatal
        }
    }
}

enum Failed {
    Key(String),
    Tool(ToolError),
    Repair(OpenError),
}

impl From<ToolError> for Failed {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

fn look(arguments: &WalArguments) -> Result<Exit, Failed> {
    let (WalCommand::Inspect { which, .. }
    | WalCommand::Verify { which, .. }
    | WalCommand::Dump { which, .. }
    | WalCommand::Repair { which, .. }) = &arguments.command;
    let keys = which.keys().map_err(Failed::Key)?;
    let dirs = tools::locate(&which.dir, which.checkpoint.as_deref())?.with_keys(&keys);
    let mut out = Printer(BufWriter::new(io::stdout().lock()));
    let mut exit = Exit::Clean;
    match arguments.command {
        WalCommand::Inspect { json, .. } => {
            let inspection = tools::inspect(&dirs)?;
            out.line(if json { pretty(&inspection_json(&inspection)) } else { inspection_text(&inspection) });
        }
        WalCommand::Verify { json, .. } => {
            let report = tools::verify(&dirs)?;
            out.line(if json { pretty(&verification_json(&report)) } else { verification_text(&report) });
            if !report.damage.is_empty() {
                exit = Exit::Fatal;
            }
        }
        WalCommand::Dump { payload, .. } => {
            tools::dump(&dirs, &mut |line| {
                if matches!(line, Line::Damage(_)) {
                    exit = Exit::Fatal;
                }
                print_line(&mut out, &line, payload);
            })?;
        }
        WalCommand::Repair { dry_run, json, .. } => {
            let report = repair(which, &dirs, keys, dry_run)?;
            let folder = dirs.data.path().join(tools::QUARANTINE);
            let text = if json {
                pretty(&repair_json(&report, dry_run))
            } else {
                repair_text(&report, &folder, dry_run)
            };
            out.line(text);
            if dry_run && !report.remedies.is_empty() {
                exit = Exit::Fatal;
            }
        }
    }
    out.done();
    Ok(exit)
}

fn repair(which: &Which, looked_at: &Directories, keys: Keys, dry_run: bool) -> Result<Repair, Failed> {
    let (options, environment) = (Options { keys, ..Options::default() }, System::default());
    if dry_run {
        return tools::examine(looked_at, &options, &environment).map_err(Failed::Repair);
    }
    let dirs = tools::locate_with(&which.dir, which.checkpoint.as_deref(), &|path| {
        storage::open(path, Backend::Std).map(|(directory, _)| directory)
    })?;
    let quarantine = Quarantine::within(dirs.data.path());
    tools::repair(&dirs, &quarantine, &options, &environment).map_err(Failed::Repair)
}

/// Standard output, whose reader may go away at any time.
struct Printer<W: Write>(BufWriter<W>);

impl<W: Write> Printer<W> {
    fn line(&mut self, text: impl std::fmt::Display) {
        let written = writeln!(self.0, "{text}");
        ended(written);
    }

    fn done(&mut self) {
        let flushed = self.0.flush();
        ended(flushed);
    }
}

/// `flumen wal dump … | head` has what it wants: going on to read the log would be for nobody.
fn ended(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("flumen wal: cannot write the output: {error}");
            std::process::exit(i32::from(Exit::Fatal.code()));
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// `12..15`, or `12..?` where the end is not known.
fn range(first: u64, end: Option<u64>) -> String {
    format!("{first}..{}", or_unknown(end))
}

fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |number| number.to_string())
}

fn space_name(space: Space) -> &'static str {
    match space {
        Space::Source => "source",
        Space::Sink => "sink",
    }
}

/// Appends a line; writing into a string cannot fail.
macro_rules! put {
    ($text:expr, $($arguments:tt)*) => {
        writeln!($text, $($arguments)*).expect("writing into memory")
    };
}

fn inspection_text(i: &Inspection) -> String {
    let mut text = String::new();
    put!(text, "log        {}", i.log_id.map_or_else(|| "unknown".into(), |id| format!("{id:032x}")));
    put!(text, "data       {}", i.data.display());
    put!(text, "checkpoint {}", i.checkpoint.display());
    put!(text, "\nsegments ({}):", i.segments.len());
    for segment in &i.segments {
        let what = match &segment.content {
            Content::Frames { frames, events, end_offset, newest } => format!(
                "frames {}..={}, events {}, end {}{}",
                frames.0,
                or_unknown(frames.1),
                range(events.0, events.1),
                or_unknown(*end_offset),
                if *newest { ", newest" } else { "" }
            ),
            content => content_name(content),
        };
        let header = segment.header.as_ref();
        let salt = header.map_or_else(|| "?".into(), |header| format!("{:016x}", header.salt));
        let copy = if segment.header_copies == 1 { ", one header copy is bad" } else { "" };
        let lz4 = if may_be_lz4(segment.header.as_ref()) { ", may hold lz4" } else { "" };
        let keys = header.map_or_else(String::new, |header| match encryption(header) {
            keys if keys.is_empty() => String::new(),
            keys => format!(", encrypted by {}", keys.join(", ")),
        });
        put!(text, "  {}  {} bytes  salt {salt}  {what}{lz4}{keys}{copy}", segment.file, segment.len);
    }
    put!(text, "spares ({}):", i.spares.len());
    for (name, len) in &i.spares {
        put!(text, "  {name}  {len} bytes");
    }
    put!(text, "checkpoints:");
    for slot in &i.slots {
        let what = match &slot.slot {
            Slot::Missing => "missing".to_string(),
            Slot::Empty => "empty".to_string(),
            Slot::Bad(why) => format!("not usable: {why}"),
            Slot::Sound { sequence, log_id, frame, place, next_event, first_event } => {
                let place = place.map_or_else(|| "no place".into(), |place| place.to_string());
                let other = if Some(*log_id) == i.log_id { "" } else { ", OF ANOTHER LOG" };
                format!(
                    "sequence {sequence}, up to frame {frame}, {place}, events {first_event}..{next_event}{other}"
                )
            }
        };
        put!(text, "  {}  {what}", slot.file);
    }
    let outlook = match &i.outlook {
        Ok(outlook) => outlook,
        Err(why) => {
            put!(text, "\na start would be refused: {why}");
            return text.trim_end().to_string();
        }
    };
    put!(text, "\ncursor     {} (next event {})", outlook.first_event, outlook.next_event);
    if !outlook.released_above.is_empty() {
        let ranges: Vec<_> =
            outlook.released_above.iter().map(|(first, end)| range(*first, Some(*end))).collect();
        put!(text, "released   {}", ranges.join(", "));
    }
    put!(text, "backlog    {} events", outlook.backlog);
    for owner in &outlook.owners {
        put!(text, "progress   {} {}: {} keys", space_name(owner.space), owner.name, owner.keys.len());
        for (key, generation, to, rest) in &owner.keys {
            put!(text, "             {key}  generation {generation}  at {to}  {}", preview(rest));
        }
    }
    put!(text, "\na start would now:");
    let end = outlook.end.map_or_else(|| "nothing".into(), |end| end.to_string());
    put!(text, "  keep     frames up to {}, which end at {end}", outlook.last_kept);
    let (first, last) = (outlook.unvouched.first(), outlook.unvouched.last());
    match (first, last) {
        (Some(first), Some(last)) => put!(
            text,
            "  rewrite  {} frames that nothing vouches for: {}..={}, from {}",
            outlook.unvouched.len(),
            first.frame,
            last.frame,
            first.place
        ),
        _ => put!(text, "  rewrite  nothing"),
    }
    put!(text, "  cut      {} frames that were never acked", outlook.cut);
    for damage in &outlook.damage {
        put!(
            text,
            "  DAMAGE   {}: frames {}..={}: {}",
            damage.place,
            damage.first_frame,
            damage.last_frame,
            damage.what
        );
    }
    if let Some(below) = outlook.missing_below {
        put!(text, "  MISSING  events below {below} with their segments");
    }
    text.trim_end().to_string()
}

fn may_be_lz4(header: Option<&SegmentHeader>) -> bool {
    header.is_some_and(|header| header.features & FEATURE_LZ4 != 0)
}

/// The keys that a segment's header names: its own, and those of older segments that are not delivered.
fn encryption(header: &SegmentHeader) -> Vec<String> {
    let keys = header.keys.iter().map(|key| match key.end_event {
        u64::MAX => format!("key {}", key.id),
        end => format!("key {} up to event {end}", key.id),
    });
    let keys: Vec<_> = keys.collect();
    let unnamed = keys.is_empty() && header.features & FEATURE_ENCRYPTED != 0;
    if unnamed { vec!["a key that its header does not name".into()] } else { keys }
}

fn content_name(content: &Content) -> String {
    match content {
        Content::Frames { .. } => "frames".into(),
        Content::Prepared => "prepared".into(),
        Content::Spare => "spare (its name and header disagree)".into(),
        Content::FirstFrameBad => "FIRST FRAME DAMAGED".into(),
        Content::Locked(missing) => format!("cannot be read: {missing}; give it by --key FILE"),
        Content::HeaderBad => "no header verifies".into(),
        Content::Newer(why) => format!("of a newer version: {why}"),
        Content::Unreadable(why) => format!("UNREADABLE: {why}"),
    }
}

fn inspection_json(i: &Inspection) -> Value {
    let segments = i.segments.iter().map(|segment| {
        let mut value = json!({
            "file": segment.file,
            "bytes": segment.len,
            "headerCopies": segment.header_copies,
            "salt": segment.header.map(|header| format!("{:016x}", header.salt)),
            "mayHoldLz4": may_be_lz4(segment.header.as_ref()),
            "keys": segment.header.iter().flat_map(|header| header.keys.iter()).map(|key| json!({
                "id": key.id.to_string(),
                "endEvent": Some(key.end_event).filter(|end| *end < u64::MAX),
            })).collect::<Vec<_>>(),
        });
        match &segment.content {
            Content::Frames { frames, events, end_offset, newest } => {
                value["content"] = json!("frames");
                value["firstFrame"] = json!(frames.0);
                value["lastFrame"] = json!(frames.1);
                value["firstEvent"] = json!(events.0);
                value["endEvent"] = json!(events.1);
                value["endOffset"] = json!(end_offset);
                value["newest"] = json!(newest);
            }
            content => value["content"] = json!(content_name(content)),
        }
        value
    });
    let slots = i.slots.iter().map(|slot| match &slot.slot {
        Slot::Missing => json!({ "file": slot.file, "content": "missing" }),
        Slot::Empty => json!({ "file": slot.file, "content": "empty" }),
        Slot::Bad(why) => json!({ "file": slot.file, "content": "bad", "why": why }),
        Slot::Sound { sequence, log_id, frame, place, next_event, first_event } => json!({
            "file": slot.file,
            "content": "checkpoint",
            "sequence": sequence,
            "logId": format!("{log_id:032x}"),
            "frame": frame,
            "segment": place.map(|place| place.segment.file_name()),
            "offset": place.map(|place| place.offset),
            "firstEvent": first_event,
            "nextEvent": next_event,
        }),
    });
    let outlook = match &i.outlook {
        Err(why) => json!({ "refused": why }),
        Ok(o) => json!({
            "firstEvent": o.first_event,
            "nextEvent": o.next_event,
            "releasedAbove": o.released_above,
            "backlog": o.backlog,
            "lastKeptFrame": o.last_kept,
            "rewrittenFrames": o.unvouched.len(),
            "cutFrames": o.cut,
            "missingBelow": o.missing_below,
            "damage": o.damage.iter().map(|damage| json!({
                "file": damage.place.segment.file_name(),
                "offset": damage.place.offset,
                "firstFrame": damage.first_frame,
                "lastFrame": damage.last_frame,
                "what": damage.what,
            })).collect::<Vec<_>>(),
            "progress": o.owners.iter().map(|owner| json!({
                "space": space_name(owner.space),
                "owner": owner.name,
                "keys": owner.keys.iter().map(|(key, generation, to, rest)| json!({
                    "key": key,
                    "generation": generation,
                    "to": to,
                    "rest": String::from_utf8_lossy(rest),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }),
    };
    json!({
        "logId": i.log_id.map(|id| format!("{id:032x}")),
        "data": i.data.display().to_string(),
        "checkpoint": i.checkpoint.display().to_string(),
        "segments": segments.collect::<Vec<_>>(),
        "spares": i.spares.iter().map(|(name, len)| json!({ "file": name, "bytes": len })).collect::<Vec<_>>(),
        "checkpoints": slots.collect::<Vec<_>>(),
        "start": outlook,
    })
}

fn verification_text(report: &Verification) -> String {
    let mut text = String::new();
    for finding in &report.damage {
        put!(text, "damage: {}", finding_text(finding));
    }
    for finding in &report.notes {
        put!(text, "note: {}", finding_text(finding));
    }
    put!(
        text,
        "{} segments, {} synced frames, {} bytes, events {}; {} frames above the last claim ({}) were not judged",
        report.segments,
        report.frames,
        report.bytes,
        report.events.map_or_else(|| "none".into(), |(first, end)| range(first, Some(end))),
        report.unvouched,
        report.claim
    );
    if report.compressed > 0 {
        put!(
            text,
            "{} frames are compressed by lz4; the bodies of all take {} of {} bytes",
            report.compressed,
            report.stored_bytes,
            report.raw_bytes
        );
    }
    if report.encrypted > 0 {
        put!(text, "{} frames are encrypted", report.encrypted);
    }
    match report.damage.len() {
        0 => put!(text, "clean"),
        1 => put!(text, "1 damaged place"),
        more => put!(text, "{more} damaged places"),
    }
    text.trim_end().to_string()
}

fn finding_text(finding: &Finding) -> String {
    let mut text = format!("{}: offset {}: {}", finding.path.display(), finding.offset, finding.what);
    if let Some((first, last)) = finding.frames {
        text += &format!("; frames {first}..={last}");
    }
    if let Some((first, end)) = finding.events {
        text += &format!("; events {}", range(first, end));
    }
    text
}

fn repair_text(report: &Repair, folder: &Path, dry_run: bool) -> String {
    let mut text = String::new();
    for Remedy { finding, action } in &report.remedies {
        put!(text, "damage: {}: {action}", finding_text(finding));
    }
    if report.remedies.is_empty() {
        put!(text, "nothing to repair; {} events are left to deliver", report.backlog);
        return text.trim_end().to_string();
    }
    let ranges: Vec<_> = report.lost.iter().map(|(first, end)| range(*first, Some(*end))).collect();
    let ranges = if ranges.is_empty() { String::new() } else { format!(" ({})", ranges.join(", ")) };
    put!(
        text,
        "{} events are given up{ranges}; {} are left to deliver",
        report.lost_events(),
        report.backlog
    );
    if !report.quarantined.is_empty() {
        put!(text, "set aside in {}: {}", folder.display(), report.quarantined.join(", "));
    }
    put!(text, "{}", if dry_run { "nothing was changed" } else { "repaired" });
    text.trim_end().to_string()
}

fn repair_json(report: &Repair, dry_run: bool) -> Value {
    let damage = report.remedies.iter().map(|Remedy { finding, action }| {
        let mut value = finding_json(finding);
        value["action"] = json!(action);
        value
    });
    json!({
        "logId": report.log_id.map(|id| format!("{id:032x}")),
        "damage": damage.collect::<Vec<_>>(),
        "lostEvents": report.lost_events(),
        "lost": report.lost,
        "backlog": report.backlog,
        "quarantined": report.quarantined,
        "changed": !dry_run && !report.remedies.is_empty(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "file": finding.path.display().to_string(),
        "offset": finding.offset,
        "what": finding.what,
        "firstFrame": finding.frames.map(|frames| frames.0),
        "lastFrame": finding.frames.map(|frames| frames.1),
        "firstEvent": finding.events.map(|events| events.0),
        "endEvent": finding.events.and_then(|events| events.1),
    })
}

fn verification_json(report: &Verification) -> Value {
    let findings = |findings: &[Finding]| findings.iter().map(finding_json).collect::<Vec<_>>();
    json!({
        "logId": report.log_id.map(|id| format!("{id:032x}")),
        "segments": report.segments,
        "frames": report.frames,
        "bytes": report.bytes,
        "compressedFrames": report.compressed,
        "encryptedFrames": report.encrypted,
        "storedBytes": report.stored_bytes,
        "rawBytes": report.raw_bytes,
        "firstEvent": report.events.map(|events| events.0),
        "endEvent": report.events.map(|events| events.1),
        "claim": report.claim,
        "framesAboveClaim": report.unvouched,
        "damage": findings(&report.damage),
        "notes": findings(&report.notes),
    })
}

fn print_line<W: Write>(out: &mut Printer<W>, line: &Line<'_>, payload: bool) {
    match line {
        Line::Segment { header, len } => {
            out.line(format_args!("{}  {len} bytes  salt {:016x}", header.segment.file_name(), header.salt));
        }
        Line::Frame { place, header, intact, vouched } => {
            let span = match (header.is_span(), header.has_more()) {
                (false, _) => "",
                (true, true) => ", more follow",
                (true, false) => ", ends its commit",
            };
            out.line(format_args!(
                "  {place}  frame {}  events {}  {} bytes{}{}  claims {}{span}{}{}",
                header.frame.0,
                range(header.first_event, Some(header.end_event())),
                header.stored_len,
                match header.encoding {
                    Encoding::Plain => String::new(),
                    Encoding::Lz4 => format!(" lz4 of {}", header.raw_len),
                },
                if header.encrypted { " encrypted" } else { "" },
                header.synced_frame.0,
                if *vouched { "" } else { ", not vouched for" },
                if *intact { "" } else { ", BODY DAMAGED" },
            ));
        }
        Line::Record { record, first_event } => match record {
            Ok(record) => {
                out.line(format_args!("    {}", record_text(record, *first_event)));
                if let (true, Record::Commit { payload, .. }) = (payload, record) {
                    print_payload(out, payload, *first_event);
                }
            }
            Err(error) => out.line(format_args!("    NO RECORD: {error}")),
        },
        Line::Damage(finding) => out.line(format_args!("  DAMAGE {}", finding_text(finding))),
    }
}

fn record_text(record: &Record<'_>, first_event: u64) -> String {
    match record {
        Record::Commit { events, payload } => {
            let events = range(first_event, Some(first_event + u64::from(*events)));
            format!("commit    events {events}, {} bytes", payload.len())
        }
        Record::Release(ranges) => {
            let ranges: Vec<_> = ranges.iter().map(|(first, end)| range(*first, Some(*end))).collect();
            format!("release   {}", ranges.join(", "))
        }
        Record::Progress(update) => {
            let (space, owner) = (space_name(update.space), &update.owner);
            match &update.op {
                ProgressOp::Set { generation, from, to, rest } => format!(
                    "progress  {space} {owner} {}: generation {generation}, {from} to {to}, {}",
                    update.key,
                    preview(rest)
                ),
                ProgressOp::Retire => format!("progress  {space} {owner} {}: retired", update.key),
                ProgressOp::Mark => format!("progress  {space} {owner}: known"),
            }
        }
        Record::Snapshot(snapshot) => format!(
            "snapshot  next event {}, cursor {}, {} owners, {} segments in the table",
            snapshot.next_event,
            snapshot.state.cursor.low,
            snapshot.state.owners.len(),
            snapshot.segments.len()
        ),
        Record::Life(life) => format!(
            "life      the one before ended with frame {} of {}; {} frames rewritten behind this",
            life.last_kept.0, life.last_seen.0, life.rewritten
        ),
        Record::Close(last) => format!("close     all frames up to {} are synced", last.0),
    }
}

fn print_payload<W: Write>(out: &mut Printer<W>, payload: &[u8], first_event: u64) {
    let chunk = match Chunk::decode(Bytes::copy_from_slice(payload)) {
        Ok(chunk) => chunk,
        Err(error) => {
            out.line(format_args!("      {}  ({error})", preview(payload)));
            return;
        }
    };
    for (number, event) in (first_event..).zip(chunk.slice(0, chunk.len()).iter()) {
        let headers: Vec<_> = event.headers.iter().map(|(key, value)| format!("{key}={value}")).collect();
        out.line(format_args!("      event {number}  {{{}}}  {}", headers.join(", "), preview(event.body)));
    }
}

/// The beginning of some bytes, in one line that can be shown on a terminal.
fn preview(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => text.escape_debug().to_string(),
        // Only the last character is cut in half, or it is no text.
        Err(error) if shown.len() - error.valid_up_to() < 4 && shown.len() < bytes.len() => {
            String::from_utf8_lossy(&shown[..error.valid_up_to()]).escape_debug().to_string()
        }
        Err(_) => shown.escape_ascii().to_string(),
    };
    if shown.len() < bytes.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The log's kept files at their length when they were written; gone with the first value.
    fn fixture() -> (tempfile::TempDir, flumen_wal::Directories) {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("wal/tests/fixtures/log-v1");
        let full = tempfile::tempdir().unwrap();
        for part in ["data", "checkpoint"] {
            std::fs::create_dir(full.path().join(part)).unwrap();
            for entry in std::fs::read_dir(kept.join(part)).unwrap() {
                let entry = entry.unwrap();
                let copy = full.path().join(part).join(entry.file_name());
                std::fs::copy(entry.path(), &copy).unwrap();
                std::fs::File::options().write(true).open(copy).unwrap().set_len(64 << 10).unwrap();
            }
        }
        let directories = tools::locate(full.path(), None).unwrap();
        (full, directories)
    }

    #[test]
    fn an_inspection_says_what_an_operator_asks() {
        let inspection = tools::inspect(&fixture().1).unwrap();
        let text = inspection_text(&inspection);
        for part in [
            "segment-0000000000000002.log",
            "events 4..5",
            "backlog    5 events",
            "source r1: 1 keys",
            "keep",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = inspection_json(&inspection);
        assert_eq!((&json["start"]["backlog"], &json["segments"][0]["endEvent"]), (&json!(5), &json!(4)));
        assert_eq!(json["checkpoints"][0]["content"], "checkpoint");
    }

    #[test]
    fn a_verification_ends_with_its_verdict() {
        let mut report = tools::verify(&fixture().1).unwrap();
        assert!(verification_text(&report).ends_with("\nclean"));
        report.damage.push(Finding {
            path: "/d/segment-1.log".into(),
            offset: 8192,
            what: "frame body fails its checksum".into(),
            frames: Some((7, 7)),
            events: Some((20, Some(23))),
        });
        let text = verification_text(&report);
        let line = "damage: /d/segment-1.log: offset 8192: frame body fails its checksum; frames 7..=7; events 20..23";
        assert!(text.starts_with(line) && text.ends_with("1 damaged place"), "{text}");
        assert_eq!(verification_json(&report)["damage"][0]["firstEvent"], json!(20));
    }

    #[test]
    fn a_dump_has_a_line_for_each_frame_and_record() {
        let mut out = Printer(BufWriter::new(Vec::new()));
        tools::dump(&fixture().1, &mut |line| print_line(&mut out, &line, false)).unwrap();
        let text = String::from_utf8(out.0.into_inner().unwrap()).unwrap();
        for kind in ["commit ", "release ", "progress ", "snapshot ", "life ", "close ", ", more follow"] {
            assert!(text.contains(kind), "{kind} in {text}");
        }
        let report = tools::verify(&fixture().1).unwrap();
        let frames = text.lines().filter(|line| line.contains("  frame ")).count();
        assert_eq!(frames as u64, report.frames + report.unvouched);
    }

    #[test]
    fn a_preview_is_one_printable_line() {
        assert_eq!(preview(b"a\nb\x1b"), "a\\nb\\u{1b}");
        assert_eq!(preview(&[0xff, b'x']), "\\xffx");
        let long = "ü".repeat(80);
        // An odd number of bytes would cut a character in half.
        assert_eq!(
            preview(&long.as_bytes()[1..]),
            format!("\\xbc{}… (159 bytes)", "\\xc3\\xbc".repeat(49) + "\\xc3")
        );
        assert!(preview(format!("x{long}").as_bytes()).starts_with("xüü"));
    }
}
