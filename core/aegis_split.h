/*
 * aegis_split.h: how traffic is split between upstream groups of an nginx, as
 * the file that nginx includes. Pure: text in, text out; files and nginx are
 * workers/roles/exec/aegis_adapter_gateway.c.
 *
 * The file defines two variables, $gateway_<name>, the group of a request, and
 * $gateway_<name>_id, by which one sees from outside that it is in force. Its
 * second line says in JSON what it is:
 *   # aegis: {"id","run","weights":{group: percent},"before":{group: percent}}
 */
#ifndef AEGIS_SPLIT_H
#define AEGIS_SPLIT_H

#include "aegis_error.h"

#define AEGIS_SPLIT_GROUPS  8
#define AEGIS_SPLIT_NAME    64          /* bytes of a name or group, with its end */
#define AEGIS_SPLIT_WHOLE   10000       /* weights are hundredths of a percent */

/* A split that the configuration allows. */
typedef struct {
    char  name[AEGIS_SPLIT_NAME];
    int   n;
    char  group[AEGIS_SPLIT_GROUPS][AEGIS_SPLIT_NAME];
} aegis_split_t;

/* One for each group, AEGIS_SPLIT_WHOLE together. */
typedef int  aegis_split_weights_t[AEGIS_SPLIT_GROUPS];

/*
 * The split called name in "name=group,group other=…"; name NULL: only look
 * whether the list is well made. 0: err says what is wrong, or that it is not
 * there. At most AEGIS_SPLIT_GROUPS groups of a name, two at least.
 */
int aegis_split_find(const char *list, const char *name, aegis_split_t *ret,
    aegis_error_t *err);

/* {"group": percent, …} as weights; groups that are absent get 0. 0: err. */
int aegis_split_weights(const aegis_split_t *split, const json_t *object,
    aegis_split_weights_t ret, aegis_error_t *err);

/* All of it to one group. 0: err. */
int aegis_split_all(const aegis_split_t *split, const char *group,
    aegis_split_weights_t ret, aegis_error_t *err);

/* As the file has it: {"group": 25, "other": 75.5}. New reference. */
json_t *aegis_split_json(const aegis_split_t *split, const aegis_split_weights_t weights);

/* "green 25, blue 75" */
void aegis_split_text(const aegis_split_t *split, const aegis_split_weights_t weights,
    char *out, size_t size);

/* The file's text, malloc'ed; NULL: no memory. what is its JSON; by: what a
 * request is split by, such as $request_id. */
char *aegis_split_render(const aegis_split_t *split, const aegis_split_weights_t weights,
    const char *by, const json_t *what);

/* The JSON of a file's text: a new reference, NULL when it is not ours. */
json_t *aegis_split_read(const char *text);

/* Can it stand in nginx's file? Variables and plain characters alone. */
int aegis_split_by_valid(const char *by);

/* Has the configuration that nginx -T wrote an upstream of this name? */
int aegis_split_upstream(const char *dump, const char *name);

#endif
