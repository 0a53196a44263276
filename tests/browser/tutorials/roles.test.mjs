// The tutorial of roles: two users who may publish, one who may only watch, and one whom the server does not know.

import assert from 'node:assert/strict';
import test from 'node:test';

import { leaves, moving, opens, shot, tutorials, unbroken } from '../lib/tutorials.mjs';

const on = tutorials();

async function logIn(page, user, pass = 'pass') {
  await page.locator('#user').fill(user);
  await page.locator('#pass').fill(pass);
  await page.getByRole('button', { name: 'Log in' }).click();
}

async function join(page, nick) {
  await page.locator('#nick').fill(nick);
  await page.locator('#room').fill('a room');
  await page.getByRole('button', { name: 'Join' }).click();
}

test('roles', on.watched(async () => {
  const users = [['publisher1', 'Ann', '2.20.0'], ['publisher2', 'Ben', '2.32.1'], ['subscriber', 'Sue', '2.20.0']];
  const [ann, ben, sue] = await Promise.all(users.map(([, , version]) => opens(on, 'roles', version)));
  const stranger = await opens(on, 'roles', '2.32.1');
  await logIn(stranger, 'publisher1', 'wrong');
  await stranger.locator('#wrong').waitFor();
  await stranger.close();

  for (const [i, page] of [ann, ben, sue].entries()) {
    const [user, nick] = users[i];
    await logIn(page, user);
    await join(page, nick);
    await page.locator('#session').waitFor();
  }
  for (const page of [ann, ben, sue]) await moving(page, 2);
  await sue.locator('#watching').waitFor();
  assert.deepEqual((await sue.locator('.name').allTextContents()).sort(), ['Ann · publisher1', 'Ben · publisher2']);
  await ann.locator('.name', { hasText: 'Ben · publisher2' }).waitFor();
  await shot(sue, 'tutorial-roles');
  await leaves(ben);
  for (const page of [ann, sue]) {
    await moving(page, 1);
    await page.locator('.name', { hasText: 'Ben' }).waitFor({ state: 'detached' });
  }
  // By closing the page.
  await ann.close({ runBeforeUnload: true });
  await moving(sue, 0);
  await leaves(sue);
  await unbroken(on);
}));
