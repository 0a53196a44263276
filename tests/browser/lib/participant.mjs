// One call in a page, as a test drives it and reads it.

import { until } from './poll.mjs';

/** Members of an event's description that are no part of what a test compares. */
const BESIDES = ['at'];

/** The call named `key` in a page of `page/`. */
export class Participant {
  constructor(page, name, version, key = 'call') {
    this.page = page;
    this.name = name;
    this.version = version;
    this.key = key;
    this.console = [];
    /** Every frame of the page's WebSockets as parsed JSON, with `sent` true for those of the client. */
    this.frames = [];
    page.on('console', (message) => this.console.push(`${message.type()}: ${message.text().slice(0, 2_000)}`));
    page.on('pageerror', (error) => this.console.push(`uncaught: ${error}`));
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => this.frames.push({ sent: true, ...JSON.parse(payload) }));
      socket.on('framereceived', ({ payload }) => this.frames.push({ sent: false, ...JSON.parse(payload) }));
    });
  }

  /** Another call in the same page, with a socket and a seat of its own. */
  async beside(name, key) {
    await this.page.evaluate((key) => void (window[key] = window.newCall()), key);
    return new Participant(this.page, name, this.version, key);
  }

  /** Calls a function of `page/call.js`. */
  ask(method, ...args) {
    return this.page.evaluate(([key, method, args]) => window[key][method](...args), [this.key, method, args]);
  }

  /** As `ask`, but a refusal is part of the answer: `{value}`, `{name, code, message}`, or `{error}` if it is a text. */
  attempt(method, ...args) {
    return this.ask('attempt', method, ...args);
  }

  join(token, options = {}) {
    return this.ask('join', token, this.name, options);
  }

  publish(options = {}) {
    return this.ask('publish', options);
  }

  mute({ audio, video }) {
    return this.ask('mute', audio, video);
  }

  signal(data, type, names = []) {
    return this.ask('signal', data, type, names);
  }

  unpublish() {
    return this.ask('unpublish');
  }

  unsubscribe(name) {
    return this.ask('unsubscribe', name);
  }

  resubscribe(name) {
    return this.ask('resubscribe', name);
  }

  leave() {
    return this.ask('leave');
  }

  /** Every event that the client library reported, in order. */
  events() {
    return this.page.evaluate((key) => window[key]?.log(), this.key);
  }

  /** The events after the first `from`, of these kinds, without their times and what is undefined. */
  async eventsOf(kinds, { from = 0 } = {}) {
    const events = (await this.events()).slice(from).filter(({ event }) => kinds.includes(event));
    const isPart = ([name, value]) => !BESIDES.includes(name) && value !== undefined;
    return events.map((event) => Object.fromEntries(Object.entries(event).filter(isPart)));
  }

  /** Who else is there by name: `{id, stream}`. */
  others() {
    return this.ask('others');
  }

  /** Stats of the publisher's peer connection. */
  published() {
    return this.ask('published');
  }

  /** Stats of the subscriptions, by the publisher's name. */
  received() {
    return this.ask('received');
  }

  /** SDP types and texts of the subscriptions, by the publisher's name. */
  async descriptions() {
    return JSON.parse(await this.page.evaluate((key) => JSON.stringify(window[key].descriptions()), this.key));
  }

  async publishedDescriptions() {
    return JSON.parse(await this.page.evaluate((key) => JSON.stringify(window[key].publishedDescriptions()), this.key));
  }

  /** Waits for an event with these members, and returns its place in the log. */
  async saw(expected, { timeout = 10_000, after = -1 } = {}) {
    const matches = (event) => Object.entries(expected).every(([key, value]) => event[key] === value);
    const found = await until(
      `${this.name} sees ${JSON.stringify(expected)}`,
      async () => {
        const place = (await this.events()).findIndex((event, i) => i > after && matches(event));
        return place < 0 ? undefined : { place };
      },
      { timeout, describe: () => this.events() },
    );
    return found.place;
  }

  /** Waits until the subscription to `name` fulfils the condition, and returns its stats. */
  receives(name, what, condition, { timeout = 10_000 } = {}) {
    let last;
    return until(
      `${this.name} receives ${what} of ${name}`,
      async () => {
        last = (await this.received())[name];
        return last && condition(last) && last;
      },
      { timeout, every: 200, describe: () => last },
    );
  }

  /** Waits until more than `frames` pictures of `name` were decoded. */
  sees(name, frames = 60, options = {}) {
    return this.receives(name, `more than ${frames} frames`, (s) => s.inbound.video?.framesDecoded > frames, options);
  }

  /** Waits until `frames` more pictures of `name` were decoded than now. */
  async seesMore(name, frames = 10, options = {}) {
    const decoded = (await this.received())[name]?.inbound.video?.framesDecoded ?? 0;
    return this.sees(name, decoded + frames, options);
  }

  /** Waits until something was heard of `name`. */
  hears(name, options = {}) {
    return this.receives(name, 'sound', (s) => s.inbound.audio?.totalAudioEnergy > 0, options);
  }
}
