// The control plane is killed in the middle of a call: media goes on without it, and its successor goes on with the
// sessions, so that everybody comes back to their seat.

import assert from 'node:assert/strict';
import test from 'node:test';

import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';
import { mediaGoesOn } from './lib/watch.mjs';

/** Seconds without a control plane. */
const GAP = 4;
/** Seconds that are watched: the clients try again every 3 s. */
const WATCHED = 14;

const on = stage();

test('kill -9 of the control plane costs no packet and no seat', on.watched(async (t) => {
  const { millrace } = on;
  const session = await millrace.createSession();
  const pending = await millrace.createToken(session);
  const ann = await on.browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const ben = await on.browser.join(millrace, session, { version: '2.20.0', name: 'ben', publish: true });
  await Promise.all([ben.sees('ann', 15), ann.sees('ben', 15)]);
  const before = await until('two publishers and two subscribers counted', async () => {
    const metrics = await millrace.metrics();
    return metrics.value('millrace_subscriptions') === 4 && metrics;
  });
  assert.equal(before.value('millrace_transports'), 4);
  assert.equal(before.value('millrace_tracks'), 4);
  const shown = await millrace.rest('GET', `/openvidu/api/sessions/${session}`);

  await millrace.killControlPlane();
  const killed = performance.now();
  const restart = async () => {
    await until('the end of the gap', () => performance.now() - killed > GAP * 1_000);
    await millrace.startControlPlane();
    const served = Math.round(performance.now() - killed);
    for (const away of [ann, ben]) await away.saw({ event: 'reconnected' }, { timeout: 10_000 });
    return { served, back: Math.round(performance.now() - killed) };
  };
  const [atBen, atAnn] = await Promise.all([
    mediaGoesOn(ben, 'ann', WATCHED, restart),
    mediaGoesOn(ann, 'ben', WATCHED),
  ]);
  t.diagnostic(`frames in each second: ${atBen.frames} and ${atAnn.frames}`);
  t.diagnostic(`it served again after ${atBen.result.served} ms, both were back after ${atBen.result.back} ms`);
  const line = (text) => millrace.controlPlane.log.split('\n').find((found) => found.includes(text)) ?? '';
  assert.match(line('taken over'), /transports=4 removed=0 moved=0/);
  t.diagnostic(line('taken over'));
  assert.deepEqual(await millrace.rest('GET', `/openvidu/api/sessions/${session}`), shown);

  // Everything works as before, for those who were there and for who comes.
  const cat = await on.browser.join(millrace, session, { version: '2.32.1', name: 'cat', publish: true });
  await Promise.all([cat.sees('ann', 10), cat.sees('ben', 10), ann.sees('cat', 10), ben.sees('cat', 10)]);
  await ann.signal('still here', 'chat');
  for (const other of [ben, cat]) await other.saw({ event: 'signal', of: 'ann' });
  const dan = await on.browser.open('2.20.0', 'dan');
  await dan.join(pending);
  await dan.sees('ann', 5);
  for (const other of [ann, ben]) {
    const trouble = await other.eventsOf(['sessionDisconnected', 'exception', 'streamDestroyed', 'connectionDestroyed']);
    assert.deepEqual(trouble, [], `${other.name} noticed`);
  }
}));

test('who does not come back to the successor is gone', on.watched(async () => {
  const { millrace } = on;
  const session = await millrace.createSession();
  const ann = await on.browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const ben = await on.browser.join(millrace, session, { version: '2.20.0', name: 'ben', publish: true });
  await Promise.all([ben.sees('ann', 5), ann.sees('ben', 5)]);
  await millrace.killControlPlane();
  await ann.page.context().close();
  await millrace.startControlPlane();
  await ben.saw({ event: 'reconnected' }, { timeout: 10_000 });
  await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'networkDisconnect' }, { timeout: 20_000 });
  const { connections } = await millrace.rest('GET', `/openvidu/api/sessions/${session}`);
  assert.equal(connections.numberOfElements, 1);
  await until('only ben holds a transport', async () => (await millrace.metrics()).value('millrace_transports') === 1);
}));
