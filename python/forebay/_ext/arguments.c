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
        PyObject *pair = PyTuple_GetItem(parsed->fill_pairs, i); /* borrowed */
        PyObject *column_object = pair && PyTuple_Check(pair) ? PyTuple_GetItem(pair, 0) : NULL;
        PyObject *bytes = column_object ? PyTuple_GetItem(pair, 1) : NULL;
        if (!bytes || !PyLong_Check(column_object) || !PyBytes_Check(bytes)) {
            PyErr_SetString(PyExc_TypeError, "fill_values must be a list of (column, bytes)");
            return -1;
        }
        unsigned long column = PyLong_AsUnsignedLong(column_object);
        if (PyErr_Occurred()) return -1;
        if (column >= (unsigned long)PyTuple_Size(parsed->source->names)) {
            PyErr_Format(PyExc_ValueError, "fill_values has a value for column %lu, which does not exist", column);
            return -1;
        }
        parsed->fills[i] = (struct fb_fill_value){
            .column = (uint32_t)column,
            .bytes = PyBytes_AsString(bytes),
            .byte_count = (uint64_t)PyBytes_Size(bytes),
        };
    }
    parsed->options.fill_values = fill_count > 0 ? parsed->fills : NULL;
    parsed->options.fill_value_count = (uint32_t)fill_count;
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
    if (!PyCallable_Check(parsed->column_class)) {
        PyErr_SetString(PyExc_TypeError, "column_class must be callable");
        return -1;
    }
    options->prefetch_batches = prefetch_batches;
    options->thread_count = (uint32_t)thread_count;
    options->null_policy = (enum fb_null_policy)null_policy;
    return 0;
}

int fb__py_parse_arguments(struct fb__py_arguments *parsed, struct fb__py_state *state, PyObject *arguments,
                           PyObject *keywords)
{
    static char *names[] = {
        "source",      "batch_rows",  "memory_limit", "prefetch_batches", "thread_count", "preserve_order", "drop_last",
        "null_policy", "fill_values", "dtypes",       "column_class",     "timeout",      "close_timeout",  NULL};
    int preserve_order, drop_last, null_policy;
    long long prefetch_batches;
    long thread_count;
    PyObject *timeout, *close_timeout;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!$OOLlppiO!O!OOO:Loader", names, state->source_type,
                                     &parsed->source, &parsed->batch_rows, &parsed->memory_limit, &prefetch_batches,
                                     &thread_count, &preserve_order, &drop_last, &null_policy, &PyList_Type,
                                     &parsed->fill_values, &PyList_Type, &parsed->dtypes, &parsed->column_class,
                                     &timeout, &close_timeout))
        return -1;
    parsed->options.preserve_order = preserve_order != 0;
    parsed->options.drop_last = drop_last != 0;
    if (check_options(parsed, prefetch_batches, thread_count, null_policy) < 0) return -1;
    parsed->timeout_ns = FB_NO_DEADLINE;
    if (timeout != Py_None && seconds_as_ns(timeout, "timeout", &parsed->timeout_ns) < 0) return -1;
    if (seconds_as_ns(close_timeout, "close_timeout", &parsed->close_timeout_ns) < 0) return -1;
    return parse_fill_values(parsed);
}

void fb__py_free_arguments(struct fb__py_arguments *parsed)
{
    PyMem_Free(parsed->fills);
    Py_XDECREF(parsed->fill_pairs);
}

/* The dtype of one column as it is in dtypes. */
static int plan_dtype(struct fb__py_column_plan *plan, PyObject *dtype, bool is_binary)
{
    if (is_binary != (dtype == Py_None)) {
        PyErr_Format(PyExc_ValueError,
                     is_binary ? "column %R is a string or binary column: its dtype must be None"
                               : "column %R needs a dtype",
                     plan->key);
        return -1;
    }
    if (is_binary) return 0;
    if (!PyArray_DescrCheck(dtype)) {
        PyErr_Format(PyExc_TypeError, "the dtype of column %R must be a numpy.dtype", plan->key);
        return -1;
    }
    PyArray_Descr *descriptor = (PyArray_Descr *)dtype;
    if (PyDataType_REFCHK(descriptor) || PyDataType_HASSUBARRAY(descriptor) || !PyArray_ISNBO(descriptor->byteorder)) {
        PyErr_Format(PyExc_ValueError, "the dtype of column %R must be plain and of native byte order, not %R",
                     plan->key, dtype);
        return -1;
    }
    Py_INCREF(dtype);
    plan->dtype = descriptor;
    plan->element_bytes = (uint64_t)PyDataType_ELSIZE(descriptor);
    return 0;
}

/* Puts a key in the blank dict; a second one of the same name is refused. */
static int add_key(PyObject *blank, PyObject *key)
{
    int is_there = PyDict_Contains(blank, key);
    if (is_there > 0) PyErr_Format(PyExc_ValueError, "two columns of a batch would be named %R", key);
    return is_there ? -1 : PyDict_SetItem(blank, key, Py_None);
}

int fb__py_plan_columns(struct fb__py_loader *self, const struct fb__py_arguments *parsed)
{
    PyObject *names = parsed->source->names;
    Py_ssize_t column_count = PyTuple_Size(names);
    if (PyList_Size(parsed->dtypes) != column_count) {
        PyErr_Format(PyExc_ValueError, "dtypes has %zd entries for %zd columns", PyList_Size(parsed->dtypes),
                     column_count);
        return -1;
    }
    self->columns = PyMem_Calloc((size_t)column_count + 1, sizeof *self->columns);
    if (!self->columns) {
        PyErr_NoMemory();
        return -1;
    }
    self->column_count = (uint32_t)column_count;
    self->blank = PyDict_New();
    if (!self->blank) return -1;
    const char *binary_flags = PyBytes_AsString(parsed->source->binary_flags);
    for (Py_ssize_t i = 0; i < column_count; i++) {
        struct fb__py_column_plan *plan = &self->columns[i];
        plan->key = PyTuple_GetItem(names, i);
        Py_INCREF(plan->key);
        if (plan_dtype(plan, PyList_GetItem(parsed->dtypes, i), binary_flags[i] != 0) < 0) return -1;
        if (add_key(self->blank, plan->key) < 0) return -1;
    }
    for (Py_ssize_t i = 0; parsed->options.null_policy == FB_NULLS_MASK && i < column_count; i++) {
        struct fb__py_column_plan *plan = &self->columns[i];
        plan->valid_key = PyUnicode_FromFormat("%U.valid", plan->key);
        if (!plan->valid_key) return -1;
        PyUnicode_InternInPlace(&plan->valid_key);
        if (add_key(self->blank, plan->valid_key) < 0) return -1;
    }
    return 0;
}
