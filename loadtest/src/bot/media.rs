//! From an SDP of both ends to a running publication or subscription.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::limit::Limit;
use super::link::{Link, Plan};
use super::publisher::Publisher;
use super::subscriber::{Live, Subscriber, Track};
use crate::media::{Codec, PacketStream, Sent, SentLog, StreamIds};
use crate::peer::{Identity, PeerError};
use crate::sdp::{self, Local, Media, Remote, SdpError};
use crate::stage::Stage;

/// Why media cannot be negotiated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error("{0}")]
    Sdp(#[from] SdpError),
    #[error("the server took none of the offered media")]
    Nothing,
}

/// Media that has ended by itself.
#[derive(Debug)]
pub(crate) struct MediaEnd {
    pub(crate) stream: String,
    /// Whether it was published, not received.
    pub(crate) is_own: bool,
    /// For counting.
    pub(crate) kind: String,
    pub(crate) reason: String,
}

/// The bot's half of a negotiation.
pub(crate) struct Pending {
    identity: Identity,
    sdp: String,
    is_client: bool,
    ssrcs: Vec<Ssrcs>,
    seed: u64,
}

/// SSRCs of one offered stream.
#[derive(Clone, Copy, Debug)]
struct Ssrcs {
    own: u32,
    rtx: u32,
}

impl Pending {
    /// An offer to send the stage's clips.
    pub(crate) fn to_publish(stage: &Stage, identity: &Identity, random: &mut SmallRng) -> Self {
        let clips = &stage.clips;
        let count = usize::from(clips.audio.is_some()) + clips.video.len();
        let ssrcs: Vec<_> = (0..count).map(|_| Ssrcs { own: random.random(), rtx: random.random() }).collect();
        let mut tracks = Vec::new();
        let mut rest = &ssrcs[..];
        if let (true, [first, others @ ..]) = (clips.audio.is_some(), rest) {
            tracks.push(sdp::Track { codec: Codec::Opus, ssrc: first.own, rtx_ssrc: None, rids: vec![] });
            rest = others;
        }
        if let (Some(video), [first, ..]) = (clips.video.first(), rest) {
            let rids = clips.video.iter().map(|layer| layer.rid.clone()).collect();
            tracks.push(sdp::Track { codec: video.clip.codec, ssrc: first.own, rtx_ssrc: Some(first.rtx), rids });
        }
        let (identity, seed) = with_credentials(identity, random);
        let setup = if stage.is_dtls_client { "actpass" } else { "passive" };
        let sdp = sdp::offer(&local(stage, &identity, &fingerprint_of(&identity), setup), &tracks);
        Self { identity, sdp, is_client: stage.is_dtls_client, ssrcs, seed }
    }

    /// An offer to receive.
    pub(crate) fn to_receive(
        stage: &Stage,
        identity: &Identity,
        random: &mut SmallRng,
        (audio, video): (bool, bool),
    ) -> Self {
        let (identity, seed) = with_credentials(identity, random);
        let setup = if stage.is_dtls_client { "actpass" } else { "passive" };
        let sdp = sdp::offer_to_receive(&local(stage, &identity, &fingerprint_of(&identity), setup), audio, video);
        Self { identity, sdp, is_client: stage.is_dtls_client, ssrcs: Vec::new(), seed }
    }

    /// An answer to what the server offers.
    pub(crate) fn to_answer(
        stage: &Stage,
        identity: &Identity,
        random: &mut SmallRng,
        offer: &str,
    ) -> Result<Self, MediaError> {
        let remote = sdp::parse(offer)?;
        let (identity, seed) = with_credentials(identity, random);
        let setup = if stage.is_dtls_client { "active" } else { "passive" };
        let sdp = sdp::answer(&local(stage, &identity, &fingerprint_of(&identity), setup), &remote);
        Ok(Self { identity, sdp, is_client: stage.is_dtls_client, ssrcs: Vec::new(), seed })
    }

    /// The bot's SDP.
    pub(crate) fn sdp(&self) -> &str {
        &self.sdp
    }

    /// Connects and sends until the task is dropped or the path is lost. With `began` the time since then counts as what
    /// publishing took.
    pub(crate) fn publish(
        self,
        stage: &Arc<Stage>,
        stream: &str,
        answer: &str,
        began: Option<Instant>,
        ends: mpsc::UnboundedSender<MediaEnd>,
    ) -> Result<JoinHandle<()>, MediaError> {
        let remote = sdp::parse(answer)?;
        let logs = self.logs(stage, &remote);
        if logs.is_empty() {
            return Err(MediaError::Nothing);
        }
        let (stage, stream) = (Arc::clone(stage), stream.to_owned());
        Ok(tokio::spawn(async move {
            let reason = match self.connect(&stage, &remote).await {
                Ok(link) => {
                    if let Some(began) = began {
                        stage.recorder.published_within(began.elapsed());
                    }
                    let epoch = stage.recorder.epoch;
                    stage.recorder.publishes(
                        &stream,
                        Sent { epoch, logs: logs.iter().map(|(_, log)| Arc::clone(log)).collect() },
                    );
                    let now = Instant::now();
                    let streams = logs.into_iter().enumerate().map(|(index, (ids, log))| {
                        let interval = log.clip.interval;
                        (PacketStream::new(ids, log, self.seed.rotate_left(index as u32), now), interval)
                    });
                    let streams = streams.collect();
                    let limit = stage.adapts.then(|| limit(&stage, now));
                    let recorder = Arc::clone(&stage.recorder);
                    Publisher { link, streams, recorder, limit, transport_sequence: 0 }.run().await;
                    "the server stopped answering connectivity checks".to_owned()
                }
                Err(error) => error.to_string(),
            };
            let kind = format!("publication without media: {reason}");
            let _ = ends.send(MediaEnd { stream, is_own: true, kind, reason });
        }))
    }

    /// Connects and receives until the task is dropped or the path is lost. `expects` says whether sound and picture
    /// are expected, and the room.
    pub(crate) fn subscribe(
        self,
        stage: &Arc<Stage>,
        stream: &str,
        server: &str,
        (expects_audio, expects_video, room): (bool, bool, usize),
        first_packet: Box<dyn FnOnce() + Send>,
        ends: mpsc::UnboundedSender<MediaEnd>,
    ) -> Result<JoinHandle<()>, MediaError> {
        let remote = sdp::parse(server)?;
        let tracks: Vec<_> = remote.media.iter().filter(|media| !media.rejected).filter_map(track).collect();
        if tracks.is_empty() {
            return Err(MediaError::Nothing);
        }
        let live = Arc::new(Live { room, expects_audio, expects_video, ..Live::default() });
        stage.recorder.subscribed(Arc::clone(&live));
        let (stage, stream) = (Arc::clone(stage), stream.to_owned());
        let ended = EndsWith(Arc::clone(&live));
        // Announced for every m-line alike (RFC 8843 9).
        let transport_cc = remote.media.iter().find_map(|media| media.extension(sdp::TRANSPORT_CC));
        let transport_cc = transport_cc.filter(|_| stage.transport_cc);
        Ok(tokio::spawn(async move {
            let _ended = ended;
            let reason = match self.connect(&stage, &remote).await {
                Ok(link) => {
                    let subscriber = Subscriber {
                        link,
                        tracks,
                        transport_cc,
                        verify: stage.verify,
                        live,
                        recorder: Arc::clone(&stage.recorder),
                        stream: stream.clone(),
                        first_packet: Some(first_packet),
                    };
                    subscriber.run().await;
                    "the server stopped answering connectivity checks".to_owned()
                }
                Err(error) => error.to_string(),
            };
            let kind = format!("subscription without media: {reason}");
            let _ = ends.send(MediaEnd { stream, is_own: false, kind, reason });
        }))
    }

    async fn connect(&self, stage: &Stage, remote: &Remote) -> Result<Link, PeerError> {
        let address = remote.address(stage.is_local).map_err(|error| PeerError::Sdp(error.to_string()))?;
        // In an answer the server has decided; its offer leaves it to the bot.
        let is_client = match remote.setup.as_str() {
            "active" => false,
            "passive" => true,
            _ => self.is_client,
        };
        Link::connect(Plan {
            identity: &self.identity,
            remote,
            address,
            is_client,
            profiles: stage.profiles.clone(),
            network: Arc::clone(&stage.network),
            seed: self.seed,
        })
        .await
    }

    /// What the answer takes of the offered streams: how each is labelled, and its clip.
    fn logs(&self, stage: &Stage, remote: &Remote) -> Vec<(StreamIds, Arc<SentLog>)> {
        let clips = &stage.clips;
        let audio = clips.audio.iter().map(|clip| (None, clip));
        let layers = clips.video.iter().map(|layer| ((clips.video.len() > 1).then_some(&layer.rid), &layer.clip));
        let offered = audio.chain(layers).zip(&self.ssrcs);
        let taken = offered.filter_map(|((rid, clip), ssrcs)| {
            let video = clip.codec != Codec::Opus;
            let media = remote.media.iter().find(|media| media.video == video && !media.rejected)?;
            Some((
                labels(media, rid.map(String::as_str), *ssrcs, stage.transport_cc),
                Arc::new(SentLog::new(Arc::clone(clip))),
            ))
        });
        taken.collect()
    }
}

/// Says that a subscription has ended, however its task ends.
struct EndsWith(Arc<Live>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.ended.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn labels(media: &Media, rid: Option<&str>, ssrcs: Ssrcs, transport_cc: bool) -> StreamIds {
    let label = |uri: &str, value: &str| {
        media.extension(uri).map(|id| (id, Bytes::copy_from_slice(value.as_bytes()))).filter(|_| !value.is_empty())
    };
    let rid = rid.unwrap_or_default();
    let mid = label(sdp::MID, &media.mid);
    // Only what both sides say is used.
    let transport_cc = media.extension(sdp::TRANSPORT_CC).filter(|_| transport_cc);
    StreamIds {
        ssrc: ssrcs.own,
        payload_type: media.payload_type,
        rtx: media.rtx_payload_type.map(|payload_type| (ssrcs.rtx, payload_type)),
        extensions: mid.iter().cloned().chain(label(sdp::RID, rid)).collect(),
        rtx_extensions: mid.iter().cloned().chain(label(sdp::REPAIRED_RID, rid)).collect(),
        transport_cc,
    }
}

fn track(media: &Media) -> Option<Track> {
    let codec = media.known_codec()?;
    Some(Track { codec, payload_type: media.payload_type, rtx_payload_type: media.rtx_payload_type })
}

/// The same certificate with credentials of a peer connection of its own.
fn with_credentials(identity: &Identity, random: &mut SmallRng) -> (Identity, u64) {
    let mut hexadecimal = |digits: usize| (0..digits).map(|_| format!("{:x}", random.random::<u8>() & 15)).collect();
    let own: Identity = Identity { ufrag: hexadecimal(8), password: hexadecimal(24), ..identity.clone() };
    (own, random.random())
}

fn fingerprint_of(identity: &Identity) -> String {
    super::link::fingerprint(identity.der())
}

fn local<'a>(stage: &Stage, identity: &'a Identity, fingerprint: &'a str, setup: &'static str) -> Local<'a> {
    let transport_cc = stage.transport_cc;
    Local { ufrag: &identity.ufrag, password: &identity.password, fingerprint, setup, transport_cc }
}

/// What a publisher of the stage's clips sends, and may have to send less of.
fn limit(stage: &Stage, now: Instant) -> Limit {
    let sound = stage.clips.audio.as_ref().map_or(0.0, |clip| clip.bit_rate());
    Limit::new(sound, stage.clips.video.iter().map(|layer| layer.clip.bit_rate()).collect(), now)
}
