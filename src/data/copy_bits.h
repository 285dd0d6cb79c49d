/*
 * Bitmaps of Arrow arrays. Validity is scanned 64 rows at a time, so that rows without nulls cost a compare a word.
 * Nothing is read past the last bit of the rows asked for.
 */
#ifndef FB_DATA_COPY_BITS_H
#define FB_DATA_COPY_BITS_H

#include <endian.h>
#include <string.h>

#include "data/layout.h"

/* A bitmap of nulls: bit (first + i) of bits is 1 where element i is not null. bits NULL: there are no nulls. */
struct fb__validity {
    const uint8_t *bits;
    uint64_t first;
};

/* The bitmap decides, whatever an array says of how many nulls it has. */
static inline struct fb__validity fb__array_validity(const struct ArrowArray *array, uint64_t first)
{
    return (struct fb__validity){array->buffers[0], first};
}

static inline bool fb__is_null(const struct fb__validity *validity, uint64_t element)
{
    uint64_t bit = validity->first + element;
    return validity->bits != NULL && (validity->bits[bit / 8] >> bit % 8 & 1) == 0;
}

static inline uint64_t fb__low_bits(uint64_t count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* Bits [first, first + count) of a bitmap, the first one lowest; what is above them is anything. 1 <= count <= 64. */
static inline uint64_t fb__load_bits(const uint8_t *bits, uint64_t first, uint64_t count)
{
    const uint8_t *at = bits + first / 8;
    uint64_t shift = first % 8;
    uint64_t bytes = (shift + count + 7) / 8; /* up to 9 */
    uint64_t word = 0;
    if (bytes >= 8) {
        memcpy(&word, at, 8);
    } else {
        memcpy(&word, at, bytes);
    }
    word = le64toh(word) >> shift;
    if (bytes == 9) word |= (uint64_t)at[8] << (64 - shift);
    return word;
}

/* 8 bits to 8 bytes of 0 or 1, the lowest bit first in memory. */
static inline uint64_t fb__spread_bits(uint64_t byte)
{
    uint64_t picked = (byte * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
    return htole64((picked + UINT64_C(0x7F7F7F7F7F7F7F7F)) >> 7 & UINT64_C(0x0101010101010101));
}

static inline void fb__bits_to_bytes(uint8_t *restrict bytes, const uint8_t *restrict bits, uint64_t first,
                                     uint64_t count)
{
    uint64_t done = 0;
    for (; count - done >= 64; done += 64) {
        uint64_t word = fb__load_bits(bits, first + done, 64);
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t spread = fb__spread_bits(word >> (8 * i) & 0xFF);
            memcpy(bytes + done + 8 * i, &spread, 8);
        }
    }
    if (done == count) return;
    uint64_t word = fb__load_bits(bits, first + done, count - done);
    for (; done < count; done++, word >>= 1) bytes[done] = (uint8_t)(word & 1);
}

/* The nulls among elements [at, count), at most 64 of them, the first one lowest. at < count. */
static inline uint64_t fb__load_nulls(const struct fb__validity *validity, uint64_t at, uint64_t count)
{
    uint64_t left = count - at < 64 ? count - at : 64;
    return ~fb__load_bits(validity->bits, validity->first + at, left) & fb__low_bits(left);
}

/*
 * The first run of nulls among elements [*at, count): *at becomes its first element; returns its length, 0 where there
 * is none. A run ends at the end of a word at the latest.
 */
static inline uint64_t fb__next_nulls(const struct fb__validity *validity, uint64_t count, uint64_t *at)
{
    for (; *at < count; *at += 64) {
        uint64_t nulls = fb__load_nulls(validity, *at, count);
        if (nulls == 0) continue;
        uint64_t skipped = (uint64_t)__builtin_ctzll(nulls);
        uint64_t others = ~(nulls >> skipped);
        *at += skipped;
        return others != 0 ? (uint64_t)__builtin_ctzll(others) : 64;
    }
    *at = count;
    return 0;
}

/* The first null element, count where there is none. */
static inline uint64_t fb__first_null(const struct fb__validity *validity, uint64_t count)
{
    uint64_t at = 0;
    if (validity->bits == NULL || fb__next_nulls(validity, count, &at) == 0) return count;
    return at;
}

static inline void fb__write_valid_bytes(uint8_t *valid, const struct fb__validity *validity, uint64_t count)
{
    if (validity->bits == NULL) {
        memset(valid, 1, count);
    } else {
        fb__bits_to_bytes(valid, validity->bits, validity->first, count);
    }
}

#endif
