//! Janus from Debian's package, its videoroom over the HTTP API: one room per publisher. `bench/peers/janus.sh`
//! installs it and prepares what is preloaded.
//!
//! Tuned: libsrtp2 built on OpenSSL, and as many event loops as the plan has workers. As packaged: libsrtp2 on NSS, and
//! a thread for each peer connection.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::drivers::http::Http;
use crate::drivers::{
    AUDIO_PAYLOAD_TYPE, ClientEnd, Counters, Driver, Failure, Media, Plan, Process, Server, ServerEnd,
    VIDEO_PAYLOAD_TYPE, peers_folder,
};

const PROGRAM: &str = "/usr/bin/janus";
const PATIENCE: Duration = Duration::from_secs(20);
/// The feed of each room's one publisher.
const FEED: u32 = 1;
/// Everything that is not needed, so that it neither listens nor runs threads.
const UNUSED_PLUGINS: [&str; 9] =
    ["audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "streaming", "textroom", "videocall"];

/// Janus in one of two builds.
#[derive(Clone, Copy, Debug)]
pub struct Janus {
    is_tuned: bool,
}

struct Running {
    process: Process,
    folder: PathBuf,
    requests: Http,
    events: Http,
    /// `/janus/SESSION`.
    session: String,
    version: String,
    transactions: u64,
    rooms: u64,
}

impl Janus {
    /// The best that its documentation and its libraries offer.
    pub fn tuned() -> Self {
        Self { is_tuned: true }
    }

    /// As Debian ships it.
    pub fn as_packaged() -> Self {
        Self { is_tuned: false }
    }

    fn preloads(self) -> Result<String, Failure> {
        let folder = peers_folder()?;
        let mut wanted = vec!["loopback.so"];
        if self.is_tuned {
            wanted.push("libsrtp2.so.1");
        }
        let paths: Vec<_> = wanted.iter().map(|name| folder.join(name)).collect();
        let missing = paths.iter().find(|path| !path.exists()).map(|path| path.display().to_string());
        let missing = missing.or_else(|| (!Path::new(PROGRAM).exists()).then(|| PROGRAM.to_owned()));
        if let Some(missing) = missing {
            let fix = format!("run `bench/peers/janus.sh {}`", folder.display());
            return Err(format!("not installed: {missing} is missing; {fix}").into());
        }
        Ok(paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":"))
    }
}

impl Driver for Janus {
    fn name(&self) -> String {
        if self.is_tuned { "Janus, tuned".to_owned() } else { "Janus, as packaged".to_owned() }
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Server>, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let preloads = self.preloads()?;
        let name = format!("millrace-bench-janus-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let event_loops = if self.is_tuned { plan.workers } else { 0 };
        fs::write(folder.join("janus.jcfg"), main_configuration(event_loops))?;
        fs::write(folder.join("janus.transport.http.jcfg"), http_configuration(port))?;
        fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: { }\n")?;
        let log = folder.join("log");
        let arguments = ["-F".to_owned(), folder.display().to_string()];
        let environment = [("LD_PRELOAD".to_owned(), preloads)];
        let mut process = Process::start(Path::new(PROGRAM), &arguments, &environment, plan, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_for("Janus's HTTP API", PATIENCE, &log, || TcpStream::connect(address).is_ok())?;
        let mut requests = Http::connect(address)?;
        let version = requests.call("GET", "/janus/info", None)?["version_string"].as_str().unwrap_or("?").to_owned();
        let created = requests.call("POST", "/janus", Some(&json!({"janus": "create", "transaction": "0"})))?;
        let session = format!("/janus/{}", created["data"]["id"].as_u64().ok_or("no session")?);
        let events = Http::connect(address)?;
        Ok(Box::new(Running { process, folder, requests, events, session, version, transactions: 0, rooms: 0 }))
    }
}

impl Server for Running {
    fn version(&self) -> String {
        format!("Janus {}", self.version)
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn publish(&mut self, client: &ClientEnd, media: Media) -> Result<ServerEnd, Failure> {
        self.rooms += 1;
        let room = self.rooms;
        let handle = self.attach()?;
        let body = json!({
            "request": "create", "room": room, "publishers": 1, "bitrate": 0, "notify_joining": false,
            "audiocodec": "opus", "videocodec": "vp8", "transport_wide_cc_ext": false, "audiolevel_ext": false,
            "videoorient_ext": false, "playoutdelay_ext": false,
        });
        self.call(&handle, json!({"janus": "message", "body": body}))?;
        let jsep = json!({"type": "offer", "trickle": false, "sdp": description(client, &lines(media), "sendonly")});
        let body = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": room, "id": FEED, "audio": true,
            "video": media.video_ssrc.is_some(),
        });
        let event = self.event(&handle, json!({"janus": "message", "body": body, "jsep": jsep}))?;
        server_end(event["jsep"]["sdp"].as_str().ok_or_else(|| format!("no answer: {event}"))?)
    }

    fn subscribe(&mut self, client: &ClientEnd, publisher: usize) -> Result<ServerEnd, Failure> {
        let handle = self.attach()?;
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": publisher + 1, "streams": [{"feed": FEED}],
        });
        // A publisher that is connected on its own side is not yet on Janus's, where it becomes a feed only then.
        let started = Instant::now();
        let event = loop {
            match self.event(&handle, json!({"janus": "message", "body": body})) {
                Err(error) if error.to_string().contains("No such feed") && started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                outcome => break outcome?,
            }
        };
        let offer = event["jsep"]["sdp"].as_str().ok_or_else(|| format!("no offer: {event}"))?;
        let jsep =
            json!({"type": "answer", "trickle": false, "sdp": description(client, &offered_lines(offer), "recvonly")});
        let end = server_end(offer)?;
        self.event(&handle, json!({"janus": "message", "body": {"request": "start"}, "jsep": jsep}))?;
        Ok(end)
    }

    fn counters(&mut self) -> Result<Option<Counters>, Failure> {
        Ok(None)
    }
}

impl Running {
    fn attach(&mut self) -> Result<String, Failure> {
        let session = self.session.clone();
        let attached = self.call(&session, json!({"janus": "attach", "plugin": "janus.plugin.videoroom"}))?;
        Ok(format!("{session}/{}", attached["data"]["id"].as_u64().ok_or("no handle")?))
    }

    fn call(&mut self, path: &str, mut request: Value) -> Result<Value, Failure> {
        self.transactions += 1;
        request["transaction"] = self.transactions.to_string().into();
        let answer = self.requests.call("POST", path, Some(&request))?;
        let error = answer.get("error").or_else(|| answer["plugindata"]["data"].get("error"));
        match error {
            Some(error) => Err(format!("Janus refuses {request}: {error}").into()),
            None => Ok(answer),
        }
    }

    /// A request whose outcome comes as an event.
    fn event(&mut self, path: &str, request: Value) -> Result<Value, Failure> {
        self.call(path, request)?;
        let transaction = self.transactions.to_string();
        loop {
            let event = self.events.call("GET", &self.session, None)?;
            if event["transaction"] == transaction.as_str() && event["janus"] == "event" {
                return match event["plugindata"]["data"].get("error") {
                    Some(error) => Err(format!("Janus refuses: {error}").into()),
                    None => Ok(event),
                };
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn main_configuration(event_loops: u16) -> String {
    let plugins: Vec<_> = UNUSED_PLUGINS.iter().map(|name| format!("libjanus_{name}.so")).collect();
    let loops = if event_loops > 0 { format!("event_loops = {event_loops}") } else { String::new() };
    format!(
        "general: {{
    debug_level = 2
    debug_colors = false
    session_timeout = 0
    {loops}
}}
media: {{
    rtp_port_range = \"40100-60000\"
}}
nat: {{
    ice_enforce_list = \"127.0.0.1\"
    ice_ignore_list = \"vmnet\"
}}
plugins: {{
    disable = \"{},libjanus_sip.so,libjanus_voicemail.so\"
}}
transports: {{
    disable = \"libjanus_rabbitmq.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_websockets.so\"
}}
",
        plugins.join(",")
    )
}

fn http_configuration(port: u16) -> String {
    format!(
        "general: {{
    json = \"compact\"
    base_path = \"/janus\"
    http = true
    port = {port}
    ip = \"127.0.0.1\"
    https = false
}}
admin: {{
    admin_http = false
}}
"
    )
}

/// An m-line: its mid, whether it is video, its SSRC when it sends.
struct Line {
    mid: String,
    is_video: bool,
    ssrc: Option<u32>,
}

fn lines(media: Media) -> Vec<Line> {
    let audio = Line { mid: "0".to_owned(), is_video: false, ssrc: Some(media.audio_ssrc) };
    let video = media.video_ssrc.map(|ssrc| Line { mid: "1".to_owned(), is_video: true, ssrc: Some(ssrc) });
    [audio].into_iter().chain(video).collect()
}

/// The m-lines of an offer, to be answered one by one.
fn offered_lines(offer: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in offer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            lines.push(Line { mid: String::new(), is_video: media.starts_with("video"), ssrc: None });
        } else if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), lines.last_mut()) {
            last.mid = mid.trim_end().to_owned();
        }
    }
    lines
}

/// The client's SDP. It is the DTLS client in offers and answers. Janus waits for a candidate; where the client really is
/// it learns from the checks.
fn description(client: &ClientEnd, lines: &[Line], direction: &str) -> String {
    let mids: Vec<_> = lines.iter().map(|line| line.mid.as_str()).collect();
    let digest: Vec<_> = client.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=msid-semantic: WMS *\r\n",
        mids.join(" ")
    );
    for line in lines {
        let (kind, payload_type) =
            if line.is_video { ("video", VIDEO_PAYLOAD_TYPE) } else { ("audio", AUDIO_PAYLOAD_TYPE) };
        let codec = if line.is_video {
            format!(
                "a=rtpmap:{payload_type} VP8/90000\r\na=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n"
            )
        } else {
            format!("a=rtpmap:{payload_type} opus/48000/2\r\n")
        };
        sdp += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 127.0.0.1\r\na=mid:{}\r\na={direction}\r\n\
             a=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:active\r\n\
             a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n{codec}",
            line.mid,
            client.ufrag,
            client.password,
            digest.join(":"),
        );
        if let Some(ssrc) = line.ssrc {
            sdp += &format!("a=ssrc:{ssrc} cname:bench\r\n");
        }
    }
    sdp
}

/// The server's end in its SDP: the first credentials, and the first UDP candidate.
fn server_end(sdp: &str) -> Result<ServerEnd, Failure> {
    let value = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim_end);
    let missing = |what: &str| format!("no {what} in Janus's SDP:\n{sdp}");
    let candidate = value("a=candidate:").ok_or_else(|| missing("candidate"))?;
    let mut fields = candidate.split(' ').skip(4);
    let (ip, port) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    Ok(ServerEnd {
        address: format!("{ip}:{port}").parse().map_err(|_| missing("usable candidate"))?,
        ufrag: value("a=ice-ufrag:").ok_or_else(|| missing("ufrag"))?.to_owned(),
        password: value("a=ice-pwd:").ok_or_else(|| missing("password"))?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_end_is_found_in_its_sdp() {
        let sdp = "v=0\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a1\r\na=ice-ufrag:AbCd\r\n\
                   a=ice-pwd:secret\r\na=candidate:1 1 udp 2015363327 127.0.0.1 40100 typ host\r\n\
                   m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v1\r\n";
        let end = server_end(sdp).unwrap();
        assert_eq!((end.address, end.ufrag.as_str()), ("127.0.0.1:40100".parse().unwrap(), "AbCd"));
        let lines = offered_lines(sdp);
        assert_eq!(
            lines.iter().map(|line| (line.mid.as_str(), line.is_video)).collect::<Vec<_>>(),
            [("a1", false), ("v1", true)]
        );
        assert!(server_end("v=0\r\n").is_err());
        let client = ClientEnd { ufrag: "u".to_owned(), password: "p".to_owned(), fingerprint: vec![0xab, 1] };
        let answer = description(&client, &lines, "recvonly");
        assert!(answer.contains("a=group:BUNDLE a1 v1\r\n") && answer.contains("a=fingerprint:sha-256 AB:01\r\n"));
    }
}
