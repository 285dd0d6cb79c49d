/* White-box test of src/source/stream: streams that behave and streams that do not, and what they hold. */
#include "source_fixture.h"

static void rows_come_whatever_the_blocks_are(void)
{
    static const uint64_t scripts[][8] = {{100},     {1, 99}, {60, 40}, {0, 30, 0, 0, 69, 1, 0}, {20, 20, 20, 20, 20},
                                          {99, 1, 0}};
    static const int counts[] = {1, 2, 2, 7, 5, 3};
    for (int i = 0; i < 6; i++) {
        for (uint64_t step = 1; step <= 100; step += 11) {
            struct script script = script_of(counts[i], scripts[i]);
            struct bench bench;
            bench_start(&bench, &script, 100, 100);
            must_open(&bench, 0);
            CHECK_EQUAL(script.asked.unit, 1);
            CHECK_EQUAL(script.asked.piece_rows, 64);
            CHECK_EQUAL(script.asked.column_count, 2);
            for (uint64_t row = 0; row < 100; row += step) must_fill(&bench, row, row + step < 100 ? step : 100 - row);
            /* The unit is over: block and stream are gone before the cursor is closed. */
            CHECK_EQUAL(fixture_live, bench.live_before);
            bench_close_cursor(&bench);
            finish_and_check(&bench, 0);
            CHECK_EQUAL(script.release_count, 0);
            bench_end(&bench);
            CHECK_EQUAL(script.release_count, 1);
        }
    }
}

static void columns_may_be_read_by_cursors_of_their_own(void)
{
    struct script script = script_of(2, (const uint64_t[]){70, 30});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    for (uint32_t column = 0; column < 2; column++) {
        CHECK_EQUAL(bench_open(&bench, &both_columns[column], 1, 0), 0);
        CHECK_EQUAL(script.asked.columns[0], column);
        must_fill(&bench, 0, 100);
        bench_close_cursor(&bench);
    }
    finish_and_check(&bench, 0);
    bench_end(&bench);
}

static void a_block_goes_with_its_last_row(void)
{
    struct script script = script_of(2, (const uint64_t[]){10, 90});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    /* Stream, and two blocks of two children each; the stream's schema is gone already. */
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3 + 3);
    must_fill(&bench, 0, 9);
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3 + 3);
    must_fill(&bench, 9, 1);
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3);
    must_fill(&bench, 10, 1);
    bench_close_cursor(&bench);
    CHECK_EQUAL(fixture_live, bench.live_before);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_cursor_may_begin_inside_a_unit(void)
{
    static const uint64_t firsts[] = {1, 29, 30, 31, 60, 99};
    for (int i = 0; i < 6; i++) {
        struct script script = script_of(4, (const uint64_t[]){30, 0, 30, 40});
        struct bench bench;
        bench_start(&bench, &script, 100, 100 - firsts[i]);
        must_open(&bench, firsts[i]);
        must_fill(&bench, 0, 1);
        if (firsts[i] < 99) must_fill(&bench, 1, 99 - firsts[i]);
        bench_close_cursor(&bench);
        finish_and_check(&bench, firsts[i]);
        bench_end(&bench);
    }
}

static void a_unit_must_have_the_rows_announced(void)
{
    struct script fewer = script_of(2, (const uint64_t[]){60, 39});
    struct bench bench;
    bench_start(&bench, &fewer, 100, 100);
    must_open(&bench, 0);
    check_failure(&bench, bench_fill(&bench, 0, 100), EIO, 99, "only 99 rows where 100 were announced");
    CHECK_EQUAL(bench.filled_rows, 99);
    bench_close_cursor(&bench);
    bench_end(&bench);

    /* Too many in the last block, and in one after it. */
    struct script more = script_of(2, (const uint64_t[]){60, 41});
    bench_start(&bench, &more, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 50);
    check_failure(&bench, bench_fill(&bench, 50, 50), EIO, 60, "at least 101 rows where 100 were announced");
    CHECK_EQUAL(bench.filled_rows, 10);
    bench_close_cursor(&bench);
    bench_end(&bench);

    struct script later = script_of(3, (const uint64_t[]){100, 0, 7});
    bench_start(&bench, &later, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 99);
    check_failure(&bench, bench_fill(&bench, 99, 1), EIO, 100, "at least 107 rows where 100 were announced");
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_null_is_found_by_unit_and_row(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    script.null_at = 23;
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 7);
    check_failure(&bench, bench_fill(&bench, 0, 93), EIO, 83, "'c0'");
    CHECK_EQUAL(bench.filled_rows, 53);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void an_error_of_the_stream_is_passed_on_with_its_place(void)
{
    static const int codes[][2] = {{EIO, EIO},     {EACCES, EACCES}, {EAGAIN, EIO}, {ETIMEDOUT, EIO},
                                   {EDEADLK, EIO}, {ENOBUFS, EIO},   {-5, EIO}};
    for (int i = 0; i < 7; i++) {
        struct script script = script_of(1, (const uint64_t[]){60});
        script.end_code = codes[i][0];
        struct bench bench;
        bench_start(&bench, &script, 100, 100);
        must_open(&bench, 0);
        check_failure(&bench, bench_fill(&bench, 0, 100), codes[i][1], 60, "the disk is gone");
        CHECK_EQUAL(bench.filled_rows, 60);
        bench_close_cursor(&bench);
        bench_end(&bench);
        CHECK_EQUAL(script.release_count, 1);
    }
}

static void an_error_behind_the_last_row_counts(void)
{
    struct script script = script_of(1, (const uint64_t[]){100});
    script.end_code = EIO;
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 99);
    check_failure(&bench, bench_fill(&bench, 99, 1), EIO, 100, "the disk is gone");
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_malformed_block_is_refused(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    script.is_block_short = true;
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    check_failure(&bench, bench_fill(&bench, 0, 100), EINVAL, 60, "'c1'");
    CHECK_EQUAL(bench.filled_rows, 60);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_unit_that_cannot_be_opened_leaves_nothing_open(void)
{
    struct script scripts[5];
    for (int i = 0; i < 5; i++) scripts[i] = script_of(1, (const uint64_t[]){100});
    scripts[0].open_code = ENOENT;
    scripts[1].open_code = EAGAIN;
    scripts[1].is_open_mute = true;
    scripts[2].is_open_empty = true;
    scripts[3].formats = "lz";
    scripts[4].formats = "iu";
    static const int codes[] = {ENOENT, EIO, EIO, EINVAL, EINVAL};
    static const char *const texts[] = {"no such file", "could not be opened", "no stream", "'c1'", "'c0'"};
    for (int i = 0; i < 5; i++) {
        struct bench bench;
        bench_start(&bench, &scripts[i], 100, 100);
        bench.error = (struct fb_error){.code = 12345, .message = "of another time"};
        check_failure(&bench, bench_open(&bench, both_columns, 2, 0), codes[i], -1, texts[i]);
        CHECK_EQUAL(fixture_live, bench.live_before);
        bench_end(&bench);
        CHECK_EQUAL(scripts[i].release_count, 1);
    }
}

/* ---- what the decoder holds ---- */

static void what_the_decoder_holds_is_booked(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    script.allocated_bytes = 700;
    must_fill(&bench, 0, 10);
    CHECK_EQUAL(bench.grant.booked_bytes, 1000);
    script.allocated_bytes = 4321;
    must_fill(&bench, 10, 90);
    CHECK_EQUAL(bench.grant.booked_bytes, 4321);
    CHECK_EQUAL(fixture_booked(bench.pool, FB_ACCOUNT_READ), 4321);
    CHECK_EQUAL(bench.source->foreign_peak_bytes, 0);
    bench_close_cursor(&bench);
    finish_and_check(&bench, 0);
    bench_end(&bench);
}

static void a_decoder_beyond_the_limit_is_let_go_and_goes_on_later(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 50);
    script.allocated_bytes = (1 << 20) + 1000;
    uint64_t total_bytes = fb__ledger_total(bench.pool->ledger);
    check_failure(&bench, bench_fill(&bench, 50, 50), EAGAIN, 60, "more than the limit");
    CHECK_EQUAL(bench.filled_rows, 10);
    CHECK_EQUAL(bench.error.required_bytes, 1 << 20);
    CHECK_EQUAL(bench.error.limit_bytes, 1 << 20);
    CHECK_EQUAL(bench.source->foreign_peak_bytes, 1 << 20);
    CHECK_EQUAL(fixture_live, bench.live_before);
    CHECK_EQUAL(fb__ledger_total(bench.pool->ledger), total_bytes);
    bench_close_cursor(&bench);
    script.allocated_bytes = 0;
    must_open(&bench, 60);
    CHECK_EQUAL(script.open_count, 2);
    must_fill(&bench, 60, 40);
    bench_close_cursor(&bench);
    finish_and_check(&bench, 0);
    CHECK(bench.batch->homes[0].next == NULL);
    bench_end(&bench);
}

int main(void)
{
    RUN(rows_come_whatever_the_blocks_are);
    RUN(columns_may_be_read_by_cursors_of_their_own);
    RUN(a_block_goes_with_its_last_row);
    RUN(a_cursor_may_begin_inside_a_unit);
    RUN(a_unit_must_have_the_rows_announced);
    RUN(a_null_is_found_by_unit_and_row);
    RUN(an_error_of_the_stream_is_passed_on_with_its_place);
    RUN(an_error_behind_the_last_row_counts);
    RUN(a_malformed_block_is_refused);
    RUN(a_unit_that_cannot_be_opened_leaves_nothing_open);
    RUN(what_the_decoder_holds_is_booked);
    RUN(a_decoder_beyond_the_limit_is_let_go_and_goes_on_later);
    return 0;
}
