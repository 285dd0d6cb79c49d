/* Tests of src/data/layout: which Arrow types become which columns, and what of a schema is malformed. */
#include "arrow_fixtures.h"
#include "data/text.h"
#include "fixed_types.h"

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
        struct fb__column_layout column;
        struct ArrowSchema field = fixture_schema(fixed_cases[i].format, "x");
        CHECK_EQUAL(fb__layout_describe_column(&field, 0, &column, NULL), 0);
        check_fixed_description(&fixed_cases[i], &column);
        CHECK(!column.is_list);
        CHECK_EQUAL(column.list_size, 1);
        field.release(&field);
    }
}

static void each_fixed_type_can_be_the_element_of_a_list(void)
{
    static const uint64_t sizes[] = {0, 1, 3, UINT64_C(1) << 31};
    for (size_t i = 0; i < FIXED_CASE_COUNT; i++) {
        struct fb__column_layout column;
        struct ArrowSchema field = fixture_list_schema(fixed_cases[i].format, sizes[i % 4], "x");
        CHECK_EQUAL(fb__layout_describe_column(&field, 0, &column, NULL), 0);
        check_fixed_description(&fixed_cases[i], &column);
        CHECK(column.is_list);
        CHECK_EQUAL(column.list_size, sizes[i % 4]);
        field.release(&field);
    }
}

static void strings_and_binary_have_offsets_of_4_or_8_bytes(void)
{
    static const char *const formats[] = {"u", "z", "U", "Z"};
    for (size_t i = 0; i < 4; i++) {
        struct fb__column_layout column;
        struct ArrowSchema field = fixture_schema(formats[i], "x");
        CHECK_EQUAL(fb__layout_describe_column(&field, 0, &column, NULL), 0);
        CHECK_EQUAL(column.kind, FB_COLUMN_BINARY);
        CHECK_EQUAL(column.copy, i < 2 ? FB__COPY_BINARY_32 : FB__COPY_BINARY_64);
        CHECK_EQUAL(column.offset_bytes, i < 2 ? 4 : 8);
        CHECK_EQUAL(column.source_bytes, 0);
        CHECK_EQUAL(column.element_bytes, 0);
        field.release(&field);
    }
}

static void check_refusal(struct ArrowSchema *field, const char *type, const char *format)
{
    struct fb__column_layout column;
    struct fb_error error;
    char expected[200];
    snprintf(expected, sizeof expected,
             "column 'tags' has type %s (format \"%s\"), which cannot be a batch column: leave it out with columns=",
             type, format);
    CHECK_EQUAL(fb__layout_describe_column(field, 3, &column, &error), ENOTSUP);
    CHECK_TEXT(error.message, expected);
    CHECK_EQUAL(error.code, ENOTSUP);
    field->release(field);
}

static void other_types_are_refused_by_column_and_type(void)
{
    static const char *const refused[][2] = {
        {"n", "null"},
        {"vu", "string view"},
        {"vz", "binary view"},
        {"d:19,10", "decimal"},
        {"d:38,2,256", "decimal"},
        {"w:16", "fixed-size binary"},
        {"tiM", "month interval"},
        {"tiD", "day-time interval"},
        {"tin", "month-day-nano interval"},
        {"+l", "list"},
        {"+L", "large list"},
        {"+vl", "list view"},
        {"+vL", "large list view"},
        {"+s", "struct"},
        {"+m", "map"},
        {"+ud:0,1", "dense union"},
        {"+us:0,1", "sparse union"},
        {"+r", "run-end encoded"},
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
    fixture_set_dictionary(&dictionary, fixture_schema("u", ""));
    check_refusal(&dictionary, "dictionary", "i");
}

static void lists_of_anything_else_are_refused_by_their_elements(void)
{
    struct ArrowSchema strings = fixture_list_schema("u", 2, "tags");
    check_refusal(&strings, "fixed-size list of string", "u");
    struct ArrowSchema structs = fixture_list_schema("+s", 2, "tags");
    check_refusal(&structs, "fixed-size list of struct", "+s");

    struct ArrowSchema nested = fixture_schema("+w:2", "tags");
    fixture_add_field(&nested, fixture_list_schema("f", 3, "item"));
    check_refusal(&nested, "fixed-size list of fixed-size list", "+w:3");

    struct ArrowSchema item = fixture_schema("i", "item");
    fixture_set_dictionary(&item, fixture_schema("u", ""));
    struct ArrowSchema dictionaries = fixture_schema("+w:2", "tags");
    fixture_add_field(&dictionaries, item);
    check_refusal(&dictionaries, "fixed-size list of dictionary", "i");

    struct ArrowSchema huge = fixture_list_schema("f", (UINT64_C(1) << 31) + 1, "tags");
    check_refusal(&huge, "fixed-size list", "+w:2147483649");
    /* 2^64 + 3 */
    struct ArrowSchema endless = fixture_schema("+w:18446744073709551619", "tags");
    fixture_add_field(&endless, fixture_schema("f", "item"));
    check_refusal(&endless, "fixed-size list", "+w:18446744073709551619");
}

static void a_long_name_does_not_hide_what_to_do(void)
{
    char name[2000];
    for (size_t i = 0; i + 1 < sizeof name; i += 2) memcpy(name + i, "\xc3\xa4", 2);
    name[sizeof name - 2] = '\0';
    struct ArrowSchema field = fixture_schema("+m", name);
    struct fb__column_layout column;
    struct fb_error error;
    CHECK_EQUAL(fb__layout_describe_column(&field, 0, &column, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "\xc3\xa4' has type map");
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
        {list_of_missing, "element type of column 7"},
        {list_of_released, "element type of column 7"},
        {list_of_parent, "element type of column 7 of the schema has children"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ArrowSchema field = fixture_schema("l", "x");
        cases[i].spoil(&field);
        struct fb__column_layout column;
        struct fb_error error;
        CHECK_EQUAL(fb__layout_describe_column(&field, 7, &column, &error), EINVAL);
        CHECK_CONTAINS(error.message, cases[i].text);
        CHECK_CONTAINS(error.message, "column 7");
        fixture_release_schema(&field);
    }
    struct fb__column_layout column;
    CHECK_EQUAL(fb__layout_describe_column(NULL, 0, &column, NULL), EINVAL);
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

    fixture_add_field(&schema, fixture_schema("+m", "y"));
    CHECK_EQUAL(fb__layout_check_schema(&schema, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "'y' has type map");
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
    RUN(lists_of_anything_else_are_refused_by_their_elements);
    RUN(a_long_name_does_not_hide_what_to_do);
    RUN(malformed_schemas_are_invalid);
    RUN(a_schema_must_be_a_struct_of_columns);
    RUN(text_is_utf8_only_in_its_shortest_form);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
