/* White-box tests of src/ledger: the rules one by one, on a single thread. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger_fixture.h"

static int reserve(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t order, uint64_t bytes)
{
    return fb__ledger_reserve(ledger, grant, FB_ACCOUNT_READ, order, bytes, FB__NO_WAIT, NULL);
}

/* ---- making ---- */

static void a_limit_that_does_not_hold_the_ledger_is_refused(void)
{
    struct fb_error error;
    struct fb__ledger *ledger = NULL;
    CHECK_EQUAL(fb__ledger_create(sizeof *ledger - 1, &ledger, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, sizeof *ledger);
    CHECK_EQUAL(error.limit_bytes, sizeof *ledger - 1);
    CHECK(ledger == NULL);
    CHECK_EQUAL(fb__ledger_create(sizeof *ledger, &ledger, &error), 0);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 1, &error), ENOBUFS);
    fb__ledger_destroy(ledger);
    fb__ledger_destroy(NULL);
}

static void a_ledger_is_its_own_first_entry(void)
{
    struct shelf shelf;
    struct fb__ledger *ledger = make_ledger(&shelf, 1000);
    struct fb_account_stats accounts[FB_ACCOUNT_COUNT];
    uint64_t total_bytes;
    uint64_t peak_bytes;
    fb__ledger_figures(ledger, accounts, &total_bytes, &peak_bytes);
    CHECK_EQUAL(accounts[FB_ACCOUNT_CORE].bytes, sizeof *ledger);
    CHECK_EQUAL(accounts[FB_ACCOUNT_CORE].peak_bytes, sizeof *ledger);
    CHECK_EQUAL(total_bytes, sizeof *ledger);
    CHECK_EQUAL(peak_bytes, sizeof *ledger);
    CHECK_EQUAL(fb__ledger_limit(ledger), sizeof *ledger + 1000);
    CHECK_EQUAL(atomic_load(&fb__ledger_gate(ledger)->allocation_count), 1);
    end_ledger(&shelf);
}

static void every_account_has_a_name(void)
{
    static const char *const names[] = {"core", "plan", "read", "batch", "reorder", "pool", "held"};
    CHECK_EQUAL(sizeof names / sizeof names[0], FB_ACCOUNT_COUNT);
    for (int i = 0; i < FB_ACCOUNT_COUNT; i++) CHECK_TEXT(fb_account_name((enum fb_account)i), names[i]);
    CHECK_TEXT(fb_account_name(FB_ACCOUNT_COUNT), "unknown");
}

/* ---- direct entries ---- */

static void direct_entries_fill_the_limit_to_the_byte(void)
{
    struct shelf shelf;
    struct fb_error error;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 60, &error), 0);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 41, &error), ENOBUFS);
    CHECK_EQUAL(error.code, ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, sizeof *ledger + 100);
    CHECK_EQUAL(error.required_bytes, sizeof *ledger + 101);
    CHECK_CONTAINS(error.message, "41 bytes for account core are 1 bytes too many");
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 40, &error), 0);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, UINT64_MAX, &error), ENOBUFS);
    CHECK_EQUAL(used_bytes(ledger), 100);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_PLAN), 60);
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 60);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_READ, 60, &error), 0);
    fb__ledger_credit(ledger, FB_ACCOUNT_READ, 60);
    fb__ledger_credit(ledger, FB_ACCOUNT_CORE, 40);
    end_ledger(&shelf);
}

static void peaks_stay_when_bytes_go(void)
{
    struct shelf shelf;
    struct fb__grant grant = {0};
    struct fb_account_stats accounts[FB_ACCOUNT_COUNT];
    uint64_t peak_bytes;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 30, NULL), 0);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 50), 0);
    fb__ledger_move(ledger, &grant, FB_ACCOUNT_HELD, 0); /* not in two accounts at once: the sum's peak stays 80 */
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 30);
    fb__ledger_release(ledger, &grant);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 20, NULL), 0);
    fb__ledger_figures(ledger, accounts, NULL, &peak_bytes);
    CHECK_EQUAL(peak_bytes, sizeof *ledger + 80);
    CHECK_EQUAL(accounts[FB_ACCOUNT_PLAN].peak_bytes, 30);
    CHECK_EQUAL(accounts[FB_ACCOUNT_PLAN].bytes, 20);
    CHECK_EQUAL(accounts[FB_ACCOUNT_READ].peak_bytes, 50);
    CHECK_EQUAL(accounts[FB_ACCOUNT_HELD].peak_bytes, 50);
    CHECK_EQUAL(accounts[FB_ACCOUNT_HELD].bytes, 0);
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 20);
    end_ledger(&shelf);
}

/* ---- grants ---- */

static void a_grant_is_promised_then_lives_then_is_given_back(void)
{
    struct shelf shelf;
    struct fb__grant grant = {0};
    void *memory;
    struct fb__ledger *ledger = make_ledger(&shelf, 1000);
    CHECK_EQUAL(reserve(ledger, &grant, 7, 100), ENOBUFS); /* above the frontier, and nothing is extra */
    CHECK_EQUAL(grant.state, FB__GRANT_NONE);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 100), 0);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_READ), 100);
    CHECK_EQUAL(fb__gate_alloc_granted(fb__ledger_gate(ledger), &grant, 60, &memory, NULL), 0);
    CHECK_EQUAL(grant.committed_bytes, 60);
    CHECK_EQUAL(used_bytes(ledger), 100); /* memory for what is promised books nothing new */
    fb__ledger_shrink(ledger, &grant, 40);
    CHECK_EQUAL(used_bytes(ledger), 60);
    fb__gate_free_granted(fb__ledger_gate(ledger), &grant, memory, 60);
    CHECK_EQUAL(grant.committed_bytes, 0);
    CHECK_EQUAL(used_bytes(ledger), 60);
    fb__ledger_release(ledger, &grant);
    CHECK_EQUAL(grant.state, FB__GRANT_NONE);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 1000), 0); /* the same struct serves again */
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void more_than_the_limit_is_refused_at_once_even_with_patience(void)
{
    struct shelf shelf;
    struct fb_error error;
    struct fb__grant grant = {0};
    struct fb__grant *out = NULL;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    const uint64_t limit = fb__ledger_limit(ledger);
    CHECK_EQUAL(fb__ledger_reserve(ledger, &grant, FB_ACCOUNT_READ, 0, limit + 1, FB__WAIT, &error), ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, limit);
    CHECK_EQUAL(error.required_bytes, sizeof *ledger + limit + 1);
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &grant, FB_ACCOUNT_READ, 0, UINT64_MAX, FB__WAIT, &out, &error),
                ENOBUFS);
    CHECK(out == NULL);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 60), 0);
    CHECK_EQUAL(fb__ledger_grow(ledger, &grant, limit - 59, FB__WAIT, &error), ENOBUFS); /* itself and 1 too many */
    CHECK_EQUAL(grant.booked_bytes, 60);
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void above_the_frontier_only_the_extra_bytes_are_there(void)
{
    struct shelf shelf;
    struct fb_error error;
    struct fb__grant below = {0};
    struct fb__grant above[2] = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 40, 0);
    fb__ledger_set_frontier(ledger, 10);
    CHECK_EQUAL(reserve(ledger, &above[0], 11, 41), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &above[0], 11, 30), 0);
    CHECK_EQUAL(fb__ledger_reserve(ledger, &above[1], FB_ACCOUNT_READ, 12, 15, FB__NO_WAIT, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, fb__ledger_limit(ledger) + 5); /* a larger limit is that much more extra */
    CHECK_EQUAL(reserve(ledger, &below, 10, 71), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &below, 10, 70), 0); /* at the frontier: everything that is free */
    CHECK_EQUAL(reserve(ledger, &above[1], 12, 10), ENOBUFS); /* extra, but the limit is reached */
    fb__ledger_release(ledger, &below);
    CHECK_EQUAL(reserve(ledger, &above[1], 12, 10), 0);
    CHECK_EQUAL(fb__ledger_grow(ledger, &above[0], 1, FB__NO_WAIT, &error), ENOBUFS);
    fb__ledger_shrink(ledger, &above[0], 5);
    CHECK_EQUAL(fb__ledger_grow(ledger, &above[1], 5, FB__NO_WAIT, &error), 0);
    fb__ledger_release(ledger, &above[0]);
    fb__ledger_release(ledger, &above[1]);
    end_ledger(&shelf);
}

static void what_the_frontier_passes_no_longer_takes_from_the_extra(void)
{
    struct shelf shelf;
    struct fb__grant grants[5] = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 40, 0);
    CHECK_EQUAL(reserve(ledger, &grants[2], 30, 10), 0);
    CHECK_EQUAL(reserve(ledger, &grants[0], 10, 15), 0);
    CHECK_EQUAL(reserve(ledger, &grants[1], 20, 15), 0);
    CHECK_EQUAL(reserve(ledger, &grants[3], 40, 1), ENOBUFS);
    fb__ledger_set_frontier(ledger, 9);
    CHECK_EQUAL(reserve(ledger, &grants[3], 40, 1), ENOBUFS);
    fb__ledger_set_frontier(ledger, 10);
    CHECK_EQUAL(reserve(ledger, &grants[3], 40, 16), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &grants[3], 40, 15), 0);
    fb__ledger_set_frontier(ledger, 25); /* 30 and 40 stay above: 25 bytes of the 40 */
    CHECK_EQUAL(reserve(ledger, &grants[4], 26, 16), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &grants[4], 26, 15), 0);
    fb__ledger_release(ledger, &grants[0]);
    fb__ledger_release(ledger, &grants[4]);
    fb__ledger_set_frontier(ledger, 0); /* a new epoch: all that has an order is above again, 40 of 40 */
    CHECK(fb__ledger_check(ledger));
    CHECK_EQUAL(reserve(ledger, &grants[4], 1, 1), ENOBUFS);
    fb__ledger_release(ledger, &grants[3]);
    CHECK_EQUAL(reserve(ledger, &grants[4], 1, 16), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &grants[4], 1, 15), 0);
    for (int i = 1; i < 5; i++)
        if (grants[i].state == FB__GRANT_LIVE) fb__ledger_release(ledger, &grants[i]);
    end_ledger(&shelf);
}

static void a_moved_grant_counts_where_it_goes(void)
{
    struct shelf shelf;
    struct fb__grant grant = {0};
    struct fb__grant other = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 40, 40);
    CHECK_EQUAL(reserve(ledger, &grant, 5, 40), 0);
    fb__ledger_move(ledger, &grant, FB_ACCOUNT_HELD, FB__ORDER_NONE);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_READ), 0);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_HELD), 40);
    CHECK_EQUAL(used_bytes(ledger), 40);
    CHECK_EQUAL(reserve(ledger, &other, 6, 40), 0); /* of no order: the extra is free again */
    fb__ledger_release(ledger, &other);
    fb__ledger_move(ledger, &grant, FB_ACCOUNT_BATCH, 5);
    CHECK_EQUAL(reserve(ledger, &other, 6, 1), ENOBUFS);
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void bytes_held_beyond_their_share_come_off_the_extra(void)
{
    struct shelf shelf;
    struct fb__grant held = {0};
    struct fb__grant above = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 200);
    fb__ledger_set_extra(ledger, 40, 25);
    CHECK_EQUAL(reserve(ledger, &held, 0, 35), 0);
    CHECK_EQUAL(reserve(ledger, &above, 5, 40), 0);
    fb__ledger_release(ledger, &above);
    fb__ledger_move(ledger, &held, FB_ACCOUNT_HELD, FB__ORDER_NONE); /* 10 more than its share */
    CHECK_EQUAL(reserve(ledger, &above, 5, 31), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &above, 5, 30), 0);
    CHECK_EQUAL(fb__ledger_grow(ledger, &held, 100, FB__NO_WAIT, NULL), 0); /* more than all the extra */
    CHECK_EQUAL(fb__ledger_grow(ledger, &above, 1, FB__NO_WAIT, NULL), ENOBUFS);
    fb__ledger_release(ledger, &above);
    CHECK_EQUAL(reserve(ledger, &above, 5, 1), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &above, 0, 65), 0); /* at the frontier all that is free is there */
    fb__ledger_release(ledger, &above);
    fb__ledger_release(ledger, &held);
    end_ledger(&shelf);
}

static void a_lowered_limit_holds_from_then_on(void)
{
    struct fb__ledger *ledger;
    struct fb_error error;
    CHECK_EQUAL(fb__ledger_create(UINT64_MAX, &ledger, &error), 0);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 60, &error), 0);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, UINT64_MAX, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, UINT64_MAX); /* what would do is more than a figure can say */
    fb__ledger_lower_limit(ledger, sizeof *ledger + 100);
    CHECK_EQUAL(fb__ledger_limit(ledger), sizeof *ledger + 100);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 41, &error), ENOBUFS);
    CHECK_EQUAL(error.limit_bytes, sizeof *ledger + 100);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 40, &error), 0);
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 100);
    fb__ledger_destroy(ledger);
}

static void a_transferred_grant_leaves_its_old_struct_free(void)
{
    struct shelf shelf;
    struct fb__grant from = {0};
    struct fb__grant to = {0};
    struct fb__grant other = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 100, 0);
    CHECK_EQUAL(reserve(ledger, &from, 5, 40), 0); /* the first above the frontier */
    CHECK_EQUAL(reserve(ledger, &other, 6, 10), 0);
    fb__ledger_commit(ledger, &from, 30);
    fb__ledger_transfer(ledger, &from, &to);
    CHECK(fb__ledger_check(ledger));
    CHECK_EQUAL(from.state, FB__GRANT_NONE);
    CHECK_EQUAL(to.booked_bytes, 40);
    CHECK_EQUAL(to.committed_bytes, 30);
    CHECK_EQUAL(to.order, 5);
    CHECK_EQUAL(used_bytes(ledger), 50);
    memset(&from, 0xFF, sizeof from); /* nothing points into it */
    fb__ledger_set_frontier(ledger, 5);
    fb__ledger_uncommit(ledger, &to, 30);
    fb__ledger_release(ledger, &to);
    fb__ledger_release(ledger, &other);
    end_ledger(&shelf);
}

/* ---- warm buffers ---- */

static void the_newest_idle_grant_that_is_large_enough_is_reused(void)
{
    struct shelf shelf;
    struct buffer idle[4];
    struct fb__grant fresh = {0};
    struct fb__grant *out;
    static const uint64_t sizes[] = {20, 30, 10, 40};
    struct fb__ledger *ledger = make_ledger(&shelf, 1000);
    for (int i = 0; i < 4; i++) make_idle(ledger, &idle[i], sizes[i]);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_POOL), 100);
    static const int expected[] = {3, 1, 0}; /* for 15 bytes: 40, then past the 10 that is too small 30, then 20 */
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &fresh, FB_ACCOUNT_BATCH, 0, 15, FB__NO_WAIT, &out, NULL), 0);
        CHECK(out == &idle[expected[i]].grant);
        CHECK_EQUAL(fresh.state, FB__GRANT_NONE);
        CHECK_EQUAL(out->account, FB_ACCOUNT_BATCH);
        CHECK_EQUAL(out->committed_bytes, sizes[expected[i]]); /* with its memory */
        CHECK_EQUAL(used_bytes(ledger), 100);
    }
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &fresh, FB_ACCOUNT_BATCH, 0, 15, FB__NO_WAIT, &out, NULL), 0);
    CHECK(out == &fresh);
    CHECK_EQUAL(used_bytes(ledger), 115);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_POOL), 10);
    fb__ledger_release(ledger, &fresh);
    CHECK(fb__ledger_take_idle(ledger) == &idle[2].grant);
    CHECK(fb__ledger_take_idle(ledger) == NULL);
    for (int i = 0; i < 4; i++) free_buffer(ledger, &idle[i]);
    CHECK_EQUAL(shelf.eviction_count, 0);
    end_ledger(&shelf);
}

static void above_the_frontier_reuse_counts_all_that_the_idle_grant_books(void)
{
    struct shelf shelf;
    struct buffer idle[2];
    struct fb__grant fresh = {0};
    struct fb__grant *out;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 40, 0);
    make_idle(ledger, &idle[0], 35);
    make_idle(ledger, &idle[1], 50);
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &fresh, FB_ACCOUNT_BATCH, 5, 10, FB__NO_WAIT, &out, NULL), 0);
    CHECK(out == &idle[0].grant); /* the newer one books 50: too many */
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &fresh, FB_ACCOUNT_BATCH, 5, 6, FB__NO_WAIT, &out, NULL), ENOBUFS);
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &fresh, FB_ACCOUNT_BATCH, 5, 5, FB__NO_WAIT, &out, NULL), 0);
    CHECK(out == &fresh); /* 15 bytes are free and 5 of them extra: fresh ones do */
    CHECK_EQUAL(shelf.eviction_count, 0);
    fb__ledger_release(ledger, &fresh);
    free_buffer(ledger, &idle[0]);
    CHECK(fb__ledger_take_idle(ledger) == &idle[1].grant);
    free_buffer(ledger, &idle[1]);
    end_ledger(&shelf);
}

static void the_oldest_idle_grants_are_evicted_and_no_more_than_needed(void)
{
    struct shelf shelf;
    struct buffer idle[4];
    struct fb__grant grant = {0};
    struct fb__grant small = {0};
    struct fb__grant *out;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    for (int i = 0; i < 4; i++) make_idle(ledger, &idle[i], 20);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 20), 0);
    CHECK_EQUAL(shelf.eviction_count, 0); /* it fits beside them, and only a warm request takes one */
    CHECK_EQUAL(reserve(ledger, &small, 0, 21), 0);
    CHECK_EQUAL(shelf.eviction_count, 2);
    CHECK_EQUAL(idle[0].eviction, 1);
    CHECK_EQUAL(idle[1].eviction, 2);
    fb__ledger_release(ledger, &small);
    CHECK_EQUAL(fb__ledger_reserve_warm(ledger, &small, FB_ACCOUNT_READ, 0, 45, FB__WAIT, &out, NULL), 0);
    CHECK(out == &small); /* both that are left are too small to serve, and one of them had to go */
    CHECK_EQUAL(idle[2].eviction, 3);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 30, NULL), 0);
    CHECK_EQUAL(idle[3].eviction, 4);
    fb__ledger_credit(ledger, FB_ACCOUNT_CORE, 30);
    fb__ledger_release(ledger, &small);
    make_idle(ledger, &idle[0], 70);
    CHECK_EQUAL(fb__ledger_grow(ledger, &grant, 11, FB__NO_WAIT, NULL), 0);
    CHECK_EQUAL(idle[0].eviction, 5);
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void nothing_is_evicted_where_that_would_not_help(void)
{
    struct shelf shelf;
    struct buffer idle;
    struct fb__grant grant = {0};
    struct fb__grant other = {0};
    struct fb_error error;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 10, 0);
    make_idle(ledger, &idle, 50);
    CHECK_EQUAL(reserve(ledger, &grant, 0, 30), 0);
    CHECK_EQUAL(fb__ledger_reserve(ledger, &other, FB_ACCOUNT_READ, 0, 71, FB__NO_WAIT, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, fb__ledger_limit(ledger) + 1); /* idle bytes are as good as free */
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 71, NULL), ENOBUFS);
    CHECK_EQUAL(reserve(ledger, &other, 1, 25), ENOBUFS); /* it is the extra bytes that are too few */
    CHECK_EQUAL(shelf.eviction_count, 0);
    CHECK(fb__ledger_take_idle(ledger) == &idle.grant);
    free_buffer(ledger, &idle);
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void an_idle_grant_taken_out_can_be_kept(void)
{
    struct shelf shelf;
    struct buffer idle;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 100, 0);
    make_idle(ledger, &idle, 50);
    struct fb__grant *grant = fb__ledger_take_idle(ledger);
    CHECK(grant == &idle.grant);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_POOL), 50);
    CHECK(fb__ledger_check(ledger));
    fb__ledger_move(ledger, grant, FB_ACCOUNT_BATCH, 3);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_BATCH), 50);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 51, NULL), ENOBUFS); /* no longer as good as free */
    free_buffer(ledger, &idle);
    end_ledger(&shelf);
}

/* ---- out of memory ---- */

/* Does a little of everything; the code of the first step that fails, with everything given back. */
static int do_everything(struct fb__ledger *ledger)
{
    struct fb__gate *gate = fb__ledger_gate(ledger);
    struct fb__grant grant = {0};
    void *core;
    void *large;
    void *small;
    int code = fb__gate_alloc(gate, FB_ACCOUNT_CORE, 300, &core, NULL);
    if (code) return code;
    code = fb__ledger_reserve(ledger, &grant, FB_ACCOUNT_BATCH, 0, FB__MAP_THRESHOLD_BYTES, FB__WAIT, NULL);
    if (code) goto fail_reserve;
    code = fb__gate_alloc_granted(gate, &grant, FB__MAP_THRESHOLD_BYTES, &large, NULL);
    if (code) goto fail_large;
    code = fb__ledger_grow(ledger, &grant, 50, FB__NO_WAIT, NULL);
    if (code) goto fail_small;
    code = fb__gate_alloc_granted(gate, &grant, 50, &small, NULL);
    if (code) goto fail_small;
    fb__gate_free_granted(gate, &grant, small, 50);
fail_small:
    fb__gate_free_granted(gate, &grant, large, FB__MAP_THRESHOLD_BYTES);
fail_large:
    fb__ledger_release(ledger, &grant);
fail_reserve:
    fb__gate_free(gate, FB_ACCOUNT_CORE, core, 300);
    return code;
}

static void each_allocation_may_fail_and_each_limit_be_too_small(void)
{
    const uint64_t least = 300 + FB__MAP_THRESHOLD_BYTES + 50;
    struct shelf shelf;
    struct fb__ledger *ledger = make_ledger(&shelf, least);
    for (int after = 0; after < 3; after++) {
        fb__gate_fail_nth(fb__ledger_gate(ledger), after, 1);
        CHECK_EQUAL(do_everything(ledger), ENOMEM);
        CHECK_EQUAL(used_bytes(ledger), 0);
    }
    fb__gate_fail_nth(fb__ledger_gate(ledger), 3, 1);
    CHECK_EQUAL(do_everything(ledger), 0);
    fb__gate_fail_nth(fb__ledger_gate(ledger), 0, 0);
    end_ledger(&shelf);

    static const uint64_t steps[] = {0, 299, 300, 300 + FB__MAP_THRESHOLD_BYTES, least - 1};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        ledger = make_ledger(&shelf, steps[i]);
        CHECK_EQUAL(do_everything(ledger), ENOBUFS);
        end_ledger(&shelf);
    }
}

/* ---- the self check ---- */

static void the_self_check_sees_each_figure_that_is_off(void)
{
    struct shelf shelf;
    struct buffer idle;
    struct fb__grant live = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 200);
    fb__ledger_set_extra(ledger, 50, 0);
    make_idle(ledger, &idle, 40);
    CHECK_EQUAL(reserve(ledger, &live, 9, 30), 0);
    CHECK(fb__ledger_check(ledger));
    uint64_t *const figures[] = {&ledger->account_bytes[FB_ACCOUNT_READ],
                                 &ledger->direct_bytes[FB_ACCOUNT_CORE],
                                 &ledger->total_bytes,
                                 &ledger->above_bytes,
                                 &ledger->idle_bytes,
                                 &ledger->leaving_bytes,
                                 &ledger->grant_count,
                                 &live.booked_bytes,
                                 &idle.grant.booked_bytes};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        ++*figures[i];
        CHECK(!fb__ledger_check(ledger));
        --*figures[i];
        CHECK(fb__ledger_check(ledger));
    }
    live.committed_bytes = 31;
    CHECK(!fb__ledger_check(ledger));
    live.committed_bytes = 0;
    ledger->peak_bytes -= 100;
    CHECK(!fb__ledger_check(ledger));
    ledger->peak_bytes += 100;
    ledger->first_above = &ledger->live;
    CHECK(!fb__ledger_check(ledger));
    ledger->first_above = &live.link;
    fb__ledger_release(ledger, &live);
    CHECK(fb__ledger_take_idle(ledger) == &idle.grant);
    free_buffer(ledger, &idle);
    end_ledger(&shelf);
}

#ifndef NDEBUG

static void debug_builds_do_not_let_a_ledger_go_with_bytes_in_it(void)
{
    struct shelf shelf;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 1, NULL), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        fb__ledger_destroy(ledger);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 1);
    end_ledger(&shelf);
}

#endif

int main(void)
{
    RUN(a_limit_that_does_not_hold_the_ledger_is_refused);
    RUN(a_ledger_is_its_own_first_entry);
    RUN(every_account_has_a_name);
    RUN(direct_entries_fill_the_limit_to_the_byte);
    RUN(peaks_stay_when_bytes_go);
    RUN(a_grant_is_promised_then_lives_then_is_given_back);
    RUN(more_than_the_limit_is_refused_at_once_even_with_patience);
    RUN(above_the_frontier_only_the_extra_bytes_are_there);
    RUN(what_the_frontier_passes_no_longer_takes_from_the_extra);
    RUN(a_moved_grant_counts_where_it_goes);
    RUN(bytes_held_beyond_their_share_come_off_the_extra);
    RUN(a_lowered_limit_holds_from_then_on);
    RUN(a_transferred_grant_leaves_its_old_struct_free);
    RUN(the_newest_idle_grant_that_is_large_enough_is_reused);
    RUN(above_the_frontier_reuse_counts_all_that_the_idle_grant_books);
    RUN(the_oldest_idle_grants_are_evicted_and_no_more_than_needed);
    RUN(nothing_is_evicted_where_that_would_not_help);
    RUN(an_idle_grant_taken_out_can_be_kept);
    RUN(each_allocation_may_fail_and_each_limit_be_too_small);
    RUN(the_self_check_sees_each_figure_that_is_off);
#ifndef NDEBUG
    RUN(debug_builds_do_not_let_a_ledger_go_with_bytes_in_it);
#endif
    return 0;
}
