/* Starting threads with asynchronous signals blocked. */
#include "base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Everything but what a thread raises by its own instructions. */
static void fill_asynchronous(sigset_t *signals)
{
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(signals);
    for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++) sigdelset(signals, synchronous[i]);
}

int fb__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument, struct fb_error *error)
{
    /* Blocked around the call, not in the thread: it inherits the mask, so there is no instant without it. */
    sigset_t asynchronous;
    sigset_t before;
    fill_asynchronous(&asynchronous);
    (void)pthread_sigmask(SIG_BLOCK, &asynchronous, &before);
    int code = pthread_create(thread, NULL, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code) return fb__fail(error, code, "cannot start thread %s: %s", name, strerror(code));

    char kept[16]; /* what the kernel keeps, NUL included */
    (void)snprintf(kept, sizeof kept, "%s", name);
    (void)pthread_setname_np(*thread, kept); /* a name is a help in a debugger, not worth failing for */
    return 0;
}
