//! HDFS in memory, for tests, as far as the sink sees it: a file is open until its writer closes it or its lease is recovered,
//! which takes a while; an open file is not read; nothing is cut in place; no name is written over unless that is asked for. Each
//! kind of call can be made to fail or to hang, and all are written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{Cause, FileSystem, Syncing, Trouble, Writer};

/// The file system; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct FakeFiles(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// What becomes of calls of this name.
    told: BTreeMap<&'static str, Told>,
    calls: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    is_open: bool,
    /// Its lease is being recovered.
    is_recovering: bool,
}

/// What a call is to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Told {
    Fail(Cause),
    Hang,
    /// Nothing, until it is told anything else.
    Wait,
}

impl FakeFiles {
    /// From now on calls of this name do that, or their work again.
    pub fn tell(&self, call: &'static str, told: Option<Told>) {
        let mut state = self.0.lock();
        match told {
            Some(told) => state.told.insert(call, told),
            None => state.told.remove(call),
        };
    }

    /// Puts a file there, as an earlier life or somebody else left it.
    pub fn put(&self, path: &str, text: &str, is_open: bool) {
        let file = File { bytes: text.into(), is_open, is_recovering: false };
        self.0.lock().files.insert(path.into(), file);
    }

    /// All files; those that are open are marked.
    pub fn all(&self) -> Vec<(String, String)> {
        let state = self.0.lock();
        let shown = |file: &File| {
            let text = String::from_utf8_lossy(&file.bytes).into_owned();
            if file.is_open { format!("open:{text}") } else { text }
        };
        state.files.iter().map(|(path, file)| (path.clone(), shown(file))).collect()
    }

    /// The calls so far that changed something, or tried to: `rename /a /b`.
    pub fn calls(&self) -> Vec<String> {
        self.0.lock().calls.clone()
    }

    async fn called(&self, call: &'static str, words: &[&str]) -> Result<(), Trouble> {
        let told = {
            let mut state = self.0.lock();
            state.calls.push(format!("{call} {}", words.join(" ")));
            state.told.get(call).copied()
        };
        match told {
            None => Ok(()),
            Some(Told::Fail(cause)) => Err(Trouble::new(cause, "told to")),
            Some(Told::Hang) => std::future::pending().await,
            Some(Told::Wait) => {
                while self.0.lock().told.get(call) == Some(&Told::Wait) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }
        }
    }
}

fn missing() -> Trouble {
    Trouble::new(Cause::Missing, "there is none")
}

#[async_trait]
impl FileSystem for FakeFiles {
    async fn create(&self, path: &str, _: &str) -> Result<Box<dyn Writer>, Trouble> {
        self.called("create", &[path]).await?;
        let mut state = self.0.lock();
        if state.files.contains_key(path) {
            return Err(Trouble::new(Cause::Exists, "is there"));
        }
        state.files.insert(path.into(), File { is_open: true, ..File::default() });
        Ok(Box::new(FakeWriter { files: self.clone(), path: path.into() }))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, Trouble> {
        Ok(self.0.lock().files.get(path).map(|file| file.bytes.len() as u64))
    }

    async fn rename(&self, from: &str, to: &str, over: bool) -> Result<(), Trouble> {
        self.called("rename", &[from, to]).await?;
        let mut state = self.0.lock();
        if !over && state.files.contains_key(to) {
            return Err(Trouble::new(Cause::Exists, "is there"));
        }
        let file = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.into(), file);
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), Trouble> {
        self.called("delete", &[path]).await?;
        self.0.lock().files.remove(path);
        Ok(())
    }

    async fn recover(&self, path: &str) -> Result<bool, Trouble> {
        self.called("recover", &[path]).await?;
        let mut state = self.0.lock();
        let file = state.files.get_mut(path).ok_or_else(missing)?;
        // The first call begins it.
        let is_over = !file.is_open || std::mem::replace(&mut file.is_recovering, true);
        file.is_open &= !is_over;
        Ok(is_over)
    }

    async fn read(&self, path: &str, from: u64, length: usize) -> Result<Bytes, Trouble> {
        let state = self.0.lock();
        let file = state.files.get(path).filter(|file| !file.is_open).ok_or_else(missing)?;
        let bytes = file.bytes.get(from as usize..from as usize + length);
        bytes.map(Bytes::copy_from_slice).ok_or_else(|| Trouble::new(Cause::Refused, "is shorter"))
    }
}

struct FakeWriter {
    files: FakeFiles,
    path: String,
}

#[async_trait]
impl Writer for FakeWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Trouble> {
        let mut state = self.files.0.lock();
        let file = state.files.get_mut(&self.path).filter(|file| file.is_open).ok_or_else(missing)?;
        file.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn sync(&mut self) -> Result<Option<Syncing<Trouble>>, Trouble> {
        self.files.called("sync", &[&self.path]).await?;
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), Trouble> {
        self.files.called("close", &[&self.path]).await?;
        let mut state = self.files.0.lock();
        state.files.get_mut(&self.path).ok_or_else(missing)?.is_open = false;
        Ok(())
    }
}
