/*
 * Batches while they are filled: where things lie, and extents that grow.
 *
 * Lock model: see batch.h. extent_lock is held only to walk or link a chain; bytes are waited for without it.
 */
#include "data/batch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "data/pool.h"

#define OFFSET_32_MOST ((uint64_t)INT32_MAX)

static struct fb__gate *gate_of(const struct fb_batch *batch)
{
    return fb__ledger_gate(batch->pool->ledger);
}

/* ---- where things lie ---- */

uint8_t *fb__batch_values(const struct fb_batch *batch, uint32_t column)
{
    return batch->fixed + batch->places[batch->layout->columns[column].values_region];
}

uint8_t *fb__batch_valid(const struct fb_batch *batch, uint32_t column)
{
    return fb__batch_region(batch, batch->layout->columns[column].valid_region);
}

void *fb__batch_offsets(const struct fb_batch *batch, uint32_t column)
{
    return batch->fixed + batch->places[batch->layout->columns[column].offsets_region];
}

uint8_t *fb__batch_item_valid(const struct fb_batch *batch, uint32_t column)
{
    const struct fb__column_layout *layout = &batch->layout->columns[column];
    return layout->is_list ? fb__batch_region(batch, batch->layout->nodes[layout->leaf].valid_region) : NULL;
}

/* ---- memory of extents ---- */

/* Takes at most `most` from a counter and returns how many that was. */
static uint64_t take_some(_Atomic uint64_t *counter, uint64_t most)
{
    uint64_t have = atomic_load(counter);
    uint64_t taken;
    do {
        taken = have < most ? have : most;
    } while (taken > 0 && !atomic_compare_exchange_weak(counter, &have, have - taken));
    return taken;
}

int fb__batch_allocate(struct fb_batch *batch, uint64_t bytes, enum fb__ledger_wait wait, void **out,
                       struct fb_error *error)
{
    uint64_t spare_bytes = take_some(&batch->spare_bytes, fb__gate_bytes(bytes));
    uint64_t more_bytes = fb__gate_bytes(bytes) - spare_bytes;
    int code = 0;
    if (more_bytes > 0) code = fb__ledger_grow(batch->pool->ledger, &batch->grant, more_bytes, wait, error);
    if (code) {
        atomic_fetch_add(&batch->spare_bytes, spare_bytes);
        return code;
    }
    code = fb__gate_alloc_granted(gate_of(batch), &batch->grant, bytes, out, error);
    if (code) {
        atomic_fetch_add(&batch->spare_bytes, spare_bytes);
        if (more_bytes > 0) fb__ledger_shrink(batch->pool->ledger, &batch->grant, more_bytes);
        return code;
    }
    atomic_fetch_add(&batch->grown_bytes, more_bytes);
    return 0;
}

/* What the batch has grown by goes back; the rest is kept for pieces still to come, so that it is worth reusing. */
void fb__batch_deallocate(struct fb_batch *batch, void *pointer, uint64_t bytes)
{
    if (!pointer) return;
    fb__gate_free_granted(gate_of(batch), &batch->grant, pointer, bytes);
    uint64_t grown_bytes = take_some(&batch->grown_bytes, fb__gate_bytes(bytes));
    if (grown_bytes > 0) fb__ledger_shrink(batch->pool->ledger, &batch->grant, grown_bytes);
    atomic_fetch_add(&batch->spare_bytes, fb__gate_bytes(bytes) - grown_bytes);
}

void fb__batch_drop_chain(struct fb_batch *batch, struct fb__extent *home)
{
    struct fb__extent *extent = home->next;
    home->next = NULL;
    while (extent) {
        struct fb__extent *next = extent->next;
        for (uint32_t i = 0; i < extent->piece_count; i++)
            fb__batch_deallocate(batch, extent->pieces[i].bytes, extent->pieces[i].capacity_bytes);
        fb__batch_deallocate(batch, extent, fb__extent_bytes(extent->piece_count));
        extent = next;
    }
}

void fb__batch_drop_extents(struct fb_batch *batch)
{
    for (uint32_t i = 0; i < batch->layout->home_count; i++) {
        struct fb__extent *home = &batch->homes[i];
        fb__batch_drop_chain(batch, home);
        home->is_claimed = false;
        home->first_row = 0;
        home->row_count = 0;
        for (uint32_t j = 0; j < home->piece_count; j++) home->pieces[j].used_bytes = 0;
    }
}

/* ---- finding ---- */

/* The pieces of an extent that nobody has are empty. */
static void claim(struct fb__extent *extent, uint64_t place)
{
    extent->owner = pthread_self();
    extent->is_claimed = true;
    extent->first_row = place;
    extent->row_count = 0;
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

static int begin_extent(struct fb_batch *batch, struct fb__extent *home, uint32_t piece_count, uint64_t place,
                        struct fb__extent **out, struct fb_error *error)
{
    void *memory;
    uint64_t bytes = fb__extent_bytes(piece_count);
    int code = fb__batch_allocate(batch, bytes, batch->wait, &memory, error);
    if (code) return code;
    memset(memory, 0, bytes);
    struct fb__extent *extent = memory;
    extent->pieces = (struct fb__piece *)(void *)(extent + 1);
    extent->piece_count = piece_count;
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

/* ---- cutting back ---- */

static uint64_t sum_lengths(const uint8_t *lengths, uint32_t offset_bytes, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += fb__batch_offset(lengths, offset_bytes, i);
    return sum;
}

static void cut_piece(struct fb__extent *extent, uint32_t piece, uint64_t bytes)
{
    if (piece != FB__NONE) extent->pieces[piece].used_bytes -= bytes;
}

/* Takes the sum of the lengths of the node's last `count` slots; they are slots [first, ...) where it is not variable. */
static uint64_t cut_lengths(const struct fb_batch *batch, struct fb__extent *extent, const struct fb__node *node,
                            uint64_t first, uint64_t count)
{
    const uint8_t *lengths;
    if (node->is_variable) {
        struct fb__piece *piece = &extent->pieces[node->lengths_piece];
        piece->used_bytes -= count * node->offset_bytes;
        lengths = piece->bytes + piece->used_bytes;
    } else {
        lengths = fb__batch_region(batch, node->offsets_region) + (first + 1) * node->offset_bytes;
    }
    return sum_lengths(lengths, node->offset_bytes, count);
}

/* Takes the last `count` slots off everything of the extent that is below a node. */
static void cut_slots(const struct fb_batch *batch, struct fb__extent *extent, const struct fb__node *node,
                      uint64_t first, uint64_t count)
{
    if (count == 0) return;
    node = fb__layout_stored(batch->layout, node);
    const struct fb__node *children = &batch->layout->nodes[node->first_child];
    cut_piece(extent, node->valid_piece, count);
    switch (node->kind) {
    case FB__NODE_FIXED:
        cut_piece(extent, node->values_piece, count * node->element_bytes);
        break;
    case FB__NODE_BINARY:
        cut_piece(extent, node->values_piece, cut_lengths(batch, extent, node, first, count));
        break;
    case FB__NODE_LIST:
        cut_slots(batch, extent, children, 0, cut_lengths(batch, extent, node, first, count));
        break;
    case FB__NODE_FIXED_LIST:
        cut_slots(batch, extent, children, first * node->list_size, count * node->list_size);
        break;
    case FB__NODE_STRUCT:
        for (uint32_t i = 0; i < node->child_count; i++) cut_slots(batch, extent, &children[i], first, count);
        break;
    case FB__NODE_NULL:
    case FB__NODE_DICTIONARY:
    case FB__NODE_RUN_END:
        break;
    }
}

/* Makes the extent end at row place. */
static void cut_back(const struct fb_batch *batch, uint32_t column, struct fb__extent *extent, uint64_t place)
{
    uint64_t rows = extent->first_row + extent->row_count - place;
    if (rows == 0) return;
    cut_slots(batch, extent, &batch->layout->nodes[batch->layout->columns[column].root], place, rows);
    extent->row_count = place - extent->first_row;
}

int fb__batch_find_extent(struct fb_batch *batch, uint32_t column, uint64_t place, struct fb__extent **out,
                          struct fb_error *error)
{
    assert(!batch->is_finished && place <= batch->row_count);
    struct fb__extent *home = fb__batch_home(batch, column);
    *out = find_extent(batch, home, place);
    if (!*out) return begin_extent(batch, home, batch->layout->columns[column].piece_count, place, out, error);
    cut_back(batch, column, *out, place);
    return 0;
}

/* ---- growing ---- */

int fb__batch_resize(struct fb_batch *batch, struct fb__piece *piece, uint64_t capacity_bytes,
                     enum fb__ledger_wait wait, struct fb_error *error)
{
    void *bytes;
    capacity_bytes = fb__gate_bytes(capacity_bytes);
    int code = fb__batch_allocate(batch, capacity_bytes, wait, &bytes, error);
    if (code) return code;
    if (piece->used_bytes) memcpy(bytes, piece->bytes, piece->used_bytes);
    fb__batch_deallocate(batch, piece->bytes, piece->capacity_bytes);
    piece->bytes = bytes;
    piece->capacity_bytes = capacity_bytes;
    return 0;
}

int fb__batch_check_offsets(const struct fb_batch *batch, uint32_t column, uint32_t node, uint64_t count,
                            struct fb_error *error)
{
    const struct fb__node *at = &batch->layout->nodes[node];
    if (at->offset_bytes != 4 || count <= OFFSET_32_MOST) return 0;
    char name[256];
    fb__layout_name(batch->layout, column, node, name, sizeof name);
    return fb__fail(error, EOVERFLOW,
                    "column '%s' has %llu %s in one batch, 32-bit offsets reach %llu: choose a smaller batch size",
                    name, (unsigned long long)count, at->kind == FB__NODE_BINARY ? "bytes" : "list elements",
                    (unsigned long long)OFFSET_32_MOST);
}

/*
 * What the rows still to come will take if they are like those so far. Bounded by what is there or was estimated for
 * a batch, so that one long string cannot claim the limit for rows that turn out to be short.
 */
static uint64_t extra_bytes(const struct fb_batch *batch, const struct fb__extent *extent, const struct fb__room *room,
                            uint64_t exact_bytes)
{
    uint64_t rows = extent->row_count + room->this_rows;
    if (rows == 0 || room->expected_rows <= room->this_rows) return 0;
    const struct fb__column_layout *layout = &batch->layout->columns[room->column];
    uint64_t estimated_bytes = layout->estimated_bytes;
    uint64_t most_bytes = exact_bytes > estimated_bytes ? exact_bytes : estimated_bytes;
    uint64_t rows_left = room->expected_rows - room->this_rows;
    /* Rounded up: rows of one length never make it grow. */
    __extension__ unsigned __int128 bytes = ((unsigned __int128)exact_bytes * rows_left + rows - 1) / rows;
    return bytes < most_bytes ? (uint64_t)bytes : most_bytes;
}

/* The plan has counted with that many bytes for the extent's rows and those that are expected. */
static bool is_as_estimated(const struct fb_batch *batch, const struct fb__extent *extent, const struct fb__room *room,
                            uint64_t bytes)
{
    const struct fb__column_layout *layout = &batch->layout->columns[room->column];
    uint64_t estimated_bytes;
    return layout->piece_count == 1 &&
           !__builtin_mul_overflow(layout->row_bytes, extent->row_count + room->expected_rows, &estimated_bytes) &&
           bytes <= estimated_bytes;
}

int fb__batch_make_room(struct fb_batch *batch, struct fb__extent *extent, const struct fb__room *room,
                        struct fb_error *error)
{
    struct fb__piece *piece = &extent->pieces[room->piece];
    uint64_t exact_bytes;
    if (__builtin_add_overflow(piece->used_bytes, room->add_bytes, &exact_bytes)) exact_bytes = UINT64_MAX;
    uint64_t with_slack_bytes =
        exact_bytes > UINT64_MAX - room->slack_bytes ? UINT64_MAX : exact_bytes + room->slack_bytes;
    if (with_slack_bytes <= piece->capacity_bytes) return 0;
    const struct fb__node *node = &batch->layout->nodes[room->node];
    if (node->kind == FB__NODE_BINARY && room->piece == node->values_piece) {
        int code = fb__batch_check_offsets(batch, room->column, room->node, exact_bytes, error);
        if (code) return code;
    }
    uint64_t extra = extra_bytes(batch, extent, room, exact_bytes);
    /* Rows of a nested column come in many small runs. */
    bool is_again = piece->capacity_bytes > 0 && !batch->layout->columns[room->column].is_flat;
    if (is_again && extra < exact_bytes / 4) extra = exact_bytes / 4;
    if (extra != 0 && extra <= UINT64_MAX - with_slack_bytes) {
        uint64_t bytes = with_slack_bytes + extra;
        /* Room for later rows beyond what was planned is worth taking only where nobody has to give way for it. */
        enum fb__ledger_wait wait = is_as_estimated(batch, extent, room, bytes) ? batch->wait : FB__NO_WAIT;
        if (fb__batch_resize(batch, piece, bytes, wait, NULL) == 0) return 0;
    }
    return fb__batch_resize(batch, piece, with_slack_bytes, batch->wait, error);
}

int fb__batch_extent(struct fb_batch *batch, uint32_t column, uint64_t place, uint64_t add_bytes, uint64_t this_rows,
                     uint64_t expected_rows, struct fb__extent **out, struct fb_error *error)
{
    assert(place <= batch->row_count && this_rows <= batch->row_count - place);
    int code = fb__batch_find_extent(batch, column, place, out, error);
    if (code) return code;
    if (place == (*out)->first_row) (*out)->run_end = place + expected_rows;
    if (add_bytes <= (*out)->pieces[0].capacity_bytes - (*out)->pieces[0].used_bytes) return 0;
    struct fb__extent *home = fb__batch_home(batch, column);
    if (*out != home && place >= (*out)->run_end && place > (*out)->first_row) {
        code = begin_extent(batch, home, 1, place, out, error);
        if (code) return code;
        (*out)->run_end = place + expected_rows;
    }
    const struct fb__room room = {
        .column = column,
        .node = batch->layout->columns[column].leaf,
        .add_bytes = add_bytes,
        .this_rows = this_rows,
        .expected_rows = expected_rows,
    };
    return fb__batch_make_room(batch, *out, &room, error);
}
