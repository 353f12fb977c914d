//! Zeroed memory at an address that direct I/O accepts.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment of the address: the largest that a supported device asks for.
pub(super) const ADDRESS_ALIGNMENT: usize = 4096;

/// A fixed number of bytes, zeroed when made, at a page boundary.
pub struct AlignedBuf {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned by this value alone and reached only through `&self` and `&mut self`, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: as for `Send`; shared references allow reads only.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes. `len` is not zero.
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not zero (asserted in `layout`).
        let at = unsafe { alloc_zeroed(layout) };
        let Some(at) = NonNull::new(at) else { handle_alloc_error(layout) };
        Self { at, len }
    }

    /// `bytes`, padded with zeroes to a multiple of `alignment`.
    pub fn padded(bytes: &[u8], alignment: usize) -> Self {
        let mut buffer = Self::zeroed(bytes.len().max(1).next_multiple_of(alignment));
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    /// Where the bytes are, for writing to parts of a shared buffer that nobody else uses.
    pub(crate) fn start(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    fn layout(len: usize) -> Layout {
        assert!(len > 0, "empty buffer");
        Layout::from_size_align(len, ADDRESS_ALIGNMENT).expect("buffer length within the address space")
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `at` points to `len` initialised bytes owned by `self`.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `at` points to `len` initialised bytes owned by `self`, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.at.as_ptr(), Self::layout(self.len)) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}
