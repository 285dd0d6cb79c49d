/*
 * Batches on their way: opened by the first reader that reaches them, filled by all, handed on by the one that fills
 * the last cell; with preserve_order through a window that is bounded by the limit's bytes alone.
 */
#include <assert.h>
#include <errno.h>

#include "loader/loader.h"

/* ---- open batches ---- */

static struct fb_batch **slot_of(struct fb__epoch *epoch, uint64_t index)
{
    return &epoch->open_batches[index & (FB__OPEN_TABLE_SIZE - 1)];
}

static struct fb_batch *find_locked(struct fb__epoch *epoch, uint64_t index)
{
    struct fb_batch *batch = *slot_of(epoch, index);
    while (batch && batch->index != index) batch = batch->table_next;
    return batch;
}

static void remove_locked(struct fb__epoch *epoch, struct fb_batch *batch)
{
    struct fb_batch **link = slot_of(epoch, batch->index);
    while (*link != batch) link = &(*link)->table_next;
    *link = batch->table_next;
    batch->table_next = NULL;
}

static bool another_opens_locked(const struct fb__epoch *epoch, uint64_t index)
{
    for (uint32_t i = 0; i < epoch->reader_count; i++)
        if (epoch->readers[i].is_opening && epoch->readers[i].opening_index == index) return true;
    return false;
}

/* Finds the batch, or waits while another reader opens it, or makes this reader the one that does. */
static int find_or_begin_opening(struct fb__epoch *epoch, struct fb__reader *reader, uint64_t index,
                                 struct fb_batch **out)
{
    int code = 0;
    fb__lock_acquire(&epoch->lock);
    for (;;) {
        *out = NULL;
        if (epoch->is_stopping || fb__plan_batch_start(&epoch->loader->plan, index) >= epoch->error_row) {
            code = ECANCELED;
            break;
        }
        *out = find_locked(epoch, index);
        if (*out) break;
        if (!another_opens_locked(epoch, index)) {
            reader->is_opening = true;
            reader->opening_index = index;
            break;
        }
        fb__stage_poke(epoch->stage);
        fb__parking_wait(&epoch->opened, &epoch->lock);
    }
    fb__lock_release(&epoch->lock);
    return code;
}

int fb__epoch_open_batch(struct fb__epoch *epoch, struct fb__worker *worker, uint64_t index, struct fb_batch **out,
                         struct fb_error *error)
{
    const struct fb__plan *plan = &epoch->loader->plan;
    struct fb__reader *reader = &epoch->readers[fb__worker_index(worker)];
    enum fb__worker_state before = fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code = find_or_begin_opening(epoch, reader, index, out);
    if (code == 0 && !*out) {
        uint64_t first_row = fb__plan_batch_start(plan, index);
        uint64_t row_count = fb__plan_batch_end(plan, index) - first_row;
        code = fb__pool_take(epoch->loader->pool, index, row_count, first_row, out, error);
        fb__lock_acquire(&epoch->lock);
        reader->is_opening = false;
        if (code == 0) {
            struct fb_batch **slot = slot_of(epoch, index);
            (*out)->table_next = *slot;
            *slot = *out;
        }
        fb__parking_wake_all(&epoch->opened);
        fb__lock_release(&epoch->lock);
    }
    fb__worker_enter(worker, before);
    return code;
}

void fb__epoch_drop_batches(struct fb__epoch *epoch)
{
    for (unsigned i = 0; i < FB__OPEN_TABLE_SIZE; i++) {
        while (epoch->open_batches[i]) {
            struct fb_batch *batch = epoch->open_batches[i];
            epoch->open_batches[i] = batch->table_next;
            batch->table_next = NULL;
            fb__pool_return(batch);
        }
    }
    struct fb__link *link;
    while ((link = fb__list_pop_first(&epoch->window))) fb__pool_return(FB__CONTAINER_OF(link, struct fb_batch, link));
}

/* ---- filled cells ---- */

int fb__epoch_claim(struct fb__epoch *epoch, struct fb__worker *worker, struct fb_batch *batch, uint64_t cells)
{
    fb__lock_acquire(&epoch->lock);
    assert(batch->cells_unclaimed >= cells);
    batch->cells_unclaimed -= cells;
    /* With preserve_order only the batch that comes next counts as ready; the others wait in the window. */
    bool needs_slot = batch->cells_unclaimed == 0 && (!epoch->preserve_order || batch->index == epoch->next_complete);
    fb__lock_release(&epoch->lock);
    if (!needs_slot) return 0;
    int code = fb__stage_take_slot(epoch->stage, worker, fb__plan_batch_start(&epoch->loader->plan, batch->index));
    if (code) return code;
    /* The one that completes the batch need not be the one that began its last part. */
    fb__stage_pass_slot(epoch->stage, worker);
    fb__lock_acquire(&epoch->lock);
    batch->has_slot = true;
    fb__lock_release(&epoch->lock);
    return 0;
}

static void put_in_window_locked(struct fb__epoch *epoch, struct fb_batch *batch)
{
    struct fb__link *position = epoch->window.previous;
    while (position != &epoch->window && FB__CONTAINER_OF(position, struct fb_batch, link)->index > batch->index)
        position = position->previous;
    fb__list_insert_before(position->next, &batch->link);
    fb__ledger_move(epoch->loader->pool->ledger, &batch->grant, FB_ACCOUNT_REORDER, batch->grant.order);
}

/* Hands a complete batch on. The puts happen under the lock, so that they keep the order they are made in. */
static void publish_locked(struct fb__epoch *epoch, struct fb__worker *worker, struct fb_batch *batch)
{
    if (!epoch->preserve_order) {
        fb__stage_put(epoch->stage, worker, &batch->link, batch->has_slot);
        return;
    }
    if (batch->index != epoch->next_complete) {
        put_in_window_locked(epoch, batch);
        return;
    }
    fb__stage_put(epoch->stage, worker, &batch->link, batch->has_slot);
    epoch->next_complete++;
    while (!fb__list_is_empty(&epoch->window)) {
        struct fb_batch *next = FB__CONTAINER_OF(epoch->window.next, struct fb_batch, link);
        if (next->index != epoch->next_complete) break;
        fb__list_remove(&next->link);
        fb__ledger_move(epoch->loader->pool->ledger, &next->grant, FB_ACCOUNT_BATCH, next->grant.order);
        fb__stage_put(epoch->stage, worker, &next->link, next->has_slot);
        epoch->next_complete++;
    }
}

int fb__epoch_filled(struct fb__epoch *epoch, struct fb__worker *worker, struct fb_batch *batch, uint64_t cells,
                     struct fb_error *error)
{
    fb__lock_acquire(&epoch->lock);
    assert(batch->cells_left >= cells);
    batch->cells_left -= cells;
    bool is_complete = batch->cells_left == 0;
    if (is_complete) remove_locked(epoch, batch);
    fb__lock_release(&epoch->lock);
    if (!is_complete) return 0;

    enum fb__worker_state before = FB__WORKER_BUSY;
    if (batch->layout->home_count > 0) before = fb__worker_enter(worker, FB__WORKER_WAITS_BYTES);
    int code = fb__batch_finish(batch, error);
    if (batch->layout->home_count > 0) fb__worker_enter(worker, before);
    if (code) {
        fb__pool_return(batch);
        return code;
    }
    fb__lock_acquire(&epoch->lock);
    publish_locked(epoch, worker, batch);
    fb__lock_release(&epoch->lock);
    return 0;
}

/* ---- the frontier ---- */

void fb__epoch_advance_locked(struct fb__epoch *epoch)
{
    const struct fb__plan *plan = &epoch->loader->plan;
    uint64_t next_unit = epoch->next_task / plan->set_count;
    uint64_t frontier = next_unit < plan->unit_count ? plan->unit_start[next_unit] : plan->rows;
    for (uint32_t i = 0; i < epoch->reader_count; i++)
        if (epoch->readers[i].has_task && epoch->readers[i].position < frontier) frontier = epoch->readers[i].position;
    if (frontier <= epoch->frontier) return;
    epoch->frontier = frontier;
    fb__stage_set_frontier(epoch->stage, frontier);
    fb__ledger_set_frontier(epoch->loader->pool->ledger, frontier);
}
