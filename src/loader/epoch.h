/*
 * One epoch: the readers on their stage, the batches they have open, and the window that restores order.
 *
 * An epoch is counted: the loader holds one reference and each of its threads one, so that a thread that had to be
 * abandoned inside a callback finds everything it touches alive when it comes back, and frees it when it is the last.
 *
 * Lock: `lock`, rank LOADER. Each reader's own fields are its thread's, but for `position`, `task` and `opening`.
 */
#ifndef FB_LOADER_EPOCH_H
#define FB_LOADER_EPOCH_H

#include "flow/parking.h"
#include "flow/stage.h"
#include "loader/plan.h"

#define FB__OPEN_TABLE_SIZE 256 /* a power of two; open batches chain in it by index */

struct fb_loader;

/* A reader thread's place in its task. */
struct fb__reader {
    /* its thread's */
    union fb__cursor_room room;
    struct fb__grant grant;
    bool is_open;
    uint64_t unit;
    uint32_t set;
    uint64_t end;              /* row of the epoch at which the task ends */
    uint64_t piece_rows;
    /* its thread's, of a pulled source */
    struct fb_batch *batch;    /* the one being filled, NULL between two */
    uint64_t filled_rows;      /* of batch */
    uint64_t block_rows;       /* rows left of the block at hand */
    uint64_t next_index;       /* of the next batch to open, or of batch */
    /* guarded by the epoch's lock */
    bool has_task;
    uint64_t position;         /* next row of the epoch to fill, or the row whose batch is being filled */
    bool is_opening;
    uint64_t opening_index;    /* batch that it is taking from the pool */
};

struct fb__epoch {
    struct fb_loader *loader;  /* counted */
    struct fb__stage *stage;
    uint64_t size_bytes;
    uint32_t reader_count;
    bool preserve_order;
    _Atomic uint64_t references;
    _Atomic uint64_t piece_rows;        /* of cursors opened from now on; shrinks when a decoder outgrows its bytes */

    struct fb__lock lock;
    /* guarded by lock */
    struct fb__parking opened;          /* a batch was opened, or could not be */
    struct fb_batch *open_batches[FB__OPEN_TABLE_SIZE];
    uint64_t first_row;                 /* rows before it are not this epoch's readers' */
    uint64_t next_task;
    uint64_t next_complete;             /* preserve_order: the batch that comes next */
    struct fb__link window;             /* preserve_order: complete batches ahead of it, by index */
    uint64_t frontier;
    uint64_t batch_count;               /* of the epoch; FB_UNKNOWN until the reader of a pulled source is done */
    uint64_t error_row;                 /* no work at or above it: what failed, UINT64_MAX where nothing has */
    bool is_stopping;

    struct fb__reader readers[];
};

/* Makes an epoch of the loader's plan; its memory is booked in FB_ACCOUNT_CORE. No thread starts. */
FB_MUST_CHECK int fb__epoch_create(struct fb_loader *loader, struct fb__epoch **out, struct fb_error *error);
FB_MUST_CHECK int fb__epoch_start(struct fb__epoch *epoch, struct fb_error *error);

/* Before the start: rows before first_row, which batch number first_batch begins with, are delivered already. */
void fb__epoch_skip(struct fb__epoch *epoch, uint64_t first_row, uint64_t first_batch);

void fb__epoch_retain(struct fb__epoch *epoch);
void fb__epoch_release(struct fb__epoch *epoch);

/* Stops and joins (see fb__stage_stop); *unit (nullable): a unit that an abandoned thread is reading. The loader's
 * reference is given up: the epoch is gone, or goes with its last abandoned thread. */
uint32_t fb__epoch_end(struct fb__epoch *epoch, uint64_t deadline_ns, int64_t *unit);

/* ---- src/loader/reader.c: what the threads do ---- */

/* The stage's callbacks; context is the epoch. */
int fb__reader_work(void *context, struct fb__worker *worker, struct fb_error *error);
void fb__reader_let_go(void *context, struct fb__worker *worker, const struct fb_error *error);

/* ---- src/loader/pull.c: what the one thread of a pulled source does ---- */

int fb__pull_work(void *context, struct fb__worker *worker, struct fb_error *error);
void fb__pull_let_go(void *context, struct fb__worker *worker, const struct fb_error *error);

/* ---- src/loader/window.c: open and complete batches ---- */

/* The open batch of this index for reader; opens it where nobody has. ENOBUFS, ENOMEM, ECANCELED. */
FB_MUST_CHECK int fb__epoch_open_batch(struct fb__epoch *epoch, struct fb__worker *worker, uint64_t index,
                                       struct fb_batch **out, struct fb_error *error);
/* Rows x columns of batch that are about to be filled. For the last of them a slot is taken first: ECANCELED. */
FB_MUST_CHECK int fb__epoch_claim(struct fb__epoch *epoch, struct fb__worker *worker, struct fb_batch *batch,
                                  uint64_t cells);
/* The cells are filled. When that completes the batch: joins its strings and hands it on. */
FB_MUST_CHECK int fb__epoch_filled(struct fb__epoch *epoch, struct fb__worker *worker, struct fb_batch *batch,
                                   uint64_t cells, struct fb_error *error);
/* Moves the frontier to the lowest row not yet filled; after a reader's task or position changed. Lock held. */
void fb__epoch_advance_locked(struct fb__epoch *epoch);
/* Frees every open and waiting batch; no thread is left. */
void fb__epoch_drop_batches(struct fb__epoch *epoch);

#endif
