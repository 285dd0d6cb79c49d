/* White-box test of src/loader/inline: small batches from memory that the consumer fills itself. */
#include <errno.h>

#include "arrow_fixtures.h"
#include "loader/loader.h"

/* Blocks of int64 numbers and of strings that say the same; row r of all has number r. */
static struct fb_source *make_source(const uint64_t *block_rows, uint64_t block_count, uint64_t string_bytes)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("l", "number"));
    fixture_add_field(&schema, fixture_schema("u", "text"));
    struct ArrowArray blocks[8];
    int64_t number = 0;
    for (uint64_t i = 0; i < block_count; i++) {
        int64_t rows = (int64_t)block_rows[i];
        size_t row_count = (size_t)rows;
        struct ArrowArray numbers = fixture_array(rows, 0, 0, 2);
        int64_t *values = (int64_t *)(void *)fixture_add_buffer(&numbers, 1, row_count * 8, 0);
        struct ArrowArray texts = fixture_array(rows, 0, 0, 3);
        int32_t *offsets = (int32_t *)(void *)fixture_add_buffer(&texts, 1, (row_count + 1) * 4, 0);
        /* The last eighth of the rows has all the bytes, so that a batch of them outgrows the mean. */
        uint64_t bytes = 0;
        for (size_t row = 0; row < row_count; row++) {
            values[row] = number++;
            offsets[row] = (int32_t)bytes;
            bytes += row >= row_count - row_count / 8 ? string_bytes : 0;
        }
        offsets[row_count] = (int32_t)bytes;
        memset(fixture_add_buffer(&texts, 2, bytes, 0), 'x', bytes);
        blocks[i] = fixture_array(rows, 0, 0, 1);
        fixture_add_child(&blocks[i], numbers);
        fixture_add_child(&blocks[i], texts);
    }
    struct fb_source *source;
    CHECK_EQUAL(fb_source_from_blocks(&schema, blocks, block_count, &source, NULL), 0);
    schema.release(&schema);
    return source;
}

static struct fb_loader *make_loader(struct fb_source *source, const struct fb_loader_options *options)
{
    struct fb_loader *loader;
    struct fb_error error = {0};
    int code = fb_loader_create(options, source, &loader, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    return loader;
}

static struct fb_loader_options small_batches(void)
{
    return (struct fb_loader_options){.batch_rows = 10,
                                      .memory_limit_bytes = 1 << 20,
                                      .prefetch_batches = FB_PREFETCH_ADAPTIVE,
                                      .thread_count = 2,
                                      .preserve_order = true};
}

/* The first number of the batch; every row follows from it. */
static uint64_t check_batch(const struct fb_batch *batch)
{
    struct fb_column column;
    fb_batch_column(batch, 0, &column);
    const int64_t *numbers = column.values;
    for (uint64_t row = 0; row < fb_batch_rows(batch); row++) CHECK_EQUAL(numbers[row], numbers[0] + (int64_t)row);
    return (uint64_t)numbers[0];
}

static bool has_threads(const struct fb_loader *loader)
{
    return loader->epoch != NULL && fb__stage_is_started(loader->epoch->stage);
}

static void close_loader(struct fb_loader *loader)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
    CHECK_EQUAL(fixture_live, 0);
}

static void batches_cross_blocks_and_no_thread_starts(void)
{
    const uint64_t block_rows[] = {0, 7, 0, 95, 1, 31, 0};
    struct fb_loader_options options = small_batches();
    struct fb_loader *loader = make_loader(make_source(block_rows, 7, 0), &options);
    for (int epoch = 0; epoch < 3; epoch++) {
        CHECK_EQUAL(fb_loader_begin_epoch(loader, 0, NULL), 0);
        uint64_t rows = 0;
        struct fb_batch *batch;
        for (;;) {
            CHECK_EQUAL(fb_loader_next(loader, 0, false, &batch, NULL), 0);
            if (!batch) break;
            CHECK_EQUAL(check_batch(batch), rows);
            CHECK_EQUAL(fb_batch_index(batch), rows / 10);
            rows += fb_batch_rows(batch);
            fb_batch_release(batch);
            CHECK(!has_threads(loader));
        }
        CHECK_EQUAL(rows, 134);
    }
    close_loader(loader);
}

static void drop_last_leaves_the_short_batch_out(void)
{
    const uint64_t block_rows[] = {25};
    struct fb_loader_options options = small_batches();
    options.drop_last = true;
    struct fb_loader *loader = make_loader(make_source(block_rows, 1, 0), &options);
    CHECK_EQUAL(fb_loader_begin_epoch(loader, 0, NULL), 0);
    struct fb_batch *batch;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fb_loader_next(loader, 0, false, &batch, NULL), 0);
        fb_batch_release(batch);
    }
    CHECK_EQUAL(fb_loader_next(loader, 0, false, &batch, NULL), 0);
    CHECK(batch == NULL);
    close_loader(loader);
}

static void who_asks_for_batches_ahead_and_who_has_large_ones_gets_threads(void)
{
    const uint64_t block_rows[] = {20000};
    struct fb_loader_options ahead = small_batches(), large = small_batches();
    ahead.prefetch_batches = 1;
    large.batch_rows = 10000;
    const struct fb_loader_options *both[] = {&ahead, &large};
    for (int i = 0; i < 2; i++) {
        struct fb_loader *loader = make_loader(make_source(block_rows, 1, 0), both[i]);
        CHECK_EQUAL(fb_loader_begin_epoch(loader, 0, NULL), 0);
        struct fb_batch *batch;
        CHECK_EQUAL(fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, NULL), 0);
        CHECK(has_threads(loader));
        fb_batch_release(batch);
        close_loader(loader);
    }
}

/* Keeps batches until nothing more fits, lets them go, and goes on: no row is lost or comes twice. */
static void readers_go_on_where_bytes_are_lacking(uint64_t string_bytes, bool preserve_order)
{
    const uint64_t block_rows[] = {300, 401, 299};
    struct fb_loader_options options = small_batches();
    options.preserve_order = preserve_order;
    options.memory_limit_bytes = 48 << 10;
    struct fb_loader *loader = make_loader(make_source(block_rows, 3, string_bytes), &options);
    struct fb_batch *kept[100];
    bool seen[100] = {false};
    uint64_t kept_count = 0, batches = 0;
    bool was_refused = false;
    CHECK_EQUAL(fb_loader_begin_epoch(loader, 0, NULL), 0);
    for (;;) {
        int code = fb_loader_next(loader, FB_NO_DEADLINE, false, &kept[kept_count], NULL);
        if (code == EDEADLK) {
            was_refused = true;
            CHECK(has_threads(loader));
            CHECK(kept_count > 1);
            while (kept_count > 0) fb_batch_release(kept[--kept_count]);
            continue;
        }
        CHECK_EQUAL(code, 0);
        if (!kept[kept_count]) break;
        uint64_t first = check_batch(kept[kept_count++]);
        CHECK(first % 10 == 0 && first / 10 < 100 && !seen[first / 10]);
        if (preserve_order) CHECK_EQUAL(first, batches * 10);
        seen[first / 10] = true;
        batches++;
    }
    while (kept_count > 0) fb_batch_release(kept[--kept_count]);
    CHECK(was_refused);
    CHECK_EQUAL(batches, 100);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.peak_bytes <= options.memory_limit_bytes);
    close_loader(loader);
}

static void a_null_is_an_error_after_the_batches_before_it(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("i", "id"));
    struct ArrowArray ids = fixture_array(30, 0, 1, 2);
    memset(fixture_add_buffer(&ids, 0, 4, 0), 0xFF, 4);
    ((uint8_t *)(uintptr_t)ids.buffers[0])[1] = 0x7F; /* row 15 */
    memset(fixture_add_buffer(&ids, 1, 120, 0), 0, 120);
    struct ArrowArray block = fixture_array(30, 0, 0, 1);
    fixture_add_child(&block, ids);
    struct fb_source *source;
    CHECK_EQUAL(fb_source_from_blocks(&schema, &block, 1, &source, NULL), 0);
    schema.release(&schema);
    struct fb_loader_options options = small_batches();
    struct fb_loader *loader = make_loader(source, &options);
    CHECK_EQUAL(fb_loader_begin_epoch(loader, 0, NULL), 0);
    struct fb_batch *batch;
    struct fb_error error;
    CHECK_EQUAL(fb_loader_next(loader, 0, false, &batch, &error), 0);
    fb_batch_release(batch);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fb_loader_next(loader, 0, false, &batch, &error), EIO);
        CHECK_EQUAL(error.row, 15);
    }
    close_loader(loader);
}

int main(void)
{
    batches_cross_blocks_and_no_thread_starts();
    drop_last_leaves_the_short_batch_out();
    who_asks_for_batches_ahead_and_who_has_large_ones_gets_threads();
    readers_go_on_where_bytes_are_lacking(0, true);
    readers_go_on_where_bytes_are_lacking(0, false);
    readers_go_on_where_bytes_are_lacking(300, true);
    readers_go_on_where_bytes_are_lacking(300, false);
    a_null_is_an_error_after_the_batches_before_it();
    return 0;
}
