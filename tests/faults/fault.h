/*
 * Failing calls to the system, one at a time: what the sweeps of tests/faults arm and ask. Each kind of call has a
 * counter; while a kind is armed its calls number `after` to `after + repeat` fail.
 *
 *     fault_wrap.c      in C programs, by the linker's --wrap: the calls that the core itself makes
 *     fault_preload.c   in any program, by LD_PRELOAD: memory and threads of one library, files of one pattern
 *
 * Both keep a book of the memory they gave out, in bytes as asked for: what the library's own ledger is held against.
 *
 * Locking: counters are atomic; the book has a mutex. Arming is for a moment in which no thread makes such calls.
 */
#ifndef FB_TESTS_FAULT_H
#define FB_TESTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_MEMORY = 0, /* posix_memalign, mmap */
    FAULT_UNMAP,      /* munmap */
    FAULT_LOCK,       /* pthread_mutex_init, pthread_cond_init and its attributes */
    FAULT_THREAD,     /* pthread_create */
    FAULT_EVENT,      /* eventfd */
    FAULT_OPEN,       /* open, openat */
    FAULT_STATUS,     /* fstat */
    FAULT_READ,       /* pread, read */
    FAULT_KIND_COUNT
};

/* In place of an errno code, for FAULT_READ. */
#define FAULT_SHORT (-1) /* fewer bytes than asked for, at least one */
#define FAULT_END (-2)   /* none, as at the end of a file */

/* Lets `after` calls of the kind through, then fails `repeat` (-1: all that follow) with code; counts from 0 again. */
void fault_arm(enum fault_kind kind, int64_t after, int64_t repeat, int code);
/* Every call of every kind goes through. Counters stay. */
void fault_disarm(void);
int64_t fault_calls(enum fault_kind kind);    /* since it was armed */
int64_t fault_failures(enum fault_kind kind); /* of those */

int64_t fault_live_bytes(void);
int64_t fault_peak_bytes(void); /* since the last fault_reset_peak() */
void fault_reset_peak(void);
int64_t fault_live_threads(void); /* started and not joined */

/* ---- for the two that fail calls ---- */

/* 0, or the code with which the call that is being made fails. */
int fault_next(enum fault_kind kind);
/* The bytes to ask for instead of `bytes` (more than 1) where a call is to be short. */
size_t fault_short_bytes(size_t bytes);
void fault_note_memory(const void *pointer, size_t bytes);
/* False where it was not noted. */
bool fault_forget_memory(const void *pointer);
void fault_note_threads(int64_t more);

#endif
