/*
 * Random tests of src/ledger against plain models. The seed is printed; an argument replaces it.
 *
 *  alone       one thread, requests that do not wait: a model that keeps everything in arrays and adds it up each time
 *              says beforehand what every call must give
 *  together    threads that wait, grow, retire and evict while two others refuse, cancel and look on: at every
 *              instant what the threads have is within the limit, and all of it is given back in the end
 */
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "ledger_fixture.h"

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mixed = (*state ^ (*state >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

static uint64_t below(uint64_t *state, uint64_t end)
{
    return next_random(state) % end;
}

static uint64_t seed;

/* ---- alone ---- */

#define SLOT_COUNT 12
#define ALONE_STEPS 40000

enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_IDLE };

/* A grant as the model sees it. The grant itself is beside it and never read by the model. */
struct slot {
    struct fb__grant grant; /* first: eviction finds the slot */
    enum slot_state state;
    enum fb_account account;
    uint64_t order, bytes, age;
};

struct model {
    struct fb__ledger *ledger;
    struct slot slots[SLOT_COUNT];
    uint64_t direct[FB_ACCOUNT_COUNT];
    uint64_t peaks[FB_ACCOUNT_COUNT];
    uint64_t limit, peak, extra, held_share, frontier, age;
    bool evicted[SLOT_COUNT];
};

static uint64_t model_account(const struct model *model, int account)
{
    uint64_t bytes = model->direct[account];
    for (int i = 0; i < SLOT_COUNT; i++)
        if (model->slots[i].state != SLOT_FREE && (int)model->slots[i].account == account)
            bytes += model->slots[i].bytes;
    return bytes;
}

static uint64_t model_total(const struct model *model)
{
    uint64_t bytes = 0;
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) bytes += model_account(model, account);
    return bytes;
}

static uint64_t model_above(const struct model *model)
{
    uint64_t bytes = 0;
    for (int i = 0; i < SLOT_COUNT; i++)
        if (model->slots[i].state == SLOT_LIVE && model->slots[i].order > model->frontier)
            bytes += model->slots[i].bytes;
    return bytes;
}

/* The idle slot that was retired first or last, -1 where none. */
static int model_idle(const struct model *model, bool is_newest, uint64_t least_bytes, uint64_t most_bytes)
{
    int found = -1;
    for (int i = 0; i < SLOT_COUNT; i++) {
        const struct slot *slot = &model->slots[i];
        if (slot->state != SLOT_IDLE || slot->bytes < least_bytes || slot->bytes > most_bytes) continue;
        if (found < 0 || (slot->age > model->slots[found].age) == is_newest) found = i;
    }
    return found;
}

static uint64_t model_extra_left(const struct model *model, uint64_t order)
{
    if (order <= model->frontier) return UINT64_MAX;
    uint64_t used = model_above(model);
    uint64_t held = model_account(model, FB_ACCOUNT_HELD);
    if (held > model->held_share) used += held - model->held_share;
    return used < model->extra ? model->extra - used : 0;
}

/* Whether bytes can be had, and which idle slots go for them: they are freed in the model and marked evicted. */
static bool model_makes_room(struct model *model, uint64_t order, uint64_t bytes)
{
    memset(model->evicted, 0, sizeof model->evicted);
    if (bytes > model_extra_left(model, order)) return false;
    uint64_t idle = 0;
    for (int i = 0; i < SLOT_COUNT; i++)
        if (model->slots[i].state == SLOT_IDLE) idle += model->slots[i].bytes;
    if (model_total(model) - idle + bytes > model->limit) return false;
    while (model_total(model) + bytes > model->limit) {
        int oldest = model_idle(model, false, 0, UINT64_MAX);
        CHECK(oldest >= 0);
        model->slots[oldest].state = SLOT_FREE;
        model->evicted[oldest] = true;
    }
    return true;
}

static void model_evict(void *context, struct fb__grant *grant)
{
    struct model *model = context;
    struct slot *slot = (struct slot *)(void *)grant;
    int index = (int)(slot - model->slots);
    CHECK(model->evicted[index]); /* the model said beforehand that this one goes */
    model->evicted[index] = false;
    fb__ledger_release(model->ledger, grant);
}

static void compare(struct model *model)
{
    struct fb_account_stats accounts[FB_ACCOUNT_COUNT];
    uint64_t total_bytes;
    uint64_t peak_bytes;
    uint64_t total = model_total(model);
    if (total > model->peak) model->peak = total;
    CHECK(total <= model->limit);
    fb__ledger_figures(model->ledger, accounts, &total_bytes, &peak_bytes);
    CHECK_EQUAL(total_bytes, total);
    CHECK_EQUAL(peak_bytes, model->peak);
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) {
        uint64_t bytes = model_account(model, account);
        if (bytes > model->peaks[account]) model->peaks[account] = bytes;
        CHECK_EQUAL(accounts[account].bytes, bytes);
        CHECK_EQUAL(accounts[account].peak_bytes, model->peaks[account]);
    }
    for (int i = 0; i < SLOT_COUNT; i++) CHECK(!model->evicted[i]); /* all that had to go went */
    CHECK(fb__ledger_check(model->ledger));
}

/* An account for grants that are in use; FB_ACCOUNT_POOL is for idle ones. */
static enum fb_account any_account(uint64_t *state)
{
    static const enum fb_account accounts[] = {FB_ACCOUNT_READ, FB_ACCOUNT_BATCH, FB_ACCOUNT_REORDER, FB_ACCOUNT_HELD};
    return accounts[below(state, 4)];
}

static void fill_slot(struct slot *slot, enum fb_account account, uint64_t order, uint64_t bytes)
{
    slot->state = SLOT_LIVE;
    slot->account = account;
    slot->order = order;
    slot->bytes = bytes;
}

static void step_reserve(struct model *model, struct slot *slot, uint64_t *state)
{
    enum fb_account account = any_account(state);
    uint64_t order = below(state, 40);
    uint64_t bytes = below(state, 400);
    bool is_warm = below(state, 2);
    int idle = is_warm ? model_idle(model, true, bytes, model_extra_left(model, order)) : -1;
    bool expected = idle >= 0 || model_makes_room(model, order, bytes);
    struct fb__grant *out = &slot->grant;
    int code =
        is_warm ? fb__ledger_reserve_warm(model->ledger, &slot->grant, account, order, bytes, FB__NO_WAIT, &out, NULL)
                : fb__ledger_reserve(model->ledger, &slot->grant, account, order, bytes, FB__NO_WAIT, NULL);
    CHECK_EQUAL(code, expected ? 0 : ENOBUFS);
    if (code) return;
    if (idle >= 0) CHECK(out == &model->slots[idle].grant);
    struct slot *served = (struct slot *)(void *)out;
    fill_slot(served, account, order, idle >= 0 ? served->bytes : bytes);
}

static void step_live(struct model *model, struct slot *slot, uint64_t *state)
{
    uint64_t bytes = below(state, 100);
    struct fb__grant held;
    switch (below(state, 7)) {
    case 0: {
        bool expected = model_makes_room(model, slot->order, bytes);
        CHECK_EQUAL(fb__ledger_grow(model->ledger, &slot->grant, bytes, FB__NO_WAIT, NULL), expected ? 0 : ENOBUFS);
        if (expected) slot->bytes += bytes;
        break;
    }
    case 1:
        bytes = below(state, slot->bytes + 1);
        fb__ledger_shrink(model->ledger, &slot->grant, bytes);
        slot->bytes -= bytes;
        break;
    case 2:
        slot->account = any_account(state);
        slot->order = below(state, 40);
        fb__ledger_move(model->ledger, &slot->grant, slot->account, slot->order);
        break;
    case 3:
        memset(&held, 0, sizeof held);
        fb__ledger_transfer(model->ledger, &slot->grant, &held);
        CHECK(fb__ledger_check(model->ledger));
        fb__ledger_transfer(model->ledger, &held, &slot->grant);
        break;
    case 4:
    case 5:
        fb__ledger_retire(model->ledger, &slot->grant);
        fill_slot(slot, FB_ACCOUNT_POOL, FB__ORDER_NONE, slot->bytes);
        slot->state = SLOT_IDLE;
        slot->age = ++model->age;
        break;
    default:
        fb__ledger_release(model->ledger, &slot->grant);
        slot->state = SLOT_FREE;
        break;
    }
}

static void step_book(struct model *model, uint64_t *state)
{
    int account = (int)below(state, FB_ACCOUNT_COUNT);
    uint64_t bytes = below(state, 150);
    uint64_t spare = model->direct[account] - (account == FB_ACCOUNT_CORE ? sizeof(struct fb__ledger) : 0);
    switch (below(state, 5)) {
    case 0: {
        bool expected = model_makes_room(model, FB__ORDER_NONE, bytes);
        CHECK_EQUAL(fb__ledger_charge(model->ledger, (enum fb_account)account, bytes, NULL), expected ? 0 : ENOBUFS);
        if (expected) model->direct[account] += bytes;
        break;
    }
    case 1:
    case 2:
        bytes = below(state, spare + 1);
        fb__ledger_credit(model->ledger, (enum fb_account)account, bytes);
        model->direct[account] -= bytes;
        break;
    case 3:
        model->extra = below(state, 700);
        model->held_share = below(state, 400);
        fb__ledger_set_extra(model->ledger, model->extra, model->held_share);
        break;
    default:
        model->frontier = model->frontier >= 35 ? 0 : model->frontier + below(state, 5);
        fb__ledger_set_frontier(model->ledger, model->frontier);
        break;
    }
}

static void take_all_idle(struct model *model)
{
    for (int newest; (newest = model_idle(model, true, 0, UINT64_MAX)) >= 0;) {
        struct slot *slot = &model->slots[newest];
        CHECK(fb__ledger_take_idle(model->ledger) == &slot->grant);
        CHECK(fb__ledger_check(model->ledger));
        fb__ledger_release(model->ledger, &slot->grant);
        slot->state = SLOT_FREE;
    }
    CHECK(fb__ledger_take_idle(model->ledger) == NULL);
}

static void a_thread_alone_gets_what_the_plain_model_says(void)
{
    static struct model model;
    uint64_t state = seed;
    memset(&model, 0, sizeof model);
    model.limit = model.peak = sizeof(struct fb__ledger);
    model.direct[FB_ACCOUNT_CORE] = sizeof(struct fb__ledger);
    model.limit += 1000;
    CHECK_EQUAL(fb__ledger_create(model.limit, &model.ledger, NULL), 0);
    const struct fb__ledger_ops ops = {model_evict, &model};
    fb__ledger_set_ops(model.ledger, &ops);
    for (int step = 0; step < ALONE_STEPS; step++) {
        struct slot *slot = &model.slots[below(&state, SLOT_COUNT)];
        if (below(&state, 6) == 0)
            step_book(&model, &state);
        else if (slot->state == SLOT_FREE)
            step_reserve(&model, slot, &state);
        else if (slot->state == SLOT_LIVE)
            step_live(&model, slot, &state);
        else if (below(&state, 50) == 0)
            take_all_idle(&model);
        compare(&model);
    }
    take_all_idle(&model);
    for (int i = 0; i < SLOT_COUNT; i++)
        if (model.slots[i].state == SLOT_LIVE) fb__ledger_release(model.ledger, &model.slots[i].grant);
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++)
        fb__ledger_credit(model.ledger, (enum fb_account)account,
                          model.direct[account] - (account == FB_ACCOUNT_CORE ? sizeof(struct fb__ledger) : 0));
    fb__ledger_destroy(model.ledger);
}

/* ---- together ---- */

#define THREAD_COUNT 4
#define UNITS_PER_THREAD 1500
#define TOGETHER_BYTES 4000

/* What threads have: added after the ledger promised it, taken off before it is given back. So the ledger's total is
 * never less, and this never passes the limit. */
struct together {
    struct fb__ledger *ledger;
    struct fb__ledger_ops ops;
    _Atomic uint64_t had_bytes;
    _Atomic uint64_t live_threads;
    _Atomic uint64_t served, reused, evicted, grown, cancelled, refused;
    /* the plan: orders are handed out one by one, the frontier is the lowest that is not done */
    pthread_mutex_t plan_mutex;
    uint64_t next_order;
    uint64_t frontier;
    bool is_done[THREAD_COUNT * UNITS_PER_THREAD + 1];
};

/* A grant on the heap that evicts itself. */
struct item {
    struct fb__grant grant;
    uint64_t bytes;
};

static void have(struct together *together, uint64_t bytes)
{
    uint64_t had_bytes = atomic_fetch_add(&together->had_bytes, bytes) + bytes;
    CHECK(had_bytes <= TOGETHER_BYTES);
}

static void drop_item(struct together *together, struct item *item)
{
    atomic_fetch_sub(&together->had_bytes, item->bytes);
    fb__ledger_release(together->ledger, &item->grant);
    free(item);
}

static void evict_item(void *context, struct fb__grant *grant)
{
    struct together *together = context;
    atomic_fetch_add(&together->evicted, 1);
    drop_item(together, (struct item *)(void *)grant);
}

/* Counts a refusal and says whether there was one. */
static bool has_failed(struct together *together, int code)
{
    if (code == ECANCELED) atomic_fetch_add(&together->cancelled, 1);
    if (code == ENOBUFS) atomic_fetch_add(&together->refused, 1);
    CHECK(code == 0 || code == ECANCELED || code == ENOBUFS);
    return code != 0;
}

static struct item *reserve_item(struct together *together, uint64_t order, uint64_t *state)
{
    struct item *item = calloc(1, sizeof *item);
    CHECK(item != NULL);
    item->bytes = 1 + below(state, below(state, 8) == 0 ? TOGETHER_BYTES : 900);
    struct fb__grant *out = &item->grant;
    int code;
    bool is_warm = below(state, 2);
    do { /* what is cancelled begins again */
        code = is_warm ? fb__ledger_reserve_warm(together->ledger, &item->grant, FB_ACCOUNT_BATCH, order, item->bytes,
                                                 FB__WAIT, &out, NULL)
                       : fb__ledger_reserve(together->ledger, &item->grant, FB_ACCOUNT_BATCH, order, item->bytes,
                                            FB__WAIT, NULL);
        if (code == ECANCELED) (void)sched_yield();
    } while (has_failed(together, code) && code == ECANCELED);
    if (code) {
        free(item);
        return NULL;
    }
    atomic_fetch_add(&together->served, 1);
    if (out != &item->grant) {
        CHECK(((struct item *)(void *)out)->bytes >= item->bytes);
        free(item);
        atomic_fetch_add(&together->reused, 1);
        return (struct item *)(void *)out;
    }
    have(together, item->bytes);
    return item;
}

static void use_item(struct together *together, struct item *item, uint64_t *state)
{
    for (uint64_t uses = below(state, 4); uses > 0; uses--) {
        uint64_t bytes = below(state, 300);
        switch (below(state, 3)) {
        case 0: {
            enum fb__ledger_wait wait = below(state, 2) ? FB__WAIT : FB__NO_WAIT;
            if (has_failed(together, fb__ledger_grow(together->ledger, &item->grant, bytes, wait, NULL))) break;
            atomic_fetch_add(&together->grown, 1);
            item->bytes += bytes;
            have(together, bytes);
            break;
        }
        case 1:
            bytes = below(state, item->bytes);
            atomic_fetch_sub(&together->had_bytes, bytes);
            item->bytes -= bytes;
            fb__ledger_shrink(together->ledger, &item->grant, bytes);
            break;
        default:
            fb__ledger_commit(together->ledger, &item->grant, item->bytes);
            if (fb__ledger_charge(together->ledger, FB_ACCOUNT_CORE, bytes, NULL) == 0) {
                have(together, bytes);
                (void)sched_yield();
                atomic_fetch_sub(&together->had_bytes, bytes);
                fb__ledger_credit(together->ledger, FB_ACCOUNT_CORE, bytes);
            }
            fb__ledger_uncommit(together->ledger, &item->grant, item->bytes);
            break;
        }
    }
    if (below(state, 2)) fb__ledger_move(together->ledger, &item->grant, FB_ACCOUNT_HELD, FB__ORDER_NONE);
}

static void finish_order(struct together *together, uint64_t order)
{
    CHECK_EQUAL(pthread_mutex_lock(&together->plan_mutex), 0);
    together->is_done[order] = true;
    while (together->frontier < together->next_order && together->is_done[together->frontier]) together->frontier++;
    fb__ledger_set_frontier(together->ledger, together->frontier);
    CHECK_EQUAL(pthread_mutex_unlock(&together->plan_mutex), 0);
}

struct worker {
    struct together *together;
    uint64_t state;
    pthread_t thread;
};

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct together *together = worker->together;
    for (int i = 0; i < UNITS_PER_THREAD; i++) {
        CHECK_EQUAL(pthread_mutex_lock(&together->plan_mutex), 0);
        uint64_t order = together->next_order++;
        CHECK_EQUAL(pthread_mutex_unlock(&together->plan_mutex), 0);
        struct item *item = reserve_item(together, order, &worker->state);
        if (item) {
            use_item(together, item, &worker->state);
            if (below(&worker->state, 2))
                fb__ledger_retire(together->ledger, &item->grant);
            else
                drop_item(together, item);
        }
        finish_order(together, order);
    }
    atomic_fetch_sub(&together->live_threads, 1);
    return NULL;
}

/* Frees who is starved, as a consumer would, and cancels now and then. */
static void *run_consumer(void *argument)
{
    struct worker *worker = argument;
    struct together *together = worker->together;
    while (atomic_load(&together->live_threads) > 0) {
        if (fb__ledger_is_starved(together->ledger, NULL) && below(&worker->state, 8) == 0)
            (void)fb__ledger_refuse_waiting(together->ledger);
        if (below(&worker->state, 200) == 0) {
            CHECK_EQUAL(pthread_mutex_lock(&together->plan_mutex), 0);
            uint64_t from_order = together->frontier + below(&worker->state, THREAD_COUNT);
            CHECK_EQUAL(pthread_mutex_unlock(&together->plan_mutex), 0);
            fb__ledger_cancel(together->ledger, from_order);
            (void)sched_yield();
            fb__ledger_resume(together->ledger);
        }
        (void)sched_yield();
    }
    return NULL;
}

static void *run_onlooker(void *argument)
{
    struct worker *worker = argument;
    struct together *together = worker->together;
    while (atomic_load(&together->live_threads) > 0) {
        struct fb_account_stats accounts[FB_ACCOUNT_COUNT];
        uint64_t total_bytes;
        uint64_t peak_bytes;
        uint64_t sum_bytes = 0;
        fb__ledger_figures(together->ledger, accounts, &total_bytes, &peak_bytes);
        for (int account = 0; account < FB_ACCOUNT_COUNT; account++) sum_bytes += accounts[account].bytes;
        CHECK_EQUAL(sum_bytes, total_bytes);
        CHECK(total_bytes <= peak_bytes && peak_bytes <= fb__ledger_limit(together->ledger));
        CHECK(fb__ledger_check(together->ledger));
        (void)sched_yield();
    }
    return NULL;
}

static void threads_together_never_have_more_than_the_limit(void)
{
    static struct together together;
    struct worker workers[THREAD_COUNT + 2];
    memset(&together, 0, sizeof together);
    CHECK_EQUAL(pthread_mutex_init(&together.plan_mutex, NULL), 0);
    CHECK_EQUAL(fb__ledger_create(sizeof(struct fb__ledger) + TOGETHER_BYTES, &together.ledger, NULL), 0);
    together.ops = (struct fb__ledger_ops){evict_item, &together};
    fb__ledger_set_ops(together.ledger, &together.ops);
    fb__ledger_set_extra(together.ledger, TOGETHER_BYTES / 2, TOGETHER_BYTES / 4);
    together.next_order = 1;
    together.frontier = 1;
    fb__ledger_set_frontier(together.ledger, 1);
    atomic_store(&together.live_threads, THREAD_COUNT);
    for (int i = 0; i < THREAD_COUNT + 2; i++) {
        void *(*run)(void *) = i < THREAD_COUNT ? run_worker : i == THREAD_COUNT ? run_consumer : run_onlooker;
        workers[i].together = &together;
        workers[i].state = seed + (uint64_t)i + 1;
        CHECK_EQUAL(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
    for (int i = 0; i < THREAD_COUNT + 2; i++) CHECK_EQUAL(pthread_join(workers[i].thread, NULL), 0);
    for (struct fb__grant *grant; (grant = fb__ledger_take_idle(together.ledger)) != NULL;)
        drop_item(&together, (struct item *)(void *)grant);
    CHECK_EQUAL(atomic_load(&together.had_bytes), 0);
    CHECK_EQUAL(fb__ledger_total(together.ledger), sizeof(struct fb__ledger));
    printf("    served %" PRIu64 ", reused %" PRIu64 ", evicted %" PRIu64 ", grown %" PRIu64 ", cancelled %" PRIu64
           ", refused %" PRIu64 "\n",
           together.served, together.reused, together.evicted, together.grown, together.cancelled, together.refused);
    /* What the test is about did happen. Cancelling depends on timing. */
    CHECK(together.reused > 0 && together.evicted > 0 && together.grown > 0);
    CHECK(together.served > THREAD_COUNT * UNITS_PER_THREAD / 2);
    fb__ledger_destroy(together.ledger);
    CHECK_EQUAL(pthread_mutex_destroy(&together.plan_mutex), 0);
}

int main(int argument_count, char **arguments)
{
    seed = argument_count > 1 ? strtoull(arguments[1], NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
    printf("seed %" PRIu64 "\n", seed);
    RUN(a_thread_alone_gets_what_the_plain_model_says);
    RUN(threads_together_never_have_more_than_the_limit);
    return 0;
}
