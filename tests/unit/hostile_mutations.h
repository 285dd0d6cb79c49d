/*
 * Named ways to break an array. Each does one thing to one array of a good block and says what must come of it, where
 * the array is one whose rows are read; what is done to an array further below may also go unnoticed, since nobody
 * reads it, and then the rows are right.
 */
#ifndef FB_TESTS_HOSTILE_MUTATIONS_H
#define FB_TESTS_HOSTILE_MUTATIONS_H

#include "hostile_targets.h"

#define REFUSED_IF(condition) ((condition) ? REFUSED : NOT_HERE)

/* ---- headers --------------------------------------------------------------------------------------------------- */

static enum verdict length_is_minus_one(struct target *target)
{
    target->array->length = -1;
    return REFUSED;
}
static enum verdict length_is_least(struct target *target)
{
    target->array->length = INT64_MIN;
    return REFUSED;
}
static enum verdict length_is_most(struct target *target)
{
    target->array->length = INT64_MAX;
    return REFUSED;
}
static enum verdict length_is_two_to_the_62(struct target *target)
{
    target->array->length = INT64_C(1) << 62;
    target->array->offset = 1;
    return REFUSED;
}
static enum verdict length_is_zero(struct target *target)
{
    target->array->length = 0;
    return EITHER;
}
static enum verdict length_is_one_short(struct target *target)
{
    if (!target->is_column || target->array->length == 0) return NOT_HERE;
    target->array->length = (int64_t)(target->first + target->rows) - target->array->offset - 1;
    return REFUSED;
}
static enum verdict offset_is_minus_one(struct target *target)
{
    target->array->offset = -1;
    return REFUSED;
}
static enum verdict offset_is_least(struct target *target)
{
    target->array->offset = INT64_MIN;
    return REFUSED;
}
static enum verdict offset_is_most(struct target *target)
{
    target->array->offset = INT64_MAX;
    return REFUSED;
}
static enum verdict offset_and_length_wrap(struct target *target)
{
    target->array->offset = target->array->length = INT64_MAX;
    return REFUSED;
}
static enum verdict null_count_is_minus_two(struct target *target)
{
    target->array->null_count = -2;
    return REFUSED;
}
static enum verdict null_count_is_least(struct target *target)
{
    target->array->null_count = INT64_MIN;
    return REFUSED;
}
static enum verdict null_count_is_above_length(struct target *target)
{
    target->array->null_count = target->array->length + 1;
    return REFUSED;
}
static enum verdict null_count_is_most(struct target *target)
{
    target->array->null_count = INT64_MAX;
    return REFUSED;
}
static enum verdict nulls_are_denied(struct target *target)
{
    target->array->null_count = 0;
    return RIGHT;
}
static enum verdict nulls_are_not_counted(struct target *target)
{
    target->array->null_count = -1;
    return RIGHT;
}
static enum verdict nulls_are_claimed(struct target *target)
{
    if (target->is_block || target->array->n_buffers == 0 || target->array->length == 0) return NOT_HERE;
    target->array->null_count = target->array->length;
    return target->array->buffers[0] != NULL ? RIGHT : REFUSED;
}
static enum verdict runs_claim_nulls(struct target *target)
{
    if (!target_is_runs(target) || target->array->length == 0) return NOT_HERE;
    target->array->null_count = 1;
    return REFUSED;
}
static enum verdict block_has_a_null(struct target *target)
{
    if (!target->is_block || target->array->length == 0) return NOT_HERE;
    uint64_t slots = maker_slots(target->array);
    uint8_t *bits = fixture_add_buffer(target->array, 0, (slots + 7) / 8, 0);
    memset(bits, 0xFF, (slots + 7) / 8);
    bits[target->array->offset / 8] &= (uint8_t)~(1 << target->array->offset % 8);
    return REFUSED;
}

/* ---- numbers of buffers and children --------------------------------------------------------------------------- */

static enum verdict buffers_are_minus_one(struct target *target)
{
    target->array->n_buffers = -1;
    return REFUSED;
}
static enum verdict buffers_are_none(struct target *target)
{
    int64_t had = target->array->n_buffers;
    target->array->n_buffers = 0;
    return REFUSED_IF(had > 0);
}
static enum verdict buffers_are_one_less(struct target *target)
{
    /* Of a view one less is a number that could be. */
    if (target_is_view(target)) return NOT_HERE;
    target->array->n_buffers--;
    return REFUSED;
}
static enum verdict buffers_are_one_more(struct target *target)
{
    target->array->n_buffers++;
    return REFUSED_IF(!target_is_view(target));
}
static enum verdict buffers_are_most(struct target *target)
{
    target->array->n_buffers = INT64_MAX;
    return REFUSED;
}
static enum verdict buffers_are_missing(struct target *target)
{
    bool is_needed = target->array->n_buffers > 0 && target->array->length > 0;
    target->array->buffers = NULL;
    return is_needed ? REFUSED : RIGHT;
}
static enum verdict validity_is_missing(struct target *target)
{
    if (target->array->n_buffers == 0 || target->array->buffers[0] == NULL) return NOT_HERE;
    target->array->buffers[0] = NULL;
    return target->array->null_count > 0 ? REFUSED : RIGHT;
}
static enum verdict first_data_is_missing(struct target *target)
{
    if (target->array->n_buffers < 2 || target->array->length == 0) return NOT_HERE;
    target->array->buffers[1] = NULL;
    return maker_is(target->schema, "w:0") ? RIGHT : REFUSED;
}
static enum verdict second_data_is_missing(struct target *target)
{
    if (target->array->n_buffers < 3 || target->array->length == 0) return NOT_HERE;
    target->array->buffers[2] = NULL;
    return target_is_list_view(target) && target->is_column && target->rows > 0 ? REFUSED : EITHER;
}
static enum verdict children_are_minus_one(struct target *target)
{
    target->array->n_children = -1;
    return REFUSED;
}
static enum verdict children_are_none(struct target *target)
{
    int64_t had = target->array->n_children;
    target->array->n_children = 0;
    return REFUSED_IF(had > 0);
}
static enum verdict children_are_one_more(struct target *target)
{
    target->array->n_children++;
    return REFUSED;
}
static enum verdict children_are_most(struct target *target)
{
    target->array->n_children = INT64_MAX;
    return REFUSED;
}
static enum verdict children_are_missing(struct target *target)
{
    target->array->children = NULL;
    return REFUSED_IF(target->array->n_children > 0);
}
static enum verdict first_child_is_missing(struct target *target)
{
    if (target->array->n_children == 0) return NOT_HERE;
    target->array->children[0] = NULL;
    return REFUSED;
}
static enum verdict first_child_is_released(struct target *target)
{
    if (target->array->n_children == 0) return NOT_HERE;
    target->array->children[0]->release(target->array->children[0]);
    return REFUSED;
}
static enum verdict last_child_is_released(struct target *target)
{
    if (target->array->n_children == 0) return NOT_HERE;
    struct ArrowArray *child = target->array->children[target->array->n_children - 1];
    child->release(child);
    return REFUSED;
}
static enum verdict child_is_its_own_parent(struct target *target)
{
    if (target->array->n_children == 0) return NOT_HERE;
    target->array->children[0] = target->array;
    return EITHER;
}

/* ---- dictionaries ---------------------------------------------------------------------------------------------- */

static enum verdict a_plain_array_has_a_dictionary(struct target *target)
{
    if (target_is_dictionary(target)) return NOT_HERE;
    target->array->dictionary = target->array;
    return REFUSED;
}
static enum verdict the_dictionary_is_missing(struct target *target)
{
    target->array->dictionary = NULL;
    return REFUSED_IF(target_is_dictionary(target));
}
static enum verdict the_dictionary_is_released(struct target *target)
{
    if (!target_is_dictionary(target)) return NOT_HERE;
    target->array->dictionary->release(target->array->dictionary);
    return REFUSED;
}
static enum verdict the_dictionary_is_empty(struct target *target)
{
    if (!target_is_dictionary(target)) return NOT_HERE;
    target->array->dictionary->length = 0;
    return EITHER;
}
static enum verdict the_dictionary_is_its_indices(struct target *target)
{
    if (!target_is_dictionary(target)) return NOT_HERE;
    target->array->dictionary = target->array;
    return EITHER;
}

static enum verdict set_index(struct target *target, uint64_t value)
{
    if (!target_is_dictionary(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    target_set_valid(target, target_slot(target, -1), true);
    target_set(target, 1, target_slot(target, -1), value);
    return REFUSED;
}
static enum verdict an_index_is_minus_one(struct target *target)
{
    return set_index(target, UINT64_MAX);
}
static enum verdict an_index_is_least(struct target *target)
{
    return set_index(target, UINT64_C(1) << (8 * target_width(target) - 1));
}
static enum verdict an_index_is_most(struct target *target)
{
    return set_index(target, (UINT64_C(1) << (8 * target_width(target) - 1)) - 1);
}
static enum verdict an_index_is_one_beyond(struct target *target)
{
    if (!target_is_dictionary(target)) return NOT_HERE;
    return set_index(target, (uint64_t)target->array->dictionary->length);
}
static enum verdict an_index_of_a_null_is_anything(struct target *target)
{
    if (!target_is_dictionary(target) || target->array->buffers[0] == NULL || target->array->length == 0)
        return NOT_HERE;
    uint64_t slot = (uint64_t)target->array->offset;
    target->array->null_count = -1;
    target_set_valid(target, slot, false);
    target_set(target, 1, slot, UINT64_MAX);
    return RIGHT;
}

/* ---- offsets --------------------------------------------------------------------------------------------------- */

static enum verdict set_offset(struct target *target, int64_t row, uint64_t value)
{
    if (!target_has_offsets(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    target_set(target, 1, target_slot(target, row), value);
    return REFUSED;
}
static enum verdict the_first_offset_is_negative(struct target *target)
{
    return set_offset(target, 0, UINT64_MAX);
}
static enum verdict the_last_offset_is_negative(struct target *target)
{
    return set_offset(target, (int64_t)target->rows, UINT64_MAX);
}
static enum verdict the_last_offset_is_least(struct target *target)
{
    return set_offset(target, (int64_t)target->rows, UINT64_C(1) << (8 * target_width(target) - 1));
}
static enum verdict an_offset_runs_backwards(struct target *target)
{
    /* The one before must not be 0 already. */
    if (set_offset(target, 1, 1000) == NOT_HERE || target->rows < 2) return NOT_HERE;
    return set_offset(target, 2, 999);
}
static enum verdict offsets_go_round(struct target *target)
{
    if (target->rows < 3) return NOT_HERE;
    (void)set_offset(target, 1, (UINT64_C(1) << (8 * target_width(target) - 1)) - 1);
    return set_offset(target, 2, UINT64_MAX - 1);
}
/* Where the bytes of a string end nobody says, so only what no memory can have is refused there. */
static enum verdict the_last_offset_is_most(struct target *target)
{
    if (target_width(target) == 4 && !target_is_list(target)) return NOT_HERE;
    return set_offset(target, (int64_t)target->rows, (UINT64_C(1) << (8 * target_width(target) - 1)) - 1);
}
static enum verdict the_last_offset_is_one_beyond_the_child(struct target *target)
{
    if (!target_is_list(target)) return NOT_HERE;
    return set_offset(target, (int64_t)target->rows, (uint64_t)target->array->children[0]->length + 1);
}

/* ---- list views ------------------------------------------------------------------------------------------------ */

static enum verdict set_list_view(struct target *target, uint64_t offset, uint64_t size)
{
    if (!target_is_list_view(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    uint64_t slot = target_slot(target, -1);
    target_set_valid(target, slot, true);
    target_set(target, 1, slot, offset);
    target_set(target, 2, slot, size);
    return REFUSED;
}
static enum verdict a_list_view_has_a_negative_offset(struct target *target)
{
    return set_list_view(target, UINT64_MAX, 1);
}
static enum verdict a_list_view_has_a_negative_size(struct target *target)
{
    return set_list_view(target, 1, UINT64_MAX);
}
static enum verdict a_list_view_ends_beyond_the_child(struct target *target)
{
    if (!target_is_list_view(target)) return NOT_HERE;
    return set_list_view(target, 1, (uint64_t)target->array->children[0]->length);
}
static enum verdict a_list_view_begins_far_away(struct target *target)
{
    return set_list_view(target, (UINT64_C(1) << (8 * target_width(target) - 1)) - 1, 1);
}
static enum verdict an_empty_list_view_begins_far_away(struct target *target)
{
    uint64_t far = (UINT64_C(1) << (8 * target_width(target) - 1)) - 1;
    return set_list_view(target, far, 0) == NOT_HERE ? NOT_HERE : RIGHT;
}
static enum verdict all_list_views_are_the_same(struct target *target)
{
    if (!target_is_list_view(target)) return NOT_HERE;
    for (uint64_t i = 0; i < maker_slots(target->array); i++) {
        target_set(target, 1, i, 0);
        target_set(target, 2, i, (uint64_t)target->array->children[0]->length);
    }
    return RIGHT;
}
static enum verdict a_list_view_of_a_null_is_anything(struct target *target)
{
    if (!target_is_list_view(target) || target->array->buffers[0] == NULL || target->array->length == 0)
        return NOT_HERE;
    uint64_t slot = (uint64_t)target->array->offset;
    target->array->null_count = -1;
    target_set_valid(target, slot, false);
    target_set(target, 1, slot, UINT64_MAX);
    target_set(target, 2, slot, UINT64_MAX / 3);
    return RIGHT;
}

/* ---- views of strings ------------------------------------------------------------------------------------------ */

static enum verdict set_view(struct target *target, uint32_t length, uint32_t buffer, uint32_t offset)
{
    if (!target_is_view(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    uint64_t slot = target_slot(target, -1);
    target_set_valid(target, slot, true);
    uint8_t *view = target_buffer(target, 1) + 16 * slot;
    maker_write(view, 4, 0, length);
    maker_write(view, 4, 2, buffer);
    maker_write(view, 4, 3, offset);
    return REFUSED;
}
static enum verdict a_view_has_a_negative_length(struct target *target)
{
    return set_view(target, UINT32_MAX, 0, 0);
}
static enum verdict a_view_has_the_least_length(struct target *target)
{
    return set_view(target, UINT32_C(1) << 31, 0, 0);
}
static enum verdict a_view_has_a_negative_buffer(struct target *target)
{
    return set_view(target, 13, UINT32_MAX, 0);
}
static enum verdict a_view_is_in_a_buffer_too_many(struct target *target)
{
    return set_view(target, 13, 2, 0);
}
static enum verdict a_view_has_a_negative_offset(struct target *target)
{
    return set_view(target, 13, 0, UINT32_MAX);
}
static enum verdict a_view_ends_one_beyond_its_buffer(struct target *target)
{
    return set_view(target, 13, 0, 28);
}
static enum verdict a_view_ends_far_beyond_its_buffer(struct target *target)
{
    return set_view(target, INT32_MAX, 1, INT32_MAX);
}
static enum verdict a_view_ends_with_its_buffer(struct target *target)
{
    return set_view(target, 13, 0, 27) == NOT_HERE ? NOT_HERE : RIGHT;
}
static enum verdict a_short_view_has_anything_behind_it(struct target *target)
{
    return set_view(target, 3, UINT32_MAX, UINT32_MAX) == NOT_HERE ? NOT_HERE : RIGHT;
}
static enum verdict a_size_of_a_view_buffer_is_negative(struct target *target)
{
    if (set_view(target, 13, 1, 0) == NOT_HERE) return NOT_HERE;
    maker_write(target_buffer(target, 4), 8, 1, UINT64_MAX);
    return REFUSED;
}
static enum verdict the_sizes_of_view_buffers_are_missing(struct target *target)
{
    if (set_view(target, 13, 1, 0) == NOT_HERE) return NOT_HERE;
    target->array->buffers[4] = NULL;
    return REFUSED;
}
static enum verdict a_view_buffer_is_missing(struct target *target)
{
    if (set_view(target, 13, 1, 0) == NOT_HERE) return NOT_HERE;
    target->array->buffers[3] = NULL;
    return REFUSED;
}
static enum verdict a_view_of_a_null_is_anything(struct target *target)
{
    if (!target_is_view(target) || target->array->buffers[0] == NULL || target->array->length == 0) return NOT_HERE;
    uint64_t slot = (uint64_t)target->array->offset;
    target->array->null_count = -1;
    target_set_valid(target, slot, false);
    memset(target_buffer(target, 1) + 16 * slot, 0xFE, 16);
    return RIGHT;
}

/* ---- run ends -------------------------------------------------------------------------------------------------- */

static enum verdict set_run_end(struct target *target, int64_t run, uint64_t value)
{
    if (!target_is_runs(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    struct ArrowArray *ends = target->array->children[0];
    uint64_t width = (uint64_t)maker_width(target->schema->children[0]->format);
    int64_t slot = ends->offset + (run >= 0 ? run : ends->length + run);
    maker_write((uint8_t *)(uintptr_t)ends->buffers[1], width, (uint64_t)slot, value);
    return REFUSED;
}
static enum verdict the_first_run_ends_at_zero(struct target *target)
{
    return set_run_end(target, 0, 0);
}
static enum verdict the_first_run_ends_below_zero(struct target *target)
{
    return set_run_end(target, 0, UINT64_MAX);
}
static enum verdict the_last_run_ends_below_zero(struct target *target)
{
    return set_run_end(target, -1, UINT64_MAX);
}
static enum verdict the_last_run_ends_early(struct target *target)
{
    return set_run_end(target, -1, (uint64_t)(target->array->offset + target->array->length) - 1);
}
static enum verdict the_last_run_ends_far_away(struct target *target)
{
    return set_run_end(target, -1, 30000) == NOT_HERE ? NOT_HERE : RIGHT;
}
static enum verdict two_runs_end_together(struct target *target)
{
    if (!target_is_runs(target) || target->array->children[0]->length < 2) return NOT_HERE;
    (void)set_run_end(target, -2, 20000);
    return set_run_end(target, -1, 20000);
}
static enum verdict runs_end_backwards(struct target *target)
{
    if (!target_is_runs(target) || target->array->children[0]->length < 2) return NOT_HERE;
    (void)set_run_end(target, -2, 20000);
    return set_run_end(target, -1, 19000);
}
static enum verdict there_are_no_runs(struct target *target)
{
    if (!target_is_runs(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    target->array->children[0]->length = 0;
    target->array->children[0]->buffers = NULL; /* it needs none */
    return REFUSED;
}
static enum verdict a_run_end_is_null(struct target *target)
{
    if (!target_is_runs(target) || target->array->length == 0) return NOT_HERE;
    struct ArrowArray *ends = target->array->children[0];
    uint64_t bytes = (maker_slots(ends) + 7) / 8;
    memset(fixture_add_buffer(ends, 0, bytes, 0), 0, bytes);
    ends->null_count = -1;
    return REFUSED_IF(ends->length > 0);
}
static enum verdict a_run_has_no_value(struct target *target)
{
    if (!target_is_runs(target) || !target->is_column || target->rows == 0) return NOT_HERE;
    target->array->children[1]->length = 0;
    target->array->children[1]->null_count = 0;
    return REFUSED;
}

#endif
