/*
 * The schema of what fb_batch_export() gives: the source's names and flags with the types that a batch stores.
 *
 * It is the user's: one allocation that no loader books, given back when the last part of it is released.
 *
 *     | count of parts | schemas | pointers to them | names and formats |
 *
 * Locking: none; the count is atomic, so that parts may be released by several threads at once.
 */
#include <stdatomic.h>
#include <string.h>

#include "loader/loader.h"

struct parts {
    _Atomic uint64_t count; /* schemas not yet released */
    uint64_t bytes;         /* of the allocation */
};

/* How much there is; and, when it is written, where the next of each goes (NULL while it is counted). */
struct room {
    const struct fb__layout *layout;
    uint64_t schema_count;
    uint64_t text_bytes;
    struct parts *parts;
    struct ArrowSchema *schemas;
    struct ArrowSchema **pointers;
    char *text;
};

static void release_part(struct ArrowSchema *schema)
{
    struct parts *parts = schema->private_data;
    for (int64_t i = 0; i < schema->n_children; i++)
        if (schema->children[i]->release) schema->children[i]->release(schema->children[i]);
    if (schema->dictionary && schema->dictionary->release) schema->dictionary->release(schema->dictionary);
    /* From here on the schema's memory may be gone. */
    schema->release = NULL;
    if (atomic_fetch_sub(&parts->count, 1) != 1) return;
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    fb__gate_free(&gate, FB_ACCOUNT_CORE, parts, parts->bytes);
}

static const char *put_text(struct room *room, const char *text)
{
    uint64_t bytes = strlen(text) + 1;
    room->text_bytes += bytes;
    if (!room->text) return NULL;
    char *copy = memcpy(room->text, text, bytes);
    room->text += bytes;
    return copy;
}

/* Counts a schema, and writes it where there is room to. flags, name: of the source. */
static void put_schema(struct room *room, struct ArrowSchema *out, const char *format, const char *name, int64_t flags)
{
    struct ArrowSchema schema = {
        .format = put_text(room, format),
        .name = put_text(room, name ? name : ""),
        .flags = flags & (ARROW_FLAG_NULLABLE | ARROW_FLAG_MAP_KEYS_SORTED),
        .release = release_part,
        .private_data = room->parts,
    };
    room->schema_count++;
    if (out) *out = schema;
}

/* Takes count schemas and the pointers to them; NULL while they are counted. */
static struct ArrowSchema *take_children(struct room *room, uint64_t count, struct ArrowSchema ***pointers)
{
    struct ArrowSchema *children = room->schemas;
    *pointers = room->pointers;
    if (!children) return NULL;
    for (uint64_t i = 0; i < count; i++) room->pointers[i] = &children[i];
    room->schemas += count;
    room->pointers += count;
    return children;
}

static const char *format_of(const struct fb__node *node)
{
    return node->stored_format ? node->stored_format : node->format;
}

/* source: of a node; below dictionaries and run ends that of the stored one, and its name is the uppermost one's. */
static void put_node(struct room *room, struct ArrowSchema *out, const struct fb__node *node,
                     const struct ArrowSchema *source, const char *name, int64_t flags)
{
    const struct fb__node *nodes = room->layout->nodes;
    for (; node->kind >= FB__NODE_DICTIONARY; node = &nodes[node->first_child])
        source = node->kind == FB__NODE_DICTIONARY ? source->dictionary : source->children[1];
    put_schema(room, out, format_of(node), name, flags);
    if (node->child_count == 0) return;
    struct ArrowSchema **pointers;
    struct ArrowSchema *children = take_children(room, node->child_count, &pointers);
    if (out) {
        out->n_children = node->child_count;
        out->children = pointers;
    }
    for (uint32_t i = 0; i < node->child_count; i++) {
        const struct ArrowSchema *child = source->children[i];
        put_node(room, children ? &children[i] : NULL, &nodes[node->first_child + i], child, child->name, child->flags);
    }
}

static void put_column(struct room *room, struct ArrowSchema *out, uint32_t column, const struct ArrowSchema *source)
{
    const struct fb__column_layout *layout = &room->layout->columns[column];
    const struct fb__node *root = &room->layout->nodes[layout->root];
    if (!layout->is_dictionary) {
        put_node(room, out, root, source, layout->name, source->flags);
        return;
    }
    put_schema(room, out, "i", layout->name, source->flags);
    struct ArrowSchema **pointers;
    struct ArrowSchema *values = take_children(room, 1, &pointers);
    if (out) out->dictionary = values;
    put_node(room, values, root, source, "", ARROW_FLAG_NULLABLE);
}

/* The struct of all columns. */
static void put_all(struct room *room, struct ArrowSchema *out, const struct ArrowSchema *source)
{
    uint32_t column_count = room->layout->column_count;
    put_schema(room, out, "+s", "", 0);
    struct ArrowSchema **pointers;
    struct ArrowSchema *columns = take_children(room, column_count, &pointers);
    if (out) {
        out->n_children = column_count;
        out->children = pointers;
    }
    for (uint32_t i = 0; i < column_count; i++) put_column(room, columns ? &columns[i] : NULL, i, source->children[i]);
}

int fb_loader_export_schema(const struct fb_loader *loader, struct ArrowSchema *out, struct fb_error *error)
{
    const struct ArrowSchema *source = &loader->source->schema;
    struct room count = {.layout = &loader->pool->layout};
    put_all(&count, NULL, source);
    /* Nodes and names are in memory several times over already: no sum of theirs overflows. */
    uint64_t schemas_at = (sizeof(struct parts) + 15) & ~UINT64_C(15);
    uint64_t pointers_at = schemas_at + count.schema_count * sizeof(struct ArrowSchema);
    uint64_t text_at = pointers_at + count.schema_count * sizeof(struct ArrowSchema *);
    struct fb__gate gate;
    fb__source_gate_init(&gate);
    void *memory;
    int code = fb__gate_alloc(&gate, FB_ACCOUNT_CORE, text_at + count.text_bytes, &memory, error);
    if (code) return code;
    struct parts *parts = memory;
    char *base = memory;
    parts->bytes = text_at + count.text_bytes;
    atomic_store(&parts->count, count.schema_count);
    struct room write = {
        .layout = &loader->pool->layout,
        .parts = parts,
        .schemas = (struct ArrowSchema *)(void *)(base + schemas_at),
        .pointers = (struct ArrowSchema **)(void *)(base + pointers_at),
        .text = base + text_at,
    };
    put_all(&write, out, source);
    return 0;
}
