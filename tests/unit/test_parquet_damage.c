/* Whatever a column chunk holds, reading it ends in values or in an error that says what is wrong. */
#include "parquet_bench.h"

#define SEED UINT64_C(20261123)

/* ---- damage ---- */

static struct chunk_plan small_plan(uint32_t type, struct dice *dice)
{
    struct chunk_plan plan = random_plan(type, dice);
    plan.row_count = 60;
    if (plan.list_size > 7) plan.list_size = 7;
    plan.page_levels = 60;
    if (plan.dictionary_entries > 200) plan.dictionary_entries = 200;
    return plan;
}

static void a_chunk_cut_off_anywhere_is_an_error(void)
{
    struct dice dice = {SEED + 4};
    for (uint32_t i = 0; i < 2 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = small_plan(i % CHUNK_TYPE_COUNT, &dice);
        plan.has_strange_page = false;
        struct chunk chunk = chunk_make(&plan, &dice);
        uint64_t whole_bytes = chunk.file.count;
        for (uint64_t bytes = CHUNK_OFFSET; bytes < whole_bytes; bytes++) {
            struct fb_error error;
            chunk.file.count = bytes; /* the file is cut */
            CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), EIO);
            CHECK_CONTAINS(error.message, "column 'weights': the file ends inside a column chunk");
            chunk.file.count = whole_bytes; /* the chunk alone is */
            chunk.chunk.stored_bytes = bytes - CHUNK_OFFSET;
            CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), EIO);
            CHECK_CONTAINS(error.message, "column 'weights': ");
            chunk.chunk.stored_bytes = whole_bytes - CHUNK_OFFSET;
        }
        chunk_free(&chunk);
    }
}

/* What comes out does not matter, as long as nothing is touched that is not the column's (the sanitizers see that). */
static void a_damaged_chunk_is_an_error_or_other_values(void)
{
    struct dice dice = {SEED + 5};
    uint64_t errors = 0, others = 0;
    for (uint32_t i = 0; i < 8 * CHUNK_TYPE_COUNT; i++) {
        struct chunk_plan plan = small_plan(i % CHUNK_TYPE_COUNT, &dice);
        struct chunk chunk = chunk_make(&plan, &dice);
        uint64_t span = chunk.file.count - CHUNK_OFFSET;
        for (uint32_t flip = 0; flip < 150; flip++) {
            uint64_t at = CHUNK_OFFSET + dice_below(&dice, dice_below(&dice, 2) || span < 60 ? span : 60);
            uint8_t before = chunk.file.at[at];
            uint64_t flipped = before ^ UINT64_C(1) << dice_below(&dice, 8);
            chunk.file.at[at] = (uint8_t)(dice_below(&dice, 2) ? flipped : dice_next(&dice));
            struct fb_error error;
            int code = read_damaged(&chunk, UINT64_C(8) << 20, &error);
            CHECK(code == 0 || code == EIO || code == ENOBUFS);
            errors += code != 0;
            others += code == 0;
            chunk.file.at[at] = before;
        }
        chunk_free(&chunk);
    }
    CHECK(errors > 1000 && others > 1000);
}

/* ---- what is refused by name ---- */

/* A chunk of int64 rows that a test spoils: required, flat, or a list of 3 with everything optional. */
static struct chunk plain_chunk(bool is_list, struct dice *dice)
{
    const struct chunk_plan plan = {.type = 5,
                                    .is_list = is_list,
                                    .list_size = 3,
                                    .has_null_rows = is_list,
                                    .has_null_items = is_list,
                                    .row_count = 20,
                                    .page_levels = 1000,
                                    .version = 1};
    return chunk_make(&plan, dice);
}

static void check_refusal(const struct chunk *chunk, const char *text)
{
    struct fb_error error;
    CHECK_EQUAL(read_damaged(chunk, ROOMY_BYTES, &error), EIO);
    CHECK_CONTAINS(error.message, text);
}

/* One data page of version 1 in place of what the chunk had. */
static void replace_pages(struct chunk *chunk, uint64_t value_count, uint32_t encoding, uint32_t level_encoding,
                          const struct bytes *content)
{
    chunk->file.count = CHUNK_OFFSET;
    put_header(&chunk->file, FB__PAGE_DATA, content->count, content->count, 2);
    put_number(&chunk->file, 1, value_count);
    put_number(&chunk->file, 1, encoding);
    put_number(&chunk->file, 1, level_encoding);
    put_number(&chunk->file, 1, level_encoding);
    put_byte(&chunk->file, 0);
    put_byte(&chunk->file, 0);
    put(&chunk->file, content->at, content->count);
    chunk->chunk.stored_bytes = chunk->file.count - CHUNK_OFFSET;
}

static void encodings_that_are_not_read_are_named(void)
{
    struct dice dice = {SEED + 6};
    struct bytes content = {0};
    struct chunk chunk = plain_chunk(false, &dice);
    for (int i = 0; i < 160; i++) put_byte(&content, 0);
    replace_pages(&chunk, 20, 9, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "column 'weights': a page of encoding BYTE_STREAM_SPLIT (9) cannot be decoded here");
    replace_pages(&chunk, 20, 5, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page of encoding DELTA_BINARY_PACKED (5)");
    replace_pages(&chunk, 20, 42, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page of encoding unknown (42)");
    replace_pages(&chunk, 20, FB__ENCODING_RLE, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page of encoding RLE (3)"); /* for booleans alone */
    replace_pages(&chunk, 20, FB__ENCODING_RLE_DICTIONARY, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page of dictionary indexes without a dictionary");
    content.count--;
    replace_pages(&chunk, 20, FB__ENCODING_PLAIN, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page ends before its last value");
    chunk_free(&chunk);

    chunk = plain_chunk(true, &dice);
    replace_pages(&chunk, chunk.level_count, FB__ENCODING_PLAIN, FB__ENCODING_BIT_PACKED, &content);
    check_refusal(&chunk, "repetition levels of encoding BIT_PACKED (4)");
    put_byte(&content, 0xFF);
    memset(content.at, 0xFF, 4);
    replace_pages(&chunk, chunk.level_count, FB__ENCODING_PLAIN, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page ends inside its repetition levels");
    chunk_free(&chunk);

    struct chunk_plan optional = {.type = 5, .has_null_rows = true, .row_count = 20, .page_levels = 50, .version = 1};
    chunk = chunk_make(&optional, &dice);
    replace_pages(&chunk, 20, FB__ENCODING_PLAIN, FB__ENCODING_BIT_PACKED, &content);
    check_refusal(&chunk, "definition levels of encoding BIT_PACKED (4)");
    replace_pages(&chunk, 20, FB__ENCODING_PLAIN, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page ends inside its definition levels");
    chunk_free(&chunk);

    struct chunk_plan booleans = {.type = 0, .row_count = 17, .page_levels = 50, .version = 1};
    chunk = chunk_make(&booleans, &dice);
    content.count = 2;
    replace_pages(&chunk, 17, FB__ENCODING_PLAIN, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page ends before its last value");
    replace_pages(&chunk, 17, FB__ENCODING_RLE, FB__ENCODING_RLE, &content);
    check_refusal(&chunk, "a page ends inside its booleans");
    chunk_free(&chunk);
    free(content.at);
}

static void dictionaries_come_once_and_first(void)
{
    struct dice dice = {SEED + 7};
    const struct chunk_plan plan = {
        .type = 5, .row_count = 20, .page_levels = 1000, .version = 1, .dictionary_entries = 5};
    struct chunk chunk = chunk_make(&plan, &dice);
    struct bytes pages = chunk.file;
    chunk.file = (struct bytes){0};
    put(&chunk.file, pages.at, CHUNK_OFFSET);
    chunk_put_dictionary(&chunk, FB__ENCODING_PLAIN);
    put(&chunk.file, pages.at + CHUNK_OFFSET, pages.count - CHUNK_OFFSET);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a second dictionary page in one column chunk");

    chunk.file.count = CHUNK_OFFSET;
    chunk_put_dictionary(&chunk, FB__ENCODING_RLE);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a dictionary of encoding RLE (3)");

    chunk.file.count = CHUNK_OFFSET;
    put_header(&chunk.file, FB__PAGE_DICTIONARY, 8, 8, 4);
    put_number(&chunk.file, 1, 2);
    put_number(&chunk.file, 1, FB__ENCODING_PLAIN);
    put(&chunk.file, "\0\0two or more", 12);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a dictionary page of 8 bytes announces 2 values");
    chunk_free(&chunk);
    free(pages.at);

    const struct chunk_plan plain = {.type = 5, .row_count = 20, .page_levels = 1, .version = 1};
    chunk = chunk_make(&plain, &dice);
    chunk.file.count = CHUNK_OFFSET;
    chunk_put_page_1(&chunk, 0, 4, true, &dice);
    chunk_put_dictionary(&chunk, FB__ENCODING_PLAIN);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a dictionary page behind a data page");
    chunk_free(&chunk);
}

static void counts_that_differ_are_told(void)
{
    struct dice dice = {SEED + 8};
    struct chunk chunk = plain_chunk(false, &dice);
    chunk.chunk.value_count--;
    check_refusal(&chunk, "a column chunk of 19 values where the unit has 20 rows");
    chunk.chunk.value_count++;
    chunk_put_page_1(&chunk, 0, 3, true, &dice);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    struct fb_error error;
    CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), 0); /* what stands behind the last value is nobody's */
    chunk.file.count = CHUNK_OFFSET;
    chunk_put_page_1(&chunk, 0, 15, true, &dice);
    chunk_put_page_1(&chunk, 15, 20, true, &dice);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), 0);
    chunk.file.count = CHUNK_OFFSET;
    chunk_put_page_1(&chunk, 0, 15, true, &dice);
    chunk_put_page_1(&chunk, 14, 20, true, &dice);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "the pages have more than the 20 values of the column chunk");
    chunk.file.count = CHUNK_OFFSET;
    chunk_put_page_1(&chunk, 0, 15, true, &dice);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "the column chunk ends after 15 of 20 values");
    chunk.chunk.codec = 3;
    check_refusal(&chunk, "codec 3 cannot be decoded here");
    chunk.chunk.codec = 0;
    chunk.chunk.offset = UINT64_MAX - 2;
    check_refusal(&chunk, "a column chunk lies beyond the end of any file");
    chunk_free(&chunk);
}

static void sizes_that_do_not_fit_are_told(void)
{
    struct dice dice = {SEED + 9};
    struct chunk chunk = plain_chunk(false, &dice);
    struct bytes content = {0};
    for (int i = 0; i < 200; i++) put_byte(&content, 0);
    chunk.file.count = CHUNK_OFFSET;
    put_header(&chunk.file, FB__PAGE_DATA_V2, 161, 160, 5);
    for (int i = 0; i < 6; i++) put_number(&chunk.file, 1, i == 0 ? 20 : 0);
    put_byte(&chunk.file, 0);
    put_byte(&chunk.file, 0);
    put(&chunk.file, content.at, 160);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a page of 160 bytes that is not compressed announces 161");
    chunk.file.count = CHUNK_OFFSET;
    put_header(&chunk.file, FB__PAGE_DATA_V2, 160, 160, 5);
    for (int i = 0; i < 6; i++) put_number(&chunk.file, 1, i == 0 ? 20 : i >= 4 ? 81 : 0);
    put_byte(&chunk.file, 0);
    put_byte(&chunk.file, 0);
    put(&chunk.file, content.at, 160);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "a page of 160 bytes announces 162 bytes of levels");
    chunk.chunk.stored_bytes--;
    check_refusal(&chunk, "a page of 160 bytes where the column chunk has 159 left");
    chunk.file.count = CHUNK_OFFSET;
    put_byte(&chunk.file, 8 << 4 | 8); /* a field of 2^30 bytes that nobody knows */
    put_varint(&chunk.file, 1 << 30);
    for (uint64_t i = 0; i < (1 << 20) + 1000; i++) put_byte(&chunk.file, 0);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    check_refusal(&chunk, "the header of a page has more than 1048576 bytes");
    chunk.chunk.stored_bytes = 1000;
    check_refusal(&chunk, "the column chunk ends inside the header of a page");
    chunk_free(&chunk);
    free(content.at);
}

/* ---- lists of another length ---- */

/* A list column (null lists and elements allowed) of these levels, cut into two pages where a cut is given. */
static struct chunk level_chunk(const char *repetition, const char *definition, uint64_t list_size, uint64_t row_count,
                                uint64_t cut, struct dice *dice)
{
    const struct chunk_plan plan = {.type = 5,
                                    .is_list = true,
                                    .list_size = 3,
                                    .has_null_rows = true,
                                    .has_null_items = true,
                                    .row_count = 20,
                                    .page_levels = 1000,
                                    .version = 1};
    struct chunk chunk = chunk_make(&plan, dice);
    chunk.plan.list_size = list_size;
    chunk.plan.row_count = row_count;
    chunk.level_count = strlen(repetition);
    for (uint64_t i = 0; i < chunk.level_count; i++) {
        chunk.repetition[i] = (uint32_t)(repetition[i] - '0');
        chunk.definition[i] = (uint32_t)(definition[i] - '0');
    }
    chunk.file.count = CHUNK_OFFSET;
    if (cut > 0) chunk_put_page_1(&chunk, 0, cut, true, dice);
    chunk_put_page_1(&chunk, cut, chunk.level_count, true, dice);
    chunk.chunk.value_count = chunk.level_count;
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    return chunk;
}

static void lists_of_another_length_are_an_error(void)
{
    static const struct {
        const char *repetition, *definition;
        uint64_t list_size, row_count;
        const char *text;
    } cases[] = {
        {"011010", "333333", 3, 3, "a list of 2 elements where 3 are expected"},
        {"01101", "33333", 3, 2, "a list of 2 elements where 3 are expected"},
        {"0110011", "3331333", 3, 3, "a list of 0 elements where 3 are expected"},
        {"01110011", "33333333", 3, 2, "a list of more than 3 elements where 3 are expected"},
        {"0110111", "3333333", 3, 2, "the column chunk has more values than the 2 rows of the unit take"},
        {"000", "131", 0, 3, "a list of at least 1 elements where 0 are expected"},
        {"1011", "3333", 3, 1, "a list of more than 3 elements"},
        {"011011", "333301", 3, 2, "a list goes on without an element"},
        {"0110", "3330", 3, 3, "the column chunk ends"},
        {"0110", "3330", 3, 2, NULL},
        {"0110011", "3230332", 3, 3, NULL},
    };
    struct dice dice = {SEED + 10};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t levels = strlen(cases[i].repetition);
        for (uint64_t cut = 0; cut < levels; cut++) {
            struct chunk chunk = level_chunk(cases[i].repetition, cases[i].definition, cases[i].list_size,
                                             cases[i].row_count, cut, &dice);
            struct fb_error error;
            int code = read_damaged(&chunk, ROOMY_BYTES, &error);
            CHECK_EQUAL(code, cases[i].text ? EIO : 0);
            if (code) CHECK_CONTAINS(error.message, cases[i].text);
            chunk_free(&chunk);
        }
    }
}

/* Two bits have room for a level that the column does not have. */
static void levels_above_the_highest_are_an_error(void)
{
    struct dice dice = {SEED + 17};
    const struct chunk_plan plan = {.type = 5,
                                    .is_list = true,
                                    .list_size = 3,
                                    .has_null_items = true,
                                    .row_count = 20,
                                    .page_levels = 1000,
                                    .version = 1};
    struct chunk chunk = chunk_make(&plan, &dice);
    chunk.definition[40] = 3;
    chunk_write(&chunk, &dice);
    check_refusal(&chunk, "a level above the highest one of the column");
    chunk_free(&chunk);
}

/* Fewer rows than announced, in lists, where the levels are as many as announced. */
static void lists_that_end_before_the_rows_do_are_an_error(void)
{
    struct dice dice = {SEED + 11};
    struct chunk chunk = level_chunk("011011", "333333", 3, 3, 0, &dice);
    check_refusal(&chunk, "the column chunk ends after 6 of 6 values");
    chunk_free(&chunk);
    chunk = level_chunk("00", "11", 0, 2, 0, &dice);
    chunk.plan.row_count = 2;
    struct fb_error error;
    CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), 0);
    chunk_free(&chunk);
}

/* A page that claims more than there can be is a refusal before anything is allocated. */
static void a_claim_of_two_gigabytes_is_refused_by_the_limit(void)
{
    if (!fb__codec_is_supported(FB__CODEC_SNAPPY)) return;
    struct dice dice = {SEED + 13};
    const struct chunk_plan plan = {
        .type = 5, .row_count = 20, .page_levels = 100, .version = 1, .codec = FB__CODEC_SNAPPY};
    struct chunk chunk = chunk_make(&plan, &dice);
    chunk.file.count = CHUNK_OFFSET;
    put_header(&chunk.file, FB__PAGE_DATA, INT32_MAX, 10, 2);
    for (int i = 0; i < 4; i++) put_number(&chunk.file, 1, i == 0 ? 20 : i == 1 ? 0 : 3);
    put(&chunk.file, "\0\0twelve bytes", 14);
    chunk.chunk.stored_bytes = chunk.file.count - CHUNK_OFFSET;
    struct fb_error error;
    CHECK_EQUAL(read_damaged(&chunk, ROOMY_BYTES, &error), ENOBUFS);
    CHECK(error.required_bytes > INT32_MAX);
    chunk_free(&chunk);
}

int main(void)
{
    RUN(a_chunk_cut_off_anywhere_is_an_error);
    RUN(a_damaged_chunk_is_an_error_or_other_values);
    RUN(encodings_that_are_not_read_are_named);
    RUN(dictionaries_come_once_and_first);
    RUN(counts_that_differ_are_told);
    RUN(sizes_that_do_not_fit_are_told);
    RUN(lists_of_another_length_are_an_error);
    RUN(levels_above_the_highest_are_an_error);
    RUN(lists_that_end_before_the_rows_do_are_an_error);
    RUN(a_claim_of_two_gigabytes_is_refused_by_the_limit);
    return 0;
}
