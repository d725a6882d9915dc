/* Kernels of dbrrl/autodiff/conv.py, in float32: patches and products in turn, a few images at a time. */
#include "arrays.h"
#include "blas.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 18 }; /* numbers of patches that are multiplied at a time: they stay in cache */

static int pair(PyObject *x, Py_ssize_t least, ptrdiff_t *down, ptrdiff_t *across)
{
    Py_ssize_t a, b;
    if (!PyTuple_Check(x) || PyTuple_Size(x) != 2) return 0;
    if (!dbrrl_whole(PyTuple_GetItem(x, 0), &a) || !dbrrl_whole(PyTuple_GetItem(x, 1), &b)) return 0;
    *down = a, *across = b;
    return a >= least && b >= least && a < 1 << 20 && b < 1 << 20;
}

/* The sizes of a convolution of images (n, channels, height, width) by kernels (out, channels, kh, kw). */
static int sizes(dbrrl_conv *s, const npy_intp *images, const npy_intp *kernels, PyObject *stride, PyObject *padding)
{
    if (!pair(stride, 1, &s->step_down, &s->step_across) || !pair(padding, 0, &s->pad_down, &s->pad_across)) return 0;
    s->images = images[0], s->channels = images[1], s->height = images[2], s->width = images[3];
    s->out = kernels[0], s->kernel_down = kernels[2], s->kernel_across = kernels[3];
    const ptrdiff_t high = s->height + 2 * s->pad_down - s->kernel_down, wide = s->width + 2 * s->pad_across - s->kernel_across;
    if (kernels[1] != s->channels || high < 0 || wide < 0) return 0;
    s->down = high / s->step_down + 1, s->across = wide / s->step_across + 1;
    s->places = s->down * s->across, s->row = s->kernel_down * s->kernel_across * s->channels;
    s->image = (s->height + 2 * s->pad_down) * (s->width + 2 * s->pad_across) * s->channels;
    if (!s->images || !s->channels || !s->out || !s->row) return 0;
    s->chunk = CHUNK / (s->places * s->row);
    s->chunk = s->chunk < 1 ? 1 : s->chunk > s->images ? s->images : s->chunk;
    return 1;
}

/* A batch of four axes at any strides, of float32 or, with `bytes`, uint8. */
static PyArrayObject *batch(PyObject *x, int *bytes)
{
    *bytes = 0;
    if (!PyArray_CheckExact(x)) return NULL;
    PyArrayObject *a = (PyArrayObject *)x;
    if (PyArray_NDIM(a) != 4 || !PyArray_ISBEHAVED_RO(a)) return NULL;
    *bytes = PyArray_TYPE(a) == NPY_UINT8;
    return *bytes || PyArray_TYPE(a) == NPY_FLOAT32 ? a : NULL;
}

static void set_strides(dbrrl_conv *s, PyArrayObject *x)
{
    s->stride_image = PyArray_STRIDE(x, 0), s->stride_channel = PyArray_STRIDE(x, 1);
    s->stride_row = PyArray_STRIDE(x, 2), s->stride_column = PyArray_STRIDE(x, 3);
}

/* Image i of `x` with channels last and zeros around: its own memory where it is that, else a copy in `room`. */
static const float *image_of(const dbrrl_conv *s, const char *x, int bytes, ptrdiff_t i, float *room)
{
    const ptrdiff_t one = sizeof(float), pixel = s->channels * one;
    const char *from = x + i * s->stride_image;
    if (!bytes && !s->pad_down && !s->pad_across && (s->stride_channel == one || s->channels == 1) &&
        s->stride_column == pixel && s->stride_row == s->width * pixel)
        return (const float *)from;
    dbrrl->channels_last(s, from, bytes, room);
    return room;
}

/* (out, kh kw channels) of w (out, channels, kh, kw). */
static void turn_kernels(const dbrrl_conv *s, const float *w, float *to)
{
    const ptrdiff_t area = s->kernel_down * s->kernel_across;
    for (ptrdiff_t o = 0; o < s->out; ++o, w += s->row, to += s->row)
        for (ptrdiff_t c = 0; c < s->channels; ++c)
            for (ptrdiff_t k = 0; k < area; ++k) to[k * s->channels + c] = w[c * area + k];
}

static void turn_back(const dbrrl_conv *s, const float *from, float *w)
{
    const ptrdiff_t area = s->kernel_down * s->kernel_across;
    for (ptrdiff_t o = 0; o < s->out; ++o, w += s->row, from += s->row)
        for (ptrdiff_t c = 0; c < s->channels; ++c)
            for (ptrdiff_t k = 0; k < area; ++k) w[c * area + k] = from[k * s->channels + c];
}

static float *numbers(ptrdiff_t n)
{
    return malloc((size_t)(n + 1) * sizeof(float));
}

/* Whether `x` is the name of an activation that is served, or None. */
static int activation_of(PyObject *x, int *activation)
{
    *activation = DBRRL_NONE;
    if (Py_IsNone(x)) return 1;
    if (!PyUnicode_Check(x)) return 0;
    const int relu = PyUnicode_CompareWithASCIIString(x, "relu") == 0;
    *activation = relu ? DBRRL_RELU : DBRRL_TANH_AFTER;
    return relu || PyUnicode_CompareWithASCIIString(x, "tanh") == 0;
}

PyDoc_STRVAR(conv_forward_doc, "conv_forward(x, w, b, stride, padding, activation)\n--\n\n"
                               "The convolution with channels last (n, down, across, out), plus b or None, activated by "
                               "\"relu\", \"tanh\" or None; NotImplemented for what it does not serve.");

static PyObject *conv_forward(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    dbrrl_conv s;
    int bytes, activation;
    REFUSE_UNLESS(count == 6 && dbrrl_level >= 0);
    PyArrayObject *x = batch(args[0], &bytes), *w = dbrrl_array(args[1], NPY_FLOAT32, READ), *b = NULL;
    REFUSE_UNLESS(x && w && PyArray_NDIM(w) == 4 && sizes(&s, PyArray_DIMS(x), PyArray_DIMS(w), args[3], args[4]));
    if (!Py_IsNone(args[2])) {
        b = dbrrl_vector(args[2], NPY_FLOAT32, READ, s.out);
        REFUSE_UNLESS(b);
    }
    REFUSE_UNLESS(activation_of(args[5], &activation));
    set_strides(&s, x);
    npy_intp shape[4] = {s.images, s.down, s.across, s.out};
    PyObject *y = PyArray_SimpleNew(4, shape, NPY_FLOAT32);
    const ptrdiff_t patches = s.chunk * s.places * s.row;
    float *room = y ? numbers(patches + s.image + s.out * s.row) : NULL;
    if (room) {
        float *image = room + patches, *matrix = image + s.image, *to = PyArray_DATA((PyArrayObject *)y);
        const char *from = PyArray_BYTES(x);
        BEGIN_LOOP(LONG_WORK);
        turn_kernels(&s, PyArray_DATA(w), matrix);
        for (ptrdiff_t i = 0; i < s.images; i += s.chunk) {
            const ptrdiff_t n = s.images - i < s.chunk ? s.images - i : s.chunk, rows = n * s.places;
            for (ptrdiff_t k = 0; k < n; ++k)
                dbrrl->patches(&s, image_of(&s, from, bytes, i + k, image), room + k * s.places * s.row);
            dbrrl_sgemm(0, 1, rows, s.out, s.row, room, s.row, matrix, s.row, 0, to, s.out);
            if (b || activation) dbrrl->activate(activation, rows, s.out, b ? PyArray_DATA(b) : NULL, to);
            to += rows * s.out;
        }
        END_LOOP;
        free(room);
        return y;
    }
    Py_XDECREF(y);
    return PyErr_NoMemory();
}

PyDoc_STRVAR(conv_weight_doc, "conv_weight(x, g, kernels, stride, padding)\n--\n\n"
                              "The gradient for weights of shape `kernels`, given that of the outputs g (n, out, down, "
                              "across); NotImplemented for what it does not serve.");

/* The four sizes of a tuple. */
static int four(PyObject *x, npy_intp *shape)
{
    if (!PyTuple_Check(x) || PyTuple_Size(x) != 4) return 0;
    for (int i = 0; i < 4; ++i) {
        Py_ssize_t n;
        if (!dbrrl_whole(PyTuple_GetItem(x, i), &n) || n < 1) return 0;
        shape[i] = n;
    }
    return 1;
}

/* Whether `g` (n, out, down, across) has the shape of the outputs; `turned` then says where its numbers are. */
static int is_output(const dbrrl_conv *s, PyArrayObject *g, dbrrl_conv *turned)
{
    const npy_intp shape[4] = {s->images, s->out, s->down, s->across};
    if (!PyArray_CompareLists(PyArray_DIMS(g), shape, 4)) return 0;
    memset(turned, 0, sizeof *turned);
    turned->channels = s->out, turned->height = s->down, turned->width = s->across;
    set_strides(turned, g);
    return 1;
}

/* `n` gradients from number i on, channels last, one after the other. */
static void outputs_of(const dbrrl_conv *turned, const char *g, ptrdiff_t i, ptrdiff_t n, float *to)
{
    const ptrdiff_t size = turned->channels * turned->height * turned->width;
    for (ptrdiff_t k = 0; k < n; ++k, to += size) {
        const float *found = image_of(turned, g, 0, i + k, to);
        if (found != to) memcpy(to, found, (size_t)size * sizeof *to);
    }
}

static PyObject *conv_weight(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    dbrrl_conv s, turned;
    int bytes, wrong;
    npy_intp kernels[4];
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0 && four(args[2], kernels));
    PyArrayObject *x = batch(args[0], &bytes), *g = batch(args[1], &wrong);
    REFUSE_UNLESS(x && g && !wrong && sizes(&s, PyArray_DIMS(x), kernels, args[3], args[4]) && is_output(&s, g, &turned));
    set_strides(&s, x);
    PyObject *y = PyArray_SimpleNew(4, kernels, NPY_FLOAT32);
    const ptrdiff_t patches = s.chunk * s.places * s.row, gradients = s.chunk * s.places * s.out;
    float *room = y ? numbers(patches + s.image + gradients + s.out * s.row) : NULL;
    if (room) {
        float *image = room + patches, *gradient = image + s.image, *sum = gradient + gradients;
        BEGIN_LOOP(LONG_WORK);
        for (ptrdiff_t i = 0; i < s.images; i += s.chunk) {
            const ptrdiff_t n = s.images - i < s.chunk ? s.images - i : s.chunk, rows = n * s.places;
            for (ptrdiff_t k = 0; k < n; ++k)
                dbrrl->patches(&s, image_of(&s, PyArray_BYTES(x), bytes, i + k, image), room + k * s.places * s.row);
            outputs_of(&turned, PyArray_BYTES(g), i, n, gradient);
            dbrrl_sgemm(1, 0, s.out, s.row, rows, gradient, s.out, room, s.row, i ? 1 : 0, sum, s.row);
        }
        turn_back(&s, sum, PyArray_DATA((PyArrayObject *)y));
        END_LOOP;
        free(room);
        return y;
    }
    Py_XDECREF(y);
    return PyErr_NoMemory();
}

PyDoc_STRVAR(conv_input_doc, "conv_input(g, w, images, stride, padding)\n--\n\n"
                             "The gradient for images of shape `images`, with channels last and the padding around them; "
                             "NotImplemented for what it does not serve.");

static PyObject *conv_input(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    dbrrl_conv s, turned;
    int wrong;
    npy_intp images[4];
    REFUSE_UNLESS(count == 5 && dbrrl_level >= 0 && four(args[2], images));
    PyArrayObject *g = batch(args[0], &wrong), *w = dbrrl_array(args[1], NPY_FLOAT32, READ);
    REFUSE_UNLESS(g && !wrong && w && PyArray_NDIM(w) == 4 && sizes(&s, images, PyArray_DIMS(w), args[3], args[4]));
    REFUSE_UNLESS(is_output(&s, g, &turned));
    npy_intp shape[4] = {s.images, s.height + 2 * s.pad_down, s.width + 2 * s.pad_across, s.channels};
    PyObject *y = PyArray_ZEROS(4, shape, NPY_FLOAT32, 0);
    const ptrdiff_t patches = s.chunk * s.places * s.row, gradients = s.chunk * s.places * s.out;
    float *room = y ? numbers(patches + gradients + s.out * s.row) : NULL;
    if (room) {
        float *gradient = room + patches, *matrix = gradient + gradients, *to = PyArray_DATA((PyArrayObject *)y);
        BEGIN_LOOP(LONG_WORK);
        turn_kernels(&s, PyArray_DATA(w), matrix);
        for (ptrdiff_t i = 0; i < s.images; i += s.chunk) {
            const ptrdiff_t n = s.images - i < s.chunk ? s.images - i : s.chunk, rows = n * s.places;
            outputs_of(&turned, PyArray_BYTES(g), i, n, gradient);
            dbrrl_sgemm(0, 0, rows, s.row, s.out, gradient, s.out, matrix, s.row, 0, room, s.row);
            for (ptrdiff_t k = 0; k < n; ++k, to += s.image) dbrrl->scatter(&s, room + k * s.places * s.row, to);
        }
        END_LOOP;
        free(room);
        return y;
    }
    Py_XDECREF(y);
    return PyErr_NoMemory();
}

PyDoc_STRVAR(conv_gradient_doc, "conv_gradient(g, y, activation)\n--\n\n"
                                "The gradient before the activation, with channels last (n, down, across, out), and its "
                                "sums (out,), given g and y (n, out, down, across); NotImplemented for what it does not "
                                "serve.");

static PyObject *conv_gradient(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    int wrong, activation;
    REFUSE_UNLESS(count == 3 && dbrrl_level >= 0 && activation_of(args[2], &activation));
    PyArrayObject *g = batch(args[0], &wrong), *y;
    REFUSE_UNLESS(g && !wrong);
    y = batch(args[1], &wrong);
    REFUSE_UNLESS(y && !wrong && dbrrl_alike(g, y) && PyArray_SIZE(y));
    dbrrl_conv s, of_y;
    memset(&s, 0, sizeof s);
    s.images = PyArray_DIM(g, 0), s.channels = PyArray_DIM(g, 1), s.height = PyArray_DIM(g, 2), s.width = PyArray_DIM(g, 3);
    of_y = s;
    set_strides(&s, g);
    set_strides(&of_y, y);
    npy_intp shape[4] = {s.images, s.height, s.width, s.channels};
    PyObject *found = PyArray_SimpleNew(4, shape, NPY_FLOAT32), *sums = PyArray_ZEROS(1, &shape[3], NPY_FLOAT64, 0);
    const ptrdiff_t places = s.height * s.width, size = places * s.channels;
    float *room = found && sums ? numbers(size + s.channels) : NULL;
    if (room) {
        float *to = PyArray_DATA((PyArrayObject *)found);
        double *total = PyArray_DATA((PyArrayObject *)sums);
        BEGIN_LOOP(PyArray_SIZE(g));
        for (ptrdiff_t i = 0; i < s.images; ++i, to += size) {
            const float *after = image_of(&of_y, PyArray_BYTES(y), 0, i, room);
            const float *from = image_of(&s, PyArray_BYTES(g), 0, i, to); /* which may be `to`: each is read, then written */
            memset(room + size, 0, (size_t)s.channels * sizeof *room);
            dbrrl->gradient(activation, places, s.channels, from, after, to, room + size);
            for (ptrdiff_t c = 0; c < s.channels; ++c) total[c] += (double)room[size + c];
        }
        END_LOOP;
        free(room);
        return Py_BuildValue("(NN)", found, sums);
    }
    Py_XDECREF(found);
    Py_XDECREF(sums);
    return PyErr_NoMemory();
}

PyMethodDef conv_methods[] = {
    FUNCTION(conv_forward), FUNCTION(conv_weight), FUNCTION(conv_input), FUNCTION(conv_gradient), END_OF_FUNCTIONS,
};
