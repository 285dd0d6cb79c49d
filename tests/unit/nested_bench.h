/*
 * Batches of one column "x" of any type, filled from random arrays in random pieces by several threads, and compared
 * row by row with what those arrays say (arrow_reference.h).
 */
#ifndef FB_TESTS_NESTED_BENCH_H
#define FB_TESTS_NESTED_BENCH_H

#include "arrow_reference.h"
#include "arrow_types.h"
#include "data/arrow.h"
#include "data/copy.h"
#include "loader/loader.h"

#define BENCH_LIMIT_BYTES ((uint64_t)64 << 20)
#define BENCH_BLOCK_ROWS 40
#define BENCH_ROWS_MOST 120
#define BENCH_THREADS_MOST 3

/* A run of rows of a batch and the block that they come from. */
struct bench_run {
    struct ArrowArray block;
    uint64_t place, rows, first_row;
};

struct bench {
    const char *type;
    struct ArrowSchema schema;
    struct fb_loader_options options;
    struct fb__pool *pool;
    struct fb_batch *batch;
    struct bench_run runs[BENCH_ROWS_MOST];
    uint64_t run_count;
    uint64_t thread_count;
};

static inline void bench_fail(const struct bench *bench, const char *text)
{
    fprintf(stderr, "type %s, storage %d, null policy %d: %s\n", bench->type, (int)bench->options.storage,
            (int)bench->options.null_policy, text);
    exit(1);
}

static inline void bench_must(const struct bench *bench, int code, const struct fb_error *error)
{
    if (code != 0) bench_fail(bench, error->message);
}

/* options: what a pool reads of them; row_bytes: the estimate. */
static inline void bench_begin(struct bench *bench, const char *type, struct fb_loader_options options,
                               uint64_t row_bytes)
{
    struct fb_error error;
    *bench = (struct bench){.type = type, .options = options, .thread_count = 1};
    bench->schema = maker_column_schema(type);
    if (options.memory_limit_bytes == 0) bench->options.memory_limit_bytes = BENCH_LIMIT_BYTES;
    bench_must(bench, fb__pool_create(&bench->schema, &row_bytes, &bench->options, &bench->pool, &error), &error);
}

static inline void bench_take(struct bench *bench, uint64_t rows)
{
    struct fb_error error;
    bench_must(bench, fb__pool_take(bench->pool, 0, rows, 0, &bench->batch, &error), &error);
}

/* Blocks for all rows of the batch, in runs of any length. */
static inline void bench_make_runs(struct bench *bench, struct maker *maker, uint64_t rows)
{
    bench->run_count = 0;
    for (uint64_t at = 0; at < rows;) {
        struct bench_run *run = &bench->runs[bench->run_count++];
        uint64_t most = rows - at < BENCH_BLOCK_ROWS ? rows - at : BENCH_BLOCK_ROWS;
        *run = (struct bench_run){.place = at, .rows = 1 + dice_below(&maker->dice, most)};
        run->first_row = dice_below(&maker->dice, 4);
        uint64_t block_rows = run->first_row + run->rows + dice_below(&maker->dice, 3);
        run->block = maker_block(maker, &bench->schema, block_rows);
        struct fb_error error;
        bench_must(bench, fb__arrow_check_block(&bench->pool->layout, NULL, 1, &run->block, &error), &error);
        at += run->rows;
    }
}

static inline void bench_drop_runs(struct bench *bench)
{
    for (uint64_t i = 0; i < bench->run_count; i++) bench->runs[i].block.release(&bench->runs[i].block);
    bench->run_count = 0;
}

static inline void bench_end(struct bench *bench)
{
    fb__pool_release(bench->pool);
    bench->schema.release(&bench->schema);
}

/* ---- filling --------------------------------------------------------------------------------------------------- */

/* Rows [done, done + rows) of a run. */
static inline int bench_copy(struct bench *bench, const struct bench_run *run, uint64_t done, uint64_t rows,
                             uint64_t *null_row, struct fb_error *error)
{
    return fb__copy_rows(bench->batch, 0, run->place + done, run->block.children[0], (uint64_t)run->block.offset,
                         run->first_row + done, rows, run->rows - done, null_row, error);
}

/* A run in pieces; now and then what is filled already is filled again, as after an error. */
static inline void bench_fill_run(struct bench *bench, const struct bench_run *run, struct dice *dice)
{
    struct fb_error error;
    uint64_t null_row;
    for (uint64_t done = 0; done < run->rows;) {
        if (done > 0 && dice_below(dice, 4) == 0) done -= dice_below(dice, done + 1);
        uint64_t rows = dice_below(dice, 3) == 0 ? 1 + dice_below(dice, run->rows - done) : run->rows - done;
        bench_must(bench, bench_copy(bench, run, done, rows, &null_row, &error), &error);
        done += rows;
    }
}

struct bench_filler {
    struct bench *bench;
    struct dice dice;
    uint64_t number;
};

/* Every so many runs are this thread's, in an order of its own. */
static inline void *bench_fill_runs(void *argument)
{
    struct bench_filler *filler = argument;
    struct bench *bench = filler->bench;
    uint64_t order[BENCH_ROWS_MOST], count = 0;
    for (uint64_t i = filler->number; i < bench->run_count; i += bench->thread_count) {
        uint64_t j = dice_below(&filler->dice, count + 1);
        order[count] = order[j];
        order[j] = i;
        count++;
    }
    for (uint64_t i = 0; i < count; i++) bench_fill_run(bench, &bench->runs[order[i]], &filler->dice);
    return NULL;
}

static inline void bench_fill(struct bench *bench, uint64_t seed)
{
    pthread_t threads[BENCH_THREADS_MOST];
    struct bench_filler fillers[BENCH_THREADS_MOST];
    for (uint64_t i = 0; i < bench->thread_count; i++) {
        fillers[i] = (struct bench_filler){bench, {seed + i}, i};
        if (bench->thread_count == 1)
            bench_fill_runs(&fillers[i]);
        else
            CHECK_EQUAL(pthread_create(&threads[i], NULL, bench_fill_runs, &fillers[i]), 0);
    }
    for (uint64_t i = 0; i < bench->thread_count && bench->thread_count > 1; i++)
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
}

static inline void bench_finish(struct bench *bench)
{
    struct fb_error error;
    bench_must(bench, fb__batch_finish(bench->batch, &error), &error);
}

/* What is booked is alive, but for what is kept for pieces still to come. */
static inline void bench_check_books(const struct bench *bench)
{
    const struct fb__grant *grant = &bench->batch->grant;
    CHECK_EQUAL(grant->booked_bytes, grant->committed_bytes + bench->batch->spare_bytes);
    CHECK(fb__ledger_check(bench->pool->ledger));
}

/* ---- checking -------------------------------------------------------------------------------------------------- */

static inline void bench_compare(const struct bench *bench, const struct reference_text *expected,
                                 const struct reference_text *actual, uint64_t row)
{
    if (strcmp(expected->bytes, actual->bytes) == 0) return;
    fprintf(stderr, "row %llu:\n  got      %s\n  expected %s\n", (unsigned long long)row, actual->bytes,
            expected->bytes);
    bench_fail(bench, "wrong rows");
}

/* What a row of a run says. */
static inline void bench_expect(const struct bench *bench, const struct bench_run *run, uint64_t row,
                                enum reference_manner manner, struct reference_text *text)
{
    reference_clear(text);
    reference_value(text, bench->schema.children[0], run->block.children[0],
                    (uint64_t)run->block.offset + run->first_row + row, false, manner);
}

/* Whether a value is null, wherever the array says so: in itself, its dictionary or its run. */
static inline bool bench_is_null(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t row)
{
    uint64_t slot = (uint64_t)array->offset + row;
    if (schema->dictionary != NULL) {
        if (!maker_bit(array->buffers[0], slot)) return true;
        uint64_t index = maker_load(array->buffers[1], (uint64_t)maker_width(schema->format), slot);
        return bench_is_null(schema->dictionary, array->dictionary, index);
    }
    if (maker_is(schema, "n")) return true;
    if (maker_is(schema, "+r"))
        return bench_is_null(schema->children[1], array->children[1], reference_run(schema, array, slot));
    return !maker_bit(array->buffers[0], slot);
}

/* What stands behind dictionaries and run ends; *row goes with it. A null leads nowhere. */
static inline const struct ArrowSchema *bench_decoded(const struct ArrowSchema *schema, const struct ArrowArray **array,
                                                      uint64_t *row)
{
    for (;;) {
        uint64_t slot = (uint64_t)(*array)->offset + *row;
        if (schema->dictionary != NULL) {
            bool is_null = !maker_bit((*array)->buffers[0], slot);
            *row = is_null ? 0 : maker_load((*array)->buffers[1], (uint64_t)maker_width(schema->format), slot);
            *array = (*array)->dictionary;
            schema = schema->dictionary;
        } else if (maker_is(schema, "+r")) {
            *row = reference_run(schema, *array, slot);
            *array = (*array)->children[1];
            schema = schema->children[1];
        } else {
            return schema;
        }
    }
}

/* FB_NULLS_MASK: validity of row `at` of a column of the batch. */
static inline void bench_check_valid(const struct bench *bench, const struct fb_column *column, uint64_t at,
                                     const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t row,
                                     bool is_null)
{
    is_null = is_null || bench_is_null(schema, array, row);
    if (column->kind != FB_COLUMN_STRUCT) {
        if (column->valid == NULL) bench_fail(bench, "a column without validity");
        if (column->valid[at] != !is_null) bench_fail(bench, "wrong validity");
        return;
    }
    CHECK(column->valid == NULL);
    const struct ArrowSchema *decoded = bench_decoded(schema, &array, &row);
    for (uint32_t i = 0; i < column->child_count; i++) {
        struct fb_column child;
        fb_batch_child(bench->batch, column, i, &child);
        bench_check_valid(bench, &child, at, decoded->children[i], array->children[i], (uint64_t)array->offset + row,
                          is_null);
    }
}

static inline void bench_check_dense(const struct bench *bench)
{
    struct reference_text expected = {0}, actual = {0};
    struct fb_column column;
    fb_batch_column(bench->batch, 0, &column);
    CHECK_TEXT(column.name, "x");
    CHECK_EQUAL(column.row_count, bench->batch->row_count);
    for (uint64_t i = 0; i < bench->run_count; i++) {
        const struct bench_run *run = &bench->runs[i];
        for (uint64_t row = 0; row < run->rows; row++) {
            bench_expect(bench, run, row, REFERENCE_DENSE, &expected);
            reference_clear(&actual);
            reference_batch(&actual, bench->batch, &column, run->place + row);
            bench_compare(bench, &expected, &actual, run->place + row);
            if (bench->options.null_policy == FB_NULLS_MASK)
                bench_check_valid(bench, &column, run->place + row, bench->schema.children[0], run->block.children[0],
                                  (uint64_t)run->block.offset + run->first_row + row, false);
        }
    }
    if (bench->options.null_policy != FB_NULLS_MASK) CHECK(column.valid == NULL);
    free(expected.bytes);
    free(actual.bytes);
}

/* The batch is consumed; bytes_out: what it said that the user gets. */
static inline void bench_check_arrow(struct bench *bench)
{
    struct reference_text expected = {0}, actual = {0};
    struct fb_source source = {.schema = bench->schema};
    struct fb_loader loader = {.pool = bench->pool, .source = &source};
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct fb_error error;
    bench_must(bench, fb_loader_export_schema(&loader, &schema, &error), &error);
    fb__pool_deliver(bench->batch);
    fb_batch_export(bench->batch, &array);
    bench->batch = NULL;
    for (uint64_t i = 0; i < bench->run_count; i++) {
        const struct bench_run *run = &bench->runs[i];
        for (uint64_t row = 0; row < run->rows; row++) {
            bench_expect(bench, run, row, REFERENCE_ARROW, &expected);
            reference_clear(&actual);
            reference_value(&actual, schema.children[0], array.children[0], run->place + row, false, REFERENCE_ARROW);
            bench_compare(bench, &expected, &actual, run->place + row);
        }
    }
    array.release(&array);
    schema.release(&schema);
    free(expected.bytes);
    free(actual.bytes);
}

/* Finishes the batch, checks it and gives it back. */
static inline void bench_check(struct bench *bench)
{
    bench_check_books(bench);
    bench_finish(bench);
    bench_check_books(bench);
    if (bench->options.storage == FB_STORAGE_ARROW) {
        bench_check_arrow(bench);
        return;
    }
    bench_check_dense(bench);
    fb__pool_return(bench->batch);
    bench->batch = NULL;
}

#endif
