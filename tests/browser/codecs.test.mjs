// The codec is the publisher's choice: each other one than the default, put first by the publishing browser.

import test from 'node:test';

import { assertCodec, assertProtected } from './lib/expect.mjs';
import { stage } from './lib/setup.mjs';

const on = stage();

for (const [codec, version] of [['video/H264', '2.20.0'], ['video/VP9', '2.32.1'], ['video/AV1', '2.32.1']]) {
  test(`${codec} goes through`, on.watched(async (t) => {
    const session = await on.millrace.createSession();
    const publish = { codec, resolution: '320x240', frameRate: 15 };
    const ann = await on.browser.join(on.millrace, session, { version, name: 'ann', publish });
    const ben = await on.browser.join(on.millrace, session, { version, name: 'ben' });
    const seen = await ben.sees('ann');
    assertCodec(seen, codec, 'ben');
    assertProtected(seen, 'ben');
    await ben.hears('ann');
    // A second subscriber joins in the middle and needs a keyframe of its own.
    const cat = await on.browser.join(on.millrace, session, { version, name: 'cat' });
    assertCodec(await cat.sees('ann', 15), codec, 'cat');
    t.diagnostic(`${JSON.stringify(seen.inbound.video)} sent ${JSON.stringify((await ann.published()).outbound.video)}`);
  }));
}
