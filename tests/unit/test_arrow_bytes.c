/* White-box test of src/data/arrow_bytes: what the rows of a block take, by type, and of slices. */
#include "arrow_fixtures.h"
#include "data/arrow.h"

/* A block of one column; both are moved. */
static uint64_t bytes_of(struct ArrowSchema field, struct ArrowArray column, int64_t offset, int64_t length)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, field);
    struct ArrowArray block = fixture_array(length, offset, 0, 1);
    fixture_add_child(&block, column);
    uint64_t bytes = fb__arrow_block_bytes(&schema, &block);
    block.release(&block);
    schema.release(&schema);
    return bytes;
}

/* An array with nothing but its lengths: these bytes follow from them. */
static struct ArrowArray bare(int64_t length, int64_t buffer_count)
{
    struct ArrowArray array = fixture_array(length, 0, 0, buffer_count);
    return array;
}

static void values_of_fixed_width_take_their_width(void)
{
    static const struct {
        const char *format;
        uint64_t bytes; /* of 100 rows */
    } types[] = {
        {"b", 13},     {"c", 100},       {"C", 100},   {"s", 200},       {"S", 200},        {"e", 200},
        {"i", 400},    {"I", 400},       {"f", 400},   {"l", 800},       {"L", 800},        {"g", 800},
        {"tdD", 400},  {"tdm", 800},     {"tts", 400}, {"ttm", 400},     {"ttu", 800},      {"ttn", 800},
        {"tss:", 800}, {"tsn:UTC", 800}, {"tDs", 800}, {"tDn", 800},     {"tiM", 400},      {"tiD", 800},
        {"tin", 1600}, {"w:7", 700},     {"w:0", 0},   {"d:10,2", 1600}, {"d:5,2,32", 400}, {"d:40,2,256", 3200},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint64_t bytes = bytes_of(fixture_schema(types[i].format, "c"), bare(100, 2), 0, 100);
        if (bytes != types[i].bytes) fprintf(stderr, "%s\n", types[i].format);
        CHECK_EQUAL(bytes, types[i].bytes);
    }
    CHECK_EQUAL(bytes_of(fixture_schema("l", "c"), bare(0, 2), 0, 0), 0);
}

static void a_bitmap_takes_the_bytes_that_its_rows_lie_in(void)
{
    static const struct {
        int64_t offset, length;
        uint64_t bytes;
    } slices[] = {{0, 1, 1}, {0, 8, 1}, {0, 9, 2}, {7, 1, 1}, {7, 2, 2}, {8, 8, 1}, {15, 10, 3}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        struct ArrowArray array = bare(100, 2);
        (void)fixture_add_buffer(&array, 0, 13, 0);
        uint64_t bytes = bytes_of(fixture_schema("l", "c"), array, slices[i].offset, slices[i].length);
        CHECK_EQUAL(bytes, slices[i].bytes + 8 * (uint64_t)slices[i].length);
        CHECK_EQUAL(bytes_of(fixture_schema("b", "c"), bare(100, 2), slices[i].offset, slices[i].length),
                    slices[i].bytes);
    }
}

static struct ArrowArray with_offsets(int64_t length, bool is_large, uint64_t step, int64_t buffer_count)
{
    struct ArrowArray array = bare(length, buffer_count);
    uint8_t *offsets = fixture_add_buffer(&array, 1, (size_t)(length + 1) * (is_large ? 8 : 4), 3);
    for (uint64_t i = 0; i <= (uint64_t)length; i++) {
        uint64_t wide = 1000 + i * step;
        uint32_t narrow = (uint32_t)wide;
        if (is_large)
            memcpy(offsets + i * 8, &wide, 8);
        else
            memcpy(offsets + i * 4, &narrow, 4);
    }
    return array;
}

static void of_strings_count_those_of_the_rows(void)
{
    for (int64_t offset = 0; offset <= 40; offset += 20) {
        for (int part = 0; part < 2; part++) { /* the block's own offset, or the column's */
            struct ArrowArray narrow = with_offsets(60, false, 7, 3), wide = with_offsets(60, true, 7, 3);
            int64_t outer = offset;
            if (part == 1) {
                narrow.offset = wide.offset = offset;
                outer = 0;
            }
            CHECK_EQUAL(bytes_of(fixture_schema("u", "c"), narrow, outer, 20), 21 * 4 + 20 * 7);
            CHECK_EQUAL(bytes_of(fixture_schema("Z", "c"), wide, outer, 20), 21 * 8 + 20 * 7);
        }
    }
}

static void lists_count_what_lies_below_their_rows(void)
{
    struct ArrowSchema list = fixture_schema("+l", "c");
    fixture_add_field(&list, fixture_schema("i", "item"));
    struct ArrowArray array = with_offsets(60, false, 5, 2);
    fixture_add_child(&array, bare(2000, 2));
    CHECK_EQUAL(bytes_of(list, array, 10, 20), 21 * 4 + 20 * 5 * 4);

    list = fixture_schema("+L", "c");
    fixture_add_field(&list, fixture_schema("+w:3", "item"));
    fixture_add_field(list.children[0], fixture_schema("s", "item"));
    array = with_offsets(60, true, 5, 2);
    fixture_add_child(&array, bare(2000, 1));
    fixture_add_child(array.children[0], bare(6000, 2));
    CHECK_EQUAL(bytes_of(list, array, 10, 20), 21 * 8 + 20 * 5 * 3 * 2);
}

static void a_struct_is_its_fields_and_a_dictionary_its_values_as_well(void)
{
    struct ArrowSchema field = fixture_schema("+s", "c");
    fixture_add_field(&field, fixture_schema("l", "a"));
    fixture_add_field(&field, fixture_schema("c", "b"));
    struct ArrowArray array = bare(60, 1);
    fixture_add_child(&array, bare(60, 2));
    fixture_add_child(&array, bare(60, 2));
    CHECK_EQUAL(bytes_of(field, array, 10, 20), 20 * 9);

    field = fixture_schema("c", "c");
    fixture_set_dictionary(&field, fixture_schema("l", ""));
    array = bare(60, 2);
    struct ArrowArray values = bare(200, 2);
    array.dictionary = &values;
    CHECK_EQUAL(bytes_of(field, array, 10, 20), 20 + 200 * 8);
    values.release(&values);
}

static void views_count_all_they_may_point_into(void)
{
    struct ArrowArray array = fixture_array(60, 0, 0, 3);
    int64_t *sizes = (int64_t *)(void *)fixture_add_buffer(&array, 2, 2 * sizeof(int64_t), 0);
    sizes[0] = 500;
    sizes[1] = 70;
    const void *buffers[5] = {NULL, NULL, NULL, NULL, sizes};
    array.buffers = buffers;
    array.n_buffers = 5;
    CHECK_EQUAL(bytes_of(fixture_schema("vu", "c"), array, 10, 20), 20 * 16 + 570);
}

static void what_may_point_anywhere_counts_all_below(void)
{
    struct ArrowSchema view = fixture_schema("+vl", "c");
    fixture_add_field(&view, fixture_schema("u", "item"));
    struct ArrowArray array = bare(60, 3);
    fixture_add_child(&array, with_offsets(9, false, 7, 3)); /* fewer than the rows */
    CHECK_EQUAL(bytes_of(view, array, 30, 20), 2 * 20 * 4 + 10 * 4 + 9 * 7);

    struct ArrowSchema runs = fixture_schema("+r", "c");
    fixture_add_field(&runs, fixture_schema("i", "run_ends"));
    fixture_add_field(&runs, fixture_schema("u", "values"));
    array = bare(60, 0);
    fixture_add_child(&array, bare(3, 2));
    fixture_add_child(&array, with_offsets(3, false, 7, 3));
    CHECK_EQUAL(bytes_of(runs, array, 30, 20), 3 * 4 + 4 * 4 + 3 * 7);
}

static void a_size_that_overflows_is_as_large_as_can_be(void)
{
    struct ArrowSchema list = fixture_schema("+w:1073741824", "c");
    fixture_add_field(&list, fixture_schema("w:4611686018427387904", "item"));
    struct ArrowArray array = bare(60, 1);
    fixture_add_child(&array, bare(60, 2));
    CHECK(bytes_of(list, array, 0, 60) == UINT64_MAX);
}

/* Below a list view all rows are counted, also those that it does not reach, which nobody checked. */
static void rows_that_point_to_what_is_not_there_are_not_followed(void)
{
    static const uint32_t ends[] = {1, 2, 1000000, 1U << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct ArrowSchema schema = fixture_schema("+vl", "c"), inner = fixture_schema("+l", "item");
        struct ArrowSchema innermost = fixture_schema("+l", "item");
        fixture_add_field(&innermost, fixture_schema("i", "item"));
        fixture_add_field(&inner, innermost);
        fixture_add_field(&schema, inner);
        struct ArrowArray views = bare(1, 3), lists = bare(2, 2), strays = bare(2, 2);
        const uint32_t outer[] = {0, 1, ends[i]}, strayed[] = {0, 1, 2};
        memcpy(fixture_add_buffer(&lists, 1, sizeof outer, 0), outer, sizeof outer);
        memcpy(fixture_add_buffer(&strays, 1, sizeof strayed, 0), strayed, sizeof strayed);
        fixture_add_child(&strays, bare(2, 2));
        fixture_add_child(&lists, strays);
        fixture_add_child(&views, lists);
        /* The view, three offsets, and at most both lists below with their elements. */
        uint64_t bytes = bytes_of(schema, views, 0, 1);
        CHECK(bytes >= 8 + 12 + 8 + 4 && bytes <= 8 + 12 + 12 + 8);
    }
}

int main(void)
{
    RUN(values_of_fixed_width_take_their_width);
    RUN(a_bitmap_takes_the_bytes_that_its_rows_lie_in);
    RUN(of_strings_count_those_of_the_rows);
    RUN(lists_count_what_lies_below_their_rows);
    RUN(a_struct_is_its_fields_and_a_dictionary_its_values_as_well);
    RUN(views_count_all_they_may_point_into);
    RUN(what_may_point_anywhere_counts_all_below);
    RUN(a_size_that_overflows_is_as_large_as_can_be);
    RUN(rows_that_point_to_what_is_not_there_are_not_followed);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
