/* Kernels of dbrrl/optim and of target networks: steps over vectors of parameters. */
#include "arrays.h"

#include <math.h>

/* The data of vectors of the same length and type, apart from each other in memory: values, the gradient, which is only
   read, and moments, each of which may be None. False where one is anything else. */
static int take_vectors(PyObject *const *args, int count, int k, PyArrayObject **a, void **data)
{
    for (int i = 0; i < count; ++i) {
        a[i] = NULL;
        if (i >= 2 && Py_IsNone(args[i])) continue;
        a[i] = dbrrl_array(args[i], dbrrl_types[k], i == 1 ? READ : WRITE);
        if (!a[i] || PyArray_NDIM(a[i]) != 1 || PyArray_DIM(a[i], 0) != PyArray_DIM(a[0], 0)) return 0;
        for (int j = 0; j < i; ++j)
            if (a[j] && (PyArray_DATA(a[i]) == PyArray_DATA(a[j]) || dbrrl_overlap(a[i], a[j]))) return 0;
        data[i] = PyArray_DATA(a[i]);
    }
    return 1;
}

PyDoc_STRVAR(adam_step_doc, "adam_step(values, g, first, second, scratch, learning_rate, steps, betas, eps)\n--\n\n"
                            "One step of Adam in one pass; NotImplemented for what it does not serve.");

static PyObject *adam_step(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 9 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[4];
    void *data[4] = {NULL};
    REFUSE_UNLESS(take_vectors(args, 4, k, a, data) && data[2] && data[3]);
    double rate, steps, eps, beta1, beta2;
    REFUSE_UNLESS(PyTuple_Check(args[7]) && PyTuple_Size(args[7]) == 2);
    REFUSE_UNLESS(dbrrl_number(args[5], &rate) && dbrrl_number(args[6], &steps) && dbrrl_number(args[8], &eps));
    REFUSE_UNLESS(dbrrl_number(PyTuple_GetItem(args[7], 0), &beta1) && dbrrl_number(PyTuple_GetItem(args[7], 1), &beta2));
    double power1 = 1 - pow(beta1, steps), power2 = 1 - pow(beta2, steps);
    REFUSE_UNLESS(power1 > 0 && power2 > 0 && beta1 < 1 && beta2 < 1);
    double root = sqrt((1 - beta2) / power2), size = rate * (1 - beta1) / power1;
    double constants[4] = {beta1, beta2, eps / root, size / root};
    ptrdiff_t n = PyArray_DIM(a[0], 0);
    BEGIN_LOOP(n);
    dbrrl->adam[k](n, data[0], data[1], data[2], data[3], constants);
    END_LOOP;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(rmsprop_step_doc,
             "rmsprop_step(values, g, mean_square, mean, velocity, scratch, learning_rate, alpha, eps, eps_inside_root, "
             "momentum)\n--\n\nOne step of RMSprop in one pass; NotImplemented for what it does not serve.");

static PyObject *rmsprop_step(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 11 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[5];
    void *data[5] = {NULL};
    REFUSE_UNLESS(take_vectors(args, 5, k, a, data));
    double constants[4]; /* learning rate, alpha, eps, momentum */
    REFUSE_UNLESS(dbrrl_number(args[6], &constants[0]) && dbrrl_number(args[7], &constants[1]));
    REFUSE_UNLESS(dbrrl_number(args[8], &constants[2]) && dbrrl_number(args[10], &constants[3]));
    REFUSE_UNLESS(PyBool_Check(args[9]) && data[2] && (data[4] != NULL) == (constants[3] != 0));
    ptrdiff_t n = PyArray_DIM(a[0], 0);
    BEGIN_LOOP(n);
    dbrrl->rmsprop[k](n, data[0], data[1], data[2], data[3], data[4], constants, args[9] == Py_True);
    END_LOOP;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(sgd_step_doc, "sgd_step(values, g, velocity, scratch, learning_rate, momentum, nesterov)\n--\n\n"
                           "One step of SGD in one pass; NotImplemented for what it does not serve.");

static PyObject *sgd_step(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 7 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[3];
    void *data[3] = {NULL};
    REFUSE_UNLESS(take_vectors(args, 3, k, a, data));
    double learning_rate, momentum;
    REFUSE_UNLESS(dbrrl_number(args[4], &learning_rate) && dbrrl_number(args[5], &momentum));
    REFUSE_UNLESS(PyBool_Check(args[6]) && (data[2] != NULL) == (momentum != 0));
    ptrdiff_t n = PyArray_DIM(a[0], 0);
    BEGIN_LOOP(n);
    dbrrl->sgd[k](n, data[0], data[1], data[2], momentum, learning_rate, args[6] == Py_True);
    END_LOOP;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(approach_doc, "approach(values, goal, tau)\n--\n\n"
                           "Move values towards others in one pass; NotImplemented for what it does not serve.");

static PyObject *approach(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a[2];
    void *data[2] = {NULL};
    double tau;
    REFUSE_UNLESS(take_vectors(args, 2, k, a, data) && dbrrl_number(args[2], &tau));
    ptrdiff_t n = PyArray_DIM(a[0], 0);
    BEGIN_LOOP(n);
    dbrrl->approach[k](n, data[0], data[1], tau);
    END_LOOP;
    Py_RETURN_NONE;
}

PyMethodDef optim_methods[] = {
    FUNCTION(adam_step),
    FUNCTION(rmsprop_step),
    FUNCTION(sgd_step),
    FUNCTION(approach),
    END_OF_FUNCTIONS,
};
