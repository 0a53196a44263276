// An application calls `Stream.reconnect()`: a publisher, or a subscription, gets a new peer connection under the same
// stream id. Subscriptions to a publisher that did so keep theirs, and the picture goes on in them.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { assertCodec, assertSameSubscription } from './lib/expect.mjs';
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

    test('subscribers follow a stream into another codec', on.watched(async () => {
      // Otherwise a server that lets clients offer has VP8 only.
      const session = await on.millrace.createSession({ forcedVideoCodec: 'NONE' });
      const publish = { ...CAMERA, codec: 'video/VP8' };
      const ann = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ann', publish });
      const others = [];
      for (const [i, other] of VERSIONS.entries()) {
        others.push(await on.browser.join(on.millrace, session, { version: other, name: `other${i}` }));
      }
      const before = await Promise.all(others.map((to) => to.sees('ann', 10)));
      before.forEach((seen, i) => assertCodec(seen, 'video/VP8', others[i].name));
      // Nothing is transcoded: what runs cannot go on, so the server makes each subscriber an offer of its own accord.
      await ann.ask('prefer', 'video/H264');
      await ann.ask('reconnectPublisher');
      for (const [i, to] of others.entries()) {
        const after = await to.receives('ann', 'H264 by a new peer connection', ({ peer, inbound }) =>
          peer !== before[i].peer && inbound.video?.codec === 'video/H264' && inbound.video.framesDecoded > 10);
        const heard = after.inbound.audio.packetsReceived;
        await to.receives('ann', 'more sound', ({ inbound }) => inbound.audio.packetsReceived > heard);
      }
      for (const one of [ann, ...others]) assert.deepEqual(await one.eventsOf(GONE), [], one.name);
    }));
  });
}
