//! Avro's binary encoding, written.

use crate::protocol::ORDERED;

/// A `long`.
#[inline]
pub(crate) fn put_long(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left > 0x7f {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// `bytes` or `string`.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// A handshake's meta data: none, or the word for order.
pub(crate) fn put_meta(out: &mut Vec<u8>, is_ordered: bool) {
    if is_ordered {
        put_long(out, 1);
        put_long(out, 1);
        put_bytes(out, ORDERED);
        put_bytes(out, b"");
    }
    put_long(out, 0);
}
