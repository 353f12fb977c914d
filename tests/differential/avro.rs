//! What an Avro container file holds, whatever its sync marker and the size of its blocks.
//!
//! ```text
//!   "Obj" 01   map of metadata: avro.codec, avro.schema   marker (16 bytes)
//!   count  length  data  marker      a block; numbers are zigzag varints
//! ```

/// Codec, schema (its JSON in one writing), number of records, and their bytes, of a file without compression.
pub fn shown(bytes: &[u8]) -> String {
    read(bytes).unwrap_or_else(|| format!("no Avro file: {}", bytes.escape_ascii()))
}

fn read(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes.strip_prefix(b"Obj\x01")?;
    let (mut codec, mut schema) = (String::from("null"), String::new());
    loop {
        let count = number(&mut rest)?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let key = String::from_utf8(text(&mut rest)?.to_vec()).ok()?;
            let value = String::from_utf8(text(&mut rest)?.to_vec()).ok()?;
            match key.as_str() {
                "avro.codec" => codec = value,
                "avro.schema" => schema = serde_json::from_str::<serde_json::Value>(&value).ok()?.to_string(),
                _ => {}
            }
        }
    }
    let marker = take(&mut rest, 16)?;
    let (mut records, mut data) = (0, Vec::new());
    while !rest.is_empty() {
        records += number(&mut rest)?;
        data.extend_from_slice(text(&mut rest)?);
        if take(&mut rest, 16)? != marker {
            return None;
        }
    }
    Some(format!("{codec} {schema} {records} {}", data.escape_ascii()))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    take(rest, length)
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
