/*
 * Every byte is in one account, and their sum stays under the limit: this program asks for the least limit that would
 * do, takes three times that, and prints the accounts as it goes. Then it keeps batches until the loader says that
 * nothing can go on (EDEADLK), and lets some of them go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <forebay/forebay.h>

#define UNITS 16
#define UNIT_ROWS 20000
#define BATCH_ROWS 1000
#define BATCHES (UNITS * UNIT_ROWS / BATCH_ROWS)

/* ---- a source that counts; examples/own_source.c shows more of how that is done ---- */

static int fill_rows(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error)
{
    (void)context, (void)cursor;
    int64_t *numbers = fb_fill_place(fill, 0, sizeof *numbers, error);
    if (!numbers) return error->code;
    int64_t first = (int64_t)(fb_fill_unit(fill) * UNIT_ROWS + fb_fill_first_row(fill));
    for (uint64_t row = 0; row < fb_fill_rows(fill); row++) numbers[row] = first + (int64_t)row;
    return 0;
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static int make_source(struct fb_source **source, struct fb_error *error)
{
    struct ArrowSchema field = {.format = "l", .name = "number", .release = release_schema};
    struct ArrowSchema *children[] = {&field};
    const struct ArrowSchema schema = {
        .format = "+s", .name = "", .n_children = 1, .children = children, .release = release_schema};
    const struct fb_fill_source_callbacks callbacks = {.fill = fill_rows};
    uint64_t unit_rows[UNITS];
    for (int unit = 0; unit < UNITS; unit++) unit_rows[unit] = UNIT_ROWS;
    return fb_source_from_fill(&schema, unit_rows, UNITS, NULL, &callbacks, NULL, source, error);
}

/* ---- the book ---- */

static void print_accounts(struct fb_loader *loader, const char *when)
{
    struct fb_stats stats;
    fb_loader_stats(loader, &stats);
    printf("%s: %llu of %llu bytes, at most %llu so far\n", when, (unsigned long long)stats.charged_bytes,
           (unsigned long long)stats.memory_limit_bytes, (unsigned long long)stats.peak_bytes);
    for (int i = 0; i < FB_ACCOUNT_COUNT; i++)
        if (stats.accounts[i].peak_bytes > 0)
            printf("    %-8s %8llu  peak %8llu\n", fb_account_name((enum fb_account)i),
                   (unsigned long long)stats.accounts[i].bytes, (unsigned long long)stats.accounts[i].peak_bytes);
}

/* ---- the epoch ---- */

/* Batches as they came; those from first on are still held. */
struct shelf {
    struct fb_batch *batches[BATCHES];
    int count, first;
};

static void let_go(struct shelf *shelf, int keep)
{
    while (shelf->count - shelf->first > keep) fb_batch_release(shelf->batches[shelf->first++]);
}

/* Keeps every batch for as long as the limit allows it. *full_count: how often it did not. */
static int read_greedily(struct fb_loader *loader, struct shelf *shelf, int *full_count, struct fb_error *error)
{
    for (;;) {
        struct fb_batch *batch;
        int code = fb_loader_next(loader, FB_NO_DEADLINE, false, &batch, error);
        if (code == EDEADLK) {
            if (*full_count == 0) printf("%s\n", error->message);
            if ((*full_count)++ == 0) print_accounts(loader, "full");
            let_go(shelf, (shelf->count - shelf->first) / 2);
            continue; /* the epoch goes on where it was */
        }
        if (code || !batch) return code;
        shelf->batches[shelf->count++] = batch;
        if (shelf->count == BATCHES / 2) print_accounts(loader, "half way");
    }
}

int main(void)
{
    struct fb_loader_options options = {
        .batch_rows = BATCH_ROWS, .memory_limit_bytes = 1, .thread_count = 2, .prefetch_batches = FB_PREFETCH_ADAPTIVE};
    struct fb_source *source;
    struct fb_loader *loader = NULL;
    struct shelf shelf = {.count = 0};
    struct fb_error error;
    int full_count = 0;
    int code = make_source(&source, &error);
    if (code == 0) {
        code = fb_loader_create(&options, source, &loader, &error);
        if (code == ENOBUFS) { /* as it must be with one byte: the error says what would do */
            printf("the least limit is %llu bytes\n", (unsigned long long)error.required_bytes);
            options.memory_limit_bytes = 3 * error.required_bytes;
            code = fb_loader_create(&options, source, &loader, &error);
        }
        if (code) fb_source_release(source);
    }
    if (code == 0) code = fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error);
    if (code == 0) code = read_greedily(loader, &shelf, &full_count, &error);
    if (code) fprintf(stderr, "read_the_ledger: %s\n", error.message);

    struct fb_stats stats = {0};
    (void)fb_loader_close(loader, FB_NO_DEADLINE, NULL, &stats);
    printf("closed, %llu bytes still held in %d batches\n", (unsigned long long)stats.charged_bytes,
           shelf.count - shelf.first);
    let_go(&shelf, 0); /* also after the loader is closed */
    bool is_as_promised = shelf.count == BATCHES && full_count > 0 && stats.peak_bytes <= options.memory_limit_bytes;
    return code == 0 && is_as_promised ? EXIT_SUCCESS : EXIT_FAILURE;
}
