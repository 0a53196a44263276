//! The gate of rule 3: after warm-up a forwarded packet allocates nothing, nor does what goes with it (retransmissions
//! both ways, feedback, reports), counted by the allocator itself while the shard is driven with real SRTP packets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane_core::TxBatch;
use dataplane_core::wire::rtcp::ReportBlock;
use dataplane_protocol::SrtpProfile;
use millrace_bench::rig::{FRAME, Rig, subscriber_path};

/// Of the subscribers; nothing is sent.
const PORT: u16 = 4_000;

thread_local! {
    /// Allocations of this thread: tests run side by side.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches a const-initialised
// thread-local without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` with this layout, as `alloc` passes everything on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as for `dealloc`, and the caller's promise about `new_size` is passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn forwarded_without_allocating(profile: SrtpProfile, subscribers: usize) {
    let mut rig = Rig::new(subscribers, profile, PORT);
    let mut batch = TxBatch::new(1 << 20, 4_096);
    // Warm-up: a full history ring, every queue once.
    for _ in 0..300 {
        rig.feed();
        rig.drain(&mut batch, |_| {});
    }
    let (forwarded_before, dropped_before) = rig.counts();
    let before = allocations();
    let mut datagrams = 0;
    for _ in 0..1_000 {
        rig.feed();
        datagrams += rig.drain(&mut batch, |_| {});
    }
    let during = allocations() - before;
    let (forwarded, dropped) = rig.counts();
    assert_eq!(forwarded - forwarded_before, (1_000 * FRAME * subscribers) as u64);
    assert!(datagrams >= forwarded - forwarded_before);
    assert_eq!(dropped, dropped_before);
    assert_eq!(during, 0, "{during} allocations for {} packets", forwarded - forwarded_before);
}

#[test]
fn gcm_forwarding_allocates_nothing() {
    forwarded_without_allocating(SrtpProfile::AeadAes128Gcm, 10);
}

#[test]
fn gcm_256_forwarding_allocates_nothing() {
    forwarded_without_allocating(SrtpProfile::AeadAes256Gcm, 3);
}

#[test]
fn cm_forwarding_allocates_nothing() {
    forwarded_without_allocating(SrtpProfile::Aes128CmSha1_80, 10);
}

/// What a call does besides forwarding, a hundred times: a packet is lost, asked for and repaired; a subscriber asks
/// for one and gets it; reports of all kinds come and go.
fn calls_with_losses(rig: &mut Rig, batch: &mut TxBatch, rounds: u32) -> u64 {
    let (publisher, ssrc) = rig.first_publisher();
    let subscriber = subscriber_path(0, PORT);
    let mut datagrams = 0;
    for round in 0..rounds {
        let lost = round as usize % (FRAME - 1);
        rig.feed_but(lost);
        let mut last = (0, 0);
        datagrams += rig.drain(batch, |batch| {
            let to_it = batch.datagrams().filter(|(path, bytes)| *path == subscriber && bytes.len() > 1_000);
            for (_, bytes) in to_it {
                last = (
                    u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
                    u16::from_be_bytes([bytes[2], bytes[3]]),
                );
            }
        });
        // The gap is asked for when it is 10 ms old, which the next frame is.
        rig.pass(20);
        rig.run_timers();
        datagrams += rig.drain(batch, |_| {});
        rig.repair(lost);
        let (media, sequence) = last;
        rig.report(subscriber, |writer| {
            writer.receiver_report(7, &[block(media)]);
            writer.nack(7, media, &[sequence]);
        });
        let ntp = (rig.unix_micros() / 1_000_000 + 2_208_988_800) << 32;
        rig.report(publisher, |writer| {
            writer.sender_report(ssrc, ntp, round * 3_000, round, round, &[]);
        });
        datagrams += rig.drain(batch, |_| {});
    }
    datagrams
}

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock { ssrc, fraction_lost: 1, cumulative_lost: 1, highest_sequence: 1, jitter: 1, lsr: 0, dlsr: 0 }
}

#[test]
fn losses_repairs_and_reports_allocate_nothing() {
    let mut rig = Rig::new(3, SrtpProfile::AeadAes128Gcm, PORT);
    let mut batch = TxBatch::new(1 << 20, 4_096);
    calls_with_losses(&mut rig, &mut batch, 150);
    rig.consent(3, PORT);
    rig.drain(&mut batch, |_| {});
    let was = rig.stats();
    let before = allocations();
    calls_with_losses(&mut rig, &mut batch, 200);
    let during = allocations() - before;
    let is = rig.stats();
    assert_eq!(is.rtp_forwarded - was.rtp_forwarded, 200 * (FRAME * 3) as u64, "repaired packets are forwarded too");
    assert_eq!(is.rtp_retransmitted - was.rtp_retransmitted, 200, "one for each request");
    assert_eq!(is.rtcp_received - was.rtcp_received, 400);
    assert!(is.rtcp_sent - was.rtcp_sent > 200, "NACKs, feedback and reports: {}", is.rtcp_sent - was.rtcp_sent);
    assert_eq!(Rig::dropped(&is), Rig::dropped(&was));
    assert_eq!(during, 0, "{during} allocations");
}

#[test]
fn the_gate_can_fail() {
    let before = allocations();
    let boxed = std::hint::black_box(Box::new([0u8; 64]));
    assert!(allocations() > before);
    drop(boxed);
}
