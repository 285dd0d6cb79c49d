/*
 * Mutexes with ranks, condition variables on the monotonic clock.
 *
 * A thread may acquire a lock only when its rank is higher than that of every lock it holds. In debug builds
 * (NDEBUG not defined) each thread keeps the ranks it holds and an acquire out of order is an assertion failure, so a
 * possible deadlock shows in the first run that takes the two locks at all, not in the one that happens to deadlock.
 */
#ifndef FB_BASE_LOCK_H
#define FB_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum fb__lock_rank {
    FB__RANK_STAGE_INPUT = 1, /* the shared input of a stage; held while pulling the next piece of work */
    FB__RANK_LOADER,          /* open batches, positions of readers, first error */
    FB__RANK_BATCH,           /* the extent chains of one batch; held only to find or link */
    FB__RANK_STAGE,           /* queue, slots, worker states */
    FB__RANK_LEDGER,          /* the book; a leaf but for nothing below it */
    FB__RANK_STATS            /* histograms; leaf */
};

struct fb__lock {
    pthread_mutex_t mutex;
    enum fb__lock_rank rank;
};

struct fb__cond {
    pthread_cond_t cond;
};

/* Returns 0 or the errno code of the failed system call, error filled. */
FB_MUST_CHECK int fb__lock_init(struct fb__lock *lock, enum fb__lock_rank rank, struct fb_error *error);
void fb__lock_destroy(struct fb__lock *lock);
void fb__lock_acquire(struct fb__lock *lock);
void fb__lock_release(struct fb__lock *lock);
/* For asserts: whether the calling thread holds lock. Always true in release builds. */
bool fb__lock_is_held(const struct fb__lock *lock);

FB_MUST_CHECK int fb__cond_init(struct fb__cond *cond, struct fb_error *error);
void fb__cond_destroy(struct fb__cond *cond);
/* lock is held by the caller, let go while waiting and held again on return. Wake-ups may be spurious. */
void fb__cond_wait(struct fb__cond *cond, struct fb__lock *lock);
/* Returns false when deadline_ns (fb__clock_ns, FB_NO_DEADLINE: none) has passed. */
bool fb__cond_wait_until(struct fb__cond *cond, struct fb__lock *lock, uint64_t deadline_ns);
void fb__cond_signal(struct fb__cond *cond);
void fb__cond_broadcast(struct fb__cond *cond);

#endif
