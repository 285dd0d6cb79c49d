/* White-box test of sources of unknown length: what the consumer sees of batches, blocks, bytes, errors and ends. */
#include "loader/loader.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "../stress/scripted_source.h"
#include "base/clock.h"
#include "check.h"

static struct fb_loader_options default_options(void)
{
    return (struct fb_loader_options){
        .batch_rows = 10, .memory_limit_bytes = 4 << 20, .prefetch_batches = 2, .thread_count = 3};
}

static struct fb_loader *make(struct script *script, const struct fb_loader_options *options)
{
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(script_pull_source(script, &source, &error), 0);
    int code = fb_loader_create(options, source, &loader, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    return loader;
}

static void begin(struct fb_loader *loader)
{
    struct fb_error error;
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
}

static struct fb_batch *next(struct fb_loader *loader)
{
    struct fb_batch *batch;
    struct fb_error error;
    int code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    return batch;
}

static void check_all_is_let_go(struct fb_loader *loader, struct script *script)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_end_epoch(loader, FB_NO_DEADLINE, NULL), 0);
    fb_loader_stats(loader, &stats);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_READ].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_BATCH].bytes, 0);
    CHECK(stats.peak_bytes <= stats.memory_limit_bytes);
    CHECK_EQUAL(atomic_load(&script->live_streams), 0);
    CHECK_EQUAL(atomic_load(&script->live_arrays), 0);
}

static void close_loader(struct fb_loader *loader, struct script *script)
{
    struct fb_stats stats;
    check_all_is_let_go(loader, script);
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
    CHECK_EQUAL(atomic_load(&script->releases), 1);
    script_destroy(script);
}

/* Takes batches in order up to the end of the epoch or an error. Returns its code; *batches: how many there were. */
static int run_epoch(struct fb_loader *loader, bool has_text, uint64_t *batches, uint64_t *rows, struct fb_error *error)
{
    uint64_t batch_rows = loader->plan.batch_rows;
    struct fb_batch *held = NULL; /* as a for loop does */
    begin(loader);
    *batches = *rows = 0;
    for (;;) {
        struct fb_batch *batch;
        int code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, error);
        if (code || !batch) {
            fb_batch_release(held);
            return code;
        }
        CHECK_EQUAL(fb_batch_index(batch), *batches);
        CHECK(script_check_batch(batch, batch_rows, has_text));
        (*batches)++;
        *rows += fb_batch_rows(batch);
        fb_batch_release(held);
        held = batch;
    }
}

/* Waits until the reader waits for a slot, or has ended. */
static void let_reader_settle(const struct fb_loader *loader)
{
    while (fb__stage_active_count(loader->epoch->stage) > 0) sched_yield();
}

/* ---- rows and batches ---- */

static void rows_come_in_order_whatever_the_blocks_are(void)
{
    static uint64_t blocks[][6] = {{7, 0, 95, 31, 0, 0}, {133}, {1, 1, 1, 130}, {10, 10, 20, 93}, {0, 0, 133}};
    for (int i = 0; i < 5; i++) {
        for (uint64_t batch_rows = 1; batch_rows <= 140; batch_rows += 13) {
            struct script script;
            script_init(&script, blocks[i], 6, true);
            struct fb_loader_options options = default_options();
            options.batch_rows = batch_rows;
            struct fb_loader *loader = make(&script, &options);
            struct fb_error error;
            uint64_t batches, rows;
            for (int epoch = 1; epoch <= 3; epoch++) {
                CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), 0);
                CHECK_EQUAL(rows, 133);
                CHECK_EQUAL(batches, (133 + batch_rows - 1) / batch_rows);
                CHECK_EQUAL(atomic_load(&script.opens), epoch);
                CHECK_EQUAL(atomic_load(&script.leaves), epoch);
                check_all_is_let_go(loader, &script);
            }
            close_loader(loader, &script);
        }
    }
}

static void without_batch_rows_every_block_that_has_rows_is_a_batch(void)
{
    uint64_t blocks[] = {0, 70, 0, 950, 3, 0, 70};
    const uint64_t starts[] = {0, 70, 1020, 1023, 1093};
    struct script script;
    script_init(&script, blocks, 7, true);
    struct fb_loader_options options = default_options();
    options.batch_rows = 0;
    struct fb_loader *loader = make(&script, &options);
    for (int epoch = 0; epoch < 2; epoch++) {
        begin(loader);
        for (uint64_t index = 0; index < 4; index++) {
            struct fb_batch *batch = next(loader);
            CHECK_EQUAL(fb_batch_index(batch), index);
            CHECK_EQUAL(fb_batch_rows(batch), starts[index + 1] - starts[index]);
            CHECK(script_check_rows(batch, starts[index], true));
            fb_batch_release(batch);
        }
        CHECK(next(loader) == NULL);
        check_all_is_let_go(loader, &script);
    }
    close_loader(loader, &script);
}

static void a_short_last_batch_is_left_out_where_asked(void)
{
    uint64_t blocks[] = {7, 28};
    for (uint64_t batch_rows = 1; batch_rows <= 40; batch_rows++) {
        struct script script;
        script_init(&script, blocks, 2, false);
        struct fb_loader_options options = default_options();
        options.batch_rows = batch_rows;
        options.drop_last = true;
        struct fb_loader *loader = make(&script, &options);
        struct fb_error error;
        uint64_t batches, rows;
        CHECK_EQUAL(run_epoch(loader, false, &batches, &rows, &error), 0);
        CHECK_EQUAL(batches, 35 / batch_rows);
        CHECK_EQUAL(rows, 35 / batch_rows * batch_rows);
        close_loader(loader, &script);
    }
}

static void a_stream_without_rows_is_an_epoch_without_batches(void)
{
    uint64_t blocks[] = {0, 0, 0};
    for (uint64_t count = 0; count <= 3; count += 3) {
        struct script script;
        script_init(&script, blocks, count, true);
        struct fb_loader_options options = default_options();
        struct fb_loader *loader = make(&script, &options);
        struct fb_error error;
        uint64_t batches, rows;
        for (int epoch = 0; epoch < 2; epoch++) {
            CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), 0);
            CHECK_EQUAL(batches, 0);
            CHECK_EQUAL(atomic_load(&script.pulls), (int64_t)count * (epoch + 1));
        }
        close_loader(loader, &script);
    }
}

static void what_is_not_known_is_said_so(void)
{
    uint64_t blocks[] = {100};
    struct script script;
    script_init(&script, blocks, 1, false);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    struct fb_plan plan;
    fb_loader_plan(loader, &plan);
    CHECK(plan.batches == FB_UNKNOWN && plan.rows == FB_UNKNOWN && plan.units == FB_UNKNOWN);
    CHECK_EQUAL(plan.thread_count, 1);
    CHECK(plan.least_memory_bytes > 2 * plan.batch_bytes && plan.batch_bytes > 80);
    close_loader(loader, &script);
}

/* ---- slots ---- */

static void nothing_is_pulled_that_nobody_has_asked_for(void)
{
    uint64_t blocks[20];
    for (int i = 0; i < 20; i++) blocks[i] = 10;
    for (int64_t prefetch = 0; prefetch <= 4; prefetch++) {
        struct script script;
        script_init(&script, blocks, 20, false);
        struct fb_loader_options options = default_options();
        options.prefetch_batches = prefetch;
        struct fb_loader *loader = make(&script, &options);
        begin(loader);
        CHECK_EQUAL(atomic_load(&script.opens), 0);
        for (int64_t taken = 1; taken <= 10; taken++) {
            fb_batch_release(next(loader));
            let_reader_settle(loader);
            CHECK_EQUAL(atomic_load(&script.pulls), taken + prefetch);
        }
        close_loader(loader, &script);
    }
}

static void leaving_in_the_middle_lets_stream_and_block_go(void)
{
    uint64_t blocks[] = {1000, 1000};
    for (int taken = 0; taken <= 150; taken += 15) {
        struct script script;
        script_init(&script, blocks, 2, true);
        struct fb_loader_options options = default_options();
        struct fb_loader *loader = make(&script, &options);
        begin(loader);
        for (int i = 0; i < taken; i++) fb_batch_release(next(loader));
        check_all_is_let_go(loader, &script);
        close_loader(loader, &script);
    }
}

/* ---- errors ---- */

static void the_batches_before_a_failure_come_first(void)
{
    uint64_t blocks[] = {25, 10, 40};
    static const struct {
        int given, seen;
    } codes[] = {{EIO, EIO},       {EINVAL, EINVAL}, {EAGAIN, EIO},    {ECANCELED, EIO}, {ENOBUFS, EIO},
                 {ENOMEM, ENOMEM}, {-3, EIO},        {ETIMEDOUT, EIO}, {EDEADLK, EIO}};
    for (int i = 0; i < 9; i++) {
        struct script script;
        script_init(&script, blocks, 3, true);
        script.fail_code = codes[i].given;
        struct fb_loader_options options = default_options();
        struct fb_loader *loader = make(&script, &options);
        struct fb_error error;
        uint64_t batches, rows;
        for (script.fail_row = 0; script.fail_row < 75; script.fail_row += 30) {
            CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), codes[i].seen);
            uint64_t before = script.fail_row == 0 ? 0 : script.fail_row < 35 ? 25 : 35; /* it fails a whole block */
            CHECK_EQUAL(batches, before / 10);
            CHECK_EQUAL(error.code, codes[i].seen);
            CHECK_EQUAL(error.unit, 0);
            CHECK_EQUAL(error.row, before);
            CHECK_CONTAINS(error.message, "is bad");
            struct fb_batch *batch;
            CHECK_EQUAL(fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, NULL), codes[i].seen);
            check_all_is_let_go(loader, &script);
        }
        script.fail_row = UINT64_MAX;
        CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), 0);
        CHECK_EQUAL(rows, 75);
        close_loader(loader, &script);
    }
}

static void a_stream_that_cannot_be_opened_fails_the_epoch(void)
{
    uint64_t blocks[] = {25};
    struct script script;
    script_init(&script, blocks, 1, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    struct fb_error error;
    uint64_t batches, rows;
    script.open_code = ENOENT;
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), ENOENT);
    CHECK_CONTAINS(error.message, "could not be opened");
    CHECK_EQUAL(error.unit, 0);
    script.open_code = ECANCELED; /* of its own; nobody here has stopped anything */
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), EIO);
    check_all_is_let_go(loader, &script);
    script.open_code = 0;
    script.has_text = false; /* the stream has a column less than was announced */
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), EINVAL);
    CHECK_CONTAINS(error.message, "1 columns where 2");
    close_loader(loader, &script);
}

static void a_reader_whose_thread_is_ended_is_an_error(void)
{
    uint64_t blocks[] = {25, 10};
    struct script script;
    script_init(&script, blocks, 2, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    struct fb_error error;
    uint64_t batches, rows;
    script.fail_row = 30;
    script.ends_thread = true;
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), EPIPE);
    CHECK_EQUAL(batches, 2);
    close_loader(loader, &script);
}

/* ---- bytes ---- */

static uint64_t least_bytes(struct script *script, struct fb_loader_options *options)
{
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(script_pull_source(script, &source, &error), 0);
    options->memory_limit_bytes = 1;
    CHECK_EQUAL(fb_loader_create(options, source, &loader, &error), ENOBUFS);
    fb_source_release(source);
    atomic_store(&script->releases, 0);
    return error.required_bytes;
}

static void a_block_that_does_not_fit_is_released_and_said_so(void)
{
    uint64_t blocks[] = {20, 50000, 20};
    const uint64_t block_bytes = 50000 * sizeof(int64_t);
    struct script script;
    script_init(&script, blocks, 3, false);
    struct fb_loader_options options = default_options();
    options.memory_limit_bytes = least_bytes(&script, &options) + block_bytes / 2;
    struct fb_loader *loader = make(&script, &options);
    struct fb_error error;
    uint64_t batches, rows;
    CHECK_EQUAL(run_epoch(loader, false, &batches, &rows, &error), ENOBUFS);
    CHECK_EQUAL(batches, 2);
    CHECK_EQUAL(error.unit, -1);
    CHECK_EQUAL(error.limit_bytes, options.memory_limit_bytes);
    CHECK(error.required_bytes > options.memory_limit_bytes);
    CHECK_CONTAINS(error.message, "a block of 400000 bytes (50000 rows)");
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK_EQUAL(stats.foreign_bytes, block_bytes - 20 * sizeof(int64_t));
    CHECK(stats.peak_bytes <= options.memory_limit_bytes);
    close_loader(loader, &script);

    /* What it says would do does. */
    options.memory_limit_bytes = error.required_bytes;
    for (int64_t prefetch = -1; prefetch <= 5; prefetch += 2) {
        script_init(&script, blocks, 3, false);
        options.prefetch_batches = prefetch;
        loader = make(&script, &options);
        CHECK_EQUAL(run_epoch(loader, false, &batches, &rows, &error), 0);
        CHECK_EQUAL(rows, 50040);
        fb_loader_stats(loader, &stats);
        CHECK_EQUAL(stats.foreign_bytes, 0);
        CHECK(stats.accounts[FB_ACCOUNT_READ].peak_bytes == block_bytes);
        close_loader(loader, &script);
    }
}

static void warm_buffers_give_way_to_a_larger_block(void)
{
    uint64_t blocks[] = {400, 10, 10, 30000, 10};
    struct script script;
    script_init(&script, blocks, 5, false);
    struct fb_loader_options options = default_options();
    options.batch_rows = 100;
    options.prefetch_batches = 0;
    options.memory_limit_bytes = least_bytes(&script, &options) + 30000 * sizeof(int64_t) + 100;
    struct fb_loader *loader = make(&script, &options);
    struct fb_error error;
    struct fb_batch *held[4];
    /* Batches that the user had, and gave back: warm ones fill what the large block needs. */
    begin(loader);
    for (int i = 0; i < 4; i++) held[i] = next(loader);
    for (int i = 0; i < 4; i++) fb_batch_release(held[i]);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.accounts[FB_ACCOUNT_POOL].bytes >= 4 * loader->plan.batch_bytes);
    uint64_t free_bytes = options.memory_limit_bytes - stats.charged_bytes;
    CHECK(free_bytes < 30000 * sizeof(int64_t));
    uint64_t rows = 400;
    struct fb_batch *batch;
    int code;
    while ((code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &error)) == 0 && batch) {
        rows += fb_batch_rows(batch);
        fb_batch_release(batch);
    }
    CHECK_EQUAL(code, 0);
    CHECK_EQUAL(rows, 30430);
    close_loader(loader, &script);
}

static void batches_ahead_leave_room_for_a_block(void)
{
    /* Batches ahead have taken all they may; then comes a block of three quarters of what is above the least. */
    uint64_t blocks[] = {14000, 30000, 10};
    struct script script;
    script_init(&script, blocks, 3, false);
    struct fb_loader_options options = default_options();
    options.prefetch_batches = 1000;
    options.batch_rows = 100;
    options.memory_limit_bytes = fb__source_pulled_limit(least_bytes(&script, &options), 30000 * sizeof(int64_t));
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *batch = next(loader);
    uint64_t rows = 100;
    fb_batch_release(batch);
    usleep(50000);
    while ((batch = next(loader))) {
        rows += fb_batch_rows(batch);
        fb_batch_release(batch);
    }
    CHECK_EQUAL(rows, 44010);
    close_loader(loader, &script);
}

static void who_holds_all_the_bytes_is_told_so_and_goes_on_once_he_lets_go(void)
{
    uint64_t blocks[] = {1000, 1000, 1000, 1000};
    struct script script;
    script_init(&script, blocks, 4, false);
    struct fb_loader_options options = default_options();
    options.batch_rows = 500;
    options.memory_limit_bytes = least_bytes(&script, &options) + 12000;
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *held[8] = {NULL};
    struct fb_error error;
    uint64_t count = 0, dropped = 0;
    while (count < 8) {
        int code = fb_loader_next(loader, FB_NO_DEADLINE, false, &held[count], &error);
        if (code == EDEADLK) {
            CHECK_CONTAINS(error.message, "copy what you keep");
            dropped++;
            for (uint64_t i = 0; i < count; i++) {
                fb_batch_release(held[i]);
                held[i] = NULL;
            }
            continue;
        }
        CHECK_EQUAL(code, 0);
        CHECK(script_check_batch(held[count], 500, false));
        count++;
    }
    CHECK(dropped > 0);
    for (uint64_t i = 0; i < 8; i++) fb_batch_release(held[i]);
    CHECK(next(loader) == NULL);
    close_loader(loader, &script);
}

/* ---- ends ---- */

static void a_reader_that_does_not_come_back_is_abandoned(void)
{
    uint64_t blocks[] = {15, 100};
    struct script script;
    script_init(&script, blocks, 2, false);
    script_set_blocking(&script, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *batch;
    struct fb_error error;
    CHECK_EQUAL(fb_loader_next(loader, fb__clock_ns() + FB__SECOND_NS / 20, false, &batch, &error), ETIMEDOUT);
    int64_t unit;
    CHECK_EQUAL(fb_loader_end_epoch(loader, FB__SECOND_NS / 50, &unit), 1);
    CHECK_EQUAL(unit, 0);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.accounts[FB_ACCOUNT_BATCH].bytes > 0);
    (void)fb_loader_close(loader, 0, NULL, &stats);
    CHECK_EQUAL(atomic_load(&script.releases), 0);
    script_set_blocking(&script, false);
    while (atomic_load(&script.releases) == 0) usleep(1000); /* the abandoned thread frees everything */
    CHECK_EQUAL(atomic_load(&script.live_streams), 0);
    CHECK_EQUAL(atomic_load(&script.live_arrays), 0);
    usleep(20000); /* for the leak check: the thread's last instructions */
    script_destroy(&script);
}

static void one_stream_is_read_once(void)
{
    uint64_t blocks[] = {15, 10};
    struct script script;
    script_init(&script, blocks, 2, true);
    struct ArrowArrayStream stream;
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(script_pull_open(&script, &stream, &error), 0);
    CHECK_EQUAL(fb_source_from_stream(&stream, &source, &error), 0);
    CHECK(stream.release == NULL);
    CHECK_TEXT(source->schema.children[1]->name, "text");
    fb_source_release(source);
    CHECK_EQUAL(atomic_load(&script.live_streams), 0);

    CHECK_EQUAL(script_pull_open(&script, &stream, &error), 0);
    CHECK_EQUAL(fb_source_from_stream(&stream, &source, &error), 0);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader;
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), 0);
    uint64_t batches, rows;
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), 0);
    CHECK_EQUAL(rows, 25);
    CHECK_EQUAL(run_epoch(loader, true, &batches, &rows, &error), EIO);
    CHECK_CONTAINS(error.message, "only once");
    CHECK_EQUAL(batches, 0);
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL), 0);
    script_destroy(&script);
}

static void a_source_that_cannot_be_made_leaves_everything_with_the_caller(void)
{
    uint64_t blocks[] = {15};
    struct script script;
    script_init(&script, blocks, 1, true);
    struct ArrowArrayStream stream;
    struct fb_source *source;
    struct fb_error error;
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    CHECK_EQUAL(script_pull_open(&script, &stream, &error), 0);
    fb__gate_fail_nth(&gate, 0, 1);
    CHECK_EQUAL(fb__source_make_stream(&gate, &stream, &source, &error), ENOMEM);
    CHECK(stream.release != NULL);
    stream.release(&stream);
    CHECK_EQUAL(fb_source_from_stream(&stream, &source, &error), EINVAL);
    struct ArrowSchema schema = {0};
    CHECK_EQUAL(fb_source_from_pull(&schema, NULL, &script, &source, &error), EINVAL);
    const struct fb_pull_source_callbacks callbacks = {.open = script_pull_open, .release = script_release};
    CHECK_EQUAL(fb_source_from_pull(&schema, &callbacks, &script, &source, &error), EINVAL);
    CHECK_EQUAL(atomic_load(&script.releases), 0);
    CHECK_EQUAL(atomic_load(&script.live_streams), 0);
    script_destroy(&script);
}

int main(void)
{
    RUN(rows_come_in_order_whatever_the_blocks_are);
    RUN(without_batch_rows_every_block_that_has_rows_is_a_batch);
    RUN(a_short_last_batch_is_left_out_where_asked);
    RUN(a_stream_without_rows_is_an_epoch_without_batches);
    RUN(what_is_not_known_is_said_so);
    RUN(nothing_is_pulled_that_nobody_has_asked_for);
    RUN(leaving_in_the_middle_lets_stream_and_block_go);
    RUN(the_batches_before_a_failure_come_first);
    RUN(a_stream_that_cannot_be_opened_fails_the_epoch);
    RUN(a_reader_whose_thread_is_ended_is_an_error);
    RUN(a_block_that_does_not_fit_is_released_and_said_so);
    RUN(warm_buffers_give_way_to_a_larger_block);
    RUN(batches_ahead_leave_room_for_a_block);
    RUN(who_holds_all_the_bytes_is_told_so_and_goes_on_once_he_lets_go);
    RUN(a_reader_that_does_not_come_back_is_abandoned);
    RUN(one_stream_is_read_once);
    RUN(a_source_that_cannot_be_made_leaves_everything_with_the_caller);
    return 0;
}
