/*
 * The extension forebay._ext: what its files know of each other. One file per Python type.
 *
 *     Source ----(consumed by)----> Loader <---- Iterator ----next()----> dict of arrays and columns
 *        \                            |                                      |         |
 *         `------> Provider <---------'                                    Batch <--- Column
 *
 *  - A Batch owns one batch of the core. Arrays and Columns hold it; the last of them gives the memory back.
 *  - Provider is the Python object that opens units, and the exceptions it raised on reader threads. The core holds a
 *    reference of its own to it, as the context of its callbacks.
 *
 * Locks: everything here is guarded by the GIL. A thread that lets the GIL go while it uses a loader's handle says so
 * in `in_use` first, so that nobody else uses that handle. No lock of the core is held while one waits for the GIL.
 *
 * fork(): every object keeps the process it was made in. In another process its methods raise ForkedLoaderError and
 * its deallocation only forgets what the core gave it. `fork_lock` is held by whoever forks, and by a reader thread
 * while its thread state is made or deleted, for which it needs no GIL: Python 3.11 takes a lock of its own for that
 * and leaves it taken in a child that is made meanwhile, which then never runs.
 */
#ifndef FB_PYTHON_MODULE_H
#define FB_PYTHON_MODULE_H

#ifndef Py_LIMITED_API /* the build sets it */
#define Py_LIMITED_API 0x030B0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pythread.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL fb__py_numpy
#ifndef FB__PY_IMPORTS_NUMPY /* defined by module.c alone */
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <stdatomic.h>
#include <sys/types.h>

#include "forebay/forebay.h"

struct fb__py_loader;

/* ---- module.c: the module's state ---------------------------------------------------------------------------- */

struct fb__py_state {
    /* immutable once the module is made; NULL again when it is taken apart */
    PyTypeObject *provider_type;
    PyTypeObject *source_type;
    PyTypeObject *loader_type;
    PyTypeObject *iterator_type;
    PyTypeObject *batch_type;
    PyTypeObject *column_type;
    PyObject *memory_limit_error;
    PyObject *loader_timeout_error;
    PyObject *source_error;
    PyObject *unsupported_error;
    PyObject *forked_loader_error;
    PyArray_Descr *bool_dtype;
    PyInterpreterState *interpreter;
    PyThread_type_lock fork_lock;
    PyThread_type_lock threads_left; /* let go of as the last reader thread leaves Python at its end */

    /* guarded by the GIL */
    pid_t process;                      /* this one; a hook sets it anew in a child of fork() */
    struct fb__py_loader *open_loaders; /* those not closed, the youngest first; not counted */
    unsigned long exit_thread;          /* the one that runs the hook of Python's end, from its start on; 0 before */
    PyObject *threads;                  /* a set: ids of reader threads that may be in Python code of a source */

    /* Set once Python is about to end: from then on no reader thread enters it. */
    atomic_bool is_exiting;
    _Atomic uint32_t attached_count; /* reader threads that are Python's too */
};

/*
 * Whether an object made in process belongs to this one. Asks the system, so that it holds also before the hook has
 * run in a child; next() and the deallocation of batches, which must be fast, compare with state->process.
 */
bool fb__py_is_own(pid_t process);
/* Where it does not: -1 with ForkedLoaderError raised. */
int fb__py_check_own(struct fb__py_state *state, pid_t process);

/* An instance's state; our types have no subclasses. */
static inline struct fb__py_state *fb__py_state_of(PyObject *object)
{
    return PyType_GetModuleState(Py_TYPE(object));
}

/* Frees an instance of a heap type. */
static inline void fb__py_free(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_instance = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_instance(object);
    Py_DECREF((PyObject *)type);
}

/* What was raised before a deallocator ran, and must still be when it is done. */
struct fb__py_raised {
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
};

static inline struct fb__py_raised fb__py_save_raised(void)
{
    struct fb__py_raised raised;
    PyErr_Fetch(&raised.type, &raised.value, &raised.traceback);
    return raised;
}

static inline void fb__py_restore_raised(struct fb__py_raised raised)
{
    PyErr_Restore(raised.type, raised.value, raised.traceback);
}

extern PyType_Spec fb__py_provider_spec;
extern PyType_Spec fb__py_source_spec;
extern PyType_Spec fb__py_loader_spec;
extern PyType_Spec fb__py_iterator_spec;
extern PyType_Spec fb__py_batch_spec;
extern PyType_Spec fb__py_column_spec;

/* ---- errors.c: codes become exceptions here and nowhere else -------------------------------------------------- */

enum fb__py_when {
    FB__PY_AT_CONSTRUCTION, /* EINVAL is about an argument */
    FB__PY_IN_AN_EPOCH      /* EINVAL is about the source's data */
};

/*
 * Raises what error says. provider: [borrow, nullable] names the unit. cause: [borrow, nullable] an exception, as
 * fb__py_provider_take_cause() gave it.
 */
void fb__py_raise(struct fb__py_state *state, const struct fb_error *error, enum fb__py_when when, PyObject *provider,
                  PyObject *cause);
/* next() got no batch within timeout_ns. */
void fb__py_raise_timeout(struct fb__py_state *state, uint64_t timeout_ns);
/* next() cannot go on: the bytes are in the user's hands. required_bytes: a limit that would do, 0 where not known. */
void fb__py_raise_held(struct fb__py_state *state, const struct fb_stats *stats, uint64_t required_bytes);
void fb__py_raise_forked(struct fb__py_state *state, pid_t process);
/*
 * What was asked for is over: RuntimeError with that message. While Python ends it is SystemExit in every thread but
 * the one that ends it: they are daemon threads, in the middle of their loops, and go without a word.
 */
void fb__py_raise_over(struct fb__py_state *state, const char *message);
void fb__py_raise_closed(struct fb__py_state *state);

/* A ResourceWarning that reader threads were abandoned inside unit. -1 when warnings are errors. */
int fb__py_warn_abandoned(PyObject *provider, uint32_t abandoned_count, int64_t unit, uint64_t close_timeout_ns);

/* Turns the exception being raised into error (code EIO) and clears it. Returns it [out: a new reference]. */
PyObject *fb__py_take_raised(struct fb_error *error, uint64_t unit);
/* Writes error; the text is cut where the array ends, between two characters. Returns code. */
int fb__py_fail(struct fb_error *error, int code, int64_t unit, const char *text);

/* ---- provider.c ------------------------------------------------------------------------------------------------ */

/* A Provider around the user's object: open or open_stream, allocated_bytes, describe, take_error. */
PyObject *fb__py_provider_new(struct fb__py_state *state, PyObject *object);
/* Says that it is one stream an epoch, whose exceptions are raised as they are; and whether it is. May be NULL. */
void fb__py_provider_set_stream(PyObject *provider);
bool fb__py_provider_is_stream(PyObject *provider);
/* How the core asks a Provider, which is the context and counted; context_bytes is the caller's to set. */
extern const struct fb_stream_source_callbacks fb__py_provider_callbacks;
/* The same for a source that is one stream an epoch. */
extern const struct fb_pull_source_callbacks fb__py_provider_pull_callbacks;

/*
 * What provider says of a unit: *path and *row_group are new references, None where not known; *first_row is what to
 * add to a row of the unit before it is shown, 0 where the row group says where it begins. Never fails: where
 * describe() raises, that is reported as unraisable and nothing is known. provider may be NULL.
 */
void fb__py_provider_describe(PyObject *provider, int64_t unit, PyObject **path, PyObject **row_group,
                              int64_t *first_row);
/* The exception behind the failure of unit, a new reference; NULL where there is none. provider may be NULL. */
PyObject *fb__py_provider_take_cause(PyObject *provider, int64_t unit);
/* Lets go of every exception that was kept. provider may be NULL. */
void fb__py_provider_forget(PyObject *provider);

/* ---- source.c -------------------------------------------------------------------------------------------------- */

struct fb__py_source {
    PyObject base;
    struct fb_source *source; /* NULL once a loader has it */
    PyObject *provider;       /* a Provider */
    PyObject *names;          /* tuple of str, one a column */
    pid_t process;
};

/* A Source around nothing yet, and the schema of its columns (owned by *capsule [out: a new reference]). */
struct fb__py_source *fb__py_source_new(struct fb__py_state *state, PyObject *schema_object, PyObject *provider_object,
                                        PyObject **capsule, const struct ArrowSchema **schema);
/* Sets the names of the columns; -1 with an exception. */
int fb__py_source_describe_columns(struct fb__py_source *self, const struct ArrowSchema *schema);
/* A contiguous buffer of unsigned integers of 4 or 8 bytes [out: PyBuffer_Release]; -1 with an exception. */
int fb__py_get_buffer(PyObject *object, const char *name, size_t entry_bytes, Py_buffer *buffer, uint64_t *count);
/* The costs of the schema's columns, as struct fb_stream_column_cost [out: PyBuffer_Release]; -1 with an exception. */
int fb__py_source_get_costs(PyObject *object, const struct ArrowSchema *schema, Py_buffer *buffer);
/* The bytes that the user's object keeps, its plan_bytes; -1 with an exception. */
int fb__py_source_get_plan_bytes(PyObject *provider_object, uint64_t *plan_bytes);
/* fb__py_provider_callbacks with them; -1 with an exception. */
int fb__py_source_get_callbacks(PyObject *provider_object, struct fb_stream_source_callbacks *callbacks);

PyObject *fb__py_stream_source(PyObject *module, PyObject *arguments);
PyObject *fb__py_block_source(PyObject *module, PyObject *arguments);
PyObject *fb__py_pull_source(PyObject *module, PyObject *arguments);

/* ---- parquet.c ------------------------------------------------------------------------------------------------- */

PyObject *fb__py_parquet_source(PyObject *module, PyObject *arguments);
PyObject *fb__py_parquet_codec_is_supported(PyObject *module, PyObject *codec);

/* ---- loader.c -------------------------------------------------------------------------------------------------- */

#define FB__PY_MOST_DIMENSIONS 31 /* of a row: numpy's before 2.0, less the rows */

enum fb__py_form_kind {
    FB__PY_FORM_ARRAY = 0,
    FB__PY_FORM_COLUMN,
    FB__PY_FORM_LIST,
    FB__PY_FORM_STRUCT,
    FB__PY_FORM_DICTIONARY
};

/* What Python sees of a column or a part of one; see forms.c. */
struct fb__py_form {
    enum fb__py_form_kind kind;
    PyObject *name;               /* of a struct's field */
    PyArray_Descr *dtype;         /* ARRAY */
    uint64_t element_bytes;       /* of dtype */
    npy_intp *dimensions;         /* ARRAY: of a row; NULL: as the core says */
    uint64_t row_elements;        /* their product */
    int dimension_count;
    uint32_t child_count;
    struct fb__py_form *children; /* LIST, DICTIONARY: one; STRUCT: its fields */
};

/* One key of a batch's dict. */
struct fb__py_output {
    PyObject *key;
    PyObject *valid_key;  /* "<name>.valid"; NULL without a mask */
    uint32_t column;
    uint32_t path_length;
    uint32_t *path;       /* fields of structs that lead from the column to it */
    struct fb__py_form form;
};

struct fb__py_loader {
    PyObject base;
    struct fb__py_state *state; /* lives as long as our type */
    pid_t process;

    /* immutable once made */
    struct fb_plan plan;
    struct fb__py_output *outputs;
    uint32_t output_count;
    enum fb_storage storage;
    PyObject *blank;         /* a dict with every key, copied for each batch */
    PyObject *column_class;  /* NULL once the garbage collector took it */
    PyObject *convert;       /* FB_STORAGE_ARROW: makes a batch of an arrow_array capsule; likewise */
    PyObject *provider;      /* likewise */
    uint64_t timeout_ns;     /* FB_NO_DEADLINE: none */
    uint64_t close_timeout_ns;

    /* guarded by the GIL */
    struct fb_loader *handle;   /* NULL once closed, and while it is being closed */
    uint64_t epoch;             /* number of the latest epoch */
    bool is_closing;            /* from the first close() on */
    const char *in_use;         /* what a thread that let the GIL go is inside of; NULL: nothing */
    unsigned long in_use_thread;
    PyThread_type_lock in_use_lock; /* held while in_use is set: what close() waits on */
    struct fb_stats last_stats;     /* since it was closed */
    struct fb__py_loader *previous; /* in state->open_loaders */
    struct fb__py_loader *next;
};

/* Says that this thread is inside `what` and may let the GIL go; -1 with RuntimeError where another thread is. */
int fb__py_loader_enter(struct fb__py_loader *loader, const char *what);
void fb__py_loader_leave(struct fb__py_loader *loader);

/* Ends the epoch in progress with the GIL let go. Nobody may be inside the loader. Returns the threads abandoned. */
uint32_t fb__py_loader_end_epoch(struct fb__py_loader *loader, int64_t *unit);
/* Closes the loader, waiting for whoever is inside it. -1 with an exception. Any number of times. */
int fb__py_loader_close(struct fb__py_loader *loader);

/* ---- arguments.c ----------------------------------------------------------------------------------------------- */

/* The arguments of Loader(): borrowed from the call but where said. */
struct fb__py_arguments {
    struct fb__py_source *source;
    PyObject *batch_rows;
    PyObject *memory_limit;
    PyObject *fill_values;
    PyObject *outputs;
    PyObject *column_options;
    PyObject *column_class;
    PyObject *convert;
    uint64_t timeout_ns;         /* FB_NO_DEADLINE: none */
    uint64_t close_timeout_ns;
    struct fb_loader_options options;
    PyObject *fill_pairs;        /* fill_values as a tuple, so that nobody changes it meanwhile; owned */
    struct fb_fill_value *fills; /* owned */
    struct fb_column_option *column_option_array; /* owned */
};

/* Parses and checks; -1 with an exception. *parsed is zeroed before, and freed after in any case. */
int fb__py_parse_arguments(struct fb__py_arguments *parsed, struct fb__py_state *state, PyObject *arguments,
                           PyObject *keywords);
void fb__py_free_arguments(struct fb__py_arguments *parsed);

/* ---- forms.c --------------------------------------------------------------------------------------------------- */

/* Makes loader->outputs and loader->blank; -1 with an exception. */
int fb__py_plan_outputs(struct fb__py_loader *loader, const struct fb__py_arguments *parsed);
void fb__py_free_outputs(struct fb__py_loader *loader);

/* ---- stats.c --------------------------------------------------------------------------------------------------- */

PyObject *fb__py_stats_dict(const struct fb_stats *stats);
PyObject *fb__py_plan_dict(const struct fb_plan *plan);

/* ---- iterator.c ------------------------------------------------------------------------------------------------ */

/* An iterator of the loader that has no epoch yet, and giving it the one that has just begun. */
PyObject *fb__py_iterator_new(struct fb__py_loader *loader);
void fb__py_iterator_begin(PyObject *iterator);

/* ---- batch.c --------------------------------------------------------------------------------------------------- */

struct fb__py_batch {
    PyObject base;
    struct fb_batch *batch;
    pid_t process;
};

/* What the user gets: a dict, or what convert makes of an Arrow array. batch: [move], also on failure. */
PyObject *fb__py_batch_value(struct fb__py_loader *loader, struct fb_batch *batch);

/* ---- column.c -------------------------------------------------------------------------------------------------- */

/* A column of batch, or a part of one, that has no numpy dtype: strings, binary, decimals. */
PyObject *fb__py_column_new(struct fb__py_state *state, struct fb__py_batch *batch, const struct fb_column *column);

#endif
