//! What a run is to do, from the command line and a scenario file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::impair::Conditions;
use crate::media::{AudioSpec, Codec, VideoSpec};
use crate::threshold::Threshold;
use crate::units::{BitRate, Pace, Sample, Share, Span};

/// Options of `run`. Each may stand in a scenario file too; the command line wins.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Where the server's REST API is, as https://localhost:4443
    #[arg(long)]
    pub url: Option<String>,
    /// The server's OPENVIDU_SECRET
    #[arg(long, env = "OPENVIDU_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// Accept any certificate, also of a server elsewhere; on this machine any is accepted anyway
    #[arg(long)]
    pub insecure: bool,
    /// Rooms [default: 1]
    #[arg(long)]
    pub rooms: Option<usize>,
    /// Participants in each room [default: 4]
    #[arg(long)]
    pub participants: Option<usize>,
    /// How many of them publish [default: 2]
    #[arg(long)]
    pub publishers: Option<usize>,
    /// Picture: 1080p, 720p, 540p, 360p, 270p, 180p, WIDTHxHEIGHT or none [default: 360p]
    #[arg(long)]
    pub video: Option<String>,
    /// Pictures per second [default: 30]
    #[arg(long)]
    pub fps: Option<u32>,
    /// Bits per second of the picture, as 500k [default: by its size]
    #[arg(long)]
    pub video_bitrate: Option<BitRate>,
    /// vp8 or h264 [default: vp8]
    #[arg(long)]
    pub codec: Option<String>,
    /// Publish the picture in three sizes
    #[arg(long)]
    pub simulcast: bool,
    /// Publish sound
    #[arg(long)]
    pub audio: bool,
    /// Milliseconds of sound in a packet: 10, 20, 40 or 60 [default: 20]
    #[arg(long)]
    pub audio_frame: Option<u32>,
    /// Bits per second of the sound [default: 32k]
    #[arg(long)]
    pub audio_bitrate: Option<BitRate>,
    /// Participants that join, per second [default: 5/s]
    #[arg(long)]
    pub ramp: Option<Pace>,
    /// How long to measure when all have joined [default: 60s]
    #[arg(long)]
    pub duration: Option<Span>,
    /// Share of the participants that leave and come back once while it is measured [default: 0%]
    #[arg(long)]
    pub leave_and_rejoin: Option<Share>,
    /// Share of the participants whose socket is cut once while it is measured [default: 0%]
    #[arg(long)]
    pub drop_sockets: Option<Share>,
    /// Packets lost, in each direction
    #[arg(long)]
    pub loss: Option<Share>,
    /// Round-trip time added, half of it in each direction
    #[arg(long)]
    pub rtt: Option<Span>,
    /// Jitter, in each direction
    #[arg(long)]
    pub jitter: Option<Span>,
    /// Conditions towards the server, instead: loss=2%,delay=40ms,jitter=5ms,rate=2M,reorder=1%
    #[arg(long)]
    pub up: Option<String>,
    /// Conditions from the server, likewise
    #[arg(long)]
    pub down: Option<String>,
    /// Share of the packets that are decrypted and compared with what was sent: all, 1/16 or none [default: 1/16]
    #[arg(long)]
    pub verify: Option<Sample>,
    /// Role of the bots in the DTLS handshake: client or server [default: client]
    #[arg(long)]
    pub dtls: Option<String>,
    /// SRTP profile to offer: gcm or sha1 [default: both]
    #[arg(long)]
    pub srtp: Option<String>,
    /// Publish fewer sizes while the server's feedback says that they are too much; needs --simulcast
    #[arg(long)]
    pub adapt: bool,
    /// Do not negotiate transport-wide congestion control
    #[arg(long)]
    pub no_transport_cc: bool,
    /// What repeats a run's random choices [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Rooms are called so, with a number [default: loadtest-PROCESS]
    #[arg(long)]
    pub room_prefix: Option<String>,
    /// Leave the sessions as they are at the end
    #[arg(long)]
    pub keep_sessions: bool,
    /// Fail if this is so, as "join_p99>1s"; may be given several times, in files as a list [default: errors>0,
    /// unopened>0 and flow_avg<95%]
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Threshold>,
    /// Folder for report.html, report.json and report.txt [default: loadtest-report]
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Processes of the server to account for if it is on this machine, by name [default: millrace-dataplane and -controlplane]
    #[arg(long, value_name = "NAME")]
    pub process: Vec<String>,
    /// Where the metrics are below the URL; empty: none [default: /metrics]
    #[arg(long)]
    pub metrics: Option<String>,
    /// Where media is kept once it is made [default: ~/.cache/millrace-loadtest]
    #[arg(long)]
    pub media_dir: Option<PathBuf>,
    /// The ffmpeg to make media with [default: ffmpeg]
    #[arg(long)]
    pub ffmpeg: Option<String>,
    /// Threads of the bots [default: one per core]
    #[arg(long)]
    pub threads: Option<usize>,
    /// What happens when; only in scenario files
    #[arg(skip)]
    pub step: Vec<Step>,
}

/// Something that happens while it is measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Since all have joined.
    pub at: Span,
    /// Share of the participants that leave and come back.
    pub leave_and_rejoin: Option<Share>,
    /// Share of the participants whose socket is cut.
    pub drop_sockets: Option<Share>,
    /// Rooms that are filled besides, at the run's ramp.
    pub add_rooms: Option<usize>,
    /// New conditions towards the server; empty: none.
    pub up: Option<String>,
    /// New conditions from the server; empty: none.
    pub down: Option<String>,
}

/// Everything decided.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) insecure: bool,
    pub(crate) rooms: usize,
    pub(crate) participants: usize,
    pub(crate) publishers: usize,
    pub(crate) video: Option<VideoSpec>,
    pub(crate) simulcast: bool,
    pub(crate) audio: Option<AudioSpec>,
    pub(crate) ramp: f64,
    pub(crate) duration: Duration,
    pub(crate) up: Conditions,
    pub(crate) down: Conditions,
    pub(crate) verify: Sample,
    pub(crate) is_dtls_client: bool,
    pub(crate) srtp: Option<String>,
    pub(crate) transport_cc: bool,
    pub(crate) adapts: bool,
    pub(crate) seed: u64,
    pub(crate) room_prefix: String,
    pub(crate) keep_sessions: bool,
    pub(crate) fail_if: Vec<Threshold>,
    pub(crate) report: PathBuf,
    pub(crate) processes: Vec<String>,
    pub(crate) metrics: String,
    pub(crate) media_dir: PathBuf,
    pub(crate) ffmpeg: String,
    pub(crate) steps: Vec<PlannedStep>,
}

/// A step, decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedStep {
    pub(crate) at: Duration,
    pub(crate) leave_and_rejoin: f64,
    pub(crate) drop_sockets: f64,
    pub(crate) add_rooms: usize,
    pub(crate) conditions: Option<(Conditions, Conditions)>,
}

impl Options {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// What is wrong with it, with its path and line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// These options, and the file's where they say nothing.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        macro_rules! first {
            ($($name:ident),+) => { Self {
                $($name: self.$name.or(file.$name),)+
                insecure: self.insecure || file.insecure,
                simulcast: self.simulcast || file.simulcast,
                audio: self.audio || file.audio,
                adapt: self.adapt || file.adapt,
                no_transport_cc: self.no_transport_cc || file.no_transport_cc,
                keep_sessions: self.keep_sessions || file.keep_sessions,
                fail_if: if self.fail_if.is_empty() { file.fail_if } else { self.fail_if },
                process: if self.process.is_empty() { file.process } else { self.process },
                step: file.step,
            } };
        }
        first!(
            url,
            secret,
            rooms,
            participants,
            publishers,
            video,
            fps,
            video_bitrate,
            codec,
            audio_frame,
            audio_bitrate,
            ramp,
            duration,
            leave_and_rejoin,
            drop_sockets,
            loss,
            rtt,
            jitter,
            up,
            down,
            verify,
            dtls,
            srtp,
            seed,
            room_prefix,
            report,
            metrics,
            media_dir,
            ffmpeg,
            threads
        )
    }

    /// Decides what was left open.
    ///
    /// # Errors
    /// What is missing or contradicts itself.
    pub(crate) fn plan(self) -> Result<Plan, String> {
        let url = self
            .url
            .clone()
            .ok_or("--url is missing: where is the server? `make run` has it at https://localhost:4443")?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("--url {url}: must begin with https:// or http://"));
        }
        let participants = at_least_one("--participants", self.participants.unwrap_or(4))?;
        let publishers = self.publishers.unwrap_or_else(|| 2.min(participants));
        if publishers > participants {
            return Err(format!("--publishers {publishers}: more than the {participants} participants of a room"));
        }
        let video = self.video()?;
        let audio = self.sound()?;
        if publishers > 0 && video.is_none() && audio.is_none() {
            return Err("nothing to publish: --video none needs --audio".to_owned());
        }
        if self.simulcast && video.is_none_or(|video| video.codec != Codec::Vp8) {
            return Err("--simulcast needs a VP8 picture".to_owned());
        }
        if self.adapt && !self.simulcast {
            return Err("--adapt needs --simulcast: of several sizes the largest can be left out".to_owned());
        }
        let (up, down) = self.conditions()?;
        let duration = self.duration.unwrap_or(Span(Duration::from_secs(60))).0;
        let (is_dtls_client, srtp) = (self.is_dtls_client()?, self.srtp()?);
        let steps = self.steps(duration, (up, down))?;
        let millrace = || vec!["millrace-dataplane".to_owned(), "millrace-controlplane".to_owned()];
        Ok(Plan {
            url,
            secret: self.secret.ok_or("--secret is missing: the server's OPENVIDU_SECRET (`make run`: MY_SECRET)")?,
            insecure: self.insecure,
            rooms: at_least_one("--rooms", self.rooms.unwrap_or(1))?,
            participants,
            publishers,
            video,
            simulcast: self.simulcast,
            audio,
            ramp: self.ramp.unwrap_or(Pace(5.0)).0,
            duration,
            up,
            down,
            verify: self.verify.unwrap_or(Sample(16)),
            is_dtls_client,
            srtp,
            transport_cc: !self.no_transport_cc,
            adapts: self.adapt,
            seed: self.seed.unwrap_or(1),
            room_prefix: self.room_prefix.unwrap_or_else(|| format!("loadtest-{}", std::process::id())),
            keep_sessions: self.keep_sessions,
            fail_if: if self.fail_if.is_empty() {
                usual_conditions(publishers * (participants - 1) > 0)
            } else {
                self.fail_if
            },
            report: self.report.unwrap_or_else(|| PathBuf::from("loadtest-report")),
            processes: if self.process.is_empty() { millrace() } else { self.process },
            metrics: self.metrics.unwrap_or_else(|| "/metrics".to_owned()),
            media_dir: self.media_dir.unwrap_or_else(crate::media::default_dir),
            ffmpeg: self.ffmpeg.unwrap_or_else(|| "ffmpeg".to_owned()),
            steps,
        })
    }

    fn video(&self) -> Result<Option<VideoSpec>, String> {
        let text = self.video.as_deref().unwrap_or("360p");
        if text == "none" {
            return Ok(None);
        }
        let wrong = || format!("--video {text}: must be 720p or the like, WIDTHxHEIGHT, or none");
        let (width, height) = match text.strip_suffix('p') {
            Some(lines) => {
                let height: u32 = lines.parse().map_err(|_| wrong())?;
                ((height * 16 / 9 + 1) & !1, height)
            }
            None => {
                let (width, height) = text.split_once('x').ok_or_else(wrong)?;
                (width.parse().map_err(|_| wrong())?, height.parse().map_err(|_| wrong())?)
            }
        };
        if !(16..=4_096).contains(&width) || !(16..=4_096).contains(&height) || width % 2 + height % 2 > 0 {
            return Err(format!("--video {text}: sides must be even and between 16 and 4096"));
        }
        let codec = match self.codec.as_deref().unwrap_or("vp8").to_ascii_lowercase().as_str() {
            "vp8" => Codec::Vp8,
            "h264" => Codec::H264,
            other => return Err(format!("--codec {other}: must be vp8 or h264")),
        };
        let fps = self.fps.unwrap_or(30);
        if !(1..=60).contains(&fps) {
            return Err(format!("--fps {fps}: must be between 1 and 60"));
        }
        // About what browsers send of such a size.
        let usual = (u64::from(width * height) * 3 / 2).clamp(60_000, 2_500_000);
        Ok(Some(VideoSpec { codec, width, height, fps, bit_rate: self.video_bitrate.map_or(usual, |rate| rate.0) }))
    }

    fn sound(&self) -> Result<Option<AudioSpec>, String> {
        let frame_ms = self.audio_frame.unwrap_or(20);
        if ![10, 20, 40, 60].contains(&frame_ms) {
            return Err(format!("--audio-frame {frame_ms}: must be 10, 20, 40 or 60"));
        }
        let bit_rate = self.audio_bitrate.map_or(32_000, |rate| rate.0);
        Ok(self.audio.then_some(AudioSpec { frame_ms, bit_rate }))
    }

    fn conditions(&self) -> Result<(Conditions, Conditions), String> {
        let both = Conditions {
            loss: self.loss.unwrap_or_default().0,
            delay: self.rtt.unwrap_or_default().0 / 2,
            jitter: self.jitter.unwrap_or_default().0,
            ..Conditions::default()
        };
        let read = |name, text: &Option<String>| match text {
            Some(text) => text.parse().map_err(|error| format!("{name} {text}: {error}")),
            None => Ok(both),
        };
        Ok((read("--up", &self.up)?, read("--down", &self.down)?))
    }

    fn is_dtls_client(&self) -> Result<bool, String> {
        match self.dtls.as_deref() {
            None | Some("client") => Ok(true),
            Some("server") => Ok(false),
            Some(other) => Err(format!("--dtls {other}: must be client or server")),
        }
    }

    fn srtp(&self) -> Result<Option<String>, String> {
        match self.srtp.as_deref() {
            None | Some("gcm" | "sha1") => Ok(self.srtp.clone()),
            Some(other) => Err(format!("--srtp {other}: must be gcm or sha1")),
        }
    }

    /// The file's steps and the command line's, in order of time.
    fn steps(&self, duration: Duration, begin: (Conditions, Conditions)) -> Result<Vec<PlannedStep>, String> {
        let mut steps = Vec::new();
        let mut now = begin;
        let mut written = self.step.clone();
        written.sort_by_key(|step| step.at);
        for step in &written {
            if step.at.0 > duration {
                return Err(format!("a step at {:?} is after the end, at {duration:?}", step.at.0));
            }
            let read = |text: &Option<String>, old: Conditions| text.as_ref().map_or(Ok(old), |text| text.parse());
            let next = (read(&step.up, now.0)?, read(&step.down, now.1)?);
            now = next;
            steps.push(PlannedStep {
                at: step.at.0,
                leave_and_rejoin: step.leave_and_rejoin.unwrap_or_default().0,
                drop_sockets: step.drop_sockets.unwrap_or_default().0,
                add_rooms: step.add_rooms.unwrap_or(0),
                conditions: (step.up.is_some() || step.down.is_some()).then_some(next),
            });
        }
        let leave_and_rejoin = self.leave_and_rejoin.unwrap_or_default().0;
        let drop_sockets = self.drop_sockets.unwrap_or_default().0;
        if leave_and_rejoin + drop_sockets > 0.0 {
            // In the first part of the run, so that all are back before its end.
            steps.push(PlannedStep { at: duration / 10, leave_and_rejoin, drop_sockets, ..PlannedStep::default() });
            steps.sort_by_key(|step| step.at);
        }
        Ok(steps)
    }
}

/// What no run should come to; without streams for anybody none can fail to flow.
fn usual_conditions(has_streams: bool) -> Vec<Threshold> {
    let conditions = ["errors>0", "unopened>0", "flow_avg<95%"];
    let count = if has_streams { 3 } else { 2 };
    conditions[..count].iter().filter_map(|condition| condition.parse().ok()).collect()
}

fn at_least_one(name: &str, number: usize) -> Result<usize, String> {
    if number > 0 { Ok(number) } else { Err(format!("{name}: must be at least 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        toml::from_str(&format!("url = 'https://localhost:4443'\nsecret = 's'\n{text}")).unwrap()
    }

    #[test]
    fn a_file_is_overridden_by_the_command_line() {
        let file = options("rooms = 3\nparticipants = 8\nvideo = '720p'\nfail-if = ['loss>1%']");
        let line = Options { rooms: Some(5), audio: true, ..Options::default() };
        let plan = line.over(file).plan().unwrap();
        assert_eq!((plan.rooms, plan.participants, plan.publishers), (5, 8, 2));
        assert_eq!(plan.video.map(|video| (video.width, video.height)), Some((1_280, 720)));
        assert_eq!((plan.audio.is_some(), plan.fail_if.len()), (true, 1));
    }

    #[test]
    fn a_run_without_conditions_has_the_usual_ones() {
        assert_eq!(options("").plan().unwrap().fail_if.len(), 3);
        assert_eq!(options("participants = 1").plan().unwrap().fail_if.len(), 2);
        assert_eq!(options("fail-if = ['loss>1%']").plan().unwrap().fail_if.len(), 1);
    }

    #[test]
    fn the_round_trip_is_shared_by_both_directions() {
        let plan = options("loss = '2%'\nrtt = '80ms'\ndown = 'rate=1M'").plan().unwrap();
        assert_eq!((plan.up.loss, plan.up.delay), (0.02, Duration::from_millis(40)));
        assert_eq!((plan.down.loss, plan.down.rate), (0.0, Some(1_000_000)));
    }

    #[test]
    fn steps_come_in_order_and_conditions_stay() {
        let text = "duration = '100s'\nleave-and-rejoin = '10%'\n[[step]]\nat = '50s'\ndown = ''\n\
                    [[step]]\nat = '20s'\nup = 'loss=1%'\ndrop-sockets = '5%'";
        let steps = options(text).plan().unwrap().steps;
        assert_eq!(steps.iter().map(|step| step.at.as_secs()).collect::<Vec<_>>(), [10, 20, 50]);
        assert_eq!((steps[0].leave_and_rejoin, steps[1].drop_sockets), (0.1, 0.05));
        assert_eq!(steps[2].conditions.map(|(up, _)| up.loss), Some(0.01), "what was not named stays");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| options(text).plan().unwrap_err();
        assert!(error("participants = 2\npublishers = 3").contains("more than"));
        assert!(error("video = 'none'").contains("--audio"));
        assert!(error("video = '7x9'").contains("even"));
        assert!(error("simulcast = true\ncodec = 'h264'").contains("VP8"));
        assert!(error("adapt = true").contains("--simulcast"));
        assert!(error("[[step]]\nat = '2m'").contains("after the end"));
        assert!(Options::default().plan().unwrap_err().contains("--url"));
        assert!(toml::from_str::<Options>("speed = 1").unwrap_err().to_string().contains("unknown field"));
    }
}
