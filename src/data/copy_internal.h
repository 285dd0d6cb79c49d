/*
 * What the files of the row copy share.
 *
 *     copy.c          rows of a column, and what is said of nulls
 *     copy_fixed.c    elements of one width
 *     copy_binary.c   strings and binary
 *     copy_view.c     their views
 *     copy_nested.c   lists, fixed-size lists and structs
 *     copy_encoded.c  dictionaries and run ends
 *
 * A nested column is appended node by node from its root down: append(node, array, first, count) puts elements
 * [first, first + count) of an array (first counts from where its buffers begin) behind what the node has so far.
 * Slots of a node that is not variable have places; variable nodes append to the pieces of the extent.
 */
#ifndef FB_DATA_COPY_INTERNAL_H
#define FB_DATA_COPY_INTERNAL_H

#include "data/copy.h"
#include "data/copy_bits.h"

/* ---- flat columns -------------------------------------------------------------------------------------------- */

/* Both as fb__copy_rows(); first counts from where the array's buffers begin. */
FB_MUST_CHECK int fb__copy_flat_fixed(struct fb_batch *batch, uint32_t column, uint64_t place,
                                      const struct ArrowArray *array, uint64_t first, uint64_t row_count,
                                      uint64_t *null_row, struct fb_error *error);
FB_MUST_CHECK int fb__copy_flat_binary(struct fb_batch *batch, uint32_t column, uint64_t place,
                                       const struct ArrowArray *array, uint64_t first, uint64_t row_count,
                                       uint64_t expected_rows, uint64_t *null_row, struct fb_error *error);

/* ---- nested columns ------------------------------------------------------------------------------------------ */

/* Rows of a column that are being appended. */
struct fb__filling {
    struct fb_batch *batch;
    const struct fb__layout *layout;
    struct fb__extent *extent; /* NULL where the column has no pieces */
    uint32_t column;
    bool refuses_nulls;
    uint64_t place; /* of the first row */
    uint64_t expected_rows;
    uint64_t rows_begun; /* rows up to the last one that is being appended: they are what room is asked for */
    uint64_t fail_at;    /* after a failure: which of the `count` elements it was */
    struct fb_error *error;
};

FB_MUST_CHECK int fb__copy_append(struct fb__filling *filling, const struct fb__node *node,
                                  const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
/* Slots that are null because of what is above them: fill values, validity 0. */
FB_MUST_CHECK int fb__copy_append_nulls(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                        uint64_t slot);

/* By kind of node; arguments as fb__copy_append(), count > 0. */
FB_MUST_CHECK int fb__copy_append_fixed(struct fb__filling *filling, const struct fb__node *node,
                                        const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
FB_MUST_CHECK int fb__copy_append_binary(struct fb__filling *filling, const struct fb__node *node,
                                         const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
FB_MUST_CHECK int fb__copy_append_view(struct fb__filling *filling, const struct fb__node *node,
                                       const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
FB_MUST_CHECK int fb__copy_append_codes(struct fb__filling *filling, const struct fb__node *node,
                                        const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
FB_MUST_CHECK int fb__copy_append_runs(struct fb__filling *filling, const struct fb__node *node,
                                       const struct ArrowArray *array, uint64_t first, uint64_t count, uint64_t slot);
FB_MUST_CHECK int fb__copy_append_null_fixed(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                             uint64_t slot);
FB_MUST_CHECK int fb__copy_append_null_binary(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                              uint64_t slot);

/*
 * Where count slots of a node go; NULL where it has nothing of the kind, or where that takes no bytes. The slots count
 * as appended from here on. ENOBUFS, ENOMEM, ECANCELED, EOVERFLOW.
 */
FB_MUST_CHECK int fb__copy_values_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                     uint64_t slot, uint8_t **out);
FB_MUST_CHECK int fb__copy_lengths_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                      uint64_t slot, uint8_t **out);
FB_MUST_CHECK int fb__copy_valid_at(struct fb__filling *filling, const struct fb__node *node, uint64_t count,
                                    uint64_t slot, uint8_t **out);
/* Where so many bytes of strings go. */
FB_MUST_CHECK int fb__copy_bytes_at(struct fb__filling *filling, const struct fb__node *node, uint64_t bytes,
                                    uint8_t **out);

/* Notes that slots [slot, slot + count) of a node are next: room is asked for by rows. */
void fb__copy_begin_slots(struct fb__filling *filling, const struct fb__node *node, uint64_t count, uint64_t slot);

/* EIO: element number `at` of those being appended is null and the policy does not allow that. */
FB_MUST_CHECK int fb__copy_refuse_null(struct fb__filling *filling, const struct fb__node *node, uint64_t at);

/* With FB_NULLS_ERROR: refuses the first null of count elements, if there is one. */
FB_MUST_CHECK int fb__copy_check_nulls(struct fb__filling *filling, const struct fb__node *node,
                                       const struct fb__validity *validity, uint64_t count);

/* A run of elements that are all null or all not. at: 0 to begin with, then where the last one ended. */
struct fb__stretch {
    uint64_t at, count;
    bool is_null;
};
bool fb__copy_next_stretch(const struct fb__validity *validity, uint64_t count, struct fb__stretch *stretch);

/* ---- elements and lengths ------------------------------------------------------------------------------------ */

/* Elements [first, first + count) of a source buffer as a batch stores them. width: of the source. */
void fb__copy_elements(enum fb__copy_kind copy, uint64_t width, uint8_t *values, const uint8_t *source, uint64_t first,
                       uint64_t count);
/* Stores one element count times; fill NULL: zeros. */
void fb__copy_fill_run(uint8_t *values, uint64_t width, const void *fill, uint64_t count);

/* Number i of offsets or lengths that lie anywhere. */
static inline uint64_t fb__copy_load(const uint8_t *at, uint32_t width, uint64_t i)
{
    if (width == 4) {
        uint32_t narrow;
        memcpy(&narrow, at + i * 4, 4);
        return narrow; /* checked: not negative */
    }
    uint64_t wide;
    memcpy(&wide, at + i * 8, 8);
    return wide;
}

static inline void fb__copy_store(uint8_t *at, uint32_t width, uint64_t i, uint64_t value)
{
    if (width == 4) {
        uint32_t narrow = (uint32_t)value;
        memcpy(at + i * 4, &narrow, 4);
    } else {
        memcpy(at + i * 8, &value, 8);
    }
}

/* Lengths between count + 1 offsets, of the same width. */
void fb__copy_lengths(const uint8_t *offsets, uint32_t width, uint8_t *lengths, uint64_t count);

/* a * b + sum, UINT64_MAX where that is more: no limit grants it. */
static inline uint64_t fb__copy_add_product(uint64_t sum, uint64_t a, uint64_t b)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(sum, product, &sum)) return UINT64_MAX;
    return sum;
}

#endif
