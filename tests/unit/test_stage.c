/* White-box test of src/flow/stage: what a stage promises for any number of workers and any bound. */
#include "flow/stage.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "flow/wake.h"

#define ITEM_COUNT 2000

/* The sanitizers map terabytes, so they cannot run with little address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

struct item {
    struct fb__link link;
    uint64_t value;
};

/* A shared input of numbers, and everything the tests want to do wrong. */
struct pipeline {
    struct fb__gate gate;
    struct fb__stage *stage;
    struct item items[ITEM_COUNT];
    uint64_t next;               /* guarded by the stage's input lock */
    uint64_t input_count;
    uint64_t fail_at;            /* input at which a worker fails; UINT64_MAX: none */
    uint64_t vanish_at;          /* input at which a worker's thread ends without a word */
    uint64_t stop_at;            /* input at which a worker stops the stage */
    _Atomic uint64_t in_making;  /* results with a slot, not yet taken by the consumer */
    _Atomic uint64_t most_in_making;
    _Atomic uint64_t dropped_count;
    _Atomic uint64_t let_go_count;
    _Atomic uint64_t ended_count;
    _Atomic bool blocks;         /* workers block in their callback until it is cleared */
    _Atomic bool is_stuck;
    pthread_mutex_t block_mutex;
    pthread_cond_t block_cond;
};

static void note_most(struct pipeline *pipeline, uint64_t count)
{
    uint64_t most = atomic_load(&pipeline->most_in_making);
    while (count > most && !atomic_compare_exchange_weak(&pipeline->most_in_making, &most, count)) continue;
}

static int work(void *context, struct fb__worker *worker, struct fb_error *error)
{
    struct pipeline *pipeline = context;
    int code = fb__stage_take_slot(pipeline->stage, worker, FB__NO_ORDER);
    if (code) return code;
    note_most(pipeline, atomic_fetch_add(&pipeline->in_making, 1) + 1);
    fb__stage_input_acquire(pipeline->stage, worker);
    uint64_t value = pipeline->next < pipeline->input_count ? pipeline->next++ : UINT64_MAX;
    fb__stage_input_release(pipeline->stage);
    if (value == UINT64_MAX) {
        atomic_fetch_sub(&pipeline->in_making, 1);
        return FB__STAGE_DONE;
    }
    if (value == pipeline->fail_at) return fb__fail(error, EIO, "input %llu is bad", (unsigned long long)value);
    if (value == pipeline->vanish_at) pthread_exit(NULL);
    pthread_mutex_lock(&pipeline->block_mutex);
    while (atomic_load(&pipeline->blocks)) pthread_cond_wait(&pipeline->block_cond, &pipeline->block_mutex);
    pthread_mutex_unlock(&pipeline->block_mutex);
    if (value == pipeline->stop_at) CHECK_EQUAL(fb__stage_stop(pipeline->stage, FB_NO_DEADLINE), 0);
    pipeline->items[value].value = value;
    fb__stage_put(pipeline->stage, worker, &pipeline->items[value].link, false);
    return 0;
}

static void drop(void *context, struct fb__link *result)
{
    struct pipeline *pipeline = context;
    (void)result;
    atomic_fetch_add(&pipeline->dropped_count, 1);
}

static void let_go(void *context, struct fb__worker *worker, const struct fb_error *error)
{
    struct pipeline *pipeline = context;
    (void)worker;
    (void)error;
    atomic_fetch_add(&pipeline->let_go_count, 1);
}

static void ended(void *context)
{
    struct pipeline *pipeline = context;
    atomic_fetch_add(&pipeline->ended_count, 1);
}

static bool is_stuck(void *context)
{
    struct pipeline *pipeline = context;
    return atomic_load(&pipeline->is_stuck);
}

static struct pipeline *make(uint32_t worker_count, int64_t bound)
{
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    fb__gate_init(&pipeline->gate, &(struct fb__book){0});
    pipeline->input_count = ITEM_COUNT;
    pipeline->fail_at = pipeline->vanish_at = pipeline->stop_at = UINT64_MAX - 1;
    pthread_mutex_init(&pipeline->block_mutex, NULL);
    pthread_cond_init(&pipeline->block_cond, NULL);
    struct fb__stage_options options = {
        .name = "test",
        .worker_count = worker_count,
        .bound = bound,
        .gate = &pipeline->gate,
        .ops = {
            .work = work, .drop = drop, .let_go = let_go, .ended = ended, .is_stuck = is_stuck, .context = pipeline}};
    struct fb_error error;
    CHECK_EQUAL(fb__stage_create(&options, &pipeline->stage, &error), 0);
    return pipeline;
}

static void start(struct pipeline *pipeline)
{
    struct fb_error error;
    CHECK_EQUAL(fb__stage_start(pipeline->stage, &error), 0);
}

static void finish(struct pipeline *pipeline)
{
    CHECK_EQUAL(fb__stage_stop(pipeline->stage, FB_NO_DEADLINE), 0);
    fb__stage_destroy(pipeline->stage);
    pthread_cond_destroy(&pipeline->block_cond);
    pthread_mutex_destroy(&pipeline->block_mutex);
    free(pipeline);
}

static int next(struct pipeline *pipeline, struct item **out, struct fb_error *error)
{
    struct fb__link *link;
    int code = fb__stage_next(pipeline->stage, FB_NO_DEADLINE, false, &link, error);
    *out = code == 0 && link ? FB__CONTAINER_OF(link, struct item, link) : NULL;
    if (*out) atomic_fetch_sub(&pipeline->in_making, 1);
    return code;
}

static void each_input_is_seen_once_and_the_bound_holds(void)
{
    for (uint32_t worker_count = 1; worker_count <= 8; worker_count++) {
        for (int64_t bound = 0; bound <= 4; bound++) {
            struct pipeline *pipeline = make(worker_count, bound);
            start(pipeline);
            bool *seen = calloc(ITEM_COUNT, 1);
            struct item *item;
            struct fb_error error;
            uint64_t count = 0;
            while (next(pipeline, &item, &error) == 0 && item) {
                CHECK(!seen[item->value]);
                seen[item->value] = true;
                count++;
            }
            CHECK_EQUAL(count, ITEM_COUNT);
            /* One more than the bound: the consumer counts a result as taken after it was. */
            uint64_t most = (uint64_t)(bound > 0 ? bound : 1) + 1;
            CHECK(atomic_load(&pipeline->most_in_making) <= most);
            CHECK_EQUAL(atomic_load(&pipeline->let_go_count), worker_count);
            free(seen);
            finish(pipeline);
        }
    }
}

static void an_adaptive_bound_starts_at_two(void)
{
    struct pipeline *pipeline = make(4, FB_PREFETCH_ADAPTIVE);
    start(pipeline);
    while (atomic_load(&pipeline->most_in_making) < 2) sched_yield();
    CHECK_EQUAL(atomic_load(&pipeline->most_in_making), 2);
    finish(pipeline);
}

static void the_first_error_comes_after_what_was_queued_and_stays(void)
{
    for (uint32_t worker_count = 1; worker_count <= 4; worker_count++) {
        struct pipeline *pipeline = make(worker_count, 2);
        pipeline->fail_at = 100;
        pipeline->input_count = 101; /* the other workers run out of input by themselves */
        start(pipeline);
        struct item *item;
        struct fb_error error;
        int code;
        uint64_t count = 0;
        while ((code = next(pipeline, &item, &error)) == 0 && item) count++;
        CHECK_EQUAL(code, EIO);
        CHECK_TEXT(error.message, "input 100 is bad");
        CHECK_EQUAL(count, 100);
        CHECK_EQUAL(next(pipeline, &item, &error), EIO);
        finish(pipeline);
    }
}

static void a_worker_that_ends_without_a_word_is_an_error(void)
{
    struct pipeline *pipeline = make(1, 2);
    pipeline->vanish_at = 5;
    start(pipeline);
    struct item *item;
    struct fb_error error;
    int code;
    while ((code = next(pipeline, &item, &error)) == 0 && item) continue;
    CHECK_EQUAL(code, EPIPE);
    CHECK_CONTAINS(error.message, "without a word");
    CHECK_EQUAL(atomic_load(&pipeline->let_go_count), 1);
    finish(pipeline);
}

static void an_early_stop_wakes_workers_that_wait_for_a_slot(void)
{
    for (int round = 0; round < 200; round++) {
        struct pipeline *pipeline = make(1 + (uint32_t)round % 4, round % 3);
        start(pipeline);
        struct item *item;
        struct fb_error error;
        uint64_t taken_count = 0;
        for (int i = 0; i < round % 5; i++) {
            CHECK_EQUAL(next(pipeline, &item, &error), 0);
            taken_count++;
        }
        CHECK_EQUAL(fb__stage_stop(pipeline->stage, FB_NO_DEADLINE), 0);
        CHECK_EQUAL(atomic_load(&pipeline->ended_count), 1 + round % 4);
        CHECK(atomic_load(&pipeline->dropped_count) + taken_count <= pipeline->next);
        finish(pipeline);
    }
}

static void a_stage_that_never_started_is_destroyed(void)
{
    struct pipeline *pipeline = make(3, 1);
    CHECK(!fb__stage_is_started(pipeline->stage));
    finish(pipeline);
}

static void set_blocking(struct pipeline *pipeline, bool blocks)
{
    pthread_mutex_lock(&pipeline->block_mutex);
    atomic_store(&pipeline->blocks, blocks);
    pthread_cond_broadcast(&pipeline->block_cond);
    pthread_mutex_unlock(&pipeline->block_mutex);
}

static void a_worker_inside_a_callback_is_abandoned_at_the_deadline_and_ends_by_itself(void)
{
    struct pipeline *pipeline = make(2, 4);
    set_blocking(pipeline, true);
    start(pipeline);
    while (atomic_load(&pipeline->in_making) < 2) sched_yield();
    uint64_t deadline_ns = fb__clock_ns() + FB__SECOND_NS / 50;
    CHECK_EQUAL(fb__stage_stop(pipeline->stage, deadline_ns), 2);
    CHECK(fb__clock_ns() >= deadline_ns);
    CHECK_EQUAL(atomic_load(&pipeline->ended_count), 0);
    set_blocking(pipeline, false);
    while (atomic_load(&pipeline->ended_count) < 2) sched_yield();
    /* What they had in the making was put after the stop: the owner drops it with the last of them. */
    finish(pipeline);
}

static void a_worker_that_stops_its_own_stage_waits_for_the_others_alone(void)
{
    for (uint32_t worker_count = 1; worker_count <= 4; worker_count++) {
        struct pipeline *pipeline = make(worker_count, 100);
        pipeline->stop_at = 50;
        set_blocking(pipeline, true); /* until start() has returned */
        start(pipeline);
        set_blocking(pipeline, false);
        while (atomic_load(&pipeline->ended_count) < worker_count) sched_yield();
        CHECK(atomic_load(&pipeline->dropped_count) >= 50); /* what was ready at the stop */
        CHECK_EQUAL(atomic_load(&pipeline->let_go_count), worker_count);
        finish(pipeline);
    }
}

static void the_consumer_gets_what_the_deadline_says(void)
{
    struct pipeline *pipeline = make(1, 1);
    set_blocking(pipeline, true);
    start(pipeline);
    struct fb__link *link;
    struct fb_error error;
    CHECK_EQUAL(fb__stage_next(pipeline->stage, 0, false, &link, &error), EAGAIN);
    uint64_t deadline_ns = fb__clock_ns() + FB__SECOND_NS / 50;
    CHECK_EQUAL(fb__stage_next(pipeline->stage, deadline_ns, false, &link, &error), ETIMEDOUT);
    CHECK(fb__clock_ns() >= deadline_ns);
    set_blocking(pipeline, false);
    struct item *item;
    CHECK_EQUAL(next(pipeline, &item, &error), 0);
    CHECK_EQUAL(item->value, 0);
    finish(pipeline);
}

static void an_interrupt_ends_the_wait_once(void)
{
    struct pipeline *pipeline = make(1, 1);
    set_blocking(pipeline, true);
    start(pipeline);
    fb__stage_interrupt(pipeline->stage);
    struct item *item;
    struct fb_error error;
    CHECK_EQUAL(next(pipeline, &item, &error), ECANCELED);
    set_blocking(pipeline, false);
    CHECK_EQUAL(next(pipeline, &item, &error), 0);
    finish(pipeline);
}

static void a_stuck_stage_is_told_from_a_slow_one(void)
{
    struct pipeline *pipeline = make(1, 1);
    set_blocking(pipeline, true);
    start(pipeline);
    struct fb__link *link;
    struct fb_error error;
    atomic_store(&pipeline->is_stuck, true);
    CHECK_EQUAL(fb__stage_next(pipeline->stage, FB_NO_DEADLINE, true, &link, &error), EDEADLK);
    atomic_store(&pipeline->is_stuck, false);
    uint64_t deadline_ns = fb__clock_ns() + FB__SECOND_NS / 100;
    CHECK_EQUAL(fb__stage_next(pipeline->stage, deadline_ns, true, &link, &error), ETIMEDOUT);
    set_blocking(pipeline, false);
    finish(pipeline);
}

static void *interrupt_main(void *argument)
{
    pthread_t main_thread = *(pthread_t *)argument;
    usleep(20000);
    pthread_kill(main_thread, SIGINT);
    return NULL;
}

static void on_signal(int signal_number)
{
    (void)signal_number;
}

static void a_signal_ends_the_wait(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    struct pipeline *pipeline = make(1, 1);
    set_blocking(pipeline, true);
    start(pipeline);
    pthread_t self = pthread_self();
    pthread_t thread;
    pthread_create(&thread, NULL, interrupt_main, &self);
    struct item *item;
    struct fb_error error;
    CHECK_EQUAL(next(pipeline, &item, &error), EINTR);
    pthread_join(thread, NULL);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGINT));
    set_blocking(pipeline, false);
    finish(pipeline);
}

static void a_signal_between_the_last_look_and_the_sleep_is_not_lost(void)
{
    struct fb__wake wake;
    struct fb_error error;
    CHECK_EQUAL(fb__wake_init(&wake, &error), 0);
    sigset_t mask;
    fb__wake_guard(&mask);
    pthread_kill(pthread_self(), SIGINT); /* stays pending: the guard blocks it */
    CHECK_EQUAL(fb__wake_sleep(&wake, &mask, FB_NO_DEADLINE), EINTR);
    fb__wake_signal(&wake); /* so does a wake-up that comes before the sleep */
    CHECK_EQUAL(fb__wake_sleep(&wake, &mask, FB_NO_DEADLINE), 0);
    CHECK_EQUAL(fb__wake_sleep(&wake, &mask, fb__clock_ns()), ETIMEDOUT);
    fb__wake_unguard(&mask);
    fb__wake_destroy(&wake);
}

static void threads_that_cannot_be_started_leave_the_others_to_stop(void)
{
    /* Stacks are mapped when threads are made: with little address space left some do start and the rest cannot. */
    struct rlimit before, little;
    getrlimit(RLIMIT_AS, &before);
    struct pipeline *pipeline = make(2000, 1);
    little = before;
    little.rlim_cur = UINT64_C(1) << 30;
    if (IS_SANITIZED || setrlimit(RLIMIT_AS, &little) != 0) {
        finish(pipeline);
        return;
    }
    struct fb_error error;
    int code = fb__stage_start(pipeline->stage, &error);
    setrlimit(RLIMIT_AS, &before);
    CHECK_EQUAL(code, EAGAIN);
    CHECK_EQUAL(fb__stage_stop(pipeline->stage, FB_NO_DEADLINE), 0);
    CHECK_EQUAL(atomic_load(&pipeline->ended_count), 2000);
    CHECK(atomic_load(&pipeline->let_go_count) < 2000);
    finish(pipeline);
}

static void every_allocation_of_create_may_fail(void)
{
    struct fb__gate gate;
    fb__gate_init(&gate, &(struct fb__book){0});
    struct fb__stage_options options = {
        .name = "test", .worker_count = 2, .bound = 1, .gate = &gate, .ops = {.work = work}};
    int64_t after = 0;
    for (;; after++) {
        struct fb__stage *stage;
        struct fb_error error;
        fb__gate_fail_nth(&gate, after, -1);
        int code = fb__stage_create(&options, &stage, &error);
        fb__gate_fail_nth(&gate, 0, 0);
        if (code == 0) {
            fb__stage_destroy(stage);
            break;
        }
        CHECK_EQUAL(code, ENOMEM);
    }
    CHECK(after > 0);
}

int main(void)
{
    RUN(each_input_is_seen_once_and_the_bound_holds);
    RUN(an_adaptive_bound_starts_at_two);
    RUN(the_first_error_comes_after_what_was_queued_and_stays);
    RUN(a_worker_that_ends_without_a_word_is_an_error);
    RUN(an_early_stop_wakes_workers_that_wait_for_a_slot);
    RUN(a_stage_that_never_started_is_destroyed);
    RUN(a_worker_inside_a_callback_is_abandoned_at_the_deadline_and_ends_by_itself);
    RUN(a_worker_that_stops_its_own_stage_waits_for_the_others_alone);
    RUN(the_consumer_gets_what_the_deadline_says);
    RUN(an_interrupt_ends_the_wait_once);
    RUN(a_stuck_stage_is_told_from_a_slow_one);
    RUN(a_signal_ends_the_wait);
    RUN(a_signal_between_the_last_look_and_the_sleep_is_not_lost);
    RUN(threads_that_cannot_be_started_leave_the_others_to_stop);
    RUN(every_allocation_of_create_may_fail);
    return 0;
}
