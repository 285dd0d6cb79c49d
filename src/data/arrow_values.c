/*
 * Loops over the values of Arrow arrays whose rows point elsewhere. Buffers may lie anywhere, so every value is read
 * with memcpy. The loops of offsets and indices have no exit inside, so that they are vectorised.
 *
 * Locking: none.
 */
#include "data/arrow_values.h"

#include <assert.h>
#include <string.h>

/* ---- bits ---------------------------------------------------------------------------------------------------- */

/* The bits [first, first + 64) or as many as count says, lowest first; above them zeros. */
static uint64_t load_bits(const uint8_t *bits, uint64_t first, uint64_t count)
{
    const uint8_t *at = bits + first / 8;
    unsigned shift = (unsigned)(first % 8);
    if (count > 64) count = 64;
    uint64_t bytes = (shift + count + 7) / 8;
    uint64_t word = 0;
    memcpy(&word, at, bytes < 8 ? bytes : 8);
    word >>= shift;
    if (bytes > 8) word |= (uint64_t)at[8] << (64 - shift);
    return count == 64 ? word : word & ((UINT64_C(1) << count) - 1);
}

bool fb__bits_are_set(const uint8_t *bits, uint64_t first, uint64_t count)
{
    for (uint64_t at = 0; at < count; at += 64) {
        uint64_t left = count - at;
        uint64_t all = left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
        if (load_bits(bits, first + at, left) != all) return false;
    }
    return true;
}

uint64_t fb__bits_next_run(const uint8_t *bits, uint64_t first, uint64_t count, uint64_t *at)
{
    uint64_t begin = *at;
    if (bits == NULL) return count - begin;
    while (begin < count) {
        uint64_t word = load_bits(bits, first + begin, count - begin);
        if (word != 0) {
            begin += (uint64_t)__builtin_ctzll(word);
            break;
        }
        begin += 64;
    }
    if (begin >= count) return 0;
    *at = begin;
    uint64_t end = begin;
    while (end < count) {
        uint64_t word = ~load_bits(bits, first + end, count - end);
        if (word != 0) {
            end += (uint64_t)__builtin_ctzll(word);
            break;
        }
        end += 64;
    }
    return (end < count ? end : count) - begin;
}

/* ---- integers ------------------------------------------------------------------------------------------------ */

/* Unsigned; the width is a constant in each loop that uses it. */
static inline uint64_t load(const uint8_t *at, uint64_t width, uint64_t i)
{
    uint8_t narrow;
    uint16_t half;
    uint32_t word;
    uint64_t wide;
    switch (width) {
    case 1:
        memcpy(&narrow, at + i, 1);
        return narrow;
    case 2:
        memcpy(&half, at + i * 2, 2);
        return half;
    case 4:
        memcpy(&word, at + i * 4, 4);
        return word;
    default:
        assert(width == 8);
        memcpy(&wide, at + i * 8, 8);
        return wide;
    }
}

static bool has_sign(uint64_t value, uint64_t width)
{
    return value >> (width * 8 - 1) != 0;
}

/* ---- offsets ------------------------------------------------------------------------------------------------- */

/*
 * That an offset is negative or smaller than the one before shows in a sign bit: its own, or that of the difference of
 * two that are not negative (it cannot wrap). The signs are gathered.
 */
static uint64_t gather_signs(const uint8_t *at, uint64_t width, uint64_t count)
{
    if (width == 4) {
        uint32_t signs = 0;
        for (uint64_t i = 0; i < count; i++) {
            uint32_t here, next;
            memcpy(&here, at + i * 4, 4);
            memcpy(&next, at + i * 4 + 4, 4);
            signs |= next | (next - here);
        }
        return signs;
    }
    uint64_t signs = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t here, next;
        memcpy(&here, at + i * 8, 8);
        memcpy(&next, at + i * 8 + 8, 8);
        signs |= next | (next - here);
    }
    return signs;
}

bool fb__offsets_span(const uint8_t *offsets, uint64_t width, uint64_t first, uint64_t count, struct fb__span *out)
{
    const uint8_t *at = offsets + first * width;
    out->begin = load(at, width, 0);
    out->end = load(at, width, count);
    return !has_sign(gather_signs(at, width, count) | out->begin, width);
}

/* ---- indices ------------------------------------------------------------------------------------------------- */

#define LEAST_AND_MOST(type)                                     \
    do {                                                         \
        type low, high;                                          \
        memcpy(&low, at, sizeof low);                            \
        high = low;                                              \
        for (uint64_t i = 1; i < count; i++) {                   \
            type value;                                          \
            memcpy(&value, at + i * sizeof value, sizeof value); \
            if (value < low) low = value;                        \
            if (value > high) high = value;                      \
        }                                                        \
        *least = low;                                            \
        *most = high;                                            \
    } while (0)

/* Of count > 0 unsigned integers. */
static void find_ends(const uint8_t *at, uint64_t width, uint64_t count, uint64_t *least, uint64_t *most)
{
    switch (width) {
    case 1:
        LEAST_AND_MOST(uint8_t);
        break;
    case 2:
        LEAST_AND_MOST(uint16_t);
        break;
    case 4:
        LEAST_AND_MOST(uint32_t);
        break;
    default:
        assert(width == 8);
        LEAST_AND_MOST(uint64_t);
    }
}

bool fb__indices_span(const uint8_t *indices, uint64_t width, bool is_unsigned, const uint8_t *bits, uint64_t first,
                      uint64_t count, struct fb__span *out)
{
    uint64_t least = UINT64_MAX, most = 0, run;
    bool is_any = false;
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(bits, first, count, &at)) > 0; at += run) {
        uint64_t low, high;
        find_ends(indices + (first + at) * width, width, run, &low, &high);
        least = low < least ? low : least;
        most = high > most ? high : most;
        is_any = true;
    }
    *out = (struct fb__span){0, 0};
    if (!is_any) return true;
    if (most == UINT64_MAX || (!is_unsigned && has_sign(most, width))) return false;
    *out = (struct fb__span){least, most + 1};
    return true;
}

/* ---- list views ---------------------------------------------------------------------------------------------- */

bool fb__list_views_span(const uint8_t *offsets, const uint8_t *sizes, uint64_t width, const uint8_t *bits,
                         uint64_t first, uint64_t count, struct fb__span *out)
{
    struct fb__span span = {UINT64_MAX, 0};
    uint64_t run, signs = 0;
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(bits, first, count, &at)) > 0; at += run) {
        for (uint64_t i = first + at; i < first + at + run; i++) {
            uint64_t offset = load(offsets, width, i), size = load(sizes, width, i);
            signs |= offset | size;
            if (size == 0) continue; /* may point anywhere */
            if (offset < span.begin) span.begin = offset;
            if (offset + size > span.end) span.end = offset + size; /* cannot wrap where neither is negative */
        }
    }
    *out = span.begin == UINT64_MAX ? (struct fb__span){0, 0} : span;
    return !has_sign(signs, width);
}

/* ---- views of strings ---------------------------------------------------------------------------------------- */

bool fb__binary_views_are_inside(const uint8_t *views, const uint8_t *bits, uint64_t first, uint64_t count,
                                 const void *const *buffers, const int64_t *sizes, uint64_t buffer_count)
{
    uint64_t run;
    for (uint64_t at = 0; at < count && (run = fb__bits_next_run(bits, first, count, &at)) > 0; at += run) {
        for (uint64_t i = first + at; i < first + at + run; i++) {
            struct fb__binary_view view;
            memcpy(&view, views + i * sizeof view, sizeof view);
            if (view.length < 0) return false;
            if (view.length <= FB__VIEW_INLINE_MOST) continue;
            /* A negative number is beyond any as well. */
            if ((uint64_t)view.buffer >= buffer_count || view.offset < 0) return false;
            int64_t size;
            memcpy(&size, (const uint8_t *)sizes + (uint64_t)view.buffer * sizeof size, sizeof size);
            if ((int64_t)view.offset + view.length > size || buffers[view.buffer] == NULL) return false;
        }
    }
    return true;
}

/* ---- run ends ------------------------------------------------------------------------------------------------ */

uint64_t fb__run_ends_find(const uint8_t *run_ends, uint64_t width, uint64_t run_count, uint64_t row)
{
    uint64_t low = 0, high = run_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (load(run_ends, width, middle) > row) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool fb__run_ends_span(const uint8_t *run_ends, uint64_t width, uint64_t run_count, uint64_t end, uint64_t first,
                       uint64_t count, struct fb__span *out)
{
    uint64_t before = 0;
    for (uint64_t i = 0; i < run_count; i++) {
        uint64_t here = load(run_ends, width, i);
        if (here <= before || has_sign(here, width)) return false;
        before = here;
    }
    if (before < end) return false;
    out->begin = fb__run_ends_find(run_ends, width, run_count, first);
    out->end = fb__run_ends_find(run_ends, width, run_count, first + count - 1) + 1;
    return true;
}
