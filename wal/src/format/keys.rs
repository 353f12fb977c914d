//! Keys, and the envelope in which bytes stand that are encrypted by one.
//!
//! ```text
//! byte 0          8         20        32                             len - 16
//!      +----------+---------+---------+------------------------------+--------+
//!      | key id   | salt    | nonce   | the bytes, encrypted         | tag    |
//!      | 8 bytes  | 12 bytes| 12 bytes|                              | 16     |
//!      +----------+---------+---------+------------------------------+--------+
//! ```
//!
//! AES-GCM: with 128 bits where the key has 16 bytes, with 256 where it has 24 or 32. Each envelope has a key of its own, told by
//! HKDF-SHA256 from the key and the salt; salt and nonce are random and fresh each time. So nothing is used twice, however many
//! frames one key encrypts: 96 random bits alone would be too few for the frames of a few years.
//!
//! The *id* of a key is told from the key itself, not from its name: what another key of the same name encrypted is not taken for
//! damage. It tells nothing of the key.

use std::fmt::{self, Debug, Display, Formatter};
use std::io;
use std::sync::Arc;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

const ID_LEN: usize = 8;
const SALT_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// Where in an envelope the encrypted bytes begin.
const BEGIN: usize = ID_LEN + SALT_LEN + NONCE_LEN;

/// Bytes that an envelope has beside what it holds.
pub const OVERHEAD: usize = BEGIN + TAG_LEN;

/// What a key is recognised by.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; ID_LEN]);

impl KeyId {
    /// The id that no key has.
    pub const NONE: Self = Self([0; ID_LEN]);
}

impl Display for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// AES has keys of three lengths.
    #[error("key `{name}` has {bytes} bytes; AES keys have 16, 24 or 32")]
    Length {
        /// The key's name.
        name: String,
        /// How many it has.
        bytes: usize,
    },
    /// The key to encrypt by is not among the keys.
    #[error("there is no key `{name}`")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Two keys have one name.
    #[error("there are two keys `{name}`")]
    Twice {
        /// Their name.
        name: String,
    },
}

/// A key.
#[derive(Clone)]
pub struct Key {
    name: Box<str>,
    id: KeyId,
    algorithm: &'static Algorithm,
    /// What the keys of envelopes are told from; the key itself is not kept.
    root: Prk,
}

impl Key {
    /// A key of 16, 24 or 32 bytes, with a name for people.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match secret.len() {
            16 => &AES_128_GCM,
            24 | 32 => &AES_256_GCM,
            bytes => return Err(KeyError::Length { name: name.to_string(), bytes }),
        };
        let root = Salt::new(HKDF_SHA256, b"flumen log").extract(secret);
        let mut id = KeyId::default();
        let told = root.expand(&[b"key id"], IdLen);
        told.and_then(|told| told.fill(&mut id.0)).expect("eight bytes are within what HKDF gives");
        Ok(Self { name: name.into(), id, algorithm, root })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn of_envelope(&self, salt: &[u8]) -> LessSafeKey {
        let info: [&[u8]; 2] = [b"envelope", salt];
        let told = self.root.expand(&info, self.algorithm);
        LessSafeKey::new(UnboundKey::from(told.expect("a key is within what HKDF gives")))
    }

    /// Puts `bytes` into the envelope `out`, which is [`OVERHEAD`] longer. What opens it must say the same `context`. `random`
    /// gives numbers that were never given before.
    pub fn seal(&self, bytes: &[u8], context: &[u8], random: &mut dyn FnMut() -> u64, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(BEGIN);
        let (body, tag) = rest.split_at_mut(bytes.len());
        head[..ID_LEN].copy_from_slice(&self.id.0);
        for piece in head[ID_LEN..].chunks_exact_mut(8) {
            piece.copy_from_slice(&random().to_le_bytes());
        }
        body.copy_from_slice(bytes);
        let nonce = nonce(&head[ID_LEN + SALT_LEN..]);
        let key = self.of_envelope(&head[ID_LEN..ID_LEN + SALT_LEN]);
        let made = key.seal_in_place_separate_tag(nonce, Aad::from(context), body);
        tag.copy_from_slice(made.expect("shorter than what one GCM key encrypts").as_ref());
    }
}

impl Debug for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {})", self.name, self.id)
    }
}

struct IdLen;

impl KeyType for IdLen {
    fn len(&self) -> usize {
        ID_LEN
    }
}

fn nonce(bytes: &[u8]) -> Nonce {
    Nonce::assume_unique_for_key(bytes.try_into().expect("twelve bytes"))
}

/// Something is encrypted by a key that is not given. It is neither damaged nor lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is encrypted by the key with id {id}, which is not among the keys given ({given})")]
pub struct MissingKey {
    /// The key's id.
    pub id: KeyId,
    /// Those that are given, for people.
    pub given: String,
}

impl MissingKey {
    /// Whether that is what an error of a read is about.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<MissingKey> for io::Error {
    fn from(missing: MissingKey) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, missing)
    }
}

/// Why an envelope gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Its key is not given.
    Locked(MissingKey),
    /// It is not what the key made.
    Bad,
}

/// The keys that open a log, and the one that it is written by. None by default: nothing is encrypted, and what is cannot be read.
#[derive(Clone, Default)]
pub struct Keys(Option<Arc<Ring>>);

struct Ring {
    keys: Vec<Key>,
    active: Option<usize>,
}

impl Keys {
    /// All `keys`, of which the one named `active` encrypts what is written from now on; without one that is plain.
    pub fn new(keys: Vec<Key>, active: Option<&str>) -> Result<Self, KeyError> {
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.name == key.name) {
                return Err(KeyError::Twice { name: key.name.to_string() });
            }
        }
        let found = |name: &str| {
            let place = keys.iter().position(|key| &*key.name == name);
            place.ok_or_else(|| KeyError::Unknown { name: name.to_string() })
        };
        let active = active.map(found).transpose()?;
        Ok(Self(Some(Arc::new(Ring { keys, active }))))
    }

    /// The same keys, of which the one with this id encrypts; none where it is not among them.
    #[must_use]
    pub fn writing_by(&self, id: KeyId) -> Self {
        let keys: Vec<Key> = self.iter().cloned().collect();
        let active = keys.iter().position(|key| key.id == id);
        Self(Some(Arc::new(Ring { keys, active })))
    }

    /// The key that encrypts what is written.
    pub fn active(&self) -> Option<&Key> {
        let ring = self.0.as_deref()?;
        ring.active.map(|at| &ring.keys[at])
    }

    /// The key with this id.
    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.iter().find(|key| key.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().flat_map(|ring| &ring.keys)
    }

    /// How much longer what is written is than what is to be written.
    pub fn overhead(&self) -> usize {
        if self.active().is_some() { OVERHEAD } else { 0 }
    }

    /// What to say of a key that is not here.
    pub fn missing(&self, id: KeyId) -> MissingKey {
        let given: Vec<String> = self.iter().map(|key| format!("{} {}", key.name, key.id)).collect();
        let given = if given.is_empty() { "none".to_string() } else { given.join(", ") };
        MissingKey { id, given }
    }

    /// What stands in an envelope.
    pub fn open(&self, envelope: &[u8], context: &[u8]) -> Result<Vec<u8>, Unopened> {
        let (head, body) = envelope.split_at_checked(BEGIN).ok_or(Unopened::Bad)?;
        let (id, rest) = head.split_at(ID_LEN);
        let id = KeyId(id.try_into().expect("eight bytes"));
        let key = self.get(id).ok_or_else(|| Unopened::Locked(self.missing(id)))?;
        let (salt, nonce_bytes) = rest.split_at(SALT_LEN);
        let mut body = body.to_vec();
        let opened = key.of_envelope(salt).open_in_place(nonce(nonce_bytes), Aad::from(context), &mut body);
        // Why it is wrong is not told: that would help nobody but who made it wrong.
        let len = opened.map_err(|_unspecified| Unopened::Bad)?.len();
        body.truncate(len);
        Ok(body)
    }
}

impl Debug for Keys {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, byte: u8, len: usize) -> Key {
        Key::new(name, &vec![byte; len]).unwrap()
    }

    fn sealed(key: &Key, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bytes.len() + OVERHEAD];
        let mut next = 0;
        let mut random = || {
            next += 1;
            next
        };
        key.seal(bytes, b"context", &mut random, &mut out);
        out
    }

    #[test]
    fn what_a_key_of_each_length_seals_it_opens() {
        for len in [16, 24, 32] {
            let key = key("k", 7, len);
            let envelope = sealed(&key, b"the bytes");
            assert!(!envelope.windows(3).any(|window| window == b"the"));
            let keys = Keys::new(vec![key], None).unwrap();
            assert_eq!(keys.open(&envelope, b"context"), Ok(b"the bytes".to_vec()));
            assert_eq!(keys.open(&envelope, b"contest"), Err(Unopened::Bad));
        }
        let error = Key::new("short", &[1; 15]).unwrap_err();
        assert_eq!(error.to_string(), "key `short` has 15 bytes; AES keys have 16, 24 or 32");
    }

    #[test]
    fn what_is_sealed_twice_has_nothing_in_common() {
        let (key, mut next) = (key("k", 7, 32), 0);
        let mut random = || {
            next += 1;
            next
        };
        let mut seal = || {
            let mut out = vec![0; 64 + OVERHEAD];
            key.seal(&[9; 64], b"context", &mut random, &mut out);
            out
        };
        // Of equal bytes under one key stream, encrypted ones would be equal too.
        let (one, two) = (seal(), seal());
        let same = one[ID_LEN..].chunks_exact(4).zip(two[ID_LEN..].chunks_exact(4)).filter(|(a, b)| a == b);
        // The upper halves of the three small numbers that are random here.
        assert_eq!(same.count(), 3);
        assert_ne!(one[BEGIN..BEGIN + 4], two[BEGIN..BEGIN + 4]);
    }

    #[test]
    fn every_flipped_bit_of_an_envelope_is_noticed() {
        let keys = Keys::new(vec![key("k", 7, 32)], None).unwrap();
        let envelope = sealed(keys.iter().next().unwrap(), b"the bytes");
        for bit in 0..envelope.len() * 8 {
            let mut flipped = envelope.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(&flipped, b"context").is_err(), "bit {bit}");
        }
        for len in 0..envelope.len() {
            assert_eq!(keys.open(&envelope[..len], b"context"), Err(Unopened::Bad), "cut to {len}");
        }
    }

    #[test]
    fn another_key_of_the_same_name_is_a_missing_key_and_no_damage() {
        let envelope = sealed(&key("k", 7, 32), b"the bytes");
        let keys = Keys::new(vec![key("k", 8, 32)], Some("k")).unwrap();
        let Err(Unopened::Locked(missing)) = keys.open(&envelope, b"context") else {
            panic!("not told as missing")
        };
        assert_eq!(missing.id, key("other", 7, 32).id(), "a key is known by itself, whatever its name");
        assert!(missing.to_string().contains(&format!("(k {})", key("k", 8, 32).id())), "{missing}");
        assert!(MissingKey::of(&missing.into()).is_some());
    }

    #[test]
    fn the_active_key_is_one_of_those_given() {
        let keys = || vec![key("a", 1, 16), key("b", 2, 16)];
        assert_eq!(Keys::new(keys(), Some("b")).unwrap().active().unwrap().name(), "b");
        assert!(Keys::new(keys(), None).unwrap().active().is_none());
        assert_eq!(Keys::new(keys(), Some("c")).unwrap_err().to_string(), "there is no key `c`");
        let twice = Keys::new([keys(), keys()].concat(), None).unwrap_err();
        assert_eq!(twice.to_string(), "there are two keys `a`");
    }

    #[test]
    fn nothing_that_is_printed_tells_the_key() {
        let keys = Keys::new(vec![Key::new("k", b"0123456789abcdef").unwrap()], Some("k")).unwrap();
        let printed = format!("{keys:?} {:?}", keys.active());
        assert!(printed.contains("\"k\"") && !printed.contains("0123"), "{printed}");
    }
}
