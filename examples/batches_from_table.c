/*
 * A table becomes batches. It is made here as an ArrowArrayStream, the form in which Arrow libraries hand tables over.
 * The loader pulls one record batch of it after the other, each charged to the limit until its last row is copied. (For
 * record batches that stay in memory anyway, and for more than one epoch, there is fb_source_from_blocks.)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <forebay/forebay.h>

#define BLOCKS 8
#define BLOCK_ROWS 10000

/* ---- the table: columns "id" (int64) and "price" (double), in blocks ---- */

/* A record batch in one piece of memory: a struct array, its two columns, and their values. */
struct block {
    struct ArrowArray columns[2];
    struct ArrowArray *children[2];
    const void *struct_buffers[1];
    const void *column_buffers[2][2];
    int64_t ids[BLOCK_ROWS];
    double prices[BLOCK_ROWS];
};

/* Of a block, and of its columns, which have no private_data: their memory is the block's. */
static void release_array(struct ArrowArray *array)
{
    free(array->private_data);
    array->release = NULL;
}

static int next_block(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    int *next = stream->private_data;
    *out = (struct ArrowArray){.release = NULL}; /* as it stays at the end of the stream */
    if (*next == BLOCKS) return 0;
    struct block *block = calloc(1, sizeof *block);
    if (!block) return ENOMEM;
    for (int row = 0; row < BLOCK_ROWS; row++) {
        block->ids[row] = *next * BLOCK_ROWS + row;
        block->prices[row] = 0.25 * (row % 100);
    }
    block->column_buffers[0][1] = block->ids; /* [0] would be a bitmap of what is not null */
    block->column_buffers[1][1] = block->prices;
    for (int i = 0; i < 2; i++) {
        block->columns[i] = (struct ArrowArray){
            .length = BLOCK_ROWS, .n_buffers = 2, .buffers = block->column_buffers[i], .release = release_array};
        block->children[i] = &block->columns[i];
    }
    *out = (struct ArrowArray){.length = BLOCK_ROWS,
                               .n_buffers = 1,
                               .buffers = block->struct_buffers,
                               .n_children = 2,
                               .children = block->children,
                               .release = release_array,
                               .private_data = block};
    (*next)++;
    return 0;
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL; /* its memory is static */
}

static int give_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    (void)stream;
    static struct ArrowSchema fields[] = {{.format = "l", .name = "id", .release = release_schema},
                                          {.format = "g", .name = "price", .release = release_schema}};
    static struct ArrowSchema *children[] = {&fields[0], &fields[1]};
    *out = (struct ArrowSchema){
        .format = "+s", .name = "", .n_children = 2, .children = children, .release = release_schema};
    return 0;
}

static const char *no_words(struct ArrowArrayStream *stream)
{
    (void)stream;
    return NULL;
}

static void release_stream(struct ArrowArrayStream *stream)
{
    stream->release = NULL;
}

/* ---- the table becomes batches ---- */

static int read_epoch(struct fb_loader *loader, uint64_t *rows, double *sum, struct fb_error *error)
{
    int code = fb_loader_begin_epoch(loader, FB_NO_DEADLINE, error);
    if (code) return code;
    struct fb_batch *batch;
    while ((code = fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, error)) == 0 && batch) {
        struct fb_column price;
        fb_batch_column(batch, 1, &price);
        const double *prices = price.values;
        for (uint64_t row = 0; row < fb_batch_rows(batch); row++) *sum += prices[row];
        *rows += fb_batch_rows(batch);
        fb_batch_release(batch);
    }
    return code;
}

int main(void)
{
    int next = 0;
    struct ArrowArrayStream table = {give_schema, next_block, no_words, release_stream, &next};
    const struct fb_loader_options options = {.batch_rows = 4096,
                                              .memory_limit_bytes = 2 << 20,
                                              .prefetch_batches = FB_PREFETCH_ADAPTIVE,
                                              .thread_count = 2,
                                              .preserve_order = true};
    struct fb_source *source;
    struct fb_loader *loader = NULL;
    struct fb_error error;
    uint64_t rows = 0;
    double sum = 0;
    int code = fb_source_from_stream(&table, &source, &error);
    if (code && table.release) table.release(&table); /* what could not be moved is still ours */
    if (code == 0 && (code = fb_loader_create(&options, source, &loader, &error))) fb_source_release(source);
    if (code == 0) code = read_epoch(loader, &rows, &sum, &error);
    if (code) fprintf(stderr, "batches_from_table: %s\n", error.message);
    (void)fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL);
    if (code) return EXIT_FAILURE;
    printf("%llu rows, mean price %.3f\n", (unsigned long long)rows, sum / (double)rows);
    return rows == BLOCKS * BLOCK_ROWS ? EXIT_SUCCESS : EXIT_FAILURE;
}
