/* npy.c - NumPy arrays from and to streams.
 *
 * The header is a Python dict literal; a parser of four productions reads the three keys it must have and nothing else. Sizes
 * are multiplied with overflow checks and bounded before anything is allocated, and the buffer grows as data arrives, so a
 * header that lies about its array costs at most twice the bytes that came.
 */
#include "common/stream/npy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/dtype.h"

#define MAGIC "\x93NUMPY"
#define HEADER_MAX 65536 /* real ones have 118 bytes */
#define PIECE ((size_t)4 << 20)

/* ---- where bytes come from: a file or memory ---- */

struct source {
    FILE *f;
    const uint8_t *p;
    size_t left; /* of p */
    const char *name;
};

/* Bytes read: fewer than n only at the end or on an error. */
static size_t take(struct source *s, void *to, size_t n) {
    if (s->f)
        return fread(to, 1, n, s->f);
    if (n > s->left)
        n = s->left;
    if (n)
        memcpy(to, s->p, n);
    s->p += n;
    s->left -= n;
    return n;
}

static enum status ends_early(const struct source *s, const char *where, struct error *e) {
    if (s->f && ferror(s->f))
        return st_fail(e, "%s: read: %s", s->name, strerror(errno));
    return st_fail(e, "%s: truncated .npy %s", s->name, where);
}

/* ---- header ---- */

struct header {
    char kind;     /* 'f', 'i', 'u', 'b' */
    int size;      /* bytes of an element */
    bool big, fortran;
    int ndim;
    int64_t dim[NPY_MAX_DIM];
};

struct parser {
    const char *p; /* NUL-terminated */
};

static void blanks(struct parser *s) { s->p += strspn(s->p, " \t\r\n"); }

static bool symbol(struct parser *s, char c) {
    blanks(s);
    if (*s->p != c)
        return false;
    s->p++;
    return true;
}

/* 'text' or "text" without escapes */
static bool string(struct parser *s, char *out, size_t room) {
    blanks(s);
    char quote = *s->p;
    if (quote != '\'' && quote != '"')
        return false;
    const char *first = ++s->p, *end = strchr(first, quote);
    if (!end || (size_t)(end - first) >= room || memchr(first, '\\', (size_t)(end - first)))
        return false;
    memcpy(out, first, (size_t)(end - first));
    out[end - first] = '\0';
    s->p = end + 1;
    return true;
}

static bool word(struct parser *s, const char *text) {
    blanks(s);
    size_t n = strlen(text);
    if (strncmp(s->p, text, n))
        return false;
    s->p += n;
    return true;
}

static bool integer(struct parser *s, int64_t *v) {
    blanks(s);
    if (*s->p < '0' || *s->p > '9')
        return false;
    for (*v = 0; *s->p >= '0' && *s->p <= '9'; s->p++)
        if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, *s->p - '0', v))
            return false;
    if (*s->p == 'L') /* written by Python 2 */
        s->p++;
    return true;
}

/* (), (3,), (3, 4) */
static const char *shape(struct parser *s, struct header *h) {
    if (!symbol(s, '('))
        return "shape is no tuple";
    h->ndim = 0;
    while (!symbol(s, ')')) {
        if (h->ndim == NPY_MAX_DIM)
            return "too many dimensions";
        if (!integer(s, &h->dim[h->ndim++]))
            return "shape is no tuple of numbers";
        if (!symbol(s, ',')) {
            if (!symbol(s, ')'))
                return "shape is no tuple of numbers";
            return NULL;
        }
    }
    return NULL;
}

static const char *descr(struct parser *s, struct header *h) {
    char text[32];
    if (!string(s, text, sizeof text))
        return "structured or unreadable dtype";
    const char *p = text;
    h->big = *p == '>';
    if (strchr("<>|=", *p) && *p)
        p++;
    h->kind = *p;
    if (*p == 'O')
        return "object arrays are not read (they would execute code)";
    h->size = *p ? atoi(p + 1) : 0;
    bool ok = (*p == 'f' && (h->size == 2 || h->size == 4 || h->size == 8)) ||
              ((*p == 'i' || *p == 'u') && (h->size == 1 || h->size == 2 || h->size == 4 || h->size == 8)) || (*p == 'b' && h->size == 1);
    if (!ok || strlen(p) != 2)
        return "dtype that is not read (f2 f4 f8 and integers are)";
    return NULL;
}

/* NULL, or what is wrong. */
static const char *parse_header(const char *text, struct header *h) {
    struct parser s = {text};
    bool have_descr = false, have_order = false, have_shape = false;
    if (!symbol(&s, '{'))
        return "header is no dict";
    while (!symbol(&s, '}')) {
        char key[32];
        const char *wrong = NULL;
        if (!string(&s, key, sizeof key) || !symbol(&s, ':'))
            return "header is no dict of names";
        if (!strcmp(key, "descr")) {
            wrong = descr(&s, h);
            have_descr = true;
        } else if (!strcmp(key, "fortran_order")) {
            if (word(&s, "True"))
                h->fortran = true;
            else if (word(&s, "False"))
                h->fortran = false;
            else
                wrong = "fortran_order is neither True nor False";
            have_order = true;
        } else if (!strcmp(key, "shape")) {
            wrong = shape(&s, h);
            have_shape = true;
        } else {
            wrong = "unknown key in the header";
        }
        if (wrong)
            return wrong;
        if (!symbol(&s, ',')) {
            if (!symbol(&s, '}'))
                return "header is no dict";
            break;
        }
    }
    blanks(&s);
    if (*s.p)
        return "something stands behind the header's dict";
    return have_descr && have_order && have_shape ? NULL : "header lacks descr, fortran_order or shape";
}

static enum status read_header(struct source *s, struct header *h, struct error *e) {
    uint8_t head[12];
    size_t n = take(s, head, 8);
    if (n == 0 && !(s->f && ferror(s->f)))
        return ST_END;
    if (n >= 6 && memcmp(head, MAGIC, 6))
        return st_fail(e, "%s: no .npy array (it begins otherwise)", s->name);
    if (n < 8)
        return n && memcmp(head, MAGIC, n < 6 ? n : 6) ? st_fail(e, "%s: no .npy array (it begins otherwise)", s->name)
                                                      : ends_early(s, "header", e);
    if (head[6] < 1 || head[6] > 3)
        return st_fail(e, "%s: .npy version %d.%d is not read (1 to 3 are)", s->name, head[6], head[7]);
    size_t wide = head[6] == 1 ? 2 : 4, length = 0;
    if (take(s, head + 8, wide) < wide)
        return ends_early(s, "header", e);
    for (size_t i = wide; i--;)
        length = length << 8 | head[8 + i];
    if (length > HEADER_MAX)
        return st_fail(e, "%s: .npy header of %zu bytes is over the limit of %d", s->name, length, HEADER_MAX);
    char *text = xmalloc(length + 1);
    enum status st = ST_OK;
    const char *wrong;
    if (take(s, text, length) < length) {
        st = ends_early(s, "header", e);
    } else {
        text[length] = '\0';
        wrong = strlen(text) < length ? "a NUL in the header" : parse_header(text, h);
        if (wrong)
            st = st_fail(e, "%s: bad .npy array: %s", s->name, wrong);
    }
    free(text);
    return st;
}

/* ---- data ---- */

static double element(const uint8_t *p, const struct header *h) {
    uint64_t u = 0;
    for (int i = 0; i < h->size; i++)
        u |= (uint64_t)p[h->big ? h->size - 1 - i : i] << 8 * i;
    if (h->kind == 'f') {
        uint32_t w = (uint32_t)u;
        float f;
        double d;
        if (h->size == 2)
            return (double)f32_from_f16((uint16_t)u);
        memcpy(&f, &w, 4);
        memcpy(&d, &u, 8);
        return h->size == 4 ? (double)f : d;
    }
    if (h->kind != 'i')
        return (double)u;
    int shift = 64 - 8 * h->size;
    return (double)((int64_t)(u << shift) >> shift);
}

/* Elements in file order into C order. `to` walks the C array with one stride per dimension of the file's order. */
static void convert(const struct header *h, const uint8_t *data, struct npy *a) {
    int64_t stride[NPY_MAX_DIM], index[NPY_MAX_DIM] = {0}, step = 1;
    for (int i = h->ndim; i--; step *= h->dim[i])
        stride[i] = step;
    int64_t to = 0;
    for (int64_t k = 0; k < a->count; k++, data += h->size) {
        double v = element(data, h);
        int64_t at = h->fortran ? to : k;
        if (a->f32)
            a->f32[at] = (float)v;
        else
            a->f64[at] = v;
        if (h->fortran) /* count up, first index fastest */
            for (int i = 0; i < h->ndim; i++) {
                to += stride[i];
                if (++index[i] < h->dim[i])
                    break;
                to -= stride[i] * h->dim[i];
                index[i] = 0;
            }
    }
}

/* The data in memory as it comes; *data is owned by the caller in any case. */
static enum status read_data(struct source *s, size_t bytes, struct bytes *data, struct error *e) {
    while (data->size < bytes) {
        size_t want = bytes - data->size < PIECE ? bytes - data->size : PIECE;
        bytes_reserve(data, data->size + want);
        size_t n = take(s, data->data + data->size, want);
        data->size += n;
        if (n < want)
            return ends_early(s, "data", e);
    }
    return ST_OK;
}

/* The number of elements and the bytes of an array in the file and as delivered. */
static enum status measure(const struct source *s, const struct header *h, int64_t out_size, int64_t limit, int64_t *count,
                           int64_t *bytes, int64_t *out_bytes, struct error *e) {
    bool overflow = false;
    *count = 1;
    for (int i = 0; i < h->ndim; i++)
        if (h->dim[i] == 0)
            *count = 0;
    for (int i = 0; i < h->ndim && *count; i++)
        overflow |= __builtin_mul_overflow(*count, h->dim[i], count);
    overflow |= __builtin_mul_overflow(*count, h->size, bytes);
    overflow |= __builtin_mul_overflow(*count, out_size, out_bytes);
    if (overflow || *bytes > limit || *out_bytes > limit)
        return st_fail(e, "%s: .npy array is over the limit of %lld bytes", s->name, (long long)limit);
    return ST_OK;
}

/* What stands behind a header. */
static enum status read_body(struct source *s, const struct header *h, enum npy_want want, struct npy *a, struct error *e) {
    int64_t count, bytes, out_bytes, out_size = want == NPY_F32 ? 4 : 8;
    enum status st = measure(s, h, out_size, NPY_MAX_BYTES, &count, &bytes, &out_bytes, e);
    if (st)
        return st;
    struct bytes data = {0};
    st = read_data(s, (size_t)bytes, &data, e);
    if (st) {
        bytes_free(&data);
        return st;
    }
    a->ndim = h->ndim;
    memcpy(a->dim, h->dim, sizeof a->dim);
    a->count = count;
    bool same = h->kind == 'f' && h->size == out_size && !h->big && (!h->fortran || h->ndim < 2); /* the usual case: nothing to do */
    if (same && data.data) {
        if (want == NPY_F32)
            a->f32 = (float *)(void *)data.data;
        else
            a->f64 = (double *)(void *)data.data;
        return ST_OK;
    }
    if (want == NPY_F32)
        a->f32 = xmalloc((size_t)out_bytes);
    else
        a->f64 = xmalloc((size_t)out_bytes);
    convert(h, data.data, a);
    bytes_free(&data);
    return ST_OK;
}

static enum status read_array(struct source *s, enum npy_want want, struct npy *a, struct error *e) {
    *a = (struct npy){0};
    struct header h = {0};
    enum status st = read_header(s, &h, e);
    return st ? st : read_body(s, &h, want, a, e);
}

enum status npy_read(FILE *f, const char *name, enum npy_want want, struct npy *a, struct error *e) {
    struct source s = {.f = f, .name = name};
    return read_array(&s, want, a, e);
}

enum status npy_parse(const void *bytes, size_t size, enum npy_want want, struct npy *a, struct error *e) {
    struct source s = {.p = bytes, .left = size, .name = "array"};
    enum status st = read_array(&s, want, a, e);
    if (st == ST_END)
        return st_fail(e, "array: empty, no .npy array");
    if (!st && s.left) {
        npy_free(a);
        return st_fail(e, "array: %zu bytes stand behind the .npy array", s.left);
    }
    return st;
}

void npy_free(struct npy *a) {
    free(a->f32);
    free(a->f64);
    *a = (struct npy){0};
}

enum status npy_rows_open(FILE *f, const char *name, struct npy_rows *r, struct error *e) {
    struct source s = {.f = f, .name = name};
    struct header h = {0};
    int64_t count, bytes, out_bytes;
    *r = (struct npy_rows){.f = f, .name = name};
    enum status st = read_header(&s, &h, e);
    if (!st)
        st = measure(&s, &h, 4, INT64_MAX, &count, &bytes, &out_bytes, e);
    if (!st && h.fortran && h.ndim > 1)
        st = read_body(&s, &h, NPY_F32, &r->whole, e);
    if (st)
        return st;
    r->ndim = h.ndim;
    memcpy(r->dim, h.dim, sizeof r->dim);
    r->rows = r->left = h.ndim ? h.dim[0] : 1;
    r->row = r->rows ? count / r->rows : 0;
    r->kind = h.kind;
    r->size = h.size;
    r->big = h.big;
    return ST_OK;
}

enum status npy_rows_read(struct npy_rows *r, float *out, int64_t n, struct error *e) {
    struct source s = {.f = r->f, .name = r->name};
    size_t count = (size_t)(n * r->row);
    const float *whole = r->whole.f32;
    if (whole)
        memcpy(out, whole + (r->rows - r->left) * r->row, count * sizeof *out);
    r->left -= n;
    if (whole)
        return ST_OK;
    if (r->kind == 'f' && r->size == 4 && !r->big)
        return take(&s, out, count * 4) < count * 4 ? ends_early(&s, "data", e) : ST_OK;
    struct header h = {.kind = r->kind, .size = r->size, .big = r->big, .ndim = 1};
    uint8_t piece[8192]; /* a multiple of every element size */
    for (size_t at = 0; at < count;) {
        size_t m = sizeof piece / (size_t)r->size < count - at ? sizeof piece / (size_t)r->size : count - at;
        if (take(&s, piece, m * (size_t)r->size) < m * (size_t)r->size)
            return ends_early(&s, "data", e);
        convert(&h, piece, &(struct npy){.count = (int64_t)m, .f32 = out + at});
        at += m;
    }
    return ST_OK;
}

void npy_rows_close(struct npy_rows *r) {
    npy_free(&r->whole);
    r->left = 0;
}

const char *npy_rows_shape(const struct npy_rows *r, char out[160]) {
    out[0] = '\0';
    for (int i = 0, at = 0; i < r->ndim; i++)
        at += snprintf(out + at, 160 - (size_t)at, "%s%lld", i ? "," : "", (long long)r->dim[i]);
    return out;
}

enum status npy_write_header(FILE *f, const char *type, int ndim, const int64_t *dim, struct error *e) {
    char head[512], tuple[256] = "";
    size_t at = 0;
    if (ndim < 0 || ndim > NPY_MAX_DIM || (strcmp(type, "<f4") && strcmp(type, "<f8")))
        return st_fail(e, "write .npy: %d dimensions of %s", ndim, type);
    for (int i = 0; i < ndim; i++)
        at += (size_t)snprintf(tuple + at, sizeof tuple - at, i ? ", %lld" : "%lld", (long long)dim[i]);
    int n = snprintf(head + 10, sizeof head - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s%s), }", type, tuple,
                     ndim == 1 ? "," : "");
    while ((10 + n + 1) % 64) /* data starts on a multiple of 64 bytes */
        head[10 + n++] = ' ';
    head[10 + n++] = '\n';
    memcpy(head, MAGIC "\1\0", 8);
    head[8] = (char)(n & 255);
    head[9] = (char)(n >> 8);
    if (fwrite(head, 1, (size_t)n + 10, f) != (size_t)n + 10)
        return st_fail(e, "write .npy: %s", strerror(errno));
    return ST_OK;
}

enum status npy_write(FILE *f, const char *type, int ndim, const int64_t *dim, const void *data, struct error *e) {
    enum status st = npy_write_header(f, type, ndim, dim, e);
    if (st != ST_OK)
        return st;
    size_t size = type[2] == '4' ? 4 : 8;
    for (int i = 0; i < ndim; i++)
        size *= (size_t)dim[i];
    if (size && fwrite(data, 1, size, f) != size)
        return st_fail(e, "write .npy: %s", strerror(errno));
    return ST_OK;
}
