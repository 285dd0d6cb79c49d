/*
 * Blocks that are in memory already: each is one unit. They are checked once, when the source is made, and shared by
 * all cursors, which only read them. They belong to the caller's data, so they are charged nowhere.
 *
 * Locking: none.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/copy.h"
#include "source/source.h"

struct block_source {
    struct fb_source base;
    struct ArrowArray blocks[]; /* base.unit_count */
};

struct block_cursor {
    struct fb__open_request request;
    uint64_t row; /* next row of the unit */
};

_Static_assert(sizeof(struct block_cursor) <= FB__CURSOR_BYTES, "a block cursor fits its room");

static struct block_source *block_source_of(struct fb_source *source)
{
    return FB__CONTAINER_OF(source, struct block_source, base);
}

/* ---- cursors ---- */

static int open_block(struct fb_source *base, const struct fb__open_request *request, union fb__cursor_room *room,
                      struct fb_error *error)
{
    (void)error;
    assert(request->unit < base->unit_count && request->first_row <= base->unit_rows[request->unit]);
    (void)base;
    struct block_cursor *cursor = (struct block_cursor *)(void *)room;
    *cursor = (struct block_cursor){.request = *request, .row = request->first_row};
    return 0;
}

static int fill_from_block(struct fb_source *base, union fb__cursor_room *room, struct fb_batch *batch, uint64_t place,
                           uint64_t row_count, uint64_t *filled_rows, struct fb_error *error)
{
    struct block_cursor *cursor = (struct block_cursor *)(void *)room;
    const struct ArrowArray *block = &block_source_of(base)->blocks[cursor->request.unit];
    assert(row_count <= base->unit_rows[cursor->request.unit] - cursor->row);
    *filled_rows = 0;
    /* The block has every column and the request some. */
    for (uint32_t i = 0; i < cursor->request.column_count; i++) {
        uint32_t column = cursor->request.columns[i];
        int code = fb__source_copy_column(&cursor->request, column, block, block->children[column], cursor->row, batch,
                                          place, row_count, row_count, cursor->row, error);
        if (code) return code;
    }
    cursor->row += row_count;
    *filled_rows = row_count;
    return 0;
}

static void close_block(struct fb_source *base, union fb__cursor_room *room)
{
    /* A cursor holds nothing of its own. */
    (void)base, (void)room;
}

static void destroy_blocks(struct fb_source *base)
{
    struct block_source *source = block_source_of(base);
    for (uint64_t i = 0; i < base->unit_count; i++) fb__arrow_release_array(&source->blocks[i]);
    fb__source_free(base);
}

static const struct fb__source_ops block_ops = {
    .open = open_block,
    .fill = fill_from_block,
    .close = close_block,
    .destroy = destroy_blocks,
};

/* ---- making ---- */

static int check_blocks(struct fb__gate *gate, const struct ArrowSchema *schema, const struct ArrowArray *blocks,
                        uint64_t block_count, struct fb_error *error)
{
    const struct fb_loader_options options = {.batch_rows = 1, .null_policy = FB_NULLS_FILL};
    struct fb__layout layout;
    int code = fb__layout_init(&layout, gate, schema, NULL, &options, error);
    if (code) return code;
    for (uint64_t i = 0; i < block_count && code == 0; i++) {
        code = fb__arrow_check_block(&layout, NULL, layout.column_count, &blocks[i], error);
        if (code) (void)fb__fail_at(error, (int64_t)i, -1);
    }
    fb__layout_destroy(&layout);
    return code;
}

/* The mean of all rows as a batch of this storage holds them, rounded up, so that a batch of average rows never has to
 * grow. */
static int measure_rows(struct fb__gate *gate, struct block_source *source, enum fb_storage storage,
                        struct fb_error *error)
{
    struct fb_source *base = &source->base;
    uint64_t rows = 0;
    for (uint64_t i = 0; i < base->unit_count; i++)
        if (__builtin_add_overflow(rows, base->unit_rows[i], &rows)) rows = UINT64_MAX;
    if (rows == 0) return 0;
    const struct fb_loader_options options = {.batch_rows = 1, .null_policy = FB_NULLS_FILL, .storage = storage};
    struct fb__layout layout;
    int code = fb__layout_init(&layout, gate, &base->schema, NULL, &options, error);
    if (code) return code;
    for (uint32_t column = 0; column < base->column_count; column++) {
        uint64_t bytes = 0;
        for (uint64_t i = 0; i < base->unit_count; i++) {
            bytes += fb__arrow_variable_bytes(&layout, column, &source->blocks[i]);
            if (bytes > FB__MOST_BYTES) bytes = FB__MOST_BYTES;
        }
        base->variable_row_bytes[storage][column] = bytes / rows + (bytes % rows != 0);
        if (storage == FB_STORAGE_DENSE) base->costs[column].string_bytes = base->variable_row_bytes[storage][column];
    }
    fb__layout_destroy(&layout);
    return 0;
}

int fb__source_make_blocks(struct fb__gate *gate, const struct ArrowSchema *schema, struct ArrowArray *blocks,
                           uint64_t block_count, struct fb_source **out, struct fb_error *error)
{
    if (!blocks && block_count > 0) return fb__fail(error, EINVAL, "the blocks are missing");
    int code = check_blocks(gate, schema, blocks, block_count, error);
    if (code) return code;
    struct fb__source_parts parts = {.ops = &block_ops, .schema = schema, .unit_count = block_count};
    if (__builtin_mul_overflow(block_count, sizeof(struct ArrowArray), &parts.struct_bytes) ||
        __builtin_add_overflow(parts.struct_bytes, sizeof(struct block_source), &parts.struct_bytes))
        parts.struct_bytes = UINT64_MAX;
    struct fb_source *base;
    code = fb__source_make(gate, &parts, &base, error);
    if (code) return code;
    struct block_source *source = block_source_of(base);
    for (uint64_t i = 0; i < block_count; i++) {
        source->blocks[i] = blocks[i];
        base->unit_rows[i] = (uint64_t)blocks[i].length;
    }
    code = measure_rows(gate, source, FB_STORAGE_DENSE, error);
    if (code == 0) code = measure_rows(gate, source, FB_STORAGE_ARROW, error);
    if (code) {
        fb__source_free(base); /* the blocks stay the caller's */
        return code;
    }
    for (uint64_t i = 0; i < block_count; i++) blocks[i].release = NULL;
    *out = base;
    return 0;
}

int fb_source_from_blocks(const struct ArrowSchema *schema, struct ArrowArray *blocks, uint64_t block_count,
                          struct fb_source **out, struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_blocks(&gate, schema, blocks, block_count, out, error);
}
