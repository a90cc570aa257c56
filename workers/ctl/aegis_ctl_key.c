/*
 * aegis_ctl_key.c: `aegisctl key`: a new API key, or the line of aegis_keys for
 * one that exists. The secret is printed once and kept nowhere; it is never an
 * argument, since everybody can read those.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "aegis_access.h"
#include "aegis_ctl.h"
#include "aegis_hash.h"
#include "aegis_time.h"

#define AEGIS_CTL_SECRET  43        /* 256 bits in base64url */


static int
key_scopes_known(const char *scopes)
{
    aegis_str_t   one;

    for (one.data = scopes; /* void */ ; one.data += one.len + 1) {
        one.len = strcspn(one.data, ",");
        if (!aegis_scope_known(one)) {
            aegis_ctl_say("there is no scope %.*s; docs/generated/routes.md lists them",
                          (int) one.len, one.data);
            return 0;
        }
        if (one.data[one.len] == '\0') {
            return 1;
        }
    }
}


/* The line: id and a blank (or nothing), the hash, who, the times. */
static int
key_line(aegis_ctl_t *ctl, FILE *out, const char *id, aegis_str_t secret,
    const char *const *who)
{
    static const char *const  times[] = { "not-before", "not-after" };
    static const char *const  words[] = { "not_before", "not_after" };
    unsigned char             hash[32];
    const char               *t;
    int64_t                   s;
    size_t                    i;

    for (i = 0; i < 2; i++) {
        t = aegis_ctl_opt(ctl, times[i]);
        if (t != NULL && !aegis_time_parse(aegis_view(t), &s)) {
            aegis_ctl_say("--%s takes an RFC 3339 time like 2026-11-21T07:00:00Z", times[i]);
            return AEGIS_CTL_USAGE;
        }
    }
    if (!key_scopes_known(who[2])) {
        return AEGIS_CTL_USAGE;
    }

    aegis_sha256(&secret, 1, hash);
    fprintf(out, "%s%s", id, id[0] != '\0' ? " " : "");
    for (i = 0; i < sizeof(hash); i++) {
        fprintf(out, "%02x", hash[i]);
    }
    fprintf(out, " %s %s %s", who[0], who[1], who[2]);
    for (i = 0; i < 2; i++) {
        t = aegis_ctl_opt(ctl, times[i]);
        if (t != NULL) {
            fprintf(out, " %s=%s", words[i], t);
        }
    }
    fputc('\n', out);
    return AEGIS_CTL_OK;
}


static int
key_id_valid(const char *id, size_t len)
{
    if (len < 3 || len > 24 || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") < len) {
        aegis_ctl_say("an id is 3 to 24 of a-z, 0-9 and -");
        return 0;
    }
    return 1;
}


static int
key_new(aegis_ctl_t *ctl)
{
    static const char  set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char      raw[33];
    char               secret[45];
    int                i, rc;
    unsigned           bits;

    if (!key_id_valid(ctl->args[0], strlen(ctl->args[0]))) {
        return AEGIS_CTL_USAGE;
    }
    memset(raw, 0, sizeof(raw));
    if (getrandom(raw, 32, 0) != 32) {
        aegis_ctl_say("the system has no random numbers");
        return AEGIS_CTL_FAILED;
    }
    for (i = 0; i < 11; i++) {
        bits = (unsigned) raw[3 * i] << 16 | (unsigned) raw[3 * i + 1] << 8 | raw[3 * i + 2];
        secret[4 * i] = set[bits >> 18];
        secret[4 * i + 1] = set[bits >> 12 & 63];
        secret[4 * i + 2] = set[bits >> 6 & 63];
        secret[4 * i + 3] = set[bits & 63];
    }
    secret[AEGIS_CTL_SECRET] = '\0';

    rc = key_line(ctl, stderr, ctl->args[0], (aegis_str_t) { AEGIS_CTL_SECRET, secret },
                  &ctl->args[1]);
    if (rc == AEGIS_CTL_OK) {
        printf("aegis_%s_%s\n", ctl->args[0], secret);
    }
    explicit_bzero(raw, sizeof(raw));
    explicit_bzero(secret, sizeof(secret));
    return rc;
}


static int
key_hash(aegis_ctl_t *ctl)
{
    char         token[8192], id[32];
    int          rc;
    size_t       len;
    aegis_str_t  secret;

    if (fgets(token, sizeof(token), stdin) == NULL) {
        token[0] = '\0';
    }
    len = strcspn(token, "\r\n");
    if (len == 0) {
        aegis_ctl_say("the token is expected on stdin");
        return AEGIS_CTL_USAGE;
    }

    secret = (aegis_str_t) { len, token };
    id[0] = '\0';
    if (len > 6 + 1 + AEGIS_CTL_SECRET && memcmp(token, "aegis_", 6) == 0
        && token[len - AEGIS_CTL_SECRET - 1] == '_')
    {
        secret = (aegis_str_t) { AEGIS_CTL_SECRET, token + len - AEGIS_CTL_SECRET };
        len -= 6 + 1 + AEGIS_CTL_SECRET;
        if (!key_id_valid(token + 6, len)) {
            explicit_bzero(token, sizeof(token));
            return AEGIS_CTL_USAGE;
        }
        memcpy(id, token + 6, len);
        id[len] = '\0';
    }

    rc = key_line(ctl, stdout, id, secret, &ctl->args[0]);
    explicit_bzero(token, sizeof(token));
    return rc;
}


static const aegis_ctl_option_t  key_options[] = {
    { "not-before", 0, "TIME", "not valid before this RFC 3339 time" },
    { "not-after", 0, "TIME", "not valid from this time on" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_key_commands[] = {
    { "new", "ID TENANT PRINCIPAL SCOPES", 4, 4, "make an API key",
      "The token goes to stdout, once; its line of the file aegis_keys to stderr.",
      key_options, key_new },
    { "hash", "TENANT PRINCIPAL SCOPES", 3, 3, "the line of aegis_keys for the token on stdin",
      NULL, key_options, key_hash },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
