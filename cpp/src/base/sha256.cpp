// SHA-256's block function, portable and with x86's SHA extensions, and the padding around it.
#include "base/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define PARLEY_SHA_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace parley {
namespace {

// FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64
// primes.
alignas(16) constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t big_endian(const std::byte* p) {
  const auto at = [&](int i) { return std::to_integer<std::uint32_t>(p[i]); };
  return (at(0) << 24U) | (at(1) << 16U) | (at(2) << 8U) | at(3);
}

std::uint32_t mix(std::uint32_t x, int a, int b, int c) {  // the large sigmas
  return std::rotr(x, a) ^ std::rotr(x, b) ^ std::rotr(x, c);
}

std::uint32_t spread(std::uint32_t x, int a, int b, int c) {  // the small sigmas
  return std::rotr(x, a) ^ std::rotr(x, b) ^ (x >> c);
}

void compress_portable(std::uint32_t* state, const std::byte* blocks, std::size_t n_blocks) {
  for (; n_blocks > 0; --n_blocks, blocks += 64) {
    std::uint32_t w[64];
    for (int t = 0; t < 16; ++t) w[t] = big_endian(blocks + 4 * t);
    for (int t = 16; t < 64; ++t) {
      w[t] = spread(w[t - 2], 17, 19, 10) + w[t - 7] + spread(w[t - 15], 7, 18, 3) + w[t - 16];
    }
    std::uint32_t v[8];  // a to h
    std::memcpy(v, state, sizeof(v));
#pragma GCC unroll 8
    for (int t = 0; t < 64; ++t) {
      const auto at = [&](int i) -> std::uint32_t& { return v[(i - t) & 7]; };  // instead of moving
      const std::uint32_t choice = (at(4) & at(5)) ^ (~at(4) & at(6));
      const std::uint32_t majority = (at(0) & at(1)) ^ (at(0) & at(2)) ^ (at(1) & at(2));
      const std::uint32_t t1 = at(7) + mix(at(4), 6, 11, 25) + choice + kRounds[t] + w[t];
      at(3) += t1;
      at(7) = t1 + mix(at(0), 2, 13, 22) + majority;
    }
    for (int i = 0; i < 8; ++i) state[i] += v[i];
  }
}

#ifdef PARLEY_SHA_X86
// The instructions keep the state as the lanes (f, e, b, a) and (h, g, d, c), lowest first.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_x86(std::uint32_t* state,
                                                              const std::byte* blocks,
                                                              std::size_t n_blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  const auto pack = [](std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return _mm_set_epi32(static_cast<int>(a), static_cast<int>(b), static_cast<int>(c),
                         static_cast<int>(d));
  };
  __m128i abef = pack(state[0], state[1], state[4], state[5]);
  __m128i cdgh = pack(state[2], state[3], state[6], state[7]);
  for (; n_blocks > 0; --n_blocks, blocks += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[4];  // the last 16 words of the schedule
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {  // four rounds each
      __m128i& now = w[i % 4];
      if (i < 4) {
        now = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks) + i), swap);
      } else {
        const __m128i last = w[(i + 3) % 4];
        const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]),
                                          _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
        now = _mm_sha256msg2_epu32(sum, last);
      }
      const __m128i k = _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds) + i);
      const __m128i wk = _mm_add_epi32(now, k);
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  alignas(16) std::uint32_t lanes[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes + 4), cdgh);
  static constexpr int kFrom[8] = {3, 2, 7, 6, 1, 0, 5, 4};
  for (int i = 0; i < 8; ++i) state[i] = lanes[kFrom[i]];
}
#endif

}  // namespace

bool Sha256::has_extensions() {
#ifdef PARLEY_SHA_X86
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const bool sse = (c & (1U << 9U)) != 0 && (c & (1U << 19U)) != 0;  // SSSE3, SSE4.1
  return sse && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & (1U << 29U)) != 0;
#else
  return false;
#endif
}

Sha256::Sha256(Code code)
    : compress_(compress_portable), state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {
#ifdef PARLEY_SHA_X86
  static const bool extensions = has_extensions();
  if (code == Code::fastest && extensions) compress_ = compress_x86;
#else
  (void)code;
#endif
}

void Sha256::update(std::span<const std::byte> bytes) {
  const std::size_t held = n_bytes_ % 64;
  n_bytes_ += bytes.size();
  if (held > 0) {
    const std::size_t n = std::min(bytes.size(), 64 - held);
    std::copy_n(bytes.data(), n, rest_.data() + held);
    bytes = bytes.subspan(n);
    if (held + n < 64) return;
    compress_(state_.data(), rest_.data(), 1);
  }
  compress_(state_.data(), bytes.data(), bytes.size() / 64);
  const std::span<const std::byte> rest = bytes.subspan(bytes.size() / 64 * 64);
  std::copy(rest.begin(), rest.end(), rest_.begin());
}

std::string Sha256::hex() {
  const std::uint64_t n_bits = n_bytes_ * 8;
  std::array<std::byte, 72> padding{std::byte{0x80}};
  const std::size_t n = (n_bytes_ % 64 < 56 ? 56 : 120) - n_bytes_ % 64;
  for (std::size_t i = 0; i < 8; ++i)
    padding[n + i] = static_cast<std::byte>(n_bits >> (56 - 8 * i));
  update({padding.data(), n + 8});
  std::string text;
  for (const std::uint32_t word : state_) {
    for (unsigned shift = 32; shift > 0; shift -= 4) {
      text += "0123456789abcdef"[(word >> (shift - 4)) & 15U];
    }
  }
  return text;
}

}  // namespace parley
