/*
 * Threads. A thread of ours starts with every asynchronous signal blocked (SIGINT, SIGTERM, SIGALRM, ...), so that
 * the user's handlers run on the user's threads; the synchronous ones (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT,
 * SIGTRAP, SIGSYS) stay as they were.
 */
#ifndef FB_BASE_THREAD_H
#define FB_BASE_THREAD_H

#include <pthread.h>

#include "base/error.h"

/* Starts run(argument) on a new joinable thread named name (at most 15 bytes are kept).
 * Returns 0 or an errno code with error filled. */
FB_MUST_CHECK int fb__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument,
                                   struct fb_error *error);

#endif
