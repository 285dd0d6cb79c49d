/* Tests of src/data/arrow: malformed blocks are refused before a buffer is read. */
#include "arrow_bench.h"

static void set_bitmap(struct ArrowArray *array, uint8_t byte)
{
    size_t bytes = (size_t)(array->length + array->offset + 7) / 8;
    memset(fixture_add_buffer(array, 0, bytes, 0), byte, bytes);
}

static void set_offset_32(struct ArrowArray *array, int64_t slot, int32_t value)
{
    struct fixture_array_parts *parts = array->private_data;
    memcpy((uint8_t *)parts->owned[1] + slot * 4, &value, 4);
}

static void set_offset_64(struct ArrowArray *array, int64_t slot, int64_t value)
{
    struct fixture_array_parts *parts = array->private_data;
    memcpy((uint8_t *)parts->owned[1] + slot * 8, &value, 8);
}

/* ---- malformed blocks: each function spoils one thing of a good block ------------------------------------------ */

static void struct_length_negative(struct ArrowArray *block)
{
    block->length = -1;
}
static void struct_offset_negative(struct ArrowArray *block)
{
    block->offset = -1;
}
static void struct_end_wraps(struct ArrowArray *block)
{
    block->length = block->offset = INT64_MAX;
}
static void struct_end_too_far(struct ArrowArray *block)
{
    block->offset = INT64_C(1) << 62;
}
static void struct_null_count_low(struct ArrowArray *block)
{
    block->null_count = -2;
}
static void struct_null_count_high(struct ArrowArray *block)
{
    block->null_count = ROWS + 1;
}
static void struct_has_nulls(struct ArrowArray *block)
{
    set_bitmap(block, 0xFF);
    block->null_count = 1;
}
static void struct_has_nulls_without_bitmap(struct ArrowArray *block)
{
    block->null_count = 1;
}
static void struct_hides_a_null(struct ArrowArray *block)
{
    set_bitmap(block, 0xFF);
    *(uint8_t *)(uintptr_t)block->buffers[0] = 0xFB; /* slot 2 is the block's first row */
    block->null_count = -1;
}
static void struct_hides_a_last_null(struct ArrowArray *block)
{
    set_bitmap(block, 0xFF);
    ((uint8_t *)(uintptr_t)block->buffers[0])[1] = 0xF7; /* slot 11 is the block's last row */
    block->null_count = -1;
}
static void struct_counts_no_null_of_those_it_has(struct ArrowArray *block)
{
    set_bitmap(block, 0xFF);
    *(uint8_t *)(uintptr_t)block->buffers[0] = 0xFB;
    block->null_count = 0;
}
static void struct_buffers_none(struct ArrowArray *block)
{
    block->n_buffers = 0;
}
static void struct_buffers_two(struct ArrowArray *block)
{
    block->n_buffers = 2;
}
static void struct_buffers_missing(struct ArrowArray *block)
{
    block->buffers = NULL;
}
static void struct_children_few(struct ArrowArray *block)
{
    block->n_children = COLUMN_COUNT - 1;
}
static void struct_children_negative(struct ArrowArray *block)
{
    block->n_children = -1;
}
static void struct_children_missing(struct ArrowArray *block)
{
    block->children = NULL;
}
static void struct_dictionary(struct ArrowArray *block)
{
    block->dictionary = block;
}

static void child_missing(struct ArrowArray *block)
{
    static struct ArrowArray *children[COLUMN_COUNT];
    memcpy(children, block->children, sizeof children);
    children[COUNT] = NULL;
    block->children = children;
}
static void child_released(struct ArrowArray *block)
{
    block->children[FLAG]->release(block->children[FLAG]);
}
static void child_length_negative(struct ArrowArray *block)
{
    block->children[COUNT]->length = -1;
}
static void child_length_short(struct ArrowArray *block)
{
    block->children[COUNT]->length = ROWS + 1;
}
static void child_offset_negative(struct ArrowArray *block)
{
    block->children[COUNT]->offset = INT64_MIN;
}
static void child_end_wraps(struct ArrowArray *block)
{
    block->children[COUNT]->length = INT64_MAX;
}
static void child_bytes_too_many(struct ArrowArray *block)
{
    block->children[COUNT]->offset = INT64_C(1) << 60;
}
static void child_null_count_low(struct ArrowArray *block)
{
    block->children[COUNT]->null_count = INT64_MIN;
}
static void child_null_count_high(struct ArrowArray *block)
{
    block->children[COUNT]->null_count = ROWS + 3;
}
static void child_nulls_without_bitmap(struct ArrowArray *block)
{
    block->children[COUNT]->null_count = 1;
}
static void child_dictionary(struct ArrowArray *block)
{
    block->children[COUNT]->dictionary = block;
}
static void child_buffers_missing(struct ArrowArray *block)
{
    block->children[COUNT]->buffers = NULL;
}
static void child_buffers_one(struct ArrowArray *block)
{
    block->children[COUNT]->n_buffers = 1;
}
static void child_buffers_negative(struct ArrowArray *block)
{
    block->children[COUNT]->n_buffers = -1;
}
static void child_children(struct ArrowArray *block)
{
    block->children[COUNT]->n_children = 1;
}
static void child_data_missing(struct ArrowArray *block)
{
    block->children[COUNT]->buffers[1] = NULL;
}
static void bool_data_missing(struct ArrowArray *block)
{
    block->children[FLAG]->buffers[1] = NULL;
}
static void bool_length_short(struct ArrowArray *block)
{
    block->children[FLAG]->length = ROWS + 1;
}
static void bool_end_too_far(struct ArrowArray *block)
{
    block->children[FLAG]->offset = INT64_C(1) << 62;
}

static void list_buffers_two(struct ArrowArray *block)
{
    block->children[VECTOR]->n_buffers = 2;
}
static void list_children_none(struct ArrowArray *block)
{
    block->children[VECTOR]->n_children = 0;
}
static void list_children_missing(struct ArrowArray *block)
{
    block->children[VECTOR]->children = NULL;
}
static void list_bytes_too_many(struct ArrowArray *block)
{
    block->children[VECTOR]->offset = INT64_C(1) << 59;
}
static void list_nulls_without_bitmap(struct ArrowArray *block)
{
    block->children[VECTOR]->null_count = 2;
}
static struct ArrowArray *items_of(struct ArrowArray *block)
{
    return block->children[VECTOR]->children[0];
}
static void items_released(struct ArrowArray *block)
{
    items_of(block)->release(items_of(block));
}
static void items_short(struct ArrowArray *block)
{
    items_of(block)->length = 3 * (ROWS + 2 + CHILD_OFFSET) - 1;
}
static void items_length_negative(struct ArrowArray *block)
{
    items_of(block)->length = -45;
}
static void items_offset_negative(struct ArrowArray *block)
{
    items_of(block)->offset = -1;
}
static void items_data_missing(struct ArrowArray *block)
{
    items_of(block)->buffers[1] = NULL;
}
static void items_buffers_three(struct ArrowArray *block)
{
    items_of(block)->n_buffers = 3;
}
static void items_nulls_without_bitmap(struct ArrowArray *block)
{
    items_of(block)->null_count = 1;
}
static void items_dictionary(struct ArrowArray *block)
{
    items_of(block)->dictionary = block;
}
static void items_children(struct ArrowArray *block)
{
    items_of(block)->n_children = 2;
}

static void text_buffers_two(struct ArrowArray *block)
{
    block->children[TEXT]->n_buffers = 2;
}
static void text_offsets_missing(struct ArrowArray *block)
{
    block->children[TEXT]->buffers[1] = NULL;
}
static void text_bytes_missing(struct ArrowArray *block)
{
    block->children[TEXT]->buffers[2] = NULL;
}
static void text_first_negative(struct ArrowArray *block)
{
    set_offset_32(block->children[TEXT], CHILD_OFFSET + 2, -1);
}
static void text_middle_negative(struct ArrowArray *block)
{
    set_offset_32(block->children[TEXT], CHILD_OFFSET + 5, INT32_MIN);
}
static void text_backwards(struct ArrowArray *block)
{
    set_offset_32(block->children[TEXT], CHILD_OFFSET + 5, 5);
}
static void text_last_backwards(struct ArrowArray *block)
{
    set_offset_32(block->children[TEXT], CHILD_OFFSET + ROWS + 2, 0);
}
/* Each step is short of half the range of numbers, so that no difference of two shows it. */
static void text_goes_round(struct ArrowArray *block)
{
    set_offset_32(block->children[TEXT], CHILD_OFFSET + 3, INT32_MAX);
    set_offset_32(block->children[TEXT], CHILD_OFFSET + 4, -2);
}
static void blob_goes_round(struct ArrowArray *block)
{
    set_offset_64(block->children[BLOB], CHILD_OFFSET + 3, INT64_MAX);
    set_offset_64(block->children[BLOB], CHILD_OFFSET + 4, -2);
}
static void blob_first_negative(struct ArrowArray *block)
{
    set_offset_64(block->children[BLOB], CHILD_OFFSET + 2, INT64_MIN);
}
static void blob_backwards(struct ArrowArray *block)
{
    set_offset_64(block->children[BLOB], CHILD_OFFSET + 5, INT64_MAX);
}
static void blob_bytes_missing(struct ArrowArray *block)
{
    block->children[BLOB]->buffers[2] = NULL;
}
static void blob_too_far(struct ArrowArray *block)
{
    set_offset_64(block->children[BLOB], CHILD_OFFSET + ROWS + 2, (INT64_C(1) << 62) + 1);
}

static const struct malformed_case {
    void (*spoil)(struct ArrowArray *block);
    const char *where, *what;
} malformed_cases[] = {
    {struct_length_negative, "the struct", "negative length"},
    {struct_offset_negative, "the struct", "negative offset"},
    {struct_end_wraps, "the struct", "passes 2^62"},
    {struct_end_too_far, "the struct", "passes 2^62"},
    {struct_null_count_low, "the struct", "null count"},
    {struct_null_count_high, "the struct", "null count"},
    {struct_has_nulls, "the struct", "null rows"},
    {struct_has_nulls_without_bitmap, "the struct", "no validity buffer"},
    {struct_hides_a_null, "the struct", "null rows"},
    {struct_hides_a_last_null, "the struct", "null rows"},
    {struct_counts_no_null_of_those_it_has, "the struct", "null rows"},
    {struct_buffers_none, "the struct", "number of buffers"},
    {struct_buffers_two, "the struct", "number of buffers"},
    {struct_buffers_missing, "the struct", "no array of buffers"},
    {struct_children_few, "the struct", "number of children"},
    {struct_children_negative, "the struct", "number of children"},
    {struct_children_missing, "the struct", "no array of children"},
    {struct_dictionary, "the struct", "dictionary"},
    {child_missing, "column 'count' (format \"i\")", "missing or was released"},
    {child_released, "column 'flag' (format \"b\")", "missing or was released"},
    {child_length_negative, "'count'", "negative length"},
    {child_length_short, "'count'", "shorter than its block"},
    {child_offset_negative, "'count'", "negative offset"},
    {child_end_wraps, "'count'", "passes 2^62"},
    {child_bytes_too_many, "'count'", "passes 2^62"},
    {child_null_count_low, "'count'", "null count"},
    {child_null_count_high, "'count'", "null count"},
    {child_nulls_without_bitmap, "'count'", "no validity buffer"},
    {child_dictionary, "'count'", "dictionary"},
    {child_buffers_missing, "'count'", "no array of buffers"},
    {child_buffers_one, "'count'", "number of buffers"},
    {child_buffers_negative, "'count'", "number of buffers"},
    {child_children, "'count'", "number of children"},
    {child_data_missing, "'count'", "no data buffer"},
    {bool_data_missing, "'flag'", "no data buffer"},
    {bool_length_short, "'flag'", "shorter than its block"},
    {bool_end_too_far, "'flag'", "passes 2^62"},
    {list_buffers_two, "column 'vector' (format \"+w:3\")", "number of buffers"},
    {list_children_none, "'vector'", "number of children"},
    {list_children_missing, "'vector'", "no array of children"},
    {list_bytes_too_many, "'vector'", "passes 2^62"},
    {list_nulls_without_bitmap, "'vector'", "no validity buffer"},
    {items_released, "'vector' (format \"f\"), its list elements", "missing or was released"},
    {items_short, "list elements", "shorter than the lists over it"},
    {items_length_negative, "list elements", "negative length"},
    {items_offset_negative, "list elements", "negative offset"},
    {items_data_missing, "list elements", "no data buffer"},
    {items_buffers_three, "list elements", "number of buffers"},
    {items_nulls_without_bitmap, "list elements", "no validity buffer"},
    {items_dictionary, "list elements", "dictionary"},
    {items_children, "list elements", "number of children"},
    {text_buffers_two, "column 'text' (format \"u\")", "number of buffers"},
    {text_offsets_missing, "'text'", "no offsets buffer"},
    {text_bytes_missing, "'text'", "no data buffer"},
    {text_first_negative, "'text'", "negative or run backwards"},
    {text_middle_negative, "'text'", "negative or run backwards"},
    {text_backwards, "'text'", "negative or run backwards"},
    {text_last_backwards, "'text'", "negative or run backwards"},
    {text_goes_round, "'text'", "negative or run backwards"},
    {blob_goes_round, "'blob'", "negative or run backwards"},
    {blob_first_negative, "column 'blob' (format \"Z\")", "negative or run backwards"},
    {blob_backwards, "'blob'", "negative or run backwards"},
    {blob_bytes_missing, "'blob'", "no data buffer"},
    {blob_too_far, "'blob'", "passes 2^62"},
};

static void malformed_blocks_are_refused_and_released_once(void)
{
    struct bench bench;
    make_bench(&bench);
    for (size_t i = 0; i < sizeof malformed_cases / sizeof *malformed_cases; i++) {
        struct ArrowArray block = make_block();
        malformed_cases[i].spoil(&block);
        int64_t releases = fixture_releases;
        int64_t live = fixture_live;
        struct fb_error error;
        CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, &error), EINVAL);
        CHECK_CONTAINS(error.message, malformed_cases[i].where);
        CHECK_CONTAINS(error.message, malformed_cases[i].what);
        CHECK_EQUAL(error.code, EINVAL);
        CHECK_EQUAL(fixture_releases, releases);
        fb__arrow_release_array(&block);
        fb__arrow_release_array(&block);
        CHECK_EQUAL(fixture_releases - releases, live);
        CHECK_EQUAL(fixture_live, 0);
    }
    struct ArrowArray released = {.release = NULL};
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &released, NULL), EINVAL);
    drop_bench(&bench);
}

/* ---- good blocks ----------------------------------------------------------------------------------------------- */

static void good_blocks_pass(void)
{
    struct bench bench;
    make_bench(&bench);
    struct ArrowArray block = make_block();
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    /* Nulls that are counted, not counted, or impossible because there is no bitmap. */
    set_bitmap(block.children[COUNT], 0x55);
    block.children[COUNT]->null_count = 6;
    block.children[FLAG]->null_count = -1;
    set_bitmap(items_of(&block), 0x55);
    items_of(&block)->null_count = -1;
    block.null_count = -1;
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    /* A bitmap of the struct with nulls only outside its rows. */
    set_bitmap(&block, 0xFC);
    ((uint8_t *)(uintptr_t)block.buffers[0])[1] = 0x0F;
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    /* Offsets of rows that the block does not reach are nobody's business, and they need not begin at 0. */
    set_offset_32(block.children[TEXT], 0, -7);
    set_offset_32(block.children[TEXT], CHILD_OFFSET + 1, -7);
    set_offset_64(block.children[BLOB], 1, INT64_MAX);
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    block.release(&block);
    drop_bench(&bench);
}

/* The bitmap of the struct says what its null count of -1 leaves open. */
static void a_null_of_the_struct_is_found_wherever_it_is(void)
{
    struct bench bench;
    make_bench(&bench);
    for (int64_t null_slot = 0; null_slot < 50; null_slot++) {
        struct ArrowArray block = fixture_array(40, 5, -1, 1);
        uint8_t *bits = fixture_add_buffer(&block, 0, 6, 0);
        memset(bits, 0xFF, 6);
        if (null_slot < 45) bits[null_slot / 8] = (uint8_t)(0xFF & ~(1 << (null_slot % 8)));
        int expected = null_slot >= 5 && null_slot < 45 ? EINVAL : 0;
        CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, 0, &block, NULL), expected);
        block.release(&block);
    }
    drop_bench(&bench);
}

static void columns_are_checked_against_those_chosen(void)
{
    static const uint32_t columns[] = {FLAG, TEXT};
    struct bench bench;
    make_bench(&bench);
    const size_t slots = 5 + CHILD_OFFSET;
    struct ArrowArray block = fixture_array(5, 0, 0, 1);
    fixture_add_child(&block, plain_array(slots, (slots + 7) / 8));
    fixture_add_child(&block, string_array(slots, 4));
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, columns, 2, &block, NULL), 0);
    struct fb_error error;
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, (const uint32_t[]){FLAG, COUNT}, 2, &block, &error), EINVAL);
    CHECK_CONTAINS(error.message, "column 'count'");
    block.release(&block);

    struct ArrowArray nothing = fixture_array(5, 0, 0, 1);
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, columns, 0, &nothing, NULL), 0);
    nothing.release(&nothing);
    drop_bench(&bench);
}

static void arrays_without_rows_need_no_buffers(void)
{
    struct bench bench;
    make_bench(&bench);
    struct ArrowArray block = fixture_array(0, 0, 0, 1);
    fixture_add_child(&block, fixture_array(0, 0, 0, 2));
    fixture_add_child(&block, fixture_array(0, 0, -1, 2));
    struct ArrowArray vector = fixture_array(0, 0, 0, 1);
    fixture_add_child(&vector, fixture_array(0, 0, 0, 2));
    fixture_add_child(&block, vector);
    fixture_add_child(&block, fixture_array(0, 0, 0, 3));
    fixture_add_child(&block, fixture_array(0, 0, 0, 3));
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    for (int i = 0; i < COLUMN_COUNT; i++) block.children[i]->buffers = NULL;
    block.buffers = NULL;
    CHECK_EQUAL(fb__arrow_check_block(&bench.layout, NULL, COLUMN_COUNT, &block, NULL), 0);
    block.release(&block);
    drop_bench(&bench);
}

static void empty_strings_need_no_bytes(void)
{
    struct bench bench;
    make_bench(&bench);
    for (uint32_t column = TEXT; column <= BLOB; column++) {
        struct ArrowArray block = fixture_array(4, 0, 0, 1);
        fixture_add_child(&block, fixture_array(4, 0, 0, 3));
        size_t bytes = column == TEXT ? 20 : 40;
        memset(fixture_add_buffer(block.children[0], 1, bytes, 1), 7, bytes);
        CHECK_EQUAL(fb__arrow_check_block(&bench.layout, &column, 1, &block, NULL), 0);
        block.release(&block);
    }
    drop_bench(&bench);
}

/* Whether offsets are refused, by the plainest loop there is. */
static bool offsets_are_bad(const int64_t *offsets, size_t count)
{
    for (size_t i = 0; i <= count; i++) {
        if (offsets[i] < 0 || (i > 0 && offsets[i] < offsets[i - 1])) return true;
    }
    return offsets[count] > INT64_C(1) << 62;
}

static void random_offsets_are_judged_as_a_plain_loop_does(void)
{
    struct bench bench;
    make_bench(&bench);
    struct dice dice = {.state = 20250};
    int bad_count = 0;
    for (int round = 0; round < 2000; round++) {
        size_t count = 1 + dice_below(&dice, 40);
        size_t before = dice_below(&dice, 5);
        int64_t offsets[50];
        uint32_t column = dice_below(&dice, 2) == 0 ? TEXT : BLOB;
        offsets[0] = (int64_t)dice_below(&dice, 3);
        for (size_t i = 1; i <= count; i++) offsets[i] = offsets[i - 1] + (int64_t)dice_below(&dice, 3);
        if (dice_below(&dice, 2) == 0) {
            static const int64_t odd[] = {-1, 0, 1, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX};
            int64_t value = odd[dice_below(&dice, column == TEXT ? 5 : 7)];
            offsets[dice_below(&dice, count + 1)] = value;
        }
        struct ArrowArray block = fixture_array((int64_t)count, 0, 0, 1);
        struct ArrowArray text = fixture_array((int64_t)count, (int64_t)before, 0, 3);
        size_t width = column == TEXT ? 4 : 8;
        uint8_t *memory = fixture_add_buffer(&text, 1, (before + count + 1) * width, dice_below(&dice, 8));
        for (size_t i = 0; i < before; i++) memset(memory + i * width, 0xFF, width);
        for (size_t i = 0; i <= count; i++) memcpy(memory + (before + i) * width, &offsets[i], width);
        fixture_add_buffer(&text, 2, 200, 0);
        fixture_add_child(&block, text);
        bool is_bad = offsets_are_bad(offsets, count);
        int rc = fb__arrow_check_block(&bench.layout, &column, 1, &block, NULL);
        if (rc != (is_bad ? EINVAL : 0)) printf("round %d of seed 20250\n", round);
        CHECK_EQUAL(rc, is_bad ? EINVAL : 0);
        bad_count += is_bad;
        block.release(&block);
    }
    CHECK(bad_count > 200 && bad_count < 1800);
    drop_bench(&bench);
}

int main(void)
{
    RUN(malformed_blocks_are_refused_and_released_once);
    RUN(good_blocks_pass);
    RUN(a_null_of_the_struct_is_found_wherever_it_is);
    RUN(columns_are_checked_against_those_chosen);
    RUN(arrays_without_rows_need_no_buffers);
    RUN(empty_strings_need_no_bytes);
    RUN(random_offsets_are_judged_as_a_plain_loop_does);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
