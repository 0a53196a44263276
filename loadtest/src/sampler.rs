//! Looks at the whole run once a second: what flows, what it costs, and whether the bots themselves keep up.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bot::{Live, Rooms};
use crate::live::View;
use crate::options::Plan;
use crate::outcome::{Outcome, Phase, Sample, Totals};
use crate::server::{self, Meter};
use crate::stage::Stage;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A stream flows if something came within this time.
const FLOWS_WITHIN: Duration = Duration::from_millis(2_000);
/// Who has just come, and a stream that has just begun, is expected this much later.
const GRACE: Duration = Duration::from_millis(3_000);

/// A run's observer.
pub(crate) struct Sampler {
    stage: Arc<Stage>,
    rooms: Arc<Mutex<Rooms>>,
    processes: Vec<String>,
    metrics_path: String,
    next: Instant,
    samples: Vec<Sample>,
    server: Meter,
    bots: Meter,
    last: Totals,
    last_at: Instant,
    measured: Option<(Totals, Totals)>,
    metrics: Option<(BTreeMap<String, f64>, BTreeMap<String, f64>)>,
    metrics_error: Option<String>,
    buffer_errors: (u64, u64),
    measured_for: (Option<Instant>, Duration),
    server_cpu: Spent,
    bots_cpu: (f64, f64),
}

/// Processor time that was spent while somebody looked, whatever processes come and go.
#[derive(Debug, Default)]
struct Spent {
    last: f64,
    sum: f64,
}

impl Spent {
    fn read(&mut self, cpu: f64) {
        // Less than before: a process has ended, and took its account along.
        self.sum += (cpu - self.last).max(0.0);
        self.last = cpu;
    }
}

impl Sampler {
    pub(crate) fn new(stage: Arc<Stage>, plan: &Plan, rooms: Arc<Mutex<Rooms>>) -> Self {
        let now = Instant::now();
        Self {
            processes: if stage.is_local { plan.processes.clone() } else { Vec::new() },
            metrics_path: plan.metrics.clone(),
            stage,
            rooms,
            next: now + EVERY,
            samples: Vec::new(),
            server: Meter::new(),
            bots: Meter::new(),
            last: Totals::default(),
            last_at: now,
            measured: None,
            metrics: None,
            metrics_error: None,
            buffer_errors: (0, 0),
            measured_for: (None, Duration::ZERO),
            server_cpu: Spent::default(),
            bots_cpu: (0.0, 0.0),
        }
    }

    /// Waits for the next second, and looks.
    pub(crate) async fn tick(&mut self, phase: Phase, view: &View) {
        tokio::time::sleep_until(self.next.into()).await;
        let now = Instant::now();
        let lag = now - self.next;
        self.next = (self.next + EVERY).max(now);
        let totals = self.totals();
        let elapsed = (now - self.last_at).as_secs_f64().max(0.001);
        let last = std::mem::replace(&mut self.last, totals);
        self.last_at = now;
        let usage = server::usage_of(&self.processes);
        if phase == Phase::Measured {
            self.server_cpu.read(usage.cpu);
        }
        let latency = self.stage.recorder.take_recent_latency();
        let (expected, flowing) = self.flows(now);
        let since = |new: u64, old: u64| new.saturating_sub(old);
        let sample = Sample {
            at: (now - self.stage.recorder.epoch).as_secs_f64(),
            phase,
            present: self.present(),
            expected,
            flowing,
            packets_per_second: since(totals.packets, last.packets) as f64 / elapsed,
            bits_per_second: since(totals.bytes, last.bytes) as f64 * 8.0 / elapsed,
            lost: since(totals.lost, last.lost),
            freezes: since(totals.freezes, last.freezes),
            latency_p50: latency.quantile(0.5).map(|latency| latency.as_secs_f64()),
            latency_p99: latency.quantile(0.99).map(|latency| latency.as_secs_f64()),
            server_cores: self.server.cores(now, usage.cpu).filter(|_| usage.processes > 0),
            server_memory: (usage.processes > 0).then_some(usage.memory),
            bots_cores: self.bots.cores(now, server::own_usage().cpu),
            lag: lag.as_secs_f64(),
        };
        view.show(&sample, self.stage.recorder.errors().values().sum());
        self.samples.push(sample);
    }

    /// Participants that are there.
    pub(crate) fn present(&self) -> usize {
        self.rooms().iter().map(|room| room.present()).sum()
    }

    /// What comes now counts.
    pub(crate) async fn begin_measuring(&mut self) {
        self.stage.recorder.forget_latency();
        let totals = self.totals();
        self.measured = Some((totals, totals));
        let buffer_errors = server::receive_buffer_errors();
        self.buffer_errors = (buffer_errors, buffer_errors);
        self.measured_for = (Some(Instant::now()), Duration::ZERO);
        self.server_cpu = Spent { last: server::usage_of(&self.processes).cpu, sum: 0.0 };
        self.bots_cpu = twice(server::own_usage().cpu);
        if let Some(metrics) = self.scrape().await {
            self.metrics = Some((metrics.clone(), metrics));
        }
    }

    /// What comes now no longer counts.
    pub(crate) async fn end_measuring(&mut self) {
        self.close_books();
        let metrics = self.scrape().await;
        if let (Some((_, last)), Some(metrics)) = (&mut self.metrics, metrics) {
            *last = metrics;
        }
    }

    /// The run's outcome.
    pub(crate) fn outcome(mut self, plan: &Plan, stage: &Stage, interrupted: bool) -> Outcome {
        if interrupted {
            self.close_books();
        }
        let jitters = |of: fn(&Live) -> u64| {
            let mut histogram = crate::histogram::Histogram::default();
            let subscriptions = stage.recorder.subscriptions();
            let known = subscriptions.iter().map(|live| of(live)).filter(|jitter| *jitter > 0);
            known.for_each(|jitter| histogram.record(Duration::from_micros(jitter)));
            histogram
        };
        Outcome {
            plan: plan.clone(),
            publisher_bit_rate: stage.clips.bit_rate(),
            interrupted,
            measured: self.measured.map(|(first, last)| last.since(&first)).unwrap_or_default(),
            seconds: self.measured_for.1.as_secs_f64(),
            times: stage.recorder.times(),
            video_jitter: jitters(|live| live.video_jitter_us.load(Relaxed)),
            audio_jitter: jitters(|live| live.audio_jitter_us.load(Relaxed)),
            errors: stage.recorder.errors(),
            examples: stage.examples(),
            joins: stage.recorder.joins.load(Relaxed),
            leaves: stage.recorder.leaves.load(Relaxed),
            reconnects: stage.recorder.reconnects.load(Relaxed),
            unknown_payloads: stage.recorder.unknown_payloads.load(Relaxed),
            late_frames: stage.recorder.sending.late.load(Relaxed),
            sent_frames: stage.recorder.sending.frames.load(Relaxed),
            keyframe_requests: stage.recorder.sending.keyframe_requests.load(Relaxed),
            retransmitted: stage.recorder.sending.retransmitted.load(Relaxed),
            feedback_sent: stage.recorder.feedback_sent.load(Relaxed),
            feedback_received: stage.recorder.sending.feedback.load(Relaxed),
            paused_sizes: stage.recorder.sending.paused.load(Relaxed),
            server_cpu: self.server_cpu.sum,
            bots_cpu: self.bots_cpu.1 - self.bots_cpu.0,
            receive_buffer_errors: self.buffer_errors.1 - self.buffer_errors.0,
            samples: self.samples,
            metrics: self.metrics,
            metrics_error: self.metrics_error,
        }
    }

    fn close_books(&mut self) {
        let totals = self.totals();
        if let Some((_, last)) = &mut self.measured {
            *last = totals;
        }
        if let Some(start) = self.measured_for.0 {
            self.measured_for.1 = start.elapsed();
            self.buffer_errors.1 = server::receive_buffer_errors();
            self.server_cpu.read(server::usage_of(&self.processes).cpu);
            self.bots_cpu.1 = server::own_usage().cpu;
        }
    }

    async fn scrape(&mut self) -> Option<BTreeMap<String, f64>> {
        if self.metrics_path.is_empty() {
            return None;
        }
        match self.stage.rest.metrics(&self.metrics_path).await {
            Ok(page) => Some(server::read_metrics(&page)),
            Err(error) => {
                self.metrics_error = Some(error.to_string());
                None
            }
        }
    }

    /// Streams that should reach somebody, and how many of them do.
    fn flows(&self, now: Instant) -> (usize, usize) {
        let rooms = self.rooms();
        let at = (now - self.stage.recorder.epoch).as_millis() as u64;
        let recent = |last: u64| last > 0 && at.saturating_sub(last) < FLOWS_WITHIN.as_millis() as u64;
        let mut flowing: BTreeMap<usize, usize> = BTreeMap::new();
        for live in self.stage.recorder.subscriptions().iter().filter(|live| !live.ended.load(Relaxed)) {
            let audio = !live.expects_audio || recent(live.last_audio.load(Relaxed));
            let video = !live.expects_video || recent(live.last_video.load(Relaxed));
            *flowing.entry(live.room).or_insert(0) += usize::from(audio && video);
        }
        rooms.iter().fold((0, 0), |(all, flow), room| {
            let expected = room.expected(now, GRACE);
            let flows = flowing.get(&room.index).copied().unwrap_or(0);
            // Streams of others, as of a browser in the room, are not expected, and do not make up for missing ones.
            (all + expected, flow + flows.min(expected))
        })
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for live in self.stage.recorder.subscriptions() {
            totals.packets += live.packets.load(Relaxed);
            totals.bytes += live.bytes.load(Relaxed);
            totals.lost += live.lost.load(Relaxed);
            totals.recovered += live.recovered.load(Relaxed);
            totals.frames += live.frames.load(Relaxed);
            totals.freezes += live.freezes.load(Relaxed);
            totals.frozen_us += live.frozen_us.load(Relaxed);
            totals.keyframe_requests += live.keyframe_requests.load(Relaxed);
            totals.opened += live.opened.load(Relaxed);
            totals.unopened += live.unopened.load(Relaxed);
        }
        totals
    }

    fn rooms(&self) -> Rooms {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn twice(value: f64) -> (f64, f64) {
    (value, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_takes_nothing_back() {
        let mut spent = Spent { last: 10.0, sum: 0.0 };
        [11.0, 11.5, 2.0, 2.5].into_iter().for_each(|cpu| spent.read(cpu));
        assert_eq!(spent.sum, 2.0);
    }
}
