/*
 * Arrow C data that comes in: checks of blocks and schemas, calls of streams.
 *
 * A block is checked once, before a buffer of it is read; src/data/copy relies on everything checked here.
 * Locking: none. A block or stream is used by one thread at a time.
 */
#include "data/arrow.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "data/text.h"

/* Where in a block something is wrong, for the error. */
struct part {
    const struct fb__column_layout *column; /* NULL: the block itself */
    bool is_item;                           /* the elements of a fixed-size list */
};

static int fail_part(const struct part *part, struct fb_error *error, const char *problem)
{
    if (part->column == NULL) return fb__fail(error, EINVAL, "malformed Arrow block: the struct %s", problem);
    return fb__fail(error, EINVAL, "malformed Arrow block: column '%.*s' (format \"%.*s\")%s %s",
                    fb__text_shown_bytes(part->column->name), part->column->name,
                    fb__text_shown_bytes(part->column->format), part->column->format,
                    part->is_item ? ", its list elements: the array" : "", problem);
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */

struct shape {
    int64_t buffer_count;
    int64_t child_count;
    uint64_t unit_bytes; /* most bytes that one more row takes anywhere, at least 1 */
};

static int check_counts(const struct part *part, const struct ArrowArray *array, const struct shape *shape,
                        struct fb_error *error)
{
    if (array == NULL || array->release == NULL) return fail_part(part, error, "is missing or was released");
    if (array->length < 0) return fail_part(part, error, "has a negative length");
    if (array->offset < 0) return fail_part(part, error, "has a negative offset");
    if (array->null_count < -1 || array->null_count > array->length)
        return fail_part(part, error, "has a null count that is not between -1 and its length");
    uint64_t end = (uint64_t)array->length + (uint64_t)array->offset;
    uint64_t bytes;
    if (__builtin_mul_overflow(end, shape->unit_bytes, &bytes) || bytes > FB__MOST_BYTES)
        return fail_part(part, error, "passes 2^62 bytes");
    if (array->dictionary != NULL) return fail_part(part, error, "has a dictionary that its schema does not have");
    if (array->n_buffers != shape->buffer_count) return fail_part(part, error, "has a wrong number of buffers");
    if (array->n_children != shape->child_count) return fail_part(part, error, "has a wrong number of children");
    if (shape->child_count > 0 && array->children == NULL) return fail_part(part, error, "has no array of children");
    return 0;
}

/* What every array of length > 0 needs: its buffers, and nulls only where there is a bitmap of them. */
static int check_buffers(const struct part *part, const struct ArrowArray *array, struct fb_error *error)
{
    if (array->length == 0) return 0;
    if (array->buffers == NULL) return fail_part(part, error, "has no array of buffers");
    if (array->null_count > 0 && array->buffers[0] == NULL)
        return fail_part(part, error, "has nulls but no validity buffer");
    if (array->n_buffers > 1 && array->buffers[1] == NULL)
        return fail_part(part, error, array->n_buffers == 2 ? "has no data buffer" : "has no offsets buffer");
    return 0;
}

/* Whether bits [first, first + count) are all set. */
static bool bits_are_set(const uint8_t *bits, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count;) {
        if (i % 8 == 0 && first + count - i >= 8) {
            if (bits[i / 8] != 0xFF) return false;
            i += 8;
        } else {
            if ((bits[i / 8] >> (i % 8) & 1) == 0) return false;
            i++;
        }
    }
    return true;
}

/*
 * First and last of count + 1 offsets from offset number first on; false where one is negative or they run backwards.
 * Both show in a sign bit: that of an offset, or that of a difference of two that are not negative (it cannot wrap).
 * The loops gather these bits and have no exit, so that they are vectorised.
 */
static bool read_offsets_32(const uint8_t *offsets, uint64_t first, uint64_t count, int64_t *least, int64_t *most)
{
    const uint8_t *at = offsets + first * 4;
    uint32_t low, high, signs;
    memcpy(&low, at, 4);
    memcpy(&high, at + count * 4, 4);
    signs = low;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t here, next;
        memcpy(&here, at + i * 4, 4);
        memcpy(&next, at + i * 4 + 4, 4);
        signs |= next | (next - here);
    }
    *least = (int32_t)low;
    *most = (int32_t)high;
    return signs >> 31 == 0;
}

static bool read_offsets_64(const uint8_t *offsets, uint64_t first, uint64_t count, int64_t *least, int64_t *most)
{
    const uint8_t *at = offsets + first * 8;
    uint64_t signs;
    memcpy(&signs, at, 8);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t here, next;
        memcpy(&here, at + i * 8, 8);
        memcpy(&next, at + i * 8 + 8, 8);
        signs |= next | (next - here);
    }
    memcpy(least, at, 8);
    memcpy(most, at + count * 8, 8);
    return signs >> 63 == 0;
}

static int check_offsets(const struct part *part, const struct ArrowArray *array, struct fb_error *error)
{
    if (array->length == 0) return 0;
    int64_t least, most;
    bool is_good =
        part->column->offset_bytes == 4
            ? read_offsets_32(array->buffers[1], (uint64_t)array->offset, (uint64_t)array->length, &least, &most)
            : read_offsets_64(array->buffers[1], (uint64_t)array->offset, (uint64_t)array->length, &least, &most);
    if (!is_good) return fail_part(part, error, "has offsets that are negative or run backwards");
    if ((uint64_t)most > FB__MOST_BYTES) return fail_part(part, error, "passes 2^62 bytes");
    if (most > least && array->buffers[2] == NULL) return fail_part(part, error, "has no data buffer");
    return 0;
}

/* row_count: the rows that the block's own offset and length reach of it. */
static int check_column(const struct fb__column_layout *column, const struct ArrowArray *array, uint64_t row_count,
                        struct fb_error *error)
{
    const struct part part = {.column = column};
    uint64_t value_bytes = column->source_bytes > 0 ? column->source_bytes : 1;
    struct shape shape = {.buffer_count = 2, .unit_bytes = value_bytes};
    if (column->is_list) {
        shape = (struct shape){1, 1, column->list_size > 0 ? column->list_size * value_bytes : 1};
    } else if (column->kind == FB_COLUMN_BINARY) {
        shape = (struct shape){3, 0, column->offset_bytes};
    }
    int rc = check_counts(&part, array, &shape, error);
    if (rc != 0) return rc;
    if ((uint64_t)array->length < row_count) return fail_part(&part, error, "is shorter than its block");
    rc = check_buffers(&part, array, error);
    if (rc != 0) return rc;
    if (column->kind == FB_COLUMN_BINARY) return check_offsets(&part, array, error);
    if (!column->is_list) return 0;

    const struct part item_part = {.column = column, .is_item = true};
    const struct ArrowArray *items = array->children[0];
    rc = check_counts(&item_part, items, &(struct shape){2, 0, value_bytes}, error);
    if (rc != 0) return rc;
    /* Within 2^62 by check_counts: rows times list size is at most rows times unit_bytes. */
    uint64_t item_count = ((uint64_t)array->offset + (uint64_t)array->length) * column->list_size;
    if ((uint64_t)items->length < item_count) return fail_part(&item_part, error, "is shorter than the lists over it");
    return check_buffers(&item_part, items, error);
}

int fb__arrow_check_block(const struct fb__layout *layout, const uint32_t *columns, uint32_t column_count,
                          const struct ArrowArray *block, struct fb_error *error)
{
    const struct part part = {.column = NULL};
    int rc = check_counts(&part, block, &(struct shape){1, column_count, 1}, error);
    if (rc == 0) rc = check_buffers(&part, block, error);
    if (rc != 0) return rc;
    if (block->length > 0 && block->null_count != 0 && block->buffers[0] != NULL &&
        !bits_are_set(block->buffers[0], (uint64_t)block->offset, (uint64_t)block->length))
        return fail_part(&part, error, "has null rows");
    if (block->null_count > 0) return fail_part(&part, error, "has null rows");

    uint64_t row_count = (uint64_t)block->offset + (uint64_t)block->length;
    for (uint32_t i = 0; i < column_count; i++) {
        uint32_t column = columns != NULL ? columns[i] : i;
        assert(column < layout->column_count);
        rc = check_column(&layout->columns[column], block->children[i], row_count, error);
        if (rc != 0) return rc;
    }
    return 0;
}

void fb__arrow_release_array(struct ArrowArray *array)
{
    if (array == NULL || array->release == NULL) return;
    array->release(array);
    array->release = NULL;
}

void fb__arrow_release_schema(struct ArrowSchema *schema)
{
    if (schema == NULL || schema->release == NULL) return;
    schema->release(schema);
    schema->release = NULL;
}

void fb__arrow_release_stream(struct ArrowArrayStream *stream)
{
    if (stream == NULL || stream->release == NULL) return;
    stream->release(stream);
    stream->release = NULL;
}

/* ---- streams ------------------------------------------------------------------------------------------------- */

/* The code to pass on. A negative number is no errno code, and the others would tell the consumer of a loader to call
 * again, which a stream that failed does not mean. */
static int usable_code(int code)
{
    if (code <= 0 || code == EAGAIN || code == EINTR || code == ETIMEDOUT || code == EDEADLK) return EIO;
    return code;
}

static int fail_stream(struct ArrowArrayStream *stream, int code, const char *what, struct fb_error *error)
{
    const char *text = stream->get_last_error != NULL ? stream->get_last_error(stream) : NULL;
    if (text == NULL || text[0] == '\0')
        return fb__fail(error, usable_code(code), "%s failed: the stream gave code %d and no message", what, code);
    char shown[sizeof error->message];
    size_t bytes = strnlen(text, sizeof shown - 1);
    memcpy(shown, text, bytes);
    shown[bytes] = '\0';
    /* The stream may not write UTF-8. A character that is cut in two here lies beyond where fb__fail cuts. */
    for (size_t at = 0; at < bytes;) {
        size_t step = fb__text_character_bytes((const unsigned char *)shown + at);
        if (step == 0) shown[at] = '?';
        at += step > 0 ? step : 1;
    }
    return fb__fail(error, usable_code(code), "%s failed: %s", what, shown);
}

int fb__arrow_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out, struct fb_error *error)
{
    memset(out, 0, sizeof *out);
    if (stream->release == NULL) return fb__fail(error, EINVAL, "the Arrow stream was released");
    int rc = stream->get_schema(stream, out);
    if (rc != 0) {
        out->release = NULL;
        return fail_stream(stream, rc, "reading the schema of an Arrow stream", error);
    }
    if (out->release == NULL) return fb__fail(error, EINVAL, "the Arrow stream gave a schema that was released");
    return 0;
}

int fb__arrow_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out, struct fb_error *error)
{
    memset(out, 0, sizeof *out);
    if (stream->release == NULL) return fb__fail(error, EINVAL, "the Arrow stream was released");
    int rc = stream->get_next(stream, out);
    if (rc != 0) {
        out->release = NULL;
        return fail_stream(stream, rc, "reading from an Arrow stream", error);
    }
    return 0;
}

static bool format_is(const struct ArrowSchema *field, const char *format)
{
    return field->format != NULL && strcmp(field->format, format) == 0;
}

/* The format that a mismatched field gives, as an error text can show it. */
static const char *shown_format(const struct ArrowSchema *field)
{
    if (field == NULL || field->release == NULL || field->format == NULL) return "none";
    return fb__text_is_utf8(field->format) ? field->format : "not UTF-8";
}

static int check_stream_field(const struct fb__column_layout *column, const struct ArrowSchema *field,
                              struct fb_error *error)
{
    int shown = fb__text_shown_bytes(column->name);
    if (field != NULL && field->release != NULL && field->dictionary != NULL)
        return fb__fail(error, EINVAL, "column '%.*s' is dictionary-encoded in the stream and plain in the schema",
                        shown, column->name);
    if (field == NULL || field->release == NULL || !format_is(field, column->format))
        return fb__fail(error, EINVAL, "column '%.*s' has format \"%s\" in the stream and \"%s\" in the schema", shown,
                        column->name, shown_format(field), column->format);
    if (!column->is_list) return 0;
    const struct ArrowSchema *item = field->n_children == 1 && field->children != NULL ? field->children[0] : NULL;
    if (item == NULL || item->release == NULL || item->dictionary != NULL || !format_is(item, column->item_format))
        return fb__fail(error, EINVAL,
                        "column '%.*s' has list elements of format \"%s\" in the stream and \"%s\" in the schema",
                        shown, column->name, shown_format(item), column->item_format);
    return 0;
}

int fb__arrow_check_stream_schema(const struct fb__layout *layout, const uint32_t *columns, uint32_t column_count,
                                  const struct ArrowSchema *schema, struct fb_error *error)
{
    if (schema->release == NULL) return fb__fail(error, EINVAL, "the schema of the Arrow stream was released");
    if (!format_is(schema, "+s") || schema->dictionary != NULL)
        return fb__fail(error, EINVAL, "the Arrow stream does not give record batches");
    if (schema->n_children != (int64_t)column_count || (column_count > 0 && schema->children == NULL))
        return fb__fail(error, EINVAL, "the Arrow stream gives %lld columns where %u were asked for",
                        (long long)schema->n_children, column_count);
    for (uint32_t i = 0; i < column_count; i++) {
        uint32_t column = columns != NULL ? columns[i] : i;
        assert(column < layout->column_count);
        int rc = check_stream_field(&layout->columns[column], schema->children[i], error);
        if (rc != 0) return rc;
    }
    return 0;
}
