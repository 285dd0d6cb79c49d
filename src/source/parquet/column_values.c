/*
 * Values of a page to elements of a batch: copied, narrowed, widened, spread from bits or gathered from a dictionary.
 *
 * Locking: none.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "source/parquet/column_internal.h"

/* Values that are decoded at a time where they need a place of their own. */
#define SCRATCH_VALUES 256

static int fail_short(struct fb_error *error)
{
    return fb__fail(error, EIO, "a page ends before its last value");
}

/* ---- plain ---- */

static void narrow_to_1(uint8_t *restrict elements, const uint8_t *restrict values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value;
        memcpy(&value, values + 4 * i, 4);
        elements[i] = (uint8_t)value;
    }
}

static void narrow_to_bools(uint8_t *restrict elements, const uint8_t *restrict values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value;
        memcpy(&value, values + 4 * i, 4);
        elements[i] = (uint8_t)value != 0;
    }
}

static void narrow_to_2(uint8_t *restrict elements, const uint8_t *restrict values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value;
        memcpy(&value, values + 4 * i, 4);
        uint16_t narrow = (uint16_t)value;
        memcpy(elements + 2 * i, &narrow, 2);
    }
}

static void widen_to_8(uint8_t *restrict elements, const uint8_t *restrict values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int32_t value;
        memcpy(&value, values + 4 * i, 4);
        int64_t wide = value;
        memcpy(elements + 8 * i, &wide, 8);
    }
}

/* Bits [bit, bit + count) to bytes of 0 or 1. */
static void spread_bits(uint8_t *restrict elements, const uint8_t *restrict bits, uint32_t bit, uint64_t count)
{
    uint64_t done = 0;
    for (; done < count && (bit + done) % 8 != 0; done++)
        elements[done] = bits[(bit + done) / 8] >> (bit + done) % 8 & 1;
    for (; count - done >= 8; done += 8) {
        uint64_t copies = bits[(bit + done) / 8] * UINT64_C(0x0101010101010101);
        uint64_t picked = copies & UINT64_C(0x8040201008040201);
        uint64_t bytes = htole64((picked + UINT64_C(0x7F7F7F7F7F7F7F7F)) >> 7 & UINT64_C(0x0101010101010101));
        memcpy(elements + done, &bytes, 8);
    }
    for (; done < count; done++) elements[done] = bits[(bit + done) / 8] >> (bit + done) % 8 & 1;
}

void fb__parquet_convert(const struct fb__parquet_column *column, const uint8_t *values, uint8_t *elements,
                         uint64_t count)
{
    uint64_t element_bytes = column->layout->element_bytes;
    if (column->physical_bytes == 0) {
        spread_bits(elements, values, 0, count);
    } else if (element_bytes == column->physical_bytes) {
        memcpy(elements, values, count * element_bytes);
    } else if (column->layout->copy == FB__COPY_BOOL8) {
        narrow_to_bools(elements, values, count);
    } else if (element_bytes == 1) {
        narrow_to_1(elements, values, count);
    } else if (element_bytes == 2) {
        narrow_to_2(elements, values, count);
    } else {
        widen_to_8(elements, values, count);
    }
}

static int decode_plain(struct fb__parquet_column *column, uint8_t *elements, uint64_t count, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    if (count > (uint64_t)(page->values_end - page->values) / column->physical_bytes) return fail_short(error);
    if (elements) fb__parquet_convert(column, page->values, elements, count);
    page->values += count * column->physical_bytes;
    return 0;
}

/* ---- booleans ---- */

static int decode_bits(struct fb__parquet_page *page, uint8_t *elements, uint64_t count, struct fb_error *error)
{
    uint64_t left_bits = (uint64_t)(page->values_end - page->values) * 8 - page->bit;
    if (count > left_bits) return fail_short(error);
    if (elements) spread_bits(elements, page->values, page->bit, count);
    uint64_t bits = page->bit + count;
    page->values += bits / 8;
    page->bit = (uint32_t)(bits % 8);
    return 0;
}

static int decode_bit_runs(struct fb__parquet_page *page, uint8_t *elements, uint64_t count, struct fb_error *error)
{
    uint32_t scratch[SCRATCH_VALUES];
    while (count > 0) {
        uint64_t step = count < SCRATCH_VALUES ? count : SCRATCH_VALUES;
        int code = fb__runs_decode(&page->indexes, scratch, step, error);
        if (code) return code;
        if (elements) {
            for (uint64_t i = 0; i < step; i++) elements[i] = (uint8_t)scratch[i]; /* of one bit: 0 or 1 */
            elements += step;
        }
        count -= step;
    }
    return 0;
}

/* ---- dictionary ---- */

static int pass_indexes(struct fb__parquet_page *page, uint64_t count, struct fb_error *error)
{
    uint32_t scratch[SCRATCH_VALUES];
    while (count > 0) {
        uint64_t step = count < SCRATCH_VALUES ? count : SCRATCH_VALUES;
        int code = fb__runs_decode(&page->indexes, scratch, step, error);
        if (code) return code;
        count -= step;
    }
    return 0;
}

int fb__parquet_decode(struct fb__parquet_column *column, uint8_t *elements, uint64_t count, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    if (count == 0) return 0;
    switch (page->stored) {
    case FB__VALUES_PLAIN:
        return decode_plain(column, elements, count, error);
    case FB__VALUES_BITS:
        return decode_bits(page, elements, count, error);
    case FB__VALUES_BIT_RUNS:
        return decode_bit_runs(page, elements, count, error);
    case FB__VALUES_DICTIONARY:
        break;
    }
    if (!elements) return pass_indexes(page, count, error);
    return fb__runs_gather(&page->indexes, column->dictionary.bytes, column->entry_count, column->layout->element_bytes,
                           elements, count, error);
}
