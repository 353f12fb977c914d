//! The `exec` source: runs a command and puts the lines of its output.
//!
//! ```text
//!   command ──stdout──► lines ──► batches ──► channels
//!      └─────stderr──► read always, logged if asked for
//! ```
//!
//! While a channel has no room nothing is read, and the command waits as soon as its pipe is full: no line is lost as long
//! as the agent runs (Flume drops the lines at hand, kills the command, and looks alive). What the command writes while
//! the agent is down, or has not been acked when the agent is killed, is lost: a pipe cannot be read twice. To follow a
//! file, use `TAILDIR`.
//!
//! A shell is used only if `shell` names one. The command never outlives the agent (`process.rs`).

pub mod guard;
mod lines;
mod process;
mod puts;
mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::Runs;
use flumen_api::{Batch, Source, SourceContext, SourceError};
use flumen_java::Charset;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use lines::Lines;
use process::{Process, TO_OBEY};
use puts::Puts;
pub use settings::ExecSettings;

/// A batch is put once it has so many bytes, whatever the number of its lines.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How much of a command's output is read once it was told to end.
const LEFT_BYTES_MAX: usize = 1 << 20;
/// How long what it wrote to its error output last is waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "exec",
        class_names: &["org.apache.flume.source.ExecSource"],
        keys: ExecSettings::KEYS,
        doc: "Runs a command and puts the lines of its output.",
        // The kernel kills the command when the thread that started it ends: it has to be the source's own.
        factory: Factory::Source(Runs::Thread, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = ExecSettings::load(config, problems)?;
    let Some(charset) = Charset::named(&settings.charset) else {
        let why = format!("`{}` is no character set that is known here", settings.charset);
        problems.error(config, "charset", why);
        return None;
    };
    let split = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let words = match &settings.shell {
        None => split(&settings.command),
        Some(shell) => {
            let mut words = split(shell);
            words.push(settings.command.clone());
            words
        }
    };
    if settings.command.trim().is_empty() {
        problems.error(config, "command", "there is no command");
        return None;
    }
    if settings.shell.is_none() && settings.command.contains(['|', '>', '<', '$', '`', '*', ';', '\'', '"']) {
        let advice = "has characters that only a shell understands, and the program gets them as they are; for a shell \
                      write shell = /bin/bash -c";
        problems.warn(config, "command", advice);
    }
    let batch_size = Some(("batchSize", settings.batch_size));
    Some(Built { component: Box::new(ExecSource { settings, words, charset }), batch_size })
}

/// Runs its command.
#[derive(Debug)]
pub struct ExecSource {
    settings: ExecSettings,
    /// Program and arguments.
    words: Vec<String>,
    charset: Charset,
}

#[async_trait]
impl Source for ExecSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let throttle = Duration::from_millis(self.settings.restart_throttle_ms);
        loop {
            let ended = self.run_once(&context).await;
            if context.shutdown.is_cancelled() {
                return ended.map(drop);
            }
            let how = match &ended {
                Ok(status) => format!("`{}` ended: {status}", self.settings.command),
                Err(error) => error.to_string(),
            };
            if !self.settings.restart {
                // A command that never ran is tried again; one that ended has ended.
                let status = ended?;
                match status.success() {
                    true => tracing::info!(source = %context.name, "{how}"),
                    false => {
                        tracing::warn!(source = %context.name, "{how}");
                        context.report(Some(how));
                    }
                }
                return Ok(());
            }
            tracing::info!(source = %context.name, "{how}; it is run again in {throttle:?}");
            if !ended.is_ok_and(|status| status.success()) {
                context.report(Some(format!("{how}; it is run again in {throttle:?}")));
            }
            if context.sleep(throttle).await {
                return Ok(());
            }
            context.report(None);
        }
    }
}

impl ExecSource {
    /// Runs the command to its end or to a stop.
    async fn run_once(&self, context: &SourceContext) -> Result<ExitStatus, SourceError> {
        let wrong = |what: &str, error: io::Error| {
            SourceError::new(format!("{what} `{}`", self.words.join(" ")), error)
        };
        let (process, mut output, errors) =
            Process::start(&self.words).map_err(|error| wrong("cannot start", error))?;
        tracing::info!(source = %context.name, pid = process.id(), command = %self.settings.command, "command started");
        let mut drained =
            tokio::spawn(drain(errors, self.settings.log_std_err.then(|| context.name.to_string())));
        let mut reader = Reader::new(self, context);
        let mut result = reader.read_to_end(&mut output).await;
        let status = if context.shutdown.is_cancelled() {
            let until = Instant::now() + TO_OBEY;
            process.ask_to_end();
            result = result.and(reader.read_what_is_left(&mut output, until).await);
            process.ends_by(until).await;
            process.kill().await
        } else {
            process.end().await
        };
        // What the command left running may hold its error output open.
        if tokio::time::timeout(LAST_WORDS, &mut drained).await.is_err() {
            drained.abort();
        }
        reader.finish(context).await;
        result?;
        status.map_err(|error| wrong("cannot wait for", error))
    }
}

/// From output to puts.
struct Reader<'a> {
    source: &'a ExecSource,
    context: &'a SourceContext,
    lines: Lines,
    pending: Batch,
    puts: Puts,
    /// When a batch that is not full is put.
    due: Instant,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a ExecSource, context: &'a SourceContext) -> Self {
        let mut reader = Self {
            source,
            context,
            lines: Lines::new(source.charset),
            pending: Batch::new(),
            puts: Puts::new(context.clone(), source.settings.batch_size),
            due: Instant::now(),
            buffer: vec![0; READ_BYTES],
        };
        reader.set_due();
        reader
    }

    fn set_due(&mut self) {
        self.due = Instant::now() + Duration::from_millis(self.source.settings.batch_timeout_ms);
    }

    /// Reads until the output ends, or a stop is asked for.
    async fn read_to_end(&mut self, output: &mut pipe::Receiver) -> Result<(), SourceError> {
        loop {
            let read = tokio::select! {
                biased;
                () = self.context.shutdown.cancelled() => return Ok(()),
                acked = self.puts.oldest(), if self.puts.waits() => {
                    self.puts.note(acked).await?;
                    continue;
                }
                () = tokio::time::sleep_until(self.due), if !self.pending.is_empty() => {
                    self.flush().await?;
                    continue;
                }
                read = output.read(&mut self.buffer) => read,
            };
            match read {
                Ok(0) => return self.end().await,
                Ok(count) => {
                    self.take(count).await?;
                    if !self.pending.is_empty() && Instant::now() >= self.due {
                        self.flush().await?;
                    }
                }
                Err(error) => {
                    self.context.metrics.event_read_fail.inc();
                    return Err(SourceError::new("the command's output cannot be read", error));
                }
            }
        }
    }

    /// At a stop: what the command has written, and still writes until it obeys.
    async fn read_what_is_left(
        &mut self,
        output: &mut pipe::Receiver,
        until: Instant,
    ) -> Result<(), SourceError> {
        let mut left = LEFT_BYTES_MAX;
        while left > 0
            && let Ok(Ok(count @ 1..)) = tokio::time::timeout_at(until, output.read(&mut self.buffer)).await
        {
            left = left.saturating_sub(count);
            self.take(count).await?;
        }
        self.end().await
    }

    /// Takes what was read into the buffer, and puts what is full.
    async fn take(&mut self, count: usize) -> Result<(), SourceError> {
        let size = self.source.settings.batch_size;
        let mut full = Vec::new();
        let pending = &mut self.pending;
        self.lines.feed(&self.buffer[..count], |body| {
            pending.push(body);
            if pending.len() == size || pending.body_bytes() >= BATCH_BYTES_MAX {
                full.push(std::mem::take(pending));
            }
        });
        for batch in full {
            self.set_due();
            self.puts.put(batch).await?;
        }
        Ok(())
    }

    /// Puts what there is.
    async fn flush(&mut self) -> Result<(), SourceError> {
        self.set_due();
        match self.pending.is_empty() {
            true => Ok(()),
            false => self.puts.put(std::mem::take(&mut self.pending)).await,
        }
    }

    /// No more is read: puts the rest.
    async fn end(&mut self) -> Result<(), SourceError> {
        let pending = &mut self.pending;
        self.lines.finish(|body| pending.push(body));
        self.flush().await
    }

    /// Waits for the acks.
    async fn finish(self, context: &SourceContext) {
        let lost = self.puts.finish().await;
        if lost > 0 {
            tracing::error!(source = %context.name, lines = lost, "lines lost at the stop: no channel took them");
        }
    }
}

/// Reads the command's standard error to its end, and logs its lines for the source called `name`.
async fn drain(mut errors: pipe::Receiver, name: Option<String>) {
    let mut lines = Lines::new(Charset::Utf8);
    let mut buffer = vec![0; 4 << 10];
    let log = |body: &[u8]| {
        if let Some(name) = &name {
            tracing::info!(source = %name, "stderr: {}", String::from_utf8_lossy(body));
        }
    };
    while let Ok(count @ 1..) = errors.read(&mut buffer).await {
        if name.is_some() {
            lines.feed(&buffer[..count], log);
        }
    }
    lines.finish(log);
}
