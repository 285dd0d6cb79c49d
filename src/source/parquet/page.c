/*
 * Page headers: a reader of the Thrift compact protocol, no more of it than a page header needs.
 *
 * Every struct that matters here is a handful of 32-bit numbers and booleans, told apart by field ids below 9. One
 * function reads such a struct into a table of them and skips the rest; what is required of the table is decided at
 * the end, when the type of the page is known.
 *
 * The work is bounded by the bytes at hand: a value of any type takes at least one byte, so a list that claims two
 * thousand million elements ends where the bytes do, and nesting has a limit.
 *
 * Locking: none.
 */
#include "source/parquet/page.h"

#include <errno.h>
#include <inttypes.h>

/* Types of the compact protocol, as in field headers. */
enum wire_type {
    WIRE_STOP = 0,
    WIRE_TRUE = 1,
    WIRE_FALSE = 2,
    WIRE_BYTE = 3,
    WIRE_I16 = 4,
    WIRE_I32 = 5,
    WIRE_I64 = 6,
    WIRE_DOUBLE = 7,
    WIRE_BINARY = 8,
    WIRE_LIST = 9,
    WIRE_SET = 10,
    WIRE_MAP = 11,
    WIRE_STRUCT = 12,
    WIRE_UUID = 13
};

/* Values within values. A page header with statistics needs three. */
#define DEPTH_LIMIT 16

struct reader {
    const uint8_t *next;
    const uint8_t *end;
    const char *problem; /* where a function returned EIO: what is wrong */
};

/* The functions of a reader return 0, EAGAIN (the bytes end) or EIO. */

static int malformed(struct reader *reader, const char *problem)
{
    reader->problem = problem;
    return EIO;
}

static int skip_bytes(struct reader *reader, uint64_t byte_count)
{
    if ((uint64_t)(reader->end - reader->next) < byte_count) return EAGAIN;
    reader->next += byte_count;
    return 0;
}

static int read_byte(struct reader *reader, uint8_t *out)
{
    if (reader->next == reader->end) return EAGAIN;
    *out = *reader->next++;
    return 0;
}

/* A number below 2^bit_count in groups of 7 bits, the lowest first. */
static int read_varint(struct reader *reader, uint32_t bit_count, uint64_t *out)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < bit_count; shift += 7) {
        uint8_t byte = 0;
        int code = read_byte(reader, &byte);
        if (code) return code;
        uint64_t bits = byte & 0x7F;
        uint32_t room = bit_count - shift;
        if (room < 7 && bits >> room) return malformed(reader, "a number is too large for its type");
        value |= bits << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return 0;
        }
    }
    return malformed(reader, "a number takes too many bytes");
}

/* A signed number: 0, -1, 1, -2, 2 ... are 0, 1, 2, 3, 4 ... */
static int read_signed(struct reader *reader, uint32_t bit_count, int64_t *out)
{
    uint64_t value = 0;
    int code = read_varint(reader, bit_count, &value);
    if (code) return code;
    *out = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    return 0;
}

/* A count of bytes or elements: Thrift knows none beyond 2^31 - 1. */
static int read_count(struct reader *reader, uint64_t *out)
{
    int code = read_varint(reader, 32, out);
    if (code) return code;
    return *out > INT32_MAX ? malformed(reader, "a length is negative") : 0;
}

/* The next field of a struct, *id becoming its id; WIRE_STOP is the struct's end. */
static int read_field(struct reader *reader, int32_t *id, uint8_t *type)
{
    uint8_t byte = 0;
    int code = read_byte(reader, &byte);
    if (code) return code;
    *type = byte & 0x0F;
    uint8_t step = byte >> 4;
    if (*type == WIRE_STOP) return step == 0 ? 0 : malformed(reader, "a field has no type");
    if (step > 0) {
        if (*id > INT16_MAX - step) return malformed(reader, "a field's id is too large");
        *id += step;
        return 0;
    }
    int64_t explicit_id = 0;
    code = read_signed(reader, 16, &explicit_id);
    *id = (int32_t)explicit_id;
    return code;
}

static int skip_value(struct reader *reader, uint8_t type, uint32_t depth);

static int skip_struct(struct reader *reader, uint32_t depth)
{
    for (int32_t id = 0;;) {
        uint8_t type = WIRE_STOP;
        int code = read_field(reader, &id, &type);
        if (code || type == WIRE_STOP) return code;
        if (type == WIRE_TRUE || type == WIRE_FALSE) continue; /* a boolean field is its type */
        code = skip_value(reader, type, depth);
        if (code) return code;
    }
}

static int skip_list(struct reader *reader, uint32_t depth)
{
    uint8_t head = 0;
    int code = read_byte(reader, &head);
    if (code) return code;
    uint64_t count = head >> 4;
    if (count == 15) code = read_count(reader, &count);
    for (uint64_t i = 0; i < count && !code; i++) code = skip_value(reader, head & 0x0F, depth);
    return code;
}

static int skip_map(struct reader *reader, uint32_t depth)
{
    uint64_t count = 0;
    uint8_t types = 0;
    int code = read_count(reader, &count);
    if (!code && count > 0) code = read_byte(reader, &types);
    for (uint64_t i = 0; i < count && !code; i++) {
        code = skip_value(reader, types >> 4, depth);
        if (!code) code = skip_value(reader, types & 0x0F, depth);
    }
    return code;
}

/* Passes over a value that stands by itself: a field's other than a boolean, or an element. depth: of what it is in. */
static int skip_value(struct reader *reader, uint8_t type, uint32_t depth)
{
    if (depth == DEPTH_LIMIT) return malformed(reader, "it is nested too deep");
    uint64_t number = 0;
    int code = 0;
    switch (type) {
    case WIRE_TRUE:
    case WIRE_FALSE:
    case WIRE_BYTE:
        return skip_bytes(reader, 1);
    case WIRE_I16:
        return read_varint(reader, 16, &number);
    case WIRE_I32:
        return read_varint(reader, 32, &number);
    case WIRE_I64:
        return read_varint(reader, 64, &number);
    case WIRE_DOUBLE:
        return skip_bytes(reader, 8);
    case WIRE_UUID:
        return skip_bytes(reader, 16);
    case WIRE_BINARY:
        code = read_count(reader, &number);
        return code ? code : skip_bytes(reader, number);
    case WIRE_LIST:
    case WIRE_SET:
        return skip_list(reader, depth + 1);
    case WIRE_MAP:
        return skip_map(reader, depth + 1);
    case WIRE_STRUCT:
        return skip_struct(reader, depth + 1);
    default:
        return malformed(reader, "a value has an unknown type");
    }
}

/* ---- the structs of a page header ---- */

/* Fields 1 to 8 of a struct, as far as they are 32-bit numbers or booleans. */
struct fields {
    bool is_present;
    bool is_number[9];
    bool is_boolean[9];
    int64_t value[9];
};

/* One of a PageHeader's own fields, or of a struct in it. inner: of the PageHeader itself, where field i's struct is
 * read into; NULL entries, and inner NULL, are skipped. */
static int read_fields(struct reader *reader, struct fields *fields, struct fields *const inner[9])
{
    *fields = (struct fields){.is_present = true};
    for (int32_t id = 0;;) {
        uint8_t type = WIRE_STOP;
        int code = read_field(reader, &id, &type);
        if (code || type == WIRE_STOP) return code;
        bool is_known = id >= 1 && id <= 8;
        if (type == WIRE_TRUE || type == WIRE_FALSE) {
            if (!is_known) continue;
            fields->is_boolean[id] = true;
            fields->value[id] = type == WIRE_TRUE;
        } else if (is_known && type == WIRE_I32) {
            code = read_signed(reader, 32, &fields->value[id]);
            fields->is_number[id] = true;
        } else if (is_known && type == WIRE_STRUCT && inner && inner[id]) {
            code = read_fields(reader, inner[id], NULL);
        } else {
            code = skip_value(reader, type, inner ? 1 : 2);
        }
        if (code) return code;
    }
}

/* Takes required field id as a size, a count or a number of an enumeration. */
static int take(struct reader *reader, const struct fields *fields, uint32_t id, const char *problem, uint32_t *out)
{
    if (!fields->is_number[id] || fields->value[id] < 0) return malformed(reader, problem);
    *out = (uint32_t)fields->value[id];
    return 0;
}

static int take_data(struct reader *reader, const struct fields *data, struct fb__page_header *out)
{
    int code = take(reader, data, 1, "its number of values is missing or negative", &out->value_count);
    if (!code) code = take(reader, data, 2, "its encoding is missing or negative", &out->encoding);
    if (!code) code = take(reader, data, 3, "its definition level encoding is missing", &out->definition_encoding);
    if (!code) code = take(reader, data, 4, "its repetition level encoding is missing", &out->repetition_encoding);
    return code;
}

static int take_dictionary(struct reader *reader, const struct fields *dictionary, struct fb__page_header *out)
{
    int code = take(reader, dictionary, 1, "its number of entries is missing or negative", &out->value_count);
    if (!code) code = take(reader, dictionary, 2, "its encoding is missing or negative", &out->encoding);
    return code;
}

static int take_data_v2(struct reader *reader, const struct fields *data, struct fb__page_header *out)
{
    uint32_t unused = 0; /* required and of a sign, though nobody asks for it */
    int code = take(reader, data, 1, "its number of values is missing or negative", &out->value_count);
    if (!code) code = take(reader, data, 2, "its number of nulls is missing or negative", &unused);
    if (!code) code = take(reader, data, 3, "its number of rows is missing or negative", &unused);
    if (!code) code = take(reader, data, 4, "its encoding is missing or negative", &out->encoding);
    if (!code) code = take(reader, data, 5, "its bytes of definition levels are missing", &out->definition_bytes);
    if (!code) code = take(reader, data, 6, "its bytes of repetition levels are missing", &out->repetition_bytes);
    if (data->is_boolean[7]) out->is_compressed = data->value[7] != 0;
    return code;
}

static int parse(struct reader *reader, struct fb__page_header *out)
{
    struct fields header = {0}, data = {0}, dictionary = {0}, data_v2 = {0};
    struct fields *const inner[9] = {[5] = &data, [7] = &dictionary, [8] = &data_v2};
    int code = read_fields(reader, &header, inner);
    if (!code) code = take(reader, &header, 1, "its page type is missing or negative", &out->type);
    if (!code) code = take(reader, &header, 2, "its plain size is missing or negative", &out->uncompressed_bytes);
    if (!code) code = take(reader, &header, 3, "its compressed size is missing or negative", &out->compressed_bytes);
    if (code) return code;
    switch (out->type) {
    case FB__PAGE_DATA:
        return take_data(reader, &data, out);
    case FB__PAGE_DICTIONARY:
        return take_dictionary(reader, &dictionary, out);
    case FB__PAGE_DATA_V2:
        return take_data_v2(reader, &data_v2, out);
    default:
        return 0;
    }
}

int fb__page_header_parse(const uint8_t *bytes, uint64_t byte_count, struct fb__page_header *out,
                          uint64_t *header_bytes, struct fb_error *error)
{
    struct reader reader = {bytes, byte_count > 0 ? bytes + byte_count : bytes, NULL};
    struct fb__page_header parsed = {.is_compressed = true};
    int code = parse(&reader, &parsed);
    if (code == EAGAIN) {
        return fb__fail(error, EAGAIN, "a page header does not end within %" PRIu64 " bytes", byte_count);
    }
    if (code) return fb__fail(error, code, "a page header is malformed: %s", reader.problem);
    *out = parsed;
    *header_bytes = (uint64_t)(reader.next - bytes);
    return 0;
}
