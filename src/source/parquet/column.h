/*
 * One column chunk of a Parquet file, decoded straight into batch memory.
 *
 *     file --pread--> [read buffer] --decompress--> [page] --decode--> the batch's column
 *                                                 [dictionary]
 *
 * Supported: physical types BOOLEAN, INT32, INT64, FLOAT, DOUBLE and FIXED_LEN_BYTE_ARRAY of width 2 (float16); flat,
 * required or optional (max_definition 0 or 1), or a fixed-size list of such (max_repetition 1, every list of exactly
 * list_size elements; null lists or null elements where max_definition allows them); encodings PLAIN, RLE (booleans)
 * and dictionary; data pages of version 1 and 2. What a file has beyond that is EIO naming what was met, unless
 * fb__parquet_column_open()'s caller finds out before from the footer (the Python side only asks for what is here).
 *
 * Values become batch elements as the layout says: the same width by copy or gather; INT32 to 8- or 16-bit integers by
 * narrowing, and to int64 (dates, times) by widening; BOOLEAN to bytes.
 *
 * Bytes: everything is paid by the cursor's grant in FB_ACCOUNT_READ. Buffers begin at the sizes the plan was told and
 * grow, in the grant's order, when a page turns out larger: a size is reserved before it is allocated, so that a page
 * that claims 2 GB is a refusal, not an allocation.
 *
 * Nothing in the file is trusted: a read past a buffer, a write past the batch's rows or an allocation beyond the
 * limit must not be possible for any content.
 */
#ifndef FB_SOURCE_PARQUET_COLUMN_H
#define FB_SOURCE_PARQUET_COLUMN_H

#include "data/batch.h"

struct fb__parquet_column;

struct fb__parquet_column_request {
    int file_descriptor;             /* [borrow until closed] read with pread; EINTR and short reads are retried */
    const struct fb_parquet_chunk *chunk;         /* [borrow] offset, bytes, values, codec */
    const struct fb_parquet_column *description;  /* [borrow] physical type, levels, first sizes of buffers */
    const struct fb__layout *layout; /* [borrow until closed] */
    uint32_t column;                 /* of the layout */
    uint64_t row_count;              /* rows of the unit */
    struct fb__ledger *ledger;       /* [borrow until closed] */
    struct fb__grant *grant;         /* [borrow until closed] live in FB_ACCOUNT_READ */
    _Atomic uint64_t *counter; /* [borrow until closed] what the open column is booked with is added; nullable */
};

/*
 * Whether a column of this description can become a batch column of this layout (of its names and places nothing is
 * read). EINVAL, naming the column by its number.
 */
FB_MUST_CHECK int fb__parquet_column_check(const struct fb_parquet_column *description,
                                           const struct fb__column_layout *layout, uint32_t column,
                                           struct fb_error *error);

/* The bytes that an open column takes with the first sizes of its description: what the plan reserves. Saturates. */
uint64_t fb__parquet_column_bytes(const struct fb_parquet_column *description, uint32_t codec);

/*
 * Opens a column that fb__parquet_column_check() passed; reads nothing yet. The grant has fb__parquet_column_bytes()
 * that live not yet. *out: [out: free with fb__parquet_column_close]. ENOMEM; EIO for a chunk that cannot be.
 */
FB_MUST_CHECK int fb__parquet_column_open(const struct fb__parquet_column_request *request,
                                          struct fb__parquet_column **out, struct fb_error *error);

/*
 * Decodes the next row_count rows into the batch at place. Nulls by the layout's policy: with FB_NULLS_ERROR EIO with
 * *null_row (relative to the first of these rows) and the column's name in the message; null_row is UINT64_MAX for
 * every other failure. EIO: the file's content or the read failed, the message says what; ENOBUFS, ENOMEM, ECANCELED.
 * After a failure the column can only be closed.
 */
FB_MUST_CHECK int fb__parquet_column_fill(struct fb__parquet_column *column, struct fb_batch *batch, uint64_t place,
                                          uint64_t row_count, uint64_t *null_row, struct fb_error *error);

/* Passes over row_count rows: levels are read, values are skipped. */
FB_MUST_CHECK int fb__parquet_column_skip(struct fb__parquet_column *column, uint64_t row_count,
                                          struct fb_error *error);

/* Frees everything and books down what the column has grown by, so that the grant is as it was before it was opened.
 * NULL is fine. */
void fb__parquet_column_close(struct fb__parquet_column *column);

#endif
