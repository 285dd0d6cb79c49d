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

static PyObject *misfit(const char *what)
{
    return PyErr_Format(PyExc_ValueError, "the core stores %s, which its form does not fit", what);
}

static PyObject *fixed_value(struct fb__py_batch *batch, const struct fb__py_form *form, const struct fb_column *column)
{
    if (column->kind != FB_COLUMN_FIXED || form->element_bytes != column->element_bytes ||
        (form->dimensions && form->row_elements != column->list_size))
        return misfit("other elements");
    npy_intp dimensions[1 + FB__PY_MOST_DIMENSIONS] = {(npy_intp)column->row_count, (npy_intp)column->list_size};
    int dimension_count = column->is_list ? 2 : 1;
    if (form->dimensions) {
        dimension_count = 1 + form->dimension_count;
        for (int i = 0; i < form->dimension_count; i++) dimensions[1 + i] = form->dimensions[i];
    }
    bool has_elements = column->row_count > 0 && column->list_size > 0;
    return array_over(batch, form->dtype, dimension_count, dimensions, has_elements ? column->values : NULL);
}

static PyObject *integers_over(struct fb__py_batch *batch, int type_number, uint64_t count, void *memory)
{
    PyArray_Descr *dtype = PyArray_DescrFromType(type_number);
    if (!dtype) return NULL;
    npy_intp dimension = (npy_intp)count;
    PyObject *array = array_over(batch, dtype, 1, &dimension, memory);
    Py_DECREF((PyObject *)dtype);
    return array;
}

/* Offsets of lists that all have the same size, which the batch does not store. */
static PyObject *even_offsets(uint64_t row_count, uint64_t list_size)
{
    npy_intp dimension = (npy_intp)row_count + 1;
    PyObject *array = PyArray_SimpleNew(1, &dimension, NPY_INT64);
    if (!array) return NULL;
    int64_t *offsets = PyArray_DATA((PyArrayObject *)array);
    for (uint64_t row = 0; row <= row_count; row++) offsets[row] = (int64_t)(row * list_size);
    return array;
}

static PyObject *value_of(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                          const struct fb_column *column);

static PyObject *child_value(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                             const struct fb_column *column, uint32_t child)
{
    struct fb_column part;
    fb_batch_child(batch->batch, column, child, &part);
    return value_of(loader, batch, &form->children[child], &part);
}

/* A pair of what child 0 is and of second [move]. */
static PyObject *pair_with_child(struct fb__py_loader *loader, struct fb__py_batch *batch,
                                 const struct fb__py_form *form, const struct fb_column *column, PyObject *second,
                                 bool child_is_first)
{
    PyObject *child = second ? child_value(loader, batch, form, column, 0) : NULL;
    PyObject *pair = NULL;
    if (child) pair = child_is_first ? PyTuple_Pack(2, child, second) : PyTuple_Pack(2, second, child);
    Py_XDECREF(child);
    Py_XDECREF(second);
    return pair;
}

/* Fixed-size lists of elements that have no dtype: those are one column. */
static PyObject *even_list(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                           const struct fb_column *column)
{
    struct fb_column elements = *column;
    elements.row_count *= column->list_size;
    elements.format = column->element_format;
    elements.list_size = 1;
    elements.is_list = false;
    elements.valid = NULL;
    PyObject *offsets = even_offsets(column->row_count, column->list_size);
    PyObject *values = offsets ? value_of(loader, batch, &form->children[0], &elements) : NULL;
    PyObject *pair = values ? PyTuple_Pack(2, values, offsets) : NULL;
    Py_XDECREF(values);
    Py_XDECREF(offsets);
    return pair;
}

static PyObject *list_value(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                            const struct fb_column *column)
{
    PyObject *offsets;
    if (column->kind == FB_COLUMN_LIST)
        offsets = integers_over(batch, column->offset_bytes == 4 ? NPY_INT32 : NPY_INT64, column->row_count + 1,
                                column->offsets);
    else if (column->kind == FB_COLUMN_FIXED_LIST)
        offsets = even_offsets(column->row_count, column->list_size);
    else if (column->kind == FB_COLUMN_FIXED && column->is_list)
        return even_list(loader, batch, form, column);
    else
        return misfit("no list");
    return pair_with_child(loader, batch, form, column, offsets, true);
}

static PyObject *dictionary_value(struct fb__py_loader *loader, struct fb__py_batch *batch,
                                  const struct fb__py_form *form, const struct fb_column *column)
{
    if (column->kind != FB_COLUMN_DICTIONARY) return misfit("no dictionary");
    PyObject *codes = integers_over(batch, NPY_INT32, column->row_count, column->row_count > 0 ? column->values : NULL);
    return pair_with_child(loader, batch, form, column, codes, false);
}

static PyObject *column_value(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb_column *column)
{
    bool is_plain = column->kind == FB_COLUMN_BINARY || (column->kind == FB_COLUMN_FIXED && !column->is_list);
    if (!is_plain || !loader->column_class) return misfit("no plain column");
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

static PyObject *struct_value(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                              const struct fb_column *column)
{
    if (column->kind != FB_COLUMN_STRUCT || column->child_count != form->child_count) return misfit("no such struct");
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict && i < form->child_count; i++)
        if (put(dict, form->children[i].name, child_value(loader, batch, form, column, i)) < 0) Py_CLEAR(dict);
    return dict;
}

static PyObject *value_of(struct fb__py_loader *loader, struct fb__py_batch *batch, const struct fb__py_form *form,
                          const struct fb_column *column)
{
    switch (form->kind) {
    case FB__PY_FORM_ARRAY:
        return fixed_value(batch, form, column);
    case FB__PY_FORM_COLUMN:
        return column_value(loader, batch, column);
    case FB__PY_FORM_LIST:
        return list_value(loader, batch, form, column);
    case FB__PY_FORM_STRUCT:
        return struct_value(loader, batch, form, column);
    case FB__PY_FORM_DICTIONARY:
        return dictionary_value(loader, batch, form, column);
    }
    return misfit("something unknown");
}

static int fill_dict(struct fb__py_loader *loader, struct fb__py_batch *batch, PyObject *dict)
{
    for (uint32_t i = 0; i < loader->output_count; i++) {
        const struct fb__py_output *output = &loader->outputs[i];
        struct fb_column column;
        fb_batch_column(batch->batch, output->column, &column);
        for (uint32_t step = 0; step < output->path_length; step++) {
            const struct fb_column parent = column;
            if (parent.kind != FB_COLUMN_STRUCT || output->path[step] >= parent.child_count) {
                (void)misfit("no such struct");
                return -1;
            }
            fb_batch_child(batch->batch, &parent, output->path[step], &column);
        }
        if (put(dict, output->key, value_of(loader, batch, &output->form, &column)) < 0) return -1;
        if (!output->valid_key) continue;
        npy_intp row_count = (npy_intp)column.row_count;
        PyObject *valid =
            array_over(batch, loader->state->bool_dtype, 1, &row_count, row_count > 0 ? column.valid : NULL);
        if (put(dict, output->valid_key, valid) < 0) return -1;
    }
    return 0;
}

static PyObject *batch_dict(struct fb__py_loader *loader, struct fb_batch *batch)
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

/* ---- Arrow ---- */

static void destroy_capsule(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array->release) array->release(array);
    PyMem_Free(array);
}

/* batch: [move], also on failure. */
static PyObject *export_batch(struct fb_batch *batch)
{
    struct ArrowArray *array = PyMem_Calloc(1, sizeof *array);
    if (!array) {
        fb_batch_release(batch);
        return PyErr_NoMemory();
    }
    fb_batch_export(batch, array);
    PyObject *capsule = PyCapsule_New(array, "arrow_array", destroy_capsule);
    if (capsule) return capsule;
    array->release(array);
    PyMem_Free(array);
    return NULL;
}

PyObject *fb__py_batch_value(struct fb__py_loader *loader, struct fb_batch *batch)
{
    if (loader->storage == FB_STORAGE_DENSE) return batch_dict(loader, batch);
    PyObject *capsule = export_batch(batch);
    PyObject *convert = loader->convert;
    if (!capsule || !convert) {
        Py_XDECREF(capsule);
        return NULL;
    }
    Py_INCREF(convert);
    PyObject *value = PyObject_CallFunctionObjArgs(convert, capsule, NULL);
    Py_DECREF(convert);
    Py_DECREF(capsule);
    return value;
}
