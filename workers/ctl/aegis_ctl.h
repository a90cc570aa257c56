/*
 * aegis_ctl.h: what the nouns of aegisctl share: the command table's rows, the
 * parsed command line, and the three ways out (HTTPS, PostgreSQL, terminal).
 *
 * Invariant: a command writes its result to stdout and everything else to
 * stderr, and returns one of the exit codes below. One file a noun:
 * aegis_ctl_<noun>.c; aegisctl.c holds the table and main().
 */
#ifndef AEGIS_CTL_H
#define AEGIS_CTL_H

#include <libpq-fe.h>

#include "aegis_error.h"

/* Exit codes; aegisctl(1) documents them. */
enum {
    AEGIS_CTL_OK          = 0,
    AEGIS_CTL_FAILED      = 1,      /* refused, failed, or a check that is not ok */
    AEGIS_CTL_USAGE       = 2,
    AEGIS_CTL_UNREACHABLE = 3,      /* gateway, database or bus */
    AEGIS_CTL_NOT_FOUND   = 4,
    AEGIS_CTL_DENIED      = 5,      /* 401 or 403 */
    AEGIS_CTL_TIMEOUT     = 6       /* a deadline of ours passed */
};

typedef struct {
    const char  *name;              /* long form without -- */
    char         letter;            /* short form, 0: none */
    const char  *arg;               /* what the value is, NULL: a flag */
    const char  *help;
} aegis_ctl_option_t;

typedef struct aegis_ctl_command_s  aegis_ctl_command_t;

#define AEGIS_CTL_MAX_ARGS     64
#define AEGIS_CTL_MAX_OPTIONS  64

/* One invocation. */
typedef struct {
    const aegis_ctl_command_t  *command;
    const char                 *args[AEGIS_CTL_MAX_ARGS];
    int                         n_args;
    struct {
        const aegis_ctl_option_t  *option;
        const char                *value;      /* "" for a flag */
    }                           options[AEGIS_CTL_MAX_OPTIONS];
    int                         n_options;
    int                         json;       /* -o json */
    int                         color;      /* stdout is a terminal, no NO_COLOR */
} aegis_ctl_t;

struct aegis_ctl_command_s {
    const char                *verb;        /* "" when the noun is the command */
    const char                *args;        /* synopsis, "" for none */
    int                        min_args;
    int                        max_args;
    const char                *sentence;
    const char                *more;        /* further paragraphs of --help, or NULL */
    const aegis_ctl_option_t  *options;     /* ends with name NULL; NULL: none */
    int                      (*run)(aegis_ctl_t *ctl);
};

typedef struct {
    const char                 *name;
    const char                 *sentence;
    const aegis_ctl_command_t  *commands;   /* ends with verb NULL */
} aegis_ctl_noun_t;

/* The table; ends with name NULL. Completion walks it too. */
extern const aegis_ctl_noun_t     aegis_ctl_nouns[];
extern const aegis_ctl_option_t   aegis_ctl_globals[];

extern const aegis_ctl_command_t  aegis_ctl_case_commands[];
extern const aegis_ctl_command_t  aegis_ctl_gate_commands[];
extern const aegis_ctl_command_t  aegis_ctl_plan_commands[];
extern const aegis_ctl_command_t  aegis_ctl_policy_commands[];
extern const aegis_ctl_command_t  aegis_ctl_detect_commands[];
extern const aegis_ctl_command_t  aegis_ctl_detectors_commands[];
extern const aegis_ctl_command_t  aegis_ctl_finding_commands[];
extern const aegis_ctl_command_t  aegis_ctl_outbox_commands[];
extern const aegis_ctl_command_t  aegis_ctl_audit_commands[];
extern const aegis_ctl_command_t  aegis_ctl_dlq_commands[];
extern const aegis_ctl_command_t  aegis_ctl_db_commands[];
extern const aegis_ctl_command_t  aegis_ctl_fsm_commands[];
extern const aegis_ctl_command_t  aegis_ctl_key_commands[];
extern const aegis_ctl_command_t  aegis_ctl_kb_commands[];
extern const aegis_ctl_command_t  aegis_ctl_verify_commands[];
extern const aegis_ctl_command_t  aegis_ctl_config_commands[];
extern const aegis_ctl_command_t  aegis_ctl_doctor_commands[];
extern const aegis_ctl_command_t  aegis_ctl_completion_commands[];

/* --- aegis_ctl_opts.c */

/* Parse argv behind the noun and verb. 0, or an exit code after a message. */
int aegis_ctl_parse(aegis_ctl_t *ctl, int argc, char **argv);
/* The last value given, or NULL. nth: the nth value (from 0) of a repeated one. */
const char *aegis_ctl_opt(const aegis_ctl_t *ctl, const char *name);
const char *aegis_ctl_opt_nth(const aegis_ctl_t *ctl, const char *name, int nth);
/* As a number in [min, max]; -1 after a message when it is none. */
int64_t aegis_ctl_opt_int(const aegis_ctl_t *ctl, const char *name, int64_t fallback,
    int64_t min, int64_t max);
/* KEY=VALUE lines into the environment. 0, or an exit code after a message. */
int aegis_ctl_env_file(const char *path);
/* A small file as text, malloc'ed, or NULL with errno. */
char *aegis_ctl_read_file(const char *path, size_t *ret_len);

/* --- aegis_ctl_out.c */

typedef struct {
    const char  *key;               /* member; a.b reaches into objects */
    const char  *title;
} aegis_ctl_column_t;

/* "aegisctl: ..." on stderr. */
void aegis_ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* An array of objects: a table of the columns, or with -o json as it is. */
void aegis_ctl_rows(const aegis_ctl_t *ctl, json_t *rows, const aegis_ctl_column_t *columns,
    const char *when_empty);
/* One object: "title  value" lines, or with -o json as it is. */
void aegis_ctl_object(const aegis_ctl_t *ctl, json_t *object, const aegis_ctl_column_t *columns);
void aegis_ctl_json(json_t *value);
/* A cell as text in buf: strings as they are, null as -, else compact JSON. */
const char *aegis_ctl_cell(const json_t *object, const char *key, char *buf, size_t size);
/* Terminal colours by name: "red", "green", "yellow", "bold", "off"; "" when off. */
const char *aegis_ctl_color(const aegis_ctl_t *ctl, const char *name);

/* --- aegis_ctl_pg.c: plain libpq for the operator's hand */

/* By --database or DATABASE_URL. NULL after a message; *ret_exit says why. */
PGconn *aegis_ctl_pg(aegis_ctl_t *ctl, int *ret_exit);
/* As above, silent: the message goes to why. */
PGconn *aegis_ctl_pg_open(const char *url, char *why, size_t size);
/* Run with text parameters (NULL: SQL NULL). NULL after a message. */
PGresult *aegis_ctl_pg_query(PGconn *conn, const char *sql, int n, const char *const *params);
/* The rows as an array of objects, typed by column. */
json_t *aegis_ctl_pg_rows(const PGresult *res);

/* --- aegis_ctl_http.c */

typedef struct {
    long     status;
    json_t  *body;                  /* NULL when it is not JSON */
    char    *text;                  /* the raw body */
    char     etag[64];
    int      replayed;              /* Idempotent-Replayed: true */
} aegis_ctl_answer_t;

typedef struct {
    const char   *method;
    const char   *path;             /* with query */
    const json_t *body;             /* NULL: none */
    const char   *key;              /* Idempotency-Key, NULL: none is sent */
    const char   *if_match;         /* NULL: not sent; a bare number is quoted */
} aegis_ctl_request_t;

/*
 * One request to --server or AEGIS_URL. A request with a key is sent again
 * after a lost connection or a 503, with backoff, a few times. Returns
 * AEGIS_CTL_OK when there is an answer, whatever it says; else an exit code
 * with the reason in why.
 */
int aegis_ctl_http(aegis_ctl_t *ctl, const aegis_ctl_request_t *req, aegis_ctl_answer_t *ret,
    char *why, size_t size);
void aegis_ctl_answer_clear(aegis_ctl_answer_t *a);
/* The exit code that an answer means; a refusal is shown. */
int aegis_ctl_judge(aegis_ctl_t *ctl, const aegis_ctl_answer_t *a);
/* A new random key, 36 characters. */
void aegis_ctl_new_key(char out[37]);
/* Percent-encode into buf. */
const char *aegis_ctl_escape(const char *s, char *buf, size_t size);

/* --- aegis_ctl_migrate.c */

typedef struct {
    int      version;               /* 0: a repeatable */
    char    *name;                  /* 0001_cases, functions/10_common.sql */
    char    *path;
    char    *text;
    char     checksum[65];
} aegis_ctl_script_t;

typedef struct {
    aegis_ctl_script_t  *scripts;   /* in the order in which they are applied */
    size_t               n;
    char                *roles;     /* text of roles.sql */
} aegis_ctl_sql_t;

/* Read --sql-dir. 0, or an exit code after a message. */
int aegis_ctl_sql_load(const char *dir, aegis_ctl_sql_t *ret);
void aegis_ctl_sql_free(aegis_ctl_sql_t *sql);
/* [{kind, name, state, applied_at, ms}], state: applied, pending, changed or
 * unknown (in the database only). NULL after a message. */
json_t *aegis_ctl_sql_status(PGconn *conn, const aegis_ctl_sql_t *sql);
/* What was made and dropped, as rows; NULL after a message. */
json_t *aegis_ctl_maintain(PGconn *conn);
int aegis_ctl_migrate(aegis_ctl_t *ctl, PGconn *conn, const aegis_ctl_sql_t *sql);

#endif
