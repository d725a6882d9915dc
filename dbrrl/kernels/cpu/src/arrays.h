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

/* Whether `x` is one of Python's numbers, or a floating one of NumPy's; its value is put into `*value`. */
static inline int dbrrl_number(PyObject *x, double *value)
{
    if (PyFloat_Check(x)) {
        *value = PyFloat_AsDouble(x);
        return 1;
    }
    if (PyArray_IsScalar(x, Floating)) {
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

/* The same for whole numbers. */
static inline int dbrrl_whole(PyObject *x, Py_ssize_t *value)
{
    if (!PyLong_CheckExact(x)) return 0;
    *value = PyLong_AsSsize_t(x);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

/* The array behind `x`, as by `dbrrl_array`, of one axis of n entries; else NULL. */
static inline PyArrayObject *dbrrl_vector(PyObject *x, int type, int write, Py_ssize_t n)
{
    PyArrayObject *a = dbrrl_array(x, type, write);
    return a && PyArray_NDIM(a) == 1 && PyArray_DIM(a, 0) == n ? a : NULL;
}

/* Whether `a` and `b` have the same shape. */
static inline int dbrrl_alike(PyArrayObject *a, PyArrayObject *b)
{
    return PyArray_NDIM(a) == PyArray_NDIM(b) && PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), PyArray_NDIM(a));
}

/* A new array, of `size` bytes; a large one has memory of the pool. Takes over the reference to its type. */
PyObject *dbrrl_new_array(PyArray_Descr *type, int ndim, npy_intp *shape, size_t size);

/* Loops over many elements run without the interpreter lock. */
#define BEGIN_LOOP(n) PyThreadState *lock_ = (n) >= LONG_WORK ? PyEval_SaveThread() : NULL
#define END_LOOP \
    if (lock_) PyEval_RestoreThread(lock_)

#define FUNCTION(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, name##_doc}
#define END_OF_FUNCTIONS {NULL, NULL, 0, NULL}

#endif
