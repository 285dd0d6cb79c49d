/*
 * Batch: one batch of the core, and the dict of arrays over it that the user gets.
 *
 * This is the fast path: per column one array object and one place in the dict, nothing looked up by name. Arrays and
 * Columns hold the Batch, so its deallocation is where the memory goes back; that takes a lock of the core for a
 * moment and joins nothing.
 */
#include "module.h"

/* ---- Batch ---- */

static void batch_dealloc(PyObject *object)
{
    struct fb__py_batch *self = (struct fb__py_batch *)object;
    if (self->process == fb__py_state_of(object)->process) fb_batch_release(self->batch);
    fb__py_free(object);
}

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, (void *)"The memory of one batch; the base of its arrays."},
    {Py_tp_dealloc, batch_dealloc},
    {0, NULL},
};

PyType_Spec fb__py_batch_spec = {
    .name = "forebay._ext.Batch",
    .basicsize = sizeof(struct fb__py_batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

/* ---- the dict ---- */

/* An array over memory of batch. Where there is none (no rows, or lists of size 0) numpy brings its own. */
static PyObject *array_over(struct fb__py_batch *batch, PyArray_Descr *dtype, int dimension_count,
                            const npy_intp *dimensions, void *memory)
{
    Py_INCREF((PyObject *)dtype); /* PyArray_NewFromDescr takes one */
    int flags = memory ? NPY_ARRAY_CARRAY : 0;
    PyObject *array =
        PyArray_NewFromDescr(&PyArray_Type, dtype, dimension_count, dimensions, NULL, memory, flags, NULL);
    if (!array || !memory) return array;
    Py_INCREF((PyObject *)batch);
    if (PyArray_SetBaseObject((PyArrayObject *)array, (PyObject *)batch) == 0) return array;
    Py_DECREF(array);
    return NULL;
}

static PyObject *fixed_column(struct fb__py_batch *batch, const struct fb__py_column_plan *plan,
                              const struct fb_column *column, npy_intp row_count)
{
    if (!plan->dtype || plan->element_bytes != column->element_bytes) {
        PyErr_Format(PyExc_ValueError, "column %R has elements of %llu bytes, which its dtype does not fit", plan->key,
                     (unsigned long long)column->element_bytes);
        return NULL;
    }
    npy_intp dimensions[2] = {row_count, (npy_intp)column->list_size};
    bool has_elements = row_count > 0 && column->list_size > 0;
    return array_over(batch, plan->dtype, column->is_list ? 2 : 1, dimensions, has_elements ? column->values : NULL);
}

static PyObject *binary_column(struct fb__py_loader *loader, struct fb__py_batch *batch,
                               const struct fb__py_column_plan *plan, const struct fb_column *column)
{
    if (plan->dtype || !loader->column_class) {
        PyErr_Format(PyExc_ValueError, "column %R is a string or binary column, which its dtype does not fit",
                     plan->key);
        return NULL;
    }
    PyObject *inner = fb__py_column_new(loader->state, batch, column);
    if (!inner) return NULL;
    PyObject *outer = PyObject_CallFunctionObjArgs(loader->column_class, inner, NULL);
    Py_DECREF(inner);
    return outer;
}

/* Puts value [move, NULL with an exception] at key. */
static int put(PyObject *dict, PyObject *key, PyObject *value)
{
    if (!value) return -1;
    int result = PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return result;
}

static int fill_dict(struct fb__py_loader *loader, struct fb__py_batch *batch, PyObject *dict)
{
    npy_intp row_count = (npy_intp)fb_batch_rows(batch->batch);
    for (uint32_t i = 0; i < loader->column_count; i++) {
        const struct fb__py_column_plan *plan = &loader->columns[i];
        struct fb_column column;
        fb_batch_column(batch->batch, i, &column);
        PyObject *value = column.kind == FB_COLUMN_FIXED ? fixed_column(batch, plan, &column, row_count)
                                                         : binary_column(loader, batch, plan, &column);
        if (put(dict, plan->key, value) < 0) return -1;
        if (!plan->valid_key) continue;
        value = array_over(batch, loader->state->bool_dtype, 1, &row_count, row_count > 0 ? column.valid : NULL);
        if (put(dict, plan->valid_key, value) < 0) return -1;
    }
    return 0;
}

PyObject *fb__py_batch_dict(struct fb__py_loader *loader, struct fb_batch *batch)
{
    struct fb__py_batch *self = PyObject_New(struct fb__py_batch, loader->state->batch_type);
    if (!self) {
        fb_batch_release(batch);
        return NULL;
    }
    self->batch = batch;
    self->process = loader->process;
    /* The blank dict has every key: a copy is made in one piece, and putting the values in never makes it grow. */
    PyObject *dict = PyDict_Copy(loader->blank);
    if (dict && fill_dict(loader, self, dict) < 0) Py_CLEAR(dict);
    Py_DECREF((PyObject *)self);
    return dict;
}
