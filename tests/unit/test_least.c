/*
 * A loader at its least memory where the estimate of its strings is exact: every text has the same length. Whatever the
 * units are like and whichever thread comes first, no epoch may be refused. Usage: test_least [seed [rounds]]
 */
#include "../stress/scripted_source.h"
#include "arrow_fixtures.h"
#include "base/clock.h"
#include "loader/plan.h"

#define UNITS_MOST 200

static const uint32_t all_columns[SCRIPT_COLUMNS] = {0, 1};

struct round {
    struct script script;
    uint64_t unit_rows[UNITS_MOST];
    uint64_t unit_count;
    bool is_in_memory;
    struct fb_loader_options options;
    uint64_t least_bytes;
};

static int make_blocks(struct round *round, const struct ArrowSchema *schema, struct fb_source **out)
{
    struct ArrowArray blocks[UNITS_MOST];
    struct fb_error error;
    for (uint64_t unit = 0; unit < round->unit_count; unit++) {
        struct ArrowArrayStream stream;
        CHECK_EQUAL(script_open(&round->script, unit, all_columns, 2, UINT64_MAX, &stream, NULL), 0);
        CHECK_EQUAL(stream.get_next(&stream, &blocks[unit]), 0);
        stream.release(&stream);
    }
    return fb_source_from_blocks(schema, blocks, round->unit_count, out, &error);
}

static int make_source(struct round *round, struct fb_source **out)
{
    uint64_t text_bytes = round->script.text_bytes;
    const struct fb_stream_column_cost costs[SCRIPT_COLUMNS] = {
        {.row_bytes = 8, .weight = 8},
        {.row_bytes = 4 + text_bytes, .string_bytes = text_bytes, .weight = 24},
    };
    const struct fb_stream_source_callbacks callbacks = {.open = script_open};
    struct ArrowSchema schema;
    struct fb_error error;
    script_schema(all_columns, 2, &schema);
    int code = round->is_in_memory ? make_blocks(round, &schema, out)
                                   : fb_source_from_streams(&schema, round->unit_rows, round->unit_count, costs,
                                                            &callbacks, &round->script, out, &error);
    schema.release(&schema);
    return code;
}

static int create(struct round *round, uint64_t limit_bytes, struct fb_loader **loader, struct fb_error *error)
{
    struct fb_source *source;
    CHECK_EQUAL(make_source(round, &source), 0);
    round->options.memory_limit_bytes = limit_bytes;
    int code = fb_loader_create(&round->options, source, loader, error);
    if (code) fb_source_release(source);
    return code;
}

static void check_batch(const struct round *round, const struct fb_batch *batch)
{
    struct fb_column column;
    fb_batch_column(batch, 0, &column);
    uint64_t first_row = fb_batch_index(batch) * round->options.batch_rows;
    const int64_t *numbers = column.values;
    for (uint64_t i = 0; i < fb_batch_rows(batch); i++) CHECK_EQUAL(numbers[i], script_number(first_row + i));
    fb_batch_column(batch, 1, &column);
    const int32_t *offsets = column.offsets;
    const char *text = column.values;
    for (uint64_t i = 0; i <= fb_batch_rows(batch); i++)
        CHECK_EQUAL((uint64_t)offsets[i], i * round->script.text_bytes);
    for (int32_t i = 0; i < offsets[fb_batch_rows(batch)]; i++) CHECK(text[i] == 't');
}

/* As a for loop has it: one batch is held while the next is fetched. */
static void run_epoch(struct round *round, struct fb_loader *loader)
{
    struct fb_batch *held = NULL, *batch;
    struct fb_error error;
    uint64_t rows = 0;
    int code;
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
    while ((code = fb_loader_next(loader, fb__clock_ns() + 30 * FB__SECOND_NS, false, &batch, &error)) == 0 && batch) {
        check_batch(round, batch);
        rows += fb_batch_rows(batch);
        fb_batch_release(held);
        held = batch;
    }
    fb_batch_release(held);
    if (code)
        fprintf(stderr,
                "%" PRIu64 " units, %s, batches of %" PRIu64 ", %" PRIu32 " threads, texts of %" PRIu64 ": %s\n",
                round->unit_count, round->is_in_memory ? "blocks" : "streams", round->options.batch_rows,
                round->options.thread_count, round->script.text_bytes, error.message);
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(rows, round->script.rows);
}

static void run_round(struct round *round)
{
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(create(round, 0, &loader, &error), ENOBUFS);
    round->least_bytes = error.required_bytes;
    CHECK_EQUAL(create(round, round->least_bytes, &loader, &error), 0);
    for (int epoch = 0; epoch < 3; epoch++) run_epoch(round, loader);
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL), 0);
    CHECK_EQUAL(atomic_load(&round->script.live_arrays), 0);
}

static uint64_t seed, round_count = 60;

/* most_unit_rows: of many small units, or of some whose rows come in several pieces. */
static void run_rounds(uint64_t most_unit_rows, uint64_t most_batch_rows, uint64_t most_text_bytes)
{
    for (uint64_t number = 0; number < round_count; number++) {
        struct dice dice = {seed + number};
        struct round *round = calloc(1, sizeof *round);
        CHECK(round != NULL);
        round->unit_count = 2 + dice_below(&dice, most_unit_rows > 100 ? 8 : UNITS_MOST - 1);
        for (uint64_t i = 0; i < round->unit_count; i++) round->unit_rows[i] = 1 + dice_below(&dice, most_unit_rows);
        script_init(&round->script, round->unit_rows, round->unit_count, true);
        round->script.text_bytes = 1 + dice_below(&dice, most_text_bytes);
        round->is_in_memory = dice_below(&dice, 2);
        round->options = (struct fb_loader_options){
            .batch_rows = 1 + dice_below(&dice, most_batch_rows),
            .prefetch_batches = 1 + (int64_t)dice_below(&dice, 4),
            .thread_count = 1 + (uint32_t)dice_below(&dice, 5),
            .preserve_order = dice_below(&dice, 2),
        };
        run_round(round);
        script_destroy(&round->script);
        free(round);
    }
}

static void many_small_units_fill_a_batch(void)
{
    run_rounds(4, 300, 127);
}

static void units_come_in_pieces(void)
{
    run_rounds(5000, 12000, 127);
}

int main(int argument_count, char **arguments)
{
    seed = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : fb__clock_ns();
    if (argument_count > 2) round_count = strtoull(arguments[2], NULL, 10);
    printf("  seed %" PRIu64 "\n", seed);
    RUN(many_small_units_fill_a_batch);
    RUN(units_come_in_pieces);
    return 0;
}
