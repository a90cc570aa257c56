/*
 * cursor.c: fuzzes cursors: a position before the first newline, a cursor behind
 * it. What we signed reads back, under no other filters or secret; what is taken
 * is byte for byte what we would sign. The mutator signs positions with the key
 * and changes the result, because plain bytes never come through the MAC.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"

#define SECRET   aegis_str("a secret that no input knows")
#define FILTERS  aegis_str("tenant\n/case\nstatus=NEW&")


/* One character of what we signed, changed: never taken again. */
static void
altered(const char *cursor, size_t at)
{
    char    copy[AEGIS_CURSOR_MAX], out[AEGIS_CURSOR_MAX];
    size_t  len;

    len = strlen(cursor);
    memcpy(copy, cursor, len + 1);
    copy[at % len] = copy[at % len] == 'A' ? 'B' : 'A';

    aegis_fuzz_must(aegis_cursor_read(SECRET, FILTERS, (aegis_str_t) { len, copy }, out,
                                      sizeof(out)) != AEGIS_E_OK);
    aegis_fuzz_must(aegis_cursor_read(SECRET, FILTERS, (aegis_str_t) { len - 1, cursor },
                                      out, sizeof(out)) != AEGIS_E_OK);
}


static void
signs(aegis_str_t position)
{
    char         cursor[AEGIS_CURSOR_MAX], out[AEGIS_CURSOR_MAX];
    size_t       i;
    aegis_str_t  c;

    if (aegis_cursor_make(SECRET, FILTERS, position, cursor, sizeof(cursor))
        != AEGIS_E_OK)
    {
        aegis_fuzz_must(position.len == 0 || position.len > 170
                        || memchr(position.data, '|', position.len));
        return;
    }

    c = aegis_view(cursor);
    aegis_fuzz_must(c.len < sizeof(cursor));

    aegis_fuzz_must(aegis_cursor_read(SECRET, FILTERS, c, out, sizeof(out))
                    == AEGIS_E_OK);
    aegis_fuzz_must(memcmp(out, position.data, position.len) == 0
                    && out[position.len] == '\0');

    aegis_fuzz_must(aegis_cursor_read(SECRET, aegis_str("tenant\n/case\n"), c, out,
                                      sizeof(out)) != AEGIS_E_OK);
    aegis_fuzz_must(aegis_cursor_read(aegis_str("another"), FILTERS, c, out, sizeof(out))
                    != AEGIS_E_OK);
    aegis_fuzz_must(aegis_cursor_read(SECRET, FILTERS, c, out, position.len)
                    != AEGIS_E_OK);

    for (i = 0; i < 8; i++) {
        altered(cursor, i * 37 + position.len);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char         again[AEGIS_CURSOR_MAX], out[AEGIS_CURSOR_MAX];
    aegis_str_t  in = { size, (const char *) data }, position;

    position = aegis_fuzz_until(&in, '\n');
    signs(position);

    in = aegis_fuzz_join("", in, "");

    if (aegis_cursor_read(SECRET, FILTERS, in, out, sizeof(out)) == AEGIS_E_OK) {
        aegis_fuzz_must(strlen(out) > 0 || memchr(out, '\0', sizeof(out)) != NULL);
        aegis_fuzz_must(aegis_cursor_make(SECRET, FILTERS,
                                          (aegis_str_t) { in.len * 6 / 8 - 17, out },
                                          again, sizeof(again)) == AEGIS_E_OK);
        aegis_fuzz_must(aegis_fuzz_is(in, again));
    }

    free((char *) in.data);

    return 0;
}


#ifdef AEGIS_FUZZ_MUTATE

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);


size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    char         cursor[AEGIS_CURSOR_MAX];
    size_t       n;
    aegis_str_t  in = { size, (const char *) data }, position;

    position = aegis_fuzz_until(&in, '\n');

    if (seed % 4 == 0 || aegis_cursor_make(SECRET, FILTERS, position, cursor,
                                           sizeof(cursor)) != AEGIS_E_OK
        || position.len + 1 + strlen(cursor) > max)
    {
        return LLVMFuzzerMutate(data, size, max);
    }

    n = position.len;
    data[n++] = '\n';
    memcpy(data + n, cursor, strlen(cursor));

    return n + (seed % 4 == 1 ? strlen(cursor)
                : LLVMFuzzerMutate(data + n, strlen(cursor), max - n));
}

#endif
