/* Memory of large arrays, kept for the next ones: an operating system clears each page that it hands out, which takes as
   long as computing with it. Only arrays that are made inside `pooled` have it; NumPy's other arrays are as they were. */
#include "arrays.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, SLOTS = 32, SMALLEST = 1 << 17, MOST = 1 << 26 }; /* bytes: of a block that is kept, and of all */

typedef struct {
    void *start; /* what malloc gave */
    size_t size; /* bytes after the head */
} head;

static struct {
    char *blocks[SLOTS];
    int count;
    size_t size;
} pool;

static head *head_of(void *block)
{
    return (head *)((char *)block - ALIGNMENT);
}

static void *new_block(size_t size)
{
    if (size > SIZE_MAX - 2 * ALIGNMENT) return NULL;
    char *start = malloc(size + 2 * ALIGNMENT);
    if (!start) return NULL;
    char *block = start + 2 * ALIGNMENT - (uintptr_t)start % ALIGNMENT;
    head_of(block)->start = start;
    head_of(block)->size = size;
    return block;
}

/* The smallest block that is kept and holds `size` bytes, unless it is twice as large; else a new one. */
static void *take(void *unused, size_t size)
{
    int best = -1;
    for (int i = 0; i < pool.count && size >= SMALLEST; ++i) {
        const size_t has = head_of(pool.blocks[i])->size;
        if (has >= size && has / 2 <= size && (best < 0 || has < head_of(pool.blocks[best])->size)) best = i;
    }
    if (best < 0) return new_block(size);
    char *block = pool.blocks[best];
    pool.size -= head_of(block)->size;
    pool.blocks[best] = pool.blocks[--pool.count];
    return block;
}

static void give_back(void *unused, void *block, size_t unused_size)
{
    if (!block) return;
    const size_t size = head_of(block)->size;
    if (size < SMALLEST || size > MOST - pool.size || pool.count == SLOTS) {
        free(head_of(block)->start);
        return;
    }
    pool.blocks[pool.count++] = block;
    pool.size += size;
}

static void *take_zeros(void *context, size_t many, size_t each)
{
    if (each && many > SIZE_MAX / each) return NULL;
    void *block = take(context, many * each);
    return block ? memset(block, 0, many * each) : NULL;
}

static void *resize(void *context, void *block, size_t size)
{
    void *other = take(context, size);
    if (!other || !block) return other;
    const size_t had = head_of(block)->size;
    memcpy(other, block, had < size ? had : size);
    give_back(context, block, had);
    return other;
}

static PyDataMem_Handler handler = {"dbrrl", 1, {NULL, take, take_zeros, resize, give_back}};

/* Let new arrays have memory of the pool; returns what they had before, for PyDataMem_SetHandler, or NULL. */
static PyObject *begin(void)
{
    PyObject *ours = PyCapsule_New(&handler, "mem_handler", NULL);
    PyObject *before = ours ? PyDataMem_SetHandler(ours) : NULL;
    Py_XDECREF(ours);
    return before;
}

PyObject *dbrrl_new_array(PyArray_Descr *type, int ndim, npy_intp *shape, size_t size)
{
    PyObject *before = size < SMALLEST ? NULL : begin();
    if (!before && size >= SMALLEST) return Py_DECREF((PyObject *)type), NULL;
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, type, ndim, shape, NULL, NULL, 0, NULL);
    if (before) {
        PyObject *after = PyDataMem_SetHandler(before);
        Py_DECREF(before);
        if (!after) Py_CLEAR(array);
        Py_XDECREF(after);
    }
    return array;
}

PyDoc_STRVAR(pooled_doc, "pooled(function, *arguments)\n--\n\n"
                         "Call a function whose new arrays have memory of the pool, and give it back to the pool.");

static PyObject *pooled(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    REFUSE_UNLESS(count >= 1);
    PyObject *before = begin();
    if (!before) return NULL;
    PyObject *arguments = PyTuple_New(count - 1);
    for (Py_ssize_t i = 1; arguments && i < count; ++i) PyTuple_SetItem(arguments, i - 1, Py_NewRef(args[i]));
    PyObject *result = arguments ? PyObject_Call(args[0], arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    PyObject *type, *value, *trace; /* of the function's error, which is not to be lost */
    PyErr_Fetch(&type, &value, &trace);
    PyObject *after = PyDataMem_SetHandler(before);
    Py_DECREF(before);
    if (!after) Py_CLEAR(result);
    Py_XDECREF(after);
    if (type) PyErr_Restore(type, value, trace);
    return result;
}

PyDoc_STRVAR(pool_doc, "pool()\n--\n\nHow many blocks the pool keeps, and their bytes in all.");

static PyObject *pool_kept(PyObject *module, PyObject *unused)
{
    return Py_BuildValue("(in)", pool.count, (Py_ssize_t)pool.size);
}

PyDoc_STRVAR(empty_pool_doc, "empty_pool()\n--\n\nGive what the pool keeps back to the operating system.");

static PyObject *empty_pool(PyObject *module, PyObject *unused)
{
    while (pool.count) free(head_of(pool.blocks[--pool.count])->start);
    pool.size = 0;
    Py_RETURN_NONE;
}

PyMethodDef memory_methods[] = {
    FUNCTION(pooled),
    {"pool", pool_kept, METH_NOARGS, pool_doc},
    {"empty_pool", empty_pool, METH_NOARGS, empty_pool_doc},
    END_OF_FUNCTIONS,
};
