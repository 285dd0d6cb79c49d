/*
 * Views of strings and binary: 16 bytes a row, a length and either up to 12 bytes of the string itself, or where it
 * lies in one of the array's buffers.
 *
 *     | length | 12 bytes of the string                  |
 *     | length | 4 of them | number of buffer | offset   |
 *
 * Locking: none.
 */
#include "data/copy_internal.h"

#define VIEW_BYTES 16
#define INLINE_BYTES_MOST 12

static uint32_t load_32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

/* Where the bytes of a view lie that was checked. */
static const uint8_t *bytes_of(const struct ArrowArray *array, const uint8_t *view, uint32_t length)
{
    if (length <= INLINE_BYTES_MOST) return view + 4;
    return (const uint8_t *)array->buffers[2 + load_32(view + 8)] + load_32(view + 12);
}

int fb__copy_append_view(struct fb__filling *filling, const struct fb__node *node, const struct ArrowArray *array,
                         uint64_t first, uint64_t count, uint64_t slot)
{
    const struct fb__validity validity = fb__array_validity(array, first);
    const uint8_t *views = (const uint8_t *)array->buffers[1] + first * VIEW_BYTES;
    uint8_t *lengths, *bytes, *valid;
    int code = fb__copy_check_nulls(filling, node, &validity, count);
    if (code == 0) code = fb__copy_lengths_at(filling, node, count, slot, &lengths);
    if (code) return code;
    uint64_t total_bytes = 0;
    for (uint64_t row = 0; row < count; row++) {
        uint64_t length = fb__is_null(&validity, row) ? node->fill_bytes : load_32(views + row * VIEW_BYTES);
        fb__copy_store(lengths, node->offset_bytes, row, length);
        total_bytes = fb__copy_add_product(total_bytes, length, 1);
    }
    code = fb__copy_bytes_at(filling, node, total_bytes, &bytes);
    if (code == 0) code = fb__copy_valid_at(filling, node, count, slot, &valid);
    if (code) return code;
    for (uint64_t row = 0; row < count; row++) {
        const uint8_t *view = views + row * VIEW_BYTES;
        bool has_fill = fb__is_null(&validity, row);
        uint64_t length = has_fill ? node->fill_bytes : load_32(view);
        if (length == 0) continue;
        memcpy(bytes, has_fill ? node->fill : bytes_of(array, view, (uint32_t)length), length);
        bytes += length;
    }
    if (valid != NULL) fb__write_valid_bytes(valid, &validity, count);
    return 0;
}
