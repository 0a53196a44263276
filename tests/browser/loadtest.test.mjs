// A bot of millrace-loadtest publishes; the unmodified client in a browser shows its picture and plays its sound, from
// one publisher in one size and from another in three. Needs ffmpeg, which makes the bots' media once.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { assertCodec } from './lib/expect.mjs';
import { SECRET } from './lib/millrace.mjs';
import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const BINARIES = process.env.MILLRACE_BIN ?? fileURLToPath(new URL('../../target/release', import.meta.url));
const ARTIFACTS = fileURLToPath(new URL('artifacts/', import.meta.url));
const KINDS = [
  { name: 'VP8', options: ['--codec', 'vp8'], codec: 'video/VP8' },
  { name: 'H264', options: ['--codec', 'h264'], codec: 'video/H264' },
  { name: 'VP8 in three sizes', options: ['--simulcast'], codec: 'video/VP8' },
];

const on = stage();

for (const { name, options, codec } of KINDS) {
  test(`a browser shows a bot: ${name}`, on.watched(async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'millrace-bots-'));
    const bots = spawn(path.join(BINARIES, 'millrace-loadtest'), [
      'run', '--url', on.millrace.url, '--secret', SECRET, '--participants', '2', '--publishers', '1', '--audio',
      '--video', '360p', '--fps', '15', '--room-prefix', 'bots', '--duration', '30s', '--report', folder, ...options,
    ], { stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    for (const stream of [bots.stdout, bots.stderr]) stream.on('data', (part) => (log += part));
    const ended = new Promise((resolve) => bots.on('close', resolve));
    try {
      const published = async () => (await on.millrace.metrics()).value('millrace_streams') === 1;
      await until('a bot publishes', published, { timeout: 60_000, describe: () => log });
      const ann = await on.browser.join(on.millrace, 'bots-1', { version: '2.32.1', name: 'ann' });
      const seen = await ann.sees('bot 1', 60, { timeout: 20_000 });
      await ann.hears('bot 1');
      assert.equal(seen.inbound.video.frameWidth, 640);
      assertCodec(seen, codec, 'ann');
      await mkdir(ARTIFACTS, { recursive: true });
      await ann.page.screenshot({ path: path.join(ARTIFACTS, `bot-${name.replaceAll(' ', '-')}.png`) });
      bots.kill('SIGINT');
      await ended;
      const report = JSON.parse(await readFile(path.join(folder, 'report.json'), 'utf8'));
      assert.deepEqual(report.errors, {}, log);
      assert.equal(report.figures.unopened.value, 0);
    } finally {
      bots.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    }
  }));
}
