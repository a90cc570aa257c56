/*
 * time.c: fuzzes RFC 3339 times. What is taken is within what timestamptz holds,
 * has one second in either case of its letters, and that second, written out, is
 * read as itself.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"
#include "aegis_time.h"

#define FIRST  (-62135596800LL)         /* 0001-01-01T00:00:00Z */
#define LAST   253402300799LL           /* 9999-12-31T23:59:59Z */
#define SHIFT  (16 * 3600)


static void
whole(int64_t s)
{
    int      day;
    char     text[AEGIS_TIME_LEN + 1];
    int64_t  again;

    aegis_time_format(s, text);
    aegis_fuzz_must(strlen(text) == AEGIS_TIME_LEN);

    if (s >= FIRST && s <= LAST) {
        aegis_fuzz_must(aegis_time_parse((aegis_str_t) { AEGIS_TIME_LEN, text }, &again));
        aegis_fuzz_must(again == s);
    }

    day = aegis_time_weekday(s);
    aegis_fuzz_must(day >= 0 && day <= 6);
    aegis_fuzz_must(aegis_time_weekday(s + 86400) == (day + 1) % 7);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t      s, again, offset, raw;
    aegis_str_t  in = { size, (const char *) data }, turned;

    if (size >= sizeof(raw)) {
        memcpy(&raw, data, sizeof(raw));
        whole(FIRST - SHIFT + (int64_t) ((uint64_t) raw % (LAST - FIRST + 2 * SHIFT)));
    }

    if (aegis_time_offset(in, &offset)) {
        aegis_fuzz_must(offset > -SHIFT && offset < SHIFT && offset % 60 == 0);
    }

    if (!aegis_time_parse(in, &s)) {
        aegis_fuzz_must(!aegis_http_time_valid(in));
        return 0;
    }

    aegis_fuzz_must(aegis_http_time_valid(in));
    aegis_fuzz_must(size >= AEGIS_TIME_LEN && size <= 35);
    aegis_fuzz_must(s > FIRST - SHIFT && s <= LAST + 1 + SHIFT);

    turned = aegis_fuzz_turned(in);
    aegis_fuzz_must(aegis_time_parse(turned, &again) && again == s);
    free((char *) turned.data);

    whole(s);

    return 0;
}
