/*
 * aegis_kube_access.c: kubeconfig and service account, read.
 * Invariants: what cannot be verified is refused: no plain http, no
 * insecure-skip-tls-verify; no program that a kubeconfig names is run; no
 * secret gets into an error.
 */
#include "aegis_kube_access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "aegis_conf.h"
#include "aegis_json.h"

#define AEGIS_KUBE_PEM_MAX    (1u << 20)
#define AEGIS_KUBE_TOKEN_MAX  16384
#define AEGIS_KUBE_PATH       4096

static void
aegis_kube_wipe(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}

void
aegis_kube_access_free(aegis_kube_access_t *a)
{
    free(a->ca);
    free(a->cert);
    aegis_kube_wipe(a->key);
    aegis_kube_wipe(a->token);
    memset(a, 0, sizeof(*a));
}

aegis_net_trust_t
aegis_kube_trust(const aegis_kube_access_t *a)
{
    return (aegis_net_trust_t) { a->ca, a->cert, a->key, a->token };
}

/* A regular file of 1 to max bytes as text. NULL and err. */
static char *
aegis_kube_file(const char *path, size_t max, aegis_error_t *err)
{
    int          fd;
    char        *text;
    ssize_t      n;
    size_t       len;
    struct stat  st;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s: %s", path, strerror(errno));
        return NULL;
    }

    text = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0
        || (size_t) st.st_size > max || (text = calloc(1, (size_t) st.st_size + 1)) == NULL)
    {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                               "%s: is no file of 1 to %zu bytes", path, max);
        close(fd);
        return NULL;
    }

    for (len = 0; len < (size_t) st.st_size; len += (size_t) n) {
        n = read(fd, text + len, (size_t) st.st_size - len);
        if (n < 0 && errno == EINTR) {
            n = 0;
        } else if (n <= 0) {
            break;
        }
    }
    close(fd);

    return text;
}

/* A token goes into a header: one line of printable characters. Takes it. */
static char *
aegis_kube_token(char *text, const char *where, aegis_error_t *err)
{
    size_t  i, len;

    if (text == NULL) {
        return NULL;
    }

    for (len = strlen(text); len > 0 && strchr(" \t\r\n", text[len - 1]); len--) {
        text[len - 1] = '\0';
    }
    for (i = 0; i < len && text[i] > 0x20 && text[i] < 0x7f; i++) {
        continue;
    }

    if (len == 0 || i < len) {
        aegis_kube_wipe(text);
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s: is no token", where);
        return NULL;
    }

    return text;
}

static char *
aegis_kube_base64(const char *text, const char *what, aegis_error_t *err)
{
    int      n;
    char    *out;
    size_t   len;

    len = strlen(text);
    out = len > 0 && len % 4 == 0 && len <= AEGIS_KUBE_PEM_MAX ? calloc(1, len + 1) : NULL;
    n = out == NULL ? -1 : EVP_DecodeBlock((unsigned char *) out,
                                           (const unsigned char *) text, (int) len);
    if (n < 0) {
        free(out);
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                               "%s of the kubeconfig is not base64", what);
        return NULL;
    }

    /* OpenSSL counts the padding too, as zeros: the text ends before them */
    return out;
}

/* object's <name>-data, or the file <name> beside the kubeconfig. 0: err. */
static int
aegis_kube_pem(const json_t *object, const char *name, const char *dir, char **ret,
    aegis_error_t *err)
{
    char         data[64], path[AEGIS_KUBE_PATH];
    const char  *text;

    snprintf(data, sizeof(data), "%s-data", name);

    text = aegis_json_str(object, data);
    if (text[0] != '\0') {
        *ret = aegis_kube_base64(text, data, err);
        return *ret != NULL;
    }

    text = aegis_json_str(object, name);
    if (text[0] != '\0') {
        snprintf(path, sizeof(path), "%s%s%s", text[0] == '/' ? "" : dir,
                 text[0] == '/' ? "" : "/", text);
        *ret = aegis_kube_file(path, AEGIS_KUBE_PEM_MAX, err);
        return *ret != NULL;
    }

    return 1;
}

/* The object <what> of the entry called name in document's list. NULL: err. */
static const json_t *
aegis_kube_entry_of(const json_t *document, const char *list, const char *what,
    const char *name, aegis_error_t *err)
{
    size_t   i;
    json_t  *e;

    json_array_foreach(json_object_get(document, list), i, e) {
        if (strcmp(aegis_json_str(e, "name"), name) == 0
            && json_is_object(json_object_get(e, what)))
        {
            return json_object_get(e, what);
        }
    }

    (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the kubeconfig has no %s \"%.100s\"",
                           what, name);
    return NULL;
}

static aegis_code_t
aegis_kube_server(const char *url, aegis_kube_access_t *a, aegis_error_t *err)
{
    size_t  len;

    len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }

    if (strncmp(url, "https://", 8) != 0 || len < 9 || len >= sizeof(a->server)) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "the Kubernetes API's server \"%.100s\" is no https:// address", url);
    }

    memcpy(a->server, url, len);
    a->server[len] = '\0';
    return AEGIS_E_OK;
}

/* The credential of a kubeconfig's user. 0: err. */
static int
aegis_kube_user_of(const json_t *user, const char *dir, aegis_kube_access_t *a,
    aegis_error_t *err)
{
    char         path[AEGIS_KUBE_PATH];
    const char  *file, *token;

    static const char *const  refused[] = { "exec", "auth-provider", "username", NULL };
    const char *const        *r;

    for (r = refused; *r; r++) {
        if (json_object_get(user, *r) != NULL) {
            (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the kubeconfig's user says"
                " \"%s\", which is not supported: use a token, a tokenFile or a client"
                " certificate", *r);
            return 0;
        }
    }

    file = aegis_json_str(user, "tokenFile");
    token = aegis_json_str(user, "token");

    if (file[0] != '\0') {
        snprintf(path, sizeof(path), "%s%s%s", file[0] == '/' ? "" : dir,
                 file[0] == '/' ? "" : "/", file);
        a->token = aegis_kube_token(aegis_kube_file(path, AEGIS_KUBE_TOKEN_MAX, err), path,
                                    err);
        if (a->token == NULL) {
            return 0;
        }

    } else if (token[0] != '\0') {
        a->token = aegis_kube_token(strdup(token), "the kubeconfig's token", err);
        if (a->token == NULL) {
            return 0;
        }
    }

    if (!aegis_kube_pem(user, "client-certificate", dir, &a->cert, err)
        || !aegis_kube_pem(user, "client-key", dir, &a->key, err))
    {
        return 0;
    }

    if (a->token == NULL && (a->cert == NULL || a->key == NULL)) {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the kubeconfig's user has neither"
            " a token nor a client certificate with its key");
        return 0;
    }

    return 1;
}

static aegis_code_t
aegis_kube_config(const char *file, const char *name, aegis_kube_access_t *a,
    aegis_error_t *err)
{
    char          *slash, dir[AEGIS_KUBE_PATH];
    json_t        *document;
    aegis_code_t   rc;
    const json_t  *context, *cluster, *user;

    document = aegis_conf_yaml_file(file, err);
    if (document == NULL) {
        return err->code;
    }

    snprintf(dir, sizeof(dir), "%s", file);
    slash = strrchr(dir, '/');
    if (slash != NULL) {
        *slash = '\0';
    } else {
        strcpy(dir, ".");
    }

    rc = AEGIS_E_UNAVAILABLE;
    name = name[0] ? name : aegis_json_str(document, "current-context");

    context = aegis_kube_entry_of(document, "contexts", "context", name, err);
    cluster = !context ? NULL : aegis_kube_entry_of(document, "clusters", "cluster",
                                    aegis_json_str(context, "cluster"), err);
    user = !cluster ? NULL : aegis_kube_entry_of(document, "users", "user",
                                 aegis_json_str(context, "user"), err);

    if (user == NULL) {
        goto done;
    }

    if (json_is_true(json_object_get(cluster, "insecure-skip-tls-verify"))) {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the kubeconfig says"
            " insecure-skip-tls-verify, which is not accepted: give it the cluster's"
            " certificate-authority");
        goto done;
    }

    rc = aegis_kube_server(aegis_json_str(cluster, "server"), a, err);
    if (rc == AEGIS_E_OK
        && (!aegis_kube_pem(cluster, "certificate-authority", dir, &a->ca, err)
            || !aegis_kube_user_of(user, dir, a, err)))
    {
        rc = AEGIS_E_UNAVAILABLE;
    }

done:

    json_decref(document);
    return rc;
}

static aegis_code_t
aegis_kube_account(const char *folder, const char *server, aegis_kube_access_t *a,
    aegis_error_t *err)
{
    int          v6;
    char         path[AEGIS_KUBE_PATH], url[AEGIS_KUBE_SERVER];
    const char  *host, *port;

    host = getenv("KUBERNETES_SERVICE_HOST");
    port = getenv("KUBERNETES_SERVICE_PORT");

    if (server[0] == '\0' && host == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "neither k8s.kubeconfig nor"
            " k8s.server is set, and this is no pod (KUBERNETES_SERVICE_HOST)");
    }

    if (server[0] == '\0') {
        v6 = strchr(host, ':') != NULL;
        snprintf(url, sizeof(url), "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "",
                 port ? port : "443");
        server = url;
    }

    if (aegis_kube_server(server, a, err) != AEGIS_E_OK) {
        return err->code;
    }

    snprintf(path, sizeof(path), "%s/token", folder);
    a->token = aegis_kube_token(aegis_kube_file(path, AEGIS_KUBE_TOKEN_MAX, err), path, err);
    if (a->token == NULL) {
        return AEGIS_E_UNAVAILABLE;
    }

    snprintf(path, sizeof(path), "%s/ca.crt", folder);
    a->ca = aegis_kube_file(path, AEGIS_KUBE_PEM_MAX, err);
    return a->ca != NULL ? AEGIS_E_OK : AEGIS_E_UNAVAILABLE;
}

aegis_code_t
aegis_kube_access(const char *kubeconfig, const char *context, const char *folder,
    const char *server, aegis_kube_access_t *ret, aegis_error_t *err)
{
    aegis_code_t         rc;
    aegis_kube_access_t  a;

    memset(&a, 0, sizeof(a));

    rc = kubeconfig[0] ? aegis_kube_config(kubeconfig, context, &a, err)
         : aegis_kube_account(folder, server, &a, err);

    if (rc != AEGIS_E_OK) {
        aegis_kube_access_free(&a);
        return rc;
    }

    *ret = a;
    return AEGIS_E_OK;
}
