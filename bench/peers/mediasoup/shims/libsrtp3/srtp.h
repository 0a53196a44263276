/* What mediasoup's worker calls of libsrtp 3, on libsrtp 2: a policy is an object that is built step by step, and
 * protecting and unprotecting go from one buffer to another. Libsrtp 2 works in place, so that a packet is copied
 * first, as mediasoup itself did before it moved to libsrtp 3. Functions of the same name are overloads of each other. */
#ifndef MILLRACE_BENCH_SRTP_H
#define MILLRACE_BENCH_SRTP_H

/* The one type whose name means something else in both. */
#define srtp_policy_t srtp2_policy_t
#include <srtp2/srtp.h>
#undef srtp_policy_t

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

struct srtp3_policy
{
	srtp2_policy_t settings{};
	/* Master key and salt in one piece, as libsrtp 2 wants them. */
	unsigned char key[SRTP_MAX_KEY_LEN]{};
};

using srtp_policy_t = srtp3_policy*;

/* Errors that libsrtp 2 does not have. */
constexpr auto srtp_err_status_buffer_small = static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 1);
constexpr auto srtp_err_status_cryptex_err  = static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 2);

inline srtp_err_status_t srtp_policy_create(srtp_policy_t* policy)
{
	*policy = new (std::nothrow) srtp3_policy;
	return *policy ? srtp_err_status_ok : srtp_err_status_alloc_fail;
}

inline void srtp_policy_destroy(srtp_policy_t policy)
{
	delete policy;
}

inline srtp_err_status_t srtp_policy_set_ssrc(srtp_policy_t policy, srtp_ssrc_t ssrc)
{
	policy->settings.ssrc = ssrc;
	return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_profile(srtp_policy_t policy, srtp_profile_t profile)
{
	const auto status = srtp_crypto_policy_set_from_profile_for_rtp(&policy->settings.rtp, profile);
	return status ? status : srtp_crypto_policy_set_from_profile_for_rtcp(&policy->settings.rtcp, profile);
}

inline srtp_err_status_t srtp_policy_add_key(
  srtp_policy_t policy,
  const uint8_t* key,
  size_t key_len,
  const uint8_t* salt,
  size_t salt_len,
  const uint8_t* mki,
  size_t mki_len)
{
	if (mki || mki_len || key_len + salt_len > sizeof(policy->key))
	{
		return srtp_err_status_bad_param;
	}
	std::memcpy(policy->key, key, key_len);
	std::memcpy(policy->key + key_len, salt, salt_len);
	policy->settings.key = policy->key;
	return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_allow_repeat_tx(srtp_policy_t policy, bool allowed)
{
	policy->settings.allow_repeat_tx = allowed ? 1 : 0;
	return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_window_size(srtp_policy_t policy, size_t size)
{
	policy->settings.window_size = size;
	return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_create(srtp_t* session, srtp_policy_t policy)
{
	return srtp_create(session, &policy->settings);
}

inline srtp_err_status_t srtp_stream_remove(srtp_t session, uint32_t ssrc)
{
	return srtp_remove_stream(session, ssrc);
}

/* One of libsrtp 2's functions, which take a buffer and its length, from `from` to `to`. */
template<typename Call>
inline srtp_err_status_t srtp3_apply(
  Call call, const uint8_t* from, size_t from_len, uint8_t* to, size_t* to_len, size_t growth)
{
	if (*to_len < from_len + growth)
	{
		return srtp_err_status_buffer_small;
	}
	if (from != to)
	{
		std::memcpy(to, from, from_len);
	}
	int len           = static_cast<int>(from_len);
	const auto status = call(to, &len);
	*to_len           = static_cast<size_t>(len);
	return status;
}

inline srtp_err_status_t srtp_protect(
  srtp_t session, const uint8_t* rtp, size_t rtp_len, uint8_t* srtp, size_t* srtp_len, size_t /*mki_index*/)
{
	const auto call = [session](uint8_t* data, int* len) { return srtp_protect(session, data, len); };
	return srtp3_apply(call, rtp, rtp_len, srtp, srtp_len, SRTP_MAX_TAG_LEN);
}

inline srtp_err_status_t srtp_protect_rtcp(
  srtp_t session, const uint8_t* rtcp, size_t rtcp_len, uint8_t* srtcp, size_t* srtcp_len, size_t /*mki_index*/)
{
	const auto call = [session](uint8_t* data, int* len) { return srtp_protect_rtcp(session, data, len); };
	return srtp3_apply(call, rtcp, rtcp_len, srtcp, srtcp_len, SRTP_MAX_TRAILER_LEN);
}

inline srtp_err_status_t srtp_unprotect(
  srtp_t session, const uint8_t* srtp, size_t srtp_len, uint8_t* rtp, size_t* rtp_len)
{
	const auto call = [session](uint8_t* data, int* len) { return srtp_unprotect(session, data, len); };
	return srtp3_apply(call, srtp, srtp_len, rtp, rtp_len, 0);
}

inline srtp_err_status_t srtp_unprotect_rtcp(
  srtp_t session, const uint8_t* srtcp, size_t srtcp_len, uint8_t* rtcp, size_t* rtcp_len)
{
	const auto call = [session](uint8_t* data, int* len) { return srtp_unprotect_rtcp(session, data, len); };
	return srtp3_apply(call, srtcp, srtcp_len, rtcp, rtcp_len, 0);
}

#endif
