/*
 * What can be broken of a block: each array in it, with its schema; and the buffers of an array.
 */
#ifndef FB_TESTS_HOSTILE_TARGETS_H
#define FB_TESTS_HOSTILE_TARGETS_H

#include "arrow_maker.h"

#define TARGETS_MOST 24

struct target {
    const struct ArrowSchema *schema;
    struct ArrowArray *array;
    bool is_block;  /* the struct of the columns */
    bool is_column; /* its values are read for the slots [first, first + rows) */
    uint64_t first, rows;
};

/* What must come of it. */
enum verdict {
    NOT_HERE = 0, /* cannot be done to this array */
    REFUSED,
    RIGHT,        /* allowed: the rows are those that the reference reads */
    EITHER
};

struct targets {
    struct target items[TARGETS_MOST];
    int count;
};

static inline void targets_add(struct targets *targets, const struct ArrowSchema *schema, struct ArrowArray *array)
{
    CHECK(targets->count < TARGETS_MOST);
    targets->items[targets->count++] = (struct target){.schema = schema, .array = array};
    for (int64_t i = 0; i < array->n_children; i++) targets_add(targets, schema->children[i], array->children[i]);
    if (array->dictionary != NULL) targets_add(targets, schema->dictionary, array->dictionary);
}

/* A block of one column: item 0 is the block and item 1 the column. */
static inline struct targets targets_of(const struct ArrowSchema *schema, struct ArrowArray *block)
{
    struct targets targets = {.count = 0};
    targets_add(&targets, schema, block);
    targets.items[0].is_block = true;
    struct target *column = &targets.items[1];
    column->is_column = true;
    column->first = (uint64_t)(block->offset + column->array->offset);
    column->rows = (uint64_t)block->length;
    return targets;
}

/* ---- kinds of arrays ------------------------------------------------------------------------------------------- */

static inline bool target_is_dictionary(const struct target *target)
{
    return target->schema->dictionary != NULL;
}

static inline bool target_has_format(const struct target *target, const char *letters)
{
    if (target_is_dictionary(target)) return false;
    for (const char *at = letters; *at != '\0'; at++) {
        char format[2] = {*at, '\0'};
        if (maker_is(target->schema, format)) return true;
    }
    return false;
}

static inline bool target_is_runs(const struct target *target)
{
    return !target_is_dictionary(target) && maker_is(target->schema, "+r");
}

static inline bool target_is_view(const struct target *target)
{
    return !target_is_dictionary(target) && target->schema->format[0] == 'v';
}

static inline bool target_is_list_view(const struct target *target)
{
    return !target_is_dictionary(target) && strncmp(target->schema->format, "+v", 2) == 0;
}

static inline bool target_is_list(const struct target *target)
{
    return !target_is_dictionary(target) &&
           (maker_is(target->schema, "+l") || maker_is(target->schema, "+L") || maker_is(target->schema, "+m"));
}

static inline bool target_has_offsets(const struct target *target)
{
    return target_has_format(target, "uzUZ") || target_is_list(target);
}

/* Of offsets, sizes, indices. */
static inline uint64_t target_width(const struct target *target)
{
    if (target_is_dictionary(target)) return (uint64_t)maker_width(target->schema->format);
    return strpbrk(target->schema->format, "LUZ") != NULL ? 8 : 4;
}

/* ---- spoiling buffers ------------------------------------------------------------------------------------------ */

static inline uint8_t *target_buffer(const struct target *target, int index)
{
    return (uint8_t *)(uintptr_t)target->array->buffers[index];
}

static inline void target_set(const struct target *target, int buffer, uint64_t i, uint64_t value)
{
    maker_write(target_buffer(target, buffer), target_width(target), i, value);
}

/* The row number i that is read, from its end where it is negative; its slot. */
static inline uint64_t target_slot(const struct target *target, int64_t i)
{
    return target->first + (i >= 0 ? (uint64_t)i : target->rows - (uint64_t)-i);
}

static inline void target_set_valid(const struct target *target, uint64_t slot, bool is_valid)
{
    uint8_t *bits = target_buffer(target, 0);
    if (bits == NULL) return;
    bits[slot / 8] = (uint8_t)((bits[slot / 8] & ~(1 << slot % 8)) | is_valid << slot % 8);
}

#endif
