// Somebody without camera and microphone, and without leave to use any, watches: the browser then hides its own
// addresses behind mDNS names, and only its checks tell the server where it is.

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS, startBrowser } from './lib/browser.mjs';
import { assertProtected } from './lib/expect.mjs';
import { stage } from './lib/setup.mjs';

const on = stage();

test('a viewer without devices receives', on.watched(async (t) => {
  const session = await on.millrace.createSession();
  await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ann', publish: true });
  const bare = await startBrowser({ camera: false });
  t.after(() => bare.stop());
  for (const version of VERSIONS) {
    const role = 'SUBSCRIBER';
    const viewer = await bare.join(on.millrace, session, { version, name: `viewer ${version}`, role });
    const seen = await viewer.sees('ann');
    await viewer.hears('ann');
    assertProtected(seen, viewer.name);
    const sdp = (await viewer.descriptions()).ann.local.sdp;
    const hosts = [...sdp.matchAll(/^a=candidate:\S+ \d \S+ \d+ (\S+) \d+ typ host/gm)].map((match) => match[1]);
    t.diagnostic(`${viewer.name}: candidates ${hosts.join(' ') || 'none'}`);
    assert.ok(hosts.length && hosts.every((host) => host.endsWith('.local')), 'only mDNS names are told');
  }
}));
