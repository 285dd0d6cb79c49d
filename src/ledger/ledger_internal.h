/*
 * What the files of the ledger share. Functions that end in _locked are called with the ledger's lock held.
 *
 *  ledger.c         the book itself: accounts, frontier, direct entries, waiting from outside, figures, self check
 *  ledger_grants.c  requests and grants
 *
 * A request that has to wait lies in `waiters`, by order. Whatever may let one on ends with
 * fb__ledger_settle_locked(), which books for the lowest one itself and then wakes it: bytes never pass through a
 * moment in which somebody later could take them. So at any time that the lock is free, the lowest one cannot be
 * served as things are.
 */
#ifndef FB_LEDGER_LEDGER_INTERNAL_H
#define FB_LEDGER_LEDGER_INTERNAL_H

#include "ledger/ledger.h"

enum fb__grant_state {
    FB__GRANT_NONE = 0,
    FB__GRANT_LIVE,
    FB__GRANT_LEAVING, /* taken out of the idle stack, about to be released; in the live list, of no order */
    FB__GRANT_IDLE
};

enum fb__request_kind {
    FB__REQUEST_DIRECT, /* a direct entry: of no order, never waits */
    FB__REQUEST_FRESH,
    FB__REQUEST_WARM, /* an idle grant will do */
    FB__REQUEST_GROWTH
};

enum fb__request_outcome { FB__REQUEST_OPEN = 0, FB__REQUEST_SERVED, FB__REQUEST_CANCELLED, FB__REQUEST_REFUSED };

/* Lives on the stack of the thread that asks. */
struct fb__request {
    struct fb__link link; /* among waiters */
    struct fb__cond cond; /* initialised only where it waits */
    enum fb__request_kind kind;
    enum fb_account account;
    uint64_t order;
    uint64_t bytes;
    struct fb__grant *grant;          /* NULL for a direct entry; WARM: replaced by the idle grant that served */
    enum fb__request_outcome outcome;
    uint64_t missing_bytes;           /* REFUSED: how many bytes were too many */
};

struct fb__ledger {
    /* immutable after create, but for ops, set before the first idle grant */
    uint64_t own_bytes; /* what this struct is booked with */
    struct fb__ledger_ops ops;

    struct fb__gate gate; /* its counters are atomic */
    struct fb__lock lock;

    /* guarded by lock */
    struct fb__cond evicted;                  /* LEAVING bytes became fewer */
    uint64_t limit_bytes;
    uint64_t account_bytes[FB_ACCOUNT_COUNT]; /* direct entries and grants */
    uint64_t direct_bytes[FB_ACCOUNT_COUNT];
    uint64_t peak_account_bytes[FB_ACCOUNT_COUNT];
    uint64_t total_bytes;
    uint64_t peak_bytes;
    uint64_t extra_bytes;
    uint64_t held_share_bytes;                /* what the floor allows for in FB_ACCOUNT_HELD */
    uint64_t frontier;
    uint64_t above_bytes;                     /* grants whose order is above the frontier */
    uint64_t idle_bytes;
    uint64_t leaving_bytes;
    uint64_t grant_count;                     /* live and idle */
    struct fb__link live;                     /* LIVE and LEAVING grants, lowest order first */
    struct fb__link *first_above;             /* first of them above the frontier; &live where there is none */
    struct fb__link idle;                     /* newest first */
    struct fb__link waiters;                  /* lowest order first, first come first among equals */
    uint32_t waiter_count;
    uint64_t cancel_from_order;
    bool is_cancelled;
    void (*watch)(void *context);             /* see fb__ledger_set_watch(); nullable */
    void *watch_context;
};

static inline struct fb__grant *fb__grant_of(struct fb__link *link)
{
    return FB__CONTAINER_OF(link, struct fb__grant, link);
}

static inline struct fb__request *fb__request_of(struct fb__link *link)
{
    return FB__CONTAINER_OF(link, struct fb__request, link);
}

/* ---- ledger.c ---- */

/* Adds bytes to an account and the total, which the caller knows to fit; and takes them back. */
void fb__ledger_book_locked(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes);
void fb__ledger_unbook_locked(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes);

/* Bytes that a request of this order may not use because they are above the frontier's share: what is left of the
 * extra for one above the frontier, all there is for the others. */
uint64_t fb__ledger_room_locked(const struct fb__ledger *ledger, uint64_t order);

/* How many bytes must be given back before the request fits, idle and leaving ones counted as given back. */
uint64_t fb__ledger_missing_locked(const struct fb__ledger *ledger, const struct fb__request *request);

/* Asserts fb__ledger_check() in debug builds while there are few grants. */
void fb__ledger_assert_sound_locked(struct fb__ledger *ledger);

/* ---- ledger_grants.c ---- */

/* Books for the request where the rules let it, as if it were its turn. */
bool fb__ledger_serve_locked(struct fb__ledger *ledger, struct fb__request *request);
/* Whether fb__ledger_serve_locked() would book. */
bool fb__ledger_can_serve_locked(const struct fb__ledger *ledger, const struct fb__request *request);

/* Serves waiters, lowest first, up to the first that cannot be; wakes that one where evicting would help it. */
void fb__ledger_settle_locked(struct fb__ledger *ledger);

/* Takes a request out of the waiters with its outcome and wakes its thread. It is that thread's own again once the
 * lock is free. */
void fb__ledger_end_waiting_locked(struct fb__ledger *ledger, struct fb__request *request,
                                   enum fb__request_outcome outcome);

/* Serves a request or fails with ENOBUFS or ECANCELED; may let the lock go meanwhile. */
FB_MUST_CHECK int fb__ledger_ask_locked(struct fb__ledger *ledger, struct fb__request *request,
                                        enum fb__ledger_wait wait, struct fb_error *error);

#endif
