/*
 * Column layout: what each column of the source becomes in a batch, worked out once from the Arrow schema.
 *
 * A column's type is a tree of nodes. Most trees have one node (plain elements, strings) or two (a fixed-size list and
 * its elements). The nodes lie in one array, a column's root first and the children of a node side by side, always
 * behind their parent:
 *
 *     struct<a: int32, b: list<string>>     0 STRUCT [1,2]   1 FIXED a   2 LIST [3]   3 BINARY
 *
 * What a batch stores of a node is counted in slots: a root has one a row, a field of a struct as many as its struct,
 * an element of a fixed-size list list_size times as many as the list. Their number is known, so these nodes lie in
 * the batch's fixed part. Below a list the number of slots is known only while filling: such a node is *variable*, and
 * so are the bytes of strings. What is variable lies in pieces of the column's extents (src/data/batch).
 *
 * The fixed part of a batch is one buffer, every region at a multiple of 64 bytes. A region has a number; its place in
 * a batch of so many rows is worked out by fb__layout_place(), so that batches of other sizes share one layout:
 *
 *     | values of column 0 | values of column 1 | ... | offsets | codes and hash tables | validity bytes |
 *
 * While filling, offsets regions and pieces hold lengths, and validity and Arrow's bools are bytes: all of it can be
 * written by several threads without a lock. fb__batch_finish() sums lengths up into offsets, packs bytes into bits
 * where the storage is Arrow's, and turns values into codes where a dictionary is kept.
 *
 * How Arrow types are stored (format strings of the Arrow C data interface):
 *
 *     format                       FB_STORAGE_DENSE                     element_bytes    FB_STORAGE_ARROW
 *     c C s S i I l L e f g        the same                             1 .. 8           the same
 *     b                            one byte, 0 or 1                     1                bits
 *     c with is_bool8              one byte, 0 or 1                     1                the same
 *     tdD tts ttm                  int64 (widened from int32)           8                int32
 *     other dates, times           int64                                8                the same
 *     d:P,S[,bits]                 the integer's bytes, little-endian   4, 8, 16, 32     the same
 *     w:N                          N bytes (N may be 0)                 N                the same
 *     n                            float64, all NaN                     8                n, nothing stored
 *     u z U Z                      offsets and bytes                    -                the same
 *     vu vz                        as u z                               -                as u z
 *     +l +L +vl +vL                lengths and the child's rows         -                +l +L
 *     +m                           as +l over a struct of two           -                the same
 *     +w:N                         N slots of the child a row           -                the same
 *     +s                           its children; no nulls of its own    -                the same
 *     +r                           the child of values, decoded         -                the same
 *     dictionary-encoded           the values, decoded; or codes where fb_column_option.is_dictionary, or with
 *                                  FB_STORAGE_ARROW where the column's values are FIXED or BINARY
 *
 * Unions, intervals and whatever else there is are refused with ENOTSUP by column (dotted name of a struct's field)
 * and type; so is a type nested deeper than FB__DEPTH_MOST, and a fixed-size list of more than 2^31 elements in all.
 *
 * Nulls, FB_STORAGE_DENSE: by the null policy. A null struct is a null in each of its fields; a null list is an empty
 * one; a null of a fixed-size list is fill values in each of its slots; a null inside a list is a fill value. Validity
 * bytes (mask) exist for every node that is not variable and whose ancestors are structs only, if it is no struct.
 * FB_STORAGE_ARROW: every node but n has validity, that of a fixed region or a piece of its own.
 */
#ifndef FB_DATA_LAYOUT_H
#define FB_DATA_LAYOUT_H

#include "base/memory.h"

#define FB__ALIGNMENT_BYTES 64

/* Sizes beyond this are refused before they are computed with any further. */
#define FB__MOST_BYTES (UINT64_C(1) << 62)

/* Nodes from a root down to a leaf, the root counted. What recurses over nodes relies on it. */
#define FB__DEPTH_MOST 32
/* Nodes of all columns together. */
#define FB__NODES_MOST (UINT32_C(1) << 20)

#define FB__NONE UINT32_MAX

enum fb__node_kind {
    FB__NODE_FIXED = 0,  /* elements of one width */
    FB__NODE_BINARY,     /* strings and binary; views too */
    FB__NODE_LIST,       /* lists, list views, maps; one child */
    FB__NODE_FIXED_LIST, /* one child */
    FB__NODE_STRUCT,
    FB__NODE_NULL,       /* FB_STORAGE_ARROW only: stores nothing */
    /* Of the source alone; a batch stores their only child in the same slots: */
    FB__NODE_DICTIONARY, /* array: integer indices; child: array->dictionary */
    FB__NODE_RUN_END     /* array: children run ends and values; child: the values */
};

/* How the values of one Arrow array become elements of a batch; for BINARY and LIST how they are laid out there. */
enum fb__copy_kind {
    FB__COPY_BYTES = 0, /* same width: memcpy */
    FB__COPY_BITS,      /* bitmap to bytes (FB_STORAGE_ARROW packs them again when the batch is finished) */
    FB__COPY_WIDEN_I32, /* int32 to int64 */
    FB__COPY_BOOL8,     /* int8 to 0 or 1 */
    FB__COPY_NULLS,     /* the source is type null: fill values */
    FB__COPY_BINARY_32, /* 32-bit offsets */
    FB__COPY_BINARY_64,
    FB__COPY_BINARY_VIEW,
    FB__COPY_LIST_32,
    FB__COPY_LIST_64,
    FB__COPY_LIST_VIEW_32,
    FB__COPY_LIST_VIEW_64
};

struct fb__node {
    enum fb__node_kind kind;
    enum fb__copy_kind copy;
    const char *name;      /* of a struct's field (a map's too), on its uppermost node; NULL otherwise */
    const char *format;    /* of the source's array */
    const char *stored_format; /* of what the batch stores; NULL where it is `format` */
    uint64_t source_bytes; /* FIXED: width in the source, 0 for bits; DICTIONARY: of an index; RUN_END: of a run end */
    uint64_t element_bytes; /* FIXED: width as stored while filling */
    uint64_t list_size; /* FIXED_LIST: slots of the child a slot; 1 otherwise. By an option a list of the source is
                              stored so too: copy is then LIST_* and else BYTES */
    uint32_t offset_bytes; /* BINARY, LIST: as stored, 4 or 8; 0 otherwise */
    bool is_unsigned_index; /* DICTIONARY */
    bool is_nullable; /* the schema's flag */
    bool is_bits; /* FB_STORAGE_ARROW: bytes 0 and 1 that become bits */
    bool is_variable; /* below a list */
    bool has_valid; /* stores validity bytes: in valid_region, or valid_piece where variable */
    uint64_t slots_per_row; /* not variable: slots a row of the batch has; 0 where variable */
    const void *fill; /* FIXED: one element; BINARY: bytes; NULL: zeros. Without a fill value given: NaN for
                              floats, INT64_MIN (NaT) for dates and times, both in dense storage alone */
    uint64_t fill_bytes;
    uint32_t parent; /* FB__NONE: a root */
    uint32_t first_child;
    uint32_t child_count;
    /* numbers of regions of the fixed part, FB__NONE where there is none */
    uint32_t values_region;
    uint32_t offsets_region;
    uint32_t valid_region;
    /* numbers of pieces of the column's extents, FB__NONE where there is none */
    uint32_t values_piece; /* FIXED: variable elements; BINARY: the bytes */
    uint32_t lengths_piece; /* variable BINARY, LIST */
    uint32_t valid_piece; /* variable, FB_STORAGE_ARROW */
};

/* The bytes of a region: width_bytes for each of (rows * slots_per_row + extra_slots); of a hash table 4 bytes for each
 * slot of the next power of two of at least twice that. */
struct fb__region {
    uint64_t width_bytes;
    uint64_t slots_per_row;
    uint64_t extra_slots;
    bool is_hash_table;
};

struct fb__column_layout {
    const char *name;
    uint32_t root; /* its nodes are [root, root + node_count) */
    uint32_t node_count;
    uint32_t piece_count; /* pieces of an extent; 0: no variable part, no extents */
    uint32_t home; /* number among the columns with extents; FB__NONE where there are no pieces */
    uint64_t row_bytes; /* estimated bytes of the variable part of a row, from the source's cost of a row */
    uint64_t estimated_bytes; /* of batch_rows rows */
    bool is_dictionary; /* codes are made when the batch is finished; the values' node is FIXED or BINARY */
    uint32_t codes_region; /* is_dictionary: int32 a row */
    uint32_t table_region; /* is_dictionary: the hash table they are made with */

    /*
     * The column at a glance, for decoders that write plain columns themselves: kind, and of the leaf of a FIXED column
     * or a (nested) fixed-size list of FIXED, or of a BINARY column, its figures. Of others only kind says something.
     */
    enum fb_column_kind kind;
    bool is_flat; /* FIXED without or within one fixed-size list whose elements store no validity, or BINARY;
                               plain in the source: neither a view nor type null */
    bool is_filled_finished; /* is_plain without lengths: nothing is to be done once it is filled */
    bool is_plain; /* is_flat, dense and without codes: what is filled is what the user gets, but for offsets */
    bool is_same_bytes; /* is_flat, an element a row, of the same bytes as in the source */
    enum fb__copy_kind copy;
    const char *format; /* of the root's source */
    const char *element_format; /* of a FIXED leaf, as stored; NULL otherwise */
    uint64_t source_bytes, element_bytes;
    uint64_t list_size; /* of the lists around the leaf together; 1 where there is none */
    bool is_list;
    uint32_t offset_bytes;
    uint32_t leaf; /* node */
    uint32_t values_region, offsets_region; /* the leaf's: is_flat, or it would be but for its elements' validity */
    uint32_t valid_region; /* the root's, likewise */
    const void *fill; /* the leaf's */
    uint64_t fill_bytes;
};

/* Names, formats and fill values of nodes and columns belong to the layout. */
struct fb__layout {
    struct fb__gate *gate;
    struct fb__column_layout *columns;
    struct fb__node *nodes;
    struct fb__region *regions;
    uint32_t column_count;
    uint32_t node_count;
    uint32_t region_count;
    uint32_t home_count; /* columns with a variable part */
    uint32_t unfinished_count; /* columns that are not finished once they are filled: lengths, codes, bits */
    uint64_t batch_rows; /* 0: every batch has its own capacity */
    enum fb_null_policy null_policy; /* FB_STORAGE_ARROW: FB_NULLS_MASK, whatever was asked for */
    enum fb_storage storage;
    uint64_t *places; /* of a batch of batch_rows rows; region_count entries */
    uint64_t fixed_bytes; /* size of its fixed part; at least 64 also where there is no column */
    uint64_t variable_bytes; /* sum of estimated_bytes */
    /* the two allocations: columns, nodes and texts; and regions, places and fill values */
    uint64_t node_part_bytes;
    void *region_part;
    uint64_t region_part_bytes;
};

/*
 * Checks that schema is a struct of columns that can all become batch columns. ENOTSUP naming column and type, EINVAL
 * for a malformed schema (released, NULL or over-long format, wrong number of children, name that is missing or not
 * UTF-8; children, dictionary and format strings that do not fit each other). Nothing recurses deeper than
 * FB__DEPTH_MOST, whatever the schema is like.
 */
FB_MUST_CHECK int fb__layout_check_schema(const struct ArrowSchema *schema, struct fb_error *error);

/* One column of a checked schema as a layout of that column alone (batch_rows 1, dense, nulls filled): for sources that
 * look at one. On success free with fb__layout_destroy. */
FB_MUST_CHECK int fb__layout_init_column(struct fb__layout *layout, struct fb__gate *gate,
                                         const struct ArrowSchema *field, struct fb_error *error);

/*
 * Makes the layout. schema: [borrow]. row_bytes: [borrow] estimated bytes of the variable part of one row of each
 * column (ignored where it has none), NULL for zeros. options: batch_rows, null_policy, fill values, storage and column
 * options are read; a fill value of a wrong width, or for a column or leaf that does not exist or cannot have one, and
 * an option that does not fit its column, is EINVAL by name. Memory is booked in FB_ACCOUNT_CORE.
 * Sizes that overflow 2^62 bytes are ENOBUFS. On success free with fb__layout_destroy.
 */
FB_MUST_CHECK int fb__layout_init(struct fb__layout *layout, struct fb__gate *gate, const struct ArrowSchema *schema,
                                  const uint64_t *row_bytes, const struct fb_loader_options *options,
                                  struct fb_error *error);
/* A zeroed layout is fine. */
void fb__layout_destroy(struct fb__layout *layout);

/* Places of the regions in a batch of rows rows: places[region_count], nullable. *fixed_bytes: their sum, at least 64; UINT64_MAX
 * where it passes 2^62. */
void fb__layout_place(const struct fb__layout *layout, uint64_t rows, uint64_t *places, uint64_t *fixed_bytes);

/* The node that a batch stores for this one: itself, or below dictionary and run-end wrappers the values' node. */
static inline const struct fb__node *fb__layout_stored(const struct fb__layout *layout, const struct fb__node *node)
{
    while (node->kind >= FB__NODE_DICTIONARY) node = &layout->nodes[node->first_child];
    return node;
}

/* What a batch shows of a stored node of this kind. */
enum fb_column_kind fb__layout_kind(enum fb__node_kind kind);

/* Writes the dotted name of a node, "column.field.field" (list levels say nothing), cut to what fits, NUL-terminated
 * valid UTF-8. */
void fb__layout_name(const struct fb__layout *layout, uint32_t column, uint32_t node, char *text, size_t text_bytes);

#endif
