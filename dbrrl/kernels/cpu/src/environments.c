/* Kernels of dbrrl/envs. The order of roundings is that of the environment's page. */
#include "arrays.h"

#include <math.h>
#include <numpy/ufuncobject.h>

enum { AT_ONCE = 64 }; /* copies whose cosines and sines are kept at a time */

/* The loop of a ufunc of NumPy's from float64 to float64; NULL: `x` has none. A call of the ufunc itself takes as long as a
   step of some copies. */
static PyUFuncGenericFunction loop_of(PyObject *x, void **data)
{
    if (!PyObject_TypeCheck(x, &PyUFunc_Type)) return NULL;
    const PyUFuncObject *ufunc = (PyUFuncObject *)x;
    if (ufunc->nin != 1 || ufunc->nout != 1) return NULL;
    for (int i = 0; i < ufunc->ntypes; ++i)
        if (ufunc->types[2 * i] == NPY_FLOAT64 && ufunc->types[2 * i + 1] == NPY_FLOAT64) {
            *data = ufunc->data ? (void *)ufunc->data[i] : NULL;
            return ufunc->functions[i];
        }
    return NULL;
}

static void call(PyUFuncGenericFunction loop, void *data, npy_intp n, const double *x, double *y)
{
    char *operands[2] = {(char *)x, (char *)y};
    const npy_intp strides[2] = {sizeof(double), sizeof(double)};
    loop(operands, &n, strides, data);
}

PyDoc_STRVAR(cartpole_doc, "cartpole(state, action, cos, sin, constants)\n--\n\n"
                           "Step every copy in place; return which episodes ended. cos and sin: those of NumPy;\n"
                           "constants: NUMBERS and FORCES of CartPole's page. NotImplemented for what it does not serve.");

enum { GRAVITY, POLE_MOMENT, POLE_MASS, MASS, HALF_LENGTH, FOUR_THIRDS, TIME_STEP, FARTHEST, STEEPEST, LEFT, RIGHT, CONSTANTS };

static PyObject *cartpole(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0);
    PyArrayObject *state = dbrrl_array(args[0], NPY_FLOAT64, WRITE);
    REFUSE_UNLESS(state && PyArray_NDIM(state) == 2 && PyArray_DIM(state, 0) == 4);
    if (!PyUFunc_API && _import_umath() < 0) return NULL;
    const npy_intp n = PyArray_DIM(state, 1);
    void *cos_data, *sin_data;
    const PyUFuncGenericFunction cos = loop_of(args[2], &cos_data), sin = loop_of(args[3], &sin_data);
    PyArrayObject *action = dbrrl_vector(args[1], NPY_INT64, READ, n);
    PyArrayObject *constants = dbrrl_vector(args[4], NPY_FLOAT64, READ, CONSTANTS);
    REFUSE_UNLESS(action && cos && sin && constants);
    const int64_t *pushed = PyArray_DATA(action);
    for (npy_intp i = 0; i < n; ++i) REFUSE_UNLESS(pushed[i] == 0 || pushed[i] == 1);
    PyObject *result = PyArray_SimpleNew(1, &n, NPY_BOOL);
    if (!result) return NULL;
    uint8_t *ended = PyArray_DATA((PyArrayObject *)result);
    const double *c = PyArray_DATA(constants);
    double *x = PyArray_DATA(state), *x_dot = x + n, *theta = x_dot + n, *theta_dot = theta + n;
    double cosines[AT_ONCE], sines[AT_ONCE];
    for (npy_intp start = 0; start < n; start += AT_ONCE) {
        const npy_intp count_here = n - start < AT_ONCE ? n - start : AT_ONCE;
        call(cos, cos_data, count_here, theta + start, cosines);
        call(sin, sin_data, count_here, theta + start, sines);
        for (npy_intp j = 0; j < count_here; ++j) {
            const npy_intp i = start + j;
            const double turn = theta_dot[i], force = c[LEFT + pushed[i]];
            const double push = (force + c[POLE_MOMENT] * (turn * turn) * sines[j]) / c[MASS];
            const double fall = (c[GRAVITY] * sines[j] - cosines[j] * push) /
                                (c[HALF_LENGTH] * (c[FOUR_THIRDS] - c[POLE_MASS] * (cosines[j] * cosines[j]) / c[MASS]));
            x[i] += c[TIME_STEP] * x_dot[i];
            x_dot[i] += c[TIME_STEP] * (push - c[POLE_MOMENT] * fall * cosines[j] / c[MASS]);
            theta[i] += c[TIME_STEP] * turn;
            theta_dot[i] += c[TIME_STEP] * fall;
            ended[i] = fabs(x[i]) > c[FARTHEST] || fabs(theta[i]) > c[STEEPEST];
        }
    }
    return result;
}

PyMethodDef environments_methods[] = {FUNCTION(cartpole), END_OF_FUNCTIONS};
