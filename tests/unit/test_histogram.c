/* White-box test of src/loader/histogram. */
#include "loader/histogram.h"

#include "check.h"

static void every_value_has_a_bucket_and_the_percentile_is_within_a_sixteenth(void)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int64_t step = -1; step <= 1; step++) {
            uint64_t value = (UINT64_C(1) << shift) + (uint64_t)step;
            struct fb__histogram histogram = {0};
            fb__histogram_add(&histogram, value);
            uint64_t middle = fb__histogram_percentile_ns(&histogram, 0.5);
            CHECK(middle <= value);
            CHECK(value - middle <= value / 16 + 1);
        }
    }
}

static void percentiles_of_known_values(void)
{
    struct fb__histogram histogram = {0};
    for (uint64_t value = 1; value <= 1000; value++) fb__histogram_add(&histogram, value * 1000);
    struct fb_wait_stats summary;
    fb__histogram_summary(&histogram, &summary);
    CHECK_EQUAL(summary.count, 1000);
    CHECK(summary.p50_s > 0.00046 && summary.p50_s < 0.00054);
    CHECK(summary.p90_s > 0.00084 && summary.p90_s < 0.00096);
    CHECK(summary.p99_s > 0.00092 && summary.p99_s <= 0.001);
    CHECK(summary.max_s > 0.000999 && summary.max_s < 0.001001);
    CHECK(summary.sum_s > 0.5 && summary.sum_s < 0.501);
}

static void an_empty_histogram_is_zero(void)
{
    struct fb__histogram histogram = {0};
    CHECK_EQUAL(fb__histogram_percentile_ns(&histogram, 0.99), 0);
}

int main(void)
{
    RUN(every_value_has_a_bucket_and_the_percentile_is_within_a_sixteenth);
    RUN(percentiles_of_known_values);
    RUN(an_empty_histogram_is_zero);
    return 0;
}
