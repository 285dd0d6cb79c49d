/*
 * Column: a column of a batch (or a part of one) that has no numpy dtype, strings, binary or decimals, for others to
 * read through the Arrow C data interface.
 *
 * An export copies nothing but names and, where there is a mask with nulls in it, makes the validity bitmap. It holds
 * the Batch. Its consumer may release it on any thread: the release takes the GIL, and leaves everything to Python
 * where that has begun to end.
 */
#include "module.h"

#include <string.h>

struct column {
    PyObject base;
    struct fb__py_state *state;
    struct fb__py_batch *batch; /* owned; what `column` points into */
    struct fb_column column;
    uint64_t row_count;
};

static struct column *checked(PyObject *object)
{
    struct column *self = (struct column *)object;
    return fb__py_check_own(self->state, self->batch->process) == 0 ? self : NULL;
}

PyObject *fb__py_column_new(struct fb__py_state *state, struct fb__py_batch *batch, const struct fb_column *column)
{
    struct column *self = PyObject_New(struct column, state->column_type);
    if (!self) return NULL;
    self->state = state;
    Py_INCREF((PyObject *)batch);
    self->batch = batch;
    self->column = *column;
    self->row_count = column->row_count;
    return (PyObject *)self;
}

static void column_dealloc(PyObject *object)
{
    Py_DECREF((PyObject *)((struct column *)object)->batch);
    fb__py_free(object);
}

/* Bytes of the values: of strings the last offset. */
static uint64_t value_bytes(const struct column *self)
{
    if (self->column.kind == FB_COLUMN_FIXED) return self->row_count * self->column.element_bytes;
    if (self->column.offset_bytes == 4) return (uint64_t)((const int32_t *)self->column.offsets)[self->row_count];
    return (uint64_t)((const int64_t *)self->column.offsets)[self->row_count];
}

/* ---- export ---- */

struct exported {
    struct fb__py_batch *batch; /* owned */
    uint8_t *bitmap;            /* NULL where no row is null */
    const void *buffers[3];
};

static void free_exported(struct exported *exported)
{
    if (!exported) return;
    Py_XDECREF((PyObject *)exported->batch);
    PyMem_Free(exported->bitmap);
    PyMem_Free(exported);
}

static void release_array(struct ArrowArray *array)
{
    array->release = NULL;
    if (!Py_IsInitialized()) return;
    PyGILState_STATE gil = PyGILState_Ensure();
    free_exported(array->private_data);
    PyGILState_Release(gil);
}

static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
    if (!Py_IsInitialized()) return;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyMem_Free(schema->private_data);
    PyGILState_Release(gil);
}

static void destroy_array_capsule(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array->release) array->release(array);
    PyMem_Free(array);
}

static void destroy_schema_capsule(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema->release) schema->release(schema);
    PyMem_Free(schema);
}

static PyObject *export_schema(const struct column *self)
{
    const char *format = self->column.format;
    const char *name = self->column.name;
    size_t format_size = strlen(format) + 1;
    size_t name_size = strlen(name) + 1;
    struct ArrowSchema *schema = PyMem_Calloc(1, sizeof *schema);
    char *texts = PyMem_Malloc(format_size + name_size);
    if (!schema || !texts) {
        PyErr_NoMemory();
        goto fail;
    }
    memcpy(texts, format, format_size);
    memcpy(texts + format_size, name, name_size);
    *schema = (struct ArrowSchema){
        .format = texts,
        .name = texts + format_size,
        .flags = self->column.valid ? ARROW_FLAG_NULLABLE : 0,
        .release = release_schema,
        .private_data = texts,
    };
    PyObject *capsule = PyCapsule_New(schema, "arrow_schema", destroy_schema_capsule);
    if (capsule) return capsule;
fail:
    PyMem_Free(texts);
    PyMem_Free(schema);
    return NULL;
}

/* A bitmap of the validity bytes, or NULL in *bitmap where no row is null. -1 with MemoryError. */
static int make_bitmap(const struct column *self, uint8_t **bitmap, int64_t *null_count)
{
    const uint8_t *valid = self->column.valid;
    *bitmap = NULL;
    *null_count = 0;
    for (uint64_t row = 0; valid && row < self->row_count; row++) *null_count += !valid[row];
    if (*null_count == 0) return 0;
    *bitmap = PyMem_Calloc(1, (size_t)(self->row_count / 8 + 1));
    if (!*bitmap) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint64_t row = 0; row < self->row_count; row++)
        if (valid[row]) (*bitmap)[row / 8] = (uint8_t)((*bitmap)[row / 8] | 1U << row % 8);
    return 0;
}

static PyObject *export_array(const struct column *self)
{
    struct ArrowArray *array = PyMem_Calloc(1, sizeof *array);
    struct exported *exported = PyMem_Calloc(1, sizeof *exported);
    if (!array || !exported) {
        PyErr_NoMemory();
        goto fail;
    }
    int64_t null_count;
    if (make_bitmap(self, &exported->bitmap, &null_count) < 0) goto fail;
    Py_INCREF((PyObject *)self->batch);
    exported->batch = self->batch;
    exported->buffers[0] = exported->bitmap;
    bool is_fixed = self->column.kind == FB_COLUMN_FIXED;
    /* Not NULL where there are no bytes: not every consumer allows that. */
    const void *values = self->column.values ? self->column.values : is_fixed ? "" : self->column.offsets;
    exported->buffers[1] = is_fixed ? values : self->column.offsets;
    exported->buffers[2] = values;
    *array = (struct ArrowArray){
        .length = (int64_t)self->row_count,
        .null_count = null_count,
        .n_buffers = is_fixed ? 2 : 3,
        .buffers = exported->buffers,
        .release = release_array,
        .private_data = exported,
    };
    PyObject *capsule = PyCapsule_New(array, "arrow_array", destroy_array_capsule);
    if (capsule) return capsule;
fail:
    free_exported(exported);
    PyMem_Free(array);
    return NULL;
}

PyDoc_STRVAR(arrow_c_array_doc,
             "__arrow_c_array__($self, requested_schema=None, /)\n--\n\n"
             "The column as (schema capsule, array capsule) over the batch's own memory. A column has one layout and\n"
             "answers every request with it, as the protocol allows: the consumer casts.");

static PyObject *column_arrow_c_array(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"requested_schema", NULL};
    PyObject *requested_schema = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:__arrow_c_array__", names, &requested_schema))
        return NULL;
    if (requested_schema != Py_None && !PyCapsule_IsValid(requested_schema, "arrow_schema")) {
        PyErr_SetString(PyExc_TypeError, "requested_schema must be None or an arrow_schema capsule");
        return NULL;
    }
    struct column *self = checked(object);
    if (!self) return NULL;
    PyObject *schema = export_schema(self);
    PyObject *array = schema ? export_array(self) : NULL;
    PyObject *pair = array ? PyTuple_Pack(2, schema, array) : NULL;
    Py_XDECREF(array);
    Py_XDECREF(schema);
    return pair;
}

/* ---- what it says of itself ---- */

static Py_ssize_t column_length(PyObject *object)
{
    struct column *self = checked(object);
    return self ? (Py_ssize_t)self->row_count : -1;
}

static PyObject *column_format(PyObject *object, void *Py_UNUSED(closure))
{
    struct column *self = checked(object);
    return self ? PyUnicode_FromString(self->column.format) : NULL;
}

static PyObject *column_nbytes(PyObject *object, void *Py_UNUSED(closure))
{
    struct column *self = checked(object);
    if (!self) return NULL;
    uint64_t offset_bytes =
        self->column.kind == FB_COLUMN_BINARY ? (self->row_count + 1) * self->column.offset_bytes : 0;
    uint64_t valid_bytes = self->column.valid ? self->row_count : 0;
    return PyLong_FromUnsignedLongLong(value_bytes(self) + offset_bytes + valid_bytes);
}

static PyMethodDef column_methods[] = {
    {"__arrow_c_array__", (PyCFunction)(void (*)(void))column_arrow_c_array, METH_VARARGS | METH_KEYWORDS,
     arrow_c_array_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef column_attributes[] = {
    {"format", column_format, NULL, "The Arrow format string: u, U (strings), z, Z, w:N (binary) or d:P,S (decimals).",
     NULL},
    {"nbytes", column_nbytes, NULL, "Bytes of values, offsets and validity.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot column_slots[] = {
    {Py_tp_doc, (void *)"A column of a batch that has no numpy dtype, over the batch's memory."},
    {Py_tp_dealloc, column_dealloc},
    {Py_sq_length, column_length},
    {Py_tp_methods, column_methods},
    {Py_tp_getset, column_attributes},
    {0, NULL},
};

PyType_Spec fb__py_column_spec = {
    .name = "forebay._ext.Column",
    .basicsize = sizeof(struct column),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = column_slots,
};
