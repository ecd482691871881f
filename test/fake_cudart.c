/* A CUDA runtime whose device is a clock: what is asynchronous in the real one takes time here, and nothing is computed;
 * device memory is host memory, and copies are made at once.
 *
 * Each stream is busy until a moment; work moves that moment on, waiting sleeps until it, an event notes it. The
 * signatures are those of cuda_runtime_api.h; compiled with -DCHECK they are compared with the real header's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef CHECK
#include <cuda_runtime_api.h>
#else
#include <stddef.h>
typedef int cudaError_t;
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
enum cudaMemcpyKind { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2 };
enum cudaStreamCaptureMode { GLOBAL, THREAD_LOCAL };
enum cudaDeviceAttr { MAJOR = 75, MINOR = 76 };
#define CUDARTAPI
#endif
#define OK ((cudaError_t)0)
#define NO_DEVICE ((cudaError_t)100)
#define INVALID ((cudaError_t)1)

struct CUgraph_st { double seconds; };
struct CUgraphExec_st { double seconds; };
struct CUstream_st { double busy_until_s; struct CUgraph_st *capturing; };
struct CUevent_st { double at_s; };
static struct CUstream_st default_streams[2];
static struct CUstream_st *made[64];
static int n_made, broken, held;
static _Thread_local int current;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static cudaError_t until(double at_s) {
    struct timespec t = {(time_t)at_s, (long)(1e9 * (at_s - (double)(time_t)at_s))};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
    return broken ? (cudaError_t)700 : OK;
}
static struct CUstream_st *of(cudaStream_t stream) { return stream ? stream : &default_streams[current]; }
void fakeBreak(int value) { broken = value; }
int fakeHeld(void) { return held; } /* blocks of memory, graphs */
static void give(cudaStream_t stream, double seconds) {
    struct CUstream_st *s = of(stream);
    if (s->capturing) { s->capturing->seconds += seconds; return; }
    s->busy_until_s = (s->busy_until_s > now_s() ? s->busy_until_s : now_s()) + seconds;
}

cudaError_t CUDARTAPI cudaGetDeviceCount(int *count) {
    const char *devices = getenv("FAKE_CUDA_DEVICES");
    *count = devices ? atoi(devices) : 0;
    return *count ? OK : NO_DEVICE;
}
cudaError_t CUDARTAPI cudaGetDevice(int *device) { *device = current; return OK; }
cudaError_t CUDARTAPI cudaSetDevice(int device) { current = device; return OK; }
cudaError_t CUDARTAPI cudaRuntimeGetVersion(int *version) { *version = 12040; return OK; }
cudaError_t CUDARTAPI cudaDriverGetVersion(int *version) { *version = 13000; return OK; }
cudaError_t CUDARTAPI cudaDeviceGetPCIBusId(char *id, int len, int device) {
    if (len < 13) return INVALID;
    memcpy(id, "0000:01:00.0", 13);
    id[6] = (char)('1' + device);
    return OK;
}
const char *CUDARTAPI cudaGetErrorString(cudaError_t error) {
    return error == (cudaError_t)700 ? "an illegal memory access was encountered" : "no CUDA-capable device is detected";
}
cudaError_t CUDARTAPI cudaDeviceSynchronize(void) {
    double last_s = default_streams[current].busy_until_s;
    for (int i = 0; i < n_made; i++)
        if (made[i] && made[i]->busy_until_s > last_s) last_s = made[i]->busy_until_s;
    return until(last_s);
}
cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    if (flags != 1 || n_made == 64) return INVALID;
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
cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t *event) { *event = calloc(1, sizeof **event); return OK; }
cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->at_s = of(stream)->busy_until_s > now_s() ? of(stream)->busy_until_s : now_s();
    return OK;
}
cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t event) { return until(event->at_s); }
cudaError_t CUDARTAPI cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    *ms = (float)(1e3 * (end->at_s - start->at_s));
    return OK;
}
cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) { free(event); return OK; }
cudaError_t CUDARTAPI cudaMemGetInfo(size_t *available, size_t *total) {
    *available = 6000000000, *total = 8000000000;
    return OK;
}
cudaError_t CUDARTAPI cudaMalloc(void **pointer, size_t size) {
    *pointer = malloc(size), held++;
    return size ? OK : INVALID;
}
cudaError_t CUDARTAPI cudaFree(void *pointer) { free(pointer), held--; return OK; }
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
    return broken ? (cudaError_t)700 : OK;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    *value = attribute == 75 ? 8 : 6 + device;
    return attribute == 75 || attribute == 76 ? OK : INVALID;
}
cudaError_t CUDARTAPI cudaGetLastError(void) { return OK; }
cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    if (mode != 1 || !stream) return INVALID;
    stream->capturing = calloc(1, sizeof *stream->capturing), held++;
    return OK;
}
cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->capturing;
    stream->capturing = NULL;
    return broken ? (cudaError_t)901 : OK;
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
