/* Tests of src/data/layout: where columns lie in a batch, and what stands for a null. */
#include "arrow_fixtures.h"
#include "fixed_types.h"

#define NO_LIMIT_BYTES (UINT64_C(1) << 40)

/* One column of each kind: all fixed types, all as lists of 3, four binary ones. */
static struct ArrowSchema whole_schema(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (size_t i = 0; i < FIXED_CASE_COUNT; i++)
        fixture_add_field(&schema, fixture_schema(fixed_cases[i].format, "x"));
    for (size_t i = 0; i < FIXED_CASE_COUNT; i++)
        fixture_add_field(&schema, fixture_list_schema(fixed_cases[i].format, 3, "list"));
    static const char *const formats[] = {"u", "z", "U", "Z"};
    for (size_t i = 0; i < 4; i++) fixture_add_field(&schema, fixture_schema(formats[i], "text"));
    return schema;
}

struct region {
    uint64_t at, bytes;
};

static uint64_t table_slots(uint64_t rows)
{
    uint64_t slots = 1;
    while (slots < 2 * rows) slots *= 2;
    return slots;
}

/* Each node of the layout has the regions that its kind needs, in whatever order they are. */
static void check_regions(const struct fb__layout *layout)
{
    struct region regions[4 * FIXTURE_CHILDREN_MAX];
    size_t count = 0;
    uint64_t rows = layout->batch_rows;
    for (uint32_t i = 0; i < layout->node_count; i++) {
        const struct fb__node *node = &layout->nodes[i];
        uint64_t slots = rows * node->slots_per_row;
        if (node->values_region != FB__NONE)
            regions[count++] = (struct region){layout->places[node->values_region], slots * node->element_bytes};
        if (node->offsets_region != FB__NONE)
            regions[count++] = (struct region){layout->places[node->offsets_region], (slots + 1) * node->offset_bytes};
        if (node->valid_region != FB__NONE)
            regions[count++] = (struct region){layout->places[node->valid_region], slots};
    }
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct fb__column_layout *column = &layout->columns[i];
        CHECK_EQUAL(column->codes_region == FB__NONE, !column->is_dictionary);
        CHECK_EQUAL(column->table_region == FB__NONE, !column->is_dictionary);
        if (!column->is_dictionary) continue;
        regions[count++] = (struct region){layout->places[column->codes_region], rows * 4};
        regions[count++] = (struct region){layout->places[column->table_region], table_slots(rows) * 4};
    }
    CHECK_EQUAL(count, layout->region_count);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(regions[i].at % FB__ALIGNMENT_BYTES, 0);
        CHECK(regions[i].at + regions[i].bytes <= layout->fixed_bytes);
        for (size_t j = 0; j < i; j++) {
            CHECK(regions[i].at + regions[i].bytes <= regions[j].at ||
                  regions[j].at + regions[j].bytes <= regions[i].at);
        }
    }
    CHECK_EQUAL(layout->fixed_bytes % FB__ALIGNMENT_BYTES, 0);
}

static void regions_are_aligned_and_apart(void)
{
    static const uint64_t rows[] = {1, 63, 64, 65, 1000};
    struct ArrowSchema schema = whole_schema();
    for (size_t i = 0; i < 5; i++) {
        for (int policy = FB_NULLS_ERROR; policy <= FB_NULLS_MASK; policy++) {
            struct fixture_book book;
            struct fb__gate gate;
            struct fb__layout layout;
            fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
            struct fb_loader_options options = {.batch_rows = rows[i], .null_policy = (enum fb_null_policy)policy};
            CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), 0);
            CHECK_EQUAL(layout.column_count, 2 * FIXED_CASE_COUNT + 4);
            CHECK_EQUAL(layout.home_count, 4);
            CHECK_EQUAL(layout.batch_rows, rows[i]);
            CHECK_EQUAL(layout.null_policy, policy);
            CHECK_EQUAL(layout.variable_bytes, 0);
            CHECK(layout.gate == &gate);
            check_regions(&layout);
            fb__layout_destroy(&layout);
            CHECK_EQUAL(book.bytes, 0);
        }
    }
    schema.release(&schema);
}

static void a_layout_without_columns_has_64_bytes(void)
{
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &(struct fb_loader_options){.batch_rows = 8}, NULL), 0);
    CHECK_EQUAL(layout.fixed_bytes, 64);
    fb__layout_destroy(&layout);
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

static void names_and_formats_are_copies(void)
{
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("tsu:UTC", "when"));
    fixture_add_field(&schema, fixture_list_schema("f", 5, ""));
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &(struct fb_loader_options){.batch_rows = 8}, NULL), 0);
    schema.release(&schema);
    CHECK_TEXT(layout.columns[0].name, "when");
    CHECK_TEXT(layout.columns[0].format, "tsu:UTC");
    CHECK_TEXT(layout.columns[1].name, "");
    CHECK_TEXT(layout.columns[1].format, "+w:5");
    CHECK_TEXT(layout.nodes[layout.columns[1].leaf].format, "f");
    fb__layout_destroy(&layout);
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
}

static void nulls_become_nan_nat_or_zero_unless_told_otherwise(void)
{
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = whole_schema();
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &(struct fb_loader_options){.batch_rows = 8}, NULL), 0);
    for (size_t i = 0; i < 2 * FIXED_CASE_COUNT; i++) {
        const struct fixed_case *expected = &fixed_cases[i % FIXED_CASE_COUNT];
        const struct fb__column_layout *column = &layout.columns[i];
        CHECK_EQUAL(column->fill == NULL, expected->fill == NULL);
        CHECK_EQUAL(column->fill_bytes, expected->fill != NULL ? expected->element_bytes : 0);
        if (expected->fill != NULL) CHECK(memcmp(column->fill, expected->fill, expected->element_bytes) == 0);
    }
    for (size_t i = 2 * FIXED_CASE_COUNT; i < layout.column_count; i++) {
        CHECK(layout.columns[i].fill == NULL);
        CHECK_EQUAL(layout.columns[i].fill_bytes, 0);
    }
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

/* Columns: 0 int32, 1 bool, 2 list of 3 double, 3 string, 4 large binary. */
static struct ArrowSchema fill_schema(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("i", "count"));
    fixture_add_field(&schema, fixture_schema("b", "flag"));
    fixture_add_field(&schema, fixture_list_schema("g", 3, "vector"));
    fixture_add_field(&schema, fixture_schema("u", "text"));
    fixture_add_field(&schema, fixture_schema("Z", "blob"));
    return schema;
}

static void fill_values_replace_the_defaults(void)
{
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = fill_schema();
    int32_t count = -1;
    double element = 0.5;
    uint8_t flag = 1;
    const struct fb_fill_value fills[] = {{3, 0, "none", 4},
                                          {0, 0, &count, sizeof count},
                                          {2, 0, &element, sizeof element},
                                          {1, 0, &flag, 1},
                                          {4, 0, NULL, 0}};
    struct fb_loader_options options = {.batch_rows = 8, .fill_values = fills, .fill_value_count = 5};
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), 0);
    CHECK(memcmp(layout.columns[0].fill, &count, 4) == 0);
    CHECK(memcmp(layout.columns[1].fill, &flag, 1) == 0);
    CHECK(memcmp(layout.columns[2].fill, &element, 8) == 0);
    CHECK(memcmp(layout.columns[3].fill, "none", 4) == 0);
    CHECK_EQUAL(layout.columns[3].fill_bytes, 4);
    CHECK(layout.columns[4].fill == NULL);
    CHECK_EQUAL(layout.columns[4].fill_bytes, 0);
    CHECK(layout.columns[3].fill != (const void *)fills[0].bytes);
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

static void wrong_fill_values_are_invalid(void)
{
    static const char bytes[64] = {2};
    static const struct {
        struct fb_fill_value fills[2];
        uint32_t count;
        const char *text;
    } cases[] = {
        {{{5, 0, bytes, 4}}, 1, "column 5, the schema has 5 columns"},
        {{{0, 0, bytes, 8}}, 1, "'count' has 8 bytes where an element has 4"},
        {{{0, 0, bytes, 0}}, 1, "'count' has 0 bytes where an element has 4"},
        {{{0, 0, NULL, 4}}, 1, "'count' has no bytes"},
        {{{1, 0, bytes, 1}}, 1, "bool column 'flag' is neither 0 nor 1"},
        {{{2, 0, bytes, 24}}, 1, "'vector' has 24 bytes where an element has 8"},
        {{{3, 0, NULL, 1}}, 1, "'text' has no bytes"},
        {{{3, 0, bytes, UINT64_C(1) << 31}}, 1, "'text' is longer than 2^31 - 1 bytes"},
        {{{0, 0, bytes, 4}, {0, 0, bytes, 4}}, 2, "column 0 has two fill values"},
    };
    struct ArrowSchema schema = fill_schema();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture_book book;
        struct fb__gate gate;
        struct fb__layout layout;
        struct fb_error error;
        struct fb_loader_options options = {
            .batch_rows = 8, .fill_values = cases[i].fills, .fill_value_count = cases[i].count};
        fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
        CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, &error), EINVAL);
        CHECK_CONTAINS(error.message, cases[i].text);
        CHECK_EQUAL(book.bytes, 0);
        fb__layout_destroy(&layout);
    }
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    struct fb_loader_options options = {.batch_rows = 8, .fill_value_count = 1};
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), EINVAL);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

static void binary_estimates_are_rows_times_their_cost(void)
{
    static const uint64_t row_bytes[] = {100, 100, 100, 7, 11};
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = fill_schema();
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    struct fb_loader_options options = {.batch_rows = 8};
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, row_bytes, &options, NULL), 0);
    CHECK_EQUAL(layout.columns[0].estimated_bytes, 0);
    CHECK_EQUAL(layout.columns[3].estimated_bytes, 56);
    CHECK_EQUAL(layout.columns[4].estimated_bytes, 88);
    CHECK_EQUAL(layout.variable_bytes, 144);
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

static void sizes_beyond_2_to_the_62_are_refused(void)
{
    static const uint64_t costs[][5] = {{0}, {0, 0, 0, UINT64_C(1) << 60, 0}, {0, 0, 0, 1 << 30, UINT64_C(1) << 59}};
    static const char fill[4] = "none";
    const struct fb_fill_value fill_value = {3, 0, fill, 4};
    static const struct {
        uint64_t rows;
        int costs;
        bool has_fill;
        int rc;
    } cases[] = {
        {UINT64_MAX, 0, false, ENOBUFS},
        {UINT64_MAX / 8, 0, false, ENOBUFS},
        {UINT64_C(1) << 62, 0, false, ENOBUFS},
        {UINT64_C(1) << 57, 0, false, ENOBUFS}, /* regions fit one by one, not together */
        {UINT64_C(1) << 55, 0, false, 0},
        {8, 1, false, ENOBUFS},
        {8, 2, false, ENOBUFS}, /* estimates fit one by one, not together */
        {4, 1, false, 0},
        {4, 1, true, 0},
    };
    struct ArrowSchema schema = fill_schema();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture_book book;
        struct fb__gate gate;
        struct fb__layout layout;
        struct fb_error error;
        struct fb_loader_options options = {
            .batch_rows = cases[i].rows, .fill_values = &fill_value, .fill_value_count = cases[i].has_fill ? 1 : 0};
        fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
        CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, costs[cases[i].costs], &options, &error), cases[i].rc);
        if (cases[i].rc != 0) CHECK_CONTAINS(error.message, "lower batch_size");
        fb__layout_destroy(&layout);
        CHECK_EQUAL(book.bytes, 0);
    }
    schema.release(&schema);
}

static void a_size_that_wraps_round_is_refused(void)
{
    static const char *const formats[] = {"b", "i", "u", "U"};
    for (size_t i = 0; i < 4; i++) {
        struct fixture_book book;
        struct fb__gate gate;
        struct fb__layout layout;
        struct ArrowSchema schema = fixture_schema("+s", "");
        fixture_add_field(&schema, fixture_schema(formats[i], "x"));
        for (uint64_t rows = UINT64_MAX; rows > UINT64_MAX - 3; rows--) {
            fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
            struct fb_loader_options options = {.batch_rows = rows};
            CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), ENOBUFS);
            CHECK_EQUAL(book.bytes, 0);
        }
        schema.release(&schema);
    }
}

static void a_long_fill_value_counts_in_every_row(void)
{
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("u", "text"));
    static const char fill[64] = "x";
    struct fb_loader_options options = {.batch_rows = UINT64_C(1) << 57,
                                        .fill_values = &(struct fb_fill_value){0, 0, fill, sizeof fill},
                                        .fill_value_count = 1};
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), ENOBUFS);
    options.fill_value_count = 0;
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL), 0);
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
}

static void a_failed_allocation_leaves_nothing_behind(void)
{
    struct ArrowSchema schema = fill_schema();
    int failures = 0;
    for (int64_t after = 0;; after++) {
        struct fixture_book book;
        struct fb__gate gate;
        struct fb__layout layout;
        fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
        fb__gate_fail_nth(&gate, after, 1);
        int rc = fb__layout_init(&layout, &gate, &schema, NULL, &(struct fb_loader_options){.batch_rows = 8}, NULL);
        if (rc != 0) CHECK_EQUAL(book.bytes, 0);
        fb__layout_destroy(&layout);
        CHECK_EQUAL(book.bytes, 0);
        if (rc == 0) break;
        CHECK_EQUAL(rc, ENOMEM);
        failures++;
    }
    /* Columns, nodes and texts in one, regions and places in another. */
    CHECK_EQUAL(failures, 2);
    schema.release(&schema);
}

static void a_refused_byte_leaves_nothing_behind(void)
{
    struct ArrowSchema schema = fill_schema();
    uint64_t limit_bytes = 0;
    for (;; limit_bytes += 8) {
        struct fixture_book book;
        struct fb__gate gate;
        struct fb__layout layout;
        fixture_gate_init(&gate, &book, limit_bytes);
        int rc = fb__layout_init(&layout, &gate, &schema, NULL, &(struct fb_loader_options){.batch_rows = 8}, NULL);
        if (rc != 0) CHECK_EQUAL(book.bytes, 0);
        fb__layout_destroy(&layout);
        CHECK_EQUAL(book.bytes, 0);
        if (rc == 0) break;
        CHECK_EQUAL(rc, ENOBUFS);
    }
    CHECK(limit_bytes > 5 * sizeof(struct fb__column_layout));
    schema.release(&schema);
}

int main(void)
{
    RUN(regions_are_aligned_and_apart);
    RUN(a_layout_without_columns_has_64_bytes);
    RUN(names_and_formats_are_copies);
    RUN(nulls_become_nan_nat_or_zero_unless_told_otherwise);
    RUN(fill_values_replace_the_defaults);
    RUN(wrong_fill_values_are_invalid);
    RUN(binary_estimates_are_rows_times_their_cost);
    RUN(sizes_beyond_2_to_the_62_are_refused);
    RUN(a_size_that_wraps_round_is_refused);
    RUN(a_long_fill_value_counts_in_every_row);
    RUN(a_failed_allocation_leaves_nothing_behind);
    RUN(a_refused_byte_leaves_nothing_behind);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
