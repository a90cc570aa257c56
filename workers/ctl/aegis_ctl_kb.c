/*
 * aegis_ctl_kb.c: `aegisctl kb`: put files, folders and URLs into the knowledge base,
 * ask it, list and remove documents. A file's name below the folder that was given
 * is its source, so that the same command again brings what has changed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"

#define KB_FILE_MAX    200000
#define KB_DEPTH       16
#define KB_PATH        4096
#define KB_WAIT_MS     100

static const aegis_ctl_column_t  hit_columns[] = {
    { "score", "SCORE" }, { "title", "TITLE" }, { "heading", "HEADING" }, { "excerpt", "TEXT" },
    { "locator", "LOCATOR" }, { NULL, NULL }
};

static const aegis_ctl_column_t  doc_columns[] = {
    { "doc_id", "DOCUMENT" }, { "source", "SOURCE" }, { "title", "TITLE" },
    { "category", "CATEGORY" }, { "lang", "LANG" }, { "version", "VERSION" }, { "state", "STATE" },
    { "chunks", "PASSAGES" }, { "error", "ERROR" }, { NULL, NULL }
};

typedef struct {
    aegis_ctl_t  *ctl;
    char        **paths;                /* of files */
    char        **sources;
    size_t        n;
    size_t        size;
    size_t        stored;
    size_t        same;
    size_t        failed;
    int           rc;                   /* of the first that failed */
    char          last[64];             /* doc_id of the last that was accepted */
} kb_import_t;


static const char *
kb_format(const char *path)
{
    const char  *dot;

    dot = strrchr(path, '.');
    if (dot == NULL) {
        return NULL;
    }
    return strcmp(dot, ".md") == 0 || strcmp(dot, ".markdown") == 0 ? "markdown"
           : strcmp(dot, ".html") == 0 || strcmp(dot, ".htm") == 0 ? "html"
           : strcmp(dot, ".txt") == 0 ? "text" : strcmp(dot, ".json") == 0 ? "json" : NULL;
}


static int
kb_add(kb_import_t *im, const char *path, const char *source)
{
    char    **p, **s;
    size_t    size;

    if (im->n == im->size) {
        size = im->size ? im->size * 2 : 64;
        p = realloc(im->paths, size * sizeof(char *));
        im->paths = p ? p : im->paths;
        s = realloc(im->sources, size * sizeof(char *));
        im->sources = s ? s : im->sources;
        if (p == NULL || s == NULL) {
            return 0;
        }
        im->size = size;
    }
    im->paths[im->n] = strdup(path);
    im->sources[im->n] = strdup(source);
    im->n++;
    return im->paths[im->n - 1] != NULL && im->sources[im->n - 1] != NULL;
}


/* Every document below a folder, in the order of names. */
static int
kb_walk(kb_import_t *im, const char *path, const char *source, int depth)
{
    char             below[KB_PATH], name[KB_PATH];
    int              i, n, ok;
    struct stat      st;
    struct dirent  **list;

    if (stat(path, &st) != 0) {
        aegis_ctl_say("%s: %s", path, strerror(errno));
        return 0;
    }
    if (!S_ISDIR(st.st_mode)) {
        return depth > 0 && kb_format(path) == NULL ? 1 : kb_add(im, path, source);
    }
    n = depth < KB_DEPTH ? scandir(path, &list, NULL, alphasort) : -1;
    if (n < 0) {
        aegis_ctl_say("%s: %s", path, depth < KB_DEPTH ? strerror(errno) : "too deep");
        return 0;
    }
    for (ok = 1, i = 0; i < n; i++) {
        /* what a folder says about itself is no document of it */
        if (ok && list[i]->d_name[0] != '.' && strcmp(list[i]->d_name, "README.md") != 0) {
            snprintf(below, sizeof(below), "%.3800s/%.255s", path, list[i]->d_name);
            snprintf(name, sizeof(name), "%.3800s%s%.255s", source, source[0] ? "/" : "",
                     list[i]->d_name);
            ok = kb_walk(im, below, name, depth + 1);
        }
        free(list[i]);
    }
    free(list);
    return ok;
}


/* "zh" of "zh/redis.md": folders are often named by the language. */
static void
kb_lang(json_t *body, const char *source)
{
    if ((strncmp(source, "zh/", 3) == 0 || strncmp(source, "en/", 3) == 0)
        && json_object_get(body, "lang") == NULL)
    {
        json_object_set_new(body, "lang", json_stringn(source, 2));
    }
}


static json_t *
kb_options(const aegis_ctl_t *ctl)
{
    int          i;
    json_t      *body, *tags, *labels;
    const char  *value, *eq;

    static const char *const  names[] = { "title", "category", "lang", "format" };

    body = json_object();
    for (i = 0; i < 4; i++) {
        value = aegis_ctl_opt(ctl, names[i]);
        if (value) {
            json_object_set_new(body, names[i], json_string(value));
        }
    }
    tags = json_array();
    for (i = 0; (value = aegis_ctl_opt_nth(ctl, "tag", i)) != NULL; i++) {
        json_array_append_new(tags, json_string(value));
    }
    labels = json_object();
    for (i = 0; (value = aegis_ctl_opt_nth(ctl, "label", i)) != NULL; i++) {
        eq = strchr(value, '=');
        if (eq) {
            char  name[64];

            snprintf(name, sizeof(name), "%.*s", (int) (eq - value < 63 ? eq - value : 63), value);
            json_object_set_new(labels, name, json_string(eq + 1));
        }
    }
    json_object_set_new(body, "tags", tags);
    json_object_set_new(body, "labels", labels);
    return body;
}


/* Send one; a refusal is said and counted. */
static void
kb_send(kb_import_t *im, json_t *body, const char *what)
{
    char                 key[37], why[256];
    int                  rc;
    aegis_ctl_answer_t   a;
    aegis_ctl_request_t  req = { "POST", "/kb/ingest", NULL, NULL, NULL };

    aegis_ctl_new_key(key);
    req.body = body;
    req.key = key;
    rc = aegis_ctl_http(im->ctl, &req, &a, why, sizeof(why));
    if (rc != AEGIS_CTL_OK) {
        aegis_ctl_say("%s: %s", what, why);
    } else if (a.status != 200 && a.status != 202) {
        aegis_ctl_say("%s: refused", what);
        rc = aegis_ctl_judge(im->ctl, &a);
    } else {
        im->stored += a.status == 202;
        im->same += a.status == 200;
        snprintf(im->last, sizeof(im->last), "%s", json_string_value(json_object_get(a.body,
                 "doc_id")) ? json_string_value(json_object_get(a.body, "doc_id")) : "");
    }
    if (rc != AEGIS_CTL_OK) {
        im->failed++;
        im->rc = im->rc ? im->rc : rc;
    }
    if (rc == AEGIS_CTL_OK || a.text != NULL) {
        aegis_ctl_answer_clear(&a);
    }
}


static void
kb_file(kb_import_t *im, size_t i, const json_t *options)
{
    char        *text;
    size_t       len;
    json_t      *body, *content;
    const char  *format;

    text = aegis_ctl_read_file(im->paths[i], &len);
    content = text && len <= KB_FILE_MAX ? json_stringn(text, len) : NULL;
    if (content == NULL) {
        aegis_ctl_say("%s: %s", im->paths[i], text == NULL ? strerror(errno)
                      : len > KB_FILE_MAX ? "larger than 200000 bytes" : "not UTF-8");
        im->failed++;
        im->rc = im->rc ? im->rc : AEGIS_CTL_FAILED;
        free(text);
        return;
    }
    body = json_deep_copy(options);
    format = kb_format(im->paths[i]);
    json_object_set_new(body, "source", json_string(im->sources[i]));
    json_object_set_new(body, "body", content);
    if (format && json_object_get(body, "format") == NULL) {
        json_object_set_new(body, "format", json_string(format));
    }
    kb_lang(body, im->sources[i]);
    kb_send(im, body, im->paths[i]);
    json_decref(body);
    free(text);
}


/* A line that is written over on a terminal, one in a hundred documents elsewhere. */
static void
kb_progress(const kb_import_t *im, size_t i, size_t all)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%zu of %zu documents, %zu new, %zu there already, %zu failed%s", i, all,
                im->stored, im->same, im->failed, i == all ? "\n" : "");
    } else if (i % 100 == 0 || i == all) {
        aegis_ctl_say("%zu of %zu documents, %zu new, %zu there already, %zu failed", i, all,
                      im->stored, im->same, im->failed);
    }
}


/* Until the last document is read: the queue is first in, first out. */
static int
kb_wait(kb_import_t *im, int64_t seconds)
{
    char                 path[128];
    int                  rc;
    int64_t              left;
    const char          *state;
    struct timespec      ts = { 0, KB_WAIT_MS * 1000000 };
    aegis_ctl_answer_t   a;
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };

    snprintf(path, sizeof(path), "/kb/doc/%s", im->last);
    req.path = path;
    for (left = seconds * 1000; im->last[0] && left > 0; left -= KB_WAIT_MS) {
        rc = aegis_ctl_case_send(im->ctl, &req, &a);
        if (rc != AEGIS_CTL_OK) {
            return rc;
        }
        state = json_string_value(json_object_get(a.body, "state"));
        rc = state && strcmp(state, "QUEUED") != 0;
        aegis_ctl_answer_clear(&a);
        if (rc) {
            return AEGIS_CTL_OK;
        }
        nanosleep(&ts, NULL);
    }
    if (im->last[0]) {
        aegis_ctl_say("the last document is not read yet: is a librarian running?");
        return AEGIS_CTL_TIMEOUT;
    }
    return AEGIS_CTL_OK;
}


static int
kb_ingest(aegis_ctl_t *ctl)
{
    int           i, ok;
    size_t        k, done, urls;
    json_t       *options, *body, *sum;
    int64_t       wait;
    kb_import_t   im;
    const char   *arg, *base;

    wait = aegis_ctl_opt_int(ctl, "wait", 0, 0, 3600);
    if (wait < 0) {
        return AEGIS_CTL_USAGE;
    }
    memset(&im, 0, sizeof(im));
    im.ctl = ctl;
    for (i = 0, ok = 1, urls = 0; i < ctl->n_args && ok; i++) {
        arg = ctl->args[i];
        if (strncmp(arg, "http://", 7) == 0 || strncmp(arg, "https://", 8) == 0) {
            urls++;
            continue;
        }
        /* below a folder names are relative to it; a file has its own */
        base = strrchr(arg, '/') ? strrchr(arg, '/') + 1 : arg;
        struct stat  st;
        ok = kb_walk(&im, arg, stat(arg, &st) == 0 && S_ISDIR(st.st_mode) ? "" : base, 0);
    }

    options = kb_options(ctl);
    for (k = 0, done = 0; ok && k < im.n; k++) {
        kb_file(&im, k, options);
        kb_progress(&im, ++done, im.n + urls);
    }
    for (i = 0; ok && urls && i < ctl->n_args; i++) {
        if (strncmp(ctl->args[i], "http://", 7) == 0 || strncmp(ctl->args[i], "https://", 8) == 0) {
            body = json_deep_copy(options);
            json_object_set_new(body, "url", json_string(ctl->args[i]));
            kb_send(&im, body, ctl->args[i]);
            json_decref(body);
            kb_progress(&im, ++done, im.n + urls);
        }
    }
    json_decref(options);

    if (ok && wait && im.rc == 0) {
        im.rc = kb_wait(&im, wait);
    }
    if (ok && ctl->json) {
        sum = json_pack("{s:I, s:I, s:I}", "stored", (json_int_t) im.stored, "same",
                        (json_int_t) im.same, "failed", (json_int_t) im.failed);
        aegis_ctl_json(sum);
        json_decref(sum);
    }
    for (k = 0; k < im.n; k++) {
        free(im.paths[k]);
        free(im.sources[k]);
    }
    free(im.paths);
    free(im.sources);
    return ok ? im.rc : AEGIS_CTL_FAILED;
}


static int
kb_search(aegis_ctl_t *ctl)
{
    char                 path[8192], q[3200], filter[3200], excerpt[96];
    int                  rc;
    size_t               i;
    json_t              *items, *item;
    int64_t              topk;
    const char          *text;
    aegis_ctl_answer_t   a;
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };

    topk = aegis_ctl_opt_int(ctl, "topk", 8, 1, 50);
    if (topk < 0) {
        return AEGIS_CTL_USAGE;
    }
    aegis_ctl_escape(ctl->args[0], q, sizeof(q));
    text = aegis_ctl_opt(ctl, "filter");
    aegis_ctl_escape(text ? text : "", filter, sizeof(filter));
    snprintf(path, sizeof(path), "/kb/search?q=%s&topk=%lld%s%s", q, (long long) topk,
             text ? "&filter=" : "", filter);
    req.path = path;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    items = json_object_get(a.body, "items");
    json_array_foreach(items, i, item) {
        text = json_string_value(json_object_get(item, "text"));
        snprintf(excerpt, sizeof(excerpt), "%.80s", text ? text : "");
        for (char *p = excerpt; *p; p++) {
            *p = *p == '\n' || *p == '\t' ? ' ' : *p;
        }
        /* cut within a character: then without it */
        for (size_t n = strlen(excerpt); n > 0 && !ctl->json; n--) {
            excerpt[n] = '\0';
            if (json_object_set_new(item, "excerpt", json_string(excerpt)) == 0) {
                break;
            }
        }
    }
    aegis_ctl_rows(ctl, ctl->json ? a.body : items, hit_columns, "nothing is found");
    aegis_ctl_answer_clear(&a);
    return AEGIS_CTL_OK;
}


static int
kb_list(aegis_ctl_t *ctl)
{
    char      next[1024];
    int       rc;
    json_t   *items;
    int64_t   max;

    max = aegis_ctl_opt_int(ctl, "limit", 50, 1, 100000);
    if (max < 0) {
        return AEGIS_CTL_USAGE;
    }
    items = json_array();
    rc = aegis_ctl_case_pages(ctl, "/kb/doc?", max, items, next, sizeof(next));
    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_rows(ctl, items, doc_columns, "there is no document");
    }
    json_decref(items);
    return rc;
}


static int
kb_delete(aegis_ctl_t *ctl)
{
    char                 path[512], id[256], key[37];
    int                  rc;
    aegis_ctl_answer_t   a;
    aegis_ctl_request_t  req = { "DELETE", NULL, NULL, NULL, NULL };

    snprintf(path, sizeof(path), "/kb/doc/%s", aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    aegis_ctl_new_key(key);
    req.path = path;
    req.key = key;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc == AEGIS_CTL_OK) {
        if (ctl->json) {
            aegis_ctl_json(a.body);
        } else {
            printf("deleted %s\n", ctl->args[0]);
        }
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


static const aegis_ctl_option_t  ingest_options[] = {
    { "title", 0, "TEXT", "title; default: the document's first heading" },
    { "category", 0, "WORD", "what kind of document, e.g. runbook (default document)" },
    { "lang", 0, "WORD", "language; default: the folder's name, en or zh" },
    { "format", 0, "WORD", "markdown, html, text or json; default: by the file's name" },
    { "tag", 0, "TEXT", "a tag, may be repeated" },
    { "label", 0, "KEY=VALUE", "a label, may be repeated" },
    { "wait", 0, "SECONDS", "wait so long for the last document to be searchable" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  search_options[] = {
    { "topk", 0, "N", "how many passages (default 8, at most 50)" },
    { "filter", 0, "PAIRS", "lang:zh,category:runbook,tag:x,label.service:checkout" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  kb_list_options[] = {
    { "limit", 0, "N", "how many (default 50)" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_kb_commands[] = {
    { "ingest", "<file|folder|url>...", 1, AEGIS_CTL_MAX_ARGS, "put documents into the knowledge base",
      "A folder's Markdown, HTML, text and JSON files (but README.md) are put in under their\n"
      "names below it; the same command again brings what has changed. The librarian reads\n"
      "them within seconds.",
      ingest_options, kb_ingest },
    { "search", "<question>", 1, 1, "find the passages that answer a question best", NULL,
      search_options, kb_search },
    { "list", "", 0, 0, "list documents, newest first", NULL, kb_list_options, kb_list },
    { "delete", "<document>", 1, 1, "delete a document with all its versions", NULL, NULL, kb_delete },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
