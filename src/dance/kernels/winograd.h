/* The convolutions in vector instructions: Winograd's F(4x4,3x3) (Lavin & Gray 2016, arXiv 1509.09308), with 36
 * products per tile of 16 outputs and pair of channels instead of 144, and a direct convolution for a first block, which
 * has few input channels. With BFLOAT16, the factors of products are rounded to bfloat16; their sums are in float32.
 */
#define POINTS 36
#define TILES 64 /* tiles that are transformed at once */
#if defined(__AVX512F__)
#define ROWS 8 /* of the matrix product that is computed in registers */
#else
#define ROWS 4
#endif

/* ------------------------------------------------------------------------------------- product of matrices --- */

/* Factors are elements. A unit is what one lane multiplies at once: DEPTH elements side by side, along the axis of the
 * sum. */
#ifdef BFLOAT16
#define DEPTH 2
typedef uint16_t element;
typedef int32_t unit __attribute__((aligned(2), may_alias));

INLINE vec multiply_add(vec sum, unit a, vec b) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
}

/* LANES numbers as elements, one after the other. */
INLINE void store_row(element *p, vec v) {
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v));
}

/* LANES units, each of the numbers of one lane of v[0] and v[1]. */
INLINE void store_units(element *p, const vec *v) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)v[1], (__m512)v[0]);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(order, both));
}
#else
#define DEPTH 1
typedef float element;
typedef float unit;

INLINE vec multiply_add(vec sum, unit a, vec b) { return sum + a * b; }
INLINE void store_row(element *p, vec v) { STORE(p, v); }
INLINE void store_units(element *p, const vec *v) { STORE(p, v[0]); }
#endif

/* Number of units of so many elements. */
INLINE int64_t units(int64_t elements) { return (elements + DEPTH - 1) / DEPTH; }

/* c[r][j] (+)= sum over g, k of a[r*lda + g*jump + k*step] * b[g][k][j], r < rows, j < PANEL, k < length; a and b hold
 * units, and their strides count elements. */
INLINE void micro(const int rows, const int add, const element *a, int64_t lda, int64_t segments, int64_t length,
                  int64_t jump, int64_t step, const element *restrict b, int64_t ldb, float *restrict c, int64_t ldc) {
    vec s[ROWS + 1][COLS];
    UNROLL (int r = 0; r < rows; r++)
        UNROLL (int j = 0; j < COLS; j++) s[r][j] = add ? LOAD(c + r * ldc + j * LANES) : (vec){0};
    for (int64_t g = 0; g < segments; g++, a += jump)
        for (int64_t k = 0; k < length; k++, b += ldb) {
            const vec b0 = LOAD(b), b1 = LOAD(b + DEPTH * LANES);
            UNROLL (int r = 0; r < rows; r++) {
                const unit v = *(const unit *)(a + r * lda + k * step);
                s[r][0] = multiply_add(s[r][0], v, b0);
                s[r][1] = multiply_add(s[r][1], v, b1);
            }
        }
    UNROLL (int r = 0; r < rows; r++)
        UNROLL (int j = 0; j < COLS; j++) STORE(c + r * ldc + j * LANES, s[r][j]);
}

#define ROWWISE(SIZE)                \
    for (; r + (SIZE) <= rows; r += (SIZE)) \
    micro(SIZE, 0, a + r * lda, lda, segments, length, jump, DEPTH, b, DEPTH * PANEL, c + r * ldc, ldc)

/* c (rows, PANEL) = a b with b packed as [segments][length][PANEL] units. */
static void product(int64_t rows, const element *a, int64_t lda, int64_t segments, int64_t length, int64_t jump,
                    const element *b, float *c, int64_t ldc) {
    int64_t r = 0;
    ROWWISE(ROWS);
    ROWWISE(2);
    ROWWISE(1);
}

/* c (rows, PANEL) += a^T b, for units a (segments, length, rows) by jump and lda, and b (segments * length, PANEL) by
 * ldb. */
static void product_add(int64_t rows, const element *a, int64_t lda, int64_t segments, int64_t length, int64_t jump,
                        const element *b, int64_t ldb, float *c, int64_t ldc) {
    int64_t r = 0;
    for (; r + ROWS <= rows && r + ROWS + 1 != rows; r += ROWS)
        micro(ROWS, 1, a + r * DEPTH, DEPTH, segments, length, jump, lda, b, ldb, c + r * ldc, ldc);
    for (; r + ROWS + 1 <= rows; r += ROWS + 1) /* the nine taps of three channels in a row */
        micro(ROWS + 1, 1, a + r * DEPTH, DEPTH, segments, length, jump, lda, b, ldb, c + r * ldc, ldc);
    for (; r < rows; r++)
        micro(1, 1, a + r * DEPTH, DEPTH, segments, length, jump, lda, b, ldb, c + r * ldc, ldc);
}

/* The functions below return numbers as elements in a buffer, or the numbers themselves if an element is a float32. */

/* As many numbers, one after the other; the buffer is filled up to a multiple of LANES. */
static const element *as_row(const float *x, int64_t count, element *buffer) {
#ifdef BFLOAT16
    for (int64_t i = 0; i < count; i += LANES) store_row(buffer + i, LOAD(x + i));
    return buffer;
#else
    (void)count, (void)buffer;
    return x;
#endif
}

/* Rows of numbers (blocks, rows, width) as (blocks, units(rows), width) units of numbers below one another. */
static const element *as_units(const float *x, int64_t blocks, int64_t rows, int64_t width, element *buffer) {
#ifdef BFLOAT16
    element *to = buffer;
    for (int64_t block = 0; block < blocks; block++, x += rows * width)
        for (int64_t k = 0; k < rows; k += DEPTH)
            for (int64_t j = 0; j < width; j += LANES, to += DEPTH * LANES) {
                const float *from = x + k * width + j;
                const vec both[DEPTH] = {LOAD(from), k + 1 < rows ? LOAD(from + width) : (vec){0}};
                store_units(to, both);
            }
    return buffer;
#else
    (void)blocks, (void)rows, (void)width, (void)buffer;
    return x;
#endif
}

/* Units of number i and number i + offset, for i < count; x holds LANES + offset more. */
static const element *as_neighbours(const float *x, int64_t count, int64_t offset, element *buffer) {
#ifdef BFLOAT16
    for (int64_t i = 0; i < count; i += LANES) {
        const vec both[DEPTH] = {LOAD(x + i), LOAD(x + i + offset)};
        store_units(buffer + i * DEPTH, both);
    }
    return buffer;
#else
    (void)count, (void)offset, (void)buffer;
    return x;
#endif
}

/* ------------------------------------------------------------------------------------- Winograd F(4x4,3x3) --- */

/* The points are 0, +-P, +-Q and infinity. Products of bfloat16 have half the error of P = 1, Q = 2 with these. */
#ifdef BFLOAT16
#define P 0.625f
#define Q 1.5f
#else
#define P 1.0f
#define Q 2.0f
#endif
#define SCALE_0 (1.0f / (P * P * Q * Q))
#define SCALE_P (1.0f / (2.0f * P * P * (P * P - Q * Q)))
#define SCALE_Q (1.0f / (2.0f * Q * Q * (Q * Q - P * P)))

INLINE void input_line(const vec *d, int step, vec *o, int stride) { /* B^T d */
    const vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const vec a = d4 - (Q * Q) * d2, b = P * (d3 - (Q * Q) * d1), e = d4 - (P * P) * d2, f = Q * (d3 - (P * P) * d1);
    o[0] = (P * P * Q * Q) * d0 - (P * P + Q * Q) * d2 + d4;
    o[stride] = a + b;
    o[2 * stride] = a - b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = (P * P * Q * Q) * d1 - (P * P + Q * Q) * d3 + d5;
}

INLINE void output_line(const vec *m, int step, vec *o, int stride) { /* A^T m */
    const vec a = m[step] + m[2 * step], b = m[step] - m[2 * step];
    const vec e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    o[0] = m[0] + a + e;
    o[stride] = P * b + Q * f;
    o[2 * stride] = (P * P) * a + (Q * Q) * e;
    o[3 * stride] = (P * P * P) * b + (Q * Q * Q) * f + m[5 * step];
}

INLINE void spread_line(const vec *g, int step, vec *o, int stride) { /* A g, the adjoint of output_line */
    const vec g0 = g[0], g1 = g[step], g2 = g[2 * step], g3 = g[3 * step];
    const vec a = g0 + (P * P) * g2, b = P * g1 + (P * P * P) * g3;
    const vec e = g0 + (Q * Q) * g2, f = Q * g1 + (Q * Q * Q) * g3;
    o[0] = g0;
    o[stride] = a + b;
    o[2 * stride] = a - b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = g3;
}

INLINE void weight_line(const vec *w, int step, vec *o, int stride) { /* G w */
    const vec w0 = w[0], w1 = w[step], w2 = w[2 * step];
    const vec a = (w0 + (P * P) * w2) * SCALE_P, b = w1 * -(P * SCALE_P);
    const vec e = w0 * SCALE_Q + w2 * (Q * Q * SCALE_Q), f = w1 * (Q * SCALE_Q);
    o[0] = SCALE_0 * w0;
    o[stride] = a - b;
    o[2 * stride] = a + b;
    o[3 * stride] = e + f;
    o[4 * stride] = e - f;
    o[5 * stride] = w2;
}

INLINE void gather_line(const vec *u, int step, vec *o, int stride) { /* G^T u, the adjoint of weight_line */
    const vec u1 = u[step], u2 = u[2 * step], u3 = u[3 * step], u4 = u[4 * step];
    const vec a = (u1 + u2) * SCALE_P, e = u3 + u4;
    o[0] = SCALE_0 * u[0] + a + e * SCALE_Q;
    o[stride] = (u2 - u1) * -(P * SCALE_P) + (u3 - u4) * (Q * SCALE_Q);
    o[2 * stride] = (P * P) * a + e * (Q * Q * SCALE_Q) + u[5 * step];
}

/* Weights (3,3,inner,outer) to [36][outer/PANEL][inner/DEPTH][PANEL] units; flipped in both axes for the gradient of
 * the input. */
void pack_weights(const float *w, element *u, int64_t inner, int64_t outer, int64_t flipped, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < inner; k += DEPTH)
        for (int64_t j = 0; j < outer; j += LANES) {
            vec d[9], t[6][3], o[6], all[POINTS][DEPTH];
            for (int n = 0; n < DEPTH; n++) {
                for (int i = 0; i < 9; i++) d[i] = LOAD(w + ((flipped ? 8 - i : i) * inner + k + n) * outer + j);
                for (int i = 0; i < 3; i++) weight_line(d + i, 3, &t[0][i], 3);
                for (int a = 0; a < 6; a++) {
                    weight_line(t[a], 1, o, 1);
                    for (int b = 0; b < 6; b++) all[a * 6 + b][n] = o[b];
                }
            }
            element *place = u + j / PANEL * PANEL * inner + (k / DEPTH * PANEL + j % PANEL) * DEPTH;
            for (int p = 0; p < POINTS; p++) store_units(place + p * inner * outer, all[p]);
        }
}

typedef struct {
    int64_t h, w, per_row, per_image; /* maps; tiles in a row and in an image */
} grid;

INLINE grid grid_of(int64_t h, int64_t w) {
    const int64_t per_row = (w + 3) / 4;
    return (grid){h, w, per_row, per_row * ((h + 3) / 4)};
}

/* A line of zeros of this thread, of at least c floats: the pixels beyond the edge of a map. */
static const float *zeros_of(int64_t c) {
    if ((size_t)c > kept.zeros_size) {
        free_at_the_end();
        free(kept.zeros);
        kept.zeros = calloc((size_t)c, sizeof(float));
        if (!kept.zeros) abort();
        kept.zeros_size = (size_t)c;
    }
    return kept.zeros;
}

/* Where the side x side pixels of one tile of maps x (.., c) lie; the first is margin above and left of its 4x4. */
INLINE void find_pixels(const int side, const int margin, const float *x, grid s, int64_t tile, int64_t c,
                        const float *zeros, const float **at) {
    const int64_t image = tile / s.per_image, place = tile % s.per_image;
    const int64_t top = place / s.per_row * 4 - margin, left = place % s.per_row * 4 - margin;
    const float *from = x + ((image * s.h + top) * s.w + left) * c;
    for (int a = 0; a < side; a++)
        for (int b = 0; b < side; b++) {
            const int inside = top + a >= 0 && top + a < s.h && left + b >= 0 && left + b < s.w;
            at[a * side + b] = inside ? from + (a * s.w + b) * c : zeros;
        }
}

/* Request LANES channels from j of the 4x4 pixels of a tile, as it is too late when they are needed. */
INLINE void prefetch_tile(const int side, const int margin, const float *const *at, int64_t j) {
    UNROLL (int i = 0; i < 16; i++) __builtin_prefetch(at[(margin + i / 4) * side + margin + i % 4] + j);
}

/* LANES channels from j of one tile of maps with these pixels, transformed. */
INLINE void input_tile(const float *const *at, int64_t j, vec *v, int step) {
    vec d[6], e[6][6];
    UNROLL (int b = 0; b < 6; b++) {
        UNROLL (int a = 0; a < 6; a++) d[a] = LOAD(at[a * 6 + b] + j);
        input_line(d, 1, &e[0][b], 6);
    }
    UNROLL (int a = 0; a < 6; a++) input_line(e[a], 1, v + a * 6 * step, step);
}

/* Tiles first..first+count of maps x (.., c) as v[36][count by stride][c]. */
static void transform_input(const float *x, grid s, int64_t first, int64_t count, int64_t c, element *v,
                            int64_t stride) {
    const float *zeros = zeros_of(c), *at[2][POINTS];
    find_pixels(6, 1, x, s, first, c, zeros, at[0]);
    for (int64_t t = 0; t < count; t++) {
        const float **now = at[t % 2], **next = at[(t + 1) % 2];
        find_pixels(6, 1, x, s, first + (t + 1 < count ? t + 1 : t), c, zeros, next);
        for (int64_t j = 0; j < c; j += LANES) {
            vec o[POINTS];
            prefetch_tile(6, 1, next, j);
            input_tile(now, j, o, 1);
            UNROLL (int p = 0; p < POINTS; p++) store_row(v + p * stride + t * c + j, o[p]);
        }
    }
}

/* m[36][count by stride][PANEL] to PANEL channels of maps y (.., c). */
static void transform_output(const float *m, int64_t stride, grid s, int64_t first, int64_t count, int64_t c,
                             float *y) {
    for (int64_t t = 0; t < count; t++) {
        const int64_t image = (first + t) / s.per_image, place = (first + t) % s.per_image;
        const int64_t top = place / s.per_row * 4, left = place % s.per_row * 4;
        float *to = y + ((image * s.h + top) * s.w + left) * c;
        const int64_t rows = s.h - top < 4 ? s.h - top : 4, columns = s.w - left < 4 ? s.w - left : 4;
        for (int64_t j = 0; j < PANEL; j += LANES) {
            vec d[6], e[4][6], o[4][4];
            UNROLL (int b = 0; b < 6; b++) {
                UNROLL (int a = 0; a < 6; a++) d[a] = LOAD(m + (a * 6 + b) * stride + t * PANEL + j);
                output_line(d, 1, &e[0][b], 6);
            }
            UNROLL (int a = 0; a < 4; a++) output_line(e[a], 1, o[a], 1);
            if (rows == 4 && columns == 4)
                UNROLL (int i = 0; i < 16; i++) STORE(to + (i / 4 * s.w + i % 4) * c + j, o[i / 4][i % 4]);
            else
                for (int a = 0; a < rows; a++)
                    for (int b = 0; b < columns; b++) STORE(to + (a * s.w + b) * c + j, o[a][b]);
        }
    }
}

/* The adjoint of transform_output: LANES channels from j of one tile of gradients of maps with these pixels. */
INLINE void output_tile(const float *const *at, int64_t j, vec *m, int step) {
    vec d[4], e[6][4];
    UNROLL (int b = 0; b < 4; b++) {
        UNROLL (int a = 0; a < 4; a++) d[a] = LOAD(at[a * 4 + b] + j);
        spread_line(d, 1, &e[0][b], 4);
    }
    UNROLL (int a = 0; a < 6; a++) spread_line(e[a], 1, m + a * 6 * step, step);
}

/* Tiles first..first+count of maps x (.., c), or with spread of gradients of maps, as v[36][count/DEPTH by stride][c]
 * units, which are summed over tiles. */
INLINE void transform_units(const int spread, const float *x, grid s, int64_t first, int64_t count, int64_t c,
                            element *v, int64_t stride) {
    const int side = spread ? 4 : 6, margin = spread ? 0 : 1;
    const float *zeros = zeros_of(c), *at[2][DEPTH][POINTS];
    for (int64_t t = -DEPTH; t < count; t += DEPTH) {
        const int now = t / DEPTH & 1, next = !now;
        for (int n = 0; n < DEPTH; n++) {
            const int64_t tile = t + DEPTH + n;
            if (tile < count)
                find_pixels(side, margin, x, s, first + tile, c, zeros, at[next][n]);
            else
                for (int p = 0; p < POINTS; p++) at[next][n][p] = zeros;
        }
        for (int64_t j = 0; j < c && t >= 0; j += LANES) {
            vec o[POINTS][DEPTH];
            UNROLL (int n = 0; n < DEPTH; n++) {
                prefetch_tile(side, margin, at[next][n], j);
                if (spread)
                    output_tile(at[now][n], j, &o[0][n], DEPTH);
                else
                    input_tile(at[now][n], j, &o[0][n], DEPTH);
            }
            UNROLL (int p = 0; p < POINTS; p++) store_units(v + p * stride + t * c + j * DEPTH, o[p]);
        }
    }
}

/* Images of these maps that are convolved at once: enough tiles for one product. */
static int64_t images_at_once(int64_t h, int64_t w) {
    const int64_t tiles = grid_of(h, w).per_image;
    return TILES / tiles < 1 ? 1 : TILES / tiles;
}

/* Number of floats of the transformed tiles of one block. */
static size_t tile_floats(int64_t channels) { return (size_t)POINTS * (size_t)(TILES * channels + LANES); }

/* Number of floats of the buffer of a convolution, or of one of maps and tangents. */
static size_t convolve_floats(int64_t g, int64_t h, int64_t w, int64_t inner) {
    (void)g, (void)h, (void)w;
    return tile_floats(inner) + tile_floats(PANEL);
}
static size_t convolve_dual_floats(int64_t g, int64_t h, int64_t w, int64_t inner) {
    (void)g, (void)h, (void)w;
    return 2 * tile_floats(inner) + tile_floats(PANEL);
}

/* Convolution of g maps x (g,h,w,inner) to y (g,h,w,outer), padding 1. One panel of channels of y is computed after the
 * other, so that the buffer stays in the cache. */
static void convolve(const float *x, const element *u, float *y, int64_t g, int64_t h, int64_t w, int64_t inner,
                     int64_t outer, float *buffer) {
    const grid s = grid_of(h, w);
    element *v = (element *)buffer;
    float *m = buffer + tile_floats(inner);
    const int64_t vs = TILES * inner + LANES, ms = TILES * PANEL + LANES;
    for (int64_t t = 0; t < g * s.per_image; t += TILES) {
        const int64_t count = g * s.per_image - t < TILES ? g * s.per_image - t : TILES;
        transform_input(x, s, t, count, inner, v, vs);
        for (int64_t j = 0; j < outer; j += PANEL) {
            for (int64_t p = 0; p < POINTS; p++)
                product(count, v + p * vs, inner, 1, units(inner), 0, u + (p * outer + j) * inner, m + p * ms, PANEL);
            transform_output(m, ms, s, t, count, outer, y + j);
        }
    }
}

/* Convolutions y = x * u and t = a * u + x * v of g maps x and their tangents a (g,h,w,inner); stacked holds [v, u] by
 * input channel. */
static void convolve_dual(const float *x, const float *a, const element *u, const element *stacked, float *y,
                          float *t, int64_t g, int64_t h, int64_t w, int64_t inner, int64_t outer, float *buffer) {
    const grid s = grid_of(h, w);
    const int64_t vs = TILES * inner + LANES, ms = TILES * PANEL + LANES, jump = (int64_t)tile_floats(inner);
    element *first = (element *)buffer, *second = first + jump;
    float *m = buffer + 2 * jump;
    for (int64_t i = 0; i < g * s.per_image; i += TILES) {
        const int64_t count = g * s.per_image - i < TILES ? g * s.per_image - i : TILES;
        transform_input(x, s, i, count, inner, first, vs);
        transform_input(a, s, i, count, inner, second, vs);
        for (int64_t j = 0; j < outer; j += PANEL) {
            for (int64_t p = 0; p < POINTS; p++)
                product(count, first + p * vs, inner, 1, units(inner), 0, u + (p * outer + j) * inner, m + p * ms,
                        PANEL);
            transform_output(m, ms, s, i, count, outer, y + j);
            for (int64_t p = 0; p < POINTS; p++)
                product(count, first + p * vs, inner, 2, units(inner), jump, stacked + (p * outer + j) * 2 * inner,
                        m + p * ms, PANEL);
            transform_output(m, ms, s, i, count, outer, t + j);
        }
    }
}

/* Gradient gw (3,3,inner,outer) of the weights from x (n,h,w,inner) and gy (n,h,w,outer). Each of the 36 points is
 * summed over all tiles by one thread, block after block; sums is a buffer (36,inner,outer). */
void weight_gradient(const float *x, const float *gy, float *sums, float *gw, int64_t n, int64_t h, int64_t w,
                     int64_t inner, int64_t outer, int64_t threads) {
    const grid s = grid_of(h, w);
    const int64_t tiles = n * s.per_image, block = TILES * threads;
    const int64_t vs = block * inner + LANES, ms = block * outer + LANES;
    element *v = (element *)get_workspace((size_t)(POINTS * (vs + ms))), *m = v + POINTS * vs;
    memset(sums, 0, sizeof(float) * (size_t)(POINTS * inner * outer));
#pragma omp parallel num_threads(threads)
    {
        for (int64_t t = 0; t < tiles; t += block) {
            const int64_t count = tiles - t < block ? tiles - t : block;
#pragma omp for schedule(static)
            for (int64_t i = 0; i < count; i += 8) {
                const int64_t part = count - i < 8 ? count - i : 8;
                transform_units(0, x, s, t + i, part, inner, v + i * inner, vs);
                transform_units(1, gy, s, t + i, part, outer, m + i * outer, ms);
            }
#pragma omp for schedule(static)
            for (int64_t p = 0; p < POINTS; p++)
                for (int64_t j = 0; j < outer; j += PANEL)
                    product_add(inner, v + p * vs, DEPTH * inner, 1, units(count), 0, m + p * ms + DEPTH * j,
                                DEPTH * outer, sums + p * inner * outer + j, outer);
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

/* ----------------------------------------------------------------------------------------- the first block --- */

/* Buffers of a thread for one image. */
typedef struct {
    float *padded, *spread, *row; /* the padded image, the gradient of it, a row of taps */
    float *y, *t;                 /* maps, and their tangents directly after them */
    element *factors, *weights, *direction, *back; /* of products */
} buffers;

/* Columns of the product for the gradient of the image: the taps (3,3,c), in panels. */
static int64_t columns_of(frame f) { return (9 * f.c + PANEL - 1) / PANEL * PANEL; }

/* The buffers for one map or, with tangents, two. */
static buffers buffers_of(frame f, int64_t maps, int64_t outer) {
    const size_t image = padded_floats(f), out = (size_t)(f.oh * f.ow * outer), row = (size_t)(f.ow * columns_of(f));
    const size_t weights = (size_t)(3 * (3 * f.c + 1) * outer), back = (size_t)(columns_of(f) * maps * outer);
    const size_t gradients = out * (size_t)maps + (size_t)(f.oh * outer);
    const size_t factors = gradients > image ? gradients : image;
    buffers b = {0};
    b.padded = get_workspace(2 * image + row + (size_t)maps * out + factors + 2 * weights + back);
    b.spread = b.padded + image, b.row = b.spread + image, b.y = b.row + row, b.t = b.y + out;
    b.factors = (element *)(b.y + (size_t)maps * out);
    b.weights = (element *)((float *)b.factors + factors), b.direction = (element *)((float *)b.weights + weights);
    b.back = (element *)((float *)b.direction + weights);
    return b;
}

static void prepare_image(const float *x, frame f, buffers b) { pad(x, f, b.padded); }

/* Weights [outer/PANEL][3][3*c][PANEL] as the factors of first_convolution, [outer/PANEL][3][units(3*c)][PANEL]. */
static const element *first_weights(const float *weights, frame f, int64_t outer, element *buffer) {
    return as_units(weights, outer / PANEL * 3, 3 * f.c, PANEL, buffer);
}

/* y (oh,ow,outer) of the image whose padded copy is in b. */
static void first_convolution(const element *weights, frame f, int64_t outer, buffers b, float *y) {
    const element *image = as_row(b.padded, (f.h + 2 * f.padding) * f.wide, b.factors);
    const int64_t length = units(3 * f.c);
    for (int64_t a = 0; a < f.oh; a++)
        for (int64_t j = 0; j < outer; j += PANEL)
            product(f.ow, image + a * f.wide, f.c, 3, length, f.wide, weights + 3 * j * length * DEPTH,
                    y + a * f.ow * outer + j, outer);
}

/* sum [9*c][outer] += the gradient of the weights of the image in b, from the gradient gy (oh,ow,outer) of its maps. */
static void first_weight_gradient(const float *gy, frame f, int64_t outer, buffers b, float *sum) {
    const element *pixels = as_neighbours(b.padded, (f.h + 2 * f.padding) * f.wide, f.c, (element *)b.spread);
    const element *gradients = as_units(gy, f.oh, f.ow, outer, b.factors);
    for (int64_t dy = 0; dy < 3; dy++)
        for (int64_t j = 0; j < outer; j += PANEL)
            product_add(3 * f.c, pixels + dy * f.wide * DEPTH, DEPTH * DEPTH * f.c, f.oh, units(f.ow), f.wide * DEPTH,
                        gradients + j * DEPTH, DEPTH * outer, sum + dy * 3 * f.c * outer + j, outer);
}

/* Weights [columns/PANEL][maps*outer][PANEL], whose columns are the taps (3,3,c), as the factors of what follows. */
static const element *first_back_weights(const float *back, frame f, int64_t maps, int64_t outer, buffers b) {
    return as_units(back, columns_of(f) / PANEL, maps * outer, PANEL, b.back);
}

/* gx (h,w,c) of the image in b from the gradients (oh,ow,outer) of its maps, in b.y, and of their tangents, in b.t. */
static void first_input_gradient(int64_t maps, const element *back, frame f, int64_t outer, buffers b, float *gx) {
    const int64_t out = f.oh * f.ow * outer, columns = columns_of(f);
    const element *gradients = as_row(b.y, maps * out, b.factors);
    memset(b.spread, 0, padded_floats(f) * sizeof(float));
    for (int64_t a = 0; a < f.oh; a++) {
        for (int64_t j = 0; j < columns; j += PANEL)
            product(f.ow, gradients + a * f.ow * outer, outer, maps, units(outer), out, back + j * maps * outer,
                    b.row + j, columns);
        for (int64_t dy = 0; dy < 3; dy++)
            for (int64_t x = 0; x < f.ow; x++)
                for (int64_t k = 0; k < 3 * f.c; k++)
                    b.spread[(a + dy) * f.wide + x * f.c + k] += b.row[x * columns + dy * 3 * f.c + k];
    }
    crop(b.spread, f, gx);
}
