// What the tests of the tutorial pages share: a stage with the pages' server, and what a person sees in a page.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { until } from './poll.mjs';
import { stage } from './setup.mjs';

const ARTIFACTS = fileURLToPath(new URL('../artifacts/', import.meta.url));
const VIEWPORT = { width: 1024, height: 900 };

/** Chromium's second make-believe camera measures depth, which no codec takes. */
const DEPTH = 'fake_device_1';

/** A stage with a server of the tutorials' pages, whose browser has two cameras. */
export const tutorials = () => stage({ cameras: 3, tutorials: true });

/** A window of its own with that tutorial and that version of the client. */
export const opens = (on, tutorial, version) =>
  on.browser.visit(`${on.tutorials.url}/${tutorial}.html?version=${version}`, {
    viewport: VIEWPORT,
    prepare: (page) => page.addInitScript(cameras, DEPTH),
  });

/** The tutorials ask for 30 pictures a second; a third will do, and leaves the machine time for the other pages. */
function cameras(depth) {
  const { mediaDevices } = navigator;
  const ask = mediaDevices.getUserMedia.bind(mediaDevices);
  const slow = (video) => (typeof video === 'object' ? { ...video, frameRate: 10 } : { frameRate: 10 });
  mediaDevices.getUserMedia = (wanted) => ask(wanted.video ? { ...wanted, video: slow(wanted.video) } : wanted);
  const list = mediaDevices.enumerateDevices.bind(mediaDevices);
  mediaDevices.enumerateDevices = async () => (await list()).filter(({ label }) => label !== depth);
}

/** Waits until the page, or that part of it, holds exactly that many videos, and each of them moves. */
export function moving(page, count, within = 'body') {
  const read = () => page.locator(`${within} video`).evaluateAll((videos) =>
    videos.filter((video) => video.checkVisibility()).map((video) => {
      const frames = video.getVideoPlaybackQuality().totalVideoFrames;
      const fresh = frames - (video.framesBefore ?? frames);
      video.framesBefore = frames;
      return { width: video.videoWidth, fresh };
    }));
  const state = { seen: [] };
  return until(`${count} moving pictures in ${page.url()}`, async () => {
    state.seen = await read();
    return state.seen.length === count && state.seen.every(({ width, fresh }) => width > 0 && fresh > 0);
  }, { timeout: 20_000, every: 500, describe: () => state.seen });
}

/** Leaves by the page's button. */
export async function leaves(page) {
  await page.getByRole('button', { name: 'Leave' }).click();
}

/** A picture of the page for people to look at. */
export async function shot(page, name) {
  await mkdir(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: `${ARTIFACTS}${name}.png` });
}

/** No page met an error that nobody caught, and with the last one the session has ended. */
export async function unbroken(on, session) {
  for (const { name, console: lines } of on.browser.participants) {
    assert.deepEqual(lines.filter((line) => line.startsWith('uncaught')), [], name);
  }
  const sessions = async () => (await on.millrace.rest('GET', '/openvidu/api/sessions')).content.map(({ id }) => id);
  await until(`session ${session ?? 'of the page'} has ended`, async () => (await sessions()).length === 0,
    { describe: sessions });
}
