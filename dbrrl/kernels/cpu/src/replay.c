/* Kernels of dbrrl/buffers: rows of arrays by number, n-step returns, and trees of sums. */
#include "arrays.h"

#include <math.h>
#include <string.h>

/* Copy rows of `width` bytes by number. With `wrap` numbers go on beyond the last row and before the first, else they
   count from the end where they are negative. False where a number is out of range; `to` is then not complete. */
static int copy_rows(const char *rows, ptrdiff_t many, ptrdiff_t width, const int64_t *index, ptrdiff_t n, int wrap, char *to)
{
    for (ptrdiff_t i = 0; i < n; ++i, to += width) {
        int64_t at = index[i];
        if (at < 0 || at >= many) {
            if (wrap) {
                at %= many;
                if (at < 0) at += many;
            } else {
                at += many;
                if (at < 0 || at >= many) return 0;
            }
        }
        const char *from = rows + at * width;
        switch (width) { /* a copy of a known size is one instruction */
        case 1: *to = *from; break;
        case 4: memcpy(to, from, 4); break;
        case 8: memcpy(to, from, 8); break;
        case 16: memcpy(to, from, 16); break;
        default: memcpy(to, from, width);
        }
    }
    return 1;
}

/* An array of the rows `index` of `x`, (*index.shape, *x.shape[1:]). NULL with an exception, or without one where the
   arguments do not fit. */
static PyObject *rows_of(PyObject *given, PyArrayObject *index, int wrap)
{
    if (!PyArray_CheckExact(given)) return NULL;
    PyArrayObject *x = (PyArrayObject *)given;
    if (!PyArray_ISCARRAY_RO(x) || PyDataType_REFCHK(PyArray_DESCR(x)) || PyArray_NDIM(x) == 0 || PyArray_DIM(x, 0) == 0)
        return NULL;
    int ndim = PyArray_NDIM(index) + PyArray_NDIM(x) - 1;
    if (ndim > NPY_MAXDIMS_LEGACY_ITERS) return NULL;
    npy_intp shape[NPY_MAXDIMS_LEGACY_ITERS];
    for (int i = 0; i < ndim; ++i)
        shape[i] = i < PyArray_NDIM(index) ? PyArray_DIM(index, i) : PyArray_DIM(x, i - PyArray_NDIM(index) + 1);
    PyArray_Descr *type = PyArray_DESCR(x);
    Py_INCREF((PyObject *)type);
    const ptrdiff_t width = PyArray_NBYTES(x) / PyArray_DIM(x, 0);
    PyObject *y = dbrrl_new_array(type, ndim, shape, (size_t)(width * PyArray_SIZE(index)));
    if (!y) return NULL;
    int found = 1;
    if (width) {
        BEGIN_LOOP(PyArray_NBYTES((PyArrayObject *)y) / 4);
        found = copy_rows(PyArray_BYTES(x), PyArray_DIM(x, 0), width, PyArray_DATA(index), PyArray_SIZE(index), wrap,
                          PyArray_BYTES((PyArrayObject *)y));
        END_LOOP;
    }
    if (!found) Py_CLEAR(y);
    return y;
}

PyDoc_STRVAR(take_wrapped_doc, "take_wrapped(x, index)\n--\n\n"
                               "The rows of x by number, which begins again from 0 after the last; NotImplemented for "
                               "what it does not serve.");

static PyObject *take_wrapped(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 2 && dbrrl_level >= 0);
    PyArrayObject *index = dbrrl_array(args[1], NPY_INT64, READ);
    REFUSE_UNLESS(index);
    PyObject *y = rows_of(args[0], index, 1);
    if (y || PyErr_Occurred()) return y;
    REFUSE;
}

static PyObject *columns_of(PyObject *columns, PyArrayObject *index)
{
    PyObject *found = PyDict_New(), *name, *column;
    Py_ssize_t at = 0;
    while (found && PyDict_Next(columns, &at, &name, &column)) {
        PyObject *y = Py_IsNone(column)            ? Py_NewRef(column)
                      : PyDict_CheckExact(column) ? columns_of(column, index)
                                                  : rows_of(column, index, 0);
        if (!y || PyDict_SetItem(found, name, y)) Py_CLEAR(found);
        Py_XDECREF(y);
    }
    return found;
}

PyDoc_STRVAR(take_columns_doc, "take_columns(columns, index)\n--\n\n"
                               "A dict of the rows of all columns of a dict, each an array, None or such a dict; NotImplemented for what "
                               "it does not serve.");

static PyObject *take_columns(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 2 && dbrrl_level >= 0 && PyDict_CheckExact(args[0]));
    PyArrayObject *index = dbrrl_array(args[1], NPY_INT64, READ);
    REFUSE_UNLESS(index && PyArray_NDIM(index) == 1);
    PyObject *found = columns_of(args[0], index);
    if (found || PyErr_Occurred()) return found;
    REFUSE;
}

enum { TERMINATED = 1, TRUNCATED = 2, INVALID = 4 }; /* dbrrl/buffers/bits.py */

PyDoc_STRVAR(n_step_doc, "n_step(rewards, ends, index, head, num_envs, gamma, n_steps)\n--\n\n"
                         "The last places, their bits, the returns and the discounts of n-step transitions in a ring; "
                         "NotImplemented for what it does not serve.");

static PyObject *n_step(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 7 && dbrrl_level >= 0);
    PyArrayObject *rewards = dbrrl_array(args[0], NPY_FLOAT32, READ), *ends = dbrrl_array(args[1], NPY_UINT8, READ);
    PyArrayObject *index = dbrrl_array(args[2], NPY_INT64, READ);
    REFUSE_UNLESS(rewards && ends && index && PyArray_NDIM(rewards) == 1 && PyArray_NDIM(index) == 1);
    REFUSE_UNLESS(dbrrl_alike(rewards, ends) && PyArray_DIM(rewards, 0) > 0);
    Py_ssize_t head, envs, steps;
    double gamma;
    REFUSE_UNLESS(dbrrl_whole(args[3], &head) && dbrrl_whole(args[4], &envs) && dbrrl_number(args[5], &gamma));
    REFUSE_UNLESS(dbrrl_whole(args[6], &steps) && steps >= 1 && steps <= 64 && envs >= 1);
    const int64_t places = PyArray_DIM(rewards, 0), ring = places / envs, n = PyArray_DIM(index, 0);
    REFUSE_UNLESS(ring * envs == places && head >= 0 && head < ring);
    const int64_t *start = PyArray_DATA(index);
    for (int64_t i = 0; i < n; ++i) REFUSE_UNLESS(start[i] >= 0 && start[i] < places);
    float powers[65];
    for (int j = 0; j <= steps; ++j) powers[j] = (float)pow(gamma, j);
    npy_intp shape[1] = {n};
    const int types[4] = {NPY_INT64, NPY_UINT8, NPY_FLOAT32, NPY_FLOAT32};
    PyObject *found = PyTuple_New(4);
    for (int k = 0; found && k < 4; ++k) {
        PyObject *y = PyArray_SimpleNew(1, shape, types[k]);
        if (!y || PyTuple_SetItem(found, k, y)) Py_CLEAR(found);
    }
    if (!found) return NULL;
    int64_t *last = PyArray_DATA((PyArrayObject *)PyTuple_GetItem(found, 0));
    uint8_t *last_bits = PyArray_DATA((PyArrayObject *)PyTuple_GetItem(found, 1));
    float *total = PyArray_DATA((PyArrayObject *)PyTuple_GetItem(found, 2));
    float *discount = PyArray_DATA((PyArrayObject *)PyTuple_GetItem(found, 3));
    const float *reward = PyArray_DATA(rewards);
    const uint8_t *bits = PyArray_DATA(ends);
    for (int64_t i = 0; i < n; ++i) {
        int64_t at = start[i], open = head - at / envs; /* steps to the row that is open */
        if (open < 0) open += ring;
        float sum = reward[at];
        int64_t j = 1;
        for (; j < steps && j != open && !(bits[at] & (TERMINATED | TRUNCATED)); ++j) {
            int64_t next = at + envs < places ? at + envs : at + envs - places;
            if (bits[next] & INVALID) break;
            at = next;
            sum += reward[at] * powers[j];
        }
        last[i] = at;
        last_bits[i] = bits[at];
        total[i] = sum;
        discount[i] = bits[at] & TERMINATED ? 0 : powers[j];
    }
    return found;
}

/* The tree behind `x`, and the places of its leaves and roots: False where they do not fit. */
static int tree(PyObject *const *args, int write, double **nodes, Py_ssize_t *leaves, Py_ssize_t *roots)
{
    if (!dbrrl_whole(args[1], leaves) || !dbrrl_whole(args[2], roots)) return 0;
    if (*roots < 1 || *leaves < *roots || *leaves > PY_SSIZE_T_MAX / 4) return 0;
    if ((*leaves & (*leaves - 1)) || (*roots & (*roots - 1))) return 0;
    PyArrayObject *a = dbrrl_vector(args[0], NPY_FLOAT64, write, 2 * *leaves);
    if (!a) return 0;
    *nodes = PyArray_DATA(a);
    return 1;
}

PyDoc_STRVAR(tree_set_doc, "tree_set(nodes, leaves, roots, index, values)\n--\n\n"
                           "Set leaves and renew the sums above; NotImplemented for what it does not serve.");

static PyObject *tree_set(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    double *nodes, number = 0;
    Py_ssize_t leaves, roots;
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0 && tree(args, WRITE, &nodes, &leaves, &roots));
    PyArrayObject *index = dbrrl_array(args[3], NPY_INT64, READ);
    REFUSE_UNLESS(index && PyArray_NDIM(index) == 1);
    const ptrdiff_t n = PyArray_DIM(index, 0);
    const int64_t *at = PyArray_DATA(index);
    PyArrayObject *array = dbrrl_vector(args[4], NPY_FLOAT64, READ, n);
    REFUSE_UNLESS(array || dbrrl_number(args[4], &number));
    const double *values = array ? PyArray_DATA(array) : NULL;
    for (ptrdiff_t i = 0; i < n; ++i) REFUSE_UNLESS(at[i] >= 0 && at[i] < leaves);
    BEGIN_LOOP(n);
    for (ptrdiff_t i = 0; i < n; ++i) nodes[leaves + at[i]] = values ? values[i] : number;
    int shift = 1;
    for (Py_ssize_t first = leaves >> 1; first >= roots; first >>= 1, ++shift) {
        int64_t before = -1;
        for (ptrdiff_t i = 0; i < n; ++i) {
            int64_t node = (leaves + at[i]) >> shift;
            if (node != before) nodes[node] = nodes[2 * node] + nodes[2 * node + 1];
            before = node;
        }
    }
    END_LOOP;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tree_find_doc, "tree_find(nodes, leaves, roots, share)\n--\n\n"
                            "The leaves into whose parts of the total the shares fall; NotImplemented for what it does not "
                            "serve.");

static PyObject *tree_find(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    enum { MOST = 1024 };
    double *nodes, sums[MOST];
    Py_ssize_t leaves, roots;
    REFUSE_UNLESS(count == 4 && dbrrl_level >= 0 && tree(args, READ, &nodes, &leaves, &roots) && roots <= MOST);
    PyArrayObject *share = dbrrl_array(args[3], NPY_FLOAT64, READ);
    REFUSE_UNLESS(share && PyArray_NDIM(share) == 1);
    PyObject *found = PyArray_SimpleNew(1, PyArray_DIMS(share), NPY_INT64);
    if (!found) return NULL;
    const double *part = PyArray_DATA(share);
    int64_t *leaf = PyArray_DATA((PyArrayObject *)found);
    double total = 0;
    for (Py_ssize_t i = 0; i < roots; ++i) sums[i] = total += nodes[roots + i];
    Py_ssize_t end = 0; /* the last root with something in it */
    while (end < roots - 1 && sums[end] < total) ++end;
    for (npy_intp i = 0; i < PyArray_DIM(share, 0); ++i) {
        const double mass = part[i] * total;
        Py_ssize_t low = 0, high = end; /* the first root whose sum is above the mass, or the end */
        while (low < high) {
            Py_ssize_t middle = (low + high) / 2;
            if (sums[middle] > mass)
                high = middle;
            else
                low = middle + 1;
        }
        const double rest = mass - (sums[low] - nodes[roots + low]);
        int64_t node = 0;
        for (int guarded = 0; guarded < 2; ++guarded) { /* guarded: no empty branch is entered, as rounding can */
            double left, mine = rest;
            for (node = roots + low; node < leaves;) {
                node *= 2;
                left = nodes[node];
                int right = mine >= left;
                if (guarded) right = (right || left <= 0) && nodes[node + 1] > 0;
                if (right) {
                    mine -= left;
                    ++node;
                }
            }
            if (nodes[node] > 0) break;
        }
        leaf[i] = node - leaves;
    }
    return found;
}

PyMethodDef replay_methods[] = {
    FUNCTION(take_wrapped), FUNCTION(take_columns), FUNCTION(n_step), FUNCTION(tree_set), FUNCTION(tree_find),
    END_OF_FUNCTIONS,
};
