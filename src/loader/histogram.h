/*
 * A histogram of times with fixed logarithmic buckets: 8 a power of two, so a percentile is right within 1/16 of its
 * value, and histograms of different loaders can be added bucket by bucket.
 */
#ifndef FB_LOADER_HISTOGRAM_H
#define FB_LOADER_HISTOGRAM_H

#include "forebay/forebay.h"

#define FB__HISTOGRAM_BUCKETS 496 /* covers every uint64_t: see bucket_of() */

struct fb__histogram {
    uint64_t counts[FB__HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
};

void fb__histogram_add(struct fb__histogram *histogram, uint64_t value_ns);
/* The value that `share` (0 to 1) of the values do not pass: the middle of its bucket, never above the maximum. */
uint64_t fb__histogram_percentile_ns(const struct fb__histogram *histogram, double share);
void fb__histogram_summary(const struct fb__histogram *histogram, struct fb_wait_stats *out);

#endif
