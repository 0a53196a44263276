// The demo page as a person uses it, by mouse and by keyboard, with screenshots in artifacts/ to look at.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const ARTIFACTS = fileURLToPath(new URL('artifacts/', import.meta.url));
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const on = stage({ env: { MILLRACE_DEMO: 'true' } });

/** Opens the page, up to the own picture, as a person with a small camera: six of 720p are too much for one machine to encode. */
async function visitor(name, { camera = { width: 640, height: 360, frameRate: 15 }, viewport = DESKTOP } = {}) {
  const page = await on.browser.visit(`${on.millrace.url}/`, {
    viewport,
    prepare: (page) => page.addInitScript(smallCamera, camera),
  });
  await page.locator('#preview-video').evaluate((video) => new Promise((resolve) => {
    if (video.videoWidth) resolve();
    else video.addEventListener('loadeddata', resolve, { once: true });
  }));
  return { name, page };
}

function smallCamera(size) {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (wanted) => ask(wanted.video ? { ...wanted, video: size } : wanted);
}

/** Fills the form and joins, by keyboard alone. */
async function join({ name, page }, room) {
  await page.locator('#name').focus();
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(room);
  await page.keyboard.press('Enter');
  await page.locator('#call').waitFor();
}

/** Waits until that many pictures move on the page. */
function seesMoving({ name, page }, count) {
  const read = () =>
    page.locator('#grid video').evaluateAll((videos) =>
      videos.map((video) => ({ width: video.videoWidth, frames: video.getVideoPlaybackQuality().totalVideoFrames })));
  return until(
    `${name} sees ${count} moving pictures`,
    async () => (await read()).filter(({ width, frames }) => width > 0 && frames > 10).length === count,
    { timeout: 30_000, describe: read },
  );
}

const tile = ({ page }, label) => page.locator(`#grid [aria-label="${label}"]`);

async function screenshot({ page }, name) {
  await mkdir(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: `${ARTIFACTS}${name}.png` });
}

/** Nothing reaches beyond the window, and every control is inside it. */
async function assertFits({ name, page }) {
  const beyond = await page.evaluate(() => {
    const boxes = [...document.querySelectorAll('#call button, #grid article')].filter((element) => element.checkVisibility());
    return {
      sideways: document.documentElement.scrollWidth - innerWidth,
      outside: boxes.filter((element) => {
        const { left, right, top, bottom } = element.getBoundingClientRect();
        return left < -1 || right > innerWidth + 1 || top < -1 || bottom > innerHeight + 1;
      }).map((element) => element.id || element.getAttribute('aria-label')),
    };
  });
  assert.ok(beyond.sideways <= 0, `${name} must scroll sideways`);
  assert.deepEqual(beyond.outside, [], `${name}: outside the window`);
}

test('two people use the demo page', on.watched(async () => {
  const ann = await visitor('Ann');
  await screenshot(ann, 'lobby-1280x800');
  await join(ann, 'demo');
  const ben = await visitor('Ben');
  await join(ben, 'demo');
  await seesMoving(ann, 2);
  await seesMoving(ben, 2);
  await tile(ann, 'Ann (you)').waitFor();
  await tile(ann, 'Ben').waitFor();
  await assertFits(ann);
  await screenshot(ann, 'two-1280x800');

  await ann.page.keyboard.press('m');
  await tile(ben, 'Ann, muted').waitFor();
  await ann.page.keyboard.press('v');
  await tile(ben, 'Ann, muted, camera off').waitFor();
  await screenshot(ben, 'two-muted-1280x800');
  await ann.page.locator('#mic').click();
  await ann.page.locator('#cam').click();
  await tile(ben, 'Ann').waitFor();

  await ann.page.locator('#grid').click();
  await ann.page.keyboard.press('c');
  await ann.page.keyboard.type('Hello Ben');
  await ann.page.keyboard.press('Enter');
  await ben.page.locator('#chat-toggle').click();
  await ben.page.locator('#chat-log li', { hasText: 'Hello Ben' }).waitFor();
  await ben.page.locator('#chat-text').fill('Hello Ann');
  await ben.page.locator('#chat-send').click();
  await ann.page.locator('#chat-log li', { hasText: 'Hello Ann' }).waitFor();
  await seesMoving(ann, 2);
  await screenshot(ann, 'two-chat-1280x800');
  await ann.page.keyboard.press('Escape');

  await ben.page.locator('#screen').click();
  await tile(ann, "Ben's screen").waitFor({ timeout: 15_000 });
  await seesMoving(ann, 3);
  await screenshot(ann, 'two-screen-1280x800');
  await ben.page.locator('#screen').click();
  await tile(ann, "Ben's screen").waitFor({ state: 'detached' });

  await ben.page.locator('#leave').click();
  await ben.page.locator('#lobby').waitFor();
  await tile(ann, 'Ben').waitFor({ state: 'detached' });
  await ann.page.getByText('only you').waitFor();
}));

test('six people use the demo page, one of them by phone', on.watched(async () => {
  const camera = { width: 320, height: 180, frameRate: 10 };
  const everybody = [];
  for (const name of ['Ann', 'Ben', 'Cat', 'Dan', 'Eve']) {
    everybody.push(await visitor(name, { camera }));
    await join(everybody.at(-1), 'crowd');
  }
  const fay = await visitor('Fay', { camera, viewport: PHONE });
  await screenshot(fay, 'lobby-390x844');
  await join(fay, 'crowd');
  for (const person of [...everybody, fay]) await seesMoving(person, 6);
  await assertFits(everybody[0]);
  await screenshot(everybody[0], 'six-1280x800');
  await assertFits(fay);
  await screenshot(fay, 'six-390x844');
}));
