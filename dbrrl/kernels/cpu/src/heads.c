/* Kernels of dbrrl/autodiff/{reduce,policy,chosen}.py for rows of a few numbers, in float32. */
#include "arrays.h"

#include <math.h>
#include <stdlib.h>

/* A matrix of float32 with something in it, or NULL. */
static PyArrayObject *matrix(PyObject *x)
{
    PyArrayObject *a = dbrrl_array(x, NPY_FLOAT32, READ);
    return a && PyArray_NDIM(a) == 2 && PyArray_SIZE(a) ? a : NULL;
}

/* Whole numbers (n,) from 0 to k - 1, or NULL. */
static const int64_t *choices(PyObject *x, npy_intp n, npy_intp k)
{
    PyArrayObject *a = dbrrl_vector(x, NPY_INT64, READ, n);
    if (!a) return NULL;
    const int64_t *index = PyArray_DATA(a);
    for (npy_intp i = 0; i < n; ++i)
        if (index[i] < 0 || index[i] >= k) return NULL;
    return index;
}

static const float *vector(PyObject *x, npy_intp n)
{
    PyArrayObject *a = dbrrl_vector(x, NPY_FLOAT32, READ, n);
    return a ? PyArray_DATA(a) : NULL;
}

static float *data(PyObject *x)
{
    return PyArray_DATA((PyArrayObject *)x);
}

/* An array of float32 of one axis or more with something in it, or NULL; `k` is the length of its last axis. */
static PyArrayObject *rows(PyObject *x, ptrdiff_t *k)
{
    PyArrayObject *a = dbrrl_array(x, NPY_FLOAT32, READ);
    if (!a || PyArray_NDIM(a) < 1 || !PyArray_SIZE(a)) return NULL;
    *k = PyArray_DIM(a, PyArray_NDIM(a) - 1);
    return a;
}

/* By `logarithms` log-softmax or softmax of the last axis of the one argument. */
static PyObject *run_softmax(PyObject *const *args, Py_ssize_t count, int logarithms)
{
    ptrdiff_t k;
    REFUSE_UNLESS(count == 1 && dbrrl_level >= 0);
    PyArrayObject *x = rows(args[0], &k);
    REFUSE_UNLESS(x);
    PyObject *y = PyArray_SimpleNew(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    float *room = y ? malloc((size_t)PyArray_NBYTES(x)) : NULL;
    if (!room) {
        Py_XDECREF(y);
        return PyErr_NoMemory();
    }
    BEGIN_LOOP(PyArray_SIZE(x));
    (logarithms ? dbrrl->log_softmax : dbrrl->softmax)(PyArray_SIZE(x) / k, k, PyArray_DATA(x), data(y), room);
    END_LOOP;
    free(room);
    return y;
}

static PyObject *run_softmax_back(PyObject *const *args, Py_ssize_t count, int logarithms)
{
    ptrdiff_t k;
    REFUSE_UNLESS(count == 2 && dbrrl_level >= 0);
    PyArrayObject *g = rows(args[0], &k), *y = rows(args[1], &k);
    REFUSE_UNLESS(g && y && dbrrl_alike(g, y));
    PyObject *dx = PyArray_SimpleNew(PyArray_NDIM(y), PyArray_DIMS(y), NPY_FLOAT32);
    if (!dx) return NULL;
    BEGIN_LOOP(PyArray_SIZE(y));
    (logarithms ? dbrrl->log_softmax_back : dbrrl->softmax_back)(PyArray_SIZE(y) / k, k, PyArray_DATA(g), PyArray_DATA(y),
                                                                 data(dx));
    END_LOOP;
    return dx;
}

PyDoc_STRVAR(log_softmax_doc, "log_softmax(x)\n--\n\nOver the last axis; NotImplemented for what it does not serve.");

static PyObject *log_softmax(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_softmax(args, count, 1);
}

PyDoc_STRVAR(softmax_doc, "softmax(x)\n--\n\nOver the last axis; NotImplemented for what it does not serve.");

static PyObject *softmax(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_softmax(args, count, 0);
}

PyDoc_STRVAR(log_softmax_back_doc, "log_softmax_back(g, y)\n--\n\nThe gradient for x, given y of log_softmax(x); "
                                   "NotImplemented for what it does not serve.");

static PyObject *log_softmax_back(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_softmax_back(args, count, 1);
}

PyDoc_STRVAR(softmax_back_doc, "softmax_back(g, y)\n--\n\nThe gradient for x, given y of softmax(x); NotImplemented for "
                               "what it does not serve.");

static PyObject *softmax_back(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_softmax_back(args, count, 0);
}

PyDoc_STRVAR(entropy_doc, "entropy(log_probs)\n--\n\n"
                          "Entropies (n,), and the probabilities (n, k); NotImplemented for what it does not serve.");

static PyObject *entropy(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 1 && dbrrl_level >= 0);
    PyArrayObject *x = matrix(args[0]);
    REFUSE_UNLESS(x);
    PyObject *y = PyArray_SimpleNew(1, PyArray_DIMS(x), NPY_FLOAT32), *p = PyArray_SimpleNew(2, PyArray_DIMS(x), NPY_FLOAT32);
    if (y && p) {
        dbrrl->entropy(PyArray_DIM(x, 0), PyArray_DIM(x, 1), PyArray_DATA(x), data(p), data(y));
        return Py_BuildValue("(NN)", y, p);
    }
    Py_XDECREF(y);
    Py_XDECREF(p);
    return NULL;
}

PyDoc_STRVAR(entropy_back_doc, "entropy_back(g, log_probs, probs)\n--\n\nThe gradient for log-probabilities; "
                               "NotImplemented for what it does not serve.");

static PyObject *entropy_back(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0);
    PyArrayObject *x = matrix(args[1]), *p = matrix(args[2]);
    REFUSE_UNLESS(x && p && dbrrl_alike(x, p));
    const float *g = vector(args[0], PyArray_DIM(x, 0));
    REFUSE_UNLESS(g);
    PyObject *dl = PyArray_SimpleNew(2, PyArray_DIMS(x), NPY_FLOAT32);
    if (!dl) return NULL;
    dbrrl->entropy_back(PyArray_DIM(x, 0), PyArray_DIM(x, 1), g, PyArray_DATA(x), PyArray_DATA(p), data(dl));
    return dl;
}

PyDoc_STRVAR(log_prob_doc, "log_prob(logits, index)\n--\n\n"
                           "The log-probability of a choice in each row (n,), and the probabilities of all (n, k); "
                           "NotImplemented for what it does not serve.");

static PyObject *log_prob(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 2 && dbrrl_level >= 0);
    PyArrayObject *x = matrix(args[0]);
    REFUSE_UNLESS(x);
    const int64_t *index = choices(args[1], PyArray_DIM(x, 0), PyArray_DIM(x, 1));
    REFUSE_UNLESS(index);
    PyObject *y = PyArray_SimpleNew(1, PyArray_DIMS(x), NPY_FLOAT32), *p = PyArray_SimpleNew(2, PyArray_DIMS(x), NPY_FLOAT32);
    float *room = y && p ? malloc((size_t)PyArray_NBYTES(x)) : NULL;
    if (room) {
        dbrrl->log_prob(PyArray_DIM(x, 0), PyArray_DIM(x, 1), PyArray_DATA(x), index, data(p), data(y), room);
        free(room);
        return Py_BuildValue("(NN)", y, p);
    }
    Py_XDECREF(y);
    Py_XDECREF(p);
    return PyErr_NoMemory();
}

PyDoc_STRVAR(log_prob_back_doc, "log_prob_back(g, index, probs)\n--\n\nThe gradient for logits; NotImplemented for what it "
                                "does not serve.");

static PyObject *log_prob_back(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0);
    PyArrayObject *p = matrix(args[2]);
    REFUSE_UNLESS(p);
    const float *g = vector(args[0], PyArray_DIM(p, 0));
    const int64_t *index = choices(args[1], PyArray_DIM(p, 0), PyArray_DIM(p, 1));
    REFUSE_UNLESS(g && index);
    PyObject *dx = PyArray_SimpleNew(2, PyArray_DIMS(p), NPY_FLOAT32);
    if (!dx) return NULL;
    dbrrl->log_prob_back(PyArray_DIM(p, 0), PyArray_DIM(p, 1), g, index, PyArray_DATA(p), data(dx));
    return dx;
}

PyDoc_STRVAR(surrogate_doc, "surrogate(log_prob, old_log_prob, advantage, clip_range)\n--\n\n"
                            "The clipped surrogate, the ratios (n,), and where they are not clipped (n,); NotImplemented for "
                            "what it does not serve.");

static PyObject *surrogate(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    double range;
    REFUSE_UNLESS(count == 4 && dbrrl_level >= 0 && PyArray_CheckExact(args[0]) && dbrrl_number(args[3], &range));
    REFUSE_UNLESS(PyArray_NDIM((PyArrayObject *)args[0]) == 1 && PyArray_DIM((PyArrayObject *)args[0], 0) > 0);
    npy_intp n[1] = {PyArray_DIM((PyArrayObject *)args[0], 0)};
    const float *log_p = vector(args[0], n[0]), *old = vector(args[1], n[0]), *advantage = vector(args[2], n[0]);
    REFUSE_UNLESS(log_p && old && advantage);
    PyObject *ratio = PyArray_SimpleNew(1, n, NPY_FLOAT32), *active = PyArray_SimpleNew(1, n, NPY_BOOL);
    PyObject *y = PyArray_SimpleNew(0, NULL, NPY_FLOAT32);
    if (ratio && active && y) {
        uint8_t *truth = PyArray_DATA((PyArrayObject *)active);
        *data(y) = (float)dbrrl->surrogate(n[0], log_p, old, advantage, 1 - range, 1 + range, data(ratio), truth);
        return Py_BuildValue("(NNN)", PyArray_Return((PyArrayObject *)y), ratio, active);
    }
    Py_XDECREF(ratio);
    Py_XDECREF(active);
    Py_XDECREF(y);
    return NULL;
}

PyDoc_STRVAR(picked_huber_doc, "picked_huber(x, index, target)\n--\n\n"
                               "Huber losses (n,), differences, their absolute values, and these up to 1; NotImplemented for "
                               "what it does not serve.");

static PyObject *picked_huber(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0);
    PyArrayObject *x = matrix(args[0]);
    REFUSE_UNLESS(x);
    npy_intp n[1] = {PyArray_DIM(x, 0)}, k = PyArray_DIM(x, 1);
    const int64_t *index = choices(args[1], n[0], k);
    const float *target = vector(args[2], n[0]), *rows = PyArray_DATA(x);
    REFUSE_UNLESS(index && target);
    PyObject *found = PyTuple_New(4);
    float *parts[4];
    for (int i = 0; found && i < 4; ++i) {
        PyObject *part = PyArray_SimpleNew(1, n, NPY_FLOAT32);
        if (!part || PyTuple_SetItem(found, i, part))
            Py_CLEAR(found);
        else
            parts[i] = data(part);
    }
    if (!found) return NULL;
    for (npy_intp i = 0; i < n[0]; ++i) {
        const float d = rows[i * k + index[i]] - target[i], error = fabsf(d), inside = error > 1 ? 1 : error;
        parts[0][i] = inside * (error - 0.5f * inside);
        parts[1][i] = d;
        parts[2][i] = error;
        parts[3][i] = inside;
    }
    return found;
}

PyDoc_STRVAR(picked_huber_back_doc, "picked_huber_back(g, index, difference, k)\n--\n\n"
                                    "The gradients for x (n, k) and for what was picked (n,); NotImplemented for what it does "
                                    "not serve.");

static PyObject *picked_huber_back(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t k;
    REFUSE_UNLESS(count == 4 && dbrrl_level >= 0 && dbrrl_whole(args[3], &k) && k > 0);
    PyArrayObject *difference = dbrrl_array(args[2], NPY_FLOAT32, READ);
    REFUSE_UNLESS(difference && PyArray_NDIM(difference) == 1);
    npy_intp shape[2] = {PyArray_DIM(difference, 0), k};
    const float *g = vector(args[0], shape[0]), *d = PyArray_DATA(difference);
    const int64_t *index = choices(args[1], shape[0], k);
    REFUSE_UNLESS(g && index);
    PyObject *dx = PyArray_ZEROS(2, shape, NPY_FLOAT32, 0), *picked = PyArray_SimpleNew(1, shape, NPY_FLOAT32);
    if (!dx || !picked) {
        Py_XDECREF(dx);
        Py_XDECREF(picked);
        return NULL;
    }
    for (npy_intp i = 0; i < shape[0]; ++i) {
        const float slope = fabsf(d[i]) > 1 ? copysignf(1, d[i]) : d[i];
        data(picked)[i] = data(dx)[i * k + index[i]] = slope * g[i];
    }
    return Py_BuildValue("(NN)", dx, picked);
}

PyMethodDef heads_methods[] = {
    FUNCTION(log_softmax),   FUNCTION(log_softmax_back), FUNCTION(entropy),      FUNCTION(entropy_back),
    FUNCTION(log_prob),      FUNCTION(log_prob_back),    FUNCTION(surrogate),    FUNCTION(picked_huber),
    FUNCTION(picked_huber_back), FUNCTION(softmax), FUNCTION(softmax_back), END_OF_FUNCTIONS,
};
