//! Keys of the hdfs sink.

use std::path::PathBuf;

use flumen_api::settings::{Family, Unit, settings};
use flumen_tls::Secret;

use crate::escapes::ON_MISSING;

settings! {
    /// Keys of the hdfs sink.
    pub struct HdfsSettings {
        /// Where the files go: a URI of a Hadoop file system (`hdfs://`, `file:`, `oss://`, `s3://`, `gs://`, `abfs://`), with escapes for time and headers.
        pub path: String = key("hdfs.path") { required: true },
        /// How a file's name begins; with escapes.
        pub file_prefix: String = key("hdfs.filePrefix") { default: Some("FlumeData") },
        /// How a file's name ends, the dot included.
        pub file_suffix: String = key("hdfs.fileSuffix") { default: Some("") },
        /// In front of the name while the file is written.
        pub in_use_prefix: String = key("hdfs.inUsePrefix") { default: Some("") },
        /// Behind the name while the file is written.
        pub in_use_suffix: String = key("hdfs.inUseSuffix") { default: Some(".tmp") },
        /// No `hdfs.inUseSuffix` at all.
        pub empty_in_use_suffix: bool = key("hdfs.emptyInUseSuffix") { default: Some("false"), since: "1.9" },
        /// How long a file is written before the next one is begun; 0 is for ever.
        pub roll_interval: i64 = key("hdfs.rollInterval") { default: Some("30"), unit: Unit::Seconds },
        /// How many bytes of bodies, uncompressed, before the next file is begun; 0 is any number.
        pub roll_size: i64 = key("hdfs.rollSize") { default: Some("1024"), unit: Unit::Bytes },
        /// How many events before the next file is begun; 0 is any number.
        pub roll_count: i64 = key("hdfs.rollCount") { default: Some("10"), unit: Unit::Events },
        /// Also ends a file before it has more than one block, as far as that is known: compressed files may have some MiB more.
        pub roll_at_block: bool = key("hdfs.rollAtBlock") { default: Some("false"), since: "Flumen 0.1" },
        /// How long a file without news stays open; 0 is for ever.
        pub idle_timeout: u32 = key("hdfs.idleTimeout") { default: Some("0"), unit: Unit::Seconds },
        /// Most events of one take and of one flush.
        pub batch_size: usize = key("hdfs.batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
        /// Compression: gzip, bzip2, lzo, lzop, snappy and others, by the codec's name or class.
        pub codec: Option<String> = key("hdfs.codeC") { },
        /// What the files are: SequenceFile, DataStream (the serializer's bytes) or CompressedStream (those, compressed).
        pub file_type: String = key("hdfs.fileType") {
            default: Some("SequenceFile"), one_of: &["SequenceFile", "DataStream", "CompressedStream"]
        },
        /// Most files open at once; the eldest is closed.
        pub max_open_files: u32 = key("hdfs.maxOpenFiles") { default: Some("5000"), min: Some(1) },
        /// Replicas that the block being written must have; with fewer the next file is begun. Default: what the file
        /// system replicates.
        pub min_block_replicas: Option<u32> = key("hdfs.minBlockReplicas") { min: Some(0) },
        /// Values of a SequenceFile: Writable (the bytes) or Text.
        pub write_format: String = key("hdfs.writeFormat") { default: Some("Writable") },
        /// Keys of a `hdfs.writeFormat` of one's own.
        pub write_format_keys: Family = key("writeFormat.") { },
        /// Calls to the file system at once, for files that are written; beside them half as many for those that are finished.
        pub threads_pool_size: u32 = key("hdfs.threadsPoolSize") { default: Some("10"), min: Some(1) },
        /// Threads for `hdfs.rollInterval`.
        pub roll_timer_pool_size: u32 = key("hdfs.rollTimerPoolSize") {
            default: Some("1"), min: Some(1), inert: Some("files end in time without threads of their own")
        },
        /// Kerberos principal.
        pub kerberos_principal: Option<String> = key("hdfs.kerberosPrincipal") { },
        /// Keytab of the principal.
        pub kerberos_keytab: Option<String> = key("hdfs.kerberosKeytab") { },
        /// User in whose name files are written.
        pub proxy_user: Option<String> = key("hdfs.proxyUser") { },
        /// Whether an escape's time is rounded down.
        pub round: bool = key("hdfs.round") { default: Some("false") },
        /// To the multiple of how many `hdfs.roundUnit`: 1 to 60 seconds or minutes, 1 to 24 hours.
        pub round_value: i64 = key("hdfs.roundValue") { default: Some("1") },
        /// second, minute or hour.
        pub round_unit: String = key("hdfs.roundUnit") { default: Some("second") },
        /// Zone of the time in escapes, `Asia/Shanghai`. Default: the machine's.
        pub time_zone: Option<String> = key("hdfs.timeZone") { },
        /// What the path of an event without a usable header `timestamp` gets: fallback (the time of the take) or refuse (the
        /// event goes to the dead letter; Flume tries it for ever).
        pub on_missing_timestamp: String = key("hdfs.onMissingTimestamp") {
            default: Some("fallback"), one_of: ON_MISSING, since: "Flumen 0.1"
        },
        /// The same for a header that the path or prefix names: fallback (`hdfs.headerFallback`) or refuse.
        pub on_missing_header: String = key("hdfs.onMissingHeader") {
            default: Some("fallback"), one_of: ON_MISSING, since: "Flumen 0.1"
        },
        /// Stands for such a header, and for one that would lead out of the path (`..`).
        pub header_fallback: String = key("hdfs.headerFallback") { default: Some(""), since: "Flumen 0.1" },
        /// Escapes show the time of the take instead of the event's header `timestamp`.
        pub use_local_time_stamp: bool = key("hdfs.useLocalTimeStamp") { default: Some("false") },
        /// How often closing a file is tried; 0 or less is without end.
        pub close_tries: i64 = key("hdfs.closeTries") { default: Some("2147483647") },
        /// Pause between two tries to close; 0 or less means one try.
        pub retry_interval: i64 = key("hdfs.retryInterval") { default: Some("180"), unit: Unit::Seconds },
        /// How long a call to the file system may take; 0 or less is for ever.
        pub call_timeout: i64 = key("hdfs.callTimeout") { default: Some("30000"), unit: Unit::Millis },
        /// For `file:`: no checksum files.
        pub use_raw_local_file_system: bool = key("hdfs.useRawLocalFileSystem") {
            default: Some("false"), inert: Some("local files never get checksum files here")
        },
        /// For an object store: flushed events are durable in the staging path, and are released, before their file is complete.
        /// `false`: they are released when all of their object is at the store, and the channel holds them until then. Default: what
        /// core-site.xml says (`fs.jfs.cache.oss.flush.enable`), else true.
        pub flush: Option<bool> = key("hdfs.flush") { since: "Flumen 0.1" },
        /// For an object store: the folder of the bucket below which files are staged while they are written. Default: what
        /// core-site.xml says (`fs.jfs.cache.flush.staging.path`), else `/tmp`.
        pub flush_staging_path: Option<String> = key("hdfs.flushStagingPath") { since: "Flumen 0.1" },
        /// For an object store: bytes of a part of an upload, at least 102400 for `oss:` and 5242880 for the others.
        pub upload_part_size: u64 = key("hdfs.uploadPartSize") {
            default: Some("8388608"), min: Some(102_400), max: Some(1 << 30), unit: Unit::Bytes, since: "Flumen 0.1"
        },
        /// For `oss:` and `s3:`: the id of the access key. Default: core-site.xml, the environment, the machine's role.
        pub access_key_id: Option<String> = key("hdfs.accessKeyId") { since: "Flumen 0.1" },
        /// Its secret; for `abfs:` the key of the account.
        pub access_key_secret: Option<Secret> = key("hdfs.accessKeySecret") { secret: true, since: "Flumen 0.1" },
        /// The token that goes with a key for some hours.
        pub security_token: Option<Secret> = key("hdfs.securityToken") { secret: true, since: "Flumen 0.1" },
        /// Host of the object store, `oss-cn-hangzhou.aliyuncs.com`; with `http://` in front without TLS. Default: core-site.xml
        /// (`fs.oss.endpoint`, `fs.s3a.endpoint`), the environment, for S3, Google and Azure their own.
        pub endpoint: Option<String> = key("hdfs.endpoint") { since: "Flumen 0.1" },
        /// Its region, where the endpoint does not say it.
        pub region: Option<String> = key("hdfs.region") { since: "Flumen 0.1" },
        /// Insists that each event is in the finished files once, whatever is killed or fails: the sink must be alone on a file
        /// channel, and anything else is an error. (Where it is, it is so without this key as well.)
        pub exactly_once: bool = key("hdfs.exactlyOnce") { default: Some("false"), since: "Flumen 0.1" },
        /// Over a channel that is not durable: the file that keeps which files are being written, so that the next start
        /// finishes them after a kill. Default: `~/.flume/hdfs-sink/<agent>-<sink>.journal`; without `HOME`
        /// none.
        pub journal: Option<PathBuf> = key("hdfs.journal") { since: "Flumen 0.1" },
        /// How events are written to a DataStream or CompressedStream: TEXT, HEADER_AND_TEXT, AVRO_EVENT.
        pub serializer: String = key("serializer") { default: Some("TEXT") },
        /// Keys of the serializer.
        pub serializer_keys: Family = key("serializer.") { },
    }
}
