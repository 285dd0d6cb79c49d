/*
 * Every limit from none up. Below the least a loader is refused, with ENOBUFS and the same figure each time; from the
 * least on every epoch completes with the right rows. That is exact for columns of fixed width. Where sizes are known
 * only while decoding the least is an estimate: there a run may be refused, says how much would do, and what it said
 * must then do within a few rounds. At no limit may the ledger, or the system, have given more than the limit; in the
 * end nothing is left. Usage: sweep_budget [seed or "random" [steps]]
 */
#include "../unit/check.h"
#include "base/clock.h"
#include "world.h"

#define ROUNDS_MOST 64 /* in which figures that were told too low come to do */

struct shape {
    uint64_t batch_rows;
    uint32_t thread_count;
    int64_t prefetch_batches;
    bool preserve_order;
    enum fb_null_policy null_policy;
    uint64_t unit_count;
    uint64_t unit_rows[WORLD_UNITS_MAX];
};

static const struct shape shapes[] = {
    {100, 1, 2, false, FB_NULLS_ERROR, 4, {170, 0, 230, 90}},
    {250, 2, FB_PREFETCH_ADAPTIVE, true, FB_NULLS_MASK, 3, {700, 1500, 40}},
    {33, 3, 0, false, FB_NULLS_FILL, 6, {5, 100, 100, 1, 2500, 100}},
    {3000, 2, 4, true, FB_NULLS_ERROR, 3, {2500, 2500, 2500}},
    {0, 2, 1, true, FB_NULLS_MASK, 5, {100, 0, 130, 1, 60}},
    {40, 3, 0, false, FB_NULLS_FILL, 12, {3, 10, 1, 20, 0, 7, 30, 2, 2, 2, 90, 5}},
};
#define SHAPE_COUNT (sizeof shapes / sizeof *shapes)

struct sweep {
    struct world world;
    struct fb_loader_options options;
    uint64_t least_bytes;
    uint64_t case_count;
    uint64_t told_too_low_count; /* runs that needed more than the one before them said */
    uint64_t most_needed_bytes;  /* of runs at the least, what completed in the end */
};

static int create(struct sweep *sweep, uint64_t limit_bytes, struct fb_loader **loader, struct fb_error *error)
{
    struct fb_source *source;
    CHECK_EQUAL(sweep->world.kind->make(&sweep->world, &source, error), 0);
    sweep->options.memory_limit_bytes = limit_bytes;
    *loader = NULL;
    fault_reset_peak();
    int code = fb_loader_create(&sweep->options, source, loader, error);
    if (code) fb_source_release(source);
    return code;
}

static void check_refused(struct sweep *sweep, uint64_t limit_bytes)
{
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(create(sweep, limit_bytes, &loader, &error), ENOBUFS);
    CHECK(loader == NULL);
    CHECK_EQUAL(error.code, ENOBUFS);
    CHECK_EQUAL(error.required_bytes, sweep->least_bytes);
    CHECK_EQUAL(error.limit_bytes, limit_bytes);
    world_check_empty(&sweep->world);
    sweep->case_count++;
}

/* An epoch as a for loop has it: one batch is held while the next is fetched. */
static int run_epoch(struct sweep *sweep, struct fb_loader *loader, struct fb_error *error)
{
    struct world_held held = {0}, taken;
    struct fb_batch *batch;
    uint64_t rows = 0, number = 0;
    int code;
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, error), 0);
    while ((code = fb_loader_next(loader, fb__clock_ns() + 30 * FB__SECOND_NS, false, &batch, error)) == 0 && batch) {
        if (sweep->options.preserve_order) CHECK_EQUAL(fb_batch_index(batch), number);
        number++;
        rows += world_take(&sweep->world, batch, sweep->options.batch_rows, &taken);
        world_let_go(&held);
        held = taken;
    }
    world_let_go(&held);
    if (code == 0) CHECK_EQUAL(rows, sweep->world.script.rows);
    return code;
}

/* Two epochs at this limit. Returns 0, or the limit that would have done. */
static uint64_t run_at(struct sweep *sweep, uint64_t limit_bytes)
{
    struct fb_loader *loader;
    struct fb_error error = {0};
    struct fb_stats stats;
    int code = create(sweep, limit_bytes, &loader, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(world_export_schema(&sweep->world, loader, &error), 0);
    for (int epoch = 0; epoch < (sweep->world.kind->is_once ? 1 : 2) && code == 0; epoch++)
        code = run_epoch(sweep, loader, &error);
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
    CHECK(stats.peak_bytes <= limit_bytes);
    CHECK(world_is_below(&sweep->world, stats.peak_bytes));
    world_release_schema(&sweep->world);
    world_check_empty(&sweep->world);
    sweep->case_count++;
    if (code == 0) return 0;
    if (code != ENOBUFS) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, limit_bytes);
    CHECK(error.required_bytes > limit_bytes);
    return error.required_bytes;
}

/* At this limit, and where an estimate does not do, at what is said to do instead. */
static void check_completes(struct sweep *sweep, uint64_t limit_bytes)
{
    uint64_t needed_bytes = limit_bytes;
    for (int round = 0;; round++) {
        uint64_t required_bytes = run_at(sweep, needed_bytes);
        if (required_bytes == 0) break;
        if (sweep->world.kind->is_exact)
            fprintf(stderr, "the least is %" PRIu64 ", and %" PRIu64 " were not enough\n", sweep->least_bytes,
                    needed_bytes);
        CHECK(!sweep->world.kind->is_exact);
        CHECK(round < ROUNDS_MOST);
        if (round > 0) sweep->told_too_low_count++;
        /* As a user would who was told a few bytes more for the third time. */
        bool is_slow = sweep->world.kind->has_no_estimate && round >= 2;
        needed_bytes = required_bytes + (is_slow ? required_bytes / 8 : 0);
    }
    if (needed_bytes > sweep->most_needed_bytes && limit_bytes == sweep->least_bytes)
        sweep->most_needed_bytes = needed_bytes;
}

/* Returns the number of limits. */
static uint64_t run_shape(const struct world_kind *kind, const struct shape *shape, uint64_t step_count,
                          struct dice *dice)
{
    struct sweep sweep = {.options = {
                              .batch_rows = shape->batch_rows,
                              .prefetch_batches = shape->prefetch_batches,
                              .thread_count = shape->thread_count,
                              .preserve_order = shape->preserve_order,
                              .null_policy = shape->null_policy,
                          }};
    struct fb_loader *loader;
    struct fb_error error;
    world_begin(&sweep.world, kind, shape->unit_rows, shape->unit_count);
    world_set_options(&sweep.world, false, &sweep.options);
    CHECK_EQUAL(create(&sweep, 0, &loader, &error), ENOBUFS);
    sweep.least_bytes = error.required_bytes;
    uint64_t stride = 1 + sweep.least_bytes / step_count;
    for (uint64_t bytes = dice_below(dice, stride); bytes < sweep.least_bytes; bytes += stride)
        check_refused(&sweep, bytes);
    check_refused(&sweep, sweep.least_bytes - 1);
    for (int again = 0; again < 4; again++) check_completes(&sweep, sweep.least_bytes);
    /* From a byte more to twice as much again, in steps that grow. */
    uint64_t more_bytes = 1;
    while (more_bytes < 2 * sweep.least_bytes) {
        check_completes(&sweep, sweep.least_bytes + more_bytes);
        more_bytes += 1 + dice_below(dice, 2 + 4 * sweep.least_bytes / step_count);
    }
    printf("  %-26s %4" PRIu64 " rows, %" PRIu32 " threads: least %8" PRIu64 ", %4" PRIu64 " limits", kind->name,
           shape->batch_rows, shape->thread_count, sweep.least_bytes, sweep.case_count);
    if (!kind->is_exact)
        printf(", at the least needed %" PRIu64 ", told too low %" PRIu64 " times", sweep.most_needed_bytes,
               sweep.told_too_low_count);
    printf("\n");
    world_end(&sweep.world);
    return sweep.case_count;
}

int main(int argument_count, char **arguments)
{
    bool has_seed = argument_count > 1 && strcmp(arguments[1], "random") != 0;
    struct dice dice = {has_seed ? strtoull(arguments[1], NULL, 10) : fb__clock_ns()};
    uint64_t step_count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 40;
    printf("  seed %" PRIu64 "\n", dice.state);
    uint64_t case_count = 0;
    for (size_t kind = 0; kind < WORLD_KIND_COUNT; kind++)
        for (size_t shape = 0; shape < SHAPE_COUNT; shape++)
            if (world_takes(&world_kinds[kind], shapes[shape].unit_rows, shapes[shape].unit_count))
                case_count += run_shape(&world_kinds[kind], &shapes[shape], step_count, &dice);
    printf("cases: %" PRIu64 "\n", case_count);
    return 0;
}
