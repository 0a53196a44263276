// The path of the media is cut while the WebSockets live. Nobody is sent away, pictures come back, and who subscribed to
// a publisher that came back with a new peer connection keeps the own one, the track and the SSRC.

import assert from 'node:assert/strict';
import test from 'node:test';

import { assertSameSubscription } from './lib/expect.mjs';
import { until, window } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

/** Seconds; the browser calls a path disconnected after some 5 s, and the newer client waits 4 s more. */
const CUT = 6;
const CAMERA = { resolution: '160x120', frameRate: 10 };
const GONE = ['sessionDisconnected', 'streamDestroyed', 'connectionDestroyed', 'ownStreamDestroyed', 'reconnecting'];

const on = stage({ relay: true });

async function pair(session) {
  const ann = await on.browser.join(on.millrace, session, { version: '2.20.0', name: 'ann', publish: CAMERA });
  const ben = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ben', publish: CAMERA });
  await Promise.all([ann.sees('ben', 5), ben.sees('ann', 5)]);
  return { ann, ben };
}

test(`all media is cut for ${CUT} s`, on.watched(async (t) => {
  const { ann, ben } = await pair(await on.millrace.createSession());
  const { ben: before } = await ann.received();
  on.relay.cut();
  t.after(() => on.relay.mend());
  const decoded = async () => (await ben.received()).ann.inbound.video.framesDecoded;
  await until('the picture stops', async () => {
    const before = await decoded();
    await window(500);
    return (await decoded()) === before;
  });
  await window((CUT - 0.5) * 1_000);
  on.relay.mend();
  const start = performance.now();
  await Promise.all([ann.seesMore('ben', 10, { timeout: 20_000 }), ben.seesMore('ann', 10, { timeout: 20_000 })]);
  t.diagnostic(`ten pictures each way ${Math.round(performance.now() - start)} ms after the path is back`);
  // And they stay: what a client began to repair meanwhile must not end what works again.
  await window(5_000);
  const [after] = await Promise.all([ann.seesMore('ben', 10), ben.seesMore('ann', 10)]);
  assertSameSubscription(before, after, 'the older client, which repairs nothing by itself');
  for (const one of [ann, ben]) {
    assert.deepEqual(await one.eventsOf(GONE), [], one.name);
    const repaired = one.frames.filter(({ method }) => method === 'reconnectStream').length;
    t.diagnostic(`${one.name} ${one.version} sent reconnectStream ${repaired} times: `
      + JSON.stringify((await one.eventsOf(['exception'])).map(({ exception }) => exception)));
  }
}));

test('2.32.1 finds its publishing path dead and takes another', on.watched(async (t) => {
  const session = await on.millrace.createSession();
  const { ann, ben } = await pair(session);
  const cat = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'cat' });
  await cat.sees('ben', 5);
  const watching = [ann, cat];
  const before = await Promise.all(watching.map(async (to) => (await to.received()).ben));
  const { localPort, peer, outbound } = await ben.published();
  on.relay.cut([localPort]);
  t.after(() => on.relay.mend());
  const start = performance.now();
  const now = await until('another peer connection', async () => {
    const published = await ben.published();
    return published.peer !== peer && published.ice === 'connected' && published;
  }, { timeout: 30_000 });
  t.diagnostic(`a new path after ${Math.round(performance.now() - start)} ms`);
  assert.notEqual(now.outbound.video?.ssrc, outbound.video.ssrc, 'the new peer connection sends its own SSRC');
  const first = ben.frames.findIndex(({ sent, method }) => sent && method === 'reconnectStream');
  assert.ok(ben.frames.slice(0, first).some(({ sent, method }) => sent && method === 'echo'), 'it asks by echo first');
  for (const [i, to] of watching.entries()) {
    await to.receives('ben', 'a new keyframe', ({ inbound }) =>
      inbound.video.keyFramesDecoded > before[i].inbound.video.keyFramesDecoded);
    assertSameSubscription(before[i], await to.seesMore('ben', 10), to.name);
    assert.deepEqual(await to.eventsOf(GONE), [], to.name);
  }
  assert.deepEqual(await ben.eventsOf(GONE), []);
}));
