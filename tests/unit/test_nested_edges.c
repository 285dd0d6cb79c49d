/*
 * Tests of batches of nested types, case by case: which null is named, options of columns, dictionaries, and rows that
 * are more than a batch can count.
 */
#include "nested_bench.h"

static void fill_all(struct bench *bench, struct maker *maker, uint64_t rows)
{
    bench_take(bench, rows);
    bench_make_runs(bench, maker, rows);
    bench_fill(bench, 7);
}

static void drop_all(struct bench *bench)
{
    if (bench->batch) fb__pool_return(bench->batch);
    bench_drop_runs(bench);
    bench_end(bench);
}

/* ---- nulls that are errors ------------------------------------------------------------------------------------- */

/* Whether a row has a null that can be seen, wherever in it. Where it has none its text is the same in both manners. */
static bool shows_null(const struct bench *bench, const struct bench_run *run, uint64_t row,
                       struct reference_text *text)
{
    bench_expect(bench, run, row, REFERENCE_ARROW, text);
    return strchr(text->bytes, '~') != NULL;
}

static bool has_fields(const char *type)
{
    return strchr(type, ';') != NULL;
}

static void the_first_row_with_a_null_is_named(void)
{
    static struct bench bench;
    struct reference_text text = {0};
    uint64_t null_count = 0;
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        struct maker maker = {.dice = {i}, .null_percent = 1, .most_offset = 5, .most_elements = 3};
        struct fb_loader_options options = {.batch_rows = BENCH_ROWS_MOST, .null_policy = FB_NULLS_ERROR};
        bench_begin(&bench, every_type[i], options, 0);
        bench_take(&bench, BENCH_ROWS_MOST);
        bench_make_runs(&bench, &maker, BENCH_ROWS_MOST);
        for (uint64_t j = 0; j < bench.run_count; j++) {
            const struct bench_run *run = &bench.runs[j];
            uint64_t first = 0, null_row = UINT64_MAX;
            while (first < run->rows && !shows_null(&bench, run, first, &text)) first++;
            struct fb_error error;
            int code = bench_copy(&bench, run, 0, run->rows, &null_row, &error);
            CHECK_EQUAL(code, first < run->rows ? EIO : 0);
            if (code == 0) continue;
            null_count++;
            CHECK_CONTAINS(error.message, "column 'x");
            CHECK_CONTAINS(error.message, "null_policy=");
            /* Fields are read one after the other: the first one's null may be a later row's. */
            CHECK(null_row < run->rows && shows_null(&bench, run, null_row, &text));
            if (!has_fields(every_type[i])) CHECK_EQUAL(null_row, first);
        }
        drop_all(&bench);
    }
    CHECK(null_count > 30);
    free(text.bytes);
}

static void a_null_is_named_by_its_field_and_whether_it_is_inside_a_list(void)
{
    static const struct {
        const char *type, *text;
    } cases[] = {
        {"+l(item=i)", "column 'x' has a null: "},
        {"+s(a=i)", "column 'x' has a null: "},
        {"n", "column 'x' has a null: "},
        {"+s(a=+s(b=n))", "column 'x.a.b' has a null: "},
        {"+l(item=n)", "column 'x' has a null inside a list: "},
        {"+s(a=+l(item=+s(b=n)))", "column 'x.a.b' has a null inside a list: "},
        {"+w:2(item=n)", "column 'x' has a null inside a list: "},
        {"+s(a=i[n])", "column 'x.a' has a null: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct bench bench;
        bool is_outermost = strcmp(cases[i].text, "column 'x' has a null: ") == 0;
        struct maker maker = {.dice = {i}, .null_percent = is_outermost ? 100 : 0, .most_elements = 9};
        bench_begin(&bench, cases[i].type, (struct fb_loader_options){.batch_rows = 40}, 0);
        bench_take(&bench, 40);
        bench_make_runs(&bench, &maker, 40);
        struct fb_error error;
        uint64_t null_row;
        int code = 0;
        for (uint64_t j = 0; j < bench.run_count && code == 0; j++)
            code = bench_copy(&bench, &bench.runs[j], 0, bench.runs[j].rows, &null_row, &error);
        CHECK_EQUAL(code, EIO);
        CHECK_CONTAINS(error.message, cases[i].text);
        drop_all(&bench);
    }
}

/* ---- lists of one size ----------------------------------------------------------------------------------------- */

/* A block of lists of `size` elements, but for one row; null rows have any number of them. */
static struct ArrowArray equal_lists(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows,
                                     uint64_t size, uint64_t odd_row)
{
    const struct ArrowSchema *list = schema->children[0];
    uint64_t width = maker_is(list, "+L") ? 8 : 4, at = 3;
    struct ArrowArray block = fixture_array((int64_t)rows, 0, 0, 1);
    struct ArrowArray array = fixture_array((int64_t)rows, 0, 0, 2);
    maker_add_validity(maker, &array);
    uint8_t *offsets = fixture_add_buffer(&array, 1, (rows + 1) * width, 1);
    for (uint64_t i = 0; i <= rows; i++) {
        maker_write(offsets, width, i, at);
        uint64_t length = maker_bit(array.buffers[0], i < rows ? i : 0) ? size : dice_below(&maker->dice, 4);
        at += i == odd_row ? size + 2 : length;
    }
    fixture_add_child(&array, maker_array(maker, list->children[0], at));
    fixture_add_child(&block, array);
    return block;
}

static void begin_equal(struct bench *bench, const char *type, enum fb_storage storage, uint64_t size)
{
    static struct fb_column_option option;
    option = (struct fb_column_option){.list_size = size};
    struct fb_loader_options options = {.batch_rows = 30,
                                        .storage = storage,
                                        .null_policy = FB_NULLS_MASK,
                                        .column_options = &option,
                                        .column_option_count = 1};
    bench_begin(bench, type, options, 0);
    bench_take(bench, 30);
    bench->run_count = 1;
}

static void check_equal_rows(struct bench *bench, uint64_t size)
{
    const struct bench_run *run = &bench->runs[0];
    const struct ArrowArray *array = run->block.children[0];
    const struct ArrowSchema *list = bench->schema.children[0];
    uint64_t width = maker_is(list, "+L") ? 8 : 4;
    struct reference_text expected = {0}, actual = {0};
    struct fb_column column;
    fb_batch_column(bench->batch, 0, &column);
    CHECK_EQUAL(column.list_size, size);
    CHECK(column.kind == FB_COLUMN_FIXED || column.kind == FB_COLUMN_FIXED_LIST);
    for (uint64_t row = 0; row < run->rows; row++) {
        reference_clear(&expected);
        reference_clear(&actual);
        bool is_null = !maker_bit(array->buffers[0], row);
        uint64_t begin = is_null ? 0 : maker_load(array->buffers[1], width, row);
        reference_rows(&expected, list->children[0], array->children[0], begin, size, is_null, REFERENCE_DENSE);
        reference_batch(&actual, bench->batch, &column, row);
        bench_compare(bench, &expected, &actual, row);
        CHECK_EQUAL(column.valid[row], !is_null);
    }
    free(expected.bytes);
    free(actual.bytes);
}

static void lists_of_one_size_are_stored_as_such(void)
{
    static const char *const types[] = {"+l(item=i)", "+L(item=u)", "+l(item=b)", "+l(item=+s(a=i;b=u))",
                                        "+l(item=+l(item=i))"};
    static struct bench bench;
    for (uint64_t i = 0; i < 5 * 2 * 4; i++) {
        struct maker maker = {.dice = {i}, .null_percent = i % 2 == 0 ? 0 : 30, .most_offset = 3, .most_elements = 3};
        uint64_t size = 1 + i / 2 % 4;
        begin_equal(&bench, types[i / 8], FB_STORAGE_DENSE, size);
        bench.runs[0] = (struct bench_run){.block = equal_lists(&maker, &bench.schema, 30, size, 99), .rows = 30};
        struct fb_error error;
        bench_must(&bench, fb__arrow_check_block(&bench.pool->layout, NULL, 1, &bench.runs[0].block, &error), &error);
        bench_fill(&bench, i);
        bench_finish(&bench);
        check_equal_rows(&bench, size);
        drop_all(&bench);
    }
}

static void a_list_of_another_size_is_named_with_both_lengths(void)
{
    for (int storage = 0; storage < 2; storage++) {
        static struct bench bench;
        struct maker maker = {.dice = {3}};
        begin_equal(&bench, "+l(item=i)", storage == 0 ? FB_STORAGE_DENSE : FB_STORAGE_ARROW, 4);
        bench.runs[0] = (struct bench_run){.block = equal_lists(&maker, &bench.schema, 30, 4, 17), .rows = 30};
        struct fb_error error;
        uint64_t null_row = 0;
        CHECK_EQUAL(bench_copy(&bench, &bench.runs[0], 10, 20, &null_row, &error), EIO);
        CHECK_EQUAL(null_row, 7);
        CHECK_CONTAINS(error.message, "column 'x' has a list of 6 elements where each row is to have 4");
        drop_all(&bench);
    }
}

/* ---- bools and dictionaries by an option ----------------------------------------------------------------------- */

static void eight_bit_integers_can_be_bools(void)
{
    struct fb_column_option option = {.is_bool8 = true};
    struct fb_loader_options options = {
        .batch_rows = 100, .null_policy = FB_NULLS_FILL, .column_options = &option, .column_option_count = 1};
    static const char *const types[] = {"c", "+l(item=c)", "i[c]"};
    for (int i = 0; i < 3; i++) {
        static struct bench bench;
        struct maker maker = {.dice = {5}, .null_percent = 10, .most_offset = 3, .most_elements = 3};
        bench_begin(&bench, types[i], options, 0);
        fill_all(&bench, &maker, 100);
        bench_finish(&bench);
        struct fb_column column;
        fb_batch_column(bench.batch, 0, &column);
        struct reference_text expected = {0}, actual = {0};
        for (uint64_t j = 0; j < bench.run_count; j++) {
            for (uint64_t row = 0; row < bench.runs[j].rows; row++) {
                bench_expect(&bench, &bench.runs[j], row, REFERENCE_DENSE, &expected);
                /* Elements are ":xx ". */
                for (char *at = strchr(expected.bytes, ':'); at != NULL; at = strchr(at + 1, ':'))
                    memcpy(at + 1, memcmp(at + 1, "00", 2) == 0 ? "00" : "01", 2);
                reference_clear(&actual);
                reference_batch(&actual, bench.batch, &column, bench.runs[j].place + row);
                bench_compare(&bench, &expected, &actual, row);
            }
        }
        free(expected.bytes);
        free(actual.bytes);
        drop_all(&bench);
    }
}

/* Codes number values in the order in which they first appear, and no value has two. */
static void check_codes(const struct bench *bench)
{
    struct fb_column column, values;
    fb_batch_column(bench->batch, 0, &column);
    CHECK_EQUAL(column.kind, FB_COLUMN_DICTIONARY);
    CHECK_EQUAL(column.child_count, 1);
    CHECK_EQUAL(column.element_bytes, 4);
    fb_batch_child(bench->batch, &column, 0, &values);
    int32_t seen = 0;
    for (uint64_t row = 0; row < column.row_count; row++) {
        int32_t code = ((const int32_t *)column.values)[row];
        CHECK(code >= 0 && code <= seen);
        seen += code == seen;
    }
    CHECK_EQUAL(values.row_count, seen);
    struct reference_text one = {0}, other = {0};
    for (uint64_t i = 0; i < values.row_count; i++) {
        for (uint64_t j = 0; j < i; j++) {
            reference_clear(&one);
            reference_clear(&other);
            reference_batch(&one, bench->batch, &values, i);
            reference_batch(&other, bench->batch, &values, j);
            CHECK(strcmp(one.bytes, other.bytes) != 0);
        }
    }
    free(one.bytes);
    free(other.bytes);
}

static void columns_can_have_codes_and_a_dictionary(void)
{
    static const char *const types[] = {"b",
                                        "C",
                                        "g",
                                        "tdD",
                                        "d:10,2",
                                        "w:3",
                                        "w:0",
                                        "n",
                                        "u",
                                        "Z",
                                        "vu",
                                        "i[u]",
                                        "s[b]",
                                        "C[l]",
                                        "i[vz]",
                                        "i[s[u]]",
                                        "+r(run_ends=i;values=u)"};
    static struct bench bench;
    for (uint64_t i = 0; i < 2 * (sizeof types / sizeof *types); i++) {
        struct fb_column_option option = {.is_dictionary = true};
        struct fb_loader_options options = {.batch_rows = BENCH_ROWS_MOST,
                                            .null_policy = i % 2 == 0 ? FB_NULLS_FILL : FB_NULLS_MASK,
                                            .column_options = &option,
                                            .column_option_count = 1};
        /* Strings of at most three bytes and elements of one byte appear again. */
        struct maker maker = {.dice = {i}, .null_percent = 20, .most_offset = 3, .most_elements = i % 4 / 2};
        bench_begin(&bench, types[i / 2], options, i % 3 * 4);
        bench.thread_count = 2;
        fill_all(&bench, &maker, BENCH_ROWS_MOST);
        bench_finish(&bench);
        check_codes(&bench);
        bench_check_dense(&bench);
        drop_all(&bench);
    }
}

static void a_dictionary_of_only_nulls_has_no_values(void)
{
    static const char *const types[] = {"i[u]", "C[l]", "s[b]"};
    for (int i = 0; i < 3; i++) {
        static struct bench bench;
        struct maker maker = {.dice = {1}, .null_percent = 100, .most_elements = 3};
        struct fb_loader_options options = {.batch_rows = 50, .storage = FB_STORAGE_ARROW};
        bench_begin(&bench, types[i], options, 0);
        fill_all(&bench, &maker, 50);
        bench_finish(&bench);
        const struct ArrowArray *codes = bench.batch->pointers[bench.pool->layout.node_count];
        CHECK_EQUAL(codes->null_count, 50);
        CHECK_EQUAL(codes->dictionary->length, 0);
        CHECK_EQUAL(codes->dictionary->null_count, 0);
        bench_check_arrow(&bench);
        drop_all(&bench);
    }
}

/* ---- what a batch cannot count --------------------------------------------------------------------------------- */

/* A list array of one row of `length` elements that take no memory, of a type that was checked. */
static struct ArrowArray long_list(uint64_t width, uint64_t length, struct ArrowArray elements)
{
    struct ArrowArray block = fixture_array(1, 0, 0, 1);
    struct ArrowArray array = fixture_array(1, 0, 0, 2);
    uint8_t *offsets = fixture_add_buffer(&array, 1, 2 * width, 0);
    maker_write(offsets, width, 0, 0);
    maker_write(offsets, width, 1, length);
    fixture_add_child(&array, elements);
    fixture_add_child(&block, array);
    return block;
}

static void check_overflow(const char *type, enum fb_storage storage, const char *text)
{
    static struct bench bench;
    uint64_t width = type[1] == 'L' ? 8 : 4;
    uint64_t length = width == 4 ? UINT64_C(1) << 30 : UINT64_C(1) << 61;
    bench_begin(&bench, type, (struct fb_loader_options){.batch_rows = 3, .storage = storage}, 0);
    bench_take(&bench, 3);
    bench.run_count = 1;
    struct ArrowArray elements = fixture_array((int64_t)length, 0, 0, strstr(type, "=n") != NULL ? 0 : 1);
    bench.runs[0] = (struct bench_run){.block = long_list(width, length, elements), .rows = 1};
    struct fb_error error;
    bench_must(&bench, fb__arrow_check_block(&bench.pool->layout, NULL, 1, &bench.runs[0].block, &error), &error);
    for (uint64_t row = 0; row < 3; row++) {
        bench.runs[0].place = row;
        bench_must(&bench, bench_copy(&bench, &bench.runs[0], 0, 1, NULL, &error), &error);
    }
    CHECK_EQUAL(fb__batch_finish(bench.batch, &error), EOVERFLOW);
    CHECK_CONTAINS(error.message, "column 'x'");
    CHECK_CONTAINS(error.message, text);
    drop_all(&bench);
}

static void more_elements_than_offsets_reach_are_refused_by_name(void)
{
    check_overflow("+l(item=+s())", FB_STORAGE_DENSE, "3221225472 list elements in one batch");
    check_overflow("+l(item=n)", FB_STORAGE_ARROW, "3221225472 list elements in one batch");
    check_overflow("+L(item=+s())", FB_STORAGE_DENSE, "more than 2^62 list elements");
    check_overflow("+L(item=n)", FB_STORAGE_ARROW, "more than 2^62 list elements");
}

/* Neither a loop over them nor memory for them. */
static void elements_that_take_no_memory_cost_nothing(void)
{
    static struct bench bench;
    const uint64_t length = UINT64_C(1) << 60;
    bench_begin(&bench, "+L(item=+r(run_ends=l;values=+s()))",
                (struct fb_loader_options){.batch_rows = 1, .null_policy = FB_NULLS_FILL}, 0);
    bench_take(&bench, 1);
    struct ArrowArray runs = fixture_array((int64_t)length, 0, 0, 0);
    struct ArrowArray ends = fixture_array(1, 0, 0, 2);
    maker_write(fixture_add_buffer(&ends, 1, 8, 0), 8, 0, length);
    fixture_add_child(&runs, ends);
    fixture_add_child(&runs, fixture_array(1, 0, 0, 1));
    bench.run_count = 1;
    bench.runs[0] = (struct bench_run){.block = long_list(8, length, runs), .rows = 1};
    struct fb_error error;
    bench_must(&bench, fb__arrow_check_block(&bench.pool->layout, NULL, 1, &bench.runs[0].block, &error), &error);
    bench_must(&bench, bench_copy(&bench, &bench.runs[0], 0, 1, NULL, &error), &error);
    bench_finish(&bench);
    struct fb_column column, child;
    fb_batch_column(bench.batch, 0, &column);
    fb_batch_child(bench.batch, &column, 0, &child);
    CHECK_EQUAL(child.row_count, length);
    drop_all(&bench);
}

static void elements_that_pass_the_limit_are_refused(void)
{
    static struct bench bench;
    const uint64_t length = UINT64_C(1) << 60;
    bench_begin(&bench, "+L(item=n)", (struct fb_loader_options){.batch_rows = 1, .null_policy = FB_NULLS_FILL}, 0);
    bench_take(&bench, 1);
    bench.run_count = 1;
    bench.runs[0] =
        (struct bench_run){.block = long_list(8, length, fixture_array((int64_t)length, 0, 0, 0)), .rows = 1};
    struct fb_error error;
    CHECK_EQUAL(bench_copy(&bench, &bench.runs[0], 0, 1, NULL, &error), ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, BENCH_LIMIT_BYTES);
    bench_check_books(&bench);
    drop_all(&bench);
}

/* ---- what is shown ---------------------------------------------------------------------------------------------- */

static void write_column(const struct fb_batch *batch, const struct fb_column *column, struct reference_text *text)
{
    static const char *const kinds[] = {"fixed", "binary", "list", "fixed list", "struct", "dictionary", "null"};
    char figures[80];
    snprintf(figures, sizeof figures, "%s %s %llu", kinds[column->kind], column->format,
             (unsigned long long)column->row_count);
    reference_add(text, column->name);
    reference_add(text, "=");
    reference_add(text, figures);
    for (uint32_t i = 0; i < column->child_count; i++) {
        struct fb_column child;
        fb_batch_child(batch, column, i, &child);
        reference_add(text, i == 0 ? "(" : "; ");
        write_column(batch, &child, text);
    }
    if (column->child_count > 0) reference_add(text, ")");
}

/* The maker gives no list an element here. */
static void columns_are_shown_with_their_children(void)
{
    static const struct {
        const char *type;
        enum fb_storage storage;
        const char *text;
    } cases[] = {
        {"i", FB_STORAGE_DENSE, "x=fixed i 9"},
        {"i", FB_STORAGE_ARROW, "x=fixed i 9"},
        {"vu", FB_STORAGE_DENSE, "x=binary u 9"},
        {"n", FB_STORAGE_ARROW, "x=null n 9"},
        {"+w:3(item=+w:2(item=i))", FB_STORAGE_DENSE, "x=fixed +w:3 9"},
        {"+w:3(item=u)", FB_STORAGE_DENSE, "x=fixed list +w:3 9(=binary u 27)"},
        {"+vl(item=+w:2(item=f))", FB_STORAGE_ARROW, "x=list +l 9(=fixed +w:2 0)"},
        {"+m(entries=+s(key=u;value=C[l]))", FB_STORAGE_DENSE,
         "x=list +m 9(=struct +s 0(key=binary u 0; value=fixed l 0))"},
        {"+s(a=i[b];c=+s(d=+L(item=Z)))", FB_STORAGE_ARROW,
         "x=struct +s 9(a=fixed b 9; c=struct +s 9(d=list +L 9(=binary Z 0)))"},
        {"i[vz]", FB_STORAGE_ARROW, "x=dictionary z 9(=binary z 1)"},
    };
    struct reference_text text = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct bench bench;
        struct maker maker = {.dice = {i}};
        struct fb_loader_options options = {.batch_rows = 9, .storage = cases[i].storage, .null_policy = FB_NULLS_FILL};
        bench_begin(&bench, cases[i].type, options, 0);
        fill_all(&bench, &maker, 9);
        bench_finish(&bench);
        struct fb_column column;
        fb_batch_column(bench.batch, 0, &column);
        reference_clear(&text);
        write_column(bench.batch, &column, &text);
        CHECK_TEXT(text.bytes, cases[i].text);
        drop_all(&bench);
    }
    free(text.bytes);
}

static void a_warm_batch_costs_no_allocation(void)
{
    for (uint64_t i = 0; i < 4; i++) {
        static struct bench bench;
        struct fb_loader_options options = {.batch_rows = 100, .null_policy = FB_NULLS_FILL};
        if (i % 2 == 1) options.storage = FB_STORAGE_ARROW;
        bench_begin(&bench, i < 2 ? "+l(item=+s(a=i;b=+l(item=u)))" : "+s(a=u;b=i[u])", options, 400);
        const _Atomic uint64_t *allocations = &fb__ledger_gate(bench.pool->ledger)->allocation_count;
        uint64_t before = 0;
        for (int round = 0; round < 3; round++) {
            struct maker maker = {.dice = {i}, .null_percent = 20, .most_offset = 3, .most_elements = 4};
            before = *allocations;
            bench_take(&bench, 100);
            bench_make_runs(&bench, &maker, 100);
            struct fb_error error;
            for (uint64_t j = 0; j < bench.run_count; j++)
                bench_must(&bench, bench_copy(&bench, &bench.runs[j], 0, bench.runs[j].rows, NULL, &error), &error);
            bench_check_books(&bench);
            /* What was estimated is enough, however it splits. */
            CHECK_EQUAL(bench.batch->grant.booked_bytes, bench.pool->batch_bytes);
            bench_check(&bench);
            bench_drop_runs(&bench);
        }
        CHECK_EQUAL(*allocations, before);
        drop_all(&bench);
    }
}

/* ---- figures --------------------------------------------------------------------------------------------------- */

static void check_bytes(const char *type, struct fb_loader_options options, uint64_t expected)
{
    static struct bench bench;
    struct maker maker = {.dice = {2}};
    options.batch_rows = 20;
    bench_begin(&bench, type, options, 0);
    fill_all(&bench, &maker, 20);
    bench_finish(&bench);
    CHECK_EQUAL(fb__batch_bytes_out(bench.batch), expected);
    drop_all(&bench);
}

/* The maker gives no list an element here, and no string a byte. */
static void the_bytes_that_the_user_gets_are_counted(void)
{
    const struct fb_loader_options dense = {.null_policy = FB_NULLS_FILL};
    const struct fb_loader_options masked = {.null_policy = FB_NULLS_MASK};
    const struct fb_loader_options arrow = {.storage = FB_STORAGE_ARROW};
    check_bytes("+s(a=i;b=+l(item=i))", dense, 20 * 4 + 21 * 4);
    check_bytes("+s(a=i;b=+l(item=i))", masked, 20 * 4 + 21 * 4 + 20 + 20);
    check_bytes("+s(a=i;b=b)", arrow, 20 * 4 + 3 + 3 * 3);
    check_bytes("+l(item=+l(item=u))", dense, 21 * 4 + 4 + 4);
    check_bytes("+w:3(item=U)", dense, 61 * 8);
    check_bytes("+w:3(item=+w:2(item=s))", arrow, 120 * 2 + 3 + 8 + 15);
    check_bytes("n", arrow, 0);
    check_bytes("i[u]", arrow, 20 * 4 + 3 + 2 * 4);
}

int main(void)
{
    RUN(the_first_row_with_a_null_is_named);
    RUN(a_null_is_named_by_its_field_and_whether_it_is_inside_a_list);
    RUN(lists_of_one_size_are_stored_as_such);
    RUN(a_list_of_another_size_is_named_with_both_lengths);
    RUN(eight_bit_integers_can_be_bools);
    RUN(columns_can_have_codes_and_a_dictionary);
    RUN(a_dictionary_of_only_nulls_has_no_values);
    RUN(more_elements_than_offsets_reach_are_refused_by_name);
    RUN(elements_that_take_no_memory_cost_nothing);
    RUN(elements_that_pass_the_limit_are_refused);
    RUN(columns_are_shown_with_their_children);
    RUN(a_warm_batch_costs_no_allocation);
    RUN(the_bytes_that_the_user_gets_are_counted);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
