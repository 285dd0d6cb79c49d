/*
 * The module forebay._ext: its types, its state, and the one hook that runs when Python ends.
 *
 * There is nothing here that is process-wide but numpy's table of functions, which its headers ask for.
 */
#define FB__PY_IMPORTS_NUMPY
#include "module.h"

#include <unistd.h>

/* ---- processes ---- */

bool fb__py_is_own(pid_t process)
{
    return getpid() == process;
}

int fb__py_check_own(struct fb__py_state *state, pid_t process)
{
    if (fb__py_is_own(process)) return 0;
    fb__py_raise_forked(state, process);
    return -1;
}

PyDoc_STRVAR(before_fork_doc, "_before_fork()\n--\n\nRun before a fork(): no reader thread enters or leaves Python.");

static PyObject *before_fork(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_state *state = PyModule_GetState(module);
    (void)PyThread_acquire_lock(state->fork_lock, WAIT_LOCK); /* held for moments, by threads that need no GIL */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(after_fork_doc, "_after_fork()\n--\n\nRun after a fork(), in the parent and in the child.");

static PyObject *after_fork(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_state *state = PyModule_GetState(module);
    PyThread_release_lock(state->fork_lock);
    if (fb__py_is_own(state->process)) Py_RETURN_NONE;
    state->process = getpid(); /* what a parent made is not its child's own */
    atomic_store(&state->attached_count, 0);
    if (PySet_Clear(state->threads) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- the end of Python ---- */

/* How long threads that were left behind in Python code may take to come out of it at the end. */
static const PY_TIMEOUT_T LEAVE_US = 250 * 1000;

/*
 * Raises SystemExit in reader threads that are still inside Python code of a source, and waits for them a moment. One
 * that Python's end finds running would be ended where it stands, in the middle of the Arrow library's frames, and
 * that ends the process by SIGABRT. Those that sleep or wait in there stay where they are.
 */
static void end_source_code(struct fb__py_state *state)
{
    if (atomic_load(&state->attached_count) == 0) return;
    PyObject *threads = PySequence_List(state->threads);
    for (Py_ssize_t i = 0; threads && i < PyList_Size(threads); i++) {
        unsigned long thread = PyLong_AsUnsignedLong(PyList_GetItem(threads, i));
        (void)PyThreadState_SetAsyncExc(thread, PyExc_SystemExit);
    }
    Py_XDECREF(threads);
    PyErr_Clear();
    PyThreadState *thread = PyEval_SaveThread();
    (void)PyThread_acquire_lock_timed(state->threads_left, LEAVE_US, 0);
    PyEval_RestoreThread(thread);
}

PyDoc_STRVAR(close_open_loaders_doc, "_close_open_loaders()\n--\n\n"
                                     "Close every loader that is still open; after it no reader thread enters Python.");

static PyObject *close_open_loaders(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct fb__py_state *state = PyModule_GetState(module);
    state->exit_thread = PyThread_get_thread_ident();
    struct fb__py_loader *loader = state->open_loaders;
    while (loader) {
        if (!fb__py_is_own(loader->process)) { /* a parent's: its threads are not here */
            loader = loader->next;
            continue;
        }
        Py_INCREF((PyObject *)loader);
        if (fb__py_loader_close(loader) < 0) PyErr_WriteUnraisable((PyObject *)loader);
        if (loader->handle) { /* in use further up this thread's stack, which holds it: passed by */
            struct fb__py_loader *next = loader->next;
            Py_DECREF((PyObject *)loader);
            loader = next;
        } else { /* the GIL was let go: begin again with those that are left */
            Py_DECREF((PyObject *)loader);
            loader = state->open_loaders;
        }
    }
    atomic_store(&state->is_exiting, true);
    end_source_code(state);
    Py_RETURN_NONE;
}

/* Calls register_name of module_name with a function of ours (as the keyword, where there is one). */
static int register_hook(PyObject *module, const char *hook_name, const char *module_name, const char *register_name,
                         const char *keyword)
{
    PyObject *hook = PyObject_GetAttrString(module, hook_name);
    PyObject *registry = hook ? PyImport_ImportModule(module_name) : NULL;
    PyObject *register_function = registry ? PyObject_GetAttrString(registry, register_name) : NULL;
    PyObject *arguments = register_function ? (keyword ? PyTuple_New(0) : PyTuple_Pack(1, hook)) : NULL;
    PyObject *keywords = arguments ? (keyword ? Py_BuildValue("{s:O}", keyword, hook) : PyDict_New()) : NULL;
    PyObject *registered = keywords ? PyObject_Call(register_function, arguments, keywords) : NULL;
    int result = registered ? 0 : -1;
    Py_XDECREF(registered);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(register_function);
    Py_XDECREF(registry);
    Py_XDECREF(hook);
    return result;
}

/* ---- making the module ---- */

static int add_types(PyObject *module, struct fb__py_state *state)
{
    const struct {
        PyType_Spec *spec;
        PyTypeObject **place;
        bool is_public;
    } types[] = {
        {&fb__py_provider_spec, &state->provider_type, false}, {&fb__py_batch_spec, &state->batch_type, false},
        {&fb__py_source_spec, &state->source_type, true},      {&fb__py_loader_spec, &state->loader_type, true},
        {&fb__py_iterator_spec, &state->iterator_type, true},  {&fb__py_column_spec, &state->column_type, true},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (!type) return -1;
        *types[i].place = (PyTypeObject *)type;
        if (types[i].is_public && PyModule_AddType(module, (PyTypeObject *)type) < 0) return -1;
    }
    return 0;
}

static int find_errors(struct fb__py_state *state)
{
    PyObject *errors = PyImport_ImportModule("forebay._errors");
    if (!errors) return -1;
    const struct {
        const char *name;
        PyObject **place;
    } classes[] = {
        {"MemoryLimitError", &state->memory_limit_error},
        {"LoaderTimeoutError", &state->loader_timeout_error},
        {"SourceError", &state->source_error},
        {"UnsupportedError", &state->unsupported_error},
        {"ForkedLoaderError", &state->forked_loader_error},
    };
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof classes / sizeof classes[0]; i++) {
        *classes[i].place = PyObject_GetAttrString(errors, classes[i].name);
        if (!*classes[i].place) result = -1;
    }
    Py_DECREF(errors);
    return result;
}

static int module_exec(PyObject *module)
{
    /* Reader threads enter Python through PyGILState_Ensure(), which knows the main interpreter only. */
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "forebay cannot be imported in a subinterpreter");
        return -1;
    }
    if (PyArray_ImportNumPyAPI() < 0) return -1;
    struct fb__py_state *state = PyModule_GetState(module);
    state->process = getpid();
    state->interpreter = PyInterpreterState_Get();
    state->fork_lock = PyThread_allocate_lock();
    state->threads_left = PyThread_allocate_lock();
    if (!state->fork_lock || !state->threads_left) {
        PyErr_NoMemory();
        return -1;
    }
    (void)PyThread_acquire_lock(state->threads_left, WAIT_LOCK); /* nobody else has it */
    state->threads = PySet_New(NULL);
    if (!state->threads) return -1;
    state->bool_dtype = PyArray_DescrFromType(NPY_BOOL);
    if (!state->bool_dtype) return -1;
    if (find_errors(state) < 0) return -1;
    if (add_types(module, state) < 0) return -1;
    if (register_hook(module, "_before_fork", "os", "register_at_fork", "before") < 0) return -1;
    if (register_hook(module, "_after_fork", "os", "register_at_fork", "after_in_parent") < 0) return -1;
    if (register_hook(module, "_after_fork", "os", "register_at_fork", "after_in_child") < 0) return -1;
    return register_hook(module, "_close_open_loaders", "atexit", "register", NULL);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct fb__py_state *state = PyModule_GetState(module);
    Py_VISIT((PyObject *)state->provider_type);
    Py_VISIT((PyObject *)state->source_type);
    Py_VISIT((PyObject *)state->loader_type);
    Py_VISIT((PyObject *)state->iterator_type);
    Py_VISIT((PyObject *)state->batch_type);
    Py_VISIT((PyObject *)state->column_type);
    Py_VISIT(state->memory_limit_error);
    Py_VISIT(state->loader_timeout_error);
    Py_VISIT(state->source_error);
    Py_VISIT(state->unsupported_error);
    Py_VISIT(state->forked_loader_error);
    Py_VISIT((PyObject *)state->bool_dtype);
    return 0;
}

/* The types are what makes cycles; the rest is kept until the end, for what the types' last instances raise. */
static int module_clear(PyObject *module)
{
    struct fb__py_state *state = PyModule_GetState(module);
    Py_CLEAR(state->provider_type);
    Py_CLEAR(state->source_type);
    Py_CLEAR(state->loader_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->column_type);
    return 0;
}

static void module_free(void *module)
{
    struct fb__py_state *state = PyModule_GetState(module);
    (void)module_clear(module);
    Py_CLEAR(state->memory_limit_error);
    Py_CLEAR(state->loader_timeout_error);
    Py_CLEAR(state->source_error);
    Py_CLEAR(state->unsupported_error);
    Py_CLEAR(state->forked_loader_error);
    Py_CLEAR(state->bool_dtype);
    Py_CLEAR(state->threads);
    if (state->fork_lock) PyThread_free_lock(state->fork_lock);
    if (state->threads_left) PyThread_free_lock(state->threads_left);
}

PyDoc_STRVAR(stream_source_doc,
             "stream_source(schema, unit_rows, costs, provider, /)\n--\n\n"
             "A source whose units are opened as Arrow streams by provider.open(unit, columns, piece_rows).");
PyDoc_STRVAR(parquet_source_doc,
             "parquet_source(schema, unit_rows, costs, provider, files, unit_files, columns, chunks, /)\n--\n\n"
             "A source over Parquet files: some columns decoded by the core, the others opened as Arrow streams.");
PyDoc_STRVAR(parquet_codec_is_supported_doc, "parquet_codec_is_supported(codec, /)\n--\n\n"
                                             "Whether the core reads pages of this codec, a number of Parquet's.");
PyDoc_STRVAR(block_source_doc, "block_source(schema, blocks, provider, /)\n--\n\n"
                               "A source of Arrow blocks that are in memory already.");

PyDoc_STRVAR(pull_source_doc,
             "pull_source(schema, provider, /)\n--\n\n"
             "A source of unknown length: one Arrow stream an epoch, opened by provider.open_stream().");

static PyMethodDef module_methods[] = {
    {"stream_source", fb__py_stream_source, METH_VARARGS, stream_source_doc},
    {"block_source", fb__py_block_source, METH_VARARGS, block_source_doc},
    {"pull_source", fb__py_pull_source, METH_VARARGS, pull_source_doc},
    {"parquet_source", fb__py_parquet_source, METH_VARARGS, parquet_source_doc},
    {"parquet_codec_is_supported", fb__py_parquet_codec_is_supported, METH_O, parquet_codec_is_supported_doc},
    {"_before_fork", before_fork, METH_NOARGS, before_fork_doc},
    {"_after_fork", after_fork, METH_NOARGS, after_fork_doc},
    {"_close_open_loaders", close_open_loaders, METH_NOARGS, close_open_loaders_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "forebay._ext",
    .m_doc = "What Python sees of the core: sources, loaders, iterators and binary columns.",
    .m_size = sizeof(struct fb__py_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__ext(void)
{
    return PyModuleDef_Init(&module_definition);
}
