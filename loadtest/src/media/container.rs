//! Reading what ffmpeg writes: IVF, H264 Annex B, and Ogg.

use bytes::{Bytes, BytesMut};

use super::clip::Frame;

/// VP8 frames of an IVF file; `None` if it is not one.
pub(super) fn ivf(file: &Bytes) -> Option<Vec<Frame>> {
    if file.get(..4)? != b"DKIF" {
        return None;
    }
    let mut at = usize::from(u16::from_le_bytes(file.get(6..8)?.try_into().ok()?));
    let mut frames = Vec::new();
    while let Some(header) = file.get(at..at + 12) {
        let len = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
        let data = file.get(at + 12..at + 12 + len).map(|data| file.slice_ref(data))?;
        // RFC 6386 9.1: the first bit of the frame tag is 0 in a keyframe.
        let key = data.first().is_some_and(|first| first & 1 == 0);
        frames.push(Frame { data, key });
        at += 12 + len;
    }
    Some(frames)
}

/// Access units of an Annex B stream whose units begin with access unit delimiters.
pub(super) fn annex_b(file: &Bytes) -> Option<Vec<Frame>> {
    const DELIMITER: u8 = 9;
    const IDR: u8 = 5;
    let starts: Vec<usize> = (0..file.len().saturating_sub(3)).filter(|i| file[*i..*i + 3] == [0, 0, 1]).collect();
    let kind = |start: &usize| file[start + 3] & 0x1f;
    let mut frames = Vec::new();
    let mut unit: Option<(BytesMut, bool)> = None;
    for (i, start) in starts.iter().enumerate() {
        // The byte before a start code of four bytes is no part of the unit before it.
        let end = starts.get(i + 1).map_or(file.len(), |next| next - usize::from(file[next - 1] == 0));
        if kind(start) == DELIMITER {
            frames.extend(unit.replace((BytesMut::new(), false)));
        } else if let Some((data, key)) = &mut unit {
            data.extend_from_slice(&[0, 0, 0, 1]);
            data.extend_from_slice(file.get(start + 3..end)?);
            *key |= kind(start) == IDR;
        }
    }
    frames.extend(unit);
    let frames: Vec<_> = frames.into_iter().map(|(data, key)| Frame { data: data.freeze(), key }).collect();
    (!frames.is_empty()).then_some(frames)
}

/// Packets of the first stream of an Ogg file (RFC 3533), without the two headers of opus (RFC 7845).
pub(super) fn ogg(file: &Bytes) -> Option<Vec<Frame>> {
    let mut at = 0;
    let mut packets = Vec::new();
    let mut open = BytesMut::new();
    while let Some(header) = file.get(at..at + 27) {
        if &header[..4] != b"OggS" {
            return None;
        }
        let segments = usize::from(header[26]);
        let table = file.get(at + 27..at + 27 + segments)?;
        at += 27 + segments;
        for lacing in table {
            let len = usize::from(*lacing);
            open.extend_from_slice(file.get(at..at + len)?);
            at += len;
            if len < 255 {
                packets.push(Frame { data: std::mem::take(&mut open).freeze(), key: true });
            }
        }
    }
    let is_opus = packets.first().is_some_and(|head| head.data.starts_with(b"OpusHead"));
    (is_opus && packets.len() > 2).then(|| packets.split_off(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ivf_frames_and_their_kinds() {
        let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
        file.resize(32, 0);
        for data in [&[0x10u8, 1, 2][..], &[0x11, 3]] {
            file.extend((data.len() as u32).to_le_bytes());
            file.extend([0; 8]);
            file.extend(data);
        }
        let frames = ivf(&Bytes::from(file.clone())).unwrap();
        assert_eq!(
            frames.iter().map(|f| (f.data.to_vec(), f.key)).collect::<Vec<_>>(),
            [(vec![0x10, 1, 2], true), (vec![0x11, 3], false)]
        );
        file.truncate(file.len() - 1);
        assert_eq!(ivf(&Bytes::from(file)), None, "a cut file is refused");
        assert_eq!(ivf(&Bytes::from_static(b"RIFF0000")), None);
    }

    #[test]
    fn access_units_begin_at_delimiters() {
        let file = Bytes::from_static(&[
            0, 0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 2, 3, 0, 0, 0, 1, 9, 0x30, 0, 0, 1, 0x41, 4,
        ]);
        let frames = annex_b(&file).unwrap();
        assert_eq!(frames[0].data.as_ref(), [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x65, 2, 3]);
        assert_eq!(frames[1].data.as_ref(), [0, 0, 0, 1, 0x41, 4]);
        assert_eq!((frames[0].key, frames[1].key, frames.len()), (true, false, 2));
    }

    #[test]
    fn ogg_packets_cross_segments() {
        let mut file = Vec::new();
        let mut page = |lacing: &[u8], fill: &[&[u8]]| {
            file.extend(b"OggS");
            file.extend([0; 22]);
            file.push(lacing.len() as u8);
            file.extend(lacing);
            fill.iter().for_each(|part| file.extend(*part));
        };
        page(&[8], &[b"OpusHead"]);
        page(&[8], &[b"OpusTags"]);
        let long = [7; 300];
        page(&[3, 255, 45], &[&[1, 2, 3], &long]);
        let packets = ogg(&Bytes::from(file)).unwrap();
        assert_eq!(packets[0].data.as_ref(), [1, 2, 3]);
        assert_eq!(packets[1].data.as_ref(), long);
        assert_eq!(packets.len(), 2);
    }
}
