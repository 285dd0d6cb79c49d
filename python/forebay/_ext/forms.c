/*
 * Outputs and forms: what Python sees of each column, parsed once when a loader is made, so that the fast path looks
 * nothing up.
 *
 * An output is one key of a batch's dict: a column, or a field of a struct column, which `path` leads to. A form says
 * what its value is:
 *
 *     dtype                     an array of shape (rows,), or (rows, list size)
 *     (dtype, (d1, d2, ...))    an array of shape (rows, d1, d2, ...)
 *     None                      an object of the loader's column_class
 *     ("list", form)            a pair: the values of all lists, and rows + 1 offsets into them
 *     ("dictionary", form)      a pair: int32 codes, and the dictionary
 *     ("struct", ((name, form), ...))   a dict; fields of structs outside of lists are outputs of their own instead
 */
#include "module.h"

#include <string.h>

#define MOST_DEPTH 64      /* more than the core takes */

static int parse_form(struct fb__py_form *form, PyObject *object, int depth);

/* ---- arrays ---- */

static int parse_dtype(struct fb__py_form *form, PyObject *object)
{
    if (!PyArray_DescrCheck(object)) {
        PyErr_Format(PyExc_TypeError, "a form must be a numpy.dtype, None or a tuple, not %R", object);
        return -1;
    }
    PyArray_Descr *dtype = (PyArray_Descr *)object;
    if (PyDataType_REFCHK(dtype) || PyDataType_HASSUBARRAY(dtype) || !PyArray_ISNBO(dtype->byteorder)) {
        PyErr_Format(PyExc_ValueError, "the dtype of a column must be plain and of native byte order, not %R", object);
        return -1;
    }
    form->kind = FB__PY_FORM_ARRAY;
    Py_INCREF(object);
    form->dtype = dtype;
    form->element_bytes = (uint64_t)PyDataType_ELSIZE(dtype);
    return 0;
}

static int parse_shape(struct fb__py_form *form, PyObject *shape)
{
    Py_ssize_t count = PyTuple_Size(shape);
    if (count < 1 || count > FB__PY_MOST_DIMENSIONS) {
        PyErr_Format(PyExc_ValueError, "a row must have 1 to %d dimensions, not %zd", FB__PY_MOST_DIMENSIONS, count);
        return -1;
    }
    form->dimensions = PyMem_Calloc((size_t)count, sizeof *form->dimensions);
    if (!form->dimensions) {
        PyErr_NoMemory();
        return -1;
    }
    form->dimension_count = (int)count;
    form->row_elements = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(shape, i));
        if (size == -1 && PyErr_Occurred()) return -1;
        if (size < 0 || __builtin_mul_overflow(form->row_elements, (uint64_t)size, &form->row_elements)) {
            PyErr_Format(PyExc_ValueError, "a dimension must be at least 0 and their product fit, not %R", shape);
            return -1;
        }
        form->dimensions[i] = size;
    }
    return 0;
}

/* ---- nested forms ---- */

static int make_children(struct fb__py_form *form, Py_ssize_t count)
{
    form->children = PyMem_Calloc((size_t)count + 1, sizeof *form->children);
    if (!form->children) {
        PyErr_NoMemory();
        return -1;
    }
    form->child_count = (uint32_t)count;
    return 0;
}

static int parse_fields(struct fb__py_form *form, PyObject *fields, int depth)
{
    if (!PyTuple_Check(fields)) {
        PyErr_SetString(PyExc_TypeError, "the fields of a struct must be a tuple of (name, form)");
        return -1;
    }
    if (make_children(form, PyTuple_Size(fields)) < 0) return -1;
    for (uint32_t i = 0; i < form->child_count; i++) {
        PyObject *name, *child;
        if (!PyArg_ParseTuple(PyTuple_GetItem(fields, i), "UO:field", &name, &child)) return -1;
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        form->children[i].name = name;
        if (parse_form(&form->children[i], child, depth + 1) < 0) return -1;
    }
    return 0;
}

static int parse_word(struct fb__py_form *form, PyObject *word, PyObject *rest, int depth)
{
    if (PyUnicode_CompareWithASCIIString(word, "struct") == 0) {
        form->kind = FB__PY_FORM_STRUCT;
        return parse_fields(form, rest, depth);
    }
    if (PyUnicode_CompareWithASCIIString(word, "list") == 0) {
        form->kind = FB__PY_FORM_LIST;
    } else if (PyUnicode_CompareWithASCIIString(word, "dictionary") == 0) {
        form->kind = FB__PY_FORM_DICTIONARY;
    } else {
        PyErr_Format(PyExc_ValueError, "no form is called %R", word);
        return -1;
    }
    if (make_children(form, 1) < 0) return -1;
    return parse_form(&form->children[0], rest, depth + 1);
}

static int parse_form(struct fb__py_form *form, PyObject *object, int depth)
{
    if (depth > MOST_DEPTH) {
        PyErr_SetString(PyExc_ValueError, "a form is nested too deep");
        return -1;
    }
    if (object == Py_None) {
        form->kind = FB__PY_FORM_COLUMN;
        return 0;
    }
    if (!PyTuple_Check(object)) return parse_dtype(form, object);
    PyObject *first, *second;
    if (!PyArg_ParseTuple(object, "OO:form", &first, &second)) return -1;
    if (PyUnicode_Check(first)) return parse_word(form, first, second, depth);
    if (!PyTuple_Check(second)) {
        PyErr_SetString(PyExc_TypeError, "the shape of a form must be a tuple");
        return -1;
    }
    return parse_dtype(form, first) < 0 ? -1 : parse_shape(form, second);
}

static void free_form(struct fb__py_form *form)
{
    Py_XDECREF(form->name);
    Py_XDECREF((PyObject *)form->dtype);
    PyMem_Free(form->dimensions);
    for (uint32_t i = 0; i < form->child_count; i++) free_form(&form->children[i]);
    PyMem_Free(form->children);
}

/* ---- outputs ---- */

static int parse_path(struct fb__py_output *output, PyObject *path)
{
    Py_ssize_t count = PyTuple_Size(path);
    output->path = PyMem_Calloc((size_t)count + 1, sizeof *output->path);
    if (!output->path) {
        PyErr_NoMemory();
        return -1;
    }
    output->path_length = (uint32_t)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned long field = PyLong_AsUnsignedLong(PyTuple_GetItem(path, i));
        if (PyErr_Occurred()) return -1;
        output->path[i] = (uint32_t)field;
    }
    return 0;
}

static int parse_output(struct fb__py_output *output, PyObject *object, Py_ssize_t column_count)
{
    PyObject *key, *path, *form;
    unsigned long column;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "an output must be a tuple (key, column, path, form)");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "UkO!O:output", &key, &column, &PyTuple_Type, &path, &form)) return -1;
    if (column >= (unsigned long)column_count) {
        PyErr_Format(PyExc_ValueError, "output %R is of column %lu, which does not exist", key, column);
        return -1;
    }
    Py_INCREF(key);
    PyUnicode_InternInPlace(&key);
    output->key = key;
    output->column = (uint32_t)column;
    if (parse_path(output, path) < 0) return -1;
    return parse_form(&output->form, form, 0);
}

/* Puts a key in the blank dict; a second one of the same name is refused. */
static int add_key(PyObject *blank, PyObject *key)
{
    int is_there = PyDict_Contains(blank, key);
    if (is_there > 0)
        PyErr_Format(PyExc_ValueError,
                     "two columns of a batch would be named %R: leave one of them out with columns=", key);
    return is_there ? -1 : PyDict_SetItem(blank, key, Py_None);
}

int fb__py_plan_outputs(struct fb__py_loader *self, const struct fb__py_arguments *parsed)
{
    Py_ssize_t output_count = PyList_Size(parsed->outputs);
    bool has_mask = parsed->options.null_policy == FB_NULLS_MASK;
    self->outputs = PyMem_Calloc((size_t)output_count + 1, sizeof *self->outputs);
    if (!self->outputs) {
        PyErr_NoMemory();
        return -1;
    }
    self->output_count = (uint32_t)output_count;
    self->blank = PyDict_New();
    if (!self->blank) return -1;
    for (uint32_t i = 0; i < self->output_count; i++) {
        struct fb__py_output *output = &self->outputs[i];
        PyObject *object = PyList_GetItem(parsed->outputs, i); /* borrowed */
        if (!object || parse_output(output, object, PyTuple_Size(parsed->source->names)) < 0) return -1;
        if (add_key(self->blank, output->key) < 0) return -1;
    }
    for (uint32_t i = 0; has_mask && i < self->output_count; i++) {
        struct fb__py_output *output = &self->outputs[i];
        output->valid_key = PyUnicode_FromFormat("%U.valid", output->key);
        if (!output->valid_key) return -1;
        PyUnicode_InternInPlace(&output->valid_key);
        if (add_key(self->blank, output->valid_key) < 0) return -1;
    }
    return 0;
}

void fb__py_free_outputs(struct fb__py_loader *self)
{
    for (uint32_t i = 0; i < self->output_count; i++) {
        struct fb__py_output *output = &self->outputs[i];
        Py_XDECREF(output->key);
        Py_XDECREF(output->valid_key);
        PyMem_Free(output->path);
        free_form(&output->form);
    }
    PyMem_Free(self->outputs);
    self->outputs = NULL;
    self->output_count = 0;
}
