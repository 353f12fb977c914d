//! Files of HDFS, through `hdfs-native`: RPC to the NameNode, blocks to the DataNodes, no Java.
//!
//! ```text
//!   create   addBlock for each block; packets of 64 KiB to the first DataNode of its pipeline
//!   sync     an empty or unfilled packet with the sync flag, its ack, then the NameNode's fsync with the length
//!   close    the last packet's ack, then complete
//! ```
//!
//! `hsync` reaches the block that is being written alone, as in Java: blocks that were filled since the last one are on
//! the DataNodes' page caches. So a write stops at the end of a block, syncs, and goes on.
//!
//! Java's client takes replication and block size from its own configuration, this library from the server: they are
//! handed over where `dfs.replication` and `dfs.blocksize` are set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::file::FileWriter;
use hdfs_native::{ClientBuilder, HdfsError, WriteOptions};
use tokio::runtime::Handle;

use super::super::conf::HadoopConf;
use super::{Cause, FileSystem, Syncing, Trouble, Writer};

/// Where the library would read files by itself; they were read by us, with variables filled in.
const NO_FILES: &str = "/dev/null/no-files";

/// What a writer that is gone had sent is still being received for a moment. A recovery interrupts the DataNode in that: if
/// between a packet's bytes and the note of their length, it refuses to recover this replica until it is started again
/// (`Block length mismatch`).
const DRAINED: Duration = Duration::from_secs(2);

/// Who writes.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Access {
    /// `hdfs.kerberosPrincipal`, and the file with its key.
    pub kerberos: Option<(String, String)>,
    /// `hdfs.proxyUser`.
    pub proxy_user: Option<String>,
}

/// A cluster.
#[derive(Debug)]
pub(in super::super) struct Hdfs {
    client: hdfs_native::Client,
    options: Options,
    /// As the NameNode says; 0 before it was asked.
    block_size: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    replication: Option<u32>,
    block_size: Option<u64>,
    permission: u32,
}

impl Options {
    fn of(conf: &HadoopConf) -> Self {
        Self {
            replication: conf.get("dfs.replication").and_then(|text| text.parse().ok()),
            block_size: conf.get("dfs.blocksize").and_then(super::super::conf::bytes),
            permission: 0o666 & !conf.umask(),
        }
    }

    fn write(self) -> WriteOptions {
        let mut options = WriteOptions::default().permission(self.permission);
        options.replication = self.replication;
        options.block_size = self.block_size;
        options
    }
}

impl Hdfs {
    /// The file system at `url` (`hdfs://host:port`, `hdfs://nameservice`, `viewfs://table`), whose tasks run on `runtime`.
    /// Nothing is connected yet.
    pub fn new(url: &str, conf: &HadoopConf, access: &Access, runtime: &Handle) -> Result<Self, String> {
        let mut builder = ClientBuilder::new()
            .with_url(url)
            .with_config_dir(NO_FILES)
            .with_config(pairs(conf))
            .with_io_runtime(runtime.clone());
        if let Some((principal, keytab)) = &access.kerberos {
            builder = builder.with_kerberos_principal(principal).with_kerberos_keytab(keytab);
        }
        if let Some(user) = &access.proxy_user {
            builder = builder.with_user(user);
        }
        let client = builder.build().map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { client, options: Options::of(conf), block_size: Arc::default() })
    }
}

/// What the library is to know, where the site does not say it otherwise.
fn pairs(conf: &HadoopConf) -> BTreeMap<String, String> {
    let mut pairs: BTreeMap<String, String> = conf.pairs().clone();
    for (name, value) in [
        // The library asks for another DataNode, and fails if there is none; this goes on with those that are left.
        ("dfs.client.block.write.replace-datanode-on-failure.best-effort", "true"),
        // The longest pause between two tries to reach a NameNode; 15 s would be long after it is back.
        ("dfs.client.failover.sleep.max.millis", "2000"),
    ] {
        pairs.entry(name.into()).or_insert_with(|| value.into());
    }
    pairs
}

#[async_trait]
impl FileSystem for Hdfs {
    async fn create(&self, path: &str, _mark: &str) -> Result<Box<dyn Writer>, Trouble> {
        let writer = self.client.create(path, self.options.write()).await.map_err(trouble)?;
        let mut block_size = self.block_size.load(Ordering::Relaxed);
        if block_size == 0 {
            let status = self.client.get_file_info(path).await.map_err(after_create)?;
            block_size = status.blocksize.unwrap_or_default();
            self.block_size.store(block_size, Ordering::Relaxed);
        }
        Ok(Box::new(HdfsWriter { writer, block_size, in_block: 0 }))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, Trouble> {
        match self.client.get_file_info(path).await {
            Ok(status) => Ok(Some(status.length as u64)),
            Err(HdfsError::FileNotFound(_)) => Ok(None),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn rename(&self, from: &str, to: &str, over: bool) -> Result<(), Trouble> {
        self.client.rename(from, to, over).await.map_err(trouble)
    }

    async fn delete(&self, path: &str) -> Result<(), Trouble> {
        match self.client.delete(path, false).await {
            Ok(_) | Err(HdfsError::FileNotFound(_)) => Ok(()),
            Err(error) => Err(trouble(error)),
        }
    }

    async fn recover(&self, path: &str) -> Result<bool, Trouble> {
        self.client.recover_lease(path).await.map_err(trouble)
    }

    async fn read(&self, path: &str, from: u64, length: usize) -> Result<Bytes, Trouble> {
        let reader = self.client.read(path).await.map_err(trouble)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        // The library panics when it is asked for more than there is.
        if from.checked_add(length).is_none_or(|end| end > reader.file_length()) {
            let why = format!("{length} bytes at {from} are asked for, it has {}", reader.file_length());
            return Err(Trouble::new(Cause::Refused, why));
        }
        reader.read_range(from, length).await.map_err(trouble)
    }

    fn block_size(&self) -> Option<u64> {
        Some(self.block_size.load(Ordering::Relaxed)).filter(|size| *size > 0)
    }

    fn rest(&self) -> Duration {
        DRAINED
    }
}

struct HdfsWriter {
    writer: FileWriter,
    block_size: u64,
    /// Bytes in the block that is being written.
    in_block: u64,
}

#[async_trait]
impl Writer for HdfsWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Trouble> {
        while self.block_size > 0 && self.in_block + bytes.len() as u64 > self.block_size {
            let room =
                usize::try_from(self.block_size - self.in_block).unwrap_or(usize::MAX).min(bytes.len());
            self.writer.write_bytes(bytes.split_to(room)).await.map_err(trouble)?;
            self.writer.hsync().await.map_err(trouble)?;
            self.in_block = 0;
        }
        self.in_block += bytes.len() as u64;
        self.writer.write_bytes(bytes).await.map_err(trouble)?;
        Ok(())
    }

    async fn sync(&mut self) -> Result<Option<Syncing<Trouble>>, Trouble> {
        self.writer.hsync().await.map_err(trouble)?;
        Ok(None)
    }

    async fn close(&mut self) -> Result<(), Trouble> {
        // A closed block is acked by the DataNodes, and on their disks only after a sync.
        self.writer.hsync().await.map_err(trouble)?;
        self.writer.close().await.map_err(trouble)
    }
}

/// Exceptions of a NameNode that concern one path and stay.
const OF_THE_PATH: &[&str] = &[
    "AccessControlException",
    "InvalidPathException",
    "ParentNotDirectoryException",
    "PathComponentTooLongException",
    "UnresolvedPathException",
];

fn trouble(error: HdfsError) -> Trouble {
    let cause = match &error {
        HdfsError::AlreadyExists(_) => Cause::Exists,
        HdfsError::FileNotFound(_) => Cause::Missing,
        HdfsError::InvalidPath(_) | HdfsError::IsADirectoryError(_) => Cause::Path,
        HdfsError::RPCError(class, _) => match class.rsplit(['.', '$']).next().unwrap_or_default() {
            "FileNotFoundException" => Cause::Missing,
            name if OF_THE_PATH.contains(&name) => Cause::Path,
            _ => Cause::Refused,
        },
        _ => Cause::Unknown,
    };
    // Java's exceptions come with the stack that they were thrown on.
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start_matches("RPC error: ");
    Trouble::new(cause, first)
}

/// The file is there, whatever was answered to the question behind it.
fn after_create(error: HdfsError) -> Trouble {
    Trouble { cause: Cause::Unknown, ..trouble(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_on_with_the_datanodes_that_are_left() {
        let best_effort = "dfs.client.block.write.replace-datanode-on-failure.best-effort";
        let pairs = pairs(&HadoopConf::default());
        assert_eq!(pairs.get(best_effort).map(String::as_str), Some("true"));
    }

    #[test]
    fn no_file_is_created_over_another() {
        assert!(!Options::of(&HadoopConf::default()).write().overwrite);
    }

    fn of(class: &str, message: &str) -> Trouble {
        trouble(HdfsError::RPCError(class.into(), message.into()))
    }

    #[test]
    fn exceptions_are_told_apart_by_what_is_to_be_done() {
        let denied = of(
            "org.apache.hadoop.security.AccessControlException",
            "Permission denied: user=flume\n\tat org.apache.hadoop.X.y(X.java:1)",
        );
        assert_eq!(denied.cause, Cause::Path);
        assert_eq!(
            denied.why,
            "org.apache.hadoop.security.AccessControlException Permission denied: user=flume"
        );
        let long = "org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException";
        assert_eq!(of(long, "").cause, Cause::Path);
        for later in [
            "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
            "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException",
        ] {
            assert_eq!(of(later, "").cause, Cause::Refused, "{later}");
        }
        assert_eq!(of("java.io.FileNotFoundException", "").cause, Cause::Missing);
        let busy = HdfsError::RPCError("org.apache.hadoop.ipc.RetriableException".into(), String::new());
        assert_eq!(after_create(busy).cause, Cause::Unknown, "there is a file to be deleted");
        let lost = HdfsError::IOError(std::io::Error::other("RPC listener disconnected"));
        assert_eq!(trouble(lost).cause, Cause::Unknown);
    }
}
