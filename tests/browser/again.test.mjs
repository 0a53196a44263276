// What is given up can be taken up again: a publication, a subscription, a seat in the room.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const on = stage();

for (const version of VERSIONS) {
  test(`${version} publishes, subscribes and joins again`, on.watched(async () => {
    const { millrace } = on;
    const session = await millrace.createSession();
    const ann = await on.browser.join(millrace, session, { version, name: 'ann', publish: true });
    const ben = await on.browser.join(millrace, session, { version, name: 'ben' });
    await ben.sees('ann', 15);

    await ben.unsubscribe('ann');
    await ben.resubscribe('ann');
    await ben.sees('ann', 15);

    await ann.unpublish();
    const place = await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'unpublish' });
    await ann.publish();
    await ben.saw({ event: 'streamCreated', of: 'ann' }, { after: place });
    await ben.sees('ann', 15);

    await ben.leave();
    await ann.saw({ event: 'connectionDestroyed', of: 'ben', reason: 'disconnect' });
    const cat = await on.browser.join(millrace, session, { version, name: 'cat', publish: true });
    await cat.sees('ann', 15);
    await ann.sees('cat', 15);

    await cat.leave();
    await ann.leave();
    const empty = async () => {
      const metrics = await millrace.metrics();
      const held = ['transports', 'tracks', 'subscriptions', 'sessions', 'connections', 'streams'];
      return Object.fromEntries(held.map((name) => [name, metrics.value(`millrace_${name}`)]));
    };
    // With the last one the session ends, and nothing may stay behind.
    await until('nothing is left', async () => Object.values(await empty()).every((count) => count === 0), {
      describe: empty,
    });
    assert.equal((await millrace.call('GET', `/openvidu/api/sessions/${session}`)).status, 404);
  }));
}
