/*
 * aegis_ctl_sql.c: the folder of SQL as a list of scripts in the order in
 * which they are applied: numbered migrations, then functions/ below 90,
 * generated/, and functions/ from 90 (the grants). Only reads files; what is
 * done with them is in aegis_ctl_migrate.c.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "aegis_ctl.h"

#define SCRIPTS_MAX  1000


static void
checksum(const char *text, size_t len, char out[65])
{
    unsigned char  md[EVP_MAX_MD_SIZE];
    unsigned       n = 0, i;

    EVP_Digest(text, len, md, &n, EVP_sha256(), NULL);
    for (i = 0; i < 32; i++) {
        snprintf(out + 2 * i, 3, "%02x", md[i]);
    }
}


/* dir == "migrations": NNNN_name.sql gives its number and bare name. */
static int
add(aegis_ctl_sql_t *sql, const char *root, const char *dir, const char *file)
{
    aegis_ctl_script_t  *s = &sql->scripts[sql->n];
    size_t               len;
    char                *end;

    memset(s, 0, sizeof(*s));
    if (strcmp(dir, "migrations") == 0) {
        s->version = (int) strtol(file, &end, 10);
        if (end != file + 4 || *end != '_' || s->version <= 0) {
            aegis_ctl_say("%s/%s/%s: a migration is named NNNN_name.sql", root, dir, file);
            return AEGIS_CTL_FAILED;
        }
        if (sql->n > 0 && sql->scripts[sql->n - 1].version == s->version) {
            aegis_ctl_say("%s/%s/%s: there are two migrations %04d", root, dir, file, s->version);
            return AEGIS_CTL_FAILED;
        }
        if (asprintf(&s->name, "%.*s", (int) strlen(file) - 4, file) < 0) {
            s->name = NULL;
        }
    } else if (asprintf(&s->name, "%s/%s", dir, file) < 0) {
        s->name = NULL;
    }
    if (s->name == NULL || asprintf(&s->path, "%s/%s/%s", root, dir, file) < 0) {
        free(s->name);
        aegis_ctl_say("no memory");
        return AEGIS_CTL_FAILED;
    }
    sql->n++;
    s->text = aegis_ctl_read_file(s->path, &len);
    if (s->text == NULL) {
        aegis_ctl_say("cannot read %s: %s", s->path, strerror(errno));
        return AEGIS_CTL_FAILED;
    }
    checksum(s->text, len, s->checksum);
    return 0;
}


static int
is_sql(const struct dirent *e)
{
    size_t  n = strlen(e->d_name);

    return n > 4 && e->d_name[0] != '.' && strcmp(e->d_name + n - 4, ".sql") == 0;
}


/* Files of root/dir whose name is in [from, to). */
static int
add_dir(aegis_ctl_sql_t *sql, const char *root, const char *dir, const char *from, const char *to)
{
    struct dirent  **list;
    char             path[4096];
    int              i, n, rc = 0;

    snprintf(path, sizeof(path), "%s/%s", root, dir);
    n = scandir(path, &list, is_sql, alphasort);
    if (n < 0) {
        aegis_ctl_say("cannot read the folder %s: %s; --sql-dir names the folder sql/ of Aegis",
                      path, strerror(errno));
        return AEGIS_CTL_USAGE;
    }
    for (i = 0; i < n; i++) {
        if (rc == 0 && strcmp(list[i]->d_name, from) >= 0 && strcmp(list[i]->d_name, to) < 0) {
            if (sql->n == SCRIPTS_MAX) {
                aegis_ctl_say("%s: more than %d scripts", root, SCRIPTS_MAX);
                rc = AEGIS_CTL_FAILED;
            } else {
                rc = add(sql, root, dir, list[i]->d_name);
            }
        }
        free(list[i]);
    }
    free(list);
    return rc;
}


int
aegis_ctl_sql_load(const char *dir, aegis_ctl_sql_t *ret)
{
    char  path[4096];
    int   rc;

    memset(ret, 0, sizeof(*ret));
    ret->scripts = calloc(SCRIPTS_MAX, sizeof(*ret->scripts));
    if (ret->scripts == NULL) {
        aegis_ctl_say("no memory");
        return AEGIS_CTL_FAILED;
    }
    snprintf(path, sizeof(path), "%s/roles.sql", dir);
    ret->roles = aegis_ctl_read_file(path, NULL);
    if (ret->roles == NULL) {
        aegis_ctl_say("cannot read %s: %s; --sql-dir names the folder sql/ of Aegis", path,
                      strerror(errno));
        aegis_ctl_sql_free(ret);
        return AEGIS_CTL_USAGE;
    }

    rc = add_dir(ret, dir, "migrations", "", "\x7f");
    rc = rc != 0 ? rc : add_dir(ret, dir, "functions", "", "90");
    rc = rc != 0 ? rc : add_dir(ret, dir, "generated", "", "\x7f");
    rc = rc != 0 ? rc : add_dir(ret, dir, "functions", "90", "\x7f");
    if (rc != 0) {
        aegis_ctl_sql_free(ret);
    }
    return rc;
}


void
aegis_ctl_sql_free(aegis_ctl_sql_t *sql)
{
    size_t  i;

    for (i = 0; i < sql->n; i++) {
        free(sql->scripts[i].name);
        free(sql->scripts[i].path);
        free(sql->scripts[i].text);
    }
    free(sql->scripts);
    free(sql->roles);
    memset(sql, 0, sizeof(*sql));
}
