/* Text that comes from outside (names, formats, messages of a stream): is it UTF-8, and how much of it to show. */
#ifndef FB_DATA_TEXT_H
#define FB_DATA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most bytes of a column name in an error text, so that what follows it is not cut off. */
#define FB__NAME_SHOWN_BYTES 160

/* Bytes of the UTF-8 character at text (NUL-terminated), 0 where there is none: also for an over-long form, a
 * surrogate or a code point above U+10FFFF. */
static inline size_t fb__text_character_bytes(const unsigned char *text)
{
    unsigned char lead = text[0];
    if (lead < 0x80) return lead != 0 ? 1 : 0;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    size_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < least || text[1] > most) return 0;
    for (size_t i = 2; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
    }
    return bytes;
}

/* Length of the valid UTF-8 at the beginning of a NUL-terminated text, at most most_bytes, whole characters only. */
static inline size_t fb__text_valid_bytes(const char *text, size_t most_bytes)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    for (;;) {
        size_t step = fb__text_character_bytes(bytes + at);
        if (step == 0 || at + step > most_bytes) return at;
        at += step;
    }
}

static inline bool fb__text_is_utf8(const char *text)
{
    return text[fb__text_valid_bytes(text, SIZE_MAX / 2)] == '\0';
}

/* For "%.*s": the whole name where it is short. */
static inline int fb__text_shown_bytes(const char *name)
{
    return (int)fb__text_valid_bytes(name, FB__NAME_SHOWN_BYTES);
}

#endif
