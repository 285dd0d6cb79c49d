/*
 * Column layout: the table of the Arrow types that become parts of batch columns.
 *
 * Locking: none. Tables are constant.
 */
#include <errno.h>
#include <string.h>

#include "data/layout_internal.h"

struct fixed_type {
    const char *format; /* one that ends in ':' goes on with anything: a time zone */
    enum fb__copy_kind copy;
    uint8_t source_bytes;
    uint8_t element_bytes;
    enum fb__default_fill fill;
};

/* As dense storage has them. */
static const struct fixed_type fixed_types[] = {
    {"b", FB__COPY_BITS, 0, 1, FB__FILL_ZERO},       {"c", FB__COPY_BYTES, 1, 1, FB__FILL_ZERO},
    {"C", FB__COPY_BYTES, 1, 1, FB__FILL_ZERO},      {"s", FB__COPY_BYTES, 2, 2, FB__FILL_ZERO},
    {"S", FB__COPY_BYTES, 2, 2, FB__FILL_ZERO},      {"i", FB__COPY_BYTES, 4, 4, FB__FILL_ZERO},
    {"I", FB__COPY_BYTES, 4, 4, FB__FILL_ZERO},      {"l", FB__COPY_BYTES, 8, 8, FB__FILL_ZERO},
    {"L", FB__COPY_BYTES, 8, 8, FB__FILL_ZERO},      {"e", FB__COPY_BYTES, 2, 2, FB__FILL_NAN_2},
    {"f", FB__COPY_BYTES, 4, 4, FB__FILL_NAN_4},     {"g", FB__COPY_BYTES, 8, 8, FB__FILL_NAN_8},
    {"tdD", FB__COPY_WIDEN_I32, 4, 8, FB__FILL_NAT}, {"tdm", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"tts", FB__COPY_WIDEN_I32, 4, 8, FB__FILL_NAT}, {"ttm", FB__COPY_WIDEN_I32, 4, 8, FB__FILL_NAT},
    {"ttu", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},     {"ttn", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"tss:", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},    {"tsm:", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"tsu:", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},    {"tsn:", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"tDs", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},     {"tDm", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"tDu", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},     {"tDn", FB__COPY_BYTES, 8, 8, FB__FILL_NAT},
    {"n", FB__COPY_NULLS, 0, 8, FB__FILL_NAN_8},
};

struct other_type {
    const char *format;
    enum fb__node_kind kind;
    enum fb__copy_kind copy;
    uint32_t offset_bytes;
    int64_t child_count;
    const char *stored_format;
};

static const struct other_type other_types[] = {
    {"u", FB__NODE_BINARY, FB__COPY_BINARY_32, 4, 0, NULL},
    {"z", FB__NODE_BINARY, FB__COPY_BINARY_32, 4, 0, NULL},
    {"U", FB__NODE_BINARY, FB__COPY_BINARY_64, 8, 0, NULL},
    {"Z", FB__NODE_BINARY, FB__COPY_BINARY_64, 8, 0, NULL},
    {"vu", FB__NODE_BINARY, FB__COPY_BINARY_VIEW, 4, 0, "u"},
    {"vz", FB__NODE_BINARY, FB__COPY_BINARY_VIEW, 4, 0, "z"},
    {"+l", FB__NODE_LIST, FB__COPY_LIST_32, 4, 1, NULL},
    {"+L", FB__NODE_LIST, FB__COPY_LIST_64, 8, 1, NULL},
    {"+vl", FB__NODE_LIST, FB__COPY_LIST_VIEW_32, 4, 1, "+l"},
    {"+vL", FB__NODE_LIST, FB__COPY_LIST_VIEW_64, 8, 1, "+L"},
    {"+m", FB__NODE_LIST, FB__COPY_LIST_32, 4, 1, NULL},
    {"+s", FB__NODE_STRUCT, FB__COPY_BYTES, 0, FB__ANY_CHILDREN, NULL},
    {"+r", FB__NODE_RUN_END, FB__COPY_BYTES, 0, 2, NULL},
};

/* For errors. */
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

const char *fb__type_name(const char *format)
{
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++) {
        if (format_matches(format, type_names[i][0])) return type_names[i][1];
    }
    return "unknown";
}

uint64_t fb__type_integer_bytes(const char *format, bool *is_unsigned)
{
    static const char letters[] = "cCsSiIlL";
    const char *at = format[0] != '\0' && format[1] == '\0' ? strchr(letters, format[0]) : NULL;
    if (at == NULL) return 0;
    *is_unsigned = (at - letters) % 2 != 0;
    return UINT64_C(1) << (at - letters) / 2;
}

/* Digits up to the character end; values beyond any that is good stay beyond it. NULL where there are none. */
static const char *read_number(const char *text, char end, uint64_t *out)
{
    size_t count = strspn(text, "0123456789");
    if (count == 0 || text[count] != end) return NULL;
    uint64_t number = 0;
    for (size_t i = 0; i < count && number <= FB__LIST_MOST_ITEMS; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    *out = number;
    return text + count;
}

const char *fb__type_parameter(const char *format)
{
    if (format[0] == '+') return "list size";
    return format[0] == 'w' ? "width" : "precision, scale or width";
}

/* d:P,S or d:P,S,bits */
static int read_decimal(const char *format, struct fb__type *out)
{
    uint64_t precision, scale, bits = 128;
    const char *at = read_number(format + strlen("d:"), ',', &precision);
    if (at == NULL || precision == 0) return EINVAL;
    at++;
    if (*at == '-') at++;
    if (strchr(at, ',') != NULL) {
        at = read_number(at, ',', &scale);
        if (at == NULL || read_number(at + 1, '\0', &bits) == NULL) return EINVAL;
    } else if (read_number(at, '\0', &scale) == NULL) {
        return EINVAL;
    }
    if (bits != 32 && bits != 64 && bits != 128 && bits != 256) return ENOTSUP;
    out->kind = FB__NODE_FIXED;
    out->source_bytes = out->element_bytes = bits / 8;
    return 0;
}

static int read_sized(const char *format, struct fb__type *out)
{
    bool is_list = format[0] == '+';
    uint64_t size;
    if (read_number(format + (is_list ? strlen("+w:") : strlen("w:")), '\0', &size) == NULL) return EINVAL;
    if (is_list) {
        if (size > FB__LIST_MOST_ITEMS) return ENOTSUP;
        out->kind = FB__NODE_FIXED_LIST;
        out->list_size = size;
        out->child_count = 1;
    } else {
        if (size > (uint64_t)INT32_MAX) return ENOTSUP;
        out->kind = FB__NODE_FIXED;
        out->source_bytes = out->element_bytes = size;
    }
    return 0;
}

static void read_fixed(const struct fixed_type *type, enum fb_storage storage, struct fb__type *out)
{
    out->kind = FB__NODE_FIXED;
    out->copy = type->copy;
    out->source_bytes = type->source_bytes;
    out->element_bytes = type->element_bytes;
    out->fill = type->fill;
    if (storage == FB_STORAGE_DENSE) {
        if (type->copy == FB__COPY_NULLS) out->stored_format = "g";
        return;
    }
    out->fill = FB__FILL_ZERO;
    if (type->copy == FB__COPY_WIDEN_I32) {
        out->copy = FB__COPY_BYTES;
        out->element_bytes = type->source_bytes;
    } else if (type->copy == FB__COPY_NULLS) {
        out->kind = FB__NODE_NULL;
        out->element_bytes = 0;
    }
}

int fb__type_read(const char *format, enum fb_storage storage, struct fb__type *out)
{
    *out = (struct fb__type){.copy = FB__COPY_BYTES, .list_size = 1};
    for (size_t i = 0; i < sizeof fixed_types / sizeof *fixed_types; i++) {
        if (!format_matches(format, fixed_types[i].format)) continue;
        read_fixed(&fixed_types[i], storage, out);
        return 0;
    }
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++) {
        const struct other_type *type = &other_types[i];
        if (!format_matches(format, type->format)) continue;
        out->kind = type->kind;
        out->copy = type->copy;
        out->offset_bytes = type->offset_bytes;
        out->child_count = type->child_count;
        out->stored_format = type->stored_format;
        return 0;
    }
    if (format_matches(format, "+w:") || format_matches(format, "w:")) return read_sized(format, out);
    if (format_matches(format, "d:")) return read_decimal(format, out);
    return ENOTSUP;
}
