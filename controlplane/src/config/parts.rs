//! Keys that depend on each other, or that take more than one look.

use super::values::{self, Values};
use super::{Certificate, DEV_SECRET, ForcedVideoCodec, Generation, Streams};

pub(super) fn secret(values: &mut Values, dev: bool) -> String {
    let secret = values.given("OPENVIDU_SECRET").or_else(|| dev.then_some(DEV_SECRET)).unwrap_or_default().to_owned();
    let safe = secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if secret.is_empty() {
        let message =
            "is mandatory: set the password that clients of the REST API log in with, of letters, digits, - and _";
        values.problem("OPENVIDU_SECRET", message.to_owned());
    } else if !safe {
        values.problem("OPENVIDU_SECRET", "must consist of letters, digits, - and _".to_owned());
    }
    secret
}

pub(super) fn certificate(values: &mut Values, tls: bool) -> Certificate {
    let files = ["MILLRACE_CERTIFICATE_FILE", "MILLRACE_CERTIFICATE_KEY_FILE"];
    let named = files.iter().any(|key| values.given(key).is_some());
    let kind = match values.given("CERTIFICATE_TYPE") {
        Some(kind) => kind.to_owned(),
        None => if named { "owncert" } else { "selfsigned" }.to_owned(),
    };
    match kind.as_str() {
        "selfsigned" => Certificate::SelfSigned,
        "owncert" => {
            Certificate::Files { certificate: values.text(files[0]).into(), key: values.text(files[1]).into() }
        }
        "letsencrypt" if !tls => Certificate::SelfSigned,
        "letsencrypt" => {
            let message = "is not available here: end TLS in a proxy (MILLRACE_TLS=false), or use owncert";
            values.problem("CERTIFICATE_TYPE", message.to_owned());
            Certificate::SelfSigned
        }
        _ => {
            values.problem("CERTIFICATE_TYPE", "must be selfsigned or owncert".to_owned());
            Certificate::SelfSigned
        }
    }
}

/// OpenVidu's compose files pass `auto-ipv4` and `auto-ipv6`, which mean the public address.
pub(super) fn coturn_host(values: &mut Values, public: &str) -> String {
    match values.given("COTURN_IP") {
        None | Some("auto-ipv4" | "auto-ipv6") => public.to_owned(),
        Some(_) => values.parsed("COTURN_IP", "a host name, an IP address, auto-ipv4 or auto-ipv6", values::host),
    }
}

pub(super) fn generation(values: &mut Values) -> Generation {
    values.parsed("OPENVIDU_COMPAT", "2.20 or 2.32", |text| match text {
        "2.20" => Some(Generation::V2_20),
        "2.32" => Some(Generation::V2_32),
        _ => None,
    })
}

pub(super) fn streams(values: &mut Values, compat: Generation) -> Streams {
    let is_old_default = compat == Generation::V2_20 && values.given("OPENVIDU_STREAMS_FORCED_VIDEO_CODEC").is_none();
    let mut streams = given_streams(values);
    if is_old_default {
        streams.forced_video_codec = ForcedVideoCodec::Vp8;
    }
    streams
}

fn given_streams(values: &mut Values) -> Streams {
    Streams {
        max_receive_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH"),
        min_receive_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH"),
        max_send_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH"),
        min_send_kbps: values.number("OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH"),
        forced_video_codec: values.parsed(
            "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
            "MEDIA_SERVER_PREFERRED, NONE, VP8, VP9, H264 or AV1",
            ForcedVideoCodec::from_name,
        ),
        allow_transcoding: values.flag("OPENVIDU_STREAMS_ALLOW_TRANSCODING"),
    }
}
