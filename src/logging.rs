//! The agent's own log: to stderr or to a file that rolls, as Flume's `-D` settings ask for it.
//!
//! ```text
//! -Dflume.root.logger=INFO,LOGFILE     level, then one or more of console, LOGFILE (default: INFO,console)
//! -Dflume.log.dir=./logs               directory of the file
//! -Dflume.log.file=flume.log           its name
//!
//! 2026-11-21 07:31:00,123 (main) [INFO - flumen::commands::agent] agent a1: 1 source, 1 channel, 1 sink
//! date, time, milliseconds (thread) [level - target] message field=value
//! ```
//!
//! Levels are log4j's words. A file of 100 MB becomes `flume.log.1`, which becomes `.2`, up to ten, as with Flume.
//! Warnings and errors that repeat word for word are counted instead of written after the fifth within a minute; lines
//! at INFO and below are all written, for the logger sink's events come that way.

mod file;
mod repeats;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use file::RollingFile;
use repeats::{Repeats, Verdict};

/// What the `-D` settings ask for.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    level: LevelFilter,
    console: bool,
    file: Option<PathBuf>,
}

/// The running log.
#[derive(Clone)]
pub struct Log(Arc<Outputs>);

struct Outputs {
    console: bool,
    file: Option<Mutex<RollingFile>>,
    repeats: Mutex<Repeats>,
}

/// Starts the process's log. The error is for the usage message.
pub fn start(definitions: &BTreeMap<String, String>) -> Result<Log, String> {
    let plan = Plan::of(definitions)?;
    let file = match plan.file {
        None => None,
        Some(path) => {
            let shown = path.display().to_string();
            let file = RollingFile::open(path)
                .map_err(|error| format!("cannot open the log file {shown}: {error}"))?;
            Some(Mutex::new(file))
        }
    };
    let log = Log(Arc::new(Outputs { console: plan.console, file, repeats: Mutex::default() }));
    tracing_subscriber::registry()
        .with(targets(plan.level))
        .with(Lines(log.clone()))
        .try_init()
        .map_err(|error| format!("cannot start the log: {error}"))?;
    Ok(log)
}

/// What is written at a level. Libraries warn of each try of theirs that failed, several a second in an outage; whoever uses
/// them says what came of it, so theirs are for those who look for a cause.
fn targets(level: LevelFilter) -> Targets {
    let of_libraries = if level >= LevelFilter::DEBUG { level } else { level.min(LevelFilter::ERROR) };
    Targets::new().with_default(level).with_target("hdfs_native", of_libraries)
}

impl Plan {
    fn of(definitions: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| definitions.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let mut words = get("flume.root.logger").unwrap_or("INFO,console").split(',').map(str::trim);
        let level = words.next().unwrap_or_default();
        let level = level_of(level).ok_or_else(|| {
            format!(
                "flume.root.logger: `{level}` is no level: OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE, ALL"
            )
        })?;
        let mut plan = Self { level, console: false, file: None };
        for word in words.filter(|word| !word.is_empty()) {
            match word.to_ascii_uppercase().as_str() {
                "CONSOLE" => plan.console = true,
                // DAILY is log4j's file that rolls by date; here the one file rolls by size.
                "LOGFILE" | "DAILY" => {
                    let directory = PathBuf::from(get("flume.log.dir").unwrap_or("./logs"));
                    plan.file = Some(directory.join(get("flume.log.file").unwrap_or("flume.log")));
                }
                _ => return Err(format!("flume.root.logger: `{word}` is no output: console or LOGFILE")),
            }
        }
        plan.console |= plan.file.is_none();
        Ok(plan)
    }
}

/// log4j's level words. FATAL is above ERROR there; here nothing is, so the two are one.
fn level_of(word: &str) -> Option<LevelFilter> {
    Some(match word.to_ascii_uppercase().as_str() {
        "OFF" => LevelFilter::OFF,
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" | "ALL" => LevelFilter::TRACE,
        _ => return None,
    })
}

impl Log {
    /// Opens the log file anew under its name: somebody has moved the old one away.
    pub fn reopen(&self) {
        if let Some(file) = &self.0.file
            && let Err(error) = file.lock().reopen()
        {
            tracing::error!(%error, "cannot reopen the log file; the old one goes on");
        }
    }

    fn write(&self, line: &str) {
        // There is nobody to tell that the log cannot be written, and the events matter more than the log.
        if self.0.console {
            let _untold = std::io::stderr().lock().write_all(line.as_bytes());
        }
        if let Some(file) = &self.0.file {
            let _untold = file.lock().write(line.as_bytes());
        }
    }
}

/// Writes each event as a line.
struct Lines(Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let message = message.0;
        let metadata = event.metadata();
        let level = *metadata.level();
        let mut lines = String::new();
        if level <= Level::WARN {
            let mut repeats = self.0.0.repeats.lock();
            let now = Instant::now();
            for (level, target, text, count) in repeats.over(now) {
                let text = format!("{text} ({count} more like it, not logged one by one)");
                push_line(&mut lines, level, &target, &text);
            }
            let verdict = repeats.of(level, metadata.target(), &message, now);
            drop(repeats);
            match verdict {
                Verdict::Write => push_line(&mut lines, level, metadata.target(), &message),
                Verdict::WriteLast => {
                    let text = format!("{message} (from now on counted only, for a while)");
                    push_line(&mut lines, level, metadata.target(), &text);
                }
                Verdict::Count => {}
            }
        } else {
            push_line(&mut lines, level, metadata.target(), &message);
        }
        if !lines.is_empty() {
            self.0.write(&lines);
        }
    }
}

fn push_line(out: &mut String, level: Level, target: &str, message: &str) {
    let now = jiff::Zoned::now();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("thread");
    // Writing to a String cannot fail.
    let _infallible =
        writeln!(out, "{} ({thread}) [{level} - {target}] {message}", now.strftime("%Y-%m-%d %H:%M:%S,%3f"),);
}

/// An event's message, then its fields as `name=value`.
#[derive(Default)]
struct Message(String);

impl Message {
    fn push(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            self.0.insert_str(0, &value.to_string());
            return;
        }
        let _infallible = write!(self.0, " {}=", field.name());
        self.add(&value.to_string());
    }

    /// Peers' text stands here: none of it may begin a line, or look as if it did.
    fn add(&mut self, text: &str) {
        for character in text.chars() {
            match character.is_control() && character != '\t' {
                true => self.0.extend(character.escape_default()),
                false => self.0.push(character),
            }
        }
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, format_args!("{value}"));
        let mut source = value.source();
        while let Some(cause) = source {
            self.add(&format!(": {cause}"));
            source = cause.source();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pairs: &[(&str, &str)]) -> Result<Plan, String> {
        Plan::of(&pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    /// Keeps the last message.
    struct Kept(Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message::default();
            event.record(&mut message);
            *self.0.lock() = message.0;
        }
    }

    #[test]
    fn what_a_peer_says_begins_no_line() {
        let kept = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Kept(Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(error = %"\u{1b}[31mno\r\n2026-11-22 ERROR\tforged", "a dump\nof lines");
        });
        assert_eq!(*kept.lock(), "a dump\nof lines error=\\u{1b}[31mno\\r\\n2026-11-22 ERROR\tforged");
    }

    #[test]
    fn a_librarys_tries_are_written_for_those_who_look_for_a_cause() {
        let warns = |level, target| targets(level).would_enable(target, &Level::WARN);
        assert!(warns(LevelFilter::INFO, "flumen_sinks::hdfs::sink"));
        assert!(!warns(LevelFilter::INFO, "hdfs_native::hdfs::proxy"));
        assert!(warns(LevelFilter::DEBUG, "hdfs_native::hdfs::proxy"));
        assert!(!targets(LevelFilter::OFF).would_enable("hdfs_native::hdfs::proxy", &Level::ERROR));
    }

    #[test]
    fn flumes_settings_choose_level_and_output() {
        let console = Plan { level: LevelFilter::INFO, console: true, file: None };
        assert_eq!(plan(&[]), Ok(console));
        let debug = Plan { level: LevelFilter::DEBUG, console: true, file: None };
        assert_eq!(plan(&[("flume.root.logger", "DEBUG,console")]), Ok(debug));
        let file = Plan { level: LevelFilter::WARN, console: false, file: Some("/l/a.log".into()) };
        let asked =
            [("flume.root.logger", "warn, LOGFILE"), ("flume.log.dir", "/l"), ("flume.log.file", "a.log")];
        assert_eq!(plan(&asked), Ok(file));
        let default = plan(&[("flume.root.logger", "INFO,LOGFILE,console")]).unwrap();
        assert_eq!((default.file, default.console), (Some("./logs/flume.log".into()), true));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(plan(&[("flume.root.logger", "LOUD,console")]).unwrap_err().contains("LOUD"));
        assert!(plan(&[("flume.root.logger", "INFO,SYSLOG")]).unwrap_err().contains("SYSLOG"));
    }

    #[test]
    fn a_line_has_flumes_shape() {
        let mut line = String::new();
        push_line(&mut line, Level::INFO, "some::target", "hello");
        let (time, rest) = line.split_once(" (").unwrap();
        assert_eq!(time.len(), "2026-11-21 07:31:00,123".len(), "{line}");
        assert!(rest.ends_with(") [INFO - some::target] hello\n"), "{line}");
    }
}
