// `publisher.subscribeToRemote()`: who publishes sees and hears himself as the server has it, on the peer connection by
// which he publishes.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '160x120', frameRate: 10 };

const on = stage();

for (const version of VERSIONS) {
  test(`${version}: the publisher gets its own media back`, on.watched(async (t) => {
    const session = await on.millrace.createSession();
    const ann = await on.browser.join(on.millrace, session, { version, name: 'ann', publish: { ...CAMERA, loopback: true } });
    const ben = await on.browser.join(on.millrace, session, { version, name: 'ben' });
    const echoed = (stats) => stats.inbound.video?.framesDecoded > 20 && stats.inbound.audio?.totalAudioEnergy > 0;
    const stats = await until('pictures and sound of the own stream', async () => {
      const now = await ann.published();
      return echoed(now) && now;
    }, { describe: () => ann.published() });
    t.diagnostic(`${JSON.stringify(stats.inbound.video)}`);
    assert.equal(stats.inbound.video.frameWidth, 160);
    assert.equal(stats.inbound.video.codec, stats.outbound.video.codec);
    assert.equal(stats.inbound.video.packetsLost, 0);
    assert.notEqual(stats.inbound.video.ssrc, stats.outbound.video.ssrc, 'the server sends by an SSRC of its own');
    for (const kind of ['audio', 'video']) assert.equal(stats.ssrcs[kind].length, 1, `one stream of ${kind}`);
    const { local, remote } = await ann.publishedDescriptions();
    for (const { sdp } of [local, remote]) assert.equal(sdp.match(/^a=sendrecv\r$/gm)?.length, 2, sdp);

    // The picture on the page is what came back.
    const shown = await ann.page.evaluate(() => {
      const tracks = [...document.querySelectorAll('video')].flatMap((video) => video.srcObject?.getVideoTracks() ?? []);
      return tracks.map(({ id }) => id);
    });
    assert.deepEqual(shown, [stats.inbound.video.trackIdentifier]);
    // Others see it as any other stream, and nobody is told of a second one.
    await ben.sees('ann', 10);
    assert.deepEqual(await ann.eventsOf(['streamCreated', 'exception']), []);
    await ann.leave();
    await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'disconnect' });
    await until('nothing of it is left', async () => {
      const metrics = await on.millrace.metrics();
      return ['tracks', 'subscriptions', 'transports'].every((name) => metrics.value(`millrace_${name}`) === 0);
    });
  }));
}
