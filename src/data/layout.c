/*
 * Column layout: the table of the Arrow types that become batch columns, and the places of columns in a batch.
 *
 * Locking: none. A layout is immutable once made.
 */
#include "data/layout.h"

#include <errno.h>
#include <string.h>

#include "data/text.h"

#define FORMAT_MOST_BYTES 1024
#define FORMAT_SHOWN_BYTES 80
#define LIST_MOST_ITEMS (UINT64_C(1) << 31)

/* ---- types --------------------------------------------------------------------------------------------------- */

enum default_fill { FILL_ZERO = 0, FILL_NAN_2, FILL_NAN_4, FILL_NAN_8, FILL_NAT };

struct fixed_type {
    const char *format; /* one that ends in ':' goes on with anything: a time zone */
    enum fb__copy_kind copy;
    uint8_t source_bytes;
    uint8_t element_bytes;
    enum default_fill fill;
};

static const struct fixed_type fixed_types[] = {
    {"b", FB__COPY_BITS, 0, 1, FILL_ZERO},       {"c", FB__COPY_BYTES, 1, 1, FILL_ZERO},
    {"C", FB__COPY_BYTES, 1, 1, FILL_ZERO},      {"s", FB__COPY_BYTES, 2, 2, FILL_ZERO},
    {"S", FB__COPY_BYTES, 2, 2, FILL_ZERO},      {"i", FB__COPY_BYTES, 4, 4, FILL_ZERO},
    {"I", FB__COPY_BYTES, 4, 4, FILL_ZERO},      {"l", FB__COPY_BYTES, 8, 8, FILL_ZERO},
    {"L", FB__COPY_BYTES, 8, 8, FILL_ZERO},      {"e", FB__COPY_BYTES, 2, 2, FILL_NAN_2},
    {"f", FB__COPY_BYTES, 4, 4, FILL_NAN_4},     {"g", FB__COPY_BYTES, 8, 8, FILL_NAN_8},
    {"tdD", FB__COPY_WIDEN_I32, 4, 8, FILL_NAT}, {"tdm", FB__COPY_BYTES, 8, 8, FILL_NAT},
    {"tts", FB__COPY_WIDEN_I32, 4, 8, FILL_NAT}, {"ttm", FB__COPY_WIDEN_I32, 4, 8, FILL_NAT},
    {"ttu", FB__COPY_BYTES, 8, 8, FILL_NAT},     {"ttn", FB__COPY_BYTES, 8, 8, FILL_NAT},
    {"tss:", FB__COPY_BYTES, 8, 8, FILL_NAT},    {"tsm:", FB__COPY_BYTES, 8, 8, FILL_NAT},
    {"tsu:", FB__COPY_BYTES, 8, 8, FILL_NAT},    {"tsn:", FB__COPY_BYTES, 8, 8, FILL_NAT},
    {"tDs", FB__COPY_BYTES, 8, 8, FILL_NAT},     {"tDm", FB__COPY_BYTES, 8, 8, FILL_NAT},
    {"tDu", FB__COPY_BYTES, 8, 8, FILL_NAT},     {"tDn", FB__COPY_BYTES, 8, 8, FILL_NAT},
};

/* What people call the types that are refused, or that cannot be an element of a list. */
static const char *const type_names[][2] = {
    {"n", "null"},
    {"u", "string"},
    {"U", "large string"},
    {"z", "binary"},
    {"Z", "large binary"},
    {"vu", "string view"},
    {"vz", "binary view"},
    {"d:", "decimal"},
    {"w:", "fixed-size binary"},
    {"tiM", "month interval"},
    {"tiD", "day-time interval"},
    {"tin", "month-day-nano interval"},
    {"+l", "list"},
    {"+L", "large list"},
    {"+vl", "list view"},
    {"+vL", "large list view"},
    {"+w:", "fixed-size list"},
    {"+s", "struct"},
    {"+m", "map"},
    {"+ud:", "dense union"},
    {"+us:", "sparse union"},
    {"+r", "run-end encoded"},
};

static bool format_matches(const char *format, const char *pattern)
{
    size_t bytes = strlen(pattern);
    if (pattern[bytes - 1] == ':') return strncmp(format, pattern, bytes) == 0;
    return strcmp(format, pattern) == 0;
}

static const struct fixed_type *find_fixed_type(const char *format)
{
    for (size_t i = 0; i < sizeof fixed_types / sizeof *fixed_types; i++) {
        if (format_matches(format, fixed_types[i].format)) return &fixed_types[i];
    }
    return NULL;
}

static const char *type_name(const struct ArrowSchema *field)
{
    if (field->dictionary != NULL) return "dictionary";
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++) {
        if (format_matches(field->format, type_names[i][0])) return type_names[i][1];
    }
    return "unknown";
}

/* item: the element of a fixed-size list that is at fault, NULL where the column itself is. */
static int refuse_type(const struct ArrowSchema *field, const struct ArrowSchema *item, struct fb_error *error)
{
    const struct ArrowSchema *culprit = item != NULL ? item : field;
    int shown = (int)fb__text_valid_bytes(culprit->format, FORMAT_SHOWN_BYTES);
    return fb__fail(error, ENOTSUP,
                    "column '%.*s' has type %s%s (format \"%.*s\"), which cannot be a batch column: leave it out with "
                    "columns=",
                    fb__text_shown_bytes(field->name), field->name, item != NULL ? "fixed-size list of " : "",
                    type_name(culprit), shown, culprit->format);
}

/* Whether a schema may be looked at: what of it does not depend on its type. what: for the error. */
static int check_field(const struct ArrowSchema *field, uint32_t column, const char *what, struct fb_error *error)
{
    if (field == NULL || field->release == NULL)
        return fb__fail(error, EINVAL, "%s %u of the schema is missing or was released", what, column);
    if (field->format == NULL || field->format[0] == '\0')
        return fb__fail(error, EINVAL, "%s %u of the schema has no format", what, column);
    if (strnlen(field->format, FORMAT_MOST_BYTES) == FORMAT_MOST_BYTES)
        return fb__fail(error, EINVAL, "%s %u of the schema has a format of %d bytes or more", what, column,
                        FORMAT_MOST_BYTES);
    if (!fb__text_is_utf8(field->format))
        return fb__fail(error, EINVAL, "%s %u of the schema has a format that is not UTF-8", what, column);
    if (field->n_children < 0 || (field->n_children > 0 && field->children == NULL))
        return fb__fail(error, EINVAL, "%s %u of the schema has a malformed list of children", what, column);
    return 0;
}

static int check_child_count(const struct ArrowSchema *field, uint32_t column, int64_t child_count,
                             struct fb_error *error)
{
    if (field->n_children == child_count) return 0;
    return fb__fail(error, EINVAL, "column %u of the schema has %lld children where format \"%.*s\" has %lld", column,
                    (long long)field->n_children, (int)fb__text_valid_bytes(field->format, FORMAT_SHOWN_BYTES),
                    field->format, (long long)child_count);
}

static void set_fixed(struct fb__column_layout *out, const struct fixed_type *type)
{
    out->kind = FB_COLUMN_FIXED;
    out->copy = type->copy;
    out->source_bytes = type->source_bytes;
    out->element_bytes = type->element_bytes;
}

static int describe_list(const struct ArrowSchema *field, uint32_t column, struct fb__column_layout *out,
                         enum default_fill *fill, struct fb_error *error)
{
    const char *digits = field->format + strlen("+w:");
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || digits[count] != '\0')
        return fb__fail(error, EINVAL, "column %u of the schema has a malformed list size in format \"%.*s\"", column,
                        (int)fb__text_valid_bytes(field->format, FORMAT_SHOWN_BYTES), field->format);
    uint64_t list_size = 0;
    for (size_t i = 0; i < count && list_size <= LIST_MOST_ITEMS; i++)
        list_size = list_size * 10 + (uint64_t)(digits[i] - '0');

    int rc = check_child_count(field, column, 1, error);
    if (rc != 0) return rc;
    const struct ArrowSchema *item = field->children[0];
    rc = check_field(item, column, "the element type of column", error);
    if (rc != 0) return rc;
    const struct fixed_type *type = item->dictionary == NULL ? find_fixed_type(item->format) : NULL;
    if (type == NULL) return refuse_type(field, item, error);
    if (list_size > LIST_MOST_ITEMS) return refuse_type(field, NULL, error);
    if (item->n_children != 0)
        return fb__fail(error, EINVAL, "the element type of column %u of the schema has children", column);
    set_fixed(out, type);
    out->list_size = list_size;
    out->is_list = true;
    *fill = type->fill;
    return 0;
}

static int describe(const struct ArrowSchema *field, uint32_t column, struct fb__column_layout *out,
                    enum default_fill *fill, struct fb_error *error)
{
    memset(out, 0, sizeof *out);
    out->list_size = 1;
    *fill = FILL_ZERO;
    int rc = check_field(field, column, "column", error);
    if (rc != 0) return rc;
    if (field->name == NULL || !fb__text_is_utf8(field->name))
        return fb__fail(error, EINVAL, "column %u of the schema has no name in UTF-8", column);
    if (field->dictionary != NULL) return refuse_type(field, NULL, error);
    if (format_matches(field->format, "+w:")) return describe_list(field, column, out, fill, error);

    const struct fixed_type *type = find_fixed_type(field->format);
    if (type != NULL) {
        set_fixed(out, type);
        *fill = type->fill;
    } else if (strlen(field->format) == 1 && strchr("uzUZ", field->format[0]) != NULL) {
        bool is_large = field->format[0] == 'U' || field->format[0] == 'Z';
        out->kind = FB_COLUMN_BINARY;
        out->copy = is_large ? FB__COPY_BINARY_64 : FB__COPY_BINARY_32;
        out->offset_bytes = is_large ? 8 : 4;
    } else {
        return refuse_type(field, NULL, error);
    }
    return check_child_count(field, column, 0, error);
}

int fb__layout_describe_column(const struct ArrowSchema *field, uint32_t column, struct fb__column_layout *out,
                               struct fb_error *error)
{
    enum default_fill fill;
    return describe(field, column, out, &fill, error);
}

int fb__layout_check_schema(const struct ArrowSchema *schema, struct fb_error *error)
{
    if (schema == NULL || schema->release == NULL) return fb__fail(error, EINVAL, "the schema was released");
    if (schema->format == NULL || strcmp(schema->format, "+s") != 0 || schema->dictionary != NULL)
        return fb__fail(error, EINVAL, "the schema is not a struct of columns");
    if (schema->n_children < 0 || schema->n_children > (int64_t)UINT32_MAX - 1 ||
        (schema->n_children > 0 && schema->children == NULL))
        return fb__fail(error, EINVAL, "the schema has a malformed list of columns");
    for (uint32_t i = 0; i < (uint32_t)schema->n_children; i++) {
        struct fb__column_layout column;
        int rc = fb__layout_describe_column(schema->children[i], i, &column, error);
        if (rc != 0) return rc;
    }
    return 0;
}

/* ---- fill values --------------------------------------------------------------------------------------------- */

static int store_fill(struct fb__gate *gate, struct fb__column_layout *column, const void *bytes, uint64_t byte_count,
                      struct fb_error *error)
{
    if (byte_count == 0) return 0;
    int rc = fb__gate_alloc(gate, FB_ACCOUNT_CORE, byte_count, &column->fill, error);
    if (rc != 0) return rc;
    memcpy(column->fill, bytes, byte_count);
    column->fill_bytes = byte_count;
    return 0;
}

static int store_default_fill(struct fb__gate *gate, struct fb__column_layout *column, enum default_fill fill,
                              struct fb_error *error)
{
    static const uint16_t nan_2 = 0x7E00;
    static const uint32_t nan_4 = UINT32_C(0x7FC00000);
    static const uint64_t nan_8 = UINT64_C(0x7FF8000000000000);
    static const int64_t nat = INT64_MIN;
    switch (fill) {
    case FILL_NAN_2:
        return store_fill(gate, column, &nan_2, sizeof nan_2, error);
    case FILL_NAN_4:
        return store_fill(gate, column, &nan_4, sizeof nan_4, error);
    case FILL_NAN_8:
        return store_fill(gate, column, &nan_8, sizeof nan_8, error);
    case FILL_NAT:
        return store_fill(gate, column, &nat, sizeof nat, error);
    case FILL_ZERO:
        break;
    }
    return 0;
}

static int check_fill(const struct fb__column_layout *column, const struct fb_fill_value *fill, struct fb_error *error)
{
    int shown = fb__text_shown_bytes(column->name);
    if (fill->bytes == NULL && fill->byte_count > 0)
        return fb__fail(error, EINVAL, "the fill value of column '%.*s' has no bytes", shown, column->name);
    if (column->kind == FB_COLUMN_BINARY) {
        if (fill->byte_count > INT32_MAX)
            return fb__fail(error, EINVAL, "the fill value of column '%.*s' is longer than 2^31 - 1 bytes", shown,
                            column->name);
        return 0;
    }
    if (fill->byte_count != column->element_bytes)
        return fb__fail(error, EINVAL, "the fill value of column '%.*s' has %llu bytes where an element has %llu",
                        shown, column->name, (unsigned long long)fill->byte_count,
                        (unsigned long long)column->element_bytes);
    if (column->copy == FB__COPY_BITS && *(const uint8_t *)fill->bytes > 1)
        return fb__fail(error, EINVAL, "the fill value of bool column '%.*s' is neither 0 nor 1", shown, column->name);
    return 0;
}

/* Every fill value is for a column that exists, and for one that no other is for. */
static int check_fill_columns(const struct fb_loader_options *options, uint64_t column_count, struct fb_error *error)
{
    if (options->fill_value_count > 0 && options->fill_values == NULL)
        return fb__fail(error, EINVAL, "there are %u fill values but no array of them", options->fill_value_count);
    for (uint32_t i = 0; i < options->fill_value_count; i++) {
        uint32_t column = options->fill_values[i].column;
        if (column >= column_count)
            return fb__fail(error, EINVAL, "a fill value is for column %u, the schema has %llu columns", column,
                            (unsigned long long)column_count);
        for (uint32_t j = 0; j < i; j++) {
            if (options->fill_values[j].column == column)
                return fb__fail(error, EINVAL, "column %u has two fill values", column);
        }
    }
    return 0;
}

static const struct fb_fill_value *find_fill(const struct fb_loader_options *options, uint32_t column)
{
    for (uint32_t i = 0; i < options->fill_value_count; i++) {
        if (options->fill_values[i].column == column) return &options->fill_values[i];
    }
    return NULL;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

static int copy_text(struct fb__gate *gate, const char *text, char **out, struct fb_error *error)
{
    size_t bytes = strlen(text) + 1;
    void *copy = NULL;
    int rc = fb__gate_alloc(gate, FB_ACCOUNT_CORE, bytes, &copy, error);
    if (rc != 0) return rc;
    memcpy(copy, text, bytes);
    *out = copy;
    return 0;
}

static void free_text(struct fb__gate *gate, char *text)
{
    if (text != NULL) fb__gate_free(gate, FB_ACCOUNT_CORE, text, strlen(text) + 1);
}

/* Also for a column that init_column gave up half-way: what was not made is NULL. */
static void free_column(struct fb__gate *gate, struct fb__column_layout *column)
{
    fb__gate_free(gate, FB_ACCOUNT_CORE, column->fill, column->fill_bytes);
    free_text(gate, column->item_format);
    free_text(gate, column->format);
    free_text(gate, column->name);
}

/* field is checked already. On failure column is left for free_column. */
static int init_column(struct fb__gate *gate, struct fb__column_layout *column, const struct ArrowSchema *field,
                       uint32_t index, const struct fb_fill_value *fill, struct fb_error *error)
{
    enum default_fill default_fill;
    int rc = describe(field, index, column, &default_fill, error);
    if (rc == 0) rc = copy_text(gate, field->name, &column->name, error);
    if (rc == 0) rc = copy_text(gate, field->format, &column->format, error);
    if (rc == 0 && column->is_list) rc = copy_text(gate, field->children[0]->format, &column->item_format, error);
    if (rc != 0) return rc;
    if (fill == NULL) return store_default_fill(gate, column, default_fill, error);
    rc = check_fill(column, fill, error);
    return rc != 0 ? rc : store_fill(gate, column, fill->bytes, fill->byte_count, error);
}

/* ---- places -------------------------------------------------------------------------------------------------- */

/* Puts a region of count elements at the next multiple of the alignment; false where that passes FB__MOST_BYTES. */
static bool add_region(uint64_t *end, uint64_t count, uint64_t width, uint64_t *at)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, width, &bytes) || bytes > FB__MOST_BYTES - FB__ALIGNMENT_BYTES) return false;
    *at = *end;
    *end += (bytes + FB__ALIGNMENT_BYTES - 1) / FB__ALIGNMENT_BYTES * FB__ALIGNMENT_BYTES;
    return *end <= FB__MOST_BYTES;
}

static bool place_values(struct fb__layout *layout, uint64_t *end)
{
    for (uint32_t i = 0; i < layout->column_count; i++) {
        struct fb__column_layout *column = &layout->columns[i];
        if (column->kind == FB_COLUMN_BINARY) continue;
        uint64_t row_bytes = column->list_size * column->element_bytes; /* at most 2^31 * 8 */
        if (!add_region(end, layout->batch_rows, row_bytes, &column->values_at)) return false;
    }
    return true;
}

static bool place_offsets(struct fb__layout *layout, uint64_t *end, const uint64_t *row_bytes)
{
    for (uint32_t i = 0; i < layout->column_count; i++) {
        struct fb__column_layout *column = &layout->columns[i];
        if (column->kind != FB_COLUMN_BINARY) continue;
        layout->binary_count++;
        if (layout->batch_rows == UINT64_MAX ||
            !add_region(end, layout->batch_rows + 1, column->offset_bytes, &column->offsets_at))
            return false;
        uint64_t filled_bytes;
        if (__builtin_mul_overflow(column->fill_bytes, layout->batch_rows, &filled_bytes) ||
            filled_bytes > FB__MOST_BYTES)
            return false;
        if (row_bytes == NULL) continue;
        if (__builtin_mul_overflow(row_bytes[i], layout->batch_rows, &column->estimated_bytes) ||
            column->estimated_bytes > FB__MOST_BYTES - layout->binary_bytes)
            return false;
        layout->binary_bytes += column->estimated_bytes;
    }
    return true;
}

static bool place_columns(struct fb__layout *layout, const uint64_t *row_bytes)
{
    uint64_t end = 0;
    if (!place_values(layout, &end) || !place_offsets(layout, &end, row_bytes)) return false;
    if (layout->null_policy == FB_NULLS_MASK) {
        for (uint32_t i = 0; i < layout->column_count; i++) {
            if (!add_region(&end, layout->batch_rows, 1, &layout->columns[i].valid_at)) return false;
        }
    }
    layout->fixed_bytes = end > FB__ALIGNMENT_BYTES ? end : FB__ALIGNMENT_BYTES;
    return true;
}

/* ---- making -------------------------------------------------------------------------------------------------- */

int fb__layout_init(struct fb__layout *layout, struct fb__gate *gate, const struct ArrowSchema *schema,
                    const uint64_t *row_bytes, const struct fb_loader_options *options, struct fb_error *error)
{
    memset(layout, 0, sizeof *layout);
    int rc = fb__layout_check_schema(schema, error);
    if (rc != 0) return rc;
    if (options->batch_rows == 0) return fb__fail(error, EINVAL, "a batch of 0 rows was asked for");
    rc = check_fill_columns(options, (uint64_t)schema->n_children, error);
    if (rc != 0) return rc;

    struct fb__layout made = {.gate = gate,
                              .column_count = (uint32_t)schema->n_children,
                              .batch_rows = options->batch_rows,
                              .null_policy = options->null_policy};
    uint64_t columns_bytes = made.column_count * sizeof *made.columns;
    if (columns_bytes > 0) {
        void *columns = NULL;
        rc = fb__gate_alloc(gate, FB_ACCOUNT_CORE, columns_bytes, &columns, error);
        if (rc != 0) return rc;
        made.columns = columns;
    }
    uint32_t begun = 0;
    while (begun < made.column_count) {
        uint32_t i = begun++;
        rc = init_column(gate, &made.columns[i], schema->children[i], i, find_fill(options, i), error);
        if (rc != 0) goto fail_columns;
    }
    if (!place_columns(&made, row_bytes)) {
        rc = fb__fail(error, ENOBUFS, "a batch of %llu rows would pass 2^62 bytes: lower batch_size",
                      (unsigned long long)made.batch_rows);
        goto fail_columns;
    }
    *layout = made;
    return 0;

fail_columns:
    while (begun > 0) free_column(gate, &made.columns[--begun]);
    fb__gate_free(gate, FB_ACCOUNT_CORE, made.columns, columns_bytes);
    return rc;
}

void fb__layout_destroy(struct fb__layout *layout)
{
    for (uint32_t i = 0; i < layout->column_count; i++) free_column(layout->gate, &layout->columns[i]);
    if (layout->columns != NULL)
        fb__gate_free(layout->gate, FB_ACCOUNT_CORE, layout->columns, layout->column_count * sizeof *layout->columns);
    memset(layout, 0, sizeof *layout);
}
