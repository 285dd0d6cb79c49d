/*
 * The stage: N worker threads between one shared input and one bounded output.
 *
 *     shared input --(input lock)--> [worker 0..N-1] --(slots)--> queue --> one consumer
 *
 *  1. Each input is seen once: a worker pulls under the input lock.
 *  2. Results queued plus results in the making never pass the bound: a worker takes its slot first, then makes the
 *     result that uses it. While the consumer waits there is at least one slot, so a bound of 0 means "on demand".
 *  3. First error wins: it is kept, and the consumer gets it once every worker has ended and the queue is empty.
 *  4. A worker that ends without a word (pthread_exit in somebody's callback) is an error, not a wait.
 *  5. Stopping wakes everyone; each worker ends at its next call of the stage; stop, drain, join is one path.
 *  6. Nothing polls: workers wait on condition variables, the consumer in ppoll() on an eventfd that is written only
 *     while it waits.
 *
 * Locking: rank STAGE_INPUT for the input, rank STAGE for all else. Callbacks run with no lock held.
 */
#ifndef FB_FLOW_STAGE_H
#define FB_FLOW_STAGE_H

#include "base/list.h"
#include "base/lock.h"
#include "base/memory.h"

struct fb__stage;
struct fb__worker;

/* What a worker is doing; its time in each is what stats() shows. */
enum fb__worker_state {
    FB__WORKER_BUSY = 0,
    FB__WORKER_WAITS_INPUT,
    FB__WORKER_WAITS_OUTPUT,
    FB__WORKER_WAITS_BYTES,
    FB__WORKER_STATE_COUNT
};

/* Returned by fb__stage_ops.work: this worker has nothing more to do. */
#define FB__STAGE_DONE (-1)

struct fb__stage_ops {
    /* One step of a worker: 0 to be called again, FB__STAGE_DONE, or an errno code with error filled. ECANCELED
     * is an end, not an error: the worker was told to stop. */
    int (*work)(void *context, struct fb__worker *worker, struct fb_error *error);
    /* Lets go of a result that nobody will take. */
    void (*drop)(void *context, struct fb__link *result);
    /* The worker has made its last step, with error->code 0 where all is well: frees what it holds. Nullable. */
    void (*let_go)(void *context, struct fb__worker *worker, const struct fb_error *error);
    /* The very last call for a worker; the stage may be freed in it (the context may be counted). Nullable. */
    void (*ended)(void *context);
    /* Asked by the consumer about to wait: whether no worker can go on by itself. No lock held. Nullable. */
    bool (*is_stuck)(void *context);
    void *context;
};

struct fb__stage_options {
    const char *name;        /* static storage; names its threads too */
    uint32_t worker_count;   /* at least 1 */
    int64_t bound;           /* most results ready; FB_PREFETCH_ADAPTIVE: 2, doubled whenever the consumer waits */
    struct fb__stage_ops ops;
    struct fb__gate *gate;   /* its memory is booked in FB_ACCOUNT_CORE */
};

/* Makes a stage; no thread starts. *out: [out: free with fb__stage_destroy]. */
FB_MUST_CHECK int fb__stage_create(const struct fb__stage_options *options, struct fb__stage **out,
                                   struct fb_error *error);
/*
 * Starts the workers. Once per stage. On failure some may run: it is stopped with fb__stage_stop() as after success,
 * once the owner has woken what they may wait for. `ended` is called for every worker, also for one that never ran.
 */
FB_MUST_CHECK int fb__stage_start(struct fb__stage *stage, struct fb_error *error);
bool fb__stage_is_started(const struct fb__stage *stage);

/*
 * Stops and joins, and drops what is queued. Workers still inside a callback at deadline_ns are abandoned: their
 * number is returned and they go on to `ended` by themselves. After that nobody but them may use the stage.
 * A callback may stop its own stage (a garbage collector that runs in it, say): its worker is not waited for and not
 * counted, and goes on to `ended` once the callback has returned.
 */
uint32_t fb__stage_stop(struct fb__stage *stage, uint64_t deadline_ns);
/* Frees a stage that never started, was stopped with none abandoned, or whose last abandoned worker is in `ended`. */
void fb__stage_destroy(struct fb__stage *stage);

/* ---- for workers, from within work() ---- */

uint32_t fb__worker_index(const struct fb__worker *worker);

/* The shared input's lock. */
void fb__stage_input_acquire(struct fb__stage *stage, struct fb__worker *worker);
void fb__stage_input_release(struct fb__stage *stage);

/*
 * Waits for a slot unless this worker has one. ECANCELED when stopping or when slots are refused.
 * order: where the result comes in the plan, FB__NO_ORDER where there is none. A result at or below the frontier only
 * waits for room in the queue, not for slots that later results have taken: those may be waiting for it in turn.
 */
FB_MUST_CHECK int fb__stage_take_slot(struct fb__stage *stage, struct fb__worker *worker, uint64_t order);
#define FB__NO_ORDER UINT64_MAX

/* Moves the frontier, 0 at first, and lets on who waits for a slot because of it. */
void fb__stage_set_frontier(struct fb__stage *stage, uint64_t frontier);

/* From here on the worker's slot belongs to a result that another worker may put. */
void fb__stage_pass_slot(struct fb__stage *stage, struct fb__worker *worker);

/* Queues a result, using up the slot that was passed to it, or else the worker's where it has one. */
void fb__stage_put(struct fb__stage *stage, struct fb__worker *worker, struct fb__link *result, bool has_slot);

/* No further slot is given: whoever waits for one, now or later, gets ECANCELED. For a failure that ends all work. */
void fb__stage_refuse_slots(struct fb__stage *stage);

/* Says what the worker does from now on; returns what it did until now. Takes no lock. */
enum fb__worker_state fb__worker_enter(struct fb__worker *worker, enum fb__worker_state state);

bool fb__stage_is_stopping(struct fb__stage *stage);
/* Wakes the consumer, if it waits, to look again whether the stage is stuck. Takes no lock. */
void fb__stage_poke(struct fb__stage *stage);
/* Makes the consumer's wait, now or the next one, end with ECANCELED. Takes no lock; from any thread. */
void fb__stage_interrupt(struct fb__stage *stage);

/* ---- for the consumer ---- */

/*
 * The next result: 0 with *out, or with NULL when all workers have ended; EAGAIN (deadline_ns 0), ETIMEDOUT, EINTR,
 * ECANCELED (interrupted); EDEADLK when no worker can go on by itself (only where ask_stuck); else the first error.
 */
FB_MUST_CHECK int fb__stage_next(struct fb__stage *stage, uint64_t deadline_ns, bool ask_stuck, struct fb__link **out,
                                 struct fb_error *error);

/* Workers that have not ended and do not wait for a slot. */
uint32_t fb__stage_active_count(struct fb__stage *stage);

/* Times in each state summed over the workers, results put. */
void fb__stage_stats(struct fb__stage *stage, struct fb_stage_stats *out);

#endif
