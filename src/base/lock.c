/*
 * Locks and condition variables over pthreads. In debug builds each thread keeps the locks it holds, in the order
 * in which it took them; nothing is shared, so the bookkeeping needs no lock itself.
 */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#ifndef NDEBUG

/* Ranks rise strictly, so a thread can never hold more locks than there are ranks. */
#define HELD_MAX ((unsigned)FB__RANK_STATS)

static _Thread_local const struct fb__lock *held_locks[HELD_MAX];
static _Thread_local unsigned held_count;

static void note_acquire(const struct fb__lock *lock)
{
    for (unsigned i = 0; i < held_count; i++) assert(held_locks[i]->rank < lock->rank && "lock taken out of rank");
    assert(held_count < HELD_MAX);
    held_locks[held_count++] = lock;
}

static void note_release(const struct fb__lock *lock)
{
    unsigned i = held_count;
    while (i > 0 && held_locks[i - 1] != lock) i--;
    assert(i > 0 && "lock released by a thread that does not hold it");
    held_count--;
    memmove(&held_locks[i - 1], &held_locks[i], (held_count - (i - 1)) * sizeof held_locks[0]);
}

#else

static void note_acquire(const struct fb__lock *lock)
{
    (void)lock;
}

static void note_release(const struct fb__lock *lock)
{
    (void)lock;
}

#endif

bool fb__lock_is_held(const struct fb__lock *lock)
{
#ifndef NDEBUG
    for (unsigned i = 0; i < held_count; i++)
        if (held_locks[i] == lock) return true;
    return false;
#else
    (void)lock;
    return true;
#endif
}

/* The calls below cannot fail on a valid object used within the rules; in debug builds a breach stops here. */
static void must_succeed(int code)
{
    assert(code == 0);
    (void)code;
}

int fb__lock_init(struct fb__lock *lock, enum fb__lock_rank rank, struct fb_error *error)
{
    int code = pthread_mutex_init(&lock->mutex, NULL);
    if (code) return fb__fail(error, code, "cannot make a lock: %s", strerror(code));
    lock->rank = rank;
    return 0;
}

void fb__lock_destroy(struct fb__lock *lock)
{
    must_succeed(pthread_mutex_destroy(&lock->mutex));
}

void fb__lock_acquire(struct fb__lock *lock)
{
    note_acquire(lock); /* before the call: a breach must show even where the call would block for good */
    must_succeed(pthread_mutex_lock(&lock->mutex));
}

void fb__lock_release(struct fb__lock *lock)
{
    note_release(lock);
    must_succeed(pthread_mutex_unlock(&lock->mutex));
}

int fb__cond_init(struct fb__cond *cond, struct fb_error *error)
{
    pthread_condattr_t attributes;
    int code = pthread_condattr_init(&attributes);
    if (code) goto fail;
    code = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (!code) code = pthread_cond_init(&cond->cond, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (code) goto fail;
    return 0;
fail:
    return fb__fail(error, code, "cannot make a condition variable: %s", strerror(code));
}

void fb__cond_destroy(struct fb__cond *cond)
{
    must_succeed(pthread_cond_destroy(&cond->cond));
}

/* While a thread waits its lock stays in its list of held ones: it can take no other meanwhile. */
void fb__cond_wait(struct fb__cond *cond, struct fb__lock *lock)
{
    assert(fb__lock_is_held(lock));
    must_succeed(pthread_cond_wait(&cond->cond, &lock->mutex));
}

bool fb__cond_wait_until(struct fb__cond *cond, struct fb__lock *lock, uint64_t deadline_ns)
{
    if (deadline_ns == FB_NO_DEADLINE) {
        fb__cond_wait(cond, lock);
        return true;
    }
    assert(fb__lock_is_held(lock));
    struct timespec deadline = {
        .tv_sec = (time_t)(deadline_ns / FB__SECOND_NS),
        .tv_nsec = (long)(deadline_ns % FB__SECOND_NS),
    };
    int code = pthread_cond_timedwait(&cond->cond, &lock->mutex, &deadline);
    if (code == ETIMEDOUT) return false;
    must_succeed(code);
    return true;
}

void fb__cond_signal(struct fb__cond *cond)
{
    must_succeed(pthread_cond_signal(&cond->cond));
}

void fb__cond_broadcast(struct fb__cond *cond)
{
    must_succeed(pthread_cond_broadcast(&cond->cond));
}
