//! The JSON objects of REST and signalling: exact members, explicit nulls, stable order.

use std::sync::Arc;

use controlplane_room::{Invite, Notice, Participant, Room, Stream, StreamDescription};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::compat::{metadata, reason, role_name, token_url};
use super::rpc::notification;

/// What a session was created with; the room knows none of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SessionProperties {
    pub(super) media_mode: String,
    pub(super) recording_mode: String,
    pub(super) custom_session_id: String,
    pub(super) forced_video_codec: String,
    pub(super) allow_transcoding: bool,
    /// The object as REST shows it, defaults filled in.
    pub(super) default_recording: Value,
    pub(super) media_node: Option<String>,
}

/// What a connection was created with that the room does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ConnectionProperties {
    /// Null or an object with the given keys only.
    pub(super) kurento_options: Value,
    pub(super) ice_servers: Vec<IceServer>,
}

/// One entry of `customIceServers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct IceServer {
    pub(super) url: String,
    pub(super) username: Option<String>,
    pub(super) credential: Option<String>,
}

impl IceServer {
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("url".into(), self.url.clone().into());
        if let Some(username) = &self.username {
            object.insert("username".into(), username.clone().into());
        }
        if let Some(credential) = &self.credential {
            object.insert("credential".into(), credential.clone().into());
        }
        Value::Object(object)
    }
}

/// A connection's own properties by its id.
pub(super) type PropertiesOf<'a> = &'a dyn Fn(&str) -> Arc<ConnectionProperties>;

/// A list as REST shows it.
pub(super) fn list(content: Vec<Value>) -> Value {
    json!({"numberOfElements": content.len(), "content": content})
}

/// A Session object.
pub(super) fn session(id: &str, created_at: u64, properties: &SessionProperties, connections: Vec<Value>) -> Value {
    let mut object = json!({
        "id": id,
        "object": "session",
        "sessionId": id,
        "createdAt": created_at,
        "recording": false,
        "broadcasting": false,
        "mediaMode": properties.media_mode,
        "recordingMode": properties.recording_mode,
        "defaultRecordingProperties": properties.default_recording,
        "customSessionId": properties.custom_session_id,
        "forcedVideoCodec": properties.forced_video_codec,
        "allowTranscoding": properties.allow_transcoding,
        "connections": list(connections),
    });
    if let (Some(node), Some(object)) = (&properties.media_node, object.as_object_mut()) {
        object.insert("mediaNode".into(), json!({"id": node}));
    }
    object
}

/// The Connections of a session: active ones first, then pending ones, each in order of creation.
pub(super) fn connections(room: &Room, socket_url: &str, pending: bool, properties: PropertiesOf<'_>) -> Vec<Value> {
    let active = room.visible();
    let active = active.map(|p| active_connection(room.id(), socket_url, p, &properties(&p.id)));
    let invites = room.invites().iter().filter(|_| pending);
    let invites = invites.map(|i| pending_connection(room.id(), socket_url, i, &properties(&i.participant)));
    active.chain(invites).collect()
}

/// A Connection that has not been used yet.
pub(super) fn pending_connection(
    session: &str,
    socket_url: &str,
    invite: &Invite,
    more: &ConnectionProperties,
) -> Value {
    json!({
        "id": invite.participant,
        "object": "connection",
        "status": "pending",
        "connectionId": invite.participant,
        "sessionId": session,
        "createdAt": invite.created_at,
        "activeAt": null,
        "location": null,
        "ip": null,
        "platform": null,
        "token": token_url(socket_url, session, &invite.token),
        "type": "WEBRTC",
        "record": invite.grant.record,
        "role": role_name(invite.grant.role),
        "kurentoOptions": more.kurento_options,
        "customIceServers": ice_servers(&more.ice_servers),
        "rtspUri": null,
        "adaptativeBitrate": null,
        "onlyPlayWithSubscribers": null,
        "networkCache": null,
        "serverData": invite.grant.server_data,
        "clientData": null,
        "publishers": null,
        "subscribers": null,
    })
}

/// A Connection that is in use.
pub(super) fn active_connection(
    session: &str,
    socket_url: &str,
    participant: &Participant,
    more: &ConnectionProperties,
) -> Value {
    let publishers: Vec<Value> = participant.stream.iter().map(publisher).collect();
    let subscriptions = participant.subscriptions.iter();
    let subscribers: Vec<Value> =
        subscriptions.map(|s| json!({"createdAt": s.created_at, "streamId": s.stream})).collect();
    json!({
        "id": participant.id,
        "object": "connection",
        "status": "active",
        "connectionId": participant.id,
        "sessionId": session,
        "createdAt": participant.created_at,
        "activeAt": participant.joined_at,
        "location": "unknown",
        "ip": participant.origin.address,
        "platform": participant.origin.platform,
        "token": participant.token.as_ref().map(|token| token_url(socket_url, session, token)),
        "type": "WEBRTC",
        "record": participant.record,
        "role": role_name(participant.role),
        "kurentoOptions": more.kurento_options,
        "customIceServers": ice_servers(&more.ice_servers),
        "rtspUri": null,
        "adaptativeBitrate": null,
        "onlyPlayWithSubscribers": null,
        "networkCache": null,
        "serverData": participant.server_data,
        "clientData": participant.client_data,
        "publishers": publishers,
        "subscribers": subscribers,
    })
}

fn publisher(stream: &Stream) -> Value {
    json!({
        "createdAt": stream.created_at,
        "streamId": stream.id,
        "mediaOptions": media_options(&stream.description),
    })
}

fn media_options(description: &StreamDescription) -> Value {
    let mut options = Map::new();
    options.insert("hasAudio".into(), description.has_audio.into());
    if description.has_audio {
        options.insert("audioActive".into(), json!(description.audio_active));
    }
    options.insert("hasVideo".into(), description.has_video.into());
    if description.has_video {
        options.insert("videoActive".into(), json!(description.video_active));
        options.insert("typeOfVideo".into(), json!(description.type_of_video));
        options.insert("frameRate".into(), json!(description.frame_rate));
        options.insert("videoDimensions".into(), json!(description.video_dimensions));
    }
    options.insert("filter".into(), json!({}));
    Value::Object(options)
}

/// `customIceServers` of a Connection or of `joinRoom`.
pub(super) fn ice_servers(servers: &[IceServer]) -> Value {
    servers.iter().map(IceServer::json).collect()
}

/// What everybody's `joinRoom` result says of the server.
pub(super) struct JoinFacts<'a> {
    pub(super) version: &'a str,
    pub(super) media_server: &'a str,
    pub(super) video_simulcast: bool,
    pub(super) coturn_ip: &'a str,
    pub(super) coturn_port: u16,
    pub(super) turn_username: &'a str,
    pub(super) turn_credential: &'a str,
    pub(super) ice_servers: Value,
}

/// The `joinRoom` result, without the injected `sessionId`.
pub(super) fn join_result(room: &Room, me: &Participant, facts: JoinFacts<'_>) -> Map<String, Value> {
    let others: Vec<Value> = room.visible().filter(|p| p.id != me.id).map(participant_entry).collect();
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| {
        result.insert(name.into(), value);
    };
    put("id", me.id.clone().into());
    if me.hidden.is_none() {
        put("finalUserId", me.origin.user.clone().into());
    }
    put("createdAt", me.joined_at.into());
    put("metadata", metadata(&me.client_data, &me.server_data).into());
    put("value", others.into());
    put("session", room.id().into());
    put("version", facts.version.into());
    put("mediaServer", facts.media_server.into());
    put("videoSimulcast", facts.video_simulcast.into());
    put("record", me.record.into());
    put("role", role_name(me.role).into());
    put("coturnIp", facts.coturn_ip.into());
    put("coturnPort", facts.coturn_port.into());
    put("turnUsername", facts.turn_username.into());
    put("turnCredential", facts.turn_credential.into());
    put("customIceServers", facts.ice_servers);
    result
}

fn participant_entry(participant: &Participant) -> Value {
    let mut entry = joined(participant);
    if let (Some(stream), Some(entry)) = (&participant.stream, entry.as_object_mut()) {
        entry.insert("streams".into(), json!([stream_entry(stream)]));
    }
    entry
}

fn joined(participant: &Participant) -> Value {
    json!({
        "id": participant.id,
        "createdAt": participant.joined_at,
        "metadata": metadata(&participant.client_data, &participant.server_data),
    })
}

fn stream_entry(stream: &Stream) -> Value {
    let description = &stream.description;
    let mut entry = Map::new();
    entry.insert("id".into(), stream.id.clone().into());
    entry.insert("createdAt".into(), stream.created_at.into());
    entry.insert("hasAudio".into(), description.has_audio.into());
    entry.insert("hasVideo".into(), description.has_video.into());
    let mut optional = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            entry.insert(name.into(), value);
        }
    };
    optional("audioActive", description.audio_active.map(Value::from));
    optional("videoActive", description.video_active.map(Value::from));
    optional("typeOfVideo", description.type_of_video.clone().map(Value::from));
    optional("frameRate", description.frame_rate.map(Value::from));
    optional("videoDimensions", description.video_dimensions.clone().map(Value::from));
    entry.insert("filter".into(), json!({}));
    Value::Object(entry)
}

/// A notification as its frame; `None` when who it speaks of is no longer there to be described.
pub(super) fn notice(room: &Room, notice: &Notice) -> Option<String> {
    let (method, params) = match notice {
        Notice::Joined { participant } => ("participantJoined", joined(room.participant(participant)?)),
        Notice::Left { participant, reason: why } => {
            ("participantLeft", json!({"connectionId": participant, "reason": reason(*why)}))
        }
        Notice::Evicted { participant, reason: why } => {
            ("participantEvicted", json!({"connectionId": participant, "reason": reason(*why)}))
        }
        Notice::Published { participant } => {
            let stream = room.participant(participant)?.stream.as_ref()?;
            ("participantPublished", json!({"id": participant, "streams": [stream_entry(stream)]}))
        }
        Notice::Unpublished { participant, reason: why } => {
            ("participantUnpublished", json!({"connectionId": participant, "reason": reason(*why)}))
        }
        Notice::StreamChanged { participant, stream, property, value, reason } => {
            let property = match property {
                controlplane_room::StreamProperty::AudioActive(_) => "audioActive",
                controlplane_room::StreamProperty::VideoActive(_) => "videoActive",
                controlplane_room::StreamProperty::VideoDimensions(_) => "videoDimensions",
                controlplane_room::StreamProperty::Other(name) => name,
            };
            let params = json!({
                "connectionId": participant, "streamId": stream, "property": property, "newValue": value, "reason": reason,
            });
            ("streamPropertyChanged", params)
        }
        Notice::RoleChanged { role } => {
            ("connectionPropertyChanged", json!({"property": "role", "newValue": role_name(*role)}))
        }
        Notice::RecordChanged { record } => {
            ("connectionPropertyChanged", json!({"property": "record", "newValue": record.to_string()}))
        }
        Notice::Signal { from, kind, data } => {
            let mut params = Map::new();
            for (name, value) in [("data", data), ("type", kind), ("from", from)] {
                if let Some(value) = value {
                    params.insert(name.into(), value.clone().into());
                }
            }
            ("sendMessage", Value::Object(params))
        }
    };
    Some(notification(method, params))
}
