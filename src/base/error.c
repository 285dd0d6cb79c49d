/* Writing a struct fb_error: fixed size, no allocation, no lock; the caller owns the struct. */
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 sequence that begins with this byte; 1 for anything that does not begin one. */
static size_t sequence_bytes(unsigned char lead)
{
    if (lead >= 0xF0) return 4;
    if (lead >= 0xE0) return 3;
    if (lead >= 0xC0) return 2;
    return 1;
}

/* Drops an incomplete UTF-8 sequence from the end of a text that was cut by bytes. */
static void trim_to_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 3) { /* no incomplete sequence is longer */
        start--;
        unsigned char byte = (unsigned char)text[start];
        if ((byte & 0xC0) == 0x80) continue; /* inside a sequence: its lead byte is further left */
        if (length - start < sequence_bytes(byte)) text[start] = '\0';
        return;
    }
}

__attribute__((format(printf, 5, 0))) static int fill(struct fb_error *error, int code, uint64_t required_bytes,
                                                      uint64_t limit_bytes, const char *format, va_list arguments)
{
    assert(code > 0);
    if (!error) return code;
    /* Formatted beside the struct: an argument may be the message that is being replaced. */
    char message[sizeof error->message];
    int length = vsnprintf(message, sizeof message, format, arguments);
    if (length < 0) message[0] = '\0';
    if (length >= (int)sizeof message) trim_to_character(message, sizeof message - 1);
    error->code = code;
    error->unit = -1;
    error->row = -1;
    error->required_bytes = required_bytes;
    error->limit_bytes = limit_bytes;
    memcpy(error->message, message, strlen(message) + 1);
    return code;
}

int fb__fail(struct fb_error *error, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, code, 0, 0, format, arguments);
    va_end(arguments);
    return code;
}

int fb_error_set(struct fb_error *error, int code, const char *format, ...)
{
    int failure = code > 0 ? code : EIO; /* from a callback it may be anything, and must not pass for success */
    va_list arguments;
    va_start(arguments, format);
    fill(error, failure, 0, 0, format, arguments);
    va_end(arguments);
    return failure;
}

int fb__fail_bytes(struct fb_error *error, uint64_t required_bytes, uint64_t limit_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int code = fill(error, ENOBUFS, required_bytes, limit_bytes, format, arguments);
    va_end(arguments);
    return code;
}

int fb__fail_at(struct fb_error *error, int64_t unit, int64_t row)
{
    if (!error) return 0;
    error->unit = unit;
    error->row = row;
    return error->code;
}
