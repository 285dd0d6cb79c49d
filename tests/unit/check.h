/*
 * Checks for the C tests. They hold in release builds too, print both values, and end the program: each test program
 * runs in a process of its own with a timeout, so a failed check needs no clean-up. Exit status: 0 passed, 1 failed.
 */
#ifndef FB_TESTS_CHECK_H
#define FB_TESTS_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) check_failed(__FILE__, __LINE__, __func__, #condition); \
    } while (0)

/* Unsigned and signed integers, compared as 64-bit. */
#define CHECK_EQUAL(actual, expected) \
    check_equal(__FILE__, __LINE__, __func__, #actual " == " #expected, (int64_t)(actual), (int64_t)(expected))

#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, __func__, (actual), (expected))

/* That text contains part. */
#define CHECK_CONTAINS(text, part)                                                                    \
    do {                                                                                              \
        if (strstr((text), (part)) == NULL) check_text(__FILE__, __LINE__, __func__, (text), (part)); \
    } while (0)

/* Runs a test function and names it on standard output. */
#define RUN(test)                \
    do {                         \
        printf("  %s\n", #test); \
        fflush(stdout);          \
        test();                  \
    } while (0)

static inline void check_failed(const char *file, int line, const char *function, const char *text)
{
    fprintf(stderr, "%s:%d: in %s: failed: %s\n", file, line, function, text);
    exit(1);
}

static inline void check_equal(const char *file, int line, const char *function, const char *text, int64_t actual,
                               int64_t expected)
{
    if (actual == expected) return;
    fprintf(stderr, "%s:%d: in %s: failed: %s (%" PRId64 " against %" PRId64 ")\n", file, line, function, text, actual,
            expected);
    exit(1);
}

static inline void check_text(const char *file, int line, const char *function, const char *actual,
                              const char *expected)
{
    if (strcmp(actual, expected) == 0) return;
    fprintf(stderr, "%s:%d: in %s: failed:\n    got      \"%s\"\n    expected \"%s\"\n", file, line, function, actual,
            expected);
    exit(1);
}

#endif
