/*
 * The allocation gate: the only place of the library that asks the system for memory (tests/unit and a source lint
 * hold the rest to that). Every call names where its bytes are booked, sizes are exact, and a free gives its size.
 *
 * The book is an interface, so that this layer does not know the ledger which stands on it.
 *
 * Locking: the gate takes no lock of its own; counters are atomic. A book may lock.
 */
#ifndef FB_BASE_MEMORY_H
#define FB_BASE_MEMORY_H

#include <stdatomic.h>

#include "base/error.h"

struct fb__grant; /* a promise of bytes; src/ledger */

struct fb__book {
    void *context;
    /* Books bytes in an account at once; ENOBUFS (error filled) when the limit refuses. */
    int (*charge)(void *context, enum fb_account account, uint64_t bytes, struct fb_error *error);
    void (*credit)(void *context, enum fb_account account, uint64_t bytes);
    /* Turns bytes promised by a grant into bytes that live, and back. Never fails: they are booked already. */
    void (*commit)(void *context, struct fb__grant *grant, uint64_t bytes);
    void (*uncommit)(void *context, struct fb__grant *grant, uint64_t bytes);
};

struct fb__gate {
    struct fb__book book;
    _Atomic uint64_t allocation_count; /* successful allocations so far */
    _Atomic int64_t fail_countdown;    /* fault hook: the allocation that takes it from 1 to 0 fails with ENOMEM;
                                          0: off. See fb__gate_fail_nth(). */
    _Atomic int64_t fail_repeat;       /* how many further allocations fail after that one; -1: all */
};

/* Buffers of this size or more are mapped by themselves, so that giving one back returns its pages to the system. */
#define FB__MAP_THRESHOLD_BYTES ((uint64_t)128 * 1024)

/* A gate over book; the struct is copied. */
void fb__gate_init(struct fb__gate *gate, const struct fb__book *book);

/* Fault hook: lets `after` allocations through, then fails `repeat` of them (-1: all that follow). repeat 0: off. */
void fb__gate_fail_nth(struct fb__gate *gate, int64_t after, int64_t repeat);

/* The bytes that an allocation of this size really takes and is booked with: whole pages from the mapping threshold
 * on, the size itself below. UINT64_MAX stays UINT64_MAX (a size that overflowed). */
uint64_t fb__gate_bytes(uint64_t bytes);

/* Zeroed memory, 64-byte aligned, booked in account. bytes > 0.
 * ENOBUFS when the book refuses, ENOMEM when the system does. *out [out: free with fb__gate_free, same size]. */
FB_MUST_CHECK int fb__gate_alloc(struct fb__gate *gate, enum fb_account account, uint64_t bytes, void **out,
                                 struct fb_error *error);
/* pointer may be NULL (then nothing is booked back). */
void fb__gate_free(struct fb__gate *gate, enum fb_account account, void *pointer, uint64_t bytes);

/* As above, the bytes (fb__gate_bytes of them) being promised by grant already: only ENOMEM is possible.
 * Memory from a mapping is zero; smaller memory is not initialised. */
FB_MUST_CHECK int fb__gate_alloc_granted(struct fb__gate *gate, struct fb__grant *grant, uint64_t bytes, void **out,
                                         struct fb_error *error);
void fb__gate_free_granted(struct fb__gate *gate, struct fb__grant *grant, void *pointer, uint64_t bytes);

#endif
