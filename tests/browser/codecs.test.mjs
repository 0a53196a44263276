// The codec is the publisher's choice, unless the session forces one; nothing is ever transcoded.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { assertCodec, assertProtected } from './lib/expect.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '320x240', frameRate: 15 };

const on = stage();

for (const [codec, version] of [['video/H264', '2.20.0'], ['video/VP9', '2.32.1'], ['video/AV1', '2.32.1']]) {
  test(`${codec} goes through`, on.watched(async (t) => {
    const session = await on.millrace.createSession();
    const publish = { codec, ...CAMERA };
    const ann = await on.browser.join(on.millrace, session, { version, name: 'ann', publish });
    const ben = await on.browser.join(on.millrace, session, { version, name: 'ben' });
    const seen = await ben.sees('ann', 30);
    assertCodec(seen, codec, 'ben');
    assertProtected(seen, 'ben');
    await ben.hears('ann');
    // A second subscriber joins in the middle and needs a keyframe of its own.
    const cat = await on.browser.join(on.millrace, session, { version, name: 'cat' });
    assertCodec(await cat.sees('ann', 15), codec, 'cat');
    t.diagnostic(`${JSON.stringify(seen.inbound.video)} sent ${JSON.stringify((await ann.published()).outbound.video)}`);
  }));
}

// The publisher would rather send another codec each time.
for (const [forced, rather] of [['VP8', 'VP9'], ['H264', 'VP8'], ['VP9', 'H264']]) {
  test(`a session of ${forced} alone`, on.watched(async () => {
    const session = await on.millrace.createSession({ forcedVideoCodec: forced, allowTranscoding: false });
    const publish = { codec: `video/${rather}`, ...CAMERA };
    const ann = await on.browser.join(on.millrace, session, { version: '2.20.0', name: 'ann', publish });
    const ben = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ben', publish });
    assertCodec(await ben.sees('ann', 10), `video/${forced}`, 'ben');
    assertCodec(await ann.sees('ben', 10), `video/${forced}`, 'ann');
    for (const { sdp } of [(await ann.publishedDescriptions()).remote, (await ben.descriptions()).ann.remote]) {
      const names = [...sdp.slice(sdp.indexOf('m=video')).matchAll(/^a=rtpmap:\d+ (\S+)\/90000/gm)].map(([, name]) => name);
      assert.deepEqual([...new Set(names)].sort(), [forced, 'rtx'].sort(), 'the server names no other codec');
    }
  }));
}

for (const version of VERSIONS) {
  test(`${version} is told when it cannot send the codec of the session`, on.watched(async () => {
    const session = await on.millrace.createSession({ forcedVideoCodec: 'H264', allowTranscoding: false });
    const ann = await on.browser.join(on.millrace, session, { version, name: 'ann' });
    const ben = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ben' });
    // Both clients hand on what is no 401 as a text.
    const { error } = await ann.attempt('publish', { ...CAMERA, codec: 'video/VP8', onlyCodec: true });
    const { code, message } = JSON.parse(error.slice(error.indexOf('{')));
    assert.equal(code, 800, error);
    assert.match(message, /H264.*VP8|VP8.*H264/s, 'both sides are named');
    assert.match(message, /Code: 800$/);
    assert.deepEqual(await ben.eventsOf(['streamCreated']), []);
    // With the codec it can.
    await ann.ask('publish', { ...CAMERA, codec: 'video/H264' });
    assertCodec(await ben.sees('ann', 5), 'video/H264', 'ben');
  }));
}
