/* White-box test of src/loader: what the consumer sees of batches, errors, bytes and ends. */
#include "loader/loader.h"

#include <errno.h>
#include <unistd.h>

#include "../stress/scripted_source.h"
#include "base/clock.h"
#include "check.h"

static struct fb_loader *make(struct script *script, const struct fb_loader_options *options)
{
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(script_source(script, &source, &error), 0);
    int code = fb_loader_create(options, source, &loader, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    return loader;
}

static struct fb_loader_options default_options(void)
{
    return (struct fb_loader_options){
        .batch_rows = 10, .memory_limit_bytes = 4 << 20, .prefetch_batches = 2, .thread_count = 2};
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

static void close_loader(struct fb_loader *loader)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
}

static void every_row_comes_once_in_every_epoch(void)
{
    uint64_t unit_rows[] = {7, 0, 95, 31};
    struct script script;
    script_init(&script, unit_rows, 4, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    for (int epoch = 0; epoch < 3; epoch++) {
        begin(loader);
        uint64_t rows = 0;
        struct fb_batch *batch;
        while ((batch = next(loader))) {
            CHECK(script_check_batch(batch, options.batch_rows, true));
            rows += fb_batch_rows(batch);
            fb_batch_release(batch);
        }
        CHECK_EQUAL(rows, 133);
        CHECK(next(loader) == NULL);
    }
    close_loader(loader);
    CHECK_EQUAL(atomic_load(&script.releases), 1);
    script_destroy(&script);
}

static void without_batch_rows_every_unit_that_has_rows_is_a_batch(void)
{
    uint64_t unit_rows[] = {0, 70, 0, 950, 3, 0};
    const uint64_t starts[] = {0, 70, 1020};
    for (int order = 0; order < 2; order++) {
        struct script script;
        script_init(&script, unit_rows, 6, true);
        struct fb_loader_options options = default_options();
        options.batch_rows = 0;
        options.preserve_order = order == 1;
        struct fb_loader *loader = make(&script, &options);
        struct fb_plan plan;
        fb_loader_plan(loader, &plan);
        CHECK_EQUAL(plan.batches, 3);
        CHECK_EQUAL(plan.rows, 1023);
        for (int epoch = 0; epoch < 2; epoch++) {
            begin(loader);
            uint64_t seen = 0;
            struct fb_batch *batch;
            for (uint64_t count = 0; (batch = next(loader)); count++) {
                uint64_t index = fb_batch_index(batch);
                if (order) CHECK_EQUAL(index, count);
                CHECK(index < 3 && (seen & UINT64_C(1) << index) == 0);
                seen |= UINT64_C(1) << index;
                CHECK(script_check_rows(batch, starts[index], true));
                fb_batch_release(batch);
            }
            CHECK_EQUAL(seen, 7);
        }
        close_loader(loader);
        script_destroy(&script);
    }
}

static void leaving_out_a_short_batch_has_no_meaning_without_batch_rows(void)
{
    uint64_t unit_rows[] = {10};
    struct script script;
    script_init(&script, unit_rows, 1, false);
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(script_source(&script, &source, &error), 0);
    struct fb_loader_options options = default_options();
    options.batch_rows = 0;
    options.drop_last = true;
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), EINVAL);
    CHECK_CONTAINS(error.message, "drop_last");
    fb_source_release(source);
    script_destroy(&script);
}

static void a_source_without_columns_is_refused(void)
{
    struct ArrowSchema schema = {.format = "+s", .release = (void (*)(struct ArrowSchema *))1};
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_blocks(&schema, NULL, 0, &source, &error), 0);
    struct fb_loader_options options = default_options();
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), EINVAL);
    CHECK_CONTAINS(error.message, "no column");
    fb_source_release(source);
}

static void every_reader_leaves_once_in_every_epoch_that_asked_for_a_batch(void)
{
    uint64_t unit_rows[] = {50, 50, 50};
    struct script script;
    script_init(&script, unit_rows, 3, true);
    struct fb_loader_options options = default_options();
    options.thread_count = 5; /* more than there are units: those without work leave as well */
    struct fb_loader *loader = make(&script, &options);
    for (int epoch = 0; epoch < 4; epoch++) {
        begin(loader);
        if (epoch == 0) continue; /* nobody started */
        fb_batch_release(next(loader));
        CHECK_EQUAL(fb_loader_end_epoch(loader, FB_NO_DEADLINE, NULL), 0);
        CHECK_EQUAL(atomic_load(&script.leaves), 5 * epoch);
    }
    script.fail_row = 0;
    begin(loader);
    struct fb_batch *batch;
    CHECK(fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, NULL) != 0);
    CHECK_EQUAL(atomic_load(&script.leaves), 5 * 4);
    close_loader(loader);
    CHECK_EQUAL(atomic_load(&script.leaves), 5 * 4);
    script_destroy(&script);
}

static void a_stream_of_unknown_cost_is_booked_by_its_own_counter(void)
{
    uint64_t unit_rows[] = {3000, 2000};
    struct script script;
    script_init(&script, unit_rows, 2, false);
    const uint32_t number = 0;
    const struct fb_stream_column_cost unknown = {.weight = 1};
    const struct fb_stream_source_callbacks callbacks = {
        .open = script_open, .allocated_bytes = script_allocated_bytes, .release = script_release};
    struct ArrowSchema schema;
    script_schema(&number, 1, &schema);
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_streams(&schema, unit_rows, 2, &unknown, &callbacks, &script, &source, &error), 0);
    schema.release(&schema);
    struct fb_loader_options options = default_options();
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), 0);
    begin(loader);
    uint64_t rows = 0;
    struct fb_batch *batch;
    while ((batch = next(loader))) {
        rows += fb_batch_rows(batch);
        fb_batch_release(batch);
    }
    CHECK_EQUAL(rows, 5000);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.accounts[FB_ACCOUNT_READ].peak_bytes >= 1024 * sizeof(int64_t));
    close_loader(loader);
    script_destroy(&script);
}

static void a_refused_limit_leaves_the_source_with_the_caller(void)
{
    uint64_t unit_rows[] = {100};
    struct script script;
    script_init(&script, unit_rows, 1, false);
    struct fb_source *source;
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(script_source(&script, &source, &error), 0);
    struct fb_loader_options options = default_options();
    for (options.memory_limit_bytes = 0; options.memory_limit_bytes < 1 << 20; options.memory_limit_bytes += 997) {
        int code = fb_loader_create(&options, source, &loader, &error);
        if (code == 0) break;
        CHECK_EQUAL(code, ENOBUFS);
        CHECK(error.required_bytes > options.memory_limit_bytes);
        CHECK_EQUAL(error.limit_bytes, options.memory_limit_bytes);
        CHECK_EQUAL(atomic_load(&script.releases), 0);
    }
    CHECK(options.memory_limit_bytes < 1 << 20);
    close_loader(loader);
    script_destroy(&script);
}

static void the_least_completes(void)
{
    uint64_t unit_rows[] = {5000, 3000};
    for (uint32_t thread_count = 1; thread_count <= 4; thread_count++) {
        for (int order = 0; order < 2; order++) {
            struct script script;
            script_init(&script, unit_rows, 2, false);
            struct fb_loader_options options = default_options();
            options.thread_count = thread_count;
            options.preserve_order = order == 1;
            options.batch_rows = 700;
            struct fb_loader *loader = make(&script, &options);
            struct fb_plan plan;
            fb_loader_plan(loader, &plan);
            close_loader(loader);
            options.memory_limit_bytes = plan.least_memory_bytes;
            loader = make(&script, &options);
            begin(loader);
            struct fb_batch *held = NULL; /* as a for loop does: one is held while the next is fetched */
            struct fb_batch *batch;
            while ((batch = next(loader))) {
                fb_batch_release(held);
                held = batch;
            }
            fb_batch_release(held);
            close_loader(loader);
            script_destroy(&script);
        }
    }
}

static void held_batches_are_named_and_releasing_one_lets_the_epoch_go_on(void)
{
    uint64_t unit_rows[] = {50000};
    struct script script;
    script_init(&script, unit_rows, 1, false);
    struct fb_loader_options options = default_options();
    options.batch_rows = 1000;
    options.memory_limit_bytes = 256 << 10;
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *held[64];
    struct fb_error error;
    int count = 0;
    int code;
    while ((code = fb_loader_next(loader, FB_NO_DEADLINE, false, &held[count], &error)) == 0 && held[count]) count++;
    CHECK_EQUAL(code, EDEADLK);
    CHECK(count >= 2 && count < 50);
    char expected[64];
    snprintf(expected, sizeof expected, "you hold %d batches", count);
    CHECK_CONTAINS(error.message, expected);
    struct fb_batch *batch;
    uint64_t deadline_ns = fb__clock_ns() + FB__SECOND_NS / 20;
    CHECK_EQUAL(fb_loader_next(loader, deadline_ns, true, &batch, &error), ETIMEDOUT);
    fb_batch_release(held[0]);
    batch = next(loader);
    CHECK(batch != NULL);
    fb_batch_release(batch);
    for (int i = 1; i < count; i++) fb_batch_release(held[i]);
    while ((batch = next(loader))) fb_batch_release(batch);
    close_loader(loader);
    script_destroy(&script);
}

struct releaser {
    struct fb_batch **held;
    int count;
};

static void *release_later(void *argument)
{
    struct releaser *releaser = argument;
    for (int i = 0; i < releaser->count; i++) {
        usleep(5000);
        fb_batch_release(releaser->held[i]);
    }
    return NULL;
}

static void a_patient_consumer_goes_on_when_another_thread_lets_batches_go(void)
{
    uint64_t unit_rows[] = {50000};
    struct script script;
    script_init(&script, unit_rows, 1, false);
    struct fb_loader_options options = default_options();
    options.batch_rows = 1000;
    options.memory_limit_bytes = 256 << 10;
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *held[64];
    struct fb_error error;
    struct releaser releaser = {.held = held};
    while (fb_loader_next(loader, FB_NO_DEADLINE, false, &held[releaser.count], &error) == 0) releaser.count++;
    pthread_t thread;
    pthread_create(&thread, NULL, release_later, &releaser);
    struct fb_batch *batch;
    CHECK_EQUAL(fb_loader_next(loader, fb__clock_ns() + 20 * FB__SECOND_NS, true, &batch, &error), 0);
    fb_batch_release(batch);
    pthread_join(thread, NULL);
    close_loader(loader);
    script_destroy(&script);
}

static void an_error_comes_after_the_batches_before_it_and_stays(void)
{
    uint64_t unit_rows[] = {100, 100, 100};
    for (uint64_t fail_row = 0; fail_row < 300; fail_row += 23) {
        struct script script;
        script_init(&script, unit_rows, 3, false);
        script.fail_row = fail_row;
        struct fb_loader_options options = default_options();
        options.preserve_order = true;
        options.thread_count = 3;
        struct fb_loader *loader = make(&script, &options);
        begin(loader);
        struct fb_batch *batch;
        struct fb_error error;
        uint64_t index = 0;
        int code;
        while ((code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &error)) == 0 && batch) {
            CHECK_EQUAL(fb_batch_index(batch), index++);
            fb_batch_release(batch);
        }
        CHECK_EQUAL(code, EIO);
        CHECK_EQUAL(error.unit, fail_row / 100);
        /* The script fails a whole piece, here a whole unit. */
        CHECK_EQUAL(index, fail_row / 100 * 10);
        CHECK_EQUAL(fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &error), EIO);
        script.fail_row = UINT64_MAX;
        begin(loader); /* the loader stays usable */
        batch = next(loader);
        fb_batch_release(batch);
        close_loader(loader);
        script_destroy(&script);
    }
}

static void complete_batches_not_yet_delivered_keep_to_the_bound(void)
{
    uint64_t unit_rows[] = {100000};
    for (int64_t prefetch = 0; prefetch <= 3; prefetch++) {
        struct script script;
        script_init(&script, unit_rows, 1, false);
        struct fb_loader_options options = default_options();
        options.prefetch_batches = prefetch;
        options.batch_rows = 1000;
        struct fb_loader *loader = make(&script, &options);
        begin(loader);
        for (int i = 0; i < 20; i++) {
            fb_batch_release(next(loader));
            usleep(2000);
            struct fb_stats stats;
            fb_loader_stats(loader, &stats);
            CHECK(stats.stages[0].items <= stats.batches + (uint64_t)prefetch);
        }
        close_loader(loader);
        script_destroy(&script);
    }
}

static void a_reader_that_does_not_come_back_is_abandoned_and_its_bytes_stay_charged(void)
{
    uint64_t unit_rows[] = {100, 100};
    struct script script;
    script_init(&script, unit_rows, 2, false);
    script_set_blocking(&script, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *batch;
    struct fb_error error;
    CHECK_EQUAL(fb_loader_next(loader, fb__clock_ns() + FB__SECOND_NS / 20, false, &batch, &error), ETIMEDOUT);
    int64_t unit;
    CHECK(fb_loader_end_epoch(loader, FB__SECOND_NS / 50, &unit) > 0);
    CHECK(unit == 0 || unit == 1);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.accounts[FB_ACCOUNT_READ].bytes > 0);
    (void)fb_loader_close(loader, 0, NULL, &stats);
    CHECK_EQUAL(atomic_load(&script.releases), 0);
    script_set_blocking(&script, false);
    while (atomic_load(&script.releases) == 0) usleep(1000); /* the last abandoned thread frees everything */
    CHECK_EQUAL(atomic_load(&script.live_streams), 0);
    CHECK_EQUAL(atomic_load(&script.live_arrays), 0);
    usleep(20000); /* for the leak check: the thread's last instructions */
    script_destroy(&script);
}

static void a_batch_outlives_its_loader(void)
{
    uint64_t unit_rows[] = {100};
    struct script script;
    script_init(&script, unit_rows, 1, true);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    begin(loader);
    struct fb_batch *batch = next(loader);
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.held_batches, 1);
    CHECK(stats.accounts[FB_ACCOUNT_HELD].bytes > 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_POOL].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_PLAN].bytes, 0);
    CHECK(script_check_batch(batch, options.batch_rows, true));
    fb_batch_release(batch);
    script_destroy(&script);
}

static void once_warm_a_batch_costs_no_allocation(void)
{
    uint64_t unit_rows[] = {100000};
    struct script script;
    script_init(&script, unit_rows, 1, false);
    struct fb_loader_options options = default_options();
    struct fb_loader *loader = make(&script, &options);
    struct fb_stats before, after;
    begin(loader);
    for (int i = 0; i < 2000; i++) {
        fb_batch_release(next(loader));
        if (i == 1000) fb_loader_stats(loader, &before);
    }
    fb_loader_stats(loader, &after);
    /* The pool grows while readers and consumer find their pace, a batch at a time, and never beyond the limit. */
    CHECK(after.gate_allocations - before.gate_allocations < 100);
    close_loader(loader);
    script_destroy(&script);
}

static void every_limit_below_the_least_is_refused_and_leaks_nothing(void)
{
    uint64_t unit_rows[] = {100};
    struct script script;
    script_init(&script, unit_rows, 1, true);
    struct fb_loader_options options = default_options();
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(script_source(&script, &source, &error), 0);
    /* The gate is born with the ledger, so a limit that grows a byte at a time takes the hook's place here. */
    struct fb_loader *loader = NULL;
    uint64_t refused_count = 0;
    for (uint64_t limit_bytes = 0; !loader; limit_bytes += 8) {
        options.memory_limit_bytes = limit_bytes;
        int code = fb_loader_create(&options, source, &loader, &error);
        if (code) {
            CHECK_EQUAL(code, ENOBUFS);
            CHECK(error.required_bytes > limit_bytes);
            refused_count++;
        }
    }
    CHECK(refused_count > 1000);
    close_loader(loader);
    script_destroy(&script);
}

int main(void)
{
    RUN(every_row_comes_once_in_every_epoch);
    RUN(without_batch_rows_every_unit_that_has_rows_is_a_batch);
    RUN(leaving_out_a_short_batch_has_no_meaning_without_batch_rows);
    RUN(a_source_without_columns_is_refused);
    RUN(every_reader_leaves_once_in_every_epoch_that_asked_for_a_batch);
    RUN(a_stream_of_unknown_cost_is_booked_by_its_own_counter);
    RUN(a_refused_limit_leaves_the_source_with_the_caller);
    RUN(the_least_completes);
    RUN(held_batches_are_named_and_releasing_one_lets_the_epoch_go_on);
    RUN(a_patient_consumer_goes_on_when_another_thread_lets_batches_go);
    RUN(an_error_comes_after_the_batches_before_it_and_stays);
    RUN(complete_batches_not_yet_delivered_keep_to_the_bound);
    RUN(a_reader_that_does_not_come_back_is_abandoned_and_its_bytes_stay_charged);
    RUN(a_batch_outlives_its_loader);
    RUN(once_warm_a_batch_costs_no_allocation);
    RUN(every_limit_below_the_least_is_refused_and_leaks_nothing);
    return 0;
}
