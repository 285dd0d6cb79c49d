/* White-box test of src/data/pool: warm batches, what is booked where, eviction, closing, and how long things live. */
#include "data/pool.h"

#include "pool_fixture.h"

/* Finishes an empty fill: the rows of fixed columns need none. */
static void finish(struct fb_batch *batch)
{
    struct fb_error error;
    CHECK_EQUAL(fb__batch_finish(batch, &error), 0);
}

static void a_batch_is_booked_with_what_the_pool_says(void)
{
    static const uint64_t estimates[] = {0, 9, 500};
    for (int i = 0; i < 3; i++) {
        struct fb__pool *pool = fixture_pool("lubU", estimates[i], 3000, FB_NULLS_MASK, FIXTURE_LIMIT_BYTES);
        uint64_t before_bytes = fb__ledger_total(pool->ledger);
        struct fb_batch *batch = fixture_take(pool, 0, 3000);
        CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_BATCH), fb__pool_batch_bytes(pool));
        CHECK_EQUAL(fb__ledger_total(pool->ledger), before_bytes + fb__pool_batch_bytes(pool));
        CHECK_EQUAL(batch->grant.committed_bytes, batch->grant.booked_bytes);
        CHECK(batch->homes[1].pieces[0].capacity_bytes >= estimates[i] * 3000);
        fb__pool_return(batch);
        fb__pool_trim(pool);
        CHECK_EQUAL(fb__ledger_total(pool->ledger), before_bytes);
        fb__pool_release(pool);
    }
}

static void a_warm_batch_costs_no_allocation_and_begins_anew(void)
{
    struct fb__pool *pool = fixture_pool("lu", 5, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *first = fixture_take(pool, 4, 100);
    CHECK_EQUAL(first->cells_left, 200);
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(first, 1, 50, 10000, 10, 10, &extent, &error), 0);
    CHECK_EQUAL(fb__batch_extent(first, 1, 0, 10, 10, 10, &extent, &error), 0);
    CHECK(first->homes[0].next != NULL);
    uint64_t capacity_bytes = first->homes[0].pieces[0].capacity_bytes;
    CHECK(capacity_bytes >= 10000);
    fb__pool_return(first);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_BATCH), 0);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), fb__pool_batch_bytes(pool) - 500 + capacity_bytes);
    uint64_t allocations = fixture_allocations(pool);
    struct fb_batch *second = fixture_take(pool, 9, 60);
    CHECK(second == first);
    CHECK_EQUAL(fixture_allocations(pool), allocations);
    CHECK_EQUAL(second->index, 9);
    CHECK_EQUAL(second->row_count, 60);
    CHECK_EQUAL(second->cells_left, 120);
    CHECK_EQUAL(second->cells_unclaimed, 120);
    CHECK(!second->is_finished && !second->is_delivered && second->homes[0].next == NULL);
    CHECK_EQUAL(second->homes[0].pieces[0].used_bytes, 0);
    CHECK_EQUAL(second->homes[0].pieces[0].capacity_bytes, capacity_bytes);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), 0);
    CHECK_EQUAL(fb__batch_extent(second, 1, 50, 10, 10, 10, &extent, &error), 0);
    CHECK(extent == &second->homes[0]);
    CHECK_EQUAL(fixture_allocations(pool), allocations);
    fb__pool_return(second);
    fb__pool_release(pool);
}

static void the_last_one_back_is_the_first_one_out(void)
{
    struct fb__pool *pool = fixture_pool("l", 0, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *first = fixture_take(pool, 0, 100);
    struct fb_batch *second = fixture_take(pool, 1, 100);
    CHECK(first != second);
    fb__pool_return(second);
    fb__pool_return(first);
    CHECK(fixture_take(pool, 2, 100) == first);
    fb__pool_return(first);
    fb__pool_release(pool);
}

static void a_delivered_batch_is_held_until_it_is_released(void)
{
    struct fb__pool *pool = fixture_pool("l", 0, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 100);
    finish(batch);
    fb__pool_deliver(batch);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_HELD), fb__pool_batch_bytes(pool));
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_BATCH), 0);
    CHECK_EQUAL(pool->held_batches, 1);
    CHECK_EQUAL(pool->release_count, 0);
    fb_batch_release(batch);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_HELD), 0);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), fb__pool_batch_bytes(pool));
    CHECK_EQUAL(pool->held_batches, 0);
    CHECK_EQUAL(pool->release_count, 1);
    fb__pool_return(fixture_take(pool, 1, 100));
    CHECK_EQUAL(pool->release_count, 1);
    fb_batch_release(NULL);
    fb__pool_release(pool);
}

static void idle_batches_are_given_up_when_bytes_are_wanted(void)
{
    struct fb__pool *pool = fixture_pool("lu", 200, 1000, FB_NULLS_ERROR, 4 << 20);
    struct fb_batch *batches[4];
    for (uint64_t i = 0; i < 4; i++) batches[i] = fixture_take(pool, i, 1000);
    for (int i = 0; i < 4; i++) fb__pool_return(batches[i]);
    uint64_t batch_bytes = fb__pool_batch_bytes(pool);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), 4 * batch_bytes);
    uint64_t free_bytes = fb__ledger_limit(pool->ledger) - fb__ledger_total(pool->ledger);
    struct fb_error error;
    CHECK_EQUAL(fb__ledger_charge(pool->ledger, FB_ACCOUNT_READ, free_bytes + 1, &error), 0);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), 3 * batch_bytes);
    fb__ledger_credit(pool->ledger, FB_ACCOUNT_READ, free_bytes + 1);
    CHECK(fixture_take(pool, 0, 1000) == batches[3]);
    fb__pool_return(batches[3]);
    fb__pool_release(pool);
}

static void a_closed_pool_keeps_nothing(void)
{
    struct fb__pool *pool = fixture_pool("lu", 20, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    uint64_t core_bytes = fb__ledger_total(pool->ledger);
    struct fb_batch *held = fixture_take(pool, 0, 100);
    struct fb_batch *open = fixture_take(pool, 1, 100);
    fb__pool_return(fixture_take(pool, 2, 100));
    CHECK(fixture_booked(pool, FB_ACCOUNT_POOL) > 0);
    for (uint64_t row = 0; row < 100; row++) ((uint32_t *)fb__batch_offsets(held, 1))[row + 1] = 0;
    finish(held);
    fb__pool_deliver(held);
    fb__pool_close(pool);
    CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), 0);
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(open, 1, 50, 10, 10, 10, &extent, &error), 0);
    CHECK_EQUAL(fb__batch_extent(open, 1, 0, 10, 10, 10, &extent, &error), 0);
    fb__pool_return(open);
    CHECK_EQUAL(fb__ledger_total(pool->ledger), core_bytes + fb__pool_batch_bytes(pool));
    /* The last reference but the batch's own: the batch stays readable. */
    fb__pool_release(pool);
    struct fb_column view;
    fb_batch_column(held, 0, &view);
    memset(view.values, 7, 100 * 8);
    CHECK_TEXT(view.name, "c0");
    fb_batch_release(held);
}

static void the_last_batch_takes_the_pool_with_it(void)
{
    struct fb__pool *pool = fixture_pool("l", 0, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    fb__pool_return(fixture_take(pool, 0, 100));
    struct fb_batch *batch = fixture_take(pool, 1, 100);
    fb__pool_retain(pool);
    fb__pool_release(pool);
    fb__pool_release(pool);
    /* Not closed: the batch turns idle and is freed with the pool. The sanitizer would see what is left. */
    fb__pool_return(batch);
}

static void every_allocation_of_a_batch_may_fail(void)
{
    struct fb__pool *pool = fixture_pool("luU", 900, 1000, FB_NULLS_MASK, FIXTURE_LIMIT_BYTES);
    struct fb__gate *gate = fb__ledger_gate(pool->ledger);
    uint64_t core_bytes = fb__ledger_total(pool->ledger);
    int code = ENOMEM;
    int64_t after;
    for (after = 0; code != 0; after++) {
        CHECK(after < 10);
        struct fb_batch *batch;
        struct fb_error error = {0};
        fb__gate_fail_nth(gate, after, 1);
        code = fb__pool_take(pool, 0, 1000, 0, &batch, &error);
        fb__gate_fail_nth(gate, 0, 0);
        if (code) {
            CHECK_EQUAL(code, ENOMEM);
            CHECK_EQUAL(error.code, ENOMEM);
            CHECK_EQUAL(fb__ledger_total(pool->ledger), core_bytes);
            CHECK_EQUAL(pool->references, 1);
            CHECK(fb__ledger_check(pool->ledger));
        } else {
            fb__pool_return(batch);
        }
    }
    CHECK_EQUAL(after, 5); /* struct, fixed part, two homes; then none failed */
    fb__pool_release(pool);
}

static void a_limit_too_small_for_the_pool_is_refused_with_what_would_do(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    struct fb_loader_options options = {.batch_rows = 100};
    const uint64_t row_bytes[] = {0, 10};
    int refusals = 0;
    for (;; options.memory_limit_bytes += 8) {
        CHECK(options.memory_limit_bytes < 1 << 16);
        struct fb__pool *pool;
        struct fb_error error = {0};
        int code = fb__pool_create(&schema, row_bytes, &options, &pool, &error);
        if (code == 0) {
            fb__pool_release(pool);
            break;
        }
        CHECK_EQUAL(code, ENOBUFS);
        CHECK_EQUAL(error.limit_bytes, options.memory_limit_bytes);
        CHECK(error.required_bytes > options.memory_limit_bytes);
        refusals++;
    }
    CHECK(refusals > 10);
    schema.release(&schema);
}

static void a_batch_larger_than_the_limit_is_refused(void)
{
    struct fb__pool *pool = fixture_pool("l", 0, 100000, FB_NULLS_ERROR, 64 << 10);
    struct fb_batch *batch;
    struct fb_error error;
    CHECK_EQUAL(fb__pool_take(pool, 0, 100000, 0, &batch, &error), ENOBUFS);
    CHECK(error.required_bytes >= fb__pool_batch_bytes(pool));
    CHECK_EQUAL(pool->references, 1);
    fb__pool_release(pool);
}

/* ---- threads ---- */

#define TURNS 300

static void *take_and_give_back(void *argument)
{
    struct fb__pool *pool = argument;
    for (uint64_t i = 0; i < TURNS; i++) {
        struct fb_batch *batch = fixture_take(pool, i, 100);
        memset(fb__batch_values(batch, 0), (int)i, 100 * 8);
        if (i % 3 == 0) {
            fb__pool_return(batch);
            continue;
        }
        for (uint64_t row = 0; row < 100; row++) ((uint32_t *)fb__batch_offsets(batch, 1))[row + 1] = 0;
        finish(batch);
        fb__pool_deliver(batch);
        fb_batch_release(batch);
    }
    fb__pool_release(pool);
    return NULL;
}

static void threads_take_and_give_back_while_the_pool_closes(void)
{
    for (int round = 0; round < 8; round++) {
        struct fb__pool *pool = fixture_pool("lu", 50, 100, FB_NULLS_ERROR, 64 << 10);
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) {
            fb__pool_retain(pool);
            CHECK_EQUAL(pthread_create(&threads[i], NULL, take_and_give_back, pool), 0);
        }
        for (int i = 0; i < round * 20; i++) fb__pool_trim(pool);
        fb__pool_close(pool);
        if (round % 2) {
            for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
            CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_POOL), 0);
            CHECK_EQUAL(fixture_booked(pool, FB_ACCOUNT_BATCH) + fixture_booked(pool, FB_ACCOUNT_HELD), 0);
            CHECK_EQUAL(pool->release_count, 3 * (TURNS - TURNS / 3));
            fb__pool_release(pool);
        } else {
            fb__pool_release(pool);
            for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
        }
    }
}

int main(void)
{
    RUN(a_batch_is_booked_with_what_the_pool_says);
    RUN(a_warm_batch_costs_no_allocation_and_begins_anew);
    RUN(the_last_one_back_is_the_first_one_out);
    RUN(a_delivered_batch_is_held_until_it_is_released);
    RUN(idle_batches_are_given_up_when_bytes_are_wanted);
    RUN(a_closed_pool_keeps_nothing);
    RUN(the_last_batch_takes_the_pool_with_it);
    RUN(every_allocation_of_a_batch_may_fail);
    RUN(a_limit_too_small_for_the_pool_is_refused_with_what_would_do);
    RUN(a_batch_larger_than_the_limit_is_refused);
    RUN(threads_take_and_give_back_while_the_pool_closes);
    return 0;
}
