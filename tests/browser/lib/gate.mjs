// Somebody on the path between the clients' WebSockets and the server, who can cut it: with resets, as a restarted proxy
// does, or in silence, as a lost network does. Media does not pass here.

import { connect, createServer } from 'node:net';

/** Listens on a free port of localhost and passes connections to `port` of localhost. */
export async function startGate(port) {
  const gate = new Gate(port);
  await new Promise((resolve, reject) => {
    gate.server.once('error', reject).listen(0, 'localhost', resolve);
  });
  gate.port = gate.server.address().port;
  return gate;
}

class Gate {
  constructor(target) {
    this.target = target;
    this.pairs = new Set();
    this.state = 'open';
    /** Connections that came while the gate was shut. */
    this.refused = 0;
    this.server = createServer((client) => this.accept(client));
  }

  /** The token as it reads for a client that must come through here: only host and port differ. */
  token(token) {
    const url = new URL(token);
    url.host = `localhost:${this.port}`;
    return `${url.protocol}//${url.host}${url.search}`;
  }

  accept(client) {
    client.on('error', () => {});
    if (this.state === 'shut') {
      this.refused += 1;
      client.resetAndDestroy();
      return;
    }
    const server = connect(this.target, 'localhost');
    server.on('error', () => client.resetAndDestroy());
    const pair = { client, server };
    this.pairs.add(pair);
    client.on('close', () => {
      this.pairs.delete(pair);
      server.destroy();
    });
    server.on('close', () => client.destroy());
    if (this.state === 'open') join(pair);
    else part(pair);
  }

  /** Resets every connection, and each new one until `open`. */
  shut() {
    this.state = 'shut';
    for (const { client, server } of this.pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  /** Nothing passes any more until `open`, and nobody is told; what was sent meanwhile arrives then. */
  hold() {
    this.state = 'held';
    for (const pair of this.pairs) part(pair);
  }

  open() {
    const held = this.state === 'held';
    this.state = 'open';
    if (held) for (const pair of this.pairs) join(pair);
  }

  close() {
    this.server.close();
    for (const { client } of this.pairs) client.destroy();
  }
}

function join({ client, server }) {
  client.pipe(server);
  server.pipe(client);
}

function part({ client, server }) {
  client.unpipe(server);
  server.unpipe(client);
  client.pause();
  server.pause();
}
