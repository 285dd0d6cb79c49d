/*
 * What a row of an Arrow array means, as text, worked out the plainest way; and the same text of a row of a batch. Two
 * texts are equal where the batch holds what the array says. Elements of fixed-size lists stand side by side without
 * brackets, since a batch flattens them.
 *
 * Two manners: DENSE, where a null is its fill value and a null list is empty; and ARROW, where a null is "~".
 */
#ifndef FB_TESTS_ARROW_REFERENCE_H
#define FB_TESTS_ARROW_REFERENCE_H

#include "arrow_maker.h"

enum reference_manner { REFERENCE_DENSE, REFERENCE_ARROW };

struct reference_text {
    char *bytes; /* NUL-terminated */
    size_t used, room;
};

static inline void reference_add(struct reference_text *text, const char *more)
{
    size_t bytes = strlen(more);
    if (text->used + bytes + 1 > text->room) {
        text->room = 2 * text->room + bytes + 64;
        text->bytes = realloc(text->bytes, text->room);
        CHECK(text->bytes != NULL);
    }
    memcpy(text->bytes + text->used, more, bytes + 1);
    text->used += bytes;
}

static inline void reference_clear(struct reference_text *text)
{
    text->used = 0;
    reference_add(text, "");
}

static inline void reference_hex(struct reference_text *text, const void *bytes, uint64_t count)
{
    char digits[4];
    for (uint64_t i = 0; i < count; i++) {
        snprintf(digits, sizeof digits, "%02x", ((const uint8_t *)bytes)[i]);
        reference_add(text, digits);
    }
}

static inline void reference_element(struct reference_text *text, const void *bytes, uint64_t count)
{
    reference_add(text, ":");
    reference_hex(text, bytes, count);
    reference_add(text, " ");
}

static inline void reference_string(struct reference_text *text, const void *bytes, uint64_t count)
{
    reference_add(text, "'");
    reference_hex(text, bytes, count);
    reference_add(text, "'");
}

static inline bool reference_widens(const char *format)
{
    return strcmp(format, "tdD") == 0 || strcmp(format, "tts") == 0 || strcmp(format, "ttm") == 0;
}

/* An element, of which the batch has a null. */
static inline void reference_fill(struct reference_text *text, const char *format)
{
    uint8_t bytes[64] = {0};
    int64_t width = reference_widens(format) || format[0] == 'n' ? 8 : maker_width(format);
    if (width == 0 && format[0] == 'b') width = 1;
    if (format[0] == 't') bytes[7] = 0x80;
    if (format[0] == 'e') memcpy(bytes, "\x00\x7e", 2);
    if (format[0] == 'f') memcpy(bytes, "\x00\x00\xc0\x7f", 4);
    if (format[0] == 'g' || format[0] == 'n') memcpy(bytes, "\x00\x00\x00\x00\x00\x00\xf8\x7f", 8);
    reference_element(text, bytes, (uint64_t)width);
}

static inline void reference_fixed(struct reference_text *text, const struct ArrowSchema *schema,
                                   const struct ArrowArray *array, uint64_t slot, enum reference_manner manner)
{
    uint64_t width = (uint64_t)maker_width(schema->format);
    const uint8_t *values = array->buffers[1];
    if (schema->format[0] == 'b') {
        uint8_t bit = maker_bit(values, slot);
        reference_element(text, &bit, 1);
    } else if (manner == REFERENCE_DENSE && reference_widens(schema->format)) {
        int32_t narrow;
        memcpy(&narrow, values + slot * 4, 4);
        int64_t wide = narrow;
        reference_element(text, &wide, 8);
    } else {
        reference_element(text, width > 0 ? values + slot * width : NULL, width);
    }
}

static inline void reference_value(struct reference_text *text, const struct ArrowSchema *schema,
                                   const struct ArrowArray *array, uint64_t row, bool is_null,
                                   enum reference_manner manner);

static inline void reference_rows(struct reference_text *text, const struct ArrowSchema *schema,
                                  const struct ArrowArray *array, uint64_t first, uint64_t count, bool is_null,
                                  enum reference_manner manner)
{
    for (uint64_t i = 0; i < count; i++) reference_value(text, schema, array, first + i, is_null, manner);
}

/* The run that a slot is in. */
static inline uint64_t reference_run(const struct ArrowSchema *schema, const struct ArrowArray *array, uint64_t slot)
{
    const struct ArrowArray *ends = array->children[0];
    uint64_t width = (uint64_t)maker_width(schema->children[0]->format);
    uint64_t run = 0;
    while (maker_load(ends->buffers[1], width, (uint64_t)ends->offset + run) <= slot) run++;
    return run;
}

static inline void reference_binary(struct reference_text *text, const struct ArrowSchema *schema,
                                    const struct ArrowArray *array, uint64_t slot)
{
    if (schema->format[0] != 'v') {
        uint64_t width = schema->format[0] == 'U' || schema->format[0] == 'Z' ? 8 : 4;
        uint64_t begin = maker_load(array->buffers[1], width, slot);
        uint64_t bytes = maker_load(array->buffers[1], width, slot + 1) - begin;
        reference_string(text, bytes > 0 ? (const uint8_t *)array->buffers[2] + begin : NULL, bytes);
        return;
    }
    const uint8_t *view = (const uint8_t *)array->buffers[1] + 16 * slot;
    uint64_t bytes = maker_load(view, 4, 0);
    if (bytes <= 12) {
        reference_string(text, view + 4, bytes);
        return;
    }
    const uint8_t *data = array->buffers[2 + maker_load(view, 4, 2)];
    reference_string(text, data + maker_load(view, 4, 3), bytes);
}

static inline void reference_list(struct reference_text *text, const struct ArrowSchema *schema,
                                  const struct ArrowArray *array, uint64_t slot, enum reference_manner manner)
{
    bool is_view = schema->format[1] == 'v';
    bool is_large = schema->format[is_view ? 2 : 1] == 'L';
    uint64_t width = is_large ? 8 : 4;
    uint64_t begin = maker_load(array->buffers[1], width, slot);
    uint64_t count =
        is_view ? maker_load(array->buffers[2], width, slot) : maker_load(array->buffers[1], width, slot + 1) - begin;
    reference_add(text, "[");
    reference_rows(text, schema->children[0], array->children[0], begin, count, false, manner);
    reference_add(text, "]");
}

/* What has a place of its own in a batch also where it is null. is_null: something above is. */
static inline bool reference_nested(struct reference_text *text, const struct ArrowSchema *schema,
                                    const struct ArrowArray *array, uint64_t slot, bool is_null,
                                    enum reference_manner manner)
{
    if (maker_is(schema, "+s")) {
        reference_add(text, "{");
        for (int64_t i = 0; i < schema->n_children; i++)
            reference_rows(text, schema->children[i], array->children[i], slot, 1, is_null, manner);
        reference_add(text, "}");
        return true;
    }
    if (strncmp(schema->format, "+w:", 3) != 0) return false;
    uint64_t size = (uint64_t)atoi(schema->format + 3);
    reference_rows(text, schema->children[0], array->children[0], slot * size, size, is_null, manner);
    return true;
}

static inline void reference_value(struct reference_text *text, const struct ArrowSchema *schema,
                                   const struct ArrowArray *array, uint64_t row, bool is_null,
                                   enum reference_manner manner)
{
    uint64_t slot = (uint64_t)array->offset + row;
    bool is_dictionary = schema->dictionary != NULL;
    bool is_runs = !is_dictionary && maker_is(schema, "+r");
    bool has_bits = !is_runs && (is_dictionary || !maker_is(schema, "n"));
    if (has_bits && !is_null) is_null = !maker_bit(array->buffers[0], slot);
    if (!is_dictionary && maker_is(schema, "n")) is_null = true;
    if (manner == REFERENCE_ARROW && is_null) {
        reference_add(text, "~");
    } else if (is_dictionary) {
        uint64_t width = (uint64_t)maker_width(schema->format);
        uint64_t index = is_null ? 0 : maker_load(array->buffers[1], width, slot);
        reference_value(text, schema->dictionary, array->dictionary, index, is_null, manner);
    } else if (is_runs) {
        uint64_t run = is_null ? 0 : reference_run(schema, array, slot);
        reference_value(text, schema->children[1], array->children[1], run, is_null, manner);
    } else if (reference_nested(text, schema, array, slot, is_null, manner)) {
        return;
    } else if (maker_width(schema->format) >= 0 || maker_is(schema, "n")) {
        if (is_null) {
            reference_fill(text, schema->format);
        } else {
            reference_fixed(text, schema, array, slot, manner);
        }
    } else if (schema->format[0] == '+') {
        if (is_null) {
            reference_add(text, "[]");
        } else {
            reference_list(text, schema, array, slot, manner);
        }
    } else if (is_null) {
        reference_string(text, NULL, 0);
    } else {
        reference_binary(text, schema, array, slot);
    }
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

static inline uint64_t reference_offset(const struct fb_column *column, uint64_t row)
{
    return maker_load(column->offsets, column->offset_bytes, row);
}

static inline void reference_batch(struct reference_text *text, const struct fb_batch *batch,
                                   const struct fb_column *column, uint64_t row)
{
    struct fb_column child;
    CHECK(row < column->row_count);
    uint64_t begin, end;
    switch (column->kind) {
    case FB_COLUMN_FIXED:
        for (uint64_t i = row * column->list_size; i < (row + 1) * column->list_size; i++)
            reference_element(text,
                              column->element_bytes > 0 ? (uint8_t *)column->values + i * column->element_bytes : NULL,
                              column->element_bytes);
        break;
    case FB_COLUMN_BINARY:
        begin = reference_offset(column, row);
        end = reference_offset(column, row + 1);
        reference_string(text, end > begin ? (uint8_t *)column->values + begin : NULL, end - begin);
        break;
    case FB_COLUMN_LIST:
        fb_batch_child(batch, column, 0, &child);
        reference_add(text, "[");
        for (uint64_t i = reference_offset(column, row); i < reference_offset(column, row + 1); i++)
            reference_batch(text, batch, &child, i);
        reference_add(text, "]");
        break;
    case FB_COLUMN_FIXED_LIST:
        fb_batch_child(batch, column, 0, &child);
        for (uint64_t i = row * column->list_size; i < (row + 1) * column->list_size; i++)
            reference_batch(text, batch, &child, i);
        break;
    case FB_COLUMN_STRUCT:
        reference_add(text, "{");
        for (uint32_t i = 0; i < column->child_count; i++) {
            fb_batch_child(batch, column, i, &child);
            reference_batch(text, batch, &child, row);
        }
        reference_add(text, "}");
        break;
    case FB_COLUMN_DICTIONARY:
        fb_batch_child(batch, column, 0, &child);
        reference_batch(text, batch, &child, maker_load(column->values, 4, row));
        break;
    case FB_COLUMN_NULL:
        CHECK(!"no dense batch has a column of nulls");
    }
}

#endif
