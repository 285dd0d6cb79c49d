/*
 * Column layout: the walk over an Arrow schema that checks it and makes nodes of it.
 *
 * The schema comes from outside. It may be of any depth, may run in circles and may claim any number of children: the
 * walk goes FB__DEPTH_MOST deep at most and ends at FB__NODES_MOST nodes, and looks at nothing that it has not checked.
 *
 * Locking: none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "data/layout_internal.h"
#include "data/text.h"

#define FORMAT_MOST_BYTES 1024

/* ---- errors -------------------------------------------------------------------------------------------------- */

void fb__append_name(char *text, size_t text_bytes, const char *name)
{
    size_t at = strlen(text);
    if (at > 0 && at + 1 < text_bytes) text[at++] = '.';
    size_t bytes = fb__text_valid_bytes(name, text_bytes - 1 - at);
    memcpy(text + at, name, bytes);
    text[at + bytes] = '\0';
}

static bool is_struct(const struct ArrowSchema *field)
{
    return field->dictionary == NULL && strcmp(field->format, "+s") == 0;
}

/* Whether the field at this depth of the path is a column or a field of a struct, so that its name counts. */
static bool is_named(const struct fb__walk *walk, uint32_t depth)
{
    return depth == 0 || is_struct(walk->path[depth - 1]);
}

/* "column 3 of the schema", and for what lies below the column also the dotted name of the next that has one. */
static const char *locate(const struct fb__walk *walk, char *text, size_t text_bytes)
{
    int used = snprintf(text, text_bytes, "column %u of the schema", walk->column);
    if (walk->depth == 0 || used < 0 || (size_t)used >= text_bytes) return text;
    char names[FB__NAME_SHOWN_BYTES + 1] = "";
    for (uint32_t i = 0; i < walk->depth; i++) {
        if (is_named(walk, i)) fb__append_name(names, sizeof names, walk->path[i]->name);
    }
    (void)snprintf(text + used, text_bytes - (size_t)used, ", below '%s',", names);
    return text;
}

#define WHERE_BYTES (FB__NAME_SHOWN_BYTES + 80)

static int fail_malformed(const struct fb__walk *walk, const char *problem)
{
    char where[WHERE_BYTES];
    return fb__fail(walk->error, EINVAL, "%s %s", locate(walk, where, sizeof where), problem);
}

static int refuse_column(const struct fb__walk *walk, const char *problem)
{
    char name[FB__NAME_SHOWN_BYTES + 1] = "";
    for (uint32_t i = 0; i < walk->depth; i++) {
        if (is_named(walk, i)) fb__append_name(name, sizeof name, walk->path[i]->name);
    }
    return fb__fail(walk->error, ENOTSUP,
                    "column '%s' %s, which cannot be a batch column: leave it out with columns=", name, problem);
}

/* field: the last of the path, a type that a batch does not have. */
static int refuse_type(const struct fb__walk *walk, const struct ArrowSchema *field)
{
    char name[FB__NAME_SHOWN_BYTES + 1] = "", around[FB__NAME_SHOWN_BYTES + 1] = "";
    for (uint32_t i = 0; i < walk->depth; i++) {
        if (is_named(walk, i)) {
            fb__append_name(name, sizeof name, walk->path[i]->name);
            around[0] = '\0';
        }
        if (i + 1 == walk->depth || is_struct(walk->path[i])) continue;
        size_t at = strlen(around);
        const char *type = walk->path[i]->dictionary != NULL ? "dictionary" : fb__type_name(walk->path[i]->format);
        (void)snprintf(around + at, sizeof around - at, "%s of ", type);
    }
    return fb__fail(walk->error, ENOTSUP,
                    "column '%s' has type %s%s (format \"%.*s\"), which cannot be a batch column: leave it out with "
                    "columns=",
                    name, around, fb__type_name(field->format),
                    (int)fb__text_valid_bytes(field->format, FB__FORMAT_SHOWN_BYTES), field->format);
}

/* ---- what a field is ----------------------------------------------------------------------------------------- */

/* Whether a field may be looked at: what of it does not depend on its type. */
static int check_field(const struct fb__walk *walk, const struct ArrowSchema *field)
{
    if (field == NULL || field->release == NULL) return fail_malformed(walk, "is missing or was released");
    if (field->format == NULL || field->format[0] == '\0') return fail_malformed(walk, "has no format");
    if (strnlen(field->format, FORMAT_MOST_BYTES) == FORMAT_MOST_BYTES)
        return fail_malformed(walk, "has a format of 1024 bytes or more");
    if (!fb__text_is_utf8(field->format)) return fail_malformed(walk, "has a format that is not UTF-8");
    if (field->n_children < 0 || (field->n_children > 0 && field->children == NULL))
        return fail_malformed(walk, "has a malformed list of children");
    if (is_named(walk, walk->depth) && (field->name == NULL || !fb__text_is_utf8(field->name)))
        return fail_malformed(walk, "has no name in UTF-8");
    return 0;
}

/* The field is the last of the path already, and an error is about it and not about what lies below. */
static int fail_here(struct fb__walk *walk, const char *problem)
{
    walk->depth--;
    return fail_malformed(walk, problem);
}

static int check_child_count(struct fb__walk *walk, const struct ArrowSchema *field, int64_t child_count)
{
    if (field->n_children == child_count) return 0;
    char problem[FB__FORMAT_SHOWN_BYTES + 100];
    (void)snprintf(problem, sizeof problem, "has %lld children where format \"%.*s\" has %lld",
                   (long long)field->n_children, (int)fb__text_valid_bytes(field->format, FB__FORMAT_SHOWN_BYTES),
                   field->format, (long long)child_count);
    return fail_here(walk, problem);
}

static int check_map(struct fb__walk *walk, const struct ArrowSchema *field)
{
    int rc = check_field(walk, field->children[0]);
    if (rc != 0) return rc;
    if (!is_struct(field->children[0]) || field->children[0]->n_children != 2)
        return fail_here(walk, "is a map whose entries are not a struct of two");
    return 0;
}

static int read_run_end(struct fb__walk *walk, const struct ArrowSchema *field, struct fb__node *out)
{
    const struct ArrowSchema *ends = field->children[0];
    int rc = check_field(walk, ends);
    if (rc != 0) return rc;
    bool is_unsigned = false;
    out->source_bytes = ends->dictionary == NULL ? fb__type_integer_bytes(ends->format, &is_unsigned) : 0;
    if (out->source_bytes < 2 || is_unsigned || ends->n_children != 0)
        return fail_here(walk, "has run ends that are not 16, 32 or 64-bit signed integers");
    return 0;
}

static int read_dictionary(struct fb__walk *walk, const struct ArrowSchema *field, struct fb__node *out)
{
    out->kind = FB__NODE_DICTIONARY;
    out->child_count = 1;
    out->source_bytes = fb__type_integer_bytes(field->format, &out->is_unsigned_index);
    if (out->source_bytes == 0) return fail_here(walk, "has dictionary indices that are not integers");
    return check_child_count(walk, field, 0);
}

/* A list that an option makes one of a fixed size; bools that come as 8-bit integers. */
static int apply_option(struct fb__walk *walk, const struct ArrowSchema *field, struct fb__node *out)
{
    if (walk->option == NULL) return 0;
    if (walk->option->list_size != 0 && walk->depth == 1 &&
        (strcmp(field->format, "+l") == 0 || strcmp(field->format, "+L") == 0)) {
        if (walk->option->list_size > FB__LIST_MOST_ITEMS)
            return refuse_column(walk, "has more than 2^31 elements a row");
        out->kind = FB__NODE_FIXED_LIST;
        out->list_size = walk->option->list_size;
        out->offset_bytes = 0;
    }
    if (walk->option->is_bool8 && strcmp(field->format, "c") == 0) {
        out->copy = FB__COPY_BOOL8;
        out->stored_format = "b";
    }
    return 0;
}

static int read_plain(struct fb__walk *walk, const struct ArrowSchema *field, struct fb__node *out)
{
    struct fb__type type;
    int rc = fb__type_read(field->format, walk->storage, &type);
    if (rc == EINVAL) {
        char problem[FB__FORMAT_SHOWN_BYTES + 100];
        (void)snprintf(problem, sizeof problem, "has a malformed %s in format \"%.*s\"",
                       fb__type_parameter(field->format),
                       (int)fb__text_valid_bytes(field->format, FB__FORMAT_SHOWN_BYTES), field->format);
        return fail_here(walk, problem);
    }
    if (rc != 0) return refuse_type(walk, field);
    if (type.child_count != FB__ANY_CHILDREN) rc = check_child_count(walk, field, type.child_count);
    if (rc == 0 && strcmp(field->format, "+m") == 0) rc = check_map(walk, field);
    if (rc == 0 && type.kind == FB__NODE_RUN_END) rc = read_run_end(walk, field, out);
    if (rc != 0) return rc;
    out->kind = type.kind;
    out->copy = type.copy;
    if (type.kind != FB__NODE_RUN_END) out->source_bytes = type.source_bytes;
    out->element_bytes = type.element_bytes;
    out->list_size = type.list_size;
    out->offset_bytes = type.offset_bytes;
    out->stored_format = type.stored_format;
    out->is_bits = walk->storage == FB_STORAGE_ARROW && type.copy == FB__COPY_BITS;
    out->child_count = type.kind == FB__NODE_RUN_END ? 1 : (uint32_t)field->n_children;
    return apply_option(walk, field, out);
}

/* ---- the walk ------------------------------------------------------------------------------------------------ */

static const char *copy_text(struct fb__walk *walk, const char *text)
{
    if (text == NULL) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = NULL;
    if (walk->layout != NULL) copy = memcpy(walk->text + walk->text_bytes, text, bytes);
    walk->text_bytes += bytes;
    return copy;
}

/* node lies on the stack of the walk: its texts are counted, and with a layout copied, and it goes to its place. */
static void keep_node(struct fb__walk *walk, const struct ArrowSchema *field, uint32_t index, struct fb__node *node)
{
    char list_format[32];
    if (node->kind == FB__NODE_FIXED_LIST && node->copy != FB__COPY_BYTES) {
        (void)snprintf(list_format, sizeof list_format, "+w:%llu", (unsigned long long)node->list_size);
        node->stored_format = list_format;
    }
    node->is_nullable = (field->flags & ARROW_FLAG_NULLABLE) != 0;
    node->name = walk->depth > 1 && is_named(walk, walk->depth - 1) ? copy_text(walk, field->name) : NULL;
    node->format = copy_text(walk, field->format);
    node->stored_format = copy_text(walk, node->stored_format);
    if (walk->layout != NULL) walk->layout->nodes[index] = *node;
}

/* list_items: elements of all fixed-size lists around the field. */
static int walk_field(struct fb__walk *walk, const struct ArrowSchema *field, uint32_t index, uint32_t parent,
                      uint64_t list_items)
{
    int rc = check_field(walk, field);
    if (rc != 0) return rc;
    walk->path[walk->depth++] = field;
    struct fb__node node = {.parent = parent,
                            .list_size = 1,
                            .first_child = FB__NONE,
                            .values_region = FB__NONE,
                            .offsets_region = FB__NONE,
                            .valid_region = FB__NONE,
                            .values_piece = FB__NONE,
                            .lengths_piece = FB__NONE,
                            .valid_piece = FB__NONE};
    rc = field->dictionary != NULL ? read_dictionary(walk, field, &node) : read_plain(walk, field, &node);
    if (rc != 0) return rc;
    list_items *= node.list_size; /* both at most 2^31 */
    if (list_items > FB__LIST_MOST_ITEMS) return refuse_column(walk, "has more than 2^31 elements a row");
    if (node.child_count > FB__NODES_MOST - walk->node_count ||
        (node.kind == FB__NODE_STRUCT && field->n_children > (int64_t)FB__NODES_MOST))
        return fb__fail(walk->error, ENOTSUP, "the schema has more than %u columns and fields", FB__NODES_MOST);
    if (node.child_count > 0 && walk->depth == FB__DEPTH_MOST)
        return refuse_column(walk, "is nested more than 32 levels deep");
    if (node.child_count > 0) node.first_child = (uint32_t)walk->node_count;
    walk->node_count += node.child_count;
    keep_node(walk, field, index, &node);
    for (uint32_t i = 0; i < node.child_count; i++) {
        const struct ArrowSchema *child = node.kind == FB__NODE_DICTIONARY ? field->dictionary
                                          : node.kind == FB__NODE_RUN_END  ? field->children[1]
                                                                           : field->children[i];
        rc = walk_field(walk, child, node.first_child + i, index, list_items);
        if (rc != 0) return rc;
    }
    walk->depth--;
    return 0;
}

static const struct fb_column_option *find_option(const struct fb__walk *walk, uint32_t column)
{
    for (uint32_t i = 0; i < walk->option_count; i++) {
        if (walk->options[i].column == column) return &walk->options[i];
    }
    return NULL;
}

int fb__walk_schema(struct fb__walk *walk, const struct ArrowSchema *schema)
{
    if (schema == NULL || schema->release == NULL) return fb__fail(walk->error, EINVAL, "the schema was released");
    if (schema->format == NULL || strcmp(schema->format, "+s") != 0 || schema->dictionary != NULL)
        return fb__fail(walk->error, EINVAL, "the schema is not a struct of columns");
    if (schema->n_children < 0 || schema->n_children > (int64_t)FB__NODES_MOST ||
        (schema->n_children > 0 && schema->children == NULL))
        return fb__fail(walk->error, EINVAL, "the schema has a malformed list of columns");
    for (uint32_t i = 0; i < (uint32_t)schema->n_children; i++) {
        walk->column = i;
        walk->option = find_option(walk, i);
        walk->depth = 0;
        if (walk->node_count == FB__NODES_MOST)
            return fb__fail(walk->error, ENOTSUP, "the schema has more than %u columns and fields", FB__NODES_MOST);
        uint32_t root = (uint32_t)walk->node_count++;
        int rc = walk_field(walk, schema->children[i], root, FB__NONE, 1);
        if (rc != 0) return rc;
        if (walk->layout == NULL) {
            (void)copy_text(walk, schema->children[i]->name);
            continue;
        }
        struct fb__column_layout *column = &walk->layout->columns[i];
        column->name = copy_text(walk, schema->children[i]->name);
        column->root = root;
        column->node_count = (uint32_t)walk->node_count - root;
    }
    return 0;
}

int fb__layout_check_schema(const struct ArrowSchema *schema, struct fb_error *error)
{
    struct fb__walk walk = {.storage = FB_STORAGE_DENSE, .error = error};
    return fb__walk_schema(&walk, schema);
}
