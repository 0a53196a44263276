// Somebody on the path between the clients and the media port, who keeps copies, can send as a client, gives clients new
// addresses, loses datagrams, and cuts the path.

import { createSocket } from 'node:dgram';

import { random } from './random.mjs';

/** Datagrams kept of each client, the newest. */
const KEPT = 500;

/** Listens on 127.0.0.1 and passes datagrams to and from `port()`; clients must be told of this relay's port. */
export async function startRelay() {
  const relay = new Relay();
  await relay.listen();
  return relay;
}

class Relay {
  constructor() {
    this.flows = new Map();
    this.random = random(7);
    this.front = createSocket('udp4');
    this.front.on('message', (datagram, from) => this.up(datagram, from));
  }

  listen() {
    return new Promise((resolve, reject) => {
      this.front.once('error', reject);
      this.front.bind(0, '127.0.0.1', () => {
        this.port = this.front.address().port;
        resolve();
      });
    });
  }

  /** Where the server is. */
  target(port) {
    this.mediaPort = port;
  }

  up(datagram, from) {
    const key = `${from.address}:${from.port}`;
    let flow = this.flows.get(key);
    if (!flow) {
      flow = { from, captured: [], socket: this.upstream(from) };
      this.flows.set(key, flow);
    }
    flow.captured.push(datagram);
    if (flow.captured.length > KEPT) flow.captured.shift();
    if (!this.isCut(flow.socket) && !this.isLost(datagram)) flow.socket.send(datagram, this.mediaPort, '127.0.0.1');
  }

  upstream({ address, port }) {
    const socket = createSocket('udp4');
    socket.on('message', (answer) => {
      if (!this.isCut(socket) && !this.isLost(answer)) this.front.send(answer, port, address);
    });
    return socket;
  }

  /** From now on one in `n` datagrams of media (RFC 7983) is lost, either way; 0: none. */
  loseOneIn(n) {
    this.oneIn = n;
    this.lost = 0;
  }

  /** From now on nothing passes, or nothing of those whom the server knows by these ports; nobody is told. */
  cut(ports) {
    const sockets = [...this.flows.values()].map(({ socket }) => socket);
    const isCut = (socket) => ports.includes(socket.address().port);
    this.cutSockets = ports ? new Set(sockets.filter(isCut)) : 'all';
  }

  /** Everything passes again. */
  mend() {
    this.cutSockets = undefined;
  }

  isCut(socket) {
    return this.cutSockets === 'all' || Boolean(this.cutSockets?.has(socket));
  }

  isLost(datagram) {
    const isMedia = datagram[0] >= 128 && datagram[0] < 192;
    if (!this.oneIn || !isMedia || this.random(this.oneIn)) return false;
    this.lost += 1;
    return true;
  }

  /** As a NAT that forgets: every client comes from a new port from now on, and the old ones are closed. */
  rebind() {
    for (const flow of this.flows.values()) {
      flow.socket.close();
      flow.socket = this.upstream(flow.from);
    }
  }

  /** Copies of what all clients sent lately, each with a function that sends as that client. */
  captured() {
    return [...this.flows.values()].flatMap(({ socket, captured }) => {
      const send = (datagram) => socket.send(datagram, this.mediaPort, '127.0.0.1');
      return captured.map((datagram) => ({ datagram, send }));
    });
  }

  close() {
    this.front.close();
    for (const { socket } of this.flows.values()) socket.close();
  }
}
