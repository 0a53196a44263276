// The unmodified openvidu-node-client of both generations, as a server application uses it while browsers are in the room.

import assert from 'node:assert/strict';
import test from 'node:test';

import { SECRET } from './lib/millrace.mjs';
import { stage } from './lib/setup.mjs';

// The client trusts what the process trusts, and the server's certificate is its own.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const CAMERA = { resolution: '160x120', frameRate: 10 };
const GENERATIONS = { '2.20.2': 'openvidu-node-client-2-20', '2.32.2': 'openvidu-node-client-2-32' };

const on = stage();

for (const [generation, name] of Object.entries(GENERATIONS)) {
  test(`node client ${generation}`, on.watched(async () => {
    const { OpenVidu, OpenViduRole } = (await import(name)).default;
    const client = new OpenVidu(on.millrace.url, SECRET);
    const customSessionId = `room-${generation.replaceAll('.', '-')}`;
    const session = await client.createSession({ customSessionId });
    assert.equal(session.sessionId, customSessionId);
    const again = await new OpenVidu(on.millrace.url, SECRET).createSession({ customSessionId });
    assert.equal(again.sessionId, customSessionId, 'a session that is there is taken as it is');
    await client.fetch();
    assert.equal(await client.fetch(), false, 'nothing has happened since');

    const connect = async (version, who, role, publish) => {
      const connection = await session.createConnection({ role, data: `server data of ${who}` });
      assert.equal(connection.status, 'pending');
      const participant = await on.browser.open(version, who);
      await participant.join(connection.token);
      if (publish) await participant.publish(CAMERA);
      return [connection.connectionId, participant];
    };
    const [annId, ann] = await connect('2.20.0', 'ann', OpenViduRole.PUBLISHER, true);
    const [benId, ben] = await connect('2.32.1', 'ben', OpenViduRole.SUBSCRIBER, false);
    await ben.sees('ann', 5);

    assert.equal(await session.fetch(), true, 'two have joined');
    assert.equal(await session.fetch(), false);
    assert.equal(await client.fetch(), false, 'nor does the whole list look different');
    const active = Object.fromEntries(session.activeConnections.map((connection) => [connection.connectionId, connection]));
    assert.deepEqual(Object.keys(active).sort(), [annId, benId].sort());
    const [publisher, ...others] = active[annId].publishers;
    assert.deepEqual(others, []);
    assert.equal(publisher.hasVideo && publisher.hasAudio, true);
    assert.equal(active[annId].serverData, 'server data of ann');
    assert.equal(active[benId].role, 'SUBSCRIBER');
    const received = active[benId].subscribers.map((one) => one.streamId ?? one);
    assert.deepEqual(received, [publisher.streamId]);

    await session.forceUnpublish(publisher);
    await ben.saw({ event: 'streamDestroyed', of: 'ann', reason: 'forceUnpublishByServer' });
    await session.forceDisconnect(active[annId]);
    await ann.saw({ event: 'sessionDisconnected', reason: 'forceDisconnectByServer' });
    await ben.saw({ event: 'connectionDestroyed', of: 'ann', reason: 'forceDisconnectByServer' });
    assert.equal(await client.fetch(), false, 'the client has kept its own books of what it did');
    assert.deepEqual(client.activeSessions.map((one) => one.sessionId), [customSessionId]);

    await session.close();
    await ben.saw({ event: 'sessionDisconnected', reason: 'sessionClosedByServer' });
    assert.equal(await client.fetch(), false);
    assert.deepEqual(client.activeSessions, []);
    await assert.rejects(session.fetch(), /404/);
    await assert.rejects(new OpenVidu(on.millrace.url, 'wrong').fetch(), /401/);
  }));
}
