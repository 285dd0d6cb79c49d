/* The monotonic clock in nanoseconds. */
#include "base/clock.h"

#include <time.h>

uint64_t fb__clock_ns(void)
{
    struct timespec now;
    /* Cannot fail: the clock exists on every kernel this builds for and the pointer is valid. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * FB__SECOND_NS + (uint64_t)now.tv_nsec;
}
