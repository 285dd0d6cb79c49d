/* Log-bucket histogram; no lock of its own, the owner guards it. */
#include "loader/histogram.h"

#include "base/clock.h"

/* Values below 8 have a bucket each; above, the bucket is the exponent and the three bits that follow the first. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 8) return (unsigned)value;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    unsigned mantissa = (unsigned)(value >> (exponent - 3)) & 7u;
    return (exponent - 2) * 8 + mantissa;
}

static uint64_t middle_of(unsigned bucket)
{
    if (bucket < 8) return bucket;
    unsigned exponent = bucket / 8 + 2;
    uint64_t width = UINT64_C(1) << (exponent - 3);
    return (8 + (uint64_t)(bucket % 8)) * width + width / 2;
}

_Static_assert((63 - 2) * 8 + 7 == FB__HISTOGRAM_BUCKETS - 1, "the last bucket holds UINT64_MAX");

void fb__histogram_add(struct fb__histogram *histogram, uint64_t value_ns)
{
    histogram->counts[bucket_of(value_ns)]++;
    histogram->count++;
    histogram->sum_ns += value_ns;
    if (value_ns > histogram->max_ns) histogram->max_ns = value_ns;
}

uint64_t fb__histogram_percentile_ns(const struct fb__histogram *histogram, double share)
{
    if (histogram->count == 0) return 0;
    double exact = share * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0) rank++;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < FB__HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen < rank) continue;
        uint64_t value_ns = middle_of(bucket);
        return value_ns < histogram->max_ns ? value_ns : histogram->max_ns;
    }
    return histogram->max_ns;
}

void fb__histogram_summary(const struct fb__histogram *histogram, struct fb_wait_stats *out)
{
    const double second = (double)FB__SECOND_NS;
    out->count = histogram->count;
    out->p50_s = (double)fb__histogram_percentile_ns(histogram, 0.50) / second;
    out->p90_s = (double)fb__histogram_percentile_ns(histogram, 0.90) / second;
    out->p99_s = (double)fb__histogram_percentile_ns(histogram, 0.99) / second;
    out->max_s = (double)histogram->max_ns / second;
    out->sum_s = (double)histogram->sum_ns / second;
}
