/* The core's figures as dicts of plain Python values. */
#include "module.h"

/* Adds value [move, NULL with an exception] to dict; -1 with an exception. */
static int add(PyObject *dict, const char *name, PyObject *value)
{
    if (!value) return -1;
    int result = PyDict_SetItemString(dict, name, value);
    Py_DECREF(value);
    return result;
}

static int add_count(PyObject *dict, const char *name, uint64_t count)
{
    return add(dict, name, PyLong_FromUnsignedLongLong(count));
}

static int add_counts(PyObject *dict, const struct fb_stats *stats)
{
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"batches", stats->batches},
        {"rows", stats->rows},
        {"bytes_out", stats->bytes_out},
        {"memory_limit", stats->memory_limit_bytes},
        {"peak_bytes", stats->peak_bytes},
        {"charged_bytes", stats->charged_bytes},
        {"foreign_bytes", stats->foreign_bytes},
        {"held_batches", stats->held_batches},
        {"gate_allocations", stats->gate_allocations},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (add_count(dict, counts[i].name, counts[i].count) < 0) return -1;
    return 0;
}

static PyObject *account_dict(const struct fb_stats *stats)
{
    PyObject *accounts = PyDict_New();
    for (int i = 0; accounts && i < FB_ACCOUNT_COUNT; i++) {
        PyObject *pair = Py_BuildValue("(KK)", (unsigned long long)stats->accounts[i].bytes,
                                       (unsigned long long)stats->accounts[i].peak_bytes);
        if (add(accounts, fb_account_name((enum fb_account)i), pair) < 0) Py_CLEAR(accounts);
    }
    return accounts;
}

static PyObject *stage_dict(const struct fb_stats *stats)
{
    PyObject *stages = PyDict_New();
    for (uint32_t i = 0; stages && i < stats->stage_count; i++) {
        const struct fb_stage_stats *stage = &stats->stages[i];
        PyObject *figures = Py_BuildValue("{s:d,s:d,s:d,s:d,s:K}", "busy_s", stage->busy_s, "wait_input_s",
                                          stage->wait_input_s, "wait_output_s", stage->wait_output_s, "wait_bytes_s",
                                          stage->wait_bytes_s, "items", (unsigned long long)stage->items);
        if (add(stages, stage->name, figures) < 0) Py_CLEAR(stages);
    }
    return stages;
}

static PyObject *wait_dict(const struct fb_wait_stats *wait)
{
    return Py_BuildValue("{s:K,s:d,s:d,s:d,s:d,s:d}", "count", (unsigned long long)wait->count, "p50", wait->p50_s,
                         "p90", wait->p90_s, "p99", wait->p99_s, "max", wait->max_s, "sum", wait->sum_s);
}

PyObject *fb__py_stats_dict(const struct fb_stats *stats)
{
    PyObject *dict = PyDict_New();
    if (!dict) return NULL;
    if (add_counts(dict, stats) < 0) goto fail;
    if (add(dict, "first_batch_s", PyFloat_FromDouble(stats->first_batch_s)) < 0) goto fail;
    if (add(dict, "blocked_s", PyFloat_FromDouble(stats->blocked_s)) < 0) goto fail;
    if (add(dict, "user_s", PyFloat_FromDouble(stats->user_s)) < 0) goto fail;
    if (add(dict, "accounts", account_dict(stats)) < 0) goto fail;
    if (add(dict, "next_wait", wait_dict(&stats->next_wait)) < 0) goto fail;
    if (add(dict, "stages", stage_dict(stats)) < 0) goto fail;
    if (add(dict, "bottleneck", Py_BuildValue("z", stats->bottleneck)) < 0) goto fail;
    return dict;

fail:
    Py_DECREF(dict);
    return NULL;
}

static PyObject *known_count(uint64_t count)
{
    if (count == FB_UNKNOWN) Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(count);
}

PyObject *fb__py_plan_dict(const struct fb_plan *plan)
{
    return Py_BuildValue(
        "{s:N,s:N,s:N,s:K,s:K,s:K,s:k,s:k}", "batches", known_count(plan->batches), "rows", known_count(plan->rows),
        "units", known_count(plan->units), "least_memory_bytes", (unsigned long long)plan->least_memory_bytes,
        "batch_bytes", (unsigned long long)plan->batch_bytes, "piece_rows", (unsigned long long)plan->piece_rows,
        "column_sets", (unsigned long)plan->column_sets, "thread_count", (unsigned long)plan->thread_count);
}
