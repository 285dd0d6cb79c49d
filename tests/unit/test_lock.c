/* White-box tests of src/base/lock.c and src/base/clock.c. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "check.h"

struct shared {
    struct fb__lock lock;
    struct fb__cond cond;
    uint64_t count;
    bool is_open;
};

static void make_shared(struct shared *shared)
{
    struct fb_error error;
    memset(shared, 0, sizeof *shared);
    CHECK_EQUAL(fb__lock_init(&shared->lock, FB__RANK_LOADER, &error), 0);
    CHECK_EQUAL(fb__cond_init(&shared->cond, &error), 0);
}

static void unmake_shared(struct shared *shared)
{
    fb__cond_destroy(&shared->cond);
    fb__lock_destroy(&shared->lock);
}

#define ROUNDS 20000

static void *count_up(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < ROUNDS; i++) {
        fb__lock_acquire(&shared->lock);
        shared->count++;
        fb__lock_release(&shared->lock);
    }
    return NULL;
}

static void a_lock_lets_one_thread_in_at_a_time(void)
{
    struct shared shared;
    pthread_t threads[3];
    make_shared(&shared);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_create(&threads[i], NULL, count_up, &shared), 0);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    CHECK_EQUAL(shared.count, 3 * ROUNDS);
    unmake_shared(&shared);
}

static void *wait_until_open(void *argument)
{
    struct shared *shared = argument;
    fb__lock_acquire(&shared->lock);
    shared->count++;
    fb__cond_signal(&shared->cond);
    while (!shared->is_open) fb__cond_wait(&shared->cond, &shared->lock);
    CHECK(fb__lock_is_held(&shared->lock));
    fb__lock_release(&shared->lock);
    return NULL;
}

static void a_broadcast_wakes_every_thread_that_waits(void)
{
    struct shared shared;
    pthread_t threads[3];
    make_shared(&shared);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_create(&threads[i], NULL, wait_until_open, &shared), 0);
    fb__lock_acquire(&shared.lock);
    while (shared.count < 3) {
        /* A signal may reach a thread that waits for is_open instead; it is handed on. */
        fb__cond_signal(&shared.cond);
        (void)fb__cond_wait_until(&shared.cond, &shared.lock, fb__clock_ns() + FB__SECOND_NS / 100);
    }
    shared.is_open = true;
    fb__cond_broadcast(&shared.cond);
    fb__lock_release(&shared.lock);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    unmake_shared(&shared);
}

static void a_wait_ends_at_its_deadline_and_not_before(void)
{
    struct shared shared;
    make_shared(&shared);
    fb__lock_acquire(&shared.lock);
    uint64_t deadline_ns = fb__clock_ns() + FB__SECOND_NS / 50;
    while (fb__cond_wait_until(&shared.cond, &shared.lock, deadline_ns)) {
    }
    CHECK(fb__clock_ns() >= deadline_ns);
    CHECK(!fb__cond_wait_until(&shared.cond, &shared.lock, 0)); /* one that is long over */
    fb__lock_release(&shared.lock);
    unmake_shared(&shared);
}

static void *open_it(void *argument)
{
    struct shared *shared = argument;
    fb__lock_acquire(&shared->lock);
    shared->is_open = true;
    fb__cond_signal(&shared->cond);
    fb__lock_release(&shared->lock);
    return NULL;
}

static void a_signal_ends_a_wait_with_or_without_a_deadline(void)
{
    const uint64_t deadlines[] = {FB_NO_DEADLINE, fb__clock_ns() + 1000 * FB__SECOND_NS};
    for (int i = 0; i < 2; i++) {
        struct shared shared;
        pthread_t thread;
        make_shared(&shared);
        fb__lock_acquire(&shared.lock);
        CHECK_EQUAL(pthread_create(&thread, NULL, open_it, &shared), 0); /* gets the lock once this thread waits */
        while (!shared.is_open) CHECK(fb__cond_wait_until(&shared.cond, &shared.lock, deadlines[i]));
        fb__lock_release(&shared.lock);
        CHECK_EQUAL(pthread_join(thread, NULL), 0);
        unmake_shared(&shared);
    }
}

static void the_clock_never_runs_back(void)
{
    uint64_t before_ns = fb__clock_ns();
    CHECK(before_ns > 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t now_ns = fb__clock_ns();
        CHECK(now_ns >= before_ns);
        before_ns = now_ns;
    }
    struct timespec now;
    CHECK_EQUAL(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    CHECK((uint64_t)now.tv_sec * FB__SECOND_NS + (uint64_t)now.tv_nsec - before_ns < 100 * FB__SECOND_NS);
}

#ifndef NDEBUG

/* Whether breach() ends the process with an assertion failure. */
static bool is_caught(void (*breach)(void))
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        breach();
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static struct fb__lock low, middle, high;

static void make_ranks(void)
{
    CHECK_EQUAL(fb__lock_init(&low, FB__RANK_STAGE_INPUT, NULL), 0);
    CHECK_EQUAL(fb__lock_init(&middle, FB__RANK_STAGE, NULL), 0);
    CHECK_EQUAL(fb__lock_init(&high, FB__RANK_STATS, NULL), 0);
}

static void take_rising(void)
{
    fb__lock_acquire(&low);
    fb__lock_acquire(&middle);
    fb__lock_acquire(&high);
    fb__lock_release(&low); /* in any order */
    fb__lock_release(&high);
    fb__lock_acquire(&high);
    fb__lock_release(&high);
    fb__lock_release(&middle);
    fb__lock_acquire(&low); /* nothing is left in the list */
    fb__lock_release(&low);
}

static void take_falling(void)
{
    fb__lock_acquire(&middle);
    fb__lock_acquire(&low);
}

static void take_falling_under_a_released_one(void)
{
    fb__lock_acquire(&low);
    fb__lock_acquire(&middle);
    fb__lock_acquire(&high);
    fb__lock_release(&high);
    fb__lock_release(&low);
    fb__lock_acquire(&low); /* middle is still held */
}

static void take_between(void)
{
    fb__lock_acquire(&low);
    fb__lock_acquire(&high);
    fb__lock_acquire(&middle);
}

static void take_equal(void)
{
    struct fb__lock other;
    CHECK_EQUAL(fb__lock_init(&other, FB__RANK_STAGE, NULL), 0);
    fb__lock_acquire(&middle);
    fb__lock_acquire(&other);
}

static void take_twice(void)
{
    fb__lock_acquire(&middle);
    fb__lock_acquire(&middle);
}

static void release_unheld(void)
{
    fb__lock_release(&middle);
}

static void wait_unheld(void)
{
    struct fb__cond cond;
    CHECK_EQUAL(fb__cond_init(&cond, NULL), 0);
    fb__cond_wait(&cond, &middle);
}

static void debug_builds_catch_locks_taken_out_of_rank(void)
{
    make_ranks();
    CHECK(!is_caught(take_rising));
    CHECK(is_caught(take_falling));
    CHECK(is_caught(take_falling_under_a_released_one));
    CHECK(is_caught(take_between));
    CHECK(is_caught(take_equal));
    CHECK(is_caught(take_twice));
    CHECK(is_caught(release_unheld));
    CHECK(is_caught(wait_unheld));
    fb__lock_destroy(&high);
    fb__lock_destroy(&middle);
    fb__lock_destroy(&low);
}

static void *look_from_outside(void *argument)
{
    CHECK(!fb__lock_is_held(argument));
    return NULL;
}

static void debug_builds_know_which_thread_holds_a_lock(void)
{
    struct fb__lock lock;
    pthread_t thread;
    CHECK_EQUAL(fb__lock_init(&lock, FB__RANK_LEDGER, NULL), 0);
    CHECK(!fb__lock_is_held(&lock));
    fb__lock_acquire(&lock);
    CHECK(fb__lock_is_held(&lock));
    CHECK_EQUAL(pthread_create(&thread, NULL, look_from_outside, &lock), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    fb__lock_release(&lock);
    CHECK(!fb__lock_is_held(&lock));
    fb__lock_destroy(&lock);
}

#endif

int main(void)
{
    RUN(a_lock_lets_one_thread_in_at_a_time);
    RUN(a_broadcast_wakes_every_thread_that_waits);
    RUN(a_wait_ends_at_its_deadline_and_not_before);
    RUN(a_signal_ends_a_wait_with_or_without_a_deadline);
    RUN(the_clock_never_runs_back);
#ifndef NDEBUG
    RUN(debug_builds_catch_locks_taken_out_of_rank);
    RUN(debug_builds_know_which_thread_holds_a_lock);
#endif
    return 0;
}
