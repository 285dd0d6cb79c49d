/*
 * The book itself: accounts, direct entries, the frontier, waiting as seen from outside, figures and the self check.
 *
 * Lock: the ledger's own, taken by every function here that does not end in _locked.
 */
#include "ledger/ledger_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

const char *fb_account_name(enum fb_account account)
{
    static const char *const names[FB_ACCOUNT_COUNT] = {
        [FB_ACCOUNT_CORE] = "core",   [FB_ACCOUNT_PLAN] = "plan",       [FB_ACCOUNT_READ] = "read",
        [FB_ACCOUNT_BATCH] = "batch", [FB_ACCOUNT_REORDER] = "reorder", [FB_ACCOUNT_POOL] = "pool",
        [FB_ACCOUNT_HELD] = "held",
    };
    return (unsigned)account < FB_ACCOUNT_COUNT ? names[account] : "unknown";
}

/* ---- booking ---- */

void fb__ledger_book_locked(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes)
{
    assert(bytes <= ledger->limit_bytes - ledger->total_bytes);
    ledger->account_bytes[account] += bytes;
    ledger->total_bytes += bytes;
    if (ledger->account_bytes[account] > ledger->peak_account_bytes[account])
        ledger->peak_account_bytes[account] = ledger->account_bytes[account];
    if (ledger->total_bytes > ledger->peak_bytes) ledger->peak_bytes = ledger->total_bytes;
}

void fb__ledger_unbook_locked(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes)
{
    assert(bytes <= ledger->account_bytes[account]);
    ledger->account_bytes[account] -= bytes;
    ledger->total_bytes -= bytes;
}

/* What of the extra is used: by grants above the frontier, and by batches held beyond the floor's share. */
static uint64_t used_extra_locked(const struct fb__ledger *ledger)
{
    uint64_t held_bytes = ledger->account_bytes[FB_ACCOUNT_HELD];
    uint64_t share_bytes = ledger->held_share_bytes;
    return ledger->above_bytes + (held_bytes > share_bytes ? held_bytes - share_bytes : 0);
}

uint64_t fb__ledger_room_locked(const struct fb__ledger *ledger, uint64_t order)
{
    if (order <= ledger->frontier) return UINT64_MAX;
    uint64_t used_bytes = used_extra_locked(ledger);
    return used_bytes < ledger->extra_bytes ? ledger->extra_bytes - used_bytes : 0;
}

uint64_t fb__ledger_missing_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    uint64_t kept_bytes = ledger->total_bytes - ledger->idle_bytes - ledger->leaving_bytes;
    uint64_t free_bytes = ledger->limit_bytes - kept_bytes;
    uint64_t missing_bytes = request->bytes > free_bytes ? request->bytes - free_bytes : 0;
    uint64_t room_bytes = fb__ledger_room_locked(ledger, request->order);
    if (request->bytes <= room_bytes) return missing_bytes;
    uint64_t beyond_bytes = request->bytes - room_bytes;
    /* More may be used than there is extra: it can be lowered, batches can be held, and an epoch begins anew. */
    if (room_bytes == 0) beyond_bytes += used_extra_locked(ledger) - ledger->extra_bytes;
    return beyond_bytes > missing_bytes ? beyond_bytes : missing_bytes;
}

/* ---- the gate's book ---- */

static int book_charge(void *context, enum fb_account account, uint64_t bytes, struct fb_error *error)
{
    return fb__ledger_charge(context, account, bytes, error);
}

static void book_credit(void *context, enum fb_account account, uint64_t bytes)
{
    fb__ledger_credit(context, account, bytes);
}

static void book_commit(void *context, struct fb__grant *grant, uint64_t bytes)
{
    fb__ledger_commit(context, grant, bytes);
}

static void book_uncommit(void *context, struct fb__grant *grant, uint64_t bytes)
{
    fb__ledger_uncommit(context, grant, bytes);
}

/* ---- making ---- */

int fb__ledger_create(uint64_t limit_bytes, struct fb__ledger **out, struct fb_error *error)
{
    static const struct fb__book no_book = {0};
    struct fb__gate first_gate; /* there is no ledger yet that could book the ledger */
    struct fb__ledger *ledger;
    void *memory;
    uint64_t own_bytes = fb__gate_bytes(sizeof *ledger);

    if (own_bytes > limit_bytes)
        return fb__fail_bytes(error, own_bytes, limit_bytes,
                              "a limit of %" PRIu64 " bytes does not hold the ledger itself (%" PRIu64 " bytes)",
                              limit_bytes, own_bytes);
    fb__gate_init(&first_gate, &no_book);
    int code = fb__gate_alloc(&first_gate, FB_ACCOUNT_CORE, sizeof *ledger, &memory, error);
    if (code) return code;
    ledger = memory;
    ledger->limit_bytes = limit_bytes;
    ledger->own_bytes = own_bytes;
    fb__list_init(&ledger->live);
    fb__list_init(&ledger->idle);
    fb__list_init(&ledger->waiters);
    ledger->first_above = &ledger->live;
    const struct fb__book book = {.context = ledger,
                                  .charge = book_charge,
                                  .credit = book_credit,
                                  .commit = book_commit,
                                  .uncommit = book_uncommit};
    fb__gate_init(&ledger->gate, &book);
    atomic_store(&ledger->gate.allocation_count, atomic_load(&first_gate.allocation_count));
    code = fb__lock_init(&ledger->lock, FB__RANK_LEDGER, error);
    if (code) goto fail_lock;
    code = fb__cond_init(&ledger->evicted, error);
    if (code) goto fail_cond;

    fb__lock_acquire(&ledger->lock);
    ledger->direct_bytes[FB_ACCOUNT_CORE] = own_bytes;
    fb__ledger_book_locked(ledger, FB_ACCOUNT_CORE, own_bytes);
    fb__lock_release(&ledger->lock);
    *out = ledger;
    return 0;

fail_cond:
    fb__lock_destroy(&ledger->lock);
fail_lock:
    fb__gate_free(&first_gate, FB_ACCOUNT_CORE, ledger, sizeof *ledger);
    return code;
}

void fb__ledger_set_ops(struct fb__ledger *ledger, const struct fb__ledger_ops *ops)
{
    fb__lock_acquire(&ledger->lock);
    ledger->ops = *ops;
    fb__lock_release(&ledger->lock);
}

void fb__ledger_destroy(struct fb__ledger *ledger)
{
    static const struct fb__book no_book = {0};
    struct fb__gate last_gate;

    if (!ledger) return;
    assert(fb__ledger_check(ledger));
    assert(ledger->total_bytes == ledger->own_bytes && ledger->grant_count == 0);
    assert(fb__list_is_empty(&ledger->waiters));
    fb__cond_destroy(&ledger->evicted);
    fb__lock_destroy(&ledger->lock);
    fb__gate_init(&last_gate, &no_book);
    fb__gate_free(&last_gate, FB_ACCOUNT_CORE, ledger, sizeof *ledger);
}

void fb__ledger_lower_limit(struct fb__ledger *ledger, uint64_t limit_bytes)
{
    fb__lock_acquire(&ledger->lock);
    assert(limit_bytes <= ledger->limit_bytes && ledger->peak_bytes <= limit_bytes);
    ledger->limit_bytes = limit_bytes;
    fb__lock_release(&ledger->lock);
}

struct fb__gate *fb__ledger_gate(struct fb__ledger *ledger)
{
    return &ledger->gate;
}

/* ---- the frontier ---- */

void fb__ledger_set_extra(struct fb__ledger *ledger, uint64_t extra_bytes, uint64_t held_bytes)
{
    fb__lock_acquire(&ledger->lock);
    ledger->held_share_bytes = held_bytes;
    ledger->extra_bytes = extra_bytes;
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

void fb__ledger_set_frontier(struct fb__ledger *ledger, uint64_t frontier)
{
    fb__lock_acquire(&ledger->lock);
    assert(frontier >= ledger->frontier || frontier == 0);
    if (frontier < ledger->frontier) {
        ledger->first_above = ledger->live.next;
        ledger->above_bytes = 0;
        for (struct fb__link *link = ledger->live.next; link != &ledger->live; link = link->next)
            ledger->above_bytes += fb__grant_of(link)->booked_bytes;
    }
    ledger->frontier = frontier;
    while (ledger->first_above != &ledger->live && fb__grant_of(ledger->first_above)->order <= frontier) {
        ledger->above_bytes -= fb__grant_of(ledger->first_above)->booked_bytes;
        ledger->first_above = ledger->first_above->next;
    }
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

/* ---- direct entries ---- */

int fb__ledger_charge(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes, struct fb_error *error)
{
    struct fb__request request = {
        .kind = FB__REQUEST_DIRECT, .account = account, .order = FB__ORDER_NONE, .bytes = bytes};
    fb__lock_acquire(&ledger->lock);
    int code = fb__ledger_ask_locked(ledger, &request, FB__NO_WAIT, error);
    fb__lock_release(&ledger->lock);
    return code;
}

void fb__ledger_credit(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes)
{
    fb__lock_acquire(&ledger->lock);
    assert(bytes <= ledger->direct_bytes[account]);
    ledger->direct_bytes[account] -= bytes;
    fb__ledger_unbook_locked(ledger, account, bytes);
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

/* ---- waiting, from outside ---- */

void fb__ledger_cancel(struct fb__ledger *ledger, uint64_t from_order)
{
    fb__lock_acquire(&ledger->lock);
    if (!ledger->is_cancelled || from_order < ledger->cancel_from_order) ledger->cancel_from_order = from_order;
    ledger->is_cancelled = true;
    /* From the last: what stays has lower orders, so the lowest waiter changes only where none is left. */
    while (!fb__list_is_empty(&ledger->waiters)) {
        struct fb__request *last = fb__request_of(ledger->waiters.previous);
        if (last->order < from_order) break;
        fb__ledger_end_waiting_locked(ledger, last, FB__REQUEST_CANCELLED);
    }
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

void fb__ledger_resume(struct fb__ledger *ledger)
{
    fb__lock_acquire(&ledger->lock);
    ledger->is_cancelled = false;
    fb__lock_release(&ledger->lock);
}

/* 0 also where no request waits. */
static uint64_t missing_of_lowest_locked(const struct fb__ledger *ledger)
{
    if (fb__list_is_empty(&ledger->waiters)) return 0;
    return fb__ledger_missing_locked(ledger, fb__request_of(ledger->waiters.next));
}

bool fb__ledger_refuse_waiting(struct fb__ledger *ledger)
{
    fb__lock_acquire(&ledger->lock);
    uint64_t missing_bytes = missing_of_lowest_locked(ledger);
    if (missing_bytes > 0) {
        struct fb__request *lowest = fb__request_of(ledger->waiters.next);
        lowest->missing_bytes = missing_bytes;
        fb__ledger_end_waiting_locked(ledger, lowest, FB__REQUEST_REFUSED);
        fb__ledger_settle_locked(ledger);
    }
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
    return missing_bytes > 0;
}

bool fb__ledger_is_starved(struct fb__ledger *ledger, uint64_t *missing_bytes)
{
    fb__lock_acquire(&ledger->lock);
    uint64_t bytes = missing_of_lowest_locked(ledger);
    fb__lock_release(&ledger->lock);
    if (missing_bytes) *missing_bytes = bytes;
    return bytes > 0;
}

uint32_t fb__ledger_starved_count(struct fb__ledger *ledger)
{
    fb__lock_acquire(&ledger->lock);
    uint32_t starved_count = missing_of_lowest_locked(ledger) > 0 ? ledger->waiter_count : 0;
    fb__lock_release(&ledger->lock);
    return starved_count;
}

void fb__ledger_set_watch(struct fb__ledger *ledger, void (*watch)(void *context), void *context)
{
    fb__lock_acquire(&ledger->lock);
    ledger->watch = watch;
    ledger->watch_context = context;
    fb__lock_release(&ledger->lock);
}

/* ---- figures ---- */

uint64_t fb__ledger_limit(struct fb__ledger *ledger)
{
    fb__lock_acquire(&ledger->lock);
    uint64_t limit_bytes = ledger->limit_bytes;
    fb__lock_release(&ledger->lock);
    return limit_bytes;
}

uint64_t fb__ledger_total(struct fb__ledger *ledger)
{
    uint64_t total_bytes;
    fb__ledger_figures(ledger, NULL, &total_bytes, NULL);
    return total_bytes;
}

uint64_t fb__ledger_account_bytes(struct fb__ledger *ledger, enum fb_account account)
{
    fb__lock_acquire(&ledger->lock);
    uint64_t bytes = ledger->account_bytes[account];
    fb__lock_release(&ledger->lock);
    return bytes;
}

void fb__ledger_figures(struct fb__ledger *ledger, struct fb_account_stats *accounts, uint64_t *total_bytes,
                        uint64_t *peak_bytes)
{
    fb__lock_acquire(&ledger->lock);
    for (int account = 0; accounts && account < FB_ACCOUNT_COUNT; account++) {
        accounts[account].bytes = ledger->account_bytes[account];
        accounts[account].peak_bytes = ledger->peak_account_bytes[account];
    }
    if (total_bytes) *total_bytes = ledger->total_bytes;
    if (peak_bytes) *peak_bytes = ledger->peak_bytes;
    fb__lock_release(&ledger->lock);
}

/* ---- self check ---- */

/* Adds up one list of grants; false where a grant is not what a grant in that list must be. */
static bool add_up_locked(const struct fb__ledger *ledger, struct fb__link *head, uint64_t *account_bytes,
                          uint64_t *above_bytes, uint64_t *leaving_bytes, uint64_t *count)
{
    uint64_t order = 0;
    struct fb__link *first_above = head;
    for (struct fb__link *link = head->next; link != head; link = link->next) {
        const struct fb__grant *grant = fb__grant_of(link);
        bool is_idle = grant->state == FB__GRANT_IDLE;
        if (is_idle != (head == &ledger->idle) || grant->state == FB__GRANT_NONE) return false;
        if (link->next->previous != link || grant->order < order) return false;
        if (grant->committed_bytes > grant->booked_bytes) return false;
        if ((is_idle || grant->state == FB__GRANT_LEAVING) &&
            (grant->account != FB_ACCOUNT_POOL || grant->order != FB__ORDER_NONE))
            return false;
        order = grant->order;
        account_bytes[grant->account] += grant->booked_bytes;
        if (grant->state == FB__GRANT_LEAVING) *leaving_bytes += grant->booked_bytes;
        if (order > ledger->frontier) {
            if (first_above == head) first_above = link;
            *above_bytes += grant->booked_bytes;
        }
        ++*count;
    }
    return head == &ledger->idle || first_above == ledger->first_above;
}

static bool is_sound_locked(struct fb__ledger *ledger)
{
    uint64_t account_bytes[FB_ACCOUNT_COUNT] = {0};
    uint64_t above_bytes = 0;
    uint64_t leaving_bytes = 0;
    uint64_t grant_count = 0;

    if (!add_up_locked(ledger, &ledger->idle, account_bytes, &above_bytes, &leaving_bytes, &grant_count)) return false;
    if (account_bytes[FB_ACCOUNT_POOL] != ledger->idle_bytes) return false;
    if (!add_up_locked(ledger, &ledger->live, account_bytes, &above_bytes, &leaving_bytes, &grant_count)) return false;
    if (above_bytes != ledger->above_bytes || leaving_bytes != ledger->leaving_bytes) return false;
    if (grant_count != ledger->grant_count) return false;

    uint64_t total_bytes = 0;
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) {
        uint64_t bytes = account_bytes[account] + ledger->direct_bytes[account];
        if (bytes != ledger->account_bytes[account] || bytes > ledger->peak_account_bytes[account]) return false;
        total_bytes += bytes;
    }
    if (total_bytes != ledger->total_bytes || total_bytes > ledger->peak_bytes) return false;
    if (ledger->peak_bytes > ledger->limit_bytes) return false;

    uint64_t order = 0;
    uint32_t waiter_count = 0;
    for (struct fb__link *link = ledger->waiters.next; link != &ledger->waiters; link = link->next) {
        const struct fb__request *request = fb__request_of(link);
        if (request->outcome != FB__REQUEST_OPEN || request->order < order) return false;
        order = request->order;
        waiter_count++;
    }
    if (waiter_count != ledger->waiter_count) return false;
    if (waiter_count == 0) return true;
    return !fb__ledger_can_serve_locked(ledger, fb__request_of(ledger->waiters.next));
}

bool fb__ledger_check(struct fb__ledger *ledger)
{
    fb__lock_acquire(&ledger->lock);
    bool is_sound = is_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
    return is_sound;
}

void fb__ledger_assert_sound_locked(struct fb__ledger *ledger)
{
    assert(fb__lock_is_held(&ledger->lock));
    assert(ledger->grant_count > 64 || is_sound_locked(ledger));
    (void)ledger;
}
