//! `BLOB`: the file is the body of one event, or of several if it is larger than `maxBlobLength`.

use flumen_api::Batch;

use super::{Deserializer, Events, Frame, Input, Trouble};

/// Small pieces are put together up to this many bytes.
const BATCH_BYTES: u64 = 8 << 20;

pub(super) struct Blobs {
    input: Input,
    max: u64,
    at: u64,
}

impl Blobs {
    pub fn open(input: Input, max: u64) -> Self {
        Self { input, max, at: 0 }
    }
}

impl Deserializer for Blobs {
    fn seek(&mut self, position: u64) -> Result<(), Trouble> {
        self.at = position;
        Ok(())
    }

    fn read(&mut self, limit: usize, frame: &Frame) -> Result<Batch, Trouble> {
        let pieces = (BATCH_BYTES / self.max).clamp(1, limit as u64);
        let bytes = self.input.read(self.at, pieces * self.max)?;
        let mut events = Events::over(bytes.clone(), frame);
        let mut start = 0;
        while start < bytes.len() {
            let length = (bytes.len() - start).min(self.max as usize);
            start += length;
            events.slice(start - length, length, self.at + start as u64);
        }
        if self.at == 0 && (bytes.len() as u64) < self.input.len() {
            tracing::warn!(file = %self.input.path.display(), length = self.input.len(), most = self.max,
                "longer than deserializer.maxBlobLength: becomes several events");
        }
        self.at += start as u64;
        Ok(events.or_empty_file(frame, self.input.len()))
    }

    fn of_tracker(&mut self, offset: u64) -> Result<u64, Trouble> {
        Ok(offset.min(self.input.len()))
    }

    fn to_tracker(&mut self, position: u64) -> Result<u64, Trouble> {
        Ok(position.min(self.input.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::testing::{assert_resumes, events};

    #[test]
    fn a_file_is_one_event_or_as_many_as_it_needs() {
        let blob = |max| Format::Blob { max };
        assert_eq!(events(blob(10), b"one\ntwo\n"), [(8, b"one\ntwo\n".to_vec())]);
        assert_eq!(
            events(blob(3), b"one\ntwo\n"),
            [(3, b"one".to_vec()), (6, b"\ntw".to_vec()), (8, b"o\n".to_vec())]
        );
        assert_eq!(events(blob(8), b"one\ntwo\n").len(), 1);
        let large: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
        let pieces = events(blob(1_000_000), &large);
        assert_eq!(pieces.len(), 3);
        assert!(pieces.concat_bodies() == large);
        assert_resumes(blob(1_000_000), &large);
    }

    #[test]
    fn an_empty_file_is_one_empty_event() {
        assert_eq!(events(Format::Blob { max: 5 }, b""), [(1, Vec::new())]);
        assert_resumes(Format::Blob { max: 5 }, b"");
    }

    trait Concat {
        fn concat_bodies(&self) -> Vec<u8>;
    }

    impl Concat for Vec<(u64, Vec<u8>)> {
        fn concat_bodies(&self) -> Vec<u8> {
            self.iter().flat_map(|(_, body)| body.clone()).collect()
        }
    }
}
