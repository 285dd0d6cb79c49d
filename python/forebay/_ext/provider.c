/*
 * Provider: the Python object that opens units, and the callbacks through which the core asks it.
 *
 * A Provider is shared by its Source, the Loader that consumes it, and the core, whose callbacks enter Python here:
 * from reader threads, with no lock held. A callback asks `is_exiting` before it waits for the GIL, since a thread
 * that waits for the GIL while Python ends never gets it.
 *
 * The garbage collector does not see the core's reference: a provider that holds its own Source or Loader is kept
 * until that Loader is closed.
 */
#include "module.h"

#include <errno.h>

struct provider {
    PyObject base;
    struct fb__py_state *state;
    PyObject *object; /* the user's: open or open_stream, allocated_bytes, describe, take_error; NULL once collected */
    PyObject *kept; /* dict: unit -> the exception that open() or open_stream() raised */
    _Atomic uint64_t allocated_bytes; /* as last said */
    bool is_stream; /* one stream an epoch, of the user's own making */
};

PyObject *fb__py_provider_new(struct fb__py_state *state, PyObject *object)
{
    struct provider *self = (struct provider *)PyType_GenericAlloc(state->provider_type, 0);
    if (!self) return NULL;
    self->state = state;
    Py_INCREF(object);
    self->object = object;
    self->kept = PyDict_New();
    if (!self->kept) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

void fb__py_provider_set_stream(PyObject *provider)
{
    ((struct provider *)provider)->is_stream = true;
}

bool fb__py_provider_is_stream(PyObject *provider)
{
    return provider && ((struct provider *)provider)->is_stream;
}

static int provider_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct provider *self = (struct provider *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT(self->object);
    Py_VISIT(self->kept);
    return 0;
}

static int provider_clear(PyObject *object)
{
    struct provider *self = (struct provider *)object;
    Py_CLEAR(self->object);
    Py_CLEAR(self->kept);
    return 0;
}

static void provider_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    (void)provider_clear(object);
    fb__py_free(object);
}

static PyType_Slot provider_slots[] = {
    {Py_tp_doc, (void *)"What opens the units of a source, and the exceptions that it raised."},
    {Py_tp_traverse, provider_traverse},
    {Py_tp_clear, provider_clear},
    {Py_tp_dealloc, provider_dealloc},
    {0, NULL},
};

PyType_Spec fb__py_provider_spec = {
    .name = "forebay._ext.Provider",
    .basicsize = sizeof(struct provider),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = provider_slots,
};

void fb__py_provider_describe(PyObject *provider, int64_t unit, PyObject **path, PyObject **row_group,
                              int64_t *first_row)
{
    PyObject *object = provider ? ((struct provider *)provider)->object : NULL;
    PyObject *description = NULL;
    long long row = 0;
    *path = *row_group = Py_None;
    if (object && unit >= 0) {
        description = PyObject_CallMethod(object, "describe", "L", (long long)unit);
        bool is_good = description && PyTuple_Check(description) &&
                       PyArg_ParseTuple(description, "OO|L:describe", path, row_group, &row);
        if (description && !is_good && !PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "describe() must return a tuple: path, row group and perhaps first row");
        if (!is_good) {
            PyErr_WriteUnraisable(object);
            *path = *row_group = Py_None;
            row = 0;
        }
    }
    *first_row = row;
    Py_INCREF(*path);
    Py_INCREF(*row_group);
    Py_XDECREF(description);
}

static PyObject *exception_or_null(PyObject *object)
{
    if (object && PyObject_IsInstance(object, PyExc_BaseException) == 1) return object;
    Py_XDECREF(object);
    return NULL;
}

PyObject *fb__py_provider_take_cause(PyObject *provider, int64_t unit)
{
    struct provider *self = (struct provider *)provider;
    if (!self || !self->object || unit < 0) return NULL;
    PyObject *key = PyLong_FromLongLong(unit);
    PyObject *cause = key ? PyDict_GetItemWithError(self->kept, key) : NULL; /* borrowed */
    if (cause) {
        Py_INCREF(cause);
        if (PyDict_DelItem(self->kept, key) < 0) PyErr_WriteUnraisable(provider);
    } else if (!PyErr_Occurred()) {
        cause = PyObject_CallMethod(self->object, "take_error", "L", (long long)unit);
    }
    Py_XDECREF(key);
    if (!cause) PyErr_WriteUnraisable(self->object);
    return exception_or_null(cause);
}

void fb__py_provider_forget(PyObject *provider)
{
    struct provider *self = (struct provider *)provider;
    if (self && self->kept) PyDict_Clear(self->kept);
}

/* ---- callbacks of the core ---- */

/* Whether a thread of the core may still enter Python. */
static bool can_enter_python(const struct provider *self)
{
    return Py_IsInitialized() && !atomic_load(&self->state->is_exiting);
}

/*
 * Makes this thread one of Python's, until detach(): what enters Python from then on, the Arrow library in its streams
 * too, need not make a thread state each time. False where it was one already.
 */
static bool attach(struct fb__py_state *state)
{
    if (PyGILState_GetThisThreadState()) return false;
    (void)PyThread_acquire_lock(state->fork_lock, WAIT_LOCK);
    PyThreadState *thread_state = PyThreadState_New(state->interpreter);
    if (thread_state)
        atomic_fetch_add(&state->attached_count, 1); /* else PyGILState_Ensure() tries again, and says so */
    PyThread_release_lock(state->fork_lock);
    return true;
}

/* Notes that this thread, which has the GIL, may be inside code of a source, or that it is not any more. */
static void note_thread(struct fb__py_state *state, bool is_inside)
{
    PyObject *thread = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (thread && is_inside)
        (void)PySet_Add(state->threads, thread);
    else if (thread)
        (void)PySet_Discard(state->threads, thread);
    Py_XDECREF(thread);
    PyErr_Clear(); /* without the note the thread is left where it is when Python ends */
}

/* This thread does not enter Python again, or makes itself known anew. */
static void note_left(struct fb__py_state *state)
{
    bool is_last = atomic_fetch_sub(&state->attached_count, 1) == 1;
    if (is_last && atomic_load(&state->is_exiting)) PyThread_release_lock(state->threads_left);
}

static void detach(struct fb__py_state *state)
{
    PyThreadState *thread_state = PyGILState_GetThisThreadState();
    if (!thread_state) return;
    PyEval_RestoreThread(thread_state);
    note_thread(state, false);
    PyThreadState_Clear(thread_state);
    (void)PyEval_SaveThread();
    (void)PyThread_acquire_lock(state->fork_lock, WAIT_LOCK);
    PyThreadState_Delete(thread_state);
    PyThread_release_lock(state->fork_lock);
    note_left(state);
}

static PyObject *column_tuple(const uint32_t *columns, uint32_t column_count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)column_count);
    for (uint32_t i = 0; tuple && i < column_count; i++) {
        PyObject *column = PyLong_FromUnsignedLong(columns[i]);
        if (!column || PyTuple_SetItem(tuple, (Py_ssize_t)i, column) < 0) Py_CLEAR(tuple);
    }
    return tuple;
}

/* Moves the stream out of what open() returned. */
static int take_stream(PyObject *opened, struct ArrowArrayStream *out)
{
    PyObject *capsule = PyObject_CallMethod(opened, "__arrow_c_stream__", NULL);
    if (!capsule) return -1;
    struct ArrowArrayStream *stream = PyCapsule_GetPointer(capsule, "arrow_array_stream");
    if (stream && !stream->release) {
        PyErr_SetString(PyExc_ValueError, "open() returned a stream that was used before");
        stream = NULL;
    }
    if (stream) {
        *out = *stream;
        stream->release = NULL;
    }
    Py_DECREF(capsule);
    return stream ? 0 : -1;
}

/* What open() or open_stream() gave, moved to *out; what it raised is kept for unit instead. opened: [move]. */
static int take_opened(struct provider *self, PyObject *opened, uint64_t unit, struct ArrowArrayStream *out,
                       struct fb_error *error)
{
    struct fb_error filled = {0};
    if (!opened || take_stream(opened, out) < 0) {
        PyObject *exception = fb__py_take_raised(&filled, unit);
        PyObject *key = PyLong_FromUnsignedLongLong(unit);
        if (!key || !self->kept || PyDict_SetItem(self->kept, key, exception) < 0) PyErr_Clear();
        Py_XDECREF(key);
        Py_XDECREF(exception);
    }
    Py_XDECREF(opened);
    if (filled.code && error) *error = filled;
    return filled.code;
}

static int open_unit(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t piece_rows,
                     struct ArrowArrayStream *out, struct fb_error *error)
{
    struct provider *self = context;
    if (!can_enter_python(self)) return fb__py_fail(error, ECANCELED, (int64_t)unit, "Python is shutting down");
    (void)attach(self->state);
    PyGILState_STATE gil = PyGILState_Ensure();
    note_thread(self->state, true);
    PyObject *object = self->object;
    Py_XINCREF(object);
    int code;
    if (object) {
        PyObject *tuple = column_tuple(columns, column_count);
        PyObject *opened = tuple ? PyObject_CallMethod(object, "open", "KOK", (unsigned long long)unit, tuple,
                                                       (unsigned long long)piece_rows)
                                 : NULL;
        code = take_opened(self, opened, unit, out, error);
        Py_XDECREF(tuple);
    } else {
        code = fb__py_fail(error, ECANCELED, (int64_t)unit, "the source was collected as garbage");
    }
    Py_XDECREF(object);
    PyGILState_Release(gil);
    return code;
}

static int open_stream(void *context, struct ArrowArrayStream *out, struct fb_error *error)
{
    struct provider *self = context;
    if (!can_enter_python(self)) return fb__py_fail(error, ECANCELED, 0, "Python is shutting down");
    (void)attach(self->state);
    PyGILState_STATE gil = PyGILState_Ensure();
    note_thread(self->state, true);
    PyObject *object = self->object;
    Py_XINCREF(object);
    int code = object ? take_opened(self, PyObject_CallMethod(object, "open_stream", NULL), 0, out, error)
                      : fb__py_fail(error, ECANCELED, 0, "the source was collected as garbage");
    Py_XDECREF(object);
    PyGILState_Release(gil);
    return code;
}

static uint64_t allocated_bytes(void *context)
{
    struct provider *self = context;
    if (!can_enter_python(self)) return atomic_load(&self->allocated_bytes);
    (void)attach(self->state);
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *object = self->object;
    Py_XINCREF(object);
    PyObject *number = object ? PyObject_CallMethod(object, "allocated_bytes", NULL) : NULL;
    unsigned long long bytes = number ? PyLong_AsUnsignedLongLong(number) : 0;
    if (PyErr_Occurred()) /* the last figure stands */
        PyErr_WriteUnraisable(object);
    else if (number)
        atomic_store(&self->allocated_bytes, bytes);
    Py_XDECREF(number);
    Py_XDECREF(object);
    PyGILState_Release(gil);
    return atomic_load(&self->allocated_bytes);
}

static void leave(void *context)
{
    struct provider *self = context;
    if (can_enter_python(self))
        detach(self->state);
    else if (PyGILState_GetThisThreadState()) /* Python's end lets its state go */
        note_left(self->state);
}

static void release_context(void *context)
{
    struct provider *self = context;
    struct fb__py_state *state = self->state;
    if (!can_enter_python(self)) return; /* Python takes its objects with it */
    bool was_attached = attach(state);
    PyGILState_STATE gil = PyGILState_Ensure();
    Py_DECREF((PyObject *)self);
    PyGILState_Release(gil);
    if (was_attached) detach(state);
}

const struct fb_stream_source_callbacks fb__py_provider_callbacks = {
    .open = open_unit,
    .allocated_bytes = allocated_bytes,
    .leave = leave,
    .release = release_context,
};

const struct fb_pull_source_callbacks fb__py_provider_pull_callbacks = {
    .open = open_stream,
    .leave = leave,
    .release = release_context,
};
