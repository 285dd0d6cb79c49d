/* White-box test of src/source/parquet/page: headers written byte by byte, cut, damaged and made up. */
#include "source/parquet/page.h"

#include <errno.h>

#include "check.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- a writer of the compact protocol ---- */

struct writer {
    uint8_t bytes[4096];
    uint32_t count;
    int32_t id; /* of the last field */
};

static void put(struct writer *writer, uint8_t byte)
{
    CHECK(writer->count < sizeof writer->bytes);
    writer->bytes[writer->count++] = byte;
}

static void put_varint(struct writer *writer, uint64_t value)
{
    for (; value > 0x7F; value >>= 7) put(writer, (uint8_t)(0x80 | (value & 0x7F)));
    put(writer, (uint8_t)value);
}

static void put_signed(struct writer *writer, int64_t value)
{
    put_varint(writer, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

static void put_field(struct writer *writer, int32_t id, uint8_t type)
{
    int32_t step = id - writer->id;
    if (step > 0 && step < 16) {
        put(writer, (uint8_t)(step << 4 | type));
    } else {
        put(writer, type);
        put_signed(writer, id);
    }
    writer->id = id;
}

static void put_i32(struct writer *writer, int32_t id, int32_t value)
{
    put_field(writer, id, 5);
    put_signed(writer, value);
}

static int32_t begin_struct(struct writer *writer, int32_t id)
{
    put_field(writer, id, 12);
    writer->id = 0;
    return id;
}

static void end_struct(struct writer *writer, int32_t id)
{
    put(writer, 0);
    writer->id = id;
}

/* A field of every wire type, nested; `from` is the first id. */
static void put_unknown_fields(struct writer *writer, int32_t from)
{
    put_field(writer, from++, 1);
    put_field(writer, from++, 2);
    put_field(writer, from++, 3), put(writer, 0xFF);
    put_field(writer, from++, 4), put_signed(writer, -32768);
    put_field(writer, from++, 5), put_signed(writer, INT32_MIN);
    put_field(writer, from++, 6), put_signed(writer, INT64_MIN);
    put_field(writer, from++, 7);
    for (uint8_t i = 0; i < 8; i++) put(writer, 0x80);
    put_field(writer, from++, 8), put_varint(writer, 200);
    for (uint32_t i = 0; i < 200; i++) put(writer, 0xFF);
    put_field(writer, from++, 9), put(writer, 0xF5), put_varint(writer, 20); /* a long list of i32 */
    for (int32_t i = 0; i < 20; i++) put_signed(writer, i * 100);
    put_field(writer, from++, 9), put(writer, 0x31), put(writer, 1), put(writer, 2), put(writer, 1); /* of booleans */
    put_field(writer, from++, 9), put(writer, 0x2C); /* of structs */
    put(writer, 0x15), put(writer, 2), put(writer, 0x11), put(writer, 0), put(writer, 0);
    put_field(writer, from++, 10), put(writer, 0x18), put_varint(writer, 1), put(writer, 0x80); /* a set of binaries */
    put_field(writer, from++, 11), put(writer, 0); /* a map without entries has no types */
    put_field(writer, from++, 11), put_varint(writer, 2), put(writer, 0x81); /* a map of binary to boolean */
    put_varint(writer, 1), put(writer, 'a'), put(writer, 1), put_varint(writer, 0), put(writer, 2);
    put_field(writer, from++, 11), put_varint(writer, 1), put(writer, 0x39); /* of byte to lists */
    put(writer, 7), put(writer, 0x13), put(writer, 7);
    put_field(writer, from++, 13);
    for (uint8_t i = 0; i < 16; i++) put(writer, 0x80);
    int32_t outer = begin_struct(writer, from++);
    put_field(writer, 1, 8), put_varint(writer, 0);
    int32_t inner = begin_struct(writer, 1000);
    put_field(writer, 3, 2);
    end_struct(writer, inner);
    put_field(writer, -5, 1);
    end_struct(writer, outer);
}

/* ---- headers ---- */

static struct writer data_header(bool has_unknown)
{
    struct writer writer = {.count = 0};
    put_i32(&writer, 1, FB__PAGE_DATA);
    put_i32(&writer, 2, 1048576);
    put_i32(&writer, 3, 300000);
    put_i32(&writer, 4, -559038737); /* a checksum is of any sign */
    int32_t id = begin_struct(&writer, 5);
    put_i32(&writer, 1, INT32_MAX);
    put_i32(&writer, 2, FB__ENCODING_RLE_DICTIONARY);
    put_i32(&writer, 3, FB__ENCODING_RLE);
    put_i32(&writer, 4, FB__ENCODING_BIT_PACKED);
    if (has_unknown) put_unknown_fields(&writer, 5);
    end_struct(&writer, id);
    if (has_unknown) put_unknown_fields(&writer, 9);
    put(&writer, 0);
    return writer;
}

static struct writer dictionary_header(bool has_unknown)
{
    struct writer writer = {.count = 0};
    put_i32(&writer, 1, FB__PAGE_DICTIONARY);
    put_i32(&writer, 2, 80);
    put_i32(&writer, 3, 41);
    int32_t id = begin_struct(&writer, 7);
    put_i32(&writer, 1, 10);
    put_i32(&writer, 2, FB__ENCODING_PLAIN_DICTIONARY);
    put_field(&writer, 3, 1); /* sorted */
    if (has_unknown) put_unknown_fields(&writer, 9);
    end_struct(&writer, id);
    if (has_unknown) put_unknown_fields(&writer, 100);
    put(&writer, 0);
    return writer;
}

/* is_compressed: 1 or 2 (yes and no, as field types), 0: not said. */
static struct writer data_v2_header(uint8_t is_compressed, bool has_unknown)
{
    struct writer writer = {.count = 0};
    put_i32(&writer, 1, FB__PAGE_DATA_V2);
    put_i32(&writer, 2, 5000);
    put_i32(&writer, 3, 4000);
    int32_t id = begin_struct(&writer, 8);
    put_i32(&writer, 1, 1000);
    put_i32(&writer, 2, 12);
    put_i32(&writer, 3, 900);
    put_i32(&writer, 4, FB__ENCODING_PLAIN);
    put_i32(&writer, 5, 130);
    put_i32(&writer, 6, 70);
    if (is_compressed) put_field(&writer, 7, is_compressed);
    if (has_unknown) put_unknown_fields(&writer, 8);
    end_struct(&writer, id);
    if (has_unknown) put_unknown_fields(&writer, 9);
    put(&writer, 0);
    return writer;
}

/* Parses a copy of exactly these bytes, so that the sanitizers see a read of one more. */
static int parse(const uint8_t *bytes, uint32_t count, struct fb__page_header *out, uint64_t *header_bytes,
                 struct fb_error *error)
{
    uint8_t *copy = malloc(count > 0 ? count : 1);
    CHECK(copy);
    memcpy(copy, bytes, count);
    int code = fb__page_header_parse(copy, count, out, header_bytes, error);
    free(copy);
    return code;
}

static int parse_written(const struct writer *writer, struct fb__page_header *out)
{
    uint64_t header_bytes = 0;
    struct fb_error error = {0};
    int code = parse(writer->bytes, writer->count, out, &header_bytes, &error);
    if (code == 0) CHECK_EQUAL(header_bytes, writer->count);
    if (code != 0) CHECK_EQUAL(error.code, code);
    if (code == EIO) CHECK_CONTAINS(error.message, "malformed");
    return code;
}

static void a_data_page(void)
{
    for (int has_unknown = 0; has_unknown < 2; has_unknown++) {
        struct writer writer = data_header(has_unknown != 0);
        struct fb__page_header header;
        CHECK_EQUAL(parse_written(&writer, &header), 0);
        CHECK_EQUAL(header.type, FB__PAGE_DATA);
        CHECK_EQUAL(header.uncompressed_bytes, 1048576);
        CHECK_EQUAL(header.compressed_bytes, 300000);
        CHECK_EQUAL(header.value_count, INT32_MAX);
        CHECK_EQUAL(header.encoding, FB__ENCODING_RLE_DICTIONARY);
        CHECK_EQUAL(header.definition_encoding, FB__ENCODING_RLE);
        CHECK_EQUAL(header.repetition_encoding, FB__ENCODING_BIT_PACKED);
        CHECK_EQUAL(header.definition_bytes, 0);
        CHECK(header.is_compressed);
    }
}

static void a_dictionary_page(void)
{
    for (int has_unknown = 0; has_unknown < 2; has_unknown++) {
        struct writer writer = dictionary_header(has_unknown != 0);
        struct fb__page_header header;
        CHECK_EQUAL(parse_written(&writer, &header), 0);
        CHECK_EQUAL(header.type, FB__PAGE_DICTIONARY);
        CHECK_EQUAL(header.uncompressed_bytes, 80);
        CHECK_EQUAL(header.compressed_bytes, 41);
        CHECK_EQUAL(header.value_count, 10);
        CHECK_EQUAL(header.encoding, FB__ENCODING_PLAIN_DICTIONARY);
        CHECK(header.is_compressed);
    }
}

static void a_data_page_of_version_2(void)
{
    for (uint8_t is_compressed = 0; is_compressed < 3; is_compressed++) {
        struct writer writer = data_v2_header(is_compressed, is_compressed == 1);
        struct fb__page_header header;
        CHECK_EQUAL(parse_written(&writer, &header), 0);
        CHECK_EQUAL(header.type, FB__PAGE_DATA_V2);
        CHECK_EQUAL(header.uncompressed_bytes, 5000);
        CHECK_EQUAL(header.compressed_bytes, 4000);
        CHECK_EQUAL(header.value_count, 1000);
        CHECK_EQUAL(header.encoding, FB__ENCODING_PLAIN);
        CHECK_EQUAL(header.definition_bytes, 130);
        CHECK_EQUAL(header.repetition_bytes, 70);
        CHECK_EQUAL(header.is_compressed, is_compressed != 2);
    }
}

static void pages_of_other_types_say_how_long_they_are(void)
{
    static const int32_t types[] = {FB__PAGE_INDEX, 4, 77, INT32_MAX};
    for (uint32_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct writer writer = {.count = 0};
        put_i32(&writer, 1, types[i]);
        put_i32(&writer, 2, 9);
        put_i32(&writer, 3, 8);
        int32_t id = begin_struct(&writer, 6);
        end_struct(&writer, id);
        put_unknown_fields(&writer, 40);
        put(&writer, 0);
        struct fb__page_header header;
        CHECK_EQUAL(parse_written(&writer, &header), 0);
        CHECK_EQUAL(header.type, types[i]);
        CHECK_EQUAL(header.compressed_bytes, 8);
    }
}

static void fields_may_come_in_any_order_and_what_follows_is_not_read(void)
{
    struct writer writer = {.count = 0};
    int32_t id = begin_struct(&writer, 7);
    put_i32(&writer, 2, FB__ENCODING_PLAIN);
    put_i32(&writer, 1, 3);
    end_struct(&writer, id);
    put_i32(&writer, 3, 30);
    put_i32(&writer, 2, 20);
    put_i32(&writer, 1, FB__PAGE_DICTIONARY);
    put(&writer, 0);
    uint32_t length = writer.count;
    for (uint32_t i = 0; i < 100; i++) put(&writer, 0xFF);
    struct fb__page_header header;
    uint64_t header_bytes = 0;
    CHECK_EQUAL(parse(writer.bytes, writer.count, &header, &header_bytes, NULL), 0);
    CHECK_EQUAL(header_bytes, length);
    CHECK_EQUAL(header.value_count, 3);
    CHECK_EQUAL(header.uncompressed_bytes, 20);
    CHECK_EQUAL(header.compressed_bytes, 30);
}

static void a_struct_of_another_page_type_does_not_count(void)
{
    struct writer writer = data_header(false);
    writer.bytes[1] = 2 * FB__PAGE_DICTIONARY; /* the type, which is the first field's value */
    struct fb__page_header header;
    CHECK_EQUAL(parse_written(&writer, &header), EIO);
    writer.bytes[1] = 2 * FB__PAGE_DATA;
    CHECK_EQUAL(parse_written(&writer, &header), 0);
}

static void a_header_cut_at_any_byte_asks_for_more(void)
{
    const struct writer writers[] = {data_header(true), dictionary_header(true), data_v2_header(1, true)};
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t count = 0; count < writers[i].count; count++) {
            struct fb__page_header header = {.type = 12345};
            uint64_t header_bytes = 54321;
            struct fb_error error = {0};
            CHECK_EQUAL(parse(writers[i].bytes, count, &header, &header_bytes, &error), EAGAIN);
            CHECK_EQUAL(header.type, 12345);
            CHECK_EQUAL(header_bytes, 54321);
            CHECK_CONTAINS(error.message, "does not end");
        }
    }
    CHECK_EQUAL(fb__page_header_parse(NULL, 0, NULL, NULL, NULL), EAGAIN);
}

/* Writes a header of a page type whose number `wrong` (counted from 0) is left out, or is negative. Returns whether
 * there is such a number. */
static bool write_wrong(struct writer *writer, uint32_t page_type, uint32_t wrong, bool is_missing)
{
    static const int32_t struct_id[] = {5, 6, 7, 8};
    static const uint32_t number_count[] = {4, 0, 2, 6};
    uint32_t count = 0;
    *writer = (struct writer){.count = 0};
    for (int32_t id = 1; id <= 3; id++, count++) {
        if (count == wrong && is_missing) continue;
        put_i32(writer, id, count == wrong ? -1 : id == 1 ? (int32_t)page_type : 50);
    }
    int32_t id = begin_struct(writer, struct_id[page_type]);
    for (int32_t number = 1; number <= (int32_t)number_count[page_type]; number++, count++) {
        if (count == wrong && is_missing) continue;
        put_i32(writer, number, count == wrong ? INT32_MIN : 0);
    }
    end_struct(writer, id);
    put(writer, 0);
    return wrong < count;
}

static void a_missing_or_negative_number_is_malformed(void)
{
    struct writer writer;
    struct fb__page_header header;
    for (uint32_t page_type = 0; page_type < 4; page_type++) {
        CHECK(!write_wrong(&writer, page_type, UINT32_MAX, false));
        CHECK_EQUAL(parse_written(&writer, &header), 0);
        for (int is_missing = 0; is_missing < 2; is_missing++) {
            for (uint32_t wrong = 0; write_wrong(&writer, page_type, wrong, is_missing != 0); wrong++) {
                CHECK_EQUAL(parse_written(&writer, &header), EIO);
            }
        }
    }
}

static void a_number_of_another_wire_type_is_missing(void)
{
    struct writer writer = {.count = 0};
    struct fb__page_header header;
    put_field(&writer, 1, 6), put_signed(&writer, FB__PAGE_INDEX);
    put_i32(&writer, 2, 1);
    put_i32(&writer, 3, 1);
    put(&writer, 0);
    CHECK_EQUAL(parse_written(&writer, &header), EIO);
    writer.bytes[0] = 0x15;
    CHECK_EQUAL(parse_written(&writer, &header), 0);
}

static int parse_text(const char *bytes, uint32_t count)
{
    struct fb__page_header header;
    uint64_t header_bytes;
    return parse((const uint8_t *)bytes, count, &header, &header_bytes, NULL);
}

#define PARSE(text) parse_text(text, sizeof text - 1)

static void malformed_bytes(void)
{
    CHECK_EQUAL(PARSE("\x15\x80\x80\x80\x80\x80"), EIO); /* a varint without an end */
    CHECK_EQUAL(PARSE("\x15\xFF\xFF\xFF\xFF\x1F"), EIO); /* 33 bits */
    CHECK_EQUAL(PARSE("\x15\xFF\xFF\xFF\xFF\x0F"), EAGAIN); /* 32 bits */
    CHECK_EQUAL(PARSE("\x96\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), EIO); /* 65 bits of i64 */
    CHECK_EQUAL(PARSE("\x96\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), EAGAIN);
    CHECK_EQUAL(PARSE("\x94\x80\x80\x04"), EIO); /* 17 bits of i16 */
    CHECK_EQUAL(PARSE("\x94\x80\x80\x03"), EAGAIN);
    CHECK_EQUAL(PARSE("\x05\x80\x80\x04"), EIO); /* 17 bits of a field id */
    CHECK_EQUAL(PARSE("\x01\xFE\xFF\x03\x11"), EIO); /* the id after 32767 */
    CHECK_EQUAL(PARSE("\x15\x02\x15\x02\x15\x02"), EAGAIN); /* an index page, but for its end */
    CHECK_EQUAL(PARSE("\x15\x02\x15\x02\x15\x02\x00"), 0);
    CHECK_EQUAL(PARSE("\x15\x02\x15\x02\x15\x02\x10"), EIO); /* a stop with an id */
    CHECK_EQUAL(PARSE("\x1E"), EIO); /* wire types 14 and 15 are none */
    CHECK_EQUAL(PARSE("\x1F"), EIO);
    CHECK_EQUAL(PARSE("\x98\xFF\xFF\xFF\xFF\x0F"), EIO); /* a negative length */
    CHECK_EQUAL(PARSE("\x98\xFF\xFF\xFF\xFF\x07"), EAGAIN); /* the largest one */
    CHECK_EQUAL(PARSE("\x99\xF5\xFF\xFF\xFF\xFF\x0F"), EIO); /* of a list */
    CHECK_EQUAL(PARSE("\x9B\xFF\xFF\xFF\xFF\x0F"), EIO); /* of a map */
    CHECK_EQUAL(PARSE("\x99\x10"), EIO); /* a list of nothing, which would take no bytes */
    CHECK_EQUAL(PARSE("\x9B\x01\x01"), EIO);
    CHECK_EQUAL(PARSE("\x9B\x01\x10\x01"), EIO);
    CHECK_EQUAL(PARSE("\x99\xF1\xFF\xFF\xFF\xFF\x07"), EAGAIN); /* a list longer than the bytes */
}

static void nesting_has_a_limit(void)
{
    /* How a struct, a list, a set or a map begins that holds one like itself, without end. */
    static const struct {
        uint8_t field, inner[2];
    } bombs[] = {{0x9C, {0x1C, 0x1C}}, {0x99, {0x19, 0x19}}, {0x9A, {0x1A, 0x1A}}, {0x9B, {0x01, 0xBB}}};
    for (uint32_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        struct writer writer = {.count = 0};
        put(&writer, bombs[i].field);
        for (uint32_t k = 0; k < 4000; k++) put(&writer, bombs[i].inner[k % 2]);
        struct fb__page_header header;
        uint64_t header_bytes = 0;
        struct fb_error error;
        CHECK_EQUAL(parse(writer.bytes, writer.count, &header, &header_bytes, &error), EIO);
        CHECK_CONTAINS(error.message, "too deep");
    }
}

static void nesting_below_the_limit_is_skipped(void)
{
    struct writer writer = {.count = 0};
    put_i32(&writer, 1, FB__PAGE_INDEX);
    put_i32(&writer, 2, 1);
    put_i32(&writer, 3, 1);
    for (uint32_t i = 0; i < 10; i++) put(&writer, i == 0 ? 0x6C : 0x1C);
    for (uint32_t i = 0; i < 11; i++) put(&writer, 0);
    struct fb__page_header header;
    CHECK_EQUAL(parse_written(&writer, &header), 0);
}

static void any_bytes_are_judged_within_their_end(void)
{
    const struct writer writers[] = {data_header(true), dictionary_header(true), data_v2_header(1, true)};
    uint32_t seen[3] = {0};
    for (uint32_t i = 0; i < 1000000; i++) {
        uint8_t bytes[512];
        uint32_t count = (uint32_t)(random_next() % 48);
        if (i % 2) { /* a true header with some bytes changed */
            const struct writer *writer = &writers[random_next() % 3];
            CHECK(writer->count > 64 && writer->count < 2 * sizeof bytes);
            count = writer->count < sizeof bytes ? writer->count : sizeof bytes;
            memcpy(bytes, writer->bytes, count);
            for (uint64_t k = random_next() % 3 + 1; k > 0; k--) bytes[random_next() % count] = (uint8_t)random_next();
        } else {
            for (uint32_t k = 0; k < count; k++) bytes[k] = (uint8_t)(random_next() & (i % 4 ? 0xFF : 0x1F));
        }
        struct fb__page_header header;
        uint64_t header_bytes = 0;
        int code = parse(bytes, count, &header, &header_bytes, NULL);
        CHECK(code == 0 || code == EAGAIN || code == EIO);
        if (code == 0) CHECK(header_bytes > 0 && header_bytes <= count);
        seen[code == 0 ? 0 : code == EAGAIN ? 1 : 2]++;
    }
    CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

int main(void)
{
    RUN(a_data_page);
    RUN(a_dictionary_page);
    RUN(a_data_page_of_version_2);
    RUN(pages_of_other_types_say_how_long_they_are);
    RUN(fields_may_come_in_any_order_and_what_follows_is_not_read);
    RUN(a_struct_of_another_page_type_does_not_count);
    RUN(a_header_cut_at_any_byte_asks_for_more);
    RUN(a_missing_or_negative_number_is_malformed);
    RUN(a_number_of_another_wire_type_is_missing);
    RUN(malformed_bytes);
    RUN(nesting_has_a_limit);
    RUN(nesting_below_the_limit_is_skipped);
    RUN(any_bytes_are_judged_within_their_end);
    return 0;
}
