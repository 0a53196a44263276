//! Frames over a real cable: a veth pair between two networks of our own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dataplane_core::{Path, TxBatch};
use tokio::sync::oneshot;

use super::{Card, Lookup};
use crate::net::{MediaSocket, Sender, bind_group};

const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";
const HERE_6: &str = "2001:db8::1";
const THERE_6: &str = "2001:db8::2";
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `ip` in the calling thread's network; returns what it prints.
fn ip(arguments: &str) -> String {
    let done = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Gives the calling thread a network of its own; false, and said, where the system does not permit that.
fn own_network() -> bool {
    // SAFETY: it takes no pointers, and only this thread has another network afterwards.
    let is_permitted = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !is_permitted || Command::new("ip").arg("-V").output().is_err() {
        eprintln!("not tested: no network of our own, or no `ip` to set it up");
        return false;
    }
    true
}

/// The far end of the cable: a thread in a network of its own, which takes orders.
struct Far {
    orders: Option<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
    id: libc::pid_t,
}

impl Far {
    fn start() -> Self {
        let (orders, inbox) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            assert!(own_network());
            // SAFETY: it takes nothing and cannot fail.
            tell.send(unsafe { libc::gettid() }).unwrap();
            for order in inbox {
                order();
            }
        });
        Self { orders: Some(orders), thread: Some(thread), id: told.recv().unwrap() }
    }

    fn run<T: Send + 'static>(&self, order: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.orders.as_ref().unwrap().send(Box::new(move || tell.send(order()).unwrap())).unwrap();
        told.recv().unwrap()
    }

    fn client(&self, address: &'static str) -> UdpSocket {
        self.run(move || {
            let socket = UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Both ends joined, and a worker's sender at this one.
struct Cable {
    far: Far,
    sockets: Vec<MediaSocket>,
    sender: Sender,
    stop: Option<oneshot::Sender<()>>,
    lookup: Option<JoinHandle<()>>,
    sent: u8,
}

impl Cable {
    /// In the calling thread's network, which is to be its own.
    fn lay() -> Self {
        let far = Far::start();
        ip(&format!(
            "link add near address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02 netns {}",
            far.id
        ));
        for (address, wide) in [(HERE, "24"), (HERE_6, "64")] {
            ip(&format!("address add {address}/{wide} dev near nodad"));
        }
        ip("link set lo up");
        // No address comes by itself, later: that would be a change.
        ip("link set near addrgenmode none");
        ip("link set near up");
        far.run(|| {
            ip("link set far addrgenmode none");
            for (address, wide) in [(THERE, "24"), (THERE_6, "64")] {
                ip(&format!("address add {address}/{wide} dev far nodad"));
            }
            ip("link set far up");
        });
        // The kernel's last news of it.
        let begun = Instant::now();
        while !ip("-o link show near").contains("state UP") {
            assert!(begun.elapsed() < PATIENCE, "the cable is not up");
        }
        let (sockets, port) = bind_group(&[], 0, 1).unwrap();
        let (mut ports, lookup) = Lookup::new(1);
        let card = Card::open(port, ports.remove(0), 7).unwrap();
        let (stop, stopped) = oneshot::channel();
        let lookup = spawn_here(move || lookup.run(stopped).unwrap());
        Self {
            far,
            sockets: sockets.into_iter().next().unwrap(),
            sender: Sender::with_card(true, Some(card)),
            stop: Some(stop),
            lookup: Some(lookup),
            sent: 0,
        }
    }

    /// Sends a run of three and a shorter one, and another of one, to a client, which must get them whole and in order.
    fn exchange(&mut self, client: &UdpSocket, local: &str, len: usize) {
        let path = Path { remote: client.local_addr().unwrap(), local: local.parse().unwrap() };
        let mut batch = TxBatch::new(1 << 20, 64);
        let lens = [len, len, len, len - 7, 90];
        let first = self.sent;
        for len in lens {
            let fill = self.sent;
            self.sent = fill.wrapping_add(1);
            assert!(batch.push(path, |out| {
                out[..len].fill(fill);
                Some(len)
            }));
        }
        assert_eq!(batch.runs().len(), 2, "a run and a single datagram");
        self.sender.flush(&self.sockets, &batch);
        let from = SocketAddr::new(path.local, self.sockets[0].bound().port());
        let mut buffer = [0; 2_000];
        for (at, expected) in lens.into_iter().enumerate() {
            let (got, sender) = client.recv_from(&mut buffer).expect("a datagram");
            let fill = first.wrapping_add(at as u8);
            assert_eq!((got, sender), (expected, from));
            assert!(buffer[..got].iter().all(|byte| *byte == fill), "{fill}: {:?}", &buffer[..8]);
        }
    }

    fn by_card(&self) -> u64 {
        self.sender.counters().by_card
    }

    /// Goes on until `len` bytes leave as frames.
    fn until_by_card(&mut self, client: &UdpSocket, local: &str, len: usize) {
        let (begun, before) = (Instant::now(), self.by_card());
        while self.by_card() == before {
            assert!(begun.elapsed() < PATIENCE, "nothing leaves by the card: {:?}", self.sender.counters());
            self.exchange(client, local, len);
        }
    }
}

impl Cable {
    /// Nobody looks for ways any more, nor notices what changes.
    fn stop_looking(&mut self) {
        if let (Some(stop), Some(lookup)) = (self.stop.take(), self.lookup.take()) {
            let _ = stop.send(());
            assert!(lookup.join().is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop_looking();
    }
}

/// A thread in the calling thread's network, as every thread is that it starts.
fn spawn_here(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(body)
}

/// Runs `test` in a network of its own, unless the system forbids that.
fn with_cable(test: impl FnOnce(&mut Cable) + Send + 'static) {
    let checked = std::thread::spawn(move || {
        if own_network() {
            test(&mut Cable::lay());
        }
    });
    checked.join().unwrap();
}

#[test]
fn frames_arrive_as_what_the_socket_sends() {
    with_cable(|cable| {
        for (here, there) in [(HERE, THERE), (HERE_6, THERE_6)] {
            let client = cable.far.client(there);
            cable.until_by_card(&client, here, 1_200);
            let (before, calls) = (cable.sender.counters(), 300);
            for _ in 0..calls {
                cable.exchange(&client, here, 1_200);
            }
            let after = cable.sender.counters();
            assert_eq!(after.datagrams - before.datagrams, 5 * calls);
            assert_eq!((after.card_refused, after.failed, after.would_block, after.unreachable), (0, 0, 0, 0));
            // All but what the socket's turns take: of 600 runs two or three.
            let by_socket = 5 * calls - (after.by_card - before.by_card);
            assert!((2..=12).contains(&by_socket), "{by_socket} datagrams by the socket");
        }
    });
}

#[test]
fn a_next_hop_with_another_address_is_followed() {
    with_cable(|cable| {
        let client = cable.far.client(THERE);
        cable.until_by_card(&client, HERE, 600);
        // Its card is replaced, and it says so, as hosts do.
        cable.far.run(|| {
            ip("link set far address 02:00:00:00:00:99");
        });
        ip(&format!("neigh replace {THERE} lladdr 02:00:00:00:00:99 dev near nud reachable"));
        // Until the change is noticed frames may go to nobody.
        let is_noticed = |cable: &mut Cable| {
            let before = cable.by_card();
            let path = Path { remote: client.local_addr().unwrap(), local: HERE.parse().unwrap() };
            let mut batch = TxBatch::new(1_000, 4);
            assert!(batch.push(path, |out| {
                out[..100].fill(0xcc);
                Some(100)
            }));
            cable.sender.flush(&cable.sockets, &batch);
            cable.by_card() == before
        };
        let begun = Instant::now();
        while !is_noticed(cable) {
            assert!(begun.elapsed() < PATIENCE, "the change is not noticed");
            std::thread::yield_now();
        }
        let (client, sent) = (cable.far.client(THERE), cable.sent);
        cable.until_by_card(&client, HERE, 600);
        assert_ne!(sent, cable.sent);
        cable.exchange(&client, HERE, 600);
    });
}

#[test]
fn what_is_longer_than_the_path_takes_the_socket_and_arrives() {
    with_cable(|cable| {
        ip("route add 203.0.113.0/24 via 192.0.2.2 mtu 1000");
        cable.far.run(|| ip("address add 203.0.113.5/32 dev far"));
        let client = cable.far.client("203.0.113.5");
        cable.until_by_card(&client, HERE, 900);
        let before = cable.sender.counters();
        for _ in 0..20 {
            cable.exchange(&client, HERE, 1_200);
        }
        let after = cable.sender.counters();
        // The single datagrams of 90 bytes still fit.
        assert!(after.by_card - before.by_card <= 20, "{after:?}");
        assert_eq!(after.fragmented - before.fragmented, 4 * 20);
    });
}

#[test]
fn the_loopback_and_whom_nobody_answers_for_have_no_way() {
    with_cable(|cable| {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..200 {
            cable.exchange(&own, "127.0.0.1", 1_200);
        }
        let nobody = Path { remote: "192.0.2.77:9".parse().unwrap(), local: HERE.parse().unwrap() };
        for _ in 0..200 {
            let mut batch = TxBatch::new(1_000, 4);
            assert!(batch.push(nobody, |out| {
                out[..100].fill(1);
                Some(100)
            }));
            cable.sender.flush(&cable.sockets, &batch);
        }
        assert_eq!((cable.by_card(), cable.sender.counters().card_refused), (0, 0));
    });
}

#[test]
fn an_interface_that_is_gone_leaves_everything_to_the_socket() {
    with_cable(|cable| {
        let client = cable.far.client(THERE);
        cable.until_by_card(&client, HERE, 600);
        ip("link del near");
        let path = Path { remote: client.local_addr().unwrap(), local: HERE.parse().unwrap() };
        let before = cable.sender.counters();
        for _ in 0..20 {
            let mut batch = TxBatch::new(1_000, 4);
            assert!(batch.push(path, |out| {
                out[..100].fill(1);
                Some(100)
            }));
            cable.sender.flush(&cable.sockets, &batch);
        }
        let after = cable.sender.counters();
        assert_eq!(after.by_card, before.by_card, "{after:?}");
        assert_eq!(after.unreachable + after.failed - before.unreachable - before.failed, 20, "{after:?}");
        // Others go on: at least one frame was refused, and not so many that frames were given up.
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        cable.exchange(&own, "127.0.0.1", 600);
    });
}

#[test]
fn frames_are_not_given_up_for_an_interface_that_is_down_for_a_while() {
    with_cable(|cable| {
        cable.far.run(|| ip("address add 192.0.2.3/24 dev far"));
        let (client, other) = (cable.far.client(THERE), cable.far.client("192.0.2.3"));
        cable.until_by_card(&client, HERE, 600);
        cable.until_by_card(&other, HERE, 600);
        // As if what is next came before the news.
        cable.stop_looking();
        ip("link set near down");
        let path = Path { remote: client.local_addr().unwrap(), local: HERE.parse().unwrap() };
        let mut batch = TxBatch::new(100_000, 64);
        for len in 100..140 {
            // Each is longer than the one before, and so a run of its own.
            assert!(batch.push(path, |out| {
                out[..len].fill(1);
                Some(len)
            }));
        }
        assert_eq!(batch.runs().len(), 40);
        cable.sender.flush(&cable.sockets, &batch);
        let refused = cable.sender.counters();
        assert!(refused.card_refused >= 30, "{refused:?}");
        assert_eq!(refused.unreachable + refused.failed, 40, "{refused:?}");
        ip("link set near up");
        cable.until_by_card(&other, HERE, 600);
    });
}

#[test]
fn an_address_that_is_not_ours_is_not_sent_from() {
    with_cable(|cable| {
        let client = cable.far.client(THERE_6);
        cable.until_by_card(&client, HERE_6, 600);
        let foreign = ["2001:db8::77", "ff02::1"];
        let send = |cable: &mut Cable| {
            for local in foreign.iter().flat_map(|local| std::iter::repeat_n(local, 100)) {
                let path = Path { remote: client.local_addr().unwrap(), local: local.parse().unwrap() };
                let mut batch = TxBatch::new(1_000, 4);
                assert!(batch.push(path, |out| {
                    out[..100].fill(1);
                    Some(100)
                }));
                cable.sender.flush(&cable.sockets, &batch);
            }
        };
        send(cable);
        // Questions are answered in turn: what was asked before this one has its answer.
        let last = cable.far.client(THERE);
        cable.until_by_card(&last, HERE, 600);
        let before = cable.by_card();
        send(cable);
        assert_eq!(cable.by_card(), before);
    });
}
