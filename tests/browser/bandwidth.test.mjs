// The publisher's bandwidth estimate, fed by the server's transport-wide feedback, climbs as far as the maximum allows.

import assert from 'node:assert/strict';
import test from 'node:test';

import { until } from './lib/poll.mjs';
import { stage } from './lib/setup.mjs';

const on = stage({ env: { OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH: '3000' } });

test('a 720p camera climbs above 1 Mbit/s within 10 s', on.watched(async (t) => {
  const session = await on.millrace.createSession();
  // A canvas as camera, since the fake device's picture needs far less than 1 Mbit/s.
  const publish = { camera: false, resolution: '1280x720', frameRate: 15 };
  const ann = await on.browser.join(on.millrace, session, { version: '2.32.1', name: 'ann', publish });
  const connected = performance.now();
  const seen = [];
  let last = await ann.published();
  await until(
    'video sent above 1 Mbit/s',
    async () => {
      const now = await ann.published();
      if (now.at - last.at < 900) return false;
      const sent = now.outbound.video.bytesSent - last.outbound.video.bytesSent;
      const rate = (sent * 8) / (now.at - last.at);
      seen.push({
        sent: Math.round(rate),
        available: Math.round((now.availableOutgoingBitrate ?? 0) / 1000),
        target: Math.round((now.outbound.video.targetBitrate ?? 0) / 1000),
        picture: `${now.outbound.video.frameWidth}x${now.outbound.video.frameHeight}`,
        limited: now.outbound.video.qualityLimitationReason,
      });
      last = now;
      return rate > 1_000 && now.outbound.video.targetBitrate > 1_000_000;
    },
    { timeout: 10_000, every: 200, describe: () => seen },
  );
  t.diagnostic(`after ${Math.round(performance.now() - connected)} ms, each second in kbit/s: ${JSON.stringify(seen)}`);
  const { outbound } = await ann.published();
  assert.ok(outbound.video.targetBitrate <= 3_000_000, 'the configured maximum holds');
}));
