// Both ways to subscribe, as the server announces them: the server offers (mediasoup), or the client does (kurento).

import assert from 'node:assert/strict';
import test from 'node:test';

import { VERSIONS, startBrowser } from './lib/browser.mjs';
import { assertCodec, assertProtected } from './lib/expect.mjs';
import { startMillrace } from './lib/millrace.mjs';

const OFFERER = { mediasoup: 'remote', kurento: 'local' };

for (const [mode, side] of Object.entries(OFFERER)) {
  test(`${mode}: the ${side} side offers`, async (t) => {
    const millrace = await startMillrace({ env: { MILLRACE_MEDIA_SERVER: mode } });
    const browser = await startBrowser();
    t.after(() => Promise.all([browser.stop(), millrace.stop()]));
    try {
      const session = await millrace.createSession();
      const participants = [];
      for (const version of VERSIONS) {
        participants.push(await browser.join(millrace, session, { version, name: `v${version}`, publish: true }));
      }
      const [ann, ben] = participants;
      for (const [from, to] of [[ann, ben], [ben, ann]]) {
        const seen = await to.sees(from.name);
        await to.hears(from.name);
        assertCodec(seen, 'video/VP8', to.name);
        assertProtected(seen, to.name);
        assert.equal((await to.descriptions())[from.name][side].type, 'offer', to.name);
      }
    } catch (error) {
      t.diagnostic(millrace.logs());
      t.diagnostic(await browser.logs());
      throw error;
    }
  });
}
