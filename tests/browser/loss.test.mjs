// One media datagram in twenty is lost on the way to the server, and one in twenty on the way from it: NACK and RTX
// repair the picture on both legs.

import assert from 'node:assert/strict';
import test from 'node:test';

import { window } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const SECONDS = 8;
const FRAME_RATE = 15;

const on = stage({ relay: true });

test('a call at 5 % loss each way', on.watched(async (t) => {
  const { millrace, browser, relay } = on;
  const session = await millrace.createSession();
  const publish = { frameRate: FRAME_RATE };
  const ann = await browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish });
  const ben = await browser.join(millrace, session, { version: '2.32.1', name: 'ben' });
  await ben.sees('ann', 30);
  relay.loseOneIn(20);
  const before = (await ben.received()).ann.inbound.video;
  await window(SECONDS * 1_000);
  const after = (await ben.received()).ann.inbound.video;
  const sent = (await ann.published()).outbound.video;
  const metrics = await millrace.metrics();
  const grown = (name) => after[name] - (before[name] ?? 0);
  t.diagnostic(`lost on the way ${relay.lost}; ben: frames ${grown('framesDecoded')}, packets ${grown('packetsReceived')}, `
    + `lost at first ${grown('packetsLost')}, asked again ${grown('nackCount')}, keyframes asked ${grown('pliCount')}, `
    + `freezes ${grown('freezeCount')}; ann: sent again ${sent.retransmittedPacketsSent}, asked by ${sent.nackCount}; `
    + `server: sent again ${metrics.value('millrace_rtp_retransmitted_total')}`);
  assert.ok(relay.lost > 20, 'packets were lost');
  assert.ok(sent.nackCount > 0 && sent.retransmittedPacketsSent > 0, 'the publisher repairs its leg');
  assert.ok(grown('nackCount') > 0, 'the subscriber asks again');
  assert.ok(metrics.value('millrace_rtp_retransmitted_total') > 0, 'the server repairs its leg');
  // A frame that cannot be repaired stops the picture until the next keyframe.
  assert.ok(grown('framesDecoded') > 0.9 * FRAME_RATE * SECONDS, 'the picture flows');
  assert.equal(grown('pliCount'), 0, 'no keyframe had to be asked for');
}));
