/*
 * Column chunks written by hand, in every shape that the decoder reads, and what their rows are as batch elements.
 *
 *     rows (random, with nulls) --> levels and values --> pages, cut at any level --> bytes of a chunk in a memory file
 *                               --> elements and validity that a batch must have
 */
#ifndef FB_TESTS_PARQUET_FIXTURE_H
#define FB_TESTS_PARQUET_FIXTURE_H

#if defined(FB_HAVE_SNAPPY) && FB_HAVE_SNAPPY
#include <snappy-c.h>
#endif
#if defined(FB_HAVE_ZSTD) && FB_HAVE_ZSTD
#include <zstd.h>
#endif

#include "arrow_fixtures.h"
#include "data/layout.h"
#include "source/parquet/codec.h"
#include "source/parquet/page.h"

#define CHUNK_OFFSET 37 /* of a chunk in its file, so that nothing is aligned */

/* ---- bytes ---- */

struct bytes {
    uint8_t *at;
    uint64_t count, capacity;
};

static inline void put(struct bytes *bytes, const void *from, uint64_t count)
{
    if (bytes->count + count > bytes->capacity) {
        bytes->capacity = 2 * (bytes->count + count);
        bytes->at = realloc(bytes->at, bytes->capacity);
        CHECK(bytes->at != NULL);
    }
    if (count > 0) memcpy(bytes->at + bytes->count, from, count);
    bytes->count += count;
}

static inline void put_byte(struct bytes *bytes, uint64_t byte)
{
    uint8_t one = (uint8_t)byte;
    put(bytes, &one, 1);
}

static inline void put_varint(struct bytes *bytes, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) put_byte(bytes, (value & 0x7F) | 0x80);
    put_byte(bytes, value);
}

/* A Thrift field of type i32. step: how far its id is from the one before. */
static inline void put_number(struct bytes *bytes, uint32_t step, uint64_t value)
{
    put_byte(bytes, step << 4 | 5);
    put_varint(bytes, value << 1);
}

/* ---- runs ---- */

static inline void put_packed(struct bytes *bytes, const uint32_t *values, uint64_t count, uint32_t bit_width)
{
    uint64_t groups = (count + 7) / 8;
    put_varint(bytes, groups << 1 | 1);
    uint64_t begin = bytes->count;
    for (uint64_t i = 0; i < groups * bit_width; i++) put_byte(bytes, 0);
    for (uint64_t i = 0; i < count * bit_width; i++)
        if (values[i / bit_width] >> i % bit_width & 1) bytes->at[begin + i / 8] |= (uint8_t)(1 << i % 8);
}

/* Repeated runs where values repeat, packed ones of a random length elsewhere. */
static inline void put_runs(struct bytes *bytes, const uint32_t *values, uint64_t count, uint32_t bit_width,
                            struct dice *dice)
{
    uint64_t at = 0;
    while (at < count) {
        uint64_t same = 1;
        while (at + same < count && values[at + same] == values[at]) same++;
        if (same >= 8 || (same == count - at && dice_below(dice, 2))) {
            put_varint(bytes, same << 1);
            for (uint32_t i = 0; i < (bit_width + 7) / 8; i++) put_byte(bytes, values[at] >> 8 * i & 0xFF);
            at += same;
            continue;
        }
        uint64_t packed = 8 * (1 + dice_below(dice, 6));
        if (packed > count - at) packed = count - at;
        put_packed(bytes, values + at, packed, bit_width);
        at += packed;
    }
}

/* ---- what a column is ---- */

struct chunk_type {
    const char *format;
    uint32_t physical_type, type_bytes;
    uint64_t physical_bytes; /* 0: a bit */
};

static const struct chunk_type chunk_types[] = {
    {"b", FB_PARQUET_BOOLEAN, 0, 0},     {"c", FB_PARQUET_INT32, 0, 4},   {"S", FB_PARQUET_INT32, 0, 4},
    {"i", FB_PARQUET_INT32, 0, 4},       {"tdD", FB_PARQUET_INT32, 0, 4}, {"l", FB_PARQUET_INT64, 0, 8},
    {"f", FB_PARQUET_FLOAT, 0, 4},       {"g", FB_PARQUET_DOUBLE, 0, 8},  {"e", FB_PARQUET_FIXED_LEN_BYTE_ARRAY, 2, 2},
    {"tsu:UTC", FB_PARQUET_INT64, 0, 8},
};
#define CHUNK_TYPE_COUNT (sizeof chunk_types / sizeof *chunk_types)

/* How a chunk is written. */
struct chunk_plan {
    uint32_t type;          /* of chunk_types */
    bool is_list;
    uint64_t list_size;
    bool has_null_rows;     /* the schema allows them: of a list, null lists */
    bool has_null_items;    /* of a list: its elements */
    uint32_t nulls_in_256;  /* how often it is so */
    uint64_t row_count;
    uint64_t page_levels;   /* of a page, more or less */
    uint32_t version;       /* of data pages: 1 or 2; 0: one or the other */
    uint32_t codec;
    uint32_t dictionary_entries; /* 0: plain */
    bool falls_back;        /* pages after the first third are plain all the same */
    bool uses_bit_runs;     /* booleans */
    bool is_bool8;          /* 8-bit integers that the batch stores as bools */
    bool has_strange_page;  /* one of a type nobody knows, and an empty data page */
};

struct chunk {
    struct chunk_plan plan;
    uint32_t max_definition, element_definition;
    uint64_t level_count;
    uint32_t *repetition, *definition;
    uint64_t *values; /* one a level, anything where there is none */
    uint32_t *indexes;
    uint64_t *entries;
    struct bytes file;
    uint64_t largest_page_bytes; /* of data, uncompressed */
    struct fb_parquet_chunk chunk;
    struct fb_parquet_column description;
};

static inline uint64_t chunk_item_count(const struct chunk_plan *plan)
{
    return plan->is_list ? plan->list_size : 1;
}

static inline bool dice_null(struct dice *dice, const struct chunk_plan *plan, bool is_allowed)
{
    return is_allowed && dice_below(dice, 256) < plan->nulls_in_256;
}

static inline void chunk_make_levels(struct chunk *chunk, struct dice *dice)
{
    const struct chunk_plan *plan = &chunk->plan;
    uint64_t items = chunk_item_count(plan);
    uint64_t most = plan->row_count * (items > 0 ? items : 1);
    chunk->repetition = fixture_allocate(most * sizeof(uint32_t));
    chunk->definition = fixture_allocate(most * sizeof(uint32_t));
    chunk->values = fixture_allocate(most * sizeof(uint64_t));
    chunk->indexes = fixture_allocate(most * sizeof(uint32_t));
    chunk->element_definition = plan->is_list ? 1 + plan->has_null_rows : 0;
    chunk->max_definition =
        plan->is_list ? chunk->element_definition + plan->has_null_items : (uint32_t)plan->has_null_rows;
    for (uint32_t i = 0; i < plan->dictionary_entries; i++) chunk->entries[i] = dice_next(dice);
    for (uint64_t row = 0; row < plan->row_count; row++) {
        bool is_null = dice_null(dice, plan, plan->has_null_rows);
        uint64_t levels = plan->is_list && (is_null || items == 0) ? 1 : items;
        for (uint64_t i = 0; i < levels; i++) {
            uint64_t at = chunk->level_count++;
            chunk->repetition[at] = i > 0;
            chunk->indexes[at] = plan->dictionary_entries ? (uint32_t)dice_below(dice, plan->dictionary_entries) : 0;
            chunk->values[at] = plan->dictionary_entries ? chunk->entries[chunk->indexes[at]] : dice_next(dice);
            if (!plan->is_list) {
                chunk->definition[at] = chunk->max_definition - is_null;
            } else if (is_null) {
                chunk->definition[at] = 0;
            } else if (items == 0) {
                chunk->definition[at] = chunk->element_definition - 1;
            } else {
                chunk->definition[at] = chunk->max_definition - dice_null(dice, plan, plan->has_null_items);
            }
        }
    }
}

/* ---- pages ---- */

static inline void put_plain(struct bytes *bytes, const uint64_t *values, uint64_t count, uint64_t physical_bytes)
{
    if (physical_bytes > 0) {
        for (uint64_t i = 0; i < count; i++) put(bytes, &values[i], physical_bytes);
        return;
    }
    uint64_t begin = bytes->count;
    for (uint64_t i = 0; i < (count + 7) / 8; i++) put_byte(bytes, 0);
    for (uint64_t i = 0; i < count; i++) bytes->at[begin + i / 8] |= (uint8_t)((values[i] & 1) << i % 8);
}

static inline void put_compressed(struct bytes *out, const struct bytes *in, uint32_t codec)
{
    if (codec == FB__CODEC_UNCOMPRESSED) {
        put(out, in->at, in->count);
        return;
    }
#if defined(FB_HAVE_SNAPPY) && FB_HAVE_SNAPPY
    if (codec == FB__CODEC_SNAPPY) {
        size_t room = snappy_max_compressed_length(in->count);
        char *packed = fixture_allocate(room);
        CHECK_EQUAL(snappy_compress(in->count > 0 ? (const char *)in->at : "", in->count, packed, &room), SNAPPY_OK);
        put(out, packed, room);
        free(packed);
        return;
    }
#endif
#if defined(FB_HAVE_ZSTD) && FB_HAVE_ZSTD
    if (codec == FB__CODEC_ZSTD) {
        size_t room = ZSTD_compressBound(in->count);
        char *packed = fixture_allocate(room);
        size_t written = ZSTD_compress(packed, room, in->at, in->count, 1);
        CHECK(!ZSTD_isError(written));
        put(out, packed, written);
        free(packed);
        return;
    }
#endif
    CHECK(!"a codec that this build has");
}

static inline uint32_t bits_for(uint32_t most)
{
    uint32_t bits = 0;
    for (; most > 0; most >>= 1) bits++;
    return bits;
}

/* The struct of the page's own kind is open when this returns; put_byte(0) twice ends it and the header. */
static inline void put_header(struct bytes *file, uint32_t type, uint64_t uncompressed_bytes, uint64_t stored_bytes,
                              uint32_t struct_step)
{
    put_number(file, 1, type);
    put_number(file, 1, uncompressed_bytes);
    put_number(file, 1, stored_bytes);
    put_byte(file, struct_step << 4 | 12);
}

static inline void chunk_put_dictionary(struct chunk *chunk, uint32_t encoding)
{
    struct bytes plain = {0}, stored = {0};
    put_plain(&plain, chunk->entries, chunk->plan.dictionary_entries, chunk_types[chunk->plan.type].physical_bytes);
    put_compressed(&stored, &plain, chunk->plan.codec);
    put_header(&chunk->file, FB__PAGE_DICTIONARY, plain.count, stored.count, 4);
    put_number(&chunk->file, 1, chunk->plan.dictionary_entries);
    put_number(&chunk->file, 1, encoding);
    put_byte(&chunk->file, 0);
    put_byte(&chunk->file, 0);
    put(&chunk->file, stored.at, stored.count);
    free(plain.at);
    free(stored.at);
}

/* The values of levels [begin, end) that there are. Returns the encoding. */
static inline uint32_t put_values(struct bytes *bytes, const struct chunk *chunk, uint64_t begin, uint64_t end,
                                  bool is_plain, struct dice *dice)
{
    const struct chunk_plan *plan = &chunk->plan;
    uint64_t *values = calloc(end - begin + 1, sizeof *values); /* a page may have none */
    uint32_t *indexes = calloc(end - begin + 1, sizeof *indexes);
    CHECK(values != NULL && indexes != NULL);
    uint64_t count = 0;
    for (uint64_t i = begin; i < end; i++) {
        if (chunk->definition[i] != chunk->max_definition) continue;
        if (chunk->plan.is_list && chunk->definition[i] < chunk->element_definition) continue;
        values[count] = chunk->values[i];
        indexes[count++] = plan->uses_bit_runs ? (uint32_t)(chunk->values[i] & 1) : chunk->indexes[i];
    }
    uint32_t encoding = FB__ENCODING_PLAIN;
    if (plan->uses_bit_runs) {
        struct bytes runs = {0};
        put_runs(&runs, indexes, count, 1, dice);
        uint32_t length = (uint32_t)runs.count;
        if (count > 0 || dice_below(dice, 2)) put(bytes, &length, 4);
        put(bytes, runs.at, runs.count);
        free(runs.at);
        encoding = FB__ENCODING_RLE;
    } else if (plan->dictionary_entries > 0 && !is_plain) {
        uint32_t bit_width = bits_for(plan->dictionary_entries - 1);
        if (count > 0 || dice_below(dice, 2)) put_byte(bytes, bit_width);
        put_runs(bytes, indexes, count, bit_width, dice);
        encoding = dice_below(dice, 2) ? FB__ENCODING_RLE_DICTIONARY : FB__ENCODING_PLAIN_DICTIONARY;
    } else {
        put_plain(bytes, values, count, chunk_types[plan->type].physical_bytes);
    }
    free(values);
    free(indexes);
    return encoding;
}

static inline void put_levels(struct bytes *bytes, const uint32_t *levels, uint64_t count, uint32_t highest,
                              bool is_counted, struct dice *dice)
{
    if (highest == 0) return;
    struct bytes runs = {0};
    put_runs(&runs, levels, count, bits_for(highest), dice);
    uint32_t length = (uint32_t)runs.count;
    if (is_counted) put(bytes, &length, 4);
    put(bytes, runs.at, runs.count);
    free(runs.at);
}

static inline void chunk_put_page_1(struct chunk *chunk, uint64_t begin, uint64_t end, bool is_plain, struct dice *dice)
{
    struct bytes plain = {0}, stored = {0};
    put_levels(&plain, chunk->repetition + begin, end - begin, chunk->plan.is_list, true, dice);
    put_levels(&plain, chunk->definition + begin, end - begin, chunk->max_definition, true, dice);
    uint32_t encoding = put_values(&plain, chunk, begin, end, is_plain, dice);
    put_compressed(&stored, &plain, chunk->plan.codec);
    put_header(&chunk->file, FB__PAGE_DATA, plain.count, stored.count, 2);
    put_number(&chunk->file, 1, end - begin);
    put_number(&chunk->file, 1, encoding);
    put_number(&chunk->file, 1, FB__ENCODING_RLE);
    put_number(&chunk->file, 1, FB__ENCODING_RLE);
    put_byte(&chunk->file, 0);
    put_byte(&chunk->file, 0);
    put(&chunk->file, stored.at, stored.count);
    if (plain.count > chunk->largest_page_bytes) chunk->largest_page_bytes = plain.count;
    free(plain.at);
    free(stored.at);
}

static inline void chunk_put_page_2(struct chunk *chunk, uint64_t begin, uint64_t end, bool is_plain, struct dice *dice)
{
    struct bytes repetition = {0}, definition = {0}, plain = {0}, stored = {0};
    put_levels(&repetition, chunk->repetition + begin, end - begin, chunk->plan.is_list, false, dice);
    put_levels(&definition, chunk->definition + begin, end - begin, chunk->max_definition, false, dice);
    uint32_t encoding = put_values(&plain, chunk, begin, end, is_plain, dice);
    bool is_compressed = dice_below(dice, 4) > 0;
    put_compressed(&stored, &plain, is_compressed ? chunk->plan.codec : (uint32_t)FB__CODEC_UNCOMPRESSED);
    uint64_t level_bytes = repetition.count + definition.count;
    put_header(&chunk->file, FB__PAGE_DATA_V2, level_bytes + plain.count, level_bytes + stored.count, 5);
    put_number(&chunk->file, 1, end - begin);
    put_number(&chunk->file, 1, 0); /* nulls and rows, which nobody asks for */
    put_number(&chunk->file, 1, 0);
    put_number(&chunk->file, 1, encoding);
    put_number(&chunk->file, 1, definition.count);
    put_number(&chunk->file, 1, repetition.count);
    if (!is_compressed || dice_below(dice, 2)) put_byte(&chunk->file, 1 << 4 | (is_compressed ? 1 : 2));
    put_byte(&chunk->file, 0);
    put_byte(&chunk->file, 0);
    put(&chunk->file, repetition.at, repetition.count);
    put(&chunk->file, definition.at, definition.count);
    put(&chunk->file, stored.at, stored.count);
    if (plain.count > chunk->largest_page_bytes) chunk->largest_page_bytes = plain.count;
    free(repetition.at);
    free(definition.at);
    free(plain.at);
    free(stored.at);
}

/* Where a page that begins there ends. Version 2 ends at a row's end. */
static inline uint64_t page_end(const struct chunk *chunk, uint64_t begin, uint32_t version, struct dice *dice)
{
    uint64_t end = begin + 1 + dice_below(dice, 2 * chunk->plan.page_levels);
    if (end > chunk->level_count) end = chunk->level_count;
    while (version == 2 && end < chunk->level_count && chunk->repetition[end] != 0) end++;
    return end;
}

/* A page of a type that nobody knows, and a data page of nothing. */
static inline void chunk_put_strange_pages(struct chunk *chunk, uint64_t at, struct dice *dice)
{
    put_header(&chunk->file, 77, 5, 5, 9);
    put_byte(&chunk->file, 0);
    put_byte(&chunk->file, 0);
    put(&chunk->file, "\xFF\xFF\xFF\xFF\xFF", 5);
    chunk_put_page_1(chunk, at, at, true, dice);
}

/* Writes the file anew from levels and values. */
static inline void chunk_write(struct chunk *chunk, struct dice *dice)
{
    const struct chunk_plan *plan = &chunk->plan;
    chunk->file.count = 0;
    for (int i = 0; i < CHUNK_OFFSET; i++) put_byte(&chunk->file, 0xEE);
    if (plan->dictionary_entries > 0)
        chunk_put_dictionary(chunk, dice_below(dice, 2) ? FB__ENCODING_PLAIN : FB__ENCODING_PLAIN_DICTIONARY);
    uint64_t at = 0, strange_at = plan->has_strange_page ? chunk->level_count / 2 : UINT64_MAX;
    uint32_t version = 1;
    while (at < chunk->level_count) {
        if (at >= strange_at) {
            chunk_put_strange_pages(chunk, at, dice);
            strange_at = UINT64_MAX;
        }
        if (plan->version != 0) {
            version = plan->version;
        } else if (chunk->repetition[at] == 0) { /* a row may go on only from 1 to 1 */
            version = 1 + (uint32_t)dice_below(dice, 2);
        }
        uint64_t end = page_end(chunk, at, version, dice);
        bool is_plain = plan->falls_back && at > chunk->level_count / 3;
        if (version == 1)
            chunk_put_page_1(chunk, at, end, is_plain, dice);
        else
            chunk_put_page_2(chunk, at, end, is_plain, dice);
        at = end;
    }
    chunk->chunk = (struct fb_parquet_chunk){.offset = CHUNK_OFFSET,
                                             .stored_bytes = chunk->file.count - CHUNK_OFFSET,
                                             .value_count = chunk->level_count,
                                             .codec = plan->codec};
}

static inline struct chunk chunk_make(const struct chunk_plan *plan, struct dice *dice)
{
    struct chunk chunk = {.plan = *plan};
    chunk.entries = fixture_allocate(plan->dictionary_entries * sizeof *chunk.entries);
    chunk_make_levels(&chunk, dice);
    chunk_write(&chunk, dice);
    chunk.description = (struct fb_parquet_column){.is_decoded_here = true,
                                                   .physical_type = chunk_types[plan->type].physical_type,
                                                   .type_bytes = chunk_types[plan->type].type_bytes,
                                                   .max_definition = chunk.max_definition,
                                                   .max_repetition = plan->is_list,
                                                   .element_definition = chunk.element_definition};
    return chunk;
}

static inline void chunk_free(struct chunk *chunk)
{
    free(chunk->repetition);
    free(chunk->definition);
    free(chunk->values);
    free(chunk->indexes);
    free(chunk->entries);
    free(chunk->file.at);
}

/* ---- what must come out ---- */

static inline void chunk_element(const struct chunk *chunk, const struct fb__column_layout *layout, uint64_t value,
                                 uint8_t *out)
{
    if (chunk_types[chunk->plan.type].physical_bytes == 0) value &= 1;
    if (layout->copy == FB__COPY_BOOL8) value = (uint8_t)value != 0;
    if (layout->copy == FB__COPY_WIDEN_I32) value = (uint64_t)(int64_t)(int32_t)value;
    memcpy(out, &value, layout->element_bytes);
}

struct expected {
    uint8_t *elements; /* list_size of each row */
    uint8_t *valid;    /* one a row */
    uint8_t *item_valid; /* list_size a row */
    uint64_t first_null_row; /* row_count: none */
    bool is_item_null;       /* that one */
};

static inline struct expected chunk_expect(const struct chunk *chunk, const struct fb__column_layout *layout)
{
    uint64_t items = chunk_item_count(&chunk->plan), row_count = chunk->plan.row_count, at = 0;
    struct expected expected = {.elements = fixture_allocate(row_count * items * layout->element_bytes),
                                .valid = fixture_allocate(row_count),
                                .item_valid = fixture_allocate(row_count * items),
                                .first_null_row = row_count};
    uint8_t fill[8] = {0};
    if (layout->fill) memcpy(fill, layout->fill, layout->element_bytes);
    for (uint64_t row = 0; row < row_count; row++) {
        bool is_null = chunk->plan.is_list ? chunk->definition[at] + 1 < chunk->element_definition
                                           : chunk->definition[at] < chunk->max_definition;
        bool has_levels = !chunk->plan.is_list || (!is_null && items > 0);
        expected.valid[row] = !is_null;
        if (is_null && expected.first_null_row == row_count) expected.first_null_row = row;
        for (uint64_t i = 0; i < items; i++) {
            uint8_t *to = expected.elements + (row * items + i) * layout->element_bytes;
            expected.item_valid[row * items + i] = has_levels && chunk->definition[at + i] == chunk->max_definition;
            if (expected.item_valid[row * items + i]) {
                chunk_element(chunk, layout, chunk->values[at + i], to);
                continue;
            }
            memcpy(to, fill, layout->element_bytes);
            if (is_null || expected.first_null_row < row_count) continue;
            expected.first_null_row = row;
            expected.is_item_null = true;
        }
        at += has_levels ? items : 1;
    }
    CHECK_EQUAL(at, chunk->level_count);
    return expected;
}

static inline void expected_free(struct expected *expected)
{
    free(expected->elements);
    free(expected->valid);
    free(expected->item_valid);
}

#endif
