/*
 * kb_text.c: synthetic passages of a made-up language for t/bench/kb.pl, with words
 * as frequent as those of real ones (Zipf), a few hundred of them for each document,
 * and some Chinese. `kb_text rows <documents> <passages each>`: rows for COPY:
 * document, passage, heading, text, terms of the heading, all terms, signs, vector.
 * `kb_text questions <n>`: questions in the same language, a line each.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_kb.h"

#define WORDS  30000
#define TOPIC  300

static char  words[WORDS][24];
static int   topic[TOPIC];


static double
chance(void)
{
    return rand() / (RAND_MAX + 1.0);
}


static int
zipf(int n)
{
    return (int) pow(n, chance()) - 1;
}


static void
make_words(void)
{
    int  i, k;

    static const char *const  syllables[] = {
        "ba", "be", "di", "do", "fa", "fen", "gu", "gor", "ka", "kin", "lu", "lo", "ma", "mi", "nor",
        "na", "pe", "pan", "ru", "ra", "si", "so", "ta", "tu", "va", "vo", "za", "ze", "sten", "tran"
    };

    srand(7);
    for (i = 0; i < WORDS; i++) {
        words[i][0] = '\0';
        for (k = 2 + rand() % 3; k > 0; k--) {
            strcat(words[i], syllables[rand() % 30]);
        }
    }
}


static void
make_topic(void)
{
    int  i;

    for (i = 0; i < TOPIC; i++) {
        topic[i] = rand() % WORDS;
    }
}


/* half of a document's words are its topic's */
static void
say_words(aegis_buf_t *buf, int n)
{
    for ( /* void */ ; n > 0; n--) {
        aegis_buf_puts(buf, words[chance() < 0.5 ? topic[zipf(TOPIC)] : zipf(WORDS)]);
        aegis_buf_puts(buf, n > 1 ? " " : "");
    }
}


static void
say_han(aegis_buf_t *buf, int n)
{
    char      utf8[4] = "";
    unsigned  c;

    for ( /* void */ ; n > 0; n--) {
        c = 0x4e00 + (unsigned) (zipf(2000) * 7919) % 3000;
        utf8[0] = (char) (0xe0 | c >> 12);
        utf8[1] = (char) (0x80 | (c >> 6 & 0x3f));
        utf8[2] = (char) (0x80 | (c & 0x3f));
        aegis_buf_puts(buf, utf8);
    }
}


static char *
passage(int sentences)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    for ( /* void */ ; sentences > 0; sentences--) {
        if (chance() < 0.3) {
            say_han(&buf, 20);
            aegis_buf_puts(&buf, "\xe3\x80\x82");
        } else {
            say_words(&buf, 11);
            aegis_buf_puts(&buf, ". ");
        }
    }

    return aegis_buf_take(&buf, NULL);
}


static void
row(int doc, int n)
{
    char         *text, *heads, *terms, *signs, *vector, *head;
    float         v[AEGIS_KB_DIMS];
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    say_words(&buf, 4);
    head = aegis_buf_take(&buf, NULL);
    text = passage(6);

    aegis_kb_embed(aegis_view(head), aegis_view(text), v);
    heads = aegis_kb_terms(aegis_view(head), AEGIS_NO_STR, 128);
    terms = aegis_kb_terms(aegis_view(head),
                           aegis_view(text), AEGIS_KB_CHUNK_TERMS);
    signs = aegis_kb_signs(v, AEGIS_KB_DIMS);
    vector = aegis_kb_vector_text(v, AEGIS_KB_DIMS);

    printf("%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", doc, n, head, text, heads, terms, signs, vector);

    free(head);
    free(text);
    free(heads);
    free(terms);
    free(signs);
    free(vector);
}


int
main(int argc, char **argv)
{
    int           i, k;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    make_words();

    if (argc == 4 && strcmp(argv[1], "rows") == 0) {
        for (i = 0; i < atoi(argv[2]); i++) {
            make_topic();
            for (k = 1; k <= atoi(argv[3]); k++) {
                row(i, k);
            }
        }
        return 0;
    }

    if (argc != 3 || strcmp(argv[1], "questions") != 0) {
        fprintf(stderr, "usage: kb_text rows <documents> <passages each> | questions <n>\n");
        return 2;
    }

    srand(11);
    for (i = 0; i < atoi(argv[2]); i++) {
        make_topic();
        say_words(&buf, 3 + rand() % 4);
        if (chance() < 0.3) {
            aegis_buf_puts(&buf, " ");
            say_han(&buf, 4);
        }
        aegis_buf_puts(&buf, "\n");
    }
    fputs(buf.data ? buf.data : "", stdout);
    free(buf.data);

    return 0;
}
