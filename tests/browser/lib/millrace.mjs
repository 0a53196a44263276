// One Millrace of the test's own: a data plane and a control plane on free ports, their logs, and their REST API.

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { until } from './poll.mjs';

/** The server's secret, and the password of its REST user. */
export const SECRET = 'secret';
const BINARIES = process.env.MILLRACE_BIN ?? fileURLToPath(new URL('../../../target/release', import.meta.url));
/** Lines of each log that are shown when a test fails. */
const SHOWN_LINES = 60;

/** Starts both processes and waits until they serve. `env` is added to both environments. */
export async function startMillrace({ env = {}, workers = 2 } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'millrace-'));
  const millrace = new Millrace(folder, {
    ...plainEnvironment(),
    MILLRACE_CONTROL_SOCKET: path.join(folder, 'dataplane.sock'),
    MILLRACE_MEDIA_PORT: String(await freeUdpPort()),
    MILLRACE_ANNOUNCE: '127.0.0.1',
    MILLRACE_WORKERS: String(workers),
    MILLRACE_DATA_DIR: folder,
    MILLRACE_LOG: process.env.MILLRACE_TEST_LOG ?? 'info',
    MILLRACE_LOG_FORMAT: 'human',
    DOMAIN_OR_PUBLIC_IP: 'localhost',
    OPENVIDU_SECRET: SECRET,
    HTTPS_PORT: String(await freeTcpPort()),
    DOTENV_PATH: folder,
    ...env,
  });
  try {
    await millrace.startDataPlane();
    await millrace.startControlPlane();
  } catch (error) {
    console.error(millrace.logs());
    await millrace.stop();
    throw error;
  }
  return millrace;
}

/** The environment without the keys of whoever runs the tests. */
function plainEnvironment() {
  const foreign = /^(MILLRACE|OPENVIDU|COTURN|HTTPS|SERVER_PORT|FORCE_PLAIN|DOMAIN_OR|CERTIFICATE_TYPE|KMS)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}

class Millrace {
  constructor(folder, environment) {
    this.folder = folder;
    this.environment = environment;
    this.mediaPort = Number(environment.MILLRACE_MEDIA_PORT);
    this.port = Number(environment.HTTPS_PORT);
    this.url = `https://localhost:${this.port}`;
    this.processes = [];
  }

  async startDataPlane() {
    this.dataPlane = this.spawn('dataplane');
    await until(
      'control socket of the data plane',
      () => this.dataPlane.alive() && existsSync(this.environment.MILLRACE_CONTROL_SOCKET),
    );
  }

  /** Also after it was killed: then it finds the data plane as it is. */
  async startControlPlane() {
    this.controlPlane = this.spawn('controlplane');
    await until('healthz of the control plane', async () => {
      this.controlPlane.alive();
      return (await this.call('GET', '/healthz').catch(() => undefined))?.status === 200;
    });
    await until('counters of the data plane', async () => (await this.metrics()).value('millrace_dataplane_up') === 1);
  }

  /** As a crash would have it. */
  async killControlPlane() {
    await this.controlPlane.kill('SIGKILL');
  }

  spawn(name) {
    const started = new Process(name, path.join(BINARIES, `millrace-${name}`), this.environment);
    this.processes.push(started);
    return started;
  }

  /** A session with the given properties; the answer is its id. */
  async createSession(properties = {}) {
    return (await this.rest('POST', '/openvidu/api/sessions', properties)).id;
  }

  /** A token for one participant of the session. */
  async createToken(session, properties = {}) {
    return (await this.rest('POST', `/openvidu/api/sessions/${session}/connection`, properties)).token;
  }

  /** A REST call that must succeed; the answer is the parsed body. */
  async rest(method, where, body) {
    const { status, text } = await this.call(method, where, body);
    if (status !== 200) throw new Error(`${method} ${where}: ${status} ${text}`);
    return JSON.parse(text);
  }

  /** An HTTPS request with the REST user's credentials. */
  call(method, where, body) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { Authorization: `Basic ${Buffer.from(`OPENVIDUAPP:${SECRET}`).toString('base64')}` };
    if (text !== undefined) headers['Content-Type'] = 'application/json';
    return new Promise((resolve, reject) => {
      const options = { method, headers, rejectUnauthorized: false, agent: false, timeout: 5_000 };
      const sent = request(this.url + where, options, (response) => {
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode, text: Buffer.concat(parts).toString() }));
      });
      sent.on('timeout', () => sent.destroy(new Error(`${method} ${where}: no answer`)));
      sent.on('error', reject);
      sent.end(text);
    });
  }

  /** The counters, as Prometheus would read them. */
  async metrics() {
    return new Metrics((await this.call('GET', '/metrics')).text);
  }

  /** Ends of both logs, for a failed test. */
  logs() {
    return this.processes
      .map((process) => `--- ${process.name}\n${process.log.split('\n').slice(-SHOWN_LINES).join('\n')}`)
      .join('\n');
  }

  async stop() {
    await Promise.all(this.processes.map((process) => process.kill('SIGTERM')));
    await rm(this.folder, { recursive: true, force: true });
  }
}

class Process {
  constructor(name, binary, environment) {
    this.name = name;
    this.log = '';
    this.child = spawn(binary, [], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (part) => (this.log += part));
    this.failure = undefined;
    this.child.on('error', (error) => (this.failure = error));
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
  }

  /** True, or the reason why not as an error. */
  alive() {
    if (this.failure) throw this.failure;
    if (this.child.exitCode !== null || this.child.signalCode !== null) {
      throw new Error(`${this.name} ended with ${this.child.exitCode ?? this.child.signalCode}:\n${this.log}`);
    }
    return true;
  }

  async kill(signal) {
    if (this.failure) return;
    const hard = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    this.child.kill(signal);
    await this.ended;
    clearTimeout(hard);
  }
}

/** Samples of a Prometheus text page. */
export class Metrics {
  constructor(text) {
    this.samples = [];
    for (const line of text.split('\n')) {
      const match = /^([a-z_:0-9]+)(?:\{(.*)\})? ([-+0-9.eEInfNa]+)$/.exec(line);
      if (!match) continue;
      const labels = Object.fromEntries([...(match[2] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1], m[2]]));
      this.samples.push({ name: match[1], labels, value: Number(match[3]) });
    }
  }

  /** Sum of the samples of that name; undefined when there is none. */
  value(name) {
    const found = this.samples.filter((sample) => sample.name === name);
    return found.length ? found.reduce((sum, sample) => sum + sample.value, 0) : undefined;
  }

  /** Sum of the samples of that name by one label's value, zeros left out. */
  by(name, label) {
    const sums = {};
    for (const sample of this.samples) {
      if (sample.name !== name || !sample.value) continue;
      sums[sample.labels[label]] = (sums[sample.labels[label]] ?? 0) + sample.value;
    }
    return sums;
  }

  /** Drops by reason. */
  drops() {
    return this.by('millrace_drops_total', 'reason');
  }
}

function freeTcpPort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function freeUdpPort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp6').on('error', reject);
    socket.bind(0, () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
