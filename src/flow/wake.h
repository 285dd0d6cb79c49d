/*
 * Sleeping until another thread has something to say, without losing a signal: an eventfd and ppoll().
 *
 * SIGINT is blocked from fb__wake_guard() on and open only inside ppoll(), which swaps the masks atomically: a signal
 * that comes between the last look at the queue and the sleep ends the sleep at once.
 */
#ifndef FB_FLOW_WAKE_H
#define FB_FLOW_WAKE_H

#include <signal.h>
#include <stdint.h>

#include "base/error.h"

struct fb__wake {
    int descriptor;
};

FB_MUST_CHECK int fb__wake_init(struct fb__wake *wake, struct fb_error *error);
void fb__wake_destroy(struct fb__wake *wake);

/* Ends the sleep of the thread in fb__wake_sleep(), or the next one. Takes no lock; from any thread. */
void fb__wake_signal(const struct fb__wake *wake);

/* Blocks SIGINT; *mask is what was in force. */
void fb__wake_guard(sigset_t *mask);
void fb__wake_unguard(const sigset_t *mask);

/* Sleeps with `mask` in force until signalled (0), a signal's handler ran (EINTR) or deadline_ns (ETIMEDOUT). */
FB_MUST_CHECK int fb__wake_sleep(const struct fb__wake *wake, const sigset_t *mask, uint64_t deadline_ns);

#endif
