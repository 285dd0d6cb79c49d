/*
 * Page decompression by the libraries that the build found: FB_HAVE_SNAPPY, FB_HAVE_ZSTD.
 *
 * Snappy works in its destination alone. Zstandard needs a context of some 160 KB; it is made with
 * ZSTD_initStaticDCtx() in memory of the caller, so that its bytes are booked like all others and the library never
 * allocates: a frame that would need more (an old format, say) is an error, not an allocation. That function and
 * ZSTD_estimateDCtxSize() are in the section of zstd.h that asks for static linking, for want of a promise about
 * future versions; shared libraries export both, with these signatures since 1.3.0 (2017), and the size is asked of
 * the library that is loaded, never compiled in. A context that cannot be made is NULL and decompression says so.
 *
 * Locking: none. A context serves one call at a time.
 */
#include "source/parquet/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#if defined(FB_HAVE_SNAPPY) && FB_HAVE_SNAPPY
#define HAS_SNAPPY 1
#include <snappy-c.h>
#else
#define HAS_SNAPPY 0
#endif

#if defined(FB_HAVE_ZSTD) && FB_HAVE_ZSTD
#define HAS_ZSTD 1
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#else
#define HAS_ZSTD 0
#endif

bool fb__codec_is_supported(uint32_t codec)
{
    if (codec == FB__CODEC_UNCOMPRESSED) return true;
    if (codec == FB__CODEC_SNAPPY) return HAS_SNAPPY;
    return codec == FB__CODEC_ZSTD && HAS_ZSTD;
}

static int size_differs(uint64_t actual_bytes, uint64_t expected_bytes, struct fb_error *error)
{
    return fb__fail(error, EIO, "a page holds %" PRIu64 " bytes where its header says %" PRIu64, actual_bytes,
                    expected_bytes);
}

static int copy_plain(const uint8_t *source, uint64_t source_bytes, uint8_t *destination, uint64_t destination_bytes,
                      struct fb_error *error)
{
    if (source_bytes != destination_bytes) return size_differs(source_bytes, destination_bytes, error);
    memcpy(destination, source, source_bytes);
    return 0;
}

#if HAS_SNAPPY
static int decompress_snappy(const uint8_t *source, uint64_t source_bytes, uint8_t *destination,
                             uint64_t destination_bytes, struct fb_error *error)
{
    size_t claimed_bytes = 0;
    if (snappy_uncompressed_length((const char *)source, source_bytes, &claimed_bytes) != SNAPPY_OK) {
        return fb__fail(error, EIO, "a page is damaged: its Snappy data does not begin with a length");
    }
    if (claimed_bytes != destination_bytes) return size_differs(claimed_bytes, destination_bytes, error);
    size_t written_bytes = destination_bytes;
    uint8_t nothing; /* the library wants a place even for no bytes */
    char *place = (char *)(destination_bytes > 0 ? destination : &nothing);
    if (snappy_uncompress((const char *)source, source_bytes, place, &written_bytes) != SNAPPY_OK) {
        return fb__fail(error, EIO, "a page is damaged: its Snappy data cannot be decompressed");
    }
    return 0;
}
#endif

#if HAS_ZSTD
static int decompress_zstd(void *context, const uint8_t *source, uint64_t source_bytes, uint8_t *destination,
                           uint64_t destination_bytes, struct fb_error *error)
{
    if (!context) return fb__fail(error, ENOTSUP, "this version of Zstandard makes no context in given memory");
    size_t written_bytes = ZSTD_decompressDCtx(context, destination, destination_bytes, source, source_bytes);
    if (ZSTD_isError(written_bytes)) {
        return fb__fail(error, EIO, "a page is damaged: Zstandard says %s", ZSTD_getErrorName(written_bytes));
    }
    if (written_bytes != destination_bytes) return size_differs(written_bytes, destination_bytes, error);
    return 0;
}
#endif

int fb__codec_decompress(uint32_t codec, void *context, const uint8_t *source, uint64_t source_bytes,
                         uint8_t *destination, uint64_t destination_bytes, struct fb_error *error)
{
    if (!fb__codec_is_supported(codec)) {
        return fb__fail(error, ENOTSUP, "pages of codec %" PRIu32 " are not decompressed by this build", codec);
    }
    /* Some writers store a page without values as no bytes, whatever the codec would have made of it. */
    if (source_bytes == 0 && destination_bytes == 0) return 0;
    switch (codec) {
#if HAS_SNAPPY
    case FB__CODEC_SNAPPY:
        return decompress_snappy(source, source_bytes, destination, destination_bytes, error);
#endif
#if HAS_ZSTD
    case FB__CODEC_ZSTD:
        return decompress_zstd(context, source, source_bytes, destination, destination_bytes, error);
#endif
    default:
        (void)context; /* of a codec that keeps nothing */
        return copy_plain(source, source_bytes, destination, destination_bytes, error);
    }
}

uint64_t fb__codec_context_bytes(uint32_t codec)
{
#if HAS_ZSTD
    if (codec == FB__CODEC_ZSTD) return ZSTD_estimateDCtxSize();
#endif
    (void)codec;
    return 0;
}

void *fb__codec_init(uint32_t codec, void *room)
{
#if HAS_ZSTD
    if (codec == FB__CODEC_ZSTD) return ZSTD_initStaticDCtx(room, ZSTD_estimateDCtxSize());
#endif
    (void)codec;
    (void)room;
    return NULL;
}
