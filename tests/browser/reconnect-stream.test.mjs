// An application calls `Stream.reconnect()`: a publisher, or a subscription, gets a new peer connection under the same
// stream id. Subscriptions to a publisher that did so keep theirs, and the picture goes on in them.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { assertSameSubscription } from './lib/expect.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '160x120', frameRate: 10 };
const GONE = ['sessionDisconnected', 'streamDestroyed', 'connectionDestroyed', 'ownStreamDestroyed', 'exception'];

for (const mode of ['mediasoup', 'kurento']) {
  describe(mode, () => {
    const on = stage({ env: { MILLRACE_MEDIA_SERVER: mode } });
    for (const version of VERSIONS) {
      test(`${version} reconnects streams`, on.watched(async (t) => {
        const session = await on.millrace.createSession();
        const ann = await on.browser.join(on.millrace, session, { version, name: 'ann', publish: CAMERA });
        const others = [];
        for (const [i, other] of VERSIONS.entries()) {
          others.push(await on.browser.join(on.millrace, session, { version: other, name: `other${i}`, publish: CAMERA }));
        }
        await Promise.all(others.map((to) => to.sees('ann', 10)));
        await Promise.all(others.map(({ name }) => ann.sees(name, 5)));
        const [own, before] = [await ann.published(), await Promise.all(others.map(async (to) => (await to.received()).ann))];
        const ids = await Promise.all(others.map(async (to) => (await to.others()).ann.stream.streamId));

        const start = performance.now();
        await ann.ask('reconnectPublisher');
        await Promise.all(others.map(async (to, i) => {
          const after = await to.receives('ann', 'a new keyframe', ({ inbound }) =>
            inbound.video.keyFramesDecoded > before[i].inbound.video.keyFramesDecoded);
          t.diagnostic(`${to.version} decodes the new keyframe within ${Math.round(performance.now() - start)} ms`);
          assertSameSubscription(before[i], after, to.version);
          assertSameSubscription(before[i], await to.seesMore('ann', 15), to.version);
          const heard = after.inbound.audio.packetsReceived;
          await to.receives('ann', 'more sound', ({ inbound }) => inbound.audio.packetsReceived > heard);
          assert.equal((await to.others()).ann.stream.streamId, ids[i], 'the stream id stays');
        }));
        const renewed = await ann.published();
        assert.notEqual(renewed.peer, own.peer, 'the publisher has a new peer connection');
        assert.notEqual(renewed.outbound.video.ssrc, own.outbound.video.ssrc, 'which sends another SSRC');

        const { name } = others[1];
        const { peer } = (await ann.received())[name];
        await ann.ask('reconnectSubscriber', name);
        const after = await ann.receives(name, 'pictures by a new peer connection', (stats) =>
          stats.peer !== peer && stats.inbound.video?.framesDecoded > 10);
        assert.equal(after.ssrcs.video.length, 1);
        await Promise.all(others.map((to) => to.seesMore('ann', 5)));
        for (const one of [ann, ...others]) assert.deepEqual(await one.eventsOf(GONE), [], one.name);
      }));
    }
  });
}
