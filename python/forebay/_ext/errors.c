/* Codes become exceptions, and exceptions of reader threads become codes: here and nowhere else. */
#include "module.h"

#include <errno.h>
#include <string.h>

static const double SECOND_NS = 1e9;

/* ---- from Python to the core ---- */

int fb__py_fail(struct fb_error *error, int code, int64_t unit, const char *text)
{
    if (!error) return code;
    size_t length = strnlen(text, sizeof error->message);
    if (length == sizeof error->message) {
        length--;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--; /* not inside a character */
    }
    *error = (struct fb_error){.code = code, .unit = unit, .row = -1};
    memcpy(error->message, text, length);
    error->message[length] = '\0';
    return code;
}

PyObject *fb__py_take_raised(struct fb_error *error, uint64_t unit)
{
    struct fb__py_raised raised = fb__py_save_raised();
    PyErr_NormalizeException(&raised.type, &raised.value, &raised.traceback);
    if (raised.traceback) (void)PyException_SetTraceback(raised.value, raised.traceback);
    PyObject *class_name = PyObject_GetAttrString(raised.type, "__name__");
    PyObject *message = class_name ? PyUnicode_FromFormat("%U: %S", class_name, raised.value) : NULL;
    const char *text = message ? PyUnicode_AsUTF8AndSize(message, NULL) : NULL;
    if (!text) PyErr_Clear(); /* an exception that cannot be printed is still kept as the cause */
    (void)fb__py_fail(error, EIO, (int64_t)unit, text ? text : "an exception that has no text");
    Py_XDECREF(message);
    Py_XDECREF(class_name);
    Py_XDECREF(raised.type);
    Py_XDECREF(raised.traceback);
    return raised.value;
}

/* ---- from the core to Python ---- */

/* Raises class(message, **attributes) from cause. message and attributes: [move, may be NULL with an exception]. */
static void raise_with(PyObject *class, PyObject *message, PyObject *attributes, PyObject *cause)
{
    PyObject *arguments = message ? PyTuple_Pack(1, message) : NULL;
    PyObject *exception = arguments && attributes ? PyObject_Call(class, arguments, attributes) : NULL;
    if (exception) {
        if (cause) {
            Py_INCREF(cause);
            PyException_SetCause(exception, cause);
        }
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(attributes);
    Py_XDECREF(message);
}

/* "<place><separator><message>"; message: [move, may be NULL with an exception], place: [move, as message]. */
static PyObject *put_before(PyObject *place, const char **separator, PyObject *message)
{
    PyObject *together = place && message ? PyUnicode_FromFormat("%U%s%U", place, *separator, message) : NULL;
    *separator = ", ";
    Py_XDECREF(place);
    Py_XDECREF(message);
    return together;
}

/* Exceptions that mean something by themselves to whoever catches them: they must not look like ours. */
static bool cause_needs_wrapping(PyObject *cause)
{
    return cause && (PyErr_GivenExceptionMatches(cause, PyExc_MemoryError) ||
                     PyErr_GivenExceptionMatches(cause, PyExc_StopIteration) ||
                     !PyErr_GivenExceptionMatches(cause, PyExc_Exception));
}

/* text: [move] what such a cause says, which by itself may be nothing, or a bare number. */
static PyObject *wrapped_message(PyObject *cause, PyObject *text)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(cause), "__name__");
    const char *separator = PyUnicode_GetLength(text) > 0 ? ": " : "";
    PyObject *message = name ? PyUnicode_FromFormat("the source raised %U%s%U", name, separator, text) : NULL;
    Py_XDECREF(name);
    Py_DECREF(text);
    return message;
}

/* What the cause says, where there is one with words: the core has only what is left of it after a foreign stream. */
static PyObject *own_message(const struct fb_error *error, PyObject *cause)
{
    PyObject *text = cause ? PyObject_Str(cause) : NULL;
    if (text && cause_needs_wrapping(cause)) return wrapped_message(cause, text);
    if (text && PyUnicode_GetLength(text) > 0) return text;
    PyErr_Clear();
    Py_XDECREF(text);
    return PyUnicode_DecodeUTF8(error->message, (Py_ssize_t)strnlen(error->message, sizeof error->message), "replace");
}

/* "<path>, row group <g>, row <r>: <message>", as far as they are known. */
static PyObject *located_message(const struct fb_error *error, PyObject *path, PyObject *row_group, int64_t row,
                                 PyObject *cause)
{
    const char *separator = ": ";
    PyObject *message = own_message(error, cause);
    if (message && row >= 0)
        message = put_before(PyUnicode_FromFormat("row %lld", (long long)row), &separator, message);
    if (message && row_group != Py_None)
        message = put_before(PyUnicode_FromFormat("row group %S", row_group), &separator, message);
    if (message && path != Py_None) message = put_before(PyObject_Str(path), &separator, message);
    return message;
}

static PyObject *number_or_none(bool is_known, uint64_t number)
{
    if (is_known) return PyLong_FromUnsignedLongLong(number);
    Py_RETURN_NONE;
}

/* Which class a code is; *attributes: [out: a new reference] the keywords of its constructor, NULL with an exception. */
static PyObject *class_of(struct fb__py_state *state, const struct fb_error *error, enum fb__py_when when,
                          PyObject *path, PyObject *row_group, int64_t row, PyObject *cause, PyObject **attributes)
{
    if (cause_needs_wrapping(cause)) {
        *attributes = PyDict_New();
        return PyExc_RuntimeError;
    }
    switch (error->code) {
    case ENOBUFS:
        *attributes = Py_BuildValue(
            "{s:N,s:N,s:O,s:O}", "required", number_or_none(error->required_bytes != 0, error->required_bytes), "limit",
            number_or_none(error->limit_bytes != 0, error->limit_bytes), "path", path, "row_group", row_group);
        return state->memory_limit_error;
    case ENOMEM:
        *attributes = PyDict_New();
        return PyExc_MemoryError;
    case ECANCELED:
        *attributes = PyDict_New();
        return PyExc_RuntimeError;
    case EINVAL:
        if (when == FB__PY_IN_AN_EPOCH) break;
        *attributes = PyDict_New();
        return PyExc_ValueError;
    default:
        break;
    }
    *attributes = Py_BuildValue("{s:O,s:O,s:N}", "path", path, "row_group", row_group, "row",
                                number_or_none(row >= 0, (uint64_t)row));
    return error->code == ENOTSUP ? state->unsupported_error : state->source_error;
}

void fb__py_raise(struct fb__py_state *state, const struct fb_error *error, enum fb__py_when when, PyObject *provider,
                  PyObject *cause)
{
    if (cause && fb__py_provider_is_stream(provider) && !cause_needs_wrapping(cause)) {
        PyErr_SetObject((PyObject *)Py_TYPE(cause), cause); /* the user's own code raised it */
        return;
    }
    PyObject *path;
    PyObject *row_group;
    int64_t first_row;
    fb__py_provider_describe(provider, error->unit, &path, &row_group, &first_row);
    int64_t row = error->row >= 0 ? first_row + error->row : -1;
    PyObject *attributes;
    PyObject *class = class_of(state, error, when, path, row_group, row, cause, &attributes);
    raise_with(class, located_message(error, path, row_group, row, cause), attributes, cause);
    Py_DECREF(path);
    Py_DECREF(row_group);
}

void fb__py_raise_timeout(struct fb__py_state *state, uint64_t timeout_ns)
{
    PyObject *seconds = PyFloat_FromDouble((double)timeout_ns / SECOND_NS);
    if (!seconds) return;
    PyObject *message =
        PyUnicode_FromFormat("no batch was ready within %S s (timeout); the next next() tries again", seconds);
    Py_DECREF(seconds);
    raise_with(state->loader_timeout_error, message, PyDict_New(), NULL);
}

void fb__py_raise_held(struct fb__py_state *state, const struct fb_stats *stats, uint64_t required_bytes)
{
    PyObject *message = PyUnicode_FromFormat(
        "you hold %llu batches, %llu bytes: copy what you keep, or raise memory_limit (%llu bytes now)",
        (unsigned long long)stats->held_batches, (unsigned long long)stats->accounts[FB_ACCOUNT_HELD].bytes,
        (unsigned long long)stats->memory_limit_bytes);
    PyObject *attributes = Py_BuildValue("{s:N,s:K}", "required", number_or_none(required_bytes != 0, required_bytes),
                                         "limit", (unsigned long long)stats->memory_limit_bytes);
    raise_with(state->memory_limit_error, message, attributes, NULL);
}

void fb__py_raise_forked(struct fb__py_state *state, pid_t process)
{
    PyErr_Format(state->forked_loader_error, "this loader was made in process %ld; make a new one after fork",
                 (long)process);
}

void fb__py_raise_over(struct fb__py_state *state, const char *message)
{
    bool is_left_behind = state->exit_thread != 0 && state->exit_thread != PyThread_get_thread_ident();
    PyErr_SetString(is_left_behind ? PyExc_SystemExit : PyExc_RuntimeError, message);
}

void fb__py_raise_closed(struct fb__py_state *state)
{
    fb__py_raise_over(state, "the loader is closed");
}

int fb__py_warn_abandoned(PyObject *provider, uint32_t abandoned_count, int64_t unit, uint64_t close_timeout_ns)
{
    PyObject *path;
    PyObject *row_group;
    int64_t first_row;
    fb__py_provider_describe(provider, unit, &path, &row_group, &first_row);
    PyObject *where;
    if (path != Py_None && row_group != Py_None)
        where = PyUnicode_FromFormat("%S, row group %S", path, row_group);
    else if (path != Py_None)
        where = PyUnicode_FromFormat("%S", path);
    else if (fb__py_provider_is_stream(provider))
        where = PyUnicode_FromString("the source's stream");
    else
        where = PyUnicode_FromFormat("unit %lld of the source", (long long)unit);
    Py_DECREF(path);
    Py_DECREF(row_group);
    PyObject *seconds = where ? PyFloat_FromDouble((double)close_timeout_ns / SECOND_NS) : NULL;
    PyObject *message = NULL;
    if (seconds)
        message = PyUnicode_FromFormat("forebay left %u reader thread(s) behind that did not come back from reading %U "
                                       "within %S s (close_timeout): their bytes stay charged until they do",
                                       (unsigned)abandoned_count, where, seconds);
    const char *text = message ? PyUnicode_AsUTF8AndSize(message, NULL) : NULL;
    int result = text ? PyErr_WarnEx(PyExc_ResourceWarning, text, 1) : -1;
    Py_XDECREF(message);
    Py_XDECREF(seconds);
    Py_XDECREF(where);
    return result;
}
