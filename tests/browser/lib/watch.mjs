// A running call watched second by second: pictures must go on, and no packet may be missing.

import assert from 'node:assert/strict';

import { window } from './poll.mjs';

/**
 * Reads the subscription of `to` to `from` once a second, `seconds` times, and demands new pictures and new sound each
 * time and no lost packet. Meanwhile `during` may run; its result is awaited at the end.
 */
export async function mediaGoesOn(to, from, seconds, during) {
  const read = async () => (await to.received())[from];
  const running = during?.();
  // Handled below: it must not count as unhandled meanwhile.
  running?.catch(() => {});
  const start = await read();
  let last = start;
  const frames = [];
  for (let second = 1; second <= seconds; second += 1) {
    await window(1_000);
    const now = await read();
    const decoded = now.inbound.video.framesDecoded - last.inbound.video.framesDecoded;
    frames.push(decoded);
    assert.ok(decoded > 0, `second ${second}: no frame of ${from} decoded; so far ${frames}`);
    const heard = now.inbound.audio.packetsReceived - last.inbound.audio.packetsReceived;
    assert.ok(heard > 0, `second ${second}: no sound of ${from} received`);
    last = now;
  }
  for (const kind of ['audio', 'video']) {
    const lost = last.inbound[kind].packetsLost - start.inbound[kind].packetsLost;
    assert.equal(lost, 0, `${kind} packets of ${from} lost`);
  }
  return { frames, result: await running };
}
