/* White-box test of src/source/custom.c: sources that fill batches themselves, what is asked of them, what they get. */
#include "source_fixture.h"

#define UNIT_ROWS 30

/* A source of int64 and string whose fill is a function of the test's. */
struct own {
    int (*fill)(struct own *own, struct fb_fill *fill, struct fb_error *error);
    int open_code;
    const char *open_text;
    int open_count, close_count, release_count;
    uint64_t first_row; /* of the last open */
    int code; /* of the last call of fb_fill_*() that a test looks at */
};

static int own_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t first_row,
                    void **cursor, struct fb_error *error)
{
    struct own *own = context;
    CHECK(unit == 1 && column_count > 0 && columns[0] <= 1);
    if (own->open_code && !own->open_text) return own->open_code;
    if (own->open_code) return fb_error_set(error, own->open_code, "%s", own->open_text);
    own->open_count++;
    own->first_row = first_row;
    *cursor = own;
    return 0;
}

static int own_fill(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    CHECK(cursor == context && error != NULL);
    struct own *own = context;
    return own->fill(own, fill, error);
}

static void own_close(void *context, void *cursor)
{
    CHECK(cursor == context);
    ((struct own *)context)->close_count++;
}

static void own_release(void *context)
{
    ((struct own *)context)->release_count++;
}

static const struct fb_fill_source_callbacks own_callbacks = {
    .open = own_open, .fill = own_fill, .close = own_close, .release = own_release, .can_split_columns = true};

/* ---- ways to fill ---- */

static int fill_numbers(struct fb_fill *fill, struct fb_error *error)
{
    int64_t *numbers = fb_fill_place(fill, 0, sizeof *numbers, error);
    if (!numbers) return error->code;
    uint64_t first = fb_fill_unit(fill) * UNIT_NUMBER + fb_fill_first_row(fill);
    for (uint64_t row = 0; row < fb_fill_rows(fill); row++) numbers[row] = (int64_t)(first + row);
    return 0;
}

static int fill_strings(struct fb_fill *fill, uint64_t row_count, struct fb_error *error)
{
    uint64_t first = fb_fill_unit(fill) * UNIT_NUMBER + fb_fill_first_row(fill);
    for (uint64_t row = 0; row < row_count; row++) {
        char text[FIXTURE_TEXT_MAX];
        uint64_t bytes = fixture_string(first + row, text);
        int code = fb_fill_string(fill, 1, bytes > 0 ? text : NULL, bytes, error);
        if (code) return code;
    }
    return 0;
}

static int fill_in_place(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    uint32_t column_count;
    const uint32_t *columns = fb_fill_columns(fill, &column_count);
    for (uint32_t i = 0; i < column_count; i++) {
        int code = columns[i] == 0 ? fill_numbers(fill, error) : fill_strings(fill, fb_fill_rows(fill), error);
        if (code) return code;
    }
    return 0;
}

/* Both columns from arrays that hold the whole unit and three rows before it, a few rows at a time. */
static int fill_by_copy(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    struct ArrowArray block = block_of(both_columns, 2, UNIT_NUMBER - 3, UNIT_ROWS + 3, -1);
    int code = 0;
    for (uint32_t column = 0; column < 2; column++) {
        block.children[column]->offset = 3;
        block.children[column]->length = UNIT_ROWS;
        uint64_t done = 0;
        while (code == 0 && done < fb_fill_rows(fill)) {
            uint64_t count = fb_fill_rows(fill) - done < 4 ? fb_fill_rows(fill) - done : 4;
            uint64_t first_row = fb_fill_first_row(fill) + done;
            code = fb_fill_copy(fill, column, block.children[column], first_row, count, error);
            done += count;
        }
    }
    block.release(&block);
    return code;
}

static int fill_by_turns(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    uint64_t half = fb_fill_rows(fill) / 2, left = fb_fill_rows(fill) - half;
    struct ArrowArray text = strings(UNIT_NUMBER + fb_fill_first_row(fill) + half, left);
    int code = fill_strings(fill, half, error);
    if (code == 0) code = fb_fill_copy(fill, 1, &text, 0, left, error);
    if (code == 0) code = fill_numbers(fill, error);
    text.release(&text);
    return code;
}

/* ---- the bench ---- */

static void start_with(struct bench *bench, struct own *own, enum fb_null_policy null_policy, uint64_t limit_bytes)
{
    memset(bench, 0, sizeof *bench);
    bench->live_before = fixture_live;
    const uint64_t rows[] = {5, UNIT_ROWS};
    struct ArrowSchema schema = fixture_columns("lu");
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 2, NULL, &own_callbacks, own, &bench->source, &bench->error), 0);
    schema.release(&schema);
    bench->pool = fixture_pool("lu", 0, UNIT_ROWS, null_policy, limit_bytes);
    bench->batch = fixture_take(bench->pool, 0, UNIT_ROWS);
    CHECK_EQUAL(fb__ledger_reserve(bench->pool->ledger, &bench->grant, FB_ACCOUNT_READ, 0, 100, FB__NO_WAIT, NULL), 0);
}

static void start(struct bench *bench, struct own *own)
{
    start_with(bench, own, FB_NULLS_ERROR, FIXTURE_LIMIT_BYTES);
}

static void end(struct bench *bench, struct own *own)
{
    bench_close_cursor(bench);
    CHECK_EQUAL(own->close_count, own->open_count);
    CHECK_EQUAL(bench->grant.committed_bytes, 0);
    bench_end(bench);
    CHECK_EQUAL(own->release_count, 1);
}

static void rows_come_in_order_however_they_are_filled(void)
{
    int (*const ways[])(struct own *, struct fb_fill *, struct fb_error *) = {fill_in_place, fill_by_copy,
                                                                              fill_by_turns};
    for (int i = 0; i < 3; i++) {
        struct bench bench;
        struct own own = {.fill = ways[i]};
        start(&bench, &own);
        must_open(&bench, 0);
        must_fill(&bench, 0, 11);
        must_fill(&bench, 11, 1);
        must_fill(&bench, 12, 18);
        finish_and_check(&bench, 0);
        end(&bench, &own);
    }
}

static void a_unit_may_begin_at_a_later_row_and_for_some_columns(void)
{
    struct bench bench;
    struct own own = {.fill = fill_in_place};
    start(&bench, &own);
    for (uint32_t column = 0; column < 2; column++) {
        CHECK_EQUAL(bench_open(&bench, &both_columns[column], 1, 7), 0);
        CHECK_EQUAL(own.first_row, 7);
        must_fill(&bench, 0, 23);
        bench_close_cursor(&bench);
    }
    CHECK_EQUAL(bench_open(&bench, both_columns, 2, 0), 0);
    must_fill(&bench, 23, 7); /* rows 0 to 6, where the string of row i has i * 7 % 24 bytes as everywhere */
    CHECK_EQUAL(fb__batch_finish(bench.batch, &bench.error), 0);
    const int64_t *numbers = (const int64_t *)(const void *)fb__batch_values(bench.batch, 0);
    for (int64_t row = 0; row < UNIT_ROWS; row++) CHECK_EQUAL(numbers[row], UNIT_NUMBER + (row + 7) % UNIT_ROWS);
    end(&bench, &own);
}

/* ---- nulls ---- */

static int fill_with_nulls(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    int code = fill_numbers(fill, error);
    if (code == 0) code = own->code = fb_fill_null(fill, 0, 2, error);
    for (uint64_t row = 0; code == 0 && row < fb_fill_rows(fill); row++)
        code = row == 4 ? fb_fill_null(fill, 1, row, error) : fb_fill_string(fill, 1, "ab", 2, error);
    return code;
}

static void nulls_follow_the_policy(void)
{
    for (int mask = 0; mask < 2; mask++) {
        struct bench bench;
        struct own own = {.fill = fill_with_nulls};
        start_with(&bench, &own, mask ? FB_NULLS_MASK : FB_NULLS_FILL, FIXTURE_LIMIT_BYTES);
        /* What a batch of before has left there does not show. */
        if (mask) memset(fb__batch_valid(bench.batch, 0), 7, UNIT_ROWS);
        must_open(&bench, 0);
        must_fill(&bench, 0, UNIT_ROWS);
        CHECK_EQUAL(fb__batch_finish(bench.batch, &bench.error), 0);
        struct fb_column numbers, texts;
        fb_batch_column(bench.batch, 0, &numbers);
        fb_batch_column(bench.batch, 1, &texts);
        for (int64_t row = 0; row < UNIT_ROWS; row++) {
            CHECK_EQUAL(((int64_t *)numbers.values)[row], row == 2 ? 0 : UNIT_NUMBER + row);
            int32_t *offsets = texts.offsets;
            CHECK_EQUAL(offsets[row + 1] - offsets[row], row == 4 ? 0 : 2);
            CHECK_EQUAL(numbers.valid != NULL, mask);
            if (mask) CHECK_EQUAL(numbers.valid[row], row != 2);
            if (mask) CHECK_EQUAL(texts.valid[row], row != 4);
        }
        end(&bench, &own);
    }
}

static void a_null_that_the_policy_refuses_ends_the_fill_with_its_row(void)
{
    struct bench bench;
    struct own own = {.fill = fill_with_nulls};
    start(&bench, &own);
    must_open(&bench, 6);
    check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 8, "column 'c0' has a null");
    CHECK_EQUAL(own.code, EIO);
    CHECK_EQUAL(bench.filled_rows, 0);
    end(&bench, &own);
}

static int fill_null_strings(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    int code = fb_fill_string(fill, 1, "a", 1, error);
    return code ? code : fb_fill_null(fill, 1, 1, error);
}

static int fill_null_array(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    struct ArrowArray array = numbers(0, 20, 12);
    int code = fb_fill_copy(fill, 0, &array, 0, 5, error);
    if (code == 0) code = fb_fill_copy(fill, 0, &array, 10, 5, error);
    array.release(&array);
    return code;
}

static void a_refused_null_of_strings_and_arrays_is_named_by_its_row_too(void)
{
    struct bench bench;
    struct own own = {.fill = fill_null_strings};
    start(&bench, &own);
    must_open(&bench, 6);
    check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 7, "column 'c1' has a null");
    bench_close_cursor(&bench);
    own.fill = fill_null_array;
    must_open(&bench, 0);
    check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 7, "column 'c0' has a null");
    end(&bench, &own);
}

static int fill_part_of_array(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    (void)own;
    struct ArrowArray array = numbers(UNIT_NUMBER, UNIT_ROWS, 9);
    array.null_count = UNIT_ROWS; /* of the whole array, more than the rows of any copy */
    int code = fb_fill_copy(fill, 0, &array, fb_fill_first_row(fill), fb_fill_rows(fill), error);
    array.release(&array);
    return code ? code : fill_strings(fill, fb_fill_rows(fill), error);
}

static void an_array_may_have_more_nulls_than_the_rows_that_are_copied(void)
{
    struct bench bench;
    struct own own = {.fill = fill_part_of_array};
    start_with(&bench, &own, FB_NULLS_FILL, FIXTURE_LIMIT_BYTES);
    must_open(&bench, 0);
    for (uint64_t place = 0; place < UNIT_ROWS; place += 3) must_fill(&bench, place, 3);
    const int64_t *values = (const int64_t *)(const void *)fb__batch_values(bench.batch, 0);
    for (int64_t row = 0; row < UNIT_ROWS; row++) CHECK_EQUAL(values[row], row == 9 ? 0 : UNIT_NUMBER + row);
    end(&bench, &own);
}

/* ---- calls that are wrong ---- */

static int wrong_call; /* number of the case below */

static int fill_wrongly(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    struct ArrowArray array = numbers(0, 10, 3), text = strings(0, 10);
    const int64_t n_children = array.n_children;
    switch (wrong_call) {
    case 0:
        own->code = fb_fill_place(fill, 0, 4, error) ? 0 : error->code;
        break;
    case 1:
        own->code = fb_fill_place(fill, 1, 8, error) ? 0 : error->code;
        break;
    case 2:
        own->code = fb_fill_place(fill, 2, 8, error) ? 0 : error->code;
        break;
    case 3:
        own->code = fb_fill_string(fill, 0, "a", 1, error);
        break;
    case 4:
        own->code = fb_fill_string(fill, 1, NULL, 1, error);
        break;
    case 5:
        own->code = fb_fill_string(fill, 1, "a", (uint64_t)INT32_MAX + 1, error);
        break;
    case 6:
        own->code = fb_fill_null(fill, 0, 0, error);
        break;
    case 7:
        own->code = fb_fill_null(fill, 1, 1, error);
        break;
    case 8:
        own->code = fb_fill_copy(fill, 0, &array, 0, 11, error);
        break;
    case 9:
        own->code = fb_fill_copy(fill, 0, &array, 5, 6, error);
        break;
    case 10:
        own->code = fb_fill_copy(fill, 0, &array, 11, 0, error);
        break;
    case 11:
        own->code = fb_fill_copy(fill, 0, &text, 0, 4, error);
        break;
    case 12:
        array.buffers[0] = NULL;
        own->code = fb_fill_copy(fill, 0, &array, 0, 4, error);
        break;
    case 13:
        array.length = 0;
        own->code = fb_fill_copy(fill, 0, &array, 0, 0, NULL);
        break;
    case 14:
        CHECK_EQUAL(fill_strings(fill, 10, error), 0);
        own->code = fb_fill_string(fill, 1, "a", 1, error);
        break;
    case 15:
        CHECK_EQUAL(fill_strings(fill, 10, error), 0);
        own->code = fb_fill_null(fill, 1, 10, error);
        break;
    default:
        break;
    }
    array.n_children = n_children;
    array.release(&array);
    text.release(&text);
    /* All that comes after it is refused in the same words, whatever the callback makes of it. */
    struct fb_error later;
    CHECK_EQUAL(fb_fill_string(fill, 1, "a", 1, &later), own->code);
    CHECK_EQUAL(later.code, own->code);
    CHECK(fb_fill_place(fill, 0, 8, NULL) == NULL);
    return 0;
}

static void a_call_that_is_wrong_ends_the_fill_and_says_why(void)
{
    static const char *const texts[] = {
        "column 'c0' has rows of 8 bytes, the source has rows of 4",
        "column 'c1' wrongly: it is no plain column of fixed width",
        "column 2, which it was not asked for",
        "column 'c0' wrongly: it holds no strings",
        "column 'c1' wrongly: a string's bytes are missing",
        "column 'c1' wrongly: a string is longer than its offsets reach",
        "column 'c0' wrongly: a row was made null before it was filled",
        "column 'c1' wrongly: its null is not the next row",
        "column 'c0' wrongly: more rows than were asked for",
        "column 'c0' wrongly: the array has not the rows that are to be copied",
        "column 'c0' wrongly: the array has not the rows that are to be copied",
        "column 'c0' (format \"l\") has a wrong number of buffers",
        "column 'c0' (format \"l\") has nulls but no validity buffer",
        "column 'c0' (format \"l\") has a null count that is not between -1 and its length",
        "column 'c1' wrongly: more rows than were asked for",
        "column 'c1' wrongly: more rows than were asked for",
    };
    for (wrong_call = 0; wrong_call < (int)(sizeof texts / sizeof *texts); wrong_call++) {
        struct bench bench;
        struct own own = {.fill = fill_wrongly};
        start(&bench, &own);
        must_open(&bench, 0);
        check_failure(&bench, bench_fill(&bench, 0, 10), EINVAL, -1, texts[wrong_call]);
        CHECK_EQUAL(own.code, EINVAL);
        CHECK_EQUAL(bench.filled_rows, 0);
        end(&bench, &own);
    }
}

static int fill_too_few(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    if (own->code == 0) CHECK_EQUAL(fill_numbers(fill, error), 0);
    return fill_strings(fill, own->code == 0 ? 4 : fb_fill_rows(fill), error);
}

static void rows_that_nobody_filled_are_an_error(void)
{
    struct bench bench;
    struct own own = {.fill = fill_too_few};
    start(&bench, &own);
    must_open(&bench, 1);
    check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 5, "filled 4 rows of column 'c1' where 10 were asked for");
    bench_close_cursor(&bench);
    own.code = 1;
    must_open(&bench, 1);
    check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 1, "filled 0 rows of column 'c0' where 10 were asked for");
    end(&bench, &own);
}

/* ---- errors of the source ---- */

static int fill_and_fail(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    CHECK_EQUAL(fill_numbers(fill, error), 0);
    if (own->open_text) {
        (void)fb_error_set(error, own->code, "%s", own->open_text);
        error->row = 12;
    }
    return own->code;
}

static void an_error_of_the_source_is_about_its_unit_and_keeps_its_words(void)
{
    struct bench bench;
    struct own own = {.fill = fill_and_fail, .code = ENOSPC, .open_text = "the tape is full"};
    start(&bench, &own);
    must_open(&bench, 1);
    check_failure(&bench, bench_fill(&bench, 0, 10), ENOSPC, 12, "the tape is full");
    bench_close_cursor(&bench);
    own.open_text = NULL;
    must_open(&bench, 1);
    check_failure(&bench, bench_fill(&bench, 0, 10), ENOSPC, -1, "filling rows failed with code 28 and no message");
    end(&bench, &own);
}

static void codes_that_mean_something_to_the_reader_become_eio(void)
{
    const int codes[] = {EAGAIN, ENOBUFS, EDEADLK, ETIMEDOUT, EINTR, -1};
    for (int i = 0; i < 6; i++) {
        struct bench bench;
        struct own own = {.fill = fill_and_fail, .code = codes[i]};
        start(&bench, &own);
        must_open(&bench, 0);
        check_failure(&bench, bench_fill(&bench, 0, 10), EIO, -1, "no message");
        own.open_text = "in words";
        check_failure(&bench, bench_fill(&bench, 0, 10), EIO, 12, "in words");
        end(&bench, &own);
    }
}

static void a_unit_that_cannot_be_opened_leaves_nothing_behind(void)
{
    struct bench bench;
    struct own own = {.fill = fill_in_place, .open_code = ENOENT, .open_text = "no such tape"};
    start(&bench, &own);
    check_failure(&bench, bench_open(&bench, both_columns, 2, 0), ENOENT, -1, "no such tape");
    CHECK_EQUAL(bench.grant.committed_bytes, 0);
    own.open_text = NULL;
    check_failure(&bench, bench_open(&bench, both_columns, 2, 0), ENOENT, -1, "opening the unit failed with code 2");
    own.open_code = 0;
    struct fb__gate *gate = fb__ledger_gate(bench.pool->ledger);
    fb__gate_fail_nth(gate, 0, 1);
    CHECK_EQUAL(bench_open(&bench, both_columns, 2, 0), ENOMEM);
    CHECK_EQUAL(own.open_count, 0);
    CHECK_EQUAL(own.close_count, 0);
    must_open(&bench, 0);
    end(&bench, &own);
}

static int fill_beyond_the_limit(struct own *own, struct fb_fill *fill, struct fb_error *error)
{
    static char text[1 << 20];
    own->code = fb_fill_string(fill, 1, text, sizeof text, error);
    return EIO; /* as a source does that has codes of its own */
}

static void a_refusal_of_the_limit_stays_one(void)
{
    struct bench bench;
    struct own own = {.fill = fill_beyond_the_limit};
    start_with(&bench, &own, FB_NULLS_ERROR, 1 << 17);
    must_open(&bench, 3);
    CHECK_EQUAL(bench_fill(&bench, 0, 10), ENOBUFS);
    CHECK_EQUAL(own.code, ENOBUFS);
    CHECK_EQUAL(bench.error.code, ENOBUFS);
    CHECK_EQUAL(bench.error.unit, 1);
    CHECK(bench.error.required_bytes > bench.error.limit_bytes);
    end(&bench, &own);
}

/* ---- making ---- */

static void a_refused_source_leaves_the_context_with_the_caller(void)
{
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu"), decimals = fixture_columns("ld");
    struct own own = {0};
    const uint64_t rows[] = {1, UINT64_MAX};
    const struct fb_fill_column_cost weightless[] = {{0, 0, 1}, {0, 0, 0}};
    const struct fb_fill_source_callbacks mute = {.release = own_release}, *callbacks = &own_callbacks;
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 1, NULL, NULL, &own, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 1, NULL, &mute, &own, &source, &error), EINVAL);
    CHECK_CONTAINS(error.message, "fill callback");
    CHECK_EQUAL(fb_source_from_fill(&schema, NULL, 1, NULL, callbacks, &own, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 2, NULL, callbacks, &own, &source, &error), EINVAL);
    CHECK_CONTAINS(error.message, "unit 1");
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 1, weightless, callbacks, &own, &source, &error), EINVAL);
    CHECK_CONTAINS(error.message, "'c1'");
    CHECK_EQUAL(fb_source_from_fill(&decimals, rows, 1, NULL, callbacks, &own, &source, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "c1");
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__source_make_custom(&gate, &schema, rows, 1, NULL, callbacks, &own, &source, &error), ENOMEM);
    CHECK_EQUAL(own.release_count, 0);
    schema.release(&schema);
    decimals.release(&decimals);
    CHECK_EQUAL(fixture_live, live_before);
}

static void a_cursor_costs_what_the_source_says_and_a_table(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    const struct fb_fill_column_cost costs[] = {{1000, 50, 1}, {UINT64_MAX - 1, 20, 3}};
    const uint64_t rows[] = {1};
    struct own own = {0};
    struct fb_fill_source_callbacks callbacks = own_callbacks;
    callbacks.context_bytes = 4000;
    callbacks.can_split_columns = false;
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_fill(&schema, rows, 1, costs, &callbacks, &own, &source, &error), 0);
    schema.release(&schema);
    uint64_t bytes = fb__source_cursor_bytes(source, both_columns, 1, 500);
    CHECK(bytes >= 1000 + 8 && bytes < 1100);
    CHECK(fb__source_cursor_bytes(source, both_columns, 2, 1) == UINT64_MAX);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], 20);
    CHECK_EQUAL(source->costs[1].weight, 3);
    CHECK_EQUAL(source->plan_bytes, source->owned_bytes + 4000);
    CHECK(source->is_one_column_set);
    fb_source_release(source);
    CHECK_EQUAL(own.release_count, 1);
}

int main(void)
{
    RUN(rows_come_in_order_however_they_are_filled);
    RUN(a_unit_may_begin_at_a_later_row_and_for_some_columns);
    RUN(nulls_follow_the_policy);
    RUN(a_null_that_the_policy_refuses_ends_the_fill_with_its_row);
    RUN(a_refused_null_of_strings_and_arrays_is_named_by_its_row_too);
    RUN(an_array_may_have_more_nulls_than_the_rows_that_are_copied);
    RUN(a_call_that_is_wrong_ends_the_fill_and_says_why);
    RUN(rows_that_nobody_filled_are_an_error);
    RUN(an_error_of_the_source_is_about_its_unit_and_keeps_its_words);
    RUN(codes_that_mean_something_to_the_reader_become_eio);
    RUN(a_unit_that_cannot_be_opened_leaves_nothing_behind);
    RUN(a_refusal_of_the_limit_stays_one);
    RUN(a_refused_source_leaves_the_context_with_the_caller);
    RUN(a_cursor_costs_what_the_source_says_and_a_table);
    return 0;
}
