/*
 * aegisctl.c: the operator's hand: `aegisctl <noun> <verb>`. This file holds
 * the table of nouns, the global options, --help and main(); each noun is one
 * file in ctl/. Adding a command is adding a row to its noun's table: help and
 * shell completion are made from the tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "ctl/aegis_ctl.h"

const aegis_ctl_noun_t  aegis_ctl_nouns[] = {
    { "case", "create, read, move and watch cases", aegis_ctl_case_commands },
    { "gate", "plans that wait for people: list, show, approve, deny", aegis_ctl_gate_commands },
    { "plan", "check, render, read and compare plans", aegis_ctl_plan_commands },
    { "policy", "check a policy, and try it on what was decided", aegis_ctl_policy_commands },
    { "kb", "the knowledge base: put in, search, list, delete", aegis_ctl_kb_commands },
    { "verify", "verify repairs, and read every number of it", aegis_ctl_verify_commands },
    { "detect", "run the analyst's detectors over a file", aegis_ctl_detect_commands },
    { "detectors", "the detectors' rules: check them, see what holds", aegis_ctl_detectors_commands },
    { "finding", "what the analyst found, and what became of it", aegis_ctl_finding_commands },
    { "audit", "the chain over timelines and decisions", aegis_ctl_audit_commands },
    { "outbox", "what waits to be published", aegis_ctl_outbox_commands },
    { "dlq", "dead letters: messages that no retry could help", aegis_ctl_dlq_commands },
    { "db", "the schema: migrate, status, maintain", aegis_ctl_db_commands },
    { "fsm", "the state machine, and why a transition happened", aegis_ctl_fsm_commands },
    { "key", "API keys: a new one, or the line for one", aegis_ctl_key_commands },
    { "config", "check the workers' configuration", aegis_ctl_config_commands },
    { "doctor", "what is wrong with this installation, and what to do", aegis_ctl_doctor_commands },
    { "completion", "print a shell's completion script", aegis_ctl_completion_commands },
    { NULL, NULL, NULL }
};

const aegis_ctl_option_t  aegis_ctl_globals[] = {
    { "env-file", 0, "FILE", "take AEGIS_URL, AEGIS_TOKEN, DATABASE_URL… from FILE" },
    { "server", 0, "URL", "the gateway (AEGIS_URL)" },
    { "ca", 0, "FILE", "CA certificate of the gateway (AEGIS_CA)" },
    { "token-file", 0, "FILE", "bearer token; default is the value of AEGIS_TOKEN" },
    { "database", 'd', "CONNINFO", "libpq connection string or URL (DATABASE_URL)" },
    { "timeout", 0, "SECONDS", "limit of one HTTP request, 10" },
    { "output", 'o', "FORMAT", "table (default) or json" },
    { "help", 'h', NULL, "this text" },
    { "version", 'V', NULL, "the version" },
    { NULL, 0, NULL, NULL }
};


static void
show_options(const char *title, const aegis_ctl_option_t *o)
{
    char  left[64];

    if (o == NULL || o->name == NULL) {
        return;
    }
    printf("\n%s:\n", title);
    for (; o->name != NULL; o++) {
        snprintf(left, sizeof(left), "%s%c%s --%s%s%s", o->letter ? "-" : " ",
                 o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
                 o->arg != NULL ? " " : "", o->arg != NULL ? o->arg : "");
        printf("  %-30s %s\n", left, o->help);
    }
}


static void
show_exit_codes(void)
{
    printf("\nExit codes: 0 ok, 1 refused or failed, 2 usage, 3 unreachable, 4 not found,\n"
           "5 not allowed, 6 timed out.\n");
}


static int
help_all(FILE *out)
{
    const aegis_ctl_command_t  *c;
    const aegis_ctl_noun_t     *n;
    char                        left[128];

    fprintf(out, "Usage: aegisctl [options] <noun> <verb> [arguments]\n\n");
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        for (c = n->commands; c->verb != NULL; c++) {
            snprintf(left, sizeof(left), "%s%s%s%s%s", n->name, c->verb[0] != '\0' ? " " : "",
                     c->verb, c->args[0] != '\0' ? " " : "", c->args);
            fprintf(out, "  %-34s %s\n", left, c->sentence);
        }
    }
    if (out == stdout) {
        show_options("Options everywhere", aegis_ctl_globals);
        show_exit_codes();
    } else {
        fprintf(out, "\naegisctl <noun> <verb> --help says more.\n");
    }
    return out == stdout ? AEGIS_CTL_OK : AEGIS_CTL_USAGE;
}


static int
help_noun(const aegis_ctl_noun_t *n, FILE *out)
{
    const aegis_ctl_command_t  *c;
    char                        left[96];

    fprintf(out, "aegisctl %s: %s\n\n", n->name, n->sentence);
    for (c = n->commands; c->verb != NULL; c++) {
        snprintf(left, sizeof(left), "%s %s", c->verb, c->args);
        fprintf(out, "  %-28s %s\n", left, c->sentence);
    }
    fprintf(out, "\naegisctl %s <verb> --help says more.\n", n->name);
    return out == stdout ? AEGIS_CTL_OK : AEGIS_CTL_USAGE;
}


static int
help_command(const aegis_ctl_noun_t *n, const aegis_ctl_command_t *c)
{
    printf("Usage: aegisctl %s%s%s [options]%s%s\n\n%c%s.\n", n->name,
           c->verb[0] != '\0' ? " " : "", c->verb, c->args[0] != '\0' ? " " : "", c->args,
           c->sentence[0] >= 'a' && c->sentence[0] <= 'z' ? c->sentence[0] - 32 : c->sentence[0],
           c->sentence + 1);
    if (c->more != NULL) {
        printf("\n%s\n", c->more);
    }
    show_options("Options", c->options);
    show_options("Options everywhere", aegis_ctl_globals);
    show_exit_codes();
    return AEGIS_CTL_OK;
}


static const aegis_ctl_noun_t *
find_noun(const char *name)
{
    const aegis_ctl_noun_t  *n;

    for (n = aegis_ctl_nouns; n->name != NULL && strcmp(n->name, name) != 0; n++) {
        /* void */
    }
    return n->name != NULL ? n : NULL;
}


static const aegis_ctl_command_t *
find_command(const aegis_ctl_noun_t *n, const char *verb)
{
    const aegis_ctl_command_t  *c;

    for (c = n->commands; c->verb != NULL && strcmp(c->verb, verb) != 0; c++) {
        /* void */
    }
    return c->verb != NULL ? c : NULL;
}


/* Global options may come before the noun: move over them with their values,
 * and put them behind, so that one parse sees them all. */
static int
first_word(int argc, char **argv)
{
    const aegis_ctl_option_t  *o;
    size_t                     len;
    int                        i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        for (o = aegis_ctl_globals; o->name != NULL; o++) {
            len = strlen(o->name);
            if (o->arg != NULL && ((o->letter != 0 && argv[i][1] == o->letter && argv[i][2] == '\0')
                || (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, o->name) == 0
                    && argv[i][2 + len] == '\0')))
            {
                i++;
                break;
            }
        }
    }
    return i;
}


static int
run(int argc, char **argv)
{
    const aegis_ctl_noun_t  *noun;
    aegis_ctl_t              ctl;
    char                   **rest;
    int                      at, i, n, rc;

    memset(&ctl, 0, sizeof(ctl));
    at = first_word(argc, argv);
    if (at >= argc) {
        rc = aegis_ctl_parse(&ctl, argc - 1, argv + 1);
        if (rc == 0 && aegis_ctl_opt(&ctl, "version") != NULL) {
            printf("aegisctl %s\n", AEGIS_VERSION);
            return AEGIS_CTL_OK;
        }
        return rc != 0 ? rc : help_all(aegis_ctl_opt(&ctl, "help") != NULL ? stdout : stderr);
    }
    if (strcmp(argv[at], "help") == 0) {
        return help_all(stdout);
    }

    noun = find_noun(argv[at]);
    if (noun == NULL) {
        aegis_ctl_say("there is no noun %s", argv[at]);
        return help_all(stderr);
    }
    n = at + 1;
    ctl.command = find_command(noun, "");
    if (ctl.command == NULL) {
        if (n < argc && argv[n][0] != '-') {
            ctl.command = find_command(noun, argv[n]);
            if (ctl.command == NULL) {
                aegis_ctl_say("%s has no verb %s", noun->name, argv[n]);
                return help_noun(noun, stderr);
            }
            n++;
        } else {
            for (i = n; i < argc; i++) {
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                    return help_noun(noun, stdout);
                }
            }
            aegis_ctl_say("%s needs a verb", noun->name);
            return help_noun(noun, stderr);
        }
    }

    rest = calloc((size_t) argc + 1, sizeof(*rest));
    if (rest == NULL) {
        return AEGIS_CTL_FAILED;
    }
    memcpy(rest, argv + 1, (size_t) (at - 1) * sizeof(*rest));
    memcpy(rest + at - 1, argv + n, (size_t) (argc - n) * sizeof(*rest));
    rc = aegis_ctl_parse(&ctl, at - 1 + argc - n, rest);
    if (rc == 0) {
        if (aegis_ctl_opt(&ctl, "help") != NULL) {
            rc = help_command(noun, ctl.command);
        } else if (ctl.n_args < ctl.command->min_args || ctl.n_args > ctl.command->max_args) {
            aegis_ctl_say("usage: aegisctl %s%s%s %s", noun->name,
                          ctl.command->verb[0] != '\0' ? " " : "", ctl.command->verb,
                          ctl.command->args);
            rc = AEGIS_CTL_USAGE;
        } else {
            rc = ctl.command->run(&ctl);
        }
    }
    free(rest);
    return rc;
}


int
main(int argc, char **argv)
{
    int  rc;

    curl_global_init(CURL_GLOBAL_DEFAULT);
    rc = run(argc, argv);
    curl_global_cleanup();
    if (fflush(stdout) != 0 && rc == AEGIS_CTL_OK) {
        rc = AEGIS_CTL_FAILED;
    }
    return rc;
}
