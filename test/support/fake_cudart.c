/* A CUDA runtime whose device is a clock: what is asynchronous in the real one takes time here, and nothing is computed;
 * device memory is host memory, and copies are made at once.
 *
 * Each stream is busy until a moment; work moves that moment on, waiting sleeps until it, an event notes it. The driver
 * is in the same library: each thread has a stack of contexts, and a call of the runtime that finds none makes that of
 * device 0, as the real one does. The last error stays until it is asked for, a sticky one for good. The signatures are
 * those of cuda_runtime_api.h and cuda.h; compiled with -DCHECK they are compared with the real headers'.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef CHECK
#include <cuda.h>
#include <cuda_runtime_api.h>
#undef cuDevicePrimaryCtxSetFlags
#else
#include <stddef.h>
typedef int cudaError_t;
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
enum cudaMemcpyKind { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2 };
enum cudaStreamCaptureMode { GLOBAL, THREAD_LOCAL };
enum cudaDeviceAttr { INTEGRATED = 18, MAJOR = 75, MINOR = 76 };
typedef int CUresult;
typedef int CUdevice;
typedef struct CUctx_st *CUcontext;
#define CUDARTAPI
#define CUDAAPI
#endif
#define OK ((cudaError_t)0)
#define NO_DEVICE ((cudaError_t)100)
#define INVALID ((cudaError_t)1)

struct CUgraph_st { double seconds; };
struct CUgraphExec_st { double seconds; };
struct CUstream_st { double busy_until_s; struct CUgraph_st *capturing; };
struct CUevent_st { double at_s; unsigned flags; };
struct CUctx_st { int device, active; unsigned flags; };
static struct CUstream_st default_streams[2];
static struct CUstream_st *made[64];
static struct CUctx_st contexts[2] = {{0, 0, 0}, {1, 0, 0}};
static double work_s;
static int n_made, broken, held, integrated, no_address;
static _Thread_local struct CUctx_st *stack[8];
static _Thread_local int depth, current;
static _Thread_local cudaError_t last;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static cudaError_t fail(int code) { return last = (cudaError_t)code; }
static cudaError_t until(double at_s) {
    struct timespec t = {(time_t)at_s, (long)(1e9 * (at_s - (double)(time_t)at_s))};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
    return broken ? fail(700) : OK;
}
static struct CUctx_st *here(void) { /* the context of this thread */
    if (!depth) stack[depth++] = &contexts[current];
    stack[depth - 1]->active = 1;
    return stack[depth - 1];
}
static struct CUstream_st *of(cudaStream_t stream) { return stream ? stream : &default_streams[here()->device]; }
void fakeBreak(int value) { broken = value; }
void fakeBoard(int value) { integrated = value; }
void fakeNoAddress(int value) { no_address = value; }
int fakeHeld(void) { return held; } /* blocks of memory, graphs */
double fakeWork(void) { return work_s; } /* the seconds of work that all streams were given, but for what a graph caught */
int fakeContext(int device) { return contexts[device].active; }
int fakeFlags(int device) { return (int)contexts[device].flags; }
int fakeEventFlags(cudaEvent_t event) { return (int)event->flags; }
static void give(cudaStream_t stream, double seconds) {
    struct CUstream_st *s = of(stream);
    if (s->capturing) { s->capturing->seconds += seconds; return; }
    work_s += seconds;
    s->busy_until_s = (s->busy_until_s > now_s() ? s->busy_until_s : now_s()) + seconds;
}

cudaError_t CUDARTAPI cudaGetDeviceCount(int *count) {
    const char *devices = getenv("FAKE_CUDA_DEVICES");
    *count = devices ? atoi(devices) : 0;
    return *count ? OK : NO_DEVICE;
}
cudaError_t CUDARTAPI cudaGetDevice(int *device) { *device = depth ? stack[depth - 1]->device : current; return OK; }
cudaError_t CUDARTAPI cudaSetDevice(int device) { /* CUDA 12: makes the context at once */
    current = device;
    depth = 0;
    here();
    return OK;
}
cudaError_t CUDARTAPI cudaRuntimeGetVersion(int *version) { *version = 12040; return OK; }
cudaError_t CUDARTAPI cudaDriverGetVersion(int *version) { *version = 13000; return OK; }
cudaError_t CUDARTAPI cudaDeviceGetPCIBusId(char *id, int len, int device) {
    if (len < 13 || no_address) return fail(1);
    memcpy(id, "0000:01:00.0", 13);
    id[6] = (char)('1' + device);
    return OK;
}
const char *CUDARTAPI cudaGetErrorString(cudaError_t error) {
    return error == (cudaError_t)700 ? "an illegal memory access was encountered"
         : error == (cudaError_t)2   ? "out of memory"
                                     : "no CUDA-capable device is detected";
}
cudaError_t CUDARTAPI cudaDeviceSynchronize(void) {
    double last_s = default_streams[here()->device].busy_until_s;
    for (int i = 0; i < n_made; i++)
        if (made[i] && made[i]->busy_until_s > last_s) last_s = made[i]->busy_until_s;
    return until(last_s);
}
cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    if (flags != 1 || n_made == 64) return INVALID;
    here();
    *stream = made[n_made++] = calloc(1, sizeof **stream);
    return OK;
}
cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t stream) { return until(of(stream)->busy_until_s); }
cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t stream) {
    for (int i = 0; i < n_made; i++)
        if (made[i] == stream) made[i] = NULL;
    free(stream);
    return OK;
}
cudaError_t CUDARTAPI cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    here();
    *event = calloc(1, sizeof **event);
    (*event)->flags = flags;
    return OK;
}
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->at_s = of(stream)->busy_until_s > now_s() ? of(stream)->busy_until_s : now_s();
    return OK;
}
cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t event) { return until(event->at_s); }
cudaError_t CUDARTAPI cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    here();
    *ms = (float)(1e3 * (end->at_s - start->at_s));
    return OK;
}
cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) { here(); free(event); return OK; }
cudaError_t CUDARTAPI cudaMemGetInfo(size_t *available, size_t *total) {
    here();
    *available = 6000000000, *total = 8000000000;
    return OK;
}
cudaError_t CUDARTAPI cudaMalloc(void **pointer, size_t size) {
    here();
    if (broken) return fail(700);
    if (size > 8000000000) return fail(2);
    *pointer = malloc(size), held++;
    return size ? OK : INVALID;
}
cudaError_t CUDARTAPI cudaFree(void *pointer) {
    here();
    if (broken) return fail(700);
    free(pointer), held--;
    return OK;
}
cudaError_t CUDARTAPI cudaMallocHost(void **pointer, size_t size) { return cudaMalloc(pointer, size); }
cudaError_t CUDARTAPI cudaFreeHost(void *pointer) { return cudaFree(pointer); }
/* one nanosecond a kilobyte: 64 MiB take 65.5 us */
cudaError_t CUDARTAPI cudaMemsetAsync(void *pointer, int value, size_t count, cudaStream_t stream) {
    (void)pointer, (void)value;
    give(stream, 1e-9 * (double)(count / 1024));
    return OK;
}
cudaError_t CUDARTAPI cudaMemcpyAsync(void *to, const void *from, size_t count, enum cudaMemcpyKind kind,
                                      cudaStream_t stream) {
    if (kind != 1 && kind != 2) return INVALID;
    memcpy(to, from, count);
    give(stream, 1e-9 * (double)(count / 1024));
    return broken ? fail(700) : OK;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 18 ? integrated : attribute == 16 ? 16 - 8 * device : 6 + device;
    return attribute == 75 || attribute == 76 || attribute == 18 || attribute == 16 ? OK : INVALID;
}
cudaError_t CUDARTAPI cudaGetLastError(void) {
    cudaError_t error = last;
    last = broken ? (cudaError_t)700 : OK;
    return error;
}
cudaError_t CUDARTAPI cudaPeekAtLastError(void) { return last; }
cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    if (mode != 1 || !stream) return INVALID;
    stream->capturing = calloc(1, sizeof *stream->capturing), held++;
    return OK;
}
cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->capturing;
    stream->capturing = NULL;
    return broken ? fail(901) : OK;
}
cudaError_t CUDARTAPI cudaGraphInstantiateWithFlags(cudaGraphExec_t *made_of, cudaGraph_t graph, unsigned long long flags) {
    if (flags) return INVALID;
    *made_of = calloc(1, sizeof **made_of), held++;
    (*made_of)->seconds = graph->seconds;
    return OK;
}
cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    give(stream, graph->seconds);
    return OK;
}
cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t graph) { free(graph), held--; return OK; }
cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t graph) { free(graph), held--; return OK; }

CUresult CUDAAPI cuInit(unsigned int flags) { return flags ? 1 : getenv("FAKE_CUDA_DEVICES") ? 0 : 100; }
CUresult CUDAAPI cuDeviceGetCount(int *count) { *count = 2; return 0; }
CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return ordinal < 2 ? 0 : 101; }
CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice device) {
    if (len < 7) return 1;
    memcpy(name, "Fake 0", 7);
    name[5] = (char)('0' + device);
    return 0;
}
CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    *context = &contexts[device];
    (*context)->active = 1;
    return 0;
}
CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    *flags = contexts[device].flags, *active = contexts[device].active;
    return 0;
}
CUresult CUDAAPI cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
    contexts[device].flags = flags;
    return 0;
}
CUresult CUDAAPI cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
    return contexts[device].active ? 708 : cuDevicePrimaryCtxSetFlags_v2(device, flags);
}
CUresult CUDAAPI cuCtxGetCurrent(CUcontext *context) { *context = depth ? stack[depth - 1] : NULL; return 0; }
CUresult CUDAAPI cuCtxPushCurrent_v2(CUcontext context) { stack[depth++] = context; return 0; }
CUresult CUDAAPI cuCtxPopCurrent_v2(CUcontext *context) { *context = stack[--depth]; return 0; }
CUresult CUDAAPI cuMemGetInfo_v2(size_t *available, size_t *total) {
    *available = 6000000000, *total = 8000000000;
    return !depth ? 201 : broken ? 700 : 0;
}
CUresult CUDAAPI cuGetErrorString(CUresult error, const char **text) {
    *text = cudaGetErrorString((cudaError_t)error);
    return 0;
}
