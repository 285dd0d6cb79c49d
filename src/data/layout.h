/*
 * Column layout: what each column of the source becomes in a batch, worked out once from the Arrow schema.
 *
 * The fixed part of a batch is one buffer, every region starting at a multiple of 64 bytes:
 *
 *     | values of column 0 | values of column 1 | ... | offsets of binary columns | validity bytes (mask) |
 *
 * where each region has room for batch_rows rows (offsets: one more). The bytes of string and binary columns lie in
 * buffers of their own (src/data/batch), since their size is known only while they are filled.
 *
 * How Arrow types are stored (format strings of the Arrow C data interface):
 *
 *     format                       as stored in a batch          element_bytes
 *     c C s S i I l L e f g        the same                      1 1 2 2 4 4 8 8 2 4 8
 *     b                            one byte, 0 or 1              1
 *     tdD                          int64 days                    8   (widened from int32)
 *     tdm                          int64 milliseconds            8
 *     tts ttm                      int64                         8   (widened from int32)
 *     ttu ttn tss:* tsm:* tsu:* tsn:* tDs tDm tDu tDn   int64    8
 *     +w:N of one of the above     N elements a row              as the child's
 *     u z                          int32 offsets and bytes       -
 *     U Z                          int64 offsets and bytes       -
 *
 * Everything else (also a dictionary-encoded column, and a fixed-size list of anything but the rows above it in this
 * table, or of more than 2^31 elements) is refused with ENOTSUP by column and type.
 */
#ifndef FB_DATA_LAYOUT_H
#define FB_DATA_LAYOUT_H

#include "base/memory.h"

#define FB__ALIGNMENT_BYTES 64

/* Sizes beyond this are refused before they are computed with any further. */
#define FB__MOST_BYTES (UINT64_C(1) << 62)

/* How the values of one Arrow array become elements of a batch. */
enum fb__copy_kind {
    FB__COPY_BYTES = 0, /* same width: memcpy */
    FB__COPY_BITS,      /* bitmap to bytes */
    FB__COPY_WIDEN_I32, /* int32 to int64 */
    FB__COPY_BINARY_32, /* 32-bit offsets */
    FB__COPY_BINARY_64
};

struct fb__column_layout {
    enum fb_column_kind kind;
    enum fb__copy_kind copy;
    char *name;             /* owned by the layout */
    char *format;           /* owned */
    char *item_format;      /* owned; of a fixed-size list's elements, NULL otherwise */
    uint64_t source_bytes;  /* width of an element in the source; 0 for bits and binary */
    uint64_t element_bytes; /* width as stored; 0 for binary */
    uint64_t list_size;     /* 1 where not a fixed-size list */
    bool is_list;
    uint32_t offset_bytes;  /* binary: 4 or 8; 0 otherwise */
    void *fill;             /* one element (element_bytes), or the bytes of a binary fill value; owned; NULL: zeros.
                               Without a fill value given: NaN for floats, INT64_MIN (NaT) for dates and times */
    uint64_t fill_bytes;
    uint64_t values_at;     /* place of the region in the fixed part; binary: unused */
    uint64_t offsets_at;    /* binary */
    uint64_t valid_at;      /* mask */
    uint64_t estimated_bytes; /* binary: estimated bytes of batch_rows rows, from the source's cost of a row */
};

struct fb__layout {
    struct fb__gate *gate;
    struct fb__column_layout *columns;
    uint32_t column_count;
    uint32_t binary_count;  /* columns of kind FB_COLUMN_BINARY */
    uint64_t batch_rows;
    enum fb_null_policy null_policy;
    uint64_t fixed_bytes;   /* size of the fixed part of a batch; at least 64 also where there is no column */
    uint64_t binary_bytes;  /* sum of estimated_bytes */
};

/*
 * One column of a schema as fb__column_layout (kind, copy, widths, list size; no names, no places).
 * Used by the layout and by sources to refuse a schema at construction. column: its number, for the error.
 * ENOTSUP naming column and type, EINVAL for a malformed schema (released, NULL or over-long format, wrong number of
 * children, non-UTF-8 or NULL name).
 */
FB_MUST_CHECK int fb__layout_describe_column(const struct ArrowSchema *field, uint32_t column,
                                             struct fb__column_layout *out, struct fb_error *error);

/* Checks that schema is a struct of columns that can all be described. */
FB_MUST_CHECK int fb__layout_check_schema(const struct ArrowSchema *schema, struct fb_error *error);

/*
 * Makes the layout. schema: [borrow]. row_bytes: [borrow] estimated bytes of one row of each column's binary data
 * (ignored for fixed columns), NULL for zeros. options: batch_rows, null_policy and fill values are read; a fill value
 * of a wrong width or for a column that does not exist is EINVAL. Memory is booked in FB_ACCOUNT_CORE.
 * Sizes that overflow 2^62 bytes are ENOBUFS. On success free with fb__layout_destroy.
 */
FB_MUST_CHECK int fb__layout_init(struct fb__layout *layout, struct fb__gate *gate, const struct ArrowSchema *schema,
                                  const uint64_t *row_bytes, const struct fb_loader_options *options,
                                  struct fb_error *error);
/* A zeroed layout is fine. */
void fb__layout_destroy(struct fb__layout *layout);

#endif
