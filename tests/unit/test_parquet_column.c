/* A column chunk in every shape becomes the batch column that it describes, within the bytes that it may take. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "parquet_bench.h"
#include "source/source.h"

#define SEED UINT64_C(20261123)

static void check_rows(const struct fixture_column *fixture, const struct chunk *chunk, const struct expected *expected,
                       uint64_t first_row, uint64_t row_count, uint64_t place)
{
    const struct fb__column_layout *layout = &fixture->pool->layout.columns[0];
    uint64_t row_bytes = chunk_item_count(&chunk->plan) * layout->element_bytes;
    if (row_bytes > 0)
        CHECK(memcmp(fb__batch_values(fixture->batch, 0) + place * row_bytes,
                     expected->elements + first_row * row_bytes, row_count * row_bytes) == 0);
    const uint8_t *valid = fb__batch_valid(fixture->batch, 0);
    if (valid) CHECK(memcmp(valid + place, expected->valid + first_row, row_count) == 0);
    CHECK(valid || fixture->pool->layout.storage == FB_STORAGE_DENSE);
    uint64_t items = chunk_item_count(&chunk->plan);
    const uint8_t *item_valid = fb__batch_item_valid(fixture->batch, 0);
    if (item_valid)
        CHECK(memcmp(item_valid + place * items, expected->item_valid + first_row * items, row_count * items) == 0);
    CHECK_EQUAL(item_valid != NULL, chunk->plan.is_list && fixture->pool->layout.storage == FB_STORAGE_ARROW);
}

/* Reads all rows after the first skipped_rows in runs of random length. */
static void check_chunk_stored(const struct chunk *chunk, enum fb_null_policy null_policy, enum fb_storage storage,
                               uint64_t skipped_rows, struct dice *dice)
{
    struct fixture_column fixture;
    column_begin_stored(&fixture, chunk, 0, null_policy, storage, ROOMY_BYTES);
    struct expected expected = chunk_expect(chunk, &fixture.pool->layout.columns[0]);
    int code = column_open(&fixture, chunk);
    if (code == 0 && skipped_rows > 0) code = fb__parquet_column_skip(fixture.column, skipped_rows, &fixture.error);
    uint64_t row = skipped_rows;
    while (code == 0 && row < chunk->plan.row_count) {
        uint64_t rows = 1 + dice_below(dice, dice_below(dice, 2) ? 20 : chunk->plan.row_count);
        if (rows > chunk->plan.row_count - row) rows = chunk->plan.row_count - row;
        code = column_fill(&fixture, row, rows);
        if (code == 0) check_rows(&fixture, chunk, &expected, row, rows, row);
        row += rows;
    }
    if (code) fprintf(stderr, "%s\n", fixture.error.message);
    CHECK_EQUAL(code, 0);
    expected_free(&expected);
    column_end(&fixture, chunk);
}

static void check_chunk(const struct chunk *chunk, enum fb_null_policy null_policy, uint64_t skipped_rows,
                        struct dice *dice)
{
    check_chunk_stored(chunk, null_policy, FB_STORAGE_DENSE, skipped_rows, dice);
}

static bool can_be_null(const struct chunk_plan *plan)
{
    return plan->nulls_in_256 > 0 && (plan->has_null_rows || (plan->is_list && plan->has_null_items));
}

static void every_shape_comes_out_as_it_went_in(void)
{
    struct dice dice = {SEED};
    for (uint32_t i = 0; i < 60 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = random_plan(i % CHUNK_TYPE_COUNT, &dice);
        struct chunk chunk = chunk_make(&plan, &dice);
        enum fb_null_policy policy = dice_below(&dice, 2) ? FB_NULLS_FILL : FB_NULLS_MASK;
        if (!can_be_null(&plan)) policy = FB_NULLS_ERROR;
        check_chunk(&chunk, policy, 0, &dice);
        chunk_free(&chunk);
    }
}

static void arrow_storage_gets_the_source_s_types_and_all_validity(void)
{
    struct dice dice = {SEED + 9};
    for (uint32_t i = 0; i < 60 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = random_plan(i % CHUNK_TYPE_COUNT, &dice);
        struct chunk chunk = chunk_make(&plan, &dice);
        uint64_t skipped_rows = dice_below(&dice, 2) ? 0 : dice_below(&dice, plan.row_count + 1);
        check_chunk_stored(&chunk, FB_NULLS_ERROR, FB_STORAGE_ARROW, skipped_rows, &dice);
        chunk_free(&chunk);
    }
}

static void eight_bit_integers_can_become_bools(void)
{
    struct dice dice = {SEED + 10};
    for (uint32_t i = 0; i < 60; i++) {
        struct chunk_plan plan = random_plan(1, &dice);
        plan.is_bool8 = true;
        struct chunk chunk = chunk_make(&plan, &dice);
        check_chunk(&chunk, FB_NULLS_MASK, 0, &dice);
        chunk_free(&chunk);
    }
}

static void rows_that_are_skipped_leave_the_others_in_place(void)
{
    struct dice dice = {SEED + 1};
    for (uint32_t i = 0; i < 30 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = random_plan(i % CHUNK_TYPE_COUNT, &dice);
        struct chunk chunk = chunk_make(&plan, &dice);
        check_chunk(&chunk, FB_NULLS_MASK, dice_below(&dice, plan.row_count + 1), &dice);
        chunk_free(&chunk);
    }
}

/* Pages larger than the window, and many windows of small ones; plain pages are used where they lie. */
static void chunks_of_many_windows_come_out_right(void)
{
    struct dice dice = {SEED + 2};
    for (uint32_t i = 0; i < 18; i++) {
        struct chunk_plan plan = {
            .type = i % 2 ? 5 : 3,
            .has_null_rows = i % 3 == 0,
            .nulls_in_256 = 3,
            .row_count = 90000,
            .page_levels = i % 2 ? 300 : 60000,
            .version = i % 3,
            .codec = codecs[i / 6],
            .dictionary_entries = i % 4 == 3 ? 20000 : 0,
            .falls_back = true,
        };
        if (!fb__codec_is_supported(plan.codec)) continue;
        struct chunk chunk = chunk_make(&plan, &dice);
        CHECK(chunk.file.count > UINT64_C(2) * 128 * 1024);
        check_chunk(&chunk, FB_NULLS_FILL, i % 5 ? 0 : 40000, &dice);
        chunk_free(&chunk);
    }
}

static void a_null_is_an_error_where_the_policy_says_so(void)
{
    struct dice dice = {SEED + 3};
    uint64_t seen_items = 0, seen_rows = 0;
    for (uint32_t i = 0; i < 200; i++) {
        struct chunk_plan plan = random_plan(i % CHUNK_TYPE_COUNT, &dice);
        plan.nulls_in_256 = 2;
        struct chunk chunk = chunk_make(&plan, &dice);
        struct fixture_column fixture;
        column_begin(&fixture, &chunk, 0, FB_NULLS_ERROR, ROOMY_BYTES);
        struct expected expected = chunk_expect(&chunk, &fixture.pool->layout.columns[0]);
        CHECK_EQUAL(column_open(&fixture, &chunk), 0);
        int code = column_fill(&fixture, 0, plan.row_count);
        if (expected.first_null_row == plan.row_count) {
            CHECK_EQUAL(code, 0);
            CHECK_EQUAL(fixture.null_row, UINT64_MAX);
        } else {
            CHECK_EQUAL(code, EIO);
            CHECK_EQUAL(fixture.null_row, expected.first_null_row);
            const char *what = expected.is_item_null ? "a null inside a list: read" : "a null: read";
            CHECK_CONTAINS(fixture.error.message, "column 'weights' has ");
            CHECK_CONTAINS(fixture.error.message, what);
            seen_items += expected.is_item_null;
            seen_rows += !expected.is_item_null;
        }
        expected_free(&expected);
        column_end(&fixture, &chunk);
        chunk_free(&chunk);
    }
    CHECK(seen_items > 10 && seen_rows > 10);
}

/* ---- memory ---- */

/* Refuses whoever waits for bytes, as a consumer does that sees that nothing else can go on. */
struct refuser {
    struct fb__ledger *ledger;
    sem_t waiting;
    atomic_bool is_over;
    pthread_t thread;
};

static void note_waiting(void *context)
{
    CHECK_EQUAL(sem_post(&((struct refuser *)context)->waiting), 0);
}

static void *refuse_waiting(void *context)
{
    struct refuser *refuser = context;
    while (!atomic_load(&refuser->is_over)) {
        while (sem_wait(&refuser->waiting) != 0) CHECK_EQUAL(errno, EINTR);
        (void)fb__ledger_refuse_waiting(refuser->ledger);
    }
    return NULL;
}

static void refuser_begin(struct refuser *refuser, struct fb__ledger *ledger)
{
    refuser->ledger = ledger;
    refuser->is_over = false;
    CHECK_EQUAL(sem_init(&refuser->waiting, 0, 0), 0);
    fb__ledger_set_watch(ledger, note_waiting, refuser);
    CHECK_EQUAL(pthread_create(&refuser->thread, NULL, refuse_waiting, refuser), 0);
}

static void refuser_end(struct refuser *refuser)
{
    fb__ledger_set_watch(refuser->ledger, NULL, NULL);
    atomic_store(&refuser->is_over, true);
    note_waiting(refuser);
    CHECK_EQUAL(pthread_join(refuser->thread, NULL), 0);
    CHECK_EQUAL(sem_destroy(&refuser->waiting), 0);
}

static void buffers_grow_as_far_as_the_limit_lets_them(void)
{
    struct dice dice = {SEED + 12};
    uint64_t refused = 0, read = 0;
    for (uint32_t i = 0; i < 40; i++) {
        struct chunk_plan plan = {.type = i % 2 ? 5 : 4,
                                  .row_count = 50000,
                                  .page_levels = 20000,
                                  .codec = i % 4 < 2 ? dice_codec(&dice) : (uint32_t)FB__CODEC_UNCOMPRESSED,
                                  .dictionary_entries = i % 3 ? 0 : 30000};
        struct chunk chunk = chunk_make(&plan, &dice);
        struct fixture_column fixture;
        column_begin(&fixture, &chunk, 50000, FB_NULLS_FILL, ROOMY_BYTES);
        uint64_t booked_bytes = fb__ledger_total(fixture.pool->ledger);
        uint64_t extra_bytes = dice_below(&dice, UINT64_C(1) << (i % 2 ? 17 : 20));
        fb__ledger_lower_limit(fixture.pool->ledger, booked_bytes + extra_bytes);
        struct refuser refuser;
        refuser_begin(&refuser, fixture.pool->ledger);
        CHECK_EQUAL(column_open(&fixture, &chunk), 0);
        int code = column_fill(&fixture, 0, plan.row_count);
        if (code) {
            CHECK_EQUAL(code, ENOBUFS);
            CHECK(fixture.error.required_bytes > booked_bytes + extra_bytes);
            CHECK_EQUAL(fixture.null_row, UINT64_MAX);
            refused++;
        } else {
            read++;
        }
        refuser_end(&refuser);
        CHECK(fixture.counter >= fb__parquet_column_bytes(&chunk.description, plan.codec));
        column_end(&fixture, &chunk);
        chunk_free(&chunk);
    }
    CHECK(refused > 5 && read > 5);
}

/* The first sizes that a description gives are what the column begins with: nothing grows where they suffice. */
static void first_sizes_that_suffice_are_never_left(void)
{
    struct dice dice = {SEED + 14};
    for (uint32_t i = 0; i < 6 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = random_plan(i % CHUNK_TYPE_COUNT, &dice);
        struct chunk chunk = chunk_make(&plan, &dice);
        const struct chunk_type *type = &chunk_types[plan.type];
        chunk.description.page_bytes = chunk.largest_page_bytes;
        chunk.description.stored_page_bytes = chunk.chunk.stored_bytes;
        chunk.description.dictionary_bytes = type->physical_bytes > 0 ? plan.dictionary_entries * type->physical_bytes
                                                                      : (plan.dictionary_entries + 7) / 8;
        struct fixture_column fixture;
        column_begin(&fixture, &chunk, 0, FB_NULLS_FILL, ROOMY_BYTES);
        CHECK_EQUAL(column_open(&fixture, &chunk), 0);
        CHECK_EQUAL(column_fill(&fixture, 0, plan.row_count), 0);
        uint64_t bytes = fb__parquet_column_bytes(&chunk.description, plan.codec);
        CHECK_EQUAL(fixture.counter, bytes);
        CHECK_EQUAL(fixture.grant.booked_bytes, bytes);
        column_end(&fixture, &chunk);
        chunk_free(&chunk);
    }
}

static void a_window_that_grew_gives_back_what_it_had(void)
{
    struct dice dice = {SEED + 16};
    const struct chunk_plan plan = {.type = 5, .row_count = 100000, .page_levels = 60000};
    struct chunk chunk = chunk_make(&plan, &dice);
    struct fixture_column fixture;
    column_begin(&fixture, &chunk, 0, FB_NULLS_ERROR, ROOMY_BYTES);
    CHECK_EQUAL(column_open(&fixture, &chunk), 0);
    uint64_t first_bytes = fixture.grant.booked_bytes;
    CHECK_EQUAL(fixture.grant.committed_bytes, first_bytes);
    CHECK_EQUAL(column_fill(&fixture, 0, plan.row_count), 0);
    CHECK(fixture.grant.committed_bytes > first_bytes);
    CHECK_EQUAL(fixture.grant.booked_bytes, fixture.grant.committed_bytes);
    CHECK_EQUAL(fixture.counter, fixture.grant.booked_bytes);
    column_end(&fixture, &chunk);
    chunk_free(&chunk);
}

static void every_allocation_may_fail(void)
{
    struct dice dice = {SEED + 15};
    for (uint32_t i = 0; i < 8; i++) {
        struct chunk_plan plan = {.type = i % 2 ? 5 : 4,
                                  .row_count = 50000,
                                  .page_levels = 30000,
                                  .codec = dice_codec(&dice),
                                  .dictionary_entries = i % 3 ? 0 : 30000};
        struct chunk chunk = chunk_make(&plan, &dice);
        chunk.description.page_bytes = 1000;
        chunk.description.dictionary_bytes = 1000;
        int64_t after = 0;
        for (int code = ENOMEM; code; after++) {
            struct fixture_column fixture;
            column_begin(&fixture, &chunk, 0, FB_NULLS_FILL, ROOMY_BYTES);
            fb__gate_fail_nth(fb__ledger_gate(fixture.pool->ledger), after, 1);
            code = column_open(&fixture, &chunk);
            if (code == 0) code = column_fill(&fixture, 0, plan.row_count);
            CHECK(code == 0 || code == ENOMEM);
            fb__gate_fail_nth(fb__ledger_gate(fixture.pool->ledger), 0, 0);
            column_end(&fixture, &chunk);
        }
        CHECK(after > 3); /* the column, its window, its dictionary */
        chunk_free(&chunk);
    }
}

/* ---- what goes together ---- */

static void check_pair(const char *format, uint32_t type, uint32_t type_bytes, bool is_fine)
{
    struct ArrowSchema field = fixture_schema(format, "x");
    struct fb__gate gate;
    struct fb__layout layout;
    struct fb_error error;
    fb__source_gate_init(&gate);
    CHECK_EQUAL(fb__layout_init_column(&layout, &gate, &field, &error), 0);
    const struct fb_parquet_column description = {
        .is_decoded_here = true, .physical_type = type, .type_bytes = type_bytes, .max_definition = 1};
    int code = fb__parquet_column_check(&description, layout.columns, 3, &error);
    CHECK_EQUAL(code, is_fine ? 0 : EINVAL);
    if (code) CHECK_CONTAINS(error.message, "column 3: values of Parquet type");
    fb__layout_destroy(&layout);
    field.release(&field);
}

static void types_that_do_not_go_together_are_refused(void)
{
    for (uint32_t i = 0; i < CHUNK_TYPE_COUNT; i++)
        check_pair(chunk_types[i].format, chunk_types[i].physical_type, chunk_types[i].type_bytes, true);
    check_pair("l", FB_PARQUET_INT32, 0, false);
    check_pair("I", FB_PARQUET_INT64, 0, false);
    check_pair("tdm", FB_PARQUET_INT32, 0, false);
    check_pair("tdD", FB_PARQUET_FLOAT, 0, false);
    check_pair("c", FB_PARQUET_FLOAT, 0, false);
    check_pair("C", FB_PARQUET_BOOLEAN, 0, false);
    check_pair("b", FB_PARQUET_INT32, 0, false);
    check_pair("e", FB_PARQUET_FIXED_LEN_BYTE_ARRAY, 3, false);
    check_pair("l", 3, 0, false);
    check_pair("u", FB_PARQUET_INT64, 0, false);
}

static void levels_that_do_not_go_together_are_refused(void)
{
    static const struct {
        bool is_list;
        uint32_t max_repetition, max_definition, element_definition;
        bool is_fine;
    } cases[] = {
        {false, 0, 0, 0, true}, {false, 0, 1, 0, true}, {false, 0, 2, 0, false},  {false, 1, 1, 1, false},
        {true, 1, 1, 1, true},  {true, 1, 3, 2, true},  {true, 0, 1, 1, false},   {true, 1, 1, 0, false},
        {true, 1, 1, 2, false}, {true, 2, 3, 2, false}, {true, 1, 256, 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ArrowSchema field = cases[i].is_list ? fixture_list_schema("l", 3, "x") : fixture_schema("l", "x");
        struct fb__gate gate;
        struct fb__layout layout;
        struct fb_error error;
        fb__source_gate_init(&gate);
        CHECK_EQUAL(fb__layout_init_column(&layout, &gate, &field, &error), 0);
        const struct fb_parquet_column description = {.physical_type = FB_PARQUET_INT64,
                                                      .max_repetition = cases[i].max_repetition,
                                                      .max_definition = cases[i].max_definition,
                                                      .element_definition = cases[i].element_definition};
        CHECK_EQUAL(fb__parquet_column_check(&description, layout.columns, 0, &error), cases[i].is_fine ? 0 : EINVAL);
        fb__layout_destroy(&layout);
        field.release(&field);
    }
}

static void sizes_beyond_all_numbers_saturate(void)
{
    const struct fb_parquet_column description = {.physical_type = FB_PARQUET_INT32,
                                                  .page_bytes = UINT64_MAX,
                                                  .stored_page_bytes = UINT64_MAX - 3,
                                                  .dictionary_bytes = UINT64_MAX / 2};
    CHECK(fb__parquet_column_bytes(&description, FB__CODEC_UNCOMPRESSED) == UINT64_MAX);
    fb__parquet_column_close(NULL);
}

int main(void)
{
    RUN(every_shape_comes_out_as_it_went_in);
    RUN(arrow_storage_gets_the_source_s_types_and_all_validity);
    RUN(eight_bit_integers_can_become_bools);
    RUN(rows_that_are_skipped_leave_the_others_in_place);
    RUN(chunks_of_many_windows_come_out_right);
    RUN(a_null_is_an_error_where_the_policy_says_so);
    RUN(buffers_grow_as_far_as_the_limit_lets_them);
    RUN(first_sizes_that_suffice_are_never_left);
    RUN(a_window_that_grew_gives_back_what_it_had);
    RUN(every_allocation_may_fail);
    RUN(types_that_do_not_go_together_are_refused);
    RUN(levels_that_do_not_go_together_are_refused);
    RUN(sizes_beyond_all_numbers_saturate);
    return 0;
}
