/* Kernels of dbrrl/returns.py. */
#include "arrays.h"

PyDoc_STRVAR(gae_doc, "gae(reward, value, next_value, terminated, boundary, gamma, lambda_)\n--\n\n"
                      "Advantages (T, B); NotImplemented for what it does not serve.");

static PyObject *gae(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 7 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[5];
    for (int i = 0; i < 5; ++i) {
        a[i] = dbrrl_array(args[i], i < 3 ? dbrrl_types[k] : NPY_BOOL, READ);
        REFUSE_UNLESS(a[i] && PyArray_NDIM(a[i]) == 2 && dbrrl_alike(a[i], a[0]));
    }
    double gamma, lambda;
    REFUSE_UNLESS(dbrrl_number(args[5], &gamma) && dbrrl_number(args[6], &lambda));
    PyObject *advantage = PyArray_SimpleNew(2, PyArray_DIMS(a[0]), dbrrl_types[k]);
    if (!advantage) return NULL;
    BEGIN_LOOP(PyArray_SIZE(a[0]));
    dbrrl->gae[k](PyArray_DIM(a[0], 0), PyArray_DIM(a[0], 1), PyArray_DATA(a[0]), PyArray_DATA(a[1]), PyArray_DATA(a[2]),
                  PyArray_DATA(a[3]), PyArray_DATA(a[4]), gamma, gamma * lambda,
                  PyArray_DATA((PyArrayObject *)advantage));
    END_LOOP;
    return advantage;
}

PyMethodDef returns_methods[] = {FUNCTION(gae), END_OF_FUNCTIONS};
