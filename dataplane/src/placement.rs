//! Which worker gets a new transport.
//!
//! A publisher's packets cost the least where all who get them are on its own worker: none is copied to another, and none
//! wakes two. So a subscriber's transport goes where its publisher's is, and a publisher's to the worker that has the
//! fewest transports. A large audience is not for one core: it is dealt out in slices of [`SLICE`], each to the worker
//! that has the fewest then. That many share the price of a packet's copy, which is then small.
//!
//! Transports are counted, not their traffic, which nobody knows when they come. Where that has gone wrong, because the
//! audiences of one worker's publishers grew and those of another's did not, slices end early.

use std::collections::HashMap;

use dataplane_protocol::TransportId;

/// Subscribers of a publisher that are given to one worker before the next one is looked for; also by how many transports
/// a worker may be ahead of another one before it gets no more of anybody's.
const SLICE: u32 = 48;

/// Where transports are.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Transports of each worker.
    loads: Vec<u32>,
    places: HashMap<TransportId, Place>,
}

#[derive(Debug)]
struct Place {
    worker: u32,
    /// The publisher that it was to be near.
    near: Option<TransportId>,
    /// Where the next subscriber of this one goes, and how many of the present slice there are.
    slice: (u32, u32),
}

impl Placement {
    /// No transports on `workers` workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { loads: vec![0; workers.max(1)], places: HashMap::new() }
    }

    /// The worker for `transport`, which is new and, if it is a subscriber's, to be near that publisher.
    pub(crate) fn place(&mut self, transport: TransportId, near: Option<TransportId>) -> u32 {
        let idlest = self.idlest();
        let least = self.loads[idlest as usize];
        let worker = match near.and_then(|near| self.places.get_mut(&near)) {
            Some(publisher) => {
                let (worker, taken) = publisher.slice;
                let is_ahead = self.loads[worker as usize] > least + SLICE;
                publisher.slice = if taken >= SLICE || is_ahead { (idlest, 1) } else { (worker, taken + 1) };
                publisher.slice.0
            }
            None => idlest,
        };
        self.loads[worker as usize] += 1;
        self.places.insert(transport, Place { worker, near, slice: (worker, 0) });
        worker
    }

    /// `transport` has gone.
    pub(crate) fn remove(&mut self, transport: TransportId) {
        let Some(place) = self.places.remove(&transport) else { return };
        self.loads[place.worker as usize] -= 1;
        if let Some(publisher) = place.near.and_then(|near| self.places.get_mut(&near))
            && publisher.slice.0 == place.worker
        {
            publisher.slice.1 = publisher.slice.1.saturating_sub(1);
        }
    }

    /// The worker with the fewest transports, the first one of several.
    fn idlest(&self) -> u32 {
        let least = (0..).zip(&self.loads).min_by_key(|(_, load)| **load);
        least.map_or(0, |(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> TransportId {
        TransportId(number)
    }

    #[test]
    fn small_rooms_stay_together_and_workers_get_equally_many() {
        let mut placement = Placement::new(4);
        for room in 0..20 {
            let home = placement.place(id(room * 100), None);
            let audience: Vec<_> = (1..10).map(|n| placement.place(id(room * 100 + n), Some(id(room * 100)))).collect();
            assert!(audience.iter().all(|worker| *worker == home), "{audience:?}");
        }
        assert_eq!(placement.loads, [50; 4]);
    }

    #[test]
    fn publishers_that_all_come_first_are_spread() {
        let mut placement = Placement::new(2);
        let homes: Vec<_> = (0..6).map(|publisher| placement.place(id(publisher), None)).collect();
        assert_eq!(homes, [0, 1, 0, 1, 0, 1]);
        for n in 0..60 {
            placement.place(id(100 + n), Some(id(n % 6)));
        }
        assert_eq!(placement.loads, [33, 33]);
    }

    #[test]
    fn a_large_audience_is_dealt_out_in_slices() {
        let mut placement = Placement::new(2);
        placement.place(id(0), None);
        let workers: Vec<_> = (1..=96).map(|n| placement.place(id(n), Some(id(0)))).collect();
        assert_eq!(workers.iter().filter(|worker| **worker == 0).count(), 48);
        assert_eq!(workers.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1);
        assert_eq!(placement.loads, [49, 48]);
    }

    #[test]
    fn those_who_leave_make_room_in_their_slice() {
        let mut placement = Placement::new(2);
        placement.place(id(0), None);
        for n in 1..=1000 {
            assert_eq!(placement.place(id(n), Some(id(0))), 0, "one at a time, so that there is always room");
            placement.remove(id(n));
        }
        assert_eq!((&placement.loads[..], placement.places.len()), (&[1, 0][..], 1));
    }

    #[test]
    fn one_whose_publisher_is_unknown_goes_to_the_idlest() {
        let mut placement = Placement::new(2);
        placement.place(id(1), None);
        assert_eq!(placement.place(id(2), Some(id(77))), 1);
        placement.remove(id(1));
        assert_eq!(placement.place(id(3), Some(id(1))), 0, "gone is as good as unknown");
    }

    proptest! {
        /// Whoever comes and goes: books agree with what is there, and among those who only come no worker falls behind.
        #[test]
        fn books_are_kept(steps in prop::collection::vec((0_u64..200, prop::option::of(0_u64..200), prop::bool::ANY), 1..600)) {
            let mut placement = Placement::new(3);
            let mut there = HashMap::new();
            for (transport, near, comes) in steps {
                if comes && !there.contains_key(&transport) {
                    there.insert(transport, placement.place(id(transport), near.map(id)));
                } else if !comes {
                    there.remove(&transport);
                    placement.remove(id(transport));
                }
                for worker in 0..3 {
                    let count = there.values().filter(|of| **of == worker).count();
                    prop_assert_eq!(placement.loads[worker as usize] as usize, count);
                }
            }
        }

        #[test]
        fn nobody_falls_behind_by_more_than_a_slice(nears in prop::collection::vec(prop::option::of(0_u64..20), 1..600)) {
            let mut placement = Placement::new(3);
            for (transport, near) in (0..).zip(nears) {
                placement.place(id(transport), near.map(id));
                let (least, most) = (placement.loads.iter().min().unwrap(), placement.loads.iter().max().unwrap());
                prop_assert!(most - least <= SLICE + 1, "{:?}", placement.loads);
            }
        }
    }
}
