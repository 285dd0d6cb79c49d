/*
 * Source: where rows come from, until a Loader consumes it; made over a Provider's units or its one stream, or over
 * blocks in memory. The one over Parquet files is in parquet.c.
 */
#include "module.h"

#include <assert.h>
#include <string.h>

#define COST_COUNT 4 /* numbers in struct fb_stream_column_cost */

static int source_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT(((struct fb__py_source *)object)->provider);
    return 0;
}

static int source_clear(PyObject *object)
{
    Py_CLEAR(((struct fb__py_source *)object)->provider);
    return 0;
}

static void source_dealloc(PyObject *object)
{
    struct fb__py_source *self = (struct fb__py_source *)object;
    PyObject_GC_UnTrack(object);
    if (self->source && fb__py_is_own(self->process)) fb_source_release(self->source);
    Py_CLEAR(self->provider);
    Py_CLEAR(self->names);
    fb__py_free(object);
}

PyDoc_STRVAR(source_doc, "Where rows come from; made by one of the *_source() functions and consumed by a Loader.");

static PyType_Slot source_slots[] = {
    {Py_tp_doc, (void *)source_doc},
    {Py_tp_traverse, source_traverse},
    {Py_tp_clear, source_clear},
    {Py_tp_dealloc, source_dealloc},
    {0, NULL},
};

PyType_Spec fb__py_source_spec = {
    .name = "forebay._ext.Source",
    .basicsize = sizeof(struct fb__py_source),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = source_slots,
};

int fb__py_source_describe_columns(struct fb__py_source *self, const struct ArrowSchema *schema)
{
    Py_ssize_t column_count = (Py_ssize_t)schema->n_children;
    self->names = PyTuple_New(column_count);
    if (!self->names) return -1;
    for (Py_ssize_t i = 0; i < column_count; i++) {
        const struct ArrowSchema *field = schema->children[i];
        PyObject *name = PyUnicode_FromString(field->name);
        if (!name) return -1;
        PyUnicode_InternInPlace(&name);
        if (PyTuple_SetItem(self->names, i, name) < 0) return -1;
    }
    return 0;
}

struct fb__py_source *fb__py_source_new(struct fb__py_state *state, PyObject *schema_object, PyObject *provider_object,
                                        PyObject **capsule, const struct ArrowSchema **schema)
{
    *capsule = PyObject_CallMethod(schema_object, "__arrow_c_schema__", NULL);
    if (!*capsule) return NULL;
    *schema = PyCapsule_GetPointer(*capsule, "arrow_schema");
    if (!*schema) goto fail;
    struct fb__py_source *self = (struct fb__py_source *)PyType_GenericAlloc(state->source_type, 0);
    if (!self) goto fail;
    self->process = state->process;
    self->provider = fb__py_provider_new(state, provider_object);
    if (self->provider) return self;
    Py_DECREF((PyObject *)self);
fail:
    Py_CLEAR(*capsule);
    return NULL;
}

int fb__py_get_buffer(PyObject *object, const char *name, size_t entry_bytes, Py_buffer *buffer, uint64_t *count)
{
    if (PyObject_GetBuffer(object, buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) return -1;
    const char *format = buffer->format ? buffer->format : "B";
    if (strchr("@=<", format[0]) && format[0] != '\0') format++;
    bool is_unsigned = strlen(format) == 1 && strchr("ILQ", format[0]) != NULL;
    bool is_aligned = (uintptr_t)buffer->buf % entry_bytes == 0 || buffer->len == 0;
    if (!is_unsigned || buffer->itemsize != (Py_ssize_t)entry_bytes || !is_aligned) {
        PyErr_Format(PyExc_ValueError, "%s must be an aligned buffer of uint%d", name, (int)entry_bytes * 8);
        PyBuffer_Release(buffer);
        return -1;
    }
    *count = (uint64_t)buffer->len / entry_bytes;
    return 0;
}

int fb__py_source_get_costs(PyObject *object, const struct ArrowSchema *schema, Py_buffer *buffer)
{
    static_assert(sizeof(struct fb_stream_column_cost) == COST_COUNT * sizeof(uint64_t), "costs are read as they lie");
    uint64_t count;
    if (fb__py_get_buffer(object, "costs", sizeof(uint64_t), buffer, &count) < 0) return -1;
    if (schema->n_children >= 0 && count == COST_COUNT * (uint64_t)schema->n_children) return 0;
    PyErr_Format(PyExc_ValueError, "costs has %llu numbers, %d for each of %lld columns are needed",
                 (unsigned long long)count, COST_COUNT, (long long)schema->n_children);
    PyBuffer_Release(buffer);
    return -1;
}

int fb__py_source_get_plan_bytes(PyObject *provider_object, uint64_t *plan_bytes)
{
    PyObject *value = PyObject_GetAttrString(provider_object, "plan_bytes");
    if (!value) return -1;
    *plan_bytes = PyLong_AsUnsignedLongLong(value);
    Py_DECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

int fb__py_source_get_callbacks(PyObject *provider_object, struct fb_stream_source_callbacks *callbacks)
{
    *callbacks = fb__py_provider_callbacks;
    return fb__py_source_get_plan_bytes(provider_object, &callbacks->context_bytes);
}

PyObject *fb__py_stream_source(PyObject *module, PyObject *arguments)
{
    struct fb__py_state *state = PyModule_GetState(module);
    PyObject *schema_object, *unit_rows_object, *costs_object, *provider_object;
    if (!PyArg_ParseTuple(arguments, "OOOO:stream_source", &schema_object, &unit_rows_object, &costs_object,
                          &provider_object))
        return NULL;
    PyObject *capsule;
    const struct ArrowSchema *schema;
    struct fb__py_source *self = fb__py_source_new(state, schema_object, provider_object, &capsule, &schema);
    if (!self) return NULL;
    Py_buffer unit_rows, costs;
    uint64_t unit_count;
    if (fb__py_get_buffer(unit_rows_object, "unit_rows", sizeof(uint64_t), &unit_rows, &unit_count) < 0)
        goto fail_unit_rows;
    if (fb__py_source_get_costs(costs_object, schema, &costs) < 0) goto fail_costs;
    struct fb_stream_source_callbacks callbacks;
    if (fb__py_source_get_callbacks(provider_object, &callbacks) < 0) goto fail;
    struct fb_error error = {.unit = -1};
    Py_INCREF(self->provider); /* the core's reference */
    if (fb_source_from_streams(schema, unit_rows.buf, unit_count, costs.buf, &callbacks, self->provider, &self->source,
                               &error) != 0) {
        Py_DECREF(self->provider);
        fb__py_raise(state, &error, FB__PY_AT_CONSTRUCTION, self->provider, NULL);
        goto fail;
    }
    if (fb__py_source_describe_columns(self, schema) < 0) goto fail;
    PyBuffer_Release(&costs);
    PyBuffer_Release(&unit_rows);
    Py_DECREF(capsule);
    return (PyObject *)self;

fail:
    PyBuffer_Release(&costs);
fail_costs:
    PyBuffer_Release(&unit_rows);
fail_unit_rows:
    Py_DECREF(capsule);
    Py_DECREF((PyObject *)self);
    return NULL;
}

PyObject *fb__py_pull_source(PyObject *module, PyObject *arguments)
{
    struct fb__py_state *state = PyModule_GetState(module);
    PyObject *schema_object, *provider_object;
    if (!PyArg_ParseTuple(arguments, "OO:pull_source", &schema_object, &provider_object)) return NULL;
    PyObject *capsule;
    const struct ArrowSchema *schema;
    struct fb__py_source *self = fb__py_source_new(state, schema_object, provider_object, &capsule, &schema);
    if (!self) return NULL;
    fb__py_provider_set_stream(self->provider);
    struct fb_pull_source_callbacks callbacks = fb__py_provider_pull_callbacks;
    if (fb__py_source_get_plan_bytes(provider_object, &callbacks.context_bytes) < 0) goto fail;
    struct fb_error error = {.unit = -1};
    Py_INCREF(self->provider); /* the core's reference */
    if (fb_source_from_pull(schema, &callbacks, self->provider, &self->source, &error) != 0) {
        Py_DECREF(self->provider);
        fb__py_raise(state, &error, FB__PY_AT_CONSTRUCTION, self->provider, NULL);
        goto fail;
    }
    if (fb__py_source_describe_columns(self, schema) < 0) goto fail;
    Py_DECREF(capsule);
    return (PyObject *)self;

fail:
    Py_DECREF(capsule);
    Py_DECREF((PyObject *)self);
    return NULL;
}

/* Whether two schemas describe the same memory; names, nullability and metadata may differ. */
static bool same_types(const struct ArrowSchema *a, const struct ArrowSchema *b)
{
    if (!a->format || !b->format || strcmp(a->format, b->format) != 0 || a->n_children != b->n_children) return false;
    if (!a->dictionary != !b->dictionary) return false;
    if (a->dictionary && !same_types(a->dictionary, b->dictionary)) return false;
    for (int64_t i = 0; i < a->n_children; i++)
        if (!same_types(a->children[i], b->children[i])) return false;
    return true;
}

/* Moves the block out of object; -1 with an exception. */
static int take_block(PyObject *object, const struct ArrowSchema *schema, struct ArrowArray *out)
{
    PyObject *pair = PyObject_CallMethod(object, "__arrow_c_array__", NULL);
    if (!pair) return -1;
    struct ArrowSchema *block_schema = NULL;
    struct ArrowArray *block = NULL;
    PyObject *schema_capsule, *array_capsule; /* borrowed from pair */
    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "__arrow_c_array__() must return a pair of capsules");
    } else if (PyArg_ParseTuple(pair, "OO:__arrow_c_array__", &schema_capsule, &array_capsule)) {
        block_schema = PyCapsule_GetPointer(schema_capsule, "arrow_schema");
        if (block_schema) block = PyCapsule_GetPointer(array_capsule, "arrow_array");
    }
    if (block && (!block->release || !block_schema->release || !same_types(schema, block_schema))) {
        PyErr_SetString(PyExc_ValueError, "a block's columns differ in type from the schema");
        block = NULL;
    }
    if (block) {
        *out = *block;
        block->release = NULL;
    }
    Py_DECREF(pair);
    return block ? 0 : -1;
}

static void release_blocks(struct ArrowArray *blocks, Py_ssize_t block_count)
{
    for (Py_ssize_t i = 0; i < block_count; i++)
        if (blocks[i].release) blocks[i].release(&blocks[i]);
}

PyObject *fb__py_block_source(PyObject *module, PyObject *arguments)
{
    struct fb__py_state *state = PyModule_GetState(module);
    PyObject *schema_object, *block_list, *provider_object;
    if (!PyArg_ParseTuple(arguments, "OO!O:block_source", &schema_object, &PyList_Type, &block_list, &provider_object))
        return NULL;
    PyObject *capsule;
    const struct ArrowSchema *schema;
    struct fb__py_source *self = fb__py_source_new(state, schema_object, provider_object, &capsule, &schema);
    if (!self) return NULL;
    Py_ssize_t block_count = PyList_Size(block_list);
    Py_ssize_t taken_count = 0;
    struct ArrowArray *blocks = PyMem_Calloc((size_t)block_count + 1, sizeof *blocks);
    if (!blocks) {
        PyErr_NoMemory();
        goto fail_blocks;
    }
    for (; taken_count < block_count; taken_count++) {
        PyObject *block = PyList_GetItem(block_list, taken_count); /* fails where the list has shrunk meanwhile */
        if (!block) goto fail;
        Py_INCREF(block);
        int result = take_block(block, schema, &blocks[taken_count]);
        Py_DECREF(block);
        if (result < 0) goto fail;
    }
    struct fb_error error = {.unit = -1};
    PyThreadState *thread = PyEval_SaveThread();
    int code = fb_source_from_blocks(schema, blocks, (uint64_t)block_count, &self->source, &error);
    PyEval_RestoreThread(thread);
    if (code) {
        fb__py_raise(state, &error, FB__PY_AT_CONSTRUCTION, self->provider, NULL);
        goto fail;
    }
    taken_count = 0; /* the source owns them */
    if (fb__py_source_describe_columns(self, schema) < 0) goto fail;
    PyMem_Free(blocks);
    Py_DECREF(capsule);
    return (PyObject *)self;

fail:
    release_blocks(blocks, taken_count);
    PyMem_Free(blocks);
fail_blocks:
    Py_DECREF(capsule);
    Py_DECREF((PyObject *)self);
    return NULL;
}
