/*
 * Fuzz target: the bytes of an input are choices. They make a schema of any type and blocks of it with buffers of
 * exactly their size, break headers and contents of some arrays or the schema, and choose the source, the storage and the
 * limit that an epoch is read with. What is malformed is refused; the rows that come are those of the arrays.
 *
 * How large a buffer is an Arrow array does not say, so only what a checker can see without it is broken: no length,
 * offset or size claims more than there is, unless it claims what no memory holds.
 */
#include "hostile_bench.h"
#include "hostile_targets.h"

#define COLUMNS_MOST 3
#define NODES_MOST 14    /* of all columns, about */
#define SLOTS_MOST 200   /* of an array that has more below it */
#define BLOCKS_MOST 3
#define BREAKS_MOST 6
#define FUZZ_TARGETS_MOST 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- choices ---------------------------------------------------------------------------------------------------- */

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take(struct input *input)
{
    if (input->left == 0) return 0;
    input->left--;
    return *input->at++;
}

static uint64_t take_below(struct input *input, uint64_t bound)
{
    return take(input) % bound;
}

/* Small numbers of either sign, those at the ends of their types, and any. */
static int64_t take_number(struct input *input)
{
    static const int64_t ends[] = {INT8_MIN,       INT8_MAX,      INT16_MIN,       INT16_MAX, INT32_MIN,
                                   INT32_MAX,      UINT32_MAX,    INT64_MIN,       INT64_MAX, -1,
                                   INT64_MAX - 63, INT64_MAX / 8, INT64_C(1) << 32};
    uint8_t choice = take(input);
    if (choice < 64) return choice;
    if (choice < 96) return choice - 96;
    if (choice < 160) return ends[choice % (sizeof ends / sizeof *ends)];
    uint64_t number = 0;
    for (int i = 0; i < 8; i++) number = number << 8 | take(input);
    return (int64_t)number;
}

/* ---- schemas ---------------------------------------------------------------------------------------------------- */

static struct ArrowSchema make_type(struct input *input, const char *name, uint64_t slots, int *nodes);

static struct ArrowSchema make_with_child(struct input *input, const char *format, const char *name,
                                          const char *child_name, uint64_t child_slots, int *nodes)
{
    struct ArrowSchema schema = fixture_schema(format, name);
    fixture_add_field(&schema, make_type(input, child_name, child_slots, nodes));
    return schema;
}

static struct ArrowSchema make_struct(struct input *input, const char *name, uint64_t fields, uint64_t slots,
                                      int *nodes)
{
    static const char *const names[] = {"a", "b", "c"};
    struct ArrowSchema schema = fixture_schema("+s", name);
    for (uint64_t i = 0; i < fields; i++) fixture_add_field(&schema, make_type(input, names[i], slots + 3, nodes));
    return schema;
}

static struct ArrowSchema make_nested(struct input *input, const char *name, uint64_t slots, int *nodes)
{
    static const char *const lists[] = {"+l", "+L", "+vl", "+vL"};
    static const char *const fixed_lists[] = {"+w:0", "+w:1", "+w:2", "+w:3"};
    static const char *const indices[] = {"c", "C", "s", "S", "i", "I", "l", "L"};
    static const char *const run_ends[] = {"s", "i", "l"};
    struct ArrowSchema schema;
    uint64_t fixed_size;
    switch (take_below(input, 6)) {
    case 0:
        return make_with_child(input, lists[take_below(input, 4)], name, "item", 3 * slots + 6, nodes);
    case 1:
        fixed_size = take_below(input, 4);
        return make_with_child(input, fixed_lists[fixed_size], name, "item", fixed_size * slots + 3, nodes);
    case 2:
        return make_struct(input, name, take_below(input, 4), slots, nodes);
    case 3:
        schema = fixture_schema("+m", name);
        fixture_add_field(&schema, make_struct(input, "entries", 2, 3 * slots + 6, nodes));
        return schema;
    case 4:
        schema = fixture_schema(indices[take_below(input, 8)], name);
        fixture_set_dictionary(&schema, make_type(input, NULL, 8, nodes));
        return schema;
    default:
        schema = fixture_schema("+r", name);
        fixture_add_field(&schema, fixture_schema(run_ends[take_below(input, 3)], "run_ends"));
        fixture_add_field(&schema, make_type(input, "values", slots, nodes));
        return schema;
    }
}

/* slots: about the most that an array of it has. */
static struct ArrowSchema make_type(struct input *input, const char *name, uint64_t slots, int *nodes)
{
    static const char *const plain[] = {
        "b",   "c",      "C",   "s",   "S",        "i",          "I",   "l",   "L",   "e",       "f",
        "g",   "tdD",    "tdm", "tts", "ttm",      "ttu",        "ttn", "tDs", "tDn", "tsu:UTC", "w:0",
        "w:3", "d:10,2", "u",   "z",   "d:7,2,32", "d:50,2,256", "U",   "Z",   "vu",  "vz",      "n"};
    uint8_t choice = take(input);
    if (++*nodes < NODES_MOST && slots < SLOTS_MOST && choice % 2 == 1) return make_nested(input, name, slots, nodes);
    return fixture_schema(plain[choice / 2 % (sizeof plain / sizeof *plain)], name);
}

/* ---- breaking arrays --------------------------------------------------------------------------------------------- */

/* An array as it was made. */
struct spot {
    const struct ArrowSchema *schema;
    struct ArrowArray *array;
    uint64_t slots;
    int64_t buffer_count;
    uint64_t string_bytes; /* strings: of their data */
};

struct spots {
    struct spot items[FUZZ_TARGETS_MOST];
    uint64_t count;
};

static void add_spots(struct spots *spots, const struct ArrowSchema *schema, struct ArrowArray *array)
{
    if (spots->count == FUZZ_TARGETS_MOST) return;
    struct spot *spot = &spots->items[spots->count++];
    *spot = (struct spot){schema, array, maker_slots(array), array->n_buffers, 0};
    struct target target = {.schema = schema};
    if (target_has_format(&target, "uzUZ"))
        spot->string_bytes = maker_load(array->buffers[1], target_width(&target), spot->slots);
    for (int64_t i = 0; i < array->n_children; i++) add_spots(spots, schema->children[i], array->children[i]);
    if (array->dictionary != NULL) add_spots(spots, schema->dictionary, array->dictionary);
}

struct one_break {
    uint8_t block, spot, what, which;
    uint64_t place;
    int64_t number;
};

/* Arrays that were marked as released, as they were. */
struct marked {
    struct ArrowArray arrays[BREAKS_MOST];
    int count;
};

static void break_slice(const struct spot *spot, const struct one_break *choice)
{
    struct ArrowArray *array = spot->array;
    uint64_t offset = choice->place % (spot->slots + 1);
    uint64_t length = (uint64_t)choice->number % (spot->slots - offset + 1);
    if (choice->which < 128) {
        array->offset = (int64_t)offset;
        array->length = (int64_t)length;
        return;
    }
    static const int64_t absurd[] = {-1, INT64_MIN, INT64_MAX, -2};
    if (choice->which < 192) {
        array->length = absurd[choice->which % 4];
    } else {
        array->offset = absurd[choice->which % 4];
    }
}

static void break_counts(const struct spot *spot, const struct one_break *choice)
{
    static const int64_t of_views[] = {-1, 0, 1, 2, 3, INT64_MIN, INT64_MAX};
    struct ArrowArray *array = spot->array;
    const struct target target = {.schema = spot->schema};
    switch (choice->which % 3) {
    case 0:
        array->null_count = choice->number;
        break;
    case 1:
        array->n_children = choice->number;
        break;
    /* The sizes of a view's buffers stand behind them: another number takes something else for them. */
    default:
        array->n_buffers = target_is_view(&target) ? of_views[choice->place % 7] : choice->number;
    }
}

static void break_pointers(const struct spot *spot, const struct one_break *choice, struct marked *marked)
{
    struct ArrowArray *array = spot->array;
    switch (choice->which % 6) {
    case 0:
        array->buffers = NULL;
        break;
    case 1:
        array->children = NULL;
        break;
    case 2:
        array->dictionary = array->dictionary != NULL ? NULL : array;
        break;
    case 3:
        /* The block itself must be one. */
        if (choice->spot == 0 || array->release == NULL) return;
        marked->arrays[marked->count++] = *array;
        array->release = NULL;
        break;
    case 4:
        if (array->children != NULL && spot->schema->n_children > 0)
            array->children[choice->place % (uint64_t)spot->schema->n_children] = NULL;
        break;
    default:
        if (array->buffers != NULL && spot->buffer_count > 0)
            array->buffers[choice->place % (uint64_t)spot->buffer_count] = NULL;
    }
}

/* Numbers that the data of strings holds, and such as no memory does. */
static uint64_t string_offset(const struct spot *spot, uint64_t width, int64_t number)
{
    if (number < 0 || (width == 8 && number >= INT64_MAX - 63)) return (uint64_t)number;
    return (uint64_t)number % (spot->string_bytes + 1);
}

static void break_contents(const struct spot *spot, const struct one_break *choice)
{
    struct target target = {.schema = spot->schema, .array = spot->array};
    if (spot->array->buffers == NULL || spot->buffer_count == 0 || spot->slots == 0) return;
    uint64_t buffer = choice->which % (uint64_t)spot->buffer_count, slot = choice->place % spot->slots;
    uint8_t *at = target_buffer(&target, (int)buffer);
    uint64_t number = (uint64_t)choice->number;
    int64_t fixed = target_is_dictionary(&target) ? -1 : maker_width(spot->schema->format);
    if (at == NULL) return;
    if (buffer == 0) {
        at[slot / 8] = (uint8_t)number;
    } else if (fixed == 0) {
        if (maker_is(spot->schema, "b")) at[slot / 8] = (uint8_t)number;
    } else if (fixed > 0) {
        maker_write(at, fixed > 8 ? 8 : (uint64_t)fixed, fixed > 8 ? 0 : slot, number);
    } else if (target_has_format(&target, "uzUZ")) {
        uint64_t width = target_width(&target);
        if (buffer == 1)
            maker_write(at, width, choice->place % (spot->slots + 1), string_offset(spot, width, choice->number));
    } else if (target_is_view(&target)) {
        static const uint64_t sizes[] = {40, 100};
        if (buffer == 1) maker_write(at, 4, 4 * slot + (choice->place >> 8) % 4, number);
        if (buffer == 4)
            maker_write(at, 8, choice->place % 2,
                        choice->number < 0 ? number : number % (sizes[choice->place % 2] + 1));
    } else if (target_is_list(&target)) {
        maker_write(at, target_width(&target), choice->place % (spot->slots + 1), number);
    } else {
        maker_write(at, target_width(&target), slot, number); /* indices, list views */
    }
}

static void break_array(struct spots *spots, struct one_break choice, struct marked *marked)
{
    choice.spot = (uint8_t)(choice.spot % spots->count);
    const struct spot *spot = &spots->items[choice.spot];
    if (choice.what < 48) {
        break_slice(spot, &choice);
    } else if (choice.what < 80) {
        break_counts(spot, &choice);
    } else if (choice.what < 104) {
        break_pointers(spot, &choice, marked);
    } else {
        break_contents(spot, &choice);
    }
}

/* ---- breaking the schema ------------------------------------------------------------------------------------------ */

static void break_schema(struct input *input, struct ArrowSchema *schema, char *text, size_t text_bytes)
{
    static const int64_t counts[] = {-1, INT64_MIN, INT64_MAX, 0, 1};
    for (;;) {
        uint8_t down = take(input);
        if (schema->dictionary != NULL && down % 2 == 1) {
            schema = schema->dictionary;
        } else if (schema->n_children > 0 && down % 2 == 1) {
            schema = schema->children[down / 2 % (uint64_t)schema->n_children];
        } else {
            break;
        }
    }
    uint8_t what = take(input);
    size_t bytes = what < 128 ? take_below(input, text_bytes) : 0;
    for (size_t i = 0; i < bytes; i++) text[i] = (char)take(input);
    text[bytes] = '\0';
    switch (what % 8) {
    case 0:
    case 1:
    case 2:
        schema->format = what < 250 ? text : NULL;
        break;
    case 3:
        schema->name = what < 250 ? text : NULL;
        break;
    case 4:
        if (what >= 128 || schema->n_children == 0) schema->n_children = counts[what / 8 % 5] + 80 * (what == 132);
        break;
    case 5:
        schema->children = NULL;
        break;
    case 6:
        if (schema->n_children > 0) schema->children[take_below(input, (uint64_t)schema->n_children)] = NULL;
        break;
    default:
        schema->dictionary = schema->dictionary != NULL ? NULL : schema;
    }
}

/* ---- an epoch ----------------------------------------------------------------------------------------------------- */

struct blocks {
    struct ArrowArray items[BLOCKS_MOST];
    struct marked marked;
    uint64_t rows;
};

/* The same for the same choices. */
static void make_blocks(struct blocks *blocks, const struct ArrowSchema *schema, struct maker maker, uint64_t count,
                        const struct one_break *breaks, int break_count)
{
    memset(blocks, 0, sizeof *blocks);
    for (uint64_t i = 0; i < count; i++) {
        blocks->items[i] = maker_block(&maker, schema, dice_below(&maker.dice, 8));
        blocks->rows += (uint64_t)blocks->items[i].length;
        struct spots spots = {.count = 0};
        add_spots(&spots, schema, &blocks->items[i]);
        for (int j = 0; j < break_count; j++) {
            if (breaks[j].block % count == i) break_array(&spots, breaks[j], &blocks->marked);
        }
    }
}

static void drop_blocks(struct blocks *blocks)
{
    for (int i = 0; i < BLOCKS_MOST; i++) {
        if (blocks->items[i].release != NULL) blocks->items[i].release(&blocks->items[i]);
    }
    for (int i = 0; i < blocks->marked.count; i++) blocks->marked.arrays[i].release(&blocks->marked.arrays[i]);
}

static void read_epoch(struct hostile *hostile, uint64_t door, uint64_t unit_rows, struct ArrowSchema given)
{
    if (door < 2) {
        given.release(&given);
        (void)hostile_run_blocks(hostile);
    } else if (door == 2) {
        (void)hostile_run_stream(hostile, unit_rows, given);
    } else {
        (void)hostile_run_pull(hostile, door == 3, given);
    }
}

/* Of a schema that may be anything there are no arrays: nobody could see whether they are of that type. */
static void read_broken_schema(struct input *input, struct hostile *hostile, uint64_t door,
                               const struct ArrowSchema *good)
{
    char text[24];
    struct ArrowSchema given = *hostile->schema;
    hostile->schema->release = NULL;
    break_schema(input, &given, text, sizeof text);
    struct ArrowSchema announced = *good;
    hostile->block_count = 0;
    hostile->schema = door < 2 ? &given : &announced;
    if (door < 2) {
        (void)hostile_run_blocks(hostile);
        given.release(&given);
    } else {
        read_epoch(hostile, door, 3, given);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size}, again;
    struct hostile hostile = {.type = "of the input", .what = "its breaks"};
    uint64_t door = take_below(&input, 5), columns = 1 + take_below(&input, COLUMNS_MOST);
    uint8_t modes = take(&input), policy = take(&input), option = take(&input);
    hostile.storage = modes & 1 ? FB_STORAGE_ARROW : FB_STORAGE_DENSE;
    hostile.is_on_demand = (modes & 6) != 6;
    hostile.threads = (modes & 24) == 24 ? 2 : 1;
    hostile.null_policy = (enum fb_null_policy)(policy % 3);
    hostile.limit_bytes = HOSTILE_LIMIT_BYTES >> (policy & 64 ? policy / 3 % 10 : 0);
    hostile.batch_rows = take_below(&input, 10);
    struct fb_column_option column_option = {.column = 0,
                                             .is_dictionary = option & 1,
                                             .is_bool8 = option & 2,
                                             .list_size = option & 4 ? 1 + option / 8 % 3 : 0};
    if ((option & 7) != 0 && option >= 128) hostile.column_option = &column_option;
    struct maker maker = {.dice = {take(&input)}, .null_percent = take_below(&input, 4) * 15};
    maker.most_offset = take_below(&input, 3);
    maker.most_elements = 1 + take_below(&input, 3);
    uint64_t block_count = 1 + take_below(&input, BLOCKS_MOST);

    again = input;
    int nodes = 0, same_nodes = 0;
    struct ArrowSchema schema = make_struct(&input, "", columns, 8, &nodes);
    struct ArrowSchema given = make_struct(&again, "", columns, 8, &same_nodes);
    hostile.schema = &schema;
    if (modes >= 240) {
        hostile.schema = &given;
        read_broken_schema(&input, &hostile, door, &schema);
    } else {
        struct one_break breaks[BREAKS_MOST];
        int break_count = 0;
        while (input.left > 0 && break_count < BREAKS_MOST) {
            struct one_break *choice = &breaks[break_count++];
            choice->block = take(&input);
            choice->spot = take(&input);
            choice->what = take(&input);
            choice->which = take(&input);
            choice->place = take(&input);
            choice->place |= (uint64_t)take(&input) << 8;
            choice->number = take_number(&input);
        }
        struct blocks blocks, reference;
        make_blocks(&reference, &schema, maker, block_count, breaks, break_count);
        make_blocks(&blocks, &schema, maker, block_count, breaks, break_count);
        hostile.blocks = blocks.items;
        hostile.reference = reference.items;
        hostile.block_count = block_count;
        read_epoch(&hostile, door, blocks.rows, given);
        drop_blocks(&blocks);
        drop_blocks(&reference);
    }
    schema.release(&schema);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
