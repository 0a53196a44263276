// The WebSockets of two participants, one with each client version, are cut for a while; their media takes its own way.
// No picture stops, both come back to their seats, and what happened meanwhile is told to them in order and once. After
// too long they are told to go, and the others that they went.

import assert from 'node:assert/strict';
import test from 'node:test';

import { until, window } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';
import { mediaGoesOn } from './lib/watch.mjs';

/** Both clients try again at once and then every 3 s: from 1, 5 and 9 s they come back after 3, 6 and 9 s. */
const GAPS = [1, 5, 9];
/** Longer than a seat is kept (10 s). */
const TOO_LONG = 20;
/** Of the silence: the newer client waits 5 s for a pong and then comes back, the older one 10 s. */
const SILENCE = 8;
/** Milliseconds between two pings. */
const PING_INTERVAL = 5_000;

/** Kinds of events that tell of the others. */
const NEWS = ['connectionCreated', 'connectionDestroyed', 'streamCreated', 'streamDestroyed', 'signal',
  'streamPropertyChanged'];
/** Kinds that nobody may see when all goes well. */
const TROUBLE = ['sessionDisconnected', 'exception', 'ownStreamDestroyed'];
const CAMERA = { resolution: '160x120', frameRate: 10 };

const on = stage({ gate: true });

/** Two participants in one session, each with its own version, whose WebSockets come through the gate. */
async function pair() {
  const session = await on.millrace.createSession();
  const through = { publish: CAMERA, through: on.gate };
  const ann = await on.browser.join(on.millrace, session, { version: '2.20.0', name: 'ann', ...through });
  const ben = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ben', ...through });
  await Promise.all([ann.sees('ben', 5), ben.sees('ann', 5)]);
  return { session, ann, ben };
}

/** Both directions watched second by second. */
const bothGoOn = ({ ann, ben }, seconds, during) =>
  Promise.all([mediaGoesOn(ann, 'ben', seconds, during), mediaGoesOn(ben, 'ann', seconds)]);

/** How many events each of them has seen so far. */
const marks = ({ ann, ben }) => Promise.all([ann, ben].map(async (away) => [away, (await away.events()).length]));

for (const gap of GAPS) {
  test(`a cut of ${gap} s`, on.watched(async (t) => {
    const { session, ann, ben } = await pair();
    const before = await marks({ ann, ben });
    const start = performance.now();
    on.gate.shut();
    t.after(() => on.gate.open());
    // The client comes back a moment after whole seconds; the gate must not open a moment after that.
    const opened = window(gap * 1_000 - 100).then(() => on.gate.open());
    const meanwhile = async () => {
      const cat = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'cat', publish: CAMERA });
      await cat.signal('hello', 'chat');
      await cat.mute({ audio: false });
      await cat.saw({ event: 'signal', of: 'cat' });
      await cat.sees('ann', 3);
      return { cat, after: Math.round(performance.now() - start) };
    };
    const [{ result }] = await bothGoOn({ ann, ben }, gap, meanwhile);
    await opened;
    const places = [];
    for (const [away, from] of before) {
      await away.saw({ event: 'reconnecting' }, { after: from - 1 });
      const back = await away.saw({ event: 'reconnected' }, { after: from - 1, timeout: 20_000 });
      places.push(`${away.name} after ${(await away.events())[back].at - (await away.events())[from].at} ms`);
    }
    t.diagnostic(`cat was there and had spoken after ${result.after} ms; back: ${places.join(', ')}`);
    for (const [away, from] of before) {
      await away.saw({ event: 'streamPropertyChanged', of: 'cat' }, { after: from - 1 });
      assert.deepEqual(await away.eventsOf(NEWS, { from }), [
        { event: 'connectionCreated', of: 'cat' },
        { event: 'streamCreated', of: 'cat', typeOfVideo: 'CAMERA', hasAudio: true, hasVideo: true },
        { event: 'signal', of: 'cat', type: 'signal:chat', data: 'hello' },
        { event: 'streamPropertyChanged', of: 'cat', changedProperty: 'audioActive', newValue: false, oldValue: true,
          reason: 'publishAudio' },
      ], away.name);
      await away.sees('cat', 5);
      await result.cat.sees(away.name, 5);
      assert.deepEqual(await away.eventsOf(TROUBLE), [], away.name);
    }
    // Their seats are theirs as before: what they say now arrives.
    await ann.signal('back', 'chat');
    for (const everybody of [ann, ben, result.cat]) await everybody.saw({ event: 'signal', of: 'ann', data: 'back' });
    assert.deepEqual(await result.cat.eventsOf(['streamDestroyed', 'connectionDestroyed']), []);
  }));
}

test(`a cut of ${TOO_LONG} s`, on.watched(async (t) => {
  const { session, ann, ben } = await pair();
  const cat = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'cat' });
  await cat.sees('ann', 5);
  const start = performance.now();
  on.gate.shut();
  t.after(() => on.gate.open());
  const opened = window(TOO_LONG * 1_000 - 100).then(() => on.gate.open());
  for (const { name } of [ann, ben]) {
    const gone = { of: name, reason: 'networkDisconnect' };
    const place = await cat.saw({ event: 'streamDestroyed', ...gone }, { timeout: 15_000 });
    await cat.saw({ event: 'connectionDestroyed', ...gone }, { after: place });
  }
  const after = performance.now() - start;
  t.diagnostic(`the other one learnt of it after ${Math.round(after)} ms`);
  assert.ok(after > 9_500, 'the seats are kept for 10 s');
  assert.deepEqual(await cat.others(), {});
  await opened;
  for (const away of [ann, ben]) {
    await away.saw({ event: 'sessionDisconnected', reason: 'networkDisconnect' }, { timeout: 15_000 });
    assert.deepEqual(await away.eventsOf(['reconnected']), [], away.name);
  }
}));

test(`a silence of ${SILENCE} s`, on.watched(async (t) => {
  const { session, ann, ben } = await pair();
  const cat = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'cat' });
  // It begins shortly before the newer client's next ping, so that the pong is overdue before it ends.
  const pings = () => ben.frames.filter(({ sent, method }) => sent && method === 'ping').length;
  const counted = pings();
  await until('the next ping', () => pings() > counted);
  await window(PING_INTERVAL - 1_000);
  const before = await marks({ ann, ben });
  on.gate.hold();
  t.after(() => on.gate.open());
  const opened = window(SILENCE * 1_000).then(() => on.gate.open());
  await bothGoOn({ ann, ben }, SILENCE, () => cat.signal('hello', 'chat'));
  await opened;
  const [[, annSaw], [, benSaw]] = before.map(([away, from]) => [away, from - 1]);
  await ben.saw({ event: 'reconnecting' }, { after: benSaw });
  await ben.saw({ event: 'reconnected' }, { after: benSaw, timeout: 15_000 });
  // What was on its way to a socket that its client gave up comes on the next one.
  await ben.saw({ event: 'signal', of: 'cat', data: 'hello' }, { after: benSaw });
  // The older client kept its socket.
  await ann.saw({ event: 'signal', of: 'cat', data: 'hello' }, { after: annSaw });
  // The older client did not even notice.
  assert.deepEqual(await ann.eventsOf(['reconnecting', ...TROUBLE]), []);
  assert.deepEqual(await ben.eventsOf(TROUBLE), []);
  await ben.signal('back', 'chat');
  for (const everybody of [ann, ben, cat]) await everybody.saw({ event: 'signal', of: 'ben', data: 'back' });
}));
