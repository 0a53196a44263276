//! SRTP contexts of one client path: what opens its packets, and what seals those sent to it.

use dataplane_protocol::SrtpProfile;

use super::cipher::{GCM_TAG_LEN, RTCP_INDEX_LEN, RtcpCipher, RtpCipher, rtcp_ssrc};
use super::replay::ReplayWindow;
use super::{SessionKeys, SrtpError, Tags};

/// Most bytes that protection adds to a packet, in any profile: GCM's tag and SRTCP's index.
pub const MAX_OVERHEAD: usize = GCM_TAG_LEN + RTCP_INDEX_LEN;
/// Most sources of one client whose state is kept, for SRTP and for SRTCP each: a participant sends a microphone, a
/// camera and a screen with three simulcast layers and their RTX, 14 in all, and browsers change SSRCs at times.
pub const MAX_SSRCS: usize = 32;

/// Highest SRTP packet index, RFC 3711 3.3.1: 32 bits of roll-overs and 16 of sequence number.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
/// Highest SRTCP index, RFC 3711 3.4.
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

/// An opened SRTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotected {
    /// Bytes of the packet without the tag.
    pub len: usize,
    /// The 48-bit index: roll-over counter and sequence number.
    pub index: u64,
}

/// Opens what one client sends.
pub struct Inbound {
    rtp: RtpCipher,
    rtcp: RtcpCipher,
    rtp_windows: Windows,
    rtcp_windows: Windows,
}

impl Inbound {
    /// A context of the client's master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`].
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let keys = SessionKeys::derive(profile, key, salt)?;
        Ok(Self {
            rtp: RtpCipher::new(profile, &keys.rtp)?,
            rtcp: RtcpCipher::new(profile, &keys.rtcp)?,
            rtp_windows: Windows::new(),
            rtcp_windows: Windows::new(),
        })
    }

    /// Opens an SRTP packet in place; `header_len`, `ssrc` and `sequence` are its parsed header's. The state changes
    /// only if the tag is right.
    ///
    /// # Errors
    /// Any [`SrtpError`] but `NoRoom` and `BadKey`. After `AuthFailed` the payload's bytes are undefined.
    pub fn unprotect_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence: u16,
    ) -> Result<Unprotected, SrtpError> {
        let found = self.rtp_windows.find(ssrc)?;
        let window = self.rtp_windows.get(found);
        let index = match window.and_then(ReplayWindow::highest) {
            Some(highest) => estimate_index(highest, sequence)?,
            // The first packet of a source is taken to be in its first cycle, RFC 3711 3.3.1.
            None => u64::from(sequence),
        };
        if !window.is_none_or(|window| window.check(index)) {
            return Err(SrtpError::Replayed);
        }
        let len = self.rtp.open(packet, header_len, ssrc, index)?;
        self.rtp_windows.accept(found, ssrc, index);
        Ok(Unprotected { len, index })
    }

    /// Opens an SRTCP packet in place, encrypted or only authenticated, and returns its length without tag and index.
    /// The state changes only if the tag is right.
    ///
    /// # Errors
    /// As [`Self::unprotect_rtp`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let index = u64::from(self.rtcp.claimed_index(packet)?);
        let ssrc = rtcp_ssrc(packet)?;
        let found = self.rtcp_windows.find(ssrc)?;
        if !self.rtcp_windows.get(found).is_none_or(|window| window.check(index)) {
            return Err(SrtpError::Replayed);
        }
        let len = self.rtcp.open(packet)?;
        self.rtcp_windows.accept(found, ssrc, index);
        Ok(len)
    }
}

/// Seals what is sent to one client.
pub struct Outbound {
    rtp: RtpCipher,
    rtcp: RtcpCipher,
    next_rtcp_index: u32,
}

impl Outbound {
    /// A context of this host's master key and salt.
    ///
    /// # Errors
    /// [`SrtpError::BadKey`].
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        let keys = SessionKeys::derive(profile, key, salt)?;
        Ok(Self {
            rtp: RtpCipher::new(profile, &keys.rtp)?,
            rtcp: RtcpCipher::new(profile, &keys.rtcp)?,
            next_rtcp_index: 0,
        })
    }

    /// Seals the `len` bytes of RTP in `buffer` in place and returns the length with the tag. `index` is the 48-bit
    /// index, whose lower 16 bits are the header's sequence number. The caller never uses an index of an SSRC for two
    /// different packets: with GCM that would give the key away.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`], [`SrtpError::NoRoom`], [`SrtpError::KeyExhausted`].
    pub fn protect_rtp(
        &self,
        buffer: &mut [u8],
        len: usize,
        header_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let ssrc = sealed_ssrc(buffer, len, header_len, index)?;
        self.rtp.seal(buffer, len, header_len, ssrc, index)
    }

    /// As [`Self::protect_rtp`] for a datagram of a batch, whose `tags` may be written together with those of others.
    ///
    /// # Errors
    /// As [`Self::protect_rtp`].
    #[inline]
    pub fn protect_rtp_for(
        &self,
        tags: &mut Tags,
        buffer: &mut [u8],
        len: usize,
        header_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let ssrc = sealed_ssrc(buffer, len, header_len, index)?;
        self.rtp.seal_for(tags, buffer, len, header_len, ssrc, index)
    }

    /// Seals the `len` bytes of RTCP in `buffer` in place and returns the length with tag and index.
    ///
    /// # Errors
    /// As [`Self::protect_rtp`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        // One counter serves all SSRCs: each sees its indices ascend, and none twice.
        if self.next_rtcp_index > MAX_RTCP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        let sealed = self.rtcp.seal(buffer, len, self.next_rtcp_index)?;
        self.next_rtcp_index += 1;
        Ok(sealed)
    }
}

/// The SSRC of a packet that is about to be sealed.
#[inline]
fn sealed_ssrc(buffer: &[u8], len: usize, header_len: usize, index: u64) -> Result<u32, SrtpError> {
    if index > MAX_RTP_INDEX {
        return Err(SrtpError::KeyExhausted);
    }
    let header = buffer.get(..len.min(header_len)).ok_or(SrtpError::NoRoom)?;
    let ssrc = header.get(8..).and_then(|rest| rest.first_chunk()).ok_or(SrtpError::TooShort)?;
    Ok(u32::from_be_bytes(*ssrc))
}

/// RFC 3711 3.3.1 and appendix A: the index nearest to the highest one that `sequence` can be of. What would be before
/// the first cycle, or is as far behind as ahead, is of the highest one's cycle.
fn estimate_index(highest: u64, sequence: u16) -> Result<u64, SrtpError> {
    let distance = sequence.wrapping_sub(highest as u16) as i16;
    let same_cycle = highest & !0xffff | u64::from(sequence);
    let index = match highest.checked_add_signed(i64::from(distance)) {
        Some(nearest) if distance != i16::MIN => nearest,
        _ => same_cycle,
    };
    if index > MAX_RTP_INDEX { Err(SrtpError::KeyExhausted) } else { Ok(index) }
}

/// Replay windows by SSRC, made as sources come: most clients have none or few, and 32 would be 4 kB of each. Finding
/// one is a scan of at most 32 adjacent numbers, and the last one found comes first.
struct Windows {
    ssrcs: Vec<u32>,
    windows: Vec<ReplayWindow>,
    last: usize,
}

impl Windows {
    fn new() -> Self {
        Self { ssrcs: Vec::new(), windows: Vec::new(), last: 0 }
    }

    /// Where the SSRC's window is; `None` if it has none but may get one.
    fn find(&self, ssrc: u32) -> Result<Option<usize>, SrtpError> {
        if self.ssrcs.get(self.last) == Some(&ssrc) {
            return Ok(Some(self.last));
        }
        match self.ssrcs.iter().position(|known| *known == ssrc) {
            None if self.ssrcs.len() == MAX_SSRCS => Err(SrtpError::TooManySsrcs),
            found => Ok(found),
        }
    }

    fn get(&self, found: Option<usize>) -> Option<&ReplayWindow> {
        self.windows.get(found?)
    }

    /// Remembers an authenticated packet; `found` is what [`Self::find`] gave for its SSRC.
    fn accept(&mut self, found: Option<usize>, ssrc: u32, index: u64) {
        let at = found.unwrap_or_else(|| {
            self.ssrcs.push(ssrc);
            self.windows.push(ReplayWindow::new());
            self.windows.len() - 1
        });
        self.windows[at].accept(index);
        self.last = at;
    }
}

#[cfg(test)]
mod tests;
