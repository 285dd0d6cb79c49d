/*
 * White-box test of src/source/parquet/runs against a model that reads bit by bit. Every input and every output lies
 * in memory of exactly its size, so that the sanitizers see a read or a write of one byte more.
 */
#include "source/parquet/runs.h"

#include <errno.h>

#include "check.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint32_t random_below(uint64_t limit)
{
    return (uint32_t)((random_next() >> 16) % limit);
}

static uint32_t mask_of(uint32_t bit_width)
{
    return bit_width == 32 ? UINT32_MAX : (UINT32_C(1) << bit_width) - 1;
}

static void *exact(const void *bytes, uint64_t count)
{
    void *copy = malloc(count > 0 ? count : 1);
    CHECK(copy);
    if (count > 0) memcpy(copy, bytes, count);
    return copy;
}

/* ---- encoded values and what they are ---- */

#define VALUE_LIMIT 8192

struct stream {
    uint32_t bit_width;
    uint32_t byte_count;
    uint32_t value_count;
    uint8_t bytes[8 * VALUE_LIMIT];
    uint32_t values[VALUE_LIMIT];
};

static void put_varint(struct stream *stream, uint64_t value)
{
    for (; value > 0x7F; value >>= 7) stream->bytes[stream->byte_count++] = (uint8_t)(0x80 | (value & 0x7F));
    stream->bytes[stream->byte_count++] = (uint8_t)value;
}

static void put_repeated(struct stream *stream, uint32_t value, uint32_t count)
{
    CHECK(stream->value_count + count <= VALUE_LIMIT);
    put_varint(stream, (uint64_t)count << 1);
    for (uint32_t bit = 0; bit < stream->bit_width; bit += 8) {
        stream->bytes[stream->byte_count++] = (uint8_t)(value >> bit);
    }
    for (uint32_t i = 0; i < count; i++) stream->values[stream->value_count++] = value;
}

static void put_packed(struct stream *stream, const uint32_t *values, uint32_t groups)
{
    CHECK(stream->value_count + 8 * groups <= VALUE_LIMIT);
    put_varint(stream, (uint64_t)groups << 1 | 1);
    uint8_t *to = stream->bytes + stream->byte_count;
    memset(to, 0, groups * stream->bit_width);
    for (uint32_t bit = 0; bit < 8 * groups * stream->bit_width; bit++) {
        uint32_t value = values[bit / stream->bit_width];
        if (value >> bit % stream->bit_width & 1) to[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
    stream->byte_count += groups * stream->bit_width;
    if (groups > 0) memcpy(stream->values + stream->value_count, values, 8 * groups * sizeof *values);
    stream->value_count += 8 * groups;
}

/* Puts values of the stream's model as runs of both kinds, empty ones among them; up to 7 more values than asked for
 * may stand behind. */
static void put_runs(struct stream *stream, const uint32_t *values, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        uint32_t same = 1;
        while (done + same < count && values[done + same] == values[done]) same++;
        switch (random_below(8)) {
        case 0:
            put_repeated(stream, random_below((uint64_t)mask_of(stream->bit_width) + 1), 0);
            break;
        case 1:
            put_packed(stream, NULL, 0);
            break;
        case 2:
        case 3:
        case 4:
            put_repeated(stream, values[done], same = 1 + random_below(same));
            done += same;
            break;
        default: {
            uint32_t groups = 1 + random_below(random_below(4) ? 6 : 60);
            if (groups > (count - done + 7) / 8) groups = (count - done + 7) / 8;
            uint32_t padded[VALUE_LIMIT] = {0};
            uint32_t now = 8 * groups < count - done ? 8 * groups : count - done;
            memcpy(padded, values + done, now * sizeof *values);
            put_packed(stream, padded, groups);
            done += now;
        }
        }
    }
}

/* Random values with stretches of equal ones. */
static void make_values(uint32_t *values, uint32_t count, uint32_t bit_width)
{
    uint64_t limit = (uint64_t)mask_of(bit_width) + 1;
    if (random_below(2) && limit > 3) limit = 3; /* few values, many equal */
    for (uint32_t i = 0; i < count;) {
        uint32_t same = random_below(3) ? 1 : 1 + random_below(200);
        uint32_t value = random_below(limit);
        for (; same > 0 && i < count; same--) values[i++] = value;
    }
}

static struct stream *random_stream(uint32_t bit_width, uint32_t count)
{
    struct stream *stream = calloc(1, sizeof *stream);
    uint32_t *values = calloc(count + 1, sizeof *values);
    CHECK(stream && values);
    stream->bit_width = bit_width;
    make_values(values, count, bit_width);
    put_runs(stream, values, count);
    free(values);
    return stream;
}

/* The model: decodes up to `most` values bit by bit. *code: 0, or EIO where it met the end or a malformed run. */
static uint32_t model_decode(const uint8_t *bytes, uint64_t byte_count, uint32_t bit_width, uint32_t *out,
                             uint32_t most, int *code)
{
    uint64_t at = 0;
    uint32_t count = 0;
    *code = 0;
    while (count < most) {
        uint64_t header = 0;
        uint32_t header_bytes = 0;
        do {
            if (at == byte_count || header_bytes == 5) return *code = EIO, count;
            header |= (uint64_t)(bytes[at] & 0x7F) << 7 * header_bytes++;
        } while (bytes[at++] & 0x80);
        if (header > UINT32_MAX) return *code = EIO, count;
        uint32_t value = 0;
        if (header & 1) {
            uint64_t end_bit = 8 * (at + (header >> 1) * bit_width);
            uint64_t bit = 8 * at;
            for (uint64_t i = 0; i < (header >> 1) * 8 && count < most; i++) {
                if (bit + bit_width > 8 * byte_count) return *code = EIO, count;
                value = 0;
                for (uint32_t k = 0; k < bit_width; k++, bit++) value |= (uint32_t)(bytes[bit / 8] >> bit % 8 & 1) << k;
                out[count++] = value;
            }
            at = end_bit / 8;
            if (at > byte_count) at = byte_count;
        } else {
            for (uint32_t k = 0; k < (bit_width + 7) / 8; k++) {
                if (at == byte_count) return *code = EIO, count;
                value |= (uint32_t)bytes[at++] << 8 * k;
            }
            if (value > mask_of(bit_width)) return *code = EIO, count;
            for (uint64_t i = 0; i < header >> 1 && count < most; i++) out[count++] = value;
        }
    }
    return count;
}

/* Decodes count values into memory of exactly their size. */
static int decode_exact(struct fb__runs *runs, uint32_t *out, uint32_t count)
{
    uint32_t *room = malloc(count > 0 ? count * sizeof *room : 1);
    CHECK(room);
    int code = fb__runs_decode(runs, room, count, NULL);
    if (code == 0) memcpy(out, room, count * sizeof *room);
    free(room);
    return code;
}

#define EACH_WIDTH(bit_width) for (uint32_t bit_width = 0; bit_width <= 32; bit_width++)

static void any_mix_of_runs_decodes_to_its_values_in_calls_of_any_size(void)
{
    static uint32_t out[VALUE_LIMIT], model[VALUE_LIMIT];
    EACH_WIDTH(bit_width)
    {
        for (uint32_t round = 0; round < 40; round++) {
            struct stream *stream = random_stream(bit_width, random_below(round % 4 ? 300 : 3000));
            uint8_t *bytes = exact(stream->bytes, stream->byte_count);
            int code = 0;
            CHECK_EQUAL(model_decode(bytes, stream->byte_count, bit_width, model, stream->value_count, &code),
                        stream->value_count);
            CHECK(memcmp(model, stream->values, stream->value_count * sizeof *model) == 0);
            struct fb__runs runs;
            CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, bit_width, NULL), 0);
            for (uint32_t done = 0, now; done < stream->value_count; done += now) {
                now = random_below(round % 2 ? 20 : 2000);
                if (now > stream->value_count - done) now = stream->value_count - done;
                CHECK_EQUAL(decode_exact(&runs, out + done, now), 0);
            }
            CHECK(memcmp(out, stream->values, stream->value_count * sizeof *out) == 0);
            CHECK_EQUAL(fb__runs_decode(&runs, out, 0, NULL), 0);
            CHECK_EQUAL(fb__runs_decode(&runs, out, 1, NULL), EIO);
            free(bytes);
            free(stream);
        }
    }
}

static void a_stream_cut_at_any_byte_gives_what_is_whole_and_then_an_error(void)
{
    static uint32_t out[VALUE_LIMIT], model[VALUE_LIMIT];
    EACH_WIDTH(bit_width)
    {
        struct stream *stream = random_stream(bit_width, 200);
        for (uint32_t count = 0; count < stream->byte_count; count++) {
            uint8_t *bytes = exact(stream->bytes, count);
            int code = 0;
            uint32_t whole = model_decode(bytes, count, bit_width, model, VALUE_LIMIT, &code);
            CHECK_EQUAL(code, EIO);
            struct fb__runs runs;
            struct fb_error error = {0};
            CHECK_EQUAL(fb__runs_init(&runs, bytes, count, bit_width, NULL), 0);
            CHECK_EQUAL(decode_exact(&runs, out, whole), 0);
            CHECK(memcmp(out, stream->values, whole * sizeof *out) == 0);
            CHECK_EQUAL(fb__runs_decode(&runs, out, 1, &error), EIO);
            CHECK_CONTAINS(error.message, "ends before");
            CHECK_EQUAL(fb__runs_init(&runs, bytes, count, bit_width, NULL), 0);
            CHECK_EQUAL(decode_exact(&runs, out, whole + 1), EIO);
            free(bytes);
        }
        free(stream);
    }
}

static void empty_runs_take_no_values_and_end(void)
{
    struct fb__runs runs;
    uint32_t out[2] = {0};
    EACH_WIDTH(bit_width)
    {
        uint32_t run_bytes = 1 + (bit_width + 7) / 8, count = 100000 * run_bytes;
        uint8_t *zeros = calloc(count, 1);
        CHECK(zeros);
        for (uint8_t header = 0; header < 2; header++) {
            for (uint32_t at = 0; at < count; at += header ? 1 : run_bytes) zeros[at] = header;
            CHECK_EQUAL(fb__runs_init(&runs, zeros, count, bit_width, NULL), 0);
            CHECK_EQUAL(fb__runs_decode(&runs, out, 1, NULL), EIO);
        }
        free(zeros);
    }
    static const uint8_t late[] = {0, 7, 1, 0, 7, 1, 4, 9, 0, 7};
    CHECK_EQUAL(fb__runs_init(&runs, late, sizeof late, 5, NULL), 0);
    CHECK_EQUAL(fb__runs_decode(&runs, out, 2, NULL), 0);
    CHECK_EQUAL(out[0], 9);
    CHECK_EQUAL(out[1], 9);
    CHECK_EQUAL(fb__runs_decode(&runs, out, 1, NULL), EIO);
}

static int decode_text(const char *text, uint32_t count, uint32_t bit_width, struct fb_error *error)
{
    struct fb__runs runs;
    uint32_t out[1];
    uint8_t *bytes = exact(text, count);
    CHECK_EQUAL(fb__runs_init(&runs, bytes, count, bit_width, error), 0);
    int code = fb__runs_decode(&runs, out, 1, error);
    free(bytes);
    return code;
}

static void malformed_runs_are_errors(void)
{
    struct fb__runs runs;
    struct fb_error error = {0};
    CHECK_EQUAL(fb__runs_init(&runs, NULL, 0, 33, &error), EIO);
    CHECK_CONTAINS(error.message, "33");
    CHECK_EQUAL(fb__runs_init(&runs, NULL, 0, 32, NULL), 0);
    CHECK_EQUAL(fb__runs_decode(&runs, NULL, 0, NULL), 0);
    CHECK_EQUAL(decode_text("\x80\x80\x80\x80\x80\x01\x01", 7, 1, &error), EIO);
    CHECK_CONTAINS(error.message, "beyond 32 bits");
    CHECK_EQUAL(decode_text("\xFE\xFF\xFF\xFF\x1F\x01", 6, 1, &error), EIO);
    CHECK_CONTAINS(error.message, "beyond 32 bits");
    CHECK_EQUAL(decode_text("\xFE\xFF\xFF\xFF\x0F\x01", 6, 1, NULL), 0);
    CHECK_EQUAL(decode_text("\xFF\xFF\xFF\xFF\x0F\x01", 6, 1, NULL), 0);
    CHECK_EQUAL(decode_text("\x02\x02", 2, 1, &error), EIO);
    CHECK_CONTAINS(error.message, "a level or index of 2 in 1 bits");
    CHECK_EQUAL(decode_text("\x02\x00\x02", 3, 9, &error), EIO);
    CHECK_EQUAL(decode_text("\x02\xFF\x01", 3, 9, &error), 0);
    CHECK_EQUAL(decode_text("\x02\xFF\xFF\xFF\xFF", 5, 32, &error), 0);
    CHECK_EQUAL(decode_text("\x02\xFF\xFF\xFF", 4, 32, &error), EIO);
}

static void equal_values_are_counted_across_runs(void)
{
    EACH_WIDTH(bit_width)
    {
        for (uint32_t round = 0; round < 60; round++) {
            struct stream *stream = random_stream(bit_width, random_below(round % 4 ? 300 : 3000));
            uint8_t *bytes = exact(stream->bytes, stream->byte_count);
            struct fb__runs runs;
            CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, bit_width, NULL), 0);
            for (uint32_t at = 0; at < stream->value_count;) {
                uint32_t most = random_below(random_below(2) ? 16 : 1000);
                uint32_t value = random_below(3) ? stream->values[at] : (uint32_t)random_next();
                uint32_t expected = 0;
                while (expected < most && at + expected < stream->value_count &&
                       stream->values[at + expected] == value) {
                    expected++;
                }
                bool is_end = expected < most && at + expected == stream->value_count;
                uint64_t count = UINT64_MAX;
                CHECK_EQUAL(fb__runs_skip_equal(&runs, value, most, &count, NULL), is_end ? EIO : 0);
                if (is_end) break;
                CHECK_EQUAL(count, expected);
                at += expected;
                uint32_t next = 0;
                if (at < stream->value_count && random_below(2)) {
                    CHECK_EQUAL(fb__runs_decode(&runs, &next, 1, NULL), 0);
                    CHECK_EQUAL(next, stream->values[at++]);
                }
            }
            free(bytes);
            free(stream);
        }
    }
}

/* ---- lists ---- */

static struct stream *list_stream(const uint32_t *levels, uint32_t count)
{
    struct stream *stream = calloc(1, sizeof *stream);
    CHECK(stream);
    stream->bit_width = 1;
    put_runs(stream, levels, count);
    return stream;
}

static void lists_of_one_size_match_in_calls_of_any_size(void)
{
    static uint32_t levels[VALUE_LIMIT];
    for (uint32_t round = 0; round < 4000; round++) {
        uint32_t size = 1 + random_below(round % 3 ? 9 : 300);
        uint32_t rows = random_below(3000 / size + 1);
        for (uint32_t i = 0; i < rows * size; i++) levels[i] = i % size != 0;
        struct stream *stream = list_stream(levels, rows * size);
        uint8_t *bytes = exact(stream->bytes, stream->byte_count);
        struct fb__runs runs;
        CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, 1, NULL), 0);
        for (uint32_t done = 0, now; done < rows; done += now) {
            now = random_below(random_below(2) ? 5 : 2000);
            if (now > rows - done) now = rows - done;
            bool is_regular = false;
            CHECK_EQUAL(fb__runs_match_lists(&runs, size, now, &is_regular, NULL), 0);
            CHECK(is_regular);
        }
        uint32_t behind[8]; /* exactly the rows were consumed: only padding is left */
        CHECK_EQUAL(decode_exact(&runs, behind, stream->value_count - rows * size), 0);
        CHECK_EQUAL(fb__runs_decode(&runs, behind, 1, NULL), EIO);
        free(bytes);
        free(stream);
    }
}

static void one_level_that_differs_is_seen_wherever_it_is(void)
{
    static uint32_t levels[VALUE_LIMIT];
    for (uint32_t round = 0; round < 6000; round++) {
        uint32_t size = 1 + random_below(round % 3 ? 9 : 200);
        uint32_t rows = 1 + random_below(1000 / size + 1);
        for (uint32_t i = 0; i < rows * size; i++) levels[i] = i % size != 0;
        levels[random_below(rows * size)] ^= 1;
        struct stream *stream = list_stream(levels, rows * size);
        uint8_t *bytes = exact(stream->bytes, stream->byte_count);
        struct fb__runs runs;
        CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, 1, NULL), 0);
        bool is_regular = true;
        CHECK_EQUAL(fb__runs_match_lists(&runs, size, rows, &is_regular, NULL), 0);
        CHECK(!is_regular);
        free(bytes);
        free(stream);
    }
}

static void lists_that_are_cut_are_an_error(void)
{
    static uint32_t levels[VALUE_LIMIT];
    static uint32_t model[VALUE_LIMIT];
    for (uint32_t size = 1; size < 130; size += 1 + size / 4) {
        uint32_t rows = 400 / size + 1;
        for (uint32_t i = 0; i < rows * size; i++) levels[i] = i % size != 0;
        struct stream *stream = list_stream(levels, rows * size);
        for (uint32_t count = 0; count <= stream->byte_count; count++) {
            uint8_t *bytes = exact(stream->bytes, count);
            int code = 0;
            uint32_t whole = model_decode(bytes, count, 1, model, rows * size, &code);
            struct fb__runs runs;
            bool is_regular = false;
            CHECK_EQUAL(fb__runs_init(&runs, bytes, count, 1, NULL), 0);
            code = fb__runs_match_lists(&runs, size, rows, &is_regular, NULL);
            CHECK_EQUAL(code, whole < rows * size ? EIO : 0);
            CHECK(is_regular);
            free(bytes);
        }
        free(stream);
    }
    struct fb__runs runs;
    bool is_regular;
    CHECK_EQUAL(fb__runs_init(&runs, NULL, 0, 1, NULL), 0);
    CHECK_EQUAL(fb__runs_match_lists(&runs, UINT64_C(1) << 40, UINT64_C(1) << 40, &is_regular, NULL), EIO);
    CHECK_EQUAL(fb__runs_match_lists(&runs, UINT64_C(1) << 40, 0, &is_regular, NULL), 0);
    CHECK(is_regular);
}

/* ---- dictionaries ---- */

static const uint32_t element_sizes[] = {1, 2, 3, 4, 8, 12, 16};
#define ELEMENT_SIZE_COUNT (sizeof element_sizes / sizeof *element_sizes)

static void indexes_become_entries(void)
{
    for (uint32_t round = 0; round < 3000; round++) {
        uint32_t bit_width = random_below(14), size = element_sizes[random_below(ELEMENT_SIZE_COUNT)];
        struct stream *stream = random_stream(bit_width, random_below(round % 4 ? 300 : 5000));
        uint32_t entry_count = 1 + mask_of(bit_width); /* all that an index could be, or just as many as are used */
        if (random_below(2)) {
            entry_count = 1;
            for (uint32_t i = 0; i < stream->value_count; i++) {
                if (stream->values[i] >= entry_count) entry_count = stream->values[i] + 1;
            }
        }
        uint8_t *dictionary = malloc(entry_count * size), *bytes = exact(stream->bytes, stream->byte_count);
        CHECK(dictionary);
        for (uint32_t i = 0; i < entry_count * size; i++) dictionary[i] = (uint8_t)random_next();
        struct fb__runs runs;
        CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, bit_width, NULL), 0);
        for (uint32_t done = 0, now; done < stream->value_count; done += now) {
            now = random_below(random_below(2) ? 20 : 4000);
            if (now > stream->value_count - done) now = stream->value_count - done;
            uint8_t *out = malloc(now > 0 ? now * size : 1);
            CHECK(out);
            CHECK_EQUAL(fb__runs_gather(&runs, dictionary, entry_count, size, out, now, NULL), 0);
            for (uint32_t i = 0; i < now; i++) {
                CHECK(memcmp(out + i * size, dictionary + stream->values[done + i] * size, size) == 0);
            }
            free(out);
        }
        uint8_t element[16];
        CHECK_EQUAL(fb__runs_gather(&runs, dictionary, entry_count, size, element, 0, NULL), 0);
        CHECK_EQUAL(fb__runs_gather(&runs, dictionary, entry_count, size, element, 1, NULL), EIO);
        free(dictionary);
        free(bytes);
        free(stream);
    }
}

/* Gathers indexes from a dictionary of bytes, of exactly entry_count. */
static int gather_bytes(const struct stream *stream, uint32_t entry_count, struct fb_error *error)
{
    uint8_t *dictionary = calloc(entry_count + 1u, 1), *out = malloc(stream->value_count);
    uint8_t *bytes = exact(stream->bytes, stream->byte_count);
    CHECK(dictionary && out);
    uint8_t *entries = exact(dictionary, entry_count);
    struct fb__runs runs;
    CHECK_EQUAL(fb__runs_init(&runs, bytes, stream->byte_count, stream->bit_width, NULL), 0);
    int code = fb__runs_gather(&runs, entries, entry_count, 1, out, stream->value_count, error);
    free(entries);
    free(bytes);
    free(dictionary);
    free(out);
    return code;
}

static void an_index_beyond_the_dictionary_is_an_error_wherever_it_is(void)
{
    static struct stream stream;
    static uint32_t values[VALUE_LIMIT];
    for (uint32_t round = 0; round < 4000; round++) {
        uint32_t bit_width = 1 + random_below(32);
        uint32_t most = mask_of(bit_width) < 500 ? mask_of(bit_width) : 500;
        uint32_t entry_count = 1 + random_below(most); /* so that entry_count fits in bit_width bits */
        uint32_t count = 8 * (1 + random_below(400)), wrong = random_below(count);
        for (uint32_t i = 0; i < count; i++) values[i] = random_below(entry_count);
        values[wrong] = random_below(2)   ? entry_count
                        : random_below(2) ? mask_of(bit_width)
                                          : entry_count + random_below((uint64_t)mask_of(bit_width) - entry_count + 1);
        stream = (struct stream){.bit_width = bit_width};
        if (random_below(2)) {
            put_packed(&stream, values, count / 8);
        } else {
            put_repeated(&stream, values[wrong], count);
        }
        struct fb_error error = {0};
        char expected[64];
        snprintf(expected, sizeof expected, "an index of %u into a dictionary of %u", values[wrong], entry_count);
        CHECK_EQUAL(gather_bytes(&stream, entry_count, &error), EIO);
        CHECK_TEXT(error.message, expected);
        CHECK_EQUAL(gather_bytes(&stream, 0, &error), EIO);
    }
}

/* ---- anything ---- */

static void any_bytes_are_decoded_as_the_model_does_within_their_end(void)
{
    static uint32_t model[512];
    uint32_t failures = 0;
    for (uint32_t round = 0; round < 1000000; round++) {
        uint8_t random_bytes[48], out[512 * 2];
        uint32_t byte_count = random_below(sizeof random_bytes + 1), bit_width = random_below(33);
        uint8_t header_mask = random_below(2) ? 0xFF : 0x0F;
        for (uint32_t i = 0; i < byte_count; i++) random_bytes[i] = (uint8_t)(random_next() & header_mask);
        uint8_t *bytes = exact(random_bytes, byte_count);
        uint32_t most = 1 + random_below(random_below(2) ? 8 : 512);
        int code = 0;
        uint32_t whole = model_decode(bytes, byte_count, bit_width, model, most, &code);
        failures += code != 0;
        struct fb__runs runs;
        CHECK_EQUAL(fb__runs_init(&runs, bytes, byte_count, bit_width, NULL), 0);
        if (round % 3 == 0) {
            uint32_t values[512];
            CHECK_EQUAL(fb__runs_decode(&runs, values, most, NULL), code);
            if (code == 0) CHECK(memcmp(values, model, most * sizeof *values) == 0);
        } else if (round % 3 == 1) {
            uint32_t value = whole > 0 ? model[0] : 0, equal = 0;
            while (equal < whole && model[equal] == value) equal++;
            uint64_t count = 0;
            int skip_code = fb__runs_skip_equal(&runs, value, most, &count, NULL);
            CHECK_EQUAL(skip_code, equal == whole ? code : 0);
            if (skip_code == 0) CHECK_EQUAL(count, equal);
        } else {
            static const uint8_t dictionary[2 * 64] = {1, 2, 3};
            uint32_t fine = 0;
            while (fine < whole && model[fine] < 64) fine++;
            CHECK_EQUAL(fb__runs_gather(&runs, dictionary, 64, 2, out, most, NULL), fine < whole ? EIO : code);
        }
        if (bit_width == 1) {
            uint32_t size = 1 + random_below(4), rows = most / size, fine = 0;
            while (fine < whole && fine < rows * size && model[fine] == (fine % size != 0)) fine++;
            bool is_regular = false;
            CHECK_EQUAL(fb__runs_init(&runs, bytes, byte_count, bit_width, NULL), 0);
            int list_code = fb__runs_match_lists(&runs, size, rows, &is_regular, NULL);
            CHECK_EQUAL(list_code, fine == whole && fine < rows * size ? EIO : 0);
            if (list_code == 0) CHECK_EQUAL(is_regular, fine == rows * size);
        }
        free(bytes);
    }
    CHECK(failures > 100000 && failures < 950000); /* both ways are met often */
}

int main(void)
{
    RUN(any_mix_of_runs_decodes_to_its_values_in_calls_of_any_size);
    RUN(a_stream_cut_at_any_byte_gives_what_is_whole_and_then_an_error);
    RUN(empty_runs_take_no_values_and_end);
    RUN(malformed_runs_are_errors);
    RUN(equal_values_are_counted_across_runs);
    RUN(lists_of_one_size_match_in_calls_of_any_size);
    RUN(one_level_that_differs_is_seen_wherever_it_is);
    RUN(lists_that_are_cut_are_an_error);
    RUN(indexes_become_entries);
    RUN(an_index_beyond_the_dictionary_is_an_error_wherever_it_is);
    RUN(any_bytes_are_decoded_as_the_model_does_within_their_end);
    return 0;
}
