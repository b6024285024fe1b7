/* Vectors of float32, buffers, and padded images: what the convolutions and the block have in common. */
#include <math.h>
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

static _Thread_local float *workspace;
static _Thread_local size_t workspace_size;

/* The workspace of this thread, of at least so many floats; it grows when necessary and is reused. */
static float *get_workspace(size_t floats) {
    if (floats > workspace_size) {
        free(workspace);
        workspace_size = posix_memalign((void **)&workspace, 64, floats * sizeof(float)) ? 0 : floats;
        if (!workspace_size) abort();
    }
    return workspace;
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
