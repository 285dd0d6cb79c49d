/*
 * The stage: workers, slots and the bounded queue. The rules stand in stage.h.
 *
 * Lock model: `lock` guards everything but what is marked atomic. Worker states and times are atomic, so that the
 * hot path and stats take no lock for them. `is_consumer_waiting` is atomic because a poke may come from a thread that
 * holds a lock of higher rank: it pairs with the ledger's lock, see fb__stage_poke.
 */
#include "flow/stage.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "flow/parking.h"
#include "flow/wake.h"

struct fb__worker {
    struct fb__stage *stage; /* immutable */
    uint32_t index;          /* immutable */
    pthread_t thread;        /* the consumer's */
    _Atomic int state;
    _Atomic uint64_t state_since_ns;
    _Atomic uint64_t state_ns[FB__WORKER_STATE_COUNT];
    /* guarded by the stage's lock */
    bool has_slot;
    bool has_ended;
    bool has_thread; /* started and not yet joined */
};

struct fb__stage {
    /* immutable */
    const char *name;
    struct fb__gate *gate;
    struct fb__stage_ops ops;
    uint64_t size_bytes;
    uint32_t worker_count;
    bool is_adaptive;
    struct fb__wake wake;

    struct fb__lock input_lock;
    struct fb__lock lock;
    /* guarded by lock */
    struct fb__parking slot_free;
    struct fb__cond worker_ended;
    struct fb__link queue;
    uint64_t queued_count;
    uint64_t slots_taken; /* results in the making */
    uint64_t bound;
    uint64_t frontier;
    uint32_t live_count;
    bool is_started;
    bool refuses_slots;
    struct fb_error error; /* code 0: none yet */

    _Atomic bool is_stopping;
    _Atomic bool is_interrupted;
    _Atomic bool is_consumer_waiting;
    _Atomic uint64_t put_count;

    struct fb__worker workers[];
};

#define ADAPTIVE_BOUND_START 2
#define ADAPTIVE_BOUND_MOST 1024 /* far above what bytes allow in practice; keeps the doubling from overflowing */

/* ---- making and freeing ---- */

int fb__stage_create(const struct fb__stage_options *options, struct fb__stage **out, struct fb_error *error)
{
    assert(options->worker_count > 0);
    struct fb__stage *stage;
    uint64_t size_bytes = sizeof *stage + options->worker_count * sizeof stage->workers[0];
    void *memory;
    int code = fb__gate_alloc(options->gate, FB_ACCOUNT_CORE, size_bytes, &memory, error);
    if (code) return code;
    stage = memory;
    stage->name = options->name;
    stage->gate = options->gate;
    stage->ops = options->ops;
    stage->size_bytes = size_bytes;
    stage->worker_count = options->worker_count;
    stage->is_adaptive = options->bound == FB_PREFETCH_ADAPTIVE;
    stage->bound = stage->is_adaptive ? ADAPTIVE_BOUND_START : (uint64_t)options->bound;
    fb__list_init(&stage->queue);
    for (uint32_t i = 0; i < stage->worker_count; i++) {
        stage->workers[i].stage = stage;
        stage->workers[i].index = i;
    }
    code = fb__wake_init(&stage->wake, error);
    if (code) goto fail_wake;
    code = fb__lock_init(&stage->input_lock, FB__RANK_STAGE_INPUT, error);
    if (code) goto fail_input_lock;
    code = fb__lock_init(&stage->lock, FB__RANK_STAGE, error);
    if (code) goto fail_lock;
    code = fb__cond_init(&stage->slot_free.cond, error);
    if (code) goto fail_slot_free;
    code = fb__cond_init(&stage->worker_ended, error);
    if (code) goto fail_worker_ended;
    *out = stage;
    return 0;

fail_worker_ended:
    fb__cond_destroy(&stage->slot_free.cond);
fail_slot_free:
    fb__lock_destroy(&stage->lock);
fail_lock:
    fb__lock_destroy(&stage->input_lock);
fail_input_lock:
    fb__wake_destroy(&stage->wake);
fail_wake:
    fb__gate_free(options->gate, FB_ACCOUNT_CORE, stage, size_bytes);
    return code;
}

static void drop_queued(struct fb__stage *stage)
{
    for (;;) {
        fb__lock_acquire(&stage->lock);
        struct fb__link *result = fb__list_pop_first(&stage->queue);
        if (result) stage->queued_count--;
        fb__lock_release(&stage->lock);
        if (!result) return;
        stage->ops.drop(stage->ops.context, result);
    }
}

void fb__stage_destroy(struct fb__stage *stage)
{
    if (!stage) return;
    assert(stage->live_count == 0);
    drop_queued(stage); /* what abandoned workers had in the making when the stage was stopped */
    fb__cond_destroy(&stage->worker_ended);
    fb__cond_destroy(&stage->slot_free.cond);
    fb__lock_destroy(&stage->lock);
    fb__lock_destroy(&stage->input_lock);
    fb__wake_destroy(&stage->wake);
    fb__gate_free(stage->gate, FB_ACCOUNT_CORE, stage, stage->size_bytes);
}

/* ---- workers ---- */

uint32_t fb__worker_index(const struct fb__worker *worker)
{
    return worker->index;
}

enum fb__worker_state fb__worker_enter(struct fb__worker *worker, enum fb__worker_state state)
{
    int before = atomic_load_explicit(&worker->state, memory_order_relaxed);
    if (before == (int)state) return state;
    uint64_t now_ns = fb__clock_ns();
    uint64_t since_ns = atomic_exchange_explicit(&worker->state_since_ns, now_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->state_ns[before], now_ns - since_ns, memory_order_relaxed);
    atomic_store(&worker->state, (int)state);
    return (enum fb__worker_state)before;
}

void fb__stage_poke(struct fb__stage *stage)
{
    if (atomic_load(&stage->is_consumer_waiting)) fb__wake_signal(&stage->wake);
}

void fb__stage_interrupt(struct fb__stage *stage)
{
    atomic_store(&stage->is_interrupted, true);
    fb__stage_poke(stage);
}

bool fb__stage_is_stopping(struct fb__stage *stage)
{
    return atomic_load(&stage->is_stopping);
}

void fb__stage_input_acquire(struct fb__stage *stage, struct fb__worker *worker)
{
    enum fb__worker_state before = fb__worker_enter(worker, FB__WORKER_WAITS_INPUT);
    fb__lock_acquire(&stage->input_lock);
    fb__worker_enter(worker, before);
}

void fb__stage_input_release(struct fb__stage *stage)
{
    fb__lock_release(&stage->input_lock);
}

static bool slot_is_free_locked(const struct fb__stage *stage, uint64_t order)
{
    uint64_t bound = stage->bound;
    if (bound == 0 && atomic_load(&stage->is_consumer_waiting)) bound = 1;
    uint64_t used_count = stage->queued_count;
    if (order > stage->frontier) used_count += stage->slots_taken;
    return used_count < bound;
}

static bool gives_slots_locked(struct fb__stage *stage)
{
    return !fb__stage_is_stopping(stage) && !stage->refuses_slots;
}

int fb__stage_take_slot(struct fb__stage *stage, struct fb__worker *worker, uint64_t order)
{
    fb__lock_acquire(&stage->lock);
    if (!worker->has_slot) {
        enum fb__worker_state before =
            (enum fb__worker_state)atomic_load_explicit(&worker->state, memory_order_relaxed);
        while (gives_slots_locked(stage) && !slot_is_free_locked(stage, order)) {
            fb__worker_enter(worker, FB__WORKER_WAITS_OUTPUT);
            fb__stage_poke(stage);
            fb__parking_wait(&stage->slot_free, &stage->lock);
        }
        fb__worker_enter(worker, before);
        if (gives_slots_locked(stage)) {
            worker->has_slot = true;
            stage->slots_taken++;
        }
    }
    bool has_slot = worker->has_slot;
    fb__lock_release(&stage->lock);
    return has_slot ? 0 : ECANCELED;
}

static void give_slot_back_locked(struct fb__stage *stage, struct fb__worker *worker)
{
    if (!worker->has_slot) return;
    worker->has_slot = false;
    stage->slots_taken--;
}

void fb__stage_set_frontier(struct fb__stage *stage, uint64_t frontier)
{
    fb__lock_acquire(&stage->lock);
    stage->frontier = frontier;
    fb__parking_wake_all(&stage->slot_free);
    fb__lock_release(&stage->lock);
}

void fb__stage_pass_slot(struct fb__stage *stage, struct fb__worker *worker)
{
    fb__lock_acquire(&stage->lock);
    assert(worker->has_slot);
    worker->has_slot = false;
    fb__lock_release(&stage->lock);
}

void fb__stage_refuse_slots(struct fb__stage *stage)
{
    fb__lock_acquire(&stage->lock);
    stage->refuses_slots = true;
    fb__parking_wake_all(&stage->slot_free);
    fb__lock_release(&stage->lock);
}

void fb__stage_put(struct fb__stage *stage, struct fb__worker *worker, struct fb__link *result, bool has_slot)
{
    fb__lock_acquire(&stage->lock);
    fb__list_insert_before(&stage->queue, result);
    stage->queued_count++;
    if (has_slot)
        stage->slots_taken--;
    else
        give_slot_back_locked(stage, worker);
    fb__lock_release(&stage->lock);
    atomic_fetch_add_explicit(&stage->put_count, 1, memory_order_relaxed);
    fb__stage_poke(stage);
}

/* What the thread's clean-up handler needs; it also runs when a callback ends the thread behind our back. */
struct worker_frame {
    struct fb__worker *worker;
    struct fb_error error;
    bool has_finished;
};

static void worker_finish(void *argument)
{
    struct worker_frame *frame = argument;
    struct fb__worker *worker = frame->worker;
    struct fb__stage *stage = worker->stage;
    if (!frame->has_finished)
        (void)fb__fail(&frame->error, EPIPE, "a %s thread ended without a word: a callback ended its thread",
                       stage->name);
    fb__worker_enter(worker, FB__WORKER_BUSY);
    if (stage->ops.let_go) stage->ops.let_go(stage->ops.context, worker, &frame->error);
    void (*ended)(void *) = stage->ops.ended;
    void *context = stage->ops.context;

    fb__worker_enter(worker, FB__WORKER_WAITS_INPUT); /* closes the book on its busy time */
    fb__lock_acquire(&stage->lock);
    give_slot_back_locked(stage, worker);
    bool has_failed = frame->error.code != 0 && frame->error.code != ECANCELED;
    if (has_failed && !stage->error.code) stage->error = frame->error;
    worker->has_ended = true;
    stage->live_count--;
    fb__cond_broadcast(&stage->worker_ended);
    fb__parking_wake_all(&stage->slot_free);
    fb__stage_poke(stage); /* under the lock: after it is let go the stage may be gone */
    fb__lock_release(&stage->lock);
    if (ended) ended(context);
}

static void *worker_main(void *argument)
{
    struct worker_frame frame = {.worker = argument};
    struct fb__stage *stage = frame.worker->stage;
    atomic_store(&frame.worker->state_since_ns, fb__clock_ns());
    pthread_cleanup_push(worker_finish, &frame);
    int code = 0;
    while (code == 0 && !fb__stage_is_stopping(stage))
        code = stage->ops.work(stage->ops.context, frame.worker, &frame.error);
    if (code <= 0) frame.error.code = 0;
    frame.has_finished = true;
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- starting and stopping ---- */

int fb__stage_start(struct fb__stage *stage, struct fb_error *error)
{
    assert(!stage->is_started);
    stage->is_started = true;
    stage->live_count = stage->worker_count;
    for (uint32_t i = 0; i < stage->worker_count; i++) {
        struct fb__worker *worker = &stage->workers[i];
        int code = fb__thread_start(&worker->thread, stage->name, worker_main, worker, error);
        if (code) {
            fb__lock_acquire(&stage->lock);
            for (uint32_t j = i; j < stage->worker_count; j++) stage->workers[j].has_ended = true;
            stage->live_count -= stage->worker_count - i;
            fb__lock_release(&stage->lock);
            for (uint32_t j = i; stage->ops.ended && j < stage->worker_count; j++) stage->ops.ended(stage->ops.context);
            return code;
        }
        worker->has_thread = true;
    }
    return 0;
}

bool fb__stage_is_started(const struct fb__stage *stage)
{
    return stage->is_started;
}

/* Where a worker's callback is what stops the stage, nobody can wait for its thread: 1, else 0. */
static uint32_t detach_own_thread_locked(struct fb__stage *stage)
{
    for (uint32_t i = 0; i < stage->worker_count; i++) {
        struct fb__worker *worker = &stage->workers[i];
        if (!worker->has_thread || !pthread_equal(worker->thread, pthread_self())) continue;
        worker->has_thread = false;
        pthread_detach(worker->thread);
        return 1;
    }
    return 0;
}

uint32_t fb__stage_stop(struct fb__stage *stage, uint64_t deadline_ns)
{
    uint32_t abandoned_count = 0;
    fb__lock_acquire(&stage->lock);
    atomic_store(&stage->is_stopping, true);
    fb__parking_wake_all(&stage->slot_free);
    uint32_t own_count = detach_own_thread_locked(stage);
    while (stage->live_count > own_count && fb__cond_wait_until(&stage->worker_ended, &stage->lock, deadline_ns))
        continue;
    for (uint32_t i = 0; i < stage->worker_count; i++) {
        struct fb__worker *worker = &stage->workers[i];
        if (!worker->has_thread || worker->has_ended) continue;
        worker->has_thread = false;
        pthread_detach(worker->thread);
        abandoned_count++;
    }
    fb__lock_release(&stage->lock);
    for (uint32_t i = 0; i < stage->worker_count; i++) {
        struct fb__worker *worker = &stage->workers[i];
        if (!worker->has_thread) continue;
        worker->has_thread = false;
        pthread_join(worker->thread, NULL);
    }
    drop_queued(stage);
    return abandoned_count;
}

/* ---- the consumer ---- */

uint32_t fb__stage_active_count(struct fb__stage *stage)
{
    fb__lock_acquire(&stage->lock);
    uint32_t active_count = stage->live_count - stage->slot_free.parked_count;
    fb__lock_release(&stage->lock);
    return active_count;
}

/* What there is for the consumer now: 0, an error code, or EAGAIN where it must wait. */
static int take_locked(struct fb__stage *stage, struct fb__link **out, struct fb_error *error)
{
    *out = fb__list_pop_first(&stage->queue);
    if (*out) {
        stage->queued_count--;
        /* Before a worker looks for a slot: the one that waiting stood for has been used. */
        atomic_store(&stage->is_consumer_waiting, false);
        fb__parking_wake_all(&stage->slot_free);
        return 0;
    }
    if (atomic_exchange(&stage->is_interrupted, false)) return ECANCELED;
    if (stage->live_count > 0) return EAGAIN;
    if (stage->error.code && error) *error = stage->error;
    return stage->error.code;
}

static int wait_once(struct fb__stage *stage, const sigset_t *mask, uint64_t deadline_ns, bool ask_stuck)
{
    if (ask_stuck && stage->ops.is_stuck && stage->ops.is_stuck(stage->ops.context)) {
        /* A worker may have put its last result before it got stuck, after the consumer looked. */
        fb__lock_acquire(&stage->lock);
        bool is_empty = fb__list_is_empty(&stage->queue);
        fb__lock_release(&stage->lock);
        return is_empty ? EDEADLK : 0;
    }
    return fb__wake_sleep(&stage->wake, mask, deadline_ns);
}

int fb__stage_next(struct fb__stage *stage, uint64_t deadline_ns, bool ask_stuck, struct fb__link **out,
                   struct fb_error *error)
{
    fb__lock_acquire(&stage->lock);
    int code = take_locked(stage, out, error);
    fb__lock_release(&stage->lock);
    if (code != EAGAIN || deadline_ns == 0) return code;

    sigset_t mask;
    fb__wake_guard(&mask);
    bool has_waited = false;
    for (;;) {
        fb__lock_acquire(&stage->lock);
        code = take_locked(stage, out, error);
        if (code == EAGAIN) {
            /* Set under the lock, so that a worker that looks for a slot right after sees it. */
            atomic_store(&stage->is_consumer_waiting, true);
            if (stage->bound == 0) fb__parking_wake_all(&stage->slot_free);
            if (stage->is_adaptive && !has_waited && stage->bound < ADAPTIVE_BOUND_MOST &&
                atomic_load_explicit(&stage->put_count, memory_order_relaxed) > 0) {
                stage->bound *= 2;
                fb__parking_wake_all(&stage->slot_free);
            }
            has_waited = true;
        }
        fb__lock_release(&stage->lock);
        if (code != EAGAIN) break;
        code = wait_once(stage, &mask, deadline_ns, ask_stuck);
        if (code) break;
    }
    fb__lock_acquire(&stage->lock);
    atomic_store(&stage->is_consumer_waiting, false);
    fb__lock_release(&stage->lock);
    fb__wake_unguard(&mask);
    return code;
}

void fb__stage_stats(struct fb__stage *stage, struct fb_stage_stats *out)
{
    uint64_t sum_ns[FB__WORKER_STATE_COUNT] = {0};
    for (uint32_t i = 0; i < stage->worker_count; i++)
        for (int state = 0; state < FB__WORKER_STATE_COUNT; state++)
            sum_ns[state] += atomic_load_explicit(&stage->workers[i].state_ns[state], memory_order_relaxed);
    const double second = (double)FB__SECOND_NS;
    *out = (struct fb_stage_stats){
        .name = stage->name,
        .busy_s = (double)sum_ns[FB__WORKER_BUSY] / second,
        .wait_input_s = (double)sum_ns[FB__WORKER_WAITS_INPUT] / second,
        .wait_output_s = (double)sum_ns[FB__WORKER_WAITS_OUTPUT] / second,
        .wait_bytes_s = (double)sum_ns[FB__WORKER_WAITS_BYTES] / second,
        .items = atomic_load_explicit(&stage->put_count, memory_order_relaxed),
    };
}
