/* White-box test of src/data/batch: extents that grow, are filled out of order, again, and side by side; the join. */
#include "data/batch.h"

#include "pool_fixture.h"

static void set_length(struct fb_batch *batch, uint32_t column, uint64_t row, uint64_t bytes)
{
    void *lengths = fb__batch_offsets(batch, column);
    if (batch->layout->columns[column].offset_bytes == 4)
        ((uint32_t *)lengths)[row + 1] = (uint32_t)bytes;
    else
        ((uint64_t *)lengths)[row + 1] = bytes;
}

/* Appends rows [place, place + row_count) as the row copy does; row r is string number r. */
static int append(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t row_count, uint64_t expected_rows,
                  struct fb_error *error)
{
    char text[FIXTURE_TEXT_MAX];
    uint64_t bytes = 0;
    for (uint64_t row = place; row < place + row_count; row++) {
        uint64_t length = fixture_string(row, text);
        set_length(batch, column, row, length);
        bytes += length;
    }
    struct fb__extent *extent;
    int code = fb__batch_extent(batch, column, place, bytes, row_count, expected_rows, &extent, error);
    if (code) return code;
    CHECK(extent->pieces[0].capacity_bytes - extent->pieces[0].used_bytes >= bytes);
    for (uint64_t row = place; row < place + row_count; row++) {
        uint64_t length = fixture_string(row, text);
        if (length > 0) memcpy(extent->pieces[0].bytes + extent->pieces[0].used_bytes, text, length);
        extent->pieces[0].used_bytes += length;
    }
    extent->row_count += row_count;
    return 0;
}

static void must_append(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t row_count)
{
    struct fb_error error;
    int code = append(batch, column, place, row_count, row_count, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
}

static void must_finish(struct fb_batch *batch)
{
    struct fb_error error;
    CHECK_EQUAL(fb__batch_finish(batch, &error), 0);
    CHECK(batch->is_finished);
    for (uint32_t i = 0; i < batch->layout->home_count; i++) CHECK(batch->homes[i].next == NULL);
}

/* Everything booked is alive, and nothing is booked but what the pool's batches are. */
static void check_books(const struct fb_batch *batch)
{
    uint64_t bytes = fb__gate_bytes(batch->pool->shape.bytes) + fb__gate_bytes(batch->layout->fixed_bytes);
    for (uint32_t i = 0; i < batch->layout->home_count; i++) {
        for (const struct fb__extent *extent = &batch->homes[i]; extent; extent = extent->next) {
            bytes += extent->pieces[0].capacity_bytes;
            if (extent != &batch->homes[i]) bytes += sizeof *extent + sizeof *extent->pieces;
        }
    }
    CHECK_EQUAL(batch->grant.booked_bytes, bytes);
    CHECK_EQUAL(batch->grant.committed_bytes, bytes);
    CHECK(fb__ledger_check(batch->pool->ledger));
}

static void a_batch_in_one_run_is_not_copied(void)
{
    struct fb__pool *pool = fixture_pool("uU", FIXTURE_TEXT_MAX, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 3, 100);
    const uint8_t *home = batch->homes[0].pieces[0].bytes;
    uint64_t allocations = fixture_allocations(pool);
    for (uint64_t row = 0; row < 100; row += 20) {
        must_append(batch, 0, row, 20);
        must_append(batch, 1, row, 20);
    }
    must_finish(batch);
    CHECK_EQUAL(fixture_allocations(pool), allocations);
    struct fb_column view;
    fb_batch_column(batch, 0, &view);
    CHECK(view.values == home);
    CHECK_EQUAL(view.offset_bytes, 4);
    CHECK_TEXT(view.name, "c0");
    CHECK_TEXT(view.format, "u");
    fixture_check_strings(batch, 0, 0);
    fixture_check_strings(batch, 1, 0);
    check_books(batch);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* Four runs in every order, with homes that are too small, that hold the home's run only, and that hold all. */
static void runs_filled_in_any_order_are_joined_in_row_order(void)
{
    static const uint64_t begins[] = {0, 13, 14, 60, 97};
    static const uint64_t estimates[] = {0, 4, FIXTURE_TEXT_MAX};
    for (int estimate = 0; estimate < 3; estimate++) {
        struct fb__pool *pool = fixture_pool("uU", estimates[estimate], 97, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
        for (int order = 0; order < 4 * 4 * 4 * 4; order++) {
            int runs[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6};
            if ((1 << runs[0] | 1 << runs[1] | 1 << runs[2] | 1 << runs[3]) != 15) continue;
            struct fb_batch *batch = fixture_take(pool, 0, 97);
            for (int i = 0; i < 4; i++) {
                uint64_t begin = begins[runs[i]], rows = begins[runs[i] + 1] - begin;
                must_append(batch, 0, begin, rows / 2);
                must_append(batch, 0, begin + rows / 2, rows - rows / 2);
                must_append(batch, 1, begin, rows);
                check_books(batch);
            }
            must_finish(batch);
            fixture_check_strings(batch, 0, 0);
            fixture_check_strings(batch, 1, 0);
            check_books(batch);
            fb__pool_return(batch);
        }
        fb__pool_release(pool);
    }
}

static void a_join_that_fits_the_home_takes_no_further_bytes(void)
{
    struct fb__pool *pool = fixture_pool("u", FIXTURE_TEXT_MAX, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 100);
    must_append(batch, 0, 50, 50);
    must_append(batch, 0, 0, 50);
    CHECK(batch->homes[0].next != NULL);
    uint64_t allocations = fixture_allocations(pool);
    must_finish(batch);
    CHECK_EQUAL(fixture_allocations(pool), allocations);
    fixture_check_strings(batch, 0, 0);
    CHECK_EQUAL(batch->grant.booked_bytes, fb__pool_batch_bytes(pool));
    fb__pool_return(batch);
    fb__pool_release(pool);
}

static void a_run_filled_again_replaces_its_rows(void)
{
    for (int large = 0; large < 2; large++) {
        struct fb__pool *pool = fixture_pool(large ? "U" : "u", 3, 80, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
        struct fb_batch *batch = fixture_take(pool, 0, 80);
        must_append(batch, 0, 0, 30);
        must_append(batch, 0, 30, 20);
        must_append(batch, 0, 30, 10);
        must_append(batch, 0, 40, 40);
        must_append(batch, 0, 10, 5);
        must_append(batch, 0, 15, 65);
        CHECK(batch->homes[0].next == NULL);
        must_finish(batch);
        fixture_check_strings(batch, 0, 0);
        fb__pool_return(batch);
        fb__pool_release(pool);
    }
}

/* ---- threads ---- */

struct filler {
    struct fb_batch *batch;
    uint64_t first_run, run_step, run_rows;
};

static void *fill_runs(void *argument)
{
    const struct filler *filler = argument;
    uint64_t rows = filler->batch->row_count;
    for (uint64_t run = filler->first_run; run * filler->run_rows < rows; run += filler->run_step) {
        uint64_t begin = run * filler->run_rows;
        uint64_t end = begin + filler->run_rows < rows ? begin + filler->run_rows : rows;
        for (uint64_t row = begin; row < end; row++) must_append(filler->batch, 0, row, 1);
    }
    return NULL;
}

static void fill_on_threads(struct fb_batch *batch, uint64_t thread_count, uint64_t run_rows)
{
    pthread_t threads[4];
    struct filler fillers[4];
    for (uint64_t i = 0; i < thread_count; i++) {
        fillers[i] = (struct filler){batch, i, thread_count, run_rows};
        CHECK_EQUAL(pthread_create(&threads[i], NULL, fill_runs, &fillers[i]), 0);
    }
    for (uint64_t i = 0; i < thread_count; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
}

static void threads_fill_runs_of_a_column_side_by_side(void)
{
    for (uint64_t thread_count = 1; thread_count <= 4; thread_count++) {
        struct fb__pool *pool = fixture_pool("u", 2, 1000, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
        for (uint64_t run_rows = 1; run_rows < 1000; run_rows = run_rows * 3 + 1) {
            struct fb_batch *batch = fixture_take(pool, 0, 1000);
            fill_on_threads(batch, thread_count, run_rows);
            check_books(batch);
            must_finish(batch);
            fixture_check_strings(batch, 0, 0);
            fb__pool_return(batch);
        }
        fb__pool_release(pool);
    }
}

static void *append_second_half(void *argument)
{
    must_append(argument, 0, 50, 50);
    return NULL;
}

static void a_run_filled_again_leaves_what_another_thread_put_behind_it(void)
{
    struct fb__pool *pool = fixture_pool("u", 2, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 100);
    must_append(batch, 0, 0, 50);
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, append_second_half, batch), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK(batch->homes[0].next != NULL);
    must_append(batch, 0, 0, 50);
    must_finish(batch);
    fixture_check_strings(batch, 0, 0);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* ---- growth ---- */

static void growth_leaves_room_for_the_rows_expected(void)
{
    struct fb__pool *pool = fixture_pool("u", 0, 1000, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 1000);
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(batch, 0, 0, 1000, 100, 150, &extent, &error), 0);
    CHECK(extent->pieces[0].capacity_bytes >= 1500 && extent->pieces[0].capacity_bytes <= 1600);
    extent->pieces[0].used_bytes += 1000;
    extent->row_count += 100;
    const uint8_t *bytes = extent->pieces[0].bytes;
    CHECK_EQUAL(fb__batch_extent(batch, 0, 100, 500, 50, 50, &extent, &error), 0);
    CHECK(extent->pieces[0].bytes == bytes);
    /* One long string does not claim as much for each of the rows behind it. */
    CHECK_EQUAL(fb__batch_extent(batch, 0, 500, 1 << 20, 1, 8, &extent, &error), 0);
    CHECK(extent->pieces[0].capacity_bytes <= fb__gate_bytes(2 << 20));
    check_books(batch);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* As a source does: rows of these bytes in all, nothing written. */
static struct fb__extent *append_bytes(struct fb_batch *batch, uint64_t place, uint64_t bytes, uint64_t row_count,
                                       uint64_t expected_rows)
{
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(batch, 0, place, bytes, row_count, expected_rows, &extent, &error), 0);
    extent->pieces[0].used_bytes += bytes;
    extent->row_count += row_count;
    return extent;
}

static void a_further_run_is_not_copied_to_be_joined_with_the_one_before(void)
{
    struct fb__pool *pool = fixture_pool("u", 0, 1000, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 1000);
    (void)append_bytes(batch, 0, 10, 1, 1); /* the home */
    struct fb__extent *first = append_bytes(batch, 500, 100, 10, 10);
    struct fb__extent *second = append_bytes(batch, 510, 100, 10, 10);
    CHECK(second != first);
    CHECK_EQUAL(first->pieces[0].capacity_bytes, 100);
    CHECK_EQUAL(second->first_row, 510);
    /* What goes on with a run grows; so does a home, which stays. */
    CHECK(append_bytes(batch, 520, 50, 5, 10) != second);
    struct fb__extent *third = append_bytes(batch, 525, 300, 5, 5);
    CHECK_EQUAL(third->first_row, 520);
    CHECK(third->pieces[0].capacity_bytes >= 350);
    CHECK(append_bytes(batch, 1, 1000, 10, 10) == &batch->homes[0]);
    check_books(batch);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

static void growth_takes_just_what_it_needs_where_no_more_is_free(void)
{
    struct fb__pool *pool = fixture_pool("u", 0, 1000, FB_NULLS_ERROR, 1 << 20);
    struct fb_batch *batch = fixture_take(pool, 0, 1000);
    uint64_t free_bytes = fb__ledger_limit(pool->ledger) - fb__ledger_total(pool->ledger);
    struct fb_error error;
    CHECK_EQUAL(fb__ledger_charge(pool->ledger, FB_ACCOUNT_PLAN, free_bytes - 1200, &error), 0);
    struct fb__extent *extent;
    CHECK_EQUAL(fb__batch_extent(batch, 0, 0, 1000, 100, 150, &extent, &error), 0);
    CHECK_EQUAL(extent->pieces[0].capacity_bytes, 1000);
    check_books(batch);
    fb__ledger_credit(pool->ledger, FB_ACCOUNT_PLAN, free_bytes - 1200);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

static void growth_that_is_refused_or_cancelled_leaves_the_batch_as_it_was(void)
{
    struct fb__pool *pool = fixture_pool("u", 0, 1000, FB_NULLS_ERROR, 1 << 20);
    struct fb_batch *batch = fixture_take(pool, 0, 1000);
    must_append(batch, 0, 0, 30);
    uint64_t booked_bytes = batch->grant.booked_bytes;
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(batch, 0, 30, 2 << 20, 1, 1, &extent, &error), ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, 1 << 20);
    CHECK_EQUAL(batch->grant.booked_bytes, booked_bytes);
    fb__ledger_cancel(pool->ledger, 0);
    CHECK_EQUAL(fb__batch_extent(batch, 0, 30, 1000, 1, 1, &extent, &error), ECANCELED);
    fb__ledger_resume(pool->ledger);
    CHECK_EQUAL(batch->grant.booked_bytes, booked_bytes);
    must_append(batch, 0, 30, 970);
    must_finish(batch);
    fixture_check_strings(batch, 0, 0);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

static void more_bytes_than_32_bit_offsets_reach_are_refused_by_name(void)
{
    struct fb__pool *pool = fixture_pool("Uu", 1, 10, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 10);
    struct fb__extent *extent;
    struct fb_error error;
    CHECK_EQUAL(fb__batch_extent(batch, 1, 0, UINT64_C(1) << 31, 1, 1, &extent, &error), EOVERFLOW);
    CHECK_CONTAINS(error.message, "'c1'");
    CHECK_EQUAL(fb__batch_extent(batch, 0, 0, UINT64_C(1) << 31, 1, 1, &extent, &error), ENOBUFS);
    must_append(batch, 0, 0, 5);
    CHECK_EQUAL(fb__batch_extent(batch, 0, 5, UINT64_MAX, 1, 1, &extent, &error), ENOBUFS);
    /* Two runs that fit each, and not together: only their sizes are made up. */
    must_append(batch, 1, 5, 5);
    must_append(batch, 1, 0, 5);
    uint64_t used_bytes = batch->homes[1].pieces[0].used_bytes;
    batch->homes[1].pieces[0].used_bytes = (UINT64_C(1) << 31) - 1;
    CHECK_EQUAL(fb__batch_finish(batch, &error), EOVERFLOW);
    CHECK_CONTAINS(error.message, "'c1'");
    CHECK(!batch->is_finished);
    batch->homes[1].pieces[0].used_bytes = used_bytes;
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* ---- failing memory ---- */

/* Fills two columns so that homes grow, extents are added and grow, and joins need new buffers. */
static int fill_and_finish(struct fb_batch *batch, struct fb_error *error)
{
    static const uint64_t begins[] = {40, 0, 80, 60};
    for (int i = 0; i < 4; i++) {
        for (uint32_t column = 0; column < 2; column++) {
            int code = append(batch, column, begins[i], 5, 20, error);
            if (code == 0) code = append(batch, column, begins[i] + 5, begins[i] == 0 ? 35 : 15, 40, error);
            if (code) return code;
        }
    }
    return fb__batch_finish(batch, error);
}

static void every_allocation_may_fail(void)
{
    for (int repeat = 1; repeat >= -1; repeat -= 2) {
        struct fb__pool *pool = fixture_pool("uU", 1, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
        struct fb__gate *gate = fb__ledger_gate(pool->ledger);
        uint64_t core_bytes = fb__ledger_total(pool->ledger);
        int64_t failures = 0;
        bool is_through = false;
        for (int64_t after = 0; !is_through; after++) {
            struct fb_batch *batch = fixture_take(pool, 0, 100);
            fb__gate_fail_nth(gate, after, repeat);
            struct fb_error error = {0};
            int code = fill_and_finish(batch, &error);
            /* Still armed where fewer allocations were asked for. */
            is_through = atomic_load(&gate->fail_countdown) > 0;
            fb__gate_fail_nth(gate, 0, 0);
            if (code) {
                CHECK_EQUAL(code, ENOMEM);
                CHECK_EQUAL(error.code, ENOMEM);
                failures++;
            } else {
                fixture_check_strings(batch, 0, 0);
                fixture_check_strings(batch, 1, 0);
            }
            check_books(batch);
            fb__pool_return(batch);
            fb__pool_trim(pool);
            CHECK_EQUAL(fb__ledger_total(pool->ledger), core_bytes);
        }
        CHECK(failures >= 4);
        fb__pool_release(pool);
    }
}

static void finishing_can_be_repeated_after_a_failure(void)
{
    struct fb__pool *pool = fixture_pool("uU", 1, 100, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 100);
    for (uint32_t column = 0; column < 2; column++) {
        must_append(batch, column, 50, 50);
        must_append(batch, column, 0, 50);
    }
    struct fb_error error;
    fb__gate_fail_nth(fb__ledger_gate(pool->ledger), 1, 1);
    CHECK_EQUAL(fb__batch_finish(batch, &error), ENOMEM);
    CHECK(!batch->is_finished);
    must_finish(batch);
    fixture_check_strings(batch, 0, 0);
    fixture_check_strings(batch, 1, 0);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* ---- what the user sees ---- */

static void columns_are_shown_with_their_places(void)
{
    struct fb__pool *pool = fixture_pool("lbu", 4, 64, FB_NULLS_MASK, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 7, 50);
    must_append(batch, 2, 0, 50);
    must_finish(batch);
    CHECK_EQUAL(fb_batch_rows(batch), 50);
    CHECK_EQUAL(fb_batch_index(batch), 7);
    CHECK_EQUAL(fb_batch_column_count(batch), 3);
    struct fb_column view;
    fb_batch_column(batch, 0, &view);
    CHECK_EQUAL(view.kind, FB_COLUMN_FIXED);
    CHECK_EQUAL(view.element_bytes, 8);
    CHECK_EQUAL(view.list_size, 1);
    CHECK(view.values == fb__batch_values(batch, 0) && view.valid == fb__batch_valid(batch, 0));
    CHECK(view.offsets == NULL && view.valid != NULL);
    fb_batch_column(batch, 2, &view);
    CHECK(view.offsets == fb__batch_offsets(batch, 2) && view.values == batch->homes[0].pieces[0].bytes);
    uint64_t string_bytes = batch->homes[0].pieces[0].used_bytes;
    CHECK(string_bytes > 0);
    CHECK_EQUAL(fb__batch_bytes_out(batch), 50 * 8 + 50 * 1 + 51 * 4 + string_bytes + 3 * 50);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

static void a_column_without_a_byte_has_offsets_and_no_values(void)
{
    struct fb__pool *pool = fixture_pool("u", 4, 8, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
    struct fb_batch *batch = fixture_take(pool, 0, 8);
    struct fb__extent *extent;
    struct fb_error error;
    for (uint64_t row = 0; row < 8; row++) set_length(batch, 0, row, 0);
    CHECK_EQUAL(fb__batch_extent(batch, 0, 0, 0, 8, 8, &extent, &error), 0);
    extent->row_count += 8;
    must_finish(batch);
    struct fb_column view;
    fb_batch_column(batch, 0, &view);
    CHECK(view.values == NULL && view.valid == NULL);
    for (int row = 0; row <= 8; row++) CHECK_EQUAL(((const uint32_t *)view.offsets)[row], 0);
    CHECK_EQUAL(fb__batch_bytes_out(batch), 9 * 4);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

int main(void)
{
    RUN(a_batch_in_one_run_is_not_copied);
    RUN(runs_filled_in_any_order_are_joined_in_row_order);
    RUN(a_join_that_fits_the_home_takes_no_further_bytes);
    RUN(a_run_filled_again_replaces_its_rows);
    RUN(threads_fill_runs_of_a_column_side_by_side);
    RUN(a_run_filled_again_leaves_what_another_thread_put_behind_it);
    RUN(growth_leaves_room_for_the_rows_expected);
    RUN(a_further_run_is_not_copied_to_be_joined_with_the_one_before);
    RUN(growth_takes_just_what_it_needs_where_no_more_is_free);
    RUN(growth_that_is_refused_or_cancelled_leaves_the_batch_as_it_was);
    RUN(more_bytes_than_32_bit_offsets_reach_are_refused_by_name);
    RUN(every_allocation_may_fail);
    RUN(finishing_can_be_repeated_after_a_failure);
    RUN(columns_are_shown_with_their_places);
    RUN(a_column_without_a_byte_has_offsets_and_no_values);
    return 0;
}
