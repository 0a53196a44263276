// A NAT between the clients and the server forgets them: they come from new ports, which the kernel may give to the
// other worker. The call goes on with the clients' next connectivity checks.

import assert from 'node:assert/strict';
import test from 'node:test';

import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

/** Enough for some of the new ports to fall to the other worker, with all likelihood (1 - 2^-16). */
const TIMES = 4;

const on = stage({ relay: true });

test('a call outlives new client ports', on.watched(async (t) => {
  const { millrace, browser, relay } = on;
  const session = await millrace.createSession();
  const ann = await browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const ben = await browser.join(millrace, session, { version: '2.20.0', name: 'ben', publish: true });
  for (let round = 0; round <= TIMES; round += 1) {
    const start = performance.now();
    await Promise.all([[ann, 'ben'], [ben, 'ann']].map(async ([to, from]) => {
      const decoded = (await to.received())[from]?.inbound.video?.framesDecoded ?? 0;
      // Half a second of pictures, so that none of them was on its way already.
      await to.sees(from, decoded + 8);
    }));
    t.diagnostic(`${round ? `rebinding ${round}` : 'start'}: pictures after ${Math.round(performance.now() - start)} ms`);
    if (round < TIMES) relay.rebind();
  }
  const crossed = await until('datagrams that the other worker received', async () =>
    (await millrace.metrics()).value('millrace_cross_datagrams_in_total'));
  t.diagnostic(`${crossed} datagrams crossed workers`);
  const disturbed = [...(await ann.events()), ...(await ben.events())].filter(({ event }) =>
    ['exception', 'sessionDisconnected', 'streamDestroyed', 'reconnecting'].includes(event));
  assert.deepEqual(disturbed, []);
}));
