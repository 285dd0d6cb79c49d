/*
 * Threaded stress of the whole core: 1 to 4 readers x prefetch bounds x limits from the least up x orders x held
 * batches x cancel at random points, over random units, or over random blocks that are pulled. Every round checks the
 * rows, the limit, and that nothing is left. Usage: stress_loader [seed [rounds]]; the seed is printed, and the same seed makes the same rounds.
 */
#include <pthread.h>

#include "../unit/check.h"
#include "base/clock.h"
#include "scripted_source.h"

static uint64_t random_state;

static uint64_t random_below(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

#define HELD_MOST 3

struct round {
    struct script script;
    struct fb_loader *loader;
    struct fb_loader_options options;
    struct fb_plan plan;
    struct fb_batch *held[HELD_MOST];
    uint64_t keep_count;
    bool *seen;
    uint64_t *starts; /* batch_rows 0: of each batch, and the end of the last */
    uint64_t row_count; /* of the epoch so far */
    bool is_pulled;
    bool is_tight; /* a pulled source's limit may be too small for its blocks */
};

static int make_source(struct round *round, struct fb_source **out, struct fb_error *error)
{
    if (round->is_pulled) return script_pull_source(&round->script, out, error);
    return script_source(&round->script, out, error);
}

/* What batches and blocks of a pulled source take at most, where the user keeps keep_count batches. */
static uint64_t bytes_for_blocks(const struct round *round)
{
    uint64_t most_rows = 0;
    for (uint64_t i = 0; i < round->script.unit_count; i++)
        if (round->script.unit_rows[i] > most_rows) most_rows = round->script.unit_rows[i];
    uint64_t text_bytes = round->script.has_text ? 32 : 0; /* a row has 24 at most, offset included */
    uint64_t block_bytes = (most_rows + 1) * (sizeof(int64_t) + text_bytes);
    /* A string buffer that grows is there twice for a moment. */
    uint64_t batch_rows = round->options.batch_rows > 0 ? round->options.batch_rows : most_rows;
    uint64_t batch_bytes = batch_rows * sizeof(int64_t) + batch_rows * text_bytes * 3 + 8192;
    return 2 * (block_bytes + (round->keep_count + 3) * batch_bytes);
}

static void make_loader(struct round *round)
{
    struct fb_source *source;
    struct fb_error error;
    CHECK_EQUAL(make_source(round, &source, &error), 0);
    round->options.memory_limit_bytes = 1;
    CHECK_EQUAL(fb_loader_create(&round->options, source, &round->loader, &error), ENOBUFS);
    uint64_t least_bytes = error.required_bytes; /* the figure is told however small the limit was */
    round->options.memory_limit_bytes = least_bytes;
    CHECK_EQUAL(fb_loader_create(&round->options, source, &round->loader, &error), 0);
    /* Text is an estimate: leave it room. One row less than the least must be refused. */
    fb_loader_plan(round->loader, &round->plan);
    CHECK_EQUAL(round->plan.least_memory_bytes, least_bytes);
    CHECK_EQUAL(fb_loader_close(round->loader, 0, NULL, NULL), 0);
    CHECK_EQUAL(atomic_load(&round->script.releases), 1);
    CHECK_EQUAL(make_source(round, &source, &error), 0);
    round->options.memory_limit_bytes = least_bytes - 1;
    CHECK_EQUAL(fb_loader_create(&round->options, source, &round->loader, &error), ENOBUFS);
    CHECK_EQUAL(error.required_bytes, least_bytes);
    uint64_t more_bytes = round->keep_count * round->plan.batch_bytes;
    if (round->script.has_text) more_bytes += 2 * round->plan.batch_bytes + 8192;
    if (random_below(2)) more_bytes += random_below(20 * round->plan.batch_bytes + 1);
    if (round->is_pulled) more_bytes = bytes_for_blocks(round);
    if (round->is_tight) more_bytes = random_below(more_bytes);
    round->options.memory_limit_bytes = least_bytes + more_bytes;
    CHECK_EQUAL(fb_loader_create(&round->options, source, &round->loader, &error), 0);
    fb_loader_plan(round->loader, &round->plan);
}

static void check_figures(struct round *round)
{
    struct fb_stats stats;
    fb_loader_stats(round->loader, &stats);
    uint64_t sum = 0;
    for (int account = 0; account < FB_ACCOUNT_COUNT; account++) sum += stats.accounts[account].bytes;
    CHECK(stats.charged_bytes <= stats.memory_limit_bytes);
    CHECK(stats.peak_bytes <= stats.memory_limit_bytes);
    CHECK_EQUAL(sum, stats.charged_bytes);
}

static void let_all_go(struct round *round)
{
    for (int i = 0; i < HELD_MOST; i++) {
        fb_batch_release(round->held[i]);
        round->held[i] = NULL;
    }
}

static uint64_t batch_start(const struct round *round, uint64_t index)
{
    uint64_t batch_rows = round->options.batch_rows;
    if (batch_rows == 0) return round->starts[index];
    return index * batch_rows < round->script.rows ? index * batch_rows : round->script.rows;
}

/* One epoch, left after `leave_after` batches. Returns the code that ended it. */
static int run_epoch(struct round *round, uint64_t leave_after, uint64_t *delivered)
{
    struct fb_error error = {0};
    memset(round->seen, 0, round->script.rows + 1);
    *delivered = round->row_count = 0;
    uint64_t expected = 0;
    CHECK_EQUAL(fb_loader_begin_epoch(round->loader, FB_NO_DEADLINE, &error), 0);
    while (*delivered < leave_after) {
        struct fb_batch *batch;
        uint64_t deadline_ns = random_below(4) ? fb__clock_ns() + 5 * FB__SECOND_NS : 0;
        int code = fb_loader_next(round->loader, deadline_ns, false, &batch, &error);
        if (code == EAGAIN && deadline_ns == 0) continue;
        if (code == EDEADLK) { /* the user holds too much: he lets go, as the error says, and goes on */
            let_all_go(round);
            continue;
        }
        if (code || !batch) {
            if (code) fprintf(stderr, "    %d: %s\n", code, error.message);
            return code;
        }
        uint64_t index = fb_batch_index(batch);
        CHECK(index <= round->script.rows && !round->seen[index]);
        round->seen[index] = true;
        CHECK(script_check_rows(batch, batch_start(round, index), round->script.has_text));
        if (round->options.preserve_order || round->is_pulled) CHECK_EQUAL(index, expected);
        expected++;
        round->row_count += fb_batch_rows(batch);
        (*delivered)++;
        uint64_t place = round->keep_count ? random_below(round->keep_count) : 0;
        fb_batch_release(round->held[place]);
        round->held[place] = batch;
        if (random_below(8) == 0) check_figures(round);
    }
    return 0;
}

static void check_nothing_is_left(struct round *round)
{
    struct fb_stats stats;
    CHECK_EQUAL(fb_loader_end_epoch(round->loader, FB_NO_DEADLINE, NULL), 0);
    fb_loader_stats(round->loader, &stats);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_READ].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_BATCH].bytes, 0);
    CHECK_EQUAL(stats.accounts[FB_ACCOUNT_REORDER].bytes, 0);
    CHECK_EQUAL(atomic_load(&round->script.live_streams), 0);
    CHECK_EQUAL(atomic_load(&round->script.live_arrays), 0);
}

/* Rows of the units before the one that has the bad row. */
static uint64_t rows_before_failure(const struct round *round)
{
    uint64_t unit_start = 0;
    for (uint64_t i = 0; unit_start + round->script.unit_rows[i] <= round->script.fail_row; i++)
        unit_start += round->script.unit_rows[i];
    return unit_start;
}

/* The piece with the bad row fails as a whole: the batches before its unit have come, the bad row's has not. */
static void check_where_it_failed(struct round *round, uint64_t delivered)
{
    uint64_t unit_start = rows_before_failure(round);
    CHECK(batch_start(round, delivered) <= round->script.fail_row);
    if (round->options.batch_rows > 0)
        CHECK(delivered >= unit_start / round->options.batch_rows);
    else
        CHECK(batch_start(round, delivered) >= unit_start);
}

/* One epoch over a source whose length is known. */
static void run_planned_epoch(struct round *round)
{
    uint64_t delivered;
    bool leaves = random_below(2);
    uint64_t leave_after = leaves ? random_below(round->plan.batches + 1) : UINT64_MAX;
    bool fails = random_below(4) == 0 && round->script.rows > 0;
    round->script.fail_row = fails ? random_below(round->script.rows) : UINT64_MAX;
    int code = run_epoch(round, leave_after, &delivered);
    if (fails && !leaves)
        CHECK(code == EIO || (code == 0 && round->script.fail_row >= round->plan.rows));
    else if (!fails)
        CHECK_EQUAL(code, 0);
    if (!fails && !leaves) CHECK_EQUAL(delivered, round->plan.batches);
    if (!fails && !leaves) CHECK_EQUAL(round->row_count, round->plan.rows);
    if (code == EIO && round->options.preserve_order) check_where_it_failed(round, delivered);
}

/* One epoch over a pulled source, which may end before its last block, fail, or give a block that does not fit. */
static void run_pulled_epoch(struct round *round)
{
    struct script *script = &round->script;
    uint64_t batch_rows = round->options.batch_rows;
    script->end_block = random_below(3) ? UINT64_MAX : random_below(script->unit_count + 1);
    script->delay_most = random_below(3) ? 0 : 1 + random_below(200);
    uint64_t rows = 0;
    for (uint64_t i = 0; i < script->unit_count && i < script->end_block; i++) rows += script->unit_rows[i];
    bool fails = random_below(4) == 0 && rows > 0;
    script->fail_row = fails ? random_below(rows) : UINT64_MAX;
    if (fails) rows = rows_before_failure(round);
    bool has_last = batch_rows > 0 && !fails && !round->options.drop_last && rows % batch_rows != 0;
    uint64_t batches = 0;
    if (batch_rows > 0)
        batches = rows / batch_rows + has_last;
    else
        while (round->starts[batches] < rows) batches++;
    bool leaves = random_below(2);
    uint64_t delivered;
    int code = run_epoch(round, leaves ? random_below(batches + 1) : UINT64_MAX, &delivered);
    CHECK(code == 0 || (fails && code == EIO) || (round->is_tight && code == ENOBUFS));
    CHECK(delivered <= batches);
    if (code == ENOBUFS || leaves) return;
    CHECK_EQUAL(code, fails ? EIO : 0);
    CHECK_EQUAL(delivered, batches);
    CHECK_EQUAL(round->row_count, has_last || batch_rows == 0 ? rows : rows / batch_rows * batch_rows);
}

static void find_starts(struct round *round)
{
    uint64_t count = 0;
    uint64_t row = 0;
    round->starts = calloc(round->script.unit_count + 1, sizeof *round->starts);
    for (uint64_t i = 0; i < round->script.unit_count; i++) {
        if (round->script.unit_rows[i] > 0) round->starts[count++] = row;
        row += round->script.unit_rows[i];
    }
    round->starts[count] = row;
}

static void run_round(void)
{
    struct round round = {0};
    uint64_t unit_rows[12];
    uint64_t unit_count = 1 + random_below(12);
    for (uint64_t i = 0; i < unit_count; i++) unit_rows[i] = random_below(4) ? random_below(700) : random_below(5);
    script_init(&round.script, unit_rows, unit_count, random_below(2));
    find_starts(&round);
    round.options = (struct fb_loader_options){
        .batch_rows = 1 + random_below(random_below(2) ? 64 : 1500),
        .prefetch_batches = (int64_t)random_below(5) - 1,
        .thread_count = 1 + (uint32_t)random_below(4),
        .preserve_order = random_below(2),
        .drop_last = random_below(2),
    };
    round.is_pulled = random_below(3) == 0;
    round.is_tight = round.is_pulled && random_below(3) == 0;
    if (random_below(5) == 0) {
        round.options.batch_rows = 0;
        round.options.drop_last = false;
    }
    round.keep_count = random_below(HELD_MOST) + 1;
    make_loader(&round);
    round.seen = calloc(round.script.rows + 1, 1);
    for (int epoch = 0; epoch < 3; epoch++) {
        if (round.is_pulled)
            run_pulled_epoch(&round);
        else
            run_planned_epoch(&round);
        if (random_below(2)) let_all_go(&round);
        check_nothing_is_left(&round);
        check_figures(&round);
    }
    struct fb_stats stats;
    bool holds = random_below(2);
    if (!holds) let_all_go(&round);
    CHECK_EQUAL(fb_loader_close(round.loader, FB_NO_DEADLINE, NULL, &stats), 0);
    if (!holds) CHECK_EQUAL(stats.charged_bytes, 0);
    let_all_go(&round); /* a batch outlives its loader */
    CHECK_EQUAL(atomic_load(&round.script.releases), 2);
    free(round.seen);
    free(round.starts);
    script_destroy(&round.script);
}

int main(int argument_count, char **arguments)
{
    uint64_t seed = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : fb__clock_ns();
    uint64_t round_count = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 150;
    printf("  seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    for (uint64_t i = 0; i < round_count; i++) {
        random_state = seed + i * 0x9e3779b97f4a7c15u;
        if (random_state == 0) random_state = 1;
        for (int warm = 0; warm < 8; warm++) (void)random_below(2);
        run_round();
    }
    printf("cases: %llu\n", (unsigned long long)round_count);
    return 0;
}
