/*
 * aegis_ctl_opts.c: the command line: options by the command's own table plus
 * the global ones, in any order with the arguments, --name value or
 * --name=value, -- ends them. Also the env file, which is read here because
 * options fall back to the environment.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "aegis_ctl.h"

#define FILE_MAX  (4 << 20)


static const aegis_ctl_option_t *
find(const aegis_ctl_option_t *table, const char *name, size_t len, char letter)
{
    for (; table != NULL && table->name != NULL; table++) {
        if (letter != 0 ? table->letter == letter
                        : strlen(table->name) == len && strncmp(table->name, name, len) == 0)
        {
            return table;
        }
    }
    return NULL;
}


static const aegis_ctl_option_t *
find_any(const aegis_ctl_t *ctl, const char *name, size_t len, char letter)
{
    const aegis_ctl_option_t  *o = NULL;

    if (ctl->command != NULL) {
        o = find(ctl->command->options, name, len, letter);
    }
    return o != NULL ? o : find(aegis_ctl_globals, name, len, letter);
}


static int
add(aegis_ctl_t *ctl, const aegis_ctl_option_t *o, const char *value)
{
    if (ctl->n_options == AEGIS_CTL_MAX_OPTIONS) {
        aegis_ctl_say("too many options");
        return AEGIS_CTL_USAGE;
    }
    ctl->options[ctl->n_options].option = o;
    ctl->options[ctl->n_options++].value = value;
    return 0;
}


/* One argv element that begins with a dash; *i moves over its value. */
static int
option(aegis_ctl_t *ctl, int argc, char **argv, int *i)
{
    const char                *s = argv[*i], *eq, *value = "";
    const aegis_ctl_option_t  *o;

    if (s[1] == '-') {
        eq = strchr(s, '=');
        o = find_any(ctl, s + 2, eq != NULL ? (size_t) (eq - s - 2) : strlen(s + 2), 0);
    } else {
        eq = s[2] != '\0' ? s + 1 : NULL;
        o = find_any(ctl, NULL, 0, s[1]);
    }

    if (o == NULL) {
        aegis_ctl_say("unknown option %s; see --help", s);
        return AEGIS_CTL_USAGE;
    }
    if (o->arg != NULL) {
        if (eq != NULL) {
            value = eq + 1;
        } else if (*i + 1 < argc) {
            value = argv[++*i];
        } else {
            aegis_ctl_say("--%s needs %s", o->name, o->arg);
            return AEGIS_CTL_USAGE;
        }
    } else if (eq != NULL) {
        aegis_ctl_say("--%s takes no value", o->name);
        return AEGIS_CTL_USAGE;
    }
    return add(ctl, o, value);
}


static int
apply_globals(aegis_ctl_t *ctl)
{
    const char  *v;
    int          rc;

    v = aegis_ctl_opt(ctl, "env-file");
    if (v != NULL && (rc = aegis_ctl_env_file(v)) != 0) {
        return rc;
    }

    v = aegis_ctl_opt(ctl, "output");
    if (v != NULL && strcmp(v, "json") != 0 && strcmp(v, "table") != 0) {
        aegis_ctl_say("--output is table or json, not %s", v);
        return AEGIS_CTL_USAGE;
    }
    ctl->json = v != NULL && v[0] == 'j';

    v = getenv("NO_COLOR");
    ctl->color = isatty(STDOUT_FILENO) && (v == NULL || v[0] == '\0');
    return 0;
}


int
aegis_ctl_parse(aegis_ctl_t *ctl, int argc, char **argv)
{
    int  i, rc, only_args = 0;

    for (i = 0; i < argc; i++) {
        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = 1;

        } else if (!only_args && argv[i][0] == '-' && argv[i][1] != '\0') {
            rc = option(ctl, argc, argv, &i);
            if (rc != 0) {
                return rc;
            }

        } else if (ctl->n_args == AEGIS_CTL_MAX_ARGS) {
            aegis_ctl_say("too many arguments; see --help");
            return AEGIS_CTL_USAGE;

        } else {
            ctl->args[ctl->n_args++] = argv[i];
        }
    }
    return apply_globals(ctl);
}


const char *
aegis_ctl_opt_nth(const aegis_ctl_t *ctl, const char *name, int nth)
{
    int  i;

    for (i = 0; i < ctl->n_options; i++) {
        if (strcmp(ctl->options[i].option->name, name) == 0 && nth-- == 0) {
            return ctl->options[i].value;
        }
    }
    return NULL;
}


const char *
aegis_ctl_opt(const aegis_ctl_t *ctl, const char *name)
{
    int  i;

    for (i = ctl->n_options; i > 0; i--) {
        if (strcmp(ctl->options[i - 1].option->name, name) == 0) {
            return ctl->options[i - 1].value;
        }
    }
    return NULL;
}


int64_t
aegis_ctl_opt_int(const aegis_ctl_t *ctl, const char *name, int64_t fallback,
    int64_t min, int64_t max)
{
    const char  *v = aegis_ctl_opt(ctl, name);
    char        *end;
    long long    n;

    if (v == NULL) {
        return fallback;
    }
    errno = 0;
    n = strtoll(v, &end, 10);
    if (end == v || *end != '\0' || errno != 0 || n < min || n > max) {
        aegis_ctl_say("--%s is a whole number from %lld to %lld, not %s", name,
                      (long long) min, (long long) max, v);
        return -1;
    }
    return n;
}


char *
aegis_ctl_read_file(const char *path, size_t *ret_len)
{
    FILE    *f;
    char    *text;
    size_t   len;

    f = fopen(path, "rbe");
    if (f == NULL) {
        return NULL;
    }
    text = malloc(FILE_MAX + 1);
    if (text == NULL) {
        fclose(f);
        return NULL;
    }
    len = fread(text, 1, FILE_MAX + 1, f);
    if (ferror(f) || len > FILE_MAX) {
        errno = len > FILE_MAX ? EFBIG : EIO;
        fclose(f);
        free(text);
        return NULL;
    }
    fclose(f);
    text[len] = '\0';
    if (ret_len != NULL) {
        *ret_len = len;
    }
    return text;
}


/* Names, =, the rest of the line; a pair of quotes around it is taken off. No
 * expansion: it is a list of values, not a script. */
int
aegis_ctl_env_file(const char *path)
{
    char    *text, *line, *save = NULL, *eq;
    size_t   len;

    text = aegis_ctl_read_file(path, NULL);
    if (text == NULL) {
        aegis_ctl_say("cannot read %s: %s", path, strerror(errno));
        return AEGIS_CTL_USAGE;
    }
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        line += strspn(line, " \t");
        if (strncmp(line, "export ", 7) == 0) {
            line += 7;
        }
        eq = strchr(line, '=');
        if (line[0] == '#' || eq == NULL || eq == line) {
            continue;
        }
        *eq++ = '\0';
        len = strlen(eq);
        while (len > 0 && (eq[len - 1] == '\r' || eq[len - 1] == ' ')) {
            eq[--len] = '\0';
        }
        if (len >= 2 && (eq[0] == '"' || eq[0] == '\'') && eq[len - 1] == eq[0]) {
            eq[len - 1] = '\0';
            eq++;
        }
        setenv(line, eq, 1);
    }
    free(text);
    return 0;
}
