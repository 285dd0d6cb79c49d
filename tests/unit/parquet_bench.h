/* An open column chunk at work: its file, a batch to fill, a grant to pay; and chunks of any shape to try. */
#ifndef FB_TESTS_PARQUET_BENCH_H
#define FB_TESTS_PARQUET_BENCH_H

#include <sys/mman.h>
#include <unistd.h>

#include "parquet_fixture.h"
#include "pool_fixture.h"
#include "source/parquet/column.h"

#define ROOMY_BYTES (UINT64_C(64) << 20)

/* ---- a chunk in a file, a batch to fill, and a grant to pay ---- */

struct fixture_column {
    struct fb__pool *pool;
    struct fb_batch *batch;
    struct fb__grant grant;
    int file_descriptor;
    struct fb__parquet_column *column;
    struct fb_error error;
    uint64_t null_row;
    _Atomic uint64_t counter;
};

static inline int memory_file(const void *bytes, uint64_t count)
{
    int file_descriptor = memfd_create("chunk", MFD_CLOEXEC);
    CHECK(file_descriptor >= 0);
    CHECK_EQUAL(write(file_descriptor, bytes, count), count);
    return file_descriptor;
}

static inline struct fb__pool *chunk_pool(const struct chunk_plan *plan, uint64_t batch_rows,
                                          enum fb_null_policy null_policy, enum fb_storage storage,
                                          uint64_t limit_bytes)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    const char *format = chunk_types[plan->type].format;
    fixture_add_field(&schema, plan->is_list ? fixture_list_schema(format, plan->list_size, "weights")
                                             : fixture_schema(format, "weights"));
    const struct fb_column_option option = {.is_bool8 = true};
    const struct fb_loader_options options = {.batch_rows = batch_rows,
                                              .memory_limit_bytes = limit_bytes,
                                              .null_policy = null_policy,
                                              .storage = storage,
                                              .column_options = &option,
                                              .column_option_count = plan->is_bool8};
    struct fb__pool *pool;
    CHECK_EQUAL(fb__pool_create(&schema, NULL, &options, &pool, NULL), 0);
    schema.release(&schema);
    return pool;
}

/* batch_rows: of the one batch; 0: all rows. */
static inline void column_begin_stored(struct fixture_column *fixture, const struct chunk *chunk, uint64_t batch_rows,
                                       enum fb_null_policy null_policy, enum fb_storage storage, uint64_t limit_bytes)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->null_row = UINT64_MAX;
    if (batch_rows == 0) batch_rows = chunk->plan.row_count;
    fixture->pool = chunk_pool(&chunk->plan, batch_rows, null_policy, storage, limit_bytes);
    fixture->batch = fixture_take(fixture->pool, 0, batch_rows);
    fixture->file_descriptor = memory_file(chunk->file.at, chunk->file.count);
    uint64_t bytes = fb__parquet_column_bytes(&chunk->description, chunk->plan.codec);
    CHECK_EQUAL(fb__ledger_reserve(fixture->pool->ledger, &fixture->grant, FB_ACCOUNT_READ, 0, bytes, FB__NO_WAIT,
                                   &fixture->error),
                0);
}

static inline void column_begin(struct fixture_column *fixture, const struct chunk *chunk, uint64_t batch_rows,
                                enum fb_null_policy null_policy, uint64_t limit_bytes)
{
    column_begin_stored(fixture, chunk, batch_rows, null_policy, FB_STORAGE_DENSE, limit_bytes);
}

static inline int column_open(struct fixture_column *fixture, const struct chunk *chunk)
{
    const struct fb__parquet_column_request request = {
        .file_descriptor = fixture->file_descriptor,
        .chunk = &chunk->chunk,
        .description = &chunk->description,
        .layout = &fixture->pool->layout,
        .column = 0,
        .row_count = chunk->plan.row_count,
        .ledger = fixture->pool->ledger,
        .grant = &fixture->grant,
        .counter = &fixture->counter,
    };
    fixture->column = NULL;
    return fb__parquet_column_open(&request, &fixture->column, &fixture->error);
}

static inline int column_fill(struct fixture_column *fixture, uint64_t place, uint64_t row_count)
{
    return fb__parquet_column_fill(fixture->column, fixture->batch, place, row_count, &fixture->null_row,
                                   &fixture->error);
}

/* Everything is let go and the grant is as it was. */
static inline void column_end(struct fixture_column *fixture, const struct chunk *chunk)
{
    fb__parquet_column_close(fixture->column);
    CHECK_EQUAL(fixture->counter, 0);
    CHECK_EQUAL(fixture->grant.committed_bytes, 0);
    CHECK_EQUAL(fixture->grant.booked_bytes, fb__parquet_column_bytes(&chunk->description, chunk->plan.codec));
    fb__ledger_release(fixture->pool->ledger, &fixture->grant);
    CHECK_EQUAL(fixture_booked(fixture->pool, FB_ACCOUNT_READ), 0);
    fb__pool_return(fixture->batch);
    fb__pool_release(fixture->pool);
    CHECK_EQUAL(close(fixture->file_descriptor), 0);
}

/* ---- chunks of any shape ---- */

static const uint32_t codecs[] = {FB__CODEC_UNCOMPRESSED, FB__CODEC_SNAPPY, FB__CODEC_ZSTD};

/* One of the codecs that this build has. */
static inline uint32_t dice_codec(struct dice *dice)
{
    for (;;) {
        uint32_t codec = codecs[dice_below(dice, 3)];
        if (fb__codec_is_supported(codec)) return codec;
    }
}

static inline struct chunk_plan random_plan(uint32_t type, struct dice *dice)
{
    static const uint64_t list_sizes[] = {0, 1, 2, 3, 7, 16, 200};
    static const uint32_t null_shares[] = {0, 4, 60, 128, 256};
    static const uint32_t entries[] = {0, 1, 2, 3, 200, 1000};
    struct chunk_plan plan = {
        .type = type,
        .is_list = dice_below(dice, 2),
        .has_null_rows = dice_below(dice, 2),
        .has_null_items = dice_below(dice, 2),
        .nulls_in_256 = null_shares[dice_below(dice, 5)],
        .row_count = 1 + dice_below(dice, 400),
        .page_levels = 1 + dice_below(dice, dice_below(dice, 2) ? 30 : 600),
        .version = (uint32_t)dice_below(dice, 3),
        .codec = dice_codec(dice),
        .dictionary_entries = entries[dice_below(dice, 6)],
        .falls_back = dice_below(dice, 4) == 0,
        .has_strange_page = dice_below(dice, 4) == 0,
    };
    if (plan.is_list) plan.list_size = list_sizes[dice_below(dice, 7)];
    if (plan.list_size == 200) plan.row_count = 1 + plan.row_count / 10;
    if (chunk_types[type].physical_bytes == 0 && dice_below(dice, 2)) {
        plan.uses_bit_runs = true;
        plan.dictionary_entries = 0;
    }
    return plan;
}

/* Reads a chunk that may be damaged. */
static inline int read_damaged(const struct chunk *chunk, uint64_t limit_bytes, struct fb_error *error)
{
    struct fixture_column fixture;
    column_begin(&fixture, chunk, 0, FB_NULLS_MASK, limit_bytes);
    int code = column_open(&fixture, chunk);
    for (uint64_t row = 0; code == 0 && row < chunk->plan.row_count; row += 25) {
        uint64_t left = chunk->plan.row_count - row;
        code = column_fill(&fixture, row, left < 25 ? left : 25);
    }
    if (code) CHECK_EQUAL(fixture.error.code, code);
    if (code) CHECK_EQUAL(fixture.null_row, UINT64_MAX);
    *error = fixture.error;
    column_end(&fixture, chunk);
    return code;
}

#endif
