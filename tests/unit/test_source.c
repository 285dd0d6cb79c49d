/* White-box test of src/source: making sources, what they own and cost; and blocks that are in memory already. */
#include "source_fixture.h"

/* ---- making ---- */

static void a_refused_stream_source_leaves_the_context_with_the_caller(void)
{
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu"), decimals = fixture_columns("ld");
    struct script script = {0};
    const uint64_t rows[] = {1, UINT64_MAX};
    const struct fb_stream_column_cost weightless[] = {{0, 0, 0, 1}, {0, 0, 0, 0}};
    const struct fb_stream_source_callbacks mute = {.release = script_release};
    const struct fb_stream_source_callbacks *callbacks = &script_callbacks;
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 1, script_costs, &mute, &script, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 1, script_costs, NULL, &script, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 1, NULL, callbacks, &script, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_streams(&schema, NULL, 1, script_costs, callbacks, &script, &source, &error), EINVAL);
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 2, script_costs, callbacks, &script, &source, &error), EINVAL);
    CHECK_CONTAINS(error.message, "unit 1");
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 1, weightless, callbacks, &script, &source, &error), EINVAL);
    CHECK_CONTAINS(error.message, "'c1'");
    CHECK_EQUAL(fb_source_from_streams(&decimals, rows, 1, script_costs, callbacks, &script, &source, &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "c1");
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__source_make_streams(&gate, &schema, rows, 1, script_costs, callbacks, &script, &source, &error),
                ENOMEM);
    CHECK_EQUAL(script.release_count, 0);
    schema.release(&schema);
    decimals.release(&decimals);
    CHECK_EQUAL(fixture_live, live_before);
}

static void a_source_has_a_schema_of_its_own(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    fixture_add_field(&schema, fixture_list_schema("f", 3, "pixels"));
    schema.children[0]->flags = 0;
    const struct fb_stream_column_cost costs[] = {{0, 8, 8, 1}, {0, 40, 20, 1}, {0, 12, 12, 1}};
    const uint64_t rows[] = {1, 2, 3};
    struct script script = {0};
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 3, costs, &script_callbacks, &script, &source, &error), 0);
    schema.release(&schema);
    CHECK_EQUAL(source->schema.n_children, 3);
    CHECK_TEXT(source->schema.format, "+s");
    CHECK_TEXT(source->schema.children[0]->format, "l");
    CHECK_EQUAL(source->schema.children[0]->flags, 0);
    CHECK_TEXT(source->schema.children[1]->name, "c1");
    CHECK_EQUAL(source->schema.children[1]->flags, ARROW_FLAG_NULLABLE);
    CHECK_TEXT(source->schema.children[2]->name, "pixels");
    CHECK_TEXT(source->schema.children[2]->format, "+w:3");
    CHECK_TEXT(source->schema.children[2]->children[0]->format, "f");
    CHECK_EQUAL(fb__layout_check_schema(&source->schema, &error), 0);
    CHECK_EQUAL(source->unit_count, 3);
    CHECK_EQUAL(source->unit_rows[2], 3);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][0], 0);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], 20);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][2], 0);
    CHECK(source->owned_bytes > sizeof *source);
    fb_source_release(source);
    CHECK_EQUAL(script.release_count, 1);
    fb_source_release(NULL);
}

static void a_cursor_costs_what_its_columns_do(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    const struct fb_stream_column_cost costs[] = {{100, 8, 0, 1}, {1000, UINT64_MAX / 10, 0, 1}};
    const uint64_t rows[] = {1};
    struct script script = {0};
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 1, costs, &script_callbacks, &script, &source, &error), 0);
    schema.release(&schema);
    CHECK_EQUAL(fb__source_cursor_bytes(source, both_columns, 1, 50), 100 + 8 * 50);
    CHECK_EQUAL(fb__source_cursor_bytes(source, both_columns, 2, 1), 1100 + 8 + UINT64_MAX / 10);
    CHECK(fb__source_cursor_bytes(source, both_columns, 2, 11) == UINT64_MAX);
    CHECK(fb__source_cursor_bytes(source, both_columns, 2, 10) == UINT64_MAX);
    CHECK_EQUAL(fb__source_cursor_bytes(source, both_columns, 0, 50), 0);
    source->is_streamed = false;
    CHECK_EQUAL(fb__source_cursor_bytes(source, both_columns, 2, 50), 0);
    fb_source_release(source);
}

/* ---- blocks in memory ---- */

static const uint64_t block_rows[] = {40, 0, 90, 10};

static void make_blocks(struct ArrowArray *blocks)
{
    for (uint64_t i = 0; i < 4; i++) {
        /* Every block is a slice: two rows before it are not its own. */
        blocks[i] = block_of(both_columns, 2, i * UNIT_NUMBER - (i > 0 ? 2 : 0), block_rows[i] + 2, -1);
        blocks[i].offset = i > 0 ? 2 : 0;
        blocks[i].length = (int64_t)block_rows[i];
    }
}

static void blocks_are_units_that_are_read_where_they_are(void)
{
    for (uint64_t first_row = 0; first_row < 90; first_row += 37) {
        int64_t live_before = fixture_live;
        struct ArrowSchema schema = fixture_columns("lu");
        struct ArrowArray blocks[4];
        make_blocks(blocks);
        struct fb_source *source;
        struct fb_error error;
        CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, 4, &source, &error), 0);
        schema.release(&schema);
        for (int i = 0; i < 4; i++) CHECK(blocks[i].release == NULL);
        CHECK_EQUAL(source->unit_count, 4);
        for (int i = 0; i < 4; i++) CHECK_EQUAL(source->unit_rows[i], block_rows[i]);
        CHECK_EQUAL(fb__source_cursor_bytes(source, both_columns, 2, 1000), 0);

        struct bench bench;
        bench_take(&bench, source, "lu", 90 - first_row, 1 << 20);
        bench.live_before = live_before;
        for (uint32_t column = 0; column < 2; column++) {
            struct fb__open_request request = {.unit = 2,
                                               .columns = &both_columns[column],
                                               .column_count = 1,
                                               .first_row = first_row,
                                               .layout = &bench.pool->layout};
            CHECK_EQUAL(source->ops->open(source, &request, &bench.room, &error), 0);
            must_fill(&bench, 0, 5);
            must_fill(&bench, 5, 85 - first_row);
            bench_close_cursor(&bench);
        }
        CHECK_EQUAL(fb__batch_finish(bench.batch, &error), 0);
        check_numbers(bench.batch, 2 * UNIT_NUMBER + first_row);
        fixture_check_strings(bench.batch, 1, 2 * UNIT_NUMBER + first_row);
        bench_end(&bench);
    }
}

static void strings_of_blocks_are_estimated_from_all_of_their_rows(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    struct ArrowArray blocks[4];
    make_blocks(blocks);
    uint64_t bytes = 0;
    char text[FIXTURE_TEXT_MAX];
    for (uint64_t i = 0; i < 4; i++)
        for (uint64_t row = 0; row < block_rows[i]; row++) bytes += fixture_string(i * UNIT_NUMBER + row, text);
    CHECK(bytes % 140 != 0);
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, 4, &source, &error), 0);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][0], 0);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], bytes / 140 + 1);
    CHECK_EQUAL(source->costs[1].string_bytes, bytes / 140 + 1);
    CHECK_EQUAL(source->costs[0].weight, 1);
    CHECK(!source->is_streamed);
    fb_source_release(source);
    /* Only the rows of a slice count: string number 2 and not the two before it. */
    blocks[0] = block_of(both_columns, 2, 0, 3, -1);
    blocks[0].offset = 2;
    blocks[0].length = 1;
    CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, 1, &source, &error), 0);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], fixture_string(2, text));
    fb_source_release(source);
    CHECK_EQUAL(fb_source_from_blocks(&schema, NULL, 0, &source, &error), 0);
    CHECK_EQUAL(source->unit_count, 0);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], 0);
    fb_source_release(source);
    CHECK_EQUAL(fb_source_from_blocks(&schema, NULL, 1, &source, &error), EINVAL);
    schema.release(&schema);
}

static void a_null_in_a_block_is_found_by_unit_and_row(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    int64_t live_before = fixture_live;
    struct ArrowArray blocks[2] = {block_of(both_columns, 2, 0, 5, -1), block_of(both_columns, 2, UNIT_NUMBER, 50, 31)};
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, 2, &source, &error), 0);
    struct bench bench;
    bench_take(&bench, source, "lu", 50, 1 << 20);
    bench.live_before = live_before;
    must_open(&bench, 10);
    must_fill(&bench, 0, 20);
    check_failure(&bench, bench_fill(&bench, 20, 20), EIO, 31, "'c0'");
    CHECK_EQUAL(bench.filled_rows, 0);
    bench_close_cursor(&bench);
    bench_end(&bench);
    schema.release(&schema);
}

static void refused_blocks_stay_with_the_caller(void)
{
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu");
    struct ArrowArray blocks[4];
    make_blocks(blocks);
    struct fb_source *source;
    struct fb_error error;
    blocks[2].children[1]->null_count = 1000;
    CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, 4, &source, &error), EINVAL);
    CHECK_EQUAL(error.unit, 2);
    CHECK_CONTAINS(error.message, "'c1'");
    blocks[2].children[1]->null_count = 0;

    struct fb__gate gate;
    int code = ENOMEM;
    int64_t failures = 0;
    for (int64_t after = 0; code != 0; after++) {
        fb__source_gate_init(&gate);
        fb__gate_fail_nth(&gate, after, 1);
        code = fb__source_make_blocks(&gate, &schema, blocks, 4, &source, &error);
        for (int i = 0; i < 4; i++) CHECK((blocks[i].release == NULL) == (code == 0));
        if (code) CHECK_EQUAL(code, ENOMEM);
        failures += code != 0;
    }
    CHECK(failures >= 2);
    fb_source_release(source);
    schema.release(&schema);
    CHECK_EQUAL(fixture_live, live_before);
}

int main(void)
{
    RUN(a_refused_stream_source_leaves_the_context_with_the_caller);
    RUN(a_source_has_a_schema_of_its_own);
    RUN(a_cursor_costs_what_its_columns_do);
    RUN(blocks_are_units_that_are_read_where_they_are);
    RUN(strings_of_blocks_are_estimated_from_all_of_their_rows);
    RUN(a_null_in_a_block_is_found_by_unit_and_row);
    RUN(refused_blocks_stay_with_the_caller);
    return 0;
}
