//! What a run found out, and its figures by name.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::options::Plan;
use crate::recorder::Times;
use crate::threshold::{Figure, Unit};

/// Part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Ramp,
    Measured,
    Leaving,
}

/// One second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the run's beginning.
    pub(crate) at: f64,
    pub(crate) phase: Phase,
    pub(crate) present: usize,
    pub(crate) expected: usize,
    pub(crate) flowing: usize,
    pub(crate) packets_per_second: f64,
    pub(crate) bits_per_second: f64,
    pub(crate) lost: u64,
    pub(crate) freezes: u64,
    /// Seconds.
    pub(crate) latency_p50: Option<f64>,
    pub(crate) latency_p99: Option<f64>,
    pub(crate) server_cores: Option<f64>,
    /// Bytes.
    pub(crate) server_memory: Option<u64>,
    pub(crate) bots_cores: Option<f64>,
    /// Seconds that the bots' own clock was late.
    pub(crate) lag: f64,
}

/// Sums over all subscriptions.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) recovered: u64,
    pub(crate) frames: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen_us: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) opened: u64,
    pub(crate) unopened: u64,
}

/// Everything about a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    /// Bits per second of media that one publisher sends.
    pub(crate) publisher_bit_rate: f64,
    pub(crate) interrupted: bool,
    pub(crate) measured: Totals,
    /// Length of the measured time.
    pub(crate) seconds: f64,
    pub(crate) times: Times,
    pub(crate) video_jitter: Histogram,
    pub(crate) audio_jitter: Histogram,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) examples: BTreeMap<String, String>,
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    pub(crate) reconnects: u64,
    pub(crate) unknown_payloads: u64,
    pub(crate) late_frames: u64,
    pub(crate) sent_frames: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) retransmitted: u64,
    pub(crate) feedback_sent: u64,
    pub(crate) feedback_received: u64,
    pub(crate) paused_sizes: u64,
    /// Seconds of processor time while it was measured.
    pub(crate) server_cpu: f64,
    pub(crate) bots_cpu: f64,
    pub(crate) receive_buffer_errors: u64,
    pub(crate) samples: Vec<Sample>,
    /// At the beginning and at the end of the measured time.
    pub(crate) metrics: Option<(BTreeMap<String, f64>, BTreeMap<String, f64>)>,
    pub(crate) metrics_error: Option<String>,
}

impl Totals {
    /// What has come since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
            lost: self.lost.saturating_sub(earlier.lost),
            recovered: self.recovered - earlier.recovered,
            frames: self.frames - earlier.frames,
            freezes: self.freezes - earlier.freezes,
            frozen_us: self.frozen_us - earlier.frozen_us,
            keyframe_requests: self.keyframe_requests - earlier.keyframe_requests,
            opened: self.opened - earlier.opened,
            unopened: self.unopened - earlier.unopened,
        }
    }
}

impl Outcome {
    /// Seconds of the measured time.
    pub(crate) fn measured_samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.phase == Phase::Measured)
    }

    /// All figures by the names that conditions use.
    pub(crate) fn figures(&self) -> BTreeMap<String, Figure> {
        let mut figures = BTreeMap::new();
        let mut add = |name: &str, value: f64, unit| figures.insert(name.to_owned(), Figure { value, unit });
        let totals = &self.measured;
        let seconds = self.seconds.max(0.001);
        add("loss", totals.lost as f64 / (totals.packets + totals.lost).max(1) as f64, Unit::Share);
        add("lost", totals.lost as f64, Unit::Count);
        add("recovered", totals.recovered as f64, Unit::Count);
        add("packets", totals.packets as f64, Unit::Count);
        add("packets_per_second", totals.packets as f64 / seconds, Unit::Count);
        add("received", totals.bytes as f64 * 8.0 / seconds, Unit::BitsPerSecond);
        add("frames", totals.frames as f64, Unit::Count);
        add("freezes", totals.freezes as f64, Unit::Count);
        add("frozen", totals.frozen_us as f64 / 1e6, Unit::Seconds);
        add("unopened", totals.unopened as f64, Unit::Count);
        add("unknown_payloads", self.unknown_payloads as f64, Unit::Count);
        add("errors", self.errors.values().sum::<u64>() as f64, Unit::Count);
        add("reconnects", self.reconnects as f64, Unit::Count);
        add("joins", self.joins as f64, Unit::Count);
        add("feedback_sent", self.feedback_sent as f64, Unit::Count);
        add("feedback_received", self.feedback_received as f64, Unit::Count);
        add("paused_sizes", self.paused_sizes as f64, Unit::Count);
        add("late_frames", self.late_frames as f64 / self.sent_frames.max(1) as f64, Unit::Share);
        add("receive_buffer_errors", self.receive_buffer_errors as f64, Unit::Count);
        add("bots_cpu", self.bots_cpu / seconds, Unit::Cores);
        if self.samples.iter().any(|sample| sample.server_cores.is_some()) {
            add("server_cpu", self.server_cpu / seconds, Unit::Cores);
            let most = self.measured_samples().filter_map(|sample| sample.server_memory).max();
            add("server_memory", most.unwrap_or(0) as f64, Unit::Bytes);
            add("server_cpu_per_packet", self.server_cpu / totals.packets.max(1) as f64, Unit::Seconds);
        }
        let ratios: Vec<_> = self
            .measured_samples()
            .filter(|sample| sample.expected > 0)
            .map(|sample| sample.flowing as f64 / sample.expected as f64)
            .collect();
        if !ratios.is_empty() {
            add("flow_min", ratios.iter().copied().fold(1.0, f64::min), Unit::Share);
            add("flow_avg", ratios.iter().sum::<f64>() / ratios.len() as f64, Unit::Share);
        }
        if let Some(most) = self.measured_samples().map(|sample| sample.expected).max() {
            add("streams", most as f64, Unit::Count);
        }
        for (name, histogram) in self.histograms() {
            for (suffix, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
                if let Some(value) = histogram.quantile(quantile) {
                    add(&format!("{name}_{suffix}"), value.as_secs_f64(), Unit::Seconds);
                }
            }
            if let (Some(max), Some(mean)) = (histogram.max(), histogram.mean()) {
                add(&format!("{name}_max"), max.as_secs_f64(), Unit::Seconds);
                add(&format!("{name}_mean"), mean.as_secs_f64(), Unit::Seconds);
            }
        }
        figures
    }

    /// Times by name.
    pub(crate) fn histograms(&self) -> [(&'static str, &Histogram); 7] {
        [
            ("join", &self.times.join),
            ("publish", &self.times.publish),
            ("subscribe", &self.times.subscribe),
            ("latency", &self.times.latency),
            ("keyframe", &self.times.keyframe),
            ("video_jitter", &self.video_jitter),
            ("audio_jitter", &self.audio_jitter),
        ]
    }

    /// Conditions that were met, each with its reason.
    pub(crate) fn failures(&self) -> Vec<String> {
        let figures = self.figures();
        self.plan.fail_if.iter().filter_map(|threshold| threshold.verdict(&figures).err()).collect()
    }

    /// What makes the figures doubtful, because the bots or the machine were the limit.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let lag = self.measured_samples().map(|sample| sample.lag).fold(0.0, f64::max);
        if lag > 0.1 {
            doubts.push(format!("the bots' own clock was up to {:.0} ms late: this machine is too small", lag * 1e3));
        }
        let late = self.late_frames as f64 / self.sent_frames.max(1) as f64;
        if late > 0.01 {
            doubts.push(format!("{:.1} % of the frames were sent more than 20 ms late", late * 100.0));
        }
        if self.receive_buffer_errors > 0 {
            let lost = self.receive_buffer_errors;
            doubts
                .push(format!("the kernel dropped {lost} datagrams because a process of this machine read too slowly"));
        }
        if self.measured.unopened > 0 {
            doubts.push(format!("{} packets did not decrypt or were of no announced track", self.measured.unopened));
        }
        if self.interrupted {
            doubts.push("the run was interrupted".to_owned());
        }
        doubts
    }
}
