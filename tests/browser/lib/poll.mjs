// Waiting by state: a condition is asked again until it holds or its time is over.

import { setTimeout as pause } from 'node:timers/promises';

/**
 * Calls `probe` until it gives something truthy, and returns that.
 *
 * `what` names the awaited state in the error; `probe` may be async. `describe` (optional) is asked once when the time
 * is over, so that the error tells how far it came.
 */
export async function until(what, probe, { timeout = 10_000, every = 100, describe } = {}) {
  const end = performance.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > end) {
      const seen = describe ? `; seen: ${JSON.stringify(await describe())}` : '';
      throw new Error(`${what}: not within ${timeout} ms${seen}`);
    }
    await pause(every);
  }
}

/** Lets `ms` of a measuring window pass: for rates, never for waiting on a state. */
export const window = (ms) => pause(ms);
