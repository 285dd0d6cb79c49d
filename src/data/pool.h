/*
 * The pool of warm batches: makes them, takes them back, hands the last one back out first. A warm batch costs no
 * page fault and no allocation. Idle bytes are booked in FB_ACCOUNT_POOL by the ledger's idle stack, which gives up
 * the oldest first when anything else lacks bytes.
 *
 * Lifetime: the pool is counted. The loader holds one count, each batch out of the pool holds one, so that a batch in
 * the user's hands stays valid after the loader is gone. The pool owns ledger and layout and destroys them last.
 */
#ifndef FB_DATA_POOL_H
#define FB_DATA_POOL_H

#include "data/batch.h"

/* What lies in one allocation with a batch's struct: where each begins, and the end. */
struct fb__batch_shape {
    uint64_t homes_at, pieces_at, places_at, code_counts_at, parts_at, pointers_at, bytes;
};

struct fb__pool {
    struct fb__ledger *ledger;   /* owned */
    struct fb__layout layout;    /* owned */
    struct fb__batch_shape shape;
    struct fb__ledger_ops ledger_ops;
    uint64_t batch_bytes;        /* see fb__pool_batch_bytes() */
    _Atomic uint64_t references;
    _Atomic bool is_closed;      /* batches that come back are freed, not kept */
    _Atomic uint64_t held_batches; /* delivered and not yet released */
    _Atomic uint64_t release_count; /* held batches that came back so far */
};

/* Makes a pool with its ledger (limit_bytes) and layout; arguments as fb__layout_init. *out holds one reference. */
FB_MUST_CHECK int fb__pool_create(const struct ArrowSchema *schema, const uint64_t *row_bytes,
                                  const struct fb_loader_options *options, struct fb__pool **out,
                                  struct fb_error *error);
void fb__pool_retain(struct fb__pool *pool);
void fb__pool_release(struct fb__pool *pool);

/* Bytes a batch of the layout is booked with before any byte of its variable part beyond the estimate; 0 where batches
 * have capacities of their own. */
uint64_t fb__pool_batch_bytes(const struct fb__pool *pool);

/*
 * The most bytes that such a batch, or the largest where they have capacities of their own, takes beyond those while it
 * is filled and finished, its variable part being as estimated: in every column with one the home's extent and
 * extent_count others, whose bytes are joined in the end. Saturates.
 */
uint64_t fb__pool_filling_bytes(const struct fb__pool *pool, uint64_t extent_count);

/*
 * A batch for rows [index * batch_rows, +row_count), warm where there is one; waits in plan order (order: its first
 * row). Where the layout's batch_rows is 0 it has room for row_count rows: a warm one whose fixed buffer is smaller gets
 * a new one. Holds a reference on the pool. ENOBUFS, ECANCELED, ENOMEM.
 */
FB_MUST_CHECK int fb__pool_take(struct fb__pool *pool, uint64_t index, uint64_t row_count, uint64_t order,
                                struct fb_batch **out, struct fb_error *error);

/*
 * As fb__pool_take(), but of no order and without waiting, for a thread that must not: the consumer's. What the batch
 * needs beyond that while it is filled is refused likewise, with ENOBUFS.
 */
FB_MUST_CHECK int fb__pool_try_take(struct fb__pool *pool, uint64_t index, uint64_t row_count, struct fb_batch **out,
                                    struct fb_error *error);

/* Gives a batch back that was never delivered. */
void fb__pool_return(struct fb_batch *batch);

/* Delivered: its bytes move to FB_ACCOUNT_HELD; fb_batch_release() gives it back. */
void fb__pool_deliver(struct fb_batch *batch);

/* Frees every idle batch. */
void fb__pool_trim(struct fb__pool *pool);
/* What is booked once the caller's reference, which keeps the ledger, is gone: zero but for held batches. */
void fb__pool_final_figures(struct fb__pool *pool, struct fb_stats *stats);
/* From here on nothing is kept: frees what is idle, and later returns at once. */
void fb__pool_close(struct fb__pool *pool);

#endif
