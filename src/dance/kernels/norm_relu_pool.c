/* Instance norm, ReLU and 2x2 average pooling in one pass, forward and backward, for maps stored as
 * (n, H, W, C) with C contiguous.
 *
 * Per image and channel, with mean m and standard deviation s over the H*W pixels, scale w and shift b:
 *     h = (x - m) / s,   z = w h + b,   y = mean over 2x2 of max(z, 0).
 * Backward, with g = dL/dy / 4 where z > 0 and the pixel belongs to a pool, else 0:
 *     dL/dw = sum g h,   dL/db = sum g,   dL/dx = w / s (g - mean(g) - h mean(g h)).
 * The maps of one image of the field's networks fit into the second-level cache, so main memory is read once and
 * written once; only m and 1/s are saved for the backward pass. Sums are float32 in a fixed order, so results
 * do not depend on the number of threads. Gradients are read also where they do not count, since below AVX-512 no
 * instruction reads 16 bits under a condition.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float load_f32(float v) { return v; }
static inline float store_f32(float v) { return v; }
static inline float load_bf16(bf16 v) {
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
static inline bf16 store_bf16(float v) { /* round to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#define LANES 512 /* channels that are processed at once; their sums stay in the first-level cache */

#define DEFINE(NAME, TYPE)                                                                              \
    void forward_##NAME(const TYPE *restrict x, const float *restrict w, const float *restrict b,       \
                        TYPE *restrict y, float *restrict mean, float *restrict rstd, int64_t n,         \
                        int64_t h, int64_t wd, int64_t c, float eps) {                                   \
        const int64_t oh = h / 2, ow = wd / 2;                                                           \
        const float inv_size = 1.0f / (float)(h * wd);                                                   \
        _Pragma("omp parallel for schedule(static)") for (int64_t i = 0; i < n; i++) {                   \
            for (int64_t c0 = 0; c0 < c; c0 += LANES) {                                                  \
                const int64_t k = c - c0 < LANES ? c - c0 : LANES;                                       \
                const TYPE *restrict xi = x + i * h * wd * c + c0;                                       \
                TYPE *restrict yi = y + i * oh * ow * c + c0;                                            \
                float *restrict m = mean + i * c + c0, *restrict r = rstd + i * c + c0;                  \
                float scale[LANES], shift[LANES];                                                        \
                for (int64_t j = 0; j < k; j++) m[j] = r[j] = 0;                                         \
                for (int64_t p = 0; p < h * wd; p++)                                                     \
                    for (int64_t j = 0; j < k; j++) m[j] += load_##NAME(xi[p * c + j]);                  \
                for (int64_t j = 0; j < k; j++) m[j] *= inv_size;                                        \
                for (int64_t p = 0; p < h * wd; p++)                                                     \
                    for (int64_t j = 0; j < k; j++) {                                                    \
                        const float d = load_##NAME(xi[p * c + j]) - m[j];                               \
                        r[j] += d * d;                                                                   \
                    }                                                                                    \
                for (int64_t j = 0; j < k; j++) {                                                        \
                    const float none = r[j] - r[j]; /* NaN where the sum is too large for a float */     \
                    r[j] = 1.0f / sqrtf(r[j] * inv_size + eps) + none;                                   \
                    scale[j] = w[c0 + j] * r[j];                                                         \
                    shift[j] = b[c0 + j] - m[j] * scale[j];                                              \
                }                                                                                        \
                for (int64_t u = 0; u < oh; u++)                                                         \
                    for (int64_t v = 0; v < ow; v++) {                                                   \
                        const TYPE *restrict q = xi + (2 * u * wd + 2 * v) * c;                          \
                        TYPE *restrict out = yi + (u * ow + v) * c;                                      \
                        for (int64_t j = 0; j < k; j++) {                                                \
                            const float a0 = load_##NAME(q[j]) * scale[j] + shift[j];                    \
                            const float a1 = load_##NAME(q[c + j]) * scale[j] + shift[j];                \
                            const float a2 = load_##NAME(q[wd * c + j]) * scale[j] + shift[j];           \
                            const float a3 = load_##NAME(q[wd * c + c + j]) * scale[j] + shift[j];       \
                            const float top = (a0 < 0 ? 0 : a0) + (a1 < 0 ? 0 : a1);                     \
                            const float bottom = (a2 < 0 ? 0 : a2) + (a3 < 0 ? 0 : a3);                  \
                            out[j] = store_##NAME(0.25f * (top + bottom));                               \
                        }                                                                                \
                    }                                                                                    \
            }                                                                                            \
        }                                                                                                \
    }                                                                                                    \
    void backward_##NAME(const TYPE *restrict x, const float *restrict w, const float *restrict b,      \
                         const float *restrict mean, const float *restrict rstd,                         \
                         const TYPE *restrict gy, TYPE *restrict gx, float *restrict gw,                 \
                         float *restrict gb, int64_t n, int64_t h, int64_t wd, int64_t c) {              \
        const int64_t oh = h / 2, ow = wd / 2;                                                           \
        const float inv_size = 1.0f / (float)(h * wd);                                                   \
        _Pragma("omp parallel for schedule(static)") for (int64_t i = 0; i < n; i++) {                   \
            for (int64_t c0 = 0; c0 < c; c0 += LANES) {                                                  \
                const int64_t k = c - c0 < LANES ? c - c0 : LANES;                                       \
                const TYPE *restrict xi = x + i * h * wd * c + c0;                                       \
                const TYPE *restrict gi = gy + i * oh * ow * c + c0;                                     \
                TYPE *restrict go = gx + i * h * wd * c + c0;                                            \
                const float *restrict m = mean + i * c + c0, *restrict r = rstd + i * c + c0;            \
                float *restrict sw = gw + i * c + c0, *restrict sb = gb + i * c + c0;                    \
                float scale[LANES], shift[LANES], centre[LANES], slope[LANES];                           \
                for (int64_t j = 0; j < k; j++) {                                                        \
                    scale[j] = w[c0 + j] * r[j];                                                         \
                    shift[j] = b[c0 + j] - m[j] * scale[j];                                              \
                    sw[j] = sb[j] = 0;                                                                   \
                }                                                                                        \
                for (int64_t u = 0; u < 2 * oh; u++)                                                     \
                    for (int64_t v = 0; v < 2 * ow; v++) {                                               \
                        const TYPE *restrict q = xi + (u * wd + v) * c;                                  \
                        const TYPE *restrict g = gi + (u / 2 * ow + v / 2) * c;                          \
                        for (int64_t j = 0; j < k; j++) {                                                \
                            const float value = load_##NAME(q[j]);                                       \
                            const float given = load_##NAME(g[j]);                                       \
                            const float up = value * scale[j] + shift[j] > 0 ? given : 0;                \
                            sb[j] += up;                                                                 \
                            sw[j] += up * (value - m[j]);                                                \
                        }                                                                                \
                    }                                                                                    \
                for (int64_t j = 0; j < k; j++) {                                                        \
                    sb[j] *= 0.25f;                                                                      \
                    sw[j] *= 0.25f * r[j];                                                               \
                    slope[j] = -scale[j] * sw[j] * inv_size * r[j];                                      \
                    centre[j] = -scale[j] * sb[j] * inv_size - slope[j] * m[j];                          \
                }                                                                                        \
                for (int64_t u = 0; u < h; u++)                                                          \
                    for (int64_t v = 0; v < wd; v++) {                                                   \
                        const TYPE *restrict q = xi + (u * wd + v) * c;                                  \
                        TYPE *restrict out = go + (u * wd + v) * c;                                      \
                        const int pooled = u < 2 * oh && v < 2 * ow;                                     \
                        const TYPE *restrict g = pooled ? gi + (u / 2 * ow + v / 2) * c : q;             \
                        const float quarter = pooled ? 0.25f : 0.0f;                                     \
                        for (int64_t j = 0; j < k; j++) {                                                \
                            const float value = load_##NAME(q[j]);                                       \
                            const float given = load_##NAME(g[j]);                                       \
                            const float up = value * scale[j] + shift[j] > 0 ? given : 0;                \
                            out[j] = store_##NAME(quarter * scale[j] * up + slope[j] * value +           \
                                                  centre[j]);                                            \
                        }                                                                                \
                    }                                                                                    \
            }                                                                                            \
        }                                                                                                \
    }

DEFINE(f32, float)
DEFINE(bf16, bf16)
