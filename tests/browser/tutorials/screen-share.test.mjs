// Two people in the tutorial with camera and screen: four seats, of which the page's own screen is not subscribed to.

import test from 'node:test';

import { leaves, moving, opens, shot, tutorials, unbroken } from '../lib/tutorials.mjs';

const on = tutorials();

test('screen-share', on.watched(async () => {
  const pages = [];
  for (const [name, version] of [['Ann', '2.20.0'], ['Ben', '2.32.1']]) {
    const page = await opens(on, 'screen-share', version);
    await page.locator('#name').fill(name);
    await page.locator('#room').fill('screens');
    await page.getByRole('button', { name: 'Join' }).click();
    await page.locator('#share').waitFor();
    pages.push(page);
  }
  const [ann, ben] = pages;
  for (const page of pages) await moving(page, 2, '#cameras');
  await ben.locator('#share').click();
  await moving(ann, 1, '#screens');
  await ann.locator('#screens .name', { hasText: 'Ben' }).waitFor();
  await moving(ben, 1, '#screens');
  await shot(ann, 'tutorial-screen-share');
  await ann.locator('#share').click();
  // The tutorial shows one's own screen too, as its session for screens hears of all screens but its own.
  for (const page of pages) await moving(page, 2, '#screens');
  await leaves(ben);
  await moving(ann, 1, '#cameras');
  await moving(ann, 1, '#screens');
  await leaves(ann);
  await unbroken(on, 'screens');
}));
