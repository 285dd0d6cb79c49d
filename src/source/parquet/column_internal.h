/*
 * What the files of an open column share.
 *
 *     column.c         what it takes, open, fill, close
 *     column_pages.c   the window on the file, buffers, pages
 *     column_values.c  values of a page to elements
 *     column_flat.c    rows of one value, or none
 *     column_list.c    rows that are fixed-size lists
 *
 *     file:    ... | decoded |  window: begin .. end  | unread |  end of the chunk
 *
 * Locking: none; a column is used by one thread.
 */
#ifndef FB_SOURCE_PARQUET_COLUMN_INTERNAL_H
#define FB_SOURCE_PARQUET_COLUMN_INTERNAL_H

#include "source/parquet/column.h"
#include "source/parquet/page.h"
#include "source/parquet/runs.h"

#define FB__WINDOW_LEAST_BYTES (UINT64_C(128) * 1024)
/* What is read beyond a page: the next page's header fits almost always, and little has to be moved to the front. */
#define FB__WINDOW_SLACK_BYTES UINT64_C(256)

/* How the values of a page are stored. */
enum fb__parquet_values {
    FB__VALUES_PLAIN,      /* physical_bytes each */
    FB__VALUES_BITS,       /* booleans, the lowest bit first */
    FB__VALUES_BIT_RUNS,   /* booleans as runs */
    FB__VALUES_DICTIONARY  /* indexes as runs */
};

/* The data page that is being decoded. It points into the window (until that is filled again) and the page buffer. */
struct fb__parquet_page {
    uint64_t levels_left;       /* values and nulls not yet decoded; of lists also empty and null ones */
    struct fb__runs repetition; /* their levels */
    struct fb__runs definition;
    enum fb__parquet_values stored;
    const uint8_t *values; /* plain and bits: the next one */
    const uint8_t *values_end;
    uint32_t bit; /* bits: of *values the next one */
    struct fb__runs indexes; /* runs: those left */
};

struct fb__parquet_buffer {
    uint8_t *bytes; /* NULL where the capacity is 0 */
    uint64_t capacity_bytes;
};

struct fb__parquet_column {
    struct fb__parquet_column_request request;
    const struct fb__column_layout *layout; /* of the one column */
    uint64_t physical_bytes;                /* of a value in the file; 0: a bit */
    uint64_t grown_bytes;                   /* booked beyond fb__parquet_column_bytes() */
    uint64_t row;                           /* next row of the unit */
    /* the file */
    uint64_t file_offset;  /* of the first byte behind the window */
    uint64_t unread_bytes; /* of the chunk from there on */
    struct fb__parquet_buffer window;
    uint64_t begin, end; /* of what is at hand in it */
    /* pages */
    struct fb__parquet_buffer page_buffer; /* decompressed values, and levels of version 1 */
    struct fb__parquet_buffer dictionary;  /* elements as the batch stores them */
    bool has_dictionary;
    uint64_t entry_count;
    uint64_t levels_begun; /* of all data pages so far */
    struct fb__parquet_page page;
    struct fb__parquet_buffer context_room;
    void *codec_context;
};

/* Where the next row goes. values NULL: rows are passed over. valid, item_valid (of a list's elements) NULL: nobody
 * asks. */
struct fb__parquet_sink {
    uint8_t *values;
    uint8_t *valid;
    uint8_t *item_valid;
};

/* Frees a buffer; its bytes stay booked. */
void fb__parquet_buffer_free(struct fb__parquet_column *column, struct fb__parquet_buffer *buffer);

/* Makes the next page that has levels the current one. EIO where the chunk has no more. */
FB_MUST_CHECK int fb__parquet_next_page(struct fb__parquet_column *column, struct fb_error *error);

/*
 * Where the next data page has no more than most_levels: passes over it without looking inside. *levels: how many it
 * had; 0: it has more, and is the current page now. Only between pages.
 */
FB_MUST_CHECK int fb__parquet_pass_page(struct fb__parquet_column *column, uint64_t most_levels, uint64_t *levels,
                                        struct fb_error *error);

/* Decodes count values of the current page to elements; elements NULL: passes over them. */
FB_MUST_CHECK int fb__parquet_decode(struct fb__parquet_column *column, uint8_t *elements, uint64_t count,
                                     struct fb_error *error);

/* Turns count plain values that lie in memory into elements. */
void fb__parquet_convert(const struct fb__parquet_column *column, const uint8_t *values, uint8_t *elements,
                         uint64_t count);

/* Rows of the two shapes. *null_row: see fb__parquet_column_fill(); it is written only for a null. */
FB_MUST_CHECK int fb__parquet_flat_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink,
                                        uint64_t row_count, uint64_t *null_row, struct fb_error *error);
FB_MUST_CHECK int fb__parquet_list_rows(struct fb__parquet_column *column, struct fb__parquet_sink sink,
                                        uint64_t row_count, uint64_t *null_row, struct fb_error *error);

#endif
