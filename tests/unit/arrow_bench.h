/* A layout of five columns for the tests of src/data/arrow. */
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

#endif
