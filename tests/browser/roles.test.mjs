// What each role may do, and what everybody is told when a moderator or the REST API sends somebody away or ends a
// stream.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '160x120', frameRate: 10 };
/** What tells of somebody's end; `ownStreamDestroyed` is what the publisher object hears. */
const ENDS = ['streamDestroyed', 'connectionDestroyed', 'sessionDisconnected', 'ownStreamDestroyed'];
const DENIED = 'OPENVIDU_PERMISSION_DENIED';

const on = stage();

/** A moderator who does not publish, a publisher, and a subscriber who sees the publisher. */
async function company(version) {
  const session = await on.millrace.createSession();
  const other = VERSIONS.find((one) => one !== version);
  const join = (name, version, role, publish) => on.browser.join(on.millrace, session, { version, name, role, publish });
  const mod = await join('mod', version, 'MODERATOR');
  const ben = await join('ben', other, 'PUBLISHER', CAMERA);
  const sue = await join('sue', version, 'SUBSCRIBER');
  await Promise.all([mod.sees('ben', 3), sue.sees('ben', 3)]);
  return { session, mod, ben, sue };
}

/** Waits until all heard of an end by that reason, and compares all they heard since the place. */
async function heard(people, reason, expected) {
  for (const [i, one] of people.entries()) {
    for (const event of expected[i]) await one.saw({ ...event, reason });
    assert.deepEqual(await one.eventsOf(ENDS), expected[i].map((event) => ({ ...event, reason })), one.name);
  }
}

for (const version of VERSIONS) {
  test(`${version}: what a role may not do is refused`, on.watched(async () => {
    const { mod, ben, sue } = await company(version);
    assert.deepEqual(await mod.ask('capabilities'),
      { subscribe: true, publish: true, forceUnpublish: true, forceDisconnect: true });
    assert.deepEqual(await sue.ask('capabilities'),
      { subscribe: true, publish: false, forceUnpublish: false, forceDisconnect: false });
    const refused = async (who, ...call) => {
      const { name, value, error } = await who.attempt(...call);
      assert.equal(name, DENIED, `${who.name} ${call[0]}: ${JSON.stringify(value ?? error)}`);
    };
    await refused(sue, 'publish', CAMERA);
    for (const who of [sue, ben]) {
      await refused(who, 'forceDisconnect', 'mod');
      if (who === sue) await refused(who, 'forceUnpublish', 'ben');
    }
    // Nobody heard of any of it, and all go on.
    for (const one of [mod, ben, sue]) assert.deepEqual(await one.eventsOf(ENDS), [], one.name);
    assert.deepEqual(await mod.eventsOf(['streamCreated']),
      [{ event: 'streamCreated', of: 'ben', typeOfVideo: 'CAMERA', hasAudio: true, hasVideo: true }]);
    await sue.seesMore('ben', 5);
  }));

  test(`${version}: a moderator ends a stream, then sends its owner away`, on.watched(async () => {
    const { session, mod, ben, sue } = await company(version);
    await mod.ask('forceUnpublish', 'ben');
    await heard([mod, ben, sue], 'forceUnpublishByUser', [
      [{ event: 'streamDestroyed', of: 'ben' }],
      [{ event: 'ownStreamDestroyed' }],
      [{ event: 'streamDestroyed', of: 'ben' }],
    ]);
    // He may publish again, and goes with that stream.
    await ben.publish(CAMERA);
    await Promise.all([mod.sees('ben', 3), sue.sees('ben', 3)]);
    const before = await Promise.all([mod, ben, sue].map(async (one) => (await one.events()).length));
    await mod.ask('forceDisconnect', 'ben');
    const reason = 'forceDisconnectByUser';
    const [forMod, forBen, forSue] = [
      [{ event: 'streamDestroyed', of: 'ben', reason }, { event: 'connectionDestroyed', of: 'ben', reason }],
      [{ event: 'ownStreamDestroyed', reason }, { event: 'sessionDisconnected', reason }],
      [{ event: 'streamDestroyed', of: 'ben', reason }, { event: 'connectionDestroyed', of: 'ben', reason }],
    ];
    for (const [one, expected, from] of [[mod, forMod, before[0]], [ben, forBen, before[1]], [sue, forSue, before[2]]]) {
      for (const event of expected) await one.saw(event, { after: from - 1 });
      assert.deepEqual(await one.eventsOf(ENDS, { from }), expected, one.name);
    }
    const { content } = await on.millrace.rest('GET', `/openvidu/api/sessions/${session}/connection`);
    assert.equal(content.length, 2, 'two are left');
  }));
}

test('the REST API ends a stream, a connection, and the session', on.watched(async () => {
  const { session, mod, ben, sue } = await company('2.32.1');
  const remove = async (where) => {
    const { status } = await on.millrace.call('DELETE', `/openvidu/api/sessions/${session}${where}`);
    assert.equal(status, 204, where);
  };
  const { id, stream } = (await mod.others()).ben;
  await remove(`/stream/${stream.streamId}`);
  await heard([mod, ben, sue], 'forceUnpublishByServer', [
    [{ event: 'streamDestroyed', of: 'ben' }],
    [{ event: 'ownStreamDestroyed' }],
    [{ event: 'streamDestroyed', of: 'ben' }],
  ]);
  const gone = 'forceDisconnectByServer';
  await remove(`/connection/${id}`);
  await ben.saw({ event: 'sessionDisconnected', reason: gone });
  for (const one of [mod, sue]) await one.saw({ event: 'connectionDestroyed', of: 'ben', reason: gone });
  const closed = 'sessionClosedByServer';
  await remove('');
  for (const one of [mod, sue]) {
    await one.saw({ event: 'sessionDisconnected', reason: closed });
    // Evicted one by one, so that one of the two saw the other go first, by the same reason.
    const others = (await one.eventsOf(['connectionDestroyed'])).filter(({ of }) => of !== 'ben');
    assert.ok(others.every(({ reason }) => reason === closed), one.name);
  }
  assert.equal((await on.millrace.call('GET', `/openvidu/api/sessions/${session}`)).status, 404);
  for (const one of [mod, ben, sue]) {
    assert.deepEqual(await one.eventsOf(['reconnecting', 'exception']), [], one.name);
    assert.equal((await one.eventsOf(['sessionDisconnected'])).length, 1, one.name);
  }
}));
