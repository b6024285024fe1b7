/* One block of the field's ConvNet in float32: 3x3 convolution, instance norm, ReLU, 2x2 average pooling, forward
 * and backward, for maps stored as (n, H, W, C) with C contiguous.
 *
 * The convolution is Winograd's F(4x4,3x3) (Lavin & Gray 2016, arXiv 1509.09308): 36 products a tile of 16 outputs
 * and pair of channels instead of 144. A first layer, of few input channels, is done directly. A group of images
 * goes through the whole block while it lies in the second-level cache; what is written to memory is what the next
 * block reads and what the backward pass cannot make again cheaply. The convolution's bias is left out: the norm
 * subtracts it.
 *
 * The last part does the same for maps and their derivative along a direction of the weights (dual numbers), which
 * is what gradient matching needs in place of second derivatives.
 *
 * Every image's result depends on that image alone and every sum has a fixed order, so results are the same bytes
 * for any batch, any grouping and any number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 8
#elif defined(__AVX__)
#define LANES 8
#define ROWS 4
#else /* NEON, SSE */
#define LANES 4
#define ROWS 4
#endif
#define COLS 2
#define PANEL (LANES * COLS) /* columns of one micro product */
#define POINTS 36
#define TILES 64 /* tiles that are transformed together */
#define SLICE 16 /* images whose weight gradients are summed before they are stored */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define EACH _Pragma("GCC unroll 16") for
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))

int64_t panel(void) { return PANEL; }

/* ------------------------------------------------------------------------------------- product of matrices --- */

/* c[r][j] (+)= sum over g, k of a[r*lda + g*jump + k*step] * b[g][k][j], r < rows, j < PANEL. */
INLINE void micro(const int rows, const int add, const float *a, int64_t lda, int64_t segments, int64_t length,
                  int64_t jump, int64_t step, const float *restrict b, int64_t ldb, float *restrict c, int64_t ldc) {
    vec s[ROWS][COLS];
    EACH (int r = 0; r < rows; r++)
        EACH (int j = 0; j < COLS; j++) s[r][j] = add ? LOAD(c + r * ldc + j * LANES) : (vec){0};
    for (int64_t g = 0; g < segments; g++, a += jump)
        for (int64_t k = 0; k < length; k++, b += ldb) {
            const vec b0 = LOAD(b), b1 = LOAD(b + LANES);
            EACH (int r = 0; r < rows; r++) {
                const float v = a[r * lda + k * step];
                s[r][0] += v * b0;
                s[r][1] += v * b1;
            }
        }
    EACH (int r = 0; r < rows; r++)
        EACH (int j = 0; j < COLS; j++) STORE(c + r * ldc + j * LANES, s[r][j]);
}

#define ROWWISE(SIZE)                                                                                       \
    for (; r + (SIZE) <= rows; r += (SIZE))                                                                 \
    micro(SIZE, 0, a + r * lda, lda, segments, length, jump, 1, b, PANEL, c + r * ldc, ldc)

/* c (rows, PANEL) = a b with b packed as [segments][length][PANEL]. */
static void product(int64_t rows, const float *a, int64_t lda, int64_t segments, int64_t length, int64_t jump,
                    const float *b, float *c, int64_t ldc) {
    int64_t r = 0;
    ROWWISE(ROWS);
    ROWWISE(2);
    ROWWISE(1);
}

/* c (rows, PANEL) += a^T b, a (length, rows) by lda, b (length, PANEL) by ldb. */
static void product_add(int64_t rows, const float *a, int64_t lda, int64_t length, const float *b, int64_t ldb,
                        float *c, int64_t ldc) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS) micro(ROWS, 1, a + r, 1, 1, length, 0, lda, b, ldb, c + r * ldc, ldc);
    for (; r < rows; r++) micro(1, 1, a + r, 1, 1, length, 0, lda, b, ldb, c + r * ldc, ldc);
}

/* ------------------------------------------------------------------------------------- Winograd F(4x4,3x3) --- */

INLINE void input_line(const vec *d, int step, vec *o, int stride) { /* B^T d */
    const vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const vec a = d4 - 4.0f * d2, b = d3 - 4.0f * d1, e = d4 - d2, f = 2.0f * (d3 - d1);
    o[0] = 4.0f * d0 - 5.0f * d2 + d4;
    o[stride] = a + b;
    o[2 * stride] = a - b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = 4.0f * d1 - 5.0f * d3 + d5;
}

INLINE void output_line(const vec *m, int step, vec *o, int stride) { /* A^T m */
    const vec a = m[step] + m[2 * step], b = m[step] - m[2 * step];
    const vec e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    o[0] = m[0] + a + e;
    o[stride] = b + 2.0f * f;
    o[2 * stride] = a + 4.0f * e;
    o[3 * stride] = b + 8.0f * f + m[5 * step];
}

INLINE void spread_line(const vec *g, int step, vec *o, int stride) { /* A g, the adjoint of output_line */
    const vec g0 = g[0], g1 = g[step], g2 = g[2 * step], g3 = g[3 * step];
    const vec a = g0 + g2, b = g1 + g3, e = g0 + 4.0f * g2, f = 2.0f * g1 + 8.0f * g3;
    o[0] = g0;
    o[stride] = a + b;
    o[2 * stride] = a - b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = g3;
}

INLINE void weight_line(const vec *w, int step, vec *o, int stride) { /* G w */
    const vec w0 = w[0], w1 = w[step], w2 = w[2 * step];
    const vec a = (w0 + w2) * (-1 / 6.0f), b = w1 * (1 / 6.0f);
    const vec e = w0 * (1 / 24.0f) + w2 * (1 / 6.0f), f = w1 * (1 / 12.0f);
    o[0] = 0.25f * w0;
    o[stride] = a - b;
    o[2 * stride] = a + b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = w2;
}

INLINE void gather_line(const vec *u, int step, vec *o, int stride) { /* G^T u, the adjoint of weight_line */
    const vec u1 = u[step], u2 = u[2 * step], u3 = u[3 * step], u4 = u[4 * step];
    const vec a = (u1 + u2) * (-1 / 6.0f), e = u3 + u4;
    o[0] = 0.25f * u[0] + a + e * (1 / 24.0f);
    o[stride] = (u2 - u1) * (1 / 6.0f) + (u3 - u4) * (1 / 12.0f);
    o[2 * stride] = a + e * (1 / 6.0f) + u[5 * step];
}

/* Weights (3,3,inner,outer) to [36][outer/PANEL][inner][PANEL]; turned: by 180 degrees, for the input's gradient. */
void transform_weights(const float *w, float *u, int64_t inner, int64_t outer, int64_t turned, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < inner; k++)
        for (int64_t j = 0; j < outer; j += LANES) {
            vec d[9], t[6][3], o[6];
            for (int i = 0; i < 9; i++) d[i] = LOAD(w + ((turned ? 8 - i : i) * inner + k) * outer + j);
            for (int i = 0; i < 3; i++) weight_line(d + i, 3, &t[0][i], 3);
            float *place = u + (j / PANEL * inner + k) * PANEL + j % PANEL;
            for (int a = 0; a < 6; a++) {
                weight_line(t[a], 1, o, 1);
                for (int b = 0; b < 6; b++) STORE(place + (a * 6 + b) * inner * outer, o[b]);
            }
        }
}

typedef struct {
    int64_t h, w, across, each; /* maps; tiles in a row and in an image */
} grid;

INLINE grid grid_of(int64_t h, int64_t w) {
    const int64_t across = (w + 3) / 4;
    return (grid){h, w, across, across * ((h + 3) / 4)};
}

/* Tiles first..first+count of maps x (.., c) as v[36][count by stride][c]. */
static void transform_input(const float *x, grid s, int64_t first, int64_t count, int64_t c, float *v, int64_t stride) {
    for (int64_t t = 0; t < count; t++) {
        const int64_t image = (first + t) / s.each, place = (first + t) % s.each;
        const int64_t top = place / s.across * 4 - 1, left = place % s.across * 4 - 1;
        const float *from = x + ((image * s.h + top) * s.w + left) * c;
        const int whole = top >= 0 && left >= 0 && top + 6 <= s.h && left + 6 <= s.w;
        for (int64_t j = 0; j < c; j += LANES) {
            vec d[6], e[6][6], o[6];
            for (int b = 0; b < 6; b++) {
                for (int a = 0; a < 6; a++)
                    d[a] = whole || (top + a >= 0 && top + a < s.h && left + b >= 0 && left + b < s.w)
                               ? LOAD(from + (a * s.w + b) * c + j)
                               : (vec){0};
                input_line(d, 1, &e[0][b], 6);
            }
            for (int a = 0; a < 6; a++) {
                input_line(e[a], 1, o, 1);
                for (int b = 0; b < 6; b++) STORE(v + (a * 6 + b) * stride + t * c + j, o[b]);
            }
        }
    }
}

/* m[36][count by stride][c] to maps y (.., c). */
static void transform_output(const float *m, int64_t stride, grid s, int64_t first, int64_t count, int64_t c, float *y) {
    for (int64_t t = 0; t < count; t++) {
        const int64_t image = (first + t) / s.each, place = (first + t) % s.each;
        const int64_t top = place / s.across * 4, left = place % s.across * 4;
        float *to = y + ((image * s.h + top) * s.w + left) * c;
        for (int64_t j = 0; j < c; j += LANES) {
            vec d[6], e[4][6], o[4];
            for (int b = 0; b < 6; b++) {
                for (int a = 0; a < 6; a++) d[a] = LOAD(m + (a * 6 + b) * stride + t * c + j);
                output_line(d, 1, &e[0][b], 6);
            }
            for (int a = 0; a < 4 && top + a < s.h; a++) {
                output_line(e[a], 1, o, 1);
                for (int b = 0; b < 4 && left + b < s.w; b++) STORE(to + (a * s.w + b) * c + j, o[b]);
            }
        }
    }
}

/* The adjoint of transform_output: gradients of maps y (.., c) as m[36][count by stride][c]. */
static void spread_output(const float *y, grid s, int64_t first, int64_t count, int64_t c, float *m, int64_t stride) {
    for (int64_t t = 0; t < count; t++) {
        const int64_t image = (first + t) / s.each, place = (first + t) % s.each;
        const int64_t top = place / s.across * 4, left = place % s.across * 4;
        const float *from = y + ((image * s.h + top) * s.w + left) * c;
        for (int64_t j = 0; j < c; j += LANES) {
            vec d[4], e[6][4], o[6];
            for (int b = 0; b < 4; b++) {
                for (int a = 0; a < 4; a++)
                    d[a] = top + a < s.h && left + b < s.w ? LOAD(from + (a * s.w + b) * c + j) : (vec){0};
                spread_line(d, 1, &e[0][b], 4);
            }
            for (int a = 0; a < 6; a++) {
                spread_line(e[a], 1, o, 1);
                for (int b = 0; b < 6; b++) STORE(m + (a * 6 + b) * stride + t * c + j, o[b]);
            }
        }
    }
}

/* Space for the transformed tiles of one block. */
static size_t tile_space(int64_t channels) { return (size_t)POINTS * (size_t)(TILES * channels + LANES); }

/* Convolution of g maps x (g,h,w,inner) to y (g,h,w,outer), padding 1; v and m are tile spaces. */
static void convolve(const float *x, const float *u, float *y, int64_t g, grid s, int64_t inner, int64_t outer,
                     float *v, float *m) {
    const int64_t vs = TILES * inner + LANES, ms = TILES * outer + LANES;
    for (int64_t t = 0; t < g * s.each; t += TILES) {
        const int64_t count = g * s.each - t < TILES ? g * s.each - t : TILES;
        transform_input(x, s, t, count, inner, v, vs);
        for (int64_t p = 0; p < POINTS; p++)
            for (int64_t j = 0; j < outer; j += PANEL)
                product(count, v + p * vs, inner, 1, inner, 0, u + (p * outer + j) * inner, m + p * ms + j, outer);
        transform_output(m, ms, s, t, count, outer, y);
    }
}

/* ---------------------------------------------------------------------- norm, ReLU and pooling of one image --- */

/* v where a is positive, else 0. */
INLINE vec where_positive(vec a, vec v) { return (vec)((ints)v & (ints)(a > (vec){0})); }
INLINE vec positive(vec a) { return where_positive(a, a); }

/* Both passes take BLOCK or COLS vectors of channels at a time, whose sums stay in registers. */
#define BLOCK 4

INLINE void norm_forward_part(const int k, const float *restrict y, const float *gamma, const float *beta, float eps,
                              int64_t h, int64_t w, int64_t c, float *restrict pooled, float *restrict mean,
                              float *restrict rstd) {
    const float share = 1.0f / (float)(h * w);
    vec m[BLOCK], r[BLOCK], scale[BLOCK], shift[BLOCK];
    EACH (int j = 0; j < k; j++) m[j] = r[j] = (vec){0};
    for (int64_t p = 0; p < h * w; p++)
        EACH (int j = 0; j < k; j++) m[j] += LOAD(y + p * c + j * LANES);
    EACH (int j = 0; j < k; j++) m[j] *= share;
    for (int64_t p = 0; p < h * w; p++)
        EACH (int j = 0; j < k; j++) {
            const vec d = LOAD(y + p * c + j * LANES) - m[j];
            r[j] += d * d;
        }
    EACH (int j = 0; j < k; j++) {
        EACH (int i = 0; i < LANES; i++) r[j][i] = 1.0f / sqrtf(r[j][i] * share + eps);
        STORE(mean + j * LANES, m[j]);
        STORE(rstd + j * LANES, r[j]);
        scale[j] = LOAD(gamma + j * LANES) * r[j];
        shift[j] = LOAD(beta + j * LANES) - m[j] * scale[j];
    }
    for (int64_t a = 0; a < h / 2; a++)
        for (int64_t b = 0; b < w / 2; b++)
            EACH (int j = 0; j < k; j++) {
                const float *q = y + (2 * a * w + 2 * b) * c + j * LANES;
                const vec top = positive(LOAD(q) * scale[j] + shift[j]) + positive(LOAD(q + c) * scale[j] + shift[j]);
                q += w * c;
                const vec low = positive(LOAD(q) * scale[j] + shift[j]) + positive(LOAD(q + c) * scale[j] + shift[j]);
                STORE(pooled + (a * (w / 2) + b) * c + j * LANES, 0.25f * (top + low));
            }
}

INLINE void norm_backward_part(const int k, const float *y, const float *gamma, const float *beta,
                               const float *restrict mean, const float *restrict rstd, const float *restrict gp,
                               int64_t h, int64_t w, int64_t c, float *gy, float *restrict dgamma,
                               float *restrict dbeta) {
    const int64_t oh = h / 2, ow = w / 2;
    const float share = 1.0f / (float)(h * w);
    vec m[BLOCK], scale[BLOCK], shift[BLOCK], sum[BLOCK], product[BLOCK], slope[BLOCK], centre[BLOCK];
    EACH (int j = 0; j < k; j++) {
        m[j] = LOAD(mean + j * LANES);
        scale[j] = LOAD(gamma + j * LANES) * LOAD(rstd + j * LANES);
        shift[j] = LOAD(beta + j * LANES) - m[j] * scale[j];
        sum[j] = product[j] = (vec){0};
    }
    for (int64_t a = 0; a < oh; a++)
        for (int64_t b = 0; b < ow; b++)
            EACH (int j = 0; j < k; j++) {
                const vec g = LOAD(gp + (a * ow + b) * c + j * LANES);
                EACH (int i = 0; i < 4; i++) {
                    const vec value = LOAD(y + ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j * LANES);
                    const vec up = where_positive(value * scale[j] + shift[j], g);
                    sum[j] += up;
                    product[j] += up * (value - m[j]);
                }
            }
    EACH (int j = 0; j < k; j++) {
        const vec r = LOAD(rstd + j * LANES);
        product[j] *= 0.25f * r;
        sum[j] *= 0.25f;
        STORE(dgamma + j * LANES, product[j]);
        STORE(dbeta + j * LANES, sum[j]);
        slope[j] = -scale[j] * product[j] * share * r;
        centre[j] = -scale[j] * sum[j] * share - slope[j] * m[j];
    }
    for (int64_t a = 0; a < h; a++)
        for (int64_t b = 0; b < w; b++) {
            const int pooled = a < 2 * oh && b < 2 * ow;
            EACH (int j = 0; j < k; j++) {
                const vec value = LOAD(y + (a * w + b) * c + j * LANES);
                vec out = slope[j] * value + centre[j];
                if (pooled) {
                    const vec g = 0.25f * LOAD(gp + (a / 2 * ow + b / 2) * c + j * LANES);
                    out += scale[j] * where_positive(value * scale[j] + shift[j], g);
                }
                STORE(gy + (a * w + b) * c + j * LANES, out);
            }
        }
}

/* y (h,w,c) to pooled (h/2,w/2,c), mean and 1/deviation (c). */
static void norm_forward(const float *y, const float *gamma, const float *beta, float eps, int64_t h, int64_t w,
                         int64_t c, float *pooled, float *mean, float *rstd) {
    int64_t j = 0;
    for (; j + BLOCK * LANES <= c; j += BLOCK * LANES)
        norm_forward_part(BLOCK, y + j, gamma + j, beta + j, eps, h, w, c, pooled + j, mean + j, rstd + j);
    for (; j < c; j += PANEL)
        norm_forward_part(COLS, y + j, gamma + j, beta + j, eps, h, w, c, pooled + j, mean + j, rstd + j);
}

/* With g = dL/dpooled / 4 where the ReLU let through: dgamma = sum g h, dbeta = sum g,
 * dy = gamma / s (g - mean g - h mean(g h)). gy may be y. */
static void norm_backward(const float *y, const float *gamma, const float *beta, const float *mean, const float *rstd,
                          const float *gp, int64_t h, int64_t w, int64_t c, float *gy, float *dgamma, float *dbeta) {
    int64_t j = 0;
    for (; j + BLOCK * LANES <= c; j += BLOCK * LANES)
        norm_backward_part(BLOCK, y + j, gamma + j, beta + j, mean + j, rstd + j, gp + j, h, w, c, gy + j, dgamma + j,
                           dbeta + j);
    for (; j < c; j += PANEL)
        norm_backward_part(COLS, y + j, gamma + j, beta + j, mean + j, rstd + j, gp + j, h, w, c, gy + j, dgamma + j,
                           dbeta + j);
}

/* ------------------------------------------------------------------------------------------------ the block --- */

static _Thread_local float *held;
static _Thread_local size_t held_size;

/* This thread's working space; it grows and is kept. */
static float *space(size_t floats) {
    if (floats > held_size) {
        free(held);
        held_size = posix_memalign((void **)&held, 64, floats * sizeof(float)) ? 0 : floats;
        if (!held_size) abort();
    }
    return held;
}

/* Images a task: enough tiles for one product, and the tasks spread evenly over the threads. */
static int64_t group_size(int64_t n, int64_t tiles, int64_t threads) {
    const int64_t most = TILES / tiles < 1 ? 1 : TILES / tiles, share = (n + threads - 1) / threads;
    const int64_t rounds = (share + most - 1) / most;
    return (share + rounds - 1) / rounds;
}

/* A block after the first: x (n,h,w,inner) to pooled (n,h/2,w/2,outer); u from transform_weights. y (n,h,w,outer),
 * mean and rstd (n,outer) are kept for the backward pass; y may be NULL. */
void forward(const float *x, const float *u, const float *gamma, const float *beta, float *y, float *pooled,
             float *mean, float *rstd, int64_t n, int64_t h, int64_t w, int64_t inner, int64_t outer, float eps,
             int64_t threads) {
    const grid s = grid_of(h, w);
    const int64_t group = group_size(n, s.each, threads), in = h * w * inner, out = h * w * outer;
#pragma omp parallel num_threads(threads)
    {
        float *v = space(tile_space(inner) + tile_space(outer) + (size_t)(group * out));
        float *m = v + tile_space(inner), *maps = m + tile_space(outer);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            float *here = y ? y + i * out : maps;
            convolve(x + i * in, u, here, g, s, inner, outer, v, m);
            for (int64_t k = 0; k < g; k++)
                norm_forward(here + k * out, gamma, beta, eps, h, w, outer,
                             pooled + (i + k) * (h / 2) * (w / 2) * outer, mean + (i + k) * outer,
                             rstd + (i + k) * outer);
        }
    }
}

/* Its backward pass: gp (n,h/2,w/2,outer) to gx (n,h,w,inner); u from transform_weights, turned. gy (n,h,w,outer),
 * the gradient of the convolution's output, is kept where it is not NULL. */
void backward(const float *y, const float *u, const float *gamma, const float *beta, const float *mean,
              const float *rstd, const float *gp, float *gx, float *gy, float *dgamma, float *dbeta, int64_t n,
              int64_t h, int64_t w, int64_t inner, int64_t outer, int64_t threads) {
    const grid s = grid_of(h, w);
    const int64_t group = group_size(n, s.each, threads), in = h * w * inner, out = h * w * outer;
#pragma omp parallel num_threads(threads)
    {
        float *v = space(tile_space(inner) + tile_space(outer) + (size_t)(group * out));
        float *m = v + tile_space(outer), *maps = m + tile_space(inner);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            float *here = gy ? gy + i * out : maps;
            for (int64_t k = 0; k < g; k++)
                norm_backward(y + (i + k) * out, gamma, beta, mean + (i + k) * outer, rstd + (i + k) * outer,
                              gp + (i + k) * (h / 2) * (w / 2) * outer, h, w, outer, here + k * out,
                              dgamma + (i + k) * outer, dbeta + (i + k) * outer);
            if (gx) convolve(here, u, gx + i * in, g, s, outer, inner, v, m);
        }
    }
}

/* Gradient (3,3,inner,outer) of the weights from x (n,h,w,inner) and gy (n,h,w,outer). Each of the 36 points is one
 * sum over all tiles, taken by one thread, block after block; sums is (36,inner,outer). */
void weight_gradient(const float *x, const float *gy, float *sums, float *gw, int64_t n, int64_t h, int64_t w,
                     int64_t inner, int64_t outer, int64_t threads) {
    const grid s = grid_of(h, w);
    const int64_t tiles = n * s.each, block = TILES * threads, vs = block * inner + LANES, ms = block * outer + LANES;
    float *v = space((size_t)(POINTS * (vs + ms))), *m = v + POINTS * vs;
    memset(sums, 0, sizeof(float) * (size_t)(POINTS * inner * outer));
#pragma omp parallel num_threads(threads)
    {
        for (int64_t t = 0; t < tiles; t += block) {
            const int64_t count = tiles - t < block ? tiles - t : block;
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i += 8) {
                const int64_t some = count - i < 8 ? count - i : 8;
                transform_input(x, s, t + i, some, inner, v + i * inner, vs);
                spread_output(gy, s, t + i, some, outer, m + i * outer, ms);
            }
#pragma omp for schedule(static)
            for (int64_t p = 0; p < POINTS; p++)
                for (int64_t j = 0; j < outer; j += PANEL)
                    product_add(inner, v + p * vs, inner, count, m + p * ms + j, outer, sums + p * inner * outer + j,
                                outer);
        }
#pragma omp for schedule(static)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t j = 0; j < outer; j += LANES) {
                vec d[6], e[3][6], o[3];
                for (int b = 0; b < 6; b++) {
                    for (int a = 0; a < 6; a++) d[a] = LOAD(sums + ((a * 6 + b) * inner + k) * outer + j);
                    gather_line(d, 1, &e[0][b], 6);
                }
                for (int a = 0; a < 3; a++) {
                    gather_line(e[a], 1, o, 1);
                    for (int b = 0; b < 3; b++) STORE(gw + ((a * 3 + b) * inner + k) * outer + j, o[b]);
                }
            }
    }
}

/* ------------------------------------------------------------------------------------------ the first block --- */

typedef struct {
    int64_t h, w, c, padding, oh, ow, wide; /* images; output of the convolution; floats in a padded row */
} frame;

INLINE frame frame_of(int64_t h, int64_t w, int64_t c, int64_t padding) {
    return (frame){h, w, c, padding, h + 2 * padding - 2, w + 2 * padding - 2, (w + 2 * padding) * c};
}

static size_t padded_space(frame f) { return (size_t)((f.h + 2 * f.padding) * f.wide + LANES); }

/* y (oh,ow,outer) of one image, whose padded copy is left in padded. weights [outer/PANEL][3][3*c][PANEL]. */
static void first_convolution(const float *x, const float *weights, frame f, int64_t outer, float *padded, float *y) {
    memset(padded, 0, padded_space(f) * sizeof(float));
    for (int64_t a = 0; a < f.h; a++)
        memcpy(padded + (a + f.padding) * f.wide + f.padding * f.c, x + a * f.w * f.c, sizeof(float) * (size_t)(f.w * f.c));
    for (int64_t a = 0; a < f.oh; a++)
        for (int64_t j = 0; j < outer; j += PANEL)
            product(f.ow, padded + a * f.wide, f.c, 3, 3 * f.c, f.wide, weights + j * 9 * f.c, y + a * f.ow * outer + j,
                    outer);
}

/* Images x (n,h,w,c) to pooled (n,oh/2,ow/2,outer), mean and rstd (n,outer). */
void first_forward(const float *x, const float *weights, const float *gamma, const float *beta, float *pooled,
                   float *mean, float *rstd, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                   float eps, int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
#pragma omp parallel num_threads(threads)
    {
        float *padded = space(padded_space(f) + (size_t)(f.oh * f.ow * outer)), *y = padded + padded_space(f);
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < n; i++) {
            first_convolution(x + i * h * w * c, weights, f, outer, padded, y);
            norm_forward(y, gamma, beta, eps, f.oh, f.ow, outer, pooled + i * (f.oh / 2) * (f.ow / 2) * outer,
                         mean + i * outer, rstd + i * outer);
        }
    }
}

/* Floats that the backward pass of one image needs: padded images and gradients, maps, a row of taps. */
static size_t first_space(frame f, int64_t maps, int64_t outer) {
    return 2 * padded_space(f) + (size_t)(maps * f.oh * f.ow * outer + f.ow * (9 * f.c + PANEL));
}

/* sum [9*c][outer] += what one image does to the gradient of the weights. */
static void first_weight_gradient(const float *padded, const float *gy, frame f, int64_t outer, float *sum) {
    for (int64_t a = 0; a < f.oh; a++)
        for (int64_t dy = 0; dy < 3; dy++)
            for (int64_t j = 0; j < outer; j += PANEL)
                product_add(3 * f.c, padded + (a + dy) * f.wide, f.c, f.ow, gy + a * f.ow * outer + j, outer,
                            sum + dy * 3 * f.c * outer + j, outer);
}

/* gx (h,w,c) of one image from some maps gy (maps,oh,ow,outer) by back [columns/PANEL][maps*outer][PANEL], whose
 * columns are the taps (3,3,c); spread and row are spaces. */
static void first_input_gradient(const float *gy, int64_t maps, const float *back, frame f, int64_t outer,
                                 float *spread, float *row, float *gx) {
    const int64_t out = f.oh * f.ow * outer, columns = (9 * f.c + PANEL - 1) / PANEL * PANEL;
    memset(spread, 0, padded_space(f) * sizeof(float));
    for (int64_t a = 0; a < f.oh; a++) {
        for (int64_t j = 0; j < columns; j += PANEL)
            product(f.ow, gy + a * f.ow * outer, outer, maps, outer, out, back + j * maps * outer, row + j, columns);
        for (int64_t dy = 0; dy < 3; dy++)
            for (int64_t b = 0; b < f.ow; b++)
                for (int64_t k = 0; k < 3 * f.c; k++)
                    spread[(a + dy) * f.wide + b * f.c + k] += row[b * columns + dy * 3 * f.c + k];
    }
    for (int64_t a = 0; a < f.h; a++)
        memcpy(gx + a * f.w * f.c, spread + (a + f.padding) * f.wide + f.padding * f.c,
               sizeof(float) * (size_t)(f.w * f.c));
}

/* Its backward pass, with the convolution made again. gx (n,h,w,c) where it is not NULL, from back
 * [columns/PANEL][outer][PANEL], whose columns are the taps (3,3,c); sums [slices][9*c][outer], the gradient of the
 * weights by SLICE images, where it is not NULL. */
void first_backward(const float *x, const float *weights, const float *back, const float *gamma, const float *beta,
                    const float *mean, const float *rstd, const float *gp, float *gx, float *sums, float *dgamma,
                    float *dbeta, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                    int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
#pragma omp parallel num_threads(threads)
    {
        float *padded = space(first_space(f, 1, outer)), *y = padded + 2 * padded_space(f);
#pragma omp for schedule(dynamic, 1)
        for (int64_t slice = 0; slice < (n + SLICE - 1) / SLICE; slice++) {
            float *sum = sums ? sums + slice * 9 * c * outer : NULL;
            if (sum) memset(sum, 0, sizeof(float) * (size_t)(9 * c * outer));
            for (int64_t i = slice * SLICE; i < n && i < (slice + 1) * SLICE; i++) {
                first_convolution(x + i * h * w * c, weights, f, outer, padded, y);
                norm_backward(y, gamma, beta, mean + i * outer, rstd + i * outer,
                              gp + i * (f.oh / 2) * (f.ow / 2) * outer, f.oh, f.ow, outer, y, dgamma + i * outer,
                              dbeta + i * outer);
                if (sum) first_weight_gradient(padded, y, f, outer, sum);
                if (gx)
                    first_input_gradient(y, 1, back, f, outer, padded + padded_space(f), y + f.oh * f.ow * outer,
                                         gx + i * h * w * c);
            }
        }
    }
}

/* -------------------------------------------------------------------------------------- along a direction --- */

/* Maps y and their derivative t along a direction of the weights. With n = (y - mean)/s, q = t - mean t - n <n,t> and
 * n' = q/s, the two outputs are the pooled positive part of z = gamma n + beta and, where z is positive, of
 * z' = gamma n' + along_gamma n + along_beta; <.,.> is a mean over places. */

typedef struct {
    const float *gamma, *beta, *along_gamma, *along_beta;
} affine;

#define STATS 4 /* kept of each image and channel: mean, 1/s, mean t, <n,t> */

typedef struct {
    vec mean, rstd, drift, tilt, scale, shift, slope, turn, lift;
} channel;

/* Constants of some channels: z = scale y + shift; z' = slope q + turn (y - mean) + lift. */
INLINE channel channel_of(affine f, const float *stats, int64_t c, int64_t j) {
    channel k;
    k.mean = LOAD(stats + j), k.rstd = LOAD(stats + c + j);
    k.drift = LOAD(stats + 2 * c + j), k.tilt = LOAD(stats + 3 * c + j);
    k.slope = LOAD(f.gamma + j) * k.rstd;
    k.scale = k.slope, k.shift = LOAD(f.beta + j) - k.mean * k.scale;
    k.turn = LOAD(f.along_gamma + j) * k.rstd, k.lift = LOAD(f.along_beta + j);
    return k;
}

/* q of a place. */
INLINE vec bent(const channel *k, vec y, vec t) { return t - k->drift - (y - k->mean) * k->rstd * k->tilt; }

static void norm_tangent(const float *y, const float *t, affine f, float eps, int64_t h, int64_t w, int64_t c,
                         float *pooled, float *along, float *stats) {
    const float share = 1.0f / (float)(h * w);
    for (int64_t j = 0; j < c; j += LANES) {
        vec mean = {0}, drift = {0}, rstd = {0}, tilt = {0};
        for (int64_t p = 0; p < h * w; p++) mean += LOAD(y + p * c + j), drift += LOAD(t + p * c + j);
        mean *= share, drift *= share;
        for (int64_t p = 0; p < h * w; p++) {
            const vec d = LOAD(y + p * c + j) - mean;
            rstd += d * d;
            tilt += d * (LOAD(t + p * c + j) - drift);
        }
        EACH (int i = 0; i < LANES; i++) rstd[i] = 1.0f / sqrtf(rstd[i] * share + eps);
        tilt *= share * rstd;
        STORE(stats + j, mean);
        STORE(stats + c + j, rstd);
        STORE(stats + 2 * c + j, drift);
        STORE(stats + 3 * c + j, tilt);
        const channel k = channel_of(f, stats, c, j);
        for (int64_t a = 0; a < h / 2; a++)
            for (int64_t b = 0; b < w / 2; b++) {
                vec sum = {0}, sum_along = {0};
                EACH (int i = 0; i < 4; i++) {
                    const int64_t p = ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j;
                    const vec value = LOAD(y + p), z = value * k.scale + k.shift;
                    sum += positive(z);
                    sum_along += where_positive(
                        z, k.slope * bent(&k, value, LOAD(t + p)) + k.turn * (value - k.mean) + k.lift);
                }
                STORE(pooled + (a * (w / 2) + b) * c + j, 0.25f * sum);
                STORE(along + (a * (w / 2) + b) * c + j, 0.25f * sum_along);
            }
    }
}

/* From the gradients gp and ga of the two outputs to gy and gt, which may be y and t. With u = gp/4 and u' = ga/4
 * where z is positive, g = gamma u + along_gamma u' and g' = gamma u':
 *   gt = (g' - mean g' - n <n,g'>) / s,
 *   gy = (g - mean g - n <n,g>) / s - (n <g',q> + q <n,g'> + s gt <n,t>) / s^2,
 * dgamma = sum(n u + n' u') and dbeta = sum u. */
static void norm_tangent_backward(const float *y, const float *t, affine f, const float *stats, const float *gp,
                                  const float *ga, int64_t h, int64_t w, int64_t c, float *gy, float *gt,
                                  float *dgamma, float *dbeta) {
    const int64_t oh = h / 2, ow = w / 2;
    const float share = 1.0f / (float)(h * w);
    for (int64_t j = 0; j < c; j += LANES) {
        const channel k = channel_of(f, stats, c, j);
        const vec gamma = LOAD(f.gamma + j), along_gamma = LOAD(f.along_gamma + j);
        vec u0 = {0}, u1 = {0}, t0 = {0}, t1 = {0}, t2 = {0};
        for (int64_t a = 0; a < oh; a++)
            for (int64_t b = 0; b < ow; b++) {
                const vec g = LOAD(gp + (a * ow + b) * c + j), l = LOAD(ga + (a * ow + b) * c + j);
                EACH (int i = 0; i < 4; i++) {
                    const int64_t p = ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j;
                    const vec value = LOAD(y + p), z = value * k.scale + k.shift, n = (value - k.mean) * k.rstd;
                    const vec u = where_positive(z, g), v = where_positive(z, l);
                    u0 += u, u1 += u * n, t0 += v, t1 += v * n;
                    t2 += v * bent(&k, value, LOAD(t + p));
                }
            }
        u0 *= 0.25f, u1 *= 0.25f, t0 *= 0.25f, t1 *= 0.25f, t2 *= 0.25f;
        STORE(dgamma + j, u1 + k.rstd * t2);
        STORE(dbeta + j, u0);
        const vec mean_g = share * (gamma * u0 + along_gamma * t0), of_n = share * (gamma * u1 + along_gamma * t1);
        const vec mean_l = share * gamma * t0, of_l = share * gamma * t1, of_q = share * gamma * t2;
        for (int64_t a = 0; a < h; a++)
            for (int64_t b = 0; b < w; b++) {
                const int64_t p = (a * w + b) * c + j;
                const vec value = LOAD(y + p), n = (value - k.mean) * k.rstd, q = bent(&k, value, LOAD(t + p));
                vec g = {0}, l = {0};
                if (a < 2 * oh && b < 2 * ow) {
                    const vec z = value * k.scale + k.shift;
                    const int64_t o = (a / 2 * ow + b / 2) * c + j;
                    const vec v = 0.25f * where_positive(z, LOAD(ga + o));
                    g = gamma * 0.25f * where_positive(z, LOAD(gp + o)) + along_gamma * v;
                    l = gamma * v;
                }
                const vec flat = l - mean_l - n * of_l; /* s gt */
                STORE(gt + p, k.rstd * flat);
                STORE(gy + p, k.rstd * (g - mean_g - n * of_n - k.rstd * (n * of_q + q * of_l + flat * k.tilt)));
            }
    }
}

/* y = x * u and t = a * u + x * v for g maps x and a (g,h,w,inner); both holds [v, u] by input channel; spaces for
 * two inputs and an output. */
static void convolve_dual(const float *x, const float *a, const float *u, const float *both, float *y, float *t,
                          int64_t g, grid s, int64_t inner, int64_t outer, float *spaces) {
    const int64_t vs = TILES * inner + LANES, ms = TILES * outer + LANES, jump = (int64_t)tile_space(inner);
    float *first = spaces, *second = first + jump, *m = second + jump;
    for (int64_t i = 0; i < g * s.each; i += TILES) {
        const int64_t count = g * s.each - i < TILES ? g * s.each - i : TILES;
        transform_input(x, s, i, count, inner, first, vs);
        transform_input(a, s, i, count, inner, second, vs);
        for (int64_t p = 0; p < POINTS; p++)
            for (int64_t j = 0; j < outer; j += PANEL)
                product(count, first + p * vs, inner, 1, inner, 0, u + (p * outer + j) * inner, m + p * ms + j, outer);
        transform_output(m, ms, s, i, count, outer, y);
        for (int64_t p = 0; p < POINTS; p++)
            for (int64_t j = 0; j < outer; j += PANEL)
                product(count, first + p * vs, inner, 2, inner, jump, both + (p * outer + j) * 2 * inner,
                        m + p * ms + j, outer);
        transform_output(m, ms, s, i, count, outer, t);
    }
}

/* A block after the first: x and a (n,h,w,inner) to pooled and along (n,h/2,w/2,outer). y, t (n,h,w,outer) and stats
 * (n,STATS,outer) are kept for the backward pass. */
void dual_forward(const float *x, const float *a, const float *u, const float *both, const float *gamma,
                  const float *beta, const float *along_gamma, const float *along_beta, float *y, float *t,
                  float *pooled, float *along, float *stats, int64_t n, int64_t h, int64_t w, int64_t inner,
                  int64_t outer, float eps, int64_t threads) {
    const grid s = grid_of(h, w);
    const affine f = {gamma, beta, along_gamma, along_beta};
    const int64_t group = group_size(n, s.each, threads), in = h * w * inner, out = h * w * outer;
    const int64_t less = (h / 2) * (w / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *spaces = space(2 * tile_space(inner) + tile_space(outer));
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            convolve_dual(x + i * in, a + i * in, u, both, y + i * out, t + i * out, g, s, inner, outer, spaces);
            for (int64_t k = i; k < i + g; k++)
                norm_tangent(y + k * out, t + k * out, f, eps, h, w, outer, pooled + k * less, along + k * less,
                             stats + k * STATS * outer);
        }
    }
}

/* Its backward pass: gp and ga to gx and gxa (n,h,w,inner); u and both turned. gy and gt (n,h,w,outer), gradients of
 * the convolutions' outputs, are kept. */
void dual_backward(const float *y, const float *t, const float *u, const float *both, const float *gamma,
                   const float *beta, const float *along_gamma, const float *along_beta, const float *stats,
                   const float *gp, const float *ga, float *gx, float *gxa, float *gy, float *gt, float *dgamma,
                   float *dbeta, int64_t n, int64_t h, int64_t w, int64_t inner, int64_t outer, int64_t threads) {
    const grid s = grid_of(h, w);
    const affine f = {gamma, beta, along_gamma, along_beta};
    const int64_t group = group_size(n, s.each, threads), in = h * w * inner, out = h * w * outer;
    const int64_t less = (h / 2) * (w / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *spaces = space(2 * tile_space(outer) + tile_space(inner));
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            for (int64_t k = i; k < i + g; k++)
                norm_tangent_backward(y + k * out, t + k * out, f, stats + k * STATS * outer, gp + k * less,
                                      ga + k * less, h, w, outer, gy + k * out, gt + k * out, dgamma + k * outer,
                                      dbeta + k * outer);
            convolve_dual(gt + i * out, gy + i * out, u, both, gxa + i * in, gx + i * in, g, s, outer, inner, spaces);
        }
    }
}

/* The first block: images x (n,h,w,c), which no direction moves, to pooled and along (n,oh/2,ow/2,outer). */
void first_dual_forward(const float *x, const float *weights, const float *direction, const float *gamma,
                        const float *beta, const float *along_gamma, const float *along_beta, float *pooled,
                        float *along, float *stats, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding,
                        int64_t outer, float eps, int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
    const affine g = {gamma, beta, along_gamma, along_beta};
    const int64_t out = f.oh * f.ow * outer, less = (f.oh / 2) * (f.ow / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *padded = space(padded_space(f) + 2 * (size_t)out), *y = padded + padded_space(f), *t = y + out;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < n; i++) {
            first_convolution(x + i * h * w * c, weights, f, outer, padded, y);
            first_convolution(x + i * h * w * c, direction, f, outer, padded, t);
            norm_tangent(y, t, g, eps, f.oh, f.ow, outer, pooled + i * less, along + i * less,
                         stats + i * STATS * outer);
        }
    }
}

/* Its backward pass, with the convolutions made again; back [columns/PANEL][2*outer][PANEL] of weights and direction;
 * gx and sums as in first_backward. */
void first_dual_backward(const float *x, const float *weights, const float *direction, const float *back,
                         const float *gamma, const float *beta, const float *along_gamma, const float *along_beta,
                         const float *stats, const float *gp, const float *ga, float *gx, float *sums, float *dgamma,
                         float *dbeta, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                         int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
    const affine norm = {gamma, beta, along_gamma, along_beta};
    const int64_t out = f.oh * f.ow * outer, less = (f.oh / 2) * (f.ow / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *padded = space(first_space(f, 2, outer)), *y = padded + 2 * padded_space(f), *t = y + out;
#pragma omp for schedule(dynamic, 1)
        for (int64_t slice = 0; slice < (n + SLICE - 1) / SLICE; slice++) {
            float *sum = sums ? sums + slice * 9 * c * outer : NULL;
            if (sum) memset(sum, 0, sizeof(float) * (size_t)(9 * c * outer));
            for (int64_t i = slice * SLICE; i < n && i < (slice + 1) * SLICE; i++) {
                first_convolution(x + i * h * w * c, direction, f, outer, padded, t);
                first_convolution(x + i * h * w * c, weights, f, outer, padded, y);
                norm_tangent_backward(y, t, norm, stats + i * STATS * outer, gp + i * less, ga + i * less, f.oh, f.ow,
                                      outer, y, t, dgamma + i * outer, dbeta + i * outer);
                if (sum) first_weight_gradient(padded, y, f, outer, sum);
                if (gx)
                    first_input_gradient(y, 2, back, f, outer, padded + padded_space(f), t + out,
                                         gx + i * h * w * c);
            }
        }
    }
}
