/*
 * Tests of batches of nested types: every type, with none, few and only nulls, from slices at offsets, filled in runs
 * of any order by several threads and in part again, in both storages and under every null policy.
 */
#include "nested_bench.h"

static bool is_of_nulls(const char *type)
{
    /* The only letter n that is a type by itself. */
    return strcmp(type, "n") == 0 || strstr(type, "=n") != NULL || strstr(type, "[n]") != NULL;
}

static void play(const char *type, uint64_t null_percent, struct fb_loader_options options, uint64_t seed)
{
    static struct bench bench;
    struct maker maker = {.dice = {seed}, .null_percent = null_percent, .most_elements = 4};
    maker.most_offset = seed % 2 == 0 ? 0 : 7;
    static const uint64_t row_bytes[] = {0, 3, 60};
    options.batch_rows = BENCH_ROWS_MOST;
    bench_begin(&bench, type, options, row_bytes[seed % 3]);
    bench.thread_count = 1 + seed % BENCH_THREADS_MOST;
    /* The second batch is the first one, warm. */
    for (int i = 0; i < 2; i++) {
        uint64_t rows = 1 + dice_below(&maker.dice, BENCH_ROWS_MOST);
        bench_take(&bench, rows);
        bench_make_runs(&bench, &maker, rows);
        bench_fill(&bench, seed * 1000);
        bench_check(&bench);
        bench_drop_runs(&bench);
    }
    bench_end(&bench);
}

static void play_all(uint64_t null_percent, struct fb_loader_options options)
{
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        if (options.null_policy == FB_NULLS_ERROR && options.storage == FB_STORAGE_DENSE && is_of_nulls(every_type[i]))
            continue;
        for (uint64_t seed = 0; seed < 6; seed++) play(every_type[i], null_percent, options, seed);
    }
}

static void rows_without_nulls_are_read_under_every_policy(void)
{
    play_all(0, (struct fb_loader_options){.null_policy = FB_NULLS_ERROR});
    play_all(0, (struct fb_loader_options){.null_policy = FB_NULLS_FILL});
    play_all(0, (struct fb_loader_options){.null_policy = FB_NULLS_MASK});
}

static void nulls_are_filled_at_every_level(void)
{
    play_all(15, (struct fb_loader_options){.null_policy = FB_NULLS_FILL});
    play_all(100, (struct fb_loader_options){.null_policy = FB_NULLS_FILL});
}

static void nulls_are_masked_where_rows_have_places(void)
{
    play_all(15, (struct fb_loader_options){.null_policy = FB_NULLS_MASK});
    play_all(60, (struct fb_loader_options){.null_policy = FB_NULLS_MASK});
}

static void arrow_storage_keeps_every_value_and_every_null(void)
{
    play_all(0, (struct fb_loader_options){.storage = FB_STORAGE_ARROW});
    play_all(15, (struct fb_loader_options){.storage = FB_STORAGE_ARROW, .null_policy = FB_NULLS_FILL});
    play_all(100, (struct fb_loader_options){.storage = FB_STORAGE_ARROW, .null_policy = FB_NULLS_MASK});
}

/* ---- batches of their own sizes -------------------------------------------------------------------------------- */

static void batches_have_room_for_just_their_rows(void)
{
    static struct bench bench;
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        struct maker maker = {.dice = {i}, .null_percent = 20, .most_offset = 5, .most_elements = 4};
        struct fb_loader_options options = {.null_policy = FB_NULLS_MASK};
        if (i % 2 == 1) options.storage = FB_STORAGE_ARROW;
        bench_begin(&bench, every_type[i], options, i % 3 * 20);
        bench.thread_count = 2;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t rows = 1 + dice_below(&maker.dice, BENCH_ROWS_MOST);
            bench_take(&bench, rows);
            CHECK_EQUAL(bench.batch->capacity_rows, rows);
            bench_make_runs(&bench, &maker, rows);
            bench_fill(&bench, round);
            bench_check(&bench);
            bench_drop_runs(&bench);
        }
        bench_end(&bench);
    }
}

static void a_smaller_batch_is_taken_warm_and_a_larger_one_made_anew(void)
{
    static struct bench bench;
    struct fb_error error;
    bench_begin(&bench, "+s(a=l;b=u)", (struct fb_loader_options){.null_policy = FB_NULLS_FILL}, 10);
    struct fb__pool *pool = bench.pool;
    const _Atomic uint64_t *allocations = &fb__ledger_gate(pool->ledger)->allocation_count;
    struct fb_batch *batch, *again;
    CHECK_EQUAL(fb__pool_take(pool, 0, 100, 0, &batch, &error), 0);
    fb__pool_return(batch);
    uint64_t before = *allocations;
    CHECK_EQUAL(fb__pool_take(pool, 1, 60, 0, &again, &error), 0);
    CHECK(again == batch);
    CHECK_EQUAL(*allocations, before);
    CHECK_EQUAL(again->capacity_rows, 60);
    fb__pool_return(again);
    /* A batch that has grown by its strings books enough for more rows, and its fixed buffer is too small for them. */
    CHECK_EQUAL(fb__pool_take(pool, 2, 100, 0, &batch, &error), 0);
    struct fb__extent *extent;
    CHECK_EQUAL(fb__batch_find_extent(batch, 0, 0, &extent, &error), 0);
    const struct fb__room room = {.node = 2, .add_bytes = 100000, .this_rows = 1, .expected_rows = 1};
    CHECK_EQUAL(fb__batch_make_room(batch, extent, &room, &error), 0);
    fb__pool_return(batch);
    uint64_t fixed_bytes = batch->fixed_bytes;
    fb__gate_fail_nth(fb__ledger_gate(pool->ledger), 0, 1);
    CHECK_EQUAL(fb__pool_take(pool, 3, 1000, 0, &again, &error), ENOMEM);
    CHECK_EQUAL(fb__pool_take(pool, 3, 1000, 0, &again, &error), 0);
    CHECK(again == batch);
    CHECK(again->fixed_bytes > fixed_bytes && again->fixed_bytes >= 1000 * 8);
    CHECK_EQUAL(again->grant.booked_bytes, again->grant.committed_bytes);
    fb__pool_return(again);
    bench_end(&bench);
}

/* ---- failing memory -------------------------------------------------------------------------------------------- */

/* Fills the runs one by one and finishes; what fails is tried again. Returns how often that was. */
static uint64_t fill_through_failures(struct bench *bench)
{
    struct fb_error error;
    uint64_t failures = 0, null_row;
    for (uint64_t i = bench->run_count; i-- > 0;) {
        const struct bench_run *run = &bench->runs[i];
        for (int code = ENOMEM; code != 0;) {
            code = bench_copy(bench, run, 0, run->rows, &null_row, &error);
            if (code) CHECK_EQUAL(code, ENOMEM);
            failures += code != 0;
            bench_check_books(bench);
        }
    }
    for (int code = ENOMEM; code != 0;) {
        code = fb__batch_finish(bench->batch, &error);
        if (code) CHECK_EQUAL(code, ENOMEM);
        failures += code != 0;
    }
    return failures;
}

static void every_allocation_may_fail_and_rows_be_filled_again(void)
{
    static const char *const types[] = {"+l(item=u)", "+l(item=+s(a=i;b=+l(item=u)))", "+s(a=c[u];b=i[+l(item=u)])",
                                        "+w:2(item=u)"};
    static struct bench bench;
    for (size_t i = 0; i < 2 * (sizeof types / sizeof *types); i++) {
        struct fb_loader_options options = {.batch_rows = BENCH_ROWS_MOST, .null_policy = FB_NULLS_FILL};
        if (i % 2 == 1) options.storage = FB_STORAGE_ARROW;
        bench_begin(&bench, types[i / 2], options, i % 3 * 4);
        struct fb__gate *gate = fb__ledger_gate(bench.pool->ledger);
        uint64_t core_bytes = fb__ledger_total(bench.pool->ledger);
        uint64_t failures = 0;
        bool is_through = false;
        for (int64_t after = 0; !is_through; after++) {
            struct maker maker = {.dice = {i}, .null_percent = 20, .most_offset = 3, .most_elements = 4};
            bench_take(&bench, BENCH_ROWS_MOST);
            bench_make_runs(&bench, &maker, BENCH_ROWS_MOST);
            fb__gate_fail_nth(gate, after, 1);
            failures += fill_through_failures(&bench);
            is_through = atomic_load(&gate->fail_countdown) > 0;
            fb__gate_fail_nth(gate, 0, 0);
            if (options.storage == FB_STORAGE_ARROW) {
                bench_check_arrow(&bench);
            } else {
                bench_check_dense(&bench);
                fb__pool_return(bench.batch);
            }
            bench_drop_runs(&bench);
            fb__pool_trim(bench.pool);
            CHECK_EQUAL(fb__ledger_total(bench.pool->ledger), core_bytes);
        }
        CHECK(failures >= 3);
        bench_end(&bench);
    }
}

int main(void)
{
    RUN(rows_without_nulls_are_read_under_every_policy);
    RUN(nulls_are_filled_at_every_level);
    RUN(nulls_are_masked_where_rows_have_places);
    RUN(arrow_storage_keeps_every_value_and_every_null);
    RUN(batches_have_room_for_just_their_rows);
    RUN(a_smaller_batch_is_taken_warm_and_a_larger_one_made_anew);
    RUN(every_allocation_may_fail_and_rows_be_filled_again);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
