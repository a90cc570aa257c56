/*
 * aegis_kb_html.c: HTML to headings and blocks: what a reader sees, in order,
 * without scripts and styles. It is no browser: tags that are not closed, or not
 * opened, change nothing. Each byte is looked at a bounded number of times, and
 * the text is never longer than what it was made of.
 */
#include "aegis_kb_impl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AEGIS_KB_TAG_MAX  12

typedef struct {
    aegis_kb_maker_t  *m;
    aegis_str_t        body;
    size_t             at;
    size_t             from;            /* of the block that is open */
    aegis_buf_t        text;
    int                pre;
    int                heading;         /* its level, 0: none is open */
    int                title;
} aegis_kb_html_t;

typedef struct {
    char  name[AEGIS_KB_TAG_MAX + 1];
    int   end;
} aegis_kb_tag_t;

/* what ends a block; sorted */
static const char *const  aegis_kb_html_blocks[] = {
    "address", "article", "aside", "blockquote", "body", "br", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li",
    "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot",
    "th", "thead", "title", "tr", "ul"
};

/* what nobody reads, up to its end tag */
static const char *const  aegis_kb_html_hidden[] = {
    "iframe", "noembed", "noframes", "script", "style", "template", "textarea"
};

static const struct {
    const char  *name;
    const char  *text;
} aegis_kb_html_entities[] = {
    { "amp", "&" }, { "apos", "'" }, { "copy", "\xc2\xa9" }, { "gt", ">" },
    { "hellip", "\xe2\x80\xa6" }, { "laquo", "\xc2\xab" }, { "ldquo", "\xe2\x80\x9c" },
    { "lsquo", "\xe2\x80\x98" }, { "lt", "<" }, { "mdash", "\xe2\x80\x94" }, { "nbsp", " " },
    { "ndash", "\xe2\x80\x93" }, { "quot", "\"" }, { "raquo", "\xc2\xbb" },
    { "rdquo", "\xe2\x80\x9d" }, { "rsquo", "\xe2\x80\x99" }, { "times", "\xc3\x97" }
};


static int
aegis_kb_html_is(const char *name, const char *const *list, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (strcmp(name, list[i]) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
aegis_kb_html_close(aegis_kb_html_t *h)
{
    if (h->text.len == 0) {
        return;
    }

    if (h->title) {
        aegis_kb_squeeze((aegis_str_t) { h->text.len, h->text.data }, h->m->out->title,
                         AEGIS_KB_TITLE_MAX);
    } else if (h->heading) {
        aegis_kb_heading(h->m, h->heading, (aegis_str_t) { h->text.len, h->text.data });
    } else {
        aegis_kb_block(h->m, (aegis_str_t) { h->text.len, h->text.data }, h->from, h->at, 0);
    }

    h->text.len = 0;
}


static void
aegis_kb_html_put(aegis_kb_html_t *h, const char *s, size_t len)
{
    if (h->text.len == 0) {
        h->from = h->at;
    }

    aegis_buf_add(&h->text, s, len);
    if (h->text.failed) {
        h->m->code = AEGIS_E_UNAVAILABLE;
    }
}


/* The entity at "&", or the "&" itself. Returns the bytes it has. */
static size_t
aegis_kb_html_entity(aegis_kb_html_t *h)
{
    char         utf8[4];
    size_t       i, n, len, digits;
    uint32_t     c;
    const char  *p;

    p = h->body.data + h->at + 1;
    len = h->body.len - h->at - 1;
    len = len < 10 ? len : 10;

    for (n = 0; n < len && p[n] != ';'; n++) {
        /* void */
    }
    if (n == len || n < 2) {
        aegis_kb_html_put(h, "&", 1);
        return 1;
    }

    for (i = 0; i < sizeof(aegis_kb_html_entities) / sizeof(aegis_kb_html_entities[0]); i++) {
        if (strlen(aegis_kb_html_entities[i].name) == n
            && memcmp(aegis_kb_html_entities[i].name, p, n) == 0)
        {
            aegis_kb_html_put(h, aegis_kb_html_entities[i].text,
                              strlen(aegis_kb_html_entities[i].text));
            return n + 2;
        }
    }

    digits = p[0] != '#' ? 0 : p[1] == 'x' || p[1] == 'X' ? 16 : 10;
    for (c = 0, i = digits == 16 ? 2 : 1; digits && i < n && c < 0x110000; i++) {
        if (p[i] >= '0' && p[i] <= '9') {
            c = c * (uint32_t) digits + (uint32_t) (p[i] - '0');
        } else if (digits == 16 && ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f')) {
            c = c * 16 + (uint32_t) ((p[i] | 0x20) - 'a' + 10);
        } else {
            digits = 0;
        }
    }

    if (digits == 0 || c < 0x20 || c >= 0x110000 || (c >= 0xd800 && c < 0xe000)) {
        aegis_kb_html_put(h, "&", 1);
        return 1;
    }

    if (c < 0x80) {
        utf8[0] = (char) c;
        i = 1;
    } else if (c < 0x800) {
        utf8[0] = (char) (0xc0 | c >> 6);
        i = 2;
    } else if (c < 0x10000) {
        utf8[0] = (char) (0xe0 | c >> 12);
        i = 3;
    } else {
        utf8[0] = (char) (0xf0 | c >> 18);
        i = 4;
    }
    for (len = i; len > 1; len--, c >>= 6) {
        utf8[len - 1] = (char) (0x80 | (c & 0x3f));
    }
    aegis_kb_html_put(h, utf8, i);

    return n + 2;
}


/* Read the tag at "<"; h->at is behind it. 0: it is none, and a character. */
static int
aegis_kb_html_tag(aegis_kb_html_t *h, aegis_kb_tag_t *tag)
{
    char         quote, c;
    size_t       i, n;
    const char  *p, *end;

    p = h->body.data;
    i = h->at + 1;
    tag->end = 0;
    tag->name[0] = '\0';

    if (h->body.len - h->at >= 4 && memcmp(p + h->at, "<!--", 4) == 0) {
        end = memmem(p + h->at + 4, h->body.len - h->at - 4, "-->", 3);
        h->at = end ? (size_t) (end - p) + 3 : h->body.len;
        return 1;
    }

    if (i < h->body.len && p[i] == '/') {
        tag->end = 1;
        i++;
    }

    if (i >= h->body.len || !(((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z') || p[i] == '!'
                              || p[i] == '?'))
    {
        return 0;
    }

    for (n = 0; i < h->body.len && ((p[i] >= '0' && p[i] <= '9')
                || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z')); i++)
    {
        if (n < AEGIS_KB_TAG_MAX) {
            tag->name[n++] = (char) (p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
        }
    }
    tag->name[n] = '\0';

    for (quote = 0; i < h->body.len; i++) {
        c = p[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '>') {
            break;
        } else if ((c == '"' || c == '\'') && i > 0 && p[i - 1] == '=') {
            quote = c;
        }
    }

    h->at = i < h->body.len ? i + 1 : h->body.len;

    return 1;
}


/* Behind the end tag of what nobody reads; to the end when there is none. */
static void
aegis_kb_html_skip(aegis_kb_html_t *h, const char *name)
{
    size_t       n;
    const char  *p;

    n = strlen(name);

    for (p = h->body.data; h->at + n + 2 <= h->body.len; h->at++) {
        if (p[h->at] == '<' && p[h->at + 1] == '/'
            && strncasecmp(p + h->at + 2, name, n) == 0)
        {
            return;
        }
    }

    h->at = h->body.len;
}


static void
aegis_kb_html_open(aegis_kb_html_t *h, const aegis_kb_tag_t *tag, size_t start)
{
    int     level;
    size_t  behind;

    level = tag->name[0] == 'h' && tag->name[1] >= '1' && tag->name[1] <= '6'
            && tag->name[2] == '\0' ? tag->name[1] - '0' : 0;

    if (level || aegis_kb_html_is(tag->name, aegis_kb_html_blocks,
                                  sizeof(aegis_kb_html_blocks) / sizeof(char *)))
    {
        behind = h->at;
        h->at = start;
        aegis_kb_html_close(h);
        h->at = behind;
        h->heading = level && !tag->end ? level : 0;
        h->title = strcmp(tag->name, "title") == 0 && !tag->end;
    }

    if (strcmp(tag->name, "pre") == 0) {
        h->pre = !tag->end;
    }

    if (!tag->end && aegis_kb_html_is(tag->name, aegis_kb_html_hidden,
                                      sizeof(aegis_kb_html_hidden) / sizeof(char *)))
    {
        aegis_kb_html_skip(h, tag->name);
    }
}


void
aegis_kb_read_html(aegis_kb_maker_t *m, aegis_str_t body)
{
    char             c;
    size_t           start;
    aegis_kb_tag_t   tag;
    aegis_kb_html_t  h;

    memset(&h, 0, sizeof(h));
    h.m = m;
    h.body = body;

    while (h.at < body.len && m->code == AEGIS_E_OK) {
        c = body.data[h.at];
        start = h.at;

        if (c == '<' && aegis_kb_html_tag(&h, &tag)) {
            aegis_kb_html_open(&h, &tag, start);
            continue;
        }

        if (c == '&') {
            h.at += aegis_kb_html_entity(&h);
            continue;
        }

        if ((unsigned char) c <= ' ' && !h.pre) {
            if (h.text.len && h.text.data[h.text.len - 1] != ' ') {
                aegis_kb_html_put(&h, " ", 1);
            }
        } else {
            aegis_kb_html_put(&h, &c, 1);
        }
        h.at++;
    }

    aegis_kb_html_close(&h);
    free(h.text.data);
}
