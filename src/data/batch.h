/*
 * A batch: the memory that rows are filled into and that the user gets.
 *
 * It owns one fixed buffer (src/data/layout says what lies where) and, for each column with a variable part, a chain
 * of extents. An extent is a run of rows of that column filled by one reader: where a batch lies inside one unit there
 * is one extent a column, and its bytes are what the user sees. Where a batch crosses units, readers fill extents side
 * by side and fb__batch_finish() joins them.
 *
 *     offsets region:   the length of slot i is written at [i + 1] while filling, and fb__batch_finish() sums lengths
 *                       up into offsets
 *     extent chain:     [home: kept with the batch while it is idle, so it stays warm] -> [others, freed at finish]
 *     an extent:        one piece for each thing of variable size: bytes of strings; elements, lengths and validity
 *                       below a list. Lengths of a piece begin at [0], and there is room for one entry more.
 *
 * Bytes: everything is paid by the batch's grant: the struct itself, the fixed buffer, the extents. A column of one
 * piece has its estimate as memory from the start. How an estimate splits among several pieces shows only while they
 * are filled: until then its bytes are booked and spare.
 *
 * Threads: readers fill disjoint rows or columns at the same time without a lock; the caller (src/source) guarantees
 * that one (column, run of rows) is filled by one thread. The batch's own lock guards the chains: it is held only to
 * find or link an extent, never while bytes are waited for or copied. Who got an extent from fb__batch_extent() owns
 * it from then on and is the only thread that appends to it, also in its later runs, so that a run which has to be
 * filled again can cut its rows off without losing anybody else's.
 */
#ifndef FB_DATA_BATCH_H
#define FB_DATA_BATCH_H

#include <sys/types.h>

#include "data/layout.h"
#include "ledger/ledger.h"

struct fb__pool;

struct fb__piece {
    uint8_t *bytes; /* NULL where capacity is 0 */
    uint64_t used_bytes;
    uint64_t kept_bytes;     /* used_bytes as they were before rows that are being appended */
    uint64_t capacity_bytes; /* booked size of bytes */
};

struct fb__extent {
    struct fb__extent *next;
    pthread_t owner;            /* the thread that appends */
    bool is_claimed;            /* a home that no run has taken yet is not */
    uint64_t first_row;         /* place in the batch */
    uint64_t run_end;           /* where the run that it was begun for ends; the owner's */
    /* the owner's until the batch is complete */
    _Atomic uint64_t row_count; /* rows filled so far; stored once lengths, bytes and used_bytes of them are in place */
    struct fb__piece *pieces; /* in the extent's own allocation, or the batch's */
    uint32_t piece_count; /* as the column's */
};

/* Bytes of an extent that is no home: it and its pieces, without what those hold. */
static inline uint64_t fb__extent_bytes(uint32_t piece_count)
{
    return sizeof(struct fb__extent) + piece_count * sizeof(struct fb__piece);
}

/* FB_STORAGE_ARROW: one array of the export. */
struct fb__part {
    struct ArrowArray array;
    const void *buffers[3];
};

struct fb_batch {
    struct fb__grant grant; /* first: the ledger hands grants back, the pool finds the batch around them */
    struct fb__link link; /* in the loader's queue or table */
    struct fb__pool *pool; /* where it came from; keeps layout and ledger alive */
    const struct fb__layout *layout;
    uint8_t *fixed;
    const uint64_t *places; /* of the regions in fixed: the layout's, or own_places where capacities are the batch's */
    struct fb__extent *homes; /* one a column with a variable part, in column order */
    struct fb__lock extent_lock; /* rank BATCH; guards next, owner, is_claimed, first_row of extents */
    uint64_t index; /* k: rows [k * batch_rows, ...) of the epoch */
    uint64_t row_count;
    uint64_t capacity_rows; /* rows that the regions have room for */
    uint64_t fixed_bytes; /* size of fixed */
    uint64_t cells_left; /* rows x columns not yet filled; guarded by the loader's lock */
    uint64_t cells_unclaimed; /* rows x columns no reader has begun; guarded by the loader's lock */
    enum fb__ledger_wait wait; /* how it asks for further bytes */
    bool has_slot; /* carries a slot of its stage; guarded by the loader's lock */
    struct fb_batch *table_next; /* loader's table of open batches */
    bool is_finished;
    bool is_delivered; /* in the user's hands */
    _Atomic uint64_t spare_bytes; /* booked by the grant for pieces, not yet allocated */
    _Atomic uint64_t grown_bytes; /* booked beyond what the batch was made with */
    uint64_t *own_places; /* region_count of them; NULL where the layout's hold */
    uint64_t *code_counts; /* of each column that has codes, once finished; NULL where none has */
    pid_t process; /* that exported it: what others than us hold of it they may release in a child of fork() */
    struct fb__part *parts; /* FB_STORAGE_ARROW, else NULL: one a node, then one a column for its codes */
    struct ArrowArray **pointers; /* to those, in the same order */
    const void *no_buffer[1]; /* of the exported struct of all columns: there is no validity */
    _Atomic uint64_t part_count; /* of an exported batch: arrays not yet released */
};

/* ---- filling ---- */

/* Of a flat column: where its values, validity bytes (NULL where it has none) and lengths lie. */
uint8_t *fb__batch_values(const struct fb_batch *batch, uint32_t column);
uint8_t *fb__batch_valid(const struct fb_batch *batch, uint32_t column);
void *fb__batch_offsets(const struct fb_batch *batch, uint32_t column);
/* Validity bytes of the elements of a flat fixed-size list; NULL where they have none. */
uint8_t *fb__batch_item_valid(const struct fb_batch *batch, uint32_t column);

/* Where a region begins; NULL for FB__NONE. */
static inline uint8_t *fb__batch_region(const struct fb_batch *batch, uint32_t region)
{
    return region == FB__NONE ? NULL : batch->fixed + batch->places[region];
}

static inline struct fb__extent *fb__batch_home(const struct fb_batch *batch, uint32_t column)
{
    return &batch->homes[batch->layout->columns[column].home];
}

/*
 * The calling thread's extent of a column that ends at row place (then rows are appended to it), or a new one
 * beginning there. Making one reserves in the batch's order and may wait. ENOBUFS, ECANCELED, ENOMEM.
 * Where place lies inside rows already appended, the run is being filled again after an error: the extent is cut back
 * to place first.
 */
FB_MUST_CHECK int fb__batch_find_extent(struct fb_batch *batch, uint32_t column, uint64_t place,
                                        struct fb__extent **out, struct fb_error *error);

/* What a piece needs room for. */
struct fb__room {
    uint32_t column, node, piece;
    uint64_t add_bytes;
    uint64_t slack_bytes; /* that many more behind everything */
    uint64_t this_rows; /* of the extent, beyond its row_count, add_bytes are for the last of */
    uint64_t expected_rows; /* how many rows beyond row_count there will be, as a hint for room */
};

/*
 * Makes room in a piece of an extent that the calling thread owns. Growing reserves in the batch's order and may wait.
 * ENOBUFS, ECANCELED, ENOMEM; EOVERFLOW as fb__batch_finish(). The piece is left as it was on failure.
 */
FB_MUST_CHECK int fb__batch_make_room(struct fb_batch *batch, struct fb__extent *extent, const struct fb__room *room,
                                      struct fb_error *error);

/*
 * Both for a flat column of strings: an extent with room for add_bytes more bytes in its one piece. A further run goes
 * to an extent of its own where the one before it has no room left, so that nothing is copied that is complete.
 * The caller writes its bytes at bytes + used_bytes, then adds add_bytes to used_bytes, then this_rows to row_count.
 * expected_rows: how many rows the caller will still append to this run (this call's included).
 */
FB_MUST_CHECK int fb__batch_extent(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t add_bytes,
                                   uint64_t this_rows, uint64_t expected_rows, struct fb__extent **out,
                                   struct fb_error *error);

/*
 * Joins extents, turns lengths into offsets, values into codes and bytes into bits. Once, by the reader that completes
 * the batch, no lock held; again after a failure.
 * EOVERFLOW when a column of 32-bit offsets has more than 2^31 - 1 bytes, or a list of them as many elements.
 */
FB_MUST_CHECK int fb__batch_finish(struct fb_batch *batch, struct fb_error *error);

/* Frees every extent but the homes and empties those; their memory stays. No thread is filling. */
void fb__batch_drop_extents(struct fb_batch *batch);

/* Bytes the user gets: values, offsets, codes, validity and string bytes of row_count rows. */
uint64_t fb__batch_bytes_out(const struct fb_batch *batch);

/* ---- for the files of a batch ---- */

/* Reserves and allocates together, spare bytes first, so that a refused or failed allocation leaves all as it was. */
FB_MUST_CHECK int fb__batch_allocate(struct fb_batch *batch, uint64_t bytes, enum fb__ledger_wait wait, void **out,
                                     struct fb_error *error);
void fb__batch_deallocate(struct fb_batch *batch, void *pointer, uint64_t bytes);

/* Frees the extents behind a home. */
void fb__batch_drop_chain(struct fb_batch *batch, struct fb__extent *home);

/* Moves a piece's bytes to a buffer of capacity_bytes; on failure the piece is as it was. */
FB_MUST_CHECK int fb__batch_resize(struct fb_batch *batch, struct fb__piece *piece, uint64_t capacity_bytes,
                                   enum fb__ledger_wait wait, struct fb_error *error);

/* EOVERFLOW where count (bytes of strings, elements of lists) passes what the node's offsets reach. */
FB_MUST_CHECK int fb__batch_check_offsets(const struct fb_batch *batch, uint32_t column, uint32_t node, uint64_t count,
                                          struct fb_error *error);

/* Turns the values of a column of row_count rows into codes; their lengths, if any, into offsets. Cannot fail. */
void fb__batch_encode(struct fb_batch *batch, uint32_t column);

/* Bytes of 0 and 1 become bits, in place; the bits beyond count in the last byte are 0. Returns how many are 0. */
uint64_t fb__batch_pack(uint8_t *bytes, uint64_t count);

/* Where the parts of a stored node lie once the batch is finished; NULL where it has none. */
struct fb__node_view {
    uint8_t *values;
    void *offsets;
    uint8_t *valid;
};
struct fb__node_view fb__batch_view(const struct fb_batch *batch, uint32_t column, const struct fb__node *node);

/* Offset number i of a finished node. */
static inline uint64_t fb__batch_offset(const void *offsets, uint32_t offset_bytes, uint64_t i)
{
    return offset_bytes == 4 ? ((const uint32_t *)offsets)[i] : ((const uint64_t *)offsets)[i];
}

/* FB_STORAGE_ARROW: sets the arrays of the export to what the finished column of a batch holds. */
void fb__batch_set_parts(struct fb_batch *batch, uint32_t column);

#endif
