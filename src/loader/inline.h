/*
 * Small batches of rows that are in memory already, filled by the consumer itself: handing a batch over from another
 * thread, a sleep and a wake-up, costs more than copying it.
 *
 * It never waits. Where it lacks bytes it gives up for the rest of the epoch, and the readers go on at its row.
 */
#ifndef FB_LOADER_INLINE_H
#define FB_LOADER_INLINE_H

#include "loader/plan.h"

/* Largest batch that is filled so: about what is copied in the time of one hand-off. */
#define FB__INLINE_BYTES_MOST (64 * 1024)

struct fb__inline {
    bool is_on;
    bool is_open;              /* a cursor is in room */
    union fb__cursor_room room;
    uint64_t unit;             /* that the next row is in */
    uint64_t row;              /* of the epoch: the next one */
    uint64_t batch_index;
};

/* Whether the loader's batches are filled inline. */
bool fb__inline_is_worthwhile(const struct fb__plan *plan, const struct fb_source *source, int64_t prefetch_batches);

/* At the beginning of an epoch. */
void fb__inline_begin(struct fb__inline *state, const struct fb__plan *plan);

/*
 * The next batch, finished, in *out; NULL after the last. ENOBUFS: there is no room now; the readers can go on at
 * state->row. Other codes are a failure of the epoch.
 */
FB_MUST_CHECK int fb__inline_next(struct fb__inline *state, const struct fb__plan *plan, struct fb_source *source,
                                  struct fb__pool *pool, struct fb_batch **out, struct fb_error *error);

/* Lets go of what the epoch held. */
void fb__inline_end(struct fb__inline *state, struct fb_source *source);

#endif
