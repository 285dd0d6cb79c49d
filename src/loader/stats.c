/* Snapshots of what a loader did. */
#include <string.h>

#include "base/clock.h"
#include "loader/loader.h"

/*
 * Which part sets the pace, judged by capacity: the time a part needs for a batch with all its threads. Judging by
 * who happens to wait for whom would name a fast part that stands next to the slow one.
 */
static const char *bottleneck(const struct fb_loader *loader, const struct fb_stats *stats)
{
    if (stats->batches == 0) return NULL;
    double read_s = stats->stages[0].busy_s / loader->thread_count;
    return stats->user_s > read_s ? "consumer" : stats->stages[0].name;
}

void fb_loader_stats(struct fb_loader *loader, struct fb_stats *out)
{
    const double second = (double)FB__SECOND_NS;
    struct fb__ledger *ledger = loader->pool->ledger;
    memset(out, 0, sizeof *out);
    fb__lock_acquire(&loader->stats_lock);
    out->batches = loader->batch_count;
    out->rows = loader->row_count;
    out->bytes_out = loader->bytes_out;
    out->first_batch_s = (double)loader->first_batch_ns / second;
    out->blocked_s = (double)loader->blocked_ns / second;
    out->user_s = (double)loader->user_ns / second;
    fb__histogram_summary(&loader->next_wait, &out->next_wait);
    out->stage_count = 1;
    out->stages[0] = loader->read_before;
    struct fb__epoch *epoch = loader->epoch;
    if (epoch) fb__epoch_retain(epoch);
    fb__lock_release(&loader->stats_lock);
    if (epoch) {
        struct fb_stage_stats stage_stats;
        fb__stage_stats(epoch->stage, &stage_stats);
        fb__loader_add_stage(&out->stages[0], &stage_stats);
        fb__epoch_release(epoch);
    }
    out->bottleneck = bottleneck(loader, out);
    out->memory_limit_bytes = fb__ledger_limit(ledger);
    fb__ledger_figures(ledger, out->accounts, &out->charged_bytes, &out->peak_bytes);
    out->foreign_bytes = atomic_load(&loader->source->foreign_peak_bytes);
    out->held_batches = atomic_load(&loader->pool->held_batches);
    out->gate_allocations = atomic_load(&fb__ledger_gate(ledger)->allocation_count);
}
