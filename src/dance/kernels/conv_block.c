/* One block of the field's ConvNet: 3x3 convolution, instance norm, ReLU, 2x2 average pooling, forward and backward,
 * for maps in float32 stored as (n, H, W, C) with C contiguous.
 *
 * The convolutions are in winograd.h, or in matrix_unit.h for processors with such a unit. With BFLOAT16, the factors
 * of their products are rounded to bfloat16; sums, and all else, are in float32. A group of images passes through the
 * whole block while its maps are in the second-level cache; only the input of the next block, and what is expensive to
 * recompute in the backward pass, is written to memory. The bias of the convolution is left out, because the norm
 * subtracts it.
 *
 * The last part computes the block on maps and their derivatives along a direction of the weights (dual numbers),
 * which replaces the second derivatives in gradient matching.
 *
 * The result of an image depends on that image alone, and every sum has a fixed order, so results are equal to the
 * last bit for every batch, grouping and number of threads.
 */
#include "vectors.h"
#ifdef MATRIX_UNIT
#include "matrix_unit.h"
#else
#include "winograd.h"
#endif

int64_t panel(void) { return PANEL; }

/* ---------------------------------------------------------------------- norm, ReLU and pooling of one image --- */

/* v where a is positive or no number, which must not be hidden, else 0. */
INLINE vec where_positive(vec a, vec v) { return (vec)((ints)v & ~(ints)(a <= (vec){0})); }
INLINE vec positive(vec a) { return where_positive(a, a); }

/* 1/(standard deviation) from sums of squares; NaN where these are too large for a float, rather than 0, which would
 * hide that the network diverges. */
INLINE vec reciprocal_deviation(vec squares, float inv_size, float eps) {
    vec r;
    UNROLL (int i = 0; i < LANES; i++) r[i] = 1.0f / sqrtf(squares[i] * inv_size + eps);
    return r + (squares - squares);
}

/* Both passes process BLOCK or COLS vectors of channels at a time, so that their sums stay in registers. */
#define BLOCK 4

INLINE void norm_forward_part(const int k, const float *restrict y, const float *gamma, const float *beta, float eps,
                              int64_t h, int64_t w, int64_t c, float *restrict pooled, float *restrict mean,
                              float *restrict rstd) {
    const float inv_size = 1.0f / (float)(h * w);
    vec m[BLOCK], r[BLOCK], scale[BLOCK], shift[BLOCK];
    UNROLL (int j = 0; j < k; j++) m[j] = r[j] = (vec){0};
    for (int64_t p = 0; p < h * w; p++)
        UNROLL (int j = 0; j < k; j++) m[j] += LOAD(y + p * c + j * LANES);
    UNROLL (int j = 0; j < k; j++) m[j] *= inv_size;
    for (int64_t p = 0; p < h * w; p++)
        UNROLL (int j = 0; j < k; j++) {
            const vec d = LOAD(y + p * c + j * LANES) - m[j];
            r[j] += d * d;
        }
    UNROLL (int j = 0; j < k; j++) {
        r[j] = reciprocal_deviation(r[j], inv_size, eps);
        STORE(mean + j * LANES, m[j]);
        STORE(rstd + j * LANES, r[j]);
        scale[j] = LOAD(gamma + j * LANES) * r[j];
        shift[j] = LOAD(beta + j * LANES) - m[j] * scale[j];
    }
    for (int64_t a = 0; a < h / 2; a++)
        for (int64_t b = 0; b < w / 2; b++)
            UNROLL (int j = 0; j < k; j++) {
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
    const float inv_size = 1.0f / (float)(h * w);
    vec m[BLOCK], scale[BLOCK], shift[BLOCK], sum[BLOCK], product[BLOCK], slope[BLOCK], centre[BLOCK];
    UNROLL (int j = 0; j < k; j++) {
        m[j] = LOAD(mean + j * LANES);
        scale[j] = LOAD(gamma + j * LANES) * LOAD(rstd + j * LANES);
        shift[j] = LOAD(beta + j * LANES) - m[j] * scale[j];
        sum[j] = product[j] = (vec){0};
    }
    for (int64_t a = 0; a < oh; a++)
        for (int64_t b = 0; b < ow; b++)
            UNROLL (int j = 0; j < k; j++) {
                const vec g = LOAD(gp + (a * ow + b) * c + j * LANES);
                UNROLL (int i = 0; i < 4; i++) {
                    const vec value = LOAD(y + ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j * LANES);
                    const vec up = where_positive(value * scale[j] + shift[j], g);
                    sum[j] += up;
                    product[j] += up * (value - m[j]);
                }
            }
    UNROLL (int j = 0; j < k; j++) {
        const vec r = LOAD(rstd + j * LANES);
        product[j] *= 0.25f * r;
        sum[j] *= 0.25f;
        STORE(dgamma + j * LANES, product[j]);
        STORE(dbeta + j * LANES, sum[j]);
        slope[j] = -scale[j] * product[j] * inv_size * r;
        centre[j] = -scale[j] * sum[j] * inv_size - slope[j] * m[j];
    }
    for (int64_t a = 0; a < h; a++)
        for (int64_t b = 0; b < w; b++) {
            const int pooled = a < 2 * oh && b < 2 * ow;
            UNROLL (int j = 0; j < k; j++) {
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

/* y (h,w,c) to pooled (h/2,w/2,c), mean and 1/(standard deviation) (c). */
static void norm_forward(const float *y, const float *gamma, const float *beta, float eps, int64_t h, int64_t w,
                         int64_t c, float *pooled, float *mean, float *rstd) {
    int64_t j = 0;
    for (; j + BLOCK * LANES <= c; j += BLOCK * LANES)
        norm_forward_part(BLOCK, y + j, gamma + j, beta + j, eps, h, w, c, pooled + j, mean + j, rstd + j);
    for (; j < c; j += PANEL)
        norm_forward_part(COLS, y + j, gamma + j, beta + j, eps, h, w, c, pooled + j, mean + j, rstd + j);
}

/* With n = (y - mean) / s, and g = dL/dpooled / 4 where the ReLU's input is positive, else 0: dgamma = sum g n,
 * dbeta = sum g, dy = gamma / s (g - mean g - n mean(g n)). gy may be y. */
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

/* Images per task: enough for one product, and tasks of equal size for every thread. */
static int64_t group_size(int64_t n, int64_t h, int64_t w, int64_t threads) {
    const int64_t max_images = images_at_once(h, w), per_thread = (n + threads - 1) / threads;
    const int64_t rounds = (per_thread + max_images - 1) / max_images;
    return (per_thread + rounds - 1) / rounds;
}

/* A block after the first: x (n,h,w,inner) to pooled (n,h/2,w/2,outer); u from pack_weights. y (n,h,w,outer),
 * mean and rstd (n,outer) are saved for the backward pass; y may be NULL. */
void forward(const float *x, const element *u, const float *gamma, const float *beta, float *y, float *pooled,
             float *mean, float *rstd, int64_t n, int64_t h, int64_t w, int64_t inner, int64_t outer, float eps,
             int64_t threads) {
    const int64_t group = group_size(n, h, w, threads), in = h * w * inner, out = h * w * outer;
#pragma omp parallel num_threads(threads)
    {
        const size_t floats = convolve_floats(group, h, w, inner);
        float *buffer = get_workspace(floats + (size_t)(group * out)), *maps = buffer + floats;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            convolve(x + i * in, u, maps, g, h, w, inner, outer, buffer);
            if (y) memcpy(y + i * out, maps, sizeof(float) * (size_t)(g * out));
            for (int64_t k = 0; k < g; k++)
                norm_forward(maps + k * out, gamma, beta, eps, h, w, outer,
                             pooled + (i + k) * (h / 2) * (w / 2) * outer, mean + (i + k) * outer,
                             rstd + (i + k) * outer);
        }
    }
}

/* The backward pass of forward: gp (n,h/2,w/2,outer) to gx (n,h,w,inner); u from pack_weights, flipped.
 * gy (n,h,w,outer), the gradient of the convolution's output, is stored if it is not NULL. */
void backward(const float *y, const element *u, const float *gamma, const float *beta, const float *mean,
              const float *rstd, const float *gp, float *gx, float *gy, float *dgamma, float *dbeta, int64_t n,
              int64_t h, int64_t w, int64_t inner, int64_t outer, int64_t threads) {
    const int64_t group = group_size(n, h, w, threads), in = h * w * inner, out = h * w * outer;
#pragma omp parallel num_threads(threads)
    {
        const size_t floats = convolve_floats(group, h, w, outer);
        float *buffer = get_workspace(floats + (size_t)(group * (out + in)));
        float *maps = buffer + floats, *gradients = maps + group * out;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            float *target = gy ? gy + i * out : maps;
            for (int64_t k = 0; k < g; k++)
                norm_backward(y + (i + k) * out, gamma, beta, mean + (i + k) * outer, rstd + (i + k) * outer,
                              gp + (i + k) * (h / 2) * (w / 2) * outer, h, w, outer, target + k * out,
                              dgamma + (i + k) * outer, dbeta + (i + k) * outer);
            if (!gx) continue;
            convolve(target, u, gradients, g, h, w, outer, inner, buffer);
            memcpy(gx + i * in, gradients, sizeof(float) * (size_t)(g * in));
        }
    }
}

/* ------------------------------------------------------------------------------------------ the first block --- */

/* Images x (n,h,w,c) to pooled (n,oh/2,ow/2,outer), mean and rstd (n,outer). */
void first_forward(const float *x, const float *weights, const float *gamma, const float *beta, float *pooled,
                   float *mean, float *rstd, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                   float eps, int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
#pragma omp parallel num_threads(threads)
    {
        const buffers b = buffers_of(f, 1, outer);
        const element *factors = first_weights(weights, f, outer, b.weights);
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < n; i++) {
            prepare_image(x + i * h * w * c, f, b);
            first_convolution(factors, f, outer, b, b.y);
            norm_forward(b.y, gamma, beta, eps, f.oh, f.ow, outer, pooled + i * (f.oh / 2) * (f.ow / 2) * outer,
                         mean + i * outer, rstd + i * outer);
        }
    }
}

/* The backward pass of first_forward, which computes the convolution again. gx (n,h,w,c) is computed if it is not
 * NULL, with back [columns/PANEL][outer][PANEL], whose columns are the taps (3,3,c); so is sums [slices][9*c][outer],
 * the gradient of the weights for each SLICE of images. */
void first_backward(const float *x, const float *weights, const float *back, const float *gamma, const float *beta,
                    const float *mean, const float *rstd, const float *gp, float *gx, float *sums, float *dgamma,
                    float *dbeta, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                    int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
#pragma omp parallel num_threads(threads)
    {
        const buffers b = buffers_of(f, 1, outer);
        const element *factors = first_weights(weights, f, outer, b.weights);
        const element *back_factors = gx ? first_back_weights(back, f, 1, outer, b) : NULL;
#pragma omp for schedule(dynamic, 1)
        for (int64_t slice = 0; slice < (n + SLICE - 1) / SLICE; slice++) {
            float *sum = sums ? sums + slice * 9 * c * outer : NULL;
            if (sum) memset(sum, 0, sizeof(float) * (size_t)(9 * c * outer));
            for (int64_t i = slice * SLICE; i < n && i < (slice + 1) * SLICE; i++) {
                prepare_image(x + i * h * w * c, f, b);
                first_convolution(factors, f, outer, b, b.y);
                norm_backward(b.y, gamma, beta, mean + i * outer, rstd + i * outer,
                              gp + i * (f.oh / 2) * (f.ow / 2) * outer, f.oh, f.ow, outer, b.y, dgamma + i * outer,
                              dbeta + i * outer);
                if (sum) first_weight_gradient(b.y, f, outer, b, sum);
                if (gx) first_input_gradient(1, back_factors, f, outer, b, gx + i * h * w * c);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------- dual numbers --- */

/* Maps y and their derivative t along a direction of the weights (their tangent). With n = (y - mean)/s,
 * q = t - mean t - n <n,t> and n' = q/s, where <.,.> is a mean over pixels, the output is max(z, 0), pooled, with
 * z = gamma n + beta; its tangent is z' where z is positive, else 0, pooled, with
 * z' = gamma n' + gamma_tangent n + beta_tangent. */

typedef struct {
    const float *gamma, *beta, *gamma_tangent, *beta_tangent;
} affine;

#define STATS 4 /* numbers saved for each image and channel: mean, 1/s, mean t, <n,t> */

typedef struct {
    vec mean, rstd, mean_t, dot_nt, scale, shift, tangent_scale, tangent_shift;
} channel;

/* Constants of LANES channels: z = scale y + shift; z' = scale q + tangent_scale (y - mean) + tangent_shift. */
INLINE channel channel_of(affine f, const float *stats, int64_t c, int64_t j) {
    channel k;
    k.mean = LOAD(stats + j), k.rstd = LOAD(stats + c + j);
    k.mean_t = LOAD(stats + 2 * c + j), k.dot_nt = LOAD(stats + 3 * c + j);
    k.scale = LOAD(f.gamma + j) * k.rstd, k.shift = LOAD(f.beta + j) - k.mean * k.scale;
    k.tangent_scale = LOAD(f.gamma_tangent + j) * k.rstd, k.tangent_shift = LOAD(f.beta_tangent + j);
    return k;
}

/* q at one pixel. */
INLINE vec centred_tangent(const channel *k, vec y, vec t) {
    return t - k->mean_t - (y - k->mean) * k->rstd * k->dot_nt;
}

static void norm_tangent(const float *y, const float *t, affine f, float eps, int64_t h, int64_t w, int64_t c,
                         float *pooled, float *tangent, float *stats) {
    const float inv_size = 1.0f / (float)(h * w);
    for (int64_t j = 0; j < c; j += LANES) {
        vec mean = {0}, mean_t = {0}, rstd = {0}, dot_nt = {0};
        for (int64_t p = 0; p < h * w; p++) mean += LOAD(y + p * c + j), mean_t += LOAD(t + p * c + j);
        mean *= inv_size, mean_t *= inv_size;
        for (int64_t p = 0; p < h * w; p++) {
            const vec d = LOAD(y + p * c + j) - mean;
            rstd += d * d;
            dot_nt += d * (LOAD(t + p * c + j) - mean_t);
        }
        rstd = reciprocal_deviation(rstd, inv_size, eps);
        dot_nt *= inv_size * rstd;
        STORE(stats + j, mean);
        STORE(stats + c + j, rstd);
        STORE(stats + 2 * c + j, mean_t);
        STORE(stats + 3 * c + j, dot_nt);
        const channel k = channel_of(f, stats, c, j);
        for (int64_t a = 0; a < h / 2; a++)
            for (int64_t b = 0; b < w / 2; b++) {
                vec sum = {0}, sum_tangent = {0};
                UNROLL (int i = 0; i < 4; i++) {
                    const int64_t p = ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j;
                    const vec value = LOAD(y + p), z = value * k.scale + k.shift;
                    const vec q = centred_tangent(&k, value, LOAD(t + p));
                    sum += positive(z);
                    sum_tangent += where_positive(
                        z, k.scale * q + k.tangent_scale * (value - k.mean) + k.tangent_shift);
                }
                STORE(pooled + (a * (w / 2) + b) * c + j, 0.25f * sum);
                STORE(tangent + (a * (w / 2) + b) * c + j, 0.25f * sum_tangent);
            }
    }
}

/* From the gradients gp and ga of output and tangent to gy and gt, which may be y and t. With u = gp/4 and
 * u' = ga/4 where z is positive, else 0, g = gamma u + gamma_tangent u' and g' = gamma u':
 *   gt = (g' - mean g' - n <n,g'>) / s,
 *   gy = (g - mean g - n <n,g>) / s - (n <g',q> + q <n,g'> + s gt <n,t>) / s^2,
 * dgamma = sum(n u + n' u') and dbeta = sum u. */
static void norm_tangent_backward(const float *y, const float *t, affine f, const float *stats, const float *gp,
                                  const float *ga, int64_t h, int64_t w, int64_t c, float *gy, float *gt,
                                  float *dgamma, float *dbeta) {
    const int64_t oh = h / 2, ow = w / 2;
    const float inv_size = 1.0f / (float)(h * w);
    for (int64_t j = 0; j < c; j += LANES) {
        const channel k = channel_of(f, stats, c, j);
        const vec gamma = LOAD(f.gamma + j), gamma_tangent = LOAD(f.gamma_tangent + j);
        vec u0 = {0}, u1 = {0}, t0 = {0}, t1 = {0}, t2 = {0};
        for (int64_t a = 0; a < oh; a++)
            for (int64_t b = 0; b < ow; b++) {
                const vec g = LOAD(gp + (a * ow + b) * c + j), l = LOAD(ga + (a * ow + b) * c + j);
                UNROLL (int i = 0; i < 4; i++) {
                    const int64_t p = ((2 * a + i / 2) * w + 2 * b + i % 2) * c + j;
                    const vec value = LOAD(y + p), z = value * k.scale + k.shift, n = (value - k.mean) * k.rstd;
                    const vec u = where_positive(z, g), v = where_positive(z, l);
                    u0 += u, u1 += u * n, t0 += v, t1 += v * n;
                    t2 += v * centred_tangent(&k, value, LOAD(t + p));
                }
            }
        u0 *= 0.25f, u1 *= 0.25f, t0 *= 0.25f, t1 *= 0.25f, t2 *= 0.25f;
        STORE(dgamma + j, u1 + k.rstd * t2);
        STORE(dbeta + j, u0);
        const vec mean_g = inv_size * (gamma * u0 + gamma_tangent * t0);
        const vec of_n = inv_size * (gamma * u1 + gamma_tangent * t1);
        const vec mean_l = inv_size * gamma * t0, of_l = inv_size * gamma * t1, of_q = inv_size * gamma * t2;
        for (int64_t a = 0; a < h; a++)
            for (int64_t b = 0; b < w; b++) {
                const int64_t p = (a * w + b) * c + j;
                const vec value = LOAD(y + p), n = (value - k.mean) * k.rstd;
                const vec q = centred_tangent(&k, value, LOAD(t + p));
                vec g = {0}, l = {0};
                if (a < 2 * oh && b < 2 * ow) {
                    const vec z = value * k.scale + k.shift;
                    const int64_t o = (a / 2 * ow + b / 2) * c + j;
                    const vec v = 0.25f * where_positive(z, LOAD(ga + o));
                    g = gamma * 0.25f * where_positive(z, LOAD(gp + o)) + gamma_tangent * v;
                    l = gamma * v;
                }
                const vec scaled_gt = l - mean_l - n * of_l; /* s gt */
                STORE(gt + p, k.rstd * scaled_gt);
                STORE(gy + p, k.rstd * (g - mean_g - n * of_n - k.rstd * (n * of_q + q * of_l + scaled_gt * k.dot_nt)));
            }
    }
}

/* A block after the first: x and its tangent a (n,h,w,inner) to pooled and its tangent (n,h/2,w/2,outer).
 * y, t (n,h,w,outer) and stats (n,STATS,outer) are saved for the backward pass. */
void dual_forward(const float *x, const float *a, const element *u, const element *stacked, const float *gamma,
                  const float *beta, const float *gamma_tangent, const float *beta_tangent, float *y, float *t,
                  float *pooled, float *tangent, float *stats, int64_t n, int64_t h, int64_t w, int64_t inner,
                  int64_t outer, float eps, int64_t threads) {
    const affine f = {gamma, beta, gamma_tangent, beta_tangent};
    const int64_t group = group_size(n, h, w, threads), in = h * w * inner, out = h * w * outer;
    const int64_t pooled_size = (h / 2) * (w / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *buffer = get_workspace(convolve_dual_floats(group, h, w, inner));
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            convolve_dual(x + i * in, a + i * in, u, stacked, y + i * out, t + i * out, g, h, w, inner, outer,
                          buffer);
            for (int64_t k = i; k < i + g; k++)
                norm_tangent(y + k * out, t + k * out, f, eps, h, w, outer, pooled + k * pooled_size,
                             tangent + k * pooled_size, stats + k * STATS * outer);
        }
    }
}

/* The backward pass of dual_forward: gp and ga to gx and gx_tangent (n,h,w,inner), with u and stacked flipped.
 * gy and gt (n,h,w,outer), the gradients of the convolutions' outputs, are stored. */
void dual_backward(const float *y, const float *t, const element *u, const element *stacked, const float *gamma,
                   const float *beta, const float *gamma_tangent, const float *beta_tangent, const float *stats,
                   const float *gp, const float *ga, float *gx, float *gx_tangent, float *gy, float *gt, float *dgamma,
                   float *dbeta, int64_t n, int64_t h, int64_t w, int64_t inner, int64_t outer, int64_t threads) {
    const affine f = {gamma, beta, gamma_tangent, beta_tangent};
    const int64_t group = group_size(n, h, w, threads), in = h * w * inner, out = h * w * outer;
    const int64_t pooled_size = (h / 2) * (w / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        float *buffer = get_workspace(convolve_dual_floats(group, h, w, outer));
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i += group) {
            const int64_t g = n - i < group ? n - i : group;
            for (int64_t k = i; k < i + g; k++)
                norm_tangent_backward(y + k * out, t + k * out, f, stats + k * STATS * outer, gp + k * pooled_size,
                                      ga + k * pooled_size, h, w, outer, gy + k * out, gt + k * out, dgamma + k * outer,
                                      dbeta + k * outer);
            convolve_dual(gt + i * out, gy + i * out, u, stacked, gx_tangent + i * in, gx + i * in, g, h, w, outer,
                          inner, buffer);
        }
    }
}

/* The first block: images x (n,h,w,c), whose tangents are 0, to pooled and its tangent (n,oh/2,ow/2,outer). */
void first_dual_forward(const float *x, const float *weights, const float *direction, const float *gamma,
                        const float *beta, const float *gamma_tangent, const float *beta_tangent, float *pooled,
                        float *tangent, float *stats, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding,
                        int64_t outer, float eps, int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
    const affine g = {gamma, beta, gamma_tangent, beta_tangent};
    const int64_t pooled_size = (f.oh / 2) * (f.ow / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        const buffers b = buffers_of(f, 2, outer);
        const element *factors = first_weights(weights, f, outer, b.weights);
        const element *along = first_weights(direction, f, outer, b.direction);
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < n; i++) {
            prepare_image(x + i * h * w * c, f, b);
            first_convolution(factors, f, outer, b, b.y);
            first_convolution(along, f, outer, b, b.t);
            norm_tangent(b.y, b.t, g, eps, f.oh, f.ow, outer, pooled + i * pooled_size, tangent + i * pooled_size,
                         stats + i * STATS * outer);
        }
    }
}

/* The backward pass of first_dual_forward, which computes the convolutions again. back [columns/PANEL][2*outer][PANEL]
 * holds weights and direction; gx and sums as in first_backward. */
void first_dual_backward(const float *x, const float *weights, const float *direction, const float *back,
                         const float *gamma, const float *beta, const float *gamma_tangent, const float *beta_tangent,
                         const float *stats, const float *gp, const float *ga, float *gx, float *sums, float *dgamma,
                         float *dbeta, int64_t n, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t outer,
                         int64_t threads) {
    const frame f = frame_of(h, w, c, padding);
    const affine norm = {gamma, beta, gamma_tangent, beta_tangent};
    const int64_t pooled_size = (f.oh / 2) * (f.ow / 2) * outer;
#pragma omp parallel num_threads(threads)
    {
        const buffers b = buffers_of(f, 2, outer);
        const element *factors = first_weights(weights, f, outer, b.weights);
        const element *along = first_weights(direction, f, outer, b.direction);
        const element *back_factors = gx ? first_back_weights(back, f, 2, outer, b) : NULL;
#pragma omp for schedule(dynamic, 1)
        for (int64_t slice = 0; slice < (n + SLICE - 1) / SLICE; slice++) {
            float *sum = sums ? sums + slice * 9 * c * outer : NULL;
            if (sum) memset(sum, 0, sizeof(float) * (size_t)(9 * c * outer));
            for (int64_t i = slice * SLICE; i < n && i < (slice + 1) * SLICE; i++) {
                prepare_image(x + i * h * w * c, f, b);
                first_convolution(along, f, outer, b, b.t);
                first_convolution(factors, f, outer, b, b.y);
                norm_tangent_backward(b.y, b.t, norm, stats + i * STATS * outer, gp + i * pooled_size,
                                      ga + i * pooled_size, f.oh, f.ow, outer, b.y, b.t, dgamma + i * outer,
                                      dbeta + i * outer);
                if (sum) first_weight_gradient(b.y, f, outer, b, sum);
                if (gx) first_input_gradient(2, back_factors, f, outer, b, gx + i * h * w * c);
            }
        }
    }
}
