/* Vectors of float32, buffers, and padded images: what the convolutions and the block have in common. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef BFLOAT16
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else /* NEON, SSE */
#define LANES 4
#endif
#define COLS 2
#define PANEL (LANES * COLS) /* channels that are computed at once */
#define SLICE 16 /* images over which the weight gradients of a first block are summed */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16") for
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))

/* Buffers that a thread uses again and again; they grow when necessary, and are freed when the thread ends. */
static _Thread_local struct {
    float *workspace, *zeros;
    size_t workspace_size, zeros_size;
} kept;
static pthread_key_t kept_key;
static pthread_once_t kept_once = PTHREAD_ONCE_INIT;

static void free_kept(void *own) {
    (void)own;
    free(kept.workspace), free(kept.zeros);
    memset(&kept, 0, sizeof kept);
}

static void make_kept_key(void) {
    if (pthread_key_create(&kept_key, free_kept)) abort();
}

static void free_at_the_end(void) {
    pthread_once(&kept_once, make_kept_key);
    pthread_setspecific(kept_key, &kept);
}

/* The workspace of this thread, of at least so many floats. */
static float *get_workspace(size_t floats) {
    if (floats > kept.workspace_size) {
        free_at_the_end();
        free(kept.workspace);
        if (posix_memalign((void **)&kept.workspace, 64, floats * sizeof(float))) abort();
        kept.workspace_size = floats;
    }
    return kept.workspace;
}

/* An image that is padded with zeros, and the output of its convolution. */
typedef struct {
    int64_t h, w, c, padding, oh, ow, wide; /* images; output of the convolution; floats in a padded row */
} frame;

INLINE frame frame_of(int64_t h, int64_t w, int64_t c, int64_t padding) {
    return (frame){h, w, c, padding, h + 2 * padding - 2, w + 2 * padding - 2, (w + 2 * padding) * c};
}

static size_t padded_floats(frame f) { return (size_t)((f.h + 2 * f.padding) * f.wide + 2 * LANES); }

/* The padded copy of one image. */
static void pad(const float *x, frame f, float *padded) {
    memset(padded, 0, padded_floats(f) * sizeof(float));
    for (int64_t a = 0; a < f.h; a++)
        memcpy(padded + (a + f.padding) * f.wide + f.padding * f.c, x + a * f.w * f.c,
               sizeof(float) * (size_t)(f.w * f.c));
}

/* The image (h,w,c) of which this is the padded copy. */
static void crop(const float *padded, frame f, float *x) {
    for (int64_t a = 0; a < f.h; a++)
        memcpy(x + a * f.w * f.c, padded + (a + f.padding) * f.wide + f.padding * f.c,
               sizeof(float) * (size_t)(f.w * f.c));
}
