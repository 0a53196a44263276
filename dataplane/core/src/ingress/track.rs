//! One track as every worker sees it: its negotiated numbers, its recent packets, and who gets them here.
//!
//! The worker that owns the publisher's transport is the track's home and has its [`Source`]; another worker
//! with subscribers has a mirror, fed by ring with the same decrypted packets.

use dataplane_protocol::{
    Codec, CodecParameters, ExtensionKind, HeaderExtension, MediaKind, Publish, SubscriptionId, TrackId, TrackInfo,
    TransportId,
};

use crate::buffer::BufferId;
use crate::egress::padding::even_out;
use crate::egress::select::SILENCE;
use crate::egress::subscription::Outgoing;
use crate::ingress::history::{AUDIO, History, Packet, Span, VIDEO};
use crate::ingress::keyframe::KeyframeGate;
use crate::ingress::nack::NackGenerator;
use crate::ingress::reception::Reception;
use crate::time::Instant;
use crate::wire::rtp::{RtpHeader, payload_len};
use crate::wire::{av1, ext, h264, vp8, vp9};

/// Sequence numbers fanned out in one go: a receive batch and what NACKs recovered meanwhile.
const PENDING: usize = 128;

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    /// Key of the publisher's endpoint.
    pub(crate) endpoint: usize,
    pub(crate) transport: TransportId,
    pub(crate) kind: MediaKind,
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    pub(crate) clock_rate: u32,
    pub(crate) nack: bool,
    pub(crate) pli: bool,
    pub(crate) mid: Box<str>,
    /// `a=rid` of a simulcast layer, or empty.
    pub(crate) rid: Box<str>,
    /// The bound that REMB tells the publisher, in bit/s; 0: none, or not negotiated.
    pub(crate) remb_bps: u64,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) extensions: ExtensionMap,
    /// Only at home.
    pub(crate) source: Option<Box<Source>>,
    /// Present while packets come in here.
    pub(crate) history: Option<History>,
    /// Every subscription that may be sent it or is, on whichever worker.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    /// Active subscriptions of this worker that may be sent it, and are being sent another.
    pub(crate) away: Vec<SubscriptionId>,
    /// Who gets the track from this worker: dense, in the order they came.
    pub(crate) outgoing: Vec<Outgoing>,
    /// Taken in, and not yet fanned out.
    pub(crate) pending: Vec<u64>,
    /// The first so many of `pending` have got their padding.
    pub(crate) evened: usize,
    /// Whether the shard has it in its list of tracks with something pending.
    pub(crate) dirty: bool,
    /// At home: workers that mirror it, one bit each.
    pub(crate) mirrors: u64,
    pub(crate) clock: Option<SourceClock>,
    /// Subscribers' wishes for keyframes; at home on their way to the publisher, else on their way home.
    pub(crate) gate: KeyframeGate,
    /// When the last packet with media came.
    pub(crate) flowed_at: Option<Instant>,
    /// When it began to flow, after a silence.
    pub(crate) flows_since: Instant,
    /// When `away` was last looked through.
    pub(crate) looked_at: Instant,
    /// A keyframe at which some of `away` come over, before it is fanned out.
    pub(crate) switch_at: Option<u64>,
    /// A subscriber here waits for a keyframe and the gate has not been asked yet.
    pub(crate) wants_keyframe: bool,
}

/// What only the track's home knows.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) reception: Reception,
    pub(crate) nacks: NackGenerator,
    /// SSRC that the media comes with now.
    pub(crate) ssrc: Option<u32>,
    /// Added to the SRTP index and the timestamp, so that a publisher which starts over with another SSRC
    /// goes on where the old one ended.
    pub(crate) sequence_offset: i64,
    pub(crate) timestamp_offset: u32,
    pub(crate) last_timestamp: u32,
    pub(crate) last_arrival: Instant,
    pub(crate) fir_count: u8,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) keyframes: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) nacked: u64,
    pub(crate) recovered: u64,
}

/// The publisher's RTP clock held against this host's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceClock {
    /// Microseconds since 1970.
    pub(crate) unix_micros: u64,
    /// RTP timestamp at that moment.
    pub(crate) rtp_timestamp: u32,
}

impl SourceClock {
    /// The moment of an RTP timestamp, which is within half its range of the known one.
    pub(crate) fn unix_at(self, rtp_timestamp: u32, clock_rate: u32) -> u64 {
        let ticks = i64::from(rtp_timestamp.wrapping_sub(self.rtp_timestamp) as i32);
        self.unix_micros.saturating_add_signed(ticks * 1_000_000 / i64::from(clock_rate.max(1)))
    }

    /// The RTP timestamp at another moment.
    pub(crate) fn rtp_at(self, unix_micros: u64, clock_rate: u32) -> u32 {
        let elapsed = i128::from(unix_micros) - i128::from(self.unix_micros);
        self.rtp_timestamp.wrapping_add((elapsed * i128::from(clock_rate) / 1_000_000) as u32)
    }
}

/// Values of a packet's header extensions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions {
    /// Of transport-wide congestion control.
    pub(crate) transport_sequence: Option<u16>,
    audio_level: Option<u8>,
    orientation: Option<u8>,
    descriptor: Span,
}

/// Extension ids of one transport, by id.
#[derive(Clone, Debug)]
pub(crate) struct ExtensionMap(Box<[ExtensionKind; 256]>);

impl ExtensionMap {
    pub(crate) fn new(extensions: &[HeaderExtension]) -> Self {
        let mut map = Box::new([ExtensionKind::Unknown; 256]);
        for extension in extensions {
            if let Some(slot) = map.get_mut(extension.id as usize) {
                *slot = extension.kind();
            }
        }
        Self(map)
    }

    pub(crate) fn kind(&self, id: u8) -> ExtensionKind {
        self.0[usize::from(id)]
    }
}

/// A payload type that was checked to be one.
pub(crate) fn payload_type(value: u32) -> u8 {
    (value & 0x7f) as u8
}

impl Track {
    pub(crate) fn new(spec: &Publish, endpoint: usize) -> Self {
        let codec = spec.codec.clone().unwrap_or_default();
        let CodecParameters { payload_type: pt, clock_rate, rtx_payload_type, nack, pli, fir, remb, .. } = codec;
        Self {
            id: TrackId(spec.track),
            endpoint,
            transport: TransportId(spec.transport),
            kind: spec.kind(),
            codec: codec.codec(),
            payload_type: payload_type(pt),
            rtx_payload_type: rtx_payload_type.map(payload_type),
            clock_rate,
            nack,
            // A publisher that knows neither gets PLI all the same: it is what most of them understand.
            pli: pli || !fir,
            mid: spec.mid.as_str().into(),
            rid: spec.rid.as_str().into(),
            remb_bps: if remb { spec.max_bitrate_bps } else { 0 },
            ssrc: spec.ssrc,
            rtx_ssrc: spec.rtx_ssrc,
            extensions: ExtensionMap::new(&spec.extensions),
            source: None,
            history: None,
            subscriptions: Vec::new(),
            away: Vec::new(),
            flowed_at: None,
            flows_since: Instant::default(),
            looked_at: Instant::default(),
            switch_at: None,
            outgoing: Vec::new(),
            pending: Vec::with_capacity(PENDING),
            evened: 0,
            dirty: false,
            mirrors: 0,
            clock: None,
            gate: KeyframeGate::default(),
            wants_keyframe: false,
        }
    }

    /// Decides the padding of what is pending and has not got any yet.
    pub(crate) fn even_out(&mut self) {
        let Self { history: Some(history), pending, evened, .. } = self else { return };
        even_out(history, pending.get(*evened..).unwrap_or_default());
        *evened = pending.len();
    }

    /// Nothing is pending any more.
    pub(crate) fn clear_pending(&mut self) {
        self.pending.clear();
        self.evened = 0;
        self.dirty = false;
    }

    /// Whether anybody on this worker may be sent it.
    pub(crate) fn is_wanted(&self) -> bool {
        !(self.outgoing.is_empty() && self.away.is_empty())
    }

    /// Whether media came within [`SILENCE`].
    pub(crate) fn flows(&self, now: Instant) -> bool {
        self.flowed_at.is_some_and(|at| now.since(at) < SILENCE)
    }

    /// Media has come.
    pub(crate) fn note_flow(&mut self, now: Instant) {
        if !self.flows(now) {
            self.flows_since = now;
        }
        self.flowed_at = Some(now);
    }

    /// The ring of recent packets, made when the first one comes.
    pub(crate) fn history_mut(&mut self) -> &mut History {
        let capacity = if self.kind == MediaKind::Video { VIDEO } else { AUDIO };
        self.history.get_or_insert_with(|| History::new(capacity))
    }

    /// What a decrypted packet's extensions say, in one walk over them.
    pub(crate) fn read_extensions(&self, bytes: &[u8], header: &RtpHeader) -> Extensions {
        let mut read = Extensions::default();
        for (id, data) in ext::elements(bytes, header) {
            match self.extensions.kind(id) {
                ExtensionKind::TransportCc => {
                    read.transport_sequence = read.transport_sequence.or_else(|| ext::parse_transport_cc(data));
                }
                ExtensionKind::AudioLevel => read.audio_level = data.first().copied(),
                ExtensionKind::VideoOrientation => read.orientation = data.first().copied(),
                ExtensionKind::DependencyDescriptor => {
                    // The element borrows from `bytes`, so that its distance from the start is its place.
                    let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
                    read.descriptor = Span { start: start as u16, len: data.len() as u16 };
                }
                _ => {}
            }
        }
        read
    }

    /// What subscribers need to know of a decrypted packet of this track. `None` if its padding is wrong.
    pub(crate) fn describe(
        &self,
        bytes: &[u8],
        header: &RtpHeader,
        extensions: Extensions,
        (sequence, buffer): (u64, BufferId),
    ) -> Option<Packet> {
        let payload = Span { start: header.header_len as u16, len: payload_len(bytes, header).ok()? as u16 };
        Some(Packet {
            sequence,
            buffer,
            timestamp: header.timestamp,
            marker: header.marker,
            keyframe: self.starts_decoding(payload.of(bytes)),
            payload,
            audio_level: extensions.audio_level,
            orientation: extensions.orientation,
            descriptor: extensions.descriptor,
            padding: 0,
        })
    }

    /// For a snapshot; only the track's home has it.
    pub(crate) fn info(&self) -> Option<TrackInfo> {
        let source = self.source.as_ref()?;
        Some(TrackInfo {
            track: self.id.0,
            transport: self.transport.0,
            label: String::new(),
            kind: self.kind as i32,
            codec: self.codec as i32,
            packets: source.packets,
            bytes: source.bytes,
            lost: source.reception.lost(),
            jitter: source.reception.jitter(),
            keyframes: source.keyframes,
            keyframe_requests: source.keyframe_requests,
            nacked: source.nacked,
            recovered: source.recovered,
        })
    }

    fn starts_decoding(&self, payload: &[u8]) -> bool {
        match self.codec {
            Codec::Vp8 => vp8::is_keyframe_start(payload),
            Codec::Vp9 => vp9::is_keyframe_start(payload),
            Codec::H264 => h264::is_keyframe_start(payload),
            Codec::Av1 => av1::is_keyframe_start(payload),
            Codec::Opus | Codec::OtherAudio | Codec::OtherVideo | Codec::Unknown => true,
        }
    }
}

impl Source {
    pub(crate) fn new() -> Self {
        Self {
            reception: Reception::default(),
            nacks: NackGenerator::new(),
            ssrc: None,
            sequence_offset: 0,
            timestamp_offset: 0,
            last_timestamp: 0,
            last_arrival: Instant::default(),
            fir_count: 0,
            packets: 0,
            bytes: 0,
            keyframes: 0,
            keyframe_requests: 0,
            nacked: 0,
            recovered: 0,
        }
    }

    /// Begins a new SSRC at `sequence` and `timestamp`, to go on after `highest` as if it were the old one:
    /// one sequence number further, and as much later as the clock says.
    pub(crate) fn splice(&mut self, now: Instant, highest: u64, sequence: u64, timestamp: u32, clock_rate: u32) {
        let elapsed = u128::from(now.since(self.last_arrival).as_micros());
        let expected = self.last_timestamp.wrapping_add((elapsed * u128::from(clock_rate) / 1_000_000).max(1) as u32);
        self.sequence_offset = highest as i64 + 1 - sequence as i64;
        self.timestamp_offset = expected.wrapping_sub(timestamp);
        self.reception = Reception::default();
        self.nacks = NackGenerator::new();
    }
}
