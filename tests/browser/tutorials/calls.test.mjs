// Two people in each of the tutorials that make a plain call: one page with the older client, one with the newer.

import assert from 'node:assert/strict';
import test from 'node:test';

import { leaves, moving, opens, shot, tutorials, unbroken } from '../lib/tutorials.mjs';

const on = tutorials();

/** Fills what the form has, and joins. */
async function join(page, room, name) {
  if (await page.locator('#name').count()) await page.locator('#name').fill(name);
  await page.locator('#room').fill(room);
  await page.getByRole('button', { name: 'Join' }).click();
}

for (const { tutorial, pictures } of [
  { tutorial: 'hello-world', pictures: 2 },
  // The large picture counts.
  { tutorial: 'plain-js', pictures: 3 },
  { tutorial: 'component', pictures: 3 },
]) {
  test(tutorial, on.watched(async () => {
    const ann = await opens(on, tutorial, '2.20.0');
    await join(ann, tutorial, 'Ann');
    await moving(ann, pictures - 1);
    const ben = await opens(on, tutorial, '2.32.1');
    await join(ben, tutorial, 'Ben');
    for (const page of [ann, ben]) await moving(page, pictures);
    if (tutorial !== 'hello-world') {
      await ann.locator('#videos .name', { hasText: 'Ben' }).waitFor();
      await ben.locator('#videos .name', { hasText: 'Ann' }).waitFor();
    }
    await shot(ann, `tutorial-${tutorial}`);
    if (tutorial === 'component') {
      const camera = () => ann.locator('#main-video video').evaluate(({ srcObject }) =>
        srcObject.getVideoTracks()[0].getSettings().deviceId);
      const before = await camera();
      await ann.getByRole('button', { name: 'Switch camera' }).click();
      await ann.waitForFunction((id) => {
        const track = document.querySelector('#main-video video')?.srcObject?.getVideoTracks()[0];
        return track && track.getSettings().deviceId !== id;
      }, before);
      for (const page of [ann, ben]) await moving(page, pictures);
    }
    await leaves(ben);
    await moving(ann, pictures - 1);
    // And comes again.
    await join(ben, tutorial, 'Ben');
    for (const page of [ann, ben]) await moving(page, pictures);
    await leaves(ann);
    await moving(ben, pictures - 1);
    await leaves(ben);
    await unbroken(on, tutorial);
  }));
}

test('getaroom', on.watched(async () => {
  const ann = await opens(on, 'getaroom', '2.32.1');
  await ann.getByRole('button', { name: 'Go' }).click();
  await moving(ann, 1);
  const link = await ann.locator('#link').inputValue();
  const room = new URL(link).hash.slice(1);
  assert.ok(room);
  // The invited one has the other client, and joins by the link alone.
  const ben = await on.browser.visit(link.replace('2.32.1', '2.20.0'));
  for (const page of [ann, ben]) await moving(page, 2);
  await shot(ann, 'tutorial-getaroom');
  await ann.locator('#mute-video').click();
  await ann.locator('#mute-audio').click();
  const black = () => ben.evaluate(() => {
    const video = [...document.querySelectorAll('video')].at(-1);
    const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 12 });
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0, 16, 12);
    return context.getImageData(0, 0, 16, 12).data.every((value, i) => i % 4 === 3 || value < 30);
  });
  await ben.waitForFunction(() => document.querySelectorAll('video').length === 2);
  for (let tries = 0; !(await black()); tries += 1) {
    assert.ok(tries < 50, 'a camera that is off is black');
    await ben.waitForTimeout(200);
  }
  await ann.locator('#mute-video').click();
  await moving(ben, 2);
  // Leaving goes to another address in the same breath.
  await leaves(ann);
  await ann.waitForURL((url) => !url.hash);
  await moving(ben, 1);
  await ben.waitForFunction(() => document.title === '1 in the room');
  const reason = await ben.locator('#videos').getAttribute('data-left');
  assert.equal(reason, 'disconnect', 'who goes is told to have gone, not to have been lost');
  await leaves(ben);
  await unbroken(on, room);
}));
