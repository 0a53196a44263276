//! Big-endian reads and writes that answer instead of panicking.

/// The byte at `at`.
pub(super) fn read_u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The 16 bits at `at`.
pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

/// The 24 bits at `at`.
pub(super) fn read_u24(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<3>().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]))
}

/// The 32 bits at `at`.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

/// The 64 bits at `at`.
pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))
}

/// A buffer being filled from the front. After the first write that does not fit, nothing more is written.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `out`.
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What was written.
    pub(super) fn written(&self) -> &[u8] {
        &self.out[..self.len]
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> usize {
        self.out.len() - self.len
    }

    /// Takes back everything after the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `bytes`.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    /// Appends 16 bits.
    pub(super) fn put_u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Appends 32 bits.
    pub(super) fn put_u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Overwrites `bytes` at `at`, which must have been written before.
    pub(super) fn set(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        self.out[..self.len].get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    /// The rest of the buffer, to be written by another writer; [`Self::advance`] accounts for it.
    pub(super) fn rest(&mut self) -> &mut [u8] {
        &mut self.out[self.len..]
    }

    /// Counts `len` bytes that were written to [`Self::rest`].
    pub(super) fn advance(&mut self, len: usize) {
        self.len = (self.len + len).min(self.out.len());
    }
}
