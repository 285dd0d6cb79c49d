/*
 * Requests and grants: who gets bytes, in which order, and what becomes of them.
 *
 * A request is served, or some warm buffers are evicted and it is tried again, or it waits, or it is refused. Direct
 * entries take the same way; they have no order, so they never wait for an earlier request.
 *
 * Lock: the ledger's own. It is let go around ops.evict and while waiting, nowhere else.
 */
#include "ledger/ledger_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/* ---- grants in the lists ---- */

/* Puts a grant that is booked already among the live ones. New grants are mostly late ones: searched from the end. */
static void insert_live_locked(struct fb__ledger *ledger, struct fb__grant *grant)
{
    struct fb__link *after = ledger->live.previous;
    while (after != &ledger->live && fb__grant_of(after)->order > grant->order) after = after->previous;
    fb__list_insert_before(after->next, &grant->link);
    ledger->grant_count++;
    if (grant->state == FB__GRANT_LEAVING) ledger->leaving_bytes += grant->booked_bytes;
    if (grant->order <= ledger->frontier) return;
    ledger->above_bytes += grant->booked_bytes;
    if (grant->link.next == ledger->first_above) ledger->first_above = &grant->link;
}

static void remove_live_locked(struct fb__ledger *ledger, struct fb__grant *grant)
{
    assert(grant->state == FB__GRANT_LIVE || grant->state == FB__GRANT_LEAVING);
    if (grant->order > ledger->frontier) ledger->above_bytes -= grant->booked_bytes;
    if (ledger->first_above == &grant->link) ledger->first_above = grant->link.next;
    if (grant->state == FB__GRANT_LEAVING) {
        ledger->leaving_bytes -= grant->booked_bytes;
        fb__cond_broadcast(&ledger->evicted);
    }
    fb__list_remove(&grant->link);
    ledger->grant_count--;
}

/* Books a grant that is in no list elsewhere; the sum does not change. */
static void rebook_locked(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account, uint64_t order)
{
    fb__ledger_unbook_locked(ledger, grant->account, grant->booked_bytes);
    fb__ledger_book_locked(ledger, account, grant->booked_bytes);
    grant->account = account;
    grant->order = order;
}

static void take_idle_locked(struct fb__ledger *ledger, struct fb__grant *grant)
{
    assert(grant->state == FB__GRANT_IDLE);
    fb__list_remove(&grant->link);
    ledger->grant_count--;
    ledger->idle_bytes -= grant->booked_bytes;
}

static void start_leaving_locked(struct fb__ledger *ledger, struct fb__grant *grant)
{
    take_idle_locked(ledger, grant);
    grant->state = FB__GRANT_LEAVING;
    insert_live_locked(ledger, grant);
}

/* ---- serving a request ---- */

/* The newest idle grant that may serve the request. All its bytes count against the room above the frontier. */
static struct fb__grant *find_idle_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    if (request->kind != FB__REQUEST_WARM) return NULL;
    uint64_t room_bytes = fb__ledger_room_locked(ledger, request->order);
    for (struct fb__link *link = ledger->idle.next; link != &ledger->idle; link = link->next) {
        struct fb__grant *grant = fb__grant_of(link);
        if (grant->booked_bytes >= request->bytes && grant->booked_bytes <= room_bytes) return grant;
    }
    return NULL;
}

static bool fits_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    return request->bytes <= ledger->limit_bytes - ledger->total_bytes &&
           request->bytes <= fb__ledger_room_locked(ledger, request->order);
}

bool fb__ledger_can_serve_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    return find_idle_locked(ledger, request) || fits_locked(ledger, request);
}

static void reuse_locked(struct fb__ledger *ledger, struct fb__request *request, struct fb__grant *idle)
{
    take_idle_locked(ledger, idle);
    rebook_locked(ledger, idle, request->account, request->order);
    idle->state = FB__GRANT_LIVE;
    insert_live_locked(ledger, idle);
    request->grant = idle;
}

static void book_fresh_locked(struct fb__ledger *ledger, struct fb__request *request)
{
    struct fb__grant *grant = request->grant;
    fb__ledger_book_locked(ledger, request->account, request->bytes);
    grant->account = request->account;
    grant->order = request->order;
    grant->booked_bytes = request->bytes;
    grant->committed_bytes = 0;
    grant->state = FB__GRANT_LIVE;
    insert_live_locked(ledger, grant);
}

static void book_growth_locked(struct fb__ledger *ledger, struct fb__request *request)
{
    struct fb__grant *grant = request->grant;
    assert(grant->state == FB__GRANT_LIVE);
    /* The grant's own account and order: it may have been moved while its growth waited. */
    fb__ledger_book_locked(ledger, grant->account, request->bytes);
    grant->booked_bytes += request->bytes;
    if (grant->order > ledger->frontier) ledger->above_bytes += request->bytes;
}

bool fb__ledger_serve_locked(struct fb__ledger *ledger, struct fb__request *request)
{
    struct fb__grant *idle = find_idle_locked(ledger, request);
    if (idle) {
        reuse_locked(ledger, request, idle);
        return true;
    }
    if (!fits_locked(ledger, request)) return false;
    switch (request->kind) {
    case FB__REQUEST_DIRECT:
        fb__ledger_book_locked(ledger, request->account, request->bytes);
        ledger->direct_bytes[request->account] += request->bytes;
        break;
    case FB__REQUEST_FRESH:
    case FB__REQUEST_WARM:
        book_fresh_locked(ledger, request);
        break;
    case FB__REQUEST_GROWTH:
        book_growth_locked(ledger, request);
        break;
    }
    return true;
}

/* ---- making room ---- */

/* What may help a request that cannot be served as things are. */
enum remedy {
    REMEDY_NONE,  /* nothing that the asking thread can do */
    REMEDY_AWAIT, /* what is leaving suffices */
    REMEDY_EVICT  /* together with idle grants it suffices */
};

static enum remedy find_remedy_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    uint64_t free_bytes = ledger->limit_bytes - ledger->total_bytes;
    if (request->bytes > fb__ledger_room_locked(ledger, request->order)) return REMEDY_NONE;
    if (request->bytes - free_bytes <= ledger->leaving_bytes) return REMEDY_AWAIT;
    if (request->bytes - free_bytes - ledger->leaving_bytes <= ledger->idle_bytes) return REMEDY_EVICT;
    return REMEDY_NONE;
}

static void evict_oldest_locked(struct fb__ledger *ledger)
{
    struct fb__grant *grant = fb__grant_of(ledger->idle.previous);
    start_leaving_locked(ledger, grant);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
    ledger->ops.evict(ledger->ops.context, grant);
    fb__lock_acquire(&ledger->lock);
}

void fb__ledger_end_waiting_locked(struct fb__ledger *ledger, struct fb__request *request,
                                   enum fb__request_outcome outcome)
{
    fb__list_remove(&request->link);
    ledger->waiter_count--;
    request->outcome = outcome;
    fb__cond_signal(&request->cond);
}

static void watch_locked(struct fb__ledger *ledger)
{
    if (ledger->watch) ledger->watch(ledger->watch_context);
}

void fb__ledger_settle_locked(struct fb__ledger *ledger)
{
    while (!fb__list_is_empty(&ledger->waiters)) {
        struct fb__request *lowest = fb__request_of(ledger->waiters.next);
        if (!fb__ledger_serve_locked(ledger, lowest)) {
            if (find_remedy_locked(ledger, lowest) == REMEDY_EVICT) fb__cond_signal(&lowest->cond);
            watch_locked(ledger);
            return;
        }
        fb__ledger_end_waiting_locked(ledger, lowest, FB__REQUEST_SERVED);
    }
}

/* ---- asking ---- */

static int refuse(const struct fb__ledger *ledger, const struct fb__request *request, struct fb_error *error)
{
    const char *account = fb_account_name(request->account);
    uint64_t limit_bytes = ledger->limit_bytes;
    uint64_t missing_bytes = request->missing_bytes;
    if (missing_bytes == 0)
        return fb__fail_bytes(error, 0, limit_bytes,
                              "%" PRIu64 " bytes for account %s were refused within the limit of %" PRIu64
                              " bytes: an earlier request is waiting",
                              request->bytes, account, limit_bytes);
    uint64_t required_bytes = missing_bytes > UINT64_MAX - limit_bytes ? UINT64_MAX : limit_bytes + missing_bytes;
    return fb__fail_bytes(error, required_bytes, limit_bytes,
                          "%" PRIu64 " bytes for account %s are %" PRIu64 " bytes too many for the limit of %" PRIu64
                          " bytes",
                          request->bytes, account, missing_bytes, limit_bytes);
}

static int refuse_locked(struct fb__ledger *ledger, struct fb__request *request, struct fb_error *error)
{
    request->missing_bytes = fb__ledger_missing_locked(ledger, request);
    return refuse(ledger, request, error);
}

/* Whether nobody who waits goes before a request that arrives now. */
static bool is_turn_locked(const struct fb__ledger *ledger, const struct fb__request *request)
{
    if (request->kind == FB__REQUEST_DIRECT || fb__list_is_empty(&ledger->waiters)) return true;
    return request->order < fb__request_of(ledger->waiters.next)->order;
}

static int ask_once_locked(struct fb__ledger *ledger, struct fb__request *request, struct fb_error *error)
{
    for (;;) {
        if (!is_turn_locked(ledger, request)) return refuse_locked(ledger, request, error);
        if (fb__ledger_serve_locked(ledger, request)) return 0;
        switch (find_remedy_locked(ledger, request)) {
        case REMEDY_NONE:
            return refuse_locked(ledger, request, error);
        case REMEDY_AWAIT:
            fb__cond_wait(&ledger->evicted, &ledger->lock);
            break;
        case REMEDY_EVICT:
            evict_oldest_locked(ledger);
            break;
        }
    }
}

static void insert_waiter_locked(struct fb__ledger *ledger, struct fb__request *request)
{
    struct fb__link *after = ledger->waiters.previous;
    while (after != &ledger->waiters && fb__request_of(after)->order > request->order) after = after->previous;
    fb__list_insert_before(after->next, &request->link);
    ledger->waiter_count++;
}

static int fail_cancelled(struct fb_error *error)
{
    return fb__fail(error, ECANCELED, "the request for bytes was cancelled");
}

static int ask_patiently_locked(struct fb__ledger *ledger, struct fb__request *request, struct fb_error *error)
{
    if (ledger->is_cancelled && request->order >= ledger->cancel_from_order) return fail_cancelled(error);
    if (is_turn_locked(ledger, request) && fb__ledger_serve_locked(ledger, request)) return 0;
    int code = fb__cond_init(&request->cond, error);
    if (code) return code;
    insert_waiter_locked(ledger, request);
    watch_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    while (request->outcome == FB__REQUEST_OPEN) {
        bool is_lowest = ledger->waiters.next == &request->link;
        if (is_lowest && find_remedy_locked(ledger, request) == REMEDY_EVICT)
            evict_oldest_locked(ledger);
        else
            fb__cond_wait(&request->cond, &ledger->lock);
    }
    fb__cond_destroy(&request->cond);
    switch (request->outcome) {
    case FB__REQUEST_CANCELLED:
        return fail_cancelled(error);
    case FB__REQUEST_REFUSED:
        return refuse(ledger, request, error);
    default:
        return 0;
    }
}

int fb__ledger_ask_locked(struct fb__ledger *ledger, struct fb__request *request, enum fb__ledger_wait wait,
                          struct fb_error *error)
{
    assert(fb__lock_is_held(&ledger->lock));
    /* What grows keeps what it has, so no wait could make room for more than the rest. */
    uint64_t own_bytes = request->kind == FB__REQUEST_GROWTH ? request->grant->booked_bytes : 0;
    if (request->bytes > ledger->limit_bytes - own_bytes) return refuse_locked(ledger, request, error);
    int code =
        wait == FB__WAIT ? ask_patiently_locked(ledger, request, error) : ask_once_locked(ledger, request, error);
    fb__ledger_assert_sound_locked(ledger);
    return code;
}

/* ---- grants ---- */

int fb__ledger_reserve(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account, uint64_t order,
                       uint64_t bytes, enum fb__ledger_wait wait, struct fb_error *error)
{
    assert(grant->state == FB__GRANT_NONE);
    struct fb__request request = {
        .kind = FB__REQUEST_FRESH, .account = account, .order = order, .bytes = bytes, .grant = grant};
    fb__lock_acquire(&ledger->lock);
    int code = fb__ledger_ask_locked(ledger, &request, wait, error);
    fb__lock_release(&ledger->lock);
    return code;
}

int fb__ledger_reserve_warm(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account, uint64_t order,
                            uint64_t bytes, enum fb__ledger_wait wait, struct fb__grant **out, struct fb_error *error)
{
    assert(grant->state == FB__GRANT_NONE);
    struct fb__request request = {
        .kind = FB__REQUEST_WARM, .account = account, .order = order, .bytes = bytes, .grant = grant};
    fb__lock_acquire(&ledger->lock);
    int code = fb__ledger_ask_locked(ledger, &request, wait, error);
    fb__lock_release(&ledger->lock);
    if (code) return code;
    *out = request.grant;
    return 0;
}

int fb__ledger_grow(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t add_bytes, enum fb__ledger_wait wait,
                    struct fb_error *error)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->state == FB__GRANT_LIVE);
    struct fb__request request = {.kind = FB__REQUEST_GROWTH,
                                  .account = grant->account,
                                  .order = grant->order,
                                  .bytes = add_bytes,
                                  .grant = grant};
    int code = fb__ledger_ask_locked(ledger, &request, wait, error);
    fb__lock_release(&ledger->lock);
    return code;
}

void fb__ledger_shrink(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->state == FB__GRANT_LIVE || grant->state == FB__GRANT_LEAVING);
    assert(bytes <= grant->booked_bytes - grant->committed_bytes);
    grant->booked_bytes -= bytes;
    fb__ledger_unbook_locked(ledger, grant->account, bytes);
    if (grant->order > ledger->frontier) ledger->above_bytes -= bytes;
    if (grant->state == FB__GRANT_LEAVING) {
        ledger->leaving_bytes -= bytes;
        fb__cond_broadcast(&ledger->evicted);
    }
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

void fb__ledger_commit(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->state == FB__GRANT_LIVE);
    assert(bytes <= grant->booked_bytes - grant->committed_bytes);
    grant->committed_bytes += bytes;
    fb__lock_release(&ledger->lock);
}

void fb__ledger_uncommit(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->state == FB__GRANT_LIVE || grant->state == FB__GRANT_LEAVING);
    assert(bytes <= grant->committed_bytes);
    grant->committed_bytes -= bytes;
    fb__lock_release(&ledger->lock);
}

void fb__ledger_move(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account, uint64_t order)
{
    fb__lock_acquire(&ledger->lock);
    remove_live_locked(ledger, grant);
    rebook_locked(ledger, grant, account, order);
    grant->state = FB__GRANT_LIVE;
    insert_live_locked(ledger, grant);
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

void fb__ledger_transfer(struct fb__ledger *ledger, struct fb__grant *from, struct fb__grant *to)
{
    fb__lock_acquire(&ledger->lock);
    assert(from->state == FB__GRANT_LIVE || from->state == FB__GRANT_LEAVING);
    assert(to->state == FB__GRANT_NONE);
    /* In the very place of the other, so that neither order nor any sum changes on the way. */
    *to = *from;
    to->link.previous->next = &to->link;
    to->link.next->previous = &to->link;
    if (ledger->first_above == &from->link) ledger->first_above = &to->link;
    *from = (struct fb__grant){0};
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

void fb__ledger_retire(struct fb__ledger *ledger, struct fb__grant *grant)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->state == FB__GRANT_LIVE && ledger->ops.evict);
    remove_live_locked(ledger, grant);
    rebook_locked(ledger, grant, FB_ACCOUNT_POOL, FB__ORDER_NONE);
    grant->state = FB__GRANT_IDLE;
    ledger->idle_bytes += grant->booked_bytes;
    ledger->grant_count++;
    fb__list_insert_before(ledger->idle.next, &grant->link);
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}

struct fb__grant *fb__ledger_take_idle(struct fb__ledger *ledger)
{
    struct fb__grant *grant = NULL;
    fb__lock_acquire(&ledger->lock);
    if (!fb__list_is_empty(&ledger->idle)) {
        grant = fb__grant_of(ledger->idle.next);
        start_leaving_locked(ledger, grant);
    }
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
    return grant;
}

void fb__ledger_release(struct fb__ledger *ledger, struct fb__grant *grant)
{
    fb__lock_acquire(&ledger->lock);
    assert(grant->committed_bytes == 0);
    remove_live_locked(ledger, grant);
    fb__ledger_unbook_locked(ledger, grant->account, grant->booked_bytes);
    grant->booked_bytes = 0;
    grant->order = FB__ORDER_NONE;
    grant->state = FB__GRANT_NONE;
    fb__ledger_settle_locked(ledger);
    fb__ledger_assert_sound_locked(ledger);
    fb__lock_release(&ledger->lock);
}
