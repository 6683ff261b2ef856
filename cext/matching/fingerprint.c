#include "reducto_kernel.h"

#include <string.h>

/* Odd constants with about as many ones as zeros, so that a product depends on every bit. Part of fingerprint version 1
 * and frozen. */
static const uint64_t K[4] = {
    UINT64_C(0x9ae16a3b2f90404f),
    UINT64_C(0xc3a5c85c97cb3127),
    UINT64_C(0xb492b66fbe98f273),
    UINT64_C(0xd6e8feb86659fd93),
};

/* Little-endian on every machine, because fingerprints are stored. */
static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* Folds the product of 128 bits into 64: every bit of the input has a part in the whole output. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Four independent lanes of 16 bytes each, so that multiplications overlap. The last, partial round is filled with
 * zeros; the length goes into the first lane and the end, so that they do not make two inputs alike. */
uint64_t rdk_fingerprint(const uint8_t *data, size_t length) {
    uint64_t a = K[0] ^ length, b = K[1], c = K[2], d = K[3];
    const uint8_t *p = data;
    size_t left = length;
    for (; left >= 64; p += 64, left -= 64) {
        a = fold(load64(p) ^ K[0], load64(p + 8) ^ a);
        b = fold(load64(p + 16) ^ K[1], load64(p + 24) ^ b);
        c = fold(load64(p + 32) ^ K[2], load64(p + 40) ^ c);
        d = fold(load64(p + 48) ^ K[3], load64(p + 56) ^ d);
    }
    if (left) {
        uint8_t tail[64] = {0};
        memcpy(tail, p, left);
        a = fold(load64(tail) ^ K[0], load64(tail + 8) ^ a);
        b = fold(load64(tail + 16) ^ K[1], load64(tail + 24) ^ b);
        c = fold(load64(tail + 32) ^ K[2], load64(tail + 40) ^ c);
        d = fold(load64(tail + 48) ^ K[3], load64(tail + 56) ^ d);
    }
    return fold(fold(a ^ K[2], b ^ K[3]) ^ c, d ^ K[0] ^ length);
}
