/*
 * Tests of the whole library against broken Arrow arrays: each way to break one, done to each array of blocks of every
 * type, through every source that takes Arrow data, in both storages.
 */
#include "arrow_types.h"
#include "hostile_bench.h"
#include "hostile_mutations.h"

#define MUTATION(name) {name, #name}

static const struct {
    enum verdict (*apply)(struct target *target);
    const char *name;
} mutations[] = {
    MUTATION(length_is_minus_one),
    MUTATION(length_is_least),
    MUTATION(length_is_most),
    MUTATION(length_is_two_to_the_62),
    MUTATION(length_is_zero),
    MUTATION(length_is_one_short),
    MUTATION(offset_is_minus_one),
    MUTATION(offset_is_least),
    MUTATION(offset_is_most),
    MUTATION(offset_and_length_wrap),
    MUTATION(null_count_is_minus_two),
    MUTATION(null_count_is_least),
    MUTATION(null_count_is_above_length),
    MUTATION(null_count_is_most),
    MUTATION(nulls_are_denied),
    MUTATION(nulls_are_not_counted),
    MUTATION(nulls_are_claimed),
    MUTATION(runs_claim_nulls),
    MUTATION(block_has_a_null),
    MUTATION(buffers_are_minus_one),
    MUTATION(buffers_are_none),
    MUTATION(buffers_are_one_less),
    MUTATION(buffers_are_one_more),
    MUTATION(buffers_are_most),
    MUTATION(buffers_are_missing),
    MUTATION(validity_is_missing),
    MUTATION(first_data_is_missing),
    MUTATION(second_data_is_missing),
    MUTATION(children_are_minus_one),
    MUTATION(children_are_none),
    MUTATION(children_are_one_more),
    MUTATION(children_are_most),
    MUTATION(children_are_missing),
    MUTATION(first_child_is_missing),
    MUTATION(first_child_is_released),
    MUTATION(last_child_is_released),
    MUTATION(child_is_its_own_parent),
    MUTATION(a_plain_array_has_a_dictionary),
    MUTATION(the_dictionary_is_missing),
    MUTATION(the_dictionary_is_released),
    MUTATION(the_dictionary_is_empty),
    MUTATION(the_dictionary_is_its_indices),
    MUTATION(an_index_is_minus_one),
    MUTATION(an_index_is_least),
    MUTATION(an_index_is_most),
    MUTATION(an_index_is_one_beyond),
    MUTATION(an_index_of_a_null_is_anything),
    MUTATION(the_first_offset_is_negative),
    MUTATION(the_last_offset_is_negative),
    MUTATION(the_last_offset_is_least),
    MUTATION(an_offset_runs_backwards),
    MUTATION(offsets_go_round),
    MUTATION(the_last_offset_is_most),
    MUTATION(the_last_offset_is_one_beyond_the_child),
    MUTATION(a_list_view_has_a_negative_offset),
    MUTATION(a_list_view_has_a_negative_size),
    MUTATION(a_list_view_ends_beyond_the_child),
    MUTATION(a_list_view_begins_far_away),
    MUTATION(an_empty_list_view_begins_far_away),
    MUTATION(all_list_views_are_the_same),
    MUTATION(a_list_view_of_a_null_is_anything),
    MUTATION(a_view_has_a_negative_length),
    MUTATION(a_view_has_the_least_length),
    MUTATION(a_view_has_a_negative_buffer),
    MUTATION(a_view_is_in_a_buffer_too_many),
    MUTATION(a_view_has_a_negative_offset),
    MUTATION(a_view_ends_one_beyond_its_buffer),
    MUTATION(a_view_ends_far_beyond_its_buffer),
    MUTATION(a_view_ends_with_its_buffer),
    MUTATION(a_short_view_has_anything_behind_it),
    MUTATION(a_size_of_a_view_buffer_is_negative),
    MUTATION(the_sizes_of_view_buffers_are_missing),
    MUTATION(a_view_buffer_is_missing),
    MUTATION(a_view_of_a_null_is_anything),
    MUTATION(the_first_run_ends_at_zero),
    MUTATION(the_first_run_ends_below_zero),
    MUTATION(the_last_run_ends_below_zero),
    MUTATION(the_last_run_ends_early),
    MUTATION(the_last_run_ends_far_away),
    MUTATION(two_runs_end_together),
    MUTATION(runs_end_backwards),
    MUTATION(there_are_no_runs),
    MUTATION(a_run_end_is_null),
    MUTATION(a_run_has_no_value),
};

#define MUTATION_COUNT (sizeof mutations / sizeof *mutations)
#define BLOCK_COUNT 2

struct blocks {
    struct ArrowArray items[BLOCK_COUNT];
    uint64_t rows; /* as they were made */
};

/* The same for the same numbers; one array of one block is broken. */
static enum verdict make_blocks(const struct ArrowSchema *schema, uint64_t seed, size_t mutation, int node,
                                struct blocks *blocks)
{
    struct maker maker = {.dice = {.state = seed},
                          .null_percent = seed % 3 * 20,
                          .most_offset = seed / 3 % 3,
                          .most_elements = 1 + seed % 5};
    enum verdict verdict = NOT_HERE;
    blocks->rows = 0;
    for (uint64_t i = 0; i < BLOCK_COUNT; i++) {
        blocks->items[i] = maker_block(&maker, schema, 2 + dice_below(&maker.dice, 7));
        blocks->rows += (uint64_t)blocks->items[i].length;
        if (i != seed % BLOCK_COUNT || mutation == MUTATION_COUNT) continue;
        struct targets targets = targets_of(schema, &blocks->items[i]);
        if (node < targets.count) verdict = mutations[mutation].apply(&targets.items[node]);
    }
    return verdict;
}

static void drop_blocks(struct blocks *blocks)
{
    for (int i = 0; i < BLOCK_COUNT; i++) {
        if (blocks->items[i].release != NULL) blocks->items[i].release(&blocks->items[i]);
    }
}

static void check_verdict(const struct hostile *hostile, enum verdict verdict, const struct hostile_outcome *outcome)
{
    bool is_refused = outcome->code != 0;
    if (verdict == REFUSED && !is_refused) hostile_fail(hostile, "was not refused", "");
    if (verdict == REFUSED && outcome->code != EINVAL) hostile_fail(hostile, "another error:", outcome->error.message);
    if (verdict == RIGHT && is_refused) hostile_fail(hostile, "was refused:", outcome->error.message);
}

/* Drives one broken array through every door. False where it cannot be broken so. */
static bool drive(const char *type, uint64_t seed, size_t mutation, int node)
{
    int64_t live = fixture_live;
    struct ArrowSchema schema = maker_column_schema(type);
    struct blocks reference;
    enum verdict verdict = make_blocks(&schema, seed, mutation, node, &reference);
    char what[100];
    snprintf(what, sizeof what, "%s, array %d, seed %d",
             mutation < MUTATION_COUNT ? mutations[mutation].name : "nothing broken", node, (int)seed);
    if (mutation == MUTATION_COUNT) verdict = RIGHT;
    for (int door = 0; door < 5 && verdict != NOT_HERE; door++) {
        struct blocks blocks;
        make_blocks(&schema, seed, mutation, node, &blocks);
        struct hostile hostile = {.type = type,
                                  .what = what,
                                  .schema = &schema,
                                  .blocks = blocks.items,
                                  .reference = reference.items,
                                  .block_count = BLOCK_COUNT,
                                  .storage = door % 3 == 1 ? FB_STORAGE_ARROW : FB_STORAGE_DENSE,
                                  .threads = 1 + seed % 2,
                                  .batch_rows = 1 + seed % 6,
                                  .null_policy = FB_NULLS_FILL};
        struct hostile_outcome outcome;
        if (door < 2) {
            outcome = hostile_run_blocks(&hostile);
        } else if (door == 2) {
            outcome = hostile_run_stream(&hostile, blocks.rows, maker_column_schema(type));
        } else {
            outcome = hostile_run_pull(&hostile, door == 3, maker_column_schema(type));
        }
        drop_blocks(&blocks);
        bool is_other_length = door == 2 && outcome.code == EIO && verdict == EITHER;
        if (!is_other_length) check_verdict(&hostile, verdict, &outcome);
    }
    drop_blocks(&reference);
    schema.release(&schema);
    CHECK_EQUAL(fixture_live, live);
    return verdict != NOT_HERE;
}

static void good_blocks_of_every_type_have_their_rows(void)
{
    for (size_t type = 0; type < EVERY_TYPE_COUNT; type++) {
        for (uint64_t seed = 0; seed < 12; seed++) CHECK(drive(every_type[type], seed, MUTATION_COUNT, 0));
    }
}

static void each_way_to_break_an_array_is_refused_or_harmless(void)
{
    for (size_t mutation = 0; mutation < MUTATION_COUNT; mutation++) {
        uint64_t done = 0;
        for (size_t type = 0; type < EVERY_TYPE_COUNT; type++) {
            for (int node = 0; node < TARGETS_MOST; node++)
                done += drive(every_type[type], mutation + 7 * type, mutation, node);
        }
        printf("    %-50s %d\n", mutations[mutation].name, (int)done);
        CHECK(done > 0);
    }
}

int main(void)
{
    RUN(good_blocks_of_every_type_have_their_rows);
    RUN(each_way_to_break_an_array_is_refused_or_harmless);
    CHECK_EQUAL(fixture_live, 0);
    return 0;
}
