/*
 * A condition variable that knows how many threads sleep on it: those that looked after the last broadcast and found
 * that they cannot go on. A thread that was woken does not count, also before it runs, so that "everybody sleeps" can
 * be told from "somebody is about to go on". Guarded by the lock that it is used with.
 */
#ifndef FB_FLOW_PARKING_H
#define FB_FLOW_PARKING_H

#include "base/lock.h"

struct fb__parking {
    struct fb__cond cond;
    uint64_t broadcast_count;
    uint32_t parked_count;
};

static inline void fb__parking_wait(struct fb__parking *parking, struct fb__lock *lock)
{
    uint64_t broadcast_count = parking->broadcast_count;
    parking->parked_count++;
    fb__cond_wait(&parking->cond, lock);
    if (parking->broadcast_count == broadcast_count) parking->parked_count--; /* woken by nobody */
}

static inline void fb__parking_wake_all(struct fb__parking *parking)
{
    if (parking->parked_count == 0) return;
    parking->broadcast_count++;
    parking->parked_count = 0;
    fb__cond_broadcast(&parking->cond);
}

#endif
