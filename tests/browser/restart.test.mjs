// The control plane is killed in the middle of a call: media goes on without it, and its successor finds it.

import assert from 'node:assert/strict';
import test from 'node:test';

import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';
import { mediaGoesOn } from './lib/watch.mjs';

const on = stage();

test('kill -9 of the control plane costs no packet', on.watched(async (t) => {
  const { millrace } = on;
  const session = await millrace.createSession();
  const ann = await on.browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const ben = await on.browser.join(millrace, session, { version: '2.20.0', name: 'ben', publish: true });
  await ben.sees('ann', 15);
  await ann.sees('ben', 15);
  const before = await until('two publishers and two subscribers counted', async () => {
    const metrics = await millrace.metrics();
    return metrics.value('millrace_subscriptions') === 4 && metrics;
  });
  assert.equal(before.value('millrace_transports'), 4);
  assert.equal(before.value('millrace_tracks'), 4);

  await millrace.killControlPlane();
  const [atBen, atAnn] = await Promise.all([mediaGoesOn(ben, 'ann', 5), mediaGoesOn(ann, 'ben', 5)]);
  t.diagnostic(`frames in each second without a control plane: ${atBen.frames} and ${atAnn.frames}`);

  await millrace.startControlPlane();
  const held = await until('the successor lists what is held', () => {
    return millrace.controlPlane.log.split('\n').find((text) => text.includes('the data plane holds'));
  });
  t.diagnostic(held);
  const count = (name) => Number(new RegExp(`${name}=(\\d+)`).exec(held)?.[1]);
  assert.deepEqual([count('transports'), count('tracks'), count('subscriptions')], [4, 4, 4]);
}));
