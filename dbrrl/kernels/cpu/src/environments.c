/* Kernels of dbrrl/envs. The order of roundings is that of the environment's page. */
#include "arrays.h"

#include <math.h>

PyDoc_STRVAR(cartpole_doc, "cartpole(state, action, cos, sin, constants)\n--\n\n"
                           "Step every copy in place; return which episodes ended. constants: NUMBERS and FORCES of\n"
                           "CartPole's page. NotImplemented for what it does not serve.");

enum { GRAVITY, POLE_MOMENT, POLE_MASS, MASS, HALF_LENGTH, FOUR_THIRDS, TIME_STEP, FARTHEST, STEEPEST, LEFT, RIGHT, CONSTANTS };

static PyObject *cartpole(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0);
    PyArrayObject *state = dbrrl_array(args[0], NPY_FLOAT64, WRITE);
    REFUSE_UNLESS(state && PyArray_NDIM(state) == 2 && PyArray_DIM(state, 0) == 4);
    const npy_intp n = PyArray_DIM(state, 1);
    PyArrayObject *action = dbrrl_vector(args[1], NPY_INT64, READ, n), *cos = dbrrl_vector(args[2], NPY_FLOAT64, READ, n);
    PyArrayObject *sin = dbrrl_vector(args[3], NPY_FLOAT64, READ, n);
    PyArrayObject *constants = dbrrl_vector(args[4], NPY_FLOAT64, READ, CONSTANTS);
    REFUSE_UNLESS(action && cos && sin && constants);
    const int64_t *pushed = PyArray_DATA(action);
    for (npy_intp i = 0; i < n; ++i) REFUSE_UNLESS(pushed[i] == 0 || pushed[i] == 1);
    PyObject *result = PyArray_SimpleNew(1, &n, NPY_BOOL);
    if (!result) return NULL;
    uint8_t *ended = PyArray_DATA((PyArrayObject *)result);
    const double *c = PyArray_DATA(constants), *cosine = PyArray_DATA(cos), *sine = PyArray_DATA(sin);
    double *x = PyArray_DATA(state), *x_dot = x + n, *theta = x_dot + n, *theta_dot = theta + n;
    for (npy_intp i = 0; i < n; ++i) {
        const double turn = theta_dot[i], force = c[LEFT + pushed[i]];
        const double push = (force + c[POLE_MOMENT] * (turn * turn) * sine[i]) / c[MASS];
        const double fall = (c[GRAVITY] * sine[i] - cosine[i] * push) /
                            (c[HALF_LENGTH] * (c[FOUR_THIRDS] - c[POLE_MASS] * (cosine[i] * cosine[i]) / c[MASS]));
        x[i] += c[TIME_STEP] * x_dot[i];
        x_dot[i] += c[TIME_STEP] * (push - c[POLE_MOMENT] * fall * cosine[i] / c[MASS]);
        theta[i] += c[TIME_STEP] * turn;
        theta_dot[i] += c[TIME_STEP] * fall;
        ended[i] = fabs(x[i]) > c[FARTHEST] || fabs(theta[i]) > c[STEEPEST];
    }
    return result;
}

PyMethodDef environments_methods[] = {FUNCTION(cartpole), END_OF_FUNCTIONS};
