//! A run from its plan to its outcome: media, ramp, measuring, the steps of the story, and the end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::SrtpProtectionProfile;
use crate::bot::{Command, Network, Participant, Room, Rooms};
use crate::live::View;
use crate::media;
use crate::openvidu::{Rest, Trust};
use crate::options::{Plan, PlannedStep};
use crate::outcome::{Outcome, Phase};
use crate::recorder::Recorder;
use crate::sampler::Sampler;
use crate::stage::{Clips, Layer, Stage};

/// All must have joined so long after the last one began to.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// From then on streams have so long to begin.
const SETTLE: Duration = Duration::from_secs(5);
/// All must have left within.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);
/// Who leaves stays away up to so long.
const AWAY: Duration = Duration::from_secs(3);

/// Everybody in a run.
struct Crowd {
    stage: Arc<Stage>,
    plan: Plan,
    rooms: Arc<Mutex<Rooms>>,
    commands: Arc<Mutex<Vec<mpsc::UnboundedSender<Command>>>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    random: SmallRng,
}

/// Does the run. Ctrl-C ends it early, with what was measured until then.
///
/// # Errors
/// Why there is nothing to report.
pub(crate) async fn run(plan: Plan) -> Result<Outcome, String> {
    let view = View::new();
    let rest = rest_of(&plan)?;
    // Before minutes are spent on media.
    rest.greet().await.map_err(|error| error.to_string())?;
    let clips = make_media(&plan, &view).await?;
    let stage = Arc::new(stage_of(&plan, clips, rest));
    let mut crowd = Crowd {
        stage: Arc::clone(&stage),
        rooms: Arc::default(),
        commands: Arc::default(),
        tasks: Arc::default(),
        random: SmallRng::seed_from_u64(plan.seed),
        plan,
    };
    let mut sampler = Sampler::new(Arc::clone(&stage), &crowd.plan, Arc::clone(&crowd.rooms));
    let interrupted = crowd.measure(&mut sampler, &view).await?;
    view.phase("leaving", None);
    crowd.leave(&mut sampler, &view).await;
    view.finish();
    Ok(sampler.outcome(&crowd.plan, &stage, interrupted))
}

async fn make_media(plan: &Plan, view: &View) -> Result<Clips, String> {
    view.phase("making media, once", None);
    let (dir, ffmpeg) = (&plan.media_dir, &plan.ffmpeg);
    let mut clips = Clips::default();
    if plan.publishers == 0 {
        return Ok(clips);
    }
    if let Some(audio) = plan.audio {
        clips.audio = Some(Arc::new(media::make(&audio, dir, ffmpeg).await.map_err(|error| error.to_string())?));
    }
    let Some(video) = plan.video else { return Ok(clips) };
    let divisors: &[u32] = if plan.simulcast { &[4, 2, 1] } else { &[1] };
    for divisor in divisors {
        let spec = if *divisor == 1 { video } else { video.scaled(*divisor) };
        let clip = media::make(&spec, dir, ffmpeg).await.map_err(|error| error.to_string())?;
        // As openvidu-browser names them.
        clips.video.push(Layer { rid: format!("rdiv{divisor}"), spec, clip: Arc::new(clip) });
    }
    Ok(clips)
}

/// Whether the server is on this machine.
fn is_local(plan: &Plan) -> bool {
    let rest = plan.url.split("://").nth(1).unwrap_or_default();
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    host == "localhost" || host.starts_with("127.") || rest.starts_with("[::1]")
}

fn trust(plan: &Plan) -> Trust {
    if is_local(plan) || plan.insecure { Trust::Anybody } else { Trust::Authorities }
}

fn rest_of(plan: &Plan) -> Result<Rest, String> {
    Rest::new(&plan.url, &plan.secret, trust(plan)).map_err(|error| error.to_string())
}

fn stage_of(plan: &Plan, clips: Clips, rest: Rest) -> Stage {
    let (gcm, sha1) =
        (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80);
    let profiles = match plan.srtp.as_deref() {
        Some("gcm") => vec![gcm],
        Some("sha1") => vec![sha1],
        _ => vec![gcm, sha1],
    };
    Stage {
        rest,
        trust: trust(plan),
        is_local: is_local(plan),
        clips,
        network: Arc::new(Network::new(plan.up, plan.down)),
        recorder: Arc::new(Recorder::new()),
        verify: plan.verify.0,
        is_dtls_client: plan.is_dtls_client,
        transport_cc: plan.transport_cc,
        adapts: plan.adapts,
        profiles,
        examples: Mutex::default(),
    }
}

impl Crowd {
    /// Ramp, settling, and the measured time; true: it was interrupted.
    async fn measure(&mut self, sampler: &mut Sampler, view: &View) -> Result<bool, String> {
        let total = self.plan.rooms * self.plan.participants;
        let ramp = Duration::from_secs_f64(total as f64 / self.plan.ramp);
        view.phase("joining", Some(total as u64));
        // The first room tells whether there is a server that lets anybody in.
        self.open_room(0).await?;
        let filling = self.fill(0, self.plan.rooms);
        let deadline = Instant::now() + ramp + JOIN_WITHIN;
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        let mut interrupt = async || {
            // Without a handler the default action ends the process anyway.
            let _ = (&mut interrupt).await;
        };
        let watch = async {
            loop {
                sampler.tick(Phase::Ramp, view).await;
                let there = sampler.present() >= total && filling.is_finished();
                if there || Instant::now() >= deadline || (filling.is_finished() && self.is_empty()) {
                    break;
                }
            }
            let settled = Instant::now() + SETTLE;
            while Instant::now() < settled {
                sampler.tick(Phase::Ramp, view).await;
            }
            sampler.begin_measuring().await;
            view.phase("measuring", Some(self.plan.duration.as_secs()));
            let start = Instant::now();
            let mut steps = self.plan.steps.clone().into_iter().peekable();
            while start.elapsed() < self.plan.duration {
                while let Some(step) = steps.next_if(|step| step.at <= start.elapsed()) {
                    self.step(&step, view);
                }
                sampler.tick(Phase::Measured, view).await;
                view.position(start.elapsed().as_secs());
            }
            sampler.end_measuring().await;
        };
        tokio::select! {
            () = watch => Ok(false),
            () = interrupt() => Ok(true),
        }
    }

    /// Creates the sessions from `first` on and sends participants in, at the ramp's pace.
    fn fill(&mut self, first: usize, count: usize) -> tokio::task::JoinHandle<()> {
        let members = count * self.plan.participants;
        let seeds: Vec<u64> = (0..members).map(|_| self.random.random()).collect();
        let (stage, rooms, commands) = (Arc::clone(&self.stage), Arc::clone(&self.rooms), Arc::clone(&self.commands));
        let (tasks, plan) = (Arc::clone(&self.tasks), self.plan.clone());
        tokio::spawn(async move {
            let start = Instant::now();
            for (number, seed) in seeds.into_iter().enumerate() {
                let due = start + Duration::from_secs_f64(number as f64 / plan.ramp);
                tokio::time::sleep_until(due.into()).await;
                let (index, place) = (first + number / plan.participants, number % plan.participants);
                if place == 0
                    && index > 0
                    && let Err(error) = open_room(&stage, &plan, &rooms, index).await
                {
                    stage.recorder.error("session cannot be created");
                    stage.explain("session cannot be created", &error);
                }
                let Some(room) = lock(&rooms).iter().find(|room| room.index == index).cloned() else { continue };
                let (sender, receiver) = mpsc::unbounded_channel();
                lock(&commands).push(sender);
                let publishes = place < plan.publishers;
                let participant = Participant { stage: Arc::clone(&stage), room, place, publishes, seed };
                lock(&tasks).spawn(participant.run(receiver));
            }
        })
    }

    async fn open_room(&self, index: usize) -> Result<(), String> {
        open_room(&self.stage, &self.plan, &self.rooms, index).await
    }

    fn is_empty(&self) -> bool {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.is_empty()
    }

    fn step(&mut self, step: &PlannedStep, view: &View) {
        let mut told = Vec::new();
        if let Some((up, down)) = step.conditions {
            self.stage.network.change(up, down);
            told.push("the network changes".to_owned());
        }
        let mut everybody: Vec<_> = (0..lock(&self.commands).len()).collect();
        everybody.shuffle(&mut self.random);
        // Nobody is chosen for both.
        let share = |share: f64| (everybody.len() as f64 * share).round() as usize;
        let (leaving, dropped) = (share(step.leave_and_rejoin), share(step.drop_sockets));
        let dropped = dropped.min(everybody.len() - leaving);
        for (number, index) in everybody.iter().take(leaving + dropped).enumerate() {
            let away = AWAY.mul_f64(0.3 + 0.7 * self.random.random::<f64>());
            let command = if number < leaving { Command::LeaveAndRejoin(away) } else { Command::DropSocket };
            let _ = lock(&self.commands)[*index].send(command);
        }
        if leaving > 0 {
            told.push(format!("{leaving} leave and come back"));
        }
        if dropped > 0 {
            told.push(format!("{dropped} lose their socket"));
        }
        if step.add_rooms > 0 {
            let first = self.plan.rooms;
            self.plan.rooms += step.add_rooms;
            drop(self.fill(first, step.add_rooms));
            told.push(format!("{} more rooms", step.add_rooms));
        }
        if !told.is_empty() {
            view.tell(&format!("at {:.0} s: {}", step.at.as_secs_f64(), told.join(", ")));
        }
    }

    async fn leave(&self, sampler: &mut Sampler, view: &View) {
        for command in lock(&self.commands).drain(..) {
            let _ = command.send(Command::Leave);
        }
        let deadline = Instant::now() + LEAVE_WITHIN;
        while !self.is_empty() && Instant::now() < deadline {
            sampler.tick(Phase::Leaving, view).await;
        }
        let late = lock(&self.tasks).len();
        if late > 0 {
            (0..late).for_each(|_| self.stage.recorder.error("participant did not leave in time"));
            lock(&self.tasks).abort_all();
        }
        if self.plan.keep_sessions {
            return;
        }
        let rooms = lock(&self.rooms).clone();
        for room in rooms {
            if let Err(error) = self.stage.rest.end_session(&room.session).await {
                self.stage.recorder.error("session cannot be ended");
                self.stage.explain("session cannot be ended", &error);
            }
        }
    }
}

async fn open_room(stage: &Stage, plan: &Plan, rooms: &Mutex<Rooms>, index: usize) -> Result<(), String> {
    let session = format!("{}-{}", plan.room_prefix, index + 1);
    let codec = plan.video.map(|video| video.codec.name());
    stage.rest.session(&session, codec).await.map_err(|error| error.to_string())?;
    lock(rooms).push(Arc::new(Room::new(index, session, plan.participants)));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
