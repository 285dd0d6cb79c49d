/* White-box test of src/loader/plan: rows into batches, columns into sets, bytes into pieces. */
#include "loader/plan.h"

#include <errno.h>

#include "../stress/scripted_source.h"
#include "check.h"

static struct fb_source *make_source(struct script *script)
{
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(script_source(script, &source, &error), 0);
    return source;
}

static struct fb_loader_options options_for(uint64_t batch_rows, uint64_t limit_bytes)
{
    return (struct fb_loader_options){
        .batch_rows = batch_rows, .memory_limit_bytes = limit_bytes, .thread_count = 4, .prefetch_batches = 2};
}

struct fixture {
    struct script script;
    struct fb_source *source;
    struct fb__pool *pool;
    struct fb__plan plan;
};

/* capacity_rows: of the pool's batches. */
static int settle_capacity(struct fixture *fixture, uint64_t *unit_rows, uint64_t unit_count,
                           const struct fb_loader_options *options, uint64_t capacity_rows, struct fb_error *error)
{
    script_init(&fixture->script, unit_rows, unit_count, true);
    fixture->source = make_source(&fixture->script);
    struct fb_loader_options unlimited = *options;
    unlimited.memory_limit_bytes = INT64_MAX;
    unlimited.batch_rows = capacity_rows;
    CHECK_EQUAL(fb__pool_create(&fixture->source->schema, fixture->source->variable_row_bytes[FB_STORAGE_DENSE],
                                &unlimited, &fixture->pool, error),
                0);
    CHECK_EQUAL(fb__plan_init(&fixture->plan, options, fixture->source, fixture->pool, error), 0);
    return fb__plan_settle(&fixture->plan, fixture->source, fixture->pool, options->memory_limit_bytes, error);
}

static int settle(struct fixture *fixture, uint64_t *unit_rows, uint64_t unit_count,
                  const struct fb_loader_options *options, struct fb_error *error)
{
    return settle_capacity(fixture, unit_rows, unit_count, options, options->batch_rows, error);
}

static void destroy(struct fixture *fixture)
{
    fb__plan_destroy(&fixture->plan);
    fb__pool_release(fixture->pool);
    fb_source_release(fixture->source);
    script_destroy(&fixture->script);
}

static void rows_are_one_line_over_the_units(void)
{
    uint64_t unit_rows[] = {10, 0, 25, 7};
    struct fb_loader_options options = options_for(10, 1 << 20);
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle(&fixture, unit_rows, 4, &options, &error), 0);
    const uint64_t starts[] = {0, 10, 10, 35, 42};
    for (int i = 0; i < 5; i++) CHECK_EQUAL(fixture.plan.unit_start[i], starts[i]);
    CHECK_EQUAL(fixture.plan.rows, 42);
    CHECK_EQUAL(fixture.plan.batch_count, 5);
    destroy(&fixture);
}

static void drop_last_leaves_out_the_short_batch(void)
{
    uint64_t unit_rows[] = {42};
    struct fb_loader_options options = options_for(10, 1 << 20);
    options.drop_last = true;
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.rows, 40);
    CHECK_EQUAL(fixture.plan.batch_count, 4);
    destroy(&fixture);
}

static void rows_and_batches_find_each_other(void)
{
    uint64_t unit_rows[] = {10, 0, 25, 7};
    for (uint64_t batch_rows = 1; batch_rows <= 50; batch_rows++) {
        struct fb_loader_options options = options_for(batch_rows, 1 << 20);
        struct fixture fixture;
        struct fb_error error;
        CHECK_EQUAL(settle(&fixture, unit_rows, 4, &options, &error), 0);
        const struct fb__plan *plan = &fixture.plan;
        for (uint64_t row = 0; row < plan->rows; row++) {
            uint64_t index = fb__plan_batch_of(plan, row);
            CHECK_EQUAL(index, row / batch_rows);
            CHECK_EQUAL(fb__plan_batch_start(plan, index), index * batch_rows);
            CHECK_EQUAL(fb__plan_batch_end(plan, index), (index + 1) * batch_rows < 42 ? (index + 1) * batch_rows : 42);
        }
        CHECK_EQUAL(fb__plan_batch_of(plan, plan->rows), plan->batch_count);
        CHECK_EQUAL(fb__plan_batch_start(plan, plan->batch_count), plan->rows);
        destroy(&fixture);
    }
}

static void without_batch_rows_every_unit_that_has_rows_is_a_batch(void)
{
    uint64_t unit_rows[] = {0, 10, 0, 0, 25, 7, 0};
    struct fb_loader_options options = options_for(0, 1 << 20);
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle_capacity(&fixture, unit_rows, 7, &options, 25, &error), 0);
    const struct fb__plan *plan = &fixture.plan;
    CHECK_EQUAL(plan->batch_count, 3);
    CHECK_EQUAL(plan->rows, 42);
    CHECK_EQUAL(plan->most_batch_units, 1);
    const uint64_t starts[] = {0, 10, 35, 42};
    for (uint64_t index = 0; index < 3; index++) {
        CHECK_EQUAL(fb__plan_batch_start(plan, index), starts[index]);
        CHECK_EQUAL(fb__plan_batch_end(plan, index), starts[index + 1]);
        for (uint64_t row = starts[index]; row < starts[index + 1]; row++)
            CHECK_EQUAL(fb__plan_batch_of(plan, row), index);
    }
    CHECK_EQUAL(fb__plan_batch_of(plan, 42), 3);
    CHECK_EQUAL(fb__plan_batch_start(plan, 3), 42);
    destroy(&fixture);
}

/* Of the column "text": an extent that is no home. */
static const uint64_t text_extent_bytes = sizeof(struct fb__extent) + sizeof(struct fb__piece);

static void the_floor_has_an_extent_for_every_further_unit_of_a_batch(void)
{
    /* batches of 10 rows: 0 to 1 | 1 | 1, 3, 4 | 4, 5, 7 to 9 | 9 */
    uint64_t unit_rows[] = {4, 21, 0, 3, 3, 2, 0, 2, 2, 6};
    struct fb_loader_options options = options_for(10, 1 << 20);
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle(&fixture, unit_rows, 10, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.rows, 43);
    CHECK_EQUAL(fixture.plan.most_batch_units, 5);
    uint64_t least_bytes = fixture.plan.least_bytes;
    CHECK_EQUAL(fb__pool_filling_bytes(fixture.pool, 4),
                fb__pool_filling_bytes(fixture.pool, 0) + 4 * text_extent_bytes);
    destroy(&fixture);
    /* The same rows and number of units: no batch has rows of two. */
    uint64_t even_rows[] = {10, 10, 0, 0, 0, 10, 0, 0, 10, 3};
    CHECK_EQUAL(settle(&fixture, even_rows, 10, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.most_batch_units, 1);
    CHECK_EQUAL(least_bytes - fixture.plan.least_bytes,
                4 * text_extent_bytes + fb__source_cursor_bytes(fixture.source, fixture.plan.set_columns, 2, 21) -
                    fb__source_cursor_bytes(fixture.source, fixture.plan.set_columns, 2, 10));
    destroy(&fixture);
}

static void rows_that_are_dropped_and_threads_that_are_alone_need_no_further_extents(void)
{
    uint64_t unit_rows[] = {10, 1, 1, 1};
    struct fb_loader_options options = options_for(10, 1 << 20);
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle(&fixture, unit_rows, 4, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.most_batch_units, 3);
    uint64_t floor_bytes = fixture.plan.floor_bytes;
    destroy(&fixture);
    options.drop_last = true;
    CHECK_EQUAL(settle(&fixture, unit_rows, 4, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.most_batch_units, 1);
    CHECK_EQUAL(floor_bytes - fixture.plan.floor_bytes, 2 * text_extent_bytes);
    destroy(&fixture);
    options.drop_last = false;
    options.thread_count = 1;
    CHECK_EQUAL(settle(&fixture, unit_rows, 4, &options, &error), 0);
    CHECK_EQUAL(floor_bytes - fixture.plan.floor_bytes, 2 * text_extent_bytes);
    destroy(&fixture);
}

static void there_are_never_more_column_sets_than_columns_or_threads(void)
{
    uint64_t unit_rows[] = {42};
    for (uint32_t thread_count = 1; thread_count <= 4; thread_count++) {
        struct fb_loader_options options = options_for(10, 1 << 20);
        options.thread_count = thread_count;
        struct fixture fixture;
        struct fb_error error;
        CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), 0);
        CHECK_EQUAL(fixture.plan.set_count, thread_count < 2 ? 1 : 2);
        CHECK_EQUAL(fixture.plan.set_begin[fixture.plan.set_count], 2);
        CHECK_EQUAL(fixture.plan.set_columns[0] + fixture.plan.set_columns[1], 1);
        destroy(&fixture);
    }
}

static void one_byte_under_the_least_is_refused_with_the_figure(void)
{
    uint64_t unit_rows[] = {100000};
    struct fb_loader_options options = options_for(100, 1 << 20);
    struct fixture fixture;
    struct fb_error error = {0};
    CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), 0);
    uint64_t least_bytes = fixture.plan.least_bytes;
    destroy(&fixture);
    options.memory_limit_bytes = least_bytes - 1;
    CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, least_bytes);
    CHECK_EQUAL(error.limit_bytes, least_bytes - 1);
    destroy(&fixture);
    options.memory_limit_bytes = least_bytes;
    CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), 0);
    CHECK_EQUAL(fixture.plan.piece_rows, FB__PIECE_ROWS_LEAST);
    CHECK_EQUAL(fixture.plan.extra_bytes, 0);
    destroy(&fixture);
}

static void more_memory_buys_larger_pieces_up_to_the_most(void)
{
    uint64_t unit_rows[] = {1000000};
    uint64_t before = 0;
    for (uint64_t limit_bytes = 1 << 20; limit_bytes <= 1 << 28; limit_bytes *= 2) {
        struct fb_loader_options options = options_for(100, limit_bytes);
        struct fixture fixture;
        struct fb_error error;
        CHECK_EQUAL(settle(&fixture, unit_rows, 1, &options, &error), 0);
        CHECK(fixture.plan.piece_rows >= before);
        before = fixture.plan.piece_rows;
        destroy(&fixture);
    }
    CHECK_EQUAL(before, FB__PIECE_ROWS_MOST);
}

static void every_allocation_of_init_may_fail(void)
{
    uint64_t unit_rows[] = {10, 20};
    struct fb_loader_options options = options_for(10, 1 << 20);
    struct fixture fixture;
    struct fb_error error;
    CHECK_EQUAL(settle(&fixture, unit_rows, 2, &options, &error), 0);
    fb__plan_destroy(&fixture.plan);
    struct fb__gate *gate = fb__ledger_gate(fixture.pool->ledger);
    uint64_t plan_bytes = fb__ledger_account_bytes(fixture.pool->ledger, FB_ACCOUNT_PLAN);
    int64_t after = 0;
    for (;; after++) {
        fb__gate_fail_nth(gate, after, 1);
        int code = fb__plan_init(&fixture.plan, &options, fixture.source, fixture.pool, &error);
        fb__gate_fail_nth(gate, 0, 0);
        if (code == 0) break;
        CHECK_EQUAL(code, ENOMEM);
        CHECK_EQUAL(fb__ledger_account_bytes(fixture.pool->ledger, FB_ACCOUNT_PLAN), plan_bytes);
    }
    CHECK(after >= 3);
    destroy(&fixture);
}

int main(void)
{
    RUN(rows_are_one_line_over_the_units);
    RUN(drop_last_leaves_out_the_short_batch);
    RUN(rows_and_batches_find_each_other);
    RUN(without_batch_rows_every_unit_that_has_rows_is_a_batch);
    RUN(the_floor_has_an_extent_for_every_further_unit_of_a_batch);
    RUN(rows_that_are_dropped_and_threads_that_are_alone_need_no_further_extents);
    RUN(there_are_never_more_column_sets_than_columns_or_threads);
    RUN(one_byte_under_the_least_is_refused_with_the_figure);
    RUN(more_memory_buys_larger_pieces_up_to_the_most);
    RUN(every_allocation_of_init_may_fail);
    return 0;
}
