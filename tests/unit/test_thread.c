/* White-box tests of src/base/thread.c. */
#include <errno.h>
#include <signal.h>
#include <semaphore.h>

#include "base/thread.h"
#include "check.h"

struct seen {
    sem_t go;
    sigset_t blocked;
    char name[32];
};

static void *look_around(void *argument)
{
    struct seen *seen = argument;
    CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked), 0);
    while (sem_wait(&seen->go) != 0) CHECK_EQUAL(errno, EINTR);
    CHECK_EQUAL(pthread_getname_np(pthread_self(), seen->name, sizeof seen->name), 0);
    return seen;
}

static void run_one(const char *name, struct seen *seen)
{
    struct fb_error error;
    pthread_t thread;
    void *result = NULL;
    CHECK_EQUAL(sem_init(&seen->go, 0, 0), 0);
    CHECK_EQUAL(fb__thread_start(&thread, name, look_around, seen, &error), 0);
    CHECK_EQUAL(sem_post(&seen->go), 0);
    CHECK_EQUAL(pthread_join(thread, &result), 0);
    CHECK(result == seen);
    CHECK_EQUAL(sem_destroy(&seen->go), 0);
}

static const int asynchronous[] = {SIGINT, SIGTERM, SIGALRM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE};
static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

static void a_thread_starts_with_asynchronous_signals_blocked(void)
{
    struct seen seen;
    run_one("reader", &seen);
    for (size_t i = 0; i < sizeof asynchronous / sizeof asynchronous[0]; i++)
        CHECK_EQUAL(sigismember(&seen.blocked, asynchronous[i]), 1);
    CHECK_EQUAL(sigismember(&seen.blocked, SIGRTMIN), 1);
    for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++)
        CHECK_EQUAL(sigismember(&seen.blocked, synchronous[i]), 0);
}

static void synchronous_signals_stay_as_the_starter_has_them(void)
{
    struct seen seen;
    sigset_t bus;
    sigset_t before;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &bus, &before), 0);
    run_one("reader", &seen);
    CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    CHECK_EQUAL(sigismember(&seen.blocked, SIGBUS), 1);
    CHECK_EQUAL(sigismember(&seen.blocked, SIGSEGV), 0);
}

/* The mask of the calling thread: SIGUSR1 blocked, SIGINT not. */
static void check_own_mask(void)
{
    sigset_t now;
    CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    CHECK_EQUAL(sigismember(&now, SIGUSR1), 1);
    CHECK_EQUAL(sigismember(&now, SIGINT), 0);
    CHECK_EQUAL(sigismember(&now, SIGALRM), 0);
}

static void the_starter_keeps_its_own_mask_whether_it_works_or_not(void)
{
    struct seen seen;
    struct fb_error error;
    pthread_t thread;
    pthread_attr_t usual;
    pthread_attr_t huge;
    sigset_t mask;
    sigset_t before;

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, &mask, &before), 0);
    run_one("reader", &seen);
    check_own_mask();

    /* A stack that no machine has makes the system refuse the thread. */
    CHECK_EQUAL(pthread_getattr_default_np(&usual), 0);
    CHECK_EQUAL(pthread_getattr_default_np(&huge), 0);
    CHECK_EQUAL(pthread_attr_setstacksize(&huge, (size_t)1 << 50), 0);
    CHECK_EQUAL(pthread_setattr_default_np(&huge), 0);
    memset(&error, 0, sizeof error);
    int code = fb__thread_start(&thread, "reader-7", look_around, &seen, &error);
    CHECK_EQUAL(pthread_setattr_default_np(&usual), 0);
    CHECK(code == EAGAIN || code == ENOMEM);
    CHECK_EQUAL(error.code, code);
    CHECK_CONTAINS(error.message, "reader-7");
    check_own_mask();
    CHECK_EQUAL(pthread_attr_destroy(&huge), 0);
    CHECK_EQUAL(pthread_attr_destroy(&usual), 0);
    CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static void a_thread_bears_the_first_fifteen_bytes_of_its_name(void)
{
    struct seen seen;
    run_one("fb-reader-3", &seen);
    CHECK_TEXT(seen.name, "fb-reader-3");
    run_one("fb-a-name-that-is-too-long", &seen);
    CHECK_TEXT(seen.name, "fb-a-name-that-");
}

int main(void)
{
    RUN(a_thread_starts_with_asynchronous_signals_blocked);
    RUN(synchronous_signals_stay_as_the_starter_has_them);
    RUN(the_starter_keeps_its_own_mask_whether_it_works_or_not);
    RUN(a_thread_bears_the_first_fifteen_bytes_of_its_name);
    return 0;
}
