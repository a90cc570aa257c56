/*
 * aegis_kb_chunk.c: blocks to passages, and plain text to blocks. Invariant: no
 * passage is longer than AEGIS_KB_CHUNK_MAX, none is empty, each is UTF-8, and
 * from and to stay inside the document.
 */
#include "aegis_kb_impl.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_KB_BLANKS  " \t\r\n\f\v"

/* A document may say more than it has bytes: JSON's names are repeated. */
#define AEGIS_KB_TEXT_MAX  (4u << 20)

static const char *const  aegis_kb_formats[AEGIS_KB_N_FORMATS] = {
    "markdown", "html", "text", "json"
};


aegis_kb_format_t
aegis_kb_format(const char *name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_KB_N_FORMATS && strcmp(name, aegis_kb_formats[i]) != 0; i++) {
        /* void */
    }

    return (aegis_kb_format_t) i;
}


void
aegis_kb_squeeze(aegis_str_t text, char *out, size_t max)
{
    int            blank;
    size_t         i, n, back;
    uint32_t       cp;
    unsigned char  c;

    for (blank = 0, n = 0, i = 0; i < text.len && n < max; i++) {
        c = (unsigned char) text.data[i];

        if (c <= ' ' || c == 0x7f) {
            blank = n > 0;
            continue;
        }
        if (blank) {
            out[n++] = ' ';
            blank = 0;
        }
        if (n < max) {
            out[n++] = (char) c;
        }
    }

    /* the limit may have come within a character */
    for (back = 0; i < text.len && back < 4 && n > back; back++) {
        c = (unsigned char) out[n - back - 1];

        if (c < 0x80) {
            break;
        }
        if (c >= 0xc0) {
            n -= aegis_utf8_next(out + n - back - 1, back + 1, &cp) == back + 1 ? 0 : back + 1;
            break;
        }
    }
    while (n > 0 && out[n - 1] == ' ') {
        n--;
    }

    out[n] = '\0';
}


static void
aegis_kb_path(const aegis_kb_maker_t *m, aegis_buf_t *buf)
{
    int     i;
    size_t  n;

    aegis_buf_puts(buf, "");

    for (i = 0; i < AEGIS_KB_LEVELS; i++) {
        n = strlen(m->heads[i]);
        if (n && buf->len + n + 3 <= AEGIS_KB_HEADING_MAX) {
            aegis_buf_puts(buf, buf->len ? " > " : "");
            aegis_buf_add(buf, m->heads[i], n);
        }
    }
}


static aegis_str_t
aegis_kb_trim(aegis_str_t s)
{
    while (s.len && strchr(AEGIS_KB_BLANKS, s.data[0]) && s.data[0]) {
        s.data++;
        s.len--;
    }
    while (s.len && strchr(AEGIS_KB_BLANKS, s.data[s.len - 1]) && s.data[s.len - 1]) {
        s.len--;
    }

    return s;
}


/* One passage; what is not UTF-8 or a control character is not kept. */
static void
aegis_kb_emit(aegis_kb_maker_t *m, aegis_str_t text, size_t from, size_t to)
{
    size_t             i, n, size;
    uint32_t           c;
    aegis_buf_t        head = AEGIS_BUF_INIT, clean = AEGIS_BUF_INIT;
    aegis_kb_chunk_t  *v;

    text = aegis_kb_trim(text);
    if (text.len == 0 || m->code != AEGIS_E_OK) {
        return;
    }

    if (m->out->n == AEGIS_KB_CHUNKS_MAX) {
        m->code = AEGIS_E_TOO_LARGE;
        return;
    }

    if (m->out->n == m->size) {
        size = m->size ? m->size * 2 : 16;
        v = realloc(m->out->v, size * sizeof(aegis_kb_chunk_t));
        if (v == NULL) {
            m->code = AEGIS_E_UNAVAILABLE;
            return;
        }
        m->out->v = v;
        m->size = size;
    }

    for (i = 0; i < text.len; i += n) {
        n = aegis_utf8_next(text.data + i, text.len - i, &c);
        if (n == 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0)) {
            aegis_buf_add(&clean, " ", c == '\r' && n ? 0 : 1);
            n = n ? n : 1;
            continue;
        }
        aegis_buf_add(&clean, text.data + i, n);
    }

    aegis_kb_path(m, &head);

    v = &m->out->v[m->out->n];
    v->heading = aegis_buf_take(&head, NULL);
    v->text = aegis_buf_take(&clean, NULL);
    v->from = from;
    v->to = to;

    if (v->heading == NULL || v->text == NULL) {
        free(v->heading);
        free(v->text);
        m->code = AEGIS_E_UNAVAILABLE;
        return;
    }

    m->out->n++;
}


void
aegis_kb_close(aegis_kb_maker_t *m)
{
    if (m->text.len) {
        aegis_kb_emit(m, (aegis_str_t) { m->text.len, m->text.data }, m->from, m->to);
    }

    m->text.len = 0;
}


void
aegis_kb_heading(aegis_kb_maker_t *m, int level, aegis_str_t text)
{
    int   i;
    char  line[AEGIS_KB_TITLE_MAX + 1];

    aegis_kb_close(m);

    aegis_kb_squeeze(text, line, AEGIS_KB_TITLE_MAX);
    if (line[0] == '\0') {
        return;
    }

    if (m->out->title[0] == '\0') {
        memcpy(m->out->title, line, sizeof(line));
    }

    memcpy(m->heads[level - 1], line, sizeof(line));
    for (i = level; i < AEGIS_KB_LEVELS; i++) {
        m->heads[i][0] = '\0';
    }
}


/* Where to cut text that is too long: behind a line, a sentence, a word, a
 * character. */
static size_t
aegis_kb_cut(aegis_str_t text)
{
    size_t       i, n, least, best[3];

    n = aegis_utf8_cut(text.data, text.len, AEGIS_KB_CHUNK_TARGET * 3 / 2);
    least = AEGIS_KB_CHUNK_TARGET / 2;
    memset(best, 0, sizeof(best));

    for (i = least; i < n; i++) {
        if (text.data[i] == '\n') {
            best[0] = i + 1;
        } else if ((text.data[i] == '.' || text.data[i] == '!' || text.data[i] == '?')
                   && i + 1 < n && text.data[i + 1] == ' ')
        {
            best[1] = i + 1;
        } else if (i + 3 <= n && memcmp(text.data + i, "\xe3\x80\x82", 3) == 0) {
            best[1] = i + 3;            /* the Chinese full stop */
        } else if (text.data[i] == ' ') {
            best[2] = i + 1;
        }
    }

    n = best[0] ? best[0] : best[1] ? best[1] : best[2] ? best[2] : n;

    return n ? n : 1;                   /* what starts with no character */
}


void
aegis_kb_block(aegis_kb_maker_t *m, aegis_str_t text, size_t from, size_t to, int exact)
{
    size_t       n, at;
    aegis_str_t  rest;

    rest = text;
    if (exact) {
        while (rest.len && strchr("\r\n", rest.data[0]) && rest.data[0]) {
            rest.data++;
            rest.len--;
            from++;
        }
        while (rest.len && (rest.data[rest.len - 1] == '\n' || rest.data[rest.len - 1] == '\r')) {
            rest.len--;
        }
    }

    if (aegis_kb_trim(rest).len == 0 || m->code != AEGIS_E_OK) {
        return;
    }

    m->total += rest.len;
    if (m->total > AEGIS_KB_TEXT_MAX) {
        m->code = AEGIS_E_TOO_LARGE;
        return;
    }

    if (m->text.len && m->text.len + rest.len > AEGIS_KB_CHUNK_TARGET) {
        aegis_kb_close(m);
    }

    for (at = from; rest.len > AEGIS_KB_CHUNK_TARGET * 3 / 2; at += n) {
        n = aegis_kb_cut(rest);
        aegis_kb_emit(m, (aegis_str_t) { n, rest.data }, exact ? at : from, exact ? at + n : to);
        rest.data += n;
        rest.len -= n;
    }

    if (m->text.len == 0) {
        m->from = exact ? at : from;
    } else {
        aegis_buf_puts(&m->text, exact ? "\n\n" : "\n");
    }

    aegis_buf_add(&m->text, rest.data, rest.len);
    m->to = to;

    if (m->text.failed) {
        m->code = AEGIS_E_UNAVAILABLE;
    }
}


int
aegis_kb_line(aegis_str_t body, size_t *at, aegis_str_t *ret_line)
{
    size_t       len;
    const char  *p, *end;

    if (*at >= body.len) {
        return 0;
    }

    p = body.data + *at;
    end = memchr(p, '\n', body.len - *at);
    len = end ? (size_t) (end - p) : body.len - *at;

    *at += end ? len + 1 : len;
    *ret_line = (aegis_str_t) { len && p[len - 1] == '\r' ? len - 1 : len, p };

    return 1;
}


int
aegis_kb_blank(aegis_str_t line)
{
    return aegis_kb_trim(line).len == 0;
}


void
aegis_kb_read_text(aegis_kb_maker_t *m, aegis_str_t body)
{
    size_t       at, from, start;
    aegis_str_t  line;

    for (at = 0, from = 0, start = 0; aegis_kb_line(body, &at, &line); start = at) {
        if (aegis_kb_blank(line)) {
            aegis_kb_block(m, (aegis_str_t) { start - from, body.data + from }, from, start, 1);
            from = at;
        } else if (m->out->title[0] == '\0') {
            aegis_kb_squeeze(line, m->out->title, AEGIS_KB_TITLE_MAX);
        }
    }

    aegis_kb_block(m, (aegis_str_t) { body.len - from, body.data + from }, from, body.len, 1);
}


aegis_code_t
aegis_kb_split(aegis_kb_format_t format, aegis_str_t body, aegis_kb_chunks_t *ret,
    aegis_error_t *err)
{
    aegis_error_t     found = AEGIS_ERROR_INIT;
    aegis_kb_maker_t  m;

    memset(ret, 0, sizeof(*ret));
    memset(&m, 0, sizeof(m));
    m.out = ret;

    if (body.len > AEGIS_KB_BODY_MAX) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "a document may have %u bytes",
                               AEGIS_KB_BODY_MAX);
    }

    switch (format) {

    case AEGIS_KB_MARKDOWN:
        aegis_kb_read_markdown(&m, body);
        break;

    case AEGIS_KB_HTML:
        aegis_kb_read_html(&m, body);
        break;

    case AEGIS_KB_JSON:
        aegis_kb_read_json(&m, body, &found);
        break;

    default:
        aegis_kb_read_text(&m, body);
        break;
    }

    aegis_kb_close(&m);
    free(m.text.data);

    if (found.code != AEGIS_E_OK) {
        return aegis_error_move(err, &found);
    }

    /* headings alone are still something to find */
    if (m.code == AEGIS_E_OK && ret->n == 0 && ret->title[0]) {
        aegis_kb_emit(&m, aegis_view(ret->title), 0, body.len);
    }

    if (m.code == AEGIS_E_TOO_LARGE) {
        return aegis_error_set(err, m.code, "a document may have %d passages",
                               AEGIS_KB_CHUNKS_MAX);
    }

    if (m.code == AEGIS_E_OK && ret->n == 0) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "there is no text in the document");
    }

    return m.code == AEGIS_E_OK ? AEGIS_E_OK : aegis_error_set(err, m.code, "no memory");
}


void
aegis_kb_chunks_free(aegis_kb_chunks_t *chunks)
{
    size_t  i;

    for (i = 0; i < chunks->n; i++) {
        free(chunks->v[i].heading);
        free(chunks->v[i].text);
    }

    free(chunks->v);
    memset(chunks, 0, sizeof(*chunks));
}
