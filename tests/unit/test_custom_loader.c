/* Sources that fill batches themselves, through a loader: several threads, failures in the middle, bytes, nulls. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "forebay/forebay.h"

#define UNITS 7
#define LIST_SIZE 3
enum { NUMBER, TEXT, FLAG, DAY, VECTOR, COLUMNS };

/* What a thread needs to know of the unit it is in: its own cursor, and how far it is. */
struct cursor {
    uint64_t next_row;
};

struct counted {
    uint64_t unit_rows[UNITS];
    uint64_t unit_start[UNITS];
    uint64_t rows;
    uint64_t fail_row; /* of the epoch */
    bool is_split;
    bool has_nulls;    /* rows that 10 divides */
    _Atomic int64_t opened, closed, releases;
    _Atomic int64_t columns_asked; /* summed over all opens */
};

static uint64_t text_of(uint64_t row, char *text)
{
    return (uint64_t)sprintf(text, "%.*s%llu", (int)(row % 20), "....................", (unsigned long long)row);
}

static int open_counted(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count,
                        uint64_t first_row, void **cursor, struct fb_error *error)
{
    struct counted *counted = context;
    CHECK(unit < UNITS && column_count > 0 && columns[column_count - 1] < COLUMNS);
    struct cursor *mine = malloc(sizeof *mine);
    if (!mine) return fb_error_set(error, ENOMEM, "no memory for a cursor");
    mine->next_row = first_row;
    *cursor = mine;
    atomic_fetch_add(&counted->opened, 1);
    atomic_fetch_add(&counted->columns_asked, column_count);
    return 0;
}

static int fill_column(const struct counted *counted, struct fb_fill *fill, uint32_t column, struct fb_error *error)
{
    uint64_t first = counted->unit_start[fb_fill_unit(fill)] + fb_fill_first_row(fill), rows = fb_fill_rows(fill);
    static const uint64_t widths[] = {8, 0, 1, 8, LIST_SIZE * sizeof(float)};
    void *place = column == TEXT ? NULL : fb_fill_place(fill, column, widths[column], error);
    if (!place && column != TEXT) return error->code;
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t number = first + row;
        bool is_null = counted->has_nulls && number % 10 == 0;
        char text[64];
        uint64_t bytes = text_of(number, text);
        int code = 0;
        if (column == TEXT && !is_null) code = fb_fill_string(fill, column, text, bytes, error);
        if (column == NUMBER || column == DAY) ((int64_t *)place)[row] = (int64_t)number;
        if (column == FLAG) ((uint8_t *)place)[row] = number % 3 == 0;
        for (uint64_t i = 0; column == VECTOR && i < LIST_SIZE; i++)
            ((float *)place)[row * LIST_SIZE + i] = (float)(number + i);
        if (is_null) code = fb_fill_null(fill, column, row, error);
        if (code) return code;
    }
    return 0;
}

static int fill_counted(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    const struct counted *counted = context;
    struct cursor *mine = cursor;
    CHECK_EQUAL(mine->next_row, fb_fill_first_row(fill));
    mine->next_row += fb_fill_rows(fill);
    uint64_t end = counted->unit_start[fb_fill_unit(fill)] + mine->next_row;
    if (end > counted->fail_row) return fb_error_set(error, EBADMSG, "row %d is bad", (int)counted->fail_row);
    uint32_t column_count;
    const uint32_t *columns = fb_fill_columns(fill, &column_count);
    if (!counted->is_split) CHECK_EQUAL(column_count, COLUMNS);
    for (uint32_t i = 0; i < column_count; i++) {
        int code = fill_column(counted, fill, columns[i], error);
        if (code) return code;
    }
    return 0;
}

static void close_counted(void *context, void *cursor)
{
    free(cursor);
    atomic_fetch_add(&((struct counted *)context)->closed, 1);
}

static void release_counted(void *context)
{
    atomic_fetch_add(&((struct counted *)context)->releases, 1);
}

static void keep(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static struct fb_source *make_source(struct counted *counted, const struct fb_fill_column_cost *costs)
{
    const uint64_t unit_rows[UNITS] = {500, 1, 0, 333, 250, 700, 44};
    for (int unit = 0; unit < UNITS; unit++) {
        counted->unit_start[unit] = counted->rows;
        counted->unit_rows[unit] = unit_rows[unit];
        counted->rows += unit_rows[unit];
    }
    struct ArrowSchema item = {.format = "f", .name = "item", .release = keep};
    struct ArrowSchema *items[] = {&item};
    struct ArrowSchema fields[COLUMNS] = {
        {.format = "l", .name = "number", .release = keep},
        {.format = "u", .name = "text", .release = keep},
        {.format = "b", .name = "flag", .release = keep},
        {.format = "tdD", .name = "day", .release = keep},
        {.format = "+w:3", .name = "vector", .n_children = 1, .children = items, .release = keep},
    };
    struct ArrowSchema *children[] = {&fields[0], &fields[1], &fields[2], &fields[3], &fields[4]};
    const struct ArrowSchema schema = {
        .format = "+s", .name = "", .n_children = COLUMNS, .children = children, .release = keep};
    const struct fb_fill_source_callbacks callbacks = {
        .open = open_counted,
        .fill = fill_counted,
        .close = close_counted,
        .release = release_counted,
        .can_split_columns = counted->is_split,
    };
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_fill(&schema, counted->unit_rows, UNITS, costs, &callbacks, counted, &source, &error),
                0);
    return source;
}

static struct fb_loader *make_loader(struct fb_source *source, uint32_t thread_count, enum fb_null_policy null_policy)
{
    const struct fb_loader_options options = {
        .batch_rows = 64,
        .memory_limit_bytes = 1 << 20,
        .prefetch_batches = 3,
        .thread_count = thread_count,
        .preserve_order = true,
        .null_policy = null_policy,
    };
    struct fb_loader *loader;
    struct fb_error error;
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), 0);
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
    return loader;
}

/* Of row `number` of the epoch, which is row `row` of the batch. */
static void check_row(const struct fb_batch *batch, uint64_t row, uint64_t number, bool is_null)
{
    struct fb_column columns[COLUMNS];
    for (uint32_t i = 0; i < COLUMNS; i++) fb_batch_column(batch, i, &columns[i]);
    CHECK_EQUAL(((int64_t *)columns[NUMBER].values)[row], is_null ? 0 : number);
    CHECK_EQUAL(((uint8_t *)columns[FLAG].values)[row], !is_null && number % 3 == 0);
    CHECK_EQUAL(((int64_t *)columns[DAY].values)[row], is_null ? INT64_MIN : (int64_t)number);
    for (uint64_t i = 0; i < LIST_SIZE; i++) {
        float element = ((float *)columns[VECTOR].values)[row * LIST_SIZE + i];
        CHECK(is_null ? element != element : element == (float)(number + i));
    }
    char text[64];
    uint64_t bytes = is_null ? 0 : text_of(number, text);
    const int32_t *offsets = columns[TEXT].offsets;
    CHECK_EQUAL(offsets[row + 1] - offsets[row], bytes);
    if (bytes > 0) CHECK(memcmp((char *)columns[TEXT].values + offsets[row], text, bytes) == 0);
    for (uint32_t i = 0; i < COLUMNS && columns[i].valid; i++) CHECK_EQUAL(columns[i].valid[row], !is_null);
}

/* Reads to the end of the epoch and checks every row; returns how many there were and what fb_loader_next() said. */
static uint64_t read_all(struct fb_loader *loader, const struct counted *counted, int *code, struct fb_error *error)
{
    uint64_t rows = 0;
    struct fb_batch *batch;
    while ((*code = fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, error)) == 0 && batch) {
        for (uint64_t row = 0; row < fb_batch_rows(batch); row++, rows++)
            check_row(batch, row, rows, counted->has_nulls && rows % 10 == 0);
        fb_batch_release(batch);
    }
    return rows;
}

static void close_loader(struct fb_loader *loader, const struct counted *counted)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats), 0);
    CHECK_EQUAL(stats.charged_bytes, 0);
    CHECK_EQUAL(counted->opened, counted->closed);
    CHECK_EQUAL(counted->releases, 1);
}

static void every_row_comes_once_whatever_the_threads(void)
{
    for (uint32_t thread_count = 1; thread_count <= 8; thread_count += thread_count) {
        for (int is_split = 0; is_split < 2; is_split++) {
            struct counted counted = {.fail_row = UINT64_MAX, .is_split = is_split};
            struct fb_loader *loader = make_loader(make_source(&counted, NULL), thread_count, FB_NULLS_ERROR);
            struct fb_plan plan;
            fb_loader_plan(loader, &plan);
            uint32_t most_sets = thread_count < COLUMNS ? thread_count : COLUMNS;
            CHECK_EQUAL(plan.column_sets, is_split ? most_sets : 1);
            for (int epoch = 0; epoch < 2; epoch++) {
                int code;
                struct fb_error error;
                CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
                CHECK_EQUAL(read_all(loader, &counted, &code, &error), counted.rows);
                CHECK_EQUAL(code, 0);
            }
            CHECK_EQUAL(counted.columns_asked, 2 * COLUMNS * (UNITS - 1)); /* one has no rows */
            close_loader(loader, &counted);
        }
    }
}

static void nulls_reach_every_kind_of_column(void)
{
    struct counted counted = {.fail_row = UINT64_MAX, .has_nulls = true, .is_split = true};
    struct fb_loader *loader = make_loader(make_source(&counted, NULL), 3, FB_NULLS_MASK);
    int code;
    struct fb_error error;
    CHECK_EQUAL(read_all(loader, &counted, &code, &error), counted.rows);
    CHECK_EQUAL(code, 0);
    close_loader(loader, &counted);
}

static void a_failure_in_the_middle_comes_after_the_batches_before_it(void)
{
    for (uint32_t thread_count = 1; thread_count <= 4; thread_count++) {
        struct counted counted = {.fail_row = 1000, .is_split = true};
        struct fb_loader *loader = make_loader(make_source(&counted, NULL), thread_count, FB_NULLS_ERROR);
        int code;
        struct fb_error error;
        uint64_t rows = read_all(loader, &counted, &code, &error);
        CHECK_EQUAL(code, EBADMSG);
        CHECK_EQUAL(rows, 1000 / 64 * 64);
        CHECK_EQUAL(error.unit, 4);
        CHECK_CONTAINS(error.message, "row 1000 is bad");
        struct fb_batch *batch;
        CHECK_EQUAL(fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, NULL), EBADMSG);
        close_loader(loader, &counted);
    }
}

static void what_a_cursor_holds_is_in_the_least_and_booked_while_it_is_open(void)
{
    struct counted counted = {.fail_row = UINT64_MAX};
    struct fb_fill_column_cost costs[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) costs[i] = (struct fb_fill_column_cost){.weight = 1};
    struct fb_loader *loader = make_loader(make_source(&counted, costs), 1, FB_NULLS_ERROR);
    struct fb_plan plan;
    fb_loader_plan(loader, &plan);
    uint64_t least_bytes = plan.least_memory_bytes;
    close_loader(loader, &counted);

    counted = (struct counted){.fail_row = UINT64_MAX};
    costs[NUMBER].cursor_bytes = 100000;
    loader = make_loader(make_source(&counted, costs), 1, FB_NULLS_ERROR);
    fb_loader_plan(loader, &plan);
    CHECK_EQUAL(plan.least_memory_bytes, least_bytes + 100000);
    CHECK_EQUAL(plan.piece_rows, 0);
    int code;
    struct fb_error error;
    (void)read_all(loader, &counted, &code, &error);
    CHECK_EQUAL(code, 0);
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    CHECK(stats.accounts[FB_ACCOUNT_READ].peak_bytes >= 100000 && stats.accounts[FB_ACCOUNT_READ].peak_bytes < 101000);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_READ].bytes, 0);
    CHECK(stats.peak_bytes <= 1 << 20);
    close_loader(loader, &counted);
}

/* The least that a source can be: a fill, and nothing to open or close. context: the consumer's thread. */
static int fill_alone(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    CHECK(cursor == NULL);
    CHECK(!pthread_equal(*(pthread_t *)context, pthread_self()));
    int64_t *place = fb_fill_place(fill, 0, sizeof *place, error);
    if (!place) return error->code;
    for (uint64_t row = 0; row < fb_fill_rows(fill); row++) place[row] = (int64_t)(fb_fill_first_row(fill) + row);
    return 0;
}

static void a_source_needs_no_more_than_a_fill_on_a_reader_thread(void)
{
    struct ArrowSchema field = {.format = "l", .name = "number", .release = keep}, *children[] = {&field};
    const struct ArrowSchema schema = {
        .format = "+s", .name = "", .n_children = 1, .children = children, .release = keep};
    const struct fb_fill_source_callbacks callbacks = {.fill = fill_alone};
    const uint64_t unit_rows = 1000;
    pthread_t consumer = pthread_self();
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_fill(&schema, &unit_rows, 1, NULL, &callbacks, &consumer, &source, &error), 0);
    /* On demand, and small: what is in memory already would be filled by the consumer. */
    const struct fb_loader_options options = {.batch_rows = 64, .memory_limit_bytes = 1 << 20, .thread_count = 2};
    struct fb_loader *loader;
    CHECK_EQUAL(fb_loader_create(&options, source, &loader, &error), 0);
    CHECK_EQUAL(fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error), 0);
    struct fb_batch *batch;
    int64_t next = 0; /* with two threads and one unit the batches come in order */
    while (fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, &error) == 0 && batch) {
        struct fb_column column;
        fb_batch_column(batch, 0, &column);
        for (uint64_t row = 0; row < fb_batch_rows(batch); row++) CHECK_EQUAL(((int64_t *)column.values)[row], next++);
        fb_batch_release(batch);
    }
    CHECK_EQUAL(next, 1000);
    (void)fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL);
}

int main(void)
{
    RUN(every_row_comes_once_whatever_the_threads);
    RUN(nulls_reach_every_kind_of_column);
    RUN(a_failure_in_the_middle_comes_after_the_batches_before_it);
    RUN(what_a_cursor_holds_is_in_the_least_and_booked_while_it_is_open);
    RUN(a_source_needs_no_more_than_a_fill_on_a_reader_thread);
    return 0;
}
