/*
 * The RLE / bit-packed hybrid.
 *
 * Packed values are unpacked 8 at a time: 8 values of any width begin and end at a byte, so that every shift of a
 * group is a constant of the width, and one function a width has no branch inside. Each value is one 64-bit load, a
 * shift and a mask. Loads may reach beyond the group; where that could be beyond the end of the memory, the last
 * groups are copied into a padded room first. Values before a byte boundary and after the last whole group are few
 * (at most 7 each) and are read one by one.
 *
 * Comparing (levels are compared far more often than decoded) takes words as they are: 64 / bit_width values at once
 * against the word that they should be.
 *
 * Locking: none. A decoder belongs to one thread at a time.
 */
#include "source/parquet/runs.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

/* How far the loads of a group reach from its first byte on; the last value of it begins at bit 7 * bit_width. */
#define GROUP_REACH_BYTES(bit_width) (7 * (bit_width) / 8 + 8)

/* Indexes decoded at a time; in the first level cache together with a page of a dictionary. */
#define INDEX_CHUNK 1024

static inline uint32_t low_mask(uint32_t bit_width)
{
    return (uint32_t)((UINT64_C(1) << bit_width) - 1);
}

int fb__runs_init(struct fb__runs *runs, const uint8_t *bytes, uint64_t byte_count, uint32_t bit_width,
                  struct fb_error *error)
{
    if (bit_width > 32) return fb__fail(error, EIO, "a bit width of %" PRIu32 " where 32 is the most", bit_width);
    *runs = (struct fb__runs){
        .next = bytes,
        .end = byte_count > 0 ? bytes + byte_count : bytes,
        .bit_width = bit_width,
        .width_inverse = bit_width > 0 ? 65536 / bit_width + 1 : 0,
    };
    return 0;
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */

static int runs_end(struct fb_error *error)
{
    return fb__fail(error, EIO, "a page ends before its levels or indexes do");
}

static int read_run_header(struct fb__runs *runs, uint32_t *out, struct fb_error *error)
{
    uint64_t header = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        if (runs->next == runs->end) return runs_end(error);
        uint8_t byte = *runs->next++;
        header |= (uint64_t)(byte & 0x7F) << shift;
        if (byte & 0x80) continue;
        if (header > UINT32_MAX) break;
        *out = (uint32_t)header;
        return 0;
    }
    return fb__fail(error, EIO, "a run of levels or indexes has a length beyond 32 bits");
}

/* A packed run. Some writers do not pad the last one of a page to 8 values: it ends where the bytes do, and the bits
 * that may be left then are fewer than any run with values takes. */
static void begin_packed(struct fb__runs *runs, uint64_t group_count)
{
    uint64_t byte_count = (uint64_t)(runs->end - runs->next);
    runs->run_left = 8 * group_count;
    runs->is_packed = true;
    if (group_count * runs->bit_width > byte_count) runs->run_left = 8 * byte_count / runs->bit_width;
}

static int begin_repeated(struct fb__runs *runs, uint64_t count, struct fb_error *error)
{
    uint32_t byte_count = (runs->bit_width + 7) / 8;
    if ((uint64_t)(runs->end - runs->next) < byte_count) return runs_end(error);
    uint32_t value = 0;
    for (uint32_t i = 0; i < byte_count; i++) value |= (uint32_t)*runs->next++ << (8 * i);
    if (value > low_mask(runs->bit_width)) {
        return fb__fail(error, EIO, "a level or index of %" PRIu32 " in %" PRIu32 " bits", value, runs->bit_width);
    }
    runs->run_value = value;
    runs->run_left = count;
    runs->is_packed = false;
    return 0;
}

/* The next run that has values, the last one being used up. Each header is a byte or more, so that empty runs end. */
static int next_run(struct fb__runs *runs, struct fb_error *error)
{
    runs->packed_bit = 0; /* not 0 only behind a last run that was not padded */
    do {
        uint32_t header = 0;
        int code = read_run_header(runs, &header, error);
        if (code) return code;
        if (header & 1 && runs->bit_width > 0) {
            begin_packed(runs, header >> 1);
        } else { /* packed values of no bits are zeros that take no bytes */
            code = begin_repeated(runs, header & 1 ? (uint64_t)(header >> 1) * 8 : header >> 1, error);
            if (code) return code;
        }
    } while (runs->run_left == 0);
    return 0;
}

static inline void consume_packed(struct fb__runs *runs, uint64_t count)
{
    uint64_t bits = runs->packed_bit + count * runs->bit_width;
    runs->next += bits / 8;
    runs->packed_bit = bits % 8;
    runs->run_left -= count;
}

static inline uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* The bits of a packed run from here on, the first one lowest: 64 - packed_bit of them, zeros behind the end. */
static inline uint64_t packed_word(const struct fb__runs *runs)
{
    if (runs->end - runs->next >= 8) return load_word(runs->next) >> runs->packed_bit;
    uint64_t word = 0;
    for (uint32_t i = 0; i < (uint32_t)(runs->end - runs->next); i++) word |= (uint64_t)runs->next[i] << (8 * i);
    return word >> runs->packed_bit;
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

__attribute__((always_inline)) static inline void unpack_groups_of(const uint8_t *restrict at, uint32_t *restrict out,
                                                                   uint64_t group_count, const uint32_t bit_width)
{
    const uint64_t mask = (UINT64_C(1) << bit_width) - 1;
    for (; group_count > 0; group_count--, at += bit_width, out += 8) {
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) {
            out[i] = (uint32_t)(load_word(at + i * bit_width / 8) >> (i * bit_width % 8) & mask);
        }
    }
}

#define UNPACK(width)                                  \
    case width:                                        \
        unpack_groups_of(at, out, group_count, width); \
        break

/* Reads GROUP_REACH_BYTES from the beginning of the last group on. */
static void unpack_groups(const uint8_t *restrict at, uint32_t *restrict out, uint64_t group_count, uint32_t bit_width)
{
    switch (bit_width) {
        UNPACK(1);
        UNPACK(2);
        UNPACK(3);
        UNPACK(4);
        UNPACK(5);
        UNPACK(6);
        UNPACK(7);
        UNPACK(8);
        UNPACK(9);
        UNPACK(10);
        UNPACK(11);
        UNPACK(12);
        UNPACK(13);
        UNPACK(14);
        UNPACK(15);
        UNPACK(16);
        UNPACK(17);
        UNPACK(18);
        UNPACK(19);
        UNPACK(20);
        UNPACK(21);
        UNPACK(22);
        UNPACK(23);
        UNPACK(24);
        UNPACK(25);
        UNPACK(26);
        UNPACK(27);
        UNPACK(28);
        UNPACK(29);
        UNPACK(30);
        UNPACK(31);
        UNPACK(32);
    default:
        assert(!"a packed run has 1 to 32 bits a value");
    }
}

static void unpack_one(struct fb__runs *runs, uint32_t *out)
{
    *out = (uint32_t)packed_word(runs) & low_mask(runs->bit_width);
    consume_packed(runs, 1);
}

/* Groups of a packed run that has as many, at the beginning of a byte. */
static void unpack_whole(struct fb__runs *runs, uint32_t *out, uint64_t groups)
{
    uint64_t width = runs->bit_width;
    uint64_t byte_count = (uint64_t)(runs->end - runs->next);
    uint64_t reach = GROUP_REACH_BYTES(width);
    uint64_t quick = groups; /* as many as are read in place */
    if ((groups - 1) * width + reach > byte_count) quick = byte_count < reach ? 0 : (byte_count - reach) / width + 1;
    unpack_groups(runs->next, out, quick, runs->bit_width);
    consume_packed(runs, 8 * quick);
    if (quick == groups) return;
    /* Less than one reach is left: a group, or a few so narrow that their reach is less than the widest one's. */
    uint8_t padded[GROUP_REACH_BYTES(32)] = {0};
    memcpy(padded, runs->next, (groups - quick) * width);
    unpack_groups(padded, out + 8 * quick, groups - quick, runs->bit_width);
    consume_packed(runs, 8 * (groups - quick));
}

/* count values of a packed run that has as many. */
static void unpack(struct fb__runs *runs, uint32_t *out, uint64_t count)
{
    for (; count > 0 && runs->packed_bit > 0; count--) unpack_one(runs, out++);

    uint64_t groups = count / 8;
    if (groups > 0) unpack_whole(runs, out, groups);
    out += 8 * groups;
    for (uint64_t i = 8 * groups; i < count; i++) unpack_one(runs, out++);
}

int fb__runs_decode(struct fb__runs *runs, uint32_t *out, uint64_t count, struct fb_error *error)
{
    while (count > 0) {
        int code = runs->run_left > 0 ? 0 : next_run(runs, error);
        if (code) return code;
        uint64_t now = runs->run_left < count ? runs->run_left : count;
        if (runs->is_packed) {
            unpack(runs, out, now);
        } else {
            for (uint64_t i = 0; i < now; i++) out[i] = runs->run_value;
            runs->run_left -= now;
        }
        out += now;
        count -= now;
    }
    return 0;
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

/* A word of 64 bits in which value stands again and again, bit_width apart. */
static uint64_t repeated_word(uint64_t value, uint64_t bit_width)
{
    for (; bit_width < 64; bit_width *= 2) value |= value << bit_width;
    return value;
}

static inline uint64_t low_bits(uint64_t word, uint64_t bit_count)
{
    return bit_count >= 64 ? word : word & ((UINT64_C(1) << bit_count) - 1);
}

/* bit_count / bit_width, for at most 64 bits. */
static inline uint64_t values_in(const struct fb__runs *runs, uint64_t bit_count)
{
    return bit_count * runs->width_inverse >> 16;
}

/* How many of the next values of a packed run, at most `most` of those it has, are those of pattern. */
static uint64_t skip_packed(struct fb__runs *runs, uint64_t pattern, uint64_t most)
{
    uint64_t count = 0;
    while (count < most) {
        uint64_t now = values_in(runs, 64 - runs->packed_bit);
        if (now > most - count) now = most - count;
        uint64_t differing = low_bits(packed_word(runs) ^ pattern, now * runs->bit_width);
        if (differing) now = values_in(runs, (uint64_t)__builtin_ctzll(differing));
        consume_packed(runs, now);
        count += now;
        if (differing) break;
    }
    return count;
}

int fb__runs_skip_equal(struct fb__runs *runs, uint32_t value, uint64_t most, uint64_t *count, struct fb_error *error)
{
    uint64_t pattern = runs->bit_width > 0 ? repeated_word(value, runs->bit_width) : 0;
    bool is_possible = value <= low_mask(runs->bit_width);
    *count = 0;
    while (*count < most) {
        int code = runs->run_left > 0 ? 0 : next_run(runs, error);
        if (code) return code;
        uint64_t now = runs->run_left < most - *count ? runs->run_left : most - *count;
        uint64_t equal = 0;
        if (!runs->is_packed) {
            equal = runs->run_value == value ? now : 0;
            runs->run_left -= equal;
        } else if (is_possible) {
            equal = skip_packed(runs, pattern, now);
        }
        *count += equal;
        if (equal < now) return 0;
    }
    return 0;
}

/* Where a list is: the level that comes next is its at-th, 0 to size - 1; the 0th is 0 and the others are 1. */
struct list_place {
    uint64_t at;
    uint64_t size;
    uint64_t zeros;     /* 1 wherever a word that begins with a list has a 0 */
    uint64_t word_step; /* 64 % size */
};

static inline void advance(struct list_place *place, uint64_t step)
{
    place->at += step;
    if (place->at >= place->size) place->at -= place->size;
}

/* Whether the next count levels of a packed run, which has as many, are of lists. */
static bool match_packed(struct fb__runs *runs, struct list_place *place, uint64_t count)
{
    while (count > 0) {
        uint64_t now = 64 - runs->packed_bit;
        if (now > count) now = count;
        uint64_t begin = place->at > 0 ? place->size - place->at : 0; /* of the next list */
        uint64_t expected = ~(begin < 64 ? place->zeros << begin : 0);
        if (low_bits(packed_word(runs) ^ expected, now)) return false;
        consume_packed(runs, now);
        advance(place, now == 64 ? place->word_step : now % place->size);
        count -= now;
    }
    return true;
}

static bool match_repeated(struct fb__runs *runs, struct list_place *place, uint64_t count)
{
    runs->run_left -= count;
    if (runs->run_value == 0 && place->size == 1) return true;
    uint64_t most = runs->run_value == 1 && place->at > 0 ? place->size - place->at : 0;
    if (runs->run_value == 0 && place->at == 0) most = 1;
    if (count > most) return false;
    advance(place, count);
    return true;
}

int fb__runs_match_lists(struct fb__runs *runs, uint64_t list_size, uint64_t row_count, bool *is_regular,
                         struct fb_error *error)
{
    assert(runs->bit_width == 1 && list_size > 0);
    uint64_t count = 0;
    if (__builtin_mul_overflow(list_size, row_count, &count)) return runs_end(error);
    struct list_place place = {0, list_size, repeated_word(1, list_size), 64 % list_size};
    *is_regular = true;
    while (count > 0 && *is_regular) {
        int code = runs->run_left > 0 ? 0 : next_run(runs, error);
        if (code) return code;
        uint64_t now = runs->run_left < count ? runs->run_left : count;
        *is_regular = runs->is_packed ? match_packed(runs, &place, now) : match_repeated(runs, &place, now);
        count -= now;
    }
    return 0;
}

/* ---- dictionaries -------------------------------------------------------------------------------------------- */

__attribute__((always_inline)) static inline void gather_of(const uint8_t *restrict dictionary,
                                                            const uint32_t *restrict indexes, uint64_t count,
                                                            uint8_t *restrict out, const uint64_t element_bytes)
{
#pragma GCC unroll 4
    for (uint64_t i = 0; i < count; i++) {
        memcpy(out + i * element_bytes, dictionary + indexes[i] * element_bytes, element_bytes);
    }
}

static void gather(const uint8_t *dictionary, const uint32_t *indexes, uint64_t count, uint8_t *out,
                   uint64_t element_bytes)
{
    switch (element_bytes) {
    case 1:
        gather_of(dictionary, indexes, count, out, 1);
        break;
    case 2:
        gather_of(dictionary, indexes, count, out, 2);
        break;
    case 4:
        gather_of(dictionary, indexes, count, out, 4);
        break;
    case 8:
        gather_of(dictionary, indexes, count, out, 8);
        break;
    default:
        gather_of(dictionary, indexes, count, out, element_bytes);
    }
}

__attribute__((always_inline)) static inline void fill_of(const uint8_t *restrict element, uint64_t count,
                                                          uint8_t *restrict out, const uint64_t element_bytes)
{
    for (uint64_t i = 0; i < count; i++) memcpy(out + i * element_bytes, element, element_bytes);
}

static void fill(const uint8_t *element, uint64_t count, uint8_t *out, uint64_t element_bytes)
{
    switch (element_bytes) {
    case 1:
        memset(out, *element, count);
        break;
    case 2:
        fill_of(element, count, out, 2);
        break;
    case 4:
        fill_of(element, count, out, 4);
        break;
    case 8:
        fill_of(element, count, out, 8);
        break;
    default:
        fill_of(element, count, out, element_bytes);
    }
}

static int index_beyond(uint32_t index, uint64_t entry_count, struct fb_error *error)
{
    return fb__fail(error, EIO, "an index of %" PRIu32 " into a dictionary of %" PRIu64, index, entry_count);
}

static uint32_t largest(const uint32_t *indexes, uint64_t count)
{
    uint32_t most = 0;
    for (uint64_t i = 0; i < count; i++) most = indexes[i] > most ? indexes[i] : most;
    return most;
}

/* Whether all indexes, of up to bit_width bits, are below entry_count. */
static bool are_indexes_below(const uint32_t *indexes, uint64_t count, uint32_t bit_width, uint64_t entry_count)
{
    if (low_mask(bit_width) < entry_count) return true;
    if (bit_width == 32) return largest(indexes, count) < entry_count;
    /* Below 2^31 all: a number that lifts entry_count to 2^31 lifts an index as large into the highest bit. */
    uint32_t lift = (UINT32_C(1) << 31) - (uint32_t)entry_count;
    uint32_t lifted = 0;
    for (uint64_t i = 0; i < count; i++) lifted |= indexes[i] + lift;
    return lifted >> 31 == 0;
}

int fb__runs_gather(struct fb__runs *runs, const uint8_t *dictionary, uint64_t entry_count, uint64_t element_bytes,
                    uint8_t *out, uint64_t count, struct fb_error *error)
{
    uint32_t indexes[INDEX_CHUNK];
    while (count > 0) {
        int code = runs->run_left > 0 ? 0 : next_run(runs, error);
        if (code) return code;
        uint64_t now = runs->run_left < count ? runs->run_left : count;
        if (!runs->is_packed) {
            if (runs->run_value >= entry_count) return index_beyond(runs->run_value, entry_count, error);
            fill(dictionary + runs->run_value * element_bytes, now, out, element_bytes);
            runs->run_left -= now;
        } else {
            if (now > INDEX_CHUNK) now = INDEX_CHUNK;
            unpack(runs, indexes, now);
            if (!are_indexes_below(indexes, now, runs->bit_width, entry_count)) {
                return index_beyond(largest(indexes, now), entry_count, error);
            }
            gather(dictionary, indexes, now, out, element_bytes);
        }
        out += now * element_bytes;
        count -= now;
    }
    return 0;
}
