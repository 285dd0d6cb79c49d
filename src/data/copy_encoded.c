/*
 * Dictionary and run-end encoded arrays, decoded: a batch stores the values in the same slots.
 *
 * Of a dictionary's plain values and strings a block of rows is gathered at a time; any other value is appended by
 * itself. Indices of rows that are null are not looked at.
 *
 * Locking: none.
 */
#include <assert.h>

#include "data/copy_internal.h"

#define BLOCK_ROWS 256
#define NO_ROW UINT64_MAX

/* ---- indices --------------------------------------------------------------------------------------------------- */

/* Signed and unsigned indices read the same: those of rows that are not null are not negative. */
static uint64_t load_index(const uint8_t *indices, uint64_t width, uint64_t i)
{
    uint16_t index_16;
    uint32_t index_32;
    uint64_t index_64;
    switch (width) {
    case 1:
        return indices[i];
    case 2:
        memcpy(&index_16, indices + 2 * i, 2);
        return index_16;
    case 4:
        memcpy(&index_32, indices + 4 * i, 4);
        return index_32;
    default:
        memcpy(&index_64, indices + 8 * i, 8);
        return index_64;
    }
}

/* A block of rows of a dictionary array: where each one's value lies behind the beginning of the values' buffers. */
struct block {
    uint64_t count;
    uint64_t rows[BLOCK_ROWS]; /* NO_ROW: null */
    bool has_nulls;
};

/* first: of the block's rows, in the array's buffers. */
static void load_block(const struct fb__node *node, const struct ArrowArray *array, uint64_t first, struct block *block)
{
    const struct fb__validity validity = fb__array_validity(array, first);
    const struct ArrowArray *values = array->dictionary;
    uint64_t values_offset = (uint64_t)values->offset;
    uint64_t width = node->source_bytes;
    const uint8_t *indices = (const uint8_t *)array->buffers[1] + first * width;
    for (uint64_t i = 0; i < block->count; i++) block->rows[i] = load_index(indices, width, i) + values_offset;
    block->has_nulls = false;
    if (validity.bits != NULL) {
        for (uint64_t at = 0, run; (run = fb__next_nulls(&validity, block->count, &at)) > 0; at += run) {
            block->has_nulls = true;
            for (uint64_t i = at; i < at + run; i++) block->rows[i] = NO_ROW;
        }
    }
    /* Without a value there may be no buffers; then all rows are null. */
    const struct fb__validity of_values =
        values->length > 0 ? fb__array_validity(values, 0) : (struct fb__validity){NULL, 0};
    if (of_values.bits == NULL) return;
    for (uint64_t i = 0; i < block->count; i++) {
        if (block->rows[i] == NO_ROW || !fb__is_null(&of_values, block->rows[i])) continue;
        block->rows[i] = NO_ROW;
        block->has_nulls = true;
    }
}

static int check_block(struct fb__filling *filling, const struct fb__node *node, const struct block *block)
{
    if (!filling->refuses_nulls || !block->has_nulls) return 0;
    uint64_t at = 0;
    while (block->rows[at] != NO_ROW) at++;
    return fb__copy_refuse_null(filling, node, at);
}

static void store_valid(uint8_t *valid, const struct block *block)
{
    if (valid == NULL) return;
    for (uint64_t i = 0; i < block->count; i++) valid[i] = block->rows[i] != NO_ROW;
}

/* ---- values of one width --------------------------------------------------------------------------------------- */

#define DEFINE_GATHER(width, type)                                                                                  \
    static void gather_##width(uint8_t *restrict values, const uint8_t *restrict source, const struct block *block) \
    {                                                                                                               \
        for (uint64_t i = 0; i < block->count; i++) {                                                               \
            type value;                                                                                             \
            memcpy(&value, source + block->rows[i] * sizeof value, sizeof value);                                   \
            memcpy(values + i * sizeof value, &value, sizeof value);                                                \
        }                                                                                                           \
    }

DEFINE_GATHER(1, uint8_t)
DEFINE_GATHER(2, uint16_t)
DEFINE_GATHER(4, uint32_t)
DEFINE_GATHER(8, uint64_t)

/* Element by element, around nulls. */
static void gather_any(const struct fb__node *child, uint8_t *values, const uint8_t *source, const struct block *block)
{
    uint64_t width = child->element_bytes;
    for (uint64_t i = 0; i < block->count; i++) {
        if (block->rows[i] == NO_ROW)
            fb__copy_fill_run(values + i * width, width, child->fill, 1);
        else
            fb__copy_elements(child->copy, child->source_bytes, values + i * width, source, block->rows[i], 1);
    }
}

static void gather(const struct fb__node *child, uint8_t *values, const uint8_t *source, const struct block *block)
{
    uint64_t width = block->has_nulls || child->copy != FB__COPY_BYTES ? 0 : child->element_bytes;
    switch (width) {
    case 1:
        gather_1(values, source, block);
        break;
    case 2:
        gather_2(values, source, block);
        break;
    case 4:
        gather_4(values, source, block);
        break;
    case 8:
        gather_8(values, source, block);
        break;
    default:
        gather_any(child, values, source, block);
    }
}

static int append_fixed_block(struct fb__filling *filling, const struct fb__node *child,
                              const struct ArrowArray *dictionary, const struct block *block, uint64_t slot)
{
    uint8_t *values, *valid;
    int code = fb__copy_values_at(filling, child, block->count, slot, &values);
    if (code == 0) code = fb__copy_valid_at(filling, child, block->count, slot, &valid);
    if (code) return code;
    if (values != NULL) gather(child, values, dictionary->length > 0 ? dictionary->buffers[1] : NULL, block);
    store_valid(valid, block);
    return 0;
}

/* ---- strings --------------------------------------------------------------------------------------------------- */

static int append_binary_block(struct fb__filling *filling, const struct fb__node *child,
                               const struct ArrowArray *dictionary, const struct block *block, uint64_t slot)
{
    uint32_t width = child->offset_bytes;
    const uint8_t *offsets = dictionary->length > 0 ? dictionary->buffers[1] : NULL;
    const uint8_t *source = dictionary->length > 0 ? dictionary->buffers[2] : NULL;
    uint64_t counts[BLOCK_ROWS];
    uint64_t total_bytes = 0;
    uint8_t *lengths, *bytes, *valid;
    int code = fb__copy_lengths_at(filling, child, block->count, slot, &lengths);
    if (code) return code;
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t row = block->rows[i];
        counts[i] = row == NO_ROW ? child->fill_bytes
                                  : fb__copy_load(offsets, width, row + 1) - fb__copy_load(offsets, width, row);
        fb__copy_store(lengths, width, i, counts[i]);
        total_bytes = fb__copy_add_product(total_bytes, counts[i], 1);
    }
    code = fb__copy_bytes_at(filling, child, total_bytes, &bytes);
    if (code == 0) code = fb__copy_valid_at(filling, child, block->count, slot, &valid);
    if (code) return code;
    for (uint64_t i = 0; i < block->count; i++) {
        if (counts[i] == 0) continue;
        const void *from =
            block->rows[i] == NO_ROW ? child->fill : source + fb__copy_load(offsets, width, block->rows[i]);
        memcpy(bytes, from, counts[i]);
        bytes += counts[i];
    }
    store_valid(valid, block);
    return 0;
}

/* ---- dictionaries ---------------------------------------------------------------------------------------------- */

/* Values that are no plain ones: their own nulls are found as they are appended. */
static int append_any_values(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                             uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    const struct fb__validity validity = fb__array_validity(array, first);
    const struct ArrowArray *values = array->dictionary;
    const uint8_t *indices = (const uint8_t *)array->buffers[1] + first * node->source_bytes;
    int code = 0;
    for (uint64_t i = 0; i < count && code == 0; i++) {
        if (fb__is_null(&validity, i) && filling->refuses_nulls)
            code = fb__copy_refuse_null(filling, node, i);
        else if (fb__is_null(&validity, i))
            code = fb__copy_append_nulls(filling, child, 1, slot + i);
        else
            code = fb__copy_append(filling, child, values,
                                   (uint64_t)values->offset + load_index(indices, node->source_bytes, i), 1, slot + i);
        if (code) filling->fail_at = i;
    }
    return code;
}

int fb__copy_append_codes(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                          uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    bool is_fixed = child->kind == FB__NODE_FIXED && child->copy != FB__COPY_NULLS;
    bool is_binary = child->kind == FB__NODE_BINARY && child->copy != FB__COPY_BINARY_VIEW;
    if (!is_fixed && !is_binary) return append_any_values(filling, node, array, first, count, slot);
    for (uint64_t done = 0; done < count;) {
        struct block block = {.count = count - done < BLOCK_ROWS ? count - done : BLOCK_ROWS};
        load_block(node, array, first + done, &block);
        int code = check_block(filling, node, &block);
        if (code == 0 && is_fixed) code = append_fixed_block(filling, child, array->dictionary, &block, slot + done);
        if (code == 0 && is_binary) code = append_binary_block(filling, child, array->dictionary, &block, slot + done);
        if (code) {
            filling->fail_at += done;
            return code;
        }
        done += block.count;
    }
    return 0;
}

/* ---- run ends -------------------------------------------------------------------------------------------------- */

/* Run ends are positive where they were checked. */
static uint64_t run_end(const struct fb__node *node, const struct ArrowArray *ends, uint64_t run)
{
    return load_index(ends->buffers[1], node->source_bytes, (uint64_t)ends->offset + run);
}

/* The run that element `at` is in. */
static uint64_t find_run(const struct fb__node *node, const struct ArrowArray *ends, uint64_t at)
{
    uint64_t low = 0, high = (uint64_t)ends->length;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (run_end(node, ends, middle) > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Whether any number of slots of a node takes no memory: however many there are, there is nothing to repeat. */
static bool takes_nothing(const struct fb__layout *layout, const struct fb__node *node)
{
    node = fb__layout_stored(layout, node);
    if (node->has_valid || node->offset_bytes > 0 || node->element_bytes > 0) return false;
    if (node->kind == FB__NODE_FIXED_LIST && node->list_size == 0) return true;
    for (uint32_t i = 0; i < node->child_count; i++)
        if (!takes_nothing(layout, &layout->nodes[node->first_child + i])) return false;
    return true;
}

static int repeat_fixed(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *values,
                        uint64_t row, uint64_t count, uint64_t slot)
{
    const struct fb__validity validity = fb__array_validity(values, row);
    int code = fb__copy_check_nulls(filling, node, &validity, 1);
    if (code) return code;
    if (fb__is_null(&validity, 0)) return fb__copy_append_null_fixed(filling, node, count, slot);
    uint8_t *at, *valid;
    uint64_t width = node->element_bytes;
    code = fb__copy_values_at(filling, node, count, slot, &at);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    if (at != NULL) {
        fb__copy_elements(node->copy, node->source_bytes, at, values->buffers[1], row, 1);
        fb__copy_fill_run(at + width, width, at, count - 1);
    }
    if (valid != NULL) memset(valid, 1, count);
    return 0;
}

/* One value in count slots. row: in the buffers of the values. */
static int repeat(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *values,
                  uint64_t row, uint64_t count, uint64_t slot)
{
    if (node->kind == FB__NODE_FIXED && node->copy != FB__COPY_NULLS)
        return repeat_fixed(filling, node, values, row, count, slot);
    int code = fb__copy_append(filling, node, values, row, 1, slot);
    if (count == 1 || takes_nothing(filling->layout, node)) return code;
    for (uint64_t i = 1; i < count && code == 0; i++) code = fb__copy_append(filling, node, values, row, 1, slot + i);
    return code;
}

int fb__copy_append_runs(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                         uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__node *child = &filling->layout->nodes[node->first_child];
    const struct ArrowArray *ends = array->children[0];
    const struct ArrowArray *values = array->children[1];
    uint64_t run = find_run(node, ends, first);
    for (uint64_t done = 0; done < count; run++) {
        assert(run < (uint64_t)ends->length);
        uint64_t end = run_end(node, ends, run) - first;
        uint64_t length = (end < count ? end : count) - done;
        int code = repeat(filling, child, values, (uint64_t)values->offset + run, length, slot + done);
        if (code) {
            filling->fail_at = done;
            return code;
        }
        done += length;
    }
    return 0;
}
