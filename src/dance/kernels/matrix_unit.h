/* The convolutions on the matrix unit (AMX): factors rounded to bfloat16, sums in float32.
 *
 * The unit multiplies tiles of 16 rows of 64 bytes: 16 x 32 numbers by 32 x 16, whose rows are pairs of numbers side by
 * side, to 16 x 16 sums. Products are cheap there, so each convolution is direct, with nine taps: Winograd's
 * transforms would take longer than the products that they save.
 *
 * Maps are laid out as one line of positions, with a line and a column of zeros between images and rows. A tap is then
 * a shift of the line by a constant, and a tile of factors any 16 positions, whatever the size of the maps; sums of
 * positions that are no pixels are left out.
 */
#include <sys/syscall.h>
#include <unistd.h>

#define SIDE 16              /* rows of a tile, and columns of a tile of sums */
#define LENGTH 32            /* numbers in a row of a tile of factors */
#define TILE (SIDE * LENGTH) /* numbers in a tile of factors */
#define SUMS 3               /* tiles of sums that are computed at once */
#define CHUNK 10             /* tiles of positions whose factors of weight gradients fit in the first-level cache */

typedef uint16_t element;

/* ---------------------------------------------------------------------------------------------- the unit --- */

/* Ask the system for the unit; whether this process may use it. */
int64_t permitted(void) {
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM of Linux, and the state it is asked for */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} __attribute__((aligned(64))) shapes;

/* GCC's own functions for these two tell it of 8 bytes of 64 only, so it leaves out what sets the others. */
INLINE void load_shapes(const shapes *s) { __asm__ volatile("ldtilecfg %0" ::"m"(*s)); }
INLINE void store_shapes(shapes *s) { __asm__ volatile("sttilecfg %0" : "=m"(*s)); }

/* Tiles are loaded by instructions of which the compiler does not know that they read memory: all stores come first. */
#define STORES_COME_FIRST() __asm__ volatile("" ::: "memory")

/* Every tile of this thread gets its full size; what was set before is returned. */
static shapes begin_tiles(void) {
    shapes before, mine = {.palette = 1};
    for (int i = 0; i < 8; i++) mine.bytes[i] = 64, mine.rows[i] = SIDE;
    store_shapes(&before);
    load_shapes(&mine);
    return before;
}

static void end_tiles(shapes before) {
    if (before.palette)
        load_shapes(&before);
    else
        _tile_release();
}

INLINE void zero_sums(const int m) {
    STORES_COME_FIRST();
    _tile_zero(0);
    if (m > 1) _tile_zero(1);
    if (m > 2) _tile_zero(2);
}

/* The sums of m tiles of rows, each step numbers after the last, += rows (16 by stride) x b. */
INLINE void multiply_add(const int m, const element *a, int64_t step, int64_t stride, const element *b) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, 2 * stride);
    _tile_dpbf16ps(0, 4, 6);
    if (m > 1) {
        _tile_loadd(5, a + step, 2 * stride);
        _tile_dpbf16ps(1, 5, 6);
    }
    if (m > 2) {
        _tile_loadd(7, a + 2 * step, 2 * stride);
        _tile_dpbf16ps(2, 7, 6);
    }
}

/* The sums to m blocks of 16 rows by stride. */
INLINE void store_sums(const int m, float *c, int64_t stride) {
    _tile_stored(0, c, 4 * stride);
    if (m > 1) _tile_stored(1, c + SIDE * stride, 4 * stride);
    if (m > 2) _tile_stored(2, c + 2 * SIDE * stride, 4 * stride);
}

/* Call f with a constant number of tiles. */
#define WITH_TILES(m, f, ...)              \
    switch (m) {                           \
        case 1: f(1, __VA_ARGS__); break;  \
        case 2: f(2, __VA_ARGS__); break;  \
        default: f(3, __VA_ARGS__); break; \
    }

/* ------------------------------------------------------------------------------------------------ layouts --- */

INLINE int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

/* 16 pairs of one number of a and one of b. */
INLINE __m512i pairs_of(__m256i a, __m256i b) {
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, both);
}

INLINE __m256i rounded(vec v) { return (__m256i)_mm512_cvtneps_pbh((__m512)v); }
INLINE __m256i load_row(const element *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void store_row(element *p, vec v) { _mm256_storeu_si256((__m256i *)p, rounded(v)); }

/* Rows (rows, width by stride) of float32 as pairs of one row and the next, (rows/2 rounded up, width) pairs. */
static void pair_rows(const float *x, int64_t rows, int64_t width, int64_t stride, element *to) {
    for (int64_t k = 0; k < rows; k += 2)
        for (int64_t j = 0; j < width; j += LANES, to += 2 * LANES) {
            const float *at = x + k * stride + j;
            _mm512_storeu_si512(to, pairs_of(rounded(LOAD(at)), rounded(k + 1 < rows ? LOAD(at + stride) : (vec){0})));
        }
}

/* 32 rows of 16 numbers, by stride, to 16 rows of 32 numbers, by to_stride. */
static void transpose_tile(const element *x, int64_t stride, element *to, int64_t to_stride) {
    __m512i a[16], b[16];
    UNROLL (int i = 0; i < 16; i++)
        a[i] = pairs_of(load_row(x + 2 * i * stride), load_row(x + (2 * i + 1) * stride));
    UNROLL (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    UNROLL (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    UNROLL (int i = 0; i < 4; i++) { /* four rows of the result, 4 apart */
        const __m512i low = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
        const __m512i high = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
        const __m512i low2 = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        const __m512i high2 = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
        _mm512_storeu_si512(to + i * to_stride, _mm512_shuffle_i32x4(low, low2, 0x88));
        _mm512_storeu_si512(to + (i + 4) * to_stride, _mm512_shuffle_i32x4(high, high2, 0x88));
        _mm512_storeu_si512(to + (i + 8) * to_stride, _mm512_shuffle_i32x4(low, low2, 0xdd));
        _mm512_storeu_si512(to + (i + 12) * to_stride, _mm512_shuffle_i32x4(high, high2, 0xdd));
    }
}

/* Rows (rows, width), both multiples of a tile's, to (width, rows by stride). */
static void transpose(const element *x, int64_t rows, int64_t width, element *to, int64_t stride) {
    for (int64_t k = 0; k < rows; k += LENGTH)
        for (int64_t j = 0; j < width; j += SIDE) transpose_tile(x + k * width + j, width, to + j * stride + k, stride);
}

/* The line of positions of g maps: pixel (i, a, b) lies at (i (h+1) + a + 1) (w+1) + b + 1. The sum for the pixel at
 * position p is that of index p - first, which reads positions from its index on. */
typedef struct {
    int64_t g, h, w, wide, first, sums, size; /* wide: positions from row to row; sums and positions of the line */
} line;

INLINE line line_of(int64_t g, int64_t h, int64_t w) {
    line s = {.g = g, .h = h, .w = w, .wide = w + 1, .first = w + 2};
    s.sums = round_up(g * (h + 1) * s.wide - s.first, LENGTH);
    s.size = round_up(s.sums + 2 * s.wide + 2, LENGTH);
    return s;
}

/* Maps x (g,h,w,c) as a line of positions of c numbers. */
static void lay_out(const float *x, line s, int64_t c, element *to) {
    element *const end = to + s.size * c;
    memset(to, 0, sizeof(element) * (size_t)(s.first * c));
    to += s.first * c;
    for (int64_t i = 0; i < s.g; i++) {
        for (int64_t a = 0; a < s.h; a++) {
            for (int64_t j = 0; j < s.w * c; j += LANES) store_row(to + j, LOAD(x + j));
            x += s.w * c, to += s.w * c;
            memset(to, 0, sizeof(element) * (size_t)c);
            to += c;
        }
        const int64_t rest = i + 1 < s.g ? s.wide * c : end - to;
        memset(to, 0, sizeof(element) * (size_t)rest);
        to += rest;
    }
}

/* -------------------------------------------------------------------------------------- the convolutions --- */

/* Weights (3,3,inner,outer) to [outer/16][9][inner/32] tiles; flipped in both axes for the gradient of the input. */
void pack_weights(const float *w, element *u, int64_t inner, int64_t outer, int64_t flipped, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t j = 0; j < outer; j += SIDE)
        for (int64_t tap = 0; tap < 9; tap++)
            pair_rows(w + (flipped ? 8 - tap : tap) * inner * outer + j, inner, SIDE, outer,
                      u + (j / SIDE * 9 + tap) * inner * SIDE);
}

/* The sums of m tiles from a position on += nine taps of c channels; jump is the number of weights of a tap. */
INLINE void add_taps(const int m, const element *at, line s, int64_t c, const element *u, int64_t jump) {
    for (int64_t tap = 0; tap < 9; tap++, u += jump)
        for (int64_t k = 0; k < c; k += LENGTH)
            multiply_add(m, at + (tap / 3 * s.wide + tap % 3) * c + k, SIDE * c, c, u + k * SIDE);
}

/* Where in maps (g,h,w) the sums from an index on lie, or -1: as many as are computed at once. */
INLINE void find_sums(line s, int64_t index, int64_t *places) {
    const int64_t row = (index + s.first) / s.wide - 1;
    int64_t image = row / (s.h + 1), a = row % (s.h + 1), column = (index + s.first) % s.wide - 1;
    for (int i = 0; i < SUMS * SIDE; i++) {
        places[i] = column < 0 || a == s.h || image >= s.g ? -1 : (image * s.h + a) * s.w + column;
        if (++column == s.w) {
            column = -1;
            if (++a > s.h) a = 0, image++;
        }
    }
}

/* 16 channels of the sums to maps y (.., c). */
INLINE void place_sums(const int m, const int64_t *places, int64_t c, float *y) {
    float sums[SUMS * SIDE * SIDE] __attribute__((aligned(64)));
    store_sums(m, sums, SIDE);
    for (int i = 0; i < m * SIDE; i++)
        if (places[i] >= 0) STORE(y + places[i] * c, LOAD(sums + i * SIDE));
}

INLINE void convolve_tiles(const int m, const element *at, line s, int64_t inner, int64_t outer, const element *u,
                           const int64_t *places, float *y) {
    for (int64_t j = 0; j < outer; j += SIDE) {
        zero_sums(m);
        add_taps(m, at, s, inner, u + 9 * j * inner, SIDE * inner);
        place_sums(m, places, outer, y + j);
    }
}

/* Images of these maps that have about so many positions. */
INLINE int64_t images_of(int64_t positions, int64_t h, int64_t w) {
    const int64_t images = positions / ((h + 1) * (w + 1));
    return images < 1 ? 1 : images;
}

/* Images that are convolved at once: few, so that all their maps stay in the cache. */
static int64_t images_at_once(int64_t h, int64_t w) { return images_of(400, h, w); }

/* Number of floats of the buffer of a convolution of g maps, or of maps and tangents. */
static size_t convolve_floats(int64_t g, int64_t h, int64_t w, int64_t inner) {
    return (size_t)(line_of(g, h, w).size * inner / 2);
}
static size_t convolve_dual_floats(int64_t g, int64_t h, int64_t w, int64_t inner) {
    return 2 * convolve_floats(g, h, w, inner);
}

/* Convolution of g maps x (g,h,w,inner) to y (g,h,w,outer), padding 1. */
static void convolve(const float *x, const element *u, float *y, int64_t g, int64_t h, int64_t w, int64_t inner,
                     int64_t outer, float *buffer) {
    const line s = line_of(g, h, w);
    const shapes before = begin_tiles();
    element *at = (element *)buffer;
    lay_out(x, s, inner, at);
    for (int64_t i = 0; i < s.sums; i += SUMS * SIDE) {
        int64_t places[SUMS * SIDE];
        find_sums(s, i, places);
        WITH_TILES((s.sums - i) / SIDE, convolve_tiles, at + i * inner, s, inner, outer, u, places, y);
    }
    end_tiles(before);
}

INLINE void convolve_dual_tiles(const int m, const element *x, const element *a, line s, int64_t inner, int64_t outer,
                                const element *u, const element *stacked, const int64_t *places, float *y, float *t) {
    for (int64_t j = 0; j < outer; j += SIDE) {
        const int64_t jump = SIDE * inner;
        zero_sums(m);
        add_taps(m, x, s, inner, u + 9 * j * inner, jump);
        place_sums(m, places, outer, y + j);
        zero_sums(m);
        add_taps(m, x, s, inner, stacked + 18 * j * inner, 2 * jump);
        add_taps(m, a, s, inner, stacked + 18 * j * inner + jump, 2 * jump);
        place_sums(m, places, outer, t + j);
    }
}

/* Convolutions y = x * u and t = a * u + x * v of g maps x and their tangents a (g,h,w,inner); stacked holds [v, u] by
 * input channel. */
static void convolve_dual(const float *x, const float *a, const element *u, const element *stacked, float *y,
                          float *t, int64_t g, int64_t h, int64_t w, int64_t inner, int64_t outer, float *buffer) {
    const line s = line_of(g, h, w);
    const shapes before = begin_tiles();
    element *first = (element *)buffer, *second = first + s.size * inner;
    lay_out(x, s, inner, first);
    lay_out(a, s, inner, second);
    for (int64_t i = 0; i < s.sums; i += SUMS * SIDE) {
        int64_t places[SUMS * SIDE];
        find_sums(s, i, places);
        WITH_TILES((s.sums - i) / SIDE, convolve_dual_tiles, first + i * inner, second + i * inner, s, inner, outer, u,
                   stacked, places, y, t);
    }
    end_tiles(before);
}

/* Sums c (32, 32 by ldc) += a (32 by lda, 32 steps) times two columns of tiles b (steps), jump apart. */
INLINE void add_products(const element *a, int64_t lda, const element *b, int64_t jump, int64_t steps, float *c,
                         int64_t ldc) {
    STORES_COME_FIRST();
    _tile_loadd(0, c, 4 * ldc);
    _tile_loadd(1, c + SIDE, 4 * ldc);
    _tile_loadd(2, c + SIDE * ldc, 4 * ldc);
    _tile_loadd(3, c + SIDE * ldc + SIDE, 4 * ldc);
    for (int64_t k = 0; k < steps; k++, a += LENGTH, b += TILE) {
        _tile_loadd(4, a, 2 * lda);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + jump, 64);
        _tile_loadd(5, a + SIDE * lda, 2 * lda);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, 4 * ldc);
    _tile_stored(1, c + SIDE, 4 * ldc);
    _tile_stored(2, c + SIDE * ldc, 4 * ldc);
    _tile_stored(3, c + SIDE * ldc + SIDE, 4 * ldc);
}

/* Positions (count, c) as columns of tiles [c/16][count/32]: pairs of one position and the next. */
static void pair_positions(const element *x, int64_t count, int64_t c, element *to) {
    for (int64_t p = 0; p + 1 < count; p += 2)
        for (int64_t j = 0; j < c; j += SIDE)
            _mm512_storeu_si512(to + j * count + p * SIDE,
                                pairs_of(load_row(x + p * c + j), load_row(x + p * c + c + j)));
}

/* Gradient gw (3,3,inner,outer) of the weights from x (n,h,w,inner) and gy (n,h,w,outer). Each part of it is summed
 * over all images by one thread, one span of images after the other; sums is a buffer (9,outer,inner). A tap shifts x
 * by an even or odd number of positions, so its pairs begin at even or odd ones. */
void weight_gradient(const float *x, const float *gy, float *sums, float *gw, int64_t n, int64_t h, int64_t w,
                     int64_t inner, int64_t outer, int64_t threads) {
    const int64_t span = images_of(1200, h, w);
    const line s = line_of(span < n ? span : n, h, w);
    const int64_t stride = (s.sums / LENGTH | 1) * LENGTH; /* rows begin in different sets of the cache */
    const int64_t pairs = s.size * inner, rows = outer * stride, positions = s.size * (inner > outer ? inner : outer);
    const int64_t part = 2 * pairs + rows + positions, tasks = (inner / PANEL) * (outer / PANEL);
    element *spans = (element *)get_workspace((size_t)(threads * part / 2));
    memset(sums, 0, sizeof(float) * (size_t)(9 * inner * outer));
#pragma omp parallel num_threads(threads)
    {
        const shapes before = begin_tiles();
        for (int64_t t = 0; t < n; t += span * threads) {
#pragma omp for schedule(static, 1)
            for (int64_t k = 0; k < threads; k++) {
                const int64_t i = t + k * span;
                if (i >= n) continue;
                const line now = line_of(n - i < span ? n - i : span, h, w);
                element *at = spans + k * part, *across = at + 2 * pairs, *laid = across + rows;
                lay_out(x + i * h * w * inner, now, inner, laid);
                pair_positions(laid, now.size, inner, at);
                pair_positions(laid + inner, now.size - 1, inner, at + pairs);
                lay_out(gy + i * h * w * outer, now, outer, laid);
                transpose(laid + now.first * outer, now.sums, outer, across, stride);
            }
#pragma omp for schedule(static)
            for (int64_t task = 0; task < tasks; task++) {
                const int64_t i = task / (outer / PANEL) * PANEL, j = task % (outer / PANEL) * PANEL;
                for (int64_t k = 0; k < threads && t + k * span < n; k++) {
                    const int64_t left = n - t - k * span;
                    const line now = line_of(left < span ? left : span, h, w);
                    const element *at = spans + k * part, *across = at + 2 * pairs + j * stride;
                    for (int64_t p = 0; p < now.sums; p += CHUNK * LENGTH) {
                        const int64_t rest = (now.sums - p) / LENGTH, steps = rest < CHUNK ? rest : CHUNK;
                        for (int64_t odd = 0; odd < 2; odd++) {
                            const element *from = at + odd * pairs + i * (now.size - odd);
                            for (int64_t tap = 0; tap < 9; tap++) {
                                const int64_t shift = tap / 3 * now.wide + tap % 3;
                                if (shift % 2 == odd)
                                    add_products(across + p, stride, from + (p + shift - odd) * SIDE,
                                                 SIDE * (now.size - odd), steps, sums + (tap * outer + j) * inner + i,
                                                 inner);
                            }
                        }
                    }
                }
            }
        }
        end_tiles(before);
#pragma omp for schedule(static)
        for (int64_t tap = 0; tap < 9; tap++)
            for (int64_t j = 0; j < outer; j += SIDE)
                for (int64_t i = 0; i < inner; i++) {
                    const float *from = sums + (tap * outer + j) * inner + i;
                    vec o;
                    UNROLL (int k = 0; k < SIDE; k++) o[k] = from[k * inner];
                    STORE(gw + (tap * inner + i) * outer + j, o);
                }
    }
}

/* ----------------------------------------------------------------------------------------- the first block --- */

/* Buffers of a thread for one image. */
typedef struct {
    float *padded, *spread;           /* the padded image, and the gradient of it */
    float *y, *t;                     /* maps and their tangents, (pixels,outer) */
    element *row, *taps, *across;     /* the padded image; its taps, (pixels,depth); these transposed */
    element *gradients;               /* of maps and tangents: one after the other, or in pairs */
    element *weights, *direction, *back;
} buffers;

/* Outputs of the convolution, and taps of one of them, in whole tiles. */
INLINE int64_t pixels_of(frame f) { return round_up(f.oh * f.ow, LENGTH); }
INLINE int64_t depth_of(frame f) { return round_up(9 * f.c, LENGTH); }

static buffers buffers_of(frame f, int64_t maps, int64_t outer) {
    const size_t image = (size_t)round_up((int64_t)padded_floats(f), LENGTH), out = (size_t)(pixels_of(f) * outer);
    const size_t taps = (size_t)(pixels_of(f) * depth_of(f)), weights = (size_t)(depth_of(f) * outer);
    buffers b = {0};
    b.padded = get_workspace(2 * image + (size_t)maps * out + (image + 2 * taps + 2 * out + 4 * weights) / 2);
    b.spread = b.padded + image, b.y = b.spread + image, b.t = b.y + out;
    b.row = (element *)(b.y + (size_t)maps * out), b.taps = b.row + image, b.across = b.taps + taps;
    b.gradients = b.across + taps;
    b.weights = b.gradients + 2 * out, b.direction = b.weights + weights, b.back = b.direction + weights;
    return b;
}

/* One image: its padded copy, and the taps of every output. */
static void prepare_image(const float *x, frame f, buffers b) {
    const __mmask16 taps = (__mmask16)((1u << 3 * f.c) - 1);
    const int64_t depth = depth_of(f);
    pad(x, f, b.padded);
    for (int64_t i = 0; i < (f.h + 2 * f.padding) * f.wide; i += LANES) store_row(b.row + i, LOAD(b.padded + i));
    memset(b.taps, 0, sizeof(element) * (size_t)(pixels_of(f) * depth));
    for (int64_t a = 0; a < f.oh; a++)
        for (int64_t q = 0; q < f.ow; q++)
            for (int64_t dy = 0; dy < 3; dy++)
                _mm256_mask_storeu_epi16(b.taps + (a * f.ow + q) * depth + dy * 3 * f.c, taps,
                                         load_row(b.row + (a + dy) * f.wide + q * f.c));
}

/* Weights [outer/PANEL][9*c][PANEL] as [outer/16][depth/32] tiles. */
static const element *first_weights(const float *weights, frame f, int64_t outer, element *buffer) {
    const int64_t size = depth_of(f) * SIDE;
    memset(buffer, 0, sizeof(element) * (size_t)(depth_of(f) * outer));
    for (int64_t j = 0; j < outer; j += SIDE)
        pair_rows(weights + j / PANEL * PANEL * 9 * f.c + j % PANEL, 9 * f.c, SIDE, PANEL, buffer + j / SIDE * size);
    return buffer;
}

/* c[m*16][columns by ldc] = a (m*16 rows by lda) b, with b as [columns/16][parts][depth/32] tiles; a has as many parts,
 * by jump. */
INLINE void multiply_tiles(const int m, const element *a, int64_t lda, int64_t depth, int64_t parts, int64_t jump,
                           const element *b, int64_t columns, float *c, int64_t ldc) {
    for (int64_t j = 0; j < columns; j += SIDE) {
        zero_sums(m);
        for (int64_t part = 0; part < parts; part++)
            for (int64_t k = 0; k < depth; k += LENGTH, b += TILE)
                multiply_add(m, a + part * jump + k, SIDE * lda, lda, b);
        store_sums(m, c + j, ldc);
    }
}

/* y (pixels,outer) of the image in b. */
static void first_convolution(const element *weights, frame f, int64_t outer, buffers b, float *y) {
    const int64_t depth = depth_of(f), pixels = pixels_of(f);
    const shapes before = begin_tiles();
    for (int64_t i = 0; i < pixels; i += SUMS * SIDE)
        WITH_TILES((pixels - i) / SIDE, multiply_tiles, b.taps + i * depth, depth, depth, 1, 0, weights, outer,
                   y + i * outer, outer);
    end_tiles(before);
}

/* sum [9*c][outer] += the gradient of the weights of the image in b, from the gradient gy (oh,ow,outer) of its maps. */
static void first_weight_gradient(const float *gy, frame f, int64_t outer, buffers b, float *sum) {
    const int64_t depth = depth_of(f), pixels = pixels_of(f), filled = round_up(f.oh * f.ow, 2);
    transpose(b.taps, pixels, depth, b.across, pixels);
    for (int64_t j = 0; j < outer; j += SIDE) {
        pair_rows(gy + j, f.oh * f.ow, SIDE, outer, b.gradients + j * pixels);
        memset(b.gradients + j * pixels + filled * SIDE, 0, sizeof(element) * (size_t)((pixels - filled) * SIDE));
    }
    float part[PANEL * PANEL] __attribute__((aligned(64)));
    const shapes before = begin_tiles();
    for (int64_t i = 0; i < depth; i += PANEL)
        for (int64_t j = 0; j < outer; j += PANEL) {
            memset(part, 0, sizeof part);
            add_products(b.across + i * pixels, pixels, b.gradients + j * pixels, SIDE * pixels, pixels / LENGTH,
                         part, PANEL);
            for (int64_t k = i; k < i + PANEL && k < 9 * f.c; k++)
                for (int64_t l = 0; l < PANEL; l += LANES)
                    STORE(sum + k * outer + j + l, LOAD(sum + k * outer + j + l) + LOAD(part + (k - i) * PANEL + l));
        }
    end_tiles(before);
}

/* Weights [columns/PANEL][maps*outer][PANEL], whose columns are the taps, as [columns/16][maps*outer/32] tiles. */
static const element *first_back_weights(const float *back, frame f, int64_t maps, int64_t outer, buffers b) {
    for (int64_t j = 0; j < depth_of(f); j += SIDE)
        pair_rows(back + j / PANEL * PANEL * maps * outer + j % PANEL, maps * outer, SIDE, PANEL,
                  b.back + j * maps * outer);
    return b.back;
}

/* gx (h,w,c) of the image in b from the gradients of its maps, in b.y, and of their tangents, in b.t. */
static void first_input_gradient(int64_t maps, const element *back, frame f, int64_t outer, buffers b, float *gx) {
    const int64_t depth = depth_of(f), pixels = pixels_of(f), out = pixels * outer;
    const __mmask16 taps = (__mmask16)((1u << 3 * f.c) - 1);
    for (int64_t i = 0; i < maps * out; i += LANES) store_row(b.gradients + i, LOAD(b.y + i));
    memset(b.spread, 0, padded_floats(f) * sizeof(float));
    float rows[SUMS * SIDE * 2 * LENGTH] __attribute__((aligned(64)));
    const shapes before = begin_tiles();
    for (int64_t i = 0; i < pixels; i += SUMS * SIDE) {
        WITH_TILES((pixels - i) / SIDE, multiply_tiles, b.gradients + i * outer, outer, outer, maps, out, back, depth,
                   rows, depth);
        for (int64_t p = i; p < i + SUMS * SIDE && p < f.oh * f.ow; p++)
            for (int64_t dy = 0; dy < 3; dy++) {
                float *to = b.spread + (p / f.ow + dy) * f.wide + p % f.ow * f.c;
                const __m512 add = _mm512_maskz_loadu_ps(taps, rows + (p - i) * depth + dy * 3 * f.c);
                _mm512_mask_storeu_ps(to, taps, _mm512_add_ps(_mm512_maskz_loadu_ps(taps, to), add));
            }
    }
    end_tiles(before);
    crop(b.spread, f, gx);
}
