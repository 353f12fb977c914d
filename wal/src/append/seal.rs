//! The writer's frames: what goes into one, sealing it, and going over to the next segment.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::staging::{OpenFrame, Pending, Span};
use super::writer::{Sent, Writer};
use crate::broken;
use crate::format::checkpoint::Checkpoint;
use crate::format::codec::{self, Encoding, Stored};
use crate::format::frame::{self, FLAG_FIRST, FLAG_LATER, FLAG_MORE, FLAG_SPAN, FrameHeader, Seed};
use crate::format::keys::Key;
use crate::format::record::{self, SegmentSummary, Snapshot};
use crate::numbers::Place;
use crate::options::Durability;
use crate::shared::Inner;
use crate::storage::{AlignedBuf, Write};

impl Writer {
    /// The state behind the last sealed frame, encoded; taken from where a roll left it that had to wait.
    pub(super) fn encoded_snapshot(&mut self, inner: &mut Inner) -> Vec<u8> {
        if let Some((_, known)) = self.snapshot.take().filter(|(frame, _)| *frame == self.last_frame) {
            return known;
        }
        let mut segments = inner.segments.table();
        if segments.len() == Snapshot::SEGMENTS_MAX {
            segments.remove(0);
        }
        segments.push(self.summary);
        inner.counters.snapshots += 1;
        // Lent for the moment: the log's lock is held, and the state may be large.
        let state = std::mem::take(&mut self.sealed);
        let snapshot = Snapshot { next_event: self.sealed_event, state, segments };
        let mut bytes = Vec::new();
        record::put_snapshot(&mut bytes, &snapshot);
        self.sealed = snapshot.state;
        bytes
    }

    /// Goes over to the next prepared segment, whose snapshot is the first write to it.
    pub(super) fn roll(&mut self, inner: &mut Inner, snapshot: &[u8]) {
        let next = inner.segments.prepared.pop_front().expect("checked by the caller");
        inner.segments.sealed.insert(self.active.number(), Some(self.summary));
        inner.segments.active = next.number();
        inner.segments.snapshot_synced = false;
        inner.segments.wanted_bytes = 0;
        inner.counters.rolls += 1;
        let table = inner.segments.table();
        self.offset = next.header.data_offset();
        self.summary = SegmentSummary {
            segment: next.number(),
            salt: next.header.salt,
            first_frame: self.last_frame.next(),
            first_event: self.sealed_event,
            end_event: self.sealed_event,
            ..SegmentSummary::default()
        };
        self.active = next;
        let mut buffer = AlignedBuf::zeroed(self.align((frame::HEADER_LEN + snapshot.len()) as u64) as usize);
        buffer[frame::HEADER_LEN..frame::HEADER_LEN + snapshot.len()].copy_from_slice(snapshot);
        let behind = self.offset + self.framed(snapshot.len());
        let place = Place { segment: self.active.number(), offset: behind };
        // The snapshot itself bounds recovery: a checkpoint at each roll of a fast log would only cost syncs.
        let now = self.shared.now();
        let due = now - self.last_checkpoint >= ROLL_CHECKPOINT_INTERVAL;
        let checkpoint = due.then(|| Checkpoint {
            log_id: inner.log_id,
            frame: self.last_frame.next(),
            place,
            snapshot: Snapshot { next_event: self.sealed_event, state: self.sealed.clone(), segments: table },
        });
        if due {
            self.last_checkpoint = now;
        }
        inner.in_flight = self.in_flight.len() + 1;
        self.seal_bytes(Arc::new(buffer), Stored::plain(snapshot.len()), 0, (self.sealed_event, 0), |sent| {
            sent.snapshot = true;
            sent.checkpoint = checkpoint;
            sent.durable = true;
        });
        self.shared.keeper.notify_all();
    }

    /// The frame is whole.
    pub(super) fn seal_frame(&mut self, mut frame: OpenFrame) {
        for update in &frame.updates {
            self.sealed.apply_progress(update);
        }
        let controls = self.take_pending(self.room_beside(&frame));
        let records = controls.encode();
        frame.region(records.len()).bytes().copy_from_slice(&records);
        let body_len = frame.len - frame::HEADER_LEN;
        let events = (frame.first_event, frame.events);
        let (stage, reserved, committers) = (Arc::clone(&frame.stage), frame.reserved, frame.committers);
        let buffer = frame.into_buffer();
        let (buffer, stored, body) = match self.compress(&buffer[frame::HEADER_LEN..][..body_len]) {
            Some((compressed, stored)) => (compressed, stored, Some(buffer)),
            None => (buffer, Stored::plain(body_len), None),
        };
        self.seal_bytes(buffer, stored, 0, events, |sent| {
            sent.body = body;
            sent.stage = Some(stage);
            sent.reserved = reserved;
            sent.committers = committers.unwrap_or(0);
            sent.controls = controls;
        });
    }

    pub(super) fn seal_span_piece(&mut self, mut span: Span) {
        let room = self.shared.options.body_bytes_max();
        let rest = &span.bytes[span.sent..];
        let piece = &rest[..rest.len().min(room)];
        let (buffer, stored) =
            self.compress(piece).unwrap_or_else(|| (self.pooled(piece), Stored::plain(piece.len())));
        // Compressed or not, the lengths of this span's frames tell nothing any more.
        let place = match (&self.compressor, span.sent) {
            (None, _) => FLAG_SPAN,
            (Some(_), 0) => FLAG_SPAN | FLAG_FIRST,
            (Some(_), _) => FLAG_SPAN | FLAG_LATER,
        };
        span.sent += piece.len();
        if span.sent < span.bytes.len() {
            self.seal_bytes(buffer, stored, place | FLAG_MORE, (span.first_event, 0), |_| {});
            self.span = Some(span);
            return;
        }
        for update in &span.updates {
            self.sealed.apply_progress(update);
        }
        let events = (span.first_event, span.events);
        self.seal_bytes(buffer, stored, place, events, |sent| {
            sent.stage = Some(span.stage);
            sent.reserved = span.reserved;
        });
    }

    /// A frame of control records alone; also the housekeeping frame that vouches for a burst's end, and the close mark.
    pub(super) fn seal_control(&mut self, close: bool) {
        // More may have become pending since room was made: what does not fit rides the next frame.
        let beside = frame::HEADER_LEN + self.shared.options.keys.overhead() + CLOSE_MARK_LEN;
        let room = (self.active.len - self.offset) as usize;
        let controls = self.take_pending(room.saturating_sub(beside));
        let mut body = controls.encode();
        if close {
            assert_eq!(self.synced_frame, self.last_frame, "a close mark claims what is synced");
            record::put_close(&mut body, self.synced_frame);
            self.close_marked = true;
        }
        let mut buffer = AlignedBuf::zeroed(self.align((frame::HEADER_LEN + body.len()) as u64) as usize);
        buffer[frame::HEADER_LEN..frame::HEADER_LEN + body.len()].copy_from_slice(&body);
        self.shared.inner.lock().counters.control_frames += 1;
        self.seal_bytes(Arc::new(buffer), Stored::plain(body.len()), 0, (self.sealed_event, 0), |sent| {
            sent.controls = controls;
            sent.closes = close;
            sent.durable = true;
        });
    }

    /// Pending control records if they fit in `room` bytes; they are sealed now.
    pub(super) fn take_pending(&mut self, room: usize) -> Pending {
        let mut inner = self.shared.inner.lock();
        if inner.pending.is_empty() {
            return Pending::default();
        }
        if inner.pending.encoded_len_max() > room {
            return Pending::default();
        }
        let pending = std::mem::take(&mut inner.pending);
        drop(inner);
        for &(first, end) in &pending.released {
            self.sealed.apply_release(first, end);
        }
        for update in &pending.updates {
            self.sealed.apply_progress(update);
        }
        pending
    }

    /// A buffer of the pool with `stored` behind the header's place.
    fn pooled(&self, stored: &[u8]) -> Arc<AlignedBuf> {
        let mut buffer = self.shared.pool.get();
        let out = Arc::get_mut(&mut buffer).expect("nobody else holds what the pool gives");
        out[frame::HEADER_LEN..frame::HEADER_LEN + stored.len()].copy_from_slice(stored);
        buffer
    }

    /// The body compressed in a buffer of its own, if that is wanted and pays. The writer's lock is held: others may fill the
    /// next frame meanwhile, and the disk writes those before.
    fn compress(&mut self, body: &[u8]) -> Option<(Arc<AlignedBuf>, Stored)> {
        let mut compressor = self.compressor.take()?;
        let compressed = compressor.compress(body, self.active.header.alignment as usize);
        let stored = compressed.map(|bytes| {
            let stored = Stored { encoding: Encoding::Lz4, len: bytes.len(), raw_len: body.len() };
            (self.pooled(bytes), stored)
        });
        self.compressor = Some(compressor);
        stored
    }

    /// The body, which stands in `buffer` behind the header's place, encrypted in a buffer of its own: readers get it as it is. The
    /// writer's lock is held, as it is for compressing.
    fn encrypt(&self, key: &Key, header: &FrameHeader, buffer: &AlignedBuf, len: usize) -> Arc<AlignedBuf> {
        let padded = header.padded_len(self.active.header.alignment) as usize;
        let pool = &self.shared.pool;
        let fits = padded <= pool.size();
        let mut out = if fits { pool.get() } else { Arc::new(AlignedBuf::zeroed(padded)) };
        let bytes = Arc::get_mut(&mut out).expect("nobody else holds what the pool gives");
        let body = &buffer[frame::HEADER_LEN..][..len];
        let environment = &*self.shared.environment;
        codec::encrypt(key, header, body, &mut || environment.random(), &mut bytes[frame::HEADER_LEN..]);
        out
    }

    /// Seals one frame whose body stands in `buffer` behind the header's place.
    pub(super) fn seal_bytes(
        &mut self,
        mut buffer: Arc<AlignedBuf>,
        stored: Stored,
        flags: u8,
        (first_event, event_count): (u64, u32),
        fill: impl FnOnce(&mut Sent),
    ) {
        let shared = Arc::clone(&self.shared);
        let keys = &shared.options.keys;
        let stored_len = stored.len + keys.overhead();
        let end = frame::HEADER_LEN + stored_len;
        let padded = self.align(end as u64) as usize;
        let header = FrameHeader {
            body_crc: 0,
            stored_len: u32::try_from(stored_len).expect("a frame below 4 GiB"),
            raw_len: u32::try_from(stored.raw_len).expect("a frame below 4 GiB"),
            encoding: stored.encoding,
            encrypted: keys.active().is_some(),
            flags,
            frame: self.last_frame.next(),
            first_event,
            event_count,
            previous_crc: self.last_crc,
            synced_frame: self.synced_frame,
        };
        let plain = keys.active().map(|key| {
            let encrypted = self.encrypt(key, &header, &buffer, stored.len);
            std::mem::replace(&mut buffer, encrypted)
        });
        let bytes = Arc::get_mut(&mut buffer).expect("a whole frame's buffer is held by nobody else");
        bytes[end..padded].fill(0);
        // Dense event numbers are what a reader finds its place by.
        assert_eq!(first_event, self.sealed_event, "events are sealed in the order of their numbers");
        assert!(self.offset + padded as u64 <= self.active.len, "a frame within its segment");
        let seed = Seed::new(self.active.header.salt, self.active.number(), self.offset);
        self.last_crc = header.seal(bytes, seed);
        self.last_frame = header.frame;
        self.sealed_event = header.end_event();
        let token = self.next_token;
        self.next_token += 1;
        let mut sent = Sent {
            token,
            header,
            offset: self.offset,
            buffer: Arc::clone(&buffer),
            body: None,
            stage: None,
            reserved: 0,
            committers: 0,
            controls: Pending::default(),
            low: self.sealed.cursor.low,
            snapshot: false,
            checkpoint: None,
            closes: false,
            durable: self.shared.options.durability == Durability::Synced,
            done: false,
        };
        fill(&mut sent);
        match plain {
            // Of what was compressed before it was encrypted, readers have the body already.
            Some(plain) if sent.body.is_none() && event_count > 0 && !header.is_span() => {
                sent.body = Some(plain)
            }
            Some(plain) => shared.recycle(plain),
            None => {}
        }
        let durable = sent.durable;
        if broken::acks_early()
            && let Some(stage) = sent.stage.take()
        {
            stage.decide(Ok(())).into_iter().for_each(Waker::wake);
        }
        self.in_flight.push_back(sent);
        self.unclaimed_since = None;
        let file = Arc::clone(&self.active.file);
        let offset = self.offset;
        self.offset += padded as u64;
        self.summary.last_frame = header.frame;
        self.summary.end_event = self.sealed_event;
        self.summary.end_offset = self.offset;
        self.outgoing.push(Write { token, file, buffer, from: 0, len: padded, offset, durable });
    }
}

/// Checkpoints at rolls come no more often than this.
const ROLL_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(250);

/// Room kept for a close mark in a frame of control records.
const CLOSE_MARK_LEN: usize = 16;
