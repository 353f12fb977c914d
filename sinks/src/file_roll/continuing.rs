//! Going on in files of an earlier life, or after a failure.
//!
//! What is released stands. What follows it in the first file, and the files begun behind it, was written and never
//! released; its events come again. Event by event, it stays where it is and is compared ([`output`](super::output));
//! in blocks, it goes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use flumen_api::sink::SinkContext;

use super::FileRoll;
use super::ledger::{KEY, Stretch};
use super::output::{Head, Output, OutputError, Piece};
use super::record::{Named, Record};

impl FileRoll {
    /// Takes over what the channel holds.
    pub(super) fn adopt(&self, context: &SinkContext) {
        let Some(position) = context.positions().remove(KEY) else { return };
        let files = match Record::decode(&position.rest) {
            Ok(record) if record.layout == self.serializer.layout() => record.files,
            Ok(record) => {
                tracing::info!("files were begun as {}: a new one is begun", record.layout);
                self.give_up(&record.files);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!("{}: {error}; a new file is begun", context.name);
                Vec::new()
            }
        };
        self.ledger.adopt(&position, files);
    }

    /// Cuts files that are not continued to what is released in them: the rest comes again, to another file.
    pub(super) fn give_up(&self, files: &[Named]) {
        for named in files {
            let result = open_recorded(named).and_then(|piece| match piece {
                Some(piece) if piece.length > named.length => {
                    piece.cut(named.length)?;
                    piece.file.sync_data().map_err(|error| OutputError {
                        what: "sync",
                        path: named.path.clone(),
                        error,
                    })
                }
                _ => Ok(()),
            });
            if let Err(error) = result {
                tracing::warn!("{error}: what follows its first {} bytes comes again", named.length);
            }
        }
    }

    /// Goes on in `files`, of which the first is released up to stream position `released`; `None`: a new one is to be
    /// begun.
    pub(super) fn go_on(&mut self, files: &[Named], released: u64) -> Result<Option<Output>, OutputError> {
        let output = match self.serializer.is_event_by_event() {
            true => self.compare(files, released)?,
            false => self.cut_back(files, released)?,
        };
        let Some(mut output) = output else { return Ok(None) };
        tracing::info!("continuing {}", output.path().display());
        if let Some(running) = &self.running {
            // The file may have been created by a life that ended before the directory was synced.
            output.also_dirty(running.directory.clone());
            running.context.metrics.connection_created.inc();
        }
        Ok(Some(output))
    }

    /// Everything stays, to be compared.
    fn compare(&self, files: &[Named], released: u64) -> Result<Option<Output>, OutputError> {
        let mut pieces = VecDeque::new();
        let mut stretches = Vec::new();
        let mut start = released;
        for named in files {
            let Some(piece) = open_recorded(named)? else { continue };
            let start_here = start - named.length;
            start = start_here + piece.length;
            stretches.push(stretch(&piece, start_here)?);
            pieces.push_back(Piece { start: start_here, ..piece });
        }
        self.ledger.found(stretches);
        Ok(Output::over(pieces, released))
    }

    /// What is not released goes, and the first file is gone on with if the serializer can.
    fn cut_back(&mut self, files: &[Named], released: u64) -> Result<Option<Output>, OutputError> {
        self.ledger.found([]);
        let mut first = None;
        for (i, named) in files.iter().enumerate() {
            let Some(piece) = open_recorded(named)? else { continue };
            if i > 0 {
                tracing::info!(
                    "{}: removed: what it held was never released, and comes again",
                    named.path.display()
                );
                remove(&named.path)?;
                continue;
            }
            let cut = piece.length > named.length;
            if cut {
                tracing::info!(
                    "{}: cut from {} to {} bytes: what follows was never released, and comes again",
                    named.path.display(),
                    piece.length,
                    named.length
                );
                piece.cut(named.length)?;
            }
            first = Some((Piece { start: released - named.length, length: named.length, ..piece }, cut));
        }
        let Some((piece, cut)) = first else { return Ok(None) };
        let is_new = piece.length == 0;
        if !is_new {
            let mut head = Head { piece: &piece, at: 0 };
            let resumed = self.serializer.resume(&mut head).map_err(|error| OutputError {
                what: "read back",
                path: piece.path.to_path_buf(),
                error,
            })?;
            if !resumed {
                tracing::info!("{} ends here: it cannot be gone on with", piece.path.display());
                if cut {
                    piece.file.sync_data().map_err(|error| OutputError {
                        what: "sync",
                        path: piece.path.to_path_buf(),
                        error,
                    })?;
                }
                return Ok(None);
            }
        }
        self.ledger.found([stretch(&piece, piece.start)?]);
        let mut output = Output::over(VecDeque::from([piece]), released);
        if let Some(output) = &mut output {
            if cut {
                output.was_cut();
            }
            if is_new {
                output.append_with(|out| self.serializer.begin(out))?;
            }
        }
        Ok(output)
    }
}

fn stretch(piece: &Piece, start: u64) -> Result<Stretch, OutputError> {
    let metadata = piece.file.metadata().map_err(|error| OutputError {
        what: "look at",
        path: piece.path.to_path_buf(),
        error,
    })?;
    Ok(Stretch { path: piece.path.to_path_buf(), device: metadata.dev(), inode: metadata.ino(), start })
}

fn remove(path: &Path) -> Result<(), OutputError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(OutputError { what: "remove", path: path.to_path_buf(), error })
        }
        _ => Ok(()),
    }
}

/// Opens a file of which earlier bytes are released; `None`, with a log line, if it is not what was recorded.
fn open_recorded(named: &Named) -> Result<Option<Piece>, OutputError> {
    let path = &named.path;
    let fault = |what| move |error| OutputError { what, path: path.clone(), error };
    let leave = |why: &str| {
        tracing::warn!("{} {why}: it is left alone, and a new file is begun", path.display());
        Ok(None)
    };
    // Looked at before it is opened: opening a pipe that somebody put there would wait for its reader.
    match path.symlink_metadata() {
        // Named, and never created.
        Err(error) if error.kind() == ErrorKind::NotFound && named.inode == 0 => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return leave("is gone"),
        Err(error) => return Err(fault("look at")(error)),
        Ok(metadata) if !metadata.is_file() => return leave("is no file any more"),
        Ok(_) => {}
    }
    let file = File::options().read(true).write(true).open(path).map_err(fault("open"))?;
    let metadata = file.metadata().map_err(fault("look at"))?;
    if named.inode != 0 && (metadata.dev(), metadata.ino()) != (named.device, named.inode) {
        return leave("is another file than the one that was written");
    }
    if metadata.len() < named.length {
        return leave("is shorter than what was written durably");
    }
    let path: Arc<Path> = path.as_path().into();
    Ok(Some(Piece { file: Arc::new(file), path, start: 0, length: metadata.len() }))
}
