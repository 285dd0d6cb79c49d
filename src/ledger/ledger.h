/*
 * The ledger: the one book of bytes of a loader.
 *
 * Every byte is booked in exactly one account, either directly (charge/credit: what lives as long as the loader) or
 * through a grant (what is promised first, lives then, and moves between accounts). The sum of all accounts never
 * passes the limit, at any instant.
 *
 * Grants are made in plan order. A grant's `order` is a row position of the epoch: a batch's is its first row, a
 * stream's is the first row of its unit. The frontier is the lowest row that is not yet in a batch. A request whose
 * order is at or below the frontier is what the lowest unfinished batch needs: it may use everything that is free.
 * A request above the frontier may only use the "extra" bytes: those above the floor that always fits the lowest one.
 *
 *      0                                                                                   limit
 *      |  core, plan  |  floor: 2 batches in the user's hands + streams of a unit  |  extra  |
 *
 *   granted when   order <= frontier:  total + bytes <= limit
 *                  order >  frontier:  total + bytes <= limit  and  above_frontier + bytes <= extra
 *
 * Among requests that wait, only the lowest order is looked at (first come first served among equals), so a small
 * late request never starves the one that the consumer waits for. Requests wait on a condition variable each.
 *
 * Idle grants are warm buffers nobody uses: booked in FB_ACCOUNT_POOL, last retired is first reused, and given up
 * (oldest first) when a request or a direct entry lacks bytes and giving up enough of them would do. The pool
 * (src/data/pool) owns their memory; fb__ledger_ops.evict gives it back.
 *
 * Locking: one lock, rank LEDGER. Callbacks run with no lock held.
 */
#ifndef FB_LEDGER_LEDGER_H
#define FB_LEDGER_LEDGER_H

#include "base/list.h"
#include "base/lock.h"
#include "base/memory.h"

struct fb__ledger;

/* Embedded in what it pays for (a batch, a cursor). Zero-initialised before first use. Fields are the ledger's. */
struct fb__grant {
    struct fb__link link;      /* among live grants by order, or among idle ones */
    enum fb_account account;
    uint64_t order;            /* FB__ORDER_NONE: of no order, counts as below the frontier */
    uint64_t booked_bytes;     /* promised and living */
    uint64_t committed_bytes;  /* living: memory exists for them; <= booked_bytes */
    uint8_t state;             /* enum fb__grant_state in ledger_internal.h; 0: none */
};

#define FB__ORDER_NONE UINT64_C(0)

struct fb__ledger_ops {
    /* Frees the memory behind an idle grant that was taken out of the idle stack, then calls fb__ledger_release on
     * it. Called by the thread that lacks bytes, no lock of the ledger held. Must not ask this ledger for bytes:
     * others wait for the release. */
    void (*evict)(void *context, struct fb__grant *grant);
    void *context;
};

/*
 * Makes a ledger of limit_bytes. Its own memory is booked in FB_ACCOUNT_CORE as the first entry. ops: [borrow until
 * destroyed], may be set later with fb__ledger_set_ops, before the first idle grant.
 * *out: [out: free with fb__ledger_destroy]. ENOBUFS when the limit does not even hold the ledger.
 */
FB_MUST_CHECK int fb__ledger_create(uint64_t limit_bytes, struct fb__ledger **out, struct fb_error *error);
void fb__ledger_set_ops(struct fb__ledger *ledger, const struct fb__ledger_ops *ops);
/* All bytes but its own must have been given back (asserted). NULL is fine. */
void fb__ledger_destroy(struct fb__ledger *ledger);

/* Lowers the limit to what the plan was given, once it is known to hold what is booked already (asserted). Until then
 * a ledger can be made with a limit that refuses nothing, so that the least can be told however small the limit is. */
void fb__ledger_lower_limit(struct fb__ledger *ledger, uint64_t limit_bytes);

/* The gate over this ledger: allocations through it are booked here. */
struct fb__gate *fb__ledger_gate(struct fb__ledger *ledger);

/*
 * Settles what requests above the frontier may use together; until then: nothing. What FB_ACCOUNT_HELD has beyond
 * held_bytes, the floor's share of it, is taken off the extra, so that keeping batches slows reading ahead down
 * before it starves the lowest one.
 */
void fb__ledger_set_extra(struct fb__ledger *ledger, uint64_t extra_bytes, uint64_t held_bytes);

/* Moves the frontier to row position frontier (never back, but for a new epoch's 0). Wakes whom that lets on. */
void fb__ledger_set_frontier(struct fb__ledger *ledger, uint64_t frontier);

/* ---- direct entries ---- */

FB_MUST_CHECK int fb__ledger_charge(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes,
                                    struct fb_error *error);
void fb__ledger_credit(struct fb__ledger *ledger, enum fb_account account, uint64_t bytes);

/* ---- grants ---- */

enum fb__ledger_wait {
    FB__NO_WAIT, /* ENOBUFS at once when it cannot be granted now, which is also where a request of its order or a lower
                    one waits. What takes as long as it takes is evicting warm buffers. */
    FB__WAIT /* waits in plan order until granted, cancelled (ECANCELED) or refused (ENOBUFS) */
};

/*
 * Promises bytes to grant (in state none) in account at order. ENOBUFS, with the figures, when it does not fit and
 * wait says so, when bytes alone pass the limit, or after fb__ledger_refuse_waiting. Warm buffers are evicted for it
 * where that helps. ECANCELED (FB__WAIT only): see fb__ledger_cancel.
 */
FB_MUST_CHECK int fb__ledger_reserve(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account,
                                     uint64_t order, uint64_t bytes, enum fb__ledger_wait wait, struct fb_error *error);

/*
 * As fb__ledger_reserve, but an idle grant that books at least `bytes` serves as well: then *out is that one, moved
 * to account and order with its memory, and `grant` is left in state none; otherwise *out is `grant`. The newest idle
 * grant that is large enough goes before fresh bytes, also one that turns up while the request waits. It needs no
 * further bytes; above the frontier all that it books must fit the extra bytes. A smaller one may be evicted.
 */
FB_MUST_CHECK int fb__ledger_reserve_warm(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account,
                                          uint64_t order, uint64_t bytes, enum fb__ledger_wait wait,
                                          struct fb__grant **out, struct fb_error *error);

/* Trues a live grant up by add_bytes, by the same rules and in its own order. ENOBUFS at once when the grant alone
 * would pass the limit. */
FB_MUST_CHECK int fb__ledger_grow(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t add_bytes,
                                  enum fb__ledger_wait wait, struct fb_error *error);

/* Trues a live grant down; at most booked - committed. */
void fb__ledger_shrink(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes);

/* Promised bytes that now live, and back (what the gate calls). */
void fb__ledger_commit(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes);
void fb__ledger_uncommit(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t bytes);

/* Moves a live grant with all its bytes to another account and order; the sum does not change. */
void fb__ledger_move(struct fb__ledger *ledger, struct fb__grant *grant, enum fb_account account, uint64_t order);

/*
 * Makes `to` (in state none) the live grant that `from` was, with its account, order and bytes; `from` is in state
 * none afterwards and no sum changes. For what embeds its own grant: such a struct can be allocated only once its
 * bytes are promised, and freed only while something else still pays for it. No request of `from` is waiting.
 */
void fb__ledger_transfer(struct fb__ledger *ledger, struct fb__grant *from, struct fb__grant *to);

/* Makes a live grant idle: booked in FB_ACCOUNT_POOL, on top of the idle stack. From here on another thread may
 * reuse or evict it: the caller must not touch what it pays for any more. */
void fb__ledger_retire(struct fb__ledger *ledger, struct fb__grant *grant);

/* Takes the newest idle grant out of the idle stack for the caller to free and release (live in FB_ACCOUNT_POOL);
 * NULL where there is none. Its bytes count as good as free: until it is released (or moved) the caller must not ask
 * this ledger for bytes. */
struct fb__grant *fb__ledger_take_idle(struct fb__ledger *ledger);

/* Gives a live grant's bytes back (committed_bytes is 0: the memory is gone); it is in state none afterwards. */
void fb__ledger_release(struct fb__ledger *ledger, struct fb__grant *grant);

/* ---- waiting ---- */

/* Every request with FB__WAIT whose order is from_order or higher returns ECANCELED, those that wait now and later
 * ones (also where they would not have to wait), until fb__ledger_resume. 0: all of them. Of several calls the lowest
 * from_order holds. */
void fb__ledger_cancel(struct fb__ledger *ledger, uint64_t from_order);
void fb__ledger_resume(struct fb__ledger *ledger);

/* Refuses the lowest waiting request with ENOBUFS where it is starved: see below. False where it is not. */
bool fb__ledger_refuse_waiting(struct fb__ledger *ledger);

/* Whether the lowest waiting request cannot be granted as things are, even if every warm buffer were given up; false
 * where none waits. *missing_bytes (nullable): how many bytes must be given back for it, 0 where not starved. */
bool fb__ledger_is_starved(struct fb__ledger *ledger, uint64_t *missing_bytes);

/* Requests that wait now where the lowest is starved, otherwise 0: both of the same instant, or one that is granted
 * in between would count as waiting while the next one is looked at. One that was granted, refused or cancelled does
 * not count, also before its thread wakes. */
uint32_t fb__ledger_starved_count(struct fb__ledger *ledger);

/*
 * Sets what is called whenever a request begins to wait, and whenever bytes are given back while one waits. It runs
 * under the ledger's lock: it must not take a lock. NULL: nobody watches; after that returns the old one runs no more.
 */
void fb__ledger_set_watch(struct fb__ledger *ledger, void (*watch)(void *context), void *context);

/* ---- figures ---- */

uint64_t fb__ledger_limit(struct fb__ledger *ledger);
uint64_t fb__ledger_total(struct fb__ledger *ledger);
/* Booked bytes of one account. */
uint64_t fb__ledger_account_bytes(struct fb__ledger *ledger, enum fb_account account);
/* Any pointer may be NULL; accounts has FB_ACCOUNT_COUNT entries. */
void fb__ledger_figures(struct fb__ledger *ledger, struct fb_account_stats *accounts, uint64_t *total_bytes,
                        uint64_t *peak_bytes);

/* Recomputes every sum from the grants and direct entries and compares; false when they differ. Debug builds assert
 * it at each operation while the number of grants is small. */
bool fb__ledger_check(struct fb__ledger *ledger);

#endif
