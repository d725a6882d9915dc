/* Kernels of dbrrl/autodiff/lstm.py and recurrent.py: whole sequences, forwards and backwards, in float32. */
#include "arrays.h"
#include "blas.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    ptrdiff_t steps, batch, inputs, size, gates; /* `gates`: of the weights, 4 for LSTM and 3 for GRU */
    const float *x, *w_ih, *w_hh, *h, *c, *bias_ih, *bias_hh;
    const npy_bool *keep, *alive; /* (steps, batch), or NULL where all are true */
} sequence;

static const float *floats(PyObject *x, int ndim, ptrdiff_t a, ptrdiff_t b, ptrdiff_t c)
{
    const ptrdiff_t shape[3] = {a, b, c};
    PyArrayObject *array = dbrrl_array(x, NPY_FLOAT32, READ);
    if (!array || PyArray_NDIM(array) != ndim) return NULL;
    for (int i = 0; i < ndim; ++i)
        if (PyArray_DIM(array, i) != shape[i]) return NULL;
    return PyArray_DATA(array);
}

/* The booleans (steps, batch) behind `x`, NULL for None; false where it is anything else. */
static int mask(PyObject *x, ptrdiff_t steps, ptrdiff_t batch, const npy_bool **found)
{
    *found = NULL;
    if (Py_IsNone(x)) return 1;
    PyArrayObject *array = dbrrl_array(x, NPY_BOOL, READ);
    if (!array || PyArray_NDIM(array) != 2 || PyArray_DIM(array, 0) != steps || PyArray_DIM(array, 1) != batch) return 0;
    *found = PyArray_DATA(array);
    return 1;
}

/* x, w_ih, w_hh, h, c or None, b_ih or None, b_hh or None, keep or None, alive or None. */
static int read_sequence(PyObject *const *args, int gates, sequence *s)
{
    PyArrayObject *x = dbrrl_array(args[0], NPY_FLOAT32, READ), *h = dbrrl_array(args[3], NPY_FLOAT32, READ);
    if (!x || !h || PyArray_NDIM(x) != 3 || PyArray_NDIM(h) != 2) return 0;
    s->gates = gates;
    s->steps = PyArray_DIM(x, 0), s->batch = PyArray_DIM(x, 1), s->inputs = PyArray_DIM(x, 2), s->size = PyArray_DIM(h, 1);
    if (s->steps < 1 || s->batch < 1 || s->inputs < 1 || s->size < 1) return 0;
    s->x = PyArray_DATA(x);
    s->w_ih = floats(args[1], 2, gates * s->size, s->inputs, 0);
    s->w_hh = floats(args[2], 2, gates * s->size, s->size, 0);
    s->h = floats(args[3], 2, s->batch, s->size, 0);
    s->c = gates == 4 ? floats(args[4], 2, s->batch, s->size, 0) : NULL;
    if (!s->w_ih || !s->w_hh || !s->h || (gates == 4 && !s->c)) return 0;
    s->bias_ih = s->bias_hh = NULL;
    if (!Py_IsNone(args[5])) {
        s->bias_ih = floats(args[5], 1, gates * s->size, 0, 0);
        s->bias_hh = floats(args[6], 1, gates * s->size, 0, 0);
        if (!s->bias_ih || !s->bias_hh) return 0;
    }
    return mask(args[7], s->steps, s->batch, &s->keep) && mask(args[8], s->steps, s->batch, &s->alive);
}

static int all_true(const npy_bool *row, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; ++i)
        if (!row[i]) return 0;
    return 1;
}

/* Rows of `x` times what is true, as numbers: NaN stays. */
static void masked(float *to, const float *x, const npy_bool *truth, ptrdiff_t batch, ptrdiff_t size)
{
    for (ptrdiff_t b = 0; b < batch; ++b)
        for (ptrdiff_t j = 0; j < size; ++j) to[b * size + j] = x[b * size + j] * (float)(truth[b] != 0);
}

enum { FEW_STEPS = 2 }; /* up to which turning the weights costs more than it saves */

/* y (columns, rows) of x (rows, columns), in blocks that stay in cache. */
static void turn(const float *x, ptrdiff_t rows, ptrdiff_t columns, float *y)
{
    enum { BLOCK = 16 };
    for (ptrdiff_t i = 0; i < rows; i += BLOCK)
        for (ptrdiff_t j = 0; j < columns; ++j)
            for (ptrdiff_t k = i; k < rows && k < i + BLOCK; ++k) y[j * rows + k] = x[k * columns + j];
}

/* All steps forwards. `y` (steps + parts, batch, size); `gates` (steps, batch, 4, size); `cells` (steps, batch, size) is
   c after each step, for LSTM alone. `room` has 5 floats for each of a step's numbers, and the biases; `turned` has those
   of w_hh, or is NULL: a product by a matrix that must be turned takes several times as long. */
static void forwards(const sequence *s, float *y, float *gates, float *cells, float *room, float *turned)
{
    const ptrdiff_t batch = s->batch, size = s->size, one = batch * size, rows = s->gates * size;
    const int lstm = s->gates == 4;
    float *h = room, *c = room + one, *recurrent = room + 2 * one, *bias = recurrent + 3 * one, *bias_h = bias + rows;
    for (ptrdiff_t j = 0; j < rows; ++j) {
        bias[j] = s->bias_ih ? s->bias_ih[j] + (lstm ? s->bias_hh[j] : 0) : 0;
        bias_h[j] = s->bias_hh ? s->bias_hh[j] : 0;
    }
    float *input = gates; /* GRU's has room of its own behind the biases: its three gates do not fill the four slots */
    if (!lstm) input = bias_h + rows;
    dbrrl_sgemm(0, 1, s->steps * batch, rows, s->inputs, s->x, s->inputs, s->w_ih, s->inputs, 0, input, rows);
    const float *h_before = s->h, *c_before = s->c, *w = turned ? turned : s->w_hh;
    const ptrdiff_t distance = turned ? rows : size;
    if (turned) turn(s->w_hh, rows, size, turned);
    for (ptrdiff_t t = 0; t < s->steps; ++t) {
        const npy_bool *keep = s->keep ? s->keep + t * batch : NULL, *alive = s->alive ? s->alive + t * batch : NULL;
        float *step = gates + t * 4 * one, *after = y + t * one, *cell = cells ? cells + t * one : NULL;
        if (keep && !all_true(keep, batch)) {
            masked(h, h_before, keep, batch, size);
            h_before = h;
            if (lstm) {
                masked(c, c_before, keep, batch, size);
                c_before = c;
            }
        }
        if (lstm) {
            dbrrl_sgemm(0, !turned, batch, rows, size, h_before, size, w, distance, 1, step, rows);
            dbrrl->lstm_cell(batch, size, step, bias, c_before, cell, after);
        } else {
            dbrrl_sgemm(0, !turned, batch, rows, size, h_before, size, w, distance, 0, recurrent, rows);
            dbrrl->gru_cell(batch, size, input + t * 3 * one, recurrent, bias, bias_h, h_before, step, after);
        }
        if (alive && !all_true(alive, batch)) {
            for (ptrdiff_t b = 0; b < batch; ++b) {
                const size_t row = (size_t)size * sizeof *h;
                float *state = h + b * size;
                if (alive[b]) {
                    memcpy(state, after + b * size, row);
                } else {
                    memmove(state, h_before + b * size, row);
                    if (lstm) memmove(cell + b * size, c_before + b * size, row);
                }
            }
            masked(after, after, alive, batch, size);
            h_before = h;
        } else {
            h_before = after;
        }
        c_before = cell;
    }
    memcpy(y + s->steps * one, h_before, (size_t)one * sizeof *y);
    if (lstm) memcpy(y + (s->steps + 1) * one, c_before, (size_t)one * sizeof *y);
}

static PyObject *run_forwards(PyObject *const *args, Py_ssize_t count, int number_of_gates)
{
    sequence s;
    REFUSE_UNLESS(count == 9 && dbrrl_level >= 0 && read_sequence(args, number_of_gates, &s));
    const int lstm = number_of_gates == 4;
    npy_intp output[3] = {s.steps + 1 + lstm, s.batch, s.size}, all[4] = {s.steps, s.batch, 4, s.size};
    npy_intp state[3] = {s.steps, s.batch, s.size};
    PyObject *y = PyArray_SimpleNew(3, output, NPY_FLOAT32), *gates = PyArray_SimpleNew(4, all, NPY_FLOAT32);
    PyObject *cells = lstm ? PyArray_SimpleNew(3, state, NPY_FLOAT32) : Py_NewRef(Py_None);
    const size_t own = lstm ? 0 : (size_t)(s.steps * s.batch * 3 * s.size);
    float *room = malloc(((size_t)(5 * s.batch * s.size + 8 * s.size) + own) * sizeof *room);
    const size_t weights = (size_t)(s.gates * s.size * s.size);
    float *turned = s.steps > FEW_STEPS ? malloc(weights * sizeof *turned) : NULL;
    const int ok = y && gates && cells && room && (turned || s.steps <= FEW_STEPS);
    if (ok) {
        float *cell = lstm ? PyArray_DATA((PyArrayObject *)cells) : NULL;
        BEGIN_LOOP(LONG_WORK);
        forwards(&s, PyArray_DATA((PyArrayObject *)y), PyArray_DATA((PyArrayObject *)gates), cell, room, turned);
        END_LOOP;
    }
    free(room);
    free(turned);
    if (ok) return Py_BuildValue("(NNN)", y, gates, cells);
    Py_XDECREF(y);
    Py_XDECREF(gates);
    Py_XDECREF(cells);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

PyDoc_STRVAR(lstm_forward_doc,
             "lstm_forward(x, w_ih, w_hh, h, c, bias_ih, bias_hh, keep, alive)\n--\n\n"
             "Outputs and last state (T + 2, B, H), gates (T, B, 4, H) and cells (T, B, H); NotImplemented for what it "
             "does not serve.");

static PyObject *lstm_forward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_forwards(args, count, 4);
}

PyDoc_STRVAR(gru_forward_doc,
             "gru_forward(x, w_ih, w_hh, h, None, bias_ih, bias_hh, keep, alive)\n--\n\n"
             "Outputs and last state (T + 1, B, H), gates r, z, n and v (T, B, 4, H) and None; NotImplemented for what it "
             "does not serve.");

static PyObject *gru_forward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_forwards(args, count, 3);
}

/* All steps backwards: `d` (steps, batch, 4 size) is filled, `dh` and `dc` become the gradients of the first state. */
static void backwards(const sequence *s, const float *g, const float *before, const float *gates, const float *cells,
                     float *d, float *dh, float *dc, float *room)
{
    const ptrdiff_t batch = s->batch, size = s->size, one = batch * size, rows = s->gates * size;
    const int lstm = s->gates == 4;
    float *past_h = room, *past_c = room + one, *c = room + 2 * one;
    for (ptrdiff_t t = s->steps - 1; t >= 0; --t) {
        const npy_bool *keep = s->keep ? s->keep + t * batch : NULL, *alive = s->alive ? s->alive + t * batch : NULL;
        const float *arriving = g + t * one, *step = gates + t * 4 * one;
        float *to = d + t * 4 * one;
        if (keep && all_true(keep, batch)) keep = NULL;
        if (alive && all_true(alive, batch)) alive = NULL;
        for (ptrdiff_t b = 0; b < batch; ++b)
            for (ptrdiff_t j = b * size; j < (b + 1) * size; ++j) {
                if (alive) {
                    const float on = (float)(alive[b] != 0);
                    past_h[j] = dh[j] * (1 - on);
                    dh[j] = dh[j] * on + arriving[j] * on;
                    if (lstm) past_c[j] = dc[j] * (1 - on), dc[j] *= on;
                } else {
                    dh[j] += arriving[j];
                }
            }
        if (lstm) {
            const float *c_before = t ? cells + (t - 1) * one : s->c;
            if (keep) {
                masked(c, c_before, keep, batch, size);
                c_before = c;
            }
            dbrrl->lstm_back(batch, size, step, c_before, cells + t * one, dh, dc, to);
            dbrrl_sgemm(0, 0, batch, size, rows, to, 4 * size, s->w_hh, size, 0, dh, size);
        } else {
            dbrrl->gru_back(batch, size, step, before + t * one, dh, to);
            dbrrl_sgemm(0, 0, batch, size, rows, to + size, 4 * size, s->w_hh, size, 1, dh, size);
        }
        if (alive)
            for (ptrdiff_t j = 0; j < one; ++j) {
                dh[j] += past_h[j];
                if (lstm) dc[j] += past_c[j];
            }
        if (keep) {
            masked(dh, dh, keep, batch, size);
            if (lstm) masked(dc, dc, keep, batch, size);
        }
    }
}

static PyObject *run_backwards(PyObject *const *args, Py_ssize_t count, int number_of_gates)
{
    sequence s;
    const int lstm = number_of_gates == 4;
    REFUSE_UNLESS(count == 14 && dbrrl_level >= 0 && read_sequence(args, number_of_gates, &s));
    const float *g = floats(args[9], 3, s.steps + 1 + lstm, s.batch, s.size);
    const float *before = floats(args[10], 3, s.steps, s.batch, s.size);
    PyArrayObject *gates = dbrrl_array(args[11], NPY_FLOAT32, READ);
    const float *cells = lstm ? floats(args[12], 3, s.steps, s.batch, s.size) : NULL;
    PyArrayObject *d = dbrrl_array(args[13], NPY_FLOAT32, WRITE);
    REFUSE_UNLESS(g && before && gates && d && (!lstm || cells));
    REFUSE_UNLESS(PyArray_SIZE(gates) == s.steps * s.batch * 4 * s.size && PyArray_SIZE(d) == PyArray_SIZE(gates));
    const ptrdiff_t one = s.batch * s.size;
    npy_intp shape[2] = {s.batch, s.size};
    PyObject *dh = PyArray_SimpleNew(2, shape, NPY_FLOAT32), *dc = lstm ? PyArray_SimpleNew(2, shape, NPY_FLOAT32) : NULL;
    float *room = malloc((size_t)(3 * one) * sizeof *room);
    const int ok = dh && (dc || !lstm) && room;
    if (ok) {
        float *flow_h = PyArray_DATA((PyArrayObject *)dh), *flow_c = lstm ? PyArray_DATA((PyArrayObject *)dc) : NULL;
        memcpy(flow_h, g + s.steps * one, (size_t)one * sizeof *flow_h);
        if (lstm) memcpy(flow_c, g + (s.steps + 1) * one, (size_t)one * sizeof *flow_c);
        BEGIN_LOOP(LONG_WORK);
        backwards(&s, g, before, PyArray_DATA(gates), cells, PyArray_DATA(d), flow_h, flow_c, room);
        END_LOOP;
    }
    free(room);
    if (ok) return lstm ? Py_BuildValue("(NN)", dh, dc) : Py_BuildValue("(N)", dh);
    Py_XDECREF(dh);
    Py_XDECREF(dc);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

PyDoc_STRVAR(lstm_backward_doc,
             "lstm_backward(x, w_ih, w_hh, h, c, bias_ih, bias_hh, keep, alive, g, before, gates, cells, d)\n--\n\n"
             "The gradients of the first h and c, those of the gates being written to d; NotImplemented for what it does "
             "not serve.");

static PyObject *lstm_backward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_backwards(args, count, 4);
}

PyDoc_STRVAR(gru_backward_doc,
             "gru_backward(x, w_ih, w_hh, h, None, bias_ih, bias_hh, keep, alive, g, before, gates, None, d)\n--\n\n"
             "The gradient of the first h, those of the slots being written to d; NotImplemented for what it does not "
             "serve.");

static PyObject *gru_backward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return run_backwards(args, count, 3);
}

PyDoc_STRVAR(apply_doc, "apply(name, x, y)\n--\n\nWrite \"exp\", \"tanh\" or \"sigmoid\" of x to y, both float32; "
                        "NotImplemented for what it does not serve.");

static PyObject *apply(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static const char *const known[] = {"exp", "tanh", "sigmoid"};
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0 && PyUnicode_Check(args[0]));
    PyArrayObject *x = dbrrl_array(args[1], NPY_FLOAT32, READ), *y = dbrrl_array(args[2], NPY_FLOAT32, WRITE);
    REFUSE_UNLESS(x && y && dbrrl_alike(x, y) && !dbrrl_overlap(x, y));
    for (int i = 0; i < 3; ++i)
        if (PyUnicode_CompareWithASCIIString(args[0], known[i]) == 0) {
            dbrrl->apply(i, PyArray_SIZE(x), PyArray_DATA(x), PyArray_DATA(y));
            Py_RETURN_NONE;
        }
    REFUSE;
}

PyDoc_STRVAR(product_doc, "product(a, b, c, transpose_a, transpose_b, beta)\n--\n\n"
                          "c = op(a) op(b) + beta c as programs compute it; NotImplemented for what it does not serve.");

static PyObject *product(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count == 6 && dbrrl_level >= 0);
    int k = dbrrl_floating(args[0]);
    REFUSE_UNLESS(k >= 0);
    PyArrayObject *a = dbrrl_array(args[0], dbrrl_types[k], READ), *b = dbrrl_array(args[1], dbrrl_types[k], READ);
    PyArrayObject *c = dbrrl_array(args[2], dbrrl_types[k], WRITE);
    double beta;
    REFUSE_UNLESS(a && b && c && PyArray_NDIM(a) == 2 && PyArray_NDIM(b) == 2 && PyArray_NDIM(c) == 2);
    REFUSE_UNLESS(PyBool_Check(args[3]) && PyBool_Check(args[4]) && dbrrl_number(args[5], &beta));
    const int ta = args[3] == Py_True, tb = args[4] == Py_True;
    const ptrdiff_t m = PyArray_DIM(a, ta), n = PyArray_DIM(b, !tb), inner = PyArray_DIM(a, !ta);
    REFUSE_UNLESS(PyArray_DIM(b, tb) == inner && PyArray_DIM(c, 0) == m && PyArray_DIM(c, 1) == n && m && n && inner);
    REFUSE_UNLESS(PyArray_DATA(c) != PyArray_DATA(a) && PyArray_DATA(c) != PyArray_DATA(b));
    REFUSE_UNLESS(!dbrrl_overlap(a, c) && !dbrrl_overlap(b, c));
    BEGIN_LOOP(m * n * inner);
    if (k)
        dbrrl_dgemm(ta, tb, m, n, inner, PyArray_DATA(a), ta ? m : inner, PyArray_DATA(b), tb ? inner : n, beta,
                    PyArray_DATA(c), n);
    else
        dbrrl_sgemm(ta, tb, m, n, inner, PyArray_DATA(a), ta ? m : inner, PyArray_DATA(b), tb ? inner : n, (float)beta,
                    PyArray_DATA(c), n);
    END_LOOP;
    Py_RETURN_NONE;
}

PyMethodDef recurrent_methods[] = {
    FUNCTION(lstm_forward), FUNCTION(lstm_backward), FUNCTION(gru_forward), FUNCTION(gru_backward),
    FUNCTION(apply),        FUNCTION(product),       END_OF_FUNCTIONS,
};
