/*
 * Data that may be broken in any way, driven through the public calls: it is refused, or the rows are right. Either way
 * everything is released once, nothing stays behind, and the limit holds.
 */
#ifndef FB_TESTS_HOSTILE_BENCH_H
#define FB_TESTS_HOSTILE_BENCH_H

#include "arrow_reference.h"
#include "data/text.h"
#include "forebay/forebay.h"

#define HOSTILE_LIMIT_BYTES ((uint64_t)8 << 20)
#define HOSTILE_BLOCKS_MOST 4
/* A block may claim any number of rows where a row takes no memory: so many batches are looked at. */
#define HOSTILE_BATCHES_MOST 40

struct hostile_outcome {
    int code; /* 0: the rows were read and right */
    struct fb_error error;
};

/* What is driven: a schema, blocks, and what names them in a failure. */
struct hostile {
    const char *type, *what;
    struct ArrowSchema *schema;
    const struct ArrowSchema *reader; /* what the reference is read by, where schema may be broken; NULL: schema */
    struct ArrowArray *blocks;    /* moved as they are taken */
    struct ArrowArray *reference; /* the same once more, kept by the caller: a stream's blocks die early */
    uint64_t block_count;
    enum fb_storage storage;
    uint32_t threads;
    uint64_t batch_rows;
    enum fb_null_policy null_policy;
    bool is_on_demand;    /* nothing is read ahead */
    uint64_t limit_bytes; /* 0: HOSTILE_LIMIT_BYTES */
    /* Of one column, or NULL. With it rows are read, but not compared. */
    const struct fb_column_option *column_option;
};

static inline void hostile_fail(const struct hostile *hostile, const char *text, const char *more)
{
    fprintf(stderr, "type %s, %s (storage %d): %s %s\n", hostile->type, hostile->what, (int)hostile->storage, text,
            more);
    exit(1);
}

/* An error is one of those that the header allows for malformed data, and says something that can be shown. */
static inline void hostile_check_error(const struct hostile *hostile, int code, const struct fb_error *error)
{
    bool is_known = code == EINVAL || code == ENOTSUP || code == EIO || code == ENOBUFS || code == EOVERFLOW;
    if (!is_known) hostile_fail(hostile, "an odd code:", strerror(code));
    if (error->code != code) hostile_fail(hostile, "another code in the error:", error->message);
    if (error->message[0] == '\0' || !fb__text_is_utf8(error->message)) hostile_fail(hostile, "a bad message", "");
}

/* ---- rows against their reference ------------------------------------------------------------------------------ */

static inline void hostile_compare(const struct hostile *hostile, const struct reference_text *expected,
                                   const struct reference_text *actual, uint64_t row)
{
    if (strcmp(expected->bytes, actual->bytes) == 0) return;
    fprintf(stderr, "row %llu:\n  got      %s\n  expected %s\n", (unsigned long long)row, actual->bytes,
            expected->bytes);
    hostile_fail(hostile, "wrong rows", "");
}

static inline const struct ArrowArray *hostile_find(const struct hostile *hostile, uint64_t *row)
{
    for (uint64_t i = 0; i < hostile->block_count; i++) {
        uint64_t rows = (uint64_t)hostile->reference[i].length;
        if (*row < rows) return &hostile->reference[i];
        *row -= rows;
    }
    CHECK(!"more rows than the blocks have");
    return NULL;
}

static inline const struct ArrowSchema *hostile_reader(const struct hostile *hostile)
{
    return hostile->reader != NULL ? hostile->reader : hostile->schema;
}

static inline void hostile_check_dense(const struct hostile *hostile, const struct fb_batch *batch, uint64_t first_row)
{
    struct reference_text expected = {0}, actual = {0};
    for (uint32_t column = 0; column < fb_batch_column_count(batch); column++) {
        struct fb_column view;
        fb_batch_column(batch, column, &view);
        for (uint64_t i = 0; i < fb_batch_rows(batch); i++) {
            uint64_t row = first_row + i;
            reference_clear(&expected);
            reference_clear(&actual);
            if (hostile->column_option != NULL) {
                reference_batch(&actual, batch, &view, i);
                continue;
            }
            const struct ArrowArray *block = hostile_find(hostile, &row);
            reference_value(&expected, hostile_reader(hostile)->children[column], block->children[column],
                            (uint64_t)block->offset + row, false, REFERENCE_DENSE);
            reference_batch(&actual, batch, &view, i);
            hostile_compare(hostile, &expected, &actual, first_row + i);
        }
    }
    free(expected.bytes);
    free(actual.bytes);
}

/* The batch is consumed. */
static inline void hostile_check_arrow(const struct hostile *hostile, const struct fb_loader *loader,
                                       struct fb_batch *batch, uint64_t first_row)
{
    struct reference_text expected = {0}, actual = {0};
    struct ArrowSchema schema;
    struct fb_error error;
    CHECK_EQUAL(fb_loader_export_schema(loader, &schema, &error), 0);
    struct ArrowArray array;
    fb_batch_export(batch, &array);
    for (int64_t column = 0; column < array.n_children; column++) {
        for (int64_t i = 0; i < array.length; i++) {
            uint64_t row = first_row + (uint64_t)i;
            reference_clear(&expected);
            reference_clear(&actual);
            reference_value(&actual, schema.children[column], array.children[column], (uint64_t)i, false,
                            REFERENCE_ARROW);
            if (hostile->column_option != NULL) continue;
            const struct ArrowArray *block = hostile_find(hostile, &row);
            reference_value(&expected, hostile_reader(hostile)->children[column], block->children[column],
                            (uint64_t)block->offset + row, false, REFERENCE_ARROW);
            hostile_compare(hostile, &expected, &actual, first_row + (uint64_t)i);
        }
    }
    array.release(&array);
    schema.release(&schema);
    free(expected.bytes);
    free(actual.bytes);
}

/* Reads the epoch through a loader that takes source over. */
static inline void hostile_read(const struct hostile *hostile, struct fb_source *source,
                                struct hostile_outcome *outcome)
{
    const uint64_t limit_bytes = hostile->limit_bytes != 0 ? hostile->limit_bytes : HOSTILE_LIMIT_BYTES;
    const struct fb_loader_options options = {.batch_rows = hostile->batch_rows,
                                              .memory_limit_bytes = limit_bytes,
                                              .prefetch_batches = hostile->is_on_demand ? 0 : 2,
                                              .thread_count = hostile->threads,
                                              .preserve_order = true,
                                              .null_policy = hostile->null_policy,
                                              .storage = hostile->storage,
                                              .column_options = hostile->column_option,
                                              .column_option_count = hostile->column_option != NULL};
    struct fb_loader *loader;
    outcome->code = fb_loader_create(&options, source, &loader, &outcome->error);
    if (outcome->code != 0) {
        fb_source_release(source);
        return;
    }
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, NULL), 0);
    uint64_t row = 0;
    for (int i = 0; i < HOSTILE_BATCHES_MOST; i++) {
        struct fb_batch *batch;
        do { /* a fuzzer has a timer whose signal interrupts waits */
            outcome->code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &outcome->error);
        } while (outcome->code == EINTR);
        if (outcome->code != 0 || batch == NULL) break;
        uint64_t rows = fb_batch_rows(batch);
        if (hostile->storage == FB_STORAGE_ARROW) {
            hostile_check_arrow(hostile, loader, batch, row);
        } else {
            hostile_check_dense(hostile, batch, row);
            fb_batch_release(batch);
        }
        row += rows;
    }
    struct fb_stats stats;
    int64_t unit;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, &unit, &stats), 0);
    CHECK(stats.peak_bytes <= limit_bytes);
    CHECK_EQUAL(stats.charged_bytes, 0);
}

/* ---- blocks in memory ------------------------------------------------------------------------------------------ */

/* Blocks that are refused stay the caller's. */
static inline struct hostile_outcome hostile_run_blocks(const struct hostile *hostile)
{
    struct hostile_outcome outcome = {0};
    void (*releases[HOSTILE_BLOCKS_MOST])(struct ArrowArray *) = {NULL};
    for (uint64_t i = 0; i < hostile->block_count; i++) releases[i] = hostile->blocks[i].release;
    int64_t released = fixture_releases;
    struct fb_source *source;
    outcome.code =
        fb_source_from_blocks(hostile->schema, hostile->blocks, hostile->block_count, &source, &outcome.error);
    CHECK_EQUAL(fixture_releases, released);
    for (uint64_t i = 0; i < hostile->block_count; i++)
        CHECK(hostile->blocks[i].release == (outcome.code != 0 ? releases[i] : NULL));
    if (outcome.code == 0) hostile_read(hostile, source, &outcome);
    if (outcome.code != 0) hostile_check_error(hostile, outcome.code, &outcome.error);
    return outcome;
}

/* ---- a stream -------------------------------------------------------------------------------------------------- */

struct hostile_stream {
    const struct hostile *hostile;
    struct ArrowSchema given; /* what the stream says its schema is; moved when it is opened */
    int releases;
};

static inline int hostile_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                               uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct hostile_stream *stream = context;
    (void)unit, (void)columns, (void)piece_rows, (void)error;
    CHECK_EQUAL(column_count, stream->hostile->schema->n_children);
    *out = fixture_stream(stream->given, 0, "no more");
    stream->given.release = NULL;
    for (uint64_t i = 0; i < stream->hostile->block_count; i++) {
        fixture_add_block(out, stream->hostile->blocks[i]);
        stream->hostile->blocks[i].release = NULL;
    }
    return 0;
}

static inline void hostile_release(void *context)
{
    struct hostile_stream *stream = context;
    stream->releases++;
}

/*
 * The same blocks as one unit, its rows as so many were announced. given: the schema that the stream gives, moved.
 * Blocks that were not asked for stay the caller's.
 */
static inline struct hostile_outcome hostile_run_stream(const struct hostile *hostile, uint64_t unit_rows,
                                                        struct ArrowSchema given)
{
    struct hostile_outcome outcome = {0};
    struct hostile_stream stream = {.hostile = hostile, .given = given};
    const struct fb_stream_source_callbacks callbacks = {.open = hostile_open, .release = hostile_release};
    struct fb_stream_column_cost costs[FIXTURE_CHILDREN_MAX];
    for (int i = 0; i < FIXTURE_CHILDREN_MAX; i++) costs[i] = (struct fb_stream_column_cost){.weight = 1};
    struct fb_source *source;
    outcome.code =
        fb_source_from_streams(hostile->schema, &unit_rows, 1, costs, &callbacks, &stream, &source, &outcome.error);
    CHECK_EQUAL(stream.releases, 0);
    if (outcome.code == 0) {
        struct hostile single = *hostile;
        single.threads = 1; /* one stream an epoch: columns are not read side by side */
        hostile_read(&single, source, &outcome);
        CHECK_EQUAL(stream.releases, 1);
    }
    if (stream.given.release != NULL) stream.given.release(&stream.given);
    if (outcome.code != 0) hostile_check_error(hostile, outcome.code, &outcome.error);
    return outcome;
}

/* ---- a stream of unknown length -------------------------------------------------------------------------------- */

/* Schemas that streams have lent and that were not given back. */
static int64_t hostile_lent;

static inline void hostile_take_back(struct ArrowSchema *schema)
{
    hostile_lent--;
    schema->release = NULL;
}

/* The schema as often as it is asked for. */
static inline int hostile_lend_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    const struct fixture_stream_parts *parts = stream->private_data;
    *out = parts->schema;
    out->release = hostile_take_back;
    hostile_lent++;
    return 0;
}

static inline struct ArrowArrayStream hostile_make_stream(struct hostile_stream *stream)
{
    struct ArrowArrayStream out = fixture_stream(stream->given, 0, "no more");
    out.get_schema = hostile_lend_schema;
    stream->given.release = NULL;
    for (uint64_t i = 0; i < stream->hostile->block_count; i++) {
        fixture_add_block(&out, stream->hostile->blocks[i]);
        stream->hostile->blocks[i].release = NULL;
    }
    return out;
}

static inline int hostile_open_pull(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    (void)error;
    *out = hostile_make_stream(context);
    return 0;
}

/*
 * The same blocks as a stream of unknown length: once as the whole source (is_whole), else opened by a callback. given:
 * as above. Blocks that were not asked for stay the caller's.
 */
static inline struct hostile_outcome hostile_run_pull(const struct hostile *hostile, bool is_whole,
                                                      struct ArrowSchema given)
{
    struct hostile_outcome outcome = {0};
    struct hostile_stream stream = {.hostile = hostile, .given = given};
    const struct fb_pull_source_callbacks callbacks = {.open = hostile_open_pull, .release = hostile_release};
    struct ArrowArrayStream whole = {.release = NULL};
    if (is_whole) whole = hostile_make_stream(&stream);
    struct fb_source *source;
    outcome.code = is_whole ? fb_source_from_stream(&whole, &source, &outcome.error)
                            : fb_source_from_pull(hostile->schema, &callbacks, &stream, &source, &outcome.error);
    CHECK_EQUAL(stream.releases, 0);
    CHECK((whole.release != NULL) == (is_whole && outcome.code != 0));
    if (outcome.code == 0) {
        hostile_read(hostile, source, &outcome);
        CHECK_EQUAL(stream.releases, !is_whole);
    }
    if (whole.release != NULL) whole.release(&whole);
    if (stream.given.release != NULL) stream.given.release(&stream.given);
    CHECK_EQUAL(hostile_lent, 0);
    if (outcome.code != 0) hostile_check_error(hostile, outcome.code, &outcome.error);
    return outcome;
}

#endif
