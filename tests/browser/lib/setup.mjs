// What every test file does around its tests: one Millrace and one Chromium, and both sides' logs when a test fails.

import { after, afterEach, before } from 'node:test';

import { startBrowser } from './browser.mjs';
import { startMillrace } from './millrace.mjs';

/** Registers the hooks; the answer is filled in before the first test. */
export function stage({ millrace: millraceOptions, browser: browserOptions } = {}) {
  const stage = {};
  before(async () => {
    stage.millrace = await startMillrace(millraceOptions);
    stage.browser = await startBrowser(browserOptions);
  });
  afterEach(async () => {
    await stage.browser?.closePages();
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.millrace?.stop();
  });
  /** A test's body that shows the logs when it fails. */
  stage.watched = (body) => async (t) => {
    try {
      await body(t);
    } catch (error) {
      t.diagnostic(stage.millrace.logs());
      t.diagnostic(await stage.browser.logs());
      throw error;
    }
  };
  return stage;
}
