//! Finds the ways: asks the kernel's routing and neighbour tables as its own sending would, on a thread of its own, and
//! notices when they change.
//!
//! Only what is plain Ethernet has a way: a unicast route without encapsulation, over an Ethernet interface that is up, to a
//! next hop whose address the kernel knows.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel;
use futures_util::StreamExt;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::{mpsc, oneshot};

use super::frame::ETHERNET;
use super::ways::{Ends, Way};

/// Questions that may wait.
const QUEUE: usize = 1_024;
/// Answers that may wait for a worker: what it has asked since it looked, and what was waiting then.
const ANSWERS: usize = 4 * QUEUE;
/// Everything is looked up anew so often, whatever the kernel has told.
const REFRESH: Duration = Duration::from_secs(120);
/// Longest wait for the kernel, which loses answers when it has too much to tell.
const PATIENCE: Duration = Duration::from_secs(1);
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// Whatever may change a way.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

struct Question {
    worker: usize,
    ends: Ends,
}

/// What became of a question.
pub(super) struct Answer {
    pub(super) ends: Ends,
    pub(super) generation: u64,
    pub(super) way: Option<Way>,
}

/// A worker's end: asks, and takes answers when it looks for them.
pub(crate) struct WayPort {
    worker: usize,
    questions: mpsc::Sender<Question>,
    answers: channel::Receiver<Answer>,
    generation: Arc<AtomicU64>,
}

impl WayPort {
    /// Of the routes and neighbours as they are now.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts a question, if there is room for it.
    pub(super) fn ask(&self, ends: Ends) -> bool {
        self.questions.try_send(Question { worker: self.worker, ends }).is_ok()
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// The other end.
pub(crate) struct Lookup {
    questions: mpsc::Receiver<Question>,
    answers: Vec<channel::Sender<Answer>>,
    generation: Arc<AtomicU64>,
}

impl Lookup {
    /// The ends of so many workers, and the other one.
    pub(crate) fn new(workers: usize) -> (Vec<WayPort>, Self) {
        let (asking, questions) = mpsc::channel(QUEUE);
        let generation = Arc::new(AtomicU64::new(0));
        let mut answers = Vec::with_capacity(workers);
        let ports = (0..workers)
            .map(|worker| {
                let (sender, receiver) = channel::bounded(ANSWERS);
                answers.push(sender);
                let (questions, generation) = (asking.clone(), Arc::clone(&generation));
                WayPort { worker, questions, answers: receiver, generation }
            })
            .collect();
        (ports, Self { questions, answers, generation })
    }

    /// Answers until `stop`, or until all workers have ended.
    ///
    /// # Errors
    /// When the system refuses a socket to ask it by.
    pub(crate) fn run(self, stop: oneshot::Receiver<()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve(stop))
    }

    async fn serve(mut self, mut stop: oneshot::Receiver<()>) -> io::Result<()> {
        let (connection, handle, mut changes) = new_multicast_connection(&GROUPS)?;
        tokio::spawn(connection);
        let mut tables = Tables { handle, links: HashMap::new(), hops: HashMap::new() };
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.tick().await;
        let mut is_told = true;
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                change = changes.next(), if is_told => match change {
                    Some((message, _)) if tables.is_changed_by(&message) => self.renew(&mut tables),
                    Some(_) => {}
                    None => {
                        is_told = false;
                        // Nothing can be asked either.
                        self.renew(&mut tables);
                        tracing::error!("the kernel tells no more of routes: media goes by the socket from now on");
                    }
                },
                _ = refresh.tick() => self.renew(&mut tables),
                question = self.questions.recv() => {
                    let Some(Question { worker, ends }) = question else { return Ok(()) };
                    let generation = self.generation.load(Ordering::Relaxed);
                    let way = tokio::time::timeout(PATIENCE, tables.way(ends)).await.ok().flatten();
                    tracing::debug!(found = way.is_some(), "a way was looked for");
                    // A worker that does not look has nothing to send.
                    let _ = self.answers[worker].try_send(Answer { ends, generation, way });
                }
            }
        }
    }

    fn renew(&self, tables: &mut Tables) {
        tables.links.clear();
        tables.hops.clear();
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// An Ethernet interface that is up.
#[derive(Clone, Copy, Debug)]
struct Link {
    address: [u8; 6],
    mtu: u32,
}

/// What the kernel has told so far, and how to ask it.
struct Tables {
    handle: Handle,
    links: HashMap<u32, Option<Link>>,
    /// By interface and address.
    hops: HashMap<(u32, IpAddr), [u8; 6]>,
}

impl Tables {
    async fn way(&mut self, ends: Ends) -> Option<Way> {
        if ends.local.is_unspecified() || is_link_local(ends.remote) || !self.is_own(ends.local).await {
            return None;
        }
        let Route { interface, hop, mtu } = self.route(ends).await?;
        let link = self.link(interface).await?;
        let to = match self.hops.get(&(interface, hop)) {
            Some(known) => *known,
            None => {
                let found = self.neighbour(interface, hop).await?;
                self.hops.insert((interface, hop), found);
                found
            }
        };
        let mut ethernet = [0; ETHERNET];
        ethernet[..6].copy_from_slice(&to);
        ethernet[6..12].copy_from_slice(&link.address);
        ethernet[12..].copy_from_slice(if ends.remote.is_ipv4() { &ETHERTYPE_IPV4 } else { &ETHERTYPE_IPV6 });
        Some(Way { interface, ethernet, mtu: mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)) })
    }

    /// Whether this host has an address. For IPv4 the kernel sees to that when it is asked for a route from there.
    async fn is_own(&self, local: IpAddr) -> bool {
        if local.is_ipv4() {
            return true;
        }
        self.ask_for_route(local, None).await.is_some_and(|answer| answer.header.kind == RouteType::Local)
    }

    async fn route(&self, ends: Ends) -> Option<Route> {
        route(&self.ask_for_route(ends.remote, Some(ends.local)).await?, ends.remote)
    }

    async fn ask_for_route(&self, to: IpAddr, from: Option<IpAddr>) -> Option<RouteMessage> {
        let mut message = RouteMessage::default();
        let bits = if to.is_ipv4() { 32 } else { 128 };
        message.header.address_family = family(to);
        message.header.destination_prefix_length = bits;
        message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(to))];
        if let Some(from) = from {
            message.header.source_prefix_length = bits;
            message.attributes.push(RouteAttribute::Source(RouteAddress::from(from)));
        }
        self.handle.route().get(message).execute().next().await?.ok()
    }

    async fn link(&mut self, index: u32) -> Option<Link> {
        if let Some(known) = self.links.get(&index) {
            return *known;
        }
        let answer = self.handle.link().get().match_index(index).execute().next().await?.ok()?;
        let flags = answer.header.flags;
        let is_plain = answer.header.link_layer_type == LinkLayerType::Ether
            && flags.contains(LinkFlags::Up)
            && !flags.intersects(LinkFlags::Loopback | LinkFlags::Noarp | LinkFlags::Pointopoint);
        let (mut address, mut mtu) = (None, None);
        for attribute in &answer.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => address = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                LinkAttribute::Mtu(bytes) => mtu = Some(*bytes),
                _ => {}
            }
        }
        let link = address.zip(mtu).filter(|_| is_plain).map(|(address, mtu)| Link { address, mtu });
        self.links.insert(index, link);
        link
    }

    async fn neighbour(&mut self, interface: u32, hop: IpAddr) -> Option<[u8; 6]> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(hop);
        message.header.ifindex = interface;
        let address = match hop {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes = vec![NeighbourAttribute::Destination(address)];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message));
        // One entry and not the table, which may be large.
        request.header.flags = NLM_F_REQUEST;
        let answer = self.handle.request(request).ok()?.next().await?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => hardware_address(&entry),
            _ => None,
        }
    }

    /// Whether a way that was handed out may not be one any more. Neighbours come and go all the time: only those that were
    /// asked for count.
    fn is_changed_by(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
        match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
                self.known(entry).is_some_and(|known| hardware_address(entry).is_none_or(|address| address != known))
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(entry)) => self.known(entry).is_some(),
            NetlinkPayload::Noop | NetlinkPayload::Done(_) => false,
            // Routes, rules, addresses, interfaces; or the kernel had more to tell than there was room for.
            _ => true,
        }
    }

    fn known(&self, entry: &NeighbourMessage) -> Option<[u8; 6]> {
        let hop = entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        })?;
        self.hops.get(&(entry.header.ifindex, hop)).copied()
    }
}

struct Route {
    interface: u32,
    hop: IpAddr,
    mtu: Option<u32>,
}

/// What a route says, if frames can take it.
fn route(message: &RouteMessage, remote: IpAddr) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut interface, mut hop, mut mtu) = (None, remote, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => hop = (*v4).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => hop = (*v6).into(),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(bytes) => Some(*bytes),
                    _ => None,
                });
            }
            RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::NewDestination(_)
            | RouteAttribute::NewDestinationAddress(_) => return None,
            _ => {}
        }
    }
    Some(Route { interface: interface?, hop, mtu })
}

/// Of a neighbour that has answered, be it long ago.
fn hardware_address(entry: &NeighbourMessage) -> Option<[u8; 6]> {
    if matches!(entry.header.state, NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed) {
        return None;
    }
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// Whether an address means another host on every interface.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
