/*
 * Iterator: one epoch. next() takes a batch that is ready without letting the GIL go, and waits without it otherwise.
 *
 * Whenever the GIL was let go, or Python code may have run (a signal handler, the garbage collector), everything that
 * was known of the loader is looked at again: it may be closed, or in a later epoch.
 */
#include "module.h"

#include <errno.h>
#include <time.h>

/* How long next() waits for the user to let batches go where no timeout was given. */
#define PATIENCE_NS UINT64_C(10000000000)

enum phase {
    PHASE_NEW,     /* no epoch yet */
    PHASE_RUNNING,
    PHASE_OVER,    /* every batch was delivered */
    PHASE_FAILED
};

struct iterator {
    PyObject base;
    struct fb__py_loader *loader; /* owned */
    uint64_t epoch;
    enum phase phase;
    bool has_started; /* next() was called: there are reader threads */
    /* of PHASE_FAILED */
    struct fb_error error;
    PyObject *cause; /* owned; NULL: none */
};

PyObject *fb__py_iterator_new(struct fb__py_loader *loader)
{
    struct iterator *self = (struct iterator *)PyType_GenericAlloc(loader->state->iterator_type, 0);
    if (!self) return NULL;
    Py_INCREF((PyObject *)loader);
    self->loader = loader;
    self->phase = PHASE_NEW;
    return (PyObject *)self;
}

void fb__py_iterator_begin(PyObject *iterator)
{
    struct iterator *self = (struct iterator *)iterator;
    self->epoch = self->loader->epoch;
    self->phase = PHASE_RUNNING;
}

/* ---- the end of an epoch ---- */

/* Joins the epoch's threads; -1 where a warning about one left behind is an error. */
static int end_epoch(struct fb__py_loader *loader)
{
    int64_t unit = -1;
    uint32_t abandoned_count = fb__py_loader_end_epoch(loader, &unit);
    if (abandoned_count == 0) return 0;
    return fb__py_warn_abandoned(loader->provider, abandoned_count, unit, loader->close_timeout_ns);
}

static void raise_failure(struct iterator *self)
{
    struct fb__py_loader *loader = self->loader;
    fb__py_raise(loader->state, &self->error, FB__PY_IN_AN_EPOCH, loader->provider, self->cause);
}

/* The epoch has failed with error: keeps it for the calls to come, and lets everything go. */
static void fail(struct iterator *self, const struct fb_error *error)
{
    struct fb__py_loader *loader = self->loader;
    self->phase = PHASE_FAILED;
    self->error = *error;
    /* First, before Python code runs in which another thread could close the loader or begin another epoch. */
    if (end_epoch(loader) < 0) PyErr_WriteUnraisable((PyObject *)self);
    self->cause = fb__py_provider_take_cause(loader->provider, error->unit);
    fb__py_provider_forget(loader->provider);
    raise_failure(self);
}

/* ---- waiting ---- */

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* -1 with an exception where this iterator can give nothing now. */
static int check_usable(struct iterator *self)
{
    struct fb__py_loader *loader = self->loader;
    if (!loader->handle || loader->is_closing) {
        fb__py_raise_closed(loader->state);
        return -1;
    }
    if (loader->epoch != self->epoch) {
        PyErr_SetString(PyExc_RuntimeError, "this iterator ended when a newer one of the same loader began");
        return -1;
    }
    return 0;
}

/* gc.collect(), which works where automatic collection is off; PyGC_Collect() does not. -1 with an exception. */
static int collect_garbage(void)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *count = gc ? PyObject_CallMethod(gc, "collect", NULL) : NULL;
    Py_XDECREF(gc);
    if (!count) return -1;
    Py_DECREF(count);
    return 0;
}

struct wait {
    uint64_t deadline_ns;    /* of the whole next() */
    uint64_t until_ns;       /* of the wait to come */
    uint64_t held_bytes;     /* in the user's hands when patience began */
    uint64_t required_bytes; /* a limit that would do, where the core knows it */
    bool is_patient;         /* waits for the user to let batches go */
};

/*
 * Nothing can go on, or (ETIMEDOUT) nothing went on while we were patient. Collects garbage the first time; waits on
 * where the user has let something go since; otherwise raises.
 */
static int be_patient(struct fb__py_loader *loader, struct wait *wait, int code, const struct fb_error *error)
{
    struct fb_stats stats;
    if (code == EDEADLK) wait->required_bytes = error->required_bytes;
    if (!wait->is_patient && collect_garbage() < 0) return -1;
    if (!loader->handle) return 0; /* garbage may close a loader: the caller looks */
    fb_loader_stats(loader->handle, &stats);
    uint64_t held_bytes = stats.accounts[FB_ACCOUNT_HELD].bytes;
    uint64_t now_ns = clock_ns();
    if (wait->is_patient && held_bytes >= wait->held_bytes) {
        fb__py_raise_held(loader->state, &stats, wait->required_bytes);
        return -1;
    }
    if (wait->is_patient && code == ETIMEDOUT && now_ns >= wait->deadline_ns) {
        fb__py_raise_timeout(loader->state, loader->timeout_ns);
        return -1;
    }
    wait->is_patient = true;
    wait->held_bytes = held_bytes;
    wait->until_ns = earlier(wait->deadline_ns, now_ns + PATIENCE_NS);
    return 0;
}

/* One wait without the GIL. */
static int wait_once(struct iterator *self, const struct wait *wait, struct fb_batch **batch, struct fb_error *error)
{
    struct fb__py_loader *loader = self->loader;
    struct fb_loader *handle = loader->handle;
    PyThreadState *thread = PyEval_SaveThread();
    int code = fb_loader_next(handle, wait->until_ns, wait->is_patient, batch, error);
    PyEval_RestoreThread(thread);
    fb__py_loader_leave(loader);
    return code;
}

/*
 * Goes on after a next() that gave code, until there is a batch (0; NULL when the epoch is over). -1 with an exception.
 */
static int wait_for_batch(struct iterator *self, int code, struct fb_batch **batch, struct fb_error *error)
{
    struct fb__py_loader *loader = self->loader;
    struct wait wait = {.deadline_ns = FB_NO_DEADLINE};
    if (loader->timeout_ns != FB_NO_DEADLINE) wait.deadline_ns = clock_ns() + loader->timeout_ns;
    wait.until_ns = wait.deadline_ns;
    while (code) {
        if (code == EDEADLK || (code == ETIMEDOUT && wait.is_patient)) {
            if (be_patient(loader, &wait, code, error) < 0) return -1;
        } else if (code == ETIMEDOUT) {
            fb__py_raise_timeout(loader->state, loader->timeout_ns);
            return -1;
        } else if (code != EAGAIN && code != EINTR && !(code == ECANCELED && loader->is_closing)) {
            fail(self, error);
            return -1;
        }
        if (PyErr_CheckSignals() < 0) return -1;
        if (check_usable(self) < 0) return -1;
        if (fb__py_loader_enter(loader, "next()") < 0) return -1;
        code = wait_once(self, &wait, batch, error);
    }
    return 0;
}

static PyObject *iterator_next(PyObject *object)
{
    struct iterator *self = (struct iterator *)object;
    struct fb__py_loader *loader = self->loader;
    if (loader->state->process != loader->process) {
        fb__py_raise_forked(loader->state, loader->process);
        return NULL;
    }
    if (self->phase == PHASE_OVER) return NULL;
    if (self->phase == PHASE_FAILED) {
        raise_failure(self);
        return NULL;
    }
    if (check_usable(self) < 0) return NULL;
    if (loader->in_use) {
        PyErr_Format(PyExc_RuntimeError, "another thread is inside %s of this loader", loader->in_use);
        return NULL;
    }
    struct fb_batch *batch = NULL;
    struct fb_error error;
    /* The first call starts the readers, and joins them should one not start: never while they wait for the GIL. */
    int code = EAGAIN;
    if (self->has_started) code = fb_loader_next(loader->handle, 0, false, &batch, &error);
    self->has_started = true;
    if (code && wait_for_batch(self, code, &batch, &error) < 0) return NULL;
    if (batch) return fb__py_batch_value(loader, batch);
    self->phase = PHASE_OVER;
    (void)end_epoch(loader); /* with an exception set next() raises it, else the loop ends */
    return NULL;
}

/* ---- the type ---- */

static int iterator_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct iterator *self = (struct iterator *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT((PyObject *)self->loader);
    Py_VISIT(self->cause);
    return 0;
}

/* The loader stays: it clears what makes cycles through it, and is needed to end the epoch. */
static int iterator_clear(PyObject *object)
{
    Py_CLEAR(((struct iterator *)object)->cause);
    return 0;
}

/* Whether the epoch that runs is this iterator's, and nobody else is about to end it. */
static bool has_epoch_to_end(const struct iterator *self)
{
    const struct fb__py_loader *loader = self->loader;
    return self->phase == PHASE_RUNNING && loader->handle && !loader->in_use && !loader->is_closing &&
           loader->epoch == self->epoch && fb__py_is_own(loader->process);
}

static void iterator_dealloc(PyObject *object)
{
    struct iterator *self = (struct iterator *)object;
    PyObject_GC_UnTrack(object);
    if (has_epoch_to_end(self)) {
        struct fb__py_raised raised = fb__py_save_raised();
        if (end_epoch(self->loader) < 0) PyErr_WriteUnraisable(NULL); /* naming it would bring it back to life */
        fb__py_provider_forget(self->loader->provider);
        fb__py_restore_raised(raised);
    }
    (void)iterator_clear(object);
    Py_DECREF((PyObject *)self->loader);
    fb__py_free(object);
}

static PyObject *iterator_self(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, (void *)"The batches of one epoch; made by Loader.iterate()."},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_iter, iterator_self},
    {Py_tp_iternext, iterator_next},
    {0, NULL},
};

PyType_Spec fb__py_iterator_spec = {
    .name = "forebay._ext.Iterator",
    .basicsize = sizeof(struct iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};
