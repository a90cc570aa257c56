/*
 * aegis_ctl_doctor.c: `aegisctl doctor`: the order of the checks, and those of
 * the environment, the gateway and the workers. It changes nothing anywhere.
 * The database's checks are in aegis_ctl_doctor_db.c, the bus's in
 * aegis_ctl_doctor_bus.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "aegis_ctl_doctor.h"


void
aegis_doctor_add(aegis_doctor_t *d, const char *check, const char *state, const char *remedy,
    const char *fmt, ...)
{
    va_list  ap;
    char     detail[512], *p;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    for (p = detail; (p = strpbrk(p, "\n\t")) != NULL; ) {
        *p = ' ';                       /* libpq's words have lines of their own */
    }

    d->failed += strcmp(state, "fail") == 0;
    d->skipped += strcmp(state, "skip") == 0;
    json_array_append_new(d->rows, json_pack("{s:s, s:s, s:s%, s:s?}", "check", check, "state",
        state, "detail", detail, strlen(detail), "remedy", remedy));
    if (d->ctl->json) {
        return;
    }
    printf("%s%-4s%s  %-18s %s\n", aegis_ctl_color(d->ctl, strcmp(state, "ok") == 0 ? "green"
           : strcmp(state, "fail") == 0 ? "red" : strcmp(state, "warn") == 0 ? "yellow" : "dim"),
           state, aegis_ctl_color(d->ctl, "off"), check, detail);
    if (remedy != NULL) {
        printf("      %-18s -> %s\n", "", remedy);
    }
    fflush(stdout);
}


static void
check_environment(aegis_doctor_t *d)
{
    static const struct {
        const char  *name;
        const char  *option;
    } vars[] = {
        { "AEGIS_URL", "server" }, { "AEGIS_CA", "ca" }, { "AEGIS_TOKEN", "token-file" },
        { "DATABASE_URL", "database" }, { "NATS_URL", NULL }
    };
    char    missing[256] = "";
    size_t  i, n;

    for (i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {
        if ((getenv(vars[i].name) == NULL || getenv(vars[i].name)[0] == '\0')
            && (vars[i].option == NULL || aegis_ctl_opt(d->ctl, vars[i].option) == NULL))
        {
            n = strlen(missing);
            snprintf(missing + n, sizeof(missing) - n, " %s", vars[i].name);
        }
    }
    if (missing[0] == '\0') {
        aegis_doctor_add(d, "environment", "ok", NULL, "every address is known");
    } else {
        aegis_doctor_add(d, "environment", "warn", "export them, or --env-file run/aegis.env"
                         " (make up writes it)", "not set:%s", missing);
    }
}


static void
check_config(aegis_doctor_t *d)
{
    const char  *path = aegis_ctl_opt(d->ctl, "config");
    json_t      *problems, *first;

    path = path != NULL ? path : getenv("AEGIS_CONF");
    if (path == NULL) {
        aegis_doctor_add(d, "configuration", "skip", "give -c FILE or set AEGIS_CONF",
                         "no workers' YAML is known");
        return;
    }
    problems = aegis_ctl_config_problems(path, &d->conf);
    first = json_array_get(problems, 0);
    if (first == NULL) {
        aegis_doctor_add(d, "configuration", "ok", NULL, "%s", path);
    } else {
        aegis_doctor_add(d, "configuration", "fail", "correct it; aegisctl config check -c shows"
                         " all that is wrong", "%s: %s",
                         json_string_value(json_object_get(first, "where")),
                         json_string_value(json_object_get(first, "problem")));
    }
    json_decref(problems);
}


/* 1 when the gateway is there at all. */
static int
check_alive(aegis_doctor_t *d)
{
    aegis_ctl_request_t  req = { "GET", "/healthz", NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *remedy;
    char                 why[512];
    int                  rc;

    rc = aegis_ctl_http(d->ctl, &req, &a, why, sizeof(why));
    if (rc == AEGIS_CTL_OK && a.status == 200) {
        aegis_doctor_add(d, "gateway", "ok", NULL, "answers over TLS");
    } else if (rc == AEGIS_CTL_OK) {
        aegis_doctor_add(d, "gateway", "fail", "is AEGIS_URL the address of Aegis? look at"
                         " nginx's error log", "/healthz answered %ld", a.status);
    } else if (rc == AEGIS_CTL_USAGE) {
        aegis_doctor_add(d, "gateway", "skip", NULL, "%s", why);
    } else {
        remedy = strstr(why, "expired") != NULL
                 ? "renew nginx's ssl_certificate, then nginx -s reload; is the clock right?"
                 : strstr(why, "certificate") != NULL || strstr(why, "SSL") != NULL
                 || strstr(why, "CAfile") != NULL
                 ? "AEGIS_CA must name the CA that signed the gateway's certificate, and"
                   " AEGIS_URL a name in it"
                 : "is nginx running? quick start: make up; service: systemctl status nginx";
        aegis_doctor_add(d, "gateway", "fail", remedy, "%s", why);
    }
    rc = rc == AEGIS_CTL_OK && a.status == 200;
    aegis_ctl_answer_clear(&a);
    return rc;
}


static void
check_gateway(aegis_doctor_t *d)
{
    aegis_ctl_request_t  ready = { "GET", "/readyz", NULL, NULL, NULL };
    aegis_ctl_request_t  list = { "GET", "/case?limit=1", NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 why[512];
    int                  rc;

    if (!check_alive(d)) {
        return;
    }
    rc = aegis_ctl_http(d->ctl, &ready, &a, why, sizeof(why));
    if (rc == AEGIS_CTL_OK && a.status == 200) {
        aegis_doctor_add(d, "gateway ready", "ok", NULL, "its database is reachable and current");
    } else {
        aegis_doctor_add(d, "gateway ready", "fail", "look at the database's checks below and at"
                         " aegis_database in nginx's configuration", "/readyz: %s",
                         rc != AEGIS_CTL_OK ? why : a.text);
    }
    aegis_ctl_answer_clear(&a);

    rc = aegis_ctl_http(d->ctl, &list, &a, why, sizeof(why));
    if (rc == AEGIS_CTL_OK && a.status == 200) {
        aegis_doctor_add(d, "token", "ok", NULL, "it may read cases");
    } else if (rc == AEGIS_CTL_OK && a.status == 401) {
        aegis_doctor_add(d, "token", "fail", "AEGIS_TOKEN must be a token whose sha256 is in the"
                         " gateway's aegis_keys file; reload nginx after a change there",
                         "the gateway does not know it");
    } else if (rc == AEGIS_CTL_OK && a.status == 403) {
        aegis_doctor_add(d, "token", "warn", "add the scope case:read to its line in aegis_keys",
                         "it may not read cases");
    } else {
        aegis_doctor_add(d, "token", "fail", "look at the gateway's and the database's checks",
                         "reading cases: %s", rc != AEGIS_CTL_OK ? why : a.text);
    }
    aegis_ctl_answer_clear(&a);
}


static size_t
swallow(char *data, size_t size, size_t n, void *arg)
{
    (void) data;
    (void) arg;
    return size * n;
}


/* AEGIS_METRICS is "role=url role=url …"; a worker that answers there lives. */
static void
check_workers(aegis_doctor_t *d)
{
    char    *text, *word, *save = NULL, *url, dead[256] = "";
    CURL    *curl;
    size_t   n, alive = 0;
    long     status;

    if (getenv("AEGIS_METRICS") == NULL || getenv("AEGIS_METRICS")[0] == '\0') {
        aegis_doctor_add(d, "workers", "skip", "set AEGIS_METRICS to role=http://host:port/metrics …",
                         "no metrics address is known");
        return;
    }
    text = strdup(getenv("AEGIS_METRICS"));
    curl = curl_easy_init();
    for (word = strtok_r(text, " ,", &save); word != NULL && curl != NULL;
         word = strtok_r(NULL, " ,", &save))
    {
        url = strchr(word, '=');
        if (url == NULL) {
            continue;
        }
        *url++ = '\0';
        status = 0;
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 2000L);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
        if (curl_easy_perform(curl) == CURLE_OK) {
            curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        }
        if (status == 200) {
            alive++;
        } else {
            n = strlen(dead);
            snprintf(dead + n, sizeof(dead) - n, " %s", word);
        }
    }
    curl_easy_cleanup(curl);
    free(text);
    if (dead[0] == '\0') {
        aegis_doctor_add(d, "workers", "ok", NULL, "%zu answer on their metrics port", alive);
    } else {
        aegis_doctor_add(d, "workers", "fail", "look at their logs: run/log/<role>.log, or"
                         " journalctl -u 'aegis-worker@*'", "no answer from:%s", dead);
    }
}


static int
doctor(aegis_ctl_t *ctl)
{
    aegis_doctor_t  d = { ctl, json_array(), NULL, 0, 0 };

    check_environment(&d);
    check_config(&d);
    check_gateway(&d);
    aegis_doctor_database(&d);
    aegis_doctor_bus(&d);
    check_workers(&d);

    if (ctl->json) {
        aegis_ctl_json(d.rows);
    } else if (d.failed == 0) {
        printf(d.skipped == 0 ? "\nnothing is wrong\n"
               : "\nnothing is wrong with what was looked at; %d of %zu checks were skipped\n",
               d.skipped, json_array_size(d.rows));
    } else {
        printf("\n%d of %zu checks failed\n", d.failed, json_array_size(d.rows));
    }
    json_decref(d.rows);
    aegis_conf_free(d.conf);
    return d.failed == 0 ? AEGIS_CTL_OK : AEGIS_CTL_FAILED;
}


static const aegis_ctl_option_t  doctor_options[] = {
    { "config", 'c', "FILE", "the workers' YAML (AEGIS_CONF)" },
    { "sql-dir", 0, "DIR", "folder sql/ to compare the schema with (AEGIS_SQL_DIR)" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_doctor_commands[] = {
    { "", "", 0, 0, "what is wrong with this installation, and what to do",
      "Checks the environment, the configuration, the gateway, the token, the database\n"
      "(schema, rights, partitions, outbox, dead letters, stuck cases, policy), the bus\n"
      "and the workers. Changes nothing. Exit code 1 when a check failed.",
      doctor_options, doctor },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
