/* Tests of src/data/arrow: streams give blocks and reasons, and the schema that was asked for. */
#include <limits.h>

#include "arrow_bench.h"
#include "data/text.h"

static void a_stream_gives_its_schema_its_blocks_and_an_end(void)
{
    struct ArrowArrayStream stream = fixture_stream(make_schema(), 0, NULL);
    fixture_add_block(&stream, fixture_array(10, 0, 0, 1));
    fixture_add_block(&stream, fixture_array(10, 0, 0, 1));
    struct ArrowSchema schema;
    CHECK_EQUAL(fb__arrow_stream_schema(&stream, &schema, NULL), 0);
    CHECK_TEXT(schema.format, "+s");
    fb__arrow_release_schema(&schema);
    struct ArrowArray block;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, NULL), 0);
        CHECK(block.release != NULL);
        CHECK_EQUAL(block.length, 10);
        fb__arrow_release_array(&block);
    }
    memset(&block, 0xFF, sizeof block);
    CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, NULL), 0);
    CHECK(block.release == NULL);
    fb__arrow_release_stream(&stream);
    CHECK_EQUAL(fixture_live, 0);
}

static void a_failing_stream_is_quoted(void)
{
    static char long_text[3000];
    memset(long_text, 'y', sizeof long_text - 1);
    static const struct {
        int code, expected;
        const char *text, *shown;
    } cases[] = {
        {EIO, EIO, "disk on fire", "failed: disk on fire"},
        {ENOMEM, ENOMEM, "no more", "failed: no more"},
        {ECANCELED, ECANCELED, "stopped", "failed: stopped"},
        {-EINVAL, EIO, "turned round", "failed: turned round"},
        {INT_MIN, EIO, "far off", "failed: far off"},
        {EAGAIN, EIO, "later", "failed: later"},
        {EINTR, EIO, "signal", "failed: signal"},
        {ETIMEDOUT, EIO, "slow", "failed: slow"},
        {EDEADLK, EIO, "locked", "failed: locked"},
        {ENOSYS, ENOSYS, NULL, "gave code 38 and no message"},
        {EIO, EIO, "", "gave code 5 and no message"},
        {EIO, EIO, "caf\xe9 \xc3\xa4", "failed: caf? \xc3\xa4"},
        {EIO, EIO, long_text, "failed: yyyy"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ArrowArrayStream stream = fixture_stream(fixture_schema("+s", ""), cases[i].code, cases[i].text);
        struct ArrowSchema schema = {.release = fixture_release_schema};
        struct ArrowArray block = {.release = fixture_release_array};
        struct fb_error error;
        CHECK_EQUAL(fb__arrow_stream_schema(&stream, &schema, &error), cases[i].expected);
        CHECK_CONTAINS(error.message, "schema");
        CHECK_CONTAINS(error.message, cases[i].shown);
        CHECK(schema.release == NULL);
        CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, &error), cases[i].expected);
        CHECK_CONTAINS(error.message, cases[i].shown);
        CHECK_EQUAL(error.code, cases[i].expected);
        CHECK(fb__text_is_utf8(error.message));
        CHECK(block.release == NULL);
        CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, NULL), cases[i].expected);
        stream.get_last_error = NULL;
        CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, &error), cases[i].expected);
        CHECK_CONTAINS(error.message, "no message");
        fb__arrow_release_stream(&stream);
    }
}

static int write_schema_and_fail(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    (void)stream;
    out->release = fixture_release_schema;
    return EIO;
}

static int write_block_and_fail(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    (void)stream;
    out->release = fixture_release_array;
    return EIO;
}

static void what_a_failing_stream_wrote_is_not_released(void)
{
    struct ArrowArrayStream stream = fixture_stream(fixture_schema("+s", ""), 0, "half-way");
    stream.get_schema = write_schema_and_fail;
    stream.get_next = write_block_and_fail;
    struct ArrowSchema schema;
    struct ArrowArray block;
    CHECK_EQUAL(fb__arrow_stream_schema(&stream, &schema, NULL), EIO);
    CHECK(schema.release == NULL);
    CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, NULL), EIO);
    CHECK(block.release == NULL);
    fb__arrow_release_stream(&stream);
}

static void a_released_stream_or_schema_is_invalid(void)
{
    struct ArrowArrayStream stream = fixture_stream((struct ArrowSchema){.release = NULL}, 0, NULL);
    struct ArrowSchema schema;
    struct ArrowArray block;
    CHECK_EQUAL(fb__arrow_stream_schema(&stream, &schema, NULL), EINVAL);
    fb__arrow_release_stream(&stream);
    CHECK_EQUAL(fb__arrow_stream_schema(&stream, &schema, NULL), EINVAL);
    CHECK_EQUAL(fb__arrow_stream_next(&stream, &block, NULL), EINVAL);
    CHECK(block.release == NULL);
}

static void check_mismatch(const struct bench *bench, struct ArrowSchema schema, const char *text)
{
    static const uint32_t columns[] = {COUNT, VECTOR};
    struct fb_error error;
    CHECK_EQUAL(fb__arrow_check_stream_schema(&bench->layout, columns, 2, &schema, &error), EINVAL);
    CHECK_CONTAINS(error.message, text);
    fb__arrow_release_schema(&schema);
}

static struct ArrowSchema pair(struct ArrowSchema first, struct ArrowSchema second)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, first);
    fixture_add_field(&schema, second);
    return schema;
}

static void a_streams_schema_has_the_formats_of_the_chosen_columns(void)
{
    struct bench bench;
    make_bench(&bench);
    struct ArrowSchema schema = make_schema();
    CHECK_EQUAL(fb__arrow_check_stream_schema(&bench.layout, NULL, COLUMN_COUNT, &schema, NULL), 0);
    fb__arrow_release_schema(&schema);
    CHECK_EQUAL(fb__arrow_check_stream_schema(&bench.layout, NULL, COLUMN_COUNT, &schema, NULL), EINVAL);

    /* Names and nullability are the stream's own business. */
    schema = pair(fixture_schema("i", NULL), fixture_list_schema("f", 3, "other"));
    schema.children[0]->flags = 0;
    CHECK_EQUAL(fb__arrow_check_stream_schema(&bench.layout, (const uint32_t[]){COUNT, VECTOR}, 2, &schema, NULL), 0);
    fb__arrow_release_schema(&schema);

    check_mismatch(&bench, pair(fixture_schema("I", "count"), fixture_list_schema("f", 3, "vector")),
                   "column 'count' has format \"I\" in the stream and \"i\" in the schema");
    check_mismatch(&bench, pair(fixture_schema("i", "count"), fixture_list_schema("f", 4, "vector")),
                   "column 'vector' has format \"+w:4\" in the stream and \"+w:3\" in the schema");
    check_mismatch(&bench, pair(fixture_schema("i", "count"), fixture_list_schema("i", 3, "vector")),
                   "column 'vector' has list elements of format \"i\" in the stream and \"f\" in the schema");
    check_mismatch(&bench, pair(fixture_schema("i", "count"), fixture_schema("+w:3", "vector")),
                   "another number of children");
    check_mismatch(&bench, pair(fixture_schema("tsn:\xe9", "count"), fixture_list_schema("f", 3, "vector")),
                   "format \"not UTF-8\"");
    check_mismatch(&bench, fixture_schema("+s", ""), "gives 0 columns where 2 were asked for");
    schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("i", "count"));
    check_mismatch(&bench, schema, "gives 1 columns where 2 were asked for");
    check_mismatch(&bench, make_schema(), "gives 5 columns where 2 were asked for");
    check_mismatch(&bench, fixture_schema("i", ""), "does not give record batches");

    schema = pair(fixture_schema("i", "count"), fixture_list_schema("f", 3, "vector"));
    fixture_set_dictionary(schema.children[0], fixture_schema("u", ""));
    check_mismatch(&bench, schema, "column 'count' has dictionary-encoded values in the stream and plain ones");
    schema = pair(fixture_schema("i", "count"), fixture_list_schema("f", 3, "vector"));
    schema.children[0]->release(schema.children[0]);
    check_mismatch(&bench, schema, "column 'count'");
    schema = pair(fixture_schema("i", "count"), fixture_list_schema("f", 3, "vector"));
    fixture_set_dictionary(schema.children[1]->children[0], fixture_schema("u", ""));
    check_mismatch(&bench, schema, "column 'vector'");
    drop_bench(&bench);
}

static void release_happens_once_and_marks(void)
{
    int64_t releases = fixture_releases;
    struct ArrowSchema schema = make_schema();
    struct ArrowArray block = make_block();
    struct ArrowArrayStream stream = fixture_stream(fixture_schema("+s", ""), 0, NULL);
    int64_t made = fixture_live;
    for (int i = 0; i < 2; i++) {
        fb__arrow_release_schema(&schema);
        fb__arrow_release_array(&block);
        fb__arrow_release_stream(&stream);
        CHECK(schema.release == NULL && block.release == NULL && stream.release == NULL);
    }
    CHECK_EQUAL(fixture_releases - releases, made);
    CHECK_EQUAL(fixture_live, 0);
    fb__arrow_release_schema(NULL);
    fb__arrow_release_array(NULL);
    fb__arrow_release_stream(NULL);
}

static int lazy_releases;
static void lazy_release_array(struct ArrowArray *array)
{
    (void)array, lazy_releases++;
}
static void lazy_release_schema(struct ArrowSchema *schema)
{
    (void)schema, lazy_releases++;
}
static void lazy_release_stream(struct ArrowArrayStream *stream)
{
    (void)stream, lazy_releases++;
}

static void a_producer_that_forgets_to_mark_is_not_called_twice(void)
{
    struct ArrowArray array = {.release = lazy_release_array};
    struct ArrowSchema schema = {.release = lazy_release_schema};
    struct ArrowArrayStream stream = {.release = lazy_release_stream};
    for (int i = 0; i < 2; i++) {
        fb__arrow_release_array(&array);
        fb__arrow_release_schema(&schema);
        fb__arrow_release_stream(&stream);
    }
    CHECK_EQUAL(lazy_releases, 3);
}

int main(void)
{
    RUN(release_happens_once_and_marks);
    RUN(a_producer_that_forgets_to_mark_is_not_called_twice);
    RUN(a_stream_gives_its_schema_its_blocks_and_an_end);
    RUN(a_failing_stream_is_quoted);
    RUN(what_a_failing_stream_wrote_is_not_released);
    RUN(a_released_stream_or_schema_is_invalid);
    RUN(a_streams_schema_has_the_formats_of_the_chosen_columns);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
