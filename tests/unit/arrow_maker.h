/*
 * Arrow schemas from a short notation, and arrays of any such schema with random rows in buffers of exactly their size.
 *
 *     format [ '(' name=type ; name=type ... ')' ] [ '[' type of the dictionary ']' ]
 *
 *     "+s(a=i;b=+l(item=u))"     "s[u]"     "+m(entries=+s(key=u;value=i))"     "+r(run_ends=i;values=d:10,2)"
 */
#ifndef FB_TESTS_ARROW_MAKER_H
#define FB_TESTS_ARROW_MAKER_H

#include "arrow_fixtures.h"

/* ---- schemas -------------------------------------------------------------------------------------------------- */

static inline struct ArrowSchema maker_read_type(const char **at, const char *name)
{
    char format[64];
    size_t bytes = strcspn(*at, "()[];=");
    CHECK(bytes > 0 && bytes < sizeof format);
    memcpy(format, *at, bytes);
    format[bytes] = '\0';
    *at += bytes;
    struct ArrowSchema schema = fixture_schema(format, name);
    if (**at == '(') {
        do {
            (*at)++;
            char field[64];
            size_t name_bytes = strcspn(*at, "=)");
            if ((*at)[name_bytes] == ')') break; /* a struct of nothing */
            CHECK(name_bytes < sizeof field);
            memcpy(field, *at, name_bytes);
            field[name_bytes] = '\0';
            *at += name_bytes + 1;
            fixture_add_field(&schema, maker_read_type(at, field));
        } while (**at == ';');
        CHECK(**at == ')');
        (*at)++;
    }
    if (**at == '[') {
        (*at)++;
        fixture_set_dictionary(&schema, maker_read_type(at, NULL));
        CHECK(**at == ']');
        (*at)++;
    }
    return schema;
}

static inline struct ArrowSchema maker_schema(const char *notation, const char *name)
{
    const char *at = notation;
    struct ArrowSchema schema = maker_read_type(&at, name);
    CHECK(*at == '\0');
    return schema;
}

/* A schema of one column "x" of this type. */
static inline struct ArrowSchema maker_column_schema(const char *notation)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, maker_schema(notation, "x"));
    return schema;
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

struct maker {
    struct dice dice;
    uint64_t null_percent;
    uint64_t most_offset;   /* slots before the first row, at each level: 0 up to this */
    uint64_t most_elements; /* of a list; bytes of a string are up to three times that */
};

static inline bool maker_is(const struct ArrowSchema *schema, const char *format)
{
    return strcmp(schema->format, format) == 0;
}

/* Width of a value of one width; 0 for bits; -1 where the type is of another kind. */
static inline int64_t maker_width(const char *format)
{
    static const char *const widths[][2] = {{"c", "1"},   {"C", "1"},   {"s", "2"},   {"S", "2"},   {"i", "4"},
                                            {"I", "4"},   {"l", "8"},   {"L", "8"},   {"e", "2"},   {"f", "4"},
                                            {"g", "8"},   {"tdD", "4"}, {"tdm", "8"}, {"tts", "4"}, {"ttm", "4"},
                                            {"ttu", "8"}, {"ttn", "8"}, {"tDs", "8"}, {"tDn", "8"}, {"b", "0"}};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        if (strcmp(format, widths[i][0]) == 0) return widths[i][1][0] - '0';
    }
    if (strncmp(format, "ts", 2) == 0) return 8;
    if (strncmp(format, "w:", 2) == 0) return atoi(format + 2);
    if (strncmp(format, "d:", 2) != 0) return -1;
    const char *bits = strchr(strchr(format, ',') + 1, ',');
    return bits != NULL ? atoi(bits + 1) / 8 : 16;
}

static inline bool maker_bit(const void *bits, uint64_t i)
{
    return bits == NULL || (((const uint8_t *)bits)[i / 8] >> (i % 8) & 1) != 0;
}

static inline void maker_write(uint8_t *at, uint64_t width, uint64_t i, uint64_t value)
{
    memcpy(at + i * width, &value, width); /* little-endian */
}

static inline uint64_t maker_load(const void *at, uint64_t width, uint64_t i)
{
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)at + i * width, width);
    return value;
}

/* Bits of the array's slots, and the count of its nulls or -1. */
static inline void maker_add_validity(struct maker *maker, struct ArrowArray *array)
{
    uint64_t slots = (uint64_t)(array->offset + array->length);
    if (maker->null_percent == 0 && dice_below(&maker->dice, 2) == 0) return;
    uint8_t *bits = fixture_add_buffer(array, 0, (slots + 7) / 8, dice_below(&maker->dice, 3));
    memset(bits, 0xFF, (slots + 7) / 8);
    int64_t null_count = 0;
    for (uint64_t i = 0; i < slots; i++) {
        if (dice_below(&maker->dice, 100) >= maker->null_percent) continue;
        bits[i / 8] &= (uint8_t)~(1 << (i % 8));
        null_count += (int64_t)i >= array->offset;
    }
    array->null_count = dice_below(&maker->dice, 2) == 0 ? null_count : -1;
}

static inline struct ArrowArray maker_begin(struct maker *maker, uint64_t rows, int64_t buffer_count)
{
    return fixture_array((int64_t)rows, (int64_t)dice_below(&maker->dice, maker->most_offset + 1), 0, buffer_count);
}

static inline uint64_t maker_slots(const struct ArrowArray *array)
{
    return (uint64_t)(array->length + array->offset);
}

static inline struct ArrowArray maker_array(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows);

static inline void maker_fill(struct maker *maker, uint8_t *at, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) at[i] = (uint8_t)dice_next(&maker->dice);
}

static inline struct ArrowArray maker_fixed(struct maker *maker, uint64_t rows, uint64_t width)
{
    struct ArrowArray array = maker_begin(maker, rows, 2);
    maker_add_validity(maker, &array);
    uint64_t bytes = width == 0 ? (maker_slots(&array) + 7) / 8 : maker_slots(&array) * width;
    maker_fill(maker, fixture_add_buffer(&array, 1, bytes, dice_below(&maker->dice, 3)), bytes);
    return array;
}

/* Offsets that do not begin at 0; gives the last. */
static inline uint64_t maker_add_offsets(struct maker *maker, struct ArrowArray *array, uint64_t width, uint64_t most)
{
    uint64_t slots = maker_slots(array);
    uint8_t *offsets = fixture_add_buffer(array, 1, (slots + 1) * width, dice_below(&maker->dice, 3));
    uint64_t at = dice_below(&maker->dice, maker->most_offset + 1);
    for (uint64_t i = 0; i <= slots; i++) {
        maker_write(offsets, width, i, at);
        if (i < slots) at += dice_below(&maker->dice, most + 1);
    }
    return at;
}

static inline struct ArrowArray maker_binary(struct maker *maker, uint64_t rows, uint64_t width)
{
    struct ArrowArray array = maker_begin(maker, rows, 3);
    maker_add_validity(maker, &array);
    uint64_t bytes = maker_add_offsets(maker, &array, width, 3 * maker->most_elements);
    maker_fill(maker, fixture_add_buffer(&array, 2, bytes, 0), bytes);
    return array;
}

/* Two data buffers, their sizes behind them. */
static inline struct ArrowArray maker_views(struct maker *maker, uint64_t rows)
{
    static const uint64_t data_bytes[] = {40, 100};
    struct ArrowArray array = maker_begin(maker, rows, 6);
    array.n_buffers = 5;
    maker_add_validity(maker, &array);
    uint64_t slots = maker_slots(&array);
    uint8_t *views = fixture_add_buffer(&array, 1, slots * 16, dice_below(&maker->dice, 3));
    for (int i = 0; i < 2; i++) maker_fill(maker, fixture_add_buffer(&array, 2 + i, data_bytes[i], 0), data_bytes[i]);
    uint8_t *sizes = fixture_add_buffer(&array, 4, 16, 0);
    for (uint64_t i = 0; i < 2; i++) maker_write(sizes, 8, i, data_bytes[i]);
    maker_fill(maker, views, slots * 16);
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t bytes = dice_below(&maker->dice, 3 * maker->most_elements + 1);
        if (bytes > data_bytes[0]) bytes = data_bytes[0];
        maker_write(views + 16 * i, 4, 0, bytes);
        if (bytes <= 12) continue;
        uint64_t buffer = dice_below(&maker->dice, 2);
        uint64_t offset = dice_below(&maker->dice, data_bytes[buffer] - bytes + 1);
        maker_write(views + 16 * i, 4, 2, buffer);
        maker_write(views + 16 * i, 4, 3, offset);
        memcpy(views + 16 * i + 4, (const uint8_t *)array.buffers[2 + buffer] + offset, 4);
    }
    return array;
}

static inline struct ArrowArray maker_list(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    uint64_t width = maker_is(schema, "+L") ? 8 : 4;
    struct ArrowArray array = maker_begin(maker, rows, 2);
    maker_add_validity(maker, &array);
    uint64_t elements = maker_add_offsets(maker, &array, width, maker->most_elements);
    fixture_add_child(&array, maker_array(maker, schema->children[0], elements));
    return array;
}

static inline struct ArrowArray maker_list_views(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    uint64_t width = maker_is(schema, "+vL") ? 8 : 4;
    struct ArrowArray array = maker_begin(maker, rows, 3);
    maker_add_validity(maker, &array);
    uint64_t slots = maker_slots(&array);
    uint64_t elements = 2 * maker->most_elements + dice_below(&maker->dice, slots + 1);
    uint8_t *offsets = fixture_add_buffer(&array, 1, slots * width, dice_below(&maker->dice, 3));
    uint8_t *sizes = fixture_add_buffer(&array, 2, slots * width, dice_below(&maker->dice, 3));
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t size = dice_below(&maker->dice, maker->most_elements + 1);
        maker_write(sizes, width, i, size);
        maker_write(offsets, width, i, dice_below(&maker->dice, elements - size + 1));
    }
    fixture_add_child(&array, maker_array(maker, schema->children[0], elements));
    return array;
}

static inline struct ArrowArray maker_dictionary(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    uint64_t width = (uint64_t)maker_width(schema->format);
    struct ArrowArray array = maker_begin(maker, rows, 2);
    maker_add_validity(maker, &array);
    uint64_t values = 1 + dice_below(&maker->dice, 6);
    uint8_t *indices = fixture_add_buffer(&array, 1, maker_slots(&array) * width, dice_below(&maker->dice, 3));
    for (uint64_t i = 0; i < maker_slots(&array); i++) maker_write(indices, width, i, dice_below(&maker->dice, values));
    fixture_set_values(&array, maker_array(maker, schema->dictionary, values));
    return array;
}

static inline struct ArrowArray maker_runs(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    uint64_t width = (uint64_t)maker_width(schema->children[0]->format);
    struct ArrowArray array = maker_begin(maker, rows, 0);
    uint64_t ends[300], count = 0, end = 0;
    while (end < maker_slots(&array) || count == 0) {
        CHECK(count < 300);
        end += 1 + dice_below(&maker->dice, 4);
        ends[count++] = end;
    }
    struct ArrowArray run_ends = maker_begin(maker, count, 2);
    uint64_t slots = maker_slots(&run_ends);
    uint8_t *at = fixture_add_buffer(&run_ends, 1, slots * width, dice_below(&maker->dice, 3));
    memset(at, 0xFF, slots * width);
    for (uint64_t i = 0; i < count; i++) maker_write(at, width, (uint64_t)run_ends.offset + i, ends[i]);
    fixture_add_child(&array, run_ends);
    fixture_add_child(&array, maker_array(maker, schema->children[1], count));
    return array;
}

/* Children have a row more than the array needs, now and then. */
static inline struct ArrowArray maker_over_children(struct maker *maker, const struct ArrowSchema *schema,
                                                    uint64_t rows, uint64_t per_row)
{
    struct ArrowArray array = maker_begin(maker, rows, 1);
    maker_add_validity(maker, &array);
    for (int64_t i = 0; i < schema->n_children; i++) {
        uint64_t child_rows = maker_slots(&array) * per_row + dice_below(&maker->dice, 2);
        fixture_add_child(&array, maker_array(maker, schema->children[i], child_rows));
    }
    return array;
}

static inline struct ArrowArray maker_array(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    const char *format = schema->format;
    if (schema->dictionary != NULL) return maker_dictionary(maker, schema, rows);
    if (maker_width(format) >= 0) return maker_fixed(maker, rows, (uint64_t)maker_width(format));
    if (maker_is(schema, "n")) {
        struct ArrowArray array = maker_begin(maker, rows, 0);
        array.null_count = array.length;
        return array;
    }
    if (strchr("uz", format[0]) != NULL) return maker_binary(maker, rows, 4);
    if (strchr("UZ", format[0]) != NULL) return maker_binary(maker, rows, 8);
    if (format[0] == 'v') return maker_views(maker, rows);
    if (maker_is(schema, "+l") || maker_is(schema, "+L") || maker_is(schema, "+m"))
        return maker_list(maker, schema, rows);
    if (strncmp(format, "+v", 2) == 0) return maker_list_views(maker, schema, rows);
    if (maker_is(schema, "+r")) return maker_runs(maker, schema, rows);
    if (strncmp(format, "+w:", 3) == 0) return maker_over_children(maker, schema, rows, (uint64_t)atoi(format + 3));
    CHECK(maker_is(schema, "+s"));
    return maker_over_children(maker, schema, rows, 1);
}

/* A block: the struct of the columns has no nulls. */
static inline struct ArrowArray maker_block(struct maker *maker, const struct ArrowSchema *schema, uint64_t rows)
{
    struct ArrowArray block = maker_begin(maker, rows, 1);
    for (int64_t i = 0; i < schema->n_children; i++)
        fixture_add_child(&block,
                          maker_array(maker, schema->children[i], maker_slots(&block) + dice_below(&maker->dice, 2)));
    return block;
}

#endif
