/*
 * Rows of nested and encoded columns for the sweeps: random arrays, kept to compare every batch with, and made again
 * from the same seed for each source.
 */
#ifndef FB_TESTS_FAULT_WORLD_NESTED_H
#define FB_TESTS_FAULT_WORLD_NESTED_H

#include "../stress/scripted_source.h"
#include "../unit/arrow_reference.h"

#define NESTED_UNITS_MAX 12
#define NESTED_UNIT_ROWS_MAX 250 /* arrow_maker.h makes no more runs than for these */
#define NESTED_CHECK_EVERY 13    /* rows: all of them take too long in thousands of lives */

static const char *const nested_types[] = {
    "+l(item=i)", "+l(item=u)", "+s(a=l;b=u)", "s[u]", "+r(run_ends=i;values=l)", "vu", "+vl(item=s)",
};
#define NESTED_COLUMN_COUNT (sizeof nested_types / sizeof *nested_types)
#define NESTED_DICTIONARY_COLUMN 3

struct nested {
    struct ArrowSchema schema;
    struct ArrowArray blocks[NESTED_UNITS_MAX]; /* released: none made yet */
    const uint64_t *unit_rows;
    uint64_t unit_count;
    uint64_t null_percent;
    struct script *script; /* whose counts of streams are used */
    struct reference_text expected, actual;
};

static inline struct ArrowSchema nested_schema(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (size_t i = 0; i < NESTED_COLUMN_COUNT; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%zu", i);
        fixture_add_field(&schema, maker_schema(nested_types[i], name));
    }
    return schema;
}

static inline struct ArrowArray nested_block(const struct nested *nested, uint64_t unit)
{
    struct maker maker = {
        .dice = {1000 + unit}, .null_percent = nested->null_percent, .most_offset = 2, .most_elements = 4};
    return maker_block(&maker, &nested->schema, nested->unit_rows[unit]);
}

static inline void nested_drop_blocks(struct nested *nested)
{
    for (uint64_t unit = 0; unit < nested->unit_count; unit++)
        if (nested->blocks[unit].release) nested->blocks[unit].release(&nested->blocks[unit]);
}

static inline void nested_begin(struct nested *nested, struct script *script)
{
    *nested = (struct nested){
        .schema = nested_schema(), .unit_rows = script->unit_rows, .unit_count = script->unit_count, .script = script};
}

/* Rows with so many nulls; those of before go. */
static inline void nested_make_blocks(struct nested *nested, uint64_t null_percent)
{
    if (nested->unit_count > 0 && nested->blocks[0].release && nested->null_percent == null_percent) return;
    nested_drop_blocks(nested);
    nested->null_percent = null_percent;
    for (uint64_t unit = 0; unit < nested->unit_count; unit++) nested->blocks[unit] = nested_block(nested, unit);
}

static inline void nested_end(struct nested *nested)
{
    nested_drop_blocks(nested);
    nested->schema.release(&nested->schema);
    free(nested->expected.bytes);
    free(nested->actual.bytes);
}

/* ---- as a stream ---- */

struct nested_stream {
    const struct nested *nested;
    uint64_t next_unit;
};

static inline int nested_get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    (void)stream;
    *out = nested_schema();
    return 0;
}

static inline int nested_get_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct nested_stream *owned = stream->private_data;
    out->release = NULL;
    if (owned->next_unit < owned->nested->unit_count) *out = nested_block(owned->nested, owned->next_unit++);
    return 0;
}

static inline const char *nested_get_error(struct ArrowArrayStream *stream)
{
    (void)stream;
    return NULL;
}

static inline void nested_release_stream(struct ArrowArrayStream *stream)
{
    struct nested_stream *owned = stream->private_data;
    atomic_fetch_sub(&owned->nested->script->live_streams, 1);
    free(owned);
    stream->release = NULL;
}

/* Every unit is a block of it. */
static inline void nested_open(const struct nested *nested, struct ArrowArrayStream *out)
{
    struct nested_stream *owned = calloc(1, sizeof *owned);
    CHECK(owned != NULL);
    owned->nested = nested;
    *out =
        (struct ArrowArrayStream){nested_get_schema, nested_get_next, nested_get_error, nested_release_stream, owned};
    atomic_fetch_add(&nested->script->live_streams, 1);
}

/* ---- row by row, by fb_fill_copy() ---- */

static inline int nested_fill(const struct nested *nested, struct fb_fill *fill, struct fb_error *error)
{
    const struct ArrowArray *block = &nested->blocks[fb_fill_unit(fill)];
    uint32_t column_count;
    const uint32_t *columns = fb_fill_columns(fill, &column_count);
    for (uint32_t i = 0; i < column_count; i++) {
        int code = fb_fill_copy(fill, columns[i], block->children[columns[i]],
                                (uint64_t)block->offset + fb_fill_first_row(fill), fb_fill_rows(fill), error);
        if (code) return code;
    }
    return 0;
}

/* ---- comparing ---- */

/* What the row of the epoch says in a column. */
static inline void nested_expect(struct nested *nested, uint64_t row, uint32_t column, enum reference_manner manner)
{
    uint64_t unit = 0;
    while (row >= nested->unit_rows[unit]) row -= nested->unit_rows[unit++];
    const struct ArrowArray *block = &nested->blocks[unit];
    reference_clear(&nested->expected);
    reference_value(&nested->expected, nested->schema.children[column], block->children[column],
                    (uint64_t)block->offset + row, false, manner);
}

static inline bool nested_is_equal(const struct nested *nested, uint64_t row, uint32_t column)
{
    if (strcmp(nested->expected.bytes, nested->actual.bytes) == 0) return true;
    fprintf(stderr, "row %" PRIu64 " of %s is %s\n  and not %s\n", row, nested_types[column], nested->actual.bytes,
            nested->expected.bytes);
    return false;
}

static inline bool nested_check_batch(struct nested *nested, const struct fb_batch *batch, uint64_t first_row)
{
    for (uint32_t i = 0; i < NESTED_COLUMN_COUNT; i++) {
        struct fb_column column;
        fb_batch_column(batch, i, &column);
        for (uint64_t row = 0; row < fb_batch_rows(batch); row += NESTED_CHECK_EVERY) {
            nested_expect(nested, first_row + row, i, REFERENCE_DENSE);
            reference_clear(&nested->actual);
            reference_batch(&nested->actual, batch, &column, row);
            if (!nested_is_equal(nested, first_row + row, i)) return false;
        }
    }
    return true;
}

static inline bool nested_check_array(struct nested *nested, const struct ArrowSchema *schema,
                                      const struct ArrowArray *array, uint64_t first_row)
{
    for (uint32_t i = 0; i < NESTED_COLUMN_COUNT; i++) {
        for (uint64_t row = 0; row < (uint64_t)array->length; row += NESTED_CHECK_EVERY) {
            nested_expect(nested, first_row + row, i, REFERENCE_ARROW);
            reference_clear(&nested->actual);
            reference_value(&nested->actual, schema->children[i], array->children[i], row, false, REFERENCE_ARROW);
            if (!nested_is_equal(nested, first_row + row, i)) return false;
        }
    }
    return true;
}

#endif
