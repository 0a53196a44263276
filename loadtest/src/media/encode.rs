//! Making clips with ffmpeg, once for each set of parameters.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;

use super::clip::{Clip, Codec};
use super::container;

/// Length of a clip: long enough not to look like a loop, short enough to be made in seconds.
const SECONDS: u32 = 12;
/// Seconds from one keyframe to the next.
const KEYFRAME_EVERY: u32 = 4;

/// A picture to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VideoSpec {
    pub(crate) codec: Codec,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fps: u32,
    pub(crate) bit_rate: u64,
}

/// A sound to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AudioSpec {
    /// Milliseconds of sound in a packet: 10, 20, 40 or 60.
    pub(crate) frame_ms: u32,
    pub(crate) bit_rate: u64,
}

/// Why there is no media.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error(
        "ffmpeg was not found, and the test media is not in {dir}.\n\
         Install it (Debian: apt-get install ffmpeg) or point --ffmpeg to it; it is needed once, then {dir} has the media."
    )]
    NoFfmpeg { dir: String },
    #[error("ffmpeg could not make {what}: {reason}")]
    Failed { what: String, reason: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} cannot be read as media; delete it, and it is made again")]
    Unreadable { path: String },
}

/// Where clips are kept unless told otherwise: the user's cache folder.
pub(crate) fn default_dir() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("millrace-loadtest")
}

/// What can be made.
pub(crate) trait Make {
    fn file_name(&self) -> String;
    fn arguments(&self) -> Vec<String>;
    fn read(&self, file: &Bytes) -> Option<Clip>;
}

/// The clip, made now if it was not before.
pub(crate) async fn make(spec: &impl Make, dir: &Path, ffmpeg: &str) -> Result<Clip, MediaError> {
    let path = dir.join(spec.file_name());
    let shown = path.display().to_string();
    let failed = |source| MediaError::File { path: shown.clone(), source };
    if !path.exists() {
        tokio::fs::create_dir_all(dir).await.map_err(failed)?;
        // Written elsewhere first: a run that is cut short leaves no half of a clip, and two at once do not meet.
        let partial = dir.join(format!("{}.{}", std::process::id(), spec.file_name()));
        let made = encode(spec, &partial, dir, ffmpeg).await;
        if let Err(error) = made {
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(error);
        }
        tokio::fs::rename(&partial, &path).await.map_err(failed)?;
    }
    let file = Bytes::from(tokio::fs::read(&path).await.map_err(failed)?);
    spec.read(&file)
        .filter(|clip| !clip.frames.is_empty())
        .ok_or_else(|| MediaError::Unreadable { path: shown.clone() })
}

async fn encode(spec: &impl Make, to: &Path, dir: &Path, ffmpeg: &str) -> Result<(), MediaError> {
    let run = Command::new(ffmpeg)
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi"])
        .args(spec.arguments())
        .arg(to)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match run.await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(MediaError::Failed { what: spec.file_name(), reason })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(MediaError::NoFfmpeg { dir: dir.display().to_string() })
        }
        Err(error) => Err(MediaError::Failed { what: spec.file_name(), reason: error.to_string() }),
    }
}

impl VideoSpec {
    /// The same picture smaller: a simulcast layer.
    pub(crate) fn scaled(&self, divisor: u32) -> Self {
        let even = |side: u32| (side / divisor).max(16) & !1;
        let bit_rate = (self.bit_rate / u64::from(divisor * divisor)).max(20_000);
        Self { width: even(self.width), height: even(self.height), bit_rate, ..*self }
    }

    /// A busy pattern where the bit rate can carry it, else one that mostly stands still.
    fn pattern(&self) -> &'static str {
        let pixels = u64::from(self.width * self.height * self.fps).max(1);
        if self.bit_rate * 20 > pixels { "testsrc2" } else { "testsrc" }
    }
}

impl Make for VideoSpec {
    fn file_name(&self) -> String {
        let extension = if self.codec == Codec::H264 { "h264" } else { "ivf" };
        format!("{}x{}-{}fps-{}.{extension}", self.width, self.height, self.fps, self.bit_rate)
    }

    fn arguments(&self) -> Vec<String> {
        let Self { width, height, fps, bit_rate, .. } = self;
        let source = format!("{}=size={width}x{height}:rate={fps},format=yuv420p", self.pattern());
        let (rate, interval) = (bit_rate.to_string(), (fps * KEYFRAME_EVERY).to_string());
        let (seconds, buffer) = (SECONDS.to_string(), (bit_rate / 2).to_string());
        let common =
            ["-i", &source, "-t", &seconds, "-b:v", &rate, "-maxrate", &rate, "-bufsize", &buffer, "-g", &interval];
        let own: &[&str] = if self.codec == Codec::H264 {
            &[
                "-c:v",
                "libx264",
                "-profile:v",
                "baseline",
                "-level",
                "3.1",
                "-tune",
                "zerolatency",
                "-preset",
                "veryfast",
            ]
        } else {
            &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-auto-alt-ref", "0"]
        };
        let ends: &[&str] = if self.codec == Codec::H264 {
            &["-x264-params", "scenecut=0:bframes=0:aud=1:repeat-headers=1:sliced-threads=0", "-f", "h264"]
        } else {
            &["-error-resilient", "1", "-keyint_min", &interval, "-f", "ivf"]
        };
        common.iter().chain(own).chain(ends).map(|text| (*text).to_owned()).collect()
    }

    fn read(&self, file: &Bytes) -> Option<Clip> {
        let frames = if self.codec == Codec::H264 { container::annex_b(file) } else { container::ivf(file) }?;
        let interval = Duration::from_secs(1) / self.fps.max(1);
        frames.first().is_some_and(|first| first.key).then(|| Clip::new(self.codec, frames, interval))
    }
}

impl Make for AudioSpec {
    fn file_name(&self) -> String {
        format!("tone-{}ms-{}.ogg", self.frame_ms, self.bit_rate)
    }

    fn arguments(&self) -> Vec<String> {
        // A tone that wavers, so that packets differ from one another and can be known again.
        let source = "aevalsrc='0.2*sin(2*PI*(330*t+40*sin(t*3)))|0.2*sin(2*PI*(331*t+40*sin(t*2.3)))':s=48000";
        let (seconds, rate) = (SECONDS.to_string(), self.bit_rate.to_string());
        let frame = self.frame_ms.to_string();
        let all =
            ["-i", source, "-t", &seconds, "-c:a", "libopus", "-b:a", &rate, "-frame_duration", &frame, "-f", "ogg"];
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    fn read(&self, file: &Bytes) -> Option<Clip> {
        let interval = Duration::from_millis(u64::from(self.frame_ms));
        container::ogg(file).map(|frames| Clip::new(Codec::Opus, frames, interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: VideoSpec = VideoSpec { codec: Codec::Vp8, width: 1_280, height: 720, fps: 30, bit_rate: 1_500_000 };

    #[test]
    fn layers_are_smaller_and_even() {
        let half = SPEC.scaled(2);
        assert_eq!((half.width, half.height, half.bit_rate), (640, 360, 375_000));
        let odd = VideoSpec { width: 322, height: 182, ..SPEC }.scaled(4);
        assert_eq!((odd.width % 2, odd.height % 2), (0, 0));
    }

    #[tokio::test]
    async fn a_missing_ffmpeg_is_named_with_the_way_out() {
        let dir = std::env::temp_dir().join(format!("millrace-loadtest-test-{}", std::process::id()));
        let error = make(&SPEC, &dir, "/nonexistent/ffmpeg").await.unwrap_err();
        assert!(error.to_string().contains("apt-get install ffmpeg"), "{error}");
        std::fs::write(dir.join(SPEC.file_name()), "no media").unwrap();
        let error = make(&SPEC, &dir, "/nonexistent/ffmpeg").await.unwrap_err();
        assert!(error.to_string().contains("delete it"), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
