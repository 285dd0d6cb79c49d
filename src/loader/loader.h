/*
 * The loader: what the consumer's thread does. It owns the source, the plan and the pool, and the epoch in progress.
 *
 * A loader is counted: the handle holds one reference, each epoch one. Batches hold the pool, not the loader.
 * The consumer's side needs no lock but for the counters, which stats() may read from any thread.
 */
#ifndef FB_LOADER_LOADER_H
#define FB_LOADER_LOADER_H

#include "loader/epoch.h"
#include "loader/histogram.h"
#include "loader/inline.h"

struct fb_loader {
    /* immutable */
    struct fb_source *source;
    struct fb__pool *pool;
    struct fb__plan plan;
    uint32_t thread_count;
    int64_t prefetch_batches;
    bool preserve_order;
    bool drop_last;
    _Atomic uint64_t references;

    /* the consumer's */
    bool is_over;                /* the epoch has ended: no batch until the next one begins */
    struct fb_error failure;     /* code 0, or why the epoch ended */
    uint64_t first_next_ns;      /* of the epoch; 0 before */
    uint64_t asked_ns;           /* when the consumer began to ask for the next batch; 0: it has not */
    uint64_t delivered_ns;       /* when next() last returned a batch; 0 before */
    uint64_t epoch_batch_count;  /* batches of this epoch delivered so far */
    uint64_t epoch_row_count;    /* rows of them */
    bool is_patient;             /* waits for the user's other threads to let batches go */
    uint64_t patience_releases;  /* releases seen when that wait began */
    struct fb__inline inline_filler; /* off where readers fill the batches */

    struct fb__lock stats_lock;  /* rank STATS */
    /* guarded by stats_lock */
    struct fb__epoch *epoch;     /* NULL between epochs; only the consumer changes it */
    struct fb__histogram next_wait;
    uint64_t batch_count, row_count, bytes_out;
    uint64_t blocked_ns, user_ns, first_batch_ns;
    struct fb_stage_stats read_before; /* of epochs that are over */
};

void fb__loader_release(struct fb_loader *loader);

/*
 * The limit to name where bytes were refused in mid-epoch. What was missing is only what was met so far: at least an
 * eighth is added, or whoever follows the advice would be refused again a few bytes further on.
 */
static inline uint64_t fb__loader_limit_to_try(const struct fb_error *error)
{
    uint64_t limit_bytes = error->limit_bytes;
    uint64_t step_bytes = limit_bytes / 8 + 1;
    uint64_t next_bytes = limit_bytes > UINT64_MAX - step_bytes ? UINT64_MAX : limit_bytes + step_bytes;
    return error->required_bytes > next_bytes ? error->required_bytes : next_bytes;
}

/* Whether a consumer that finds everything stuck should stop waiting: at once, or, when it waits with patience, after
 * another batch was released and that has not helped. */
bool fb__loader_may_give_up(const struct fb_loader *loader);

/* Adds what a stage did to a running sum. */
void fb__loader_add_stage(struct fb_stage_stats *sum, const struct fb_stage_stats *more);

#endif
