/*
 * Arrow schemas, arrays and streams made in C for the tests, with every release counted, and a book that counts bytes.
 * What a fixture owns is kept beside the Arrow struct, so that a test may spoil any field and still release it. Buffers
 * have exactly the size asked for: reading one byte too many is seen by the address sanitizer.
 */
#ifndef FB_TESTS_ARROW_FIXTURES_H
#define FB_TESTS_ARROW_FIXTURES_H

#include <errno.h>

#include "base/memory.h"
#include "check.h"

#define FIXTURE_CHILDREN_MAX 80
#define FIXTURE_BUFFERS_MAX 6

/* Arrow structs made and not yet released, and releases so far: of top-level structs and of children alike. */
static int64_t fixture_live;
static int64_t fixture_releases;

static inline void *fixture_allocate(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    CHECK(memory != NULL);
    return memory;
}

static inline char *fixture_text(const char *text)
{
    char *copy = fixture_allocate(strlen(text) + 1);
    memcpy(copy, text, strlen(text) + 1);
    return copy;
}

/* ---- random numbers: the seed of a failing run is printed by the test and can be given again ----------------- */

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    dice->state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mixed = dice->state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

/* 0 <= result < bound */
static inline uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    return dice_next(dice) % bound;
}

/* ---- schemas -------------------------------------------------------------------------------------------------- */

struct fixture_schema_parts {
    char *format;
    char *name;
    struct ArrowSchema children[FIXTURE_CHILDREN_MAX];
    struct ArrowSchema *pointers[FIXTURE_CHILDREN_MAX];
    int64_t child_count;
    struct ArrowSchema dictionary;
};

static inline void fixture_release_schema(struct ArrowSchema *schema)
{
    struct fixture_schema_parts *parts = schema->private_data;
    for (int64_t i = 0; i < parts->child_count; i++) {
        if (parts->children[i].release != NULL) parts->children[i].release(&parts->children[i]);
    }
    if (parts->dictionary.release != NULL) parts->dictionary.release(&parts->dictionary);
    free(parts->format);
    free(parts->name);
    free(parts);
    schema->release = NULL;
    fixture_live--;
    fixture_releases++;
}

/* A schema without children. name NULL: none. */
static inline struct ArrowSchema fixture_schema(const char *format, const char *name)
{
    struct fixture_schema_parts *parts = calloc(1, sizeof *parts);
    CHECK(parts != NULL);
    parts->format = fixture_text(format);
    parts->name = name != NULL ? fixture_text(name) : NULL;
    fixture_live++;
    return (struct ArrowSchema){.format = parts->format,
                                .name = parts->name,
                                .flags = ARROW_FLAG_NULLABLE,
                                .release = fixture_release_schema,
                                .private_data = parts};
}

/* Adds a child; child is moved. */
static inline void fixture_add_field(struct ArrowSchema *schema, struct ArrowSchema child)
{
    struct fixture_schema_parts *parts = schema->private_data;
    CHECK(parts->child_count < FIXTURE_CHILDREN_MAX);
    parts->children[parts->child_count] = child;
    parts->pointers[parts->child_count] = &parts->children[parts->child_count];
    schema->children = parts->pointers;
    schema->n_children = ++parts->child_count;
}

static inline void fixture_set_dictionary(struct ArrowSchema *schema, struct ArrowSchema dictionary)
{
    struct fixture_schema_parts *parts = schema->private_data;
    parts->dictionary = dictionary;
    schema->dictionary = &parts->dictionary;
}

/* A fixed-size list of list_size elements. */
static inline struct ArrowSchema fixture_list_schema(const char *item_format, uint64_t list_size, const char *name)
{
    char format[40];
    snprintf(format, sizeof format, "+w:%" PRIu64, list_size);
    struct ArrowSchema schema = fixture_schema(format, name);
    fixture_add_field(&schema, fixture_schema(item_format, "item"));
    return schema;
}

/* ---- arrays --------------------------------------------------------------------------------------------------- */

struct fixture_array_parts {
    void *owned[FIXTURE_BUFFERS_MAX]; /* what buffers were allocated as */
    const void *buffers[FIXTURE_BUFFERS_MAX];
    struct ArrowArray children[FIXTURE_CHILDREN_MAX];
    struct ArrowArray *pointers[FIXTURE_CHILDREN_MAX];
    int64_t child_count;
    struct ArrowArray dictionary;
};

static inline void fixture_release_array(struct ArrowArray *array)
{
    struct fixture_array_parts *parts = array->private_data;
    for (int64_t i = 0; i < parts->child_count; i++) {
        if (parts->children[i].release != NULL) parts->children[i].release(&parts->children[i]);
    }
    if (parts->dictionary.release != NULL) parts->dictionary.release(&parts->dictionary);
    for (int i = 0; i < FIXTURE_BUFFERS_MAX; i++) free(parts->owned[i]);
    free(parts);
    array->release = NULL;
    fixture_live--;
    fixture_releases++;
}

static inline struct ArrowArray fixture_array(int64_t length, int64_t offset, int64_t null_count, int64_t buffer_count)
{
    struct fixture_array_parts *parts = calloc(1, sizeof *parts);
    CHECK(parts != NULL && buffer_count <= FIXTURE_BUFFERS_MAX);
    fixture_live++;
    return (struct ArrowArray){.length = length,
                               .null_count = null_count,
                               .offset = offset,
                               .n_buffers = buffer_count,
                               .buffers = parts->buffers,
                               .release = fixture_release_array,
                               .private_data = parts};
}

/* Gives an array a buffer of exactly `bytes` bytes that begins `skew` bytes after an aligned address. */
static inline uint8_t *fixture_add_buffer(struct ArrowArray *array, int index, size_t bytes, size_t skew)
{
    struct fixture_array_parts *parts = array->private_data;
    CHECK(parts->owned[index] == NULL);
    uint8_t *memory = fixture_allocate(bytes + skew);
    parts->owned[index] = memory;
    parts->buffers[index] = memory + skew;
    return memory + skew;
}

/* Adds a child; child is moved. */
static inline void fixture_add_child(struct ArrowArray *array, struct ArrowArray child)
{
    struct fixture_array_parts *parts = array->private_data;
    CHECK(parts->child_count < FIXTURE_CHILDREN_MAX);
    parts->children[parts->child_count] = child;
    parts->pointers[parts->child_count] = &parts->children[parts->child_count];
    array->children = parts->pointers;
    array->n_children = ++parts->child_count;
}

static inline void fixture_set_values(struct ArrowArray *array, struct ArrowArray dictionary)
{
    struct fixture_array_parts *parts = array->private_data;
    parts->dictionary = dictionary;
    array->dictionary = &parts->dictionary;
}

/* ---- streams -------------------------------------------------------------------------------------------------- */

struct fixture_stream_parts {
    struct ArrowSchema schema;
    struct ArrowArray blocks[8];
    int block_count;
    int next;
    int code;         /* given by get_schema and, after the blocks, by get_next */
    const char *text; /* what get_last_error gives */
};

static inline int fixture_stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct fixture_stream_parts *parts = stream->private_data;
    if (parts->code != 0) return parts->code;
    *out = parts->schema;
    parts->schema.release = NULL;
    return 0;
}

static inline int fixture_stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct fixture_stream_parts *parts = stream->private_data;
    if (parts->next < parts->block_count) {
        *out = parts->blocks[parts->next];
        parts->blocks[parts->next++].release = NULL;
        return 0;
    }
    out->release = NULL;
    return parts->code;
}

static inline const char *fixture_stream_error(struct ArrowArrayStream *stream)
{
    struct fixture_stream_parts *parts = stream->private_data;
    return parts->text;
}

static inline void fixture_release_stream(struct ArrowArrayStream *stream)
{
    struct fixture_stream_parts *parts = stream->private_data;
    if (parts->schema.release != NULL) parts->schema.release(&parts->schema);
    for (int i = parts->next; i < parts->block_count; i++) {
        if (parts->blocks[i].release != NULL) parts->blocks[i].release(&parts->blocks[i]);
    }
    free(parts);
    stream->release = NULL;
    fixture_live--;
    fixture_releases++;
}

/* A stream of no blocks yet; schema is moved. code, text: see fixture_stream_parts. */
static inline struct ArrowArrayStream fixture_stream(struct ArrowSchema schema, int code, const char *text)
{
    struct fixture_stream_parts *parts = calloc(1, sizeof *parts);
    CHECK(parts != NULL);
    parts->schema = schema;
    parts->code = code;
    parts->text = text;
    fixture_live++;
    return (struct ArrowArrayStream){.get_schema = fixture_stream_schema,
                                     .get_next = fixture_stream_next,
                                     .get_last_error = fixture_stream_error,
                                     .release = fixture_release_stream,
                                     .private_data = parts};
}

/* Adds a block; it is moved. */
static inline void fixture_add_block(struct ArrowArrayStream *stream, struct ArrowArray block)
{
    struct fixture_stream_parts *parts = stream->private_data;
    CHECK(parts->block_count < 8);
    parts->blocks[parts->block_count++] = block;
}

/* ---- a book that only counts ---------------------------------------------------------------------------------- */

struct fixture_book {
    uint64_t bytes;
    uint64_t limit_bytes;
};

static inline int fixture_charge(void *context, enum fb_account account, uint64_t bytes, struct fb_error *error)
{
    struct fixture_book *book = context;
    CHECK_EQUAL(account, FB_ACCOUNT_CORE);
    if (bytes > book->limit_bytes - book->bytes)
        return fb__fail_bytes(error, book->bytes + bytes, book->limit_bytes, "over the limit");
    book->bytes += bytes;
    return 0;
}

static inline void fixture_credit(void *context, enum fb_account account, uint64_t bytes)
{
    struct fixture_book *book = context;
    CHECK_EQUAL(account, FB_ACCOUNT_CORE);
    CHECK(bytes <= book->bytes);
    book->bytes -= bytes;
}

static inline void fixture_no_grant(void *context, struct fb__grant *grant, uint64_t bytes)
{
    (void)context, (void)grant, (void)bytes;
    CHECK(!"no grant is used over this book");
}

static inline void fixture_gate_init(struct fb__gate *gate, struct fixture_book *book, uint64_t limit_bytes)
{
    *book = (struct fixture_book){.limit_bytes = limit_bytes};
    fb__gate_init(gate, &(struct fb__book){.context = book,
                                           .charge = fixture_charge,
                                           .credit = fixture_credit,
                                           .commit = fixture_no_grant,
                                           .uncommit = fixture_no_grant});
}

#endif
