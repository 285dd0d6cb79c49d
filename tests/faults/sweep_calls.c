/*
 * Every call to the system that a loader makes fails in turn, once and from then on: memory, mappings, locks, threads,
 * eventfds, files. A life of a loader is run again and again, the first call failing, then the second, until none is
 * left to fail. In each life the call of the public header that failed must say the right code and leave what it was to
 * take with the caller; made again without the failure it must succeed, and all rows must come. Whenever nothing is
 * under way the ledger must say, to the byte, what the system was asked for; in the end nothing may be left.
 *
 * With one reader thread the sweep meets every call; with two it fails calls at random.
 * Usage: sweep_calls [seed or "random" [random lives [every N-th call]]]
 */
#include "../unit/check.h"
#include "base/clock.h"
#include "world.h"

/* ---- what fails, and in what ---- */

struct failure {
    const char *name;
    enum fault_kind kind;
    int code;
    int expected; /* of the public call it happens in; 0: none of them fails */
    bool recurs; /* may fail from now on: otherwise a loop would never end */
};

static const struct failure failures[] = {
    {"memory", FAULT_MEMORY, ENOMEM, ENOMEM, .recurs = true},
    {"unmapping", FAULT_UNMAP, ENOMEM, 0, .recurs = true},
    {"locks", FAULT_LOCK, ENOMEM, ENOMEM, .recurs = true},
    {"threads", FAULT_THREAD, EAGAIN, ENOMEM, .recurs = true},
    {"eventfd", FAULT_EVENT, EMFILE, EMFILE, .recurs = true},
    {"open: too many", FAULT_OPEN, EMFILE, EMFILE, .recurs = true},
    {"open: gone", FAULT_OPEN, ENOENT, ENOENT, .recurs = true},
    {"open: again", FAULT_OPEN, EAGAIN, EIO, .recurs = true},
    {"open: interrupted", FAULT_OPEN, EINTR, 0, .recurs = false},
    {"fstat: i/o", FAULT_STATUS, EIO, EIO, .recurs = true},
    {"fstat: memory", FAULT_STATUS, ENOMEM, ENOMEM, .recurs = true},
    {"read: i/o", FAULT_READ, EIO, EIO, .recurs = true},
    {"read: again", FAULT_READ, EAGAIN, EIO, .recurs = true},
    {"read: memory", FAULT_READ, ENOMEM, EIO, .recurs = true},
    {"read: the end", FAULT_READ, FAULT_END, EIO, .recurs = true},
    {"read: interrupted", FAULT_READ, EINTR, 0, .recurs = false},
    {"read: short", FAULT_READ, FAULT_SHORT, 0, .recurs = true},
};
#define FAILURE_COUNT (sizeof failures / sizeof *failures)

struct life_case {
    uint64_t batch_rows;
    int64_t prefetch_batches;
    bool preserve_order;
    enum fb_null_policy null_policy;
    bool has_fill_values;
    bool is_at_least; /* where the least is exact: that is the limit */
    bool leaves_early;
    bool is_exported; /* as Arrow arrays */
    uint64_t unit_count;
    uint64_t unit_rows[WORLD_UNITS_MAX];
};

static const struct life_case life_cases[] = {
    {.batch_rows = 100, .prefetch_batches = 2, .unit_count = 4, .unit_rows = {170, 0, 230, 90}},
    {.batch_rows = 64,
     .preserve_order = true,
     .null_policy = FB_NULLS_MASK,
     .has_fill_values = true,
     .is_at_least = true,
     .unit_count = 3,
     .unit_rows = {150, 150, 33}},
    {.batch_rows = 70,
     .prefetch_batches = FB_PREFETCH_ADAPTIVE,
     .null_policy = FB_NULLS_FILL,
     .leaves_early = true,
     .unit_count = 4,
     .unit_rows = {10, 200, 200, 200}},
    {.batch_rows = 0, .prefetch_batches = 1, .is_exported = true, .unit_count = 3, .unit_rows = {120, 200, 61}},
    /* Large enough to be mapped. */
    {.batch_rows = 17000, .prefetch_batches = 1, .is_at_least = true, .unit_count = 2, .unit_rows = {17500, 1500}},
};
#define LIFE_CASE_COUNT (sizeof life_cases / sizeof *life_cases)

#define HELD_MOST 2

struct life {
    const struct life_case *what;
    const struct failure *failure;
    struct world *world;
    struct fb_loader_options options;
    struct fb_loader *loader;
    struct world_held held[HELD_MOST];
    uint64_t hold_count;
    struct fb_error room;
    struct fb_error *error; /* NULL in every other life */
    int64_t failures_seen;
    int64_t surfaced_count; /* calls of the public header that failed */
};

/* ---- a call that may fail ---- */

static void check_failure(struct life *life, int code)
{
    int64_t failures_now = fault_failures(life->failure->kind);
    if (code != life->failure->expected) fprintf(stderr, "    %d: %s\n", code, life->room.message);
    CHECK_EQUAL(code, life->failure->expected);
    CHECK(failures_now > life->failures_seen);
    life->failures_seen = failures_now;
    life->surfaced_count++;
    if (!life->error) return;
    CHECK_EQUAL(life->error->code, code);
    CHECK(life->error->message[0] != '\0');
}

static int make_source(struct life *life, struct fb_source **source)
{
    return life->world->kind->make(life->world, source, life->error);
}

/* A failure that recurs is seen twice, and then it is over. */
static void end_failures(int tries)
{
    CHECK(tries <= 2);
    if (tries == 2) fault_disarm();
}

static struct fb_source *source_of(struct life *life)
{
    struct fb_source *source = NULL;
    int code;
    for (int tries = 1; (code = make_source(life, &source)); tries++) {
        check_failure(life, code);
        CHECK(source == NULL);
        CHECK_EQUAL(fault_live_bytes(), 0);
        CHECK_EQUAL(world_contexts(life->world), 0);
        end_failures(tries);
    }
    return source;
}

/* Nothing is under way: the books must agree. */
static void check_books(const struct life *life)
{
    struct fb_stats stats;
    fb_loader_stats(life->loader, &stats);
    CHECK(world_is_booked(life->world, stats.charged_bytes, world_expected_charge(life->world)));
    CHECK(stats.peak_bytes <= life->options.memory_limit_bytes);
    CHECK(world_is_below(life->world, stats.peak_bytes));
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_READ].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_BATCH].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_REORDER].bytes, 0);
    CHECK_EQUAL(fault_live_threads(), 0);
    /* The source has the only one until an epoch takes it. */
    bool has_stream = life->world->kind->is_once && atomic_load(&life->world->script.pulls) == 0;
    CHECK(atomic_load(&life->world->script.live_streams) <= has_stream);
}

static void create(struct life *life)
{
    struct fb_source *source = source_of(life);
    int64_t source_bytes = fault_live_bytes();
    int code;
    for (int tries = 1; (code = fb_loader_create(&life->options, source, &life->loader, life->error)); tries++) {
        check_failure(life, code);
        CHECK(life->loader == NULL);
        CHECK_EQUAL(fault_live_bytes(), source_bytes); /* the caller's, as it was */
        CHECK_EQUAL(world_contexts(life->world), life->world->kind->context_bytes > 0);
        end_failures(tries);
    }
    check_books(life);
}

static void export_schema(struct life *life)
{
    int code;
    for (int tries = 1; (code = world_export_schema(life->world, life->loader, life->error)); tries++) {
        check_failure(life, code);
        end_failures(tries);
    }
    check_books(life);
}

static void begin_epoch(struct life *life)
{
    int code;
    for (int tries = 1; (code = fb_loader_begin_epoch(life->loader, FB_NO_DEADLINE, life->error)); tries++) {
        check_failure(life, code);
        struct fb_batch *batch;
        code = fb_loader_next(life->loader, 0, false, &batch, NULL);
        /* There is no epoch; what the one before it failed with is said again. */
        CHECK((code == 0 || code == life->failure->expected) && batch == NULL);
        end_failures(tries);
    }
}

/* ---- an epoch ---- */

static void let_go(struct life *life)
{
    for (int i = 0; i < HELD_MOST; i++) world_let_go(&life->held[i]);
}

static uint64_t deliver(struct life *life, struct fb_batch *batch, uint64_t number)
{
    if (life->options.preserve_order) CHECK_EQUAL(fb_batch_index(batch), number);
    struct world_held *place = &life->held[number % life->hold_count];
    struct world_held taken;
    uint64_t row_count = world_take(life->world, batch, life->options.batch_rows, &taken);
    world_let_go(place);
    *place = taken;
    return row_count;
}

/* False where it failed, with everything but batches in the user's hands given back. */
static bool run_epoch(struct life *life, uint64_t leave_after)
{
    begin_epoch(life);
    uint64_t rows = 0, number = 0;
    for (; number < leave_after; number++) {
        struct fb_batch *batch = NULL;
        int code = fb_loader_next(life->loader, fb__clock_ns() + 30 * FB__SECOND_NS, false, &batch, life->error);
        if (code) {
            check_failure(life, code);
            CHECK(batch == NULL);
            CHECK_EQUAL(fb_loader_next(life->loader, 0, false, &batch, NULL), code); /* and again */
            CHECK_EQUAL(fault_failures(life->failure->kind), life->failures_seen);
            check_books(life);
            return false;
        }
        if (!batch) break;
        rows += deliver(life, batch, number);
    }
    if (leave_after == UINT64_MAX) CHECK_EQUAL(rows, life->world->script.rows);
    CHECK_EQUAL(fb_loader_end_epoch(life->loader, FB_NO_DEADLINE, NULL), 0);
    check_books(life);
    return true;
}

/* ---- a life ---- */

static uint64_t least_limit(struct life *life)
{
    struct fb_loader_options options = life->options;
    struct fb_error error;
    struct fb_source *source;
    CHECK_EQUAL(life->world->kind->make(life->world, &source, &error), 0);
    options.memory_limit_bytes = 0;
    CHECK_EQUAL(fb_loader_create(&options, source, &life->loader, &error), ENOBUFS);
    fb_source_release(source);
    return error.required_bytes;
}

static void close_loader(struct life *life)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(life->loader, FB_NO_DEADLINE, NULL, &stats), 0);
    world_release_schema(life->world);
    /* Nothing but what the user holds, and the book itself. */
    CHECK(world_is_booked(life->world, stats.charged_bytes, fault_live_bytes()));
    CHECK(stats.held_batches <= HELD_MOST);
    let_go(life);
}

static void begin_life(struct life *life, uint32_t thread_count)
{
    static const int64_t number = -1;
    static const struct fb_fill_value fill_values[] = {{0, 0, &number, sizeof number}, {1, 0, "none", 4}};
    life->options = (struct fb_loader_options){
        .batch_rows = life->what->batch_rows,
        .memory_limit_bytes = 16 << 20,
        .prefetch_batches = life->what->prefetch_batches,
        .thread_count = thread_count,
        .preserve_order = life->what->preserve_order,
        .null_policy = life->what->null_policy,
        .fill_values = fill_values,
        .fill_value_count = life->what->has_fill_values ? 1 + (uint32_t)life->world->kind->has_text : 0,
    };
    world_set_options(life->world, life->what->is_exported, &life->options);
    /* A warm batch that could not be made larger has no memory left. */
    if (life->options.batch_rows == 0) life->world->is_booked_ahead = true;
    bool is_at_least = life->what->is_at_least && life->world->kind->is_exact;
    if (is_at_least) life->options.memory_limit_bytes = least_limit(life);
    life->hold_count = is_at_least ? 1 : HELD_MOST;
}

/* An epoch that failed before the stream was opened leaves it to the next one; else there is no other. */
static void run_once(struct life *life)
{
    bool is_read = false;
    for (int tries = 1; !is_read && !run_epoch(life, UINT64_MAX); tries++) {
        end_failures(tries);
        is_read = atomic_load(&life->world->script.pulls) > 0;
    }
    fault_disarm();
    struct fb_batch *batch;
    CHECK_EQUAL(fb_loader_begin_epoch(life->loader, FB_NO_DEADLINE, NULL), 0);
    CHECK_EQUAL(fb_loader_next(life->loader, FB_NO_DEADLINE, false, &batch, NULL), EIO);
    CHECK(batch == NULL);
}

static int64_t life_count;

/* Returns whether there was a call to fail. */
static bool live(struct world *world, const struct life_case *what, const struct failure *failure,
                 uint32_t thread_count, int64_t after, int64_t repeat)
{
    struct life life = {.what = what, .failure = failure, .world = world};
    atomic_store(&world->script.pulls, 0);
    begin_life(&life, thread_count);
    if ((after + (repeat < 0)) % 2 == 0) life.error = &life.room;
    fault_reset_peak();
    fault_arm(failure->kind, after, repeat, failure->code);
    create(&life);
    export_schema(&life);
    for (int epoch = 0; epoch < 2 && !world->kind->is_once; epoch++) {
        bool leaves = epoch == 0 && what->leaves_early;
        int tries = 1;
        for (; !run_epoch(&life, leaves ? 3 : UINT64_MAX); tries++) end_failures(tries);
    }
    if (world->kind->is_once) run_once(&life);
    fault_disarm();
    close_loader(&life);
    world_check_empty(world);
    int64_t failure_count = fault_failures(failure->kind);
    /* Strings ask for more than they need first, and do without it. */
    bool is_optional = what->leaves_early || ((world->kind->has_text || world->kind->is_nested) &&
                                              failure->kind == FAULT_MEMORY && repeat == 1);
    if (failure->expected && failure_count > 0 && !is_optional) CHECK(life.surfaced_count > 0);
    life_count++;
    return failure_count > 0;
}

/* From the first call on, until three calls in a row turned out not to be there. Returns how many there were. */
static int64_t sweep(struct world *world, const struct life_case *what, const struct failure *failure, int64_t repeat,
                     int64_t first, int64_t every)
{
    int64_t after = first, last = first - 1;
    for (; after < last + 4; after += every)
        if (live(world, what, failure, 1, after, repeat)) last = after + every - 1;
    return last + 1;
}

struct plan {
    struct dice dice;
    int64_t random_count;
    int64_t every;
    int64_t call_counts[FAILURE_COUNT]; /* of this kind of source, the most in a case */
};

static char where[256];

static void say_where(void)
{
    if (where[0] != '\0') fprintf(stderr, "%s\n", where);
}

static void run_case(struct plan *plan, struct world *world, size_t number, size_t f, int64_t repeat)
{
    const struct life_case *what = &life_cases[number];
    snprintf(where, sizeof where, "%s, case %zu, %s, %s", world->kind->name, number, failures[f].name,
             repeat < 0 ? "from then on" : "once");
    int64_t count =
        sweep(world, what, &failures[f], repeat, (int64_t)dice_below(&plan->dice, (uint64_t)plan->every), plan->every);
    if (count > plan->call_counts[f]) plan->call_counts[f] = count;
    for (int64_t i = 0; i < plan->random_count && count > 0; i++)
        (void)live(world, what, &failures[f], 2, (int64_t)dice_below(&plan->dice, (uint64_t)count + 3), repeat);
}

static void run_kind(struct plan *plan, const struct world_kind *kind)
{
    memset(plan->call_counts, 0, sizeof plan->call_counts);
    for (size_t number = 0; number < LIFE_CASE_COUNT; number++) {
        struct world world;
        if (!world_takes(kind, life_cases[number].unit_rows, life_cases[number].unit_count)) continue;
        world_begin(&world, kind, life_cases[number].unit_rows, life_cases[number].unit_count);
        for (size_t f = 0; f < FAILURE_COUNT; f++) {
            if (failures[f].kind >= FAULT_OPEN && !kind->has_files) continue;
            run_case(plan, &world, number, f, 1);
            if (failures[f].recurs) run_case(plan, &world, number, f, -1);
        }
        world_end(&world);
    }
    for (size_t f = 0; f < FAILURE_COUNT; f++)
        if (plan->call_counts[f] > 0)
            printf("  %-26s %-18s %4" PRId64 " calls\n", kind->name, failures[f].name, plan->call_counts[f]);
}

int main(int argument_count, char **arguments)
{
    bool has_seed = argument_count > 1 && strcmp(arguments[1], "random") != 0;
    uint64_t seed = has_seed ? strtoull(arguments[1], NULL, 10) : fb__clock_ns();
    struct plan plan = {
        .dice = {seed},
        .random_count = argument_count > 2 ? strtoll(arguments[2], NULL, 10) : 2,
        .every = argument_count > 3 ? strtoll(arguments[3], NULL, 10) : 1,
    };
    CHECK_EQUAL(atexit(say_where), 0);
    printf("  seed %" PRIu64 "\n", seed);
    for (size_t kind = 0; kind < WORLD_KIND_COUNT; kind++) run_kind(&plan, &world_kinds[kind]);
    where[0] = '\0';
    printf("cases: %" PRId64 "\n", life_count);
    return 0;
}
