/*
 * aegis_fuzz_json.h: a mutator that knows JSON, for the targets that read it:
 * half of its turns change the text as bytes, the other half change one value of
 * the tree (another value, one of a list that hurts, a member more or less), so
 * that what is behind the syntax is reached. libFuzzer alone uses it.
 */
#ifndef AEGIS_FUZZ_JSON_H
#define AEGIS_FUZZ_JSON_H

#include "aegis_fuzz.h"

#ifdef AEGIS_FUZZ_MUTATE

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* Values that a careless reader stumbles over. */
static const char *const  aegis_fuzz_values[] = {
    "null", "true", "0", "-1", "1", "2147483647", "2147483648", "9007199254740993",
    "9223372036854775807", "0.1", "1e-320", "1.7976931348623157e308", "-0.0", "\"\"", "[]",
    "{}", "\"\\ud83d\\ude00\"", "\"a\\u0001\"", "\"\\u0085\"", "\"\\n\"", "\"../..\"",
    "\"8E03978E-40D5-43DD-BC93-6894A57F9324\"", "[[[[]]]]", "{\"a\":{\"a\":{}}}",
    "[1,1]", "{\"~/\":\"\"}", "\"2026-11-21T07:00:00Z\""
};

#define AEGIS_FUZZ_N_VALUES  (sizeof(aegis_fuzz_values) / sizeof(aegis_fuzz_values[0]))


static unsigned
aegis_fuzz_next(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;

    return *seed >> 8;
}


/* Members and items of all levels, so that each is as likely as another. */
static size_t
aegis_fuzz_count(json_t *json)
{
    size_t       i, n;
    json_t      *value;
    const char  *name;

    n = json_array_size(json) + json_object_size(json);

    json_array_foreach(json, i, value) {
        n += aegis_fuzz_count(value);
    }

    json_object_foreach(json, name, value) {
        n += aegis_fuzz_count(value);
    }

    return n;
}


static json_t *
aegis_fuzz_value(json_t *was, unsigned *seed)
{
    unsigned     r;
    json_t      *value;
    const char  *text;

    r = aegis_fuzz_next(seed);

    if (r % 4 == 0 && json_is_integer(was)) {
        return json_integer((json_int_t) ((uint64_t) json_integer_value(was) + r % 7 - 3));
    }

    if (r % 4 == 1) {
        value = json_array();
        json_array_append(value, was);
        return value;
    }

    text = aegis_fuzz_values[r % AEGIS_FUZZ_N_VALUES];

    return json_loads(text, JSON_DECODE_ANY, NULL);
}


static void
aegis_fuzz_array(json_t *json, size_t i, unsigned *seed)
{
    json_t  *value;

    value = json_array_get(json, i);

    switch (aegis_fuzz_next(seed) % 4) {
    case 0:
        json_array_remove(json, i);
        break;
    case 1:
        json_array_append_new(json, json_deep_copy(value));
        break;
    default:
        json_array_set_new(json, i, aegis_fuzz_value(value, seed));
        break;
    }
}


static void
aegis_fuzz_member(json_t *json, const char *name, unsigned *seed)
{
    char     copy[64];
    json_t  *value;

    value = json_object_get(json, name);

    switch (aegis_fuzz_next(seed) % 4) {
    case 0:
        json_object_del(json, name);
        break;
    case 1:
        snprintf(copy, sizeof(copy), "%.40s%u", name, aegis_fuzz_next(seed) % 3);
        json_object_set_new_nocheck(json, copy, json_deep_copy(value));
        break;
    default:
        json_object_set_new(json, name, aegis_fuzz_value(value, seed));
        break;
    }
}


/* Change the value number *nth; 1 when that was done. */
static int
aegis_fuzz_change(json_t *json, size_t *nth, unsigned *seed)
{
    size_t       i;
    json_t      *value;
    const char  *name;

    json_array_foreach(json, i, value) {
        if ((*nth)-- == 0) {
            aegis_fuzz_array(json, i, seed);
            return 1;
        }
        if (aegis_fuzz_change(value, nth, seed)) {
            return 1;
        }
    }

    json_object_foreach(json, name, value) {
        if ((*nth)-- == 0) {
            aegis_fuzz_member(json, name, seed);
            return 1;
        }
        if (aegis_fuzz_change(value, nth, seed)) {
            return 1;
        }
    }

    return 0;
}


size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    char    *text;
    size_t   n, nth;
    json_t  *json;

    json = seed % 2 ? json_loadb((const char *) data, size, 0, NULL) : NULL;
    n = json ? aegis_fuzz_count(json) : 0;

    if (n == 0) {
        json_decref(json);
        return LLVMFuzzerMutate(data, size, max);
    }

    nth = aegis_fuzz_next(&seed) % n;
    aegis_fuzz_change(json, &nth, &seed);

    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    n = text ? strlen(text) : 0;

    if (n == 0 || n > max) {
        free(text);
        return LLVMFuzzerMutate(data, size, max);
    }

    memcpy(data, text, n);
    free(text);

    return n;
}

#endif

#endif
