/* Tests of src/data/copy, case by case: which null is named, what lies under a null, what a refused byte leaves. */
#include "arrow_fixtures.h"
#include "data/copy.h"
#include "data/pool.h"

struct bench {
    struct fb__pool *pool;
    struct fb_batch *batch;
};

/* A pool of one column and a batch of it. schema: the column, moved. */
static void make_bench(struct bench *bench, struct ArrowSchema column, struct fb_loader_options options)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, column);
    if (options.memory_limit_bytes == 0) options.memory_limit_bytes = UINT64_C(1) << 28;
    CHECK_EQUAL(fb__pool_create(&schema, NULL, &options, &bench->pool, NULL), 0);
    CHECK_EQUAL(fb__pool_take(bench->pool, 0, options.batch_rows, 0, &bench->batch, NULL), 0);
    schema.release(&schema);
}

static void drop_bench(struct bench *bench)
{
    fb__pool_return(bench->batch);
    fb__pool_release(bench->pool);
}

/* valid: one '1' or '0' a slot. */
static void set_validity(struct ArrowArray *array, const char *valid)
{
    size_t slots = (size_t)(array->length + array->offset);
    CHECK_EQUAL(strlen(valid), slots);
    uint8_t *bits = fixture_add_buffer(array, 0, (slots + 7) / 8, 0);
    memset(bits, 0, (slots + 7) / 8);
    for (size_t i = 0; i < slots; i++) bits[i / 8] = (uint8_t)(bits[i / 8] | (valid[i] == '1' ? 1 << (i % 8) : 0));
    array->null_count = -1;
}

static struct ArrowArray int64_array(int64_t length, int64_t offset)
{
    struct ArrowArray array = fixture_array(length, offset, 0, 2);
    uint8_t *values = fixture_add_buffer(&array, 1, (size_t)(length + offset) * 8, 0);
    for (int64_t i = 0; i < length + offset; i++) memcpy(values + i * 8, &i, 8);
    return array;
}

/* Strings of a 32-bit type, from NULL-terminated texts. */
static struct ArrowArray text_array(const char *const *texts, int64_t count)
{
    struct ArrowArray array = fixture_array(count, 0, 0, 3);
    uint8_t *offsets = fixture_add_buffer(&array, 1, (size_t)(count + 1) * 4, 0);
    int32_t end = 0;
    for (int64_t i = 0; i <= count; i++) {
        memcpy(offsets + i * 4, &end, 4);
        if (i < count) end += (int32_t)strlen(texts[i]);
    }
    uint8_t *bytes = fixture_add_buffer(&array, 2, (size_t)end, 0);
    for (int64_t i = 0; i < count; i++) {
        memcpy(bytes, texts[i], strlen(texts[i]));
        bytes += strlen(texts[i]);
    }
    return array;
}

/* Checks rows and bytes of a finished batch of one 32-bit string column: its rows joined by '|'. */
static void check_rows(const struct fb_batch *batch, const char *expected)
{
    struct fb_column column;
    fb_batch_column(batch, 0, &column);
    char joined[200] = "";
    const int32_t *offsets = column.offsets;
    for (uint64_t row = 0; row < batch->row_count; row++) {
        int32_t bytes = offsets[row + 1] - offsets[row];
        size_t at = strlen(joined);
        CHECK(bytes >= 0 && at + (size_t)bytes + 2 < sizeof joined);
        if (bytes > 0) memcpy(joined + at, (const char *)column.values + offsets[row], (size_t)bytes);
        memcpy(joined + at + (size_t)bytes, "|", 2);
    }
    CHECK_TEXT(joined, expected);
}

/* ---- nulls that are errors ------------------------------------------------------------------------------------- */

static void check_null_error(int rc, const struct fb_error *error, uint64_t null_row, uint64_t expected_row,
                             const char *text)
{
    CHECK_EQUAL(rc, EIO);
    CHECK_EQUAL(error->code, EIO);
    CHECK_EQUAL(null_row, expected_row);
    CHECK_CONTAINS(error->message, text);
    CHECK_CONTAINS(error->message, "null_policy=");
}

static void the_first_null_of_the_rows_asked_for_is_named(void)
{
    struct bench bench;
    make_bench(&bench, fixture_schema("l", "price"), (struct fb_loader_options){.batch_rows = 200});
    for (uint64_t null_slot = 0; null_slot < 200; null_slot++) {
        struct ArrowArray array = int64_array(190, 10);
        char valid[201];
        memset(valid, '1', 200);
        valid[200] = '\0';
        valid[null_slot] = valid[null_slot < 199 ? 199 : 0] = '0';
        set_validity(&array, valid);
        /* Block offset 2 and first row 3 behind the array's own offset 10: slots 15 to 184. */
        uint64_t null_row = UINT64_MAX;
        struct fb_error error;
        int rc = fb__copy_rows(bench.batch, 0, 0, &array, 2, 3, 170, 170, &null_row, &error);
        if (null_slot < 15 || null_slot > 184) {
            CHECK_EQUAL(rc, 0);
            CHECK_EQUAL(null_row, UINT64_MAX);
        } else {
            check_null_error(rc, &error, null_row, null_slot - 15, "column 'price' has a null: ");
            CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 2, 3, 170, 170, NULL, NULL), EIO);
        }
        array.release(&array);
    }
    drop_bench(&bench);
}

static void a_null_string_is_named(void)
{
    static const char *const texts[] = {"a", "b", "c", "d"};
    struct bench bench;
    make_bench(&bench, fixture_schema("u", "title"), (struct fb_loader_options){.batch_rows = 4});
    struct ArrowArray array = text_array(texts, 4);
    set_validity(&array, "1101");
    struct fb_error error;
    uint64_t null_row = 0;
    int rc = fb__copy_rows(bench.batch, 0, 0, &array, 0, 1, 3, 3, &null_row, &error);
    check_null_error(rc, &error, null_row, 1, "column 'title' has a null: ");
    /* What failed took no room and may be filled again. */
    array.buffers[0] = NULL;
    array.null_count = 0;
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 4, 4, &null_row, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    check_rows(bench.batch, "a|b|c|d|");
    array.release(&array);
    drop_bench(&bench);
}

/* Rows of two elements; row i is slots 2 * i and 2 * i + 1 behind the items' own offset of 1. */
static struct ArrowArray pair_array(const char *rows, const char *items)
{
    struct ArrowArray array = fixture_array((int64_t)strlen(rows), 0, 0, 1);
    struct ArrowArray values = int64_array((int64_t)strlen(items) - 1, 1);
    set_validity(&values, items);
    set_validity(&array, rows);
    fixture_add_child(&array, values);
    return array;
}

static void a_null_inside_a_list_is_named_by_its_row(void)
{
    struct bench bench;
    make_bench(&bench, fixture_list_schema("l", 2, "pair"), (struct fb_loader_options){.batch_rows = 4});
    static const struct {
        const char *rows, *items;
        uint64_t null_row;
        const char *text;
    } cases[] = {
        {"1111", "011111011", 2, "column 'pair' has a null inside a list: "},
        {"1110", "011111011", 2, "column 'pair' has a null inside a list: "},
        {"1011", "011111011", 1, "column 'pair' has a null: "},
        {"1101", "011111011", 2, "column 'pair' has a null: "},
        {"1110", "011111111", 3, "column 'pair' has a null: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ArrowArray array = pair_array(cases[i].rows, cases[i].items);
        struct fb_error error;
        uint64_t null_row = 0;
        int rc = fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 4, 4, &null_row, &error);
        check_null_error(rc, &error, null_row, cases[i].null_row, cases[i].text);
        array.release(&array);
    }
    drop_bench(&bench);
}

/* ---- nulls that are filled ------------------------------------------------------------------------------------- */

static void a_null_inside_a_list_is_filled_and_the_row_stays_valid(void)
{
    struct bench bench;
    int64_t fill = -7;
    struct fb_loader_options options = {.batch_rows = 4,
                                        .null_policy = FB_NULLS_MASK,
                                        .fill_values = &(struct fb_fill_value){.bytes = &fill, .byte_count = 8},
                                        .fill_value_count = 1};
    make_bench(&bench, fixture_list_schema("l", 2, "pair"), options);
    struct ArrowArray array = pair_array("1011", "011111011");
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 4, 4, NULL, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    struct fb_column column;
    fb_batch_column(bench.batch, 0, &column);
    CHECK(memcmp(column.values, (const int64_t[]){1, 2, -7, -7, 5, -7, 7, 8}, 64) == 0);
    CHECK(memcmp(column.valid, (const uint8_t[]){1, 0, 1, 1}, 4) == 0);
    array.release(&array);
    drop_bench(&bench);
}

static void the_bitmap_decides_whatever_the_null_count_says(void)
{
    struct bench bench;
    make_bench(&bench, fixture_schema("l", "x"),
               (struct fb_loader_options){.batch_rows = 4, .null_policy = FB_NULLS_MASK});
    struct ArrowArray array = int64_array(4, 0);
    set_validity(&array, "0101");
    array.null_count = 0;
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 4, 4, NULL, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    struct fb_column column;
    fb_batch_column(bench.batch, 0, &column);
    CHECK(memcmp(column.values, (const int64_t[]){0, 1, 0, 3}, 32) == 0);
    CHECK(memcmp(column.valid, "\0\1\0\1", 4) == 0);
    array.release(&array);
    drop_bench(&bench);
}

static void bytes_under_a_null_string_are_not_copied(void)
{
    static const char *const texts[] = {"secret", "open", "hidden", "", "end"};
    static const struct {
        const char *valid, *fill, *expected;
        uint64_t bytes_out; /* offsets, mask and bytes */
    } cases[] = {
        {"01011", "", "|open|||end|", 24 + 5 + 7},
        {"11111", "", "secret|open|hidden||end|", 24 + 5 + 19},
        {"11101", "", "secret|open|hidden||end|", 24 + 5 + 19},
        {"00000", "", "|||||", 24 + 5},
        {"01001", "<null>", "<null>|open|<null>|<null>|end|", 24 + 5 + 25},
        {"11101", "x", "secret|open|hidden|x|end|", 24 + 5 + 20},
        {"00000", "x", "x|x|x|x|x|", 24 + 5 + 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        const struct fb_fill_value fill = {.bytes = cases[i].fill, .byte_count = strlen(cases[i].fill)};
        struct fb_loader_options options = {
            .batch_rows = 5, .null_policy = FB_NULLS_MASK, .fill_values = &fill, .fill_value_count = 1};
        make_bench(&bench, fixture_schema("u", "text"), options);
        struct ArrowArray array = text_array(texts, 5);
        set_validity(&array, cases[i].valid);
        CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 5, 5, NULL, NULL), 0);
        CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
        check_rows(bench.batch, cases[i].expected);
        CHECK_EQUAL(fb__batch_bytes_out(bench.batch), cases[i].bytes_out);
        struct fb_column column;
        fb_batch_column(bench.batch, 0, &column);
        for (int row = 0; row < 5; row++) CHECK_EQUAL(column.valid[row], cases[i].valid[row] - '0');
        array.release(&array);
        drop_bench(&bench);
    }
}

/* ---- room ------------------------------------------------------------------------------------------------------ */

static void rows_that_are_filled_again_replace_the_first_ones(void)
{
    static const char *const first[] = {"one", "two", "three", "four"};
    static const char *const second[] = {"THREE!", "4", "five", "6"};
    struct bench bench;
    make_bench(&bench, fixture_schema("u", "text"), (struct fb_loader_options){.batch_rows = 6});
    struct ArrowArray before = text_array(first, 4), after = text_array(second, 4);
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &before, 0, 0, 4, 6, NULL, NULL), 0);
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 2, &after, 0, 0, 4, 4, NULL, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    check_rows(bench.batch, "one|two|THREE!|4|five|6|");
    before.release(&before);
    after.release(&after);
    drop_bench(&bench);
}

static void no_rows_touch_nothing(void)
{
    struct bench bench;
    make_bench(&bench, fixture_schema("u", "text"), (struct fb_loader_options){.batch_rows = 3});
    struct ArrowArray array = fixture_array(0, 0, -1, 3);
    array.buffers = NULL;
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 3, &array, 0, 0, 0, 0, NULL, NULL), 0);
    array.release(&array);
    drop_bench(&bench);
}

static void lists_of_no_elements_need_no_elements(void)
{
    struct bench bench;
    make_bench(&bench, fixture_list_schema("l", 0, "nothing"),
               (struct fb_loader_options){.batch_rows = 3, .null_policy = FB_NULLS_MASK});
    struct ArrowArray array = fixture_array(3, 0, 0, 1);
    struct ArrowArray items = fixture_array(0, 0, -1, 2);
    items.buffers = NULL;
    fixture_add_child(&array, items);
    set_validity(&array, "101");
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 3, 3, NULL, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    struct fb_column column;
    fb_batch_column(bench.batch, 0, &column);
    CHECK(memcmp(column.valid, "\1\0\1", 3) == 0);
    array.release(&array);
    drop_bench(&bench);
}

static void strings_beyond_the_limit_are_refused(void)
{
    struct bench bench;
    make_bench(&bench, fixture_schema("u", "text"),
               (struct fb_loader_options){.batch_rows = 1, .memory_limit_bytes = UINT64_C(1) << 18});
    char *text = fixture_allocate((1 << 20) + 1);
    memset(text, 'x', 1 << 20);
    text[1 << 20] = '\0';
    struct ArrowArray array = text_array((const char *const[]){text}, 1);
    struct fb_error error;
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 1, 1, NULL, &error), ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, UINT64_C(1) << 18);
    array.release(&array);
    free(text);
    drop_bench(&bench);
}

static void rows_can_be_copied_once_memory_is_there_again(void)
{
    static const char *const texts[] = {"some", "", "bytes"};
    struct bench bench;
    make_bench(&bench, fixture_schema("u", "text"), (struct fb_loader_options){.batch_rows = 3});
    struct ArrowArray array = text_array(texts, 3);
    fb__gate_fail_nth(fb__ledger_gate(bench.pool->ledger), 0, -1);
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 3, 3, NULL, NULL), ENOMEM);
    fb__gate_fail_nth(fb__ledger_gate(bench.pool->ledger), 0, 0);
    CHECK_EQUAL(fb__copy_rows(bench.batch, 0, 0, &array, 0, 0, 3, 3, NULL, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(bench.batch, NULL), 0);
    check_rows(bench.batch, "some||bytes|");
    array.release(&array);
    drop_bench(&bench);
}

int main(void)
{
    RUN(the_first_null_of_the_rows_asked_for_is_named);
    RUN(a_null_string_is_named);
    RUN(a_null_inside_a_list_is_named_by_its_row);
    RUN(a_null_inside_a_list_is_filled_and_the_row_stays_valid);
    RUN(the_bitmap_decides_whatever_the_null_count_says);
    RUN(bytes_under_a_null_string_are_not_copied);
    RUN(rows_that_are_filled_again_replace_the_first_ones);
    RUN(no_rows_touch_nothing);
    RUN(lists_of_no_elements_need_no_elements);
    RUN(strings_beyond_the_limit_are_refused);
    RUN(rows_can_be_copied_once_memory_is_there_again);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
