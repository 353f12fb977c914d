//! Local files, for `file:` and where no cluster is configured: the sink's tests run on them as well.
//!
//! Java's local file system keeps a checksum file `.<name>.crc` beside each file unless `hdfs.useRawLocalFileSystem` is set.
//! None is written here: its readers take a file without one as it is.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::{Cause, FileSystem, Syncing, Trouble, Writer};

/// The local file system.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Local;

/// Runs what may block where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| trouble(&error)),
        Err(ended) => Err(Trouble::new(Cause::Unknown, ended.to_string())),
    }
}

fn trouble(error: &io::Error) -> Trouble {
    let cause = match error.kind() {
        ErrorKind::AlreadyExists => Cause::Exists,
        ErrorKind::NotFound => Cause::Missing,
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Cause::Path,
        _ => Cause::Refused,
    };
    Trouble::new(cause, error.to_string())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes a directory and those above it. Returns the directories that have a new one, each synced: a file that is synced in a
/// directory which a crash takes away is gone with it.
fn make_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir());
    let mut missing: Vec<&Path> = missing.collect();
    missing.reverse();
    let mut changed = Vec::with_capacity(missing.len());
    for path in missing {
        match fs::create_dir(path) {
            // By another sink, which has perhaps not synced it yet.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        sync_directory(path)?;
        changed.push(path.parent().unwrap_or(path).to_path_buf());
    }
    Ok(changed)
}

/// Says that the file has a writer, for as long as it is open. `false`: it has another one.
fn lock(file: &File) -> bool {
    // Not every file system has locks.
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(rustix::io::Errno::WOULDBLOCK)
}

#[async_trait]
impl FileSystem for Local {
    async fn create(&self, path: &str, _mark: &str) -> Result<Box<dyn Writer>, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || {
            if let Some(directory) = path.parent() {
                make_directories(directory).map_err(|error| match error.kind() {
                    // Not the file, but what would have to be its directory.
                    ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
                    _ => error,
                })?;
            }
            let file = File::options().write(true).create_new(true).open(&path)?;
            if !lock(&file) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            Ok(Box::new(LocalWriter { file: Arc::new(file), path, is_new: true }) as Box<dyn Writer>)
        })
        .await
    }

    async fn is_own(&self, path: &str, _mark: &str) -> Result<Option<bool>, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || {
            let file = File::options().write(true).open(path)?;
            // What another sink that is at work has not written yet, it is about to write.
            Ok(Some(lock(&file) && file.metadata()?.len() == 0))
        })
        .await
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || match path.metadata() {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str, over: bool) -> Result<(), Trouble> {
        let (from, to) = (PathBuf::from(from), PathBuf::from(to));
        blocking(move || {
            let flags = if over { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            match renameat_with(CWD, &from, CWD, &to, flags) {
                Err(rustix::io::Errno::INVAL) if !over => {
                    // Not every file system can refuse to replace.
                    if to.symlink_metadata().is_ok() {
                        return Err(ErrorKind::AlreadyExists.into());
                    }
                    fs::rename(&from, &to)?;
                }
                other => other?,
            }
            sync_directory(&to)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<(), Trouble> {
        let path = PathBuf::from(path);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// A write that was under way when its writer was let go of has the lock until it is over: it would come behind the file's end.
    async fn recover(&self, path: &str) -> Result<bool, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || Ok(lock(&File::options().write(true).open(path)?))).await
    }

    async fn read(&self, path: &str, from: u64, length: usize) -> Result<Bytes, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || {
            let mut bytes = vec![0; length];
            File::open(path)?.read_exact_at(&mut bytes, from)?;
            Ok(bytes.into())
        })
        .await
    }

    async fn truncate(&self, path: &str, length: u64) -> Result<bool, Trouble> {
        let path = PathBuf::from(path);
        blocking(move || {
            let file = File::options().write(true).open(path)?;
            file.set_len(length)?;
            file.sync_all()?;
            Ok(true)
        })
        .await
    }
}

struct LocalWriter {
    file: Arc<File>,
    path: PathBuf,
    /// Its entry in the directory is not synced yet.
    is_new: bool,
}

#[async_trait]
impl Writer for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Trouble> {
        let file = self.file.clone();
        blocking(move || (&*file).write_all(&bytes)).await
    }

    async fn sync(&mut self) -> Result<Option<Syncing<Trouble>>, Trouble> {
        let (file, path) = (self.file.clone(), self.path.clone());
        let is_new = std::mem::take(&mut self.is_new);
        blocking(move || {
            file.sync_data()?;
            if is_new { sync_directory(&path) } else { Ok(()) }
        })
        .await?;
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), Trouble> {
        self.sync().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_recovered_once_no_write_to_it_is_under_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f").display().to_string();
        let writer = Local.create(&path, "").await.expect("created");
        assert!(!Local.recover(&path).await.expect("there"));
        drop(writer);
        assert!(Local.recover(&path).await.expect("there"));
    }

    #[test]
    fn every_directory_that_has_a_new_one_is_synced() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let changed = make_directories(&root.join("a/b/c")).expect("made");
        assert_eq!(changed, [root.to_path_buf(), root.join("a"), root.join("a/b")]);
        assert_eq!(make_directories(&root.join("a/b/d")).expect("made"), [root.join("a/b")]);
        assert!(make_directories(&root.join("a/b/d")).expect("there").is_empty());
        fs::write(root.join("a/file"), "").expect("written");
        let error = make_directories(&root.join("a/file/x")).expect_err("a file");
        assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory), "{error}");
    }
}
