/*
 * What the files of src/data/layout share: the types that format strings name, and the walk over a schema.
 */
#ifndef FB_DATA_LAYOUT_INTERNAL_H
#define FB_DATA_LAYOUT_INTERNAL_H

#include "data/layout.h"

/* Bytes of a format string in an error text. */
#define FB__FORMAT_SHOWN_BYTES 80

#define FB__LIST_MOST_ITEMS (UINT64_C(1) << 31)

/* ---- layout_types.c ---- */

enum fb__default_fill { FB__FILL_ZERO = 0, FB__FILL_NAN_2, FB__FILL_NAN_4, FB__FILL_NAN_8, FB__FILL_NAT };

/* What a format string says. Fields as in struct fb__node. */
struct fb__type {
    enum fb__node_kind kind;
    enum fb__copy_kind copy;
    uint64_t source_bytes;
    uint64_t element_bytes;
    uint64_t list_size;
    uint32_t offset_bytes;
    int64_t child_count;       /* of the source; FB__ANY_CHILDREN: a struct's */
    const char *stored_format; /* static; NULL: the same */
    enum fb__default_fill fill;
};

#define FB__ANY_CHILDREN INT64_C(-1)

/* Reads a format. 0; EINVAL: what follows the colon is malformed; ENOTSUP: not a type of a batch. */
FB_MUST_CHECK int fb__type_read(const char *format, enum fb_storage storage, struct fb__type *out);

/* What people call the type; "unknown" for others. */
const char *fb__type_name(const char *format);

/* Width of an integer type, 0 for others. */
uint64_t fb__type_integer_bytes(const char *format, bool *is_unsigned);

/* Where fb__type_read gave EINVAL: what is malformed. */
const char *fb__type_parameter(const char *format);

/* ---- layout_schema.c ---- */

/*
 * One walk over a schema checks it and counts what its nodes take; a second one makes them. Both go the same way, so
 * that they cannot differ.
 */
struct fb__walk {
    struct fb__layout *layout; /* NULL: check and count only */
    enum fb_storage storage;
    const struct fb_column_option *options; /* one a column of the schema's that has any, NULL where none */
    uint32_t option_count;
    struct fb_error *error;

    uint64_t node_count; /* so far */
    uint64_t text_bytes; /* so far */
    char *text;          /* with a layout: text_bytes of it are written */

    /* of the column under way */
    uint32_t column;
    const struct fb_column_option *option; /* NULL where it has none */
    const struct ArrowSchema *path[FB__DEPTH_MOST]; /* from the column's field down */
    uint32_t depth;
};

FB_MUST_CHECK int fb__walk_schema(struct fb__walk *walk, const struct ArrowSchema *schema);

/* Appends ".name" (without the dot where the text is empty), cut at a character to what fits. */
void fb__append_name(char *text, size_t text_bytes, const char *name);

/* ---- layout_fill.c ---- */

/* Checks the fill values and says how many bytes they and the default ones take together. */
FB_MUST_CHECK int fb__fill_check(struct fb__layout *layout, const struct fb_loader_options *options, uint64_t *bytes,
                                 struct fb_error *error);
/* Writes them to memory, which is the layout's, and into the nodes. */
void fb__fill_store(struct fb__layout *layout, const struct fb_loader_options *options, uint8_t *memory);

#endif
