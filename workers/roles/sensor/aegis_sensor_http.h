/*
 * aegis_sensor_http.h: one request of a sender, between libmicrohttpd's calls.
 */
#ifndef AEGIS_SENSOR_HTTP_H
#define AEGIS_SENSOR_HTTP_H

#include <microhttpd.h>

#include "aegis_sensor.h"

typedef enum { AEGIS_PRW, AEGIS_OTLP, AEGIS_LOKI, AEGIS_EVENTS } aegis_family_t;

typedef struct {
    const char      *path;
    aegis_family_t   family;
    const char      *first;                 /* kind: protobuf, or remote write 1.0 */
    const char      *second;                /* kind: JSON, or remote write 2.0 */
} aegis_path_t;

typedef struct {
    aegis_sensor_t         *x;
    struct MHD_Connection  *connection;
    const aegis_path_t     *path;
    aegis_arena_t          *arena;
    char                   *body;
    size_t                  len;
    size_t                  size;
    int                     json;
    int                     v2;             /* remote write 2.0 */
    int                     binary;         /* a CloudEvent whose attributes are headers */
    int                     decided;        /* the job is done */
    int                     suspended;
    unsigned                status;         /* of a refusal; 0: none */
    char                    why[256];
    aegis_job_t             job;
} aegis_call_t;

const char *aegis_call_header(const aegis_call_t *c, const char *name);   /* "": none */

/* Decide on a refusal; returns its status. */
unsigned aegis_call_refuse(aegis_call_t *c, unsigned status, const char *why);

/* A CloudEvent in headers as one in structured form. 0: it is none. */
int aegis_call_structured(aegis_call_t *c);

/* Send the answer, in the sender's own form. */
enum MHD_Result aegis_call_answer(aegis_call_t *c);

#endif
