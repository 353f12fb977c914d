//! A key in a file of its own, as an operator or a secret store puts it there.
//!
//! | the file holds | the key |
//! | --- | --- |
//! | 32, 48 or 64 hexadecimal digits | what they say: 16, 24 or 32 bytes |
//! | Base64 (with its `=`) of 16, 24 or 32 bytes | these bytes |
//! | any other 16, 24 or 32 bytes | these bytes |
//!
//! White space around a text does not count: `openssl rand -hex 32 > key` makes one. Looked at in this order, so that a file always
//! means the same.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// No key file is longer.
const LEN_MAX: u64 = 1024;
/// What others may do with a key file: its group may read it.
const MODE_REFUSED: u32 = 0o037;

/// Why a file gives no key. Nothing of its content is in the message.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key file {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The error beneath.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "the key file {path} has mode {mode:04o}: others may get at the key; make it 0400, or 0440 for a group"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "the key file {path} holds no AES key: neither 32, 48 or 64 hexadecimal digits, nor Base64 of 16, 24 or 32 bytes, nor so \
         many bytes themselves"
    )]
    NoKey {
        /// Which.
        path: PathBuf,
    },
}

/// Reads the key in a file: 16, 24 or 32 bytes.
pub fn read_key_file(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata: Metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & MODE_REFUSED != 0 {
        return Err(KeyFileError::Open { path: path.to_path_buf(), mode });
    }
    let mut bytes = Vec::new();
    file.take(LEN_MAX).read_to_end(&mut bytes).map_err(failed)?;
    key_of(&bytes).ok_or_else(|| KeyFileError::NoKey { path: path.to_path_buf() })
}

fn key_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.trim_ascii();
    let is_key = |key: &Vec<u8>| matches!(key.len(), 16 | 24 | 32);
    let hex = of_hex(text).filter(is_key);
    let base64 = || of_base64(text).filter(is_key);
    hex.or_else(base64).or_else(|| Some(bytes.to_vec()).filter(is_key))
}

fn of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn of_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let mut bytes = Vec::new();
    for piece in digits.chunks(4) {
        let mut bits = 0u32;
        for byte in piece {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        // One digit alone says less than a byte.
        let whole = piece.len().checked_sub(1).filter(|whole| *whole > 0)?;
        let bits = bits << (6 * (4 - piece.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=whole]);
    }
    (padding <= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    fn read(content: &[u8], mode: u32) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read_key_file(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_read_from_hexadecimal_base64_and_bytes() {
        let key: Vec<u8> = (0x80..0xa0).collect();
        let hex: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(read(format!("{hex}\n").as_bytes(), 0o400).as_ref(), Ok(&key));
        let base64 = "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8=";
        assert_eq!(read(format!(" {base64}\r\n").as_bytes(), 0o600).as_ref(), Ok(&key));
        assert_eq!(read(b"gIGCg4SFhoeIiYqLjI2Ojw==", 0o440).as_deref(), Ok(&key[..16]));
        assert_eq!(read(b"gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaX", 0o440).as_deref(), Ok(&key[..24]));
        for len in [16, 24, 32] {
            assert_eq!(read(&key[..len], 0o400).as_deref(), Ok(&key[..len]));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for wrong in
            ["", "secret", &"0f".repeat(15), "gIGCg4SFhoeIiYqLjI2Ojw=", "====", &"ab=".repeat(8)[..23]]
        {
            let error = read(wrong.as_bytes(), 0o400).unwrap_err();
            assert!(error.contains("holds no AES key"), "{wrong}: {error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
        assert!(read(&[7; 5000], 0o400).is_err());
    }

    #[test]
    fn a_key_that_others_may_get_at_is_refused() {
        for mode in [0o644, 0o604, 0o660, 0o620, 0o410] {
            let error = read(&[1; 32], mode).unwrap_err();
            assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
        }
        let missing = read_key_file(Path::new("/nowhere/key")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/key"), "{missing}");
    }
}
