/*
 * The ledger against what the system was asked for, to the byte: the core asks for memory in src/base/memory.c only,
 * and every call there is seen here. Over every kind of source, number of threads and batch size, with 0 to 6 batches
 * in the user's hands, whenever nothing is under way: after the source, the loader, each epoch, the close, and each
 * batch that goes after it. And at every instant in between what the system gave never passed the ledger's peak, which
 * never passed the limit. Usage: sweep_books [seed or "random" [rounds]]
 */
#include "../unit/check.h"
#include "base/clock.h"
#include "world.h"

#define HELD_MOST 6

static struct dice dice;

static void check_books(const struct world *world, struct fb_loader *loader)
{
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(world_is_booked(world, stats.charged_bytes, world_expected_charge(world)));
    uint64_t sum = 0;
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) sum += stats.accounts[account].bytes;
    CHECK_EQUAL(sum, stats.charged_bytes);
    CHECK(stats.peak_bytes <= stats.memory_limit_bytes);
    CHECK(world_is_below(world, stats.peak_bytes));
}

static uint64_t run_epoch(struct world *world, struct fb_loader *loader, const struct fb_loader_options *options,
                          struct world_held *held, uint64_t keep_count)
{
    struct fb_error error;
    uint64_t held_count = 0;
    uint64_t leave_after = dice_below(&dice, 3) ? UINT64_MAX : dice_below(&dice, 8);
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
    for (uint64_t number = 0; number < leave_after; number++) {
        struct fb_batch *batch;
        int code = fb_loader_next(loader, fb__clock_ns() + 30 * FB__SECOND_NS, false, &batch, &error);
        if (code) fprintf(stderr, "%s: %s\n", world->kind->name, error.message);
        CHECK_EQUAL(code, 0);
        if (!batch) break;
        struct world_held taken;
        (void)world_take(world, batch, options->batch_rows, &taken);
        if (held_count < keep_count)
            held[held_count++] = taken;
        else
            world_let_go(&taken);
    }
    CHECK_EQUAL(fb_loader_end_epoch(loader, FB_NO_DEADLINE, NULL), 0);
    check_books(world, loader);
    return held_count;
}

static void run_world(struct world *world, const struct fb_loader_options *options)
{
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    fault_reset_peak();
    CHECK_EQUAL(world->kind->make(world, &source, &error), 0);
    CHECK_EQUAL(source->plan_bytes, world_expected_charge(world));
    CHECK_EQUAL(fb_loader_create(options, source, &loader, &error), 0);
    check_books(world, loader);
    CHECK_EQUAL(world_export_schema(world, loader, &error), 0);
    check_books(world, loader);
    struct world_held held[HELD_MOST];
    uint64_t held_count = 0;
    for (uint64_t keep_count = world->kind->is_once ? HELD_MOST : 0; keep_count <= HELD_MOST; keep_count++) {
        held_count = run_epoch(world, loader, options, held, keep_count);
        if (keep_count == HELD_MOST) break;
        while (held_count > 0) {
            world_let_go(&held[--held_count]);
            check_books(world, loader);
        }
    }
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    world_release_schema(world);
    CHECK(world_is_booked(world, stats.charged_bytes, fault_live_bytes()));
    CHECK_EQUAL(stats.held_batches, held_count);
    while (held_count > 0) {
        int64_t before = fault_live_bytes();
        world_let_go(&held[--held_count]);
        CHECK(fault_live_bytes() < before);
    }
    world_check_empty(world);
}

int main(int argument_count, char **arguments)
{
    bool has_seed = argument_count > 1 && strcmp(arguments[1], "random") != 0;
    uint64_t seed = has_seed ? strtoull(arguments[1], NULL, 10) : fb__clock_ns();
    uint64_t round_count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 40;
    uint64_t case_count = 0;
    printf("  seed %" PRIu64 "\n", seed);
    fflush(stdout);
    for (uint64_t round = 0; round < round_count; round++) {
        dice.state = seed + round;
        uint64_t unit_rows[WORLD_UNITS_MAX];
        uint64_t unit_count = 1 + dice_below(&dice, WORLD_UNITS_MAX);
        /* At times so many that a batch of all of them is mapped, and mostly so few that every kind takes them. */
        uint64_t most_rows = dice_below(&dice, 8) == 0 ? 20000 : dice_below(&dice, 4) ? NESTED_UNIT_ROWS_MAX : 700;
        for (uint64_t i = 0; i < unit_count; i++)
            unit_rows[i] = dice_below(&dice, dice_below(&dice, 4) ? most_rows : 2);
        const struct fb_loader_options options = {
            .batch_rows = dice_below(&dice, 4) ? 1 + dice_below(&dice, dice_below(&dice, 3) ? 900 : 30000) : 0,
            .memory_limit_bytes = 64 << 20,
            .prefetch_batches = (int64_t)dice_below(&dice, 5) - 1,
            .thread_count = 1 + (uint32_t)dice_below(&dice, 4),
            .preserve_order = dice_below(&dice, 2),
            .drop_last = dice_below(&dice, 2),
            .null_policy = (enum fb_null_policy)dice_below(&dice, 3),
        };
        struct world world;
        bool is_exported = dice_below(&dice, 4) == 0;
        for (size_t kind = 0; kind < WORLD_KIND_COUNT; kind++) {
            if (!world_takes(&world_kinds[kind], unit_rows, unit_count)) continue;
            struct fb_loader_options own = options;
            own.drop_last = options.drop_last && options.batch_rows > 0;
            world_begin(&world, &world_kinds[kind], unit_rows, unit_count);
            world_set_options(&world, is_exported, &own);
            run_world(&world, &own);
            case_count++;
            world_end(&world);
        }
    }
    printf("cases: %" PRIu64 "\n", case_count);
    return 0;
}
