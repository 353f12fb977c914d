//! Records as the client has them in memory, and many of them at a time.
//!
//! ```text
//!   partition's queue ──> the member's queue ──> poll, one by one        how the client leads them
//!   partition's queue ──> the queue of `Records` ──> so many in one call     once one of its records was seen here
//!                         the member's queue ──> poll: what the group wants, errors
//! ```
//!
//! One by one, each record costs more in the client than in all that is done with it. What is in the member's queue is older than
//! what is in the other, so the first is emptied before the second is looked at. When a partition is given up the client leads it
//! nowhere, some time later, and leaves it so when it comes back: all that ever were led here are led here again and again.

#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::member::{Member, Partition};

/// How often partitions are led here again: one that came back waits no longer.
const LEAD_EVERY: Duration = Duration::from_millis(100);

const OK: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// A record in the client's memory.
pub struct Record<'m> {
    message: NonNull<native::rd_kafka_message_t>,
    lives: PhantomData<&'m ()>,
}

impl<'m> Record<'m> {
    /// Of a record that was polled alone.
    pub fn of(message: &'m BorrowedMessage<'_>) -> Option<Self> {
        Some(Self { message: NonNull::new(message.ptr())?, lives: PhantomData })
    }

    fn native(&self) -> &'m native::rd_kafka_message_t {
        // SAFETY: whoever made `self` keeps the message for `'m`, and nobody writes to it.
        unsafe { self.message.as_ref() }
    }

    /// The name of its topic, as bytes.
    pub fn topic(&self) -> &'m [u8] {
        // SAFETY: a record names its topic, which it keeps; the name ends with a zero.
        unsafe { CStr::from_ptr(native::rd_kafka_topic_name(self.native().rkt)) }.to_bytes()
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.native().partition
    }

    /// Its offset.
    pub fn offset(&self) -> u64 {
        self.native().offset.max(0) as u64
    }

    /// In milliseconds; -1 where it has none.
    pub fn timestamp(&self) -> i64 {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is a consumer's, and `kind` is ours.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.native(), &mut kind) };
        match kind {
            native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => -1,
            _ => millis,
        }
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&'m [u8]> {
        let message = self.native();
        // SAFETY: the client keeps so many bytes there, as long as the message.
        (!message.key.is_null()).then(|| unsafe { part(message.key, message.key_len) })
    }

    /// Its value; empty where it has none.
    pub fn value(&self) -> &'m [u8] {
        let message = self.native();
        // SAFETY: the client keeps so many bytes there, as long as the message.
        unsafe { part(message.payload, message.len) }
    }

    /// Shows its headers in their order; a name that is not UTF-8 is nobody's.
    pub fn headers(&self, mut see: impl FnMut(&'m str, &'m [u8])) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is a consumer's; its headers are read out of it once and stay its own.
        let found = unsafe { native::rd_kafka_message_headers(self.native(), &mut headers) };
        if found != OK {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: `headers` are the message's; behind the last one the client says so.
            let found =
                unsafe { native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut len) };
            if found != OK {
                break;
            }
            // SAFETY: a name ends with a zero, and both are kept as long as the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), part(value, len)) };
            if let Ok(name) = name.to_str() {
                see(name, value);
            }
        }
    }
}

/// # Safety
///
/// Unless it is null, `len` bytes at `start` are kept and left alone for `'m`.
unsafe fn part<'m>(start: *const std::ffi::c_void, len: usize) -> &'m [u8] {
    match start.is_null() {
        true => &[],
        // SAFETY: as the caller promises.
        false => unsafe { std::slice::from_raw_parts(start.cast(), len) },
    }
}

/// A record that is given back to the client when it is dropped.
struct Owned(NonNull<native::rd_kafka_message_t>);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it came out of a queue, and nobody else gives it back.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// A queue of the client's; let go of when it is dropped.
struct Queue(NonNull<native::rd_kafka_queue_t>);

impl Queue {
    /// # Safety
    ///
    /// `queue` is null or nobody else's, and its client lives longer.
    unsafe fn of(queue: *mut native::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(queue).map(Self)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is ours alone.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// A member whose records are taken many at a time. See the [module](self).
pub struct Records {
    // Both end before the client does.
    all: Queue,
    others: Queue,
    /// What was led here, in order, and when all of it is again.
    led: Vec<Partition>,
    lead_at: Instant,
    slots: Vec<*mut native::rd_kafka_message_t>,
    /// The member.
    pub member: Member,
}

// SAFETY: the client's queues are for any thread; `slots` hold nothing between two calls.
unsafe impl Send for Records {}
// SAFETY: what takes `&self` does not look at the queues.
unsafe impl Sync for Records {}

impl Records {
    /// Those of `member`.
    pub fn new(member: Member) -> Result<Self, String> {
        let client = member.consumer().client().native_ptr();
        // SAFETY: the client lives as long as `member`, which is dropped behind them.
        let (all, others) = unsafe {
            (
                Queue::of(native::rd_kafka_queue_new(client)),
                Queue::of(native::rd_kafka_queue_get_consumer(client)),
            )
        };
        match (all, others) {
            (Some(all), Some(others)) => {
                Ok(Self { all, others, led: Vec::new(), lead_at: Instant::now(), slots: Vec::new(), member })
            }
            _ => Err("the client has no queue".into()),
        }
    }

    /// Shows up to `most` records that are there, waiting for the first at most so long; an error is the client's trouble, and no
    /// end. What the group wants is looked for first, and ends the call.
    pub fn poll(&mut self, time: Duration, most: usize, mut see: impl FnMut(&Record<'_>)) -> KafkaResult<()> {
        let mut left = most;
        let mut strayed: Vec<Partition> = Vec::new();
        // Nothing comes any other way before the first was led here.
        let mut wait = if self.led.is_empty() { time } else { Duration::ZERO };
        let emptied = loop {
            match self.member.poll(wait) {
                Some(Ok(message)) => {
                    if let Some(record) = Record::of(&message) {
                        let partition = (String::from_utf8_lossy(record.topic()), record.partition());
                        if strayed
                            .last()
                            .is_none_or(|last| (&*last.0, last.1) != (&*partition.0, partition.1))
                        {
                            strayed.push((partition.0.into_owned(), partition.1));
                        }
                        see(&record);
                    }
                    left -= 1;
                }
                Some(Err(error)) => break Err(error),
                None => {}
            }
            // SAFETY: the queue is ours, and its client lives.
            let is_empty = || unsafe { native::rd_kafka_queue_length(self.others.0.as_ptr()) } == 0;
            if left == 0 || self.member.has_change() {
                break Ok(false);
            }
            if is_empty() {
                break Ok(true);
            }
            wait = Duration::ZERO;
        };
        // Behind such a record more may have come the same way meanwhile: it is to be seen before what is led here from now on.
        let has_strayed = !strayed.is_empty();
        for partition in strayed {
            self.lead_here(&partition);
            if let Err(at) = self.led.binary_search(&partition) {
                self.led.insert(at, partition);
            }
        }
        let now = Instant::now();
        if now >= self.lead_at {
            self.led.iter().for_each(|partition| self.lead_here(partition));
            self.lead_at = now + LEAD_EVERY;
        }
        if !emptied? || has_strayed || self.led.is_empty() {
            return Ok(());
        }
        let mut result = self.take(Duration::ZERO, left, &mut see).map(|taken| left -= taken);
        if result.is_ok() && left == most && !time.is_zero() {
            result = self.take(time, 1, &mut see).map(|taken| left -= taken);
            if result.is_ok() && left < most {
                result = self.take(Duration::ZERO, left, &mut see).map(drop);
            }
        }
        result
    }

    /// From now on the partition's records come here.
    fn lead_here(&self, (topic, partition): &Partition) {
        let Ok(topic) = CString::new(topic.as_str()) else { return };
        let client = self.member.consumer().client().native_ptr();
        // SAFETY: client and name live; the partition's queue is given back at once, the client keeps what it leads to.
        unsafe {
            let Some(queue) =
                Queue::of(native::rd_kafka_queue_get_partition(client, topic.as_ptr(), *partition))
            else {
                return;
            };
            native::rd_kafka_queue_forward(queue.0.as_ptr(), self.all.0.as_ptr());
        }
    }

    /// Shows up to `most`; how many there were.
    fn take(&mut self, time: Duration, most: usize, see: &mut impl FnMut(&Record<'_>)) -> KafkaResult<usize> {
        self.slots.resize(most, std::ptr::null_mut());
        let millis = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: there is room for `most`; the queue is ours.
        let taken = unsafe {
            native::rd_kafka_consume_batch_queue(self.all.0.as_ptr(), millis, self.slots.as_mut_ptr(), most)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        let owned: Vec<Owned> =
            self.slots.drain(..).take(taken).filter_map(NonNull::new).map(Owned).collect();
        let mut result = Ok(taken);
        for one in owned {
            let record = Record { message: one.0, lives: PhantomData };
            match record.native().err {
                OK => see(&record),
                error => result = Err(self.trouble(error, &record)),
            }
        }
        result
    }

    /// What came in a record's place.
    fn trouble(&self, error: RDKafkaRespErr, record: &Record<'_>) -> KafkaError {
        let code = RDKafkaErrorCode::from(error);
        let error = match code {
            RDKafkaErrorCode::Fatal => KafkaError::MessageConsumptionFatal(code),
            _ => KafkaError::MessageConsumption(code),
        };
        // SAFETY: the message lives; its text ends with a zero.
        let reason = unsafe { native::rd_kafka_message_errstr(record.native()) };
        let reason = match reason.is_null() {
            true => String::new(),
            // SAFETY: as above.
            false => unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned(),
        };
        self.member.report().note(&error, &reason);
        error
    }
}
