/* Reading NumPy's arrays: what every kernel asks of its arguments. A kernel that does not serve them returns
   NotImplemented, and NumPy computes. */
#ifndef DBRRL_ARRAYS_H
#define DBRRL_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL dbrrl_numpy
#ifndef DBRRL_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "dispatch.h"

#define REFUSE return Py_NewRef(Py_NotImplemented)
#define REFUSE_UNLESS(condition) \
    do {                         \
        if (!(condition)) REFUSE; \
    } while (0)

enum { READ = 0, WRITE = 1 };
enum { LONG_WORK = 32768 }; /* elements from which a loop runs without the interpreter lock */

/* The array behind `x`, an aligned C-contiguous array of type `type` in native byte order; else NULL. */
static inline PyArrayObject *dbrrl_array(PyObject *x, int type, int write)
{
    if (!PyArray_CheckExact(x)) return NULL;
    PyArrayObject *a = (PyArrayObject *)x;
    int flags = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | (write ? NPY_ARRAY_WRITEABLE : 0);
    if (PyArray_TYPE(a) != type || (PyArray_FLAGS(a) & flags) != flags || !PyArray_ISNOTSWAPPED(a)) return NULL;
    return a;
}

/* 0 for float32, 1 for float64, -1 for what is no array of either. */
static inline int dbrrl_floating(PyObject *x)
{
    if (!PyArray_CheckExact(x)) return -1;
    int type = PyArray_TYPE((PyArrayObject *)x);
    return type == NPY_FLOAT32 ? 0 : type == NPY_FLOAT64 ? 1 : -1;
}

static const int dbrrl_types[2] = {NPY_FLOAT32, NPY_FLOAT64};

/* Whether `a` and `b` share some bytes, but not all: a loop over both would read what it has written. */
static inline int dbrrl_overlap(PyArrayObject *a, PyArrayObject *b)
{
    const char *p = PyArray_BYTES(a), *q = PyArray_BYTES(b);
    return p != q && p < q + PyArray_NBYTES(b) && q < p + PyArray_NBYTES(a);
}

/* Whether `x` is one of Python's numbers (NumPy's float64 is a float); its value is put into `*value`. */
static inline int dbrrl_number(PyObject *x, double *value)
{
    if (PyFloat_Check(x)) {
        *value = PyFloat_AsDouble(x);
        return 1;
    }
    if (!PyLong_CheckExact(x)) return 0;
    *value = PyLong_AsDouble(x);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

#endif
