// Somebody on the path between the clients and the media port, who keeps copies, can send as a client, and can give
// clients new addresses.

import { createSocket } from 'node:dgram';

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
    flow.socket.send(datagram, this.mediaPort, '127.0.0.1');
  }

  upstream({ address, port }) {
    const socket = createSocket('udp4');
    socket.on('message', (answer) => this.front.send(answer, port, address));
    return socket;
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
