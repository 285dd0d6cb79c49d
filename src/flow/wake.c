/* Sleeping on an eventfd; see wake.h for how signals are not lost. */
#include "flow/wake.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

int fb__wake_init(struct fb__wake *wake, struct fb_error *error)
{
    wake->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->descriptor >= 0) return 0;
    int code = errno;
    return fb__fail(error, code, "cannot make an eventfd: %s (raise the limit of open files)", strerror(code));
}

void fb__wake_destroy(struct fb__wake *wake)
{
    if (wake->descriptor >= 0) (void)close(wake->descriptor);
    wake->descriptor = -1;
}

void fb__wake_signal(const struct fb__wake *wake)
{
    const uint64_t one = 1;
    /* The only failure is a full counter (EAGAIN), and then the sleeper is awake anyway. */
    ssize_t written = write(wake->descriptor, &one, sizeof one);
    (void)written;
}

void fb__wake_guard(sigset_t *mask)
{
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &interrupt, mask);
}

void fb__wake_unguard(const sigset_t *mask)
{
    (void)pthread_sigmask(SIG_SETMASK, mask, NULL);
}

int fb__wake_sleep(const struct fb__wake *wake, const sigset_t *mask, uint64_t deadline_ns)
{
    struct timespec timeout;
    struct timespec *timeout_pointer = NULL;
    if (deadline_ns != FB_NO_DEADLINE) {
        uint64_t now_ns = fb__clock_ns();
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        timeout.tv_sec = (time_t)(left_ns / FB__SECOND_NS);
        timeout.tv_nsec = (long)(left_ns % FB__SECOND_NS);
        timeout_pointer = &timeout;
    }
    struct pollfd poll_entry = {.fd = wake->descriptor, .events = POLLIN};
    int ready = ppoll(&poll_entry, 1, timeout_pointer, mask);
    if (ready < 0) return EINTR; /* EINTR is the only failure of ppoll with valid arguments */
    if (ready == 0) return ETIMEDOUT;
    uint64_t count;
    ssize_t taken = read(wake->descriptor, &count, sizeof count);
    (void)taken; /* EAGAIN: somebody took it before; the caller looks again anyway */
    return 0;
}
