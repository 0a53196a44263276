//! ICE-lite: binding requests, and the claim that the first good one makes.

use dataplane_protocol::TransportState;

use super::{Fate, Route, Shard};
use crate::io::{Claims, Datagram, MAX_DATAGRAM, Output, Path, PeerMessage};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transport::Transport;
use crate::wire::stun::{self, Class, Message};

/// Longest answer: a success with an IPv6 address, or an error with its reason.
const ANSWER: usize = 256;
/// Paths of one transport that may be routed to another worker.
const MAX_FOREIGN: usize = 16;

/// A binding request that is to be refused.
struct Refusal {
    code: u16,
    reason: &'static str,
    counted: DropReason,
    /// Signed with the transport's key, for a requester that is who it says it is.
    signed: bool,
}

/// What a good check says.
#[derive(Clone, Copy)]
struct Check {
    endpoint: usize,
    transaction: [u8; 12],
    priority: u32,
    nominate: bool,
}

impl Shard {
    pub(super) fn on_stun(
        &mut self,
        now: Instant,
        claims: &dyn Claims,
        datagram: &Datagram,
    ) -> Result<Fate, DropReason> {
        let bytes = &self.pool.bytes(datagram.buffer)[..datagram.len];
        let message = Message::parse(bytes).map_err(|_| DropReason::StunMalformed)?;
        if message.class() != Class::Request || message.method() != stun::BINDING {
            // Indications are keep-alives and need no answer; responses answer nothing that was sent.
            return Err(DropReason::StunMalformed);
        }
        if !message.verify_fingerprint() {
            return Err(DropReason::StunFingerprint);
        }
        let transaction = message.transaction_id();
        let endpoint = self.find_user(&message)?;
        match self.examine(&message, endpoint) {
            Ok(check) => self.accept(now, claims, datagram, check),
            Err(refusal) => {
                self.counters.drop(refusal.counted);
                self.refuse(now, datagram, endpoint, transaction, &refusal)
            }
        }
    }

    /// The endpoint that the USERNAME names: `ours:theirs` (RFC 8445 7.2.2).
    fn find_user(&self, message: &Message<'_>) -> Result<usize, DropReason> {
        let username = message.username().ok_or(DropReason::StunUnknownUser)?;
        let (ours, theirs) = username.split_once(':').ok_or(DropReason::StunUnknownUser)?;
        let key = *self.ufrags.get(ours).ok_or(DropReason::StunUnknownUser)?;
        match &self.endpoints[key].remote_ufrag {
            Some(remote) if **remote != *theirs => Err(DropReason::StunUnknownUser),
            _ => Ok(key),
        }
    }

    fn examine(&self, message: &Message<'_>, endpoint: usize) -> Result<Check, Refusal> {
        if !message.has_integrity() || !message.verify_integrity(&self.endpoints[endpoint].key) {
            return Err(Refusal {
                code: 401,
                reason: "Unauthenticated",
                counted: DropReason::StunUnauthenticated,
                signed: false,
            });
        }
        if message.unknown_required().0 > 0 {
            return Err(Refusal {
                code: 420,
                reason: "Unknown Attribute",
                counted: DropReason::StunMalformed,
                signed: true,
            });
        }
        // A lite agent is always the controlled one (RFC 8445 6.1.1); who claims to be that too is wrong.
        if message.ice_controlled().is_some() {
            return Err(Refusal {
                code: 487,
                reason: "Role Conflict",
                counted: DropReason::StunMalformed,
                signed: true,
            });
        }
        Ok(Check {
            endpoint,
            transaction: message.transaction_id(),
            priority: message.priority().unwrap_or(0),
            nominate: message.use_candidate(),
        })
    }

    fn refuse(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        endpoint: usize,
        transaction: [u8; 12],
        refusal: &Refusal,
    ) -> Result<Fate, DropReason> {
        if !self.may_refuse(now) {
            return Err(DropReason::StunFlood);
        }
        let mut answer = [0; ANSWER];
        let key = &self.endpoints[endpoint].key;
        let len = if refusal.code == 420 {
            let bytes = &self.pool.bytes(datagram.buffer)[..datagram.len];
            let unknown = Message::parse(bytes).map(|message| message.unknown_required()).unwrap_or_default();
            stun::write_unknown_attributes(&mut answer, transaction, &unknown.1[..unknown.0.min(8)], Some(key))
        } else {
            stun::write_error(&mut answer, transaction, refusal.code, refusal.reason, refusal.signed.then_some(key))
        };
        if let Some(len) = len {
            self.send_control(datagram.path, &answer[..len]);
        }
        Ok(Fate::Done)
    }

    fn accept(
        &mut self,
        now: Instant,
        claims: &dyn Claims,
        datagram: &Datagram,
        check: Check,
    ) -> Result<Fate, DropReason> {
        let key = check.endpoint;
        self.current = Some(key);
        let (slot, id) = (self.endpoints[key].slot, self.endpoints[key].id);
        let me = self.config.worker;
        if self.endpoints[key].live.is_none() {
            let owner = claims.claim(slot, me);
            if owner != me {
                self.route_elsewhere(key, owner, datagram);
                return self.hand_over(owner, id, datagram);
            }
            self.claim(now, key);
            self.refuse_copy(datagram, check)?;
            let answered = self.answer(now, datagram, check);
            // Only now, because it names the selected path.
            self.tell_state(key);
            return answered;
        }
        self.refuse_copy(datagram, check)?;
        self.answer(now, datagram, check)
    }

    /// A copy of a check must move nothing: no path, no consent, no answer.
    fn refuse_copy(&mut self, datagram: &Datagram, check: Check) -> Result<(), DropReason> {
        let live = self.endpoints[check.endpoint].live.as_mut().ok_or(DropReason::UnknownPath)?;
        if live.paths.is_copy(datagram.path, check.transaction) { Err(DropReason::StunReplay) } else { Ok(()) }
    }

    /// Another worker owns the transport: what comes on this path goes to it from here on.
    fn route_elsewhere(&mut self, key: usize, worker: u32, datagram: &Datagram) {
        let endpoint = &mut self.endpoints[key];
        if endpoint.foreign.contains(&datagram.path) {
            return;
        }
        if endpoint.foreign.len() >= MAX_FOREIGN {
            let oldest = endpoint.foreign.remove(0);
            self.routes.remove(&oldest);
        }
        endpoint.foreign.push(datagram.path);
        self.routes.insert(datagram.path, Route::Foreign { transport: endpoint.id, worker });
    }

    /// Makes the transport this shard's own.
    fn claim(&mut self, now: Instant, key: usize) {
        let receiver_ssrc = self.random() as u32;
        let endpoint = &mut self.endpoints[key];
        let id = endpoint.id;
        endpoint.live = Some(Box::new(Transport::new(now, receiver_ssrc)));
        self.counters.claims += 1;
        for at in 0..self.endpoints[key].tracks.len() {
            let track = self.endpoints[key].tracks[at];
            self.make_home(key, track);
        }
        self.output(Output::Claimed { transport: id });
        self.tell_all_peers(&PeerMessage::Claimed { transport: id });
    }

    fn answer(&mut self, now: Instant, datagram: &Datagram, check: Check) -> Result<Fate, DropReason> {
        let key = check.endpoint;
        let Some(live) = self.endpoints[key].live.as_mut() else { return Err(DropReason::UnknownPath) };
        live.packets_received += 1;
        live.bytes_received += datagram.len as u64;
        let checked = live.paths.on_check(now, datagram.path, check.priority, check.nominate);
        let revived = live.state == TransportState::Disconnected;
        if revived {
            live.state = TransportState::Connected;
        }
        // Consent is timed from every check, but the wheel need not turn for each: it looks again when it runs.
        self.wheel.schedule(key as u32, live.paths.consent_ends());
        if let Some(evicted) = checked.evicted {
            self.forget_path(evicted);
        }
        if checked.added {
            self.routes.insert(datagram.path, Route::Local(key));
        }
        // Again if a check has come by another worker: the kernel has not been told, or has forgotten.
        if self.config.workers > 1 && (checked.added || self.by_ring) {
            self.output(Output::FlowHere { remote: datagram.path.remote });
        }
        let mut answer = [0; ANSWER];
        let len =
            stun::write_binding_success(&mut answer, check.transaction, datagram.path.remote, &self.endpoints[key].key);
        if let Some(len) = len {
            self.counters.stun_answered += 1;
            self.send_control(datagram.path, &answer[..len]);
        }
        if revived {
            self.wheel.schedule(key as u32, now);
            self.tell_state(key);
            self.want_keyframes_for(now, key);
        }
        Ok(Fate::Done)
    }

    /// A transport of this shard is not reached by `path` any more.
    pub(super) fn forget_path(&mut self, path: Path) {
        self.routes.remove(&path);
        if self.config.workers > 1 {
            self.output(Output::FlowGone { remote: path.remote });
        }
    }

    /// Gives a datagram to the worker that owns its transport.
    pub(super) fn hand_over(
        &mut self,
        worker: u32,
        transport: dataplane_protocol::TransportId,
        datagram: &Datagram,
    ) -> Result<Fate, DropReason> {
        const _: () = assert!(ANSWER < MAX_DATAGRAM);
        let bytes = &self.pool.bytes(datagram.buffer)[..datagram.len];
        let bytes = crate::io::Bytes1500::copy_from(bytes).ok_or(DropReason::TooLong)?;
        self.counters.cross_datagrams_out += 1;
        self.tell_peer(worker, PeerMessage::Datagram { transport, path: datagram.path, bytes });
        Ok(Fate::Done)
    }
}
