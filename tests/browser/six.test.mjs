// Six participants in one room, each published to the five others, on two workers: with media that crosses between them,
// and with each stream on one of them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { until, window } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

/**
 * Drops that lose no media: `duplicate` is a retransmission that came after the packet itself, `padding` a
 * retransmission without payload, by which a browser probes for bandwidth, and `stun_unknown_user` a connectivity
 * check, which is repeated and which whoever had the port before may still send.
 */
const HARMLESS = ['duplicate', 'padding', 'stun_unknown_user'];
/** By hash, each new port of a publisher goes to one of two workers by chance. */
const ATTEMPTS = 20;
const NAMES = ['ann', 'ben', 'cat', 'dan', 'eve', 'fay'];

for (const [steer, what] of [['off', 'the kernel spreads flows by hash'], ['auto', 'flows are steered']]) {
  describe(what, () => {
    const on = stage({ workers: 2, env: { MILLRACE_STEER: steer } });
    test('six participants see and hear each other', on.watched((t) => sixInARoom(on, steer, t)));
  });
}

async function sixInARoom({ millrace, browser }, steer, t) {
  const session = await millrace.createSession();
  const publish = { resolution: '160x120', frameRate: 10 };
  const all = [];
  for (const [i, name] of NAMES.entries()) {
    all.push(await browser.join(millrace, session, { version: VERSIONS[i % 2], name, publish }));
  }
  const pairs = all.flatMap((to) => all.filter((from) => from !== to).map((from) => [from, to]));
  assert.equal(pairs.length, 30);
  for (const [from, to] of pairs) {
    await to.sees(from.name, 30, { timeout: 30_000 });
    await to.hears(from.name);
  }

  const moved = await spreadPublishers(millrace, all, publish, t);

  const read = () => Promise.all(all.map((to) => to.received()));
  const [start, before] = [await millrace.metrics(), await read()];
  await window(5_000);
  const now = await read();
  const frames = [];
  for (const [i, to] of all.entries()) {
    assert.equal(Object.keys(now[i]).length, 5, to.name);
    for (const [from, { inbound }] of Object.entries(now[i])) {
      const { inbound: earlier } = before[i][from];
      frames.push(inbound.video.framesDecoded - earlier.video.framesDecoded);
      assert.ok(frames.at(-1) > 0, `${to.name} decodes new frames of ${from}`);
      for (const kind of ['audio', 'video']) {
        assert.equal(inbound[kind].packetsLost, 0, `${to.name} loses no ${kind} of ${from}`);
      }
    }
  }
  t.diagnostic(`frames decoded in 5 s by each subscription: ${frames.join(' ')}`);

  // Counters come once a second or so: await some that are newer than the start.
  const end = await until('newer counters', async () => {
    const metrics = await millrace.metrics();
    const moved = (name) => metrics.value(name) > start.value(name);
    return moved('millrace_rtp_received_total') && moved('millrace_rtp_forwarded_total') && metrics;
  });
  const byWorker = (name) => end.by(`millrace_${name}_total`, 'worker');
  // Where the kernel permits no steering, `auto` is as good as `off`.
  const isSteered = Object.keys(byWorker('flows_steered')).length > 0;
  t.diagnostic(`flows are ${isSteered ? '' : 'not '}steered`);
  assert.ok(!(isSteered && steer === 'off'));
  for (const name of ['rtp_received', 'rtp_forwarded', 'datagrams_sent', 'cross_media_in', 'cross_media_out']) {
    const counts = byWorker(name);
    t.diagnostic(`${name} by worker: ${JSON.stringify(counts)}`);
    const expected = isSteered && name.startsWith('cross_media') ? [] : ['0', '1'];
    assert.deepEqual(Object.keys(counts), expected, `workers with ${name}`);
  }
  const drops = end.drops();
  t.diagnostic(`drops: ${JSON.stringify(drops)}`);
  for (const reason of HARMLESS) delete drops[reason];
  // The last packets of a path that was given up come after its end; but none of them while the call is watched.
  for (const [reason, count] of Object.entries(start.drops())) if (moved && drops[reason] === count) delete drops[reason];
  assert.deepEqual(drops, {}, 'drops of media');
  assert.equal(end.value('millrace_panics_total'), 0);
}

/** Publishes again from another port until the publishers are not all with one worker; tells whether it had to. */
async function spreadPublishers(millrace, all, publish, t) {
  const [others, last] = [all.slice(0, -1), all.at(-1)];
  const receivers = async () => {
    const start = (await millrace.metrics()).value('millrace_rtp_received_total');
    const metrics = await until('newer counters of received packets', async () => {
      const metrics = await millrace.metrics();
      return metrics.value('millrace_rtp_received_total') > start && metrics;
    });
    return Object.keys(metrics.by('millrace_rtp_received_total', 'worker')).length;
  };
  let attempt = 0;
  while ((await receivers()) < 2) {
    attempt += 1;
    assert.ok(attempt <= ATTEMPTS, 'one worker has all publishers, however often they publish');
    t.diagnostic(`one worker has all publishers: ${last.name} publishes again`);
    await last.unpublish();
    await last.publish(publish);
    for (const other of others) await other.sees(last.name, 10, { timeout: 30_000 });
  }
  return attempt > 0;
}
