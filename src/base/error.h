/*
 * Filling a struct fb_error. Every failing path of the library goes through one of these, so that code and text
 * cannot drift apart: fb__fail() writes the error and returns its code.
 */
#ifndef FB_BASE_ERROR_H
#define FB_BASE_ERROR_H

#include "forebay/forebay.h"

/* Writes code and message (printf-style, cut at the array's end, always NUL-terminated at a UTF-8 boundary) with
 * unit and row -1 and no byte figures. error may be NULL. Returns code. */
int fb__fail(struct fb_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As fb__fail with ENOBUFS, and the figures of a refused limit. */
int fb__fail_bytes(struct fb_error *error, uint64_t required_bytes, uint64_t limit_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds where it happened to an error already written. error may be NULL. Returns error's code (0 where NULL). */
int fb__fail_at(struct fb_error *error, int64_t unit, int64_t row);

#endif
