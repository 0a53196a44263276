// The kinds of streams, and what an application does with them while they run.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { publicationOf } from './lib/expect.mjs';
import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '160x120', frameRate: 10 };

const on = stage();

/** The version that the other side of a test has. */
const other = (version) => VERSIONS.find((one) => one !== version);

for (const version of VERSIONS) {
  const join = (session, name, options = {}) => on.browser.join(on.millrace, session, { version, name, ...options });

  test(`${version}: sound alone and picture alone`, on.watched(async () => {
    const session = await on.millrace.createSession();
    const ann = await join(session, 'ann', { publish: { videoSource: false } });
    const ben = await join(session, 'ben', { publish: { ...CAMERA, audioSource: false } });
    const watch = await join(session, 'watch', { version: other(version) });
    assert.match((await ann.others()).ben.stream.streamId, /^str_CAM_/);
    assert.match((await watch.others()).ann.stream.streamId, /^str_MIC_/, 'sound alone is named so');
    for (const to of [ben, watch]) {
      const heard = await to.hears('ann');
      assert.equal(heard.inbound.video, undefined, `${to.name} receives no picture of ann`);
    }
    for (const to of [ann, watch]) {
      const seen = await to.sees('ben', 10);
      assert.equal(seen.inbound.audio, undefined, `${to.name} receives no sound of ben`);
    }
    const { ann: { stream: sound }, ben: { stream: picture } } = await watch.others();
    assert.deepEqual([sound.hasAudio, sound.hasVideo], [true, false]);
    assert.deepEqual([picture.hasAudio, picture.hasVideo], [false, true]);
  }));

  test(`${version}: camera and screen from one page`, on.watched(async () => {
    const session = await on.millrace.createSession();
    const ben = await join(session, 'ben', { version: other(version) });
    const ann = await join(session, 'ann', { publish: CAMERA });
    const screen = await ann.beside('screen', 'screenCall');
    await screen.join(await on.millrace.createToken(session), { subscribeToAll: false });
    // The browser shares its own window, by a flag that answers its question.
    await screen.publish({ videoSource: 'screen', audioSource: false });
    await ben.saw(publicationOf('ann'));
    await ben.saw({ event: 'streamCreated', of: 'screen', typeOfVideo: 'SCREEN', hasAudio: false, hasVideo: true });
    await ben.sees('ann', 5);
    await ben.sees('screen', 2, { timeout: 20_000 });
    const { ann: camera, screen: shared } = await ben.others();
    assert.match(camera.stream.streamId, /^str_CAM_/);
    assert.match(shared.stream.streamId, /^str_SCR_/);
    assert.notEqual(camera.id, shared.id);
    await screen.leave();
    await ben.saw({ event: 'streamDestroyed', of: 'screen', reason: 'disconnect' });
    await ben.seesMore('ann', 5);
  }));

  test(`${version}: another track, and another publisher`, on.watched(async () => {
    const session = await on.millrace.createSession();
    const ann = await join(session, 'ann', { publish: CAMERA });
    const ben = await join(session, 'ben', { version: other(version) });
    const before = await ben.sees('ann', 5);
    await ann.ask('replaceVideo', 320, 240);
    const after = await ben.receives('ann', 'the larger picture', ({ inbound }) => inbound.video.frameWidth === 320);
    assert.equal(after.peer, before.peer, 'the subscription stays');
    assert.equal(after.inbound.video.ssrc, before.inbound.video.ssrc);
    await ben.saw({ event: 'streamPropertyChanged', of: 'ann', changedProperty: 'videoDimensions',
      reason: 'trackReplaced' });
    assert.deepEqual((await ben.others()).ann.stream.videoDimensions, { width: 320, height: 240 });

    // A publisher with a track of its own instead of the camera.
    const place = (await ben.events()).length - 1;
    await ann.unpublish();
    await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'unpublish' }, { after: place });
    const id = await ann.publish({ ...CAMERA, camera: false });
    assert.match(id, /^str_CUS_/);
    await ben.saw(publicationOf('ann', 'CUSTOM'), { after: place });
    await ben.sees('ann', 5);
  }));

  test(`${version}: who comes late finds what is muted, and may subscribe when he likes`, on.watched(async () => {
    const session = await on.millrace.createSession();
    const ann = await join(session, 'ann', { publish: CAMERA });
    const ben = await join(session, 'ben', { version: other(version) });
    await ann.mute({ audio: false, video: false });
    await ben.saw({ event: 'streamPropertyChanged', of: 'ann', changedProperty: 'videoActive', newValue: false });
    const late = await join(session, 'late', { version: other(version), options: { subscribeToAll: false } });
    const state = async () => {
      const { audioActive, videoActive } = (await late.others()).ann.stream;
      return [audioActive, videoActive];
    };
    assert.deepEqual(await state(), [false, false]);
    await ann.mute({ audio: true, video: true });
    await late.saw({ event: 'streamPropertyChanged', of: 'ann', changedProperty: 'videoActive', newValue: true });
    assert.deepEqual(await state(), [true, true]);
    assert.deepEqual(await late.received(), {}, 'nothing is sent unasked');
    await late.ask('subscribe', 'ann');
    const first = await late.sees('ann', 5);
    await late.unsubscribe('ann');
    assert.deepEqual(await late.received(), {});
    const subscribed = async () => {
      const { content } = await on.millrace.rest('GET', `/openvidu/api/sessions/${session}/connection`);
      return content.filter(({ subscribers }) => subscribers.length).map(({ clientData }) => JSON.parse(clientData).name);
    };
    await until('only ben is subscribed', async () => (await subscribed()).join() === 'ben', { describe: subscribed });
    await late.resubscribe('ann');
    const again = await late.sees('ann', 5);
    assert.notEqual(again.peer, first.peer);
    await ben.seesMore('ann', 5);
  }));

  test(`${version}: signals to all and to some`, on.watched(async () => {
    const session = await on.millrace.createSession();
    const people = [];
    for (const name of ['ann', 'ben', 'cat']) people.push(await join(session, name));
    const [ann, ben, cat] = people;
    await ann.saw({ event: 'connectionCreated', of: 'cat' });
    await ann.signal('one', 'chat', ['ben']);
    await ann.signal('two', 'chat', ['ben', 'cat']);
    await ann.signal('three', undefined);
    await on.millrace.call('POST', '/openvidu/api/signal', { session, data: 'four', type: 'notice', to: [] });
    for (const who of people) await who.saw({ event: 'signal', data: 'four' });
    const signals = {
      one: { event: 'signal', of: 'ann', type: 'signal:chat', data: 'one' },
      two: { event: 'signal', of: 'ann', type: 'signal:chat', data: 'two' },
      three: { event: 'signal', of: 'ann', type: 'signal:signal', data: 'three' },
      // The REST API is nobody in the session.
      four: { event: 'signal', type: 'signal:notice', data: 'four' },
    };
    const { one, two, three, four } = signals;
    for (const [who, expected] of [[ann, [three, four]], [ben, [one, two, three, four]], [cat, [two, three, four]]]) {
      assert.deepEqual(await who.eventsOf(['signal']), expected, who.name);
    }
    // To somebody who is not there: nobody gets it, not even those who are.
    const refused = await ann.attempt('signal', 'none', 'chat', ['ben', 'nobody']);
    assert.equal(refused.code, 601, JSON.stringify(refused));
    await ann.signal('last', 'chat');
    for (const who of people) await who.saw({ event: 'signal', of: 'ann', data: 'last' });
    assert.deepEqual(await ben.eventsOf(['signal']), [one, two, three, four, { ...one, data: 'last' }]);
  }));
}
