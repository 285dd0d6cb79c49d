/*
 * Loader: the core's handle, who may use it when, and the one way out.
 *
 * The handle is used by one thread at a time. A thread that lets the GIL go while it uses the handle enters the loader
 * first; the others are refused, but for close(), which sets is_closing (from then on nobody enters), interrupts the
 * wait in next(), and waits for in_use_lock with the GIL let go.
 */
#include "module.h"

/* ---- entering and leaving ---- */

int fb__py_loader_enter(struct fb__py_loader *loader, const char *what)
{
    if (loader->in_use) {
        PyErr_Format(PyExc_RuntimeError, "another thread is inside %s of this loader", loader->in_use);
        return -1;
    }
    /* Free, but for the moment in which a close() that waited for it has it; that needs no GIL to let it go. */
    (void)PyThread_acquire_lock(loader->in_use_lock, WAIT_LOCK);
    loader->in_use = what;
    loader->in_use_thread = PyThread_get_thread_ident();
    return 0;
}

void fb__py_loader_leave(struct fb__py_loader *loader)
{
    loader->in_use = NULL;
    PyThread_release_lock(loader->in_use_lock);
}

uint32_t fb__py_loader_end_epoch(struct fb__py_loader *loader, int64_t *unit)
{
    if (!loader->handle) return 0;
    if (fb__py_loader_enter(loader, "the end of an epoch") < 0) {
        PyErr_Clear(); /* whoever is inside ends the epoch, or is in a later one */
        return 0;
    }
    PyThreadState *thread = PyEval_SaveThread();
    uint32_t abandoned_count = fb_loader_end_epoch(loader->handle, loader->close_timeout_ns, unit);
    PyEval_RestoreThread(thread);
    fb__py_loader_leave(loader);
    return abandoned_count;
}

static void add_to_open_loaders(struct fb__py_loader *loader)
{
    struct fb__py_loader **first = &loader->state->open_loaders;
    loader->next = *first;
    if (loader->next) loader->next->previous = loader;
    *first = loader;
}

static void remove_from_open_loaders(struct fb__py_loader *loader)
{
    struct fb__py_loader **first = &loader->state->open_loaders;
    if (loader->next) loader->next->previous = loader->previous;
    if (loader->previous)
        loader->previous->next = loader->next;
    else if (*first == loader)
        *first = loader->next;
    loader->previous = loader->next = NULL;
}

/* Closes the handle; nobody is inside. Returns the threads abandoned. */
static uint32_t close_handle(struct fb__py_loader *loader, int64_t *unit)
{
    struct fb_loader *handle = loader->handle;
    struct fb_stats stats;
    fb_loader_stats(handle, &loader->last_stats); /* what stats() shows until the last ones are there */
    loader->handle = NULL;
    remove_from_open_loaders(loader);
    PyThreadState *thread = PyEval_SaveThread();
    uint32_t abandoned_count = fb_loader_close(handle, loader->close_timeout_ns, unit, &stats);
    PyEval_RestoreThread(thread);
    loader->last_stats = stats;
    return abandoned_count;
}

int fb__py_loader_close(struct fb__py_loader *loader)
{
    loader->is_closing = true;
    while (loader->in_use) {
        if (loader->in_use_thread == PyThread_get_thread_ident()) {
            PyErr_Format(PyExc_RuntimeError, "close() was called from within %s of this loader", loader->in_use);
            return -1;
        }
        if (loader->handle) fb_loader_interrupt(loader->handle);
        PyThreadState *thread = PyEval_SaveThread();
        (void)PyThread_acquire_lock(loader->in_use_lock, WAIT_LOCK);
        PyThread_release_lock(loader->in_use_lock);
        PyEval_RestoreThread(thread);
    }
    if (!loader->handle) return 0;
    if (fb__py_loader_enter(loader, "close()") < 0) return -1;
    int64_t unit = -1;
    uint32_t abandoned_count = close_handle(loader, &unit);
    fb__py_loader_leave(loader);
    fb__py_provider_forget(loader->provider);
    if (abandoned_count == 0) return 0;
    return fb__py_warn_abandoned(loader->provider, abandoned_count, unit, loader->close_timeout_ns);
}

/* ---- construction ---- */

/* Has the core make the loader; the source is consumed only then. */
static int create_handle(struct fb__py_loader *self, const struct fb__py_arguments *parsed)
{
    struct fb_source *source = parsed->source->source;
    if (!source) {
        PyErr_SetString(PyExc_ValueError, "this source belongs to another loader");
        return -1;
    }
    parsed->source->source = NULL; /* nobody else takes it while the GIL is let go */
    struct fb_error error = {.unit = -1, .row = -1};
    PyThreadState *thread = PyEval_SaveThread();
    int code = fb_loader_create(&parsed->options, source, &self->handle, &error);
    PyEval_RestoreThread(thread);
    if (code) {
        parsed->source->source = source;
        fb__py_raise(self->state, &error, FB__PY_AT_CONSTRUCTION, self->provider, NULL);
        return -1;
    }
    fb_loader_plan(self->handle, &self->plan);
    add_to_open_loaders(self);
    return 0;
}

static int loader_init(struct fb__py_loader *self, const struct fb__py_arguments *parsed)
{
    if (fb__py_check_own(self->state, parsed->source->process) < 0) return -1;
    if (atomic_load(&self->state->is_exiting)) {
        fb__py_raise_over(self->state, "a loader cannot be made while Python is shutting down");
        return -1;
    }
    self->timeout_ns = parsed->timeout_ns;
    self->close_timeout_ns = parsed->close_timeout_ns;
    if (fb__py_plan_outputs(self, parsed) < 0) return -1;
    self->storage = parsed->options.storage;
    self->in_use_lock = PyThread_allocate_lock();
    if (!self->in_use_lock) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(parsed->column_class);
    self->column_class = parsed->column_class;
    Py_INCREF(parsed->convert);
    self->convert = parsed->convert;
    self->provider = parsed->source->provider;
    Py_XINCREF(self->provider);
    return create_handle(self, parsed);
}

static PyObject *loader_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    struct fb__py_state *state = PyType_GetModuleState(type);
    struct fb__py_arguments parsed = {0};
    PyObject *object = NULL;
    if (fb__py_parse_arguments(&parsed, state, arguments, keywords) == 0) object = PyType_GenericAlloc(type, 0);
    if (object) {
        struct fb__py_loader *self = (struct fb__py_loader *)object;
        self->state = state;
        self->process = state->process;
        if (loader_init(self, &parsed) < 0) Py_CLEAR(object);
    }
    fb__py_free_arguments(&parsed);
    return object;
}

/* ---- the end ---- */

static int loader_traverse(PyObject *object, visitproc visit, void *arg)
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT(self->column_class);
    Py_VISIT(self->convert);
    Py_VISIT(self->provider);
    return 0;
}

static int loader_clear(PyObject *object)
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    Py_CLEAR(self->column_class);
    Py_CLEAR(self->convert);
    Py_CLEAR(self->provider);
    return 0;
}

static void loader_dealloc(PyObject *object)
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    PyObject_GC_UnTrack(object);
    bool is_own = fb__py_is_own(self->process);
    if (self->handle && is_own) {
        struct fb__py_raised raised = fb__py_save_raised();
        int64_t unit = -1;
        uint32_t abandoned_count = close_handle(self, &unit);
        fb__py_provider_forget(self->provider);
        if (abandoned_count > 0 &&
            fb__py_warn_abandoned(self->provider, abandoned_count, unit, self->close_timeout_ns) < 0)
            PyErr_WriteUnraisable(NULL); /* naming the loader would bring it back to life */
        fb__py_restore_raised(raised);
    }
    remove_from_open_loaders(self);
    if (self->in_use_lock && is_own) PyThread_free_lock(self->in_use_lock);
    fb__py_free_outputs(self);
    Py_CLEAR(self->blank);
    (void)loader_clear(object);
    fb__py_free(object);
}

/* ---- methods ---- */

PyDoc_STRVAR(plan_doc, "plan($self, /)\n--\n\nWhat the plan settled, as a dict. Works after close() as well.");

static PyObject *loader_plan(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    if (fb__py_check_own(self->state, self->process) < 0) return NULL;
    return fb__py_plan_dict(&self->plan);
}

PyDoc_STRVAR(stats_doc, "stats($self, /)\n--\n\n"
                        "A snapshot of the counters, as a dict. After close(): as they were when it was done.");

static PyObject *loader_stats(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    if (fb__py_check_own(self->state, self->process) < 0) return NULL;
    if (!self->handle) return fb__py_stats_dict(&self->last_stats);
    struct fb_stats stats;
    fb_loader_stats(self->handle, &stats);
    return fb__py_stats_dict(&stats);
}

PyDoc_STRVAR(iterate_doc, "iterate($self, /)\n--\n\nBegin the next epoch; the one before it ends.");

static PyObject *loader_iterate(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    if (fb__py_check_own(self->state, self->process) < 0) return NULL;
    if (!self->handle || self->is_closing) {
        fb__py_raise_closed(self->state);
        return NULL;
    }
    PyObject *iterator = fb__py_iterator_new(self);
    if (!iterator) return NULL;
    if (fb__py_loader_enter(self, "iterate()") < 0) goto fail;
    self->epoch++;
    struct fb_error error = {.unit = -1, .row = -1};
    int64_t unit = -1;
    PyThreadState *thread = PyEval_SaveThread();
    uint32_t abandoned_count = fb_loader_end_epoch(self->handle, self->close_timeout_ns, &unit);
    int code = fb_loader_begin_epoch(self->handle, self->close_timeout_ns, &error);
    PyEval_RestoreThread(thread);
    fb__py_loader_leave(self);
    if (code) {
        fb__py_raise(self->state, &error, FB__PY_IN_AN_EPOCH, self->provider, NULL);
        goto fail;
    }
    fb__py_iterator_begin(iterator); /* before anything else runs that could begin another epoch */
    fb__py_provider_forget(self->provider);
    if (abandoned_count > 0 && fb__py_warn_abandoned(self->provider, abandoned_count, unit, self->close_timeout_ns) < 0)
        goto fail;
    return iterator;

fail:
    Py_DECREF(iterator);
    return NULL;
}

PyDoc_STRVAR(arrow_schema_doc, "arrow_schema($self, /)\n--\n\nThe schema of exported batches, as a capsule.");

static void destroy_schema(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema->release) schema->release(schema);
    PyMem_Free(schema);
}

static PyObject *loader_arrow_schema(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    if (fb__py_check_own(self->state, self->process) < 0) return NULL;
    if (!self->handle) {
        fb__py_raise_closed(self->state);
        return NULL;
    }
    struct ArrowSchema *schema = PyMem_Calloc(1, sizeof *schema);
    if (!schema) return PyErr_NoMemory();
    struct fb_error error = {.unit = -1, .row = -1};
    if (fb_loader_export_schema(self->handle, schema, &error)) {
        fb__py_raise(self->state, &error, FB__PY_AT_CONSTRUCTION, NULL, NULL);
        PyMem_Free(schema);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(schema, "arrow_schema", destroy_schema);
    if (capsule) return capsule;
    schema->release(schema);
    PyMem_Free(schema);
    return NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "End the epoch, join the threads and give the memory back. Batches in the user's hands stay.");

static PyObject *loader_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    if (fb__py_check_own(self->state, self->process) < 0) return NULL;
    if (fb__py_loader_close(self) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *loader_closed(PyObject *object, void *Py_UNUSED(closure))
{
    struct fb__py_loader *self = (struct fb__py_loader *)object;
    bool is_own = fb__py_is_own(self->process);
    return PyBool_FromLong(!is_own || self->is_closing);
}

static PyMethodDef loader_methods[] = {
    {"plan", loader_plan, METH_NOARGS, plan_doc},
    {"stats", loader_stats, METH_NOARGS, stats_doc},
    {"iterate", loader_iterate, METH_NOARGS, iterate_doc},
    {"arrow_schema", loader_arrow_schema, METH_NOARGS, arrow_schema_doc},
    {"close", loader_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef loader_attributes[] = {
    {"closed", loader_closed, NULL, "Whether close() was called; always true in a child of fork().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(loader_doc,
             "Loader(source, *, batch_rows, memory_limit, prefetch_batches, thread_count, preserve_order, drop_last,\n"
             "       null_policy, fill_values, outputs, column_options, column_class, convert, timeout,\n"
             "       close_timeout)\n--\n\n"
             "Plans the epochs over a source, runs them, and owns every byte that they take.");

static PyType_Slot loader_slots[] = {
    {Py_tp_doc, (void *)loader_doc},   {Py_tp_new, loader_new},
    {Py_tp_traverse, loader_traverse}, {Py_tp_clear, loader_clear},
    {Py_tp_dealloc, loader_dealloc},   {Py_tp_methods, loader_methods},
    {Py_tp_getset, loader_attributes}, {0, NULL},
};

PyType_Spec fb__py_loader_spec = {
    .name = "forebay._ext.Loader",
    .basicsize = sizeof(struct fb__py_loader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = loader_slots,
};
