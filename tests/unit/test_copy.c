/*
 * Tests of src/data/copy: random slices, offsets, bitmaps and fill values against a model that looks at one row at a
 * time. Buffers have exactly the size the format demands, so that the address sanitizer sees a byte too many.
 */
#include "arrow_fixtures.h"
#include "data/copy.h"
#include "data/pool.h"
#include "fixed_types.h"

#define LIST_COLUMNS_AT FIXED_CASE_COUNT
#define BINARY_COLUMNS_AT (2 * FIXED_CASE_COUNT)
#define COLUMN_COUNT (BINARY_COLUMNS_AT + 4)
#define MOST_ROWS 300
#define GARBAGE 0xAB

static const char *const binary_formats[] = {"u", "z", "U", "Z"};
static const uint64_t list_sizes[] = {3, 1, 0, 7};

static bool is_list(uint32_t column)
{
    return column >= LIST_COLUMNS_AT && column < BINARY_COLUMNS_AT;
}
static bool is_binary(uint32_t column)
{
    return column >= BINARY_COLUMNS_AT;
}
static const struct fixed_case *case_of(uint32_t column)
{
    return &fixed_cases[column % FIXED_CASE_COUNT];
}
static uint64_t list_size_of(uint32_t column)
{
    return is_list(column) ? list_sizes[column % 4] : 1;
}
static uint64_t width_of(uint32_t column)
{
    return column - BINARY_COLUMNS_AT < 2 ? 4 : 8;
}

static struct ArrowSchema make_schema(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    for (uint32_t i = 0; i < COLUMN_COUNT; i++) {
        if (is_binary(i))
            fixture_add_field(&schema, fixture_schema(binary_formats[i - BINARY_COLUMNS_AT], "text"));
        else if (is_list(i))
            fixture_add_field(&schema, fixture_list_schema(case_of(i)->format, list_size_of(i), "list"));
        else
            fixture_add_field(&schema, fixture_schema(case_of(i)->format, "value"));
    }
    return schema;
}

/* ---- random sources ------------------------------------------------------------------------------------------- */

static void set_bit(uint8_t *bits, uint64_t i, bool is_set)
{
    uint8_t mask = (uint8_t)(1 << (i % 8));
    bits[i / 8] = (uint8_t)(is_set ? bits[i / 8] | mask : bits[i / 8] & ~mask);
}

static bool get_bit(const void *bits, uint64_t i)
{
    return (((const uint8_t *)bits)[i / 8] >> (i % 8) & 1) != 0;
}

static void fill_random(struct dice *dice, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)dice_next(dice);
}

/* No bitmap, one without nulls, or one with single nulls, runs of nulls or nulls only; counted or not. */
static void add_validity(struct dice *dice, struct ArrowArray *array, bool may_have_nulls)
{
    uint64_t kind = dice_below(dice, may_have_nulls ? 7 : 3);
    array->null_count = dice_below(dice, 2) == 0 ? 0 : -1;
    if (kind == 0) return;
    uint64_t slots = (uint64_t)(array->length + array->offset);
    uint8_t *bits = fixture_add_buffer(array, 0, (slots + 7) / 8, dice_below(dice, 8));
    fill_random(dice, bits, (slots + 7) / 8);
    int64_t null_count = 0;
    bool is_null = false;
    for (uint64_t i = (uint64_t)array->offset; i < slots; i++) {
        if (kind <= 2) is_null = false;
        if (kind == 3) is_null = dice_below(dice, 20) == 0;
        if (kind == 4) is_null = dice_below(dice, 2) == 0;
        if (kind == 5 && dice_below(dice, 50) == 0) is_null = !is_null;
        if (kind == 6) is_null = true;
        set_bit(bits, i, !is_null);
        null_count += is_null;
    }
    if (array->null_count == 0) array->null_count = null_count;
}

static struct ArrowArray random_fixed(struct dice *dice, const struct fixed_case *type, uint64_t rows, uint64_t before,
                                      bool may_have_nulls)
{
    struct ArrowArray array = fixture_array((int64_t)rows, (int64_t)before, 0, 2);
    uint64_t slots = rows + before;
    size_t bytes = type->source_bytes > 0 ? slots * type->source_bytes : (slots + 7) / 8;
    fill_random(dice, fixture_add_buffer(&array, 1, bytes, dice_below(dice, 8)), bytes);
    add_validity(dice, &array, may_have_nulls);
    return array;
}

static struct ArrowArray random_list(struct dice *dice, uint32_t column, uint64_t rows, uint64_t before,
                                     bool may_have_nulls)
{
    struct ArrowArray array = fixture_array((int64_t)rows, (int64_t)before, 0, 1);
    uint64_t items = (rows + before) * list_size_of(column) + dice_below(dice, 3);
    fixture_add_child(&array, random_fixed(dice, case_of(column), items, dice_below(dice, 80), may_have_nulls));
    add_validity(dice, &array, may_have_nulls);
    return array;
}

static struct ArrowArray random_binary(struct dice *dice, uint32_t column, uint64_t rows, uint64_t before,
                                       bool may_have_nulls)
{
    struct ArrowArray array = fixture_array((int64_t)rows, (int64_t)before, 0, 3);
    uint64_t width = width_of(column);
    uint64_t longest = dice_below(dice, 4) == 0 ? 1 : 1 + dice_below(dice, 30);
    uint8_t *offsets = fixture_add_buffer(&array, 1, (rows + before + 1) * width, dice_below(dice, 8));
    uint64_t offset = dice_below(dice, 20);
    for (uint64_t i = 0; i <= rows + before; i++) {
        memcpy(offsets + i * width, &offset, width); /* little-endian */
        if (i < rows + before) offset += dice_below(dice, longest);
    }
    fill_random(dice, fixture_add_buffer(&array, 2, offset, dice_below(dice, 8)), offset);
    add_validity(dice, &array, may_have_nulls);
    return array;
}

static struct ArrowArray random_array(struct dice *dice, uint32_t column, uint64_t rows, bool may_have_nulls)
{
    uint64_t before = dice_below(dice, 2) == 0 ? 0 : dice_below(dice, 140);
    if (is_binary(column)) return random_binary(dice, column, rows, before, may_have_nulls);
    if (is_list(column)) return random_list(dice, column, rows, before, may_have_nulls);
    return random_fixed(dice, case_of(column), rows, before, may_have_nulls);
}

/* ---- the model: one row at a time, straight from the Arrow format ----------------------------------------------- */

struct cell {
    uint8_t *bytes; /* as a batch stores the row */
    uint64_t byte_count;
    bool is_valid;
};

struct fill {
    uint8_t bytes[8];
    uint64_t byte_count; /* of a string */
};

struct model {
    struct cell cells[COLUMN_COUNT][MOST_ROWS];
    struct fill fills[COLUMN_COUNT];
};

static bool slot_is_valid(const struct ArrowArray *array, uint64_t slot)
{
    return array->buffers[0] == NULL || get_bit(array->buffers[0], slot);
}

static void store_element(const struct fixed_case *type, const struct ArrowArray *array, uint64_t slot, uint8_t *out)
{
    const uint8_t *data = array->buffers[1];
    if (strcmp(type->format, "b") == 0) {
        out[0] = get_bit(data, slot) ? 1 : 0;
    } else if (type->source_bytes == 4 && type->element_bytes == 8) {
        int32_t narrow;
        memcpy(&narrow, data + slot * 4, 4);
        int64_t wide = narrow;
        memcpy(out, &wide, 8);
    } else {
        memcpy(out, data + slot * type->source_bytes, type->source_bytes);
    }
}

static struct cell expect_fixed(uint32_t column, const struct ArrowArray *array, uint64_t slot, const struct fill *fill)
{
    const struct fixed_case *type = case_of(column);
    uint64_t list_size = list_size_of(column);
    struct cell cell = {fixture_allocate(list_size * type->element_bytes), list_size * type->element_bytes,
                        slot_is_valid(array, slot)};
    for (uint64_t i = 0; i < list_size; i++) {
        const struct ArrowArray *items = is_list(column) ? array->children[0] : array;
        uint64_t item = is_list(column) ? (uint64_t)items->offset + slot * list_size + i : slot;
        uint8_t *out = cell.bytes + i * type->element_bytes;
        if (cell.is_valid && slot_is_valid(items, item))
            store_element(type, items, item, out);
        else
            memcpy(out, fill->bytes, type->element_bytes);
    }
    return cell;
}

static struct cell expect_binary(uint32_t column, const struct ArrowArray *array, uint64_t slot,
                                 const struct fill *fill)
{
    uint64_t width = width_of(column), from = 0, to = 0;
    memcpy(&from, (const uint8_t *)array->buffers[1] + slot * width, width);
    memcpy(&to, (const uint8_t *)array->buffers[1] + (slot + 1) * width, width);
    bool is_valid = slot_is_valid(array, slot);
    const void *bytes = is_valid ? (const uint8_t *)array->buffers[2] + from : fill->bytes;
    uint64_t byte_count = is_valid ? to - from : fill->byte_count;
    struct cell cell = {fixture_allocate(byte_count), byte_count, is_valid};
    memcpy(cell.bytes, bytes, byte_count);
    return cell;
}

/* ---- one round: every column of a batch filled from random pieces ----------------------------------------------- */

static void choose_fills(struct dice *dice, struct model *model, struct fb_fill_value *given, uint32_t *given_count)
{
    *given_count = 0;
    for (uint32_t i = 0; i < COLUMN_COUNT; i++) {
        struct fill *fill = &model->fills[i];
        memset(fill, 0, sizeof *fill);
        const char *standard = is_binary(i) ? NULL : case_of(i)->fill;
        if (standard != NULL) memcpy(fill->bytes, standard, case_of(i)->element_bytes);
        if (dice_below(dice, 3) != 0) continue;
        fill_random(dice, fill->bytes, sizeof fill->bytes);
        if (!is_binary(i) && strcmp(case_of(i)->format, "b") == 0) fill->bytes[0] = 1;
        fill->byte_count = is_binary(i) ? dice_below(dice, 9) : case_of(i)->element_bytes;
        given[(*given_count)++] =
            (struct fb_fill_value){.column = i, .bytes = fill->bytes, .byte_count = fill->byte_count};
    }
}

/* Fills rows [place, place + rows) of a column from one array, in up to three calls, and lets the array go. */
static void copy_run(struct dice *dice, struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t rows,
                     struct model *model)
{
    bool may_have_nulls = batch->layout->null_policy != FB_NULLS_ERROR;
    uint64_t block_offset = dice_below(dice, 4), skipped = dice_below(dice, 70);
    uint64_t block_rows = skipped + rows + dice_below(dice, 70);
    struct ArrowArray block = fixture_array((int64_t)block_rows, (int64_t)block_offset, 0, 1);
    fixture_add_child(&block, random_array(dice, column, block_offset + block_rows, may_have_nulls));
    CHECK_EQUAL(fb__arrow_check_block(batch->layout, &column, 1, &block, NULL), 0);
    const struct ArrowArray *array = block.children[0];
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t slot = (uint64_t)array->offset + block_offset + skipped + i;
        const struct fill *fill = &model->fills[column];
        model->cells[column][place + i] =
            is_binary(column) ? expect_binary(column, array, slot, fill) : expect_fixed(column, array, slot, fill);
    }
    for (uint64_t done = 0; done < rows;) {
        uint64_t part = dice_below(dice, 3) == 0 ? 1 + dice_below(dice, rows - done) : rows - done;
        CHECK_EQUAL(fb__copy_rows(batch, column, place + done, array, block_offset, skipped + done, part, rows - done,
                                  NULL, NULL),
                    0);
        done += part;
    }
    block.release(&block);
}

/* The runs of a column, each from an array of its own, in an order of their own. */
static void copy_column(struct dice *dice, struct fb_batch *batch, uint32_t column, struct model *model)
{
    uint64_t starts[MOST_ROWS + 1], order[MOST_ROWS];
    uint64_t run_count = 0;
    for (uint64_t at = 0; at < batch->row_count; run_count++) {
        starts[run_count] = at;
        at += 1 + dice_below(dice, dice_below(dice, 2) == 0 ? batch->row_count - at : 90);
        if (at > batch->row_count) at = batch->row_count;
    }
    starts[run_count] = batch->row_count;
    for (uint64_t i = 0; i < run_count; i++) {
        uint64_t j = dice_below(dice, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint64_t i = 0; i < run_count; i++) {
        uint64_t run = order[i];
        copy_run(dice, batch, column, starts[run], starts[run + 1] - starts[run], model);
    }
}

static void check_column(const struct fb_batch *batch, uint32_t column, const struct model *model)
{
    struct fb_column actual;
    fb_batch_column(batch, column, &actual);
    uint64_t at = 0;
    for (uint64_t row = 0; row < batch->row_count; row++) {
        const struct cell *expected = &model->cells[column][row];
        if (is_binary(column)) {
            uint64_t from = 0, to = 0;
            memcpy(&from, (const uint8_t *)actual.offsets + row * actual.offset_bytes, actual.offset_bytes);
            memcpy(&to, (const uint8_t *)actual.offsets + (row + 1) * actual.offset_bytes, actual.offset_bytes);
            CHECK_EQUAL(from, at);
            CHECK_EQUAL(to - from, expected->byte_count);
        }
        if (expected->byte_count > 0)
            CHECK(memcmp((const uint8_t *)actual.values + at, expected->bytes, expected->byte_count) == 0);
        at += expected->byte_count;
        if (actual.valid != NULL) CHECK_EQUAL(actual.valid[row], expected->is_valid ? 1 : 0);
        free(expected->bytes);
    }
    CHECK_EQUAL(actual.valid != NULL, batch->layout->null_policy == FB_NULLS_MASK);
    /* Rows that the batch does not have were not touched. */
    uint64_t batch_rows = batch->layout->batch_rows;
    if (!is_binary(column)) {
        uint64_t end = batch_rows * list_size_of(column) * case_of(column)->element_bytes;
        for (; at < end; at++) CHECK_EQUAL(((const uint8_t *)actual.values)[at], GARBAGE);
    }
    for (uint64_t row = batch->row_count; actual.valid != NULL && row < batch_rows; row++)
        CHECK_EQUAL(actual.valid[row], GARBAGE);
}

static void play_round(uint64_t seed, enum fb_null_policy policy)
{
    static struct model model;
    struct dice dice = {.state = seed};
    struct fb_fill_value given[COLUMN_COUNT];
    struct fb_loader_options options = {.batch_rows = 1 + dice_below(&dice, MOST_ROWS),
                                        .memory_limit_bytes = UINT64_C(1) << 28,
                                        .null_policy = policy,
                                        .fill_values = given};
    choose_fills(&dice, &model, given, &options.fill_value_count);
    uint64_t row_bytes[COLUMN_COUNT];
    for (uint32_t i = 0; i < COLUMN_COUNT; i++) row_bytes[i] = dice_below(&dice, 20);
    struct ArrowSchema schema = make_schema();
    struct fb__pool *pool;
    struct fb_batch *batch;
    CHECK_EQUAL(fb__pool_create(&schema, row_bytes, &options, &pool, NULL), 0);
    schema.release(&schema);
    uint64_t row_count = 1 + dice_below(&dice, options.batch_rows);
    CHECK_EQUAL(fb__pool_take(pool, 0, row_count, 0, &batch, NULL), 0);
    memset(batch->fixed, GARBAGE, batch->fixed_bytes);
    for (uint32_t i = 0; i < COLUMN_COUNT; i++) copy_column(&dice, batch, i, &model);
    CHECK_EQUAL(fb__batch_finish(batch, NULL), 0);
    for (uint32_t i = 0; i < COLUMN_COUNT; i++) check_column(batch, i, &model);
    fb__pool_return(batch);
    fb__pool_release(pool);
}

/* A failed check ends the program: the round before it is on standard output, and its seed is all that makes it. */
static void play_rounds(enum fb_null_policy policy, uint64_t first_seed)
{
    for (uint64_t seed = first_seed; seed < first_seed + 40; seed++) {
        printf("    seed %" PRIu64 "\n", seed);
        fflush(stdout);
        play_round(seed, policy);
    }
}

static void rows_without_nulls_are_copied_as_they_are(void)
{
    play_rounds(FB_NULLS_ERROR, 1000);
}
static void nulls_become_the_fill_value(void)
{
    play_rounds(FB_NULLS_FILL, 2000);
}
static void nulls_become_the_fill_value_and_a_zero_in_the_mask(void)
{
    play_rounds(FB_NULLS_MASK, 3000);
}

int main(void)
{
    RUN(rows_without_nulls_are_copied_as_they_are);
    RUN(nulls_become_the_fill_value);
    RUN(nulls_become_the_fill_value_and_a_zero_in_the_mask);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
