//! OpenVidu's own words: ids, token URLs, reasons, error codes, TURN credentials.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use controlplane_room::{EndReason, Ids, Role, StreamDescription};
use rand::Rng;

/// Version that is answered to clients that do not tell theirs, and by REST.
pub const SERVER_VERSION: &str = "2.32.1";
/// The clients that tell no version are 2.20.
pub const SILENT_CLIENT_VERSION: &str = "2.20.0";
/// How long TURN credentials are good for.
const TURN_LIFETIME_S: u64 = 86_400;
/// Name of the HTTP session cookie.
pub const COOKIE: &str = "OVJSESSIONID";
/// Connection id of a composed recording's page.
pub const RECORDER: &str = "RECORDER";
/// Connection id of the speech-to-text helper.
pub const SPEECH_TO_TEXT: &str = "SPEECH_TO_TEXT";

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALNUM: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8] = b"0123456789abcdefghijklmnopqrstuv";
const HEX: &[u8] = b"0123456789ABCDEF";

/// Error codes of OpenVidu's exceptions that this server answers with.
pub mod code {
    #![allow(missing_docs, reason = "the names are OpenVidu's own")]
    pub const GENERIC: i64 = 999;
    pub const WRONG_EDITION: i64 = 997;
    pub const TRANSPORT: i64 = 803;
    pub const FORCED_CODEC: i64 = 800;
    pub const SIGNAL_TO: i64 = 601;
    pub const SIGNAL_FORMAT: i64 = 600;
    pub const FILTER_NOT_APPLIED: i64 = 406;
    pub const TOKEN: i64 = 404;
    pub const UNAUTHORIZED: i64 = 401;
    pub const ENDPOINT: i64 = 303;
    pub const SDP: i64 = 302;
    pub const ROOM_CANNOT_BE_CREATED: i64 = 204;
    pub const ROOM_CLOSED: i64 = 203;
    pub const ROOM_NOT_FOUND: i64 = 202;
    pub const ALREADY_STREAMING: i64 = 106;
    pub const NOT_STREAMING: i64 = 105;
    pub const USER_NOT_FOUND: i64 = 102;
    pub const RECONNECTION: i64 = 40007;
}

fn pick(alphabet: &[u8], count: usize) -> String {
    let mut rng = rand::rng();
    (0..count).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

fn letter_and(count: usize) -> String {
    pick(UPPER, 1) + &pick(ALNUM, count)
}

/// A session id: `ses_` and ten characters.
pub fn session_id() -> String {
    format!("ses_{}", letter_and(9))
}

/// An RPC session id: 26 characters of base 32, 130 random bits. It is a secret: it authorises `connect`.
pub fn rpc_session_id() -> String {
    pick(BASE32, 26)
}

/// An HTTP session id, as the cookie carries it.
pub fn cookie_value() -> String {
    pick(HEX, 32)
}

/// Ids drawn from the operating system's randomness, in OpenVidu's forms.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn participant(&mut self) -> String {
        format!("con_{}", letter_and(9))
    }

    fn token(&mut self) -> String {
        format!("tok_{}", letter_and(15))
    }

    fn stream(&mut self, participant: &str, description: &StreamDescription) -> String {
        let source = match description.type_of_video.as_deref() {
            _ if !description.has_video => "MIC",
            Some("SCREEN") => "SCR",
            Some("CUSTOM") => "CUS",
            Some("IPCAM") => "IPC",
            _ => "CAM",
        };
        format!("str_{source}_{}_{participant}", letter_and(3))
    }

    fn number(&mut self) -> u64 {
        rand::rng().random_range(1..=u64::MAX)
    }
}

/// ICE credentials: 8 and 32 characters of the ice-char alphabet (48 and 190 bits).
pub fn ice_credentials() -> controlplane_room::IceCredentials {
    controlplane_room::IceCredentials { ufrag: pick(ALNUM, 8), pwd: pick(ALNUM, 32) }
}

/// An SSRC to send with.
pub fn ssrc() -> u32 {
    rand::rng().random_range(1..=u32::MAX)
}

/// The token as applications see it.
pub fn token_url(socket_url: &str, session: &str, token: &str) -> String {
    format!("{socket_url}?sessionId={session}&token={token}")
}

/// One query value of a token URL.
pub fn token_param<'a>(url: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The id of the connection that publishes a stream: from the last `con_` on, or, for an IP camera, from `ipc_`.
pub fn stream_owner(stream: &str) -> Option<&str> {
    if stream.starts_with("str_IPC_") && stream.contains("ipc_") {
        return stream.find("ipc_").map(|at| &stream[at..]);
    }
    stream.rfind("con_").map(|at| &stream[at..])
}

/// The session description in a parameter: iOS clients send some under two lines of their own, which Kurento skips.
pub fn session_description(text: &str) -> &str {
    if text.starts_with("v=") {
        return text;
    }
    text.find("\nv=").map_or(text, |at| &text[at + 1..])
}

/// Client and server data as one string.
pub fn metadata(client: &str, server: &str) -> String {
    match (client.is_empty(), server.is_empty()) {
        (false, false) => format!("{client}%/%{server}"),
        (true, _) => server.to_owned(),
        (false, true) => client.to_owned(),
    }
}

/// The name of a reason.
pub fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Left => "disconnect",
        EndReason::NetworkLost => "networkDisconnect",
        EndReason::ExpelledByModerator => "forceDisconnectByUser",
        EndReason::RemovedByApplication => "forceDisconnectByServer",
        EndReason::RoomClosedByApplication | EndReason::Unused => "sessionClosedByServer",
        EndReason::ServerStopping => "openviduServerStopped",
        EndReason::Unpublished => "unpublish",
        EndReason::Unsubscribed => "unsubscribe",
        EndReason::UnpublishedByModerator => "forceUnpublishByUser",
        EndReason::UnpublishedByApplication => "forceUnpublishByServer",
        EndReason::MediaRestarted => "mediaServerReconnect",
        EndReason::LastParticipantLeft => "lastParticipantLeft",
    }
}

/// The name of a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Subscriber => "SUBSCRIBER",
        Role::Publisher => "PUBLISHER",
        Role::Moderator => "MODERATOR",
    }
}

/// The role of a name.
pub fn role(name: &str) -> Option<Role> {
    [Role::Subscriber, Role::Publisher, Role::Moderator].into_iter().find(|role| role_name(*role) == name)
}

/// Time-limited TURN credentials: `<unix time + 24 h>:<8 characters>` and the base 64 of its HMAC-SHA1.
pub fn turn_credentials(secret: &str, now_ms: u64) -> (String, String) {
    let username = format!("{}:{}", now_ms / 1000 + TURN_LIFETIME_S, pick(ALNUM, 8));
    let credential = turn_credential(secret, &username);
    (username, credential)
}

/// The credential that belongs to a TURN user name.
pub fn turn_credential(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    BASE64.encode(hmac::sign(&key, username.as_bytes()))
}

/// An ISO 8601 time, as framework errors carry it.
pub fn iso_time(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Civil date from a day count, with the year beginning in March so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}+00:00", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_by_their_query() {
        let url = token_url("wss://ov.example.com:4443", "room", "tok_A1");
        assert_eq!(url, "wss://ov.example.com:4443?sessionId=room&token=tok_A1");
        assert_eq!(token_param(&url, "token"), Some("tok_A1"));
        assert_eq!(token_param("ws://other/path?token=tok_A1&sessionId=room", "sessionId"), Some("room"));
        assert_eq!(token_param("tok_A1", "token"), None);
    }

    #[test]
    fn owners_are_read_from_stream_ids() {
        assert_eq!(stream_owner("str_CAM_Hx7a_con_PqL0sNd8Yw"), Some("con_PqL0sNd8Yw"));
        assert_eq!(stream_owner("str_IPC_Bd1k_ipc_IPCAM_rtsp_A8MJ_host"), Some("ipc_IPCAM_rtsp_A8MJ_host"));
        assert_eq!(stream_owner("nonsense"), None);
    }

    #[test]
    fn session_descriptions_begin_with_their_version() {
        let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nv=9\r\n";
        assert_eq!(session_description(sdp), sdp);
        assert_eq!(session_description(&format!("RTCSessionDescription:\noffer\n{sdp}")), sdp);
        assert_eq!(session_description("av=0\r\no=-"), "av=0\r\no=-");
        assert_eq!(session_description(""), "");
    }

    #[test]
    fn metadata_joins_what_is_there() {
        assert_eq!(metadata("C", "S"), "C%/%S");
        assert_eq!(metadata("C", ""), "C");
        assert_eq!(metadata("", "S"), "S");
        assert_eq!(metadata("", ""), "");
    }

    #[test]
    fn times_are_iso_8601() {
        assert_eq!(iso_time(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(iso_time(951_782_400_123), "2000-02-29T00:00:00.123+00:00");
        assert_eq!(iso_time(1_767_225_599_999), "2025-12-31T23:59:59.999+00:00");
    }

    #[test]
    fn turn_credentials_are_hmac_sha1() {
        // RFC 2202, test case 2.
        let expected = BASE64.encode([
            0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74, 0x16, 0xd5, 0xf1, 0x84, 0xdf, 0x9c, 0x25, 0x9a,
            0x7c, 0x79,
        ]);
        assert_eq!(turn_credential("Jefe", "what do ya want for nothing?"), expected);
        let (username, _) = turn_credentials("s", 1_000_000);
        assert!(username.starts_with("87400:") && username.len() == "87400:".len() + 8);
    }

    #[test]
    fn ids_have_openvidu_forms() {
        let mut ids = RandomIds;
        let is = |id: &str, prefix: &str, len: usize| id.starts_with(prefix) && id.len() == prefix.len() + len;
        assert!(is(&session_id(), "ses_", 10) && is(&ids.participant(), "con_", 10) && is(&ids.token(), "tok_", 16));
        let mic = StreamDescription { has_audio: true, ..StreamDescription::default() };
        assert!(ids.stream("con_X", &mic).starts_with("str_MIC_"));
        let screen = StreamDescription { has_video: true, type_of_video: Some("SCREEN".into()), ..mic };
        assert!(
            ids.stream("con_X", &screen).starts_with("str_SCR_") && ids.stream("con_X", &screen).ends_with("_con_X")
        );
        assert!(rpc_session_id().len() == 26 && cookie_value().len() == 32);
    }
}
