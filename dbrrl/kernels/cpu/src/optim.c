/* Kernels of dbrrl/optim: steps of optimizers. */
#include "arrays.h"

#include <math.h>

PyDoc_STRVAR(adam_step_doc, "adam_step(values, g, first, second, scratch, learning_rate, steps, betas, eps)\n--\n\n"
                            "One step of Adam in one pass; NotImplemented for what it does not serve.");

static PyObject *adam_step(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 9 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[4];
    for (int i = 0; i < 4; ++i) {
        a[i] = dbrrl_array(args[i], dbrrl_types[k], i == 1 ? READ : WRITE);
        REFUSE_UNLESS(a[i] && PyArray_NDIM(a[i]) == 1 && PyArray_DIM(a[i], 0) == PyArray_DIM(a[0], 0));
        for (int j = 0; j < i; ++j) REFUSE_UNLESS(PyArray_DATA(a[i]) != PyArray_DATA(a[j]) && !dbrrl_overlap(a[i], a[j]));
    }
    double rate, steps, eps, beta1, beta2;
    REFUSE_UNLESS(PyTuple_Check(args[7]) && PyTuple_Size(args[7]) == 2);
    REFUSE_UNLESS(dbrrl_number(args[5], &rate) && dbrrl_number(args[6], &steps) && dbrrl_number(args[8], &eps));
    REFUSE_UNLESS(dbrrl_number(PyTuple_GetItem(args[7], 0), &beta1) && dbrrl_number(PyTuple_GetItem(args[7], 1), &beta2));
    double power1 = 1 - pow(beta1, steps), power2 = 1 - pow(beta2, steps);
    REFUSE_UNLESS(power1 > 0 && power2 > 0 && beta1 < 1 && beta2 < 1);
    double root = sqrt((1 - beta2) / power2), size = rate * (1 - beta1) / power1;
    double constants[4] = {beta1, beta2, eps / root, size / root};
    ptrdiff_t n = PyArray_DIM(a[0], 0);
    PyThreadState *state = n >= LONG_WORK ? PyEval_SaveThread() : NULL;
    dbrrl->adam[k](n, PyArray_DATA(a[0]), PyArray_DATA(a[1]), PyArray_DATA(a[2]), PyArray_DATA(a[3]), constants);
    if (state) PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

PyMethodDef optim_methods[] = {
    {"adam_step", (PyCFunction)(void (*)(void))adam_step, METH_FASTCALL, adam_step_doc},
    {NULL, NULL, 0, NULL},
};
