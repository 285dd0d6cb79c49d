/*
 * Parquet files: columns that are decoded here beside columns that are read as a stream.
 *
 *     cursor = file descriptor + a column chunk for each column decoded here
 *            + a cursor of the stream source inside, for the others
 *
 * The stream source inside has the same units, schema and column numbers; a cursor of it is opened for those columns
 * of a set that are not decoded here.
 *
 *     one allocation:  | struct | files | chunks | columns | number among those decoded here | file of a unit | paths |
 *
 * Locking: none; a source is immutable once made but for the atomic counters of its base and of the stream source's.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source/parquet/codec.h"
#include "source/parquet/column.h"
#include "source/source.h"

#define NOT_HERE UINT32_MAX /* number of a column that is read as a stream */
/* What a column takes in a cursor's table: a pointer or a column number, and as much again for whole pages. */
#define SLOT_BYTES (2 * sizeof(void *))

struct parquet_source {
    struct fb_source base;
    struct fb_source *streams;
    const struct fb_parquet_file *files;
    const struct fb_parquet_chunk *chunks; /* unit by unit, here_count each */
    const struct fb_parquet_column *columns;
    const uint32_t *here; /* one a column: its number among those decoded here, or NOT_HERE */
    const uint32_t *unit_files;
    uint32_t here_count;
};

struct parquet_cursor {
    struct fb__open_request request;
    uint64_t row;            /* next row of the unit to be asked for */
    void *table;             /* pointers to here_count open columns, then the numbers of streamed_count columns */
    uint32_t here_count;     /* of the set */
    uint32_t open_count;     /* of those */
    uint32_t streamed_count;
    int file_descriptor;     /* -1: none */
    bool is_stream_open;
    bool is_at_row;          /* the columns decoded here are; before the first fill they are at row 0 */
    _Alignas(max_align_t) unsigned char stream_room[FB__STREAM_CURSOR_BYTES];
};

_Static_assert(sizeof(struct parquet_cursor) <= FB__CURSOR_BYTES, "a Parquet cursor fits its room");

static struct parquet_source *parquet_source_of(struct fb_source *source)
{
    return FB__CONTAINER_OF(source, struct parquet_source, base);
}

static struct parquet_cursor *cursor_in(union fb__cursor_room *room)
{
    return (struct parquet_cursor *)(void *)room;
}

static union fb__cursor_room *stream_room_of(struct parquet_cursor *cursor)
{
    return (union fb__cursor_room *)(void *)cursor->stream_room;
}

static struct fb__parquet_column **open_columns_of(const struct parquet_cursor *cursor)
{
    return cursor->table;
}

static uint32_t *streamed_columns_of(const struct parquet_cursor *cursor)
{
    return (uint32_t *)(void *)(open_columns_of(cursor) + cursor->here_count);
}

static uint64_t table_bytes_of(const struct parquet_cursor *cursor)
{
    return cursor->here_count * sizeof(struct fb__parquet_column *) + cursor->streamed_count * sizeof(uint32_t);
}

/* ---- opening ---- */

/* Some codes tell the callers of this library to wait, to retry or to raise the limit: a file means none of that. */
static int fail_open(struct fb_error *error)
{
    int code = errno;
    bool is_ours =
        code == EAGAIN || code == EINTR || code == ETIMEDOUT || code == EDEADLK || code == ENOBUFS || code == ECANCELED;
    return fb__fail(error, is_ours ? EIO : code, "the file could not be opened: %m");
}

static int open_file(const struct fb_parquet_file *file, int *file_descriptor, struct fb_error *error)
{
    int opened;
    do opened = open(file->path, O_RDONLY | O_CLOEXEC);
    while (opened < 0 && errno == EINTR);
    if (opened < 0) return fail_open(error);
    struct stat now;
    int code = 0;
    if (fstat(opened, &now) != 0) {
        code = fail_open(error);
    } else if ((uint64_t)now.st_size != file->size_bytes ||
               now.st_mtim.tv_sec * INT64_C(1000000000) + now.st_mtim.tv_nsec != file->modified_ns) {
        code = fb__fail(error, EIO, "the file has changed since the loader was made");
    }
    if (code) {
        (void)close(opened);
        return code;
    }
    *file_descriptor = opened;
    return 0;
}

static int make_table(struct parquet_source *source, struct parquet_cursor *cursor, struct fb_error *error)
{
    const struct fb__open_request *request = &cursor->request;
    for (uint32_t i = 0; i < request->column_count; i++)
        if (source->here[request->columns[i]] != NOT_HERE) cursor->here_count++;
    cursor->streamed_count = request->column_count - cursor->here_count;
    if (request->column_count == 0) return 0;
    int code = fb__gate_alloc_granted(fb__ledger_gate(request->ledger), request->grant, table_bytes_of(cursor),
                                      &cursor->table, error);
    if (code) return code;
    atomic_fetch_add(&source->streams->decoded_here_bytes, request->column_count * SLOT_BYTES);
    uint32_t *streamed = streamed_columns_of(cursor);
    for (uint32_t i = 0; i < request->column_count; i++)
        if (source->here[request->columns[i]] == NOT_HERE) *streamed++ = request->columns[i];
    return 0;
}

static int open_columns(struct parquet_source *source, struct parquet_cursor *cursor, struct fb_error *error)
{
    const struct fb__open_request *request = &cursor->request;
    if (cursor->here_count == 0) return 0;
    int code = open_file(&source->files[source->unit_files[request->unit]], &cursor->file_descriptor, error);
    if (code) return code;
    for (uint32_t i = 0; i < request->column_count; i++) {
        uint32_t column = request->columns[i];
        uint32_t here = source->here[column];
        if (here == NOT_HERE) continue;
        const struct fb__parquet_column_request wanted = {
            .file_descriptor = cursor->file_descriptor,
            .chunk = &source->chunks[request->unit * source->here_count + here],
            .description = &source->columns[column],
            .layout = request->layout,
            .column = column,
            .row_count = source->base.unit_rows[request->unit],
            .ledger = request->ledger,
            .grant = request->grant,
            .counter = &source->streams->decoded_here_bytes,
        };
        code = fb__parquet_column_open(&wanted, &open_columns_of(cursor)[cursor->open_count], error);
        if (code) return code;
        cursor->open_count++;
    }
    return 0;
}

static int open_streamed(struct parquet_source *source, struct parquet_cursor *cursor, struct fb_error *error)
{
    if (cursor->streamed_count == 0) return 0;
    struct fb__open_request request = cursor->request;
    request.columns = streamed_columns_of(cursor);
    request.column_count = cursor->streamed_count;
    int code = source->streams->ops->open(source->streams, &request, stream_room_of(cursor), error);
    cursor->is_stream_open = code == 0;
    return code;
}

static void let_go(struct parquet_source *source, struct parquet_cursor *cursor)
{
    if (cursor->is_stream_open) source->streams->ops->close(source->streams, stream_room_of(cursor));
    cursor->is_stream_open = false;
    while (cursor->open_count > 0) fb__parquet_column_close(open_columns_of(cursor)[--cursor->open_count]);
    if (cursor->file_descriptor >= 0) (void)close(cursor->file_descriptor);
    cursor->file_descriptor = -1;
    if (!cursor->table) return;
    fb__gate_free_granted(fb__ledger_gate(cursor->request.ledger), cursor->request.grant, cursor->table,
                          table_bytes_of(cursor));
    cursor->table = NULL;
    atomic_fetch_sub(&source->streams->decoded_here_bytes, cursor->request.column_count * SLOT_BYTES);
}

static int open_parquet(struct fb_source *base, const struct fb__open_request *request, union fb__cursor_room *room,
                        struct fb_error *error)
{
    struct parquet_source *source = parquet_source_of(base);
    assert(request->unit < base->unit_count && request->first_row <= base->unit_rows[request->unit]);
    struct parquet_cursor *cursor = cursor_in(room);
    memset(cursor, 0, sizeof *cursor);
    cursor->request = *request;
    cursor->file_descriptor = -1;
    cursor->row = request->first_row;
    int code = make_table(source, cursor, error);
    if (code == 0) code = open_columns(source, cursor, error);
    if (code == 0) code = open_streamed(source, cursor, error);
    if (code == 0) return 0;
    let_go(source, cursor);
    (void)fb__fail_at(error, (int64_t)request->unit, -1);
    return code;
}

/* ---- filling ---- */

/* The columns decoded here: up to the first row asked for, and then the rows. */
static int fill_here(struct parquet_cursor *cursor, struct fb_batch *batch, uint64_t place, uint64_t row_count,
                     struct fb_error *error)
{
    uint64_t skipped_rows = cursor->is_at_row ? 0 : cursor->row;
    for (uint32_t i = 0; i < cursor->open_count; i++) {
        struct fb__parquet_column *column = open_columns_of(cursor)[i];
        uint64_t null_row = UINT64_MAX;
        int code = skipped_rows > 0 ? fb__parquet_column_skip(column, skipped_rows, error) : 0;
        if (code == 0) code = fb__parquet_column_fill(column, batch, place, row_count, &null_row, error);
        if (code == 0) continue;
        uint64_t row = null_row == UINT64_MAX ? cursor->row : cursor->row + null_row;
        (void)fb__fail_at(error, (int64_t)cursor->request.unit, (int64_t)row);
        return code;
    }
    cursor->is_at_row = true;
    return 0;
}

static void note_foreign_peak(struct parquet_source *source)
{
    uint64_t bytes = atomic_load(&source->streams->foreign_peak_bytes);
    uint64_t peak_bytes = atomic_load(&source->base.foreign_peak_bytes);
    while (bytes > peak_bytes && !atomic_compare_exchange_weak(&source->base.foreign_peak_bytes, &peak_bytes, bytes)) {
    }
}

static int fill_from_parquet(struct fb_source *base, union fb__cursor_room *room, struct fb_batch *batch,
                             uint64_t place, uint64_t row_count, uint64_t *filled_rows, struct fb_error *error)
{
    struct parquet_source *source = parquet_source_of(base);
    struct parquet_cursor *cursor = cursor_in(room);
    assert(row_count <= base->unit_rows[cursor->request.unit] - cursor->row);
    *filled_rows = 0;
    int code = fill_here(cursor, batch, place, row_count, error);
    if (code) return code;
    if (!cursor->is_stream_open) {
        *filled_rows = row_count;
    } else {
        code = source->streams->ops->fill(source->streams, stream_room_of(cursor), batch, place, row_count, filled_rows,
                                          error);
        if (code) note_foreign_peak(source);
    }
    cursor->row += *filled_rows;
    return code;
}

static void close_parquet(struct fb_source *base, union fb__cursor_room *room)
{
    let_go(parquet_source_of(base), cursor_in(room));
}

static void leave_parquet(struct fb_source *base)
{
    struct fb_source *streams = parquet_source_of(base)->streams;
    if (streams->ops->leave) streams->ops->leave(streams);
}

static void destroy_parquet(struct fb_source *base)
{
    struct fb_source *streams = parquet_source_of(base)->streams;
    streams->ops->destroy(streams);
    fb__source_free(base);
}

static const struct fb__source_ops parquet_ops = {
    .open = open_parquet,
    .fill = fill_from_parquet,
    .close = close_parquet,
    .leave = leave_parquet,
    .destroy = destroy_parquet,
};

/* ---- checking ---- */

static uint32_t count_here(const struct fb_parquet *parquet, uint32_t column_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < column_count; i++) count += parquet->columns[i].is_decoded_here;
    return count;
}

static int check_columns(struct fb__gate *gate, const struct ArrowSchema *schema, const struct fb_parquet *parquet,
                         struct fb_error *error)
{
    if (!parquet->columns && schema->n_children > 0) return fb__fail(error, EINVAL, "the Parquet columns are missing");
    for (uint32_t i = 0; i < (uint32_t)schema->n_children; i++) {
        if (!parquet->columns[i].is_decoded_here) continue;
        struct fb__layout layout;
        int code = fb__layout_init_column(&layout, gate, schema->children[i], error);
        if (code) return code;
        code = fb__parquet_column_check(&parquet->columns[i], layout.columns, i, error);
        fb__layout_destroy(&layout);
        if (code) return code;
    }
    return 0;
}

static int check_chunk(const struct fb_parquet_chunk *chunk, const struct fb_parquet_file *file, bool is_list,
                       uint64_t unit_rows, struct fb_error *error)
{
    if (chunk->codec > UINT32_MAX || !fb__codec_is_supported((uint32_t)chunk->codec))
        return fb__fail(error, ENOTSUP, "pages of codec %" PRIu64 " cannot be decoded here", chunk->codec);
    if (chunk->offset > file->size_bytes || chunk->stored_bytes > file->size_bytes - chunk->offset)
        return fb__fail(error, EINVAL,
                        "a column chunk of %" PRIu64 " bytes at %" PRIu64 " is not inside the file of %" PRIu64
                        " bytes",
                        chunk->stored_bytes, chunk->offset, file->size_bytes);
    if (is_list ? chunk->value_count < unit_rows : chunk->value_count != unit_rows)
        return fb__fail(error, EINVAL, "a column chunk has %" PRIu64 " values where the unit has %" PRIu64 " rows",
                        chunk->value_count, unit_rows);
    return 0;
}

static int check_chunks(const struct fb_parquet *parquet, uint32_t column_count, const uint64_t *unit_rows,
                        uint64_t unit_count, struct fb_error *error)
{
    uint32_t here_count = count_here(parquet, column_count);
    bool is_complete = parquet->files && parquet->unit_files && (parquet->chunks || here_count == 0);
    if (!is_complete && unit_count > 0) return fb__fail(error, EINVAL, "the files or column chunks are missing");
    const struct fb_parquet_chunk *chunk = parquet->chunks;
    for (uint64_t unit = 0; unit < unit_count; unit++) {
        if (parquet->unit_files[unit] >= parquet->file_count)
            return fb__fail(error, EINVAL, "unit %" PRIu64 " is in file %" PRIu32 " of %" PRIu64, unit,
                            parquet->unit_files[unit], parquet->file_count);
        const struct fb_parquet_file *file = &parquet->files[parquet->unit_files[unit]];
        for (uint32_t i = 0; i < column_count; i++) {
            const struct fb_parquet_column *column = &parquet->columns[i];
            if (!column->is_decoded_here) continue;
            int code = check_chunk(chunk++, file, column->max_repetition > 0, unit_rows[unit], error);
            if (code == 0) continue;
            (void)fb__fail_at(error, (int64_t)unit, -1);
            return code;
        }
    }
    for (uint64_t i = 0; i < parquet->file_count; i++)
        if (!parquet->files[i].path || parquet->files[i].size_bytes > (uint64_t)INT64_MAX)
            return fb__fail(error, EINVAL, "file %" PRIu64 " has no path or more than 2^63 - 1 bytes", i);
    return 0;
}

/* ---- making ---- */

/* Where the tables begin in the source's own struct. */
struct places {
    uint64_t files_at, chunks_at, columns_at, here_at, unit_files_at, paths_at;
    uint64_t total_bytes; /* UINT64_MAX: too many */
};

static uint64_t append(uint64_t *total_bytes, uint64_t count, uint64_t item_bytes)
{
    uint64_t bytes;
    uint64_t begin = *total_bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes) || __builtin_add_overflow(bytes, UINT64_C(15), &bytes) ||
        __builtin_add_overflow(bytes & ~UINT64_C(15), begin, total_bytes))
        *total_bytes = UINT64_MAX;
    return begin;
}

static struct places place_tables(const struct fb_parquet *parquet, uint32_t column_count, uint64_t unit_count)
{
    struct places places = {0};
    uint64_t chunk_count, path_bytes = 0;
    if (__builtin_mul_overflow(unit_count, (uint64_t)count_here(parquet, column_count), &chunk_count))
        chunk_count = UINT64_MAX;
    for (uint64_t i = 0; i < parquet->file_count; i++) path_bytes += strlen(parquet->files[i].path) + 1;
    uint64_t *total_bytes = &places.total_bytes;
    (void)append(total_bytes, 1, sizeof(struct parquet_source));
    places.files_at = append(total_bytes, parquet->file_count, sizeof(struct fb_parquet_file));
    places.chunks_at = append(total_bytes, chunk_count, sizeof(struct fb_parquet_chunk));
    places.columns_at = append(total_bytes, column_count, sizeof(struct fb_parquet_column));
    places.here_at = append(total_bytes, column_count, sizeof(uint32_t));
    places.unit_files_at = append(total_bytes, unit_count, sizeof(uint32_t));
    places.paths_at = append(total_bytes, path_bytes, 1);
    return places;
}

static void copy_files(const struct fb_parquet *parquet, struct fb_parquet_file *files, char *paths)
{
    for (uint64_t i = 0; i < parquet->file_count; i++) {
        uint64_t bytes = strlen(parquet->files[i].path) + 1;
        files[i] = parquet->files[i];
        files[i].path = memcpy(paths, parquet->files[i].path, bytes);
        paths += bytes;
    }
}

static void copy_some(void *to, const void *from, uint64_t count, uint64_t item_bytes)
{
    if (count > 0) memcpy(to, from, count * item_bytes);
}

static void copy_tables(struct parquet_source *source, const struct fb_parquet *parquet, const struct places *places)
{
    char *own = (char *)source;
    uint64_t unit_count = source->base.unit_count;
    uint32_t column_count = source->base.column_count;
    uint32_t *here = (uint32_t *)(void *)(own + places->here_at);
    for (uint32_t i = 0; i < column_count; i++)
        here[i] = parquet->columns[i].is_decoded_here ? source->here_count++ : NOT_HERE;
    copy_files(parquet, (struct fb_parquet_file *)(void *)(own + places->files_at), own + places->paths_at);
    copy_some(own + places->chunks_at, parquet->chunks, unit_count * source->here_count, sizeof *parquet->chunks);
    copy_some(own + places->columns_at, parquet->columns, column_count, sizeof *parquet->columns);
    copy_some(own + places->unit_files_at, parquet->unit_files, unit_count, sizeof *parquet->unit_files);
    source->files = (struct fb_parquet_file *)(void *)(own + places->files_at);
    source->chunks = (struct fb_parquet_chunk *)(void *)(own + places->chunks_at);
    source->columns = (struct fb_parquet_column *)(void *)(own + places->columns_at);
    source->here = here;
    source->unit_files = (uint32_t *)(void *)(own + places->unit_files_at);
}

/* A column decoded here takes what its costliest codec takes, and nothing for a row. */
static void set_costs(struct parquet_source *source)
{
    struct fb_source *base = &source->base;
    for (uint32_t i = 0; i < base->column_count; i++) {
        struct fb_stream_column_cost *cost = &base->costs[i];
        uint32_t here = source->here[i];
        if (here != NOT_HERE) *cost = (struct fb_stream_column_cost){.weight = cost->weight};
        for (uint64_t unit = 0; here != NOT_HERE && unit < base->unit_count; unit++) {
            uint64_t codec = source->chunks[unit * source->here_count + here].codec;
            uint64_t bytes = fb__parquet_column_bytes(&source->columns[i], (uint32_t)codec);
            if (bytes > cost->fixed_bytes) cost->fixed_bytes = bytes;
        }
        if (__builtin_add_overflow(cost->fixed_bytes, SLOT_BYTES, &cost->fixed_bytes)) cost->fixed_bytes = UINT64_MAX;
    }
}

int fb__source_make_parquet(struct fb__gate *gate, const struct ArrowSchema *schema, const uint64_t *unit_rows,
                            uint64_t unit_count, const struct fb_stream_column_cost *costs,
                            const struct fb_stream_source_callbacks *callbacks, void *context,
                            const struct fb_parquet *parquet, struct fb_source **out, struct fb_error *error)
{
    struct fb_source *streams;
    int code = fb__source_make_streams(gate, schema, unit_rows, unit_count, costs, callbacks, context, &streams, error);
    if (code) return code;
    uint32_t column_count = streams->column_count;
    code = check_columns(gate, schema, parquet, error);
    if (code == 0) code = check_chunks(parquet, column_count, unit_rows, unit_count, error);
    if (code) goto fail;
    const struct places places = place_tables(parquet, column_count, unit_count);
    const struct fb__source_parts parts = {
        .ops = &parquet_ops,
        .struct_bytes = places.total_bytes,
        .schema = schema,
        .unit_count = unit_count,
        .unit_rows = unit_rows,
        .costs = costs,
        .is_streamed = true,
    };
    struct fb_source *base;
    code = fb__source_make(gate, &parts, &base, error);
    if (code) goto fail;
    struct parquet_source *source = parquet_source_of(base);
    source->streams = streams;
    base->plan_bytes += streams->plan_bytes;
    copy_tables(source, parquet, &places);
    set_costs(source);
    *out = base;
    return 0;
fail:
    /* Not destroyed: the context stays the caller's. */
    fb__source_free(streams);
    return code;
}

int fb_source_from_parquet(const struct ArrowSchema *schema, const uint64_t *unit_rows, uint64_t unit_count,
                           const struct fb_stream_column_cost *costs,
                           const struct fb_stream_source_callbacks *callbacks, void *context,
                           const struct fb_parquet *parquet, struct fb_source **out, struct fb_error *error)
{
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    return fb__source_make_parquet(&gate, schema, unit_rows, unit_count, costs, callbacks, context, parquet, out,
                                   error);
}

bool fb_parquet_codec_is_supported(uint32_t codec)
{
    return fb__codec_is_supported(codec);
}
