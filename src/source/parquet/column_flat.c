/*
 * Rows of one value, or none where the column is optional.
 *
 * Nulls mostly come rarely or in runs: then levels are counted run by run and the values between go straight to their
 * places. Where they are scattered, a block of levels is unpacked, its values are decoded side by side, and then each
 * goes to its place without a branch.
 *
 * Locking: none.
 */
#include <assert.h>
#include <string.h>

#include "data/copy.h"
#include "source/parquet/column_internal.h"

#define BLOCK_ROWS 256
/* A run of values shorter than this is a sign of scattered nulls. */
#define RUN_ROWS_SHORT 24

/* ---- scattered nulls ---- */

/* Element i is the next one of `packed` where level i is 1, fill where it is 0. packed has room for one more. */
#define DEFINE_SPREAD(width, type)                                                                         \
    static void spread_##width(uint8_t *restrict elements, const uint8_t *restrict packed,                 \
                               const uint32_t *restrict levels, const uint8_t *fill_bytes, uint64_t count) \
    {                                                                                                      \
        type fill, value;                                                                                  \
        uint64_t next = 0;                                                                                 \
        memcpy(&fill, fill_bytes, sizeof fill);                                                            \
        for (uint64_t i = 0; i < count; i++) {                                                             \
            memcpy(&value, packed + next * sizeof value, sizeof value);                                    \
            value = levels[i] ? value : fill;                                                              \
            next += levels[i];                                                                             \
            memcpy(elements + i * sizeof value, &value, sizeof value);                                     \
        }                                                                                                  \
    }

DEFINE_SPREAD(1, uint8_t)
DEFINE_SPREAD(2, uint16_t)
DEFINE_SPREAD(4, uint32_t)
DEFINE_SPREAD(8, uint64_t)

static void spread(uint64_t element_bytes, uint8_t *elements, const uint8_t *packed, const uint32_t *levels,
                   const uint8_t *fill, uint64_t count)
{
    switch (element_bytes) {
    case 1:
        spread_1(elements, packed, levels, fill, count);
        break;
    case 2:
        spread_2(elements, packed, levels, fill, count);
        break;
    case 4:
        spread_4(elements, packed, levels, fill, count);
        break;
    default:
        spread_8(elements, packed, levels, fill, count);
        break;
    }
}

/* count: at most BLOCK_ROWS. */
static int scattered_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t count,
                          struct fb_error *error)
{
    uint32_t levels[BLOCK_ROWS];
    uint8_t packed[(BLOCK_ROWS + 1) * 8];
    int code = fb__runs_decode(&column->page.definition, levels, count, error);
    if (code) return code;
    uint64_t value_count = 0; /* a level of one bit is 0 or 1 */
    for (uint64_t i = 0; i < count; i++) value_count += levels[i];
    if (!sink.values) return fb__parquet_decode(column, NULL, value_count, error);
    uint64_t element_bytes = column->layout->element_bytes;
    code = fb__parquet_decode(column, packed, value_count, error);
    if (code) return code;
    memset(packed + value_count * element_bytes, 0, element_bytes);
    uint8_t fill[8] = {0};
    fb__copy_fill(column->layout, fill, 1);
    spread(element_bytes, sink.values, packed, levels, fill, count);
    if (sink.valid)
        for (uint64_t i = 0; i < count; i++) sink.valid[i] = (uint8_t)levels[i];
    return 0;
}

/* ---- runs ---- */

/* A run of nulls, at most `most`; *count: of how many. */
static int null_run(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t most, uint64_t *count,
                    bool *is_refused, struct fb_error *error)
{
    int code = fb__runs_skip_equal(&column->page.definition, 0, most, count, error);
    if (code) return code;
    assert(*count > 0); /* the level is no 1, and it has one bit */
    if (!sink.values) return 0;
    *is_refused = column->request.layout->null_policy == FB_NULLS_ERROR;
    if (*is_refused) return fb__copy_fail_null(column->layout, false, error);
    fb__copy_fill(column->layout, sink.values, *count);
    if (sink.valid) memset(sink.valid, 0, *count);
    return 0;
}

static struct fb__parquet_sink sink_at(const struct fb__parquet_column *column, struct fb__parquet_sink sink,
                                       uint64_t row)
{
    return (struct fb__parquet_sink){
        .values = sink.values ? sink.values + row * column->layout->element_bytes : NULL,
        .valid = sink.valid ? sink.valid + row : NULL,
    };
}

static int optional_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t count,
                         uint64_t *null_row, struct fb_error *error)
{
    bool may_spread = !sink.values || column->request.layout->null_policy != FB_NULLS_ERROR;
    uint64_t done = 0;
    for (;;) {
        struct fb__parquet_sink at = sink_at(column, sink, done);
        uint64_t run = 0;
        int code = fb__runs_skip_equal(&column->page.definition, 1, count - done, &run, error);
        if (code == 0) code = fb__parquet_decode(column, at.values, run, error);
        if (code) return code;
        if (at.valid) memset(at.valid, 1, run);
        done += run;
        if (done == count) return 0;
        at = sink_at(column, sink, done);
        uint64_t left = count - done;
        if (may_spread && run < RUN_ROWS_SHORT) {
            run = left < BLOCK_ROWS ? left : BLOCK_ROWS;
            code = scattered_rows(column, at, run, error);
        } else {
            bool is_refused = false;
            code = null_run(column, at, left, &run, &is_refused, error);
            if (is_refused) *null_row = done;
        }
        if (code) return code;
        done += run;
        if (done == count) return 0;
    }
}

static int required_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t count,
                         struct fb_error *error)
{
    if (sink.valid) memset(sink.valid, 1, count);
    return fb__parquet_decode(column, sink.values, count, error);
}

int fb__parquet_flat_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t row_count,
                          uint64_t *null_row, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    uint64_t done = 0;
    while (done < row_count) {
        uint64_t left = row_count - done;
        uint64_t passed = 0;
        int code = 0;
        if (page->levels_left == 0) {
            code = sink.values ? fb__parquet_next_page(column, error)
                               : fb__parquet_pass_page(column, left, &passed, error);
            if (code) return code;
        }
        if (passed == 0) {
            uint64_t count = left < page->levels_left ? left : page->levels_left;
            struct fb__parquet_sink at = sink_at(column, sink, done);
            uint64_t null_at = UINT64_MAX;
            code = column->request.description->max_definition == 0 ? required_rows(column, at, count, error)
                                                                    : optional_rows(column, at, count, &null_at, error);
            if (null_at != UINT64_MAX) *null_row = done + null_at;
            if (code) return code;
            page->levels_left -= count;
            passed = count;
        }
        done += passed;
    }
    return 0;
}
