/*
 * Batches: extents that grow while readers fill them, and the join that makes one buffer of them.
 *
 * Lock model: see batch.h. extent_lock is held only to walk or link a chain; bytes are waited for without it.
 */
#include "data/batch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "data/pool.h"
#include "data/text.h"

#define OFFSET_32_BYTES_MOST ((uint64_t)INT32_MAX)

static struct fb__gate *gate_of(const struct fb_batch *batch)
{
    return fb__ledger_gate(batch->pool->ledger);
}

static struct fb__extent *home_of(const struct fb_batch *batch, uint32_t column)
{
    assert(batch->layout->columns[column].kind == FB_COLUMN_BINARY);
    return &batch->homes[batch->pool->home_of_column[column]];
}

uint8_t *fb__batch_values(const struct fb_batch *batch, uint32_t column)
{
    return batch->fixed + batch->layout->columns[column].values_at;
}

uint8_t *fb__batch_valid(const struct fb_batch *batch, uint32_t column)
{
    if (batch->layout->null_policy != FB_NULLS_MASK) return NULL;
    return batch->fixed + batch->layout->columns[column].valid_at;
}

void *fb__batch_offsets(const struct fb_batch *batch, uint32_t column)
{
    return batch->fixed + batch->layout->columns[column].offsets_at;
}

/* ---- memory of extents ---- */

/* Reserves and allocates together, so that a refused or failed allocation leaves the grant as it was. */
static int allocate(struct fb_batch *batch, uint64_t bytes, enum fb__ledger_wait wait, void **out,
                    struct fb_error *error)
{
    uint64_t booked_bytes = fb__gate_bytes(bytes);
    int code = fb__ledger_grow(batch->pool->ledger, &batch->grant, booked_bytes, wait, error);
    if (code) return code;
    code = fb__gate_alloc_granted(gate_of(batch), &batch->grant, bytes, out, error);
    if (code) fb__ledger_shrink(batch->pool->ledger, &batch->grant, booked_bytes);
    return code;
}

static void deallocate(struct fb_batch *batch, void *pointer, uint64_t bytes)
{
    if (!pointer) return;
    fb__gate_free_granted(gate_of(batch), &batch->grant, pointer, bytes);
    fb__ledger_shrink(batch->pool->ledger, &batch->grant, fb__gate_bytes(bytes));
}

static void free_chain(struct fb_batch *batch, struct fb__extent *home)
{
    struct fb__extent *extent = home->next;
    home->next = NULL;
    while (extent) {
        struct fb__extent *next = extent->next;
        deallocate(batch, extent->bytes, extent->capacity_bytes);
        deallocate(batch, extent, sizeof *extent);
        extent = next;
    }
}

void fb__batch_drop_extents(struct fb_batch *batch)
{
    for (uint32_t i = 0; i < batch->layout->binary_count; i++) {
        struct fb__extent *home = &batch->homes[i];
        free_chain(batch, home);
        home->is_claimed = false;
        home->first_row = 0;
        home->row_count = 0;
        home->used_bytes = 0;
    }
}

/* ---- finding and growing ---- */

static void claim(struct fb__extent *extent, uint64_t place)
{
    extent->owner = pthread_self();
    extent->is_claimed = true;
    extent->first_row = place;
    extent->row_count = 0;
    extent->used_bytes = 0;
}

/*
 * Of the calling thread's extents the last one that begins at or before place, when its rows reach up to there; else
 * the home, when nobody has it. NULL where a new extent is needed.
 */
static struct fb__extent *find_extent(struct fb_batch *batch, struct fb__extent *home, uint64_t place)
{
    struct fb__extent *found = NULL;
    pthread_t self = pthread_self();
    fb__lock_acquire(&batch->extent_lock);
    for (struct fb__extent *extent = home; extent; extent = extent->next) {
        if (!extent->is_claimed || !pthread_equal(extent->owner, self) || extent->first_row > place) continue;
        if (!found || extent->first_row > found->first_row) found = extent;
    }
    if (found && place - found->first_row > found->row_count) found = NULL;
    if (!found && !home->is_claimed) {
        claim(home, place);
        found = home;
    }
    fb__lock_release(&batch->extent_lock);
    return found;
}

static int begin_extent(struct fb_batch *batch, struct fb__extent *home, uint64_t place, struct fb__extent **out,
                        struct fb_error *error)
{
    void *memory;
    int code = allocate(batch, sizeof(struct fb__extent), batch->wait, &memory, error);
    if (code) return code;
    struct fb__extent *extent = memory;
    memset(extent, 0, sizeof *extent);
    claim(extent, place);
    fb__lock_acquire(&batch->extent_lock);
    /* In row order behind the home, so that the join is one walk. */
    struct fb__extent *previous = home;
    while (previous->next && previous->next->first_row < place) previous = previous->next;
    extent->next = previous->next;
    previous->next = extent;
    fb__lock_release(&batch->extent_lock);
    *out = extent;
    return 0;
}

static uint64_t length_of_row(const struct fb_batch *batch, uint32_t column, uint64_t row)
{
    const void *lengths = fb__batch_offsets(batch, column);
    if (batch->layout->columns[column].offset_bytes == 4) return ((const uint32_t *)lengths)[row + 1];
    return ((const uint64_t *)lengths)[row + 1];
}

/* Makes the extent end at row place. */
static void cut_back(struct fb_batch *batch, uint32_t column, struct fb__extent *extent, uint64_t place)
{
    uint64_t end = extent->first_row + extent->row_count;
    for (uint64_t row = place; row < end; row++) extent->used_bytes -= length_of_row(batch, column, row);
    extent->row_count = place - extent->first_row;
}

/* Moves the extent's bytes to a buffer of capacity_bytes; on failure the extent is as it was. */
static int resize(struct fb_batch *batch, struct fb__extent *extent, uint64_t capacity_bytes, enum fb__ledger_wait wait,
                  struct fb_error *error)
{
    void *bytes;
    capacity_bytes = fb__gate_bytes(capacity_bytes);
    int code = allocate(batch, capacity_bytes, wait, &bytes, error);
    if (code) return code;
    if (extent->used_bytes) memcpy(bytes, extent->bytes, extent->used_bytes);
    deallocate(batch, extent->bytes, extent->capacity_bytes);
    extent->bytes = bytes;
    extent->capacity_bytes = capacity_bytes;
    return 0;
}

/*
 * What the rows still to come will take if they are like those so far. Bounded by what is there or was estimated for
 * a batch, so that one long string cannot claim the limit for rows that turn out to be short.
 */
static uint64_t extra_bytes(const struct fb__extent *extent, uint64_t exact_bytes, uint64_t this_rows,
                            uint64_t expected_rows, uint64_t estimated_bytes)
{
    uint64_t rows = extent->row_count + this_rows;
    if (rows == 0 || expected_rows <= this_rows) return 0;
    uint64_t most_bytes = exact_bytes > estimated_bytes ? exact_bytes : estimated_bytes;
    uint64_t row_bytes = exact_bytes / rows + 1;
    uint64_t rows_left = expected_rows - this_rows;
    if (rows_left > most_bytes / row_bytes) return most_bytes;
    return rows_left * row_bytes;
}

static int check_offsets(const struct fb__column_layout *column, uint64_t bytes, struct fb_error *error)
{
    if (column->offset_bytes != 4 || bytes <= OFFSET_32_BYTES_MOST) return 0;
    return fb__fail(error, EOVERFLOW,
                    "column '%.*s' has %llu bytes in one batch, 32-bit offsets reach %llu: choose a smaller batch size",
                    fb__text_shown_bytes(column->name), column->name, (unsigned long long)bytes,
                    (unsigned long long)OFFSET_32_BYTES_MOST);
}

int fb__batch_extent(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t add_bytes, uint64_t this_rows,
                     uint64_t expected_rows, struct fb__extent **out, struct fb_error *error)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    assert(!batch->is_finished && place <= batch->row_count && this_rows <= batch->row_count - place);
    struct fb__extent *home = home_of(batch, column);
    struct fb__extent *extent = find_extent(batch, home, place);
    int code = 0;
    if (extent)
        cut_back(batch, column, extent, place);
    else
        code = begin_extent(batch, home, place, &extent, error);
    if (code) return code;
    if (add_bytes > extent->capacity_bytes - extent->used_bytes) {
        uint64_t exact_bytes;
        if (__builtin_add_overflow(extent->used_bytes, add_bytes, &exact_bytes)) exact_bytes = UINT64_MAX;
        code = check_offsets(layout, exact_bytes, error);
        if (code) return code;
        uint64_t extra = extra_bytes(extent, exact_bytes, this_rows, expected_rows, layout->estimated_bytes);
        /* Room for later rows is worth taking only where nobody has to give way for it. */
        bool is_roomy = extra != 0 && extra <= UINT64_MAX - exact_bytes &&
                        resize(batch, extent, exact_bytes + extra, FB__NO_WAIT, NULL) == 0;
        if (!is_roomy) code = resize(batch, extent, exact_bytes, batch->wait, error);
        if (code) return code;
    }
    *out = extent;
    return 0;
}

/* ---- finishing ---- */

/* Brings the bytes of every extent into the home, in row order. */
static int join(struct fb_batch *batch, struct fb__extent *home, uint64_t total_bytes, struct fb_error *error)
{
    if (!home->next) return 0;
    uint8_t *target = home->bytes;
    uint64_t target_bytes = home->capacity_bytes;
    if (total_bytes > home->capacity_bytes) {
        void *memory;
        target_bytes = fb__gate_bytes(total_bytes);
        int code = allocate(batch, target_bytes, batch->wait, &memory, error);
        if (code) return code;
        target = memory;
    }
    uint64_t before_home_bytes = 0;
    for (struct fb__extent *extent = home->next; extent; extent = extent->next)
        if (extent->first_row < home->first_row) before_home_bytes += extent->used_bytes;
    /* The home goes first: where its own buffer has the room, the others are written around it. */
    if (home->used_bytes) memmove(target + before_home_bytes, home->bytes, home->used_bytes);
    uint64_t at = 0;
    for (struct fb__extent *extent = home->next; extent; extent = extent->next) {
        uint64_t skip_bytes = extent->first_row > home->first_row ? home->used_bytes : 0;
        if (extent->used_bytes) memcpy(target + at + skip_bytes, extent->bytes, extent->used_bytes);
        at += extent->used_bytes;
    }
    if (target != home->bytes) {
        deallocate(batch, home->bytes, home->capacity_bytes);
        home->bytes = target;
        home->capacity_bytes = target_bytes;
    }
    free_chain(batch, home);
    home->first_row = 0;
    home->row_count = batch->row_count;
    home->used_bytes = total_bytes;
    return 0;
}

static uint64_t sum_lengths_32(uint32_t *offsets, uint64_t row_count)
{
    uint32_t sum = 0;
    offsets[0] = 0;
    for (uint64_t row = 1; row <= row_count; row++) offsets[row] = sum += offsets[row];
    return sum;
}

static uint64_t sum_lengths_64(uint64_t *offsets, uint64_t row_count)
{
    uint64_t sum = 0;
    offsets[0] = 0;
    for (uint64_t row = 1; row <= row_count; row++) offsets[row] = sum += offsets[row];
    return sum;
}

static int join_column(struct fb_batch *batch, uint32_t column, struct fb_error *error)
{
    struct fb__extent *home = home_of(batch, column);
    uint64_t total_bytes = 0;
    for (struct fb__extent *extent = home; extent; extent = extent->next) total_bytes += extent->used_bytes;
    int code = check_offsets(&batch->layout->columns[column], total_bytes, error);
    if (code) return code;
    return join(batch, home, total_bytes, error);
}

static void sum_column(struct fb_batch *batch, uint32_t column)
{
    void *offsets = fb__batch_offsets(batch, column);
    uint64_t sum_bytes = batch->layout->columns[column].offset_bytes == 4 ? sum_lengths_32(offsets, batch->row_count)
                                                                          : sum_lengths_64(offsets, batch->row_count);
    assert(sum_bytes == home_of(batch, column)->used_bytes);
    (void)sum_bytes;
}

int fb__batch_finish(struct fb_batch *batch, struct fb_error *error)
{
    assert(!batch->is_finished);
    const struct fb__layout *layout = batch->layout;
    /* What can fail comes first and may be repeated; summing a column twice would not be the same. */
    for (uint32_t column = 0; column < layout->column_count; column++) {
        int code = layout->columns[column].kind == FB_COLUMN_BINARY ? join_column(batch, column, error) : 0;
        if (code) return code;
    }
    for (uint32_t column = 0; column < layout->column_count; column++)
        if (layout->columns[column].kind == FB_COLUMN_BINARY) sum_column(batch, column);
    batch->is_finished = true;
    return 0;
}

/* ---- what the user sees ---- */

uint64_t fb__batch_bytes_out(const struct fb_batch *batch)
{
    const struct fb__layout *layout = batch->layout;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        const struct fb__column_layout *column = &layout->columns[i];
        if (column->kind == FB_COLUMN_BINARY)
            bytes += (batch->row_count + 1) * column->offset_bytes + home_of(batch, i)->used_bytes;
        else
            bytes += batch->row_count * column->list_size * column->element_bytes;
        if (layout->null_policy == FB_NULLS_MASK) bytes += batch->row_count;
    }
    return bytes;
}

uint64_t fb_batch_rows(const struct fb_batch *batch)
{
    return batch->row_count;
}

uint64_t fb_batch_index(const struct fb_batch *batch)
{
    return batch->index;
}

uint32_t fb_batch_column_count(const struct fb_batch *batch)
{
    return batch->layout->column_count;
}

void fb_batch_column(const struct fb_batch *batch, uint32_t column, struct fb_column *out)
{
    assert(batch->is_finished && column < batch->layout->column_count);
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    *out = (struct fb_column){
        .kind = layout->kind,
        .name = layout->name,
        .format = layout->format,
        .element_bytes = layout->element_bytes,
        .list_size = layout->list_size,
        .is_list = layout->is_list,
        .valid = fb__batch_valid(batch, column),
    };
    if (layout->kind == FB_COLUMN_BINARY) {
        const struct fb__extent *home = home_of(batch, column);
        out->values = home->used_bytes ? home->bytes : NULL;
        out->offsets = fb__batch_offsets(batch, column);
        out->offset_bytes = layout->offset_bytes;
    } else {
        out->values = fb__batch_values(batch, column);
    }
}
