/*
 * What all sources share: one allocation that holds the source's struct, its copy of the schema and its tables, and
 * the copy of a block's rows to a batch.
 *
 *     | struct | schemas | pointers to them | rows of units | costs | bytes of a row | names and formats |
 *
 * Locking: none; a source is immutable once made.
 */
#include "source/source.h"

#include <errno.h>
#include <string.h>

#include "data/copy.h"

/* ---- a gate without a book ---- */

static int charge_nothing(void *context, enum fb_account account, uint64_t bytes, struct fb_error *error)
{
    (void)context, (void)account, (void)bytes, (void)error;
    return 0;
}

static void credit_nothing(void *context, enum fb_account account, uint64_t bytes)
{
    (void)context, (void)account, (void)bytes;
}

static void commit_nothing(void *context, struct fb__grant *grant, uint64_t bytes)
{
    (void)context, (void)grant, (void)bytes;
}

void fb__source_gate_init(struct fb__gate *gate)
{
    const struct fb__book book = {
        .charge = charge_nothing,
        .credit = credit_nothing,
        .commit = commit_nothing,
        .uncommit = commit_nothing,
    };
    fb__gate_init(gate, &book);
}

/* ---- the schema's copy ---- */

/* How much a schema takes beside its own struct; and, when it is copied, where the next of each goes. */
struct schema_need {
    uint64_t child_count; /* dictionaries too */
    uint64_t text_bytes;
};

struct schema_room {
    struct ArrowSchema *children;
    struct ArrowSchema **pointers;
    char *text;
};

static uint64_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* A checked schema is FB__DEPTH_MOST deep at most, so these two may recurse. */
static void count_schema(const struct ArrowSchema *schema, struct schema_need *need)
{
    need->child_count += (uint64_t)schema->n_children;
    need->text_bytes += text_bytes(schema->name) + text_bytes(schema->format);
    if (schema->dictionary) {
        need->child_count++;
        count_schema(schema->dictionary, need);
    }
    for (int64_t i = 0; i < schema->n_children; i++) count_schema(schema->children[i], need);
}

static const char *copy_text(const char *text, struct schema_room *room)
{
    if (!text) return NULL;
    char *copy = room->text;
    room->text += text_bytes(text);
    return memcpy(copy, text, text_bytes(text));
}

/* The memory is the source's: a release only marks. */
static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void copy_schema(const struct ArrowSchema *schema, struct ArrowSchema *copy, struct schema_room *room)
{
    *copy = (struct ArrowSchema){
        .format = copy_text(schema->format, room),
        .name = copy_text(schema->name, room),
        .flags = schema->flags,
        .n_children = schema->n_children,
        .release = release_schema,
    };
    if (schema->dictionary) {
        copy->dictionary = room->children++;
        copy_schema(schema->dictionary, copy->dictionary, room);
    }
    if (schema->n_children == 0) return;
    struct ArrowSchema *children = room->children;
    copy->children = room->pointers;
    room->children += schema->n_children;
    room->pointers += schema->n_children;
    for (int64_t i = 0; i < schema->n_children; i++) {
        copy->children[i] = &children[i];
        copy_schema(schema->children[i], &children[i], room);
    }
}

/* ---- making and freeing ---- */

/* Appends count items of item_bytes to a layout of *total_bytes and returns where they begin. */
static uint64_t append(uint64_t *total_bytes, uint64_t count, uint64_t item_bytes)
{
    uint64_t bytes;
    uint64_t begin = *total_bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes) || __builtin_add_overflow(bytes, UINT64_C(15), &bytes) ||
        __builtin_add_overflow(bytes & ~UINT64_C(15), begin, total_bytes))
        *total_bytes = UINT64_MAX;
    return begin;
}

/* Whether a batch stores bytes of a row whose number is known only while filling. */
static bool is_variable(const struct ArrowSchema *schema)
{
    if (schema->dictionary) return is_variable(schema->dictionary);
    if (strchr("uzUZv", schema->format[0])) return true;
    if (schema->format[0] != '+') return false;
    if (strchr("lLvm", schema->format[1])) return true;
    for (int64_t i = 0; i < schema->n_children; i++)
        if (is_variable(schema->children[i])) return true;
    return false;
}

static void set_costs(struct fb_source *source, const struct fb_stream_column_cost *costs)
{
    for (uint32_t i = 0; i < source->column_count; i++) {
        source->costs[i] = costs ? costs[i] : (struct fb_stream_column_cost){.weight = 1};
        /* An open stream always has a grant that can grow, also where nothing is known of what it takes. */
        if (source->is_streamed && source->costs[i].fixed_bytes == 0) source->costs[i].fixed_bytes = 1;
        for (int storage = 0; storage < FB__STORAGE_COUNT && is_variable(source->schema.children[i]); storage++)
            source->variable_row_bytes[storage][i] = source->costs[i].string_bytes;
    }
}

int fb__source_make(struct fb__gate *gate, const struct fb__source_parts *parts, struct fb_source **out,
                    struct fb_error *error)
{
    struct schema_need need = {0, 0};
    count_schema(parts->schema, &need);
    uint64_t column_count = (uint64_t)parts->schema->n_children;
    uint64_t total_bytes = 0;
    (void)append(&total_bytes, 1, parts->struct_bytes);
    uint64_t children_at = append(&total_bytes, need.child_count, sizeof(struct ArrowSchema));
    uint64_t pointers_at = append(&total_bytes, need.child_count, sizeof(struct ArrowSchema *));
    uint64_t unit_rows_at = append(&total_bytes, parts->unit_count, sizeof(uint64_t));
    uint64_t costs_at = append(&total_bytes, column_count, sizeof(struct fb_stream_column_cost));
    uint64_t row_bytes_at = append(&total_bytes, FB__STORAGE_COUNT * column_count, sizeof(uint64_t));
    uint64_t text_at = append(&total_bytes, need.text_bytes, 1);
    if (total_bytes > (uint64_t)PTRDIFF_MAX)
        return fb__fail(error, ENOMEM, "a source of %llu units does not fit into memory",
                        (unsigned long long)parts->unit_count);
    void *memory;
    int code = fb__gate_alloc(gate, FB_ACCOUNT_PLAN, total_bytes, &memory, error);
    if (code) return code;

    struct fb_source *source = memory;
    char *base = memory;
    struct schema_room room = {
        .children = (struct ArrowSchema *)(void *)(base + children_at),
        .pointers = (struct ArrowSchema **)(void *)(base + pointers_at),
        .text = base + text_at,
    };
    copy_schema(parts->schema, &source->schema, &room);
    source->ops = parts->ops;
    source->unit_rows = (uint64_t *)(void *)(base + unit_rows_at);
    source->unit_count = parts->unit_count;
    source->column_count = (uint32_t)column_count;
    source->costs = (struct fb_stream_column_cost *)(void *)(base + costs_at);
    for (uint64_t storage = 0; storage < FB__STORAGE_COUNT; storage++)
        source->variable_row_bytes[storage] = (uint64_t *)(void *)(base + row_bytes_at) + storage * column_count;
    source->is_streamed = parts->is_streamed;
    source->owned_bytes = source->plan_bytes = total_bytes;
    if (parts->unit_rows && parts->unit_count > 0)
        memcpy(source->unit_rows, parts->unit_rows, parts->unit_count * sizeof(uint64_t));
    set_costs(source, parts->costs);
    *out = source;
    return 0;
}

void fb__source_free(struct fb_source *source)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    fb__gate_free(&gate, FB_ACCOUNT_PLAN, source, source->owned_bytes);
}

void fb_source_release(struct fb_source *source)
{
    if (source) source->ops->destroy(source);
}

/* ---- for the plan and for cursors ---- */

uint64_t fb__source_cursor_bytes(const struct fb_source *source, const uint32_t *columns, uint32_t column_count,
                                 uint64_t piece_rows)
{
    if (!source->is_streamed) return 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < column_count; i++) {
        const struct fb_stream_column_cost *cost = &source->costs[columns[i]];
        uint64_t piece_bytes;
        if (__builtin_mul_overflow(cost->row_bytes, piece_rows, &piece_bytes) ||
            __builtin_add_overflow(bytes, piece_bytes, &bytes) ||
            __builtin_add_overflow(bytes, cost->fixed_bytes, &bytes))
            return UINT64_MAX;
    }
    return bytes;
}

int fb__source_foreign_code(int code, struct fb_error *error)
{
    bool is_ours =
        code <= 0 || code == EAGAIN || code == EINTR || code == ETIMEDOUT || code == EDEADLK || code == ENOBUFS;
    if (is_ours) code = EIO;
    if (error) error->code = code;
    return code;
}

static int check_stream_schema(const struct fb__open_request *request, struct ArrowArrayStream *stream,
                               struct fb_error *error)
{
    struct ArrowSchema schema = {0};
    int code = fb__arrow_stream_schema(stream, &schema, error);
    if (code) return fb__source_foreign_code(code, error);
    code = fb__arrow_check_stream_schema(request->layout, request->columns, request->column_count, &schema, error);
    fb__arrow_release_schema(&schema);
    return code;
}

int fb__source_check_opened(const struct fb__open_request *request, int code, const char *what,
                            struct ArrowArrayStream *stream, struct fb_error *error)
{
    if (code) {
        /* A failed open gives nothing, whatever it wrote. */
        memset(stream, 0, sizeof *stream);
        if (error && error->code == 0) fb__fail(error, code, "the %s could not be opened", what);
        code = fb__source_foreign_code(code, error);
    } else if (!stream->release) {
        code = fb__fail(error, EIO, "opening the %s gave no stream", what);
    } else {
        code = check_stream_schema(request, stream, error);
    }
    if (code == 0) return 0;
    fb__arrow_release_stream(stream);
    (void)fb__fail_at(error, (int64_t)request->unit, -1);
    return code;
}

void fb__source_note_foreign(struct fb_source *source, uint64_t bytes)
{
    uint64_t peak_bytes = atomic_load(&source->foreign_peak_bytes);
    while (bytes > peak_bytes && !atomic_compare_exchange_weak(&source->foreign_peak_bytes, &peak_bytes, bytes)) {
    }
}

int fb__source_copy_column(const struct fb__open_request *request, uint32_t column, const struct ArrowArray *block,
                           const struct ArrowArray *array, uint64_t block_row, struct fb_batch *batch, uint64_t place,
                           uint64_t row_count, uint64_t expected_rows, uint64_t unit_row, struct fb_error *error)
{
    uint64_t null_row = 0;
    int code = fb__copy_rows(batch, column, place, array, (uint64_t)block->offset, block_row, row_count, expected_rows,
                             &null_row, error);
    if (code) (void)fb__fail_at(error, (int64_t)request->unit, (int64_t)(unit_row + null_row));
    return code;
}

int fb__source_copy(const struct fb__open_request *request, const struct ArrowArray *block, uint64_t block_row,
                    struct fb_batch *batch, uint64_t place, uint64_t row_count, uint64_t expected_rows,
                    uint64_t unit_row, struct fb_error *error)
{
    for (uint32_t i = 0; i < request->column_count; i++) {
        int code = fb__source_copy_column(request, request->columns[i], block, block->children[i], block_row, batch,
                                          place, row_count, expected_rows, unit_row, error);
        if (code) return code;
    }
    return 0;
}
