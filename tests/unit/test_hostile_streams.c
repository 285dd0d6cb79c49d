/*
 * Tests of the whole library against broken Arrow streams: each way for a stream to misbehave, as the stream of a unit,
 * as one that a callback opens, and as a source of its own. It is released once, and never asked again after its end or
 * an error.
 */
#include <limits.h>

#include "hostile_bench.h"

#define BLOCK_ROWS 5

struct wild {
    int blocks;      /* good ones, then: */
    int code;        /* get_next fails so; 0: the end */
    int schema_code; /* get_schema fails so */
    const char *text;
    bool is_mute;         /* there is no get_last_error */
    bool has_no_get_schema, has_no_get_next;
    bool leaves_a_schema; /* get_schema gives none and says that all is well */
    bool writes_and_fails;
    bool gives_a_column_more, gives_a_column_less, gives_a_negative_block, gives_its_schema_as_a_block;
    bool forgets_to_mark; /* that it was released */
};

struct wild_state {
    const struct wild *wild;
    struct ArrowSchema schema; /* what its blocks are made by */
    struct maker maker;
    int given, releases, asked_after_the_end, live;
    bool is_over;
};

static int wild_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct wild_state *state = stream->private_data;
    if (state->wild->schema_code) {
        /* What a failing call leaves in the struct is nobody's. */
        if (state->wild->writes_and_fails) memset(out, 0xA5, sizeof *out);
        return state->wild->schema_code;
    }
    if (state->wild->leaves_a_schema) return 0;
    *out = maker_column_schema("+s(a=u;b=i)");
    return 0;
}

static int wild_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct wild_state *state = stream->private_data;
    const struct wild *wild = state->wild;
    state->asked_after_the_end += state->is_over;
    if (state->given == wild->blocks) {
        state->is_over = true;
        if (wild->writes_and_fails) memset(out, 0xA5, sizeof *out);
        if (wild->code == 0) out->release = NULL;
        return wild->code;
    }
    bool is_last = ++state->given == wild->blocks;
    *out = maker_block(&state->maker, &state->schema, BLOCK_ROWS);
    if (is_last && wild->gives_a_column_more)
        fixture_add_child(out, maker_array(&state->maker, state->schema.children[0], maker_slots(out)));
    if (is_last && wild->gives_a_column_less) out->n_children = 0;
    if (is_last && wild->gives_a_negative_block) out->length = INT64_MIN;
    if (is_last && wild->gives_its_schema_as_a_block) {
        struct ArrowArray child = *out->children[0]; /* the column where the block should be */
        out->children[0]->release = NULL;
        out->release(out);
        *out = child;
    }
    return 0;
}

static const char *wild_error(struct ArrowArrayStream *stream)
{
    const struct wild_state *state = stream->private_data;
    return state->wild->text;
}

static void wild_release(struct ArrowArrayStream *stream)
{
    struct wild_state *state = stream->private_data;
    state->releases++;
    if (!state->wild->forgets_to_mark) stream->release = NULL;
}

static int wild_open_pull(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct wild_state *state = context;
    (void)error;
    *out = (struct ArrowArrayStream){.get_schema = state->wild->has_no_get_schema ? NULL : wild_schema,
                                     .get_next = state->wild->has_no_get_next ? NULL : wild_next,
                                     .get_last_error = state->wild->is_mute ? NULL : wild_error,
                                     .release = wild_release,
                                     .private_data = state};
    state->live++;
    return 0;
}

static int wild_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t piece_rows,
                     struct ArrowArrayStream *out, struct fb_error *error)
{
    (void)unit, (void)columns, (void)piece_rows;
    CHECK_EQUAL(column_count, 1);
    return wild_open_pull(context, out, error);
}

enum door { UNIT, PULLED, WHOLE, DOOR_COUNT };

static int make_source(enum door door, struct wild_state *state, struct fb_source **source, struct fb_error *error)
{
    static const struct fb_stream_source_callbacks unit_callbacks = {.open = wild_open};
    static const struct fb_pull_source_callbacks pull_callbacks = {.open = wild_open_pull};
    static const struct fb_stream_column_cost cost = {.weight = 1};
    const uint64_t unit_rows = (uint64_t)state->wild->blocks * BLOCK_ROWS + (state->wild->code != 0);
    if (door == UNIT)
        return fb_source_from_streams(&state->schema, &unit_rows, 1, &cost, &unit_callbacks, state, source, error);
    if (door == PULLED) return fb_source_from_pull(&state->schema, &pull_callbacks, state, source, error);
    struct ArrowArrayStream stream;
    CHECK_EQUAL(wild_open_pull(state, &stream, error), 0);
    int code = fb_source_from_stream(&stream, source, error);
    CHECK((stream.release != NULL) == (code != 0));
    CHECK_EQUAL(state->releases, 0);
    if (code) stream.release(&stream);
    return code;
}

/* Reads the epoch to its end: every row of the good blocks is given out before the error where batches are so small. */
static int drive(const struct wild *wild, enum door door, enum fb_storage storage, uint64_t batch_rows, uint64_t *rows,
                 struct fb_error *error)
{
    struct wild_state state = {.wild = wild, .schema = maker_column_schema("+s(a=u;b=i)")};
    state.maker = (struct maker){.dice = {.state = batch_rows}, .most_offset = 2, .most_elements = 3};
    const struct fb_loader_options options = {.batch_rows = batch_rows,
                                              .memory_limit_bytes = HOSTILE_LIMIT_BYTES,
                                              .prefetch_batches = 2,
                                              .thread_count = 2,
                                              .preserve_order = true,
                                              .storage = storage};
    struct fb_source *source;
    struct fb_loader *loader;
    *rows = 0;
    int code = make_source(door, &state, &source, error);
    if (code == 0) {
        CHECK_EQUAL(fb_loader_create(&options, source, &loader, error), 0);
        CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, error), 0);
        for (;;) {
            struct fb_batch *batch;
            code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, error);
            if (code != 0 || batch == NULL) break;
            *rows += fb_batch_rows(batch);
            fb_batch_release(batch);
        }
        struct fb_stats stats;
        CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
        CHECK_EQUAL(stats.charged_bytes, 0);
    }
    CHECK_EQUAL(state.releases, state.live);
    CHECK_EQUAL(state.asked_after_the_end, 0);
    state.schema.release(&state.schema);
    CHECK_EQUAL(fixture_live, 0);
    return code;
}

static char long_text[100001]; /* letters of two bytes, from an odd place on */

static const struct {
    const char *name;
    struct wild wild;
    int code;         /* what must come of it */
    const char *text; /* in the message */
} ways[] = {
    {"nothing_is_wrong", {.blocks = 4}, 0, ""},
    {"there_are_no_blocks", {.blocks = 0}, 0, ""},
    {"the_end_comes_with_a_spoilt_struct", {.blocks = 2, .writes_and_fails = true}, 0, ""},
    {"release_does_not_mark", {.blocks = 2, .forgets_to_mark = true}, 0, ""},
    {"the_first_block_fails", {.code = EIO, .text = "disk on fire"}, EIO, "disk on fire"},
    {"a_block_in_the_middle_fails", {.blocks = 3, .code = EIO, .text = "disk on fire"}, EIO, "disk on fire"},
    {"a_failing_block_is_written",
     {.blocks = 1, .code = EIO, .text = "half-way", .writes_and_fails = true},
     EIO,
     "half-way"},
    {"an_error_has_no_message", {.blocks = 2, .code = ENOSYS}, ENOSYS, "no message"},
    {"an_error_has_an_empty_message", {.blocks = 2, .code = EIO, .text = ""}, EIO, "no message"},
    {"errors_cannot_be_asked_for", {.blocks = 2, .code = EIO, .is_mute = true}, EIO, "no message"},
    {"an_error_is_not_utf8", {.blocks = 2, .code = EIO, .text = "caf\xe9 \xc3\xa4"}, EIO, "caf? \xc3\xa4"},
    {"an_error_ends_in_half_a_letter", {.blocks = 2, .code = EIO, .text = "caf\xc3"}, EIO, "caf?"},
    {"an_error_looks_like_a_format", {.blocks = 2, .code = EIO, .text = "%s%n%1000000d"}, EIO, "%s%n%1000000d"},
    {"a_code_is_negative", {.blocks = 2, .code = -EINVAL, .text = "turned"}, EIO, "turned"},
    {"a_code_is_the_least", {.blocks = 2, .code = INT_MIN, .text = "far"}, EIO, "far"},
    {"a_code_says_to_try_again", {.blocks = 2, .code = EAGAIN, .text = "later"}, EIO, "later"},
    {"a_code_says_interrupted", {.blocks = 2, .code = EINTR, .text = "signal"}, EIO, "signal"},
    {"an_error_is_long", {.blocks = 2, .code = EIO, .text = long_text}, EIO, "\xc3\xa4\xc3\xa4\xc3\xa4"},
    {"a_code_says_too_late", {.blocks = 2, .code = ETIMEDOUT, .text = "late"}, EIO, "late"},
    {"a_code_says_stuck", {.blocks = 2, .code = EDEADLK, .text = "stuck"}, EIO, "stuck"},
    {"a_code_says_no_room", {.blocks = 2, .code = ENOBUFS, .text = "full"}, EIO, "full"},
    {"a_code_says_cancelled", {.blocks = 2, .code = ECANCELED, .text = "stopped"}, EIO, "stopped"},
    {"the_schema_fails", {.schema_code = EIO, .text = "no schema"}, EIO, "no schema"},
    {"a_failing_schema_is_written",
     {.schema_code = EIO, .text = "no schema", .writes_and_fails = true},
     EIO,
     "no schema"},
    {"the_schema_fails_without_a_word", {.schema_code = EIO, .is_mute = true}, EIO, "no message"},
    {"get_schema_is_missing", {.blocks = 2, .has_no_get_schema = true}, EINVAL, "no get_schema"},
    {"get_next_is_missing", {.blocks = 2, .code = EIO, .has_no_get_next = true}, EINVAL, "no get_next"},
    {"there_is_no_schema", {.leaves_a_schema = true}, EINVAL, "schema"},
    {"a_block_has_a_column_more", {.blocks = 3, .gives_a_column_more = true}, EINVAL, ""},
    {"a_block_has_no_column", {.blocks = 3, .gives_a_column_less = true}, EINVAL, ""},
    {"a_block_has_negative_rows", {.blocks = 3, .gives_a_negative_block = true}, EINVAL, ""},
    {"a_column_stands_where_a_block_should", {.blocks = 3, .gives_its_schema_as_a_block = true}, EINVAL, ""},
};

static void each_way_for_a_stream_to_misbehave_is_told(void)
{
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        printf("    %s\n", ways[way].name);
        fflush(stdout);
        for (int run = 0; run < DOOR_COUNT * 2 * 4; run++) {
            static const uint64_t batch_rows[] = {1, 3, BLOCK_ROWS, 100};
            enum door door = (enum door)(run % DOOR_COUNT);
            enum fb_storage storage = run / DOOR_COUNT % 2 ? FB_STORAGE_ARROW : FB_STORAGE_DENSE;
            uint64_t size = batch_rows[run / DOOR_COUNT / 2], rows;
            struct fb_error error;
            /* A unit that is to have no rows is not opened. */
            if (door == UNIT && ways[way].wild.blocks == 0 && ways[way].wild.code == 0) continue;
            int code = drive(&ways[way].wild, door, storage, size, &rows, &error);
            if (code != ways[way].code) fprintf(stderr, "way %d: %s\n", (int)way, code ? error.message : "no error");
            CHECK_EQUAL(code, ways[way].code);
            uint64_t good = (uint64_t)ways[way].wild.blocks * BLOCK_ROWS;
            CHECK(rows <= good);
            if (code == 0) {
                CHECK_EQUAL(rows, good);
            } else {
                CHECK_EQUAL(error.code, code);
                CHECK_CONTAINS(error.message, ways[way].text);
                CHECK(fb__text_is_utf8(error.message));
            }
        }
    }
}

int main(void)
{
    long_text[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof long_text; i += 2) memcpy(long_text + i, "\xc3\xa4", 2);
    RUN(each_way_for_a_stream_to_misbehave_is_told);
    return 0;
}
