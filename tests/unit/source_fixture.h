/* Blocks made of numbers, a source of scripted streams, and a cursor at work: what the tests of sources share. */
#ifndef FB_TESTS_SOURCE_FIXTURE_H
#define FB_TESTS_SOURCE_FIXTURE_H

#include "pool_fixture.h"
#include "source/source.h"

#define UNIT_NUMBER 10000 /* row r of unit u holds number u * UNIT_NUMBER + r in its int64, and that string */

/* ---- blocks made of numbers ---- */

static inline struct ArrowArray numbers(uint64_t first, uint64_t count, int64_t null_at)
{
    struct ArrowArray array = fixture_array((int64_t)count, 0, null_at >= 0, 2);
    if (null_at >= 0) {
        uint8_t *valid = fixture_add_buffer(&array, 0, count / 8 + 1, 0);
        memset(valid, 0xFF, count / 8 + 1);
        valid[null_at / 8] = (uint8_t)(0xFF ^ 1 << null_at % 8);
    }
    int64_t *values = (int64_t *)(void *)fixture_add_buffer(&array, 1, count * 8, 0);
    for (uint64_t i = 0; i < count; i++) values[i] = (int64_t)(first + i);
    return array;
}

static inline struct ArrowArray strings(uint64_t first, uint64_t count)
{
    struct ArrowArray array = fixture_array((int64_t)count, 0, 0, 3);
    int32_t *offsets = (int32_t *)(void *)fixture_add_buffer(&array, 1, (count + 1) * 4, 0);
    char *text = (char *)fixture_add_buffer(&array, 2, count * FIXTURE_TEXT_MAX, 0);
    offsets[0] = 0;
    for (uint64_t i = 0; i < count; i++)
        offsets[i + 1] = offsets[i] + (int32_t)fixture_string(first + i, text + offsets[i]);
    return array;
}

/* columns: of the schema int64 and string, ascending. */
static inline struct ArrowArray block_of(const uint32_t *columns, uint32_t column_count, uint64_t first, uint64_t count,
                                         int64_t null_at)
{
    struct ArrowArray block = fixture_array((int64_t)count, 0, 0, 1);
    for (uint32_t i = 0; i < column_count; i++)
        fixture_add_child(&block, columns[i] == 0 ? numbers(first, count, null_at) : strings(first, count));
    return block;
}

/* ---- a source of streams that do what a script says ---- */

struct script {
    uint64_t block_rows[8]; /* of every unit */
    int block_count;
    int64_t null_at;        /* row of the last block that is null, -1: none */
    int end_code;           /* of get_next after the blocks */
    int open_code;
    bool is_open_mute;      /* open fails without a word */
    bool is_open_empty;     /* open succeeds and gives no stream */
    bool is_block_short;    /* the last block's last column has a row too few */
    const char *formats;    /* of the stream, where it is not what was announced */
    uint64_t allocated_bytes;
    int open_count, release_count;
    struct fb__open_request asked; /* of the last open */
};

/* The stream's code is for what comes after its blocks: its schema it gives in any case. */
static inline int script_give_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct fixture_stream_parts *parts = stream->private_data;
    *out = parts->schema;
    parts->schema.release = NULL;
    return 0;
}

static inline int script_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                              uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct script *script = context;
    script->open_count++;
    script->asked = (struct fb__open_request){
        .unit = unit, .columns = columns, .column_count = column_count, .piece_rows = piece_rows};
    if (script->open_code) {
        out->release = fixture_release_stream; /* a failed open gives nothing, whatever it wrote */
        return script->is_open_mute ? script->open_code : fb__fail(error, script->open_code, "no such file");
    }
    if (script->is_open_empty) return 0;
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (uint32_t i = 0; i < column_count; i++) {
        char format[2] = {script->formats ? script->formats[columns[i]] : "lu"[columns[i]], '\0'};
        fixture_add_field(&schema, fixture_schema(format, "any name"));
    }
    *out = fixture_stream(schema, script->end_code, "the disk is gone");
    out->get_schema = script_give_schema;
    uint64_t row = 0;
    for (int i = 0; i < script->block_count; i++) {
        bool is_last = i == script->block_count - 1;
        struct ArrowArray block = block_of(columns, column_count, unit * UNIT_NUMBER + row, script->block_rows[i],
                                           is_last ? script->null_at : -1);
        if (is_last && script->is_block_short) block.children[column_count - 1]->length--;
        fixture_add_block(out, block);
        row += script->block_rows[i];
    }
    return 0;
}

static inline uint64_t script_allocated(void *context)
{
    return ((struct script *)context)->allocated_bytes;
}

static inline void script_release(void *context)
{
    ((struct script *)context)->release_count++;
}

static const struct fb_stream_source_callbacks script_callbacks = {
    .open = script_open, .allocated_bytes = script_allocated, .release = script_release};
static const struct fb_stream_column_cost script_costs[] = {{100, 8, 0, 1}, {1000, 40, 20, 3}};
static const uint32_t both_columns[] = {0, 1};

static inline struct script script_of(int block_count, const uint64_t *block_rows)
{
    struct script script = {.block_count = block_count, .null_at = -1};
    for (int i = 0; i < block_count; i++) script.block_rows[i] = block_rows[i];
    return script;
}

/* ---- a source with one cursor, a pool to fill, and a grant to pay ---- */

struct bench {
    struct fb_source *source;
    struct fb__pool *pool;
    struct fb__grant grant;
    union fb__cursor_room room;
    struct fb_batch *batch;
    uint64_t filled_rows;
    struct fb_error error;
    int64_t live_before; /* Arrow structs */
};

static inline void bench_take(struct bench *bench, struct fb_source *source, const char *formats, uint64_t batch_rows,
                              uint64_t limit_bytes)
{
    memset(bench, 0, sizeof *bench);
    bench->source = source;
    bench->pool =
        fixture_pool(formats, source->variable_row_bytes[FB_STORAGE_DENSE][1], batch_rows, FB_NULLS_ERROR, limit_bytes);
    bench->batch = fixture_take(bench->pool, 0, batch_rows);
    CHECK_EQUAL(fb__ledger_reserve(bench->pool->ledger, &bench->grant, FB_ACCOUNT_READ, 0, 1000, FB__NO_WAIT, NULL), 0);
}

static inline void bench_start(struct bench *bench, struct script *script, uint64_t unit_rows, uint64_t batch_rows)
{
    const uint64_t rows[] = {5, unit_rows};
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu");
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 2, script_costs, &script_callbacks, script, &source, &error), 0);
    schema.release(&schema);
    bench_take(bench, source, "lu", batch_rows, 1 << 20);
    bench->live_before = live_before;
}

static inline int bench_open(struct bench *bench, const uint32_t *columns, uint32_t column_count, uint64_t first_row)
{
    const struct fb__open_request request = {
        .unit = 1,
        .columns = columns,
        .column_count = column_count,
        .piece_rows = 64,
        .first_row = first_row,
        .layout = &bench->pool->layout,
        .ledger = bench->pool->ledger,
        .grant = &bench->grant,
    };
    return bench->source->ops->open(bench->source, &request, &bench->room, &bench->error);
}

static inline int bench_fill(struct bench *bench, uint64_t place, uint64_t row_count)
{
    bench->filled_rows = 99999;
    return bench->source->ops->fill(bench->source, &bench->room, bench->batch, place, row_count, &bench->filled_rows,
                                    &bench->error);
}

static inline void must_open(struct bench *bench, uint64_t first_row)
{
    int code = bench_open(bench, both_columns, 2, first_row);
    if (code) fprintf(stderr, "%s\n", bench->error.message);
    CHECK_EQUAL(code, 0);
}

static inline void must_fill(struct bench *bench, uint64_t place, uint64_t row_count)
{
    int code = bench_fill(bench, place, row_count);
    if (code) fprintf(stderr, "%s\n", bench->error.message);
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(bench->filled_rows, row_count);
}

static inline void bench_close_cursor(struct bench *bench)
{
    bench->source->ops->close(bench->source, &bench->room);
}

/* The fill failed with this code for this row (-1: none) of unit 1, and part of its text. */
static inline void check_failure(const struct bench *bench, int code, int expected_code, int64_t row, const char *text)
{
    CHECK_EQUAL(code, expected_code);
    CHECK_EQUAL(bench->error.code, expected_code);
    CHECK_EQUAL(bench->error.unit, 1);
    CHECK_EQUAL(bench->error.row, row);
    CHECK_CONTAINS(bench->error.message, text);
}

static inline void bench_end(struct bench *bench)
{
    fb__pool_return(bench->batch);
    fb__ledger_release(bench->pool->ledger, &bench->grant);
    fb__pool_release(bench->pool);
    fb_source_release(bench->source);
    CHECK_EQUAL(fixture_live, bench->live_before);
}

static inline void check_numbers(const struct fb_batch *batch, uint64_t first)
{
    const int64_t *values = (const int64_t *)(const void *)fb__batch_values(batch, 0);
    for (uint64_t row = 0; row < batch->row_count; row++) CHECK_EQUAL(values[row], first + row);
}

static inline void finish_and_check(struct bench *bench, uint64_t first)
{
    CHECK_EQUAL(fb__batch_finish(bench->batch, &bench->error), 0);
    check_numbers(bench->batch, UNIT_NUMBER + first);
    fixture_check_strings(bench->batch, 1, UNIT_NUMBER + first);
}

#endif
