/* The extension module dbrrl.kernels.cpu._c: kernels for NumPy's arrays, the level they use, and the BLAS. */
#define DBRRL_IMPORTS_NUMPY
#include "arrays.h"

#include <string.h>

extern PyMethodDef optim_methods[], returns_methods[], normalize_methods[], replay_methods[], recurrent_methods[];
extern PyMethodDef conv_methods[], heads_methods[], program_methods[], environments_methods[];
extern PyMethodDef random_methods[], memory_methods[], checks_methods[];

int dbrrl_level = DBRRL_PLAIN;
const dbrrl_loops *dbrrl = &dbrrl_loops_plain;
dbrrl_blas_functions dbrrl_blas;

static const char *const names[DBRRL_LEVELS] = {"plain", "avx2", "avx512"};

int dbrrl_has_level(int level)
{
    if (level == DBRRL_PLAIN) return 1;
#if DBRRL_X86_LEVELS
    __builtin_cpu_init();
    if (level == DBRRL_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (level == DBRRL_AVX512)
        return dbrrl_has_level(DBRRL_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    return 0;
}

static void choose(int level)
{
    dbrrl_level = level;
    dbrrl = &dbrrl_loops_plain;
#if DBRRL_X86_LEVELS
    if (level == DBRRL_AVX2) dbrrl = &dbrrl_loops_avx2;
    if (level == DBRRL_AVX512) dbrrl = &dbrrl_loops_avx512;
#endif
}

PyDoc_STRVAR(levels_doc, "levels()\n--\n\nThe names of the levels that this processor has, slowest first.");

static PyObject *levels(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    for (int level = 0; list && level < DBRRL_LEVELS; ++level) {
        if (!dbrrl_has_level(level)) continue;
        PyObject *name = PyUnicode_FromString(names[level]);
        if (!name || PyList_Append(list, name)) Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

PyDoc_STRVAR(level_doc, "level()\n--\n\nThe name of the level in use, or \"numpy\": kernels refuse, NumPy computes.");

static PyObject *level(PyObject *module, PyObject *unused)
{
    return PyUnicode_FromString(dbrrl_level < 0 ? "numpy" : names[dbrrl_level]);
}

PyDoc_STRVAR(use_level_doc, "use_level(name)\n--\n\nUse a level from now on. ValueError: this processor has none such.");

static PyObject *use_level(PyObject *module, PyObject *name)
{
    if (PyUnicode_Check(name)) {
        if (PyUnicode_CompareWithASCIIString(name, "numpy") == 0) {
            choose(DBRRL_NUMPY);
            Py_RETURN_NONE;
        }
        for (int i = 0; i < DBRRL_LEVELS; ++i)
            if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0 && dbrrl_has_level(i)) {
                choose(i);
                Py_RETURN_NONE;
            }
    }
    return PyErr_Format(PyExc_ValueError, "level: expected \"numpy\" or one of levels(), got %R", name);
}

PyDoc_STRVAR(set_blas_doc, "set_blas(sgemm, dgemm, threads, wide)\n--\n\n"
                           "Compute matrix products by the CBLAS functions at these addresses, where our own loops are\n"
                           "not faster; 0: by our own. `threads`: of the function that tells how many threads they use.\n"
                           "`wide`: whether their integers have 64 bits.");

static PyObject *set_blas(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) return PyErr_Format(PyExc_TypeError, "set_blas: expected 4 arguments, got %zd", count);
    void *found[3];
    for (int i = 0; i < 3; ++i) {
        found[i] = PyLong_AsVoidPtr(args[i]);
        if (!found[i] && PyErr_Occurred()) return NULL;
    }
    int wide = PyObject_IsTrue(args[3]);
    if (wide < 0) return NULL;
    dbrrl_blas = (dbrrl_blas_functions){found[0], found[1], NULL, wide};
    memcpy(&dbrrl_blas.threads, &found[2], sizeof found[2]); /* an address of data becomes one of a function */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(blas_doc, "blas()\n--\n\nWhose matrix products are used: \"64-bit\" or \"32-bit\" CBLAS, or \"own\".");

static PyObject *blas(PyObject *module, PyObject *unused)
{
    int has = dbrrl_blas.sgemm && dbrrl_blas.dgemm;
    return PyUnicode_FromString(!has ? "own" : dbrrl_blas.wide ? "64-bit" : "32-bit");
}

static PyMethodDef methods[] = {
    {"levels", levels, METH_NOARGS, levels_doc},
    {"level", level, METH_NOARGS, level_doc},
    {"use_level", use_level, METH_O, use_level_doc},
    {"set_blas", (PyCFunction)(void (*)(void))set_blas, METH_FASTCALL, set_blas_doc},
    {"blas", blas, METH_NOARGS, blas_doc},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module)
{
    PyMethodDef *groups[] = {
        optim_methods,
        returns_methods,
        normalize_methods,
        replay_methods,
        recurrent_methods,
        conv_methods,
        heads_methods,
        program_methods,
        environments_methods,
        random_methods,
        checks_methods,
        memory_methods,
    };
    if (PyArray_ImportNumPyAPI() < 0) return -1;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; ++i)
        if (PyModule_AddFunctions(module, groups[i]) < 0) return -1;
#if defined(__VERSION__)
    if (PyModule_AddStringConstant(module, "compiler", __VERSION__) < 0) return -1;
#else
    if (PyModule_AddStringConstant(module, "compiler", "") < 0) return -1;
#endif
    return PyModule_AddStringConstant(module, "sources", DBRRL_SOURCES);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_c", "Kernels for NumPy's arrays, compiled.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__c(void)
{
    return PyModuleDef_Init(&definition);
}
