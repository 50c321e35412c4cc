# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`keyed.py`, compiled: pseudonyms and permutations."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "blake2b.h":
    ctypedef struct blake2b_key:
        uint64_t h[8]
    void blake2b_prepare(blake2b_key *state, const uint8_t *key, int size) noexcept nogil
    void blake2b_digest(
        const blake2b_key *state, uint8_t prefix, const uint8_t *message, size_t length, uint8_t *out
    ) noexcept nogil

cdef enum:
    USE_TEXT = 0
    USE_NUMERIC = 1
    USE_SMALL = 2
    USE_LARGE = 3
    USE_UUID = 4
    USE_HASH = 5
    ROUNDS = 10
    FEWEST_VALUES = 1000000
    BYTES_A_PLACE = 4
    MOST_PLACES = 256
    MESSAGE_BYTES = 515  # 3, and 2 a place
    STREAM_BYTES = 1088  # BYTES_A_PLACE a place, and what the last block has too many
    HASH_DIGITS = 32


cdef inline void write_pseudonym(const blake2b_key *key, const uint8_t *value, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """HASH_DIGITS hexadecimal digits. `key` is prepared for digests of 16 bytes."""
    cdef uint8_t digest[64]
    cdef const char *digits = "0123456789abcdef"
    cdef int i
    blake2b_digest(key, USE_HASH, value, size, digest)
    for i in range(HASH_DIGITS // 2):
        out[2 * i] = digits[digest[i] >> 4]
        out[2 * i + 1] = digits[digest[i] & 15]


cdef inline bint permute(const blake2b_key *key, int use, uint8_t *values, const uint8_t *sizes, Py_ssize_t count) noexcept nogil:
    """False when too few values have such a shape. At most MOST_PLACES places."""
    cdef uint8_t message[MESSAGE_BYTES]
    cdef uint8_t stream[STREAM_BYTES]
    cdef uint8_t more[66]
    cdef uint64_t shapes = 1, word
    cdef Py_ssize_t half = count // 2, source, target, there, here, i, made
    cdef int number, block
    for i in range(count):
        shapes *= sizes[i]
        if shapes >= FEWEST_VALUES:
            break
    if shapes < FEWEST_VALUES:
        return False
    for number in range(ROUNDS):
        if number & 1:
            source, there, target, here = 0, half, half, count - half
        else:
            source, there, target, here = half, count - half, 0, half
        message[0] = <uint8_t>number
        message[1] = <uint8_t>(count & 255)
        message[2] = <uint8_t>(count >> 8)
        for i in range(there):
            message[3 + 2 * i] = sizes[source + i]
            message[4 + 2 * i] = values[source + i]
        blake2b_digest(key, use, message, 3 + 2 * there, stream)
        made = 64
        if made < here * BYTES_A_PLACE:
            more[0] = ROUNDS
            memcpy(more + 2, stream, 64)
            block = 1
            while made < here * BYTES_A_PLACE:
                more[1] = <uint8_t>block
                blake2b_digest(key, use, more, 66, stream + made)
                made += 64
                block += 1
        for i in range(here):
            word = (
                stream[4 * i] | (<uint64_t>stream[4 * i + 1] << 8)
                | (<uint64_t>stream[4 * i + 2] << 16) | (<uint64_t>stream[4 * i + 3] << 24)
            )
            values[target + i] = <uint8_t>((values[target + i] + word) % sizes[target + i])
    return True


cdef inline void permute_pair(
    const blake2b_key *key, int use, uint64_t *first, uint64_t *second, uint64_t first_size, uint64_t second_size
) noexcept nogil:
    cdef uint8_t message[9]
    cdef uint8_t digest[64]
    cdef uint64_t source, word
    cdef int number, i
    for number in range(ROUNDS):
        source = first[0] if number & 1 else second[0]
        message[0] = <uint8_t>number
        for i in range(8):
            message[1 + i] = <uint8_t>(source >> (8 * i))
        blake2b_digest(key, use, message, 9, digest)
        word = 0
        for i in range(8):
            word |= <uint64_t>digest[i] << (8 * i)
        if number & 1:
            second[0] = (second[0] + word % second_size) % second_size
        else:
            first[0] = (first[0] + word % first_size) % first_size
