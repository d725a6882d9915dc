/* Checks of what environments give, in one pass: True where all is as it must be, NotImplemented where the formula has to
   look more closely, and say what is wrong. */
#include "arrays.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Whether all numbers of an array are finite; -1 for an array that is not looked at here. */
static int all_finite(PyArrayObject *a)
{
    if (!dbrrl_array((PyObject *)a, PyArray_TYPE(a), READ)) return -1;
    const npy_intp n = PyArray_SIZE(a);
    int bad = 0;
    if (PyArray_TYPE(a) == NPY_FLOAT32) {
        const uint32_t *bits = PyArray_DATA(a), all = 0x7f800000;
        for (npy_intp i = 0; i < n; ++i) bad |= (bits[i] & all) == all;
    } else if (PyArray_TYPE(a) == NPY_FLOAT64) {
        const uint64_t *bits = PyArray_DATA(a), all = 0x7ff0000000000000;
        for (npy_intp i = 0; i < n; ++i) bad |= (bits[i] & all) == all;
    } else {
        return -1;
    }
    return !bad;
}

static int is_whole(PyArrayObject *a)
{
    return PyArray_ISINTEGER(a) || PyArray_ISBOOL(a);
}

/* Whether an array has numbers of the type that a dtype of NumPy's names. */
static int is_of(PyArrayObject *a, PyObject *dtype)
{
    const PyArray_Descr *descr = (PyArray_Descr *)dtype;
    return PyArray_DescrCheck(dtype) && descr->type_num == PyArray_TYPE(a) && PyArray_ISNUMBER(a) &&
           PyArray_ISNOTSWAPPED(a) && PyDataType_ISNOTSWAPPED(descr);
}

PyDoc_STRVAR(sound_observation_doc,
             "sound_observation(leaves, observation)\n--\n\n"
             "leaves: a list of (path, shape, dtype or None for whole numbers, whether it is floating), as BatchCheck's.");

static PyObject *sound_observation(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 2 && dbrrl_level >= 0 && PyList_CheckExact(args[0]));
    for (Py_ssize_t i = 0; i < PyList_Size(args[0]); ++i) {
        PyObject *leaf = PyList_GetItem(args[0], i), *path = PyTuple_GetItem(leaf, 0), *shape = PyTuple_GetItem(leaf, 1);
        PyObject *dtype = PyTuple_GetItem(leaf, 2), *x = args[1];
        for (Py_ssize_t k = 0; k < PyTuple_Size(path); ++k) {
            REFUSE_UNLESS(PyDict_CheckExact(x));
            x = PyDict_GetItemWithError(x, PyTuple_GetItem(path, k));
            if (!x) {
                PyErr_Clear();
                REFUSE;
            }
        }
        REFUSE_UNLESS(PyArray_CheckExact(x));
        PyArrayObject *a = (PyArrayObject *)x;
        REFUSE_UNLESS(PyArray_NDIM(a) == PyTuple_Size(shape));
        for (int k = 0; k < PyArray_NDIM(a); ++k)
            REFUSE_UNLESS(PyArray_DIM(a, k) == PyLong_AsSsize_t(PyTuple_GetItem(shape, k)));
        REFUSE_UNLESS(dtype == Py_None ? is_whole(a) : is_of(a, dtype));
        REFUSE_UNLESS(PyTuple_GetItem(leaf, 3) != Py_True || all_finite(a) == 1);
    }
    Py_RETURN_TRUE;
}

/* Whether `x` holds one boolean for each of n environments; alone, an environment may give Python's own. */
static int is_flags(PyObject *x, Py_ssize_t n)
{
    return dbrrl_vector(x, NPY_BOOL, READ, n) || (n == 1 && PyBool_Check(x));
}

/* Whether `x` holds n rewards within the range of float32. */
static int is_rewards(PyObject *x, Py_ssize_t n)
{
    if (PyFloat_Check(x)) return n == 1 && fabs(PyFloat_AsDouble(x)) <= FLT_MAX;
    const int k = dbrrl_floating(x);
    PyArrayObject *a = k < 0 ? NULL : dbrrl_vector(x, dbrrl_types[k], READ, n);
    if (!a) return 0;
    int good = 1;
    if (k) {
        const double *r = PyArray_DATA(a);
        for (Py_ssize_t i = 0; i < n; ++i) good &= fabs(r[i]) <= FLT_MAX;
    } else {
        const float *r = PyArray_DATA(a);
        for (Py_ssize_t i = 0; i < n; ++i) good &= fabsf(r[i]) <= FLT_MAX;
    }
    return good;
}

PyDoc_STRVAR(sound_results_doc, "sound_results(parts, reward, terminated, truncated, num_envs)\n--\n\n"
                                "parts: a list of the arrays of a batch of observations.");

static PyObject *sound_results(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t n;
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0 && PyList_CheckExact(args[0]) && dbrrl_whole(args[4], &n));
    const Py_ssize_t parts = PyList_Size(args[0]);
    REFUSE_UNLESS(parts > 0);
    for (Py_ssize_t i = 0; i < parts; ++i) {
        PyObject *x = PyList_GetItem(args[0], i);
        REFUSE_UNLESS(PyArray_CheckExact(x));
        PyArrayObject *a = (PyArrayObject *)x;
        REFUSE_UNLESS(i || (PyArray_NDIM(a) > 0 && PyArray_DIM(a, 0) == n));
        REFUSE_UNLESS(is_whole(a) || all_finite(a) == 1);
    }
    /* Numbers without an axis are one environment's own, all of them. */
    const int alone = PyFloat_Check(args[1]);
    REFUSE_UNLESS(alone == PyBool_Check(args[2]) && alone == PyBool_Check(args[3]));
    REFUSE_UNLESS(is_rewards(args[1], n) && is_flags(args[2], n) && is_flags(args[3], n));
    Py_RETURN_TRUE;
}

PyMethodDef checks_methods[] = {FUNCTION(sound_observation), FUNCTION(sound_results), END_OF_FUNCTIONS};
