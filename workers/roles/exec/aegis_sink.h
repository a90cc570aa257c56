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

const char *aegis_sink_name(aegis_output_t stream);         /* "stdout" */
void aegis_sink_key(const aegis_act_t *act, aegis_output_t stream,
    char key[AEGIS_SINK_KEY]);

#endif
