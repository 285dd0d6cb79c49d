/*
 * A source for tests: columns "number" (int64) and "text" (utf8) whose values follow from the row of the epoch, in
 * units of given rows, streamed in pieces of at most piece_rows, or all of them as the blocks of one stream that is
 * pulled. It counts what it holds and every release, and can fail, block, end early or take its time.
 *
 *     number(row) = row * 7 + 1        text(row) = "r<row>" repeated row % 5 times; or text_bytes times 't'
 */
#ifndef FB_TESTS_SCRIPTED_SOURCE_H
#define FB_TESTS_SCRIPTED_SOURCE_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forebay/forebay.h"

#define SCRIPT_COLUMNS 2

struct script {
    uint64_t *unit_rows;
    uint64_t unit_count;
    uint64_t rows;
    uint64_t fail_row;               /* of the epoch; UINT64_MAX: none */
    bool has_text;
    bool gives_nulls;                /* empty texts are nulls where a source can say so */
    uint64_t text_bytes;             /* not 0: of every text, at most 127 */
    /* of a pulled source */
    uint64_t end_block;              /* the stream ends before it; UINT64_MAX: after the last */
    int fail_code;                   /* what get_next gives at fail_row */
    int open_code;                   /* what opening gives */
    uint64_t delay_most;             /* a pull takes up to so many turns of other threads */
    bool ends_thread;                /* get_next ends its thread at fail_row */
    _Atomic int64_t opens;
    _Atomic int64_t pulls;           /* that gave a block, also an empty one */
    _Atomic int64_t live_arrays;
    _Atomic int64_t live_streams;
    _Atomic int64_t allocated_bytes;
    _Atomic int64_t leaves;          /* of reader threads */
    _Atomic int64_t releases;        /* of the context */
    _Atomic bool blocks;             /* streams block until it is cleared */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static inline int64_t script_number(uint64_t row)
{
    return (int64_t)row * 7 + 1;
}

/* Writes the text of a row to buffer (at least 128 bytes); returns its length. */
static inline size_t script_text(uint64_t row, char *buffer)
{
    if (row % 5 == 0) return 0;
    size_t length = (size_t)sprintf(buffer, "r%llu", (unsigned long long)row);
    for (uint64_t i = 1; i < row % 5; i++) memcpy(buffer + i * length, buffer, length);
    return row % 5 * length;
}

struct script_stream {
    struct script *script;
    uint64_t first_row, next_row, end_row, piece_rows;
    bool is_pulled;
    uint64_t next_block;
    uint32_t columns[SCRIPT_COLUMNS];
    uint32_t column_count;
    char message[64];
};

struct script_array {
    struct script *script;
    int64_t bytes;
    void *memory[2];
    const void *buffers[3];
    struct ArrowArray children[SCRIPT_COLUMNS];
    struct ArrowArray *child_pointers[SCRIPT_COLUMNS];
};

static inline void script_release_child(struct ArrowArray *array)
{
    struct script_array *owned = array->private_data;
    atomic_fetch_sub(&owned->script->allocated_bytes, owned->bytes);
    atomic_fetch_sub(&owned->script->live_arrays, 1);
    free(owned->memory[0]);
    free(owned->memory[1]);
    free(owned);
    array->release = NULL;
}

static inline void script_release_parent(struct ArrowArray *array)
{
    struct script_array *owned = array->private_data;
    for (int64_t i = 0; i < array->n_children; i++)
        if (array->children[i]->release) array->children[i]->release(array->children[i]);
    atomic_fetch_sub(&owned->script->live_arrays, 1);
    free(owned);
    array->release = NULL;
}

static inline void script_fill_child(struct script *script, struct ArrowArray *child, uint32_t column, uint64_t first,
                                     uint64_t count)
{
    struct script_array *owned = calloc(1, sizeof *owned);
    owned->script = script;
    int64_t buffer_count = 2;
    if (column == 0) {
        int64_t *numbers = malloc((size_t)(count * sizeof *numbers) + 1);
        for (uint64_t i = 0; i < count; i++) numbers[i] = script_number(first + i);
        owned->memory[0] = numbers;
        owned->bytes = (int64_t)(count * sizeof *numbers);
    } else {
        int32_t *offsets = malloc((size_t)((count + 1) * sizeof *offsets));
        char *text = malloc((size_t)(count * 128) + 1);
        offsets[0] = 0;
        for (uint64_t i = 0; i < count; i++) {
            size_t length = script->text_bytes ? script->text_bytes : script_text(first + i, text + offsets[i]);
            if (script->text_bytes) memset(text + offsets[i], 't', length);
            offsets[i + 1] = offsets[i] + (int32_t)length;
        }
        owned->memory[0] = offsets;
        owned->memory[1] = text;
        owned->bytes = (int64_t)(count * 4) + offsets[count];
        buffer_count = 3;
    }
    owned->buffers[1] = owned->memory[0];
    owned->buffers[2] = owned->memory[1];
    *child = (struct ArrowArray){.length = (int64_t)count,
                                 .n_buffers = buffer_count,
                                 .buffers = owned->buffers,
                                 .release = script_release_child,
                                 .private_data = owned};
    atomic_fetch_add(&script->allocated_bytes, owned->bytes);
    atomic_fetch_add(&script->live_arrays, 1);
}

static inline int script_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct script_stream *owned = stream->private_data;
    struct script *script = owned->script;
    pthread_mutex_lock(&script->mutex);
    while (atomic_load(&script->blocks)) pthread_cond_wait(&script->cond, &script->mutex);
    pthread_mutex_unlock(&script->mutex);
    memset(out, 0, sizeof *out);
    uint64_t count = owned->end_row - owned->next_row;
    if (count > owned->piece_rows) count = owned->piece_rows;
    if (owned->is_pulled) {
        if (owned->next_block >= script->unit_count || owned->next_block >= script->end_block) return 0;
        for (uint64_t i = script->delay_most ? owned->next_block * 7919 % script->delay_most : 0; i > 0; i--)
            sched_yield();
        count = script->unit_rows[owned->next_block];
    } else if (count == 0) {
        return 0;
    }
    if (script->fail_row >= owned->next_row && script->fail_row < owned->next_row + count) {
        if (script->ends_thread) pthread_exit(NULL);
        snprintf(owned->message, sizeof owned->message, "row %llu is bad", (unsigned long long)script->fail_row);
        return script->fail_code ? script->fail_code : EIO;
    }
    owned->next_block++;
    atomic_fetch_add(&script->pulls, 1);
    struct script_array *parent = calloc(1, sizeof *parent);
    parent->script = script;
    for (uint32_t i = 0; i < owned->column_count; i++) {
        script_fill_child(script, &parent->children[i], owned->columns[i], owned->next_row, count);
        parent->child_pointers[i] = &parent->children[i];
    }
    *out = (struct ArrowArray){.length = (int64_t)count,
                               .n_buffers = 1,
                               .buffers = parent->buffers,
                               .n_children = owned->column_count,
                               .children = parent->child_pointers,
                               .release = script_release_parent,
                               .private_data = parent};
    atomic_fetch_add(&script->live_arrays, 1);
    owned->next_row += count;
    return 0;
}

static inline void script_release_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) free(schema->children[i]);
    free(schema->children);
    schema->release = NULL;
}

static inline void script_release_field(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static inline void script_schema(const uint32_t *columns, uint32_t column_count, struct ArrowSchema *out)
{
    *out =
        (struct ArrowSchema){.format = "+s", .name = "", .n_children = column_count, .release = script_release_schema};
    out->children = calloc(column_count, sizeof *out->children);
    for (uint32_t i = 0; i < column_count; i++) {
        out->children[i] = calloc(1, sizeof **out->children);
        *out->children[i] = (struct ArrowSchema){.format = columns[i] == 0 ? "l" : "u",
                                                 .name = columns[i] == 0 ? "number" : "text",
                                                 .flags = ARROW_FLAG_NULLABLE,
                                                 .release = script_release_field};
    }
}

static inline int script_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct script_stream *owned = stream->private_data;
    script_schema(owned->columns, owned->column_count, out);
    return 0;
}

static inline const char *script_get_last_error(struct ArrowArrayStream *stream)
{
    return ((struct script_stream *)stream->private_data)->message;
}

static inline void script_release_stream(struct ArrowArrayStream *stream)
{
    struct script_stream *owned = stream->private_data;
    atomic_fetch_sub(&owned->script->live_streams, 1);
    free(owned);
    stream->release = NULL;
}

static inline int script_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                              uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct script *script = context;
    (void)error;
    struct script_stream *owned = calloc(1, sizeof *owned);
    owned->script = script;
    for (uint64_t i = 0; i < unit; i++) owned->first_row += script->unit_rows[i];
    owned->next_row = owned->first_row;
    owned->end_row = owned->first_row + script->unit_rows[unit];
    owned->piece_rows = piece_rows;
    owned->column_count = column_count;
    memcpy(owned->columns, columns, column_count * sizeof *columns);
    *out = (struct ArrowArrayStream){script_get_schema, script_get_next, script_get_last_error, script_release_stream,
                                     owned};
    atomic_fetch_add(&script->live_streams, 1);
    return 0;
}

static inline uint64_t script_allocated_bytes(void *context)
{
    int64_t bytes = atomic_load(&((struct script *)context)->allocated_bytes);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static inline void script_leave(void *context)
{
    atomic_fetch_add(&((struct script *)context)->leaves, 1);
}

static inline void script_release(void *context)
{
    atomic_fetch_add(&((struct script *)context)->releases, 1);
}

static inline void script_init(struct script *script, uint64_t *unit_rows, uint64_t unit_count, bool has_text)
{
    memset(script, 0, sizeof *script);
    script->unit_rows = unit_rows;
    script->unit_count = unit_count;
    script->has_text = has_text;
    script->fail_row = script->end_block = UINT64_MAX;
    for (uint64_t i = 0; i < unit_count; i++) script->rows += unit_rows[i];
    pthread_mutex_init(&script->mutex, NULL);
    pthread_cond_init(&script->cond, NULL);
}

static inline void script_destroy(struct script *script)
{
    pthread_cond_destroy(&script->cond);
    pthread_mutex_destroy(&script->mutex);
}

static inline void script_set_blocking(struct script *script, bool blocks)
{
    pthread_mutex_lock(&script->mutex);
    atomic_store(&script->blocks, blocks);
    pthread_cond_broadcast(&script->cond);
    pthread_mutex_unlock(&script->mutex);
}

/* Makes the source; the script must outlive it. */
static inline int script_source(struct script *script, struct fb_source **out, struct fb_error *error)
{
    const uint32_t columns[SCRIPT_COLUMNS] = {0, 1};
    const struct fb_stream_column_cost costs[SCRIPT_COLUMNS] = {
        {.fixed_bytes = 64, .row_bytes = 8, .weight = 8},
        {.fixed_bytes = 64, .row_bytes = 64, .string_bytes = 16, .weight = 24},
    };
    const struct fb_stream_source_callbacks callbacks = {
        .open = script_open,
        .allocated_bytes = script_allocated_bytes,
        .leave = script_leave,
        .release = script_release,
    };
    struct ArrowSchema schema;
    script_schema(columns, script->has_text ? 2 : 1, &schema);
    int code =
        fb_source_from_streams(&schema, script->unit_rows, script->unit_count, costs, &callbacks, script, out, error);
    schema.release(&schema);
    return code;
}

static inline int script_pull_open(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct script *script = context;
    (void)error;
    atomic_fetch_add(&script->opens, 1);
    if (script->open_code) return script->open_code;
    struct script_stream *owned = calloc(1, sizeof *owned);
    owned->script = script;
    owned->is_pulled = true;
    owned->column_count = script->has_text ? 2 : 1;
    owned->columns[1] = 1;
    *out = (struct ArrowArrayStream){script_get_schema, script_get_next, script_get_last_error, script_release_stream,
                                     owned};
    atomic_fetch_add(&script->live_streams, 1);
    return 0;
}

/* The same rows as one stream: every unit is a block of it. The script must outlive the source. */
static inline int script_pull_source(struct script *script, struct fb_source **out, struct fb_error *error)
{
    const uint32_t columns[SCRIPT_COLUMNS] = {0, 1};
    const struct fb_pull_source_callbacks callbacks = {
        .open = script_pull_open, .context_bytes = 24, .leave = script_leave, .release = script_release};
    struct ArrowSchema schema;
    script_schema(columns, script->has_text ? 2 : 1, &schema);
    int code = fb_source_from_pull(&schema, &callbacks, script, out, error);
    schema.release(&schema);
    return code;
}

/* Whether a batch holds what the script says from first_row on; prints what does not and returns false. */
static inline bool script_check_rows(const struct fb_batch *batch, uint64_t first_row, bool has_text)
{
    struct fb_column column;
    fb_batch_column(batch, 0, &column);
    const int64_t *numbers = column.values;
    for (uint64_t i = 0; i < fb_batch_rows(batch); i++) {
        if (numbers[i] == script_number(first_row + i)) continue;
        fprintf(stderr, "number of row %llu is %lld\n", (unsigned long long)(first_row + i), (long long)numbers[i]);
        return false;
    }
    if (!has_text) return true;
    fb_batch_column(batch, 1, &column);
    const int32_t *offsets = column.offsets;
    for (uint64_t i = 0; i < fb_batch_rows(batch); i++) {
        char expected[128];
        size_t length = script_text(first_row + i, expected);
        if ((size_t)(offsets[i + 1] - offsets[i]) == length &&
            (length == 0 || memcmp((const char *)column.values + offsets[i], expected, length) == 0))
            continue;
        fprintf(stderr, "text of row %llu is %.*s\n", (unsigned long long)(first_row + i), offsets[i + 1] - offsets[i],
                (const char *)column.values + offsets[i]);
        return false;
    }
    return true;
}

static inline bool script_check_batch(const struct fb_batch *batch, uint64_t batch_rows, bool has_text)
{
    return script_check_rows(batch, fb_batch_index(batch) * batch_rows, has_text);
}

#endif
