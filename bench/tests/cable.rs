//! A cable in place: what comes at the client's end is datagrams where the card does not cut runs, and the run as it is
//! where it does. It needs root, as `--wire` does.

use std::fs;
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use millrace_bench::cable::{Cable, Card};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

/// Bytes of a datagram.
const SIZE: u16 = 1_000;
/// Datagrams of the run.
const DATAGRAMS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this system lets us have networks of our own; that it does not is said, and is no fault of the cable.
fn is_permitted() -> bool {
    let tried = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap();
    if let Err(error) = tried {
        eprintln!("not tested: no network namespace, {error}");
    }
    tried.is_ok()
}

/// Sends one run from the servers' end and gives what the client's end received at its subscriber's socket, in datagrams,
/// and from the cable, in packets.
fn send_a_run(card: Card) -> (usize, u64) {
    // Whoever lays a cable is moved to its end: a thread of its own, so that tests do not meet.
    std::thread::spawn(move || {
        let cable = Cable::lay(card, 0).unwrap();
        let client = UdpSocket::bind("127.20.0.5:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (to, servers) = (client.local_addr().unwrap(), cable.servers());
        std::thread::spawn(move || {
            setns(fs::File::open(servers).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let run = vec![7; usize::from(SIZE) * DATAGRAMS];
            let to: std::net::SocketAddrV4 = to.to_string().parse().unwrap();
            let sent = sendmsg(
                server.as_raw_fd(),
                &[IoSlice::new(&run)],
                &[ControlMessage::UdpGsoSegments(&SIZE)],
                MsgFlags::empty(),
                Some(&SockaddrIn::from(to)),
            );
            assert_eq!(sent, Ok(run.len()));
        })
        .join()
        .unwrap();
        let mut buffer = [0; 2_000];
        let got = (0..DATAGRAMS).filter(|_| client.recv(&mut buffer).unwrap() == usize::from(SIZE)).count();
        let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let device = devices.lines().find(|line| line.trim_start().starts_with('c')).unwrap();
        let packets = device.split_whitespace().nth(2).unwrap().parse().unwrap();
        // The kernel's threads have begun to look for more: it was not the sender who received.
        let (before, started) = (cable.cpu().unwrap(), Instant::now());
        while cable.cpu().unwrap() == before {
            assert!(started.elapsed() < PATIENCE, "nobody polls the client's end");
            std::thread::yield_now();
        }
        (got, packets)
    })
    .join()
    .unwrap()
}

#[test]
fn a_plain_card_gets_datagrams_that_the_server_was_charged_with_cutting() {
    if is_permitted() {
        assert_eq!(send_a_run(Card::Plain), (DATAGRAMS, DATAGRAMS as u64));
    }
}

#[test]
fn a_card_that_cuts_runs_gets_them_whole() {
    if is_permitted() {
        assert_eq!(send_a_run(Card::Offload), (DATAGRAMS, 1));
    }
}
