/* Parquet units whose numbers are decoded here and whose texts are read as a stream, as cursors and by a loader. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../stress/scripted_source.h"
#include "loader/loader.h"
#include "parquet_fixture.h"
#include "pool_fixture.h"
#include "source/parquet/column.h"

#define UNITS_MAX 6
#define CONTEXT_BYTES 1000

/* ---- files, and a source over them ---- */

/* Column 0 is script_number(row) in files, column 1 script_text(row) from streams. */
struct world {
    struct script script;
    uint64_t unit_rows[UNITS_MAX];
    uint64_t unit_count;
    char folder[32];
    char paths[2][64];
    struct fb_parquet_file files[2];
    uint32_t unit_files[UNITS_MAX];
    struct fb_parquet_column columns[SCRIPT_COLUMNS];
    struct fb_parquet_chunk chunks[UNITS_MAX];
    struct fb_parquet parquet;
    int64_t descriptors_before;
};

static int64_t open_descriptors(void)
{
    int64_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder)) count++;
    CHECK_EQUAL(closedir(folder), 0);
    return count;
}

static const struct fb_stream_source_callbacks world_callbacks = {.open = script_open,
                                                                  .allocated_bytes = script_allocated_bytes,
                                                                  .context_bytes = CONTEXT_BYTES,
                                                                  .leave = script_leave,
                                                                  .release = script_release};
static const struct fb_stream_column_cost world_costs[SCRIPT_COLUMNS] = {
    {.fixed_bytes = 77, .row_bytes = 8, .weight = 8},
    {.fixed_bytes = 64, .row_bytes = 64, .string_bytes = 16, .weight = 24},
};

static void append_chunk(struct world *world, uint64_t unit, FILE *file, struct dice *dice)
{
    uint64_t first_row = 0;
    for (uint64_t i = 0; i < unit; i++) first_row += world->unit_rows[i];
    struct chunk_plan plan = {.type = 5,
                              .row_count = world->unit_rows[unit],
                              .page_levels = 20,
                              .has_null_rows = true,
                              .codec = dice_below(dice, 2) && fb__codec_is_supported(FB__CODEC_ZSTD)
                                           ? FB__CODEC_ZSTD
                                           : FB__CODEC_UNCOMPRESSED};
    struct chunk chunk = chunk_make(&plan, dice);
    for (uint64_t i = 0; i < plan.row_count; i++) chunk.values[i] = (uint64_t)script_number(first_row + i);
    chunk_write(&chunk, dice);
    world->chunks[unit] = chunk.chunk;
    world->chunks[unit].offset = (uint64_t)ftell(file) + CHUNK_OFFSET;
    CHECK_EQUAL(fwrite(chunk.file.at, 1, chunk.file.count, file), chunk.file.count);
    world->columns[0] = chunk.description;
    world->columns[0].page_bytes = world->columns[0].stored_page_bytes = 2000; /* nothing has to grow */
    chunk_free(&chunk);
}

static void look_at_files(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        struct stat now;
        CHECK_EQUAL(stat(world->paths[i], &now), 0);
        world->files[i] = (struct fb_parquet_file){
            .path = world->paths[i],
            .size_bytes = (uint64_t)now.st_size,
            .modified_ns = now.st_mtim.tv_sec * INT64_C(1000000000) + now.st_mtim.tv_nsec,
        };
    }
}

/* The first half of the units is in the first file. */
static void world_begin(struct world *world, const uint64_t *unit_rows, uint64_t unit_count, bool has_text)
{
    memset(world, 0, sizeof *world);
    memcpy(world->unit_rows, unit_rows, unit_count * sizeof *unit_rows);
    world->unit_count = unit_count;
    script_init(&world->script, world->unit_rows, unit_count, has_text);
    strcpy(world->folder, "/tmp/fb_parquet_XXXXXX");
    CHECK(mkdtemp(world->folder) != NULL);
    FILE *files[2];
    for (int i = 0; i < 2; i++) {
        snprintf(world->paths[i], sizeof world->paths[i], "%s/%d.parquet", world->folder, i);
        files[i] = fopen(world->paths[i], "wb");
        CHECK(files[i] != NULL);
    }
    struct dice dice = {7};
    for (uint64_t unit = 0; unit < unit_count; unit++) {
        world->unit_files[unit] = unit >= (unit_count + 1) / 2;
        append_chunk(world, unit, files[world->unit_files[unit]], &dice);
    }
    for (int i = 0; i < 2; i++) CHECK_EQUAL(fclose(files[i]), 0);
    look_at_files(world);
    world->parquet = (struct fb_parquet){.files = world->files,
                                         .file_count = 2,
                                         .unit_files = world->unit_files,
                                         .columns = world->columns,
                                         .chunks = world->chunks};
    world->descriptors_before = open_descriptors();
}

static void world_end(struct world *world, int64_t expected_releases)
{
    CHECK_EQUAL(open_descriptors(), world->descriptors_before);
    CHECK_EQUAL(atomic_load(&world->script.releases), expected_releases);
    CHECK_EQUAL(atomic_load(&world->script.live_streams), 0);
    CHECK_EQUAL(atomic_load(&world->script.live_arrays), 0);
    script_destroy(&world->script);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(unlink(world->paths[i]), 0);
    CHECK_EQUAL(rmdir(world->folder), 0);
}

static int world_make(struct world *world, struct fb_source **out, struct fb_error *error)
{
    const uint32_t columns[SCRIPT_COLUMNS] = {0, 1};
    struct ArrowSchema schema;
    script_schema(columns, world->script.has_text ? 2 : 1, &schema);
    int code = fb_source_from_parquet(&schema, world->unit_rows, world->unit_count, world_costs, &world_callbacks,
                                      &world->script, &world->parquet, out, error);
    schema.release(&schema);
    return code;
}

static struct fb_source *world_source(struct world *world)
{
    struct fb_source *source;
    struct fb_error error;
    int code = world_make(world, &source, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    /* Nothing of what was passed is looked at again. */
    for (int i = 0; i < 2; i++) world->files[i].path = NULL;
    memset(world->chunks, 0xFF, sizeof world->chunks);
    memset(world->columns, 0xFF, sizeof world->columns);
    memset(world->unit_files, 0xFF, sizeof world->unit_files);
    return source;
}

/* ---- one cursor ---- */

struct work {
    struct world *world;
    struct fb_source *source;
    struct fb__pool *pool;
    struct fb_batch *batch;
    struct fb__grant grant;
    union fb__cursor_room room;
    uint64_t filled_rows;
    struct fb_error error;
};

static const uint32_t both[] = {0, 1};

static void work_begin(struct work *work, struct world *world, uint64_t batch_rows, const uint32_t *columns,
                       uint32_t column_count)
{
    memset(work, 0, sizeof *work);
    work->world = world;
    work->source = world_source(world);
    work->pool = fixture_pool(world->script.has_text ? "lu" : "l", 16, batch_rows, FB_NULLS_ERROR, 64 << 20);
    work->batch = fixture_take(work->pool, 0, batch_rows);
    uint64_t bytes = fb__source_cursor_bytes(work->source, columns, column_count, 64);
    CHECK_EQUAL(fb__ledger_reserve(work->pool->ledger, &work->grant, FB_ACCOUNT_READ, 0, bytes, FB__NO_WAIT, NULL), 0);
}

static int work_open(struct work *work, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                     uint64_t first_row)
{
    const struct fb__open_request request = {
        .unit = unit,
        .columns = columns,
        .column_count = column_count,
        .piece_rows = 16,
        .first_row = first_row,
        .layout = &work->pool->layout,
        .ledger = work->pool->ledger,
        .grant = &work->grant,
    };
    return work->source->ops->open(work->source, &request, &work->room, &work->error);
}

static int work_fill(struct work *work, uint64_t place, uint64_t row_count)
{
    work->filled_rows = 99999;
    return work->source->ops->fill(work->source, &work->room, work->batch, place, row_count, &work->filled_rows,
                                   &work->error);
}

static void work_close(struct work *work)
{
    work->source->ops->close(work->source, &work->room);
    CHECK_EQUAL(work->grant.committed_bytes, 0);
}

static void work_end(struct work *work)
{
    CHECK_EQUAL(work->grant.committed_bytes, 0);
    fb__ledger_release(work->pool->ledger, &work->grant);
    fb__pool_return(work->batch);
    fb__pool_release(work->pool);
    fb_source_release(work->source);
    world_end(work->world, 1);
}

static void check_numbers(const struct work *work, uint64_t place, uint64_t row_count, uint64_t first_row)
{
    const int64_t *numbers = (const int64_t *)(const void *)fb__batch_values(work->batch, 0);
    for (uint64_t i = 0; i < row_count; i++) CHECK_EQUAL(numbers[place + i], script_number(first_row + i));
}

static void a_cursor_of_both_kinds_fills_both(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    work_begin(&work, &world, 70, both, 2);
    CHECK_EQUAL(work_open(&work, 1, both, 2, 30), 0);
    CHECK_EQUAL(work_fill(&work, 0, 30), 0);
    CHECK_EQUAL(work.filled_rows, 30);
    CHECK_EQUAL(work_fill(&work, 30, 40), 0);
    CHECK_EQUAL(work.filled_rows, 40);
    check_numbers(&work, 0, 70, 70);
    CHECK_EQUAL(fb__batch_finish(work.batch, NULL), 0);
    struct fb_column column;
    fb_batch_column(work.batch, 1, &column);
    const int32_t *offsets = column.offsets;
    for (uint64_t i = 0; i < 70; i++) {
        char text[128];
        size_t length = script_text(70 + i, text);
        CHECK_EQUAL(offsets[i + 1] - offsets[i], length);
        CHECK(length == 0 || memcmp((const char *)column.values + offsets[i], text, length) == 0);
    }
    CHECK(work.grant.committed_bytes > 0);
    work_close(&work);
    work_end(&work);
}

static void a_set_of_one_kind_opens_nothing_of_the_other(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    work_begin(&work, &world, 100, both, 2);
    CHECK_EQUAL(work_open(&work, 1, both, 1, 0), 0);
    CHECK_EQUAL(atomic_load(&world.script.live_streams), 0);
    CHECK_EQUAL(open_descriptors(), world.descriptors_before + 1);
    CHECK_EQUAL(work_fill(&work, 0, 100), 0);
    CHECK_EQUAL(work.filled_rows, 100);
    check_numbers(&work, 0, 100, 40);
    work_close(&work);
    CHECK_EQUAL(work_open(&work, 1, both + 1, 1, 0), 0);
    CHECK_EQUAL(open_descriptors(), world.descriptors_before);
    CHECK_EQUAL(atomic_load(&world.script.live_streams), 1);
    CHECK_EQUAL(work_fill(&work, 0, 100), 0);
    work_close(&work);
    CHECK_EQUAL(work_open(&work, 1, both, 0, 0), 0);
    CHECK_EQUAL(work_fill(&work, 0, 100), 0);
    CHECK_EQUAL(work.filled_rows, 100);
    work_close(&work);
    work_end(&work);
}

static void a_file_that_changed_is_refused(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    int64_t modified_ns = world.files[1].modified_ns;
    work_begin(&work, &world, 100, both, 2);
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    CHECK_EQUAL(utimensat(AT_FDCWD, world.paths[0], times, 0), 0);
    CHECK_EQUAL(work_open(&work, 0, both, 2, 0), EIO);
    CHECK_TEXT(work.error.message, "the file has changed since the loader was made");
    CHECK_EQUAL(work.error.unit, 0);
    FILE *file = fopen(world.paths[1], "ab");
    CHECK(file != NULL && fputc('x', file) == 'x' && fclose(file) == 0);
    const struct timespec as_before = {.tv_sec = modified_ns / 1000000000, .tv_nsec = modified_ns % 1000000000};
    const struct timespec times_before[2] = {as_before, as_before};
    CHECK_EQUAL(utimensat(AT_FDCWD, world.paths[1], times_before, 0), 0);
    CHECK_EQUAL(work_open(&work, 1, both, 2, 0), EIO);
    CHECK_TEXT(work.error.message, "the file has changed since the loader was made");
    CHECK_EQUAL(unlink(world.paths[1]), 0);
    CHECK_EQUAL(work_open(&work, 1, both, 2, 0), ENOENT);
    CHECK_CONTAINS(work.error.message, "the file could not be opened: No such file");
    CHECK_EQUAL(work.error.unit, 1);
    file = fopen(world.paths[1], "wb");
    CHECK(file != NULL && fclose(file) == 0);
    CHECK_EQUAL(atomic_load(&world.script.live_streams), 0);
    work_end(&work);
}

/* The second unit's chunk has a null in its 30th row. */
static void an_error_names_unit_and_row(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    struct dice dice = {3};
    struct chunk_plan plan = {.type = 5, .row_count = 100, .page_levels = 10, .has_null_rows = true};
    struct chunk chunk = chunk_make(&plan, &dice);
    chunk.definition[30] = 0;
    chunk_write(&chunk, &dice);
    FILE *file = fopen(world.paths[1], "wb");
    CHECK(file != NULL);
    CHECK_EQUAL(fwrite(chunk.file.at, 1, chunk.file.count, file), chunk.file.count);
    CHECK_EQUAL(fclose(file), 0);
    look_at_files(&world);
    world.chunks[1] = chunk.chunk;
    chunk_free(&chunk);
    work_begin(&work, &world, 100, both, 2);
    CHECK_EQUAL(work_open(&work, 1, both, 2, 7), 0);
    CHECK_EQUAL(work_fill(&work, 0, 10), 0);
    CHECK_EQUAL(work_fill(&work, 10, 50), EIO);
    CHECK_EQUAL(work.filled_rows, 0);
    CHECK_EQUAL(work.error.unit, 1);
    CHECK_EQUAL(work.error.row, 30);
    CHECK_CONTAINS(work.error.message, "column 'c0' has a null");
    work_close(&work);
    world.script.fail_row = 40 + 64;
    CHECK_EQUAL(work_open(&work, 1, both + 1, 1, 0), 0);
    CHECK_EQUAL(work_fill(&work, 0, 100), EIO);
    CHECK_EQUAL(work.filled_rows, 64);
    CHECK_EQUAL(work.error.row, 64);
    work_close(&work);
    work_end(&work);
}

/* What is booked for columns decoded here is not the stream's: a decoder that holds a byte too many is seen. */
static void a_stream_may_not_hold_what_is_booked_for_columns_decoded_here(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    work_begin(&work, &world, 100, both, 2);
    for (int i = 0; i < 500; i++) { /* cursors that are closed leave no trace */
        CHECK_EQUAL(work_open(&work, 1, both, 2, 0), 0);
        work_close(&work);
    }
    CHECK_EQUAL(work_open(&work, 1, both, 2, 0), 0);
    uint64_t booked_bytes = work.grant.booked_bytes;
    uint64_t streamed_bytes = fb__source_cursor_bytes(work.source, both + 1, 1, 64) - 2 * sizeof(void *);
    /* 100 rows of 16 at a time: what the piece itself has is counted by the script and small beside this. */
    atomic_store(&world.script.allocated_bytes, (int64_t)streamed_bytes - 3000);
    CHECK_EQUAL(work_fill(&work, 0, 50), 0);
    CHECK_EQUAL(work.grant.booked_bytes, booked_bytes);
    atomic_store(&world.script.allocated_bytes, (int64_t)streamed_bytes);
    CHECK_EQUAL(work_fill(&work, 50, 30), 0);
    uint64_t grown_bytes = work.grant.booked_bytes - booked_bytes;
    CHECK(grown_bytes > 0 && grown_bytes < 3000);
    /* And where the limit has no room for it, the cursor lets go and says so. */
    fb__ledger_lower_limit(work.pool->ledger, fb__ledger_total(work.pool->ledger));
    atomic_fetch_add(&world.script.allocated_bytes, 5000);
    CHECK_EQUAL(work_fill(&work, 80, 20), EAGAIN);
    CHECK(work.filled_rows < 20);
    CHECK(work.error.required_bytes >= 4000 && work.error.required_bytes < 9000);
    CHECK_EQUAL(atomic_load(&work.source->foreign_peak_bytes), work.error.required_bytes);
    uint64_t done = 80 + work.filled_rows;
    work_close(&work);
    /* The rows that the columns decoded here were ahead are filled once more. */
    atomic_store(&world.script.allocated_bytes, 0);
    CHECK_EQUAL(work_open(&work, 1, both, 2, done), 0);
    CHECK_EQUAL(work_fill(&work, done, 100 - done), 0);
    check_numbers(&work, 0, 100, 40);
    CHECK_EQUAL(fb__batch_finish(work.batch, NULL), 0);
    work_close(&work);
    atomic_store(&world.script.allocated_bytes, 0);
    work_end(&work);
}

static void every_allocation_of_a_cursor_may_fail(void)
{
    struct world world;
    struct work work;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    work_begin(&work, &world, 100, both, 2);
    struct fb__gate *gate = fb__ledger_gate(work.pool->ledger);
    int64_t after = 0;
    for (int code = ENOMEM; code; after++) {
        fb__gate_fail_nth(gate, after, 1);
        code = work_open(&work, 1, both, 2, 0);
        if (code == 0) {
            code = work_fill(&work, 0, 100);
            work_close(&work);
        }
        fb__gate_fail_nth(gate, 0, 0);
        CHECK(code == 0 || code == ENOMEM);
        CHECK_EQUAL(work.grant.committed_bytes, 0);
        CHECK_EQUAL(open_descriptors(), world.descriptors_before);
        CHECK_EQUAL(atomic_load(&world.script.live_streams), 0);
        fb__pool_return(work.batch);
        work.batch = fixture_take(work.pool, 0, 100);
    }
    CHECK(after > 3);
    work_end(&work);
}

/* ---- making ---- */

static void what_a_source_is_told_must_go_together(void)
{
    struct world world;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    const struct world good = world;
    for (int i = 0; i < 9; i++) {
        struct fb_source *source = NULL;
        struct fb_error error;
        int expected = EINVAL;
        const char *text = "are missing";
        switch (i) {
        case 0:
            world.parquet.columns = NULL;
            break;
        case 1:
            world.parquet.chunks = NULL;
            break;
        case 2:
            world.columns[0].physical_type = FB_PARQUET_FLOAT;
            text = "column 0: values of Parquet type 4 are not decoded to elements of 8 bytes";
            break;
        case 3:
            world.unit_files[1] = 2;
            text = "unit 1 is in file 2 of 2";
            break;
        case 4:
            world.chunks[1].codec = 2;
            expected = ENOTSUP;
            text = "pages of codec 2 cannot be decoded here";
            break;
        case 5:
            world.chunks[1].stored_bytes = world.files[1].size_bytes - world.chunks[1].offset + 1;
            text = "is not inside the file";
            break;
        case 6:
            world.chunks[0].value_count = 41;
            text = "a column chunk has 41 values where the unit has 40 rows";
            break;
        case 7:
            world.files[0].path = NULL;
            text = "file 0 has no path";
            break;
        default:
            world.parquet.files = NULL;
            break;
        }
        CHECK_EQUAL(world_make(&world, &source, &error), expected);
        CHECK_CONTAINS(error.message, text);
        CHECK(source == NULL);
        memcpy(world.files, good.files, sizeof world.files);
        memcpy(world.columns, good.columns, sizeof world.columns);
        memcpy(world.chunks, good.chunks, sizeof world.chunks);
        memcpy(world.unit_files, good.unit_files, sizeof world.unit_files);
        world.parquet = (struct fb_parquet){world.files, 2, world.unit_files, world.columns, world.chunks};
    }
    /* The context stayed with the caller each time. */
    world_end(&world, 0);
}

static void a_source_that_could_not_be_made_leaves_nothing(void)
{
    struct world world;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    struct ArrowSchema schema;
    script_schema(both, 2, &schema);
    struct fb_source *source = NULL;
    int64_t after = 0;
    for (int code = ENOMEM; code; after++) {
        struct fb__gate gate;
        fb__source_gate_init(&gate);
        fb__gate_fail_nth(&gate, after, 1);
        code = fb__source_make_parquet(&gate, &schema, world.unit_rows, 2, world_costs, &world_callbacks, &world.script,
                                       &world.parquet, &source, NULL);
        CHECK(code == 0 || code == ENOMEM);
    }
    CHECK_EQUAL(after, 5); /* the streams, the two of a layout to check with, the source, and none that failed */
    schema.release(&schema);
    CHECK_EQUAL(atomic_load(&world.script.releases), 0);
    fb_source_release(source);
    world_end(&world, 1);
}

static void costs_cover_what_cursors_take(void)
{
    struct world world;
    const uint64_t unit_rows[] = {40, 100};
    world_begin(&world, unit_rows, 2, true);
    uint64_t most_bytes = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t bytes = fb__parquet_column_bytes(&world.columns[0], (uint32_t)world.chunks[i].codec);
        if (bytes > most_bytes) most_bytes = bytes;
    }
    struct fb_source *source = world_source(&world);
    CHECK_EQUAL(source->costs[0].fixed_bytes, most_bytes + 2 * sizeof(void *));
    CHECK_EQUAL(source->costs[0].row_bytes, 0);
    CHECK_EQUAL(source->costs[0].weight, 8);
    CHECK_EQUAL(source->costs[1].fixed_bytes, 64 + 2 * sizeof(void *));
    CHECK_EQUAL(source->costs[1].row_bytes, 64);
    CHECK_EQUAL(source->variable_row_bytes[FB_STORAGE_DENSE][1], 16);
    CHECK(source->plan_bytes > source->owned_bytes + CONTEXT_BYTES);
    fb_source_release(source);
    world_end(&world, 1);
}

/* ---- a loader over it ---- */

static void read_epochs(bool has_text, uint32_t thread_count, uint64_t batch_rows, bool preserve_order)
{
    struct world world;
    const uint64_t unit_rows[] = {7, 0, 95, 31, 1, 250};
    world_begin(&world, unit_rows, 6, has_text);
    const struct fb_loader_options options = {.batch_rows = batch_rows,
                                              .memory_limit_bytes = 8 << 20,
                                              .prefetch_batches = 2,
                                              .thread_count = thread_count,
                                              .preserve_order = preserve_order};
    struct fb_loader *loader;
    struct fb_error error;
    int code = fb_loader_create(&options, world_source(&world), &loader, &error);
    if (code) fprintf(stderr, "%s\n", error.message);
    CHECK_EQUAL(code, 0);
    for (int epoch = 0; epoch < 2; epoch++) {
        CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
        uint64_t rows = 0;
        for (;;) {
            struct fb_batch *batch;
            code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, &error);
            if (code) fprintf(stderr, "%s\n", error.message);
            CHECK_EQUAL(code, 0);
            if (!batch) break;
            CHECK(script_check_batch(batch, batch_rows, has_text));
            rows += fb_batch_rows(batch);
            fb_batch_release(batch);
        }
        CHECK_EQUAL(rows, 384);
    }
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
    CHECK(atomic_load(&world.script.leaves) > 0);
    world_end(&world, 1);
}

static void a_loader_gives_every_row_once(void)
{
    for (uint32_t threads = 1; threads <= 3; threads++) {
        read_epochs(true, threads, 10, true);
        read_epochs(true, threads, 64, false);
        read_epochs(false, threads, 33, true);
        read_epochs(false, threads, 1000, false);
    }
}

static void the_codecs_of_this_build_are_known(void)
{
    CHECK(fb_parquet_codec_is_supported(FB__CODEC_UNCOMPRESSED));
    CHECK(!fb_parquet_codec_is_supported(2));
    CHECK_EQUAL(fb_parquet_codec_is_supported(FB__CODEC_SNAPPY), fb__codec_is_supported(FB__CODEC_SNAPPY));
}

int main(void)
{
    RUN(a_cursor_of_both_kinds_fills_both);
    RUN(a_set_of_one_kind_opens_nothing_of_the_other);
    RUN(a_file_that_changed_is_refused);
    RUN(an_error_names_unit_and_row);
    RUN(a_stream_may_not_hold_what_is_booked_for_columns_decoded_here);
    RUN(every_allocation_of_a_cursor_may_fail);
    RUN(what_a_source_is_told_must_go_together);
    RUN(a_source_that_could_not_be_made_leaves_nothing);
    RUN(costs_cover_what_cursors_take);
    RUN(a_loader_gives_every_row_once);
    RUN(the_codecs_of_this_build_are_known);
    return 0;
}
