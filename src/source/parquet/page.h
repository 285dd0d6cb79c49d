/*
 * Page headers of a column chunk (parquet-format, parquet.thrift: PageHeader; Thrift compact protocol).
 *
 * Everything in a header is somebody's claim: sizes and counts are checked for sign here and against what is at hand
 * by the caller. Unknown fields and unknown page types are skipped, as the format asks.
 */
#ifndef FB_SOURCE_PARQUET_PAGE_H
#define FB_SOURCE_PARQUET_PAGE_H

#include "base/error.h"

/* PageType and Encoding of parquet.thrift. */
enum fb__page_type { FB__PAGE_DATA = 0, FB__PAGE_INDEX = 1, FB__PAGE_DICTIONARY = 2, FB__PAGE_DATA_V2 = 3 };
enum fb__encoding {
    FB__ENCODING_PLAIN = 0,
    FB__ENCODING_PLAIN_DICTIONARY = 2,
    FB__ENCODING_RLE = 3,
    FB__ENCODING_BIT_PACKED = 4,
    FB__ENCODING_RLE_DICTIONARY = 8
};

struct fb__page_header {
    uint32_t type;               /* enum fb__page_type, or another that the caller skips */
    uint32_t uncompressed_bytes; /* of the page without this header; in a version 2 page levels included */
    uint32_t compressed_bytes;   /* as stored, likewise */
    uint32_t value_count;        /* of a data page: levels, nulls included; of a dictionary page: entries */
    uint32_t encoding;           /* of the values */
    uint32_t definition_encoding, repetition_encoding; /* version 1 */
    uint32_t definition_bytes, repetition_bytes;       /* version 2: uncompressed levels before the values */
    bool is_compressed;          /* version 2: whether the values are; true otherwise */
};

/*
 * Parses a header from bytes[0..byte_count). 0 with *header_bytes, its length; EAGAIN when it does not end within
 * byte_count; EIO when it is malformed (nested too deep, a negative or missing size or count, varint too long).
 */
FB_MUST_CHECK int fb__page_header_parse(const uint8_t *bytes, uint64_t byte_count, struct fb__page_header *out,
                                        uint64_t *header_bytes, struct fb_error *error);

#endif
