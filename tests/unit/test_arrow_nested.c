/* Tests of src/data/arrow for every type: good blocks pass, their bytes are measured, and schemas of streams compare. */
#include "arrow_reference.h"
#include "arrow_types.h"
#include "data/arrow.h"

#define NO_LIMIT_BYTES (UINT64_C(1) << 40)

struct bench {
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema;
};

static void make_bench(struct bench *bench, const char *notation, enum fb_storage storage)
{
    bench->schema = maker_column_schema(notation);
    fixture_gate_init(&bench->gate, &bench->book, NO_LIMIT_BYTES);
    const struct fb_loader_options options = {.batch_rows = 8, .storage = storage};
    struct fb_error error;
    int rc = fb__layout_init(&bench->layout, &bench->gate, &bench->schema, NULL, &options, &error);
    if (rc != 0) fprintf(stderr, "%s: %s\n", notation, error.message);
    CHECK_EQUAL(rc, 0);
}

static void drop_bench(struct bench *bench)
{
    fb__layout_destroy(&bench->layout);
    CHECK_EQUAL(bench->book.bytes, 0);
    bench->schema.release(&bench->schema);
    CHECK_EQUAL(fixture_live, 0);
}

static void random_good_blocks_of_every_type_pass(void)
{
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        for (int storage = FB_STORAGE_DENSE; storage <= FB_STORAGE_ARROW; storage++) {
            struct bench bench;
            make_bench(&bench, every_type[i], (enum fb_storage)storage);
            for (uint64_t seed = 0; seed < 60; seed++) {
                struct maker maker = {.dice = {.state = seed},
                                      .null_percent = seed % 3 * 30,
                                      .most_offset = seed % 4,
                                      .most_elements = seed % 8};
                struct ArrowArray block = maker_block(&maker, &bench.schema, seed % 5 == 0 ? 0 : 1 + seed);
                struct fb_error error;
                int rc = fb__arrow_check_block(&bench.layout, NULL, 1, &block, &error);
                if (rc != 0) fprintf(stderr, "%s, seed %d: %s\n", every_type[i], (int)seed, error.message);
                CHECK_EQUAL(rc, 0);
                block.release(&block);
            }
            drop_bench(&bench);
        }
    }
}

/* ---- what only long values show -------------------------------------------------------------------------------- */

static int check_one(const struct bench *bench, struct ArrowArray column, struct fb_error *error)
{
    struct ArrowArray block = fixture_array(column.length, 0, 0, 1);
    fixture_add_child(&block, column);
    int rc = fb__arrow_check_block(&bench->layout, NULL, 1, &block, error);
    block.release(&block);
    return rc;
}

/* As a number without a sign each of these is inside a dictionary of so many values. */
static void a_negative_index_is_refused_however_long_the_dictionary_is(void)
{
    static const struct {
        const char *notation;
        uint64_t width, values;
        int rc;
    } cases[] = {{"c[l]", 1, 256, EINVAL},   {"C[l]", 1, 256, 0},   {"C[l]", 1, 255, EINVAL},
                 {"s[b]", 2, 65536, EINVAL}, {"S[b]", 2, 65536, 0}, {"S[b]", 2, 65535, EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        make_bench(&bench, cases[i].notation, FB_STORAGE_DENSE);
        struct maker maker = {.dice = {.state = i}};
        struct ArrowArray column = fixture_array(3, 0, 0, 2);
        memset(fixture_add_buffer(&column, 1, 3 * cases[i].width, 0), 0xFF, 3 * cases[i].width);
        fixture_set_values(&column, maker_array(&maker, bench.schema.children[0]->dictionary, cases[i].values));
        struct fb_error error;
        CHECK_EQUAL(check_one(&bench, column, &error), cases[i].rc);
        if (cases[i].rc != 0)
            CHECK_CONTAINS(error.message, cases[i].values % 2 == 0 ? "index that is negative" : "indices reach");
        drop_bench(&bench);
    }
}

static void runs_that_end_early_are_refused_however_many_values_there_are(void)
{
    for (int32_t end = 4; end <= 6; end++) {
        struct bench bench;
        make_bench(&bench, "+r(run_ends=i;values=l)", FB_STORAGE_DENSE);
        struct maker maker = {.dice = {.state = 1}};
        struct ArrowArray column = fixture_array(5, 0, 0, 0), ends = fixture_array(1, 0, 0, 2);
        memcpy(fixture_add_buffer(&ends, 1, 4, 0), &end, 4);
        fixture_add_child(&column, ends);
        fixture_add_child(&column, maker_array(&maker, bench.schema.children[0]->children[1], 10));
        struct fb_error error;
        CHECK_EQUAL(check_one(&bench, column, &error), end < 5 ? EINVAL : 0);
        if (end < 5) CHECK_CONTAINS(error.message, "do not reach the end of its rows");
        drop_bench(&bench);
    }
}

/* ---- estimates ------------------------------------------------------------------------------------------------- */

/* What one value takes in pieces, worked out the plainest way. Valid rows only: what is hidden may be counted. */
static uint64_t stored_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t row,
                             bool is_variable)
{
    uint64_t slot = (uint64_t)array->offset + row, bytes = 0;
    if (schema->dictionary != NULL)
        return stored_bytes(schema->dictionary, array->dictionary,
                            maker_load(array->buffers[1], (uint64_t)maker_width(schema->format), slot), is_variable);
    if (maker_is(schema, "+r"))
        return stored_bytes(schema->children[1], array->children[1], reference_run(schema, array, slot), is_variable);
    if (maker_is(schema, "+s")) {
        for (int64_t i = 0; i < schema->n_children; i++)
            bytes += stored_bytes(schema->children[i], array->children[i], slot, is_variable);
        return bytes;
    }
    if (strncmp(schema->format, "+w:", 3) == 0) {
        uint64_t size = (uint64_t)atoi(schema->format + 3);
        for (uint64_t i = 0; i < size; i++)
            bytes += stored_bytes(schema->children[0], array->children[0], slot * size + i, is_variable);
        return bytes;
    }
    if (schema->format[0] == '+') {
        bool is_view = schema->format[1] == 'v', is_large = strchr(schema->format, 'L') != NULL;
        uint64_t width = is_large ? 8 : 4;
        uint64_t begin = maker_load(array->buffers[1], width, slot);
        uint64_t count = is_view ? maker_load(array->buffers[2], width, slot)
                                 : maker_load(array->buffers[1], width, slot + 1) - begin;
        for (uint64_t i = 0; i < count; i++)
            bytes += stored_bytes(schema->children[0], array->children[0], begin + i, true);
        return bytes + (is_variable ? width : 0);
    }
    if (maker_is(schema, "n") || reference_widens(schema->format)) return is_variable ? 8 : 0;
    if (schema->format[0] == 'b') return is_variable ? 1 : 0;
    if (maker_width(schema->format) >= 0) return is_variable ? (uint64_t)maker_width(schema->format) : 0;
    bool is_large = schema->format[0] == 'U' || schema->format[0] == 'Z';
    if (is_variable) bytes = is_large ? 8 : 4;
    if (schema->format[0] == 'v') return bytes + maker_load(array->buffers[1], 4, 4 * slot);
    uint64_t width = is_large ? 8 : 4;
    return bytes + maker_load(array->buffers[1], width, slot + 1) - maker_load(array->buffers[1], width, slot);
}

/* The mean stands for elements that rows share: of overlapping views, and dictionaries of what is no string. */
static bool is_exact(const char *notation)
{
    static const char *const means[] = {"+vl(item=+vl(item=u))",
                                        "+vL(item=vu)",
                                        "i[+l(item=i)]",
                                        "i[+s(a=i;b=u)]",
                                        "i[s[u]]",
                                        "+s(a=c[u];b=i[+l(item=u)])",
                                        "i[+r(run_ends=s;values=Z)]"};
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        if (strcmp(notation, means[i]) == 0) return false;
    }
    return true;
}

static void the_bytes_of_rows_without_nulls_are_measured(void)
{
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        struct bench bench;
        make_bench(&bench, every_type[i], FB_STORAGE_DENSE);
        uint64_t all_measured = 0, all_expected = 0;
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct maker maker = {.dice = {.state = seed}, .most_offset = seed % 4, .most_elements = 6};
            struct ArrowArray block = maker_block(&maker, &bench.schema, 1 + seed);
            uint64_t expected = 0;
            for (uint64_t row = 0; row <= seed; row++)
                expected +=
                    stored_bytes(bench.schema.children[0], block.children[0], (uint64_t)block.offset + row, false);
            CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, 1, &block, NULL), 0);
            uint64_t measured = fb__arrow_variable_bytes(&bench.layout, 0, &block);
            if (is_exact(every_type[i]) && measured != expected) fprintf(stderr, "%s\n", every_type[i]);
            if (is_exact(every_type[i])) CHECK_EQUAL(measured, expected);
            all_measured += measured;
            all_expected += expected;
            block.release(&block);
        }
        CHECK(all_measured >= all_expected / 2 && all_measured <= 2 * all_expected);
        drop_bench(&bench);
    }
}

static void with_arrow_storage_each_variable_entry_has_a_byte_of_validity(void)
{
    struct bench bench;
    make_bench(&bench, "+l(item=+s(a=tdD;b=u))", FB_STORAGE_ARROW);
    struct maker maker = {.most_elements = 5};
    struct ArrowArray block = maker_block(&maker, &bench.schema, 20);
    const struct ArrowArray *list = block.children[0];
    const struct ArrowArray *strings = list->children[0]->children[1];
    uint64_t first = maker_load(list->buffers[1], 4, 0), end = maker_load(list->buffers[1], 4, 20);
    uint64_t bytes = maker_load(strings->buffers[1], 4, end) - maker_load(strings->buffers[1], 4, first);
    /* Of each element: validity of struct, a and b; 4 bytes of a; the length of b. */
    CHECK_EQUAL(fb__arrow_variable_bytes(&bench.layout, 0, &block), (end - first) * (3 + 4 + 4) + bytes);
    block.release(&block);
    drop_bench(&bench);
}

/* ---- schemas of streams ---------------------------------------------------------------------------------------- */

static void the_schema_of_a_stream_is_the_layouts_for_every_pair_of_types(void)
{
    for (size_t i = 0; i < EVERY_TYPE_COUNT; i++) {
        struct bench bench;
        make_bench(&bench, every_type[i], FB_STORAGE_DENSE);
        for (size_t j = 0; j < EVERY_TYPE_COUNT; j++) {
            struct ArrowSchema schema = maker_column_schema(every_type[j]);
            struct fb_error error = {.message = ""};
            int rc = fb__arrow_check_stream_schema(&bench.layout, NULL, 1, &schema, &error);
            CHECK_EQUAL(rc, i == j ? 0 : EINVAL);
            if (rc != 0) CHECK_CONTAINS(error.message, "column 'x");
            schema.release(&schema);
        }
        drop_bench(&bench);
    }
}

static void check_difference(const char *notation, const char *other, int expected, const char *text)
{
    struct bench bench;
    make_bench(&bench, notation, FB_STORAGE_DENSE);
    struct ArrowSchema schema = maker_column_schema(other);
    struct fb_error error = {.message = ""};
    CHECK_EQUAL(fb__arrow_check_stream_schema(&bench.layout, NULL, 1, &schema, &error), expected);
    CHECK_CONTAINS(error.message, text);
    schema.release(&schema);
    drop_bench(&bench);
}

static void names_count_inside_structs_only(void)
{
    check_difference("+s(a=i;b=u)", "+s(a=i;c=u)", EINVAL, "column 'x.b' has another name");
    check_difference("+s(a=i;b=u)", "+s(b=u;a=i)", EINVAL, "column 'x.a' has another name");
    check_difference("+l(item=i)", "+l(element=i)", 0, "");
    check_difference("+m(entries=+s(key=u;value=i))", "+m(pairs=+s(k=u;v=i))", 0, "");
    check_difference("+l(item=+s(a=i))", "+l(item=+s(b=i))", EINVAL, "column 'x.a' has another name");
}

static void differences_below_are_named(void)
{
    check_difference("+l(item=+s(a=i))", "+l(item=+s(a=u))", EINVAL, "column 'x.a' has format \"u\" in the stream");
    check_difference("i[u]", "l[u]", EINVAL, "format \"l\"");
    check_difference("i[u]", "i[U]", EINVAL, "a dictionary of format \"U\"");
    check_difference("i[u]", "i", EINVAL, "plain values in the stream and dictionary-encoded ones");
    check_difference("+r(run_ends=i;values=u)", "+r(run_ends=l;values=u)", EINVAL, "other run ends");
    check_difference("+r(run_ends=i;values=u)", "+r(run_ends=i;values=z)", EINVAL, "run-end encoded values of format");
    check_difference("+s(a=i)", "+s(a=i;b=i)", EINVAL, "another number of children");
}

int main(void)
{
    RUN(random_good_blocks_of_every_type_pass);
    RUN(a_negative_index_is_refused_however_long_the_dictionary_is);
    RUN(runs_that_end_early_are_refused_however_many_values_there_are);
    RUN(the_bytes_of_rows_without_nulls_are_measured);
    RUN(with_arrow_storage_each_variable_entry_has_a_byte_of_validity);
    RUN(the_schema_of_a_stream_is_the_layouts_for_every_pair_of_types);
    RUN(names_count_inside_structs_only);
    RUN(differences_below_are_named);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
