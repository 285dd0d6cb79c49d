/*
 * Tests of the whole library against broken Arrow schemas: each way to break one, done to each field of schemas of every
 * type; and schemas and arrays that are deeper than anything should be.
 */
#include "arrow_types.h"
#include "hostile_bench.h"
#include "hostile_targets.h"

struct field {
    struct ArrowSchema *schema;
    bool is_named; /* a column or a struct's field, whose name counts; */
    bool is_entry; /* of a map: not in streams, which have it by its place */
    bool is_run_ends;
};

struct fields {
    struct field items[TARGETS_MOST];
    int count;
};

static void add_fields(struct fields *fields, struct ArrowSchema *schema, struct field what)
{
    CHECK(fields->count < TARGETS_MOST);
    what.schema = schema;
    fields->items[fields->count++] = what;
    struct field child = {.is_named = schema->dictionary == NULL && maker_is(schema, "+s")};
    child.is_entry = maker_is(schema, "+m") || (what.is_entry && child.is_named && !what.is_named);
    for (int64_t i = 0; i < schema->n_children; i++) {
        child.is_run_ends = i == 0 && maker_is(schema, "+r");
        add_fields(fields, schema->children[i], child);
    }
    if (schema->dictionary != NULL) add_fields(fields, schema->dictionary, (struct field){.is_named = false});
}

/* ---- ways to break a field ------------------------------------------------------------------------------------- */

static enum verdict set_format(struct field *field, const char *format)
{
    field->schema->format = format;
    return REFUSED;
}
static enum verdict format_is_missing(struct field *field)
{
    return set_format(field, NULL);
}
static enum verdict format_is_empty(struct field *field)
{
    return set_format(field, "");
}
static enum verdict format_is_unknown(struct field *field)
{
    return set_format(field, "?");
}
static enum verdict format_is_a_plus(struct field *field)
{
    return set_format(field, "+");
}
static enum verdict format_is_not_text(struct field *field)
{
    return set_format(field, "\xff\xfe\xc3");
}
static enum verdict format_is_endless(struct field *field)
{
    static char format[100000];
    memset(format, 'x', sizeof format - 1);
    memcpy(format, "tsn:", 4);
    return set_format(field, format);
}
static enum verdict format_is_a_dense_union(struct field *field)
{
    return set_format(field, "+ud:0,1");
}
static enum verdict format_is_a_sparse_union(struct field *field)
{
    return set_format(field, "+us:");
}
static enum verdict format_is_an_interval(struct field *field)
{
    return set_format(field, "tin");
}
static enum verdict format_is_a_list_of_no_size(struct field *field)
{
    return set_format(field, "+w:");
}
static enum verdict format_is_a_list_of_negative_size(struct field *field)
{
    return set_format(field, "+w:-1");
}
static enum verdict format_is_a_list_of_words(struct field *field)
{
    return set_format(field, "+w:three");
}
static enum verdict format_is_a_list_of_too_many(struct field *field)
{
    return set_format(field, "+w:99999999999999999999999999999999999999");
}
static enum verdict format_is_binary_of_negative_width(struct field *field)
{
    return set_format(field, "w:-3");
}
static enum verdict format_is_binary_of_too_wide(struct field *field)
{
    return set_format(field, "w:99999999999999999999");
}
static enum verdict format_is_half_a_decimal(struct field *field)
{
    return set_format(field, "d:");
}
static enum verdict format_is_a_decimal_of_no_digits(struct field *field)
{
    return set_format(field, "d:0,0");
}
static enum verdict format_is_a_decimal_of_odd_width(struct field *field)
{
    return set_format(field, "d:9,2,17");
}
static enum verdict name_is_missing(struct field *field)
{
    field->schema->name = NULL;
    return field->is_named ? REFUSED : RIGHT;
}
static enum verdict name_is_not_text(struct field *field)
{
    field->schema->name = "\xc3\x28";
    return field->is_named ? REFUSED : RIGHT;
}
static enum verdict name_is_endless(struct field *field)
{
    static char name[100000];
    for (size_t i = 0; i + 2 < sizeof name; i += 2) memcpy(name + i, "\xc3\xa4", 2);
    field->schema->name = name;
    return RIGHT;
}
static enum verdict name_is_empty(struct field *field)
{
    field->schema->name = "";
    return RIGHT;
}
static enum verdict metadata_points_nowhere(struct field *field)
{
    field->schema->metadata = (const char *)8;
    return RIGHT;
}
static enum verdict flags_are_all_set(struct field *field)
{
    field->schema->flags = -1;
    return RIGHT;
}
/* Nobody looks for children of indices and of run ends. */
static enum verdict refused_where_looked_at(const struct field *field)
{
    return field->schema->dictionary != NULL || field->is_run_ends ? EITHER : REFUSED;
}
static enum verdict children_are_minus_one(struct field *field)
{
    field->schema->n_children = -1;
    return refused_where_looked_at(field);
}
static enum verdict children_are_most(struct field *field)
{
    field->schema->n_children = INT64_MAX;
    return refused_where_looked_at(field);
}
static enum verdict children_are_two_to_the_32_more(struct field *field)
{
    field->schema->n_children += INT64_C(1) << 32;
    return refused_where_looked_at(field);
}
static enum verdict children_are_one_less(struct field *field)
{
    if (field->schema->n_children == 0) return NOT_HERE;
    field->schema->n_children--;
    return REFUSED;
}
static enum verdict children_are_missing(struct field *field)
{
    field->schema->children = NULL;
    return field->schema->n_children > 0 ? REFUSED : RIGHT;
}
static enum verdict child_is_missing(struct field *field)
{
    if (field->schema->n_children == 0) return NOT_HERE;
    field->schema->children[field->schema->n_children - 1] = NULL;
    return REFUSED;
}
static enum verdict child_is_released(struct field *field)
{
    if (field->schema->n_children == 0) return NOT_HERE;
    struct ArrowSchema *child = field->schema->children[field->schema->n_children - 1];
    child->release(child);
    return REFUSED;
}
static enum verdict child_is_its_own_parent(struct field *field)
{
    if (field->schema->n_children == 0) return NOT_HERE;
    field->schema->children[field->schema->n_children - 1] = field->schema;
    return REFUSED;
}
static enum verdict it_is_released(struct field *field)
{
    /* What lies below a released field is gone with it, so it is only marked. */
    field->schema->release = NULL;
    return REFUSED;
}
static enum verdict a_plain_field_has_a_dictionary(struct field *field)
{
    if (field->schema->dictionary != NULL) return NOT_HERE;
    field->schema->dictionary = field->schema;
    return REFUSED;
}
static enum verdict the_dictionary_is_missing(struct field *field)
{
    if (field->schema->dictionary == NULL) return NOT_HERE;
    field->schema->dictionary = NULL;
    return REFUSED;
}
static enum verdict the_dictionary_is_released(struct field *field)
{
    if (field->schema->dictionary == NULL) return NOT_HERE;
    field->schema->dictionary->release(field->schema->dictionary);
    return REFUSED;
}
static enum verdict the_indices_are_floats(struct field *field)
{
    return field->schema->dictionary != NULL ? set_format(field, "f") : NOT_HERE;
}
static enum verdict the_indices_are_lists(struct field *field)
{
    return field->schema->dictionary != NULL ? set_format(field, "+s") : NOT_HERE;
}

#define MUTATION(name) {name, #name}

static const struct {
    enum verdict (*apply)(struct field *field);
    const char *name;
} mutations[] = {
    MUTATION(format_is_missing),
    MUTATION(format_is_empty),
    MUTATION(format_is_unknown),
    MUTATION(format_is_a_plus),
    MUTATION(format_is_not_text),
    MUTATION(format_is_endless),
    MUTATION(format_is_a_dense_union),
    MUTATION(format_is_a_sparse_union),
    MUTATION(format_is_an_interval),
    MUTATION(format_is_a_list_of_no_size),
    MUTATION(format_is_a_list_of_negative_size),
    MUTATION(format_is_a_list_of_words),
    MUTATION(format_is_a_list_of_too_many),
    MUTATION(format_is_binary_of_negative_width),
    MUTATION(format_is_binary_of_too_wide),
    MUTATION(format_is_half_a_decimal),
    MUTATION(format_is_a_decimal_of_no_digits),
    MUTATION(format_is_a_decimal_of_odd_width),
    MUTATION(name_is_missing),
    MUTATION(name_is_not_text),
    MUTATION(name_is_endless),
    MUTATION(name_is_empty),
    MUTATION(metadata_points_nowhere),
    MUTATION(flags_are_all_set),
    MUTATION(children_are_minus_one),
    MUTATION(children_are_most),
    MUTATION(children_are_two_to_the_32_more),
    MUTATION(children_are_one_less),
    MUTATION(children_are_missing),
    MUTATION(child_is_missing),
    MUTATION(child_is_released),
    MUTATION(child_is_its_own_parent),
    MUTATION(it_is_released),
    MUTATION(a_plain_field_has_a_dictionary),
    MUTATION(the_dictionary_is_missing),
    MUTATION(the_dictionary_is_released),
    MUTATION(the_indices_are_floats),
    MUTATION(the_indices_are_lists),
};

#define MUTATION_COUNT (sizeof mutations / sizeof *mutations)

/* ---- driving --------------------------------------------------------------------------------------------------- */

struct driven {
    struct ArrowSchema broken, good; /* good: what the reference reads by, and arrays are made by */
    struct ArrowArray block, reference;
};

static void make_driven(struct driven *driven, const char *type, uint64_t seed)
{
    driven->broken = maker_column_schema(type);
    driven->good = maker_column_schema(type);
    struct maker maker = {.dice = {.state = seed}, .null_percent = 20, .most_offset = 2, .most_elements = 4};
    struct maker again = maker;
    driven->block = maker_block(&maker, &driven->good, 5);
    driven->reference = maker_block(&again, &driven->good, 5);
}

static void drop_driven(struct driven *driven)
{
    if (driven->block.release != NULL) driven->block.release(&driven->block);
    driven->reference.release(&driven->reference);
    if (driven->broken.release != NULL) driven->broken.release(&driven->broken);
    driven->good.release(&driven->good);
}

static struct hostile hostile_of(struct driven *driven, const char *type, const char *what, struct ArrowSchema *schema)
{
    return (struct hostile){.type = type,
                            .what = what,
                            .schema = schema,
                            .reader = &driven->good,
                            .blocks = &driven->block,
                            .reference = &driven->reference,
                            .block_count = 1,
                            .threads = 1,
                            .batch_rows = 3,
                            .null_policy = FB_NULLS_FILL};
}

static void check_verdict(const struct hostile *hostile, enum verdict verdict, const struct hostile_outcome *outcome)
{
    if (verdict == REFUSED && outcome->code != EINVAL && outcome->code != ENOTSUP)
        hostile_fail(hostile, "was not refused", outcome->error.message);
    if (verdict == RIGHT && outcome->code != 0) hostile_fail(hostile, "was refused:", outcome->error.message);
}

/* Where the broken schema is given. */
enum door { BLOCKS, WHOLE_STREAM, STREAM_OF_UNIT, PULLED_STREAM, DOOR_COUNT };

/* What must come of a schema that differs from the one announced: columns of a stream may have any name. */
static enum verdict other_verdict(enum verdict verdict, const char *what, const struct field *field, bool is_column)
{
    if (strncmp(what, "name_", 5) != 0) return verdict;
    if (is_column) return RIGHT;
    return field->is_named && (verdict == RIGHT || field->is_entry) ? EITHER : verdict;
}

/* A broken field in the schema that a source is made of, or that a stream gives. False where it cannot be broken so. */
static bool drive(const char *type, size_t mutation, int node, enum door door)
{
    struct driven driven;
    make_driven(&driven, type, mutation);
    struct fields fields = {.count = 0};
    add_fields(&fields, driven.broken.children[0], (struct field){.is_named = true});
    enum verdict verdict = NOT_HERE;
    struct ArrowSchema marked = {.release = NULL};
    if (node < fields.count) {
        marked = *fields.items[node].schema;
        verdict = mutations[mutation].apply(&fields.items[node]);
    }
    if (verdict != NOT_HERE) {
        struct hostile hostile = hostile_of(&driven, type, mutations[mutation].name, &driven.good);
        struct hostile_outcome outcome;
        if (door == BLOCKS) {
            hostile.schema = &driven.broken;
            outcome = hostile_run_blocks(&hostile);
        } else {
            if (door != WHOLE_STREAM)
                verdict = other_verdict(verdict, mutations[mutation].name, &fields.items[node], node == 0);
            struct ArrowSchema given = driven.broken;
            driven.broken.release = NULL;
            outcome = door == STREAM_OF_UNIT ? hostile_run_stream(&hostile, 5, given)
                                             : hostile_run_pull(&hostile, door == WHOLE_STREAM, given);
        }
        check_verdict(&hostile, verdict, &outcome);
        /* What is only marked as released was left alone. */
        if (mutations[mutation].apply == it_is_released) fixture_release_schema(&marked);
    }
    drop_driven(&driven);
    return verdict != NOT_HERE;
}

static void each_way_to_break_a_schema_is_refused_or_harmless(void)
{
    for (size_t mutation = 0; mutation < MUTATION_COUNT; mutation++) {
        uint64_t done = 0;
        for (size_t type = 0; type < EVERY_TYPE_COUNT; type++) {
            for (int node = 0; node < TARGETS_MOST; node++) {
                int64_t live = fixture_live;
                for (int door = 0; door < DOOR_COUNT; door++)
                    done += drive(every_type[type], mutation, node, (enum door)door);
                CHECK_EQUAL(fixture_live, live);
            }
        }
        printf("    %-50s %d\n", mutations[mutation].name, (int)done);
        CHECK(done > 0);
    }
}

/* ---- depth ----------------------------------------------------------------------------------------------------- */

#define DEPTH 10000

struct well {
    struct ArrowSchema schemas[DEPTH], *schema_pointers[DEPTH][2], run_ends;
    struct ArrowArray arrays[DEPTH], *array_pointers[DEPTH];
    const void *buffers[3];
    int32_t offsets[2];
};

static int well_releases;
static void release_well_schema(struct ArrowSchema *schema)
{
    well_releases++;
    schema->release = NULL;
}
static void release_well_array(struct ArrowArray *array)
{
    well_releases++;
    array->release = NULL;
}

/* Struct arrays of one row whose column is of this format all the way down; "": a dictionary of dictionaries. */
static void dig(struct well *well, const char *format)
{
    bool is_dictionary = format[0] == '\0';
    memset(well, 0, sizeof *well);
    well->offsets[1] = 1;
    well->run_ends = (struct ArrowSchema){.format = "i", .name = "x", .release = release_well_schema};
    well->buffers[1] = strcmp(format, "+l") == 0 ? (const void *)well->offsets : (const void *)"\0\0\0";
    for (int i = 0; i < DEPTH; i++) {
        bool is_last = i == DEPTH - 1, has_dictionary = is_dictionary && i > 0 && !is_last;
        bool has_child = !is_last && !has_dictionary;
        const char *own = i == 0 ? "+s" : is_last || has_dictionary ? "i" : format;
        bool has_data = strcmp(own, "i") == 0 || strcmp(own, "+l") == 0;
        bool is_runs = has_child && strcmp(own, "+r") == 0;
        well->schema_pointers[i][0] = is_runs ? &well->run_ends : &well->schemas[(i + 1) % DEPTH];
        well->schema_pointers[i][1] = &well->schemas[(i + 1) % DEPTH];
        well->array_pointers[i] = &well->arrays[i];
        well->schemas[i] = (struct ArrowSchema){.format = own,
                                                .name = "x",
                                                .n_children = has_child + is_runs,
                                                .children = has_child ? well->schema_pointers[i] : NULL,
                                                .dictionary = has_dictionary ? &well->schemas[i + 1] : NULL,
                                                .release = release_well_schema};
        well->arrays[i] = (struct ArrowArray){.length = 1,
                                              .n_buffers = has_data ? 2 : 1,
                                              .buffers = well->buffers,
                                              .n_children = has_child,
                                              .children = has_child ? &well->array_pointers[i + 1] : NULL,
                                              .dictionary = has_dictionary ? &well->arrays[i + 1] : NULL,
                                              .release = release_well_array};
    }
}

static void refuse_well(struct well *well, const char *format)
{
    struct fb_source *source;
    struct fb_error error;
    dig(well, format);
    int code = fb_source_from_blocks(&well->schemas[0], &well->arrays[0], 1, &source, &error);
    CHECK(code == EINVAL || code == ENOTSUP);
    CHECK(error.message[0] != '\0' && fb__text_is_utf8(error.message));
    CHECK(well->arrays[0].release != NULL);
    CHECK_EQUAL(well_releases, 0);

    struct ArrowArrayStream stream = fixture_stream(well->schemas[0], 0, NULL);
    CHECK_EQUAL(fb_source_from_stream(&stream, &source, &error), code);
    CHECK_EQUAL(well_releases, 1);
    CHECK(stream.release != NULL);
    stream.release(&stream);
    CHECK_EQUAL(well_releases, 1);
    well_releases = 0;
}

/* The schema is of an allowed depth; what lies below is not. */
static void refuse_deep_array(struct well *well, const char *format, int depth)
{
    dig(well, format);
    struct ArrowSchema *last = &well->schemas[depth];
    *last = (struct ArrowSchema){.format = "i", .name = "x", .release = release_well_schema};
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(fb_source_from_blocks(&well->schemas[0], &well->arrays[0], 1, &source, &error), EINVAL);
    CHECK(error.message[0] != '\0' && fb__text_is_utf8(error.message));
    CHECK(well->arrays[0].release != NULL);
    CHECK_EQUAL(well_releases, 0);
}

static void what_is_10000_deep_is_refused(void)
{
    static const char *const formats[] = {"+s", "+l", "+w:1", "+vl", "+r", "+m", ""};
    struct well *well = fixture_allocate(sizeof *well);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) refuse_well(well, formats[i]);
    for (int depth = 1; depth < 5; depth++) {
        refuse_deep_array(well, "+s", depth);
        refuse_deep_array(well, "+l", depth);
        refuse_deep_array(well, "+w:1", depth);
        refuse_deep_array(well, "", depth + 1);
    }
    free(well);
}

int main(void)
{
    RUN(each_way_to_break_a_schema_is_refused_or_harmless);
    RUN(what_is_10000_deep_is_refused);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
