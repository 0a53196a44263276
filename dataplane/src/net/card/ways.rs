//! What a worker knows of its destinations: which of them frames can be sent to, and how.
//!
//! A destination begins with the socket, so that the kernel meets a narrow path or a next hop that does not answer while
//! somebody listens; then its way is asked for. Now and then a run goes by the socket again: the kernel asks next hops
//! whether they are there only while it sends to them itself, and tells only sockets that a path has become narrow.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use dataplane_core::Path;
use foldhash::fast::FixedState;

use super::frame::{ETHERNET, overhead};

/// Runs that go by the socket before a way is asked for: the first seconds of a call.
const FIRST_TURNS: u32 = 32;
/// One run in so many goes by the socket.
pub(super) const SOCKET_TURN: u32 = 256;
/// Runs between two questions that were not answered, or not with a way.
const ASK_AGAIN: u32 = 4_096;
/// Destinations that there is room for from the start.
const USUAL_DESTINATIONS: usize = 1_024;
/// Most destinations that are remembered. When there are more, all are forgotten and begin again.
const MAX_DESTINATIONS: usize = 16_384;

/// How the host sends to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Index of the interface.
    pub(crate) interface: u32,
    /// Next hop, own address, type of what follows.
    pub(crate) ethernet: [u8; ETHERNET],
    /// Most bytes of an IP packet.
    pub(crate) mtu: u32,
}

impl Way {
    /// Whether it carries datagrams of `len` bytes in one piece.
    fn takes(&self, ends: Ends, len: usize) -> bool {
        len + overhead(ends.remote) <= self.mtu as usize
    }
}

/// Both ends of a flow, without ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
}

impl Ends {
    pub(super) fn of(path: &Path) -> Self {
        Self { local: path.local, remote: path.remote.ip() }
    }
}

// One word for two IPv4 addresses: it is computed for every run.
impl Hash for Ends {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.local, self.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => [local, remote].hash(state),
        }
    }
}

/// What is to be done with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is sent by the socket.
    Socket,
    /// So is it, and the way is to be asked for.
    Ask,
    /// It is sent as frames.
    Card(Way),
}

#[derive(Clone, Copy, Debug)]
struct Destination {
    /// Runs so far.
    turns: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has been asked.
    New,
    /// Asked at this turn, and not answered, or answered that there is no way.
    Asked(u32),
    Known(Way),
}

/// The table.
#[derive(Debug)]
pub(super) struct Ways {
    destinations: HashMap<Ends, Destination, FixedState>,
    /// Of the routes and neighbours that it was filled from.
    generation: u64,
}

impl Ways {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            destinations: HashMap::with_capacity_and_hasher(USUAL_DESTINATIONS, FixedState::with_seed(seed)),
            generation: 0,
        }
    }

    /// Tells that routes or neighbours are now those of `generation`: if it is another one, no way is known any more.
    pub(super) fn renew(&mut self, generation: u64) {
        if generation != self.generation {
            self.generation = generation;
            for destination in self.destinations.values_mut() {
                destination.state = State::New;
            }
        }
    }

    /// Takes the answer to a question. One of an earlier generation leaves the destination as it is, to be asked for again.
    pub(super) fn learn(&mut self, ends: Ends, generation: u64, way: Option<Way>) {
        let Some(destination) = self.destinations.get_mut(&ends) else { return };
        if generation != self.generation {
            destination.state = State::New;
        } else if let Some(way) = way {
            destination.state = State::Known(way);
        }
    }

    /// Tells that datagrams of `len` bytes are too long for a destination: if it was known to take them, its way is asked
    /// for again.
    pub(super) fn doubt(&mut self, ends: Ends, len: usize) {
        if let Some(destination) = self.destinations.get_mut(&ends)
            && let State::Known(way) = destination.state
            && way.takes(ends, len)
        {
            destination.state = State::New;
        }
    }

    /// Tells that a question could not be put: it is due again with the next run.
    pub(super) fn postpone(&mut self, ends: Ends) {
        if let Some(destination) = self.destinations.get_mut(&ends) {
            destination.state = State::New;
        }
    }

    /// Tells that frames to a destination were refused.
    pub(super) fn refuse(&mut self, ends: Ends) {
        if let Some(destination) = self.destinations.get_mut(&ends) {
            destination.state = State::Asked(destination.turns);
        }
    }

    /// What is to be done with a run whose datagrams have up to `len` bytes.
    pub(super) fn turn(&mut self, ends: Ends, len: usize) -> Turn {
        if self.destinations.len() >= MAX_DESTINATIONS && !self.destinations.contains_key(&ends) {
            self.destinations.clear();
        }
        let destination = self.destinations.entry(ends).or_insert(Destination { turns: 0, state: State::New });
        destination.turns = destination.turns.wrapping_add(1);
        let turns = destination.turns;
        match destination.state {
            State::Known(way) if !turns.is_multiple_of(SOCKET_TURN) => {
                if way.takes(ends, len) {
                    Turn::Card(way)
                } else {
                    Turn::Socket
                }
            }
            State::New if turns > FIRST_TURNS => {
                destination.state = State::Asked(turns);
                Turn::Ask
            }
            State::Asked(at) if turns.wrapping_sub(at) > ASK_AGAIN => {
                destination.state = State::Asked(turns);
                Turn::Ask
            }
            State::New | State::Asked(_) | State::Known(_) => Turn::Socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way { interface: 2, ethernet: [7; ETHERNET], mtu: 1_500 };

    fn ends(n: u16) -> Ends {
        let [high, low] = n.to_be_bytes();
        Ends { local: [192, 0, 2, 1].into(), remote: [10, 0, high, low].into() }
    }

    /// Turns until the next question, that one included.
    fn until_asked(ways: &mut Ways, ends: Ends) -> u32 {
        (1..).find(|_| ways.turn(ends, 100) == Turn::Ask).unwrap()
    }

    #[test]
    fn a_destination_begins_with_the_socket_and_comes_back_to_it_now_and_then() {
        let mut ways = Ways::new(1);
        assert_eq!(until_asked(&mut ways, ends(1)), FIRST_TURNS + 1);
        assert_eq!(ways.turn(ends(1), 100), Turn::Socket, "not asked twice");
        ways.learn(ends(1), 0, Some(WAY));
        let turns: Vec<_> = (0..4 * SOCKET_TURN).map(|_| ways.turn(ends(1), 100)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == Turn::Socket).count(), 4);
        assert!(turns.iter().all(|turn| matches!(turn, Turn::Socket | Turn::Card(WAY))));
        assert_eq!(ways.turn(ends(2), 100), Turn::Socket, "others are not concerned");
    }

    #[test]
    fn what_is_too_long_for_its_way_goes_by_the_socket() {
        let mut ways = Ways::new(1);
        until_asked(&mut ways, ends(1));
        ways.learn(ends(1), 0, Some(WAY));
        assert_eq!(ways.turn(ends(1), 1_472), Turn::Card(WAY));
        assert_eq!(ways.turn(ends(1), 1_473), Turn::Socket);
    }

    #[test]
    fn a_way_that_was_to_carry_what_it_does_not_is_asked_for_again() {
        let mut ways = Ways::new(1);
        until_asked(&mut ways, ends(1));
        ways.learn(ends(1), 0, Some(WAY));
        ways.doubt(ends(1), 1_473);
        assert_eq!(ways.turn(ends(1), 100), Turn::Card(WAY), "that was known");
        ways.doubt(ends(1), 1_200);
        assert_eq!(ways.turn(ends(1), 100), Turn::Ask);
    }

    #[test]
    fn no_way_outlives_the_routes_that_it_was_found_by() {
        let mut ways = Ways::new(1);
        until_asked(&mut ways, ends(1));
        ways.learn(ends(1), 0, Some(WAY));
        ways.renew(1);
        assert_eq!(ways.turn(ends(1), 100), Turn::Ask);
        // An answer that was under way meanwhile.
        ways.learn(ends(1), 0, Some(WAY));
        assert_eq!(ways.turn(ends(1), 100), Turn::Ask);
        ways.learn(ends(1), 1, Some(WAY));
        assert_eq!(ways.turn(ends(1), 100), Turn::Card(WAY));
    }

    #[test]
    fn where_there_is_no_way_it_is_asked_for_again_much_later() {
        let mut ways = Ways::new(1);
        until_asked(&mut ways, ends(1));
        ways.learn(ends(1), 0, None);
        assert_eq!(until_asked(&mut ways, ends(1)), ASK_AGAIN + 1);
        ways.learn(ends(1), 0, Some(WAY));
        assert_eq!(ways.turn(ends(1), 100), Turn::Card(WAY));
        ways.refuse(ends(1));
        assert_eq!(until_asked(&mut ways, ends(1)), ASK_AGAIN + 1);
    }

    #[test]
    fn a_question_that_could_not_be_put_is_due_again() {
        let mut ways = Ways::new(1);
        until_asked(&mut ways, ends(1));
        ways.postpone(ends(1));
        assert_eq!(ways.turn(ends(1), 100), Turn::Ask);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut ways = Ways::new(1);
        for n in 0..=u16::MAX {
            ways.turn(ends(n), 100);
            assert!(ways.destinations.len() <= MAX_DESTINATIONS);
        }
        // An answer for whom it has forgotten.
        ways.learn(ends(0), 0, Some(WAY));
        assert_eq!(ways.turn(ends(0), 100), Turn::Socket);
    }
}
