/*
 * What a block takes: the bytes of its buffers that its rows reach. A producer does not say how large a buffer is, so
 * what lies outside of the rows cannot be counted; a slice is counted as what it is used for.
 *
 * Locking: none.
 */
#include <stdlib.h>
#include <string.h>

#include "data/arrow.h"

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* Bits of one value of a type of fixed width; 0 for the others. */
static uint64_t value_bits(const char *format)
{
    switch (format[0]) {
    case 'b':
        return 1;
    case 'c':
    case 'C':
        return 8;
    case 's':
    case 'S':
    case 'e':
        return 16;
    case 'i':
    case 'I':
    case 'f':
        return 32;
    case 'l':
    case 'L':
    case 'g':
        return 64;
    case 'w': /* w:bytes */
        return multiply_saturating(strtoull(format + 2, NULL, 10), 8);
    case 'd': { /* d:precision,scale[,bits] */
        const char *comma = strchr(format, ',');
        comma = comma ? strchr(comma + 1, ',') : NULL;
        return comma ? strtoull(comma + 1, NULL, 10) : 128;
    }
    case 't':
        if (strcmp(format, "tin") == 0) return 128;
        return strcmp(format, "tdD") == 0 || strcmp(format, "tts") == 0 || strcmp(format, "ttm") == 0 ||
                       strcmp(format, "tiM") == 0
                   ? 32
                   : 64;
    default:
        return 0;
    }
}

/* Bytes that bits [first, first + count) lie in. */
static uint64_t bit_bytes(uint64_t first, uint64_t count)
{
    return (first + count + 7) / 8 - first / 8;
}

static uint64_t offset_at(const struct ArrowArray *array, bool is_large, uint64_t place)
{
    const uint8_t *offsets = array->buffers[1];
    uint32_t narrow;
    uint64_t wide;
    if (is_large) {
        memcpy(&wide, offsets + place * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, offsets + place * sizeof narrow, sizeof narrow);
    return narrow;
}

/* The data buffers behind views: any row may point into any of them. */
static uint64_t view_bytes(const struct ArrowArray *array)
{
    uint64_t bytes = 0;
    const uint8_t *sizes = array->buffers[array->n_buffers - 1];
    for (int64_t i = 0; sizes && i < array->n_buffers - 3; i++) {
        int64_t size;
        memcpy(&size, sizes + (uint64_t)i * sizeof size, sizeof size);
        bytes = add_saturating(bytes, size > 0 ? (uint64_t)size : 0);
    }
    return bytes;
}

static uint64_t reached_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t first,
                              uint64_t count);

/* The same rows of every child. */
static uint64_t children_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t first,
                               uint64_t count)
{
    uint64_t bytes = 0;
    for (int64_t i = 0; i < schema->n_children; i++)
        bytes = add_saturating(bytes, reached_bytes(schema->children[i], array->children[i], first, count));
    return bytes;
}

/* All there is below: for types whose rows may be anywhere in it. */
static uint64_t whole_children_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    uint64_t bytes = 0;
    for (int64_t i = 0; i < schema->n_children; i++) {
        const struct ArrowArray *child = array->children[i];
        bytes = add_saturating(bytes, reached_bytes(schema->children[i], child, 0, (uint64_t)child->length));
    }
    return bytes;
}

/* What rows [first, first + count) take beside their validity; first counts from the start of the buffers. */
static uint64_t value_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t first,
                            uint64_t count)
{
    const char *format = schema->format;
    uint64_t bits = value_bits(format);
    if (bits == 1) return bit_bytes(first, count);
    if (bits > 0) return multiply_saturating(bits / 8, count);
    if (strchr("uz", format[0]) || strchr("UZ", format[0]) || strcmp(format, "+l") == 0 || strcmp(format, "+L") == 0 ||
        strcmp(format, "+m") == 0) {
        bool is_large = strchr("UZ", format[0]) || format[1] == 'L';
        uint64_t begin = offset_at(array, is_large, first);
        uint64_t end = offset_at(array, is_large, first + count);
        uint64_t item_count = end > begin ? end - begin : 0;
        uint64_t bytes = (count + 1) * (is_large ? sizeof(uint64_t) : sizeof(uint32_t));
        uint64_t item_bytes = format[0] == '+' ? children_bytes(schema, array, begin, item_count) : item_count;
        return add_saturating(bytes, item_bytes);
    }
    if (format[0] == 'v') return add_saturating(count * 16, view_bytes(array));
    if (strncmp(format, "+w:", 3) == 0) {
        uint64_t list_size = strtoull(format + 3, NULL, 10);
        return children_bytes(schema, array, first * list_size, count * list_size);
    }
    if (strcmp(format, "+s") == 0) return children_bytes(schema, array, first, count);
    /* List views have offsets and sizes; of run ends and unions all is below, but for the few bytes of a union's kinds. */
    uint64_t view_width = strcmp(format, "+vl") == 0 ? 4 : strcmp(format, "+vL") == 0 ? 8 : 0;
    return add_saturating(2 * view_width * count, whole_children_bytes(schema, array));
}

/*
 * first counts from the array's own offset on. Below run ends, list views and dictionaries rows are counted that the
 * block does not reach and whose contents nobody checked: they may point to what is not there.
 */
static uint64_t reached_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t first,
                              uint64_t count)
{
    uint64_t length = (uint64_t)array->length;
    if (first >= length) return 0;
    if (count > length - first) count = length - first;
    if (count == 0) return 0;
    first += (uint64_t)array->offset;
    uint64_t bytes = array->n_buffers > 0 && array->buffers[0] ? bit_bytes(first, count) : 0;
    bytes = add_saturating(bytes, value_bytes(schema, array, first, count));
    if (schema->dictionary && array->dictionary)
        bytes = add_saturating(
            bytes, reached_bytes(schema->dictionary, array->dictionary, 0, (uint64_t)array->dictionary->length));
    return bytes;
}

uint64_t fb__arrow_block_bytes(const struct ArrowSchema *schema, const struct ArrowArray *block)
{
    return reached_bytes(schema, block, 0, (uint64_t)block->length);
}
