/*
 * The fill interface: the one thing that every source implements.
 *
 *     "Put these rows of these columns at these places of this destination."
 *
 * A source is a list of units of known rows, or pulled: one stream of unknown length (see `pull` below). A unit is
 * opened for a set of columns as a cursor, and a cursor fills rows in order. It may pull blocks as it goes, copies what
 * it needs, and lets each block go as soon as its last row is copied, so that a slice never pins a block.
 *
 * Bytes: the caller reserves fb__source_cursor_bytes() in FB_ACCOUNT_READ for a cursor before opening it, in the grant
 * that it passes; the cursor grows that grant when the decoder's counter shows more.
 * Threads: each cursor is used by one thread; several cursors of a source at once. No lock is held around a call.
 */
#ifndef FB_SOURCE_SOURCE_H
#define FB_SOURCE_SOURCE_H

#include "data/batch.h"

/* Of enum fb_storage. */
#define FB__STORAGE_COUNT 2

struct fb__cursor; /* defined by each source; first member is its own business */

/* Room for a cursor of any source, so that opening one allocates nothing. */
#define FB__CURSOR_BYTES 512
/* Of these a stream's cursor takes no more than so many: a cursor that reads a part of its columns as a stream holds
 * that one's room in its own. */
#define FB__STREAM_CURSOR_BYTES 256
union fb__cursor_room {
    max_align_t align;
    unsigned char bytes[FB__CURSOR_BYTES];
};

struct fb__open_request {
    uint64_t unit;
    const uint32_t *columns; /* [borrow until closed] ascending */
    uint32_t column_count;
    uint64_t piece_rows;
    uint64_t first_row;      /* of the unit: rows before it are skipped */
    const struct fb__layout *layout; /* [borrow until closed] */
    struct fb__ledger *ledger;       /* [borrow until closed] */
    struct fb__grant *grant;         /* [borrow until closed] in FB_ACCOUNT_READ; live, but maybe not where pulled */
    /* of a pulled source, for figures of errors: */
    uint64_t least_bytes;            /* what the plan needs beside blocks */
    uint64_t block_batches;          /* batches as large as a block beside one: not in least_bytes */
};

#define FB__STREAM_IS_OVER UINT64_MAX

struct fb__source_ops {
    /* Opens a cursor in *room. On failure nothing is left open. */
    int (*open)(struct fb_source *source, const struct fb__open_request *request, union fb__cursor_room *room,
                struct fb_error *error);
    /*
     * Fills the next row_count rows of the unit into batch at place. *filled_rows: how many of them have all their
     * columns now, also on failure; after a failure the cursor can only be closed.
     * EAGAIN: the decoder holds more than FB_ACCOUNT_READ books and the ledger could not book the rest at once.
     * What the decoder held is let go already; required_bytes of the error is what was missing. The caller goes on
     * with a new cursor after filled_rows, with smaller pieces or a larger grant.
     */
    int (*fill)(struct fb_source *source, union fb__cursor_room *room, struct fb_batch *batch, uint64_t place,
                uint64_t row_count, uint64_t *filled_rows, struct fb_error *error);
    /* Lets go of everything the cursor holds, also after an error. The grant stays with the caller. */
    void (*close)(struct fb_source *source, union fb__cursor_room *room);
    /*
     * Of a pulled source only, else NULL: the next block, once the rows of the one before are filled. *row_count: its
     * rows, which may be 0, or FB__STREAM_IS_OVER; from then on the cursor can only be closed. The grant is grown to
     * what the block takes; ENOBUFS where that is refused, and the block is gone. Such a source has one unit, of
     * number 0, and fill() gives rows of the block at hand.
     */
    int (*pull)(struct fb_source *source, union fb__cursor_room *room, uint64_t *row_count, struct fb_error *error);
    /* The calling reader thread has closed its last cursor. Nullable. */
    void (*leave)(struct fb_source *source);
    /* Releases the source and its struct. */
    void (*destroy)(struct fb_source *source);
};

/*
 * What the plan reads of any source. Immutable once made, apart from what a source says is its own. Its memory is
 * booked nowhere until a loader takes it over, which then books plan_bytes in FB_ACCOUNT_PLAN.
 */
struct fb_source {
    const struct fb__source_ops *ops;
    struct ArrowSchema schema;              /* owned copy */
    uint64_t *unit_rows;                    /* owned, unit_count entries */
    uint64_t unit_count;
    uint32_t column_count;
    struct fb_stream_column_cost *costs;    /* owned, one a column */
    /* owned, one a column, by storage: estimated bytes of a row's variable part, 0 where it has none */
    uint64_t *variable_row_bytes[FB__STORAGE_COUNT];
    bool is_streamed;                       /* false: in memory or pulled, a cursor costs no bytes that are known */
    bool has_no_pieces;                     /* streamed, but whatever the size of a piece a cursor costs the same */
    bool is_one_column_set;                 /* a cursor always has every column */
    bool is_pulled;                         /* of unknown length: no units are known */
    uint64_t owned_bytes;                   /* what the source itself takes: it is one allocation */
    uint64_t plan_bytes;                    /* those, and what its callbacks' context keeps */
    _Atomic uint64_t foreign_peak_bytes;    /* most bytes seen beyond what the ledger could book */
    _Atomic uint64_t largest_block_bytes;   /* of a pulled source: of the blocks so far */
    _Atomic uint64_t decoded_here_bytes;    /* of a stream source: of FB_ACCOUNT_READ, what is not the callbacks' */
};

/* Bytes to reserve for a cursor over columns at piece_rows; saturates at UINT64_MAX. */
uint64_t fb__source_cursor_bytes(const struct fb_source *source, const uint32_t *columns, uint32_t column_count,
                                 uint64_t piece_rows);

/* ---- for sources --------------------------------------------------------------------------------------------- */

/* A gate that books nothing, for memory that exists before there is a ledger. */
void fb__source_gate_init(struct fb__gate *gate);

struct fb__source_parts {
    const struct fb__source_ops *ops;
    uint64_t struct_bytes;                     /* of the source's own struct; its first member is struct fb_source */
    const struct ArrowSchema *schema;          /* [borrow] passed fb__layout_check_schema() */
    uint64_t unit_count;
    const uint64_t *unit_rows;                 /* [borrow] NULL: zeros, for the caller to set */
    const struct fb_stream_column_cost *costs; /* [borrow] NULL: zeros and weight 1, for the caller to set */
    bool is_streamed;
};

/* Makes the struct with everything it owns in one zeroed allocation of gate, [borrow]. ENOMEM. */
FB_MUST_CHECK int fb__source_make(struct fb__gate *gate, const struct fb__source_parts *parts, struct fb_source **out,
                                  struct fb_error *error);
/* Frees that allocation. */
void fb__source_free(struct fb_source *source);

/*
 * Copies rows [block_row, block_row + row_count) of a checked block of the request's columns to the batch at place.
 * unit_row: of the block's block_row, for the error. expected_rows: see fb__batch_extent().
 */
FB_MUST_CHECK int fb__source_copy(const struct fb__open_request *request, const struct ArrowArray *block,
                                  uint64_t block_row, struct fb_batch *batch, uint64_t place, uint64_t row_count,
                                  uint64_t expected_rows, uint64_t unit_row, struct fb_error *error);

/* One column of that: array is the block's child for it. */
FB_MUST_CHECK int fb__source_copy_column(const struct fb__open_request *request, uint32_t column,
                                         const struct ArrowArray *block, const struct ArrowArray *array,
                                         uint64_t block_row, struct fb_batch *batch, uint64_t place, uint64_t row_count,
                                         uint64_t expected_rows, uint64_t unit_row, struct fb_error *error);

/*
 * The code of a failed callback, which it writes to error as well. Some codes tell the callers of this library to wait,
 * to retry or to raise the limit; from somebody else's code they mean none of that: EIO.
 */
int fb__source_foreign_code(int code, struct fb_error *error);

/*
 * Of the bytes above a pulled source's floor, batches ahead of the consumer get this part and blocks the rest: the next
 * block may be of any size, and is refused where batches ahead have left it no room.
 */
#define FB__PULLED_AHEAD_PART 4

/* A limit that is sure to take block_bytes for blocks beside what the plan needs. Saturates. */
static inline uint64_t fb__source_pulled_limit(uint64_t least_bytes, uint64_t block_bytes)
{
    uint64_t limit_bytes;
    if (__builtin_add_overflow(block_bytes, block_bytes / (FB__PULLED_AHEAD_PART - 1) + 1, &limit_bytes) ||
        __builtin_add_overflow(limit_bytes, least_bytes, &limit_bytes))
        return UINT64_MAX;
    return limit_bytes;
}

/*
 * What became of a callback that opens a stream and gave code: 0 where there is one, of the request's columns. Otherwise
 * *stream is released. what: "unit" or "source", for the error.
 */
FB_MUST_CHECK int fb__source_check_opened(const struct fb__open_request *request, int code, const char *what,
                                          struct ArrowArrayStream *stream, struct fb_error *error);

/* Notes that bytes were there which the ledger could not book. */
void fb__source_note_foreign(struct fb_source *source, uint64_t bytes);

/* The fb_source_from_*() functions through a given gate, [borrow]. */
FB_MUST_CHECK int fb__source_make_streams(struct fb__gate *gate, const struct ArrowSchema *schema,
                                          const uint64_t *unit_rows, uint64_t unit_count,
                                          const struct fb_stream_column_cost *costs,
                                          const struct fb_stream_source_callbacks *callbacks, void *context,
                                          struct fb_source **out, struct fb_error *error);
FB_MUST_CHECK int fb__source_make_parquet(struct fb__gate *gate, const struct ArrowSchema *schema,
                                          const uint64_t *unit_rows, uint64_t unit_count,
                                          const struct fb_stream_column_cost *costs,
                                          const struct fb_stream_source_callbacks *callbacks, void *context,
                                          const struct fb_parquet *parquet, struct fb_source **out,
                                          struct fb_error *error);
FB_MUST_CHECK int fb__source_make_pull(struct fb__gate *gate, const struct ArrowSchema *schema,
                                       const struct fb_pull_source_callbacks *callbacks, void *context,
                                       struct fb_source **out, struct fb_error *error);
FB_MUST_CHECK int fb__source_make_stream(struct fb__gate *gate, struct ArrowArrayStream *stream, struct fb_source **out,
                                         struct fb_error *error);
FB_MUST_CHECK int fb__source_make_blocks(struct fb__gate *gate, const struct ArrowSchema *schema,
                                         struct ArrowArray *blocks, uint64_t block_count, struct fb_source **out,
                                         struct fb_error *error);
FB_MUST_CHECK int fb__source_make_custom(struct fb__gate *gate, const struct ArrowSchema *schema,
                                         const uint64_t *unit_rows, uint64_t unit_count,
                                         const struct fb_fill_column_cost *costs,
                                         const struct fb_fill_source_callbacks *callbacks, void *context,
                                         struct fb_source **out, struct fb_error *error);

#endif
