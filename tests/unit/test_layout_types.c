/* Tests of src/data/layout: which Arrow types become which columns, and what of a schema is malformed. */
#include "arrow_fixtures.h"
#include "data/text.h"
#include "fixed_types.h"

#define NO_LIMIT_BYTES (UINT64_C(1) << 40)

static struct fixture_book book;
static struct fb__gate gate;

static int describe(const struct ArrowSchema *field, struct fb__layout *layout, struct fb_error *error)
{
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    int rc = fb__layout_init_column(layout, &gate, field, error);
    if (rc != 0) CHECK_EQUAL(book.bytes, 0);
    return rc;
}

static void check_fixed_description(const struct fixed_case *expected, const struct fb__column_layout *column)
{
    CHECK_EQUAL(column->kind, FB_COLUMN_FIXED);
    CHECK_EQUAL(column->copy, expected->copy);
    CHECK_EQUAL(column->source_bytes, expected->source_bytes);
    CHECK_EQUAL(column->element_bytes, expected->element_bytes);
    CHECK_EQUAL(column->offset_bytes, 0);
}

static void each_fixed_type_is_described_as_the_table_says(void)
{
    for (size_t i = 0; i < FIXED_CASE_COUNT; i++) {
        struct fb__layout layout;
        struct ArrowSchema field = fixture_schema(fixed_cases[i].format, "x");
        CHECK_EQUAL(describe(&field, &layout, NULL), 0);
        check_fixed_description(&fixed_cases[i], layout.columns);
        CHECK(!layout.columns->is_list);
        CHECK_EQUAL(layout.columns->list_size, 1);
        CHECK(layout.columns->is_flat);
        fb__layout_destroy(&layout);
        field.release(&field);
    }
}

static void each_fixed_type_can_be_the_element_of_a_list(void)
{
    static const uint64_t sizes[] = {0, 1, 3, UINT64_C(1) << 31};
    for (size_t i = 0; i < FIXED_CASE_COUNT; i++) {
        struct fb__layout layout;
        struct ArrowSchema field = fixture_list_schema(fixed_cases[i].format, sizes[i % 4], "x");
        CHECK_EQUAL(describe(&field, &layout, NULL), 0);
        check_fixed_description(&fixed_cases[i], layout.columns);
        CHECK(layout.columns->is_list);
        CHECK_EQUAL(layout.columns->list_size, sizes[i % 4]);
        CHECK(layout.columns->is_flat);
        fb__layout_destroy(&layout);
        field.release(&field);
    }
}

static void strings_and_binary_have_offsets_of_4_or_8_bytes(void)
{
    static const char *const formats[] = {"u", "z", "U", "Z"};
    for (size_t i = 0; i < 4; i++) {
        struct fb__layout layout;
        struct ArrowSchema field = fixture_schema(formats[i], "x");
        CHECK_EQUAL(describe(&field, &layout, NULL), 0);
        const struct fb__column_layout *column = layout.columns;
        CHECK_EQUAL(column->kind, FB_COLUMN_BINARY);
        CHECK_EQUAL(column->copy, i < 2 ? FB__COPY_BINARY_32 : FB__COPY_BINARY_64);
        CHECK_EQUAL(column->offset_bytes, i < 2 ? 4 : 8);
        CHECK_EQUAL(column->source_bytes, 0);
        CHECK_EQUAL(column->element_bytes, 0);
        CHECK_EQUAL(column->piece_count, 1);
        CHECK_EQUAL(layout.nodes[0].values_piece, 0);
        CHECK(column->is_flat);
        fb__layout_destroy(&layout);
        field.release(&field);
    }
}

static void check_refusal(struct ArrowSchema *field, const char *type, const char *format)
{
    struct fb__layout layout;
    struct fb_error error;
    char expected[200];
    snprintf(expected, sizeof expected,
             "column 'tags' has type %s (format \"%s\"), which cannot be a batch column: leave it out with columns=",
             type, format);
    CHECK_EQUAL(describe(field, &layout, &error), ENOTSUP);
    CHECK_TEXT(error.message, expected);
    CHECK_EQUAL(error.code, ENOTSUP);
    field->release(field);
}

static void other_types_are_refused_by_column_and_type(void)
{
    static const char *const refused[][2] = {
        {"d:38,2,100", "decimal"},
        {"w:2147483648", "fixed-size binary"},
        {"tiM", "month interval"},
        {"tiD", "day-time interval"},
        {"tin", "month-day-nano interval"},
        {"+ud:0,1", "dense union"},
        {"+us:0,1", "sparse union"},
        {"x", "unknown"},
        {"ii", "unknown"},
        {"tss", "unknown"},
        {"tdDx", "unknown"},
        {"uu", "unknown"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ArrowSchema field = fixture_schema(refused[i][0], "tags");
        check_refusal(&field, refused[i][1], refused[i][0]);
    }
    struct ArrowSchema dictionary = fixture_schema("i", "tags");
    fixture_set_dictionary(&dictionary, fixture_schema("tin", ""));
    check_refusal(&dictionary, "dictionary of month-day-nano interval", "tin");
}

static void what_is_refused_below_a_column_is_named_with_what_is_around_it(void)
{
    struct ArrowSchema nested = fixture_schema("+w:2", "tags");
    fixture_add_field(&nested, fixture_list_schema("+ud:0", 3, "item"));
    check_refusal(&nested, "fixed-size list of fixed-size list of dense union", "+ud:0");

    struct ArrowSchema huge = fixture_list_schema("f", (UINT64_C(1) << 31) + 1, "tags");
    check_refusal(&huge, "fixed-size list", "+w:2147483649");
    /* 2^64 + 3 */
    struct ArrowSchema endless = fixture_schema("+w:18446744073709551619", "tags");
    fixture_add_field(&endless, fixture_schema("f", "item"));
    check_refusal(&endless, "fixed-size list", "+w:18446744073709551619");

    struct ArrowSchema outer = fixture_schema("+s", "a");
    struct ArrowSchema inner = fixture_schema("+l", "b");
    fixture_add_field(&inner, fixture_schema("tiM", "item"));
    fixture_add_field(&outer, inner);
    struct fb__layout layout;
    struct fb_error error;
    CHECK_EQUAL(describe(&outer, &layout, &error), ENOTSUP);
    CHECK_TEXT(error.message,
               "column 'a.b' has type list of month interval (format \"tiM\"), which cannot be a batch column: leave "
               "it out with columns=");
    outer.release(&outer);

    struct ArrowSchema product = fixture_schema("+w:65536", "p");
    fixture_add_field(&product, fixture_list_schema("f", 65536, "item"));
    CHECK_EQUAL(describe(&product, &layout, &error), ENOTSUP);
    CHECK_TEXT(error.message, "column 'p' has more than 2^31 elements a row, which cannot be a batch column: leave it "
                              "out with columns=");
    product.release(&product);
}

static void a_long_name_does_not_hide_what_to_do(void)
{
    char name[2000];
    for (size_t i = 0; i + 1 < sizeof name; i += 2) memcpy(name + i, "\xc3\xa4", 2);
    name[sizeof name - 2] = '\0';
    struct ArrowSchema field = fixture_schema("tin", name);
    struct fb__layout layout;
    struct fb_error error;
    CHECK_EQUAL(describe(&field, &layout, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "\xc3\xa4' has type month-day-nano interval");
    CHECK_CONTAINS(error.message, "leave it out with columns=");
    CHECK(fb__text_is_utf8(error.message));
    field.release(&field);
}

/* ---- malformed schemas ---------------------------------------------------------------------------------------- */

static void spoil_release(struct ArrowSchema *field)
{
    field->release = NULL;
}
static void spoil_format(struct ArrowSchema *field)
{
    field->format = NULL;
}
static void empty_format(struct ArrowSchema *field)
{
    field->format = "";
}
static void spoil_name(struct ArrowSchema *field)
{
    field->name = NULL;
}
static void latin_1_name(struct ArrowSchema *field)
{
    field->name = "caf\xe9";
}
static void surrogate_name(struct ArrowSchema *field)
{
    field->name = "\xed\xa0\x80";
}
static void latin_1_format(struct ArrowSchema *field)
{
    field->format = "tsn:\xe9";
}
static void negative_children(struct ArrowSchema *field)
{
    field->n_children = -1;
}
static void children_of_nothing(struct ArrowSchema *field)
{
    field->n_children = 1;
}

static void long_format(struct ArrowSchema *field)
{
    static char format[5000];
    memset(format, 'x', sizeof format - 1);
    memcpy(format, "tsn:", 4);
    field->format = format;
}

static void child_of_plain(struct ArrowSchema *field)
{
    fixture_add_field(field, fixture_schema("i", "child"));
}

static void string_with_child(struct ArrowSchema *field)
{
    field->format = "u";
    child_of_plain(field);
}

static void list_without_child(struct ArrowSchema *field)
{
    field->format = "+w:4";
}

static void list_of_two(struct ArrowSchema *field)
{
    field->format = "+w:4";
    child_of_plain(field);
    child_of_plain(field);
}

static void list_without_size(struct ArrowSchema *field)
{
    field->format = "+w:";
    child_of_plain(field);
}

static void list_of_negative_size(struct ArrowSchema *field)
{
    field->format = "+w:-1";
    child_of_plain(field);
}

static void list_with_more_than_a_size(struct ArrowSchema *field)
{
    field->format = "+w:4x";
    child_of_plain(field);
}

static void list_of_missing(struct ArrowSchema *field)
{
    static struct ArrowSchema *children[] = {NULL};
    field->format = "+w:4";
    field->children = children;
    field->n_children = 1;
}

static void list_of_released(struct ArrowSchema *field)
{
    field->format = "+w:4";
    child_of_plain(field);
    field->children[0]->release(field->children[0]);
}

static void list_of_parent(struct ArrowSchema *field)
{
    field->format = "+w:4";
    child_of_plain(field);
    fixture_add_field(field->children[0], fixture_schema("i", "grandchild"));
}

static void decimal_without_scale(struct ArrowSchema *field)
{
    field->format = "d:10";
}

static void decimal_of_letters(struct ArrowSchema *field)
{
    field->format = "d:10,2,x";
}

static void binary_of_negative_width(struct ArrowSchema *field)
{
    field->format = "w:-1";
}

static void list_of_string_with_child(struct ArrowSchema *field)
{
    field->format = "+l";
    fixture_add_field(field, fixture_schema("u", "item"));
    fixture_add_field(field->children[0], fixture_schema("i", "grandchild"));
}

static void field_without_name(struct ArrowSchema *field)
{
    field->format = "+s";
    fixture_add_field(field, fixture_schema("u", NULL));
}

static void map_of_plain(struct ArrowSchema *field)
{
    field->format = "+m";
    child_of_plain(field);
}

static void map_of_three(struct ArrowSchema *field)
{
    field->format = "+m";
    fixture_add_field(field, fixture_schema("+s", "entries"));
    for (int i = 0; i < 3; i++) fixture_add_field(field->children[0], fixture_schema("i", "x"));
}

static void run_ends_of_text(struct ArrowSchema *field)
{
    field->format = "+r";
    fixture_add_field(field, fixture_schema("u", "run_ends"));
    child_of_plain(field);
}

static void run_ends_of_bytes(struct ArrowSchema *field)
{
    field->format = "+r";
    fixture_add_field(field, fixture_schema("c", "run_ends"));
    child_of_plain(field);
}

static void run_ends_without_sign(struct ArrowSchema *field)
{
    field->format = "+r";
    fixture_add_field(field, fixture_schema("I", "run_ends"));
    child_of_plain(field);
}

static void run_ends_alone(struct ArrowSchema *field)
{
    field->format = "+r";
    fixture_add_field(field, fixture_schema("i", "run_ends"));
}

static void dictionary_of_float_indices(struct ArrowSchema *field)
{
    field->format = "f";
    fixture_set_dictionary(field, fixture_schema("u", NULL));
}

static void dictionary_with_child(struct ArrowSchema *field)
{
    fixture_set_dictionary(field, fixture_schema("u", NULL));
    child_of_plain(field);
}

static void released_dictionary(struct ArrowSchema *field)
{
    fixture_set_dictionary(field, fixture_schema("u", NULL));
    field->dictionary->release(field->dictionary);
}

static void malformed_schemas_are_invalid(void)
{
    static const struct {
        void (*spoil)(struct ArrowSchema *field);
        const char *text;
    } cases[] = {
        {spoil_release, "released"},
        {spoil_format, "no format"},
        {empty_format, "no format"},
        {long_format, "format of 1024 bytes or more"},
        {latin_1_format, "format that is not UTF-8"},
        {spoil_name, "no name in UTF-8"},
        {latin_1_name, "no name in UTF-8"},
        {surrogate_name, "no name in UTF-8"},
        {negative_children, "malformed list of children"},
        {children_of_nothing, "malformed list of children"},
        {child_of_plain, "has 1 children where format \"l\" has 0"},
        {string_with_child, "has 1 children where format \"u\" has 0"},
        {list_without_child, "has 0 children where format \"+w:4\" has 1"},
        {list_of_two, "has 2 children where format \"+w:4\" has 1"},
        {list_without_size, "malformed list size"},
        {list_of_negative_size, "malformed list size"},
        {list_with_more_than_a_size, "malformed list size"},
        {list_of_missing, "column 0 of the schema, below 'x', is missing"},
        {list_of_released, "column 0 of the schema, below 'x', is missing or was released"},
        {list_of_parent, "below 'x', has 1 children where format \"i\" has 0"},
        {list_of_string_with_child, "below 'x', has 1 children where format \"u\" has 0"},
        {decimal_without_scale, "malformed precision, scale or width"},
        {decimal_of_letters, "malformed precision, scale or width"},
        {binary_of_negative_width, "malformed width"},
        {field_without_name, "below 'x', has no name in UTF-8"},
        {map_of_plain, "map whose entries are not a struct of two"},
        {map_of_three, "map whose entries are not a struct of two"},
        {run_ends_of_text, "has run ends that are not"},
        {run_ends_of_bytes, "has run ends that are not"},
        {run_ends_without_sign, "has run ends that are not"},
        {run_ends_alone, "has 1 children where format \"+r\" has 2"},
        {dictionary_of_float_indices, "dictionary indices that are not integers"},
        {dictionary_with_child, "has 1 children where format \"l\" has 0"},
        {released_dictionary, "below 'x', is missing or was released"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ArrowSchema field = fixture_schema("l", "x");
        cases[i].spoil(&field);
        struct fb__layout layout;
        struct fb_error error;
        CHECK_EQUAL(describe(&field, &layout, &error), EINVAL);
        CHECK_CONTAINS(error.message, cases[i].text);
        CHECK_CONTAINS(error.message, "column 0");
        fixture_release_schema(&field);
    }
    struct fb__layout layout;
    CHECK_EQUAL(describe(NULL, &layout, NULL), EINVAL);
}

static void a_schema_must_be_a_struct_of_columns(void)
{
    CHECK_EQUAL(fb__layout_check_schema(NULL, NULL), EINVAL);
    struct ArrowSchema schema = fixture_schema("+s", "");
    CHECK_EQUAL(fb__layout_check_schema(&schema, NULL), 0);
    fixture_add_field(&schema, fixture_schema("l", "x"));
    CHECK_EQUAL(fb__layout_check_schema(&schema, NULL), 0);

    struct fb_error error;
    struct ArrowSchema spoilt = schema;
    spoilt.n_children = -1;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, &error), EINVAL);
    CHECK_CONTAINS(error.message, "malformed list of columns");
    spoilt.n_children = INT64_MAX;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, &error), EINVAL);
    CHECK_CONTAINS(error.message, "malformed list of columns");
    spoilt = schema;
    spoilt.children = NULL;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, NULL), EINVAL);
    spoilt = schema;
    spoilt.format = "l";
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, NULL), EINVAL);
    spoilt.format = NULL;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, NULL), EINVAL);
    spoilt = schema;
    spoilt.dictionary = &schema;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, NULL), EINVAL);
    spoilt = schema;
    spoilt.release = NULL;
    CHECK_EQUAL(fb__layout_check_schema(&spoilt, NULL), EINVAL);

    fixture_add_field(&schema, fixture_schema("tin", "y"));
    CHECK_EQUAL(fb__layout_check_schema(&schema, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "'y' has type month-day-nano interval");
    schema.release(&schema);
}

static void text_is_utf8_only_in_its_shortest_form(void)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xe2\x82",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf0\x90\x80",
                                      "\xe2\x28\xa1",
                                      "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK(fb__text_is_utf8(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!fb__text_is_utf8(bad[i]));
    CHECK_EQUAL(fb__text_valid_bytes("\xc3\xa4\xc3\xa4", 3), 2);
}

int main(void)
{
    RUN(each_fixed_type_is_described_as_the_table_says);
    RUN(each_fixed_type_can_be_the_element_of_a_list);
    RUN(strings_and_binary_have_offsets_of_4_or_8_bytes);
    RUN(other_types_are_refused_by_column_and_type);
    RUN(what_is_refused_below_a_column_is_named_with_what_is_around_it);
    RUN(a_long_name_does_not_hide_what_to_do);
    RUN(malformed_schemas_are_invalid);
    RUN(a_schema_must_be_a_struct_of_columns);
    RUN(text_is_utf8_only_in_its_shortest_form);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
