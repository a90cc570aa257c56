/*
 * aegis_ctl_completion.c: `aegisctl completion`: completion scripts for bash
 * and zsh, made from the command tables, so that they cannot be stale.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_fsm.h"


static void
options(const aegis_ctl_option_t *o)
{
    for (; o != NULL && o->name != NULL; o++) {
        printf(" --%s", o->name);
    }
}


/* Values that a table knows: states and events. */
static void
names(void)
{
    int  i;

    printf("    local states=\"");
    for (i = 0; i < AEGIS_N_STATES; i++) {
        printf("%s%s", i > 0 ? " " : "", aegis_state_name((aegis_state_t) i));
    }
    printf("\" events=\"");
    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        printf("%s%s", i > 0 ? " " : "", aegis_event_name((aegis_event_id_t) i));
    }
    printf("\"\n");
}


static void
nouns(void)
{
    const aegis_ctl_noun_t  *n;

    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        printf("%s%s", n == aegis_ctl_nouns ? "" : " ", n->name);
    }
}


static void
bash(void)
{
    const aegis_ctl_command_t  *c;
    const aegis_ctl_noun_t     *n;

    printf("# bash completion of aegisctl, made by: aegisctl completion bash\n"
           "_aegisctl() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local noun verb words i\n");
    names();
    printf("    case $prev in\n"
           "    --status|--until) mapfile -t COMPREPLY < <(compgen -W \"$states\" -- \"$cur\"); return;;\n"
           "    -o|--output) mapfile -t COMPREPLY < <(compgen -W 'table json' -- \"$cur\"); return;;\n"
           "    --mode) mapfile -t COMPREPLY < <(compgen -W 'auto manual' -- \"$cur\"); return;;\n"
           "    --kind) mapfile -t COMPREPLY < <(compgen -W 'incident change' -- \"$cur\"); return;;\n"
           "    -f|--format) mapfile -t COMPREPLY < <(compgen -W 'table mermaid markdown json sql"
           " errors routes subjects settings statements plan-schema' -- \"$cur\"); return;;\n"
           "    -c|--config|--env-file|--ca|--token-file|--sql-dir)"
           " mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return;;\n"
           "    esac\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        case ${COMP_WORDS[i]} in -*) ;; *)\n"
           "            if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}\n"
           "            elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; fi;;\n"
           "        esac\n"
           "    done\n"
           "    case \"$noun $verb\" in\n"
           "    ' ') words='");
    nouns();
    printf("';;\n");
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        if (n->commands[0].verb[0] != '\0') {
            printf("    '%s ') words='", n->name);
            for (c = n->commands; c->verb != NULL; c++) {
                printf("%s%s", c == n->commands ? "" : " ", c->verb);
            }
            printf("';;\n");
        } else if (strcmp(n->name, "completion") == 0) {
            printf("    'completion ') words='bash zsh';;\n");
        }
    }
    printf("    'case transition') [[ $cur == -* ]] || words=$events;;\n"
           "    'plan check'|'plan diff') [[ $cur == -* ]] ||"
           " { mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return; };;\n"
           "    'plan render') [[ $cur == -* ]] ||"
           " words='canary change config-flip incident rolling-restart scale';;\n"
           "    esac\n"
           "    if [[ $cur == -* ]]; then\n"
           "        words='");
    options(aegis_ctl_globals);
    printf("'\n        case \"$noun $verb\" in\n");
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        for (c = n->commands; c->verb != NULL; c++) {
            if (c->options != NULL) {
                printf("        '%s %s'%s) words+='", n->name, c->verb,
                       c->verb[0] == '\0' ? "*" : "");
                options(c->options);
                printf("';;\n");
            }
        }
    }
    printf("        esac\n"
           "    fi\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
           "}\n"
           "complete -F _aegisctl aegisctl\n");
}


/* The text of a help line inside zsh's '...[...]': no quotes, no brackets. */
static void
zsh_text(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '[' || *s == ']' || *s == ':') {
            putchar('\\');
        }
        if (*s == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*s);
        }
    }
}


static void
zsh_options(const aegis_ctl_option_t *o)
{
    for (; o != NULL && o->name != NULL; o++) {
        printf(" \\\n            '--%s[", o->name);
        zsh_text(o->help);
        printf("]%s%s'", o->arg != NULL ? ":" : "", o->arg != NULL ? o->arg : "");
        if (o->arg != NULL && (strcmp(o->arg, "FILE") == 0 || strcmp(o->arg, "DIR") == 0)) {
            printf("':_files'");
        }
    }
}


static void
zsh(void)
{
    const aegis_ctl_command_t  *c;
    const aegis_ctl_noun_t     *n;

    printf("#compdef aegisctl\n"
           "# zsh completion of aegisctl, made by: aegisctl completion zsh\n"
           "_aegisctl() {\n"
           "    local noun verb w\n"
           "    for w in ${words[2,CURRENT-1]}; do\n"
           "        [[ $w == -* ]] && continue\n"
           "        if [[ -z $noun ]]; then noun=$w; elif [[ -z $verb ]]; then verb=$w; fi\n"
           "    done\n"
           "    if [[ -z $noun ]]; then\n"
           "        local -a nouns=(");
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        printf("\n            '%s:", n->name);
        zsh_text(n->sentence);
        printf("'");
    }
    printf(")\n        _describe noun nouns\n        return\n    fi\n    case \"$noun $verb\" in\n");
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        if (n->commands[0].verb[0] != '\0') {
            printf("    '%s ')\n        local -a verbs=(", n->name);
            for (c = n->commands; c->verb != NULL; c++) {
                printf("\n            '%s:", c->verb);
                zsh_text(c->sentence);
                printf("'");
            }
            printf(")\n        _describe verb verbs;;\n");
        }
    }
    for (n = aegis_ctl_nouns; n->name != NULL; n++) {
        for (c = n->commands; c->verb != NULL; c++) {
            printf("    '%s %s'%s)\n        _arguments", n->name, c->verb,
                   c->verb[0] == '\0' ? "*" : "");
            zsh_options(c->options);
            zsh_options(aegis_ctl_globals);
            if (strcmp(n->name, "completion") == 0) {
                printf(" \\\n            '*:shell:(bash zsh)'");
            }
            printf(";;\n");
        }
    }
    printf("    esac\n}\n_aegisctl \"$@\"\n");
}


static int
completion(aegis_ctl_t *ctl)
{
    if (strcmp(ctl->args[0], "bash") == 0) {
        bash();
    } else if (strcmp(ctl->args[0], "zsh") == 0) {
        zsh();
    } else {
        aegis_ctl_say("completion is for bash or zsh, not %s", ctl->args[0]);
        return AEGIS_CTL_USAGE;
    }
    return AEGIS_CTL_OK;
}


const aegis_ctl_command_t  aegis_ctl_completion_commands[] = {
    { "", "bash|zsh", 1, 1, "print a shell's completion script",
      "  bash: source <(aegisctl completion bash)\n"
      "  zsh:  aegisctl completion zsh > ~/.zfunc/_aegisctl", NULL, completion },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
