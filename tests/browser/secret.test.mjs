// A page that joins with the server's secret, as the layouts of recordings do: it sees everything, and nobody sees it.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS } from './lib/browser.mjs';
import { publicationOf } from './lib/expect.mjs';
import { SECRET } from './lib/millrace.mjs';
import { stage } from './lib/setup.mjs';

const CAMERA = { resolution: '160x120', frameRate: 10 };

const on = stage();

for (const [version, kind] of [['2.20.0', 'recorder'], ['2.32.1', 'recorder'], ['2.32.1', 'stt']]) {
  test(`${version} joins as ${kind}`, on.watched(async () => {
    const { browser, millrace } = on;
    const session = await millrace.createSession();
    const ann = await browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: CAMERA });
    const layout = await browser.open(version, 'layout');
    const token = (secret) => `wss://localhost:${millrace.port}?sessionId=${session}&secret=${secret}&${kind}=true`;
    const id = await layout.join(token(SECRET));
    assert.equal(id, { recorder: 'RECORDER', stt: 'SPEECH_TO_TEXT' }[kind]);
    // Who was there before, and who comes later.
    const ben = await browser.join(millrace, session, { version: '2.20.0', name: 'ben', publish: CAMERA });
    for (const of of ['ann', 'ben']) {
      await layout.saw(publicationOf(of));
      await layout.sees(of, 5);
      await layout.hears(of);
    }
    await ann.mute({ audio: false });
    await layout.saw({ event: 'streamPropertyChanged', of: 'ann', changedProperty: 'audioActive', newValue: false });
    await ann.signal('hello', 'chat');
    await layout.saw({ event: 'signal', of: 'ann', data: 'hello' });

    const { content } = await millrace.rest('GET', `/openvidu/api/sessions/${session}/connection`);
    assert.deepEqual(content.map(({ clientData }) => JSON.parse(clientData).name).sort(), ['ann', 'ben']);
    const subscribers = content.flatMap((connection) => connection.subscribers);
    assert.equal(subscribers.length, 2, 'only ann and ben count as subscribed');

    await layout.leave();
    await layout.saw({ event: 'sessionDisconnected', reason: 'disconnect' });
    // Nobody heard of its going either, as somebody's coming after it shows.
    const cat = await browser.join(millrace, session, { version: '2.32.1', name: 'cat' });
    for (const [one, others] of [[ann, ['ann', 'ben', 'cat']], [ben, ['ben', 'ann', 'cat']]]) {
      await one.saw({ event: 'connectionCreated', of: 'cat' });
      assert.deepEqual((await one.eventsOf(['connectionCreated'])).map(({ of }) => of), others);
      assert.deepEqual(await one.eventsOf(['connectionDestroyed']), []);
    }
    assert.deepEqual(Object.keys(await cat.others()).sort(), ['ann', 'ben']);

    const stranger = await browser.open(version, 'stranger');
    const refused = await stranger.attempt('join', token('wrong'), 'stranger');
    assert.equal(refused.code, 401, JSON.stringify(refused));
  }));
}

for (const version of VERSIONS) {
  test(`${version} joins with the secret alone, and is seen`, on.watched(async () => {
    const { browser, millrace } = on;
    const session = await millrace.createSession();
    const ann = await browser.join(millrace, session, { version: '2.32.1', name: 'ann', publish: CAMERA });
    const guest = await browser.open(version, 'guest');
    await guest.join(`wss://localhost:${millrace.port}?sessionId=${session}&secret=${SECRET}`);
    await ann.saw({ event: 'connectionCreated', of: 'guest' });
    await guest.sees('ann', 5);
    // It passes every check of roles.
    await guest.ask('forceUnpublish', 'ann');
    await ann.saw({ event: 'ownStreamDestroyed', reason: 'forceUnpublishByUser' });
    await guest.leave();
    await ann.saw({ event: 'connectionDestroyed', of: 'guest', reason: 'disconnect' });
  }));
}
