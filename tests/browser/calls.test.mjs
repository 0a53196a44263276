// Two participants, each with each client version: they see and hear each other, and learn what the other does.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { assertCodec, assertProtected } from './lib/expect.mjs';
import { stage } from './lib/setup.mjs';

const on = stage();

for (const first of VERSIONS) {
  for (const second of VERSIONS) {
    test(`${first} and ${second} make a call`, on.watched(async (t) => {
      const session = await on.millrace.createSession();
      const ann = await on.browser.join(on.millrace, session, { version: first, name: 'ann', publish: true });
      const ben = await on.browser.join(on.millrace, session, { version: second, name: 'ben', publish: true });

      for (const [from, to] of [[ann, ben], [ben, ann]]) {
        await to.saw({ event: 'streamCreated', of: from.name });
        const seen = await to.sees(from.name, 30);
        await to.hears(from.name);
        assertCodec(seen, 'video/VP8', to.name);
        assertProtected(seen, `${to.name} as subscriber`);
        assertProtected(await from.published(), `${from.name} as publisher`);
        t.diagnostic(`${to.name} decodes ${JSON.stringify(seen.inbound.video)}`);
      }

      await ann.mute({ audio: false });
      const muted = { event: 'streamPropertyChanged', of: 'ann', newValue: false };
      let place = await ben.saw({ ...muted, changedProperty: 'audioActive', reason: 'publishAudio' });
      await ann.mute({ video: false });
      place = await ben.saw({ ...muted, changedProperty: 'videoActive', reason: 'publishVideo' }, { after: place });
      await ann.mute({ video: true });
      place = await ben.saw({ ...muted, newValue: true, changedProperty: 'videoActive' }, { after: place });
      const { framesDecoded } = (await ben.received()).ann.inbound.video;
      await ben.sees('ann', framesDecoded + 10);

      await ann.signal('hello', 'chat');
      const signal = { event: 'signal', of: 'ann', type: 'signal:chat', data: 'hello' };
      place = await ben.saw(signal, { after: place });
      await ann.saw(signal);

      await ann.unpublish();
      place = await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'unpublish' }, { after: place });
      await ann.leave();
      await ben.saw({ event: 'connectionDestroyed', of: 'ann', reason: 'disconnect' }, { after: place });
      await ann.saw({ event: 'sessionDisconnected', reason: 'disconnect' });
      const failed = [...(await ann.events()), ...(await ben.events())].filter(({ event }) => event === 'exception');
      assert.deepEqual(failed, []);
    }));
  }
}
