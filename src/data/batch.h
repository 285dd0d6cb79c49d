/*
 * A batch: the memory that rows are filled into and that the user gets.
 *
 * It owns one fixed buffer (src/data/layout says what lies where) and, for each binary column, a chain of extents.
 * An extent is a run of rows of that column filled by one reader: where a batch lies inside one unit there is one
 * extent a column, and its bytes are what the user sees. Where a batch crosses units, readers fill extents side by
 * side and fb__batch_finish() joins them.
 *
 *     offsets region:   the length of row i is written at [i + 1] while filling, and fb__batch_finish() sums lengths
 *                       up into offsets
 *     extent chain:     [home: kept with the batch while it is idle, so it stays warm] -> [others, freed at finish]
 *
 * Bytes: everything is paid by the batch's grant: the struct itself, the fixed buffer, the extents.
 *
 * Threads: readers fill disjoint rows or columns at the same time without a lock; the caller (src/source) guarantees
 * that one (column, run of rows) is filled by one thread. The batch's own lock guards the chains: it is held only to
 * find or link an extent, never while bytes are waited for or copied. Who got an extent from fb__batch_extent() owns
 * it from then on and is the only thread that appends to it, also in its later runs, so that a run which has to be
 * filled again can cut its rows off without losing anybody else's.
 */
#ifndef FB_DATA_BATCH_H
#define FB_DATA_BATCH_H

#include "data/layout.h"
#include "ledger/ledger.h"

struct fb__pool;

struct fb__extent {
    struct fb__extent *next;
    pthread_t owner;            /* the thread that appends */
    bool is_claimed;            /* a home that no run has taken yet is not */
    uint64_t first_row;         /* place in the batch */
    /* the owner's until the batch is complete */
    _Atomic uint64_t row_count; /* rows filled so far; stored once lengths, bytes and used_bytes of them are in place */
    uint64_t used_bytes;
    uint64_t capacity_bytes; /* booked size of bytes */
    uint8_t *bytes; /* NULL where capacity is 0 */
};

struct fb_batch {
    struct fb__grant grant; /* first: the ledger hands grants back, the pool finds the batch around them */
    struct fb__link link; /* in the loader's queue or table */
    struct fb__pool *pool; /* where it came from; keeps layout and ledger alive */
    const struct fb__layout *layout;
    uint8_t *fixed; /* fb__layout.fixed_bytes */
    struct fb__extent *homes; /* one a binary column, in column order */
    struct fb__lock extent_lock; /* rank BATCH; guards next, owner, is_claimed, first_row of extents */
    uint64_t index; /* k: rows [k * batch_rows, ...) of the epoch */
    uint64_t row_count;
    uint64_t cells_left; /* rows x columns not yet filled; guarded by the loader's lock */
    uint64_t cells_unclaimed; /* rows x columns no reader has begun; guarded by the loader's lock */
    enum fb__ledger_wait wait; /* how it asks for further bytes */
    bool has_slot; /* carries a slot of its stage; guarded by the loader's lock */
    struct fb_batch *table_next; /* loader's table of open batches */
    bool is_finished;
    bool is_delivered; /* in the user's hands */
};

/* ---- filling ---- */

uint8_t *fb__batch_values(const struct fb_batch *batch, uint32_t column);
uint8_t *fb__batch_valid(const struct fb_batch *batch, uint32_t column); /* NULL without FB_NULLS_MASK */
void *fb__batch_offsets(const struct fb_batch *batch, uint32_t column);

/*
 * The calling thread's extent of a binary column that ends at row place (then rows are appended to it), or a new one
 * beginning there; with room for add_bytes more bytes. Growing reserves in the batch's order and may wait.
 * ENOBUFS, ECANCELED, ENOMEM; EOVERFLOW as fb__batch_finish().
 * The caller writes its bytes at bytes + used_bytes, then adds add_bytes to used_bytes, then this_rows to row_count.
 * expected_rows: how many rows the caller will still append to this run (this call's included), as a hint for room.
 * Where place lies inside rows already appended, the run is being filled again after an error: the extent is cut back
 * to place first.
 */
FB_MUST_CHECK int fb__batch_extent(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t add_bytes,
                                   uint64_t this_rows, uint64_t expected_rows, struct fb__extent **out,
                                   struct fb_error *error);

/* Joins extents and turns lengths into offsets. Once, by the reader that completes the batch, no lock held.
 * EOVERFLOW when a column of 32-bit offsets has more than 2^31 - 1 bytes. */
FB_MUST_CHECK int fb__batch_finish(struct fb_batch *batch, struct fb_error *error);

/* Frees every extent but the homes and empties those; their memory stays. No thread is filling. */
void fb__batch_drop_extents(struct fb_batch *batch);

/* Bytes the user gets: values, offsets, validity and string bytes of row_count rows. */
uint64_t fb__batch_bytes_out(const struct fb_batch *batch);

#endif
