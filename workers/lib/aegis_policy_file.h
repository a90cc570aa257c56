/*
 * aegis_policy_file.h: a gatekeeper's policy as a file: the YAML, checked by the
 * core, with the rules of the time zones that it names put beside.
 */
#ifndef AEGIS_POLICY_FILE_H
#define AEGIS_POLICY_FILE_H

#include "aegis_error.h"

/* err has pointers into the file when it was read and is no policy. */
aegis_code_t aegis_policy_file(const char *path, json_t **ret_policy, aegis_error_t *err);

#endif
