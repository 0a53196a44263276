//! What a session is created with.

use serde_json::{Map, Value, json};

use super::body::{Fields, Invalid};
use crate::config::Generation;
use crate::openvidu::Hub;
use crate::openvidu::dto::SessionProperties;

const MEDIA_MODES: &[&str] = &["ROUTED", "RELAYED"];
const RECORDING_MODES: &[&str] = &["MANUAL", "ALWAYS"];
/// OpenVidu's, and AV1. The last is none of 2.20.
const CODECS: [&str; 6] = ["VP8", "VP9", "H264", "AV1", "NONE", "MEDIA_SERVER_PREFERRED"];
const OUTPUT_MODES: &[&str] = &["COMPOSED", "COMPOSED_QUICK_START", "INDIVIDUAL"];
const LAYOUTS: &[&str] =
    &["BEST_FIT", "PICTURE_IN_PICTURE", "VERTICAL_PRESENTATION", "HORIZONTAL_PRESENTATION", "CUSTOM"];
/// Smallest shared memory of a composed recording, in bytes (128 MiB).
const MIN_SHM: i64 = 134_217_728;
/// What it has by default (512 MiB).
const DEFAULT_SHM: i64 = 536_870_912;

/// Letters, digits, `-` and `_`.
pub(super) fn valid_session_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A session that was named by a client with the server's secret.
pub(super) fn for_secret(hub: &Hub, id: &str) -> SessionProperties {
    SessionProperties { recording_mode: "ALWAYS".into(), ..by_id(hub, id) }
}

/// A session with defaults and this id.
pub(super) fn by_id(hub: &Hub, id: &str) -> SessionProperties {
    SessionProperties { custom_session_id: id.to_owned(), ..defaults(hub) }
}

fn defaults(hub: &Hub) -> SessionProperties {
    SessionProperties {
        media_mode: "ROUTED".into(),
        recording_mode: "MANUAL".into(),
        custom_session_id: String::new(),
        forced_video_codec: hub.settings.forced_video_codec.clone(),
        allow_transcoding: hub.settings.allow_transcoding,
        default_recording: default_recording(),
        media_node: None,
    }
}

fn default_recording() -> Value {
    json!({
        "name": "", "hasAudio": true, "hasVideo": true, "outputMode": "COMPOSED", "recordingLayout": "BEST_FIT",
        "resolution": "1280x720", "frameRate": 25, "shmSize": DEFAULT_SHM,
    })
}

/// From the body of `POST /sessions`. Without a body the codec is the built-in default, not the configured one.
pub(super) fn session(hub: &Hub, body: Option<&Map<String, Value>>) -> Result<SessionProperties, Invalid> {
    let is_old = hub.settings.compat == Generation::V2_20;
    let mut properties = defaults(hub);
    let Some(body) = body else {
        properties.forced_video_codec = if is_old { "VP8" } else { "MEDIA_SERVER_PREFERRED" }.into();
        properties.allow_transcoding = false;
        return Ok(properties);
    };
    let fields = Fields(body);
    if let Some(mode) = fields.one_of("mediaMode", MEDIA_MODES)? {
        properties.media_mode = mode.to_owned();
    }
    if let Some(mode) = fields.one_of("recordingMode", RECORDING_MODES)? {
        properties.recording_mode = mode.to_owned();
    }
    if let Some(id) = fields.text("customSessionId")? {
        if !id.is_empty() && !valid_session_id(id) {
            return Err("Parameter 'customSessionId' must match [a-zA-Z0-9_-]+".into());
        }
        properties.custom_session_id = id.to_owned();
    }
    if let Some(codec) = fields.one_of("forcedVideoCodec", if is_old { &CODECS[..5] } else { &CODECS })? {
        properties.forced_video_codec = codec.to_owned();
    }
    if let Some(allow) = fields.flag("allowTranscoding")? {
        properties.allow_transcoding = allow;
    }
    if let Some(recording) = fields.object("defaultRecordingProperties")? {
        let checked = self::recording(recording, hub.settings.compat);
        properties.default_recording = checked.or_else(|refused| match refused {
            // 2.20 looks at these only when the recording starts.
            Refused::OutOfRange { object, .. } if is_old => Ok(object),
            Refused::OutOfRange { why, .. } | Refused::Wrong(why) => Err(why),
        })?;
    }
    if !is_old && let Some(node) = fields.object("mediaNode")? {
        let id = node.text("id")?.ok_or_else(|| "Parameter 'mediaNode' must have a string 'id'".to_owned())?;
        properties.media_node = Some(id.to_owned());
    }
    Ok(properties)
}

/// Why a recording cannot be made like this.
#[derive(Debug)]
pub(super) enum Refused {
    /// A type, a name or a character.
    Wrong(Invalid),
    /// All of it can be read, but a value is too small or too large, or nothing is left to record.
    OutOfRange { why: Invalid, object: Value },
}

impl From<Invalid> for Refused {
    fn from(why: Invalid) -> Self {
        Self::Wrong(why)
    }
}

/// The properties of a recording, as REST shows them.
pub(super) fn recording(fields: Fields<'_>, generation: Generation) -> Result<Value, Refused> {
    let is_old = generation == Generation::V2_20;
    let name = fields.text("name")?.unwrap_or_default();
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || (b == b'~' && !is_old)) {
        return Err(Refused::Wrong("Parameter 'name' must match [a-zA-Z0-9_-]+".into()));
    }
    if is_old && fields.get("frameRate").is_some_and(|rate| rate.is_f64()) {
        return Err(Refused::Wrong("Type error in parameter 'frameRate': an integer is expected".into()));
    }
    let audio = fields.flag("hasAudio")?.unwrap_or(true);
    let video = fields.flag("hasVideo")?.unwrap_or(true);
    let mode = fields.one_of("outputMode", OUTPUT_MODES)?.unwrap_or("COMPOSED");
    let layout = fields.one_of("recordingLayout", LAYOUTS)?.unwrap_or("BEST_FIT");
    let custom = fields.text("customLayout")?.unwrap_or_default();
    let resolution = fields.text("resolution")?.unwrap_or("1280x720");
    let rate = fields.integer("frameRate")?.unwrap_or(25);
    let memory = fields.integer("shmSize")?.unwrap_or(DEFAULT_SHM);
    let ignore = fields.flag("ignoreFailedStreams")?.unwrap_or(false);
    let node = match fields.get("mediaNode") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Object(node)) => Fields(node).text("id")?.map(str::to_owned),
        Some(_) => return Err(Refused::Wrong("Type error in parameter 'mediaNode'".into())),
    };
    let composed = mode != "INDIVIDUAL" && video;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.into(), value);
    put("name", name.into());
    put("hasAudio", audio.into());
    put("hasVideo", video.into());
    put("outputMode", mode.into());
    if composed {
        put("recordingLayout", layout.into());
        put("resolution", resolution.into());
        put("frameRate", rate.into());
        put("shmSize", memory.into());
        if layout == "CUSTOM" {
            put("customLayout", custom.into());
        }
    }
    if mode == "INDIVIDUAL" {
        put("ignoreFailedStreams", ignore.into());
    }
    if let Some(node) = node {
        put("mediaNode", node.into());
    }
    let object = Value::Object(object);
    let why = if !audio && !video {
        "Cannot record with both 'hasAudio' and 'hasVideo' set to false".to_owned()
    } else if composed && !valid_resolution(resolution) {
        "Parameter 'resolution' must be WIDTHxHEIGHT, each between 100 and 1999".to_owned()
    } else if composed && !(1..=120).contains(&rate) {
        "Parameter 'frameRate' must be between 1 and 120".to_owned()
    } else if composed && memory < MIN_SHM {
        format!("Parameter 'shmSize' must be at least {MIN_SHM}")
    } else {
        return Ok(object);
    };
    Err(Refused::OutOfRange { why, object })
}

fn valid_resolution(text: &str) -> bool {
    let side = |side: &str| {
        side.bytes().all(|b| b.is_ascii_digit())
            && !side.starts_with('0')
            && side.parse::<u32>().is_ok_and(|pixels| (100..=1999).contains(&pixels))
    };
    text.split_once('x').is_some_and(|(width, height)| side(width) && side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_are_bounded() {
        for good in ["1280x720", "100x100", "1999x1999"] {
            assert!(valid_resolution(good), "{good}");
        }
        for bad in ["1920x2000", "99x1080", "0720x480", "1280", "axb", "1280x", "+100x100"] {
            assert!(!valid_resolution(bad), "{bad}");
        }
    }

    #[test]
    fn recording_defaults_show_what_applies() {
        let of = |value: Value| {
            let object = value.as_object().unwrap().clone();
            recording(Fields(&object), Generation::V2_32)
        };
        assert_eq!(of(json!({})).unwrap(), default_recording());
        let individual = of(json!({"outputMode": "INDIVIDUAL", "frameRate": 999})).unwrap();
        let keys: Vec<_> = individual.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["name", "hasAudio", "hasVideo", "outputMode", "ignoreFailedStreams"]);
        assert!(of(json!({"recordingLayout": "CUSTOM"})).unwrap().get("customLayout").is_some());
        assert!(of(json!({"outputMode": "NONE"})).is_err());
        assert!(of(json!({"name": "no spaces"})).is_err());
        assert!(of(json!({"hasAudio": false, "hasVideo": false})).is_err());
    }
}
