/*
 * Every kind of source over the same rows, for the sweeps: column "number" (int64) and, where the kind has it, "text"
 * (utf8), with the values of tests/stress/scripted_source.h; or the columns of world_nested.h. A further kind of source
 * is a line in world_kinds.
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
#include "world_nested.h"

#define WORLD_UNITS_MAX 12
#define WORLD_CONTEXT_BYTES 1000

struct world;

struct world_kind {
    const char *name;
    bool has_text;
    bool is_nested;         /* and has none of the two */
    bool is_exported;       /* FB_STORAGE_ARROW */
    bool has_no_estimate;   /* of what is below lists: figures of refusals say little at a time */
    bool is_once;           /* can be read in one epoch */
    uint64_t block_rows;    /* of a stream whose blocks are not the units */
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
    struct nested nested;
    bool is_exported;
    bool is_booked_ahead;        /* batches, idle and held, may book bytes that they do not have now */
    struct ArrowSchema schema;   /* of what is exported; released: none yet */
    int64_t schema_bytes;        /* that the system gave for it: the caller's, and booked nowhere */
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
    if (world->kind->is_nested) return NESTED_COLUMN_COUNT;
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

/* Empty texts are nulls where that is the same. */
static inline int fill_strings(struct fb_fill *fill, uint64_t first_row, bool gives_nulls, struct fb_error *error)
{
    char text[128];
    int code = 0;
    for (uint64_t i = 0; i < fb_fill_rows(fill) && code == 0; i++) {
        size_t length = script_text(first_row + i, text);
        if (length == 0 && gives_nulls)
            code = fb_fill_null(fill, 1, i, error);
        else
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
            int code = fill_strings(fill, first_row, script->gives_nulls, error);
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

/* The stream is moved only by a call that succeeds. */
static inline int make_once(struct world *world, struct fb_source **out, struct fb_error *error)
{
    struct ArrowArrayStream stream;
    CHECK_EQUAL(open_pull(&world->script, &stream, NULL), 0);
    int code = fb_source_from_stream(&stream, out, error);
    CHECK_EQUAL(stream.release != NULL, code != 0);
    if (code) stream.release(&stream);
    return code;
}

/* ---- nested columns ---- */

static inline struct nested *nested_of(void *script)
{
    return &((struct world *)(void *)((char *)script - offsetof(struct world, script)))->nested;
}

static inline int make_nested_blocks(struct world *world, struct fb_source **out, struct fb_error *error)
{
    struct ArrowArray blocks[WORLD_UNITS_MAX];
    struct nested *nested = &world->nested;
    for (uint64_t unit = 0; unit < world->unit_count; unit++) blocks[unit] = nested_block(nested, unit);
    int code = fb_source_from_blocks(&nested->schema, blocks, world->unit_count, out, error);
    for (uint64_t unit = 0; unit < world->unit_count; unit++) {
        CHECK_EQUAL(blocks[unit].release != NULL, code != 0);
        if (code) blocks[unit].release(&blocks[unit]);
    }
    return code;
}

static inline int open_nested(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    (void)error;
    nested_open(nested_of(context), out);
    return 0;
}

static inline int make_nested_pull(struct world *world, struct fb_source **out, struct fb_error *error)
{
    const struct fb_pull_source_callbacks callbacks = {
        .open = open_nested, .context_bytes = WORLD_CONTEXT_BYTES, .leave = script_leave, .release = script_release};
    int code = fb_source_from_pull(&world->nested.schema, &callbacks, &world->script, out, error);
    if (code == 0) world->expected_releases++;
    return code;
}

static inline int fill_nested(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    (void)cursor;
    return nested_fill(nested_of(context), fill, error);
}

static inline int make_nested_fill(struct world *world, struct fb_source **out, struct fb_error *error)
{
    const struct fb_fill_source_callbacks callbacks = {.fill = fill_nested,
                                                       .release = script_release,
                                                       .context_bytes = WORLD_CONTEXT_BYTES,
                                                       .can_split_columns = true};
    int code = fb_source_from_fill(&world->nested.schema, world->unit_rows, world->unit_count, NULL, &callbacks,
                                   &world->script, out, error);
    if (code == 0) world->expected_releases++;
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
    {"pull", .block_rows = WORLD_PULL_ROWS, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_pull},
    {"pull with text", .has_text = true, .block_rows = WORLD_PULL_ROWS, .context_bytes = WORLD_CONTEXT_BYTES,
     .make = make_pull},
    {"stream, once", .has_text = true, .is_once = true, .block_rows = WORLD_PULL_ROWS, .make = make_once},
    {"fill", .is_exact = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_fill},
    {"fill with text", .has_text = true, .context_bytes = WORLD_CONTEXT_BYTES, .make = make_fill},
    {"Parquet beside streams", .has_text = true, .has_files = true, .knows_its_pages = true,
     .context_bytes = WORLD_CONTEXT_BYTES, .make = make_parquet},
    {"nested blocks", .is_nested = true, .make = make_nested_blocks},
    {"nested blocks as Arrow", .is_nested = true, .is_exported = true, .make = make_nested_blocks},
    {"nested pull", .is_nested = true, .has_no_estimate = true, .context_bytes = WORLD_CONTEXT_BYTES,
     .make = make_nested_pull},
    {"nested pull as Arrow", .is_nested = true, .has_no_estimate = true, .is_exported = true,
     .context_bytes = WORLD_CONTEXT_BYTES, .make = make_nested_pull},
    {"nested fill", .is_nested = true, .has_no_estimate = true, .context_bytes = WORLD_CONTEXT_BYTES,
     .make = make_nested_fill},
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
    if (kind->is_nested) nested_begin(&world->nested, &world->script);
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
    if (world->kind->is_nested) nested_end(&world->nested);
    script_destroy(&world->script);
    if (!world->kind->has_files) return;
    CHECK_EQUAL(unlink(world->path), 0);
    CHECK_EQUAL(rmdir(world->folder), 0);
}

/* Whether the kind can have these units. */
static inline bool world_takes(const struct world_kind *kind, const uint64_t *unit_rows, uint64_t unit_count)
{
    for (uint64_t unit = 0; unit < unit_count && kind->is_nested; unit++)
        if (unit_rows[unit] > NESTED_UNIT_ROWS_MAX) return false;
    return true;
}

/* Sets what of the options, which may have a null policy and fill values, the kind says, and makes rows that fit. */
static inline void world_set_options(struct world *world, bool is_exported, struct fb_loader_options *options)
{
    static const struct fb_column_option dictionary = {.column = NESTED_DICTIONARY_COLUMN, .is_dictionary = true};
    world->is_exported = is_exported || world->kind->is_exported;
    options->storage = world->is_exported ? FB_STORAGE_ARROW : FB_STORAGE_DENSE;
    bool has_nulls = options->null_policy != FB_NULLS_ERROR || world->is_exported;
    world->script.gives_nulls = has_nulls && options->fill_value_count == 0;
    if (!world->kind->is_nested) return;
    world->is_booked_ahead = true; /* for lists to come, until it is settled how much of what there is */
    options->fill_value_count = 0;
    options->column_options = &dictionary;
    options->column_option_count = !world->is_exported;
    nested_make_blocks(&world->nested, has_nulls ? 25 : 0);
}

/* Bytes that a ledger over this world must show when nothing is under way: what the system was asked for. */
static inline int64_t world_expected_charge(const struct world *world)
{
    return fault_live_bytes() - world->schema_bytes + (int64_t)world->kind->context_bytes;
}

/* Whether these bytes are in the books where there are live_bytes. */
static inline bool world_is_booked(const struct world *world, uint64_t charged_bytes, int64_t live_bytes)
{
    if ((int64_t)charged_bytes == live_bytes) return true;
    if (world->is_booked_ahead && (int64_t)charged_bytes > live_bytes) return true;
    fprintf(stderr, "%s: %" PRIu64 " bytes are booked, %" PRId64 " are there\n", world->kind->name, charged_bytes,
            live_bytes);
    return false;
}

/* At no instant was there more than the ledger's peak. */
static inline bool world_is_below(const struct world *world, uint64_t peak_bytes)
{
    return fault_peak_bytes() <= (int64_t)peak_bytes + world->schema_bytes;
}

/* ---- what is exported ---- */

/* Where batches are exported; its code is the function's. */
static inline int world_export_schema(struct world *world, const struct fb_loader *loader, struct fb_error *error)
{
    int64_t before_bytes = fault_live_bytes();
    if (!world->is_exported) return 0;
    int code = fb_loader_export_schema(loader, &world->schema, error);
    CHECK_EQUAL(world->schema.release != NULL, code == 0);
    world->schema_bytes = fault_live_bytes() - before_bytes;
    CHECK_EQUAL(world->schema_bytes > 0, code == 0);
    if (code == 0) CHECK_EQUAL(world->schema.n_children, world_column_count(world));
    return code;
}

static inline void world_release_schema(struct world *world)
{
    if (world->schema.release) world->schema.release(&world->schema);
    world->schema_bytes = 0;
}

/* What the user keeps: a batch, or the array that it became. */
struct world_held {
    struct fb_batch *batch;
    struct ArrowArray array;
};

static inline void world_let_go(struct world_held *held)
{
    fb_batch_release(held->batch);
    if (held->array.release) held->array.release(&held->array);
    *held = (struct world_held){0};
}

/* Row of the epoch that batch number `index` begins with. */
static inline uint64_t world_first_row(const struct world *world, uint64_t batch_rows, uint64_t index)
{
    if (batch_rows > 0) return index * batch_rows;
    if (world->kind->block_rows > 0) return index * world->kind->block_rows;
    uint64_t row = 0;
    for (uint64_t unit = 0; index > 0 || world->unit_rows[unit] == 0; unit++) {
        row += world->unit_rows[unit];
        if (world->unit_rows[unit] > 0) index--;
    }
    return row;
}

static inline bool world_check_script_array(const struct world *world, const struct ArrowArray *array,
                                            uint64_t first_row)
{
    const int64_t *numbers = array->children[0]->buffers[1];
    for (uint64_t i = 0; i < (uint64_t)array->length; i++)
        if (numbers[i] != script_number(first_row + i)) return false;
    if (!world->kind->has_text) return true;
    const struct ArrowArray *texts = array->children[1];
    const int32_t *offsets = texts->buffers[1];
    for (uint64_t i = 0; i < (uint64_t)array->length; i++) {
        char expected[128];
        size_t length = script_text(first_row + i, expected);
        const char *text = (const char *)texts->buffers[2] + offsets[i];
        if ((size_t)(offsets[i + 1] - offsets[i]) != length || memcmp(text, expected, length) != 0) return false;
    }
    return true;
}

/* Takes the batch, whose rows must be the right ones; exports it where that is asked for. Returns its rows. */
static inline uint64_t world_take(struct world *world, struct fb_batch *batch, uint64_t batch_rows,
                                  struct world_held *held)
{
    uint64_t row_count = fb_batch_rows(batch);
    uint64_t first_row = world_first_row(world, batch_rows, fb_batch_index(batch));
    *held = (struct world_held){.batch = batch};
    if (!world->is_exported && world->kind->is_nested) {
        CHECK(nested_check_batch(&world->nested, batch, first_row));
    } else if (!world->is_exported) {
        CHECK(script_check_rows(batch, first_row, world->kind->has_text));
    } else {
        fb_batch_export(batch, &held->array);
        held->batch = NULL;
        CHECK_EQUAL(held->array.length, row_count);
        CHECK(world->kind->is_nested ? nested_check_array(&world->nested, &world->schema, &held->array, first_row)
                                     : world_check_script_array(world, &held->array, first_row));
    }
    return row_count;
}

#endif
