/* Random numbers as NumPy draws them, by its own functions, without the call into its Python methods. */
#include "arrays.h"

#include <stdbool.h>

PyDoc_STRVAR(draw_doc, "draw(like, fill, generator, acquire, release)\n--\n\n"
                       "Return a new array like `like` that the function at the address `fill`, one of NumPy's, has\n"
                       "filled: fill(bitgen_t *, npy_intp, T *). generator: the capsule of a bit generator; acquire and\n"
                       "release: the methods of its lock.");

typedef void (*filling)(void *, npy_intp, void *);

/* Call a method of a lock: 1, or 0 with an exception. */
static int call(PyObject *method)
{
    PyObject *result = PyObject_CallNoArgs(method);
    Py_XDECREF(result);
    return result != NULL;
}

static PyObject *draw(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 5 && dbrrl_floating(args[0]) >= 0 && PyLong_CheckExact(args[1]));
    PyArrayObject *like = (PyArrayObject *)args[0];
    const filling fill = (filling)PyLong_AsVoidPtr(args[1]);
    void *generator = PyCapsule_GetPointer(args[2], "BitGenerator");
    if (!fill || !generator) return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented);
    PyObject *drawn = PyArray_SimpleNew(PyArray_NDIM(like), PyArray_DIMS(like), PyArray_TYPE(like));
    if (drawn && !call(args[3])) Py_CLEAR(drawn);
    if (!drawn) return NULL;
    fill(generator, PyArray_SIZE((PyArrayObject *)drawn), PyArray_DATA((PyArrayObject *)drawn));
    if (!call(args[4])) Py_CLEAR(drawn);
    return drawn;
}

PyDoc_STRVAR(draw_whole_doc, "draw_whole(n, first, last, fill, generator, acquire, release)\n--\n\n"
                             "Return n whole numbers from `first` to `last`, int64, as the function at the address `fill`\n"
                             "draws them: NumPy's random_bounded_uint64_fill. The rest as in `draw`.");

typedef void (*filling_below)(void *, uint64_t, uint64_t, npy_intp, bool, uint64_t *);

static PyObject *draw_whole(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t n, first, last;
    REFUSE_UNLESS(count == 7 && dbrrl_whole(args[0], &n) && dbrrl_whole(args[1], &first) && dbrrl_whole(args[2], &last));
    REFUSE_UNLESS(n >= 0 && first <= last && PyLong_CheckExact(args[3]));
    const filling_below fill = (filling_below)PyLong_AsVoidPtr(args[3]);
    void *generator = PyCapsule_GetPointer(args[4], "BitGenerator");
    if (!fill || !generator) return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented);
    const npy_intp shape = n;
    PyObject *drawn = PyArray_SimpleNew(1, &shape, NPY_INT64);
    if (drawn && !call(args[5])) Py_CLEAR(drawn);
    if (!drawn) return NULL;
    fill(generator, (uint64_t)first, (uint64_t)last - (uint64_t)first, n, false, PyArray_DATA((PyArrayObject *)drawn));
    if (!call(args[6])) Py_CLEAR(drawn);
    return drawn;
}

PyMethodDef random_methods[] = {FUNCTION(draw), FUNCTION(draw_whole), END_OF_FUNCTIONS};
