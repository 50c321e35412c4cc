/* SPDX-License-Identifier: GPL-3.0-or-later
 * Keyed BLAKE2b with 32 bytes of key (RFC 7693), for many short messages under one key: the state behind the key's block
 * is worked out once, so that a message of up to 128 bytes is one compression. Tests hold it to hashlib's. */
#ifndef LOCKGATE_BLAKE2B_H
#define LOCKGATE_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLAKE2B_BLOCK 128
#define BLAKE2B_KEY 32

typedef struct {
    uint64_t h[8];
} blake2b_key;

static const uint64_t blake2b_iv[8] = {
    0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
    0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
};

static const uint8_t blake2b_sigma[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static inline uint64_t blake2b_load(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static inline uint64_t blake2b_rotate(uint64_t x, int n)
{
    return x >> n | x << (64 - n);
}

#define BLAKE2B_MIX(a, b, c, d, x, y)         \
    do {                                      \
        v[a] += v[b] + (x);                   \
        v[d] = blake2b_rotate(v[d] ^ v[a], 32); \
        v[c] += v[d];                         \
        v[b] = blake2b_rotate(v[b] ^ v[c], 24); \
        v[a] += v[b] + (y);                   \
        v[d] = blake2b_rotate(v[d] ^ v[a], 16); \
        v[c] += v[d];                         \
        v[b] = blake2b_rotate(v[b] ^ v[c], 63); \
    } while (0)

#define BLAKE2B_ROUND(r)                                                              \
    do {                                                                              \
        BLAKE2B_MIX(0, 4, 8, 12, m[blake2b_sigma[r][0]], m[blake2b_sigma[r][1]]);     \
        BLAKE2B_MIX(1, 5, 9, 13, m[blake2b_sigma[r][2]], m[blake2b_sigma[r][3]]);     \
        BLAKE2B_MIX(2, 6, 10, 14, m[blake2b_sigma[r][4]], m[blake2b_sigma[r][5]]);    \
        BLAKE2B_MIX(3, 7, 11, 15, m[blake2b_sigma[r][6]], m[blake2b_sigma[r][7]]);    \
        BLAKE2B_MIX(0, 5, 10, 15, m[blake2b_sigma[r][8]], m[blake2b_sigma[r][9]]);    \
        BLAKE2B_MIX(1, 6, 11, 12, m[blake2b_sigma[r][10]], m[blake2b_sigma[r][11]]);  \
        BLAKE2B_MIX(2, 7, 8, 13, m[blake2b_sigma[r][12]], m[blake2b_sigma[r][13]]);   \
        BLAKE2B_MIX(3, 4, 9, 14, m[blake2b_sigma[r][14]], m[blake2b_sigma[r][15]]);   \
    } while (0)

/* `bytes` is how many were taken in, this block included: no message here is anywhere near 2**64. */
static void blake2b_compress(uint64_t h[8], const uint8_t *block, uint64_t bytes, int last)
{
    uint64_t v[16], m[16];
    for (int i = 0; i < 16; i++)
        m[i] = blake2b_load(block + 8 * i);
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = blake2b_iv[i];
    }
    v[12] ^= bytes;
    if (last)
        v[14] = ~v[14];
    /* by name, so that the compiler knows every place in `m` */
    BLAKE2B_ROUND(0);
    BLAKE2B_ROUND(1);
    BLAKE2B_ROUND(2);
    BLAKE2B_ROUND(3);
    BLAKE2B_ROUND(4);
    BLAKE2B_ROUND(5);
    BLAKE2B_ROUND(6);
    BLAKE2B_ROUND(7);
    BLAKE2B_ROUND(8);
    BLAKE2B_ROUND(9);
    BLAKE2B_ROUND(10);
    BLAKE2B_ROUND(11);
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

/* `size` is that of the digests, 1 to 64: a digest of 16 bytes is not the first 16 of one of 64. */
static void blake2b_prepare(blake2b_key *state, const uint8_t *key, int size)
{
    uint8_t block[BLAKE2B_BLOCK] = {0};
    memcpy(block, key, BLAKE2B_KEY);
    memcpy(state->h, blake2b_iv, sizeof state->h);
    state->h[0] ^= 0x01010000 ^ (uint64_t)BLAKE2B_KEY << 8 ^ (uint64_t)size;
    blake2b_compress(state->h, block, BLAKE2B_BLOCK, 0);
}

/* The whole 64 bytes of state, of which the first `size` are the digest, of a one-byte prefix and a message. */
static void blake2b_digest(const blake2b_key *state, uint8_t prefix, const uint8_t *message, size_t length,
                           uint8_t out[64])
{
    uint64_t h[8], taken = BLAKE2B_BLOCK;
    uint8_t block[BLAKE2B_BLOCK];
    size_t room = BLAKE2B_BLOCK - 1;
    memcpy(h, state->h, sizeof h);
    block[0] = prefix;
    while (length > room) {
        memcpy(block + BLAKE2B_BLOCK - room, message, room);
        taken += BLAKE2B_BLOCK;
        blake2b_compress(h, block, taken, 0);
        message += room;
        length -= room;
        room = BLAKE2B_BLOCK;
    }
    size_t used = BLAKE2B_BLOCK - room;
    if (length)
        memcpy(block + used, message, length);
    memset(block + used + length, 0, BLAKE2B_BLOCK - used - length);
    blake2b_compress(h, block, taken + used + length, 1);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            out[8 * i + j] = (uint8_t)(h[i] >> 8 * j);
}

#endif
