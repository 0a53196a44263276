// What more than one test demands of a call.

import assert from 'node:assert/strict';

/** DTLS done, and media protected by the profile that Millrace puts first. */
export function assertProtected(stats, where) {
  assert.equal(stats.transport?.dtlsState, 'connected', where);
  assert.equal(stats.transport.srtpCipher, 'SRTP_AEAD_AES_128_GCM', where);
}

/** The codec that is decoded. */
export function assertCodec(stats, codec, where) {
  assert.equal(stats.inbound.video.codec, codec, where);
}

/** The same peer connection, tracks and SSRCs as before, with one stream of each kind. */
export function assertSameSubscription(before, after, where) {
  assert.equal(after.peer, before.peer, `${where}: the peer connection`);
  for (const kind of Object.keys(before.inbound)) {
    const { ssrc, trackIdentifier } = before.inbound[kind];
    assert.equal(after.inbound[kind].ssrc, ssrc, `${where}: the SSRC of ${kind}`);
    assert.equal(after.inbound[kind].trackIdentifier, trackIdentifier, `${where}: the track of ${kind}`);
    assert.deepEqual(after.ssrcs[kind], [ssrc], `${where}: one stream of ${kind}`);
  }
}

/** An event's description as the client library of both versions reports it. */
export const publicationOf = (name, typeOfVideo = 'CAMERA') =>
  ({ event: 'streamCreated', of: name, typeOfVideo, hasAudio: true, hasVideo: true });
