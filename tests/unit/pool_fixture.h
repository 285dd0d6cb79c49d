/* Pools over a few columns, and strings whose bytes follow from their number: what the tests of batches share. */
#ifndef FB_TESTS_POOL_FIXTURE_H
#define FB_TESTS_POOL_FIXTURE_H

#include "arrow_fixtures.h"
#include "data/pool.h"

#define FIXTURE_TEXT_MAX 24
#define FIXTURE_LIMIT_BYTES ((uint64_t)64 << 20)

/* A struct schema of columns named "c0", "c1", ..., a letter of formats each. */
static inline struct ArrowSchema fixture_columns(const char *formats)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (int i = 0; formats[i] != '\0'; i++) {
        char name[16], format[2] = {formats[i], '\0'};
        snprintf(name, sizeof name, "c%d", i);
        fixture_add_field(&schema, fixture_schema(format, name));
    }
    return schema;
}

/* row_bytes: the estimate of every string column. */
static inline struct fb__pool *fixture_pool(const char *formats, uint64_t row_bytes, uint64_t batch_rows,
                                            enum fb_null_policy null_policy, uint64_t limit_bytes)
{
    struct ArrowSchema schema = fixture_columns(formats);
    uint64_t estimates[FIXTURE_CHILDREN_MAX];
    for (int i = 0; i < FIXTURE_CHILDREN_MAX; i++) estimates[i] = row_bytes;
    const struct fb_loader_options options = {
        .batch_rows = batch_rows, .memory_limit_bytes = limit_bytes, .null_policy = null_policy};
    struct fb__pool *pool;
    struct fb_error error;
    int code = fb__pool_create(&schema, estimates, &options, &pool, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    schema.release(&schema);
    return pool;
}

static inline struct fb_batch *fixture_take(struct fb__pool *pool, uint64_t index, uint64_t row_count)
{
    struct fb_batch *batch;
    struct fb_error error;
    int code = fb__pool_take(pool, index, row_count, 0, &batch, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    return batch;
}

static inline uint64_t fixture_booked(struct fb__pool *pool, enum fb_account account)
{
    return fb__ledger_account_bytes(pool->ledger, account);
}

static inline uint64_t fixture_allocations(struct fb__pool *pool)
{
    return atomic_load(&fb__ledger_gate(pool->ledger)->allocation_count);
}

/* The string with this number; its length, also 0, is returned. */
static inline uint64_t fixture_string(uint64_t number, char *text)
{
    uint64_t bytes = number * 7 % FIXTURE_TEXT_MAX;
    for (uint64_t i = 0; i < bytes; i++) text[i] = (char)('a' + (number * 5 + i) % 26);
    return bytes;
}

/* Checks that row i of a string column of a finished batch is the string with number first + i. */
static inline void fixture_check_strings(const struct fb_batch *batch, uint32_t column, uint64_t first)
{
    struct fb_column view;
    fb_batch_column(batch, column, &view);
    CHECK_EQUAL(view.kind, FB_COLUMN_BINARY);
    uint64_t at = 0;
    for (uint64_t row = 0; row <= fb_batch_rows(batch); row++) {
        uint64_t offset =
            view.offset_bytes == 4 ? ((const uint32_t *)view.offsets)[row] : ((const uint64_t *)view.offsets)[row];
        CHECK_EQUAL(offset, at);
        if (row == fb_batch_rows(batch)) break;
        char text[FIXTURE_TEXT_MAX];
        uint64_t bytes = fixture_string(first + row, text);
        if (bytes > 0) CHECK(memcmp((const char *)view.values + at, text, bytes) == 0);
        at += bytes;
    }
}

#endif
