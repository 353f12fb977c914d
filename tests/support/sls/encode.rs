//! Log groups as the service's clients write them.

/// One log.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Seconds since 1970.
    pub time: u32,
    pub nanos: Option<u32>,
    pub contents: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// Of one content.
    pub fn of(time: u32, body: &str) -> Self {
        Self { time, nanos: None, contents: vec![("content".into(), body.as_bytes().to_vec())] }
    }
}

/// The bytes of a log group.
pub fn log_group(topic: &str, source: &str, tags: &[(&str, &str)], logs: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    for log in logs {
        let mut bytes = Vec::new();
        varint(&mut bytes, 1 << 3);
        varint(&mut bytes, log.time.into());
        for (key, value) in &log.contents {
            field(&mut bytes, 2, &pair(key, value));
        }
        if let Some(nanos) = log.nanos {
            varint(&mut bytes, 4 << 3 | 5);
            bytes.extend_from_slice(&nanos.to_le_bytes());
        }
        field(&mut out, 1, &bytes);
    }
    for (number, text) in [(3, topic), (4, source)] {
        if !text.is_empty() {
            field(&mut out, number, text.as_bytes());
        }
    }
    for (key, value) in tags {
        field(&mut out, 6, &pair(key, value.as_bytes()));
    }
    out
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, key.as_bytes());
    field(&mut out, 2, value);
    out
}

/// A field of bytes.
pub fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
