/* The part of CPython's stable ABI (PEP 384, version 3.11) that cffi's generated code uses.
 *
 * build_kernel.py puts this folder on the include path only where Python's own headers are not installed, so that
 * the kernel builds with nothing but a C compiler. All of it is declared from the documentation of the C API
 * ("C API Stability", "Contents of Limited API"); what is declared here is exported by every CPython from 3.11 on with
 * this very signature. cffi brings its own ctypes-like machinery and needs little of it. */
#ifndef REDUCTO_STABLE_ABI_PYTHON_H
#define REDUCTO_STABLE_ABI_PYTHON_H

#ifndef Py_LIMITED_API
#error "these declarations hold for the limited API only"
#endif

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <wchar.h>
#if defined(__has_include)
#if __has_include(<alloca.h>)
#include <alloca.h> /* <stdlib.h> has it only where GNU extensions are on */
#endif
#endif

/* What pyconfig.h would say, and cffi asks. */
#define HAVE_WCHAR_H 1

typedef ssize_t Py_ssize_t;
typedef struct _object PyObject;
typedef struct _ts PyThreadState;

#if defined(__GNUC__)
#define RDK_PY_EXPORT __attribute__((visibility("default")))
#else
#define RDK_PY_EXPORT
#endif
#define PyMODINIT_FUNC RDK_PY_EXPORT PyObject *

/* Reference counts: the limited API has them as functions, which also know immortal objects. */
void Py_IncRef(PyObject *object);
void Py_DecRef(PyObject *object);
#define Py_INCREF(object) Py_IncRef((PyObject *)(object))
#define Py_DECREF(object) Py_DecRef((PyObject *)(object))
#define Py_XINCREF(object) Py_IncRef((PyObject *)(object)) /* both accept NULL */
#define Py_XDECREF(object) Py_DecRef((PyObject *)(object))

extern PyObject _Py_NoneStruct;
#define Py_None (&_Py_NoneStruct)

PyObject *PyBool_FromLong(long value);
PyObject *PyLong_FromLong(long value);
PyObject *PyLong_FromUnsignedLong(unsigned long value);
PyObject *PyLong_FromLongLong(long long value);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long value);
PyObject *PyLong_FromVoidPtr(void *pointer);
PyObject *PyFloat_FromDouble(double value);
double PyFloat_AsDouble(PyObject *object);

int PyArg_UnpackTuple(PyObject *arguments, const char *name, Py_ssize_t least, Py_ssize_t most, ...);
PyObject *PyImport_ImportModule(const char *name);
PyObject *PyObject_CallMethod(PyObject *object, const char *name, const char *format, ...);

extern PyObject *PyExc_SystemError;
PyObject *PyErr_Occurred(void);
PyObject *PyErr_Format(PyObject *exception, const char *format, ...);
void PyErr_SetString(PyObject *exception, const char *message);
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void Py_FatalError(const char *message);

void *PyObject_Malloc(size_t bytes);
void PyObject_Free(void *pointer);

/* The interpreter's lock, given up around every call into the kernel. */
PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *state);
#define Py_BEGIN_ALLOW_THREADS \
    {                          \
        PyThreadState *rdk_thread_state = PyEval_SaveThread();
#define Py_END_ALLOW_THREADS                \
    PyEval_RestoreThread(rdk_thread_state); \
    }

#endif
