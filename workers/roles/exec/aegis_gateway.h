/*
 * aegis_gateway.h: what the files of the gateway adapter share:
 *   aegis_adapter_gateway.c  settings, what may be shifted, begin and end
 *   aegis_gateway_run.c      one shift, as a sequence that never blocks
 *   aegis_gateway_end.c      its end: seen in force, or put back
 *   aegis_gateway_file.c     the file that nginx includes: read, write, put back
 */
#ifndef AEGIS_GATEWAY_H
#define AEGIS_GATEWAY_H

#include "aegis_adapter.h"
#include "aegis_child.h"
#include "aegis_net.h"
#include "aegis_split.h"

#define AEGIS_GATEWAY_ARGS     16
#define AEGIS_GATEWAY_BACK_MS  4000     /* all of the way back fits into the grace */

typedef enum {
    AEGIS_GATEWAY_LOCK,                 /* wait until nobody else shifts */
    AEGIS_GATEWAY_LOOK,                 /* nginx -T: is all well before? */
    AEGIS_GATEWAY_TEST,                 /* nginx -T: does nginx take the new file? */
    AEGIS_GATEWAY_RELOAD,
    AEGIS_GATEWAY_VERIFY,               /* until new workers serve it */
    AEGIS_GATEWAY_BACK_TEST,            /* the old file is back: the same for it */
    AEGIS_GATEWAY_BACK_RELOAD,
    AEGIS_GATEWAY_BACK_VERIFY
} aegis_gateway_at_t;

typedef enum { AEGIS_GATEWAY_SHIFT, AEGIS_GATEWAY_CHECK, AEGIS_GATEWAY_RECOVER } aegis_gateway_mode_t;

/* A command line of the settings. */
typedef struct {
    char   *text;                       /* the words, each with a NUL behind it */
    char   *argv[AEGIS_GATEWAY_ARGS + 1];
    int     n;
} aegis_gateway_command_t;

typedef struct {
    aegis_gateway_mode_t     mode;
    aegis_gateway_at_t       at;
    aegis_split_t            split;
    aegis_split_weights_t    weights;   /* wanted */
    char                     key[37];   /* of the step: the file's id */

    /* settings, as they were when the act began */
    aegis_gateway_command_t  nginx;
    aegis_gateway_command_t  reload;    /* n 0: nginx -s reload */
    char                    *by;
    char                     url[1024];
    int64_t                  verify_ms;
    int                      dir;

    int                      lock;      /* fd with the lock, or -1 */
    char                    *old;       /* the file before; NULL: there was none */
    json_t                  *what;      /* of the file before, or NULL */
    int                      known;     /* what was there before has weights */
    int                      wrote;     /* the new file is in place */
    int                      reloaded;  /* nginx was told */
    int                      late;      /* its time was over: it goes back */
    int                      stopping;  /* cancel(): put it back */
    char                     verified[37];  /* the id that has to be served, "": none */
    int                      good;      /* answers in a row that had it */
    int64_t                  until;     /* of VERIFY */
    aegis_child_t            child;
    aegis_net_t             *net;
    int                      busy;
    char                     why[256];  /* why it is put back */
    char                     seen[160]; /* the last answer that was not the right one */
} aegis_gateway_t;

/* --- aegis_gateway_file.c */

/* The text of <name>.conf, of <name>.before; *ret NULL when it is not there. 0:
 * act has failed. */
int aegis_gateway_read(aegis_act_t *act, const char *suffix, char **ret);

/* Replace <name>.conf as one; what is there now stays as <name>.before. 0: errno. */
int aegis_gateway_write(const aegis_gateway_t *g, const char *text);

/* Put old back. 0: errno. */
int aegis_gateway_restore(const aegis_gateway_t *g);

/* --- aegis_gateway_run.c */

/* Begin a stage. */
void aegis_gateway_go(aegis_act_t *act, aegis_gateway_at_t at);

void aegis_gateway_poll(aegis_act_t *act);
void aegis_gateway_cancel(aegis_act_t *act, int now);

/* --- aegis_gateway_end.c */

/* outcome: ok, refused, restored, broken */
void aegis_gateway_count(const char *outcome, int n);

/* An end in which nothing was changed, or nothing that stays. */
void aegis_gateway_fail(aegis_act_t *act, const char *outcome, int final, const char *why);

/* The way back begins: why says what went wrong; and has ended, with a problem
 * or NULL. */
void aegis_gateway_back(aegis_act_t *act, const char *why);
void aegis_gateway_was_back(aegis_act_t *act, const char *problem);

/* Ask for the id at gateway.verify_url once more, or judge. */
void aegis_gateway_ask(aegis_act_t *act);

#endif
