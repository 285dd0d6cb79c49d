/*
 * Tests of the export of batches: the schema and arrays that come out, every order of releasing their parts, on several
 * threads, and that the memory goes back once the last part is gone.
 */
#include "nested_bench.h"

#define PARTS_MOST 64

static const char *const types[] = {"+s(a=i;b=+l(item=u))", "+m(entries=+s(key=u;value=+l(item=d:5,1)))",
                                    "+w:2(item=i[u])",      "i[u]",
                                    "+s(a=c[u];b=+s(c=b))", "n"};
#define TYPE_COUNT (sizeof types / sizeof *types)

static void begin(struct bench *bench, const char *type, uint64_t rows)
{
    struct maker maker = {.dice = {1}, .null_percent = 20, .most_offset = 3, .most_elements = 4};
    bench_begin(bench, type, (struct fb_loader_options){.batch_rows = 100, .storage = FB_STORAGE_ARROW}, 0);
    bench_take(bench, rows);
    bench_make_runs(bench, &maker, rows);
    bench_fill(bench, 3);
    bench_finish(bench);
    fb__pool_deliver(bench->batch);
    bench_drop_runs(bench);
}

/* ---- arrays ---------------------------------------------------------------------------------------------------- */

/* Moves every part out of an array, children first, as the interface allows: the copy is released in its place. */
static uint64_t move_parts(struct ArrowArray *array, struct ArrowArray *parts)
{
    uint64_t count = 0;
    for (int64_t i = 0; i < array->n_children; i++) count += move_parts(array->children[i], parts + count);
    if (array->dictionary != NULL) count += move_parts(array->dictionary, parts + count);
    CHECK(count < PARTS_MOST);
    parts[count] = *array;
    array->release = NULL;
    return count + 1;
}

static void release_part(struct ArrowArray *part)
{
    part->release(part);
    CHECK(part->release == NULL);
}

static void parts_may_be_released_in_any_order(void)
{
    static struct bench bench;
    for (uint64_t round = 0; round < 20 * TYPE_COUNT; round++) {
        begin(&bench, types[round / 20], 50);
        struct fb__pool *pool = bench.pool;
        struct ArrowArray array, parts[PARTS_MOST];
        fb_batch_export(bench.batch, &array);
        uint64_t count = move_parts(&array, parts);
        CHECK_EQUAL(bench.batch->part_count, count);
        struct dice dice = {round};
        for (uint64_t left = count; left > 0; left--) {
            CHECK_EQUAL(pool->held_batches, 1);
            CHECK(fb__ledger_account_bytes(pool->ledger, FB_ACCOUNT_HELD) > 0);
            uint64_t i = dice_below(&dice, left);
            release_part(&parts[i]);
            parts[i] = parts[left - 1];
        }
        CHECK_EQUAL(pool->held_batches, 0);
        CHECK_EQUAL(fb__ledger_account_bytes(pool->ledger, FB_ACCOUNT_HELD), 0);
        /* Warm again, and as good as new. */
        struct fb_batch *again;
        CHECK_EQUAL(fb__pool_take(pool, 1, 50, 0, &again, NULL), 0);
        CHECK(again == bench.batch);
        fb__pool_return(again);
        bench_end(&bench);
    }
}

static void an_array_releases_the_children_that_were_not_moved(void)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        static struct bench bench;
        begin(&bench, types[i], 50);
        struct ArrowArray array;
        fb_batch_export(bench.batch, &array);
        CHECK_EQUAL(array.n_children, 1);
        CHECK_EQUAL(array.length, 50);
        struct ArrowArray column = *array.children[0];
        array.children[0]->release = NULL;
        release_part(&array);
        CHECK_EQUAL(bench.pool->held_batches, 1);
        /* What is below the column is there as long as it is. */
        for (int64_t j = 0; j < column.n_children; j++) CHECK(column.children[j]->release != NULL);
        release_part(&column);
        CHECK_EQUAL(bench.pool->held_batches, 0);
        bench_end(&bench);
    }
}

static void arrays_outlive_the_pool(void)
{
    static struct bench bench;
    begin(&bench, types[0], 50);
    struct ArrowArray array;
    fb_batch_export(bench.batch, &array);
    fb__pool_close(bench.pool);
    bench_end(&bench);
    CHECK(array.children[0]->length == 50);
    release_part(&array);
}

static void *release_some(void *argument)
{
    struct ArrowArray *parts = argument;
    for (; parts->private_data != NULL; parts += 2)
        if (parts->release != NULL) release_part(parts);
    return NULL;
}

/* Parts at even places on one thread, at odd ones on another. */
static void threads_release_parts_side_by_side(void)
{
    for (int round = 0; round < 200; round++) {
        static struct bench bench;
        begin(&bench, types[round % (int)TYPE_COUNT], 20);
        struct ArrowArray array, parts[PARTS_MOST + 2] = {0};
        fb_batch_export(bench.batch, &array);
        uint64_t count = move_parts(&array, parts);
        CHECK(count + 2 <= PARTS_MOST);
        pthread_t thread;
        CHECK_EQUAL(pthread_create(&thread, NULL, release_some, &parts[1]), 0);
        release_some(&parts[0]);
        CHECK_EQUAL(pthread_join(thread, NULL), 0);
        CHECK_EQUAL(bench.pool->held_batches, 0);
        bench_end(&bench);
    }
}

static void buffers_are_the_batch_s_own(void)
{
    static struct bench bench;
    begin(&bench, "+s(a=i;b=u)", 50);
    struct ArrowArray array;
    const uint8_t *fixed = bench.batch->fixed;
    uint64_t fixed_bytes = bench.batch->fixed_bytes;
    uint64_t allocations = fb__ledger_gate(bench.pool->ledger)->allocation_count;
    fb_batch_export(bench.batch, &array);
    CHECK_EQUAL(fb__ledger_gate(bench.pool->ledger)->allocation_count, allocations);
    const struct ArrowArray *numbers = array.children[0]->children[0], *texts = array.children[0]->children[1];
    CHECK_EQUAL(numbers->n_buffers, 2);
    CHECK((const uint8_t *)numbers->buffers[1] >= fixed && (const uint8_t *)numbers->buffers[1] < fixed + fixed_bytes);
    CHECK_EQUAL(texts->n_buffers, 3);
    CHECK(texts->buffers[2] != NULL);
    for (int i = 0; i < 2; i++) CHECK_EQUAL((uintptr_t)numbers->buffers[1] % 64, 0);
    release_part(&array);
    bench_end(&bench);
}

static void no_nulls_are_no_bitmap_and_no_bytes_a_buffer(void)
{
    static struct bench bench;
    struct maker maker = {.dice = {1}};
    bench_begin(&bench, "+l(item=u)", (struct fb_loader_options){.batch_rows = 9, .storage = FB_STORAGE_ARROW}, 0);
    bench_take(&bench, 9);
    bench_make_runs(&bench, &maker, 9);
    bench_fill(&bench, 1);
    bench_finish(&bench);
    fb__pool_deliver(bench.batch);
    struct ArrowArray array;
    fb_batch_export(bench.batch, &array);
    const struct ArrowArray *list = array.children[0], *texts = list->children[0];
    CHECK(list->buffers[0] == NULL && list->null_count == 0);
    CHECK_EQUAL(texts->length, 0);
    for (int i = 1; i < 3; i++) CHECK(texts->buffers[i] != NULL);
    CHECK_EQUAL(maker_load(texts->buffers[1], 4, 0), 0);
    release_part(&array);
    bench_drop_runs(&bench);
    bench_end(&bench);
}

static void a_batch_without_columns_has_its_rows(void)
{
    struct ArrowSchema schema = fixture_schema("+s", "");
    const struct fb_loader_options options = {
        .batch_rows = 7, .memory_limit_bytes = BENCH_LIMIT_BYTES, .storage = FB_STORAGE_ARROW};
    struct fb__pool *pool;
    struct fb_batch *batch;
    CHECK_EQUAL(fb__pool_create(&schema, NULL, &options, &pool, NULL), 0);
    CHECK_EQUAL(fb__pool_take(pool, 0, 7, 0, &batch, NULL), 0);
    CHECK_EQUAL(fb__batch_finish(batch, NULL), 0);
    fb__pool_deliver(batch);
    struct ArrowArray array;
    fb_batch_export(batch, &array);
    CHECK_EQUAL(array.length, 7);
    CHECK_EQUAL(array.n_children, 0);
    CHECK_EQUAL(array.n_buffers, 1);
    release_part(&array);
    CHECK_EQUAL(pool->held_batches, 0);
    fb__pool_release(pool);
    schema.release(&schema);
}

/* ---- schemas --------------------------------------------------------------------------------------------------- */

static void write_schema(const struct ArrowSchema *schema, struct reference_text *text)
{
    reference_add(text, schema->name);
    reference_add(text, schema->flags & ARROW_FLAG_NULLABLE ? "=" : "!");
    reference_add(text, schema->format);
    for (int64_t i = 0; i < schema->n_children; i++) {
        reference_add(text, i == 0 ? "(" : ";");
        write_schema(schema->children[i], text);
    }
    if (schema->n_children > 0) reference_add(text, ")");
    if (schema->dictionary == NULL) return;
    reference_add(text, "[");
    write_schema(schema->dictionary, text);
    reference_add(text, "]");
}

static int export_schema(const struct bench *bench, struct ArrowSchema *out)
{
    struct fb_source source = {.schema = bench->schema};
    struct fb_loader loader = {.pool = bench->pool, .source = &source};
    struct fb_error error;
    return fb_loader_export_schema(&loader, out, &error);
}

static void the_schema_says_what_is_stored(void)
{
    static const char *const cases[][2] = {
        {"i", "x=i"},
        {"b", "x=b"},
        {"tdD", "x=tdD"},
        {"tsu:UTC", "x=tsu:UTC"},
        {"d:7,2,32", "x=d:7,2,32"},
        {"n", "x=n"},
        {"vu", "x=u"},
        {"vz", "x=z"},
        {"+vl(item=vu)", "x=+l(item=u)"},
        {"+vL(element=i)", "x=+L(element=i)"},
        {"+w:2(item=+w:3(item=s))", "x=+w:2(item=+w:3(item=s))"},
        {"+m(entries=+s(key=u;value=tdD))", "x=+m(entries=+s(key=u;value=tdD))"},
        {"+s()", "x=+s"},
        {"+r(run_ends=i;values=l)", "x=l"},
        {"C[vu]", "x=i[=u]"},
        {"i[s[u]]", "x=i[=u]"},
        {"i[+l(item=i)]", "x=+l(item=i)"},
        {"+s(a=c[u];b=+r(run_ends=i;values=+l(item=u)))", "x=+s(a=u;b=+l(item=u))"},
    };
    struct reference_text text = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct bench bench;
        struct ArrowSchema schema;
        bench_begin(&bench, cases[i][0], (struct fb_loader_options){.batch_rows = 9, .storage = FB_STORAGE_ARROW}, 0);
        CHECK_EQUAL(export_schema(&bench, &schema), 0);
        /* It is no part of the loader. */
        bench_end(&bench);
        CHECK_TEXT(schema.format, "+s");
        CHECK_EQUAL(schema.n_children, 1);
        reference_clear(&text);
        write_schema(schema.children[0], &text);
        CHECK_TEXT(text.bytes, cases[i][1]);
        schema.release(&schema);
        CHECK(schema.release == NULL);
    }
    free(text.bytes);
}

static void flags_are_the_source_s(void)
{
    struct bench bench = {.type = "flags"};
    bench.schema = fixture_schema("+s", "");
    struct ArrowSchema column = maker_schema("+m(entries=+s(key=u;value=i))", "sorted");
    column.flags = ARROW_FLAG_MAP_KEYS_SORTED;
    fixture_add_field(&bench.schema, column);
    column = maker_schema("i[u]", "ordered");
    column.flags = ARROW_FLAG_NULLABLE | ARROW_FLAG_DICTIONARY_ORDERED;
    fixture_add_field(&bench.schema, column);
    const struct fb_loader_options options = {
        .batch_rows = 7, .memory_limit_bytes = BENCH_LIMIT_BYTES, .storage = FB_STORAGE_ARROW};
    CHECK_EQUAL(fb__pool_create(&bench.schema, NULL, &options, &bench.pool, NULL), 0);
    struct ArrowSchema schema;
    CHECK_EQUAL(export_schema(&bench, &schema), 0);
    CHECK_EQUAL(schema.children[0]->flags, ARROW_FLAG_MAP_KEYS_SORTED);
    /* Values are in the order in which they appear. */
    CHECK_EQUAL(schema.children[1]->flags, ARROW_FLAG_NULLABLE);
    schema.release(&schema);
    bench_end(&bench);
}

static void parts_of_a_schema_may_be_moved_out(void)
{
    static struct bench bench;
    bench_begin(&bench, types[0], (struct fb_loader_options){.batch_rows = 9, .storage = FB_STORAGE_ARROW}, 0);
    struct ArrowSchema schema;
    CHECK_EQUAL(export_schema(&bench, &schema), 0);
    bench_end(&bench);
    struct ArrowSchema column = *schema.children[0];
    schema.children[0]->release = NULL;
    schema.release(&schema);
    struct ArrowSchema field = *column.children[1];
    column.children[1]->release = NULL;
    column.release(&column);
    CHECK_TEXT(field.name, "b");
    CHECK_TEXT(field.children[0]->format, "u");
    field.release(&field);
    CHECK(field.release == NULL);
}

int main(void)
{
    RUN(parts_may_be_released_in_any_order);
    RUN(an_array_releases_the_children_that_were_not_moved);
    RUN(arrays_outlive_the_pool);
    RUN(threads_release_parts_side_by_side);
    RUN(buffers_are_the_batch_s_own);
    RUN(no_nulls_are_no_bitmap_and_no_bytes_a_buffer);
    RUN(a_batch_without_columns_has_its_rows);
    RUN(the_schema_says_what_is_stored);
    RUN(flags_are_the_source_s);
    RUN(parts_of_a_schema_may_be_moved_out);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
