/*
 * A Source over Parquet files: what the footers say becomes the tables that the core takes. Columns that are not decoded
 * there are opened through the Provider, as in a stream source.
 *
 * Sizes are checked against each other here; what they say of the files is for the core to check.
 */
#include "module.h"

#include <assert.h>
#include <string.h>

#define CHUNK_COUNT 4 /* numbers in struct fb_parquet_chunk */

/* What is made of the arguments, and what keeps it alive. All zeros at first. */
struct tables {
    struct fb_parquet parquet;
    struct fb_parquet_file *files;     /* owned; paths belong to file_tuple */
    struct fb_parquet_column *columns; /* owned */
    PyObject *file_tuple;              /* owned */
    Py_buffer unit_files;              /* .obj is NULL before it is taken, as in the next */
    Py_buffer chunks;
};

static void free_tables(struct tables *tables)
{
    if (tables->chunks.obj) PyBuffer_Release(&tables->chunks);
    if (tables->unit_files.obj) PyBuffer_Release(&tables->unit_files);
    PyMem_Free(tables->columns);
    PyMem_Free(tables->files);
    Py_XDECREF(tables->file_tuple);
}

/* (path, size, mtime_ns); the path is borrowed from item. */
static int read_file(PyObject *item, struct fb_parquet_file *file)
{
    PyObject *path, *size;
    long long modified_ns;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_ValueError, "files must hold tuples of path, size and mtime_ns");
        return -1;
    }
    if (!PyArg_ParseTuple(item, "SO!L:files", &path, &PyLong_Type, &size, &modified_ns)) return -1;
    char *bytes;
    if (PyBytes_AsStringAndSize(path, &bytes, NULL) < 0) return -1; /* ValueError for a null byte */
    file->path = bytes;
    file->modified_ns = modified_ns;
    file->size_bytes = PyLong_AsUnsignedLongLong(size);
    return PyErr_Occurred() ? -1 : 0;
}

static int read_files(PyObject *list, struct tables *tables)
{
    tables->file_tuple = PyList_AsTuple(list); /* so that nobody changes it meanwhile */
    if (!tables->file_tuple) return -1;
    Py_ssize_t file_count = PyTuple_Size(tables->file_tuple);
    tables->files = PyMem_Calloc((size_t)file_count + 1, sizeof *tables->files);
    if (!tables->files) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < file_count; i++)
        if (read_file(PyTuple_GetItem(tables->file_tuple, i), &tables->files[i]) < 0) return -1;
    tables->parquet.files = tables->files;
    tables->parquet.file_count = (uint64_t)file_count;
    return 0;
}

/* None, or the figures of a column that is decoded by the core. */
static int read_column(PyObject *item, struct fb_parquet_column *column)
{
    if (item == Py_None) return 0;
    if (!PyTuple_Check(item) || PyTuple_Size(item) != 8) {
        PyErr_SetString(PyExc_ValueError, "columns must hold None or tuples of eight numbers");
        return -1;
    }
    unsigned long long numbers[8];
    for (Py_ssize_t i = 0; i < 8; i++) {
        numbers[i] = PyLong_AsUnsignedLongLong(PyTuple_GetItem(item, i));
        if (PyErr_Occurred()) return -1;
        if (i < 5 && numbers[i] > UINT32_MAX) {
            PyErr_Format(PyExc_ValueError, "columns: %llu is out of range", numbers[i]);
            return -1;
        }
    }
    *column = (struct fb_parquet_column){
        .is_decoded_here = true,
        .physical_type = (uint32_t)numbers[0],
        .type_bytes = (uint32_t)numbers[1],
        .max_definition = (uint32_t)numbers[2],
        .max_repetition = (uint32_t)numbers[3],
        .element_definition = (uint32_t)numbers[4],
        .page_bytes = numbers[5],
        .stored_page_bytes = numbers[6],
        .dictionary_bytes = numbers[7],
    };
    return 0;
}

/* *decoded_count: how many of them the core decodes. */
static int read_columns(PyObject *list, int64_t column_count, struct tables *tables, uint64_t *decoded_count)
{
    if (PyList_Size(list) != column_count) {
        PyErr_Format(PyExc_ValueError, "columns describes %zd columns, the schema has %lld", PyList_Size(list),
                     (long long)column_count);
        return -1;
    }
    tables->columns = PyMem_Calloc((size_t)column_count + 1, sizeof *tables->columns);
    if (!tables->columns) {
        PyErr_NoMemory();
        return -1;
    }
    *decoded_count = 0;
    for (Py_ssize_t i = 0; i < column_count; i++) {
        PyObject *item = PyList_GetItem(list, i); /* a tuple of numbers: reading it runs no code that could free it */
        if (!item || read_column(item, &tables->columns[i]) < 0) return -1;
        *decoded_count += tables->columns[i].is_decoded_here;
    }
    tables->parquet.columns = tables->columns;
    return 0;
}

static int read_unit_files(PyObject *object, uint64_t unit_count, struct tables *tables)
{
    uint64_t count;
    if (fb__py_get_buffer(object, "unit_files", sizeof(uint32_t), &tables->unit_files, &count) < 0) return -1;
    if (count != unit_count) {
        PyErr_Format(PyExc_ValueError, "unit_files has %llu numbers, there are %llu units", (unsigned long long)count,
                     (unsigned long long)unit_count);
        return -1;
    }
    const uint32_t *unit_files = tables->unit_files.buf;
    for (uint64_t unit = 0; unit < count; unit++) {
        if (unit_files[unit] < tables->parquet.file_count) continue;
        PyErr_Format(PyExc_ValueError, "unit %llu is in file %lu of %llu", (unsigned long long)unit,
                     (unsigned long)unit_files[unit], (unsigned long long)tables->parquet.file_count);
        return -1;
    }
    tables->parquet.unit_files = unit_files;
    return 0;
}

static int read_chunks(PyObject *object, uint64_t unit_count, uint64_t decoded_count, struct tables *tables)
{
    static_assert(sizeof(struct fb_parquet_chunk) == CHUNK_COUNT * sizeof(uint64_t), "chunks are read as they lie");
    uint64_t count, needed_count;
    if (fb__py_get_buffer(object, "chunks", sizeof(uint64_t), &tables->chunks, &count) < 0) return -1;
    if (__builtin_mul_overflow(unit_count, decoded_count * CHUNK_COUNT, &needed_count) || count != needed_count) {
        PyErr_Format(PyExc_ValueError, "chunks has %llu numbers, %d for each of %llu columns in %llu units are needed",
                     (unsigned long long)count, CHUNK_COUNT, (unsigned long long)decoded_count,
                     (unsigned long long)unit_count);
        return -1;
    }
    tables->parquet.chunks = tables->chunks.buf;
    return 0;
}

/* The source itself, once everything is at hand. */
static int make_source(struct fb__py_state *state, struct fb__py_source *self, const struct ArrowSchema *schema,
                       const Py_buffer *unit_rows, uint64_t unit_count, const Py_buffer *costs,
                       const struct fb_stream_source_callbacks *callbacks, const struct fb_parquet *parquet)
{
    struct fb_error error = {.unit = -1};
    Py_INCREF(self->provider); /* the core's reference */
    if (fb_source_from_parquet(schema, unit_rows->buf, unit_count, costs->buf, callbacks, self->provider, parquet,
                               &self->source, &error) == 0)
        return fb__py_source_describe_columns(self, schema);
    Py_DECREF(self->provider);
    fb__py_raise(state, &error, FB__PY_AT_CONSTRUCTION, self->provider, NULL);
    return -1;
}

PyObject *fb__py_parquet_source(PyObject *module, PyObject *arguments)
{
    struct fb__py_state *state = PyModule_GetState(module);
    PyObject *schema_object, *unit_rows_object, *costs_object, *provider_object;
    PyObject *file_list, *unit_files_object, *column_list, *chunks_object;
    if (!PyArg_ParseTuple(arguments, "OOOOO!OO!O:parquet_source", &schema_object, &unit_rows_object, &costs_object,
                          &provider_object, &PyList_Type, &file_list, &unit_files_object, &PyList_Type, &column_list,
                          &chunks_object))
        return NULL;
    PyObject *capsule;
    const struct ArrowSchema *schema;
    struct fb__py_source *self = fb__py_source_new(state, schema_object, provider_object, &capsule, &schema);
    if (!self) return NULL;
    struct tables tables = {0};
    bool is_made = false;
    Py_buffer unit_rows, costs;
    uint64_t unit_count, decoded_count;
    if (fb__py_get_buffer(unit_rows_object, "unit_rows", sizeof(uint64_t), &unit_rows, &unit_count) < 0)
        goto fail_unit_rows;
    if (fb__py_source_get_costs(costs_object, schema, &costs) < 0) goto fail_costs;
    struct fb_stream_source_callbacks callbacks;
    is_made = fb__py_source_get_callbacks(provider_object, &callbacks) == 0 && read_files(file_list, &tables) == 0 &&
              read_unit_files(unit_files_object, unit_count, &tables) == 0 &&
              read_columns(column_list, schema->n_children, &tables, &decoded_count) == 0 &&
              read_chunks(chunks_object, unit_count, decoded_count, &tables) == 0 &&
              make_source(state, self, schema, &unit_rows, unit_count, &costs, &callbacks, &tables.parquet) == 0;
    free_tables(&tables);
    PyBuffer_Release(&costs);
fail_costs:
    PyBuffer_Release(&unit_rows);
fail_unit_rows:
    Py_DECREF(capsule);
    if (is_made) return (PyObject *)self;
    Py_DECREF((PyObject *)self);
    return NULL;
}

PyObject *fb__py_parquet_codec_is_supported(PyObject *module, PyObject *codec)
{
    (void)module;
    unsigned long number = PyLong_AsUnsignedLong(codec);
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return NULL;
        PyErr_Clear(); /* no codec has such a number */
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(number <= UINT32_MAX && fb_parquet_codec_is_supported((uint32_t)number));
}
