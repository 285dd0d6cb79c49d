/*
 * Arrow C data that comes in: every field of it that is not a pointer is checked against the layout before a buffer
 * is read. What the interface cannot express is out of reach (a buffer shorter than its length says, a pointer into
 * nowhere): a producer that lies about those cannot be guarded against by anybody.
 *
 * Specification: https://arrow.apache.org/docs/format/CDataInterface.html and CStreamInterface.html.
 */
#ifndef FB_DATA_ARROW_H
#define FB_DATA_ARROW_H

#include "data/layout.h"

/*
 * Checks a struct array against the chosen columns of a layout: children[i] is layout column columns[i]
 * (columns NULL: all of them in order). Checked of every array in it, at any depth:
 *  - not released; length, offset >= 0; null_count >= -1 and <= length; length + offset, times the width of what is
 *    read or stored, within 2^62; numbers of buffers and children as the type has; a dictionary where the type has one;
 *  - buffers present where length > 0 demands one; a validity buffer may be missing only where null_count is 0 or -1.
 *    Where it is there it decides, whatever null_count says. The block's own nulls are refused;
 *  - long enough for the rows that are reached from above; and, of these rows: offsets not negative and never running
 *    backwards (of null rows as well); of rows that are not null: list views, string views and dictionary indices
 *    inside what they point into; run ends positive, rising, and up to the end of the array.
 * Rows that the block does not reach are not looked at, but for run ends. Returns 0 or EINVAL naming the column.
 */
FB_MUST_CHECK int fb__arrow_check_block(const struct fb__layout *layout, const uint32_t *columns, uint32_t column_count,
                                        const struct ArrowArray *block, struct fb_error *error);

/* Bytes that the rows of a checked block of all columns take in the variable part of a batch, for one column. What is
 * hidden under nulls may be counted; at most 2^62. */
uint64_t fb__arrow_variable_bytes(const struct fb__layout *layout, uint32_t column, const struct ArrowArray *block);
/*
 * Bytes that the rows of a checked block take in the buffers of its columns and of what lies below them, a dictionary's
 * values included; of a slice only those that its offset and length reach. schema: the block's. Saturates.
 */
uint64_t fb__arrow_block_bytes(const struct ArrowSchema *schema, const struct ArrowArray *block);

/* Calls release once if there is one, and marks it released. */
void fb__arrow_release_array(struct ArrowArray *array);
void fb__arrow_release_schema(struct ArrowSchema *schema);
void fb__arrow_release_stream(struct ArrowArrayStream *stream);

/* get_schema / get_next with the stream's own text in the error (EIO where the stream gave no usable code).
 * At the end of the stream get_next gives 0 with out->release == NULL. */
FB_MUST_CHECK int fb__arrow_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out,
                                          struct fb_error *error);
FB_MUST_CHECK int fb__arrow_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out,
                                        struct fb_error *error);

/*
 * Checks that a stream's schema is a struct of exactly the chosen columns with the layout's types, and names of fields
 * inside structs (names of columns, list elements and map entries may differ, and nullability). EINVAL naming the
 * column.
 */
FB_MUST_CHECK int fb__arrow_check_stream_schema(const struct fb__layout *layout, const uint32_t *columns,
                                                uint32_t column_count, const struct ArrowSchema *schema,
                                                struct fb_error *error);

#endif
