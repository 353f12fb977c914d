//! Reads a container file's header back: magic, metadata, marker (see [the parent module](super)).
//!
//! What is no header - another magic, lengths that are negative or run past the limit, an early end - is `None`: that file
//! is not gone on with.

use std::io::{self, ErrorKind, Read};

/// What a container file begins with.
pub(super) const MAGIC: &[u8; 4] = b"Obj\x01";

/// Longest header that is read: a schema is kilobytes.
const HEAD_MAX: u64 = 16 << 20;

/// What of a header counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub schema: Vec<u8>,
    pub codec: Vec<u8>,
    pub marker: [u8; 16],
}

impl Head {
    /// From the start of a file.
    pub fn read(file: &mut dyn Read) -> io::Result<Option<Self>> {
        match Self::read_from(&mut file.take(HEAD_MAX)) {
            Ok(head) => Ok(head),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_from(file: &mut dyn Read) -> io::Result<Option<Self>> {
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Ok(None);
        }
        let (mut schema, mut codec) = (Vec::new(), b"null".to_vec());
        loop {
            let Some(count) = long(file)? else { return Ok(None) };
            if count == 0 {
                break;
            }
            if count < 0 && long(file)?.is_none() {
                return Ok(None);
            }
            // Each pair takes bytes of the limited file: a count without end meets its end.
            for _ in 0..count.unsigned_abs() {
                let (Some(key), Some(value)) = (bytes(file)?, bytes(file)?) else { return Ok(None) };
                match key.as_slice() {
                    b"avro.schema" => schema = value,
                    b"avro.codec" => codec = value,
                    _ => {}
                }
            }
        }
        let mut marker = [0; 16];
        file.read_exact(&mut marker)?;
        Ok(Some(Self { schema, codec, marker }))
    }
}

fn long(file: &mut dyn Read) -> io::Result<Option<i64>> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some((number >> 1) as i64 ^ -((number & 1) as i64)));
        }
    }
    Ok(None)
}

fn bytes(file: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = long(file)?.and_then(|length| u64::try_from(length).ok()) else { return Ok(None) };
    if length > HEAD_MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let got = file.take(length).read_to_end(&mut bytes)?;
    Ok((got as u64 == length).then_some(bytes))
}
