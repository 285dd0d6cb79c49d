/* The one clock of the library: monotonic nanoseconds. Wall time is never read. */
#ifndef FB_BASE_CLOCK_H
#define FB_BASE_CLOCK_H

#include <stdint.h>

#define FB__SECOND_NS UINT64_C(1000000000)

uint64_t fb__clock_ns(void);

#endif
