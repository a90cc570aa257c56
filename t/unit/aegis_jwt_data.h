/*
 * aegis_jwt_data.h: the cases of t/data/jwt/cases.json for the unit tests of
 * tokens and key sets. Tests run in the project's root; AEGIS_T_ROOT names it
 * for a binary that is started elsewhere.
 */
#ifndef AEGIS_JWT_DATA_H
#define AEGIS_JWT_DATA_H

#include "aegis_unit.h"


static inline json_t *
aegis_jwt_data(void)
{
    char           path[4096];
    json_t        *json;
    json_error_t   error;

    snprintf(path, sizeof(path), "%s/t/data/jwt/cases.json",
             getenv("AEGIS_T_ROOT") ? getenv("AEGIS_T_ROOT") : ".");

    json = json_load_file(path, 0, &error);

    if (json == NULL) {
        fail_msg("%s: %s", path, error.text);
    }

    return json;
}

#endif
