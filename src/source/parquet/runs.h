/*
 * The RLE / bit-packed hybrid of Parquet (parquet-format, Encodings.md): definition and repetition levels, dictionary
 * indexes, booleans of version 2.
 *
 *     runs := ( <varint: count << 1> <value in (bit_width + 7) / 8 bytes>            a repeated value
 *             | <varint: groups << 1 | 1> <groups * bit_width bytes, 8 values each> ) *
 *
 * A last packed run may end before its padding does. A repeated value wider than bit_width is EIO, here and below.
 *
 * A decoder reads from memory that the caller keeps alive and never reads past its end. It holds no other memory.
 */
#ifndef FB_SOURCE_PARQUET_RUNS_H
#define FB_SOURCE_PARQUET_RUNS_H

#include "base/error.h"

struct fb__runs {
    const uint8_t *next; /* first byte not yet consumed */
    const uint8_t *end;
    uint32_t bit_width;   /* 0 to 32 */
    uint32_t run_value;   /* of a repeated run */
    uint64_t run_left;    /* values left in the run */
    bool is_packed;
    uint32_t packed_bit;  /* bit offset in *next of the next packed value */
    uint32_t width_inverse; /* 65536 / bit_width + 1: a division by bit_width that is a multiplication */
};

/* bit_width above 32 is EIO. */
FB_MUST_CHECK int fb__runs_init(struct fb__runs *runs, const uint8_t *bytes, uint64_t byte_count, uint32_t bit_width,
                                struct fb_error *error);

/* Decodes exactly count values into out. EIO when the runs end before. Must be fast: packed runs of any width are
 * unpacked with wide loads, without a branch a value. */
FB_MUST_CHECK int fb__runs_decode(struct fb__runs *runs, uint32_t *out, uint64_t count, struct fb_error *error);

/* How many of the next values, at most `most`, equal value; they are consumed. Repeated runs are counted at once,
 * packed runs of bit width 1 by words. EIO when the runs end before `most` values without a different one. */
FB_MUST_CHECK int fb__runs_skip_equal(struct fb__runs *runs, uint32_t value, uint64_t most, uint64_t *count,
                                      struct fb_error *error);

/*
 * Whether the next row_count rows of repetition levels (bit width 1) are lists of exactly list_size elements each: a 0
 * and list_size - 1 times 1, again and again. They are consumed where it is so. *is_regular false: some list differs;
 * what was consumed is not defined then. list_size is 1 at least. Fast for packed runs: compares words with the
 * shifted pattern.
 */
FB_MUST_CHECK int fb__runs_match_lists(struct fb__runs *runs, uint64_t list_size, uint64_t row_count, bool *is_regular,
                                       struct fb_error *error);

/*
 * Decodes count dictionary indexes and writes dictionary[index] to out, elements of element_bytes (1, 2, 4 or 8; any
 * other size by memcpy). EIO when an index is not below entry_count. Fast: unpacks into a small buffer on the stack,
 * checks the largest index of it once, gathers; a repeated run is written as a fill.
 */
FB_MUST_CHECK int fb__runs_gather(struct fb__runs *runs, const uint8_t *dictionary, uint64_t entry_count,
                                  uint64_t element_bytes, uint8_t *out, uint64_t count, struct fb_error *error);

#endif
