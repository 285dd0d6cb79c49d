/* White-box test of src/source/parquet/codec: sources have their exact size, for the sanitizers; destinations have a
 * guard behind them, for the codecs' libraries are not built with sanitizers. */
#include "source/parquet/codec.h"

#include <errno.h>

#include "check.h"

/* As in the codec itself: the build says which libraries it found, and links every user of the core with them. */
#if defined(FB_HAVE_SNAPPY) && FB_HAVE_SNAPPY
#define HAS_SNAPPY 1
#include <snappy-c.h>
#else
#define HAS_SNAPPY 0
#endif
#if defined(FB_HAVE_ZSTD) && FB_HAVE_ZSTD
#define HAS_ZSTD 1
#include <zstd.h>
#else
#define HAS_ZSTD 0
#endif

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

struct bytes {
    uint8_t *data;
    uint64_t count;
};

static struct bytes exact(const uint8_t *data, uint64_t count)
{
    struct bytes copy = {malloc(count > 0 ? count : 1), count};
    CHECK(copy.data);
    if (count > 0) memcpy(copy.data, data, count);
    return copy;
}

/* Bytes that compress: few values, long repetitions. */
static struct bytes plain_page(uint64_t count)
{
    struct bytes page = {malloc(count > 0 ? count : 1), count};
    CHECK(page.data);
    for (uint64_t i = 0; i < count; i++) {
        page.data[i] = (uint8_t)(i >= 64 && random_next() % 8 ? page.data[i - 64] : random_next() % 7);
    }
    return page;
}

static struct bytes compressed_page(uint32_t codec, struct bytes plain)
{
    size_t count = plain.count;
    uint8_t *room = malloc(2 * plain.count + 1024);
    CHECK(room);
    switch (codec) {
#if HAS_SNAPPY
    case FB__CODEC_SNAPPY:
        count = snappy_max_compressed_length(plain.count);
        CHECK_EQUAL(snappy_compress((const char *)plain.data, plain.count, (char *)room, &count), SNAPPY_OK);
        break;
#endif
#if HAS_ZSTD
    case FB__CODEC_ZSTD:
        count = ZSTD_compress(room, 2 * plain.count + 1024, plain.data, plain.count, 3);
        CHECK(!ZSTD_isError(count));
        break;
#endif
    default:
        memcpy(room, plain.data, plain.count);
    }
    struct bytes result = exact(room, count);
    free(room);
    return result;
}

/* What a caller does: room of the size asked for, aligned. */
struct context {
    void *room, *made;
};

static struct context open_context(uint32_t codec)
{
    struct context context = {0};
    uint64_t bytes = fb__codec_context_bytes(codec);
    if (bytes > 0) context.room = aligned_alloc(64, (bytes + 63) / 64 * 64);
    CHECK(bytes == 0 || context.room);
    if (context.room) memset(context.room, 0xAB, bytes);
    context.made = fb__codec_init(codec, context.room);
    CHECK((context.made != NULL) == (bytes > 0));
    return context;
}

static const uint32_t codecs[] = {FB__CODEC_UNCOMPRESSED, FB__CODEC_SNAPPY, FB__CODEC_ZSTD};

#define EACH_CODEC(codec)                                                                          \
    for (const uint32_t *codec = codecs; codec < codecs + sizeof codecs / sizeof *codecs; codec++) \
        if (fb__codec_is_supported(*codec))

#define GUARD_BYTES 64

static int decompress(uint32_t codec, void *context, struct bytes from, uint64_t to_bytes, struct bytes *to,
                      struct fb_error *error)
{
    *to = (struct bytes){malloc(to_bytes + GUARD_BYTES), to_bytes};
    CHECK(to->data);
    memset(to->data, 0xC5, to_bytes + GUARD_BYTES);
    int code = fb__codec_decompress(codec, context, from.data, from.count, to->data, to_bytes, error);
    for (uint32_t i = 0; i < GUARD_BYTES; i++) CHECK_EQUAL(to->data[to_bytes + i], 0xC5);
    return code;
}

static void what_the_build_has_is_supported_and_nothing_else(void)
{
    CHECK(fb__codec_is_supported(FB__CODEC_UNCOMPRESSED));
    CHECK_EQUAL(fb__codec_is_supported(FB__CODEC_SNAPPY), HAS_SNAPPY);
    CHECK_EQUAL(fb__codec_is_supported(FB__CODEC_ZSTD), HAS_ZSTD);
    static const uint32_t others[] = {2, 3, 4, 5, 7, 8, UINT32_MAX};
    for (uint32_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct fb_error error = {0};
        uint8_t byte = 0, out = 0;
        CHECK(!fb__codec_is_supported(others[i]));
        CHECK_EQUAL(fb__codec_decompress(others[i], NULL, &byte, 1, &out, 1, &error), ENOTSUP);
        CHECK_CONTAINS(error.message, "codec");
        CHECK_EQUAL(fb__codec_context_bytes(others[i]), 0);
        CHECK(!fb__codec_init(others[i], NULL));
    }
}

static void pages_come_back_as_they_were_with_one_context_for_all(void)
{
    static const uint64_t sizes[] = {0, 1, 7, 64, 1000, 65536, 65537, 1000003};
    EACH_CODEC(codec)
    {
        struct context context = open_context(*codec);
        for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct bytes plain = plain_page(sizes[i]), packed = compressed_page(*codec, plain), back;
            CHECK_EQUAL(decompress(*codec, context.made, packed, plain.count, &back, NULL), 0);
            CHECK(memcmp(back.data, plain.data, plain.count) == 0);
            free(back.data);
            free(packed.data);
            free(plain.data);
        }
        free(context.room);
    }
}

static void no_bytes_are_a_page_without_values(void)
{
    EACH_CODEC(codec)
    {
        struct context context = open_context(*codec);
        uint8_t byte = 0;
        CHECK_EQUAL(fb__codec_decompress(*codec, context.made, NULL, 0, NULL, 0, NULL), 0);
        CHECK_EQUAL(fb__codec_decompress(*codec, context.made, NULL, 0, &byte, 1, NULL), EIO);
        free(context.room);
    }
}

static void another_size_than_the_header_said_is_an_error(void)
{
    EACH_CODEC(codec)
    {
        struct context context = open_context(*codec);
        struct bytes plain = plain_page(5000), packed = compressed_page(*codec, plain);
        static const uint64_t sizes[] = {0, 1, 4999, 5001, 10000};
        for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct fb_error error = {0};
            struct bytes back;
            CHECK_EQUAL(decompress(*codec, context.made, packed, sizes[i], &back, &error), EIO);
            CHECK_CONTAINS(error.message, "a page");
            free(back.data);
        }
        free(packed.data);
        free(plain.data);
        free(context.room);
    }
}

static void a_page_cut_at_any_byte_is_an_error(void)
{
    EACH_CODEC(codec)
    {
        struct context context = open_context(*codec);
        struct bytes plain = plain_page(3000), packed = compressed_page(*codec, plain);
        for (uint64_t count = 1; count < packed.count; count++) {
            struct bytes cut = exact(packed.data, count), back;
            struct fb_error error = {0};
            CHECK_EQUAL(decompress(*codec, context.made, cut, plain.count, &back, &error), EIO);
            CHECK_CONTAINS(error.message, *codec == FB__CODEC_UNCOMPRESSED ? "header says 3000" : "a page is damaged");
            free(back.data);
            free(cut.data);
        }
        free(packed.data);
        free(plain.data);
        free(context.room);
    }
}

static void damaged_bytes_stay_within_the_buffers_and_leave_the_context_usable(void)
{
    EACH_CODEC(codec)
    {
        struct context context = open_context(*codec);
        struct bytes plain = plain_page(2000), packed = compressed_page(*codec, plain), back;
        uint32_t failures = 0;
        for (uint32_t i = 0; i < 4000; i++) {
            struct bytes damaged = exact(packed.data, packed.count);
            for (uint64_t k = 0; k <= random_next() % 3; k++) {
                damaged.data[random_next() % damaged.count] ^= (uint8_t)(1 + random_next() % 255);
            }
            int code = decompress(*codec, context.made, damaged, plain.count, &back, NULL);
            CHECK(code == 0 || code == EIO);
            failures += code != 0;
            free(back.data);
            free(damaged.data);
            CHECK_EQUAL(decompress(*codec, context.made, packed, plain.count, &back, NULL), 0);
            CHECK(memcmp(back.data, plain.data, plain.count) == 0);
            free(back.data);
        }
        CHECK((failures > 0) == (*codec != FB__CODEC_UNCOMPRESSED));
        free(packed.data);
        free(plain.data);
        free(context.room);
    }
}

#if HAS_ZSTD
static void zstandard_works_in_the_given_room_alone(void)
{
    uint64_t bytes = fb__codec_context_bytes(FB__CODEC_ZSTD);
    CHECK(bytes > 16 * 1024 && bytes < 1024 * 1024);
    struct context context = open_context(FB__CODEC_ZSTD);
    CHECK((uint8_t *)context.made >= (uint8_t *)context.room);
    CHECK((uint8_t *)context.made < (uint8_t *)context.room + bytes);
    CHECK_EQUAL(ZSTD_sizeof_DCtx(context.made), bytes);
    struct bytes plain = plain_page(3000000), packed = compressed_page(FB__CODEC_ZSTD, plain), back;
    CHECK_EQUAL(decompress(FB__CODEC_ZSTD, context.made, packed, plain.count, &back, NULL), 0);
    CHECK(memcmp(back.data, plain.data, plain.count) == 0);
    CHECK_EQUAL(ZSTD_sizeof_DCtx(context.made), bytes);
    free(back.data);
    free(packed.data);
    free(plain.data);
    free(context.room);
}

static void zstandard_without_a_context_is_an_error(void)
{
    struct bytes plain = plain_page(100), packed = compressed_page(FB__CODEC_ZSTD, plain), back;
    CHECK_EQUAL(decompress(FB__CODEC_ZSTD, NULL, packed, plain.count, &back, NULL), ENOTSUP);
    free(back.data);
    free(packed.data);
    free(plain.data);
}
#endif

int main(void)
{
    RUN(what_the_build_has_is_supported_and_nothing_else);
    RUN(pages_come_back_as_they_were_with_one_context_for_all);
    RUN(no_bytes_are_a_page_without_values);
    RUN(another_size_than_the_header_said_is_an_error);
    RUN(a_page_cut_at_any_byte_is_an_error);
    RUN(damaged_bytes_stay_within_the_buffers_and_leave_the_context_usable);
#if HAS_ZSTD
    RUN(zstandard_works_in_the_given_room_alone);
    RUN(zstandard_without_a_context_is_an_error);
#endif
    return 0;
}
