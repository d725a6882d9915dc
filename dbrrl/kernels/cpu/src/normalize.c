/* Kernels of dbrrl/normalize.py. */
#include "arrays.h"

#include <math.h>

/* The float64 numbers behind a mean or variance: an array, or a number where items have no axes. NULL: neither. */
static const double *statistics(PyObject *x, double *number, int ndim, const npy_intp *shape)
{
    if (ndim == 0 && dbrrl_number(x, number)) return number;
    PyArrayObject *a = dbrrl_array(x, NPY_FLOAT64, READ);
    if (!a || PyArray_NDIM(a) != ndim || !PyArray_CompareLists(PyArray_DIMS(a), shape, ndim)) return NULL;
    return PyArray_DATA(a);
}

PyDoc_STRVAR(merged_doc, "merged(x, mean, var, count)\n--\n\n"
                         "Mean and variance with those of the rows of x merged in; NotImplemented for what it does not "
                         "serve.");

static PyObject *merged(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 4 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *x = dbrrl_array(args[0], dbrrl_types[k], READ);
    REFUSE_UNLESS(x && PyArray_NDIM(x) > 0 && PyArray_DIM(x, 0) > 0);
    int ndim = PyArray_NDIM(x) - 1;
    const npy_intp *shape = PyArray_DIMS(x) + 1;
    double numbers[2];
    const double *mean = statistics(args[1], &numbers[0], ndim, shape);
    const double *var = statistics(args[2], &numbers[1], ndim, shape);
    Py_ssize_t before;
    REFUSE_UNLESS(mean && var && dbrrl_whole(args[3], &before) && before >= 0);
    PyObject *found[2];
    found[0] = PyArray_SimpleNew(ndim, shape, NPY_FLOAT64);
    found[1] = found[0] ? PyArray_SimpleNew(ndim, shape, NPY_FLOAT64) : NULL;
    if (!found[1]) {
        Py_XDECREF(found[0]);
        return NULL;
    }
    ptrdiff_t n = PyArray_DIM(x, 0), size = PyArray_SIZE((PyArrayObject *)found[0]);
    double *new_mean = PyArray_DATA((PyArrayObject *)found[0]), *new_var = PyArray_DATA((PyArrayObject *)found[1]);
    BEGIN_LOOP(PyArray_SIZE(x));
    dbrrl->moments[k](n, size, PyArray_DATA(x), new_mean, new_var);
    /* Chan, Golub & LeVeque 1979, in the order of roundings of the formula. */
    const double total = (double)before + (double)n, share = (double)n / total;
    const double both = (double)before * (double)n / total;
    for (ptrdiff_t j = 0; j < size; ++j) {
        double delta = new_mean[j] - mean[j];
        new_mean[j] = mean[j] + delta * share;
        new_var[j] = (var[j] * (double)before + new_var[j] + delta * delta * both) / total;
    }
    END_LOOP;
    return Py_BuildValue("(NN)", PyArray_Return((PyArrayObject *)found[0]), PyArray_Return((PyArrayObject *)found[1]));
}

PyDoc_STRVAR(normalized_doc, "normalized(x, mean, inverse_std, low, high)\n--\n\n"
                             "(x - mean) inverse_std within the bounds; NotImplemented for what it does not serve.");

static PyObject *normalized(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0);
    PyArrayObject *x = dbrrl_array(args[0], NPY_FLOAT32, READ), *mean = dbrrl_array(args[1], NPY_FLOAT32, READ);
    PyArrayObject *inverse = dbrrl_array(args[2], NPY_FLOAT32, READ);
    REFUSE_UNLESS(x && mean && inverse && dbrrl_alike(mean, inverse));
    int leading = PyArray_NDIM(x) - PyArray_NDIM(mean);
    REFUSE_UNLESS(leading >= 0 && PyArray_NDIM(mean) > 0 && PyArray_SIZE(mean) > 0);
    REFUSE_UNLESS(PyArray_CompareLists(PyArray_DIMS(x) + leading, PyArray_DIMS(mean), PyArray_NDIM(mean)));
    double low, high;
    REFUSE_UNLESS(dbrrl_number(args[3], &low) && dbrrl_number(args[4], &high));
    PyObject *y = PyArray_SimpleNew(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    if (!y) return NULL;
    ptrdiff_t size = PyArray_SIZE(mean);
    BEGIN_LOOP(PyArray_SIZE(x));
    dbrrl->normalize[0](PyArray_SIZE(x) / size, size, PyArray_DATA(x), PyArray_DATA(mean), PyArray_DATA(inverse), low, high,
                        PyArray_DATA((PyArrayObject *)y));
    END_LOOP;
    return y;
}

PyDoc_STRVAR(standardized_doc, "standardized(x)\n--\n\n"
                               "x (n,) with mean 0 and deviation 1; NotImplemented for what it does not serve.");

static PyObject *standardized(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 1 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *x = dbrrl_array(args[0], dbrrl_types[k], READ);
    REFUSE_UNLESS(x && PyArray_NDIM(x) == 1 && PyArray_DIM(x, 0) > 0);
    PyObject *y = PyArray_SimpleNew(1, PyArray_DIMS(x), dbrrl_types[k]);
    if (!y) return NULL;
    BEGIN_LOOP(PyArray_DIM(x, 0));
    dbrrl->standardize[k](PyArray_DIM(x, 0), PyArray_DATA(x), PyArray_DATA((PyArrayObject *)y));
    END_LOOP;
    return y;
}

PyMethodDef normalize_methods[] = {FUNCTION(merged), FUNCTION(normalized), FUNCTION(standardized), END_OF_FUNCTIONS};
