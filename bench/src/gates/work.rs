//! The steps themselves, so often as is asked for. Everything is prepared for the longest run, so that two runs differ
//! by what is counted and by nothing else.

use std::hint::black_box;

use dataplane_core::TxBatch;
use dataplane_core::srtp::{Inbound, Outbound};
use dataplane_core::wire::rtp::RtpHeader;
use dataplane_core::wire::{demux, ext};
use dataplane_protocol::SrtpProfile;

use crate::rig::{DATAGRAM, FRAME, Plan, Rig, keys, tag_len};

/// A step of forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Classifying a datagram.
    Demux,
    /// Reading header and extensions.
    Parse,
    /// Opening, by AES-GCM or AES-CM.
    Open {
        /// AES-CM with HMAC-SHA1.
        cm: bool,
    },
    /// Sealing.
    Seal {
        /// AES-CM with HMAC-SHA1.
        cm: bool,
    },
    /// One frame of a publisher through a shard to so many subscribers; without any, it is only kept.
    Forward {
        /// How many.
        subscribers: usize,
        /// AES-CM with HMAC-SHA1.
        cm: bool,
    },
    /// One frame of each of so many publishers to ten subscribers each.
    Rooms {
        /// How many publishers.
        rooms: usize,
    },
}

impl Work {
    /// Its name as an argument: [`Work::named`] reads it.
    pub fn argument(self) -> String {
        let profile = |cm| if cm { "cm" } else { "gcm" };
        match self {
            Self::Demux => "demux".to_owned(),
            Self::Parse => "parse".to_owned(),
            Self::Open { cm } => format!("open:{}", profile(cm)),
            Self::Seal { cm } => format!("seal:{}", profile(cm)),
            Self::Forward { subscribers, cm } => format!("forward:{}:{subscribers}", profile(cm)),
            Self::Rooms { rooms } => format!("rooms:{rooms}"),
        }
    }

    /// The step of a name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let parts: Vec<_> = name.split(':').collect();
        let cm = parts.get(1) == Some(&"cm");
        Some(match parts[..] {
            ["demux"] => Self::Demux,
            ["parse"] => Self::Parse,
            ["open", "gcm" | "cm"] => Self::Open { cm },
            ["seal", "gcm" | "cm"] => Self::Seal { cm },
            ["forward", "gcm" | "cm", subscribers] => Self::Forward { subscribers: subscribers.parse().ok()?, cm },
            ["rooms", rooms] => Self::Rooms { rooms: rooms.parse().ok()? },
            _ => return None,
        })
    }

    /// Packets that one repetition is counted as.
    pub fn packets(self) -> usize {
        match self {
            Self::Demux | Self::Parse | Self::Open { .. } | Self::Seal { .. } => 1,
            Self::Forward { subscribers, .. } => FRAME * subscribers.max(1),
            Self::Rooms { rooms } => rooms * 10 * FRAME,
        }
    }

    /// Does it `length` times, prepared for `longest` times.
    pub fn run(self, length: usize, longest: usize) {
        match self {
            Self::Demux => {
                let packets = sealed(SrtpProfile::AeadAes128Gcm, 1);
                for _ in 0..length {
                    black_box(demux::classify(black_box(&packets[0])));
                }
            }
            Self::Parse => {
                let packets = sealed(SrtpProfile::AeadAes128Gcm, 1);
                for _ in 0..length {
                    let bytes = black_box(packets[0].as_slice());
                    if let Ok(header) = RtpHeader::parse(bytes) {
                        ext::elements(bytes, &header).for_each(|element| {
                            black_box(element);
                        });
                    }
                }
            }
            Self::Open { cm } => open(profile(cm), length, longest),
            Self::Seal { cm } => seal(profile(cm), length),
            Self::Forward { subscribers, cm } => {
                let mut rig = Rig::new(subscribers, profile(cm), 9);
                forward(&mut rig, 1, length, longest);
            }
            Self::Rooms { rooms } => {
                let profile = SrtpProfile::AeadAes128Gcm;
                let mut rig = Rig::with(Plan { rooms, subscribers: 10, profile, port: 9, publisher: None });
                forward(&mut rig, rooms, length, longest);
            }
        }
    }
}

fn profile(cm: bool) -> SrtpProfile {
    if cm { SrtpProfile::Aes128CmSha1_80 } else { SrtpProfile::AeadAes128Gcm }
}

/// The first packets of a publisher, as they come.
fn sealed(profile: SrtpProfile, count: usize) -> Vec<Vec<u8>> {
    let mut rig = Rig::new(0, profile, 9);
    let mut packets = Vec::with_capacity(count + FRAME);
    while packets.len() < count {
        rig.send_frame(|packet| packets.push(packet.to_vec()));
    }
    packets
}

fn open(profile: SrtpProfile, length: usize, longest: usize) {
    let keys = keys(profile);
    let Ok(mut inbound) = Inbound::new(profile, &keys.remote_key, &keys.remote_salt) else { return };
    let mut packets = sealed(profile, longest);
    for packet in packets.iter_mut().take(length) {
        let Ok(header) = RtpHeader::parse(packet) else { return };
        let opened = inbound.unprotect_rtp(packet, header.header_len, header.ssrc, header.sequence);
        assert!(black_box(opened).is_ok(), "the publisher's packets open");
    }
}

fn seal(profile: SrtpProfile, length: usize) {
    let keys = keys(profile);
    let Ok(outbound) = Outbound::new(profile, &keys.local_key, &keys.local_salt) else { return };
    let mut packet = vec![0x5a; 1_500];
    for index in 0..length {
        let _ = black_box(outbound.protect_rtp(&mut packet, DATAGRAM - tag_len(profile), 28, index as u64));
    }
}

fn forward(rig: &mut Rig, publishers: usize, length: usize, longest: usize) {
    let mut batch = TxBatch::new(1 << 20, 1_024);
    // The first frame starts the subscriptions.
    for _ in 0..publishers {
        rig.feed();
        rig.drain(&mut batch, |_| {});
    }
    rig.seal_ahead(longest);
    for _ in 0..length * publishers {
        rig.feed();
        rig.drain(&mut batch, |_| {});
    }
}
