// 100,000 hostile datagrams in the middle of a call: garbage of every protocol's look, copies of what the clients really
// sent, and copies with one bit turned, from strangers' addresses and from the clients' own. Nothing may change.

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { until } from './lib/poll.mjs';
import { random } from './lib/random.mjs';
import { stage } from './lib/setup.mjs';
import { mediaGoesOn } from './lib/watch.mjs';

const DATAGRAMS = 100_000;
const SECONDS = 18;
/** At most so many at once: more than a socket's default receive buffer holds would push out media in the kernel. */
const BURST = 20;
const STRANGERS = 16;
/** Different pieces of garbage; a piece that comes twice is no likelier to be taken. */
const RUBBISH = 5_000;
/** First bytes of STUN, ZRTP, DTLS, TURN channels, RTP, RTCP and nothing at all (RFC 7983). */
const FIRST_BYTES = [0x00, 0x01, 0x10, 0x14, 0x16, 0x17, 0x40, 0x80, 0x90, 0xb0, 0xff];
const BINDING_REQUEST = Buffer.from('000100002112a442', 'hex');

const on = stage({ relay: true });

test('100,000 hostile datagrams change nothing', on.watched(async (t) => {
  const { millrace, browser, relay } = on;
  const strangers = Array.from({ length: STRANGERS }, () => createSocket('udp4'));
  t.after(() => strangers.forEach((socket) => socket.close()));
  const session = await millrace.createSession();
  const ann = await browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const ben = await browser.join(millrace, session, { version: '2.32.1', name: 'ben', publish: true });
  await ben.sees('ann', 30);
  await ann.sees('ben', 30);

  const before = await millrace.metrics();
  const attack = () => flood(relay, strangers, millrace.mediaPort);
  const watches = [mediaGoesOn(ben, 'ann', SECONDS, attack), mediaGoesOn(ann, 'ben', SECONDS)];
  const [atBen, atAnn] = await Promise.all(watches);
  t.diagnostic(`sent ${JSON.stringify(atBen.result)}; frames in each second: ${atBen.frames} and ${atAnn.frames}`);
  assert.equal(Object.values(atBen.result).reduce((sum, count) => sum + count), DATAGRAMS);

  const dropped = (metrics) => Object.values(metrics.drops()).reduce((sum, count) => sum + count, 0);
  // Not all are drops: a copied STUN check is answered, and a few datagrams may not fit into the kernel's buffer.
  const counted = await until(
    'the hostile datagrams are counted as drops',
    async () => {
      const metrics = await millrace.metrics();
      return dropped(metrics) - dropped(before) > DATAGRAMS * 0.9 && metrics;
    },
    { describe: async () => (await millrace.metrics()).drops() },
  );
  t.diagnostic(`drops: ${JSON.stringify(counted.drops())}`);
  for (const name of ['transports', 'tracks', 'subscriptions']) {
    assert.equal(counted.value(`millrace_${name}`), before.value(`millrace_${name}`), name);
  }
  assert.equal(counted.value('millrace_panics_total'), 0);
  assert.equal(counted.value('millrace_dtls_handshakes_active'), 0);
  const disturbed = [...(await ann.events()), ...(await ben.events())].filter(({ event }) =>
    ['exception', 'sessionDisconnected', 'streamDestroyed', 'reconnecting'].includes(event));
  assert.deepEqual(disturbed, []);
}));

/** Sends all, spread over most of the watched time, and tells how many of each kind. */
async function flood(relay, strangers, port) {
  const next = random(1);
  const pick = (list) => list[next(list.length)];
  const sent = { garbage: 0, replayed: 0, turned: 0 };
  // Made beforehand: the relay shares this thread, and must not delay the call's own datagrams.
  const rubbish = Array.from({ length: RUBBISH }, () => garbage(next, pick));
  let copies = relay.captured();
  let checks = copies.filter(isStun);
  const start = performance.now();
  const length = (SECONDS - 3) * 1_000;
  for (let count = 0; count < DATAGRAMS; ) {
    const due = Math.min(DATAGRAMS, (DATAGRAMS * (performance.now() - start)) / length);
    for (let burst = 0; burst < BURST && count < due; burst += 1, count += 1) {
      const stranger = pick(strangers);
      const asStranger = (datagram) => stranger.send(datagram, port, '127.0.0.1');
      const kind = count % 5;
      if (kind < 2) {
        sent.garbage += 1;
        asStranger(pick(rubbish));
        continue;
      }
      // Checks are rare among what clients send, and the only copies that a stranger could gain from.
      const copy = pick(count % 50 === 2 ? checks : copies);
      const send = next(2) ? asStranger : copy.send;
      if (kind < 4) {
        sent.replayed += 1;
        send(copy.datagram);
      } else {
        sent.turned += 1;
        const turned = Buffer.from(copy.datagram);
        turned[next(turned.length)] ^= 1 << next(8);
        send(turned);
      }
    }
    if (count % 5_000 < BURST) {
      copies = relay.captured();
      checks = copies.filter(isStun);
    }
    await pause(1);
  }
  return sent;
}

/** Each client's copies hold some: it checks its path every few seconds. */
const isStun = ({ datagram }) => datagram[0] < 4;

function garbage(next, pick) {
  const bytes = Buffer.alloc(1 + next(next(4) ? 200 : 1_400));
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = next(256);
  bytes[0] = pick(FIRST_BYTES);
  // Some get as far as the attributes of a STUN request.
  if (bytes.length > 24 && next(4) === 0) {
    BINDING_REQUEST.copy(bytes);
    bytes.writeUInt16BE((bytes.length - 20) & ~3, 2);
  }
  return bytes;
}
