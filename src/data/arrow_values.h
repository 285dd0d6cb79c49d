/*
 * What the buffers of an Arrow array say: offsets, indices, views and run ends, and which rows of another array or
 * buffer they reach. Nothing here trusts a value that it reads; where a buffer ends, its array has said.
 */
#ifndef FB_DATA_ARROW_VALUES_H
#define FB_DATA_ARROW_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows [begin, end) that are reached; both 0 where there are none. */
struct fb__span {
    uint64_t begin, end;
};

/* Whether bits [first, first + count) are all set. */
bool fb__bits_are_set(const uint8_t *bits, uint64_t first, uint64_t count);

/*
 * Rows from *at on whose bits are set: how many stand side by side, and *at is moved to the first of them. 0: no more
 * before count. bits NULL: all are set.
 */
uint64_t fb__bits_next_run(const uint8_t *bits, uint64_t first, uint64_t count, uint64_t *at);

/* count + 1 offsets of 4 or 8 bytes from number first on; false where one is negative or they run backwards. */
bool fb__offsets_span(const uint8_t *offsets, uint64_t width, uint64_t first, uint64_t count, struct fb__span *out);

/* Indices of 1, 2, 4 or 8 bytes of the rows whose bit is set; false where one is negative. */
bool fb__indices_span(const uint8_t *indices, uint64_t width, bool is_unsigned, const uint8_t *bits, uint64_t first,
                      uint64_t count, struct fb__span *out);

/* Offsets and sizes of 4 or 8 bytes; false where one is negative. */
bool fb__list_views_span(const uint8_t *offsets, const uint8_t *sizes, uint64_t width, const uint8_t *bits,
                         uint64_t first, uint64_t count, struct fb__span *out);

/* A view of string or binary data, as Arrow lays it out. */
struct fb__binary_view {
    int32_t length;
    int32_t prefix; /* up to 12 bytes stand here and in what follows */
    int32_t buffer;
    int32_t offset;
};

#define FB__VIEW_INLINE_MOST 12

/* Whether the views of the rows whose bit is set stay inside buffer_count buffers of these sizes. */
bool fb__binary_views_are_inside(const uint8_t *views, const uint8_t *bits, uint64_t first, uint64_t count,
                                 const void *const *buffers, const int64_t *sizes, uint64_t buffer_count);

/* The first of rising run ends that is beyond row; run_count where there is none. */
uint64_t fb__run_ends_find(const uint8_t *run_ends, uint64_t width, uint64_t run_count, uint64_t row);

/*
 * Run ends of 2, 4 or 8 bytes. False where they are not positive and rising, or do not reach end. *out: the runs that
 * rows [first, first + count) are in; count > 0, and none beyond end.
 */
bool fb__run_ends_span(const uint8_t *run_ends, uint64_t width, uint64_t run_count, uint64_t end, uint64_t first,
                       uint64_t count, struct fb__span *out);

#endif
