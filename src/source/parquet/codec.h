/*
 * Decompression of Parquet pages (parquet-format, Compression.md): each page is one independent block.
 *
 * Codecs are libraries of others: Snappy and Zstandard. Which of them this build has is asked with
 * fb__codec_is_supported(); a column of another codec is read as a stream.
 */
#ifndef FB_SOURCE_PARQUET_CODEC_H
#define FB_SOURCE_PARQUET_CODEC_H

#include "base/memory.h"

/* CompressionCodec of parquet.thrift. */
enum fb__codec { FB__CODEC_UNCOMPRESSED = 0, FB__CODEC_SNAPPY = 1, FB__CODEC_ZSTD = 6 };

bool fb__codec_is_supported(uint32_t codec);

/*
 * Decompresses source into exactly destination_bytes at destination. EIO when the data is malformed or of another
 * size; ENOTSUP for a codec that is not supported. context: see fb__codec_init(), NULL for codecs that need none.
 */
FB_MUST_CHECK int fb__codec_decompress(uint32_t codec, void *context, const uint8_t *source, uint64_t source_bytes,
                                       uint8_t *destination, uint64_t destination_bytes, struct fb_error *error);

/*
 * What a codec keeps between pages, made in memory of the caller: context_bytes says how much (0: none needed), and
 * fb__codec_init() makes *context in `room` of that size, 64-byte aligned; it needs no closing.
 */
uint64_t fb__codec_context_bytes(uint32_t codec);
void *fb__codec_init(uint32_t codec, void *room);

#endif
