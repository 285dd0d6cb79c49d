/* White-box test of src/source: streams that behave and streams that do not, blocks in memory, what is released when. */
#include "source/source.h"

#include "pool_fixture.h"

#define UNIT_NUMBER 10000 /* row r of unit u holds number u * UNIT_NUMBER + r in its int64, and that string */

/* ---- blocks made of numbers ---- */

static struct ArrowArray numbers(uint64_t first, uint64_t count, int64_t null_at)
{
    struct ArrowArray array = fixture_array((int64_t)count, 0, null_at >= 0, 2);
    if (null_at >= 0) {
        uint8_t *valid = fixture_add_buffer(&array, 0, count / 8 + 1, 0);
        memset(valid, 0xFF, count / 8 + 1);
        valid[null_at / 8] = (uint8_t)(0xFF ^ 1 << null_at % 8);
    }
    int64_t *values = (int64_t *)(void *)fixture_add_buffer(&array, 1, count * 8, 0);
    for (uint64_t i = 0; i < count; i++) values[i] = (int64_t)(first + i);
    return array;
}

static struct ArrowArray strings(uint64_t first, uint64_t count)
{
    struct ArrowArray array = fixture_array((int64_t)count, 0, 0, 3);
    int32_t *offsets = (int32_t *)(void *)fixture_add_buffer(&array, 1, (count + 1) * 4, 0);
    char *text = (char *)fixture_add_buffer(&array, 2, count * FIXTURE_TEXT_MAX, 0);
    offsets[0] = 0;
    for (uint64_t i = 0; i < count; i++)
        offsets[i + 1] = offsets[i] + (int32_t)fixture_string(first + i, text + offsets[i]);
    return array;
}

/* columns: of the schema int64 and string, ascending. */
static struct ArrowArray block_of(const uint32_t *columns, uint32_t column_count, uint64_t first, uint64_t count,
                                  int64_t null_at)
{
    struct ArrowArray block = fixture_array((int64_t)count, 0, 0, 1);
    for (uint32_t i = 0; i < column_count; i++)
        fixture_add_child(&block, columns[i] == 0 ? numbers(first, count, null_at) : strings(first, count));
    return block;
}

/* ---- a source of streams that do what a script says ---- */

struct script {
    uint64_t block_rows[8]; /* of every unit */
    int block_count;
    int64_t null_at;        /* row of the last block that is null, -1: none */
    int end_code;           /* of get_next after the blocks */
    int open_code;
    bool is_open_mute;      /* open fails without a word */
    bool is_open_empty;     /* open succeeds and gives no stream */
    const char *formats;    /* of the stream, where it is not what was announced */
    uint64_t allocated_bytes;
    int open_count, release_count;
    struct fb__open_request asked; /* of the last open */
};

static int script_open(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                       uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct script *script = context;
    script->open_count++;
    script->asked = (struct fb__open_request){
        .unit = unit, .columns = columns, .column_count = column_count, .piece_rows = piece_rows};
    if (script->open_code) {
        out->release = fixture_release_stream; /* a failed open gives nothing, whatever it wrote */
        return script->is_open_mute ? script->open_code : fb__fail(error, script->open_code, "no such file");
    }
    if (script->is_open_empty) return 0;
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (uint32_t i = 0; i < column_count; i++) {
        char format[2] = {script->formats ? script->formats[columns[i]] : "lu"[columns[i]], '\0'};
        fixture_add_field(&schema, fixture_schema(format, "any name"));
    }
    *out = fixture_stream(schema, 0, script->end_code ? "the disk is gone" : NULL);
    uint64_t row = 0;
    for (int i = 0; i < script->block_count; i++) {
        bool is_last = i == script->block_count - 1;
        fixture_add_block(out, block_of(columns, column_count, unit * UNIT_NUMBER + row, script->block_rows[i],
                                        is_last ? script->null_at : -1));
        row += script->block_rows[i];
    }
    return 0;
}

/* The fixture's code is for get_schema too: it is set once the schema was given. */
static int script_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    return fixture_stream_next(stream, out);
}

static int script_open_then_fail(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                                 uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error);

static struct script *schema_script; /* whose end_code a stream takes on with its schema */

static int script_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    int code = fixture_stream_schema(stream, out);
    ((struct fixture_stream_parts *)stream->private_data)->code = schema_script->end_code;
    return code;
}

static int script_open_then_fail(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                                 uint64_t piece_rows, struct ArrowArrayStream *out, struct fb_error *error)
{
    int code = script_open(context, unit, columns, column_count, piece_rows, out, error);
    if (code) return code;
    schema_script = context;
    out->get_schema = script_schema;
    out->get_next = script_next;
    return 0;
}

static uint64_t script_allocated(void *context)
{
    return ((struct script *)context)->allocated_bytes;
}

static void script_release(void *context)
{
    ((struct script *)context)->release_count++;
}

static const struct fb_stream_source_callbacks script_callbacks = {
    .open = script_open_then_fail, .allocated_bytes = script_allocated, .release = script_release};
static const struct fb_stream_column_cost script_costs[] = {{100, 8, 1}, {1000, 20, 3}};
static const uint32_t both_columns[] = {0, 1};

static struct script script_of(int block_count, const uint64_t *block_rows)
{
    struct script script = {.block_count = block_count, .null_at = -1};
    for (int i = 0; i < block_count; i++) script.block_rows[i] = block_rows[i];
    return script;
}

/* ---- a source with one cursor, a pool to fill, and a grant to pay ---- */

struct bench {
    struct fb_source *source;
    struct fb__pool *pool;
    struct fb__grant grant;
    union fb__cursor_room room;
    struct fb_batch *batch;
    uint64_t filled_rows;
    struct fb_error error;
    int64_t live_before; /* Arrow structs */
};

static void bench_take(struct bench *bench, struct fb_source *source, const char *formats, uint64_t batch_rows,
                       uint64_t limit_bytes)
{
    memset(bench, 0, sizeof *bench);
    bench->source = source;
    bench->pool = fixture_pool(formats, source->binary_row_bytes[1], batch_rows, FB_NULLS_ERROR, limit_bytes);
    bench->batch = fixture_take(bench->pool, 0, batch_rows);
    CHECK_EQUAL(fb__ledger_reserve(bench->pool->ledger, &bench->grant, FB_ACCOUNT_READ, 0, 1000, FB__NO_WAIT, NULL), 0);
}

static void bench_start(struct bench *bench, struct script *script, uint64_t unit_rows, uint64_t batch_rows)
{
    const uint64_t rows[] = {5, unit_rows};
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu");
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, rows, 2, script_costs, &script_callbacks, script, &source, &error), 0);
    schema.release(&schema);
    bench_take(bench, source, "lu", batch_rows, 1 << 20);
    bench->live_before = live_before;
}

static int bench_open(struct bench *bench, const uint32_t *columns, uint32_t column_count, uint64_t first_row)
{
    const struct fb__open_request request = {
        .unit = 1,
        .columns = columns,
        .column_count = column_count,
        .piece_rows = 64,
        .first_row = first_row,
        .layout = &bench->pool->layout,
        .ledger = bench->pool->ledger,
        .grant = &bench->grant,
    };
    return bench->source->ops->open(bench->source, &request, &bench->room, &bench->error);
}

static int bench_fill(struct bench *bench, uint64_t place, uint64_t row_count)
{
    bench->filled_rows = 99999;
    return bench->source->ops->fill(bench->source, &bench->room, bench->batch, place, row_count, &bench->filled_rows,
                                    &bench->error);
}

static void must_open(struct bench *bench, uint64_t first_row)
{
    int code = bench_open(bench, both_columns, 2, first_row);
    if (code) fprintf(stderr, "%s\n", bench->error.message);
    CHECK_EQUAL(code, 0);
}

static void must_fill(struct bench *bench, uint64_t place, uint64_t row_count)
{
    int code = bench_fill(bench, place, row_count);
    if (code) fprintf(stderr, "%s\n", bench->error.message);
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(bench->filled_rows, row_count);
}

static void bench_close_cursor(struct bench *bench)
{
    bench->source->ops->close(bench->source, &bench->room);
}

/* The fill failed with this code for this row (-1: none) of unit 1, and part of its text. */
static void check_failure(const struct bench *bench, int code, int expected_code, int64_t row, const char *text)
{
    CHECK_EQUAL(code, expected_code);
    CHECK_EQUAL(bench->error.code, expected_code);
    CHECK_EQUAL(bench->error.unit, 1);
    CHECK_EQUAL(bench->error.row, row);
    CHECK_CONTAINS(bench->error.message, text);
}

static void bench_end(struct bench *bench)
{
    fb__pool_return(bench->batch);
    fb__ledger_release(bench->pool->ledger, &bench->grant);
    fb__pool_release(bench->pool);
    fb_source_release(bench->source);
    CHECK_EQUAL(fixture_live, bench->live_before);
}

static void check_numbers(const struct fb_batch *batch, uint64_t first)
{
    const int64_t *values = (const int64_t *)(const void *)fb__batch_values(batch, 0);
    for (uint64_t row = 0; row < batch->row_count; row++) CHECK_EQUAL(values[row], first + row);
}

static void finish_and_check(struct bench *bench, uint64_t first)
{
    CHECK_EQUAL(fb__batch_finish(bench->batch, &bench->error), 0);
    check_numbers(bench->batch, UNIT_NUMBER + first);
    fixture_check_strings(bench->batch, 1, UNIT_NUMBER + first);
}

/* ---- filling from streams ---- */

static void rows_come_whatever_the_blocks_are(void)
{
    static const uint64_t scripts[][8] = {
        {100}, {1, 99}, {60, 40}, {0, 30, 0, 0, 69, 1, 0}, {20, 20, 20, 20, 20}, {99, 1, 0}};
    static const int counts[] = {1, 2, 2, 7, 5, 3};
    for (int i = 0; i < 6; i++) {
        for (uint64_t step = 1; step <= 100; step += 11) {
            struct script script = script_of(counts[i], scripts[i]);
            struct bench bench;
            bench_start(&bench, &script, 100, 100);
            must_open(&bench, 0);
            CHECK_EQUAL(script.asked.unit, 1);
            CHECK_EQUAL(script.asked.piece_rows, 64);
            CHECK_EQUAL(script.asked.column_count, 2);
            for (uint64_t row = 0; row < 100; row += step) must_fill(&bench, row, row + step < 100 ? step : 100 - row);
            /* The unit is over: block and stream are gone before the cursor is closed. */
            CHECK_EQUAL(fixture_live, bench.live_before);
            bench_close_cursor(&bench);
            finish_and_check(&bench, 0);
            CHECK_EQUAL(script.release_count, 0);
            bench_end(&bench);
            CHECK_EQUAL(script.release_count, 1);
        }
    }
}

static void columns_may_be_read_by_cursors_of_their_own(void)
{
    struct script script = script_of(2, (const uint64_t[]){70, 30});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    for (uint32_t column = 0; column < 2; column++) {
        CHECK_EQUAL(bench_open(&bench, &both_columns[column], 1, 0), 0);
        CHECK_EQUAL(script.asked.columns[0], column);
        must_fill(&bench, 0, 100);
        bench_close_cursor(&bench);
    }
    finish_and_check(&bench, 0);
    bench_end(&bench);
}

static void a_block_goes_with_its_last_row(void)
{
    struct script script = script_of(2, (const uint64_t[]){10, 90});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    /* Stream, and two blocks of two children each; the stream's schema is gone already. */
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3 + 3);
    must_fill(&bench, 0, 9);
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3 + 3);
    must_fill(&bench, 9, 1);
    CHECK_EQUAL(fixture_live - bench.live_before, 1 + 3);
    must_fill(&bench, 10, 1);
    bench_close_cursor(&bench);
    CHECK_EQUAL(fixture_live, bench.live_before);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_cursor_may_begin_inside_a_unit(void)
{
    static const uint64_t firsts[] = {1, 29, 30, 31, 60, 99};
    for (int i = 0; i < 6; i++) {
        struct script script = script_of(4, (const uint64_t[]){30, 0, 30, 40});
        struct bench bench;
        bench_start(&bench, &script, 100, 100 - firsts[i]);
        must_open(&bench, firsts[i]);
        must_fill(&bench, 0, 1);
        if (firsts[i] < 99) must_fill(&bench, 1, 99 - firsts[i]);
        bench_close_cursor(&bench);
        finish_and_check(&bench, firsts[i]);
        bench_end(&bench);
    }
}

static void a_unit_must_have_the_rows_announced(void)
{
    struct script fewer = script_of(2, (const uint64_t[]){60, 39});
    struct bench bench;
    bench_start(&bench, &fewer, 100, 100);
    must_open(&bench, 0);
    check_failure(&bench, bench_fill(&bench, 0, 100), EIO, 99, "only 99 rows where 100 were announced");
    CHECK_EQUAL(bench.filled_rows, 99);
    bench_close_cursor(&bench);
    bench_end(&bench);

    /* Too many in the last block, and in one after it. */
    struct script more = script_of(2, (const uint64_t[]){60, 41});
    bench_start(&bench, &more, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 50);
    check_failure(&bench, bench_fill(&bench, 50, 50), EIO, 60, "at least 101 rows where 100 were announced");
    CHECK_EQUAL(bench.filled_rows, 10);
    bench_close_cursor(&bench);
    bench_end(&bench);

    struct script later = script_of(3, (const uint64_t[]){100, 0, 7});
    bench_start(&bench, &later, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 99);
    check_failure(&bench, bench_fill(&bench, 99, 1), EIO, 100, "at least 107 rows where 100 were announced");
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_null_is_found_by_unit_and_row(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    script.null_at = 23;
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 7);
    check_failure(&bench, bench_fill(&bench, 0, 93), EIO, 83, "'c0'");
    CHECK_EQUAL(bench.filled_rows, 53);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void an_error_of_the_stream_is_passed_on_with_its_place(void)
{
    static const int codes[][2] = {{EIO, EIO},       {EACCES, EACCES}, {EAGAIN, EIO}, {ETIMEDOUT, EIO},
                                   {EDEADLK, EIO}, {ENOBUFS, EIO},   {-5, EIO}};
    for (int i = 0; i < 7; i++) {
        struct script script = script_of(1, (const uint64_t[]){60});
        script.end_code = codes[i][0];
        struct bench bench;
        bench_start(&bench, &script, 100, 100);
        must_open(&bench, 0);
        check_failure(&bench, bench_fill(&bench, 0, 100), codes[i][1], 60, "the disk is gone");
        CHECK_EQUAL(bench.filled_rows, 60);
        bench_close_cursor(&bench);
        bench_end(&bench);
        CHECK_EQUAL(script.release_count, 1);
    }
}

static void an_error_behind_the_last_row_counts(void)
{
    struct script script = script_of(1, (const uint64_t[]){100});
    script.end_code = EIO;
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 99);
    check_failure(&bench, bench_fill(&bench, 99, 1), EIO, 100, "the disk is gone");
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_malformed_block_is_refused(void)
{
    struct script script = script_of(1, (const uint64_t[]){100});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    struct ArrowArrayStream *stream = (struct ArrowArrayStream *)(void *)(bench.room.bytes +
                                                                          sizeof(struct fb__open_request));
    struct fixture_stream_parts *parts = stream->private_data;
    parts->blocks[0].children[1]->length = 99;
    check_failure(&bench, bench_fill(&bench, 0, 100), EINVAL, 0, "'c1'");
    CHECK_EQUAL(bench.filled_rows, 0);
    bench_close_cursor(&bench);
    bench_end(&bench);
}

static void a_unit_that_cannot_be_opened_leaves_nothing_open(void)
{
    struct script scripts[5];
    for (int i = 0; i < 5; i++) scripts[i] = script_of(1, (const uint64_t[]){100});
    scripts[0].open_code = ENOENT;
    scripts[1].open_code = EAGAIN;
    scripts[1].is_open_mute = true;
    scripts[2].is_open_empty = true;
    scripts[3].formats = "lz";
    scripts[4].formats = "iu";
    static const int codes[] = {ENOENT, EIO, EIO, EINVAL, EINVAL};
    static const char *const texts[] = {"no such file", "could not be opened", "no stream", "'c1'", "'c0'"};
    for (int i = 0; i < 5; i++) {
        struct bench bench;
        bench_start(&bench, &scripts[i], 100, 100);
        bench.error = (struct fb_error){.code = 12345, .message = "of another time"};
        check_failure(&bench, bench_open(&bench, both_columns, 2, 0), codes[i], -1, texts[i]);
        CHECK_EQUAL(fixture_live, bench.live_before);
        bench_end(&bench);
        CHECK_EQUAL(scripts[i].release_count, 1);
    }
}

/* ---- what the decoder holds ---- */

static void what_the_decoder_holds_is_booked(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    script.allocated_bytes = 700;
    must_fill(&bench, 0, 10);
    CHECK_EQUAL(bench.grant.booked_bytes, 1000);
    script.allocated_bytes = 4321;
    must_fill(&bench, 10, 90);
    CHECK_EQUAL(bench.grant.booked_bytes, 4321);
    CHECK_EQUAL(fixture_booked(bench.pool, FB_ACCOUNT_READ), 4321);
    CHECK_EQUAL(bench.source->foreign_peak_bytes, 0);
    bench_close_cursor(&bench);
    finish_and_check(&bench, 0);
    bench_end(&bench);
}

static void a_decoder_beyond_the_limit_is_let_go_and_goes_on_later(void)
{
    struct script script = script_of(2, (const uint64_t[]){60, 40});
    struct bench bench;
    bench_start(&bench, &script, 100, 100);
    must_open(&bench, 0);
    must_fill(&bench, 0, 50);
    script.allocated_bytes = (1 << 20) + 1000;
    uint64_t total_bytes = fb__ledger_total(bench.pool->ledger);
    check_failure(&bench, bench_fill(&bench, 50, 50), EAGAIN, 60, "more than the limit");
    CHECK_EQUAL(bench.filled_rows, 10);
    CHECK_EQUAL(bench.error.required_bytes, 1 << 20);
    CHECK_EQUAL(bench.error.limit_bytes, 1 << 20);
    CHECK_EQUAL(bench.source->foreign_peak_bytes, 1 << 20);
    CHECK_EQUAL(fixture_live, bench.live_before);
    CHECK_EQUAL(fb__ledger_total(bench.pool->ledger), total_bytes);
    bench_close_cursor(&bench);
    script.allocated_bytes = 0;
    must_open(&bench, 60);
    CHECK_EQUAL(script.open_count, 2);
    must_fill(&bench, 60, 40);
    bench_close_cursor(&bench);
    finish_and_check(&bench, 0);
    CHECK(bench.batch->homes[0].next == NULL);
    bench_end(&bench);
}

/* ---- making ---- */

static void a_refused_stream_source_leaves_the_context_with_the_caller(void)
{
    int64_t live_before = fixture_live;
    struct ArrowSchema schema = fixture_columns("lu"), decimals = fixture_columns("ld");
    struct script script = {0};
    const uint64_t rows[] = {1, UINT64_MAX};
    const struct fb_stream_column_cost weightless[] = {{0, 0, 1}, {0, 0, 0}};
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
    const struct fb_stream_column_cost costs[] = {{0, 8, 1}, {0, 20, 1}, {0, 12, 1}};
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
    CHECK_EQUAL(source->binary_row_bytes[0], 0);
    CHECK_EQUAL(source->binary_row_bytes[1], 20);
    CHECK_EQUAL(source->binary_row_bytes[2], 0);
    CHECK(source->owned_bytes > sizeof *source);
    fb_source_release(source);
    CHECK_EQUAL(script.release_count, 1);
    fb_source_release(NULL);
}

static void a_cursor_costs_what_its_columns_do(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    const struct fb_stream_column_cost costs[] = {{100, 8, 1}, {1000, UINT64_MAX / 10, 1}};
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
    CHECK_EQUAL(source->binary_row_bytes[0], 0);
    CHECK_EQUAL(source->binary_row_bytes[1], bytes / 140 + 1);
    CHECK_EQUAL(source->costs[1].row_bytes, bytes / 140 + 1);
    CHECK_EQUAL(source->costs[0].weight, 1);
    CHECK(!source->is_streamed);
    fb_source_release(source);
    CHECK_EQUAL(fb_source_from_blocks(&schema, NULL, 0, &source, &error), 0);
    CHECK_EQUAL(source->unit_count, 0);
    CHECK_EQUAL(source->binary_row_bytes[1], 0);
    fb_source_release(source);
    CHECK_EQUAL(fb_source_from_blocks(&schema, NULL, 1, &source, &error), EINVAL);
    schema.release(&schema);
}

static void a_null_in_a_block_is_found_by_unit_and_row(void)
{
    struct ArrowSchema schema = fixture_columns("lu");
    int64_t live_before = fixture_live;
    struct ArrowArray blocks[2] = {block_of(both_columns, 2, 0, 5, -1),
                                   block_of(both_columns, 2, UNIT_NUMBER, 50, 31)};
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
    RUN(rows_come_whatever_the_blocks_are);
    RUN(columns_may_be_read_by_cursors_of_their_own);
    RUN(a_block_goes_with_its_last_row);
    RUN(a_cursor_may_begin_inside_a_unit);
    RUN(a_unit_must_have_the_rows_announced);
    RUN(a_null_is_found_by_unit_and_row);
    RUN(an_error_of_the_stream_is_passed_on_with_its_place);
    RUN(an_error_behind_the_last_row_counts);
    RUN(a_malformed_block_is_refused);
    RUN(a_unit_that_cannot_be_opened_leaves_nothing_open);
    RUN(what_the_decoder_holds_is_booked);
    RUN(a_decoder_beyond_the_limit_is_let_go_and_goes_on_later);
    RUN(a_refused_stream_source_leaves_the_context_with_the_caller);
    RUN(a_source_has_a_schema_of_its_own);
    RUN(a_cursor_costs_what_its_columns_do);
    RUN(blocks_are_units_that_are_read_where_they_are);
    RUN(strings_of_blocks_are_estimated_from_all_of_their_rows);
    RUN(a_null_in_a_block_is_found_by_unit_and_row);
    RUN(refused_blocks_stay_with_the_caller);
    return 0;
}
