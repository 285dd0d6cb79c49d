/*
 * Arrow C data that comes in: releases, calls of streams, checks of their schemas. src/data/arrow_block.c checks blocks.
 *
 * Locking: none. A stream is used by one thread at a time.
 */
#include "data/arrow.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "data/text.h"

/* ---- releases ------------------------------------------------------------------------------------------------ */

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
    if (stream->get_schema == NULL) return fb__fail(error, EINVAL, "the Arrow stream has no get_schema");
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
    if (stream->get_next == NULL) return fb__fail(error, EINVAL, "the Arrow stream has no get_next");
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

/* Where a stream's schema differs from the layout's. */
struct stream_field {
    const struct fb__layout *layout;
    uint32_t column;
    uint32_t node;
    struct fb_error *error;
};

static int fail_field(const struct stream_field *at, const char *given, const char *wanted)
{
    char name[FB__NAME_SHOWN_BYTES + 1];
    fb__layout_name(at->layout, at->column, at->node, name, sizeof name);
    uint32_t parent = at->layout->nodes[at->node].parent;
    enum fb__node_kind kind = parent == FB__NONE ? FB__NODE_STRUCT : at->layout->nodes[parent].kind;
    const char *part = kind == FB__NODE_STRUCT       ? ""
                       : kind == FB__NODE_DICTIONARY ? " a dictionary of"
                       : kind == FB__NODE_RUN_END    ? " run-end encoded values of"
                                                     : " list elements of";
    return fb__fail(at->error, EINVAL, "column '%s' has%s %s in the stream and %s in the schema", name, part, given,
                    wanted);
}

static int fail_format(const struct stream_field *at, const struct ArrowSchema *field)
{
    const char *wanted = at->layout->nodes[at->node].format;
    char given_text[120], wanted_text[120];
    (void)snprintf(given_text, sizeof given_text, "format \"%.*s\"", (int)fb__text_valid_bytes(shown_format(field), 80),
                   shown_format(field));
    (void)snprintf(wanted_text, sizeof wanted_text, "\"%.*s\"", (int)fb__text_valid_bytes(wanted, 80), wanted);
    return fail_field(at, given_text, wanted_text);
}

static int check_stream_field(const struct stream_field *at, const struct ArrowSchema *field);

static int check_stream_child(const struct stream_field *at, uint32_t child, const struct ArrowSchema *field)
{
    struct stream_field inner = *at;
    inner.node = child;
    return check_stream_field(&inner, field);
}

/* Fields of a struct are told apart by their names; those of a map are what they are by their order. */
static int check_stream_names(const struct stream_field *at, const struct ArrowSchema *field)
{
    const struct fb__node *node = &at->layout->nodes[at->node];
    if (node->parent != FB__NONE && strcmp(at->layout->nodes[node->parent].format, "+m") == 0) return 0;
    for (uint32_t i = 0; i < node->child_count; i++) {
        const struct ArrowSchema *child = field->children[i];
        const char *name = at->layout->nodes[node->first_child + i].name;
        struct stream_field inner = *at;
        inner.node = node->first_child + i;
        if (child == NULL || child->release == NULL) return fail_format(&inner, child);
        if (child->name == NULL || strcmp(child->name, name) != 0)
            return fail_field(&inner, "another name", "this one");
    }
    return 0;
}

/* As deep as the layout's nodes are. */
static int check_stream_field(const struct stream_field *at, const struct ArrowSchema *field)
{
    const struct fb__node *node = &at->layout->nodes[at->node];
    bool is_dictionary = node->kind == FB__NODE_DICTIONARY;
    if (field == NULL || field->release == NULL) return fail_format(at, field);
    if (field->dictionary != NULL && !is_dictionary) return fail_field(at, "dictionary-encoded values", "plain ones");
    if (field->dictionary == NULL && is_dictionary) return fail_field(at, "plain values", "dictionary-encoded ones");
    if (!format_is(field, node->format)) return fail_format(at, field);
    if (is_dictionary) return check_stream_child(at, node->first_child, field->dictionary);

    int64_t child_count = node->kind == FB__NODE_RUN_END ? 2 : (int64_t)node->child_count;
    if (field->n_children != child_count || (child_count > 0 && field->children == NULL))
        return fail_field(at, "another number of children", "its own");
    if (node->kind == FB__NODE_RUN_END) {
        static const char *const formats[] = {"s", "i", "l"};
        const char *wanted = formats[node->source_bytes == 2 ? 0 : node->source_bytes == 4 ? 1 : 2];
        const struct ArrowSchema *ends = field->children[0];
        if (ends == NULL || ends->release == NULL || ends->dictionary != NULL || !format_is(ends, wanted))
            return fail_field(at, "other run ends", "its own");
        return check_stream_child(at, node->first_child, field->children[1]);
    }
    int rc = node->kind == FB__NODE_STRUCT ? check_stream_names(at, field) : 0;
    for (uint32_t i = 0; i < node->child_count && rc == 0; i++)
        rc = check_stream_child(at, node->first_child + i, field->children[i]);
    return rc;
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
        const struct stream_field at = {layout, column, layout->columns[column].root, error};
        int rc = check_stream_field(&at, schema->children[i]);
        if (rc != 0) return rc;
    }
    return 0;
}
