/*
 * Failing calls of any program, by LD_PRELOAD; the program arms it through these functions (ctypes.CDLL(None)).
 *
 *     fault_watch_library("_ext")   memory, threads and eventfds count, and fail, where code of that library asks
 *     fault_watch_files("/data/")   open, fstat, pread and read count, and fail, for files whose path has that in it,
 *                                   whoever asks
 *
 * What nobody watches goes straight through.
 *
 * Locking: what is watched is set before threads start; which descriptors are meant is one atomic flag each.
 */
#undef _FILE_OFFSET_BITS /* open() is to be open here, beside open64() */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"

#define DESCRIPTORS_MOST 4096
#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
#define IS_WATCHED() is_watched((uintptr_t)__builtin_return_address(0))

static _Atomic uintptr_t library_begin, library_end;
static char pattern[256];
static _Atomic bool is_meant[DESCRIPTORS_MOST];

int fault_watch_library(const char *part);
void fault_watch_files(const char *part);

static void *real(void *_Atomic *known, const char *name)
{
    void *function = atomic_load(known);
    if (function) return function;
    function = dlsym(RTLD_NEXT, name);
    atomic_store(known, function);
    return function;
}

static bool is_watched(uintptr_t caller)
{
    return caller >= atomic_load(&library_begin) && caller < atomic_load(&library_end);
}

static int look_at_library(struct dl_phdr_info *info, size_t size, void *part)
{
    (void)size;
    if (!strstr(info->dlpi_name, part)) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        atomic_store(&library_end, begin + segment->p_memsz);
        atomic_store(&library_begin, begin);
        return 1;
    }
    return 0;
}

/* The loaded library with this in its path. Returns 1, 0 where there is none. */
int fault_watch_library(const char *part)
{
    return dl_iterate_phdr(look_at_library, (void *)(uintptr_t)part);
}

void fault_watch_files(const char *part)
{
    (void)strncpy(pattern, part, sizeof pattern - 1);
}

static int refused(int code)
{
    errno = code;
    return -1;
}

/* ---- memory ---- */

static void *_Atomic real_posix_memalign, *_Atomic real_free, *_Atomic real_mmap64, *_Atomic real_munmap;

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    bool is_ours = IS_WATCHED();
    int code = is_ours ? fault_next(FAULT_MEMORY) : 0;
    if (code == 0) code = REAL(posix_memalign)(out, alignment, bytes);
    if (code == 0 && is_ours) fault_note_memory(*out, bytes);
    return code;
}

void free(void *pointer)
{
    if (pointer) (void)fault_forget_memory(pointer); /* the last call of a function, whose caller then shows here */
    REAL(free)(pointer);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off64_t offset)
{
    bool is_ours = IS_WATCHED();
    int code = is_ours ? fault_next(FAULT_MEMORY) : 0;
    if (code) {
        errno = code;
        return MAP_FAILED;
    }
    void *pointer = REAL(mmap64)(address, bytes, protection, flags, descriptor, offset);
    if (is_ours && pointer != MAP_FAILED) fault_note_memory(pointer, bytes);
    return pointer;
}

int munmap(void *address, size_t bytes)
{
    (void)fault_forget_memory(address);
    return REAL(munmap)(address, bytes);
}

/* ---- threads and eventfds ---- */

static void *_Atomic real_pthread_create, *_Atomic real_pthread_join, *_Atomic real_eventfd;
int eventfd(unsigned int value, int flags);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    bool is_ours = IS_WATCHED();
    int code = is_ours ? fault_next(FAULT_THREAD) : 0;
    if (code == 0) code = REAL(pthread_create)(thread, attributes, run, argument);
    if (code == 0 && is_ours) fault_note_threads(1);
    return code;
}

int pthread_join(pthread_t thread, void **result)
{
    int code = REAL(pthread_join)(thread, result);
    if (code == 0 && IS_WATCHED()) fault_note_threads(-1);
    return code;
}

int eventfd(unsigned int value, int flags)
{
    int code = IS_WATCHED() ? fault_next(FAULT_EVENT) : 0;
    return code ? refused(code) : REAL(eventfd)(value, flags);
}

/* ---- files ---- */

static void *_Atomic real_open64, *_Atomic real_openat64, *_Atomic real_close, *_Atomic real_fstat64;
static void *_Atomic real_pread64, *_Atomic real_read;

static bool is_path_meant(const char *path)
{
    return pattern[0] != '\0' && strstr(path, pattern);
}

static bool is_descriptor_meant(int descriptor)
{
    return descriptor >= 0 && descriptor < DESCRIPTORS_MOST && atomic_load(&is_meant[descriptor]);
}

static int opened(int descriptor, bool is_ours)
{
    if (descriptor >= 0 && descriptor < DESCRIPTORS_MOST) atomic_store(&is_meant[descriptor], is_ours);
    return descriptor;
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    bool is_ours = is_path_meant(path);
    int code = is_ours ? fault_next(FAULT_OPEN) : 0;
    return code ? refused(code) : opened(REAL(open64)(path, flags, mode), is_ours);
}

int openat64(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    bool is_ours = is_path_meant(path);
    int code = is_ours ? fault_next(FAULT_OPEN) : 0;
    return code ? refused(code) : opened(REAL(openat64)(folder, path, flags, mode), is_ours);
}

int close(int descriptor)
{
    if (descriptor >= 0 && descriptor < DESCRIPTORS_MOST) atomic_store(&is_meant[descriptor], false);
    return REAL(close)(descriptor);
}

int fstat64(int descriptor, struct stat64 *out)
{
    int code = is_descriptor_meant(descriptor) ? fault_next(FAULT_STATUS) : 0;
    return code ? refused(code) : REAL(fstat64)(descriptor, out);
}

/* How many bytes to ask for; -1: the call fails, or ends here, with *result. */
static ssize_t bytes_to_read(int descriptor, size_t bytes, ssize_t *result)
{
    int code = is_descriptor_meant(descriptor) ? fault_next(FAULT_READ) : 0;
    if (code == 0) return (ssize_t)bytes;
    if (code == FAULT_SHORT) return (ssize_t)fault_short_bytes(bytes);
    *result = code == FAULT_END ? 0 : refused(code);
    return -1;
}

ssize_t pread64(int descriptor, void *buffer, size_t bytes, off64_t offset)
{
    ssize_t result = -1;
    ssize_t wanted = bytes_to_read(descriptor, bytes, &result);
    return wanted < 0 ? result : REAL(pread64)(descriptor, buffer, (size_t)wanted, offset);
}

ssize_t read(int descriptor, void *buffer, size_t bytes)
{
    ssize_t result = -1;
    ssize_t wanted = bytes_to_read(descriptor, bytes, &result);
    return wanted < 0 ? result : REAL(read)(descriptor, buffer, (size_t)wanted);
}

/* Libraries that were compiled for an older system call it so. */
int __fxstat(int version, int descriptor, struct stat *out);
int __fxstat64(int version, int descriptor, struct stat64 *out);

int __fxstat64(int version, int descriptor, struct stat64 *out)
{
    (void)version;
    return fstat64(descriptor, out);
}

/* Where files of any size are the only ones, both names of a call are the same. */
_Static_assert(sizeof(off_t) == sizeof(off64_t) && sizeof(struct stat) == sizeof(struct stat64), "64 bits");
int open(const char *path, int flags, ...) __attribute__((alias("open64")));
int openat(int folder, const char *path, int flags, ...) __attribute__((alias("openat64")));
int fstat(int descriptor, struct stat *out) __attribute__((alias("fstat64")));
int __fxstat(int version, int descriptor, struct stat *out) __attribute__((alias("__fxstat64")));
ssize_t pread(int descriptor, void *buffer, size_t bytes, off_t offset) __attribute__((alias("pread64")));
void *mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset)
    __attribute__((alias("mmap64")));
