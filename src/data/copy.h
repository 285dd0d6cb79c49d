/*
 * Row copy: rows of an Arrow array into places of a batch column. The only code that moves values.
 */
#ifndef FB_DATA_COPY_H
#define FB_DATA_COPY_H

#include "data/arrow.h"
#include "data/batch.h"

/*
 * Copies rows [first_row, first_row + row_count) of array (a child of a checked block; first_row counts from the
 * array's own offset plus block_offset, the struct's) into batch column `column` at rows [place, place + row_count).
 * Nulls follow the layout's null policy: FB_NULLS_ERROR gives EIO with *null_row (relative to first_row) and the
 * column's name in the error; otherwise the fill value is stored, and with FB_NULLS_MASK the validity byte 0.
 * expected_rows: see fb__batch_extent. Only binary columns can give ENOBUFS, ENOMEM or ECANCELED.
 */
FB_MUST_CHECK int fb__copy_rows(struct fb_batch *batch, uint32_t column, uint64_t place, const struct ArrowArray *array,
                                uint64_t block_offset, uint64_t first_row, uint64_t row_count, uint64_t expected_rows,
                                uint64_t *null_row, struct fb_error *error);

/* ---- the null policy, for decoders that write to a batch themselves ---- */

/* Stores the fill value of a fixed-width column in count elements from values on. */
void fb__copy_fill(const struct fb__column_layout *layout, uint8_t *values, uint64_t count);

/* EIO: the column has a null (is_item: inside a list) where the policy is FB_NULLS_ERROR. */
FB_MUST_CHECK int fb__copy_fail_null(const struct fb__column_layout *layout, bool is_item, struct fb_error *error);

#endif
