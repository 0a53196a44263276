// A publisher sends its picture in two or three sizes. Who subscribes gets the largest that flows, in one stream, and
// goes on with a smaller one when the largest stops.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { assertSameSubscription } from './lib/expect.mjs';
import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const WIDTH = 960;
const CAMERA = { resolution: `${WIDTH}x540`, frameRate: 10 };
/** Names of the layers, low to high: the newer client asks for as many as the size allows, the older one for three. */
const RIDS = { '2.20.0': ['r0', 'r1', 'r2'], '2.32.1': ['rdiv4', 'rdiv2', 'rdiv1'] };
/** Milliseconds without a picture that a switch may take. */
const FREEZE = 3_000;

// Three layers of this size need more than the 1 Mbit/s that OpenVidu allows by default.
const on = stage({ env: {
  OPENVIDU_WEBRTC_SIMULCAST: 'true',
  MILLRACE_MEDIA_SERVER: 'mediasoup',
  OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH: '0',
  OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH: '0',
} });

/** Waits for the condition, and demands new pictures all the while; the answer is the longest time without one. */
async function receivesWithoutFreeze(to, name, what, condition, timeout) {
  let decoded = 0;
  let since = performance.now();
  let longest = 0;
  await until(what, async () => {
    const { [name]: stats } = await to.received();
    const now = performance.now();
    longest = Math.max(longest, now - since);
    if (stats.inbound.video.framesDecoded > decoded) since = now;
    decoded = stats.inbound.video.framesDecoded;
    return condition(stats);
  }, { timeout, describe: async () => (await to.received())[name].inbound });
  assert.ok(longest < FREEZE, `${what}: ${Math.round(longest)} ms without a picture`);
  return Math.round(longest);
}

for (const version of VERSIONS) {
  const other = VERSIONS.find((one) => one !== version);

  test(`${version} sends layers`, on.watched(async (t) => {
    const session = await on.millrace.createSession();
    const options = { advanced: { enableSimulcastExperimental: true } };
    const ann = await on.browser.join(on.millrace, session, { version, name: 'ann', options });
    const ben = await on.browser.join(on.millrace, session, { version: other, name: 'ben' });
    // Last, when nothing is being loaded: the browser takes a machine that is busy just then for a narrow path, and
    // starts its upper layers after twenty seconds only.
    await ann.publish(CAMERA);
    const joined = ann.frames.find(({ sent, result }) => !sent && result?.role);
    assert.equal(joined.result.videoSimulcast, true);
    assert.equal(joined.result.mediaServer, 'mediasoup');

    const flowing = await until('three layers flow', async () => {
      const { layers } = await ann.published();
      return RIDS[version].every((rid) => layers[rid]?.framesEncoded > 5) && layers;
    }, { timeout: 60_000, describe: async () => (await ann.published()).layers });
    assert.deepEqual(RIDS[version].map((rid) => flowing[rid].frameWidth), [WIDTH / 4, WIDTH / 2, WIDTH]);
    const isWhole = ({ inbound }) => inbound.video?.frameWidth === WIDTH;
    const first = await ben.receives('ann', 'the largest layer', isWhole, { timeout: 20_000 });
    await ben.seesMore('ann', 10);

    let start = performance.now();
    await ann.ask('setLayer', -1, false);
    const isHalf = ({ inbound }) => inbound.video.frameWidth === WIDTH / 2;
    const down = await receivesWithoutFreeze(ben, 'ann', 'the next layer', isHalf, 5_000);
    t.diagnostic(`down after ${Math.round(performance.now() - start)} ms, ${down} ms without a picture`);
    const lower = await ben.seesMore('ann', 10);
    assertSameSubscription(first, lower, 'the next layer');
    assert.equal(lower.inbound.video.frameWidth, WIDTH / 2);

    start = performance.now();
    await ann.ask('setLayer', -1, true);
    const up = await receivesWithoutFreeze(ben, 'ann', 'the largest layer again', isWhole, 20_000);
    t.diagnostic(`up after ${Math.round(performance.now() - start)} ms, ${up} ms without a picture`);
    const again = await ben.seesMore('ann', 10);
    assertSameSubscription(first, again, 'the largest layer again');
    assert.equal(again.inbound.video.packetsLost, 0);

    // Who comes in the middle gets the largest as well, and one stream.
    const cat = await on.browser.join(on.millrace, session, { version, name: 'cat' });
    const late = await cat.receives('ann', 'the largest layer', isWhole, { timeout: 20_000 });
    assert.equal(late.ssrcs.video.length, 1);
  }));
}
