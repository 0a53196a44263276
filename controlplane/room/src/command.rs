//! The data plane's commands, spelled out for streams and subscriptions.

use dataplane_protocol::{
    Command, CreateTransport, Publish, RemoteParameters, RemoveTransport, Retarget, SetRemote, Subscribe, Unpublish,
};

use crate::input::{IceCredentials, SubscribedTrack};
use crate::participant::{Stream, StreamTrack};
use crate::view::cname;

/// `near` is the transport of the publisher whose media will leave on this one.
pub(crate) fn create(
    transport: u64,
    ice: &IceCredentials,
    remote: Option<RemoteParameters>,
    label: &str,
    near: Option<u64>,
) -> Command {
    Command::CreateTransport(CreateTransport {
        transport,
        ice_ufrag: ice.ufrag.clone(),
        ice_pwd: ice.pwd.clone(),
        remote,
        label: label.to_owned(),
        near,
    })
}

pub(crate) fn set_remote(transport: u64, remote: RemoteParameters) -> Command {
    Command::SetRemote(SetRemote { transport, remote: Some(remote) })
}

pub(crate) fn remove(transport: u64) -> Command {
    Command::RemoveTransport(RemoveTransport { transport })
}

/// One command per layer. The SSRCs of layers are not in an SDP: their first packets name them by rid.
pub(crate) fn publish(track: &StreamTrack, transport: u64, label: &str) -> impl Iterator<Item = Command> {
    let spec = &track.spec;
    let (ssrc, rtx_ssrc) = if spec.rids.is_empty() { (spec.ssrc, spec.rtx_ssrc) } else { (None, None) };
    track.layers().enumerate().map(move |(layer, number)| {
        Command::Publish(Publish {
            track: number,
            transport,
            kind: spec.kind as i32,
            mid: spec.mid.clone(),
            codec: Some(spec.codec.clone()),
            ssrc,
            rtx_ssrc,
            extensions: spec.extensions.clone(),
            label: label.to_owned(),
            rid: spec.rids.get(layer).cloned().unwrap_or_default(),
            max_bitrate_bps: spec.max_bitrate_bps,
        })
    })
}

/// Where a subscription goes and what it is called there.
pub(crate) struct Destination<'a> {
    pub(crate) transport: u64,
    pub(crate) stream: &'a str,
    pub(crate) label: &'a str,
}

pub(crate) fn subscribe(
    subscription: u64,
    track: &StreamTrack,
    wanted: &SubscribedTrack,
    to: &Destination<'_>,
) -> Command {
    Command::Subscribe(Subscribe {
        subscription,
        transport: to.transport,
        track: track.lowest,
        higher: track.higher.clone(),
        mid: wanted.mid.clone(),
        codec: Some(wanted.codec.clone()),
        ssrc: wanted.ssrc,
        rtx_ssrc: wanted.rtx_ssrc,
        extensions: wanted.extensions.clone(),
        cname: cname(to.stream).to_owned(),
        label: to.label.to_owned(),
    })
}

pub(crate) fn retarget(subscription: u64, track: &StreamTrack) -> Command {
    Command::Retarget(Retarget { subscription, track: track.lowest, higher: track.higher.clone() })
}

/// Ends a stream: tracks first, so that subscribers get their BYE.
pub(crate) fn removal(stream: &Stream) -> impl Iterator<Item = Command> {
    let tracks = stream.tracks.iter().flat_map(StreamTrack::layers);
    tracks.map(|track| Command::Unpublish(Unpublish { track })).chain([remove(stream.transport)])
}
