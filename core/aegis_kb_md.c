/*
 * aegis_kb_md.c: Markdown to headings and blocks: # and underlined headings,
 * fenced code in one piece, paragraphs between blank lines, metadata in front left
 * out but for its title. Text stays as it was written: a person will read it.
 */
#include "aegis_kb_impl.h"

#include <string.h>


/* The level of "## text", 0 for none; *ret_text is the text without closing #. */
static int
aegis_kb_md_atx(aegis_str_t line, aegis_str_t *ret_text)
{
    size_t  i, n;

    for (i = 0; i < line.len && i < 3 && line.data[i] == ' '; i++) {
        /* void */
    }

    for (n = 0; i < line.len && line.data[i] == '#'; n++, i++) {
        /* void */
    }

    if (n == 0 || n > 6 || (i < line.len && line.data[i] != ' ' && line.data[i] != '\t')) {
        return 0;
    }

    *ret_text = (aegis_str_t) { line.len - i, line.data + i };
    while (ret_text->len && strchr(" \t#", ret_text->data[ret_text->len - 1])
           && ret_text->data[ret_text->len - 1])
    {
        ret_text->len--;
    }

    return (int) n;
}


/* The level of a line that underlines the one before. */
static int
aegis_kb_md_under(aegis_str_t line)
{
    size_t  i, n;

    if (line.len < 2 || (line.data[0] != '=' && line.data[0] != '-')) {
        return 0;
    }

    for (n = 0; n < line.len && line.data[n] == line.data[0]; n++) {
        /* void */
    }
    for (i = n; i < line.len; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t') {
            return 0;
        }
    }

    return n < 2 ? 0 : line.data[0] == '=' ? 1 : 2;
}


/* The length of ``` or ~~~ that opens or closes code, 0 for none. */
static size_t
aegis_kb_md_fence(aegis_str_t line, char *ret_mark)
{
    size_t  i, n;

    for (i = 0; i < line.len && i < 3 && line.data[i] == ' '; i++) {
        /* void */
    }

    if (i == line.len || (line.data[i] != '`' && line.data[i] != '~')) {
        return 0;
    }

    for (n = 0; i + n < line.len && line.data[i + n] == line.data[i]; n++) {
        /* void */
    }

    *ret_mark = line.data[i];

    return n >= 3 ? n : 0;
}


/* "title: x" of metadata between two ---; the end of it, 0 for none. */
static size_t
aegis_kb_md_front(aegis_kb_maker_t *m, aegis_str_t body)
{
    size_t       at;
    aegis_str_t  line, title;

    at = 0;
    title = AEGIS_NO_STR;

    if (!aegis_kb_line(body, &at, &line) || line.len != 3 || memcmp(line.data, "---", 3) != 0) {
        return 0;
    }

    while (aegis_kb_line(body, &at, &line)) {
        if (line.len == 3 && memcmp(line.data, "---", 3) == 0) {
            if (title.data) {
                aegis_kb_squeeze(title, m->out->title, AEGIS_KB_TITLE_MAX);
            }
            return at;
        }
        if (line.len > 6 && memcmp(line.data, "title:", 6) == 0) {
            title = (aegis_str_t) { line.len - 6, line.data + 6 };
        }
    }

    return 0;
}


void
aegis_kb_read_markdown(aegis_kb_maker_t *m, aegis_str_t body)
{
    int          level;
    char         mark, open;
    size_t       at, from, start, last, fence, n;
    aegis_str_t  line, text;

    at = from = start = last = aegis_kb_md_front(m, body);
    fence = 0;
    open = mark = 0;

    for ( /* void */ ; aegis_kb_line(body, &at, &line); last = start, start = at) {
        n = aegis_kb_md_fence(line, &mark);

        if (fence) {
            if (n >= fence && mark == open) {
                fence = 0;
            }
            continue;
        }

        if (n) {
            fence = n;
            open = mark;
            continue;
        }

        if (aegis_kb_blank(line)) {
            aegis_kb_block(m, (aegis_str_t) { start - from, body.data + from }, from, start, 1);
            from = at;
            continue;
        }

        level = aegis_kb_md_atx(line, &text);
        if (level) {
            aegis_kb_block(m, (aegis_str_t) { start - from, body.data + from }, from, start, 1);
            aegis_kb_heading(m, level, text);
            from = at;
            continue;
        }

        level = from == last && last < start ? aegis_kb_md_under(line) : 0;
        if (level) {
            aegis_kb_heading(m, level, (aegis_str_t) { start - last, body.data + last });
            from = at;
        }
    }

    aegis_kb_block(m, (aegis_str_t) { body.len - from, body.data + from }, from, body.len, 1);
}
