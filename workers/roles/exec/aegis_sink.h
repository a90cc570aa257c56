/*
 * aegis_sink.h: the outputs of an act as files of the spool, seen from the
 * runner; adapters write through aegis_adapter.h.
 */
#ifndef AEGIS_SINK_H
#define AEGIS_SINK_H

#include "aegis_adapter.h"

/* "<exec_id>/<phase>-<step>-<attempt>.out", or .err: the object's key. */
#define AEGIS_SINK_KEY  96

void aegis_sink_init(aegis_act_t *act);
void aegis_sink_close(aegis_act_t *act);

void aegis_sink_key(const aegis_act_t *act, aegis_output_t stream,
    char key[AEGIS_SINK_KEY]);

/* What it holds now, also when another process writes it. */
int64_t aegis_sink_size(aegis_act_t *act, aegis_output_t output);

/* Nothing comes after: say how much was dropped. */
void aegis_sink_end(aegis_act_t *act);

/* {"stdout": {locator_id, bucket, key, bytes, tail}, …} of what is not empty;
 * NULL when all is. prefix goes before the key. New reference. */
json_t *aegis_sink_json(aegis_act_t *act, const char *bucket, const char *prefix);

/* Outputs in the spool that nobody writes any more, handed to put one by one: what
 * an executor before us could not store. */
void aegis_sink_leftovers(int objects, void (*put)(void *data, const char *key, int fd,
    int64_t size), void *data);

#endif
