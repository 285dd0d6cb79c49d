/* Tests of src/data/layout: nodes, regions and pieces of nested types, options, and schemas that go on for ever. */
#include "arrow_maker.h"
#include "arrow_types.h"
#include "data/layout.h"
#include "data/text.h"

#define NO_LIMIT_BYTES (UINT64_C(1) << 40)

static struct fixture_book book;
static struct fb__gate gate;
static struct fb__layout layout;
static struct fb_error error;

static int make(const char *notation, struct fb_loader_options options)
{
    struct ArrowSchema schema = maker_column_schema(notation);
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    error.message[0] = '\0';
    if (options.batch_rows == 0) options.batch_rows = 10;
    int rc = fb__layout_init(&layout, &gate, &schema, NULL, &options, &error);
    if (rc != 0) CHECK_EQUAL(book.bytes, 0);
    schema.release(&schema);
    return rc;
}

static void drop(void)
{
    fb__layout_destroy(&layout);
    CHECK_EQUAL(book.bytes, 0);
}

static const struct fb_loader_options dense = {.null_policy = FB_NULLS_FILL};
static const struct fb_loader_options masked = {.null_policy = FB_NULLS_MASK};
static const struct fb_loader_options arrow = {.storage = FB_STORAGE_ARROW};

static void children_stand_side_by_side_behind_their_parent(void)
{
    CHECK_EQUAL(make("+s(a=i;b=+l(item=u);c=+s(d=b))", dense), 0);
    static const struct {
        enum fb__node_kind kind;
        const char *name;
        uint32_t parent, first_child, child_count;
    } expected[] = {{FB__NODE_STRUCT, NULL, FB__NONE, 1, 3}, {FB__NODE_FIXED, "a", 0, FB__NONE, 0},
                    {FB__NODE_LIST, "b", 0, 4, 1},           {FB__NODE_STRUCT, "c", 0, 5, 1},
                    {FB__NODE_BINARY, NULL, 2, FB__NONE, 0}, {FB__NODE_FIXED, "d", 3, FB__NONE, 0}};
    CHECK_EQUAL(layout.node_count, 6);
    CHECK_EQUAL(layout.columns[0].node_count, 6);
    CHECK_EQUAL(layout.columns[0].kind, FB_COLUMN_STRUCT);
    CHECK(!layout.columns[0].is_flat);
    for (uint32_t i = 0; i < 6; i++) {
        const struct fb__node *node = &layout.nodes[i];
        CHECK_EQUAL(node->kind, expected[i].kind);
        CHECK_EQUAL(node->parent, expected[i].parent);
        CHECK_EQUAL(node->first_child, expected[i].first_child);
        CHECK_EQUAL(node->child_count, expected[i].child_count);
        CHECK_EQUAL(node->name == NULL, expected[i].name == NULL);
        if (node->name != NULL) CHECK_TEXT(node->name, expected[i].name);
    }
    drop();
}

/* For every type: a node is fixed or variable, and has what its kind needs of regions or pieces, each its own. */
static void every_node_has_the_regions_or_pieces_of_its_kind(void)
{
    const struct fb_loader_options all[] = {dense, masked, arrow};
    for (size_t i = 0; i < 3 * EVERY_TYPE_COUNT; i++) {
        CHECK_EQUAL(make(every_type[i / 3], all[i % 3]), 0);
        uint64_t regions = 0, pieces = 0;
        for (uint32_t j = 0; j < layout.node_count; j++) {
            const struct fb__node *node = &layout.nodes[j];
            const struct fb__node *parent = node->parent != FB__NONE ? &layout.nodes[node->parent] : NULL;
            bool is_variable = parent != NULL && (parent->is_variable || parent->kind == FB__NODE_LIST);
            CHECK_EQUAL(node->is_variable, is_variable);
            CHECK_EQUAL(node->slots_per_row, is_variable      ? 0
                                             : parent == NULL ? 1
                                                              : parent->slots_per_row * parent->list_size);
            bool is_fixed = node->kind == FB__NODE_FIXED, is_binary = node->kind == FB__NODE_BINARY;
            bool has_offsets = is_binary || node->kind == FB__NODE_LIST;
            CHECK_EQUAL(node->values_region != FB__NONE, is_fixed && !is_variable);
            CHECK_EQUAL(node->offsets_region != FB__NONE, has_offsets && !is_variable);
            CHECK_EQUAL(node->valid_region != FB__NONE, node->has_valid && !is_variable);
            CHECK_EQUAL(node->values_piece != FB__NONE, is_binary || (is_fixed && is_variable));
            CHECK_EQUAL(node->lengths_piece != FB__NONE, has_offsets && is_variable);
            CHECK_EQUAL(node->valid_piece != FB__NONE, node->has_valid && is_variable);
            CHECK_EQUAL(node->offset_bytes != 0, has_offsets);
            bool stores = node->kind < FB__NODE_NULL;
            if (i % 3 == 0) CHECK(!node->has_valid);
            if (i % 3 == 1) CHECK(!node->has_valid || (stores && !is_variable && node->kind != FB__NODE_STRUCT));
            if (i % 3 == 2) CHECK_EQUAL(node->has_valid, stores);
            const uint32_t numbers[] = {node->values_region, node->offsets_region, node->valid_region};
            const uint32_t piece_numbers[] = {node->values_piece, node->lengths_piece, node->valid_piece};
            for (int k = 0; k < 3; k++) {
                if (numbers[k] != FB__NONE) regions |= UINT64_C(1) << numbers[k];
                if (piece_numbers[k] != FB__NONE) pieces |= UINT64_C(1) << piece_numbers[k];
            }
        }
        const struct fb__column_layout *column = &layout.columns[0];
        if (column->is_dictionary) regions |= UINT64_C(1) << column->codes_region | UINT64_C(1) << column->table_region;
        CHECK_EQUAL(regions, (UINT64_C(1) << layout.region_count) - 1);
        CHECK_EQUAL(pieces, (UINT64_C(1) << column->piece_count) - 1);
        CHECK_EQUAL(column->home, column->piece_count > 0 ? 0 : FB__NONE);
        CHECK_EQUAL(layout.home_count, column->piece_count > 0);
        drop();
    }
}

static void a_mask_is_for_rows_that_no_list_holds(void)
{
    CHECK_EQUAL(make("+s(a=i;b=+l(item=u);c=+w:2(item=f);d=+s(e=i[u]);f=n)", masked), 0);
    for (uint32_t i = 0; i < layout.node_count; i++) {
        char name[40];
        fb__layout_name(&layout, 0, i, name, sizeof name);
        const struct fb__node *node = &layout.nodes[i];
        bool is_inside = node->parent != FB__NONE && (layout.nodes[node->parent].kind == FB__NODE_LIST ||
                                                      layout.nodes[node->parent].kind == FB__NODE_FIXED_LIST);
        bool is_stored = node->kind != FB__NODE_STRUCT && node->kind < FB__NODE_DICTIONARY;
        CHECK_EQUAL(node->has_valid, is_stored && !is_inside);
    }
    drop();
}

/* ---- glances --------------------------------------------------------------------------------------------------- */

static void a_column_at_a_glance(void)
{
    static const struct {
        const char *notation;
        enum fb_column_kind dense_kind, arrow_kind;
        bool is_flat;
        uint64_t list_size, element_bytes;
    } cases[] = {
        {"i", FB_COLUMN_FIXED, FB_COLUMN_FIXED, true, 1, 4},
        {"w:5", FB_COLUMN_FIXED, FB_COLUMN_FIXED, true, 1, 5},
        {"d:10,2", FB_COLUMN_FIXED, FB_COLUMN_FIXED, true, 1, 16},
        {"n", FB_COLUMN_FIXED, FB_COLUMN_NULL, false, 1, 8},
        {"u", FB_COLUMN_BINARY, FB_COLUMN_BINARY, true, 1, 0},
        {"vu", FB_COLUMN_BINARY, FB_COLUMN_BINARY, false, 1, 0},
        {"+w:3(item=f)", FB_COLUMN_FIXED, FB_COLUMN_FIXED, true, 3, 4},
        {"+w:3(item=+w:4(item=s))", FB_COLUMN_FIXED, FB_COLUMN_FIXED, false, 12, 2},
        {"+w:3(item=u)", FB_COLUMN_FIXED_LIST, FB_COLUMN_FIXED_LIST, false, 1, 0},
        {"+l(item=i)", FB_COLUMN_LIST, FB_COLUMN_LIST, false, 1, 0},
        {"+m(entries=+s(key=u;value=i))", FB_COLUMN_LIST, FB_COLUMN_LIST, false, 1, 0},
        {"+s(a=i)", FB_COLUMN_STRUCT, FB_COLUMN_STRUCT, false, 1, 0},
        {"i[u]", FB_COLUMN_BINARY, FB_COLUMN_DICTIONARY, false, 1, 0},
        {"i[l]", FB_COLUMN_FIXED, FB_COLUMN_DICTIONARY, false, 1, 8},
        {"i[+l(item=i)]", FB_COLUMN_LIST, FB_COLUMN_LIST, false, 1, 0},
        {"+r(run_ends=i;values=l)", FB_COLUMN_FIXED, FB_COLUMN_FIXED, false, 1, 8},
        {"+w:2(item=i[s])", FB_COLUMN_FIXED, FB_COLUMN_FIXED, false, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQUAL(make(cases[i].notation, dense), 0);
        const struct fb__column_layout *column = &layout.columns[0];
        CHECK_EQUAL(column->kind, cases[i].dense_kind);
        CHECK_EQUAL(column->is_flat, cases[i].is_flat);
        CHECK_EQUAL(column->list_size, cases[i].list_size);
        CHECK_EQUAL(column->element_bytes, cases[i].element_bytes);
        if (column->is_flat && column->kind == FB_COLUMN_FIXED)
            CHECK_EQUAL(column->values_region, layout.nodes[column->leaf].values_region);
        drop();
        CHECK_EQUAL(make(cases[i].notation, arrow), 0);
        CHECK_EQUAL(layout.columns[0].kind, cases[i].arrow_kind);
        CHECK_EQUAL(layout.null_policy, FB_NULLS_MASK);
        CHECK(!layout.columns[0].is_flat || !layout.columns[0].is_list);
        drop();
    }
}

static void what_is_stored_has_a_format_of_its_own_only_where_it_differs(void)
{
    static const char *const cases[][3] = {
        {"n", "g", NULL},
        {"vu", "u", "u"},
        {"vz", "z", "z"},
        {"+vl(item=i)", "+l", "+l"},
        {"+vL(item=i)", "+L", "+L"},
        {"b", NULL, NULL},
        {"tdD", NULL, NULL},
        {"i", NULL, NULL},
        {"+m(entries=+s(key=u;value=i))", NULL, NULL},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        CHECK_EQUAL(make(cases[i / 2][0], i % 2 == 0 ? dense : arrow), 0);
        const char *expected = cases[i / 2][1 + i % 2];
        CHECK_EQUAL(layout.nodes[0].stored_format == NULL, expected == NULL);
        if (expected != NULL) CHECK_TEXT(layout.nodes[0].stored_format, expected);
        drop();
    }
    CHECK_EQUAL(make("tdD", arrow), 0);
    CHECK_EQUAL(layout.nodes[0].element_bytes, 4);
    CHECK_EQUAL(layout.nodes[0].copy, FB__COPY_BYTES);
    CHECK(layout.nodes[0].fill == NULL);
    drop();
    CHECK_EQUAL(make("b", arrow), 0);
    CHECK(layout.nodes[0].is_bits);
    drop();
}

static void names_are_dotted_and_cut_at_a_character(void)
{
    CHECK_EQUAL(make("+s(a=+l(item=+s(bb=i[u])))", dense), 0);
    uint32_t last = layout.node_count - 1;
    char name[20];
    fb__layout_name(&layout, 0, last, name, sizeof name);
    CHECK_TEXT(name, "x.a.bb");
    fb__layout_name(&layout, 0, 0, name, sizeof name);
    CHECK_TEXT(name, "x");
    fb__layout_name(&layout, 0, last, name, 6);
    CHECK_TEXT(name, "x.a.b");
    fb__layout_name(&layout, 0, last, name, 1);
    CHECK_TEXT(name, "");
    drop();
    CHECK_EQUAL(make("+s(\xc3\xa4\xc3\xa4=i)", dense), 0);
    fb__layout_name(&layout, 0, 1, name, 6);
    CHECK_TEXT(name, "x.\xc3\xa4");
    drop();
}

/* ---- places ---------------------------------------------------------------------------------------------------- */

static void places_are_of_as_many_rows_as_asked_for(void)
{
    CHECK_EQUAL(make("+s(a=i;b=+w:2(item=u))", (struct fb_loader_options){.batch_rows = 100}), 0);
    uint64_t places[2], bytes;
    CHECK_EQUAL(layout.region_count, 2); /* a, offsets of b's strings */
    fb__layout_place(&layout, 100, places, &bytes);
    CHECK(memcmp(places, layout.places, sizeof places) == 0);
    CHECK_EQUAL(bytes, layout.fixed_bytes);
    fb__layout_place(&layout, 1000, places, &bytes);
    CHECK_EQUAL(places[0], 0);
    CHECK_EQUAL(places[1], 4032);
    CHECK_EQUAL(bytes, 4032 + (2001 * 4 + 63) / 64 * 64);
    fb__layout_place(&layout, 0, places, &bytes);
    CHECK_EQUAL(bytes, 64);
    fb__layout_place(&layout, UINT64_C(1) << 60, places, &bytes);
    CHECK_EQUAL(bytes, UINT64_MAX);
    fb__layout_place(&layout, UINT64_MAX, places, &bytes);
    CHECK_EQUAL(bytes, UINT64_MAX);
    drop();
}

static void batches_may_have_a_capacity_of_their_own(void)
{
    struct ArrowSchema schema = maker_column_schema("u");
    const uint64_t row_bytes = 7;
    fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
    const struct fb_loader_options options = {.batch_rows = 0};
    CHECK_EQUAL(fb__layout_init(&layout, &gate, &schema, &row_bytes, &options, NULL), 0);
    CHECK_EQUAL(layout.fixed_bytes, 64);
    CHECK_EQUAL(layout.columns[0].row_bytes, 7);
    CHECK_EQUAL(layout.columns[0].estimated_bytes, 0);
    drop();
    schema.release(&schema);
}

/* ---- options --------------------------------------------------------------------------------------------------- */

static int make_with(const char *notation, struct fb_column_option option, enum fb_storage storage)
{
    struct fb_loader_options options = {.column_options = &option, .column_option_count = 1, .storage = storage};
    return make(notation, options);
}

static void options_change_how_a_column_is_stored(void)
{
    CHECK_EQUAL(make_with("+l(item=f)", (struct fb_column_option){.list_size = 5}, FB_STORAGE_DENSE), 0);
    CHECK_EQUAL(layout.nodes[0].kind, FB__NODE_FIXED_LIST);
    CHECK_EQUAL(layout.nodes[0].copy, FB__COPY_LIST_32);
    CHECK_EQUAL(layout.nodes[0].list_size, 5);
    CHECK_EQUAL(layout.nodes[0].offset_bytes, 0);
    CHECK_TEXT(layout.nodes[0].stored_format, "+w:5");
    CHECK_EQUAL(layout.columns[0].kind, FB_COLUMN_FIXED);
    CHECK_EQUAL(layout.columns[0].list_size, 5);
    CHECK_EQUAL(layout.columns[0].piece_count, 0);
    CHECK(!layout.columns[0].is_flat);
    drop();
    CHECK_EQUAL(make_with("u", (struct fb_column_option){.is_dictionary = true}, FB_STORAGE_DENSE), 0);
    CHECK_EQUAL(layout.columns[0].kind, FB_COLUMN_DICTIONARY);
    CHECK(layout.columns[0].is_dictionary && layout.columns[0].is_flat);
    CHECK_EQUAL(layout.regions[layout.columns[0].codes_region].width_bytes, 4);
    CHECK(layout.regions[layout.columns[0].table_region].is_hash_table);
    drop();
    CHECK_EQUAL(make_with("c", (struct fb_column_option){.is_bool8 = true}, FB_STORAGE_DENSE), 0);
    CHECK_EQUAL(layout.columns[0].copy, FB__COPY_BOOL8);
    CHECK_TEXT(layout.nodes[0].stored_format, "b");
    drop();
}

static void options_that_do_not_fit_are_invalid(void)
{
    static const struct {
        const char *notation;
        struct fb_column_option option;
        enum fb_storage storage;
        const char *text;
    } cases[] = {
        {"i", {.column = 1}, FB_STORAGE_DENSE, "column 1, the schema has 1 columns"},
        {"i", {.list_size = 2}, FB_STORAGE_DENSE, "'x' cannot be stored as lists of one size"},
        {"+w:2(item=i)", {.list_size = 2}, FB_STORAGE_DENSE, "'x' cannot be stored as lists of one size"},
        {"+m(entries=+s(k=u;v=i))", {.list_size = 2}, FB_STORAGE_DENSE, "'x' cannot be stored as lists of one size"},
        {"+l(item=i)", {.is_dictionary = true}, FB_STORAGE_DENSE, "its values are not plain"},
        {"i[+s(a=i)]", {.is_dictionary = true}, FB_STORAGE_DENSE, "its values are not plain"},
        {"i", {.is_bool8 = true}, FB_STORAGE_DENSE, "it has no 8-bit integers"},
        {"c", {.is_bool8 = true}, FB_STORAGE_ARROW, "stored as Arrow stores it"},
        {"u", {.is_dictionary = true}, FB_STORAGE_ARROW, "stored as Arrow stores it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQUAL(make_with(cases[i].notation, cases[i].option, cases[i].storage), EINVAL);
        CHECK_CONTAINS(error.message, cases[i].text);
    }
    CHECK_EQUAL(make_with("+l(item=i)", (struct fb_column_option){.list_size = (UINT64_C(1) << 31) + 1}, 0), ENOTSUP);
    const struct fb_column_option twice[2] = {{.column = 0}, {.column = 0}};
    CHECK_EQUAL(make("i", (struct fb_loader_options){.column_options = twice, .column_option_count = 2}), EINVAL);
    CHECK_CONTAINS(error.message, "two options");
    CHECK_EQUAL(make("i", (struct fb_loader_options){.column_option_count = 2}), EINVAL);
}

/* ---- fill values ----------------------------------------------------------------------------------------------- */

static int make_filled(const char *notation, struct fb_fill_value fill, enum fb_storage storage)
{
    return make(notation, (struct fb_loader_options){.fill_values = &fill, .fill_value_count = 1, .storage = storage});
}

static void a_fill_value_is_for_a_leaf_of_a_struct(void)
{
    const char *notation = "+s(a=i;b=+s(c=+l(item=s);d=u);e=+w:2(item=f))";
    static const struct {
        const char *name;
        uint64_t bytes;
    } leaves[] = {{"x.a", 4}, {"x.b.c", 2}, {"x.b.d", 3}, {"x.e", 4}};
    for (uint32_t leaf = 0; leaf < 4; leaf++) {
        CHECK_EQUAL(make_filled(notation, (struct fb_fill_value){0, leaf, "\1\2\3\4", leaves[leaf].bytes}, 0), 0);
        uint32_t found = 0;
        for (uint32_t i = 0; i < layout.node_count; i++) {
            if (layout.nodes[i].fill == NULL || memcmp(layout.nodes[i].fill, "\1\2", 2) != 0) continue;
            char name[40];
            fb__layout_name(&layout, 0, i, name, sizeof name);
            CHECK_TEXT(name, leaves[leaf].name);
            CHECK_EQUAL(layout.nodes[i].fill_bytes, leaves[leaf].bytes);
            found++;
        }
        CHECK_EQUAL(found, 1);
        drop();
    }
    const struct fb_fill_value two[] = {{0, 3, "\1\2\3\4", 4}, {0, 0, "\5\6\7\10", 4}};
    struct fb_loader_options options = {.fill_values = two, .fill_value_count = 2};
    CHECK_EQUAL(make(notation, options), 0);
    CHECK(memcmp(layout.nodes[1].fill, "\5\6\7\10", 4) == 0);
    drop();
    const struct fb_fill_value same[] = {two[0], two[0]};
    options.fill_values = same;
    CHECK_EQUAL(make(notation, options), EINVAL);
    CHECK_CONTAINS(error.message, "two fill values");
    CHECK_EQUAL(make_filled(notation, (struct fb_fill_value){0, 4, "\1\2\3\4", 4}, 0), EINVAL);
    CHECK_CONTAINS(error.message, "leaf 4 of column 'x', which has 4");
    CHECK_EQUAL(make_filled(notation, (struct fb_fill_value){0, 1, "\1\2\3\4", 4}, 0), EINVAL);
    CHECK_CONTAINS(error.message, "'x.b.c' has 4 bytes where an element has 2");
    CHECK_EQUAL(make_filled("i", (struct fb_fill_value){0, 1, "\1\2\3\4", 4}, 0), EINVAL);
    CHECK_CONTAINS(error.message, "leaf 1 of column 'x', which has 1");
    CHECK_EQUAL(make_filled("+l(item=+s(a=i))", (struct fb_fill_value){0, 0, "\1\2\3\4", 4}, 0), EINVAL);
    CHECK_CONTAINS(error.message, "cannot have a fill value");
    CHECK_EQUAL(make_filled("i", (struct fb_fill_value){0, 0, "\1\2\3\4", 4}, FB_STORAGE_ARROW), EINVAL);
    CHECK_CONTAINS(error.message, "keep nulls");
}

/* ---- schemas that go on for ever ------------------------------------------------------------------------------- */

/* A chain of so many lists around an int. */
static struct ArrowSchema chain(int depth, const char *format)
{
    struct ArrowSchema schema = fixture_schema("i", "x");
    for (int i = 1; i < depth; i++) {
        struct ArrowSchema outer = fixture_schema(format, "x");
        fixture_add_field(&outer, schema);
        schema = outer;
    }
    return schema;
}

static void types_are_as_deep_as_32(void)
{
    static const char *const formats[] = {"+l", "+s", "+w:1"};
    for (int i = 0; i < 3; i++) {
        for (int depth = FB__DEPTH_MOST - 1; depth <= FB__DEPTH_MOST + 1; depth++) {
            struct ArrowSchema schema = fixture_schema("+s", "");
            fixture_add_field(&schema, chain(depth, formats[i]));
            bool is_good = depth <= FB__DEPTH_MOST;
            CHECK_EQUAL(fb__layout_check_schema(&schema, &error), is_good ? 0 : ENOTSUP);
            if (!is_good) CHECK_CONTAINS(error.message, "nested more than 32 levels deep");
            CHECK(fb__text_is_utf8(error.message));
            schema.release(&schema);
        }
    }
}

static void a_schema_that_holds_itself_is_refused(void)
{
    struct ArrowSchema schema = maker_column_schema("+s(a=+l(item=i))");
    struct ArrowSchema *structure = schema.children[0], *list = structure->children[0];
    struct ArrowSchema *item = list->children[0];
    list->children[0] = structure;
    CHECK_EQUAL(fb__layout_check_schema(&schema, &error), ENOTSUP);
    list->children[0] = item;
    item->dictionary = item;
    CHECK_EQUAL(fb__layout_check_schema(&schema, &error), ENOTSUP);
    item->dictionary = NULL;
    CHECK_EQUAL(fb__layout_check_schema(&schema, &error), 0);
    schema.release(&schema);
}

/* Two fields that are the same struct, again and again: 2^32 nodes were it followed. */
static void a_schema_that_doubles_at_each_level_is_refused(void)
{
    struct ArrowSchema levels[20];
    struct ArrowSchema *pointers[20][2];
    struct ArrowSchema leaf = fixture_schema("i", "x");
    for (int i = 19; i >= 0; i--) {
        pointers[i][0] = pointers[i][1] = i == 19 ? &leaf : &levels[i + 1];
        levels[i] = leaf;
        levels[i].format = "+s";
        levels[i].n_children = 2;
        levels[i].children = pointers[i];
    }
    CHECK_EQUAL(fb__layout_check_schema(&levels[0], &error), ENOTSUP);
    CHECK_CONTAINS(error.message, "more than 1048576 columns and fields");
    leaf.release(&leaf);
}

static void a_claim_of_many_children_is_not_followed(void)
{
    struct ArrowSchema schema = maker_column_schema("+s(a=i)");
    static const int64_t counts[] = {INT64_MAX, INT64_C(1) << 32, (INT64_C(1) << 32) + 1, FB__NODES_MOST,
                                     FB__NODES_MOST + 1};
    for (int i = 0; i < 5; i++) {
        schema.children[0]->n_children = counts[i];
        CHECK_EQUAL(fb__layout_check_schema(&schema, &error), ENOTSUP);
        CHECK_CONTAINS(error.message, "more than 1048576 columns and fields");
    }
    schema.children[0]->n_children = 1;
    schema.release(&schema);
}

static void a_failed_allocation_of_nested_types_leaves_nothing_behind(void)
{
    struct ArrowSchema schema = maker_column_schema("+s(a=i;b=+l(item=i[u]))");
    const struct fb_loader_options options = {
        .batch_rows = 8, .fill_values = &(struct fb_fill_value){0, 0, "\1\2\3\4", 4}, .fill_value_count = 1};
    for (int64_t after = 0;; after++) {
        fixture_gate_init(&gate, &book, NO_LIMIT_BYTES);
        fb__gate_fail_nth(&gate, after, 1);
        int rc = fb__layout_init(&layout, &gate, &schema, NULL, &options, NULL);
        fb__layout_destroy(&layout);
        CHECK_EQUAL(book.bytes, 0);
        if (rc == 0) break;
        CHECK_EQUAL(rc, ENOMEM);
        CHECK(after < 2);
    }
    schema.release(&schema);
}

int main(void)
{
    RUN(children_stand_side_by_side_behind_their_parent);
    RUN(every_node_has_the_regions_or_pieces_of_its_kind);
    RUN(a_mask_is_for_rows_that_no_list_holds);
    RUN(a_column_at_a_glance);
    RUN(what_is_stored_has_a_format_of_its_own_only_where_it_differs);
    RUN(names_are_dotted_and_cut_at_a_character);
    RUN(places_are_of_as_many_rows_as_asked_for);
    RUN(batches_may_have_a_capacity_of_their_own);
    RUN(options_change_how_a_column_is_stored);
    RUN(options_that_do_not_fit_are_invalid);
    RUN(a_fill_value_is_for_a_leaf_of_a_struct);
    RUN(types_are_as_deep_as_32);
    RUN(a_schema_that_holds_itself_is_refused);
    RUN(a_schema_that_doubles_at_each_level_is_refused);
    RUN(a_claim_of_many_children_is_not_followed);
    RUN(a_failed_allocation_of_nested_types_leaves_nothing_behind);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
