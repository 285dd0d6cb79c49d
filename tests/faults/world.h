/*
 * Every kind of source over the same rows, for the sweeps: column "number" (int64) and, where the kind has it, "text"
 * (utf8), with the values of tests/stress/scripted_source.h. A further kind of source is a line in world_kinds.
 */
#ifndef FB_TESTS_FAULT_WORLD_H
#define FB_TESTS_FAULT_WORLD_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../stress/scripted_source.h"
#include "../unit/parquet_fixture.h"
#include "fault.h"
#include "source/source.h"

#define WORLD_UNITS_MAX 12
#define WORLD_CONTEXT_BYTES 1000

struct world;

struct world_kind {
    const char *name;
    bool has_text;
    bool is_exact;          /* the least is all it ever takes */
    bool has_files;
    bool knows_its_pages;   /* with files: buffers are made as large as they get */
    uint64_t context_bytes; /* what it books beside its own memory */
    int (*make)(struct world *world, struct fb_source **out, struct fb_error *error);
};

struct world {
    const struct world_kind *kind;
    struct script script;
    uint64_t unit_rows[WORLD_UNITS_MAX];
    uint64_t unit_count;
    char folder[32];
    char path[64];
    struct fb_parquet_file file;
    uint32_t unit_files[WORLD_UNITS_MAX];
    struct fb_parquet_column columns[SCRIPT_COLUMNS];
    struct fb_parquet_chunk chunks[WORLD_UNITS_MAX];
    int64_t expected_releases; /* of contexts, by the library */
    int64_t descriptors_before;
};

static inline int64_t open_descriptors(void)
{
    int64_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder)) count++;
    CHECK_EQUAL(closedir(folder), 0);
    return count;
}

static inline uint32_t world_column_count(const struct world *world)
{
    return world->kind->has_text ? 2 : 1;
}

static const uint32_t world_columns[SCRIPT_COLUMNS] = {0, 1};
static const struct fb_stream_column_cost world_costs[SCRIPT_COLUMNS] = {
    {.fixed_bytes = 64, .row_bytes = 8, .weight = 8},
    {.fixed_bytes = 64, .row_bytes = 64, .string_bytes = 16, .weight = 24},
};
static const struct fb_stream_source_callbacks world_callbacks = {
    .open = script_open,
    .allocated_bytes = script_allocated_bytes,
    .context_bytes = WORLD_CONTEXT_BYTES,
    .leave = script_leave,
    .release = script_release,
};

/* ---- making each kind ---- */

/* The blocks are moved only by a call that succeeds. */
static inline int make_blocks(struct world *world, struct fb_source **out, struct fb_error *error)
{
    struct ArrowArray blocks[WORLD_UNITS_MAX];
    struct ArrowSchema schema;
    script_schema(world_columns, world_column_count(world), &schema);
    uint64_t block_count = 0;
    for (uint64_t unit = 0; unit < world->unit_count; unit++) {
        if (world->unit_rows[unit] == 0) continue;
        struct ArrowArrayStream stream;
        CHECK_EQUAL(
            script_open(&world->script, unit, world_columns, world_column_count(world), UINT64_MAX, &stream, NULL), 0);
        CHECK_EQUAL(stream.get_next(&stream, &blocks[block_count++]), 0);
        stream.release(&stream);
    }
    int code = fb_source_from_blocks(&schema, blocks, block_count, out, error);
    for (uint64_t i = 0; i < block_count; i++) {
        CHECK_EQUAL(blocks[i].release != NULL, code != 0);
        if (code) blocks[i].release(&blocks[i]);
    }
    schema.release(&schema);
    return code;
}

static inline int make_streams(struct world *world, struct fb_source **out, struct fb_error *error)
{
    struct ArrowSchema schema;
    script_schema(world_columns, world_column_count(world), &schema);
    int code = fb_source_from_streams(&schema, world->unit_rows, world->unit_count, world_costs, &world_callbacks,
                                      &world->script, out, error);
    if (code == 0) world->expected_releases++;
    schema.release(&schema);
    return code;
}

static inline int make_parquet(struct world *world, struct fb_source **out, struct fb_error *error)
{
    const struct fb_parquet parquet = {.files = &world->file,
                                       .file_count = 1,
                                       .unit_files = world->unit_files,
                                       .columns = world->columns,
                                       .chunks = world->chunks};
    struct ArrowSchema schema;
    script_schema(world_columns, world_column_count(world), &schema);
    int code = fb_source_from_parquet(&schema, world->unit_rows, world->unit_count, world_costs, &world_callbacks,
                                      &world->script, &parquet, out, error);
    if (code == 0) world->expected_releases++;
    schema.release(&schema);
    return code;
}

/* ---- sources of unknown length, and of one's own ---- */

#define WORLD_PULL_ROWS 128

/* One stream over the rows of all units. */
static inline int open_pull(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct script *script = context;
    int code = script_open(script, 0, world_columns, script->has_text ? 2 : 1, WORLD_PULL_ROWS, out, error);
    if (code == 0) ((struct script_stream *)out->private_data)->end_row = script->rows;
    return code;
}

static inline int make_pull(struct world *world, struct fb_source **out, struct fb_error *error)
{
    const struct fb_pull_source_callbacks callbacks = {
        .open = open_pull, .context_bytes = WORLD_CONTEXT_BYTES, .leave = script_leave, .release = script_release};
    struct ArrowSchema schema;
    script_schema(world_columns, world_column_count(world), &schema);
    int code = fb_source_from_pull(&schema, &callbacks, &world->script, out, error);
    if (code == 0) world->expected_releases++;
    schema.release(&schema);
    return code;
}

static inline int fill_strings(struct fb_fill *fill, uint64_t first_row, struct fb_error *error)
{
    char text[128];
    int code = 0;
    for (uint64_t i = 0; i < fb_fill_rows(fill) && code == 0; i++) {
        size_t length = script_text(first_row + i, text);
        code = fb_fill_string(fill, 1, length > 0 ? text : NULL, length, error);
    }
    return code;
}

static inline int fill_rows(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    struct script *script = context;
    (void)cursor;
    uint64_t first_row = fb_fill_first_row(fill);
    for (uint64_t unit = 0; unit < fb_fill_unit(fill); unit++) first_row += script->unit_rows[unit];
    uint32_t column_count;
    const uint32_t *columns = fb_fill_columns(fill, &column_count);
    for (uint32_t i = 0; i < column_count; i++) {
        if (columns[i] == 1) {
            int code = fill_strings(fill, first_row, error);
            if (code) return code;
            continue;
        }
        int64_t *place = fb_fill_place(fill, 0, sizeof *place, error);
        if (!place) return error->code;
        for (uint64_t row = 0; row < fb_fill_rows(fill); row++) place[row] = script_number(first_row + row);
    }
    return 0;
}

static inline int make_fill(struct world *world, struct fb_source **out, struct fb_error *error)
{
    static const struct fb_fill_column_cost costs[SCRIPT_COLUMNS] = {
        {.cursor_bytes = 100, .weight = 1}, {.cursor_bytes = 100, .string_bytes = 16, .weight = 3}};
    const struct fb_fill_source_callbacks callbacks = {
        .fill = fill_rows, .release = script_release, .context_bytes = WORLD_CONTEXT_BYTES, .can_split_columns = true};
    struct ArrowSchema schema;
    script_schema(world_columns, world_column_count(world), &schema);
    int code = fb_source_from_fill(&schema, world->unit_rows, world->unit_count, costs, &callbacks, &world->script, out,
                                   error);
    if (code == 0) world->expected_releases++;
    schema.release(&schema);
    return code;
}

static const struct world_kind world_kinds[] = {
    {"blocks", .is_exact = true, .make = make_blocks},
    {"blocks with text", .has_text = true, .make = make_blocks},
    {"streams", .is_exact = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_streams},
    {"streams with text", .has_text = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_streams},
    {"Parquet", .is_exact = true, .has_files = true, .knows_its_pages = true, .context_bytes = WORLD_CONTEXT_BYTES,
     .make = make_parquet},
    {"Parquet of unknown pages", .has_files = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_parquet},
    {"pull", .context_bytes = WORLD_CONTEXT_BYTES, .make = make_pull},
    {"pull with text", .has_text = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_pull},
    {"fill", .is_exact = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_fill},
    {"fill with text", .has_text = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_fill},
    {"Parquet beside streams", .has_text = true, .has_files = true, .knows_its_pages = true,
     .context_bytes = WORLD_CONTEXT_BYTES, .make = make_parquet},
};
#define WORLD_KIND_COUNT (sizeof world_kinds / sizeof *world_kinds)

/* ---- the file ---- */

/* Unit by unit another codec, plain or from a dictionary that pages fall back from. */
static inline void append_chunk(struct world *world, uint64_t unit, uint64_t first_row, FILE *file, struct dice *dice)
{
    static const uint32_t codecs[] = {FB__CODEC_UNCOMPRESSED, FB__CODEC_ZSTD, FB__CODEC_SNAPPY};
    uint32_t codec = codecs[unit % 3];
    uint64_t row_count = world->unit_rows[unit];
    struct chunk_plan plan = {
        .type = 5, /* int64 */
        .row_count = row_count,
        .page_levels = 1 + row_count / 5,
        .has_null_rows = true,
        .codec = fb__codec_is_supported(codec) ? codec : FB__CODEC_UNCOMPRESSED,
        .dictionary_entries = unit % 2 ? (uint32_t)row_count : 0,
        .falls_back = unit % 4 == 3,
    };
    struct chunk chunk = chunk_make(&plan, dice);
    for (uint64_t i = 0; i < row_count; i++) {
        chunk.values[i] = (uint64_t)script_number(first_row + i);
        chunk.indexes[i] = (uint32_t)i;
        if (plan.dictionary_entries > 0) chunk.entries[i] = chunk.values[i];
    }
    chunk_write(&chunk, dice);
    world->chunks[unit] = chunk.chunk;
    world->chunks[unit].offset = (uint64_t)ftell(file) + CHUNK_OFFSET;
    CHECK_EQUAL(fwrite(chunk.file.at, 1, chunk.file.count, file), chunk.file.count);
    struct fb_parquet_column *column = &world->columns[0];
    uint64_t page_bytes = column->page_bytes, stored_bytes = column->stored_page_bytes;
    uint64_t dictionary_bytes = column->dictionary_bytes;
    *column = chunk.description;
    if (world->kind->knows_its_pages) {
        column->page_bytes = page_bytes > chunk.largest_page_bytes ? page_bytes : chunk.largest_page_bytes;
        column->stored_page_bytes = stored_bytes > chunk.file.count ? stored_bytes : chunk.file.count;
        column->dictionary_bytes =
            dictionary_bytes > 8 * plan.dictionary_entries ? dictionary_bytes : 8 * (uint64_t)plan.dictionary_entries;
    }
    chunk_free(&chunk);
}

static inline void write_file(struct world *world)
{
    strcpy(world->folder, "/tmp/fb_fault_XXXXXX");
    CHECK(mkdtemp(world->folder) != NULL);
    snprintf(world->path, sizeof world->path, "%s/data.parquet", world->folder);
    FILE *file = fopen(world->path, "wb");
    CHECK(file != NULL);
    struct dice dice = {7};
    uint64_t row = 0;
    for (uint64_t unit = 0; unit < world->unit_count; unit++) {
        append_chunk(world, unit, row, file, &dice);
        row += world->unit_rows[unit];
    }
    CHECK_EQUAL(fclose(file), 0);
    struct stat now;
    CHECK_EQUAL(stat(world->path, &now), 0);
    world->file = (struct fb_parquet_file){
        .path = world->path,
        .size_bytes = (uint64_t)now.st_size,
        .modified_ns = now.st_mtim.tv_sec * INT64_C(1000000000) + now.st_mtim.tv_nsec,
    };
}

/* ---- begin and end ---- */

static inline void world_begin(struct world *world, const struct world_kind *kind, const uint64_t *unit_rows,
                               uint64_t unit_count)
{
    memset(world, 0, sizeof *world);
    world->kind = kind;
    memcpy(world->unit_rows, unit_rows, unit_count * sizeof *unit_rows);
    world->unit_count = unit_count;
    script_init(&world->script, world->unit_rows, unit_count, kind->has_text);
    if (kind->has_files) write_file(world);
    world->descriptors_before = open_descriptors();
    CHECK_EQUAL(fault_live_bytes(), 0);
}

/* Contexts that the library has taken over and not released. */
static inline int64_t world_contexts(const struct world *world)
{
    return world->expected_releases - atomic_load(&world->script.releases);
}

/* Nothing of the library is left: no memory, thread, descriptor, stream or block; each context was released once. */
static inline void world_check_empty(const struct world *world)
{
    CHECK_EQUAL(fault_live_bytes(), 0);
    CHECK_EQUAL(fault_live_threads(), 0);
    CHECK_EQUAL(open_descriptors(), world->descriptors_before);
    CHECK_EQUAL(atomic_load(&world->script.live_streams), 0);
    CHECK_EQUAL(atomic_load(&world->script.live_arrays), 0);
    CHECK_EQUAL(world_contexts(world), 0);
}

static inline void world_end(struct world *world)
{
    script_destroy(&world->script);
    if (!world->kind->has_files) return;
    CHECK_EQUAL(unlink(world->path), 0);
    CHECK_EQUAL(rmdir(world->folder), 0);
}

/* Bytes that a ledger over this world must show when nothing is under way: what the system was asked for. */
static inline int64_t world_expected_charge(const struct world *world)
{
    return fault_live_bytes() + (int64_t)world->kind->context_bytes;
}

#endif
