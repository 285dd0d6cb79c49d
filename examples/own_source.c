/*
 * A source of one's own: a file of records, as some instrument writes them, goes straight into batches.
 *
 *     file: | record | record | ...     unit: UNIT_ROWS records, the last one fewer     cursor: a buffer of records
 */
#define _POSIX_C_SOURCE 200809L /* pread, fileno */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <forebay/forebay.h>

#define RECORDS 100000
#define UNIT_ROWS 8192
#define BUFFER_ROWS 256

struct record {
    int64_t time_ms;
    double value;
    char station[8]; /* NUL-padded; empty: unknown */
};

enum { TIME, VALUE, STATION, COLUMNS };

/* ---- the callbacks: the file is shared by all cursors, a buffer belongs to one ---- */

static int open_unit(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t first_row,
                     void **cursor, struct fb_error *error)
{
    /* Where to read follows from the rows that fill is asked for, and which columns: all of them, always. */
    (void)context, (void)unit, (void)columns, (void)column_count, (void)first_row;
    *cursor = malloc(BUFFER_ROWS * sizeof(struct record));
    return *cursor ? 0 : fb_error_set(error, ENOMEM, "no memory for a buffer of records");
}

static int read_records(FILE *file, struct record *records, uint64_t first, uint64_t count, struct fb_error *error)
{
    size_t bytes = count * sizeof *records;
    ssize_t got = pread(fileno(file), records, bytes, (off_t)(first * sizeof *records));
    if (got < 0) return fb_error_set(error, errno, "the records could not be read: %s", strerror(errno));
    if ((size_t)got < bytes) return fb_error_set(error, EIO, "the file ends too early");
    return 0;
}

static int fill_rows(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    struct record *records = cursor;
    int64_t *times = fb_fill_place(fill, TIME, sizeof *times, error);
    if (!times) return error->code;
    double *values = fb_fill_place(fill, VALUE, sizeof *values, error);
    if (!values) return error->code;
    uint64_t first = fb_fill_unit(fill) * UNIT_ROWS + fb_fill_first_row(fill), rows = fb_fill_rows(fill);
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t at = row % BUFFER_ROWS;
        if (at == 0) {
            uint64_t count = rows - row < BUFFER_ROWS ? rows - row : BUFFER_ROWS;
            int code = read_records(context, records, first + row, count, error);
            if (code) return code;
        }
        times[row] = records[at].time_ms;
        values[row] = records[at].value;
        size_t length = strnlen(records[at].station, sizeof records[at].station);
        int code = length > 0 ? fb_fill_string(fill, STATION, records[at].station, length, error)
                              : fb_fill_null(fill, STATION, row, error);
        if (code) return code;
    }
    return 0;
}

static void close_unit(void *context, void *cursor)
{
    (void)context;
    free(cursor);
}

static void release_file(void *context)
{
    (void)fclose(context);
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

/* file: [move] */
static int source_from_records(FILE *file, struct fb_source **source, struct fb_error *error)
{
    struct ArrowSchema fields[COLUMNS] = {[TIME] = {.format = "tsm:UTC", .name = "time", .release = release_schema},
                                          [VALUE] = {.format = "g", .name = "value", .release = release_schema},
                                          [STATION] = {.format = "u", .name = "station", .release = release_schema}};
    struct ArrowSchema *children[COLUMNS] = {&fields[TIME], &fields[VALUE], &fields[STATION]};
    const struct ArrowSchema schema = {
        .format = "+s", .name = "", .n_children = COLUMNS, .children = children, .release = release_schema};
    /* The buffer is a cursor's as a whole: it is said once, with the first column. */
    const struct fb_fill_column_cost costs[COLUMNS] = {
        [TIME] = {.cursor_bytes = BUFFER_ROWS * sizeof(struct record), .weight = 1},
        [VALUE] = {.weight = 1},
        [STATION] = {.string_bytes = sizeof((struct record *)0)->station, .weight = 1}};
    const struct fb_fill_source_callbacks callbacks = {
        .open = open_unit, .fill = fill_rows, .close = close_unit, .release = release_file};
    uint64_t unit_rows[RECORDS / UNIT_ROWS + 1], units = 0;
    for (uint64_t left = RECORDS; left > 0; left -= unit_rows[units++])
        unit_rows[units] = left < UNIT_ROWS ? left : UNIT_ROWS;
    return fb_source_from_fill(&schema, unit_rows, units, costs, &callbacks, file, source, error);
}

static FILE *make_file(void)
{
    FILE *file = tmpfile();
    for (int64_t i = 0; file && i < RECORDS; i++) { /* a fifth of them of an unknown station */
        struct record record = {.time_ms = 1700000000000 + i * 20, .value = (double)(i % 50)};
        if (i % 5) (void)snprintf(record.station, sizeof record.station, "st-%d", (int)(i % 5));
        (void)fwrite(&record, sizeof record, 1, file); /* what failed shows in the flush */
    }
    if (file && fflush(file) == 0) return file;
    if (file) (void)fclose(file);
    return NULL;
}

int main(void)
{
    FILE *file = make_file();
    if (!file) return EXIT_FAILURE;
    struct fb_loader_options options = {.batch_rows = 1000, .memory_limit_bytes = 1 << 20, .thread_count = 2};
    options.null_policy = FB_NULLS_MASK;
    struct fb_source *source;
    struct fb_loader *loader = NULL;
    struct fb_batch *batch;
    struct fb_error error;
    uint64_t rows = 0, known = 0;
    int code = source_from_records(file, &source, &error);
    if (code) (void)fclose(file);
    if (code == 0 && (code = fb_loader_create(&options, source, &loader, &error))) fb_source_release(source);
    if (code == 0) code = fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error);
    while (code == 0 && (code = fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, &error)) == 0 && batch) {
        struct fb_column station;
        fb_batch_column(batch, STATION, &station);
        for (uint64_t row = 0; row < fb_batch_rows(batch); row++) known += station.valid[row];
        rows += fb_batch_rows(batch);
        fb_batch_release(batch);
    }
    if (code) fprintf(stderr, "own_source: unit %lld: %s\n", (long long)error.unit, error.message);
    (void)fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL);
    printf("%llu records, %llu of a known station\n", (unsigned long long)rows, (unsigned long long)known);
    return code == 0 && rows == RECORDS && known == RECORDS / 5 * 4 ? EXIT_SUCCESS : EXIT_FAILURE;
}
