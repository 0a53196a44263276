//! Between SDP and the room: what was negotiated, as the room asks the data plane for it, and how SDP errors are told.

use controlplane_room::{IceCredentials, PublishedTrack, SubscribedTrack};
use dataplane_protocol::MediaKind;

use super::Seated;
use crate::openvidu::compat::{self, code};
use crate::openvidu::hub::Hub;
use crate::openvidu::rpc::{Failure, Shape};
use crate::sdp::{LocalTransport, PublishedMedia, SdpError, SubscribedMedia};

impl Seated<'_> {
    /// A refused SDP: one that cannot be read is unexpected, codecs that do not meet are error 800, and what cannot be
    /// answered is error 302 with `what`. `shape` is that of the method's errors.
    pub(super) fn sdp_failure(&self, error: &SdpError, shape: Shape, what: &str) -> Failure {
        tracing::debug!(session = self.room.id, connection = self.me, %error, "SDP refused");
        match error {
            error if error.is_codec_mismatch() => {
                Failure { shape, code: code::FORCED_CODEC, message: error.to_string() }
            }
            SdpError::NoMedia { .. } | SdpError::NotBundled { .. } | SdpError::AnswerMismatch(_) => {
                Failure::answered(code::SDP, format!("{what}: {error}"))
            }
            _ => Failure::unexpected(format!("Invalid SDP: {error}")),
        }
    }
}

/// The data plane's end of a new transport; nothing while there is no data plane.
pub(super) fn local(hub: &Hub) -> Option<(IceCredentials, LocalTransport)> {
    let ice = compat::ice_credentials();
    let local = hub.media.local(&ice)?;
    Some((ice, local))
}

/// `max_video_kbps`: most video that the client should send; 0: no bound.
pub(super) fn published_track(media: &PublishedMedia, max_video_kbps: u32) -> PublishedTrack {
    let max_kbps = if media.kind == MediaKind::Video { max_video_kbps } else { 0 };
    PublishedTrack {
        kind: media.kind,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        ssrc: media.ssrc,
        rtx_ssrc: media.rtx_ssrc,
        extensions: media.extensions.clone(),
        rids: media.rids.clone(),
        max_bitrate_bps: u64::from(max_kbps) * 1000,
    }
}

pub(super) fn subscribed_track(media: &SubscribedMedia) -> SubscribedTrack {
    SubscribedTrack {
        source: media.source,
        mid: media.mid.clone(),
        codec: media.codec.clone(),
        ssrc: media.ssrc,
        rtx_ssrc: media.rtx_ssrc,
        extensions: media.extensions.clone(),
    }
}
