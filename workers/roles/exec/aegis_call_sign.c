/*
 * aegis_call_sign.c: Standard Webhooks: webhook-id, webhook-timestamp and one
 * signature for each secret of http.secret_file, so that secrets can be rotated.
 * Invariant: secrets are in this file's memory and in no message, and are wiped
 * before their memory is given back.
 */
#include "aegis_call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "aegis_hash.h"

#define AEGIS_CALL_SECRETS     4
#define AEGIS_CALL_SECRET_MAX  64
#define AEGIS_CALL_SECRET_MIN  16

typedef struct {
    unsigned char  bytes[AEGIS_CALL_SECRET_MAX + 3];
    size_t         len;
} aegis_call_secret_t;

static aegis_call_secret_t  aegis_call_keys[AEGIS_CALL_SECRETS];
static size_t               aegis_call_n_keys;

/* "whsec_<base64>" */
static int
aegis_call_secret(char *line, aegis_call_secret_t *k)
{
    int     n;
    size_t  len, pad;

    if (strncmp(line, "whsec_", 6) != 0) {
        return 0;
    }

    line += 6;
    len = strlen(line);
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > AEGIS_CALL_SECRET_MAX + 2) {
        return 0;
    }

    for (pad = 0; pad < 2 && line[len - 1 - pad] == '='; pad++) {
        continue;
    }

    n = EVP_DecodeBlock(k->bytes, (unsigned char *) line, (int) len);
    if (n < 0) {
        return 0;
    }

    k->len = (size_t) n - pad;
    return k->len >= AEGIS_CALL_SECRET_MIN && k->len <= AEGIS_CALL_SECRET_MAX;
}

int
aegis_call_secrets(const char *path, aegis_error_t *err)
{
    int                  fd, ok;
    char                 buf[1024], *line, *next;
    size_t               n;
    ssize_t              len;
    aegis_call_secret_t  keys[AEGIS_CALL_SECRETS];

    if (path[0] == '\0') {
        aegis_call_secrets_free();
        return 1;
    }

    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
    if (len < 0) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "http.secret_file: %s: %s", path,
                        strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    if (len < 0) {
        return 0;
    }

    buf[len] = '\0';
    n = 0;
    ok = 1;
    for (line = buf; ok && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        if (line[0] != '\0' && line[0] != '#') {
            ok = n < AEGIS_CALL_SECRETS && aegis_call_secret(line, &keys[n]);
            n++;
        }
    }

    if (ok && n > 0) {
        memcpy(aegis_call_keys, keys, sizeof(keys));
        aegis_call_n_keys = n;
    } else {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "http.secret_file: %s: 1 to %d lines"
                        " whsec_<base64 of %d to %d bytes>", path, AEGIS_CALL_SECRETS,
                        AEGIS_CALL_SECRET_MIN, AEGIS_CALL_SECRET_MAX);
    }

    explicit_bzero(buf, sizeof(buf));
    explicit_bzero(keys, sizeof(keys));
    return ok && n > 0;
}

void
aegis_call_secrets_free(void)
{
    explicit_bzero(aegis_call_keys, sizeof(aegis_call_keys));
    aegis_call_n_keys = 0;
}

int
aegis_call_sign(const char *id, int64_t timestamp, aegis_str_t body,
    void (*add)(void *data, const char *line), void *data)
{
    char           head[128], line[512], mac64[64];
    size_t         i, len;
    aegis_str_t    key, parts[2];
    unsigned char  mac[AEGIS_SHA256_LEN];

    if (aegis_call_n_keys == 0) {
        return 0;
    }

    snprintf(head, sizeof(head), "%s.%lld.", id, (long long) timestamp);
    parts[0] = aegis_view(head);
    parts[1] = body;
    len = (size_t) snprintf(line, sizeof(line), "webhook-signature:");

    for (i = 0; i < aegis_call_n_keys; i++) {
        key = (aegis_str_t) { aegis_call_keys[i].len, (const char *) aegis_call_keys[i].bytes };
        aegis_hmac_sha256(key, parts, 2, mac);
        EVP_EncodeBlock((unsigned char *) mac64, mac, sizeof(mac));
        len += (size_t) snprintf(line + len, sizeof(line) - len, " v1,%s", mac64);
    }
    add(data, line);

    snprintf(line, sizeof(line), "webhook-id: %s", id);
    add(data, line);
    snprintf(line, sizeof(line), "webhook-timestamp: %lld", (long long) timestamp);
    add(data, line);
    return 1;
}
