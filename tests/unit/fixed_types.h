/* The fixed-width types of a batch column as src/data/layout.h lists them, for the tests. */
#ifndef FB_TESTS_FIXED_TYPES_H
#define FB_TESTS_FIXED_TYPES_H

#include "data/layout.h"

static const struct fixed_case {
    const char *format;
    enum fb__copy_kind copy;
    uint64_t source_bytes, element_bytes;
    const char *fill; /* element_bytes bytes of the default fill value, NULL: zeros */
} fixed_cases[] = {
    {"b", FB__COPY_BITS, 0, 1, NULL},
    {"c", FB__COPY_BYTES, 1, 1, NULL},
    {"C", FB__COPY_BYTES, 1, 1, NULL},
    {"s", FB__COPY_BYTES, 2, 2, NULL},
    {"S", FB__COPY_BYTES, 2, 2, NULL},
    {"i", FB__COPY_BYTES, 4, 4, NULL},
    {"I", FB__COPY_BYTES, 4, 4, NULL},
    {"l", FB__COPY_BYTES, 8, 8, NULL},
    {"L", FB__COPY_BYTES, 8, 8, NULL},
    {"e", FB__COPY_BYTES, 2, 2, "\x00\x7e"},
    {"f", FB__COPY_BYTES, 4, 4, "\x00\x00\xc0\x7f"},
    {"g", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\xf8\x7f"},
    {"tdD", FB__COPY_WIDEN_I32, 4, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tdm", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tts", FB__COPY_WIDEN_I32, 4, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"ttm", FB__COPY_WIDEN_I32, 4, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"ttu", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"ttn", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tss:", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tsm:UTC", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tsu:+02:00", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tsn:Europe/Berlin", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tDs", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tDm", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tDu", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
    {"tDn", FB__COPY_BYTES, 8, 8, "\x00\x00\x00\x00\x00\x00\x00\x80"},
};

#define FIXED_CASE_COUNT (sizeof fixed_cases / sizeof *fixed_cases)

#endif
