/*
 * Rows that are fixed-size lists.
 *
 * Where every list of a run of rows has its elements and none of them is null, the levels are compared with that
 * pattern as a whole and the values go straight to their places. Any other rows are read level by level:
 *
 *     definition  below element_definition - 1    the list is null
 *                 element_definition - 1          the list is empty
 *                 element_definition or more      an element, null below max_definition
 *     repetition  0                               a row begins
 *                 1                               it goes on, maybe on the next page
 *
 * Locking: none.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "data/copy.h"
#include "source/parquet/column_internal.h"

/* Rows that are first looked at as a whole; twice as many each time they are regular. */
#define BLOCK_ROWS_LEAST 64
#define BLOCK_ROWS_MOST 65536
#define LEVELS 128

static int fail_length(const struct fb__parquet_column *column, const char *how, uint64_t length,
                       struct fb_error *error)
{
    return fb__fail(error, EIO, "a list of %s%" PRIu64 " elements where %" PRIu64 " are expected", how, length,
                    column->layout->list_size);
}

static struct fb__parquet_sink sink_at(const struct fb__parquet_column *column, struct fb__parquet_sink sink,
                                       uint64_t row)
{
    uint64_t row_bytes = column->layout->list_size * column->layout->element_bytes;
    return (struct fb__parquet_sink){
        .values = sink.values ? sink.values + row * row_bytes : NULL,
        .valid = sink.valid ? sink.valid + row : NULL,
        .item_valid = sink.item_valid ? sink.item_valid + row * column->layout->list_size : NULL,
    };
}

/* ---- regular rows ---- */

/* *is_regular false: nothing has been consumed. count > 0 and all of them may be on the page. */
static int regular_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t count,
                        bool *is_regular, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    uint64_t list_size = column->layout->list_size;
    const struct fb__runs repetition = page->repetition;
    const struct fb__runs definition = page->definition;
    *is_regular = false;
    int code = fb__runs_match_lists(&page->repetition, list_size, count, is_regular, error);
    if (code) return code;
    if (*is_regular) {
        uint64_t present = 0;
        uint32_t level = column->request.description->max_definition;
        code = fb__runs_skip_equal(&page->definition, level, count * list_size, &present, error);
        if (code) return code;
        *is_regular = present == count * list_size;
    }
    if (!*is_regular) {
        page->repetition = repetition;
        page->definition = definition;
        return 0;
    }
    if (sink.valid) memset(sink.valid, 1, count);
    if (sink.item_valid) memset(sink.item_valid, 1, count * list_size);
    page->levels_left -= count * list_size;
    return fb__parquet_decode(column, sink.values, count * list_size, error);
}

/* ---- any rows ---- */

/* Levels that are unpacked already. Those that nobody took are given back. */
struct level_block {
    struct fb__runs repetition_before, definition_before;
    uint32_t repetition[LEVELS], definition[LEVELS];
    uint64_t at, count;
};

/* *has_level false: the chunk has no more. */
static int peek_level(struct fb__parquet_column *column, struct level_block *block, bool *has_level,
                      struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    *has_level = true;
    if (block->at < block->count) return 0;
    if (page->levels_left == 0) {
        *has_level = column->levels_begun < column->request.chunk->value_count;
        if (!*has_level) return 0;
        int code = fb__parquet_next_page(column, error);
        if (code) return code;
    }
    block->repetition_before = page->repetition;
    block->definition_before = page->definition;
    block->at = 0;
    block->count = page->levels_left < LEVELS ? page->levels_left : LEVELS;
    page->levels_left -= block->count;
    int code = fb__runs_decode(&page->repetition, block->repetition, block->count, error);
    if (code) return code;
    code = fb__runs_decode(&page->definition, block->definition, block->count, error);
    if (code) return code;
    for (uint64_t i = 0; i < block->count; i++)
        if (block->repetition[i] > 1 || block->definition[i] > column->request.description->max_definition)
            return fb__fail(error, EIO, "a level above the highest one of the column");
    return 0;
}

static int give_back_levels(struct fb__parquet_column *column, struct level_block *block, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    if (block->at == block->count) return 0;
    page->levels_left += block->count - block->at;
    page->repetition = block->repetition_before;
    page->definition = block->definition_before;
    uint32_t scratch[LEVELS];
    int code = fb__runs_decode(&page->repetition, scratch, block->at, error);
    return code ? code : fb__runs_decode(&page->definition, scratch, block->at, error);
}

/* What a row turned out to be. */
enum row_kind { ROW_LIST, ROW_LIST_WITH_NULLS, ROW_NULL };

/*
 * The row's elements from the unpacked levels on: a run of values, or one null. *item: how many are done.
 * There is a level at hand.
 */
static int some_items(struct fb__parquet_column *column, struct level_block *block, struct fb__parquet_sink sink,
                      uint64_t *item, enum row_kind *kind, struct fb_error *error)
{
    const struct fb_parquet_column *description = column->request.description;
    uint64_t list_size = column->layout->list_size;
    uint64_t most = list_size - *item < block->count - block->at ? list_size - *item : block->count - block->at;
    uint64_t run = 0;
    for (; run < most; run++) {
        uint64_t i = block->at + run;
        if (block->repetition[i] != (*item + run > 0)) break;
        if (block->definition[i] != description->max_definition) break;
    }
    uint8_t *to = sink.values ? sink.values + *item * column->layout->element_bytes : NULL;
    if (run > 0) {
        if (sink.item_valid) memset(sink.item_valid + *item, 1, run);
        block->at += run;
        *item += run;
        return fb__parquet_decode(column, to, run, error);
    }
    if (block->repetition[block->at] == 0 && *item > 0) return fail_length(column, "", *item, error);
    if (block->definition[block->at] < description->element_definition)
        return fb__fail(error, EIO, "a list goes on without an element");
    if (to) fb__copy_fill(column->layout, to, 1);
    if (sink.item_valid) sink.item_valid[*item] = 0;
    *kind = ROW_LIST_WITH_NULLS;
    block->at++;
    *item += 1;
    return 0;
}

static int any_row(struct fb__parquet_column *column, struct level_block *block, struct fb__parquet_sink sink,
                   enum row_kind *kind, struct fb_error *error)
{
    uint64_t list_size = column->layout->list_size;
    uint32_t element_definition = column->request.description->element_definition;
    bool has_level;
    *kind = ROW_LIST;
    int code = peek_level(column, block, &has_level, error);
    if (code) return code;
    if (!has_level) return fb__fail(error, EIO, "the column chunk ends before its last row");
    if (block->repetition[block->at] != 0) return fail_length(column, "more than ", list_size, error);
    uint32_t definition = block->definition[block->at];
    if (definition < element_definition) {
        block->at++;
        if (definition + 1 == element_definition) return list_size == 0 ? 0 : fail_length(column, "", 0, error);
        *kind = ROW_NULL;
        if (sink.values) fb__copy_fill(column->layout, sink.values, list_size);
        if (sink.item_valid) memset(sink.item_valid, 0, list_size);
        return 0;
    }
    if (list_size == 0) return fail_length(column, "at least ", 1, error);
    uint64_t item = 0;
    while (item < list_size) {
        code = peek_level(column, block, &has_level, error);
        if (code) return code;
        if (!has_level) return fail_length(column, "", item, error);
        code = some_items(column, block, sink, &item, kind, error);
        if (code) return code;
    }
    return 0;
}

static int any_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t count, uint64_t *null_row,
                    struct fb_error *error)
{
    bool refuses_nulls = sink.values && column->request.layout->null_policy == FB_NULLS_ERROR;
    struct level_block block;
    block.at = block.count = 0;
    for (uint64_t row = 0; row < count; row++) {
        struct fb__parquet_sink at = sink_at(column, sink, row);
        enum row_kind kind;
        int code = any_row(column, &block, at, &kind, error);
        if (code) return code;
        if (refuses_nulls && kind != ROW_LIST) {
            *null_row = row;
            return fb__copy_fail_null(column->layout, kind == ROW_LIST_WITH_NULLS, error);
        }
        if (at.valid) *at.valid = kind != ROW_NULL;
    }
    return give_back_levels(column, &block, error);
}

int fb__parquet_list_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink, uint64_t row_count,
                          uint64_t *null_row, struct fb_error *error)
{
    struct fb__parquet_page *page = &column->page;
    uint64_t list_size = column->layout->list_size;
    uint64_t block_rows = BLOCK_ROWS_LEAST;
    uint64_t done = 0;
    while (done < row_count) {
        struct fb__parquet_sink at = sink_at(column, sink, done);
        uint64_t left = row_count - done;
        int code = 0;
        bool is_regular = false;
        if (page->levels_left == 0 && list_size > 0) {
            code = fb__parquet_next_page(column, error);
            if (code) return code;
        }
        uint64_t count = list_size > 0 ? page->levels_left / list_size : 0;
        if (count > left) count = left;
        if (count > block_rows) count = block_rows;
        if (count > 0) code = regular_rows(column, at, count, &is_regular, error);
        if (code) return code;
        if (is_regular) {
            if (block_rows < BLOCK_ROWS_MOST) block_rows *= 2;
        } else {
            uint64_t null_at = UINT64_MAX;
            block_rows = BLOCK_ROWS_LEAST;
            count = left < BLOCK_ROWS_LEAST ? left : BLOCK_ROWS_LEAST;
            code = any_rows(column, at, count, &null_at, error);
            if (null_at != UINT64_MAX) *null_row = done + null_at;
            if (code) return code;
        }
        done += count;
    }
    return 0;
}
