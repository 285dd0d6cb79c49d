/* White-box tests of src/ledger: requests that wait, and what lets them on. */
#include <semaphore.h>
#include <stdatomic.h>

#include "ledger_fixture.h"

static int reserve(struct fb__ledger *ledger, struct fb__grant *grant, uint64_t order, uint64_t bytes)
{
    return fb__ledger_reserve(ledger, grant, FB_ACCOUNT_READ, order, bytes, FB__NO_WAIT, NULL);
}

/* A ledger with 100 bytes, all of them extra, and a grant of no order on 90 of them. */
static struct fb__ledger *make_full_ledger(struct shelf *shelf, struct fb__grant *filler)
{
    struct fb__ledger *ledger = make_ledger(shelf, 100);
    memset(filler, 0, sizeof *filler);
    fb__ledger_set_extra(ledger, 100, 0);
    CHECK_EQUAL(reserve(ledger, filler, FB__ORDER_NONE, 90), 0);
    return ledger;
}

static void end_full_ledger(struct shelf *shelf, struct fb__grant *filler)
{
    fb__ledger_release(shelf->ledger, filler);
    end_ledger(shelf);
}

static void join_and_release(struct ask *ask)
{
    CHECK_EQUAL(join_ask(ask), 0);
    fb__ledger_release(ask->ledger, ask->out);
}

/* ---- order ---- */

static void waiting_requests_are_served_by_order_and_first_come_among_equals(void)
{
    enum { COUNT = 6 };
    static const uint64_t arrivals[COUNT] = {30, 10, 20, 20, 40, 30};
    static const int turns[COUNT] = {1, 2, 3, 0, 5, 4}; /* which arrival is served when */
    struct shelf shelf;
    struct fb__grant filler;
    struct ask asks[COUNT];
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    for (int i = 0; i < COUNT; i++) {
        asks[i] = (struct ask){.order = arrivals[i], .bytes = 15};
        start_ask(ledger, &asks[i]);
    }
    fb__ledger_shrink(ledger, &filler, 4);
    CHECK_EQUAL(waiting_count(ledger), COUNT); /* a byte too few */
    fb__ledger_shrink(ledger, &filler, 1);
    for (int turn = 0; turn < COUNT; turn++) {
        CHECK_EQUAL(waiting_count(ledger), COUNT - 1 - turn); /* one and no other is let on */
        struct ask *ask = &asks[turns[turn]];
        CHECK_EQUAL(join_ask(ask), 0);
        CHECK_EQUAL(ask->grant.booked_bytes, 15);
        CHECK_EQUAL(ask->grant.order, arrivals[turns[turn]]);
        CHECK_EQUAL(used_bytes(ledger), 100);
        fb__ledger_release(ledger, &ask->grant);
    }
    end_full_ledger(&shelf, &filler);
}

static void a_small_late_request_does_not_pass_a_large_early_one(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__grant here = {0};
    struct fb_error error;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    struct ask large = {.order = 20, .bytes = 50};
    struct ask small = {.order = 21, .bytes = 1};
    start_ask(ledger, &large);
    start_ask(ledger, &small); /* start_ask returns once it waits */
    CHECK_EQUAL(fb__ledger_reserve(ledger, &here, FB_ACCOUNT_READ, 20, 1, FB__NO_WAIT, &error), ENOBUFS);
    CHECK_CONTAINS(error.message, "an earlier request is waiting");
    CHECK_EQUAL(error.required_bytes, 0);
    CHECK_EQUAL(reserve(ledger, &here, 19, 1), 0); /* but an earlier one does */
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_CORE, 1, NULL), 0); /* and direct entries have no order */
    fb__ledger_credit(ledger, FB_ACCOUNT_CORE, 1);
    fb__ledger_release(ledger, &here);
    fb__ledger_shrink(ledger, &filler, 39);
    CHECK_EQUAL(waiting_count(ledger), 2);
    fb__ledger_shrink(ledger, &filler, 2);
    CHECK_EQUAL(waiting_count(ledger), 0);
    join_and_release(&large);
    join_and_release(&small);
    end_full_ledger(&shelf, &filler);
}

static void an_earlier_request_goes_before_those_that_wait_already(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    struct ask late = {.order = 20, .bytes = 50};
    struct ask fits = {.order = 5, .bytes = 10};
    struct ask early = {.order = 10, .bytes = 20};
    start_ask(ledger, &late);
    CHECK_EQUAL(ask_here(ledger, &fits), 0); /* served at once */
    start_ask(ledger, &early);
    fb__ledger_release(ledger, &fits.grant);
    CHECK_EQUAL(waiting_count(ledger), 2);
    fb__ledger_shrink(ledger, &filler, 10);
    CHECK_EQUAL(waiting_count(ledger), 1);
    join_and_release(&early);
    fb__ledger_shrink(ledger, &filler, 30);
    join_and_release(&late);
    end_full_ledger(&shelf, &filler);
}

/* ---- what lets a request on ---- */

static void the_frontier_lets_on_what_it_reaches(void)
{
    struct shelf shelf;
    struct fb__grant above = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    struct ask first = {.order = 10, .bytes = 50};
    struct ask second = {.order = 20, .bytes = 30};
    fb__ledger_set_extra(ledger, 30, 0);
    CHECK_EQUAL(reserve(ledger, &above, 5, 30), 0);
    start_ask(ledger, &first);
    start_ask(ledger, &second);
    fb__ledger_set_frontier(ledger, 4);
    CHECK_EQUAL(waiting_count(ledger), 2);
    fb__ledger_set_frontier(ledger, 5); /* frees the extra that order 5 took: 30, for the first too few */
    CHECK_EQUAL(waiting_count(ledger), 2);
    fb__ledger_set_frontier(ledger, 10); /* the first may have everything, and the second gets in behind it */
    CHECK_EQUAL(waiting_count(ledger), 1);
    join_and_release(&first);
    join_and_release(&second);
    fb__ledger_release(ledger, &above);
    end_ledger(&shelf);
}

static void more_extra_bytes_let_a_request_on(void)
{
    struct shelf shelf;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    struct ask ask = {.order = 10, .bytes = 50};
    start_ask(ledger, &ask);
    fb__ledger_set_extra(ledger, 49, 0);
    CHECK_EQUAL(waiting_count(ledger), 1);
    fb__ledger_set_extra(ledger, 50, 0);
    join_and_release(&ask);
    end_ledger(&shelf);
}

static void moving_a_grant_below_the_frontier_lets_a_request_on(void)
{
    struct shelf shelf;
    struct fb__grant grant = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    struct ask ask = {.order = 10, .bytes = 50};
    fb__ledger_set_extra(ledger, 50, 40);
    CHECK_EQUAL(reserve(ledger, &grant, 8, 40), 0);
    start_ask(ledger, &ask);
    fb__ledger_move(ledger, &grant, FB_ACCOUNT_HELD, FB__ORDER_NONE);
    join_and_release(&ask);
    fb__ledger_release(ledger, &grant);
    end_ledger(&shelf);
}

static void giving_a_held_batch_back_lets_a_request_on(void)
{
    struct shelf shelf;
    struct fb__grant held = {0};
    uint64_t missing_bytes;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    struct ask ask = {.order = 10, .bytes = 50};
    fb__ledger_set_extra(ledger, 50, 10);
    CHECK_EQUAL(reserve(ledger, &held, 0, 15), 0);
    fb__ledger_move(ledger, &held, FB_ACCOUNT_HELD, FB__ORDER_NONE);
    start_ask(ledger, &ask);
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 5);
    fb__ledger_shrink(ledger, &held, 4);
    CHECK_EQUAL(fb__ledger_starved_count(ledger), 1);
    fb__ledger_release(ledger, &held);
    CHECK_EQUAL(fb__ledger_starved_count(ledger), 0); /* at once, not when its thread wakes */
    join_and_release(&ask);
    end_ledger(&shelf);
}

static void count_call(void *context)
{
    ++*(int *)context;
}

static void a_watcher_hears_of_waiting_and_of_bytes_that_come_back(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    int calls = 0; /* touched under the ledger's lock only */
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    struct ask ask = {.order = 10, .bytes = 50};
    fb__ledger_set_watch(ledger, count_call, &calls);
    fb__ledger_shrink(ledger, &filler, 5);
    CHECK_EQUAL(calls, 0); /* nobody waits */
    start_ask(ledger, &ask);
    CHECK_EQUAL(calls, 1);
    fb__ledger_shrink(ledger, &filler, 5);
    CHECK_EQUAL(calls, 2);
    fb__ledger_set_watch(ledger, NULL, NULL);
    fb__ledger_shrink(ledger, &filler, 5);
    CHECK_EQUAL(calls, 2);
    fb__ledger_shrink(ledger, &filler, 25);
    join_and_release(&ask);
    end_full_ledger(&shelf, &filler);
}

static void credit_and_retire_let_a_request_on(void)
{
    struct shelf shelf;
    struct buffer buffer;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    struct ask first = {.order = 0, .bytes = 60};
    struct ask second = {.order = 0, .bytes = 60};
    CHECK_EQUAL(fb__ledger_charge(ledger, FB_ACCOUNT_PLAN, 50, NULL), 0);
    start_ask(ledger, &first);
    fb__ledger_credit(ledger, FB_ACCOUNT_PLAN, 50);
    join_and_release(&first);
    make_buffer(ledger, &buffer, 0, 50);
    start_ask(ledger, &second);
    fb__ledger_retire(ledger, &buffer.grant);
    join_and_release(&second); /* the thread that waited evicts the buffer */
    CHECK_EQUAL(buffer.eviction, 1);
    end_ledger(&shelf);
}

static void growth_waits_in_the_order_of_its_grant(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__grant grant = {0};
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    CHECK_EQUAL(reserve(ledger, &grant, 10, 10), 0);
    struct ask other = {.order = 11, .bytes = 1};
    struct ask growth = {.kind = ASK_GROW, .grows = &grant, .bytes = 5};
    start_ask(ledger, &other);
    start_ask(ledger, &growth);
    fb__ledger_shrink(ledger, &filler, 4);
    CHECK_EQUAL(waiting_count(ledger), 2); /* the other, though it would fit, is not the lowest */
    fb__ledger_shrink(ledger, &filler, 1);
    CHECK_EQUAL(waiting_count(ledger), 1);
    CHECK_EQUAL(join_ask(&growth), 0);
    CHECK_EQUAL(grant.booked_bytes, 15);
    fb__ledger_release(ledger, &grant);
    join_and_release(&other);
    end_full_ledger(&shelf, &filler);
}

/* ---- warm buffers ---- */

static void a_warm_request_waits_for_an_idle_grant_as_well(void)
{
    struct shelf shelf;
    struct buffer small;
    struct buffer large;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    make_buffer(ledger, &small, 0, 30);
    make_buffer(ledger, &large, 0, 60);
    struct ask ask = {.kind = ASK_RESERVE_WARM, .order = 0, .bytes = 50};
    start_ask(ledger, &ask);
    fb__ledger_retire(ledger, &small.grant); /* too small, and not worth evicting: 40 would be free */
    CHECK_EQUAL(waiting_count(ledger), 1);
    fb__ledger_retire(ledger, &large.grant);
    CHECK_EQUAL(waiting_count(ledger), 0);
    CHECK_EQUAL(join_ask(&ask), 0);
    CHECK(ask.out == &large.grant);
    CHECK_EQUAL(ask.out->committed_bytes, 60);
    CHECK_EQUAL(ask.grant.state, FB__GRANT_NONE);
    CHECK_EQUAL(shelf.eviction_count, 0);
    free_buffer(ledger, &large);
    CHECK(fb__ledger_take_idle(ledger) == &small.grant);
    free_buffer(ledger, &small);
    end_ledger(&shelf);
}

static void a_waiting_warm_request_above_the_frontier_keeps_to_the_extra(void)
{
    struct shelf shelf;
    struct buffer buffer;
    struct fb__grant other = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 50, 0);
    make_buffer(ledger, &buffer, 0, 45);
    CHECK_EQUAL(reserve(ledger, &other, 1, 20), 0);
    struct ask ask = {.kind = ASK_RESERVE_WARM, .order = 2, .bytes = 40};
    start_ask(ledger, &ask);
    fb__ledger_retire(ledger, &buffer.grant);
    CHECK_EQUAL(waiting_count(ledger), 1); /* neither 45 nor 40 fit the 30 that are left of the extra */
    fb__ledger_set_frontier(ledger, 1);
    CHECK_EQUAL(join_ask(&ask), 0);
    CHECK(ask.out == &buffer.grant);
    free_buffer(ledger, &buffer);
    fb__ledger_release(ledger, &other);
    end_ledger(&shelf);
}

static void a_waiting_request_evicts_as_many_as_it_needs(void)
{
    struct shelf shelf;
    struct buffer buffers[4];
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    for (int i = 0; i < 4; i++) make_buffer(ledger, &buffers[i], 0, 25);
    struct ask ask = {.order = 0, .bytes = 70};
    start_ask(ledger, &ask);
    fb__ledger_retire(ledger, &buffers[3].grant);
    fb__ledger_retire(ledger, &buffers[2].grant);
    CHECK_EQUAL(waiting_count(ledger), 1); /* 50 would not do, so they stay warm */
    fb__ledger_retire(ledger, &buffers[1].grant);
    CHECK_EQUAL(join_ask(&ask), 0);
    CHECK_EQUAL(buffers[3].eviction, 1);
    CHECK_EQUAL(buffers[2].eviction, 2);
    CHECK_EQUAL(buffers[1].eviction, 3);
    fb__ledger_release(ledger, &ask.grant);
    free_buffer(ledger, &buffers[0]);
    end_ledger(&shelf);
}

static void who_waits_behind_another_evicts_nothing(void)
{
    struct shelf shelf;
    struct buffer idle;
    struct fb__grant filler = {0};
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    fb__ledger_set_extra(ledger, 100, 0);
    CHECK_EQUAL(reserve(ledger, &filler, 0, 60), 0);
    make_idle(ledger, &idle, 40);
    struct ask lowest = {.order = 10, .bytes = 50};
    struct ask next = {.order = 20, .bytes = 20}; /* the idle bytes would do for it, but not for the lowest */
    start_ask(ledger, &lowest);
    start_ask(ledger, &next);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_POOL), 40);
    CHECK(fb__ledger_refuse_waiting(ledger));
    CHECK_EQUAL(join_ask(&lowest), ENOBUFS);
    join_and_release(&next); /* once it is the lowest it evicts them */
    CHECK_EQUAL(shelf.eviction_count, 1);
    fb__ledger_release(ledger, &filler);
    end_ledger(&shelf);
}

static void bytes_on_their_way_back_are_waited_for_not_evicted_for(void)
{
    struct shelf shelf;
    struct buffer leaving;
    struct buffer idle;
    uint64_t missing_bytes = 1;
    struct fb__ledger *ledger = make_ledger(&shelf, 100);
    make_idle(ledger, &idle, 50);
    make_idle(ledger, &leaving, 50);
    CHECK(fb__ledger_take_idle(ledger) == &leaving.grant);
    struct ask ask = {.order = 0, .bytes = 50};
    struct ask behind = {.order = 0, .bytes = 60}; /* which nobody has yet */
    start_ask(ledger, &ask);
    start_ask(ledger, &behind);
    CHECK(!fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 0);
    CHECK_EQUAL(fb__ledger_starved_count(ledger), 0); /* who is about to be let on keeps the other from counting */
    CHECK(!fb__ledger_refuse_waiting(ledger));
    free_buffer(ledger, &leaving);
    CHECK_EQUAL(fb__ledger_starved_count(ledger), 1);
    CHECK_EQUAL(join_ask(&ask), 0);
    CHECK_EQUAL(shelf.eviction_count, 0);
    CHECK(fb__ledger_refuse_waiting(ledger));
    CHECK_EQUAL(join_ask(&behind), ENOBUFS);
    fb__ledger_release(ledger, &ask.grant);
    CHECK(fb__ledger_take_idle(ledger) == &idle.grant);
    free_buffer(ledger, &idle);
    end_ledger(&shelf);
}

/* An eviction that lasts until the test says so. */
struct slow_shelf {
    struct shelf shelf;
    sem_t has_begun;
    sem_t may_end;
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) CHECK_EQUAL(errno, EINTR);
}

static void evict_slowly(void *context, struct fb__grant *grant)
{
    struct slow_shelf *slow = context;
    CHECK_EQUAL(sem_post(&slow->has_begun), 0);
    wait_for(&slow->may_end);
    evict_buffer(&slow->shelf, grant);
}

struct charge {
    struct fb__ledger *ledger;
    _Atomic bool has_begun;
    int code;
};

static void *run_charge(void *argument)
{
    struct charge *charge = argument;
    atomic_store(&charge->has_begun, true);
    charge->code = fb__ledger_charge(charge->ledger, FB_ACCOUNT_CORE, 30, NULL);
    return NULL;
}

static void nobody_is_refused_for_bytes_that_another_thread_is_evicting(void)
{
    struct slow_shelf slow;
    struct buffer idle;
    pthread_t asker;
    pthread_t charger;
    struct fb__ledger *ledger = make_ledger(&slow.shelf, 100);
    const struct fb__ledger_ops ops = {evict_slowly, &slow};
    fb__ledger_set_ops(ledger, &ops);
    CHECK_EQUAL(sem_init(&slow.has_begun, 0, 0), 0);
    CHECK_EQUAL(sem_init(&slow.may_end, 0, 0), 0);
    make_idle(ledger, &idle, 90);
    struct ask ask = {.ledger = ledger, .order = 0, .bytes = 50};
    struct charge charge = {.ledger = ledger};
    CHECK_EQUAL(pthread_create(&asker, NULL, run_ask, &ask), 0);
    wait_for(&slow.has_begun);
    CHECK_EQUAL(fb__ledger_account_bytes(ledger, FB_ACCOUNT_POOL), 90); /* they live until they are freed */
    CHECK(!fb__ledger_is_starved(ledger, NULL));
    CHECK_EQUAL(pthread_create(&charger, NULL, run_charge, &charge), 0);
    while (!atomic_load(&charge.has_begun)) (void)sched_yield();
    for (int i = 0; i < 100; i++) (void)sched_yield();
    CHECK_EQUAL(sem_post(&slow.may_end), 0);
    CHECK_EQUAL(pthread_join(asker, NULL), 0);
    CHECK_EQUAL(pthread_join(charger, NULL), 0);
    CHECK_EQUAL(ask.code, 0);
    CHECK_EQUAL(charge.code, 0);
    CHECK_EQUAL(slow.shelf.eviction_count, 1);
    fb__ledger_credit(ledger, FB_ACCOUNT_CORE, 30);
    fb__ledger_release(ledger, &ask.grant);
    CHECK_EQUAL(sem_destroy(&slow.may_end), 0);
    CHECK_EQUAL(sem_destroy(&slow.has_begun), 0);
    end_ledger(&slow.shelf);
}

/* ---- cancel, refuse, starved ---- */

static void cancelling_ends_waiting_from_an_order_on_until_resumed(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    struct ask asks[4] = {
        {.order = 10, .bytes = 20}, {.order = 20, .bytes = 20}, {.order = 30, .bytes = 20}, {.order = 40, .bytes = 20}};
    struct ask later = {.order = 20, .bytes = 1};
    for (int i = 0; i < 4; i++) start_ask(ledger, &asks[i]);
    fb__ledger_cancel(ledger, 30);
    CHECK_EQUAL(waiting_count(ledger), 2);
    CHECK_EQUAL(join_ask(&asks[3]), ECANCELED);
    CHECK_EQUAL(join_ask(&asks[2]), ECANCELED);
    CHECK_EQUAL(asks[2].error.code, ECANCELED);
    fb__ledger_cancel(ledger, 20);
    CHECK_EQUAL(join_ask(&asks[1]), ECANCELED);
    fb__ledger_cancel(ledger, 35); /* the lowest of all calls holds */
    fb__ledger_shrink(ledger, &filler, 40);
    join_and_release(&asks[0]);
    CHECK_EQUAL(ask_here(ledger, &later), ECANCELED); /* though it would fit */
    CHECK_EQUAL(later.grant.state, FB__GRANT_NONE);
    CHECK_EQUAL(reserve(ledger, &later.grant, 20, 1), 0); /* who does not wait is not cancelled */
    fb__ledger_release(ledger, &later.grant);
    later.order = 19;
    CHECK_EQUAL(ask_here(ledger, &later), 0);
    fb__ledger_release(ledger, &later.grant);
    fb__ledger_cancel(ledger, 0);
    later.order = 0;
    CHECK_EQUAL(ask_here(ledger, &later), ECANCELED);
    fb__ledger_resume(ledger);
    later.order = UINT64_MAX;
    CHECK_EQUAL(ask_here(ledger, &later), 0);
    fb__ledger_release(ledger, &later.grant);
    fb__ledger_cancel(ledger, 50); /* and what held before resume is forgotten */
    later.order = 49;
    CHECK_EQUAL(ask_here(ledger, &later), 0);
    fb__ledger_release(ledger, &later.grant);
    end_full_ledger(&shelf, &filler);
}

static void refusing_ends_the_lowest_wait_with_figures_and_lets_the_next_on(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    CHECK(!fb__ledger_refuse_waiting(ledger));
    struct ask large = {.order = 10, .bytes = 50};
    struct ask small = {.order = 20, .bytes = 10};
    struct ask third = {.order = 30, .bytes = 5};
    start_ask(ledger, &large);
    start_ask(ledger, &small);
    start_ask(ledger, &third);
    CHECK(fb__ledger_refuse_waiting(ledger));
    CHECK_EQUAL(join_ask(&large), ENOBUFS);
    CHECK_EQUAL(large.error.limit_bytes, fb__ledger_limit(ledger));
    CHECK_EQUAL(large.error.required_bytes, fb__ledger_limit(ledger) + 40);
    CHECK_EQUAL(large.grant.state, FB__GRANT_NONE);
    CHECK_EQUAL(waiting_count(ledger), 1); /* the second fits and was let on, the third waits */
    CHECK_EQUAL(join_ask(&small), 0);
    CHECK(fb__ledger_refuse_waiting(ledger));
    CHECK(!fb__ledger_refuse_waiting(ledger));
    CHECK_EQUAL(join_ask(&third), ENOBUFS);
    fb__ledger_release(ledger, &small.grant);
    end_full_ledger(&shelf, &filler);
}

static void a_refused_growth_leaves_the_grant_as_it_was(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    struct fb__grant grant = {0};
    CHECK_EQUAL(reserve(ledger, &grant, 10, 5), 0);
    struct ask growth = {.kind = ASK_GROW, .grows = &grant, .bytes = 20};
    start_ask(ledger, &growth);
    CHECK(fb__ledger_refuse_waiting(ledger));
    CHECK_EQUAL(join_ask(&growth), ENOBUFS);
    CHECK_EQUAL(growth.error.required_bytes, fb__ledger_limit(ledger) + 15);
    CHECK_EQUAL(grant.booked_bytes, 5);
    fb__ledger_release(ledger, &grant);
    end_full_ledger(&shelf, &filler);
}

static void starved_is_who_lacks_bytes_that_no_eviction_gives(void)
{
    struct shelf shelf;
    struct fb__grant filler;
    uint64_t missing_bytes = 99;
    struct fb__ledger *ledger = make_full_ledger(&shelf, &filler);
    CHECK(!fb__ledger_is_starved(ledger, &missing_bytes)); /* nobody waits */
    CHECK_EQUAL(missing_bytes, 0);
    struct ask ask = {.order = 10, .bytes = 35};
    start_ask(ledger, &ask);
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 25);
    fb__ledger_shrink(ledger, &filler, 5);
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 20);
    fb__ledger_set_extra(ledger, 7, 0); /* now it is the extra that lacks more */
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 28);
    fb__ledger_move(ledger, &filler, FB_ACCOUNT_READ, 9); /* above the frontier: 85 where only 7 are extra */
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 113);
    fb__ledger_set_extra(ledger, 115, 0); /* now the limit: 20 against the 5 that the extra lacks */
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 20);
    fb__ledger_set_frontier(ledger, 10);
    CHECK(fb__ledger_is_starved(ledger, &missing_bytes));
    CHECK_EQUAL(missing_bytes, 20);
    fb__ledger_shrink(ledger, &filler, 20);
    CHECK(!fb__ledger_is_starved(ledger, NULL));
    join_and_release(&ask);
    end_full_ledger(&shelf, &filler);
}

int main(void)
{
    RUN(waiting_requests_are_served_by_order_and_first_come_among_equals);
    RUN(a_small_late_request_does_not_pass_a_large_early_one);
    RUN(an_earlier_request_goes_before_those_that_wait_already);
    RUN(the_frontier_lets_on_what_it_reaches);
    RUN(more_extra_bytes_let_a_request_on);
    RUN(moving_a_grant_below_the_frontier_lets_a_request_on);
    RUN(giving_a_held_batch_back_lets_a_request_on);
    RUN(a_watcher_hears_of_waiting_and_of_bytes_that_come_back);
    RUN(credit_and_retire_let_a_request_on);
    RUN(growth_waits_in_the_order_of_its_grant);
    RUN(a_warm_request_waits_for_an_idle_grant_as_well);
    RUN(a_waiting_warm_request_above_the_frontier_keeps_to_the_extra);
    RUN(a_waiting_request_evicts_as_many_as_it_needs);
    RUN(who_waits_behind_another_evicts_nothing);
    RUN(bytes_on_their_way_back_are_waited_for_not_evicted_for);
    RUN(nobody_is_refused_for_bytes_that_another_thread_is_evicting);
    RUN(cancelling_ends_waiting_from_an_order_on_until_resumed);
    RUN(refusing_ends_the_lowest_wait_with_figures_and_lets_the_next_on);
    RUN(a_refused_growth_leaves_the_grant_as_it_was);
    RUN(starved_is_who_lacks_bytes_that_no_eviction_gives);
    return 0;
}
