/*
 * Failing calls of a C program: the linker's --wrap=NAME turns every call of NAME in the program, which is the test and
 * the core linked into it, to __wrap_NAME, and __real_NAME is the system's. What other libraries call stays as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"

static int refused(int code)
{
    errno = code;
    return -1;
}

/* ---- memory ---- */

int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    int code = fault_next(FAULT_MEMORY);
    if (code == 0) code = __real_posix_memalign(out, alignment, bytes);
    if (code == 0) fault_note_memory(*out, bytes);
    return code;
}

void __real_free(void *pointer);
void __wrap_free(void *pointer);
void __wrap_free(void *pointer)
{
    if (pointer) (void)fault_forget_memory(pointer); /* before: another thread may be given the same place */
    __real_free(pointer);
}

/* Compilers that see files of any size call it mmap64, and so on below. */
void *__real_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset)
{
    int code = fault_next(FAULT_MEMORY);
    if (code) {
        errno = code;
        return MAP_FAILED;
    }
    void *pointer = __real_mmap64(address, bytes, protection, flags, descriptor, offset);
    if (pointer != MAP_FAILED) fault_note_memory(pointer, bytes);
    return pointer;
}

int __real_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes)
{
    int code = fault_next(FAULT_UNMAP);
    if (code) return refused(code);
    (void)fault_forget_memory(address);
    return __real_munmap(address, bytes);
}

/* What a failed munmap() is followed by: its pages are given back, and here the addresses too. */
int __wrap_madvise(void *address, size_t bytes, int advice);
int __wrap_madvise(void *address, size_t bytes, int advice)
{
    if (advice != MADV_DONTNEED || !fault_forget_memory(address)) return refused(EINVAL);
    return __real_munmap(address, bytes);
}

/* ---- locks and threads ---- */

int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    int code = fault_next(FAULT_LOCK);
    return code ? code : __real_pthread_mutex_init(mutex, attributes);
}

int __real_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    int code = fault_next(FAULT_LOCK);
    return code ? code : __real_pthread_cond_init(cond, attributes);
}

int __real_pthread_condattr_init(pthread_condattr_t *attributes);
int __wrap_pthread_condattr_init(pthread_condattr_t *attributes);
int __wrap_pthread_condattr_init(pthread_condattr_t *attributes)
{
    int code = fault_next(FAULT_LOCK);
    return code ? code : __real_pthread_condattr_init(attributes);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    int code = fault_next(FAULT_THREAD);
    if (code == 0) code = __real_pthread_create(thread, attributes, run, argument);
    if (code == 0) fault_note_threads(1);
    return code;
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    int code = __real_pthread_join(thread, result);
    if (code == 0) fault_note_threads(-1);
    return code;
}

int __real_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags)
{
    int code = fault_next(FAULT_EVENT);
    return code ? refused(code) : __real_eventfd(value, flags);
}

/* ---- files ---- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    int code = fault_next(FAULT_OPEN);
    return code ? refused(code) : __real_open64(path, flags); /* the core makes no files */
}

int __real_fstat64(int descriptor, struct stat *out);
int __wrap_fstat64(int descriptor, struct stat *out);
int __wrap_fstat64(int descriptor, struct stat *out)
{
    int code = fault_next(FAULT_STATUS);
    return code ? refused(code) : __real_fstat64(descriptor, out);
}

ssize_t __real_pread64(int descriptor, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int descriptor, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int descriptor, void *buffer, size_t bytes, off_t offset)
{
    int code = fault_next(FAULT_READ);
    if (code > 0) return refused(code);
    if (code == FAULT_END) return 0;
    if (code == FAULT_SHORT) bytes = fault_short_bytes(bytes);
    return __real_pread64(descriptor, buffer, bytes, offset);
}
