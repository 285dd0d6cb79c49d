/* The arguments of Loader(): checked, and turned into what the core and the fast path need. */
#include "module.h"

#include <math.h>

#define LONGEST_NS (UINT64_C(1) << 62) /* 146 years: far enough to be no limit, and sums with the clock cannot wrap */

/* Seconds as nanoseconds; -1 with an exception. */
static int seconds_as_ns(PyObject *seconds_object, const char *name, uint64_t *out_ns)
{
    double seconds = PyFloat_AsDouble(seconds_object);
    if (seconds == -1.0 && PyErr_Occurred()) return -1;
    if (isnan(seconds) || seconds < 0) {
        PyErr_Format(PyExc_ValueError, "%s must be at least 0 seconds, not %S", name, seconds_object);
        return -1;
    }
    double nanoseconds = seconds * 1e9;
    *out_ns = nanoseconds < (double)LONGEST_NS ? (uint64_t)nanoseconds : LONGEST_NS;
    return 0;
}

/* Fill values as the core takes them; their bytes stay Python's. */
static int parse_fill_values(struct fb__py_arguments *parsed)
{
    parsed->fill_pairs = PyList_AsTuple(parsed->fill_values);
    if (!parsed->fill_pairs) return -1;
    Py_ssize_t fill_count = PyTuple_Size(parsed->fill_pairs);
    parsed->fills = PyMem_Calloc((size_t)fill_count + 1, sizeof *parsed->fills);
    if (!parsed->fills) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < fill_count; i++) {
        PyObject *entry = PyTuple_GetItem(parsed->fill_pairs, i); /* borrowed */
        unsigned long column, leaf;
        PyObject *bytes;
        if (!entry || !PyTuple_Check(entry)) {
            PyErr_SetString(PyExc_TypeError, "fill_values must be a list of (column, leaf, bytes)");
            return -1;
        }
        if (!PyArg_ParseTuple(entry, "kkS:fill_values", &column, &leaf, &bytes)) return -1;
        if (column >= (unsigned long)PyTuple_Size(parsed->source->names)) {
            PyErr_Format(PyExc_ValueError, "fill_values has a value for column %lu, which does not exist", column);
            return -1;
        }
        parsed->fills[i] = (struct fb_fill_value){
            .column = (uint32_t)column,
            .leaf = (uint32_t)leaf,
            .bytes = PyBytes_AsString(bytes),
            .byte_count = (uint64_t)PyBytes_Size(bytes),
        };
    }
    parsed->options.fill_values = fill_count > 0 ? parsed->fills : NULL;
    parsed->options.fill_value_count = (uint32_t)fill_count;
    return 0;
}

/* How columns differ from what their types say. */
static int parse_column_options(struct fb__py_arguments *parsed)
{
    Py_ssize_t count = PyList_Size(parsed->column_options);
    parsed->column_option_array = PyMem_Calloc((size_t)count + 1, sizeof *parsed->column_option_array);
    if (!parsed->column_option_array) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned long column;
        unsigned long long list_size;
        int is_dictionary, is_bool8;
        PyObject *entry = PyList_GetItem(parsed->column_options, i); /* borrowed */
        if (!entry || !PyTuple_Check(entry)) {
            PyErr_SetString(PyExc_TypeError, "column_options must be a list of tuples");
            return -1;
        }
        if (!PyArg_ParseTuple(entry, "kppK:column_options", &column, &is_dictionary, &is_bool8, &list_size)) return -1;
        if (column >= (unsigned long)PyTuple_Size(parsed->source->names)) {
            PyErr_Format(PyExc_ValueError, "column_options names column %lu, which does not exist", column);
            return -1;
        }
        parsed->column_option_array[i] = (struct fb_column_option){
            .column = (uint32_t)column,
            .is_dictionary = is_dictionary != 0,
            .is_bool8 = is_bool8 != 0,
            .list_size = list_size,
        };
    }
    parsed->options.column_options = count > 0 ? parsed->column_option_array : NULL;
    parsed->options.column_option_count = (uint32_t)count;
    return 0;
}

/* Checks what was parsed, and puts it into parsed->options. */
static int check_options(struct fb__py_arguments *parsed, long long prefetch_batches, long thread_count,
                         int null_policy)
{
    struct fb_loader_options *options = &parsed->options;
    options->batch_rows = PyLong_AsUnsignedLongLong(parsed->batch_rows);
    if (PyErr_Occurred()) return -1;
    options->memory_limit_bytes = PyLong_AsUnsignedLongLong(parsed->memory_limit);
    if (PyErr_Occurred()) return -1;
    if (thread_count < 1 || thread_count > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "thread_count must be at least 1, not %ld", thread_count);
        return -1;
    }
    if (prefetch_batches < FB_PREFETCH_ADAPTIVE) {
        PyErr_Format(PyExc_ValueError, "prefetch_batches must be -1 (adaptive) or at least 0, not %lld",
                     prefetch_batches);
        return -1;
    }
    if (null_policy < FB_NULLS_ERROR || null_policy > FB_NULLS_MASK) {
        PyErr_Format(PyExc_ValueError, "null_policy must be 0 (error), 1 (fill) or 2 (mask), not %d", null_policy);
        return -1;
    }
    bool is_arrow = parsed->convert != Py_None;
    if (!PyCallable_Check(parsed->column_class) || (is_arrow && !PyCallable_Check(parsed->convert))) {
        PyErr_SetString(PyExc_TypeError, "column_class must be callable, and convert too or None");
        return -1;
    }
    options->storage = is_arrow ? FB_STORAGE_ARROW : FB_STORAGE_DENSE;
    options->prefetch_batches = prefetch_batches;
    options->thread_count = (uint32_t)thread_count;
    options->null_policy = (enum fb_null_policy)null_policy;
    return 0;
}

int fb__py_parse_arguments(struct fb__py_arguments *parsed, struct fb__py_state *state, PyObject *arguments,
                           PyObject *keywords)
{
    static char *names[] = {"source",       "batch_rows",     "memory_limit",   "prefetch_batches",
                            "thread_count", "preserve_order", "drop_last",      "null_policy",
                            "fill_values",  "outputs",        "column_options", "column_class",
                            "convert",      "timeout",        "close_timeout",  NULL};
    int preserve_order, drop_last, null_policy;
    long long prefetch_batches;
    long thread_count;
    PyObject *timeout, *close_timeout;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, keywords, "O!$OOLlppiO!O!O!OOOO:Loader", names, state->source_type, &parsed->source,
            &parsed->batch_rows, &parsed->memory_limit, &prefetch_batches, &thread_count, &preserve_order, &drop_last,
            &null_policy, &PyList_Type, &parsed->fill_values, &PyList_Type, &parsed->outputs, &PyList_Type,
            &parsed->column_options, &parsed->column_class, &parsed->convert, &timeout, &close_timeout))
        return -1;
    parsed->options.preserve_order = preserve_order != 0;
    parsed->options.drop_last = drop_last != 0;
    if (check_options(parsed, prefetch_batches, thread_count, null_policy) < 0) return -1;
    parsed->timeout_ns = FB_NO_DEADLINE;
    if (timeout != Py_None && seconds_as_ns(timeout, "timeout", &parsed->timeout_ns) < 0) return -1;
    if (seconds_as_ns(close_timeout, "close_timeout", &parsed->close_timeout_ns) < 0) return -1;
    return parse_fill_values(parsed) < 0 ? -1 : parse_column_options(parsed);
}

void fb__py_free_arguments(struct fb__py_arguments *parsed)
{
    PyMem_Free(parsed->fills);
    PyMem_Free(parsed->column_option_array);
    Py_XDECREF(parsed->fill_pairs);
}
