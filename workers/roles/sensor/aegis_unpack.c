/*
 * aegis_unpack.c: bodies that came compressed: gzip (and zlib) as most senders do
 * it, snappy's block format as remote write and Loki do.
 * Invariant: what comes out is never larger than asked for, whatever the body says
 * of itself; a body that would be is refused, not cut.
 */
#include <string.h>

#include <snappy-c.h>
#include <zlib.h>

#include "aegis_signal.h"

/* Nothing that is sent in earnest is smaller than a hundredth of itself: a body of
 * a few KB may still say that it is large. */
#define AEGIS_UNPACK_RATIO  200
#define AEGIS_UNPACK_SMALL  1048576

static aegis_code_t
aegis_unpack_bomb(size_t max, aegis_error_t *err)
{
    return aegis_error_set(err, AEGIS_E_TOO_LARGE,
                           "the body would be larger than %zu bytes when unpacked", max);
}

static size_t
aegis_unpack_max(aegis_str_t body, size_t max)
{
    size_t  fair;

    fair = body.len > max / AEGIS_UNPACK_RATIO ? max : body.len * AEGIS_UNPACK_RATIO;
    fair = fair < AEGIS_UNPACK_SMALL ? AEGIS_UNPACK_SMALL : fair;

    return fair < max ? fair : max;
}

aegis_code_t
aegis_unpack_snappy(aegis_arena_t *arena, aegis_str_t body, size_t max, aegis_str_t *ret,
    aegis_error_t *err)
{
    char    *out;
    size_t   len;

    if (snappy_uncompressed_length(body.data, body.len, &len) != SNAPPY_OK) {
        return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body is not snappy");
    }

    max = aegis_unpack_max(body, max);
    if (len > max) {
        return aegis_unpack_bomb(max, err);
    }

    out = aegis_arena_alloc(arena, len + 1);
    if (out == NULL) {
        return aegis_unpack_bomb(max, err);
    }

    if (snappy_uncompress(body.data, body.len, out, &len) != SNAPPY_OK) {
        return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body is not snappy");
    }

    *ret = (aegis_str_t) { len, out };
    return AEGIS_E_OK;
}

/* out grows by copying: what is left behind is the arena's until its end. */
static aegis_code_t
aegis_unpack_inflate(z_stream *z, aegis_arena_t *arena, size_t first, size_t max,
    aegis_str_t *ret, aegis_error_t *err)
{
    int      rc;
    char    *out, *more;
    size_t   size, len;

    size = first < max ? first : max;
    out = aegis_arena_alloc(arena, size + 1);

    for (len = 0; out; ) {
        z->next_out = (unsigned char *) out + len;
        z->avail_out = (unsigned) (size - len);
        rc = inflate(z, Z_NO_FLUSH);
        len = size - z->avail_out;

        if (rc == Z_STREAM_END && z->avail_in == 0) {
            *ret = (aegis_str_t) { len, out };
            return AEGIS_E_OK;
        }
        if (rc == Z_STREAM_END) {
            /* members may follow one another */
            rc = inflateReset(z);
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body is not gzip");
        }
        if (len < size) {
            if (z->avail_in == 0) {
                return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the gzip body ends too early");
            }
            continue;
        }
        if (size == max) {
            return aegis_unpack_bomb(max, err);
        }

        size = size > max / 2 ? max : size * 2;
        more = aegis_arena_alloc(arena, size + 1);
        if (more) {
            memcpy(more, out, len);
        }
        out = more;
    }

    return aegis_unpack_bomb(max, err);
}

aegis_code_t
aegis_unpack_gzip(aegis_arena_t *arena, aegis_str_t body, size_t max, aegis_str_t *ret,
    aegis_error_t *err)
{
    z_stream      z;
    aegis_code_t  rc;

    memset(&z, 0, sizeof(z));
    if (inflateInit2(&z, 15 + 32) != Z_OK) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    z.next_in = (unsigned char *) (uintptr_t) body.data;
    z.avail_in = (unsigned) body.len;
    rc = aegis_unpack_inflate(&z, arena, body.len * 4 + 1024, aegis_unpack_max(body, max),
                              ret, err);
    (void) inflateEnd(&z);

    return rc;
}
