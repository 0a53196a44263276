// What every test file does around its tests: one Millrace and one Chromium, and both sides' logs when a test fails.

import { after, afterEach, before } from 'node:test';

import { startBrowser } from './browser.mjs';
import { startGate } from './gate.mjs';
import { startMillrace } from './millrace.mjs';
import { startRelay } from './relay.mjs';
import { startTutorialServer } from './tutorial-server.mjs';

/**
 * Registers the hooks; the answer is filled in before the first test. `env` and `workers` are Millrace's; with `relay`
 * all media goes through one, so that a test can meddle with it; with `gate` there is one that WebSockets can be sent
 * through; `cameras` is how many the browser has; with `tutorials` their pages are served. Inside a
 * `describe` it is the stage of that group of tests.
 */
export function stage({ env = {}, workers, relay = false, gate = false, cameras, tutorials = false } = {}) {
  const stage = {};
  before(async () => {
    if (relay) stage.relay = await startRelay();
    const announce = relay ? { MILLRACE_ANNOUNCE: `127.0.0.1:${stage.relay.port}` } : {};
    stage.millrace = await startMillrace({ env: { ...announce, ...env }, workers });
    stage.relay?.target(stage.millrace.mediaPort);
    if (gate) stage.gate = await startGate(stage.millrace.port);
    if (tutorials) stage.tutorials = await startTutorialServer(stage.millrace);
    stage.browser = await startBrowser({ cameras });
  });
  afterEach(async () => {
    await stage.browser?.closePages();
  });
  after(async () => {
    await stage.browser?.stop();
    stage.relay?.close();
    stage.gate?.close();
    stage.tutorials?.close();
    await stage.millrace?.stop();
  });
  /** A test's body that shows the logs when it fails. */
  stage.watched = (body) => async (t) => {
    try {
      await body(t);
    } catch (error) {
      t.diagnostic(stage.millrace.logs());
      t.diagnostic(`drops: ${JSON.stringify((await stage.millrace.metrics().catch(() => undefined))?.drops())}`);
      t.diagnostic(await stage.browser.logs());
      throw error;
    }
  };
  return stage;
}
