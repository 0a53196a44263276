//! The gate of rule 3: after warm-up a forwarded packet allocates nothing, counted by the allocator itself while
//! the shard is driven with real SRTP packets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane_core::TxBatch;
use dataplane_protocol::SrtpProfile;
use millrace_bench::rig::{FRAME, Rig};

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
    let mut rig = Rig::new(subscribers, profile, 4_000);
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

#[test]
fn the_gate_can_fail() {
    let before = allocations();
    let boxed = std::hint::black_box(Box::new([0u8; 64]));
    assert!(allocations() > before);
    drop(boxed);
}
