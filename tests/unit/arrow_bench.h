/* A layout of five columns, and a good block of it, for the tests of src/data/arrow. */
#ifndef FB_TESTS_ARROW_BENCH_H
#define FB_TESTS_ARROW_BENCH_H

#include "arrow_fixtures.h"
#include "data/arrow.h"

enum { COUNT, FLAG, VECTOR, TEXT, BLOB, COLUMN_COUNT }; /* int32, bool, list of 3 float, string, large binary */

static inline struct ArrowSchema make_schema(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    fixture_add_field(&schema, fixture_schema("i", "count"));
    fixture_add_field(&schema, fixture_schema("b", "flag"));
    fixture_add_field(&schema, fixture_list_schema("f", 3, "vector"));
    fixture_add_field(&schema, fixture_schema("u", "text"));
    fixture_add_field(&schema, fixture_schema("Z", "blob"));
    return schema;
}

struct bench {
    struct fixture_book book;
    struct fb__gate gate;
    struct fb__layout layout;
};

static inline void make_bench(struct bench *bench)
{
    struct ArrowSchema schema = make_schema();
    fixture_gate_init(&bench->gate, &bench->book, UINT64_C(1) << 30);
    struct fb_loader_options options = {.batch_rows = 8};
    CHECK_EQUAL(fb__layout_init(&bench->layout, &bench->gate, &schema, NULL, &options, NULL), 0);
    schema.release(&schema);
}

static inline void drop_bench(struct bench *bench)
{
    fb__layout_destroy(&bench->layout);
    CHECK_EQUAL(bench->book.bytes, 0);
}

#define ROWS 10
#define CHILD_OFFSET 3 /* every array has 3 slots before its first row */

static inline struct ArrowArray plain_array(size_t slots, size_t bytes)
{
    struct ArrowArray array = fixture_array((int64_t)slots - CHILD_OFFSET, CHILD_OFFSET, 0, 2);
    memset(fixture_add_buffer(&array, 1, bytes, 0), 0, bytes);
    return array;
}

static inline struct ArrowArray string_array(size_t slots, size_t width)
{
    struct ArrowArray array = fixture_array((int64_t)slots - CHILD_OFFSET, CHILD_OFFSET, 0, 3);
    uint8_t *offsets = fixture_add_buffer(&array, 1, (slots + 1) * width, 0);
    for (uint64_t i = 0; i <= slots; i++) {
        uint64_t offset = 2 * i;
        memcpy(offsets + i * width, &offset, width); /* little-endian */
    }
    memset(fixture_add_buffer(&array, 2, 2 * slots, 0), 'x', 2 * slots);
    return array;
}

/* A good block of ROWS rows at offset 2 of its children. */
static inline struct ArrowArray make_block(void)
{
    const size_t slots = ROWS + 2 + CHILD_OFFSET;
    struct ArrowArray block = fixture_array(ROWS, 2, 0, 1);
    fixture_add_child(&block, plain_array(slots, slots * 4));
    fixture_add_child(&block, plain_array(slots, (slots + 7) / 8));
    struct ArrowArray vector = fixture_array(ROWS + 2, CHILD_OFFSET, 0, 1);
    fixture_add_child(&vector, plain_array(3 * slots + CHILD_OFFSET, (3 * slots + CHILD_OFFSET) * 4));
    fixture_add_child(&block, vector);
    fixture_add_child(&block, string_array(slots, 4));
    fixture_add_child(&block, string_array(slots, 8));
    return block;
}

#endif
