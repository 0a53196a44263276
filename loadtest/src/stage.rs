//! What all participants of a run share.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use crate::SrtpProtectionProfile;
use crate::bot::Network;
use crate::media::{Clip, VideoSpec};
use crate::openvidu::{Rest, Trust};
use crate::recorder::Recorder;

/// A run's surroundings.
pub(crate) struct Stage {
    pub(crate) rest: Rest,
    pub(crate) trust: Trust,
    /// Whether the server is on this machine.
    pub(crate) is_local: bool,
    pub(crate) clips: Clips,
    pub(crate) network: Arc<Network>,
    pub(crate) recorder: Arc<Recorder>,
    /// One of so many packets is decrypted.
    pub(crate) verify: u32,
    pub(crate) is_dtls_client: bool,
    /// Whether transport-wide congestion control is negotiated.
    pub(crate) transport_cc: bool,
    /// Whether publishers leave out sizes that do not fit.
    pub(crate) adapts: bool,
    pub(crate) profiles: Vec<SrtpProtectionProfile>,
    /// One example of each kind of error.
    pub(crate) examples: Mutex<BTreeMap<String, String>>,
}

/// What publishers send.
#[derive(Debug, Default)]
pub(crate) struct Clips {
    pub(crate) audio: Option<Arc<Clip>>,
    /// Layers, low to high; one: no simulcast.
    pub(crate) video: Vec<Layer>,
}

/// One size of the picture.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) rid: String,
    pub(crate) spec: VideoSpec,
    pub(crate) clip: Arc<Clip>,
}

impl Clips {
    /// The largest picture.
    pub(crate) fn picture(&self) -> Option<VideoSpec> {
        self.video.last().map(|layer| layer.spec)
    }

    /// Bits per second of media that a publisher sends.
    pub(crate) fn bit_rate(&self) -> f64 {
        let video: f64 = self.video.iter().map(|layer| layer.clip.bit_rate()).sum();
        video + self.audio.as_ref().map_or(0.0, |clip| clip.bit_rate())
    }
}

impl Stage {
    /// Keeps the first explanation of an error of this kind.
    pub(crate) fn explain(&self, kind: &str, reason: &impl Display) {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        examples.entry(kind.to_owned()).or_insert_with(|| reason.to_string());
    }

    /// The first explanation of each kind.
    pub(crate) fn examples(&self) -> BTreeMap<String, String> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
