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
