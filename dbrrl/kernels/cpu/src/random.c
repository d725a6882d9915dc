/* Random numbers as NumPy draws them, by its own functions, without the call into its Python methods. */
#include "arrays.h"

PyDoc_STRVAR(draw_doc, "draw(like, fill, generator, acquire, release)\n--\n\n"
                       "Return a new array like `like` that the function at the address `fill`, one of NumPy's, has\n"
                       "filled: fill(bitgen_t *, npy_intp, T *). generator: the capsule of a bit generator; acquire and\n"
                       "release: the methods of its lock.");

typedef void (*filling)(void *, npy_intp, void *);

static PyObject *draw(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 5 && dbrrl_floating(args[0]) >= 0 && PyLong_CheckExact(args[1]));
    PyArrayObject *like = (PyArrayObject *)args[0];
    const filling fill = (filling)PyLong_AsVoidPtr(args[1]);
    void *generator = PyCapsule_GetPointer(args[2], "BitGenerator");
    if (!fill || !generator) return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented);
    PyObject *drawn = PyArray_SimpleNew(PyArray_NDIM(like), PyArray_DIMS(like), PyArray_TYPE(like));
    PyObject *locked = drawn ? PyObject_CallNoArgs(args[3]) : NULL;
    if (!locked) {
        Py_XDECREF(drawn);
        return NULL;
    }
    Py_DECREF(locked);
    fill(generator, PyArray_SIZE((PyArrayObject *)drawn), PyArray_DATA((PyArrayObject *)drawn));
    PyObject *released = PyObject_CallNoArgs(args[4]);
    if (!released) Py_CLEAR(drawn);
    Py_XDECREF(released);
    return drawn;
}

PyMethodDef random_methods[] = {FUNCTION(draw), END_OF_FUNCTIONS};
