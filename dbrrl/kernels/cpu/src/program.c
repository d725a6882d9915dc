/* Recorded updates: instructions that are decoded once and run in one call, without the interpreter lock.

   program.py writes the instructions as one array of int64: for each its kind, the number of words that follow, and
   these. An operand is a buffer's number and an offset in bytes. Buffer 0 is the program's own memory, the next ones
   are inputs, given with each call, the last ones arrays that stay where they are. */
#include "arrays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blas.h"

/* ---- programs ---- */

enum { LOOP, REDUCE, GEMM, TAKE, PUT, CHECK, SORT, PLACES, QUANTILES, CLIP, ADAM, KINDS };
enum { MOST_AXES = 4, MOST_OPERANDS = 5 };

typedef struct {
  int kind, operands, axes, flags;
  int buffer[MOST_OPERANDS];
  int64_t offset[MOST_OPERANDS], stride[MOST_OPERANDS][MOST_AXES], n[MOST_AXES], k[8];
  union {
    void (*loop)(int64_t, char *const *, const int64_t *);
    void (*reduce)(int64_t, int64_t, int64_t, char *const *, const int64_t *);
    dbrrl_quantiles quantiles;
  } run;
} Instruction;

typedef struct {
  int64_t count, buffers, inputs, *sizes;
  Instruction *code;
  char **base;
  int busy; /* changed under the interpreter lock alone */
} Program;

static void free_program(Program *program) {
  if (!program) return;
  free(program->code); free(program->base); free(program->sizes);
  free(program);
}

static void run_loop(const Instruction *x, char *const *base) {
  char *p[MOST_OPERANDS];
  int64_t inner[MOST_OPERANDS];
  const int last = x->axes - 1;
  for (int j = 0; j < x->operands; j++) { p[j] = base[x->buffer[j]] + x->offset[j]; inner[j] = x->stride[j][last]; }
  if (last == 0) { x->run.loop(x->n[0], p, inner); return; }
  int64_t at[MOST_AXES] = {0};
  for (;;) {
    x->run.loop(x->n[last], p, inner);
    int axis = last - 1;
    for (; axis >= 0; axis--) {
      for (int j = 0; j < x->operands; j++) p[j] += x->stride[j][axis];
      if (++at[axis] < x->n[axis]) break;
      for (int j = 0; j < x->operands; j++) p[j] -= x->stride[j][axis] * x->n[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/* axes: those that are kept, the last one in the reduction's own loop; k[0] elements, k[1] bytes apart */
static void run_reduction(const Instruction *x, char *const *base) {
  char *p[2] = {base[x->buffer[0]] + x->offset[0], base[x->buffer[1]] + x->offset[1]};
  const int last = x->axes - 1;
  const int64_t inner[2] = {x->stride[0][last], x->stride[1][last]};
  int64_t at[MOST_AXES] = {0};
  for (;;) {
    x->run.reduce(x->k[0], x->k[1], x->n[last], p, inner);
    int axis = last - 1;
    for (; axis >= 0; axis--) {
      for (int j = 0; j < 2; j++) p[j] += x->stride[j][axis];
      if (++at[axis] < x->n[axis]) break;
      for (int j = 0; j < 2; j++) p[j] -= x->stride[j][axis] * x->n[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

#define P(j) (base[x->buffer[j]] + x->offset[j])

/* The row that an index names, negative ones from the end; -1: it is out of range. */
static inline int64_t row_of(int64_t index, int64_t rows) {
  if (index < 0) index += rows;
  return index < rows && index >= 0 ? index : -1;
}

static inline void copy_row(char *to, const char *from, int64_t bytes) {
  switch (bytes) { /* a size that the compiler knows is one move */
    case 1: *to = *from; break;
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    case 16: memcpy(to, from, 16); break;
    default: memcpy(to, from, (size_t)bytes);
  }
}

/* Ascending, what is no number last; short runs by insertion, halves merged through memory on the stack where it suffices. */
#define SORTS(name, T)                                                              \
  static void name(T *x, int64_t n) {                                               \
    T kept[512];                                                                    \
    if (n > 24) {                                                                   \
      const int64_t half = n / 2;                                                   \
      T *left = half <= 512 ? kept : malloc((size_t)half * sizeof(T));              \
      if (left) {                                                                   \
        name(x, half);                                                              \
        name(x + half, n - half);                                                   \
        memcpy(left, x, (size_t)half * sizeof(T));                                  \
        int64_t i = 0, j = half, at = 0;                                            \
        while (i < half && j < n) x[at++] = (x[j] < left[i] || (left[i] != left[i] && x[j] == x[j])) ? x[j++] : left[i++]; \
        while (i < half) x[at++] = left[i++];                                       \
        if (left != kept) free(left);                                               \
        return;                                                                     \
      }                                                                             \
    }                                                                               \
    for (int64_t i = 1; i < n; i++) {                                               \
      const T a = x[i];                                                             \
      int64_t j = i;                                                                \
      for (; j > 0 && (a < x[j - 1] || (x[j - 1] != x[j - 1] && a == a)); j--) x[j] = x[j - 1]; \
      x[j] = a;                                                                     \
    }                                                                               \
  }
SORTS(sort_f4, float)
SORTS(sort_f8, double)

/* The places of the elements in ascending order, equal ones in their order, what is no number last. */
#define SORTS_PLACES(name, T)                                                       \
  static void name(const T *x, int64_t *place, int64_t n) {                         \
    for (int64_t i = 0; i < n; i++) {                                               \
      const T a = x[i];                                                             \
      int64_t j = i;                                                                \
      for (; j > 0 && (a < x[place[j - 1]] || (x[place[j - 1]] != x[place[j - 1]] && a == a)); j--) place[j] = place[j - 1]; \
      place[j] = i;                                                                 \
    }                                                                               \
  }
SORTS_PLACES(places_f4, float)
SORTS_PLACES(places_f8, double)

#define SQUARES(name, T)                                                  \
  static double name(const T *x, int64_t n) {                             \
    T part[32] = {0};                                                     \
    int64_t i = 0;                                                        \
    for (; i + 32 <= n; i += 32)                                          \
      for (int q = 0; q < 32; q++) part[q] += x[i + q] * x[i + q];        \
    for (int q = 0; i < n; i++, q++) part[q] += x[i] * x[i];              \
    double total = 0;                                                     \
    for (int q = 0; q < 32; q++) total += (double)part[q];                \
    return total;                                                         \
  }
SQUARES(squares_f4, float)
SQUARES(squares_f8, double)

static double squares(int wide, const void *x, int64_t n) { return wide ? squares_f8(x, n) : squares_f4(x, n); }

static void scale(int wide, void *x, int64_t n, double by) {
  if (wide) for (int64_t i = 0; i < n; i++) ((double *)x)[i] *= by;
  else for (int64_t i = 0; i < n; i++) ((float *)x)[i] *= (float)by;
}

enum { NOT_FINITE = -2 };

/* Returns 0; the number of the instruction that met a number out of range, from 1 on; NOT_FINITE for such a gradient. */
static int64_t run_program(const Program *program, char *const *base) {
  for (int64_t at = 0; at < program->count; at++) {
    const Instruction *x = program->code + at;
    const int64_t *k = x->k;
    switch (x->kind) {
      case LOOP: run_loop(x, base); break;
      case REDUCE: run_reduction(x, base); break;
      case GEMM: { /* c, a, b; m, n, k, lda, ldb, ldc; flags 1, 2: a, b transposed, 8: float64 */
        const int ta = x->flags & 1, tb = x->flags >> 1 & 1;
        if (x->flags >> 3 & 1)
          dbrrl_dgemm(ta, tb, k[0], k[1], k[2], (const double *)P(1), k[3], (const double *)P(2), k[4], 0, (double *)P(0), k[5]);
        else
          dbrrl_sgemm(ta, tb, k[0], k[1], k[2], (const float *)P(1), k[3], (const float *)P(2), k[4], 0, (float *)P(0), k[5]);
        break;
      }
      case TAKE: { /* rows of k[1] bytes, of k[2] that there are, k[3] bytes apart: result, rows, places (k[0],) */
        char *to = P(0);
        const char *from = P(1);
        const int64_t *index = (const int64_t *)P(2);
        for (int64_t i = 0; i < k[0]; i++, to += k[1]) {
          const int64_t row = row_of(index[i], k[2]);
          if (row < 0) return at + 1;
          copy_row(to, from + row * k[3], k[1]);
        }
        break;
      }
      case PUT: { /* x[index[i]] = y[i], or += : x, y, index; rows, bytes of one, rows of x, bytes between them, elements of one;
                     flags 1: add, 2: float64 */
        char *to = P(0);
        const char *from = P(1);
        const int64_t *index = (const int64_t *)P(2);
        for (int64_t i = 0; i < k[0]; i++, from += k[1]) {
          const int64_t row = row_of(index[i], k[2]);
          if (row < 0) return at + 1;
          char *place = to + row * k[3];
          if (!(x->flags & 1)) copy_row(place, from, k[1]);
          else if (x->flags & 2) for (int64_t j = 0; j < k[4]; j++) ((double *)place)[j] += ((const double *)from)[j];
          else for (int64_t j = 0; j < k[4]; j++) ((float *)place)[j] += ((const float *)from)[j];
        }
        break;
      }
      case CHECK: { /* int64: how many, the smallest that is allowed, and the first that is too large */
        const int64_t *index = (const int64_t *)P(0);
        for (int64_t i = 0; i < k[0]; i++) if (index[i] < k[1] || index[i] >= k[2]) return at + 1;
        break;
      }
      case PLACES: /* places, elements; rows, and elements of each; flags 2: float64 */
        for (int64_t i = 0; i < k[0]; i++) {
          if (x->flags & 2) places_f8((const double *)P(1) + i * k[1], (int64_t *)P(0) + i * k[1], k[1]);
          else places_f4((const float *)P(1) + i * k[1], (int64_t *)P(0) + i * k[1], k[1]);
        }
        break;
      case CLIP: { /* norm, gradient, largest norm; elements; flags 2: float64 */
        const double most = *(const double *)P(2), norm = sqrt(squares(x->flags >> 1 & 1, P(1), k[0]));
        *(double *)P(0) = norm;
        if (!isfinite(norm)) return NOT_FINITE;
        if (norm > most) scale(x->flags >> 1 & 1, P(1), k[0], most / norm);
        break;
      }
      case ADAM: { /* values, gradient, first, second; step size, steps, betas, eps; elements; flags 2: float64 */
        const double *s = (const double *)P(4);
        const double power1 = 1 - pow(s[2], s[1]), power2 = 1 - pow(s[3], s[1]);
        const double root = sqrt((1 - s[3]) / power2), size = s[0] * (1 - s[2]) / power1;
        const double constants[4] = {s[2], s[3], s[4] / root, size / root};
        dbrrl->adam[x->flags >> 1 & 1](k[0], P(0), P(1), P(2), P(3), constants);
        break;
      }
      case QUANTILES: { /* losses, slopes, predictions, targets, fractions; rows, predictions and targets of each, bytes of
                           an element and between rows of fractions */
        const int64_t row = k[1] * k[3];
        for (int64_t i = 0; i < k[0]; i++)
          x->run.quantiles(k[1], k[2], P(2) + i * row, P(3) + i * k[2] * k[3], P(4) + i * k[4], P(0) + i * k[3], P(1) + i * row);
        break;
      }
      case SORT: /* rows, and elements of each; flags 2: float64 */
        for (int64_t i = 0; i < k[0]; i++) {
          if (x->flags & 2) sort_f8((double *)P(0) + i * k[1], k[1]);
          else sort_f4((float *)P(0) + i * k[1], k[1]);
        }
        break;
    }
  }
  return 0;
}

/* ---- the face to Python ---- */

static const char CAPSULE[] = "dbrrl.program";

static void destroy(PyObject *capsule) { free_program(PyCapsule_GetPointer(capsule, CAPSULE)); }

static int fits(const Program *program, const Instruction *x) {
  for (int j = 0; j < x->operands; j++)
    if (x->buffer[j] < 0 || x->buffer[j] >= program->buffers || x->offset[j] < 0) return 0;
  return 1;
}

static int decode(Program *program, const int64_t *word, int64_t words) {
  const dbrrl_named_loop *loops = dbrrl->named;
  const dbrrl_named_reduction *reductions = dbrrl->reductions;
  int64_t n_loops = 0, n_reductions = 0, at = 0;
  while (loops[n_loops].name) n_loops++;
  while (reductions[n_reductions].name) n_reductions++;
  for (int64_t i = 0; i < program->count; i++) {
    if (at + 6 > words) return 0;
    Instruction *x = program->code + i;
    x->kind = (int)word[at]; x->flags = (int)word[at + 2]; x->operands = (int)word[at + 3]; x->axes = (int)word[at + 4];
    const int64_t which = word[at + 1], numbers = word[at + 5];
    at += 6;
    if (x->operands < 1 || x->operands > MOST_OPERANDS || x->axes < 0 || x->axes > MOST_AXES || numbers < 0 || numbers > 8) return 0;
    if (at + x->axes + x->operands * (2 + x->axes) + numbers > words) return 0;
    for (int axis = 0; axis < x->axes; axis++) x->n[axis] = word[at++];
    for (int j = 0; j < x->operands; j++) {
      x->buffer[j] = (int)word[at++];
      x->offset[j] = word[at++];
      for (int axis = 0; axis < x->axes; axis++) x->stride[j][axis] = word[at++];
    }
    for (int64_t j = 0; j < numbers; j++) x->k[j] = word[at++];
    if (x->kind == LOOP) {
      if (which < 0 || which >= n_loops || !x->axes) return 0;
      x->run.loop = loops[which].run;
    } else if (x->kind == REDUCE) {
      if (which < 0 || which >= n_reductions || !x->axes || x->operands != 2) return 0;
      x->run.reduce = reductions[which].run;
    } else if (x->kind == QUANTILES) {
      if (x->operands != 5 || numbers != 5) return 0;
      x->run.quantiles = dbrrl->quantiles[x->flags >> 1 & 1];
    }
    if (x->kind < 0 || x->kind >= KINDS || !fits(program, x)) return 0;
  }
  return at == words;
}

/* make(code: int64 bytes, count, sizes: int64 bytes of the inputs, addresses: of its memory and of what stays).
   The caller keeps what is at the addresses as long as the program. */
static PyObject *make(PyObject *self, PyObject *args) {
  (void)self;
  const char *code, *sizes, *addresses;
  Py_ssize_t code_bytes, sizes_bytes, addresses_bytes, count;
  if (!PyArg_ParseTuple(args, "y#ny#y#", &code, &code_bytes, &count, &sizes, &sizes_bytes, &addresses, &addresses_bytes)) return NULL;
  if (addresses_bytes < (Py_ssize_t)sizeof(char *)) {
    PyErr_SetString(PyExc_ValueError, "program: expected the address of its memory");
    return NULL;
  }
  Program *program = calloc(1, sizeof(Program));
  if (!program) return PyErr_NoMemory();
  program->count = count;
  program->inputs = sizes_bytes / 8;
  program->buffers = program->inputs + addresses_bytes / 8;
  program->code = calloc((size_t)(count ? count : 1), sizeof(Instruction));
  program->base = calloc((size_t)program->buffers, sizeof(char *));
  program->sizes = malloc((size_t)(sizes_bytes ? sizes_bytes : 1));
  int64_t *words = malloc((size_t)(code_bytes ? code_bytes : 1)); /* bytes of Python's may not be aligned */
  if (!program->code || !program->base || !program->sizes || !words) {
    free(words); free_program(program);
    return PyErr_NoMemory();
  }
  memcpy(words, code, (size_t)code_bytes);
  memcpy(program->sizes, sizes, (size_t)sizes_bytes);
  memcpy(program->base, addresses, sizeof(char *));
  memcpy(program->base + 1 + program->inputs, addresses + sizeof(char *), (size_t)addresses_bytes - sizeof(char *));
  int decoded = decode(program, words, code_bytes / 8);
  free(words);
  if (!decoded) {
    free_program(program);
    PyErr_SetString(PyExc_ValueError, "program: expected well-formed instructions");
    return NULL;
  }
  PyObject *capsule = PyCapsule_New(program, CAPSULE, destroy);
  if (!capsule) free_program(program);
  return capsule;
}

/* Take an array in one piece as input i: 1, or 0 with an exception. */
static int take_input(Program *program, Py_ssize_t i, PyObject *given) {
  PyArrayObject *x = (PyArrayObject *)given;
  if (!PyArray_Check(given) || !PyArray_IS_C_CONTIGUOUS(x)) {
    PyErr_Format(PyExc_BufferError, "run: expected an array in one piece for input %zd", i);
    return 0;
  }
  if (PyArray_NBYTES(x) != program->sizes[i]) {
    PyErr_Format(PyExc_ValueError, "run: expected %lld bytes of input %zd, got %zd", (long long)program->sizes[i], i, (Py_ssize_t)PyArray_NBYTES(x));
    return 0;
  }
  program->base[1 + i] = PyArray_BYTES(x);
  return 1;
}

/* Run a program on `inputs`: 1, or 0 where it is running already or was left because of a gradient that was not finite;
   -1 with an exception. */
static int run_on(PyObject *capsule, PyObject *const *inputs, Py_ssize_t n) {
  Program *program = PyCapsule_GetPointer(capsule, CAPSULE);
  if (!program) return -1;
  if (n != program->inputs) {
    PyErr_Format(PyExc_TypeError, "run: expected %lld inputs, got %zd", (long long)program->inputs, n);
    return -1;
  }
  if (program->busy) return 0;
  for (Py_ssize_t i = 0; i < n; i++)
    if (!take_input(program, i, inputs[i])) return -1;
  int64_t found;
  program->busy = 1;
  Py_BEGIN_ALLOW_THREADS
  found = run_program(program, program->base);
  Py_END_ALLOW_THREADS
  program->busy = 0;
  if (found > 0) {
    PyErr_Format(PyExc_IndexError, "expected an index in range, got another one in step %lld of %lld", (long long)found, (long long)program->count);
    return -1;
  }
  return found == 0;
}

static PyObject *run(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  if (n < 1) return PyErr_Format(PyExc_TypeError, "run: expected a program");
  const int ran = run_on(args[0], args + 1, n - 1);
  return ran < 0 ? NULL : PyBool_FromLong(ran);
}

/* The caller keeps other threads away until it returns: a copy of a large array lets go of the interpreter lock. */
static PyObject *evaluate(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  if (n < 2 || !PyTuple_Check(args[1])) return PyErr_Format(PyExc_TypeError, "evaluate: expected a program and a tuple of its results");
  const int ran = run_on(args[0], args + 2, n - 2);
  if (ran < 0) return NULL;
  if (!ran) Py_RETURN_NONE;
  const Py_ssize_t many = PyTuple_Size(args[1]);
  PyObject *copies = PyList_New(many);
  for (Py_ssize_t i = 0; copies && i < many; i++) {
    PyObject *result = PyTuple_GetItem(args[1], i);
    PyObject *copy = PyArray_Check(result) ? PyArray_NewCopy((PyArrayObject *)result, NPY_CORDER)
                                           : PyErr_Format(PyExc_TypeError, "evaluate: expected arrays as results");
    if (!copy) Py_CLEAR(copies);
    else PyList_SetItem(copies, i, copy);
  }
  return copies;
}

/* run_each(program, result, found, settings, rows, *inputs): run once for each array in the list `rows`, the last input but
   one, with a row of `settings`, the last; copy `result`, float64, into a row of `found` after each. Returns how many runs
   there were: fewer where one did not come to its end. */
static PyObject *run_each(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  if (n < 5 || !PyList_Check(args[4])) return PyErr_Format(PyExc_TypeError, "run_each: expected a program, arrays and a list of rows");
  Program *program = PyCapsule_GetPointer(args[0], CAPSULE);
  if (!program) return NULL;
  const Py_ssize_t count = PyList_Size(args[4]), others = n - 5;
  PyArrayObject *result = dbrrl_array(args[1], NPY_FLOAT64, READ), *found = dbrrl_array(args[2], NPY_FLOAT64, WRITE);
  PyArrayObject *settings = dbrrl_array(args[3], NPY_FLOAT64, READ);
  if (others + 2 != program->inputs || !result || !found || !settings || PyArray_NBYTES(found) != count * PyArray_NBYTES(result) ||
      PyArray_NBYTES(settings) != count * program->sizes[others + 1])
    return PyErr_Format(PyExc_ValueError, "run_each: expected %lld inputs, and a row of settings and of results for each run", (long long)program->inputs);
  if (program->busy) return PyLong_FromLong(0);
  for (Py_ssize_t i = 0; i < others; i++)
    if (!take_input(program, i, args[5 + i])) return NULL;
  const char **rows = malloc((size_t)(count ? count : 1) * sizeof(char *));
  if (!rows) return PyErr_NoMemory();
  for (Py_ssize_t i = 0; i < count; i++) {
    if (!take_input(program, others, PyList_GetItem(args[4], i))) {
      free(rows);
      return NULL;
    }
    rows[i] = program->base[1 + others];
  }
  const size_t kept = (size_t)PyArray_NBYTES(result);
  Py_ssize_t done = 0;
  program->busy = 1;
  Py_BEGIN_ALLOW_THREADS
  for (; done < count; done++) {
    program->base[1 + others] = (char *)rows[done];
    program->base[2 + others] = PyArray_BYTES(settings) + done * program->sizes[others + 1];
    if (run_program(program, program->base)) break;
    memcpy(PyArray_BYTES(found) + (size_t)done * kept, PyArray_BYTES(result), kept);
  }
  Py_END_ALLOW_THREADS
  program->busy = 0;
  free(rows);
  return PyLong_FromSsize_t(done);
}

static PyObject *names(PyObject *self, PyObject *ignored) {
  (void)self; (void)ignored;
  PyObject *first = PyList_New(0), *second = PyList_New(0);
  for (const dbrrl_named_loop *x = dbrrl->named; x->name; x++) { PyObject *s = PyUnicode_FromString(x->name); PyList_Append(first, s); Py_DECREF(s); }
  for (const dbrrl_named_reduction *x = dbrrl->reductions; x->name; x++) { PyObject *s = PyUnicode_FromString(x->name); PyList_Append(second, s); Py_DECREF(s); }
  return Py_BuildValue("NN", first, second);
}

PyMethodDef program_methods[] = {
  {"program_make", make, METH_VARARGS, "Make a program of instructions."},
  {"program_run", (PyCFunction)(void (*)(void))run, METH_FASTCALL,
   "Run a program on its inputs; False where it is running already, or left as a gradient is not finite."},
  {"program_evaluate", (PyCFunction)(void (*)(void))evaluate, METH_FASTCALL,
   "Run a program on its inputs; return copies of its results, or None where it did not run."},
  {"program_run_each", (PyCFunction)(void (*)(void))run_each, METH_FASTCALL,
   "Run a program for each array of rows; return how many runs came to their end."},
  {"program_names", names, METH_NOARGS, "The names of loops and of reductions, in their order."},
  {NULL, NULL, 0, NULL},
};
