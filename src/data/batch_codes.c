/*
 * Dictionaries: the values of a column become codes in the order in which they first appear, so that codes are a
 * function of the batch's rows alone. Values that appear for the first time move to the front of where all values lie;
 * they never move over one that is still to be looked at.
 *
 * The table of codes is open addressing over a power of two of at least twice as many slots as there are rows.
 *
 * Locking: none; no reader is filling any more.
 */
#include <assert.h>
#include <string.h>

#include "data/batch.h"

#define NO_CODE UINT32_MAX

struct table {
    uint32_t *slots;
    uint64_t mask;
    uint64_t seed;
};

/* Where nobody outside can tell which values meet in a slot, nobody can choose values that all do. */
static struct table make_table(const struct fb_batch *batch, uint32_t region)
{
    uint64_t slot_count = 1;
    while (slot_count < 2 * batch->row_count) slot_count *= 2;
    struct table table = {
        .slots = (uint32_t *)(void *)fb__batch_region(batch, region),
        .mask = slot_count - 1,
        .seed = (uint64_t)(uintptr_t)batch * UINT64_C(0x9E3779B97F4A7C15),
    };
    memset(table.slots, 0xFF, slot_count * sizeof *table.slots);
    return table;
}

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return hash ^ hash >> 32;
}

static uint64_t hash_bytes(uint64_t seed, const uint8_t *bytes, uint64_t count)
{
    uint64_t hash = seed ^ count * UINT64_C(0xFF51AFD7ED558CCD);
    uint64_t word;
    for (; count >= 8; bytes += 8, count -= 8) {
        memcpy(&word, bytes, 8);
        hash = mix(hash ^ word);
    }
    if (count == 0) return mix(hash);
    word = 0;
    memcpy(&word, bytes, count);
    return mix(hash ^ word);
}

static bool equal_bytes(const uint8_t *a, const uint8_t *b, uint64_t count)
{
    return count == 0 || memcmp(a, b, count) == 0;
}

/* ---- values of one width ---- */

static uint64_t encode_fixed(struct table *table, uint8_t *values, uint64_t width, const uint8_t *valid,
                             uint64_t row_count, int32_t *codes)
{
    uint64_t code_count = 0;
    for (uint64_t row = 0; row < row_count; row++) {
        codes[row] = 0;
        if (valid && !valid[row]) continue;
        const uint8_t *value = values + row * width;
        uint64_t slot = hash_bytes(table->seed, value, width) & table->mask;
        while (table->slots[slot] != NO_CODE && !equal_bytes(values + table->slots[slot] * width, value, width))
            slot = (slot + 1) & table->mask;
        if (table->slots[slot] == NO_CODE) {
            table->slots[slot] = (uint32_t)code_count;
            if (code_count != row && width > 0) memcpy(values + code_count * width, value, width);
            code_count++;
        }
        codes[row] = (int32_t)table->slots[slot];
    }
    return code_count;
}

/* ---- strings ---- */

static void store_offset(void *offsets, uint32_t width, uint64_t i, uint64_t offset)
{
    if (width == 4)
        ((uint32_t *)offsets)[i] = (uint32_t)offset;
    else
        ((uint64_t *)offsets)[i] = offset;
}

/*
 * offsets: the length of row i at [i + 1], and afterwards the offsets of the codes' values. The offset of code c + 1 is
 * stored once the length of a row c or later has been read.
 */
static uint64_t encode_binary(struct table *table, uint8_t *bytes, void *offsets, uint32_t width, const uint8_t *valid,
                              uint64_t row_count, int32_t *codes)
{
    uint64_t code_count = 0, begin = 0, end = 0;
    store_offset(offsets, width, 0, 0);
    for (uint64_t row = 0; row < row_count; row++) {
        uint64_t count = fb__batch_offset(offsets, width, row + 1);
        uint64_t at = begin;
        begin += count;
        codes[row] = 0;
        if (valid && !valid[row]) continue;
        const uint8_t *value = count > 0 ? bytes + at : NULL;
        uint64_t slot = hash_bytes(table->seed, value, count) & table->mask;
        for (; table->slots[slot] != NO_CODE; slot = (slot + 1) & table->mask) {
            uint64_t first = fb__batch_offset(offsets, width, table->slots[slot]);
            uint64_t last = fb__batch_offset(offsets, width, table->slots[slot] + UINT64_C(1));
            if (last - first == count && (count == 0 || equal_bytes(bytes + first, value, count))) break;
        }
        if (table->slots[slot] == NO_CODE) {
            table->slots[slot] = (uint32_t)code_count;
            if (count > 0 && end != at) memmove(bytes + end, value, count);
            end += count;
            store_offset(offsets, width, ++code_count, end);
        }
        codes[row] = (int32_t)table->slots[slot];
    }
    return code_count;
}

void fb__batch_encode(struct fb_batch *batch, uint32_t column)
{
    const struct fb__layout *layout = batch->layout;
    const struct fb__column_layout *description = &layout->columns[column];
    const struct fb__node *node = fb__layout_stored(layout, &layout->nodes[description->root]);
    struct table table = make_table(batch, description->table_region);
    int32_t *codes = (int32_t *)(void *)fb__batch_region(batch, description->codes_region);
    /* Dense storage keeps fill values in rows that are null, so they have a code like any other. */
    const uint8_t *valid = layout->storage == FB_STORAGE_ARROW ? fb__batch_region(batch, node->valid_region) : NULL;
    if (node->kind == FB__NODE_FIXED) {
        uint8_t *values = fb__batch_region(batch, node->values_region);
        batch->code_counts[column] = encode_fixed(&table, values, node->element_bytes, valid, batch->row_count, codes);
        return;
    }
    assert(node->kind == FB__NODE_BINARY && !node->is_variable);
    struct fb__piece *piece = &fb__batch_home(batch, column)->pieces[node->values_piece];
    void *offsets = fb__batch_region(batch, node->offsets_region);
    uint64_t code_count =
        encode_binary(&table, piece->bytes, offsets, node->offset_bytes, valid, batch->row_count, codes);
    batch->code_counts[column] = code_count;
    piece->used_bytes = fb__batch_offset(offsets, node->offset_bytes, code_count);
}
